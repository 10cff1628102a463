"""int8 and float16 weights: smaller, faster, and honest about what they cost."""

from .narrow import Narrower, narrow_bytes, to_int8
from .quantizer import own_self_test, quantize
from .report import OpReport, QuantizeReport, bytes_of
from .search import libm_ops

__all__ = [
    "Narrower",
    "OpReport",
    "QuantizeReport",
    "bytes_of",
    "libm_ops",
    "narrow_bytes",
    "own_self_test",
    "quantize",
    "to_int8",
]
