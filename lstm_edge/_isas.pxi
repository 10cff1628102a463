# Part of _core.pyx: the kernel tables of this build, and what they can do.

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
    cdef bytes name = isa_name(isa)
    cdef const char *text = name
    cdef double done
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_C_CONTIGUOUS)
    with nogil:
        done = le_probe(text, what, view.buf, <size_t>view.len, times)
    PyBuffer_Release(&view)
    return done


cdef bytes isa_name(isa):
    """The name as C takes it, which ends at a zero byte."""
    if not isinstance(isa, str) or "\0" in isa or not isa.isascii():
        raise UnsupportedModelError(f"isa: expected one of {', '.join([n for n, _ in isas()])}, found {isa!r}")
    return isa.encode()
