"""int8 and float16 weights: smaller, faster, and honest about what they cost."""

from .narrow import Narrower, to_int8
from .quantizer import quantize
from .search import libm_ops

__all__ = ["Narrower", "libm_ops", "quantize", "to_int8"]
