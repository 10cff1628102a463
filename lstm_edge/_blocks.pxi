# Part of _core.pyx: runs of many frames in blocks, between which a signal such as Ctrl-C is seen.

from cpython.exc cimport PyErr_CheckSignals

cdef enum:
    BLOCK_BYTES = 1 << 25  # of weights that the first block goes over, a guess at some milliseconds; those after it go by the clock
    SHORT_BLOCKS = 4  # a run of fewer is over so soon that it is one call
    MOST_GROWTH = 4

cdef double BLOCK_SECONDS = 0.02


class Stopped(Exception):
    """A run of many frames saw that its caller wanted no more of it."""


cdef list run_long(Stream stream, list values, int64_t frames, int64_t count, bint no_batch, list stop=None, first=None):
    """Stream._call of a whole run; where that may take long and the model streams, in blocks of frames, to the same bits.

    stop: the run ends with Stopped once anything is in it. first: frames of the first block, for tests.
    Whatever ends it in between, the states are then what they were before.
    """
    cdef bint lead = count >= 0
    cdef int64_t total = count if lead else frames
    cdef int64_t block = first_block(stream, lead) if first is None else first
    if total <= (SHORT_BLOCKS * block if first is None else block) or not divides(stream, frames, lead):
        return stream._call(values, frames, count, no_batch, False)
    stream._idle()
    before = states_of(stream)
    remembers, stream.busy = stream.remembers, True
    try:
        whole = [None if shape is None else np.empty(shape, port.dtype)
                 for shape, port in zip(stream._shapes(frames, count, no_batch, False), stream.model.outputs)]
        run_blocks(stream, values, whole, total, block, lead, no_batch, stop)
        return whole
    except BaseException:
        put_states(stream, before, before)
        raise
    finally:
        stream.remembers, stream.busy = remembers, False


cdef int64_t first_block(Stream stream, bint lead):
    cdef int64_t unit = 1 if lead else stream.multiple
    cdef int64_t weights = max(<int64_t>le_model_bytes(stream.model.c), <int64_t>256) * stream.batch
    return (BLOCK_BYTES // weights // unit + 1) * unit


cdef bint divides(Stream stream, int64_t frames, bint lead) except -1:
    """Whether blocks of frames give what one call gives: streams promise it. Adaptation and the figures of ops are of one call each."""
    if stream.observed is not None or le_stream_op_seconds(stream.c) != NULL:
        return False
    if stream.batch > 1 and any([merges(layout) for layout in stream.model._out_layouts]):
        return False
    return lead or (frames % stream.multiple == 0 and bool(stream.model.metadata.get("streaming", {}).get("supported", False)))


cdef bint merges(Layout layout) except -1:
    """Whether an output's axis of frames may hold those of several sequences, one sequence after another."""
    return not layout.known or (layout.frames_axis >= 0 and names_size(layout.port.shape[layout.frames_axis], "batch"))


cdef run_blocks(Stream stream, list values, list whole, int64_t total, int64_t block, bint lead, bint no_batch, list stop):
    cdef int64_t done = 0, now
    cdef int64_t unit = 1 if lead else stream.multiple
    cdef bint remembers = stream.remembers
    cdef double started, seconds
    cdef list axes = [0 if lead else input_axis(layout, value) for layout, value in zip(stream.model._in_layouts, values)]
    cdef list ends = [0] * stream.n_out
    cdef list left = [0 if array is None else array.size for array in whole]
    while done < total:
        now = min(block, total - done)
        stream.remembers = remembers and done + now == total
        started = perf_counter()
        inputs = [value if axis < 0 else part_of(value, axis, done * (value.shape[axis] // total), now * (value.shape[axis] // total))
                  for axis, value in zip(axes, values)]
        run_block(stream, inputs, whole, ends, left, now, lead, no_batch)
        done += now
        seconds = perf_counter() - started
        if not BLOCK_SECONDS / 4 < seconds < BLOCK_SECONDS * 2:
            block = max(<int64_t>(block * min(BLOCK_SECONDS / max(seconds, 1e-9), <double>MOST_GROWTH)) // unit * unit, unit)
        if done < total:  # what comes during the last block is seen behind the call, whose newest frames are kept by then
            PyErr_CheckSignals()
            if stop:
                raise Stopped
    for port, missing in zip(stream.model.outputs, left):
        if missing:
            raise other_size(port)


cdef other_size(port):
    """What raises where a file says that it streams, and its answers in parts are not those of the whole."""
    return FormatError(f"output {port.name!r}: expected as many values from a stream as from one run")


cdef int input_axis(Layout layout, value) except -2:
    """Where an input's frames lie in an array that may have come without the batch axis; -1: it has none."""
    cdef int axis = layout.frames_axis
    return axis - (value.ndim < len(layout.port.shape) and 0 <= layout.batch_axis < axis)


cdef part_of(value, int axis, int64_t start, int64_t size):
    return np.ascontiguousarray(value[(slice(None),) * axis + (slice(start, start + size),)])


cdef run_block(Stream stream, list inputs, list whole, list ends, list left, int64_t now, bint lead, bint no_batch):
    """Runs `now` frames. Their answers go into those of the whole, each behind what `ends` says is there; `left`: how much is missing then."""
    cdef int64_t frames = 1 if lead else now
    cdef int64_t count = now if lead else -1
    cdef list places = []
    for i, shape in enumerate(stream._shapes(frames, count, no_batch, False)):
        if shape is None or whole[i] is None:
            places.append(None)
            continue
        axis = output_axis(shape, whole[i].shape)
        start = 0 if axis < 0 else ends[i]
        place = whole[i] if axis < 0 else whole[i][(slice(None),) * axis + (slice(start, start + shape[axis]),)]
        if place.shape != shape:
            raise other_size(stream.model.outputs[i])
        places.append(place)
        ends[i] = start + (0 if axis < 0 else shape[axis])
        left[i] = 0 if axis < 0 else whole[i].shape[axis] - ends[i]
    answers = [place if place is None or place.flags.c_contiguous else np.empty(place.shape, place.dtype) for place in places]
    stream._compute(inputs, answers, frames, count, False, None, 1)
    for place, answer in zip(places, answers):
        if place is not answer:
            place[...] = answer


cdef int output_axis(shape, whole) except -2:
    """The first axis along which a block's answer is less than the whole; -1: it is all of it."""
    for axis, (part, size) in enumerate(zip(shape, whole)):
        if part != size:
            return axis
    return -1
