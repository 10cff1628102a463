"""Short-time Fourier transforms: frames, tapered, and the spectrum of each."""

from __future__ import annotations

import numpy as np

from ...ir.ops.signal import MOST_POINTS
from .builder import Dialect
from .value import Value, known


def stft(d: Dialect, x: Value, taper: np.ndarray, hop: int, n: int) -> Value:
    """x (..., S) to (..., F, 2, n/2+1): spectra of frames of len(taper) <= n samples every `hop`, zeros behind them; real parts, then
    imaginary ones. A frame begins where the one before did and `hop` samples on, F = (S - len(taper)) / hop + 1."""
    if not 1 <= len(taper) <= n <= MOST_POINTS or hop < 1:
        raise d.refuse(
            f"a transform of {n} points over frames of {len(taper)} samples every {hop}: expected 1 to {MOST_POINTS} points, "
            "no more samples, 1 or more between frames"
        )
    frames = d.emit("Frames", [x], {"size": len(taper), "hop": hop}, "float32")
    return d.emit("Rfft", [d.binary("mul", frames, known(taper.astype(np.float32)))], {"n": n})


def magnitude(d: Dialect, spectrum: Value, axis: int, power: int = 1) -> Value:
    """The absolute value (power 1) or its square (2) of a spectrum whose parts lie on `axis`, without that axis."""
    kind = "sum_square" if power == 2 else "l2"
    return d.emit("Reduce", [spectrum], {"kind": kind, "axes": [axis], "keepdims": 0})


def atan2(d: Dialect, y: Value, x: Value) -> Value:
    """The angle of x + i y, -pi to pi; 0 where both are 0."""
    nothing = d.binary("and", d.binary("equal", y, 0.0), d.binary("equal", x, 0.0))
    half = d.emit("Where", [d.binary("less", y, 0.0), d.constant(-np.pi), d.constant(np.pi)], {}, "float32")
    turned = d.emit("Where", [d.binary("less", x, 0.0), half, d.constant(0.0)], {}, "float32")
    slope = d.binary("div", y, d.emit("Where", [nothing, d.constant(1.0), x], {}, "float32"))
    return d.binary("add", d.unary("atan", slope), turned)
