# Part of _core.pyx: a sequence in progress. What its methods do lies in files by subject, in functions that take the stream.


cdef class Stream:
    """One sequence (or a batch) in progress: step() a frame, run() a chunk; states are kept between calls.

    Not for two threads at once: a second call while one runs raises LstmEdgeError. Made by Model.stream().
    """
    cdef le_stream *c
    cdef readonly Model model
    cdef readonly int64_t batch
    cdef readonly bint batched  # whether a batch was asked for, so that answers have its axis
    cdef bint busy, brief
    cdef int n_in, n_out
    cdef const void **in_pointers
    cdef void **out_pointers
    cdef Py_buffer *views
    cdef int64_t multiple
    cdef bint bounded  # whether the model holds only for some numbers of frames, so that they are counted
    cdef int64_t counted
    cdef tuple observed  # the shape of one sequence's observation, while adaptation is on
    cdef tuple learning  # what adaptation() was given, while it is on
    # What the last single-input step looked like: the same again needs no analysis.
    cdef uint64_t seen_generation, prepared  # `prepared`: of the last full call, before its run could change states' extents
    cdef int seen_rank
    cdef Py_ssize_t seen_shape[LE_MAX_RANK]
    cdef tuple seen_out
    cdef Py_ssize_t seen_bytes  # of the answer
    cdef object seen_type, answer_type  # NumPy's dtypes of them, where arrays are read and made by its C interface
    cdef void *seen_class  # the type of the object that held the frame
    cdef Py_ssize_t seen_size  # of the frame
    cdef char seen_format, answer_format
    cdef bint flat  # whether the frame came as a flat buffer of values of several axes, or as PCM, which arrays may not
    cdef int answer_rank
    cdef Py_ssize_t answer_shape[LE_MAX_RANK]
    cdef bytearray scaled  # the float32 values of a frame that came as PCM
    # The newest frame of every input, then of every output: where a forecast starts. Streams that users made remember it.
    cdef bint remembers, started
    cdef char **newest
    cdef Py_ssize_t *newest_size
    cdef tuple newest_of  # after step_many: its arrays of all inputs and outputs, where this stream's are row `newest_row`
    cdef Py_ssize_t newest_row

    def __cinit__(self, Model model not None, batch=None, frames=1, lengths=()):
        cdef le_error err
        cdef int64_t n_batch, n_frames
        cdef int64_t n_lengths[LE_MAX_LENGTHS]
        if batch is not None and (not is_whole(batch) or batch < 1):
            raise ShapeError(f"batch: expected an int of at least 1 or None, found {batch!r}")
        self.model = model
        self.batched = batch is not None
        self.bounded = "frames" in model.ranges
        self.batch = n_batch = 1 if batch is None else batch
        model._check_batch(n_batch)
        self.multiple = model.multiple
        n_frames = max(int(frames), self.multiple)
        for i in range(LE_MAX_LENGTHS):
            n_lengths[i] = lengths[i] if i < len(lengths) else 1
        if n_frames > frames:  # the file's own multiple
            self.c = le_stream_open_by_file(model.c, n_batch, n_frames, n_lengths, &err)
        else:
            with nogil:
                self.c = le_stream_open_lengths(model.c, n_batch, n_frames, n_lengths, &err)
        if self.c == NULL:
            raise_error(&err)
        self.n_in, self.n_out = len(model.inputs), len(model.outputs)
        self.in_pointers = <const void **>PyMem_Calloc(self.n_in + 1, sizeof(void *))
        self.out_pointers = <void **>PyMem_Calloc(self.n_out + 1, sizeof(void *))
        self.views = <Py_buffer *>PyMem_Calloc(self.n_in + self.n_out, sizeof(Py_buffer))
        self.newest = <char **>PyMem_Calloc(self.n_in + self.n_out, sizeof(char *))
        self.newest_size = <Py_ssize_t *>PyMem_Calloc(self.n_in + self.n_out, sizeof(Py_ssize_t))
        if self.in_pointers == NULL or self.out_pointers == NULL or self.views == NULL or self.newest == NULL or self.newest_size == NULL:
            raise MemoryError("a stream's pointers")
        self.seen_rank = -1

    def __repr__(self):
        learning = "" if self.observed is None else ", adapting"
        batch = f"batch {self.batch}" if self.batched else "one sequence"
        return (f"<lstm_edge.Stream of {ports_text(self.model.inputs)} -> {ports_text(self.model.outputs)}: {batch}, "
                f"{self.counted:,} frames done{learning}, {self.nbytes:,} bytes>")

    def __reduce__(self):
        return self.model.stream, (self.batch if self.batched else None,), self.__getstate__()

    def __getstate__(self):
        """What a copy goes on from: the options of adaptation, the frames done, states, and where a forecast would start."""
        self._idle()
        return {"adaptation": self.learning, "counted": self.counted, "state": states_of(self), "newest": newest_frames(self) if self.started else {}}

    def __setstate__(self, saved):
        if saved["adaptation"] is not None:
            self.adaptation(*saved["adaptation"])
        self.state = saved["state"]
        put_newest(self, checked_newest(self, saved["newest"]))
        self.counted = saved["counted"]

    def __copy__(self):
        make, arguments, saved = self.__reduce__()
        other = make(*arguments)
        other.__setstate__(saved)
        return other

    def __deepcopy__(self, memo):
        return self.__copy__()

    def __dealloc__(self):
        le_stream_close(self.c)
        PyMem_Free(self.in_pointers)
        PyMem_Free(self.out_pointers)
        PyMem_Free(self.views)
        for i in range(self.n_in + self.n_out):
            if self.newest != NULL:
                PyMem_Free(self.newest[i])
        PyMem_Free(self.newest)
        PyMem_Free(self.newest_size)

    # ---- calls ----

    def step(self, *arrays, out=None, **named):
        """One frame in, its answer out (None while a convolution's window is not full). Shapes as run's without the frames axis.

        arrays: as run's, or anything with the buffer protocol: values of the input's dtype, flat where it has no shape of its own
        (array.array), or 16-bit PCM, little-endian, in bytes or as `h`, whose samples are multiplied by 1/32768.
        out: a writable C-contiguous array of the answer's shape and dtype to write into, or any such buffer, flat or shaped (models with
        one output). With it, and frames in buffers, NumPy is never imported.
        ShapeError names what does not fit; the states then stay as they were.
        """
        return step_of(self, arrays, out, named)  # at the end of _stream_step.pxi a quicker method takes this one's place

    def _check_frame(self, values):
        """Whether frames, one an input, lack the batch axis, and whether they lack that of frames."""
        return full_frames(self, values)[1:]

    def run(self, *arrays, **named):
        """Runs a chunk of frames from the current state; shapes as Model.run's. Step models take frames first.

        Interrupted (Ctrl-C), or ended by any other error, the stream is as it was before the call.
        """
        values = self.model._arrange(arrays, named)
        lead = self.model.step_model
        no_batch = self.model._unbatched(values, lead)
        _, frames, count = self.model._sizes(values, no_batch, -1 if no_batch else self.batch, -1, lead)
        frames = 1 if frames < 0 else frames  # where no input has an axis of frames, a call is a step
        if no_batch and self.batch != 1:
            raise ShapeError(f"batch: expected {self.batch} sequences, found arrays without a batch axis")
        if frames % self.multiple and not lead:
            raise ShapeError(f"frames: expected a multiple of {self.multiple} (the model's hop), found {frames}")
        self.seen_rank = -1
        self._check_count(frames)
        results = run_long(self, values, 1 if lead else frames, count, no_batch)
        self.counted += count if lead else frames
        return self.model._pack(results)

    cdef _check_count(self, int64_t frames):
        """ShapeError where the frames so far are a length that the model was not exported for."""
        if self.bounded:
            self.model._check_range("frames", self.counted + frames,
                                    f" since the stream began ({self.counted} and {frames}): give the first frames in one run, or reset()")

    def _call(self, values, int64_t frames, int64_t count, bint no_batch, bint no_frames, out=None, int64_t repeat=1):
        """`count` runs (-1: one, `repeat` times) on full arrays; a list of outputs, None where absent."""
        self._idle()
        self.busy = True
        try:
            done = 0
            while True:  # once more where a state filled up: the next answers have other shapes
                shapes = self._shapes(frames, count, no_batch, no_frames)
                results = [self._output(i, shape, out) for i, shape in enumerate(shapes)]
                done += self._compute(list(values), results, frames, count, no_frames, out, repeat - done)
                if done >= repeat:
                    return results
        finally:
            self.busy = False

    cdef list _shapes(self, int64_t frames, int64_t count, bint no_batch, bint no_frames):
        """Lays out for such a call. The shapes of its answers, as the caller sees them; None where absent."""
        cdef le_error err
        cdef int64_t dims[LE_MAX_RANK]
        cdef Layout layout
        cdef int i
        if le_stream_prepare(self.c, frames, &err) != LE_OK:
            raise_error(&err)
        self.prepared = le_stream_generation(self.c)
        shapes = []
        for i in range(self.n_out):
            rank = le_stream_output_shape(self.c, i, dims)
            if rank < 0 and count > 0:
                raise UnsupportedModelError(f"output {self.model.outputs[i].name!r} has no answer yet in a step model")
            if rank < 0:
                shapes.append(None)
                continue
            layout = <Layout>self.model._out_layouts[i]
            if layout.known and rank != len(layout.port.shape):
                raise FormatError(f"section META: outputs: {layout.port.name}: expected {rank} sizes, as its answers have, found {layout.port.shape}")
            shape = layout.without(tuple([dims[d] for d in range(rank)]), no_batch, no_frames)
            shapes.append((count,) + shape if count >= 0 else shape)
        return shapes

    cdef int64_t _compute(self, list values, list results, int64_t frames, int64_t count, bint no_frames, out, int64_t repeat) except -1:
        """The call that is laid out, on the arrays of all inputs and outputs. How many of the `repeat` it made: fewer where the
        answers that follow are laid out otherwise."""
        cdef le_error err
        cdef le_status status = LE_OK
        cdef int held = 0, i
        cdef int64_t turn = 0
        try:
            for i in range(self.n_in):
                PyObject_GetBuffer(values[i], &self.views[held], PyBUF_C_CONTIGUOUS)
                held += 1
            for i in range(self.n_out):
                self.out_pointers[i] = NULL
                if results[i] is not None:
                    PyObject_GetBuffer(results[i], &self.views[held], PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
                    self.out_pointers[i] = self.views[held].buf
                    held += 1
            settle_inputs(self, values, out)
            with nogil:
                if count < 0:
                    while turn < repeat and status == LE_OK and (turn == 0 or le_stream_generation(self.c) == self.prepared):
                        status = le_stream_run(self.c, frames, self.in_pointers, self.out_pointers, &err)
                        turn += 1
                else:
                    status = le_stream_run_many(self.c, count, frames, self.in_pointers, self.out_pointers, &err)
            if status != LE_OK:
                raise_error(&err)
            if self.remembers:
                remember_newest(self, results, count, no_frames)
            return turn if count < 0 else repeat
        finally:
            for i in range(held):
                PyBuffer_Release(&self.views[i])

    def _address(self):
        """Where the core's stream lies: export_c reads what it planned."""
        return <size_t>self.c

    def _traced(self, int64_t frames):
        """The recurrences that run in a call of so many frames: [(op index, whether backwards, shapes of gates, h, c)] as lstm_edge.h has them."""
        cdef le_error err
        cdef le_traced r
        if le_stream_prepare(self.c, frames, &err) != LE_OK:
            raise_error(&err)
        found = []
        for i in range(le_model_op_count(self.model.c)):
            if le_stream_traced(self.c, <int>i, &r):
                lead = (r.directions, r.frames, r.batch)
                found.append((i, bool(r.reverse), (*lead, r.gates, r.hidden), (*lead, r.width), (*lead, r.hidden if r.has_cell else 0)))
        return found

    def _trace(self, int index, gates, h, c):
        """Lets the next calls write op `index`'s trace into float32 arrays of _traced's shapes, which the caller keeps; None: no more."""
        le_stream_trace(self.c, index, floats_of(gates), floats_of(h), floats_of(c))

    def _newest(self, int index, shape):
        """The newest frame of input `index` (outputs follow the inputs), as an array of the shape; None before there is one."""
        port = (self.model.inputs + self.model.outputs)[index]
        settle_newest(self)
        if not self.started or self.newest_size[index] == 0:
            return None
        found = np.frombuffer(self.newest[index][:self.newest_size[index]], port.dtype)
        if found.size != product(shape):
            raise FormatError(f"section META: outputs: {port.name}: expected a shape whose frames have {found.size} values, found {port.shape}")
        return found.reshape(shape)

    # ---- forecasting ----

    def forecast(self, steps, *, known=None, time=None, feedback=None):
        """What comes next, from where the stream stands: (steps, targets[, quantiles]), batch first for a stream of a batch.

        The stream stays where it is: a copy of its states is rolled forward. Arguments as Model.forecast's; known: of the times to
        come alone; time: of the newest frame, where it is not what the stream was last given.
        """
        from .forecasting import forecast_stream
        return forecast_stream(self, steps, known=known, time=time, feedback=feedback)

    def _roll(self, int64_t count, int64_t frames, bint fresh, inputs, advance, outputs, feeds, keeps, kept):
        """le_stream_roll over C-contiguous arrays of the model's dtypes, whose sizes the caller has made sure of.

        advance: bytes per input. feeds, keeps: (output, input, from, to, size, from_step, to_step), the last three of three numbers.
        """
        cdef le_error err
        cdef le_roll roll
        cdef le_status status
        cdef list views = [memoryview(a).cast("B") for a in [*inputs, *outputs, *kept]]
        cdef int n_boxes = len(feeds) + len(keeps), n_views = len(views), i
        if fresh:
            self.model._check_range("frames", frames)
        else:
            self._check_count(count * frames)
        self._idle()
        self.seen_rank = -1
        cdef le_feed *boxes = <le_feed *>PyMem_Calloc(n_boxes + 1, sizeof(le_feed))
        cdef int64_t *steps = <int64_t *>PyMem_Calloc(self.n_in + self.n_out, sizeof(int64_t))
        cdef void **pointers = <void **>PyMem_Calloc(n_views + 1, sizeof(void *))
        try:
            if boxes == NULL or steps == NULL or pointers == NULL:
                raise MemoryError("a forecast's pointers")
            for i, box in enumerate([*feeds, *keeps]):
                fill_feed(&boxes[i], box)
            for i in range(self.n_in):
                steps[i] = advance[i]
            for i in range(self.n_out):
                steps[self.n_in + i] = views[self.n_in + i].nbytes
            for i in range(n_views):
                pointers[i] = address_of(views[i])
            roll = le_roll(size=sizeof(le_roll), count=count, frames=frames, fresh=fresh, inputs=pointers, advance=steps, outputs=pointers + self.n_in,
                           room=steps + self.n_in, feeds=boxes, n_feeds=len(feeds), keeps=boxes + len(feeds), kept=pointers + self.n_in + self.n_out,
                           n_keeps=len(keeps))
            self.busy = True
            with nogil:
                status = le_stream_roll(self.c, &roll, &err)
            self.busy = False
            if status != LE_OK:
                raise_error(&err)
        finally:
            PyMem_Free(boxes)
            PyMem_Free(steps)
            PyMem_Free(pointers)

    def _repeat(self, values, int64_t frames, int64_t times):
        """Seconds of `times` runs in a row of the same full arrays, nothing of Python between them: the core's own part of a call."""
        self._call(values, frames, -1, False, False)
        start = perf_counter()
        self._call(values, frames, -1, False, False, repeat=times)
        return perf_counter() - start

    def _output_shapes(self, int64_t frames):
        """The shape of every output of a run of so many frames, None where it would have no answer."""
        cdef le_error err
        cdef int64_t dims[LE_MAX_RANK]
        if le_stream_prepare(self.c, frames, &err) != LE_OK:
            raise_error(&err)
        shapes = []
        for i in range(self.n_out):
            rank = le_stream_output_shape(self.c, <int>i, dims)
            shapes.append(tuple([dims[d] for d in range(rank)]) if rank >= 0 else None)
        return shapes

    def _output(self, int index, shape, out):
        """The array that receives an output of the shape that the caller sees; None: it has no answer."""
        if shape is None:
            return None
        if out is not None and self.n_out == 1 and 0 in shape:
            return memoryview(bytearray(1))[:0]  # no answer yet: `out` stays as it is
        return answer_array(out, shape, self.model.outputs[index].dtype, self.n_out == 1)

    # ---- states ----

    def reset(self):
        """Every state back to its initial value."""
        self._idle()
        self.seen_rank = -1
        self.counted = 0
        self.started = False
        le_stream_reset(self.c)

    def _set_lengths(self, lengths):
        cdef le_error err
        cdef int64_t n_lengths[LE_MAX_LENGTHS]
        for i, length in enumerate(lengths):
            n_lengths[i] = length
        if le_stream_set_lengths(self.c, n_lengths, &err) != LE_OK:
            raise_error(&err)

    def _idle(self):
        if self.busy:
            raise LstmEdgeError("stream: another thread is running it")

    @property
    def state(self):
        """{name: array}: a copy of every state, and of what adaptation() keeps. Assigning such a dict restores it; nothing changes if
        anything in it is wrong. Of files that forecast also the newest frames, newest.*: without them it needs one to forecast from."""
        self._idle()
        found = states_of(self)
        if self.started and "forecast" in self.model.metadata:
            found.update(newest_frames(self))
        return found

    @state.setter
    def state(self, values):
        self._idle()
        before = states_of(self)
        names = list(before)
        frames = {}
        if "forecast" in self.model.metadata and hasattr(values, "keys"):
            frames = checked_newest(self, values)
            values = {name: values[name] for name in values.keys() if not name.startswith("newest.")}
        if not hasattr(values, "keys") or set(values.keys()) != set(names):
            found = sorted(values) if hasattr(values, "keys") else type(values).__name__
            advice = "; the names adapt.* are of a stream after adaptation()" if "adapt." in f"{names}{found}" else ""
            raise ShapeError(f"state: expected a dict with {names}, found {found}{advice}")
        try:
            put_states(self, values, before)
        except BaseException:
            put_states(self, before, before)
            raise
        self.seen_rank = -1
        put_newest(self, frames)

    # ---- online adaptation ----

    def adaptation(self, forgetting=0.99, regularisation=0.1, output=None):
        """Turns on, from nothing learnt, what adapt() teaches: a correction of the last Dense layer before an output. None: off again.

        forgetting: the weight of a frame against that of the next one, in (0, 1]; 0.99 remembers some 1/(1 - 0.99) = 100 frames.
        regularisation: what holds the correction to 0, in squares of the layer's input summed over those frames.
        output: its name; None for the only one or, of a forecast, metadata["forecast"]'s.
        Allocates; step, run and adapt do not. UnsupportedModelError, with the reason, where no such layer makes the output.
        """
        cdef le_error err
        cdef le_adaptation options
        self._idle()
        if forgetting is None:
            le_stream_adaptation(self.c, NULL, &err)
            self.observed = self.learning = None
            return
        for name, value in ("forgetting", forgetting), ("regularisation", regularisation):
            if not is_whole(value) and not isinstance(value, (float, numpy_type("floating"))):
                raise LstmEdgeError(f"adaptation: {name}: expected a number, found {value!r}")
        from .forecasting.observed import observed
        plan = observed(self.model, self.batch, output)
        options.size = sizeof(le_adaptation)
        options.output, options.time_major, options.frames, options.values = plan.output, plan.time_major, self.multiple, plan.values
        options.horizon, options.each, options.middle = plan.horizon, plan.each, plan.middle
        options.forgetting, options.regularisation = forgetting, regularisation
        if le_stream_adaptation(self.c, &options, &err) != LE_OK:
            raise_error(&err)
        self.observed, self.learning = plan.shape, (forgetting, regularisation, output)
        self.seen_rank = -1

    def adapt(self, y):
        """Learns from what was observed after the last frame: call it once after each step (or run), before the next.

        y: of a forecast (targets,), else the shape of a frame of the output; with the batch axis first where there are several
        sequences. In the output's units; NaN where unknown. Frames that it was not called for count as unknown.
        """
        cdef le_error err
        cdef le_status status
        cdef Py_buffer view
        self._idle()
        try:
            array = np.asarray(y)
            if array.size and array.dtype.kind not in "fiub":
                raise ValueError
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise ShapeError(f"adapt: y: expected numbers, NaN where unknown, found {y!r}") from None
        if self.observed is None:
            if le_stream_adapt(self.c, NULL, &err) != LE_OK:
                raise_error(&err)
        alone = self.batch == 1 and (array.shape == self.observed or (array.ndim == 0 and np.prod(self.observed) == 1))
        if not alone and array.shape != (self.batch,) + self.observed:
            raise ShapeError(f"adapt: y: expected shape {self.observed if self.batch == 1 else (self.batch,) + self.observed}, found {array.shape}")
        array = np.ascontiguousarray(array)
        PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS)
        self.busy = True
        with nogil:
            status = le_stream_adapt(self.c, <const double *>view.buf, &err)
        self.busy = False
        PyBuffer_Release(&view)
        if status != LE_OK:
            raise_error(&err)

    # ---- figures ----

    @property
    def nbytes(self):
        """Bytes of the stream: its arena and states."""
        return le_stream_bytes(self.c)

    def profile(self, bint on=True):
        """Turns the timing of every op on or off; see op_seconds."""
        self._idle()
        le_stream_profile(self.c, on)

    @property
    def op_seconds(self):
        """Seconds each op of Model.ops took in the last run, None while profiling is off."""
        cdef const double *seconds = le_stream_op_seconds(self.c)
        if seconds == NULL:
            return None
        return [seconds[i] for i in range(le_model_op_count(self.model.c))]


cdef settle_inputs(Stream stream, list values, out):
    """Points the core to a call's inputs, which are in stream.views before the outputs: to a copy of what the core cannot read in place."""
    cdef Py_buffer *view
    cdef Py_buffer *answer = &stream.views[stream.n_in]
    cdef bint written = out is not None and stream.out_pointers[0] != NULL
    cdef int i
    for i in range(stream.n_in):
        view = &stream.views[i]
        if not is_aligned(view) or (written and overlap(view.buf, view.len, answer.buf, answer.len)):
            values[i] = copy_of(values[i])
            PyBuffer_Release(view)
            PyObject_GetBuffer(values[i], view, PyBUF_C_CONTIGUOUS)
        stream.in_pointers[i] = view.buf


cdef void fill_feed(le_feed *feed, box):
    feed.output, feed.input, feed.source, feed.to = box[:4]
    for d in range(3):
        feed.size[d], feed.from_step[d], feed.to_step[d] = box[4][d], box[5][d], box[6][d]
