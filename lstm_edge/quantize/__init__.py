"""int8 and float16 weights: smaller, faster, and honest about what they cost."""

from .quantizer import Narrower, libm_ops, quantize, to_int8

__all__ = ["Narrower", "libm_ops", "quantize", "to_int8"]
