# Part of _core.pyx: sizes as Port.shape writes them, and where batch and frames lie.

cdef object size_text(le_dim dim, list lengths):
    if dim.symbol == LE_NUMBER:
        return dim.coef
    if dim.symbol >= LE_LENGTH:
        symbol = lengths[<int>dim.symbol - <int>LE_LENGTH]
    else:
        symbol = "batch" if dim.symbol == LE_BATCH else "frames"
    return symbol if dim.coef == 1 else f"{dim.coef}*{symbol}"


class _Plain:
    """What json's scanner asks of its decoder: Python's own kinds of values."""
    strict = True
    object_hook = object_pairs_hook = array_hook = parse_constant = None
    parse_float, parse_int = float, int


def read_json(str text):
    """json.loads(text), by the compiled scanner alone where that reads it all: the package json imports re and enum, which takes
    longer than to import this package and load a model."""
    if make_scanner is not None:
        try:
            value, end = make_scanner(_Plain)(text, 0)
            if end == len(text):
                return value
        except (TypeError, ValueError, StopIteration):  # NaN, or something wrong, which json names
            pass
        except AttributeError:  # a later Python's scanner asks for more
            pass
    import json
    return json.loads(text)


cdef bint names_size(text, symbol):
    """Whether the text of a size has this word in it."""
    return symbol in "".join([c if c.isalnum() or c == "_" else " " for c in text]).split()


cdef int axis_of(shape, symbol):
    """The axis whose size names the symbol; for the batch also a leading axis fixed at 1."""
    for axis, size in enumerate(shape):
        if isinstance(size, str) and names_size(size, symbol):
            return axis
    if symbol == "batch" and len(shape) > 1 and shape[0] == 1:
        return 0
    return -1


cdef class Layout:
    """Where batch and frames lie in one input or output."""
    cdef readonly object port
    cdef readonly int batch_axis, frames_axis
    cdef readonly bint known
    cdef bint remembered  # whether a frame of it has a shape of its own

    def __cinit__(self, port):
        self.port = port
        self.known = port.shape is not None
        self.batch_axis = axis_of(port.shape, "batch") if self.known else -1
        self.frames_axis = axis_of(port.shape, "frames") if self.known else -1
        self.remembered = self.known and all([not isinstance(s, str) or split_size(s)[1].isidentifier() for s in port.shape])
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


cdef bint is_range(value):
    """Whether metadata holds a range of sizes as _check_range reads it."""
    if not isinstance(value, list) or len(value) != 4:
        return False
    least, most, multiple, rest = value
    numbers = [least, multiple, rest] + ([] if most is None else [most])
    return all([type(n) is int and 0 <= n < 2**62 for n in numbers]) and multiple > 0


cdef tuple split_size(size):
    """(coefficient, symbol) of a size as Port.shape writes it. The symbol of a sum or of a product of sizes is the whole text."""
    if not isinstance(size, str):
        return size, ""
    head, star, tail = size.partition("*")
    return (int(head), tail) if star and head.isdecimal() and len(head) < 19 and tail.isidentifier() else (1, size)


cdef str ports_text(ports):
    """x (batch, frames, 5), n int32 (): the dtype where it is not float32."""
    return ", ".join([" ".join([p.name, *([] if p.dtype == "float32" else [p.dtype]), "?" if p.shape is None else f"({', '.join(map(str, p.shape))})"])
                      for p in ports])
