"""lstm_edge: runs trained recurrent networks on small computers, frame by frame, with their state kept.

model = lstm_edge.load("vad.lstm")
stream = model.stream()
p = stream.step(frame)
"""

from __future__ import annotations

import sys as _sys

from ._core import Model, Port, Stream, isas, load
from .errors import FormatError, LstmEdgeError, ShapeError, UnsupportedModelError

TYPE_CHECKING = False  # typing itself would take a third of the time in which the package is imported
if TYPE_CHECKING:
    from typing import Any

    from .check.evaluate import evaluate
    from .check.verify import verify
    from .convert import convert, suggest_network
    from .importers.plugins import register_layer, register_op
    from .join import join
    from .many import step_many
    from .prune import prune
    from .quantize import quantize

__version__ = "0.1.0"
__all__ = [
    "FormatError",
    "LstmEdgeError",
    "Model",
    "Port",
    "ShapeError",
    "Stream",
    "UnsupportedModelError",
    "convert",
    "evaluate",
    "isas",
    "join",
    "load",
    "prune",
    "quantize",
    "register_layer",
    "register_op",
    "step_many",
    "suggest_network",
    "verify",
]

# Loaded when first used, so that a device that only runs models imports neither importers nor graph.
_LAZY = {
    "convert": ".convert",
    "evaluate": ".check.evaluate",
    "join": ".join",
    "prune": ".prune",
    "quantize": ".quantize",
    "register_layer": ".importers.plugins",
    "register_op": ".importers.plugins",
    "step_many": ".many",
    "suggest_network": ".convert",
    "verify": ".check.verify",
}


class _Package(type(_sys)):  # type: ignore[misc]  # types.ModuleType
    """Binds a lazy module's function where importing the module would bind the module of the same name."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, getattr(value, name) if name in _LAZY and isinstance(value, type(_sys)) else value)


_sys.modules[__name__].__class__ = _Package


if not TYPE_CHECKING:  # type checkers know the names from above, and name those that are none

    def __getattr__(name):
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = __name__ + _LAZY[name]
        __import__(module)
        return getattr(_sys.modules[module], name)


def __dir__() -> list[str]:
    """The public names, those that are loaded when first used included."""
    return [*__all__, "__doc__", "__file__", "__name__", "__path__", "__version__"]
