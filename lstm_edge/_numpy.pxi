# Part of _core.pyx: NumPy's own C interface, used where NumPy is imported already and looks as expected; nothing here imports it.
#
# A step of a small network takes less time than NumPy's two buffers and its `empty` do, so that exact ndarrays are read where they lie
# and answers are made by NumPy's C function. What is relied on is what NumPy keeps stable for extensions that were built long ago:
# - numpy/_core/code_generators/numpy_api.py: the places in the table of its C interface, the same in 1.7 to 2.x: 0 the version of the ABI
#   (PyArray_GetNDArrayCVersion), 2 PyArray_Type, 94 PyArray_NewFromDescr, which takes over a reference to the dtype;
# - numpy/ndarraytypes.h: the beginning of PyArrayObject_fields, and the bits of its flags.
# A dtype's own struct, which 2.0 changed, is never looked into: a dtype is right when it is the very object that NumPy has for it. All of
# this is checked once against an array whose answers are known; where anything differs, arrays go through the buffer protocol.

from cpython.exc cimport PyErr_Clear, PyErr_ExceptionMatches
from cpython.object cimport PyObject, PyTypeObject
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_TYPE

cdef extern from *:
    """
    typedef struct {
        PyObject_HEAD
        char *data;
        int nd;
        Py_ssize_t *dimensions;
        Py_ssize_t *strides;
        PyObject *base;
        PyObject *descr;
        int flags;
    } le_ndarray;
    typedef unsigned int (*le_abi_version)(void);
    typedef PyObject *(*le_new_from_descr)(PyTypeObject *, PyObject *, int, const Py_ssize_t *, const Py_ssize_t *, void *, int, PyObject *);
    """
    ctypedef struct le_ndarray:
        char *data
        int nd
        Py_ssize_t *dimensions
        Py_ssize_t *strides
        PyObject *base
        PyObject *descr
        int flags
    ctypedef unsigned int (*le_abi_version)()
    ctypedef PyObject *(*le_new_from_descr)(PyTypeObject *, PyObject *, int, const Py_ssize_t *, const Py_ssize_t *, void *, int, PyObject *)

cdef enum:
    ABI_1 = 0x01000009
    ABI_2 = 0x02000000
    IN_PLACE = 0x0001 | 0x0100  # NPY_ARRAY_C_CONTIGUOUS and NPY_ARRAY_ALIGNED
    WRITABLE = 0x0400  # NPY_ARRAY_WRITEABLE

cdef PyTypeObject *ndarray_type = NULL  # PyArray_Type, once all is found as expected
cdef le_new_from_descr new_from_descr = NULL
cdef bint numpy_looked_at = False


def arrays_in_place():
    """Whether steps read and make arrays by NumPy's C interface; decided by the first step that meets an array."""
    return ndarray_type != NULL


cdef look_at_numpy():
    """Takes NumPy's C interface into use, the first time that NumPy is found imported."""
    global ndarray_type, new_from_descr, numpy_looked_at
    modules = [sys.modules.get(f"numpy.{core}._multiarray_umath") for core in ("_core", "core")]
    if numpy_looked_at or modules == [None, None] or sys.implementation.name != "cpython":
        return
    numpy_looked_at = True
    capsule = getattr(modules[0] or modules[1], "_ARRAY_API", None)
    if not PyCapsule_IsValid(capsule, NULL):
        return
    cdef void **table = <void **>PyCapsule_GetPointer(capsule, NULL)
    if (<le_abi_version>table[0])() not in (ABI_1, ABI_2) or table[2] != <void *>np.ndarray or np.ndarray.__basicsize__ < sizeof(le_ndarray):
        return
    new_from_descr = <le_new_from_descr>table[94]
    if arrays_are_as_expected(<PyTypeObject *>table[2]):
        ndarray_type = <PyTypeObject *>table[2]


cdef bint arrays_are_as_expected(PyTypeObject *array_type) except -1:
    dtype = np.dtype("float32")
    cdef Py_ssize_t[2] shape = [2, 3]
    cdef PyObject *made = new_array(array_type, dtype, 2, shape)
    if made == NULL:
        return False
    array = <object>made
    Py_DECREF(array)
    if type(array) is not np.ndarray or array.shape != (2, 3) or array.dtype is not dtype or not array.flags.owndata:
        return False
    turned = array.T
    turned.flags.writeable = False
    return is_described(array, dtype, IN_PLACE | WRITABLE) and is_described(turned, dtype, 0x0100)


cdef bint is_described(array, dtype, int flags) except -1:
    """Whether an array's struct says what its Python attributes do, and has these of the flags that are asked for."""
    cdef le_ndarray *fields = <le_ndarray *>array
    if <size_t>fields.data != array.__array_interface__["data"][0] or fields.nd != array.ndim or fields.descr != <PyObject *>dtype \
            or fields.flags & (IN_PLACE | WRITABLE) != flags or (fields.base == NULL) != (array.base is None):
        return False
    places = tuple([(fields.dimensions[d], fields.strides[d]) for d in range(fields.nd)])
    return places == tuple(zip(array.shape, array.strides))


cdef inline char *elements_of(array, dtype, int flags, int rank, const Py_ssize_t *shape) noexcept:
    """Where the elements of an exact ndarray lie that has this dtype, this shape and these flags; NULL for anything else."""
    cdef le_ndarray *fields = <le_ndarray *>array
    cdef int d
    if Py_TYPE(array) != <void *>ndarray_type or fields.descr != <PyObject *>dtype or fields.flags & flags != flags or fields.nd != rank:
        return NULL
    for d in range(rank):
        if fields.dimensions[d] != shape[d]:
            return NULL
    return fields.data


cdef inline PyObject *new_array(PyTypeObject *array_type, dtype, int rank, const Py_ssize_t *shape) noexcept:
    """A new reference to an array like np.empty's, once new_from_descr is set; NULL, without an exception, where memory does not suffice."""
    cdef PyObject *made
    Py_INCREF(dtype)
    made = new_from_descr(array_type, <PyObject *>dtype, rank, shape, NULL, NULL, 0, NULL)
    if made == NULL:
        PyErr_Clear()
    return made
