# Part of _core.pyx: a stream's states and what adaptation keeps, read and set.

cdef dict states_of(Stream stream):
    found = {}
    for i in range(len(stream.model.states)):
        found[stream.model.states[i].name] = get_state(stream, <int>i)
    found.update(adapted_of(stream))
    return found


cdef get_state(Stream stream, int index):
    cdef int64_t dims[LE_MAX_RANK]
    cdef Py_buffer view
    cdef const void *data = le_stream_state(stream.c, index, dims)
    port = stream.model.states[index]
    array = np.empty(tuple([dims[d] for d in range(len(port.shape))]), port.dtype)
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
    memcpy(view.buf, data, <size_t>view.len)
    PyBuffer_Release(&view)
    return array


cdef put_states(Stream stream, values, before):
    for i, port in enumerate(stream.model.states):
        put_state(stream, <int>i, port, values[port.name])
    for i, name in enumerate(list(before)[len(stream.model.states):]):
        put_adapted(stream, <int>i, name, values[name], before[name].shape)


cdef put_state(Stream stream, int index, port, value):
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
    status = le_stream_set_state(stream.c, index, dims, view.buf, &err)
    PyBuffer_Release(&view)
    if status != LE_OK:
        raise_error(&err)


cdef dict adapted_of(Stream stream):
    """{name: array}: what adaptation keeps; nothing while it is off."""
    cdef int64_t dims[LE_MAX_RANK]
    cdef const char *name = NULL
    cdef int rank = 0
    cdef Py_buffer view
    cdef const double *data
    found = {}
    while True:
        data = le_stream_adaptation_state(stream.c, <int>len(found), &name, &rank, dims)
        if data == NULL:
            return found
        array = np.empty(tuple([dims[d] for d in range(rank)]), np.float64)
        PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        memcpy(view.buf, data, <size_t>view.len)
        PyBuffer_Release(&view)
        found[name.decode()] = array


cdef put_adapted(Stream stream, int index, name, value, shape):
    cdef le_error err
    cdef le_status status
    cdef Py_buffer view
    array = np.ascontiguousarray(value)
    if array.dtype != np.float64 or np.shape(value) != shape:
        raise ShapeError(f"state {name!r}: expected float64 of shape {shape}, found {array.dtype} of shape {np.shape(value)}")
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS)
    status = le_stream_set_adaptation_state(stream.c, index, <const double *>view.buf, &err)
    PyBuffer_Release(&view)
    if status != LE_OK:
        raise_error(&err)
