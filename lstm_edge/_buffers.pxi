# Part of _core.pyx: arrays as the caller holds them. NumPy's, lists and numbers go through NumPy; a frame in anything else with the buffer
# protocol (array.array, memoryview, bytes of PCM) is read where it lies, and an answer written into `out` likewise, without NumPy.

cdef extern from "Python.h":
    int get_buffer "PyObject_GetBuffer"(object, Py_buffer *, int) noexcept  # leaves what it raises to the caller


cdef class NumPy:
    """Stands for NumPy until something of it is needed: who gives buffers to write into never imports it."""

    def __getattr__(self, name):
        global np
        import numpy
        np = numpy
        return getattr(numpy, name)


cdef object np = NumPy()  # NumPy itself from its first use on
cdef dict _FORMATS = {"float32": ("f",), "int32": ("i", "l"), "bool": ("?",)}  # `l` where it has 4 bytes
cdef tuple _PCM = ("B", "b", "c", "h", "<h")  # bytes of 16-bit samples, low byte first, or such samples


cdef numpy_type(name):
    """A type of NumPy's for isinstance; of none, which nothing is, before NumPy is there."""
    return getattr(sys.modules.get("numpy"), name, ())


cdef bint is_array(value):
    """Whether it is an array by its type, whatever it says of its class."""
    return issubclass(type(value), numpy_type("ndarray"))


cdef bint is_whole(value):
    """Whether it is an int, NumPy's included; True and False are none."""
    return isinstance(value, (int, numpy_type("integer"))) and not isinstance(value, bool)


cdef describe(value):
    return f"{value.dtype} of shape {value.shape}" if is_array(value) else type(value).__name__


cdef Py_ssize_t product(shape):
    cdef Py_ssize_t count = 1
    for size in shape:
        count *= size
    return count


cdef view_of(value):
    """A memoryview of what is no array or number of NumPy's, where it has one that is contiguous and not empty; else None."""
    if isinstance(value, (numpy_type("ndarray"), numpy_type("generic"))) or not PyObject_CheckBuffer(value):
        return None
    view = memoryview(value)
    return view if view.c_contiguous and view.nbytes else None


cdef bint has_dtype(view, dtype):
    return view.format in _FORMATS[dtype] and view.itemsize == (1 if dtype == "bool" else 4)


cdef bint is_pcm(view, dtype):
    return dtype == "float32" and view.ndim == 1 and view.format in _PCM


cdef reshaped(value, shape):
    """An array, or a memoryview, in another shape of as many elements."""
    return value.cast("B").cast(value.format, shape) if isinstance(value, memoryview) else value.reshape(shape)


cdef void scale_pcm(const unsigned char *samples, Py_ssize_t count, float *values) noexcept nogil:
    """Samples of -32768 to 32767 as -1 to 1: a product with 1/32768, which is exact."""
    cdef Py_ssize_t i
    for i in range(count):
        values[i] = <float>(<int16_t>(<uint16_t>samples[2 * i] | <uint16_t>samples[2 * i + 1] << 8)) * (1.0 / 32768)


cdef scaled(view):
    """PCM as a memoryview of float32."""
    if view.nbytes % 2:
        raise ShapeError(f"input: expected samples of 2 bytes, found {view.nbytes} bytes")
    cdef bytearray values = bytearray(2 * view.nbytes)
    scale_pcm(<const unsigned char *>address_of(view), view.nbytes // 2, <float *><char *>values)
    return memoryview(values).cast("f")


def answer_array(out, shape, dtype, bint only):
    """What an output is written into: `out` if there is one, and its memory is right; then itself, or a memoryview of the shape where its
    type might say another thing of its memory the next time."""
    if out is None:
        return np.empty(shape, dtype)
    dtype = str(dtype)
    try:
        view = memoryview(out)
    except TypeError:
        view = None
    right = only and view is not None and has_dtype(view, dtype) and view.c_contiguous and not view.readonly and address_is_aligned(view)
    flat = right and not is_array(out) and view.ndim == 1 and view.shape[0] == product(shape)
    if not right or not (flat or view.shape == shape):
        raise ShapeError(f"out: expected one writable C-contiguous {dtype} array of shape {shape}, found {describe(out)}")
    if type(out) is numpy_type("ndarray"):
        return out
    return view if view.shape == shape or not view.nbytes else reshaped(view, shape)


def count_of_threads(threads, where):
    if not is_whole(threads) or not 1 <= threads <= MOST_THREADS:
        raise LstmEdgeError(f"{where}: threads: expected an int from 1 to {MOST_THREADS}, found {threads!r}")
    return int(threads)


cdef void *address_of(view) except? NULL:
    """Where a memoryview's bytes lie, which it keeps alive."""
    cdef Py_buffer buffer
    PyObject_GetBuffer(view, &buffer, PyBUF_C_CONTIGUOUS)
    cdef void *address = buffer.buf
    PyBuffer_Release(&buffer)
    return address


cdef bint address_is_aligned(view) except -1:
    return <size_t>address_of(view) % <size_t>view.itemsize == 0


cdef bint take_buffer(value, Py_buffer *view, int flags) except -1:
    """PyObject_GetBuffer; False where the object has no such buffer."""
    if get_buffer(value, view, flags) == 0:
        return True
    if PyErr_ExceptionMatches(Exception):
        PyErr_Clear()
        return False
    return -1


cdef inline bint is_format(const Py_buffer *view, char format) noexcept:
    return view.format != NULL and view.format[0] == format and view.format[1] == 0


cdef inline bint is_aligned(const Py_buffer *view) noexcept:
    return view.itemsize < 2 or <size_t>view.buf % <size_t>view.itemsize == 0


cdef inline bint overlap(const void *a, Py_ssize_t a_size, const void *b, Py_ssize_t b_size) noexcept:
    """Whether two pieces of memory share a byte."""
    return <size_t>a < <size_t>b + b_size and <size_t>b < <size_t>a + a_size


cdef copy_of(value):
    """An array, or a memoryview, with the same elements in memory of its own."""
    return memoryview(value.tobytes()).cast(value.format, value.shape) if isinstance(value, memoryview) else value.copy()


cdef float *floats_of(array):
    """Where a float32 array lies; NULL for None and for one without elements."""
    return NULL if array is None or array.size == 0 else <float *><size_t>array.__array_interface__["data"][0]
