# Part of _core.pyx: the newest frame of every input and output of a stream, where a forecast starts.

cdef remember_newest(Stream stream, results, int64_t count, bint no_frames):
    """Copies the last frame of what the views hold: all inputs, then the outputs that are there."""
    cdef int i, held = stream.n_in
    stream.newest_of = None
    for i in range(stream.n_in):
        remember_frame(stream, i, stream.model._in_layouts[i], &stream.views[i], count, False)
    for i in range(stream.n_out):
        if results[i] is None or not (<Layout>stream.model._out_layouts[i]).remembered:
            stream.newest_size[stream.n_in + i] = 0
        else:
            remember_frame(stream, stream.n_in + i, stream.model._out_layouts[i], &stream.views[held], count, no_frames)
        held += results[i] is not None
    stream.started = True


cdef remember_frame(Stream stream, int index, Layout layout, Py_buffer *view, int64_t count, bint no_frames):
    cdef Py_ssize_t outer = 1, size = view.itemsize, rows = 1, before
    cdef int axis = 0 if count >= 0 else -1, d
    if count < 0 and not no_frames and layout.frames_axis >= 0:
        axis = layout.frames_axis
        if layout.batch_axis >= 0 and layout.batch_axis < axis:
            axis -= len(layout.port.shape) - view.ndim
        if not 0 <= axis < view.ndim:  # metadata says another shape than the core's
            raise FormatError(f"section META: outputs: {layout.port.name}: expected {view.ndim} sizes, found {layout.port.shape}")
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
    resize_newest(stream, index, outer * size)
    before *= size // rows
    for d in range(outer):
        memcpy(stream.newest[index] + d * size, <char *>view.buf + d * (before + size) + before, size)


cdef dict newest_frames(Stream stream):
    """{newest.NAME: array} of every input and output that has one."""
    settle_newest(stream)
    found = {}
    for i, port in enumerate(stream.model.inputs + stream.model.outputs):
        if stream.newest_size[i]:
            found[f"newest.{port.name}"] = stream._newest(<int>i, frame_shape(stream, port))
    return found


cdef tuple frame_shape(Stream stream, port):
    """The shape of one frame of an input or output whose shape is known."""
    return tuple([coef * (stream.batch if symbol == "batch" else 1) for coef, symbol in map(split_size, port.shape)])


cdef dict checked_newest(Stream stream, values):
    """The newest frames in a state, by place; none unless all are there."""
    ports = stream.model.inputs + stream.model.outputs
    found = {}
    for i, port in enumerate(ports):
        if port.shape is not None and f"newest.{port.name}" in values:
            array = np.ascontiguousarray(values[f"newest.{port.name}"])
            if array.dtype != port.dtype or array.shape != frame_shape(stream, port):
                raise ShapeError(f"state newest.{port.name}: expected {port.dtype} of shape {frame_shape(stream, port)}, found {describe(array)}")
            found[i] = array
    return found if len(found) == len(ports) else {}


cdef settle_newest(Stream stream):
    """Takes this stream's own rows of what step_many kept for all."""
    if stream.newest_of is None:
        return
    inputs, outputs = stream.newest_of
    frames = {}
    for i, (layout, rows) in enumerate(zip(stream.model._in_layouts + stream.model._out_layouts, inputs + outputs)):
        if rows[stream.newest_row] is None or not (<Layout>layout).remembered:
            stream.newest_size[i] = 0
        else:
            frames[i] = np.ascontiguousarray(rows[stream.newest_row])
    put_newest(stream, frames)


cdef put_newest(Stream stream, frames):
    cdef Py_buffer view
    cdef int i
    stream.started = bool(frames)
    stream.newest_of = None
    for i, array in frames.items():
        PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS)
        try:
            resize_newest(stream, i, view.len)
            memcpy(stream.newest[i], view.buf, view.len)
        finally:
            PyBuffer_Release(&view)


cdef resize_newest(Stream stream, int index, Py_ssize_t size):
    if stream.newest[index] == NULL or stream.newest_size[index] != size:  # never NULL, which memcpy may not be given even for no bytes
        stream.newest_size[index] = 0
        stream.newest[index] = <char *>PyMem_Realloc(stream.newest[index], size + 1)
        if stream.newest[index] == NULL:
            raise MemoryError("a stream's newest frame")
        stream.newest_size[index] = size
