# cython: language_level=3, binding=True, embedsignature=False
"""The one crossing from Python to the C core: Model and Stream over the buffer protocol (stable ABI, no NumPy headers).

Shapes. A model's input has a batch axis, a frames axis, both or neither; `run` takes arrays shaped as the framework's, or without the
batch axis for one sequence; `step` takes one frame: the same without the frames axis. Outputs come back shaped alike.
A *step model* (metadata `step`, with states) has no frames axis: one call of its network is one frame, and `run` takes frames first.
"""

cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Realloc
from libc.stdint cimport int16_t, int64_t, uint16_t, uint64_t
from libc.string cimport memcpy

import json
import os
import re
import sys
from collections import namedtuple
from time import perf_counter

from .errors import FormatError, LstmEdgeError, ShapeError, UnsupportedModelError

Port = namedtuple("Port", "name shape dtype")
Port.__doc__ = "An input, output or state: name, shape (ints, 'batch', 'frames' or text such as '2*frames'), dtype."

include "_buffers.pxi"

_DTYPES = {LE_F32: "float32", LE_I32: "int32", LE_BOOL: "bool"}
_ERRORS = {LE_ERR_FORMAT: FormatError, LE_ERR_UNSUPPORTED: UnsupportedModelError, LE_ERR_SHAPE: ShapeError,
           LE_ERR_VALUE: LstmEdgeError, LE_ERR_MEMORY: MemoryError}
_WORD = re.compile(r"[^\W\d]\w*")

cdef enum:
    MOST_IDLE = 8  # streams that a model keeps for later runs
    MOST_IDLE_MANY = 2  # and what calls of many streams need
    MOST_THREADS = 1024
    HEADER = 64  # bytes of a file's header
    BRIEF_BYTES = 1 << 16  # of a model and of a stream: a step of fewer is over before another thread could use the lock that it lets go


cdef raise_error(le_error *err):
    raise _ERRORS.get(err.status, LstmEdgeError)(err.message.decode("utf-8", "replace"))


def isas():
    """[(name, supported by this CPU)] of the kernel tables in this build, best last."""
    cdef int supported = 0
    cdef const char *name
    found = []
    while True:
        name = le_isa_name(<int>len(found), &supported)
        if name == NULL:
            return found
        found.append((name.decode(), bool(supported)))


def isa_needs():
    """{name: CPU features that the kernel table needs, as /proc/cpuinfo names them}, in the order of isas()."""
    return {name: tuple(le_isa_needs(<int>i).decode().split()) for i, (name, _) in enumerate(isas())}


def probe(isa, kind, int64_t times, data=b""):
    """What `times` rounds did with an ISA's instructions, for benchmarks: 'read' gives the bytes read of `data` (a multiple of 512),
    'float32' and 'int8' the operations on registers. 0 where this CPU has not the ISA."""
    kinds = {"read": LE_PROBE_READ, "float32": LE_PROBE_F32, "int8": LE_PROBE_I8}
    if not isinstance(kind, str) or kind not in kinds:
        raise LstmEdgeError(f"probe: kind: expected one of {', '.join(kinds)}, found {kind!r}")
    cdef le_probe_kind what = kinds[kind]
    cdef bytes name = isa.encode()
    cdef const char *text = name
    cdef double done
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_C_CONTIGUOUS)
    with nogil:
        done = le_probe(text, what, view.buf, <size_t>view.len, times)
    PyBuffer_Release(&view)
    return done


cdef object size_text(le_dim dim, list lengths):
    if dim.symbol == LE_NUMBER:
        return dim.coef
    if dim.symbol >= LE_LENGTH:
        symbol = lengths[<int>dim.symbol - <int>LE_LENGTH]
    else:
        symbol = "batch" if dim.symbol == LE_BATCH else "frames"
    return symbol if dim.coef == 1 else f"{dim.coef}*{symbol}"


cdef int axis_of(shape, symbol):
    """The axis whose size names the symbol; for the batch also a leading axis fixed at 1."""
    for axis, size in enumerate(shape):
        if isinstance(size, str) and symbol in _WORD.findall(size):
            return axis
    if symbol == "batch" and len(shape) > 1 and shape[0] == 1:
        return 0
    return -1


cdef class Layout:
    """Where batch and frames lie in one input or output."""
    cdef readonly object port
    cdef readonly int batch_axis, frames_axis
    cdef readonly bint known

    def __init__(self, port):
        self.port = port
        self.known = port.shape is not None
        self.batch_axis = axis_of(port.shape, "batch") if self.known else -1
        self.frames_axis = axis_of(port.shape, "frames") if self.known else -1
        if self.batch_axis == self.frames_axis:  # one axis that holds both
            self.batch_axis = -1

    def frames(self, shape, frames, length):
        """The places of an array of `shape`, of `frames` frames, that its first `length` frames are."""
        return tuple([slice(0, size // frames * length if symbol == "frames" else size)
                      for size, (_, symbol) in zip(shape, map(split_size, self.port.shape))])

    def without(self, shape, bint batch, bint frames):
        """`shape` without its batch and/or frames axis, where that axis has size 1."""
        drop = {self.batch_axis if batch else -1, self.frames_axis if frames else -1}
        return tuple([s for d, s in enumerate(shape) if not (d in drop and s == 1)])


cdef class Model:
    """A model read from a .lstm file's bytes: immutable, shared by any number of streams and threads. load() reads one from a path.

    isa: the kernel table to use, by name; None for the environment variable LSTM_EDGE_ISA or the best of this CPU.
    Raises FormatError (damaged or newer file), UnsupportedModelError (unknown op or ISA).
    Pickles by the file's bytes; a copy is the model itself.
    """
    cdef le_model *c
    cdef object file  # the bytes that it was made of, or a FileOnDisk: what is pickled
    cdef object wanted  # the ISA that was asked for
    cdef readonly tuple inputs, outputs, states
    cdef readonly dict metadata
    cdef readonly str isa
    cdef readonly tuple in_layouts, out_layouts
    cdef list lengths  # names of the open lengths beside batch and frames
    cdef dict ranges  # open size -> (least, most or None, multiple, rest): where the source says that its network holds
    cdef list idle  # streams of finished runs, kept for the next
    cdef readonly dict plans  # what forecasting found out about this model, by what was fed back
    cdef list idle_many  # of finished step_manys
    cdef int apart  # whether rows of a batch are each as if alone; -1: not looked at yet
    cdef bint step_model, has_batch

    def __cinit__(self, data, isa=None):
        cdef le_error err
        cdef Py_buffer view
        cdef const char *wanted = NULL
        if isa is not None:
            isa_bytes = str(isa).encode()
            wanted = isa_bytes
        PyObject_GetBuffer((<OnDisk>data).data if isinstance(data, OnDisk) else data, &view, PyBUF_C_CONTIGUOUS)
        try:
            with nogil:
                self.c = le_model_open(view.buf, <size_t>view.len, wanted, &err)
        finally:
            PyBuffer_Release(&view)
        if self.c == NULL:
            raise_error(&err)
        self.wanted = isa

    def __init__(self, data, isa=None):
        cdef size_t size = 0
        cdef const char *text = le_model_metadata(self.c, &size)
        try:
            self.metadata = json.loads(text[:size].decode()) if size else {}
        except ValueError as why:
            raise FormatError(f"section META: expected JSON, found {why}") from None
        if not isinstance(self.metadata, dict):
            raise FormatError(f"section META: expected a JSON object, found {type(self.metadata).__name__}")
        self.lengths = self._length_names()
        self.ranges = self._checked_ranges()
        self.isa = le_model_isa(self.c).decode()
        self.inputs = self._ports(LE_INPUT)
        self.outputs = self._ports(LE_OUTPUT)
        self.states = self._ports(LE_STATE)
        self.in_layouts = tuple([Layout(p) for p in self.inputs])
        self.out_layouts = tuple([Layout(p) for p in self.outputs])
        self.has_batch = any(["batch" in _WORD.findall(str(n)) for port in self.inputs for n in port.shape])
        self.step_model = bool(self.states) and not any([(<Layout>l).frames_axis >= 0 for l in self.in_layouts])
        self.idle = []
        self.idle_many = []
        self.apart = -1
        self.plans = {}
        if isinstance(data, OnDisk):
            (<OnDisk>data).data = None
        self.file = data if isinstance(data, OnDisk) else bytes(data)

    def __repr__(self):
        return (f"<lstm_edge.Model {ports_text(self.inputs)} -> {ports_text(self.outputs)}: {le_model_precision(self.c).decode()} weights, "
                f"{self.isa}, {self.nbytes:,} bytes>")

    def __reduce__(self):
        return Model, (self.file.read() if isinstance(self.file, OnDisk) else self.file, self.wanted)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __dealloc__(self):
        le_model_close(self.c)

    cdef list _length_names(self):
        names = self.metadata.get("lengths", [])
        count = le_model_lengths(self.c)
        words = isinstance(names, list) and all([isinstance(n, str) and n.isidentifier() for n in names])
        if not words or len(names) != count or len({*names, "batch", "frames"}) != count + 2:
            raise FormatError(f"section META: lengths: expected {count} names, each once, found {names!r}")
        return names

    cdef dict _checked_ranges(self):
        ranges = self.metadata.get("ranges", {})
        if not isinstance(ranges, dict) or not all(map(is_range, ranges.values())):
            raise FormatError(f"section META: ranges: expected [least, most or null, multiple, rest] by size, found {ranges!r}")
        return ranges

    def _check_batch(self, int64_t batch):
        """ShapeError where the model's inputs cannot have so many sequences."""
        if batch > 1 and not self.has_batch:
            raise ShapeError(f"batch: expected 1, since no size of the model's inputs is an open batch ({ports_text(self.inputs)}), found {batch}")

    def _check_range(self, name, int64_t size, advice=""):
        """ShapeError where the source's own network is another one at this value of an open size."""
        least, most, multiple, rest = self.ranges.get(name, (0, None, 1, 0))
        if size < least or (most is not None and size > most) or size % multiple != rest:
            limits = f"at least {least}" if most is None else f"{least} to {most}"
            steps = "" if multiple == 1 else f" that leave {rest} when divided by {multiple}"
            raise ShapeError(f"{name}: expected {limits}{steps}, for which the model was exported, found {size}{advice}")

    cdef tuple _ports(self, le_role role):
        cdef le_port port
        ports = []
        shapes = self.metadata.get("outputs", {}) if role == LE_OUTPUT else {}
        for i in range(le_model_count(self.c, role)):
            port = le_model_port(self.c, role, <int>i)
            name = port.name.decode("utf-8", "replace")
            if role == LE_OUTPUT:
                shape = shapes.get(name)
                shape = tuple(shape) if isinstance(shape, list) else None
            else:
                shape = tuple([size_text(port.dims[d], self.lengths) for d in range(port.rank)])
            ports.append(Port(name, shape, _DTYPES[port.dtype]))
        return tuple(ports)

    @property
    def nbytes(self):
        """Bytes the model holds in memory: packed weights, what it keeps of the file, its tables."""
        return le_model_bytes(self.c)

    @property
    def ops(self):
        """[(op, node name)] in execution order."""
        cdef const char *op = NULL
        cdef const char *name
        found = []
        for i in range(le_model_op_count(self.c)):
            name = le_model_op_name(self.c, <int>i, &op)
            found.append((op.decode(), name.decode("utf-8", "replace")))
        return found

    @property
    def is_step_model(self):
        """Whether one call of the network is one frame (`run` then takes frames first)."""
        return self.step_model

    def stream(self, batch=None):
        """A Stream with its own state, for one sequence or a batch of them. UnsupportedModelError when the model cannot stream."""
        streaming = self.metadata.get("streaming", {})
        if not streaming.get("supported", False):
            raise UnsupportedModelError(f"this model cannot stream: {streaming.get('why', 'the file does not say that it can')}; "
                                        "run() takes whole sequences")
        stream = Stream(self, batch)
        self._check_range("batch", (<Stream>stream).batch)
        (<Stream>stream).remembers = (<Stream>stream).multiple == 1
        return stream

    def forecast(self, history, steps, *, known=None, time=None, feedback=None, window=None):
        """What comes after `history`: (steps, targets), or (steps, targets, quantiles); batch first where history has a batch.

        history: frames of the series as run takes them, NaN where missing if the model takes gaps; {input: array} for files without
        metadata["forecast"] that have several inputs. steps: how many. known: values known of the times to come, (frames + steps, K)
        of the input `known`, steps in whole horizons, or {input: (steps - 1, ...)} of others. time: a time stamp for each frame,
        datetime64 or minutes since 1970. feedback: {output: input} that it continues, for files that do not say so. window: each
        step starts from the initial state over the last `window` frames, for networks that answer once. docs/forecasting.md.
        ShapeError says what does not fit.
        """
        from .forecasting import forecast_model
        return forecast_model(self, history, steps, known=known, time=time, feedback=feedback, window=window)

    def run(self, *arrays, lengths=None, threads=1, **named):
        """Runs whole sequences from the initial state. Returns the output, or a dict of outputs by name when there are several.

        arrays: one per input, in order or by name, in the model's dtypes; with or without the batch axis.
        lengths: (batch,) frames of each sequence of a ragged batch; each then gives the bits it would give alone, and outputs are
        zero beyond its end.
        threads: so many work on the sequences of a batch, to the same bits.
        A sequence without frames gives outputs without frames. ShapeError, with the output's name, where an output asks for more
        frames than there are: the last of none, a mean over none, a window that never fills.
        """
        values = self._arrange(arrays, named)
        if count_of_threads(threads, "run") > 1:
            from .many import run_in_threads
            return self._pack(run_in_threads(self, values, lengths, threads))
        if lengths is not None:
            return self._run_ragged(values, lengths)
        return self._pack(self._run_arrays(values))

    def _arrange(self, arrays, named):
        """An array of each input, in order."""
        return [self._array(i, v) for i, v in enumerate(self._in_order(arrays, named))]

    def _in_order(self, arrays, named):
        if len(arrays) > len(self.inputs):
            raise ShapeError(f"run: expected {len(self.inputs)} inputs, found {len(arrays)}")
        values = list(arrays)
        for port in self.inputs[len(arrays):]:
            if port.name not in named:
                raise ShapeError(f"run: input {port.name!r} is missing; the inputs are {[p.name for p in self.inputs]}")
            values.append(named.pop(port.name))
        if named:
            raise ShapeError(f"run: unknown input {next(iter(named))!r}; the inputs are {[p.name for p in self.inputs]}")
        return values

    def _array(self, int index, value):
        """`value` as a C-contiguous array of the input's dtype; see casting."""
        port = self.inputs[index]
        try:
            array = np.asarray(value)
        except ValueError as exc:  # rows of several lengths
            raise ShapeError(f"input {port.name!r}: expected an array of {port.dtype}, found {exc}") from None
        if array.dtype != port.dtype:
            from .casting import cast
            array = cast(array, port)
        return np.ascontiguousarray(array) if array.ndim else array

    def _sizes(self, values, bint no_batch, int batch, int frames, bint lead):
        """(batch, frames, count) that the arrays stand for; every axis is checked. lead: a leading axis counts steps."""
        batch, frames, count, _ = self._all_sizes(values, no_batch, batch, frames, lead)
        return batch, frames, count

    def _all_sizes(self, values, bint no_batch, int batch, int frames, bint lead):
        """The same with the further lengths, by name."""
        count, lengths = -1, {}
        for port, layout, value in zip(self.inputs, self.in_layouts, values):
            shape = value.shape
            expected = list(port.shape)
            if no_batch and (<Layout>layout).batch_axis >= 0:
                del expected[(<Layout>layout).batch_axis]
            if lead and shape:
                if count not in (-1, shape[0]):
                    raise ShapeError(f"input {port.name!r}: expected {count} frames, found {shape[0]}")
                count, shape = shape[0], shape[1:]
            if len(shape) != len(expected):
                raise ShapeError(f"input {port.name!r}: expected shape {self._shape_text(expected, lead)}, found {value.shape}")
            for size, have in zip(expected, shape):
                coef, symbol = split_size(size)
                bad = (coef == 0 or have % coef != 0) if symbol else have != coef
                if not bad and symbol == "batch":
                    bad = batch not in (-1, have // coef)
                    batch = have // coef if batch < 0 else batch
                elif not bad and symbol == "frames":
                    bad = frames not in (-1, have // coef)
                    frames = have // coef if frames < 0 else frames
                elif not bad and symbol:
                    bad = lengths.setdefault(symbol, have // coef) != have // coef
                if bad:
                    raise ShapeError(f"input {port.name!r}: expected shape {self._shape_text(expected, lead)}"
                                     f"{'' if batch < 0 else f' with batch {batch}'}{'' if frames < 0 else f', frames {frames}'}"
                                     f"{''.join([f', {k} {v}' for k, v in lengths.items()])}, found {value.shape}")
        return batch, frames, count, lengths

    def _shape_text(self, shape, lead):
        return "(" + ", ".join([str(s) for s in (["frames"] if lead else []) + list(shape)]) + ")"

    def _unbatched(self, values, bint lead):
        """Whether the arrays come without the batch axis."""
        for layout, value in zip(self.in_layouts, values):
            if (<Layout>layout).batch_axis >= 0:
                return value.ndim - lead < len((<Layout>layout).port.shape)
        return False

    def _run_arrays(self, values):
        stream, frames, count, no_batch = self._begin(values)
        try:
            results = (<Stream>stream)._call(values, frames, count, no_batch, False)
        finally:
            self._end(stream)
        for port, value in zip(self.outputs, results):
            if value is None:
                raise ShapeError(f"output {port.name!r}: expected a sequence long enough to answer it, found {max(frames, count)} frames")
        return results

    def trace(self, *arrays, lengths=None, **named):
        """What every LSTM, GRU, RNN and ConvLSTM of the model computes on run's inputs: an insight.Trace (docs/insight.md)."""
        from .insight.trace import trace
        return trace(self, self._arrange(arrays, named), lengths)

    def _begin(self, values):
        """(a stream for whole arrays, their frames, their count of steps, whether they come without the batch axis)."""
        lead = self.step_model
        no_batch = self._unbatched(values, lead)
        batch, frames, count, lengths = self._all_sizes(values, no_batch, -1, -1, lead)
        if batch == 0:
            raise ShapeError("batch: expected at least 1 sequence, found 0")
        for name, size in {"batch": batch, "frames": frames, **lengths}.items():
            if size >= 0:
                self._check_range(name, size)
        batch, frames = max(batch, 1), frames if frames >= 0 else 1
        return self._borrow(batch, frames, [lengths[name] for name in self.lengths]), frames, count, no_batch

    def _end(self, stream):
        if len(self.idle) < MOST_IDLE:
            self.idle.append(stream)

    def _rows_apart(self, int64_t frames):
        """Whether the sequences of a batch are each as if alone, looked at with so many frames."""
        if "batch" in self.ranges:
            return False
        if self.apart < 0:
            with nogil:
                self.apart = le_model_rows_apart(self.c, frames)
        return bool(self.apart)

    def _borrow_many(self, Stream stream not None, int threads):
        for i, many in enumerate(self.idle_many):
            if (<Many>many).batch == stream.batch and (<Many>many).threads >= threads:
                del self.idle_many[i]
                return many
        return Many(self, stream.batch, stream.multiple, threads)

    def _return_many(self, many):
        self.idle_many.insert(0, many)
        del self.idle_many[MOST_IDLE_MANY:]

    def _borrow(self, int64_t batch, int64_t frames, lengths):
        for i, stream in enumerate(self.idle):
            if (<Stream>stream).batch == batch:
                del self.idle[i]
                stream.reset()
                (<Stream>stream)._set_lengths(lengths)
                return stream
        return Stream(self, batch, frames, lengths)

    def _run_ragged(self, values, lengths):
        batch, frames, parts = self._ragged_parts(values, lengths)
        results = self._blank_outputs(batch, frames)
        for rows, part in parts:
            self._scatter(results, self._run_arrays(part), rows)
        return self._pack(results)

    def _ragged_parts(self, values, lengths):
        """A ragged batch by lengths: (batch, frames, [(rows of one length, their arrays)])."""
        lengths = np.asarray(lengths)
        axes = [((<Layout>l).batch_axis, (<Layout>l).frames_axis) for l in self.in_layouts]
        if self.step_model or not any([f >= 0 and b >= 0 for b, f in axes]):
            raise ShapeError("lengths: the model has no input with both a batch and a frames axis")
        if self.lengths:
            raise ShapeError(f"lengths: the model has inputs of other lengths, {', '.join(self.lengths)}; run the sequences one by one")
        batch, frames, _ = self._sizes(values, False, -1, -1, False)
        if lengths.shape != (batch,) or lengths.dtype.kind not in "iu" or (batch and (lengths.min() < 1 or lengths.max() > frames)):
            raise ShapeError(f"lengths: expected {batch} integers from 1 to {frames}, found {lengths!r}")
        parts = []
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            part = []
            for layout, value in zip(self.in_layouts, values):
                b = (<Layout>layout).batch_axis
                value = value if b < 0 else np.take(value, rows, axis=b)
                part.append(np.ascontiguousarray(value[(<Layout>layout).frames(value.shape, frames, length)]))
            parts.append((rows, part))
        return batch, frames, parts

    def _blank_outputs(self, batch, frames):
        """Zeros in the shapes that a run of so many sequences and frames gives."""
        stream = self._borrow(batch, frames, [])
        shapes = (<Stream>stream)._output_shapes(frames)
        if len(self.idle) < MOST_IDLE:
            self.idle.append(stream)
        return [np.zeros(() if s is None else s, p.dtype) for s, p in zip(shapes, self.outputs)]

    def _scatter(self, results, parts, rows):
        for i, (layout, part) in enumerate(zip(self.out_layouts, parts)):
            b = (<Layout>layout).batch_axis
            if b < 0:
                raise ShapeError(f"lengths: output {self.outputs[i].name!r} has no batch axis")
            place = [slice(0, size) for size in part.shape]  # of every axis that frames have a part in
            place[b] = rows
            results[i][tuple(place)] = part

    def _pack(self, results):
        if len(results) == 1:
            return results[0]
        return {port.name: value for port, value in zip(self.outputs, results)}


cdef bint is_range(value):
    """Whether metadata holds a range of sizes as _check_range reads it."""
    if not isinstance(value, list) or len(value) != 4:
        return False
    least, most, multiple, rest = value
    numbers = [least, multiple, rest] + ([] if most is None else [most])
    return all([type(n) is int and 0 <= n < 2**62 for n in numbers]) and multiple > 0


cdef tuple split_size(size):
    """(coefficient, symbol) of a size as Port.shape writes it."""
    if isinstance(size, str):
        head, star, tail = size.partition("*")
        return (int(head), tail) if star else (1, size)
    return size, ""


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
    cdef object seen_dtype
    cdef bytes seen_format, answer_format
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
        streaming = model.metadata.get("streaming", {})
        self.multiple = max(int(streaming.get("multiple", 1)), 1)
        n_frames = max(int(frames), self.multiple)
        for i in range(LE_MAX_LENGTHS):
            n_lengths[i] = lengths[i] if i < len(lengths) else 1
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
        return {"adaptation": self.learning, "counted": self.counted, "state": self._states(), "newest": self._newest_frames() if self.started else {}}

    def __setstate__(self, saved):
        if saved["adaptation"] is not None:
            self.adaptation(*saved["adaptation"])
        self.state = saved["state"]
        self._put_newest(self._checked_newest(saved["newest"]))
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

    @cython.binding(False)  # a method of C's, called through fewer hands
    def step(self, *arrays, out=None, **named):
        """One frame in, its answer out (None while a convolution's window is not full). Shapes as run's without the frames axis.

        arrays: as run's, or anything with the buffer protocol: values of the input's dtype, flat where it has no shape of its own
        (array.array), or 16-bit PCM, little-endian, in bytes or as `h`, whose samples are multiplied by 1/32768.
        out: a writable C-contiguous array of the answer's shape and dtype to write into, or any such buffer, flat or shaped (models with
        one output). With it, and frames in buffers, NumPy is never imported.
        ShapeError names what does not fit; the states then stay as they were.
        """
        if len(arrays) == 1 and self.seen_rank >= 0 and not named:
            answer = self._step_again(arrays[0], out)
            if answer is not None:
                return answer
        self.seen_rank = -1
        return self._step_first(self.model._in_order(arrays, named), out)

    cdef object _step_again(self, array, out):
        """The fast path: one input shaped like the last step's. None when it is not."""
        cdef Py_buffer view
        cdef Py_buffer answer
        cdef le_error err
        cdef le_status status
        cdef const void *frame
        cdef Py_ssize_t frame_bytes
        cdef int d
        if PyObject_GetBufferQuietly(array, &view) < 0:
            return None
        cdef bint same = view.ndim == self.seen_rank and view.format != NULL and view.format[0] == self.seen_format[0] \
            and view.format[1] == 0 and le_stream_generation(self.c) == self.seen_generation
        for d in range(view.ndim):
            if not same or view.shape[d] != self.seen_shape[d]:
                same = False
                break
        if not same or (self.scaled is not None and is_array(array)):
            PyBuffer_Release(&view)
            return None
        try:
            if out is None:
                out = np.empty(self.seen_out, self.seen_dtype) if _empty is None else _empty(self.seen_out, self.seen_dtype)
            PyObject_GetBuffer(out, &answer, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE | PyBUF_FORMAT)
            if not self._fits(&answer) and (answer.ndim != 1 or answer.len != self.seen_bytes or is_array(out)):
                PyBuffer_Release(&answer)
                raise ShapeError(f"out: expected one writable C-contiguous {self.seen_dtype} array of shape {self.seen_out}, found {describe(out)}")
        except BaseException as why:
            PyBuffer_Release(&view)
            if isinstance(why, (TypeError, ValueError, BufferError)) and not isinstance(why, LstmEdgeError):
                raise ShapeError(f"out: expected a writable C-contiguous array: {why}") from None
            raise
        if self.busy:
            PyBuffer_Release(&view)
            PyBuffer_Release(&answer)
            raise LstmEdgeError("stream: another thread is running it")
        self.busy = True
        frame, frame_bytes = view.buf, view.len
        if self.scaled is not None:
            frame, frame_bytes = <char *>self.scaled, len(self.scaled)
            scale_pcm(<const unsigned char *>view.buf, view.len // 2, <float *>frame)
        self.in_pointers[0] = frame
        self.out_pointers[0] = answer.buf
        if self.brief:
            status = le_stream_run(self.c, self.multiple, self.in_pointers, self.out_pointers, &err)
        else:
            with nogil:
                status = le_stream_run(self.c, self.multiple, self.in_pointers, self.out_pointers, &err)
        self.busy = False
        if status == LE_OK:
            self.counted += self.multiple
        if self.remembers and status == LE_OK and self.newest_size[0] == frame_bytes and self.newest_size[1] == answer.len:
            memcpy(self.newest[0], frame, frame_bytes)
            memcpy(self.newest[1], answer.buf, answer.len)
            self.newest_of = None
        PyBuffer_Release(&view)
        PyBuffer_Release(&answer)
        if status != LE_OK:
            raise_error(&err)
        return out

    cdef bint _fits(self, Py_buffer *answer):
        """Whether a buffer has the dtype of the last step's answer, and its shape."""
        cdef int d
        cdef bint fits = answer.format != NULL and answer.format[0] == self.answer_format[0] and answer.format[1] == 0 \
            and answer.len == self.seen_bytes
        if not fits:
            answer.ndim = 0  # not even flat
            return False
        if answer.ndim != self.answer_rank:
            return False
        for d in range(answer.ndim):
            if answer.shape[d] != self.answer_shape[d]:
                return False
        return True

    def _step_first(self, given, out):
        """Any step: adds the frames (and batch) axis where the caller left it out."""
        values = [self._frame(i, value) for i, value in enumerate(given)]
        full, drop_batch, drop_frames = self._full_frames(values)
        self._check_count(self.multiple)
        results = self._call(full, self.multiple, -1, drop_batch, drop_frames, out)
        self.counted += self.multiple
        results = [None if r is not None and r.nbytes == 0 else r for r in results]
        if self.n_in == 1 and self.n_out == 1 and results[0] is not None:
            self._remember(given[0], values[0], results[0])
            results[0] = results[0] if out is None else out
        return self.model._pack(results)

    def _frame(self, int index, value):
        """What step was given of an input: an array, or a memoryview of what NumPy is not needed for."""
        port, view = self.model.inputs[index], view_of(value)
        if view is None or not (has_dtype(view, port.dtype) or is_pcm(view, port.dtype)):
            return self.model._array(index, value)
        if not has_dtype(view, port.dtype):
            view = scaled(view)
        shape = (<Layout>self.model.in_layouts[index]).without(self._step_shape(port), not self.batched, True)
        if view.ndim != 1 or view.shape == shape:
            return view
        if view.shape[0] != product(shape):
            raise ShapeError(f"input {port.name!r}: expected a frame of shape {shape}, {product(shape)} values, found {view.shape[0]}")
        return reshaped(view, shape)

    cdef tuple _step_shape(self, port):
        """The shape of what a step takes of an input, with all axes."""
        sizes = {"": 1, "batch": self.batch, "frames": self.multiple}
        return tuple([coef * sizes.get(symbol, 1) for coef, symbol in map(split_size, port.shape)])

    cdef _remember(self, given, value, result):
        view = memoryview(value) if is_array(value) else memoryview(given)
        answer = memoryview(result)
        if self.bounded or view.ndim > LE_MAX_RANK or len(view.format) != 1 or len(answer.format) != 1:
            return
        self.seen_format, self.answer_format = view.format.encode(), answer.format.encode()
        self.scaled = None if has_dtype(view, self.model.inputs[0].dtype) else value.obj
        for d in range(view.ndim):
            self.seen_shape[d] = view.shape[d]
        for d in range(answer.ndim):
            self.answer_shape[d] = answer.shape[d]
        self.answer_rank = answer.ndim
        self.seen_out, self.seen_dtype, self.seen_bytes = result.shape, getattr(result, "dtype", self.model.outputs[0].dtype), answer.nbytes
        self.brief = le_model_bytes(self.model.c) + le_stream_bytes(self.c) <= BRIEF_BYTES
        self.seen_generation = self.prepared
        self.seen_rank = view.ndim

    def _full_frames(self, values):
        """(one frame with all axes of each input, checked; whether the batch was left out; whether frames)."""
        full, drop_frames, drop_batch = [], False, False
        for layout, value in zip(self.model.in_layouts, values):
            array, no_frames, no_batch = self._full_frame(layout, value)
            full.append(array)
            drop_frames |= no_frames
            drop_batch |= no_batch
        self.model._sizes(full, False, self.batch, self.multiple, False)
        return full, drop_batch, drop_frames

    def _check_frame(self, values):
        """Whether frames, one an input, lack the batch axis, and whether they lack that of frames."""
        return self._full_frames(values)[1:]

    def _full_frame(self, Layout layout not None, value):
        """(array with all axes of the input, whether frames was left out, whether batch was)."""
        shape = layout.port.shape
        missing = len(shape) - value.ndim
        per_frame = split_size(shape[layout.frames_axis])[0] if layout.frames_axis >= 0 else 0
        no_frames = missing > 0 and per_frame * self.multiple == 1  # else the axis counts values of a frame
        missing -= no_frames
        no_batch = missing > 0 and layout.batch_axis >= 0
        missing -= no_batch
        if missing:
            expected = [s for d, s in enumerate(shape) if d not in (layout.frames_axis, layout.batch_axis)]
            raise ShapeError(f"input {layout.port.name!r}: expected one frame of shape {self.model._shape_text(expected, False)}, "
                             f"found {value.shape}")
        for axis in sorted([layout.frames_axis] * no_frames + [layout.batch_axis] * no_batch):
            value = reshaped(value, value.shape[:axis] + (1,) + value.shape[axis:])
        return value, no_frames, no_batch

    def run(self, *arrays, **named):
        """Runs a chunk of frames from the current state; shapes as Model.run's. Step models take frames first."""
        values = self.model._arrange(arrays, named)
        lead = self.model.step_model
        no_batch = self.model._unbatched(values, lead)
        _, frames, count = self.model._sizes(values, no_batch, -1 if no_batch else self.batch, -1, lead)
        if no_batch and self.batch != 1:
            raise ShapeError(f"batch: expected {self.batch} sequences, found arrays without a batch axis")
        if frames % self.multiple and not lead:
            raise ShapeError(f"frames: expected a multiple of {self.multiple} (the model's hop), found {frames}")
        self.seen_rank = -1
        self._check_count(frames)
        results = self._call(values, 1 if lead else frames, count, no_batch, False)
        self.counted += count if lead else frames
        return self.model._pack(results)

    cdef _check_count(self, int64_t frames):
        """ShapeError where the frames so far are a length that the model was not exported for."""
        if self.bounded:
            self.model._check_range("frames", self.counted + frames,
                                    f" since the stream began ({self.counted} and {frames}): give the first frames in one run, or reset()")

    def _call(self, values, int64_t frames, int64_t count, bint no_batch, bint no_frames, out=None, int64_t repeat=1):
        """`count` runs (-1: one, `repeat` times) on full arrays; a list of outputs, None where absent."""
        cdef le_error err
        cdef le_status status
        cdef int64_t dims[LE_MAX_RANK]
        if self.busy:
            raise LstmEdgeError("stream: another thread is running it")
        self.busy = True
        cdef int held = 0, i
        cdef int64_t turn
        try:
            if le_stream_prepare(self.c, frames, &err) != LE_OK:
                raise_error(&err)
            self.prepared = le_stream_generation(self.c)
            results = []
            for i in range(self.n_out):
                rank = le_stream_output_shape(self.c, i, dims)
                if rank < 0 and count > 0:
                    raise UnsupportedModelError(f"output {self.model.outputs[i].name!r} has no answer yet in a step model")
                full = tuple([dims[d] for d in range(rank)]) if rank >= 0 else None
                results.append(self._output(i, full, count, no_batch, no_frames, out))
            for i in range(self.n_in):
                PyObject_GetBuffer(values[i], &self.views[held], PyBUF_C_CONTIGUOUS)
                self.in_pointers[i] = self.views[held].buf
                held += 1
            for i in range(self.n_out):
                self.out_pointers[i] = NULL
                if results[i] is not None:
                    PyObject_GetBuffer(results[i], &self.views[held], PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
                    self.out_pointers[i] = self.views[held].buf
                    held += 1
            with nogil:
                if count < 0:
                    for turn in range(repeat):
                        status = le_stream_run(self.c, frames, self.in_pointers, self.out_pointers, &err)
                        if status != LE_OK:
                            break
                else:
                    status = le_stream_run_many(self.c, count, frames, self.in_pointers, self.out_pointers, &err)
            if status != LE_OK:
                raise_error(&err)
            if self.remembers:
                self._remember_newest(results, count, no_frames)
            return results
        finally:
            for i in range(held):
                PyBuffer_Release(&self.views[i])
            self.busy = False

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

    cdef _remember_newest(self, results, int64_t count, bint no_frames):
        """Copies the last frame of what the views hold: all inputs, then the outputs that are there."""
        cdef int i, held = self.n_in
        self.newest_of = None
        for i in range(self.n_in):
            self._remember_frame(i, self.model.in_layouts[i], &self.views[i], count, False)
        for i in range(self.n_out):
            if results[i] is None or not (<Layout>self.model.out_layouts[i]).known:
                self.newest_size[self.n_in + i] = 0
            else:
                self._remember_frame(self.n_in + i, self.model.out_layouts[i], &self.views[held], count, no_frames)
            held += results[i] is not None
        self.started = True

    cdef _remember_frame(self, int index, Layout layout, Py_buffer *view, int64_t count, bint no_frames):
        cdef Py_ssize_t outer = 1, size = view.itemsize, rows = 1, before
        cdef int axis = 0 if count >= 0 else -1, d
        if count < 0 and not no_frames and layout.frames_axis >= 0:
            axis = layout.frames_axis
            if layout.batch_axis >= 0 and layout.batch_axis < axis:
                axis -= len(layout.port.shape) - view.ndim
            rows = split_size(layout.port.shape[layout.frames_axis])[0]
        for d in range(view.ndim):
            if d < axis:
                outer *= view.shape[d]
            elif d != axis:
                size *= view.shape[d]
        before = view.shape[axis] - rows if axis >= 0 else 0
        if before < 0:  # no frames: the newest is still the one before
            return
        size *= rows
        self._resize_newest(index, outer * size)
        before *= size // rows
        for d in range(outer):
            memcpy(self.newest[index] + d * size, <char *>view.buf + d * (before + size) + before, size)

    def _newest(self, int index, shape):
        """The newest frame of input `index` (outputs follow the inputs), as an array of the shape; None before there is one."""
        self._settle_newest()
        if not self.started or self.newest_size[index] == 0:
            return None
        port = (self.model.inputs + self.model.outputs)[index]
        return np.frombuffer(self.newest[index][:self.newest_size[index]], port.dtype).reshape(shape)

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
            roll = le_roll(count=count, frames=frames, fresh=fresh, inputs=pointers, advance=steps, outputs=pointers + self.n_in,
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

    def _output(self, int index, full, int64_t count, bint no_batch, bint no_frames, out):
        """The array that receives an output, shaped as the caller sees it."""
        if full is None:
            return None
        cdef Layout layout = self.model.out_layouts[index]
        shape = layout.without(full, no_batch, no_frames)
        shape = (count,) + shape if count >= 0 else shape
        if out is not None and self.n_out == 1 and 0 in shape:
            return memoryview(bytearray(1))[:0]  # no answer yet: `out` stays as it is
        return answer_array(out, shape, layout.port.dtype, self.n_out == 1)

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
        found = self._states()
        if self.started and "forecast" in self.model.metadata:
            found.update(self._newest_frames())
        return found

    cdef dict _states(self):
        found = {}
        for i in range(len(self.model.states)):
            found[self.model.states[i].name] = self._get_state(<int>i)
        found.update(self._adapted())
        return found

    cdef dict _newest_frames(self):
        """{newest.NAME: array} of every input and output that has one."""
        self._settle_newest()
        found = {}
        for i, port in enumerate(self.model.inputs + self.model.outputs):
            if self.newest_size[i]:
                found[f"newest.{port.name}"] = self._newest(<int>i, self._frame_shape(port))
        return found

    cdef tuple _frame_shape(self, port):
        """The shape of one frame of an input or output whose shape is known."""
        return tuple([coef * (self.batch if symbol == "batch" else 1) for coef, symbol in map(split_size, port.shape)])

    cdef dict _checked_newest(self, values):
        """The newest frames in a state, by place; none unless all are there."""
        ports = self.model.inputs + self.model.outputs
        found = {}
        for i, port in enumerate(ports):
            if port.shape is not None and f"newest.{port.name}" in values:
                array = np.ascontiguousarray(values[f"newest.{port.name}"])
                if array.dtype != port.dtype or array.shape != self._frame_shape(port):
                    raise ShapeError(f"state newest.{port.name}: expected {port.dtype} of shape {self._frame_shape(port)}, found {describe(array)}")
                found[i] = array
        return found if len(found) == len(ports) else {}

    cdef _settle_newest(self):
        """Takes this stream's own rows of what step_many kept for all."""
        if self.newest_of is None:
            return
        inputs, outputs = self.newest_of
        frames = {}
        for i, (layout, rows) in enumerate(zip(self.model.in_layouts + self.model.out_layouts, inputs + outputs)):
            if rows[self.newest_row] is None or not (<Layout>layout).known:
                self.newest_size[i] = 0
            else:
                frames[i] = np.ascontiguousarray(rows[self.newest_row])
        self._put_newest(frames)

    cdef _put_newest(self, frames):
        cdef Py_buffer view
        cdef int i
        self.started = bool(frames)
        self.newest_of = None
        for i, array in frames.items():
            PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS)
            try:
                self._resize_newest(i, view.len)
                memcpy(self.newest[i], view.buf, view.len)
            finally:
                PyBuffer_Release(&view)

    cdef _resize_newest(self, int index, Py_ssize_t size):
        if self.newest[index] == NULL or self.newest_size[index] != size:  # never NULL, which memcpy may not be given even for no bytes
            self.newest_size[index] = 0
            self.newest[index] = <char *>PyMem_Realloc(self.newest[index], size + 1)
            if self.newest[index] == NULL:
                raise MemoryError("a stream's newest frame")
            self.newest_size[index] = size

    cdef _get_state(self, int index):
        cdef int64_t dims[LE_MAX_RANK]
        cdef Py_buffer view
        cdef const void *data = le_stream_state(self.c, index, dims)
        port = self.model.states[index]
        array = np.empty(tuple([dims[d] for d in range(len(port.shape))]), port.dtype)
        PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        memcpy(view.buf, data, <size_t>view.len)
        PyBuffer_Release(&view)
        return array

    @state.setter
    def state(self, values):
        self._idle()
        before = self._states()
        names = list(before)
        frames = {}
        if "forecast" in self.model.metadata and hasattr(values, "keys"):
            frames = self._checked_newest(values)
            values = {name: values[name] for name in values.keys() if not name.startswith("newest.")}
        if not hasattr(values, "keys") or set(values.keys()) != set(names):
            found = sorted(values) if hasattr(values, "keys") else type(values).__name__
            advice = "; the names adapt.* are of a stream after adaptation()" if "adapt." in f"{names}{found}" else ""
            raise ShapeError(f"state: expected a dict with {names}, found {found}{advice}")
        try:
            self._put_states(values, before)
        except BaseException:
            self._put_states(before, before)
            raise
        self.seen_rank = -1
        self._put_newest(frames)

    cdef _put_states(self, values, before):
        for i, port in enumerate(self.model.states):
            self._put_state(<int>i, port, values[port.name])
        for i, name in enumerate(list(before)[len(self.model.states):]):
            self._put_adapted(<int>i, name, values[name], before[name].shape)

    cdef _put_state(self, int index, port, value):
        cdef int64_t dims[LE_MAX_RANK]
        cdef le_error err
        cdef Py_buffer view
        cdef le_status status
        array = np.ascontiguousarray(value)
        if array.dtype != port.dtype:
            raise ShapeError(f"state {port.name!r}: expected dtype {port.dtype}, found {array.dtype}")
        if np.ndim(value) != len(port.shape):
            raise ShapeError(f"state {port.name!r}: expected shape {port.shape}, found {np.shape(value)}")
        for d in range(len(port.shape)):
            dims[d] = array.shape[d]
        PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS)
        status = le_stream_set_state(self.c, index, dims, view.buf, &err)
        PyBuffer_Release(&view)
        if status != LE_OK:
            raise_error(&err)

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

    cdef dict _adapted(self):
        """{name: array}: what adaptation keeps; nothing while it is off."""
        cdef int64_t dims[LE_MAX_RANK]
        cdef const char *name = NULL
        cdef int rank = 0
        cdef Py_buffer view
        cdef const double *data
        found = {}
        while True:
            data = le_stream_adaptation_state(self.c, <int>len(found), &name, &rank, dims)
            if data == NULL:
                return found
            array = np.empty(tuple([dims[d] for d in range(rank)]), np.float64)
            PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
            memcpy(view.buf, data, <size_t>view.len)
            PyBuffer_Release(&view)
            found[name.decode()] = array

    cdef _put_adapted(self, int index, name, value, shape):
        cdef le_error err
        cdef le_status status
        cdef Py_buffer view
        array = np.ascontiguousarray(value)
        if array.dtype != np.float64 or np.shape(value) != shape:
            raise ShapeError(f"state {name!r}: expected float64 of shape {shape}, found {array.dtype} of shape {np.shape(value)}")
        PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS)
        status = le_stream_set_adaptation_state(self.c, index, <const double *>view.buf, &err)
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


cdef void fill_feed(le_feed *feed, box):
    feed.output, feed.input, feed.source, feed.to = box[:4]
    for d in range(3):
        feed.size[d], feed.from_step[d], feed.to_step[d] = box[4][d], box[5][d], box[6][d]


cdef str ports_text(ports):
    """x (batch, frames, 5), n int32 (): the dtype where it is not float32."""
    return ", ".join([" ".join([p.name, *([] if p.dtype == "float32" else [p.dtype]), "?" if p.shape is None else f"({', '.join(map(str, p.shape))})"])
                      for p in ports])


include "_many.pxi"


cdef class OnDisk:
    """A file that a model was loaded from: read again where its bytes are wanted, so that the model does not keep them."""
    cdef str path
    cdef bytes head  # holds the checksum of all else
    cdef readonly bytes data  # while the model is made

    def __init__(self, path):
        self.path = os.path.abspath(os.fsdecode(path))
        with open(path, "rb") as file:
            self.data = file.read()
        self.head = self.data[:HEADER]

    def read(self):
        with open(self.path, "rb") as file:
            data = file.read()
        if data[:HEADER] != self.head:
            raise LstmEdgeError(f"{self.path}: expected the file that the model was loaded from, found that it has changed since; load it again")
        return data


def load(path, isa=None):
    """Reads a .lstm file (a path, or the file's bytes in anything with the buffer protocol) into a Model.

    isa: the kernel table to use, by name; None for LSTM_EDGE_ISA or the best of this CPU.
    Raises FormatError, UnsupportedModelError, OSError.
    A model that was loaded from a path keeps the path, not the bytes: pickling it reads the file again, which must be the same.
    """
    if not isinstance(path, (str, os.PathLike)) and PyObject_CheckBuffer(path):
        return Model(path, isa)
    try:
        return Model(OnDisk(path), isa)
    except LstmEdgeError as why:
        raise type(why)(f"{os.fspath(path)}: {why}") from None
