"""Records and sections of a `.lstm` file, as docs/format.md specifies them; written by writer.py, read by reader.py."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ..ir.dims import BATCH, FRAMES, Dim, Size
from ..ir.spec import RUN_DTYPES, WEIGHT_DTYPES

MAJOR, MINOR = 1, 0
NEWER = 2  # the major version of a file that stores a constant by its blocks, or an op with input_bits
CONSTANT_KINDS = VARIABLE, WHOLE, BLOCKS = 0, 1, 2
ALIGN = 64

HEADER = struct.Struct("<8sHHIQII32x")
SECTION = struct.Struct("<4sIQQQ")
TENSOR = struct.Struct("<IBBxx")
CONSTANT = struct.Struct("<IIQQQQ8q")
NODE = struct.Struct("<IIIHHIIQ")
ATTR = struct.Struct("<IB3xIIQ")
DIM = struct.Struct("<qII")
PORT = struct.Struct("<IIiI")  # then 8 dims
STATE = struct.Struct("<IIIIiiQ")  # then 8 dims
INDEX = struct.Struct("<i")
CRC_START = 16

RECORD_SIZE = {
    b"STRS": 0, b"TENS": TENSOR.size, b"CNST": CONSTANT.size, b"DATA": 0, b"NODE": NODE.size, b"IDXS": INDEX.size,
    b"ATTR": ATTR.size, b"VALS": 0, b"INPT": PORT.size + 8 * DIM.size, b"OUTP": PORT.size + 8 * DIM.size,
    b"STAT": STATE.size + 8 * DIM.size, b"META": 0, b"TEST": 0,
}  # fmt: skip
OPTIONAL = (b"META", b"TEST")

DTYPES = (*RUN_DTYPES, *WEIGHT_DTYPES)
SYMBOLS: tuple[Size, ...] = (1, BATCH, FRAMES)  # and from number 3 on the further open lengths that metadata names
MAX_LENGTHS = 8


def with_lengths(lengths: Sequence[str]) -> tuple[Size, ...]:
    """What the symbol numbers of an input's sizes stand for, in a file with these further open lengths."""
    return (*SYMBOLS, *(Dim.symbol(name) for name in lengths))


ATTR_KINDS = ("int", "float", "str", "ints", "floats", "strs")
VALUE_SIZE = {"int": 8, "float": 4, "str": 4}


def one_of(words: tuple[str, ...]) -> str:
    return ", ".join(words[:-1]) + " or " + words[-1]
