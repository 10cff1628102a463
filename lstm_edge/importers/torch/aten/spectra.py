"""The aten calls of Fourier transforms, and what may be asked of the complex tensors that they give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....ir.ops.signal import MOST_POINTS
from ...dialect import Value, movement, spectra
from ..complex import Complex
from ..lowering import Lowering
from ..registry import COMPLEX, OPS, op


def _complex(c: Lowering, spectrum: Value, axis: int, order: list[int]) -> Complex:
    """Of parts that lie on `axis` of a spectrum. order: its other axes, as the tensor has them. What nobody reads is dropped at the end."""

    def part(n: int) -> Value:
        return movement.transpose(c, movement.squeeze(c, c.slice_axis(spectrum, axis, n, n + 1), [axis]), order)

    return Complex.of(part(0), part(1), movement.transpose(c, spectra.magnitude(c, spectrum, axis), order))


@op("stft")
def _stft(
    c: Lowering,
    self: Value,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Value | None = None,
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Value:
    """(samples) or (batch, samples) to (batch, bins, frames); padding for center=True stands in front as calls of its own."""
    if onesided is False or align_to_window:
        raise c.refuse("stft with onesided=False or align_to_window: expected a spectrum of one side, which says all")
    size = win_length or n_fft
    taper = np.ones(size) if window is None else c.array(window, "window of stft").astype(np.float64)
    left = (n_fft - size) // 2
    taper = np.pad(taper, (left, n_fft - size - left)) / (n_fft**0.5 if normalized else 1)
    y = spectra.stft(c, c.floating(self), taper, hop_length or n_fft // 4, n_fft)
    lead = c.rank(y) - 3
    z = _complex(c, y, lead + 1, [*range(lead), lead + 1, lead])
    return z if return_complex else _view_as_real(c, z)


@op("_fft_r2c")
def _fft_r2c(c: Lowering, self: Value, dim: Any, normalization: int, onesided: bool) -> Value:
    if len(dim) != 1 or not onesided:
        raise c.refuse(f"a Fourier transform over axes {list(dim)}, onesided={onesided}: expected one axis, one side")
    return _rfft(c, self, dim=dim[0], norm=("backward", "ortho", "forward")[normalization])


@op("fft_rfft")
def _rfft(c: Lowering, self: Value, n: int | None = None, dim: int = -1, norm: str | None = None) -> Value:
    rank, axis = c.rank(self), c.axis_of(self, dim)
    order = [d for d in range(rank) if d != axis] + [axis]
    x = movement.transpose(c, c.floating(self), order)
    size = movement.fixed_sizes(c, [c.shape(x)[-1]], "a Fourier transform over an axis of size")[0]
    points = size if n is None else n
    if not 1 <= points <= MOST_POINTS:
        raise c.refuse(f"a Fourier transform of {points} points: expected 1 to {MOST_POINTS}")
    x = x if size <= points else c.slice_axis(x, rank - 1, 0, points)
    scale = {"ortho": points**-0.5, "forward": 1 / points}.get(norm or "", 1.0)
    y = c.emit("Rfft", [c.binary("mul", x, scale)], {"n": points})
    return _complex(c, y, rank - 1, [order.index(d) for d in range(rank)])


# ---- of complex tensors ----------------------------------------------------------------------------------------------


def _view_as_real(c: Lowering, self: Complex) -> Value:
    return movement.stack(c, [self.real, self.imaginary], c.rank(self))


def _scaled(c: Lowering, self: Any, other: Any) -> Value:
    if isinstance(other, Complex):
        self, other = other, self
    if isinstance(other, Complex) or not isinstance(other, (int, float, Value)):
        raise c.refuse("a product of complex tensors: expected a number or a real tensor beside one")
    size = abs(other) if not isinstance(other, Value) else c.unary("abs", c.floating(other))
    return Complex.of(
        c.arithmetic("mul", self.real, other),
        c.arithmetic("mul", self.imaginary, other),
        c.arithmetic("mul", self.absolute, size),
    )


def _divided(c: Lowering, self: Any, other: Any) -> Value:
    if isinstance(other, Complex):
        raise c.refuse("a quotient by a complex tensor: expected a number or a real tensor below one")
    return _scaled(c, self, 1 / other if not isinstance(other, Value) else c.unary("reciprocal", c.floating(other)))


READ: dict[str, Callable[..., Any]] = {
    "abs": lambda c, self: self.absolute,
    "real": lambda c, self: self.real,
    "imag": lambda c, self: self.imaginary,
    "angle": lambda c, self: spectra.atan2(c, self.imaginary, self.real),
    "view_as_real": _view_as_real,
    "view_as_real_copy": _view_as_real,
    "is_complex": lambda c, self: True,
    "mul": _scaled,
    "multiply": _scaled,
    "div": _divided,
    **dict.fromkeys(("size", "sym_size"), lambda c, self, dim=None: OPS["size"](c, self.real, dim)),
    "dim": lambda c, self: c.rank(self.real),
    **dict.fromkeys(
        ("resolve_conj", "resolve_neg", "detach", "alias", "clone", "contiguous"), lambda c, self, *_, **__: self
    ),
}
# Moves of elements: of each part as of a real tensor.
MOVED = frozenset(
    "slice narrow select transpose permute movedim moveaxis swapaxes swapdims t mT squeeze unsqueeze view reshape _unsafe_view "
    "flatten unflatten expand flip".split()
)


def _moved(name: str) -> Callable[..., Any]:
    def move(c: Lowering, self: Complex, *args: Any, **kwargs: Any) -> Value:
        return Complex.of(*(OPS[name](c, part, *args, **kwargs) for part in (self.real, self.imaginary, self.absolute)))

    return move


COMPLEX.update(READ)
COMPLEX.update({name: _moved(name) for name in MOVED})


@op("is_complex")
def _is_complex(c: Lowering, self: Value) -> bool:
    return False


@op("atan2", "arctan2")
def _atan2(c: Lowering, self: Value, other: Value) -> Value:
    return spectra.atan2(c, c.floating(self), c.floating(other))
