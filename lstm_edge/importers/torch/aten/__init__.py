"""The lowering of every aten call: each file here fills OPS for one subject, by calling the dialect."""

from ..registry import OPS
from . import (  # noqa: F401  (they fill OPS)
    choosing,
    elementwise,
    making,
    movement,
    norms,
    products,
    recurrences,
    reductions,
    sizes,
    spectra,
    windows,
)

__all__ = ["OPS"]
