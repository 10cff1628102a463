# Part of _core.pyx: what Stream.step does, one frame in, its answer out.

cdef object step_again(Stream stream, array, out):
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
    cdef bint same = view.ndim == stream.seen_rank and view.format != NULL and view.format[0] == stream.seen_format[0] \
        and view.format[1] == 0 and le_stream_generation(stream.c) == stream.seen_generation
    for d in range(view.ndim):
        if not same or view.shape[d] != stream.seen_shape[d]:
            same = False
            break
    if not same or (stream.scaled is not None and is_array(array)):
        PyBuffer_Release(&view)
        return None
    try:
        if out is None:
            out = np.empty(stream.seen_out, stream.seen_dtype) if _empty is None else _empty(stream.seen_out, stream.seen_dtype)
        PyObject_GetBuffer(out, &answer, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE | PyBUF_FORMAT)
        if not fits_answer(stream, &answer) and (answer.ndim != 1 or answer.len != stream.seen_bytes or is_array(out)):
            PyBuffer_Release(&answer)
            raise ShapeError(f"out: expected one writable C-contiguous {stream.seen_dtype} array of shape {stream.seen_out}, found {describe(out)}")
    except BaseException as why:
        PyBuffer_Release(&view)
        if isinstance(why, (TypeError, ValueError, BufferError)) and not isinstance(why, LstmEdgeError):
            raise ShapeError(f"out: expected a writable C-contiguous array: {why}") from None
        raise
    if stream.busy:
        PyBuffer_Release(&view)
        PyBuffer_Release(&answer)
        raise LstmEdgeError("stream: another thread is running it")
    stream.busy = True
    frame, frame_bytes = view.buf, view.len
    if stream.scaled is not None:
        frame, frame_bytes = <char *>stream.scaled, len(stream.scaled)
        scale_pcm(<const unsigned char *>view.buf, view.len // 2, <float *>frame)
    stream.in_pointers[0] = frame
    stream.out_pointers[0] = answer.buf
    if stream.brief:
        status = le_stream_run(stream.c, stream.multiple, stream.in_pointers, stream.out_pointers, &err)
    else:
        with nogil:
            status = le_stream_run(stream.c, stream.multiple, stream.in_pointers, stream.out_pointers, &err)
    stream.busy = False
    if status == LE_OK:
        stream.counted += stream.multiple
    if stream.remembers and status == LE_OK and stream.newest_size[0] == frame_bytes and stream.newest_size[1] == answer.len:
        memcpy(stream.newest[0], frame, frame_bytes)
        memcpy(stream.newest[1], answer.buf, answer.len)
        stream.newest_of = None
    PyBuffer_Release(&view)
    PyBuffer_Release(&answer)
    if status != LE_OK:
        raise_error(&err)
    return out


cdef bint fits_answer(Stream stream, Py_buffer *answer):
    """Whether a buffer has the dtype of the last step's answer, and its shape."""
    cdef int d
    cdef bint fits = answer.format != NULL and answer.format[0] == stream.answer_format[0] and answer.format[1] == 0 \
        and answer.len == stream.seen_bytes
    if not fits:
        answer.ndim = 0  # not even flat
        return False
    if answer.ndim != stream.answer_rank:
        return False
    for d in range(answer.ndim):
        if answer.shape[d] != stream.answer_shape[d]:
            return False
    return True


cdef step_first(Stream stream, given, out):
    """Any step: adds the frames (and batch) axis where the caller left it out."""
    values = [frame_of(stream, i, value) for i, value in enumerate(given)]
    full, drop_batch, drop_frames = full_frames(stream, values)
    stream._check_count(stream.multiple)
    results = stream._call(full, stream.multiple, -1, drop_batch, drop_frames, out)
    stream.counted += stream.multiple
    results = [None if r is not None and r.nbytes == 0 else r for r in results]
    if stream.n_in == 1 and stream.n_out == 1 and results[0] is not None:
        remember_step(stream, given[0], values[0], results[0])
        results[0] = results[0] if out is None else out
    return stream.model._pack(results)


cdef frame_of(Stream stream, int index, value):
    """What step was given of an input: an array, or a memoryview of what NumPy is not needed for."""
    port, view = stream.model.inputs[index], view_of(value)
    if view is None or not (has_dtype(view, port.dtype) or is_pcm(view, port.dtype)):
        return stream.model._array(index, value)
    if not has_dtype(view, port.dtype):
        view = scaled(view)
    shape = (<Layout>stream.model.in_layouts[index]).without(step_shape(stream, port), not stream.batched, True)
    if view.ndim != 1 or view.shape == shape:
        return view
    if view.shape[0] != product(shape):
        raise ShapeError(f"input {port.name!r}: expected a frame of shape {shape}, {product(shape)} values, found {view.shape[0]}")
    return reshaped(view, shape)


cdef tuple step_shape(Stream stream, port):
    """The shape of what a step takes of an input, with all axes."""
    sizes = {"": 1, "batch": stream.batch, "frames": stream.multiple}
    return tuple([coef * sizes.get(symbol, 1) for coef, symbol in map(split_size, port.shape)])


cdef remember_step(Stream stream, given, value, result):
    view = memoryview(value) if is_array(value) else memoryview(given)
    answer = memoryview(result)
    if stream.bounded or view.ndim > LE_MAX_RANK or len(view.format) != 1 or len(answer.format) != 1:
        return
    stream.seen_format, stream.answer_format = view.format.encode(), answer.format.encode()
    stream.scaled = None if has_dtype(view, stream.model.inputs[0].dtype) else value.obj
    for d in range(view.ndim):
        stream.seen_shape[d] = view.shape[d]
    for d in range(answer.ndim):
        stream.answer_shape[d] = answer.shape[d]
    stream.answer_rank = answer.ndim
    stream.seen_out, stream.seen_dtype, stream.seen_bytes = result.shape, getattr(result, "dtype", stream.model.outputs[0].dtype), answer.nbytes
    stream.brief = le_model_bytes(stream.model.c) + le_stream_bytes(stream.c) <= BRIEF_BYTES
    stream.seen_generation = stream.prepared
    stream.seen_rank = view.ndim


cdef full_frames(Stream stream, values):
    """(one frame with all axes of each input, checked; whether the batch was left out; whether frames)."""
    full, drop_frames, drop_batch = [], False, False
    for layout, value in zip(stream.model.in_layouts, values):
        array, no_frames, no_batch = full_frame(stream, layout, value)
        full.append(array)
        drop_frames |= no_frames
        drop_batch |= no_batch
    stream.model._sizes(full, False, stream.batch, stream.multiple, False)
    return full, drop_batch, drop_frames


cdef full_frame(Stream stream, Layout layout, value):
    """(array with all axes of the input, whether frames was left out, whether batch was)."""
    shape = layout.port.shape
    missing = len(shape) - value.ndim
    per_frame = split_size(shape[layout.frames_axis])[0] if layout.frames_axis >= 0 else 0
    no_frames = missing > 0 and per_frame * stream.multiple == 1  # else the axis counts values of a frame
    missing -= no_frames
    no_batch = missing > 0 and layout.batch_axis >= 0
    missing -= no_batch
    if missing:
        expected = [s for d, s in enumerate(shape) if d not in (layout.frames_axis, layout.batch_axis)]
        raise ShapeError(f"input {layout.port.name!r}: expected one frame of shape {stream.model._shape_text(expected, False)}, "
                         f"found {value.shape}")
    for axis in sorted([layout.frames_axis] * no_frames + [layout.batch_axis] * no_batch):
        value = reshaped(value, value.shape[:axis] + (1,) + value.shape[axis:])
    return value, no_frames, no_batch
