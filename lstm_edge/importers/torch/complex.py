"""Complex tensors, of which the core has none: two real tensors, for a program that asks for their size, their parts or their angle."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..dialect import Value


@dataclass(eq=False)
class Complex(Value):
    """Its parts and its absolute value, each a tensor of its shape. As a Value it stands for its real part under a dtype that no op has,
    so that shapes are its own, and what knows nothing of complex tensors refuses it."""

    real: Value = field(default_factory=lambda: Value("float32"))
    imaginary: Value = field(default_factory=lambda: Value("float32"))
    absolute: Value = field(default_factory=lambda: Value("float32"))

    @staticmethod
    def of(real: Value, imaginary: Value, absolute: Value) -> Complex:
        return Complex("complex64", real.array, real.tensor, None, real, imaginary, absolute)
