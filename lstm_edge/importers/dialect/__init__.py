"""The one place where an operator's meaning becomes ops of docs/ops.md.

Front ends spell their operators with it: they read attributes, reorder, and call. It speaks NumPy's and ONNX's terms and
knows no framework.
"""

from ...ir.ops import TO_END
from .builder import Dialect
from .value import (
    Int8Weight,
    Undecided,
    Value,
    broadcast,
    check_bytes,
    int8_weight,
    known,
    run_dtype,
    stacked,
)

__all__ = [
    "TO_END",
    "Dialect",
    "Int8Weight",
    "Undecided",
    "Value",
    "broadcast",
    "check_bytes",
    "int8_weight",
    "known",
    "run_dtype",
    "stacked",
]
