# Part of _core.pyx: what Stream.step does, one frame in, its answer out.

cdef struct Place:  # where the values of a frame lie, or those of an answer shall
    char *data
    Py_ssize_t size  # in bytes
    bint exported  # whether it is the memory of `view`, which is to be given back
    Py_buffer view

cdef extern from *:
    """
    static PyMethodDef le_step_method = {"step", NULL, METH_FASTCALL | METH_KEYWORDS, NULL};

    static int le_replace_step(PyTypeObject *type, void *call, const char *doc) {
        PyObject *method;
        int status;
        le_step_method.ml_meth = (PyCFunction)call;
        le_step_method.ml_doc = doc;
        method = PyDescr_NewMethod(type, &le_step_method);
        if (method == NULL)
            return -1;
    #ifdef Py_LIMITED_API
        status = PyObject_SetAttrString((PyObject *)type, "step", method);
    #else
        status = PyDict_SetItemString(type->tp_dict, "step", method);
        PyType_Modified(type);
    #endif
        Py_DECREF(method);
        return status;
    }
    """
    int le_replace_step(PyTypeObject *type, void *call, const char *doc) except -1

cdef extern from "Python.h":
    # As Cython has them they count references that are borrowed here.
    PyObject *PyTuple_GetItem(object, Py_ssize_t)
    Py_ssize_t PyTuple_Size(object)

cdef str OUT = sys.intern("out")  # as every call that names it has it


cdef object step_call(object self, PyObject *const *arguments, Py_ssize_t count, PyObject *names):
    """Stream.step as C is called: the values of all arguments, the number of those without a name, and the names of the others."""
    cdef Stream stream = <Stream>self
    cdef PyObject *out = <PyObject *>None
    cdef Py_ssize_t n_names = 0 if names == NULL else PyTuple_Size(<object>names)
    if n_names == 1 and PyTuple_GetItem(<object>names, 0) == <PyObject *>OUT:
        out, n_names = arguments[count], 0
    if count == 1 and n_names == 0 and stream.seen_rank >= 0:
        answer = step_again(stream, <object>arguments[0], <object>out)
        if answer is not None:
            return answer
    named = {} if names == NULL else {name: <object>arguments[count + i] for i, name in enumerate(<object>names)}
    return step_of(stream, [<object>arguments[i] for i in range(count)], named.pop("out", None), named)


cdef object step_of(Stream stream, arrays, out, dict named):
    """Any step, of its arguments as they were given."""
    stream.seen_rank = -1
    return step_first(stream, stream.model._in_order(arrays, named), out)


cdef object step_again(Stream stream, array, out):
    """The fast path: one input shaped like the last step's. None when it is not, or asks for more care."""
    cdef Place frame, answer
    cdef le_error err
    cdef le_status status
    if stream.busy:
        return None
    stream.busy = True  # from here on: objects that are asked for their memory may be written in Python, and use the stream
    frame.exported = answer.exported = False
    try:
        if le_stream_generation(stream.c) != stream.seen_generation or not find_frame(stream, array, &frame):
            return None
        out = new_answer(stream, &answer) if out is None else find_answer(stream, out, &answer)
        if out is None or answer.data == NULL or overlap(frame.data, frame.size, answer.data, answer.size):
            return None
        if stream.scaled is not None:
            scale_pcm(<const unsigned char *>frame.data, frame.size // 2, <float *><char *>stream.scaled)
            frame.data, frame.size = <char *>stream.scaled, 2 * frame.size
        stream.in_pointers[0] = frame.data
        stream.out_pointers[0] = answer.data
        if stream.brief:
            status = le_stream_run(stream.c, stream.multiple, stream.in_pointers, stream.out_pointers, &err)
        else:
            with nogil:
                status = le_stream_run(stream.c, stream.multiple, stream.in_pointers, stream.out_pointers, &err)
        if status != LE_OK:
            raise_error(&err)
        stream.counted += stream.multiple
        if stream.remembers and stream.newest_size[0] == frame.size and stream.newest_size[1] == answer.size:
            memcpy(stream.newest[0], frame.data, frame.size)
            memcpy(stream.newest[1], answer.data, answer.size)
            stream.newest_of = None
        return out
    finally:
        stream.busy = False
        give_back(&frame)
        give_back(&answer)


cdef bint find_frame(Stream stream, array, Place *frame) except -1:
    """Whether `array` is a frame like the last one; then where it lies."""
    cdef Py_buffer *view = &frame.view
    cdef int d
    frame.size = stream.seen_size
    frame.data = elements_of(array, stream.seen_type, IN_PLACE, stream.seen_rank, stream.seen_shape)
    if frame.data != NULL:
        return True
    frame.exported = take_buffer(array, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    if not frame.exported:
        return False
    frame.data = <char *>view.buf
    cdef bint same = view.ndim == stream.seen_rank and view.len == stream.seen_size and is_format(view, stream.seen_format) \
        and is_aligned(view) and not (stream.flat and is_array(array))
    for d in range(view.ndim):
        same = same and view.shape[d] == stream.seen_shape[d]
    # The first array of NumPy's after other buffers is looked at anew, so that those after it are read by its C interface.
    return same and (stream.seen_type is not None or <void *>Py_TYPE(array) == stream.seen_class or not is_array(array))


cdef object new_answer(Stream stream, Place *answer):
    """An array for the answer, and where it lies."""
    cdef PyObject *made
    if ndarray_type == NULL or stream.answer_type is None:  # NumPy is not as expected, or the last step did without it
        return find_answer(stream, np.empty(stream.seen_out, stream.model.outputs[0].dtype), answer)
    made = new_array(ndarray_type, stream.answer_type, stream.answer_rank, stream.answer_shape)
    if made == NULL:
        return None
    answer.data, answer.size = (<le_ndarray *>made).data, stream.seen_bytes
    out = <object>made
    Py_DECREF(out)
    return out


cdef object find_answer(Stream stream, out, Place *answer):
    """Where an answer like the last one fits into `out`, which is given back: data is NULL where it does not."""
    answer.size = stream.seen_bytes
    answer.data = elements_of(out, stream.answer_type, IN_PLACE | WRITABLE, stream.answer_rank, stream.answer_shape)
    if answer.data == NULL:
        answer.exported = take_buffer(out, &answer.view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE | PyBUF_FORMAT)
        if answer.exported and fits_answer(stream, &answer.view, out):
            answer.data = <char *>answer.view.buf
    return out


cdef bint fits_answer(Stream stream, Py_buffer *view, out) except -1:
    """Whether a buffer has the dtype of the last step's answer, and its shape, or is a flat one of its length."""
    cdef int d
    if view.len != stream.seen_bytes or not is_format(view, stream.answer_format) or not is_aligned(view):
        return False
    if view.ndim == stream.answer_rank:
        for d in range(view.ndim):
            if view.shape[d] != stream.answer_shape[d]:
                break
        else:
            return True
    return view.ndim == 1 and not is_array(out)


cdef inline void give_back(Place *place) noexcept:
    if place.exported:
        PyBuffer_Release(&place.view)
        place.exported = False


cdef step_first(Stream stream, given, out):
    """Any step: adds the frames (and batch) axis where the caller left it out."""
    views = [view_of(value) for value in given]  # whatever `given` says of itself later, memory is believed in as it was seen here
    values = [frame_of(stream, i, value, view) for i, (value, view) in enumerate(zip(given, views))]
    full, drop_batch, drop_frames = full_frames(stream, values)
    stream._check_count(stream.multiple)
    results = stream._call(full, stream.multiple, -1, drop_batch, drop_frames, out)
    stream.counted += stream.multiple
    results = [None if r is not None and r.nbytes == 0 else r for r in results]
    if stream.n_in == 1 and stream.n_out == 1 and results[0] is not None:
        remember_step(stream, given[0], views[0], values[0], memoryview(results[0]))
        results[0] = results[0] if out is None else out
    return stream.model._pack(results)


cdef frame_of(Stream stream, int index, value, view):
    """What step was given of an input: an array, or a memoryview of what NumPy is not needed for."""
    port = stream.model.inputs[index]
    if view is None or not (has_dtype(view, port.dtype) or is_pcm(view, port.dtype)):
        return stream.model._array(index, value)
    if not has_dtype(view, port.dtype):
        view = scaled(view)
    shape = (<Layout>stream.model._in_layouts[index]).without(step_shape(stream, port), not stream.batched, True)
    if view.ndim != 1 or view.shape == shape:
        return view
    if view.shape[0] != product(shape):
        raise ShapeError(f"input {port.name!r}: expected a frame of shape {shape}, {product(shape)} values, found {view.shape[0]}")
    return reshaped(view, shape)


cdef tuple step_shape(Stream stream, port):
    """The shape of what a step takes of an input, with all axes."""
    sizes = {"": 1, "batch": stream.batch, "frames": stream.multiple}
    return tuple([coef * sizes.get(symbol, 1) for coef, symbol in map(split_size, port.shape)])


cdef remember_step(Stream stream, given, view, value, answer):
    """What the next step is compared with. given: the frame's object; view: of the frame as it was given, None for what became an array; value: the frame as the core took it."""
    cdef bint array = is_array(value)
    view = memoryview(value) if array else view
    if stream.bounded or view.ndim > LE_MAX_RANK or len(view.format) != 1 or len(answer.format) != 1:
        return
    look_at_numpy()
    in_dtype, out_dtype = stream.model.inputs[0].dtype, stream.model.outputs[0].dtype
    stream.seen_type = np.dtype(in_dtype) if array and ndarray_type != NULL else None
    stream.answer_type = np.dtype(out_dtype) if ndarray_type != NULL else None
    stream.seen_format, stream.answer_format = ord(view.format), ord(answer.format)
    stream.scaled = None if has_dtype(view, in_dtype) else value.obj
    stream.flat = view.shape != value.shape or stream.scaled is not None
    for d in range(view.ndim):
        stream.seen_shape[d] = view.shape[d]
    for d in range(answer.ndim):
        stream.answer_shape[d] = answer.shape[d]
    stream.answer_rank = answer.ndim
    stream.seen_size, stream.seen_bytes, stream.seen_out = view.nbytes, answer.nbytes, answer.shape
    stream.brief = le_model_bytes(stream.model.c) + le_stream_bytes(stream.c) <= BRIEF_BYTES
    stream.seen_class = <void *>Py_TYPE(given)
    stream.seen_generation = stream.prepared
    stream.seen_rank = view.ndim


cdef full_frames(Stream stream, values):
    """(one frame with all axes of each input, checked; whether the batch was left out; whether frames)."""
    full, drop_frames, drop_batch = [], False, False
    for layout, value in zip(stream.model._in_layouts, values):
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


# Cython's own method makes a tuple and a dictionary of every call's arguments, which takes as long as a step of 8 units; this one reads them where
# they lie.
cdef bytes STEP_DOC = b"step($self, /, *arrays, out=None, **named)\n--\n\n" + Stream.step.__doc__.encode()
le_replace_step(<PyTypeObject *>Stream, <void *>step_call, STEP_DOC)
