# cython: language_level=3, binding=True, embedsignature=False
"""The one crossing from Python to the C core: Model and Stream over the buffer protocol (stable ABI, no NumPy headers).

Shapes. A model's input has a batch axis, a frames axis, both or neither; `run` takes arrays shaped as the framework's, or without the
batch axis for one sequence; `step` takes one frame: the same without the frames axis. Outputs come back shaped alike.
A *step model* (metadata `step`, with states) has no frames axis: one call of its network is one frame, and `run` takes frames first.
"""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBUF_WRITE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Realloc
from libc.stdint cimport int16_t, int64_t, uint16_t, uint64_t
from libc.string cimport memcpy

import os
import sys
from time import perf_counter

try:
    from _json import make_scanner
except ImportError:  # an interpreter whose json is all Python
    make_scanner = None

from .errors import FormatError, LstmEdgeError, MemoryLimitError, ShapeError, UnsupportedModelError


class Port(tuple):
    """An input, output or state: name, shape (ints, 'batch', 'frames' or text such as '2*frames'), dtype."""
    # A named tuple written out, since `collections` takes a millisecond to import.
    __slots__ = ()
    _fields = __match_args__ = ("name", "shape", "dtype")
    name, shape, dtype = [property(lambda self, i=i: self[i]) for i in range(3)]

    def __new__(cls, name, shape, dtype):
        return tuple.__new__(cls, (name, shape, dtype))

    def __getnewargs__(self):
        return tuple(self)

    def __repr__(self):
        return f"Port(name={self[0]!r}, shape={self[1]!r}, dtype={self[2]!r})"

    @classmethod
    def _make(cls, values):
        return cls(*values)

    def _asdict(self):
        return dict(zip(self._fields, self))

    def _replace(self, **changed):
        return Port(**{**self._asdict(), **changed})


include "_buffers.pxi"
include "_numpy.pxi"

_DTYPES = {LE_F32: "float32", LE_I32: "int32", LE_BOOL: "bool"}
_ERRORS = {LE_ERR_FORMAT: FormatError, LE_ERR_UNSUPPORTED: UnsupportedModelError, LE_ERR_SHAPE: ShapeError,
           LE_ERR_VALUE: LstmEdgeError, LE_ERR_MEMORY: MemoryError, LE_ERR_LIMIT: MemoryLimitError}

cdef enum:
    MOST_IDLE = 8  # streams that a model keeps for later runs
    MOST_IDLE_MANY = 2  # and what calls of many streams need
    MOST_THREADS = 1024
    HEADER = 64  # bytes of a file's header
    BRIEF_BYTES = 1 << 16  # of a model and of a stream: a step of fewer is over before another thread could use the lock that it lets go


cdef raise_error(le_error *err):
    raise _ERRORS.get(err.status, LstmEdgeError)(err.message.decode("utf-8", "replace"))


include "_isas.pxi"
include "_layout.pxi"


cdef class Model:
    """A model read from a .lstm file's bytes: immutable, shared by any number of streams and threads. load() reads one from a path.

    isa: the kernel table to use, by name; None for the environment variable LSTM_EDGE_ISA or the best of this CPU.
    max_memory: bytes that the model, and the model with any one stream of it, may hold; None: load() says what that is.
    Raises FormatError (damaged or newer file), UnsupportedModelError (unknown op or ISA), MemoryLimitError.
    Pickles by the file's bytes; a copy is the model itself.
    """
    cdef le_model *c
    cdef object file  # the bytes that it was made of, or an OnDisk: what is pickled
    cdef object wanted  # the ISA that was asked for
    cdef object most  # bytes, or None
    cdef readonly tuple inputs, outputs, states
    cdef readonly dict metadata
    cdef readonly str isa
    cdef readonly tuple _in_layouts, _out_layouts
    cdef list lengths  # names of the open lengths beside batch and frames
    cdef dict ranges  # open size -> (least, most or None, multiple, rest): where the source says that its network holds
    cdef list idle  # streams of finished runs, kept for the next
    cdef readonly dict _plans  # what forecasting found out about this model, by what was fed back
    cdef list idle_many  # of finished step_manys
    cdef int64_t multiple  # frames that a stream takes at once
    cdef int apart  # whether rows of a batch are each as if alone; -1: not looked at yet
    cdef bint step_model, has_batch

    def __cinit__(self, data, isa=None, max_memory=None):
        cdef le_error err
        cdef le_options options
        options.size = sizeof(le_options)
        options.isa = NULL
        options.max_memory = 0 if max_memory is None else checked_memory(max_memory)
        if isa is not None:
            isa_bytes = isa_name(isa)
            options.isa = isa_bytes
        self.c = (<OnDisk>data).open(&options, &err) if isinstance(data, OnDisk) else open_bytes(data, &options, &err)
        if self.c == NULL:
            raise_error(&err)
        self.wanted, self.most = isa, max_memory
        self._describe(data)

    cdef _describe(self, data):
        """What the file says of the model in Python's terms: there is no object without it."""
        cdef size_t size = 0
        cdef const char *text = le_model_metadata(self.c, &size)
        try:
            metadata = read_json(text[:size].decode()) if size else {}
        except (ValueError, RecursionError) as why:
            raise FormatError(f"section META: expected JSON, found {why}") from None
        if not isinstance(metadata, dict):
            raise FormatError(f"section META: expected a JSON object, found {type(metadata).__name__}")
        self.metadata = metadata
        from .metadata import checked  # not where the package alone is imported, for its version or its help
        checked(metadata, text[:size], "section META")
        self.multiple = self.metadata.get("streaming", {}).get("multiple", 1)
        self.lengths = self._length_names()
        self.ranges = self._checked_ranges()
        self.isa = le_model_isa(self.c).decode()
        self.inputs = self._ports(LE_INPUT)
        self.outputs = self._ports(LE_OUTPUT)
        self.states = self._ports(LE_STATE)
        self._in_layouts = tuple([Layout(p) for p in self.inputs])
        self._out_layouts = tuple([Layout(p) for p in self.outputs])
        self.has_batch = any([names_size(str(n), "batch") for port in self.inputs for n in port.shape])
        self.step_model = bool(self.states) and not any([(<Layout>l).frames_axis >= 0 for l in self._in_layouts])
        self.idle = []
        self.idle_many = []
        self.apart = -1
        self._plans = {}
        self.file = data if isinstance(data, OnDisk) else bytes(data)

    def __repr__(self):
        return (f"<lstm_edge.Model {ports_text(self.inputs)} -> {ports_text(self.outputs)}: {le_model_precision(self.c).decode()} weights, "
                f"{self.isa}, {self.nbytes:,} bytes>")

    def __reduce__(self):
        return Model, (self.file.read() if isinstance(self.file, OnDisk) else self.file, self.wanted, self.most)

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
            reason = "for which the model was exported"
            if name == "frames" and self._sounds():
                name, reason = f"input {self._sounds()[0]!r}: samples", "which its audio features need"
            raise ShapeError(f"{name}: expected {limits}{steps}, {reason}, found {size}{advice}")

    def _sounds(self):
        """The inputs that take samples, of which the file computes features."""
        return list(self.metadata.get("before", ()))

    cdef tuple _ports(self, le_role role):
        cdef le_port port
        cdef dict names = {}
        ports = []
        shapes = self.metadata.get("outputs", {}) if role == LE_OUTPUT else {}
        for i in range(le_model_count(self.c, role)):
            port = le_model_port(self.c, role, <int>i)
            name = decoded(port.name, names)
            if role == LE_OUTPUT:
                shape = shapes.get(name)
                shape = None if shape is None else tuple(shape)
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
        cdef dict names = {}
        found = []
        for i in range(le_model_op_count(self.c)):
            name = le_model_op_name(self.c, <int>i, &op)
            found.append((decoded(op, names), decoded(name, names)))
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
        except Exception as exc:  # rows of several lengths, or what another library says of its tensor
            raise ShapeError(f"input {port.name!r}: expected an array of {port.dtype}, found {exc}") from exc
        hidden = getattr(value, "mask", None) if is_array(value) else None  # NumPy's masked array
        if hidden is not None and np.any(hidden):
            raise ShapeError(f"input {port.name!r}: expected values, found {np.sum(hidden)} masked; .filled(value) says what stands in their place")
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
        for port, layout, value in zip(self.inputs, self._in_layouts, values):
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
        for layout, value in zip(self._in_layouts, values):
            if (<Layout>layout).batch_axis >= 0:
                return value.ndim - lead < len((<Layout>layout).port.shape)
        return False

    def _run_arrays(self, values, stop=None, first=None):
        """Outputs of whole arrays. stop, first: as run_long has them."""
        stream, frames, count, no_batch = self._begin(values)
        try:
            results = run_long(stream, values, frames, count, no_batch, stop, first)
        finally:
            self._end(stream)
        for port, value in zip(self.outputs, results):
            if value is None:
                long = f"expected a sequence long enough to answer it, found {max(frames, count)}"
                sounds = self._sounds()
                raise ShapeError(f"input {sounds[0]!r}: output {port.name!r}: {long} samples" if sounds else f"output {port.name!r}: {long} frames")
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
        """Whether the sequences of a batch are each as if alone, looked at with at most so many frames: with few, since it takes several runs."""
        cdef int64_t few = min(frames, 64 * max(int(self.metadata.get("streaming", {}).get("multiple", 1)), 1))
        if "batch" in self.ranges:
            return False
        if self.apart < 0:
            with nogil:
                self.apart = le_model_rows_apart(self.c, few) or (few < frames and le_model_rows_apart(self.c, frames))
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
        axes = [((<Layout>l).batch_axis, (<Layout>l).frames_axis) for l in self._in_layouts]
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
            for layout, value in zip(self._in_layouts, values):
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
        for i, (layout, part) in enumerate(zip(self._out_layouts, parts)):
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


include "_stream.pxi"
include "_blocks.pxi"
include "_stream_step.pxi"
include "_stream_newest.pxi"
include "_stream_states.pxi"
include "_many.pxi"


cdef class OnDisk:
    """A file that a model was loaded from: read again where its bytes are wanted, so that the model does not keep them."""
    cdef object given  # the path, as the caller's errors name it
    cdef str path
    cdef bytes head  # holds the checksum of all else

    def __init__(self, path):
        self.given = path
        self.path = os.path.abspath(os.fsdecode(path))

    cdef le_model *open(self, const le_options *options, le_error *err) except? NULL:
        """The model, from memory that goes back to the system at once: bytes of Python's would leave a hole of their size."""
        cdef le_model *model
        cdef size_t size, room
        cdef void *data = NULL
        with open(self.given, "rb") as file:
            room = os.fstat(file.fileno()).st_size + 1  # one more than it has, to see whether it grows; a pipe has none
            if room > 1 and file.peek(8)[:8] != b"LSTMEDGE":  # not worth reading: a sparse file of another kind may be larger than memory
                return open_bytes(file.read(HEADER), options, err)
            if 0 < options.max_memory < room:
                raise MemoryLimitError(f"expected a file of less than the {options.max_memory} bytes of max_memory, found {room - 1}")
            data = le_alloc(room)
            if data == NULL:
                raise MemoryError(f"{self.path}: cannot allocate {room} bytes")
            try:
                size = file.readinto(PyMemoryView_FromMemory(<char *>data, room, PyBUF_WRITE))
                self.head = (<const char *>data)[:min(size, <size_t>HEADER)]
                rest = file.read() if size == room else b""
                if rest:
                    return open_bytes((<const char *>data)[:size] + rest, options, err)
                with nogil:
                    model = le_model_open(data, size, options, err)
                return model
            finally:
                le_free(data, room)

    def read(self):
        with open(self.path, "rb") as file:
            data = file.read()
        if data[:HEADER] != self.head:
            raise LstmEdgeError(f"{self.path}: expected the file that the model was loaded from, found that it has changed since; load it again")
        return data


cdef uint64_t checked_memory(max_memory) except? 0:
    if not is_whole(max_memory) or not 1 <= max_memory < 1 << 63:
        raise LstmEdgeError(f"max_memory: expected None or a number of bytes of at least 1, found {max_memory!r}")
    return max_memory


cdef str decoded(const char *text, dict seen):
    """A name of the file's, which many records may share."""
    name = seen.get(<size_t>text)
    if name is None:
        name = seen[<size_t>text] = text.decode("utf-8", "replace")
    return name


cdef le_model *open_bytes(data, const le_options *options, le_error *err) except? NULL:
    cdef le_model *model
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_C_CONTIGUOUS)
    with nogil:
        model = le_model_open(view.buf, <size_t>view.len, options, err)
    PyBuffer_Release(&view)
    return model


def load(path, isa=None, max_memory=None):
    """Reads a .lstm file (a path, or the file's bytes in anything with the buffer protocol) into a Model.

    isa: the kernel table to use, by name; None for LSTM_EDGE_ISA or the best of this CPU.
    max_memory: bytes that the model, and the model with any one of its streams, may hold. None: 56 MiB and 16 times the file,
    of which a stream may have as much for every frame of every sequence that it is given.
    Raises FormatError, UnsupportedModelError, MemoryLimitError, OSError.
    A model that was loaded from a path keeps the path, not the bytes: pickling it reads the file again, which must be the same.
    """
    if not isinstance(path, (str, os.PathLike)) and PyObject_CheckBuffer(path):
        return Model(path, isa, max_memory)
    try:
        return Model(OnDisk(path), isa, max_memory)
    except LstmEdgeError as why:
        raise type(why)(f"{os.fspath(path)}: {why}") from None
