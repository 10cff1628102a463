"""Training on torch, for files that run without it (extra `train`). Nothing of it is imported by `import lstm_edge`.

The options of training are read without torch; what trains imports it when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cells import recurrent as recurrent
    from .exporting import export as export
    from .fill import ForwardFill as ForwardFill
    from .int8_layers import fake_quantize as fake_quantize
    from .loop import Tensors as Tensors
    from .loop import fit as fit
    from .options import Options as Options
    from .pruning import prune_gradually as prune_gradually
    from .trained import Trained as Trained
    from .trainer import train as train

# What `lstm_edge.training` offers -> the module that has it.
_HOMES = {
    "ForwardFill": "fill",
    "export": "exporting",
    "fake_quantize": "int8_layers",
    "fit": "loop",
    "Options": "options",
    "Tensors": "loop",
    "Trained": "trained",
    "prune_gradually": "pruning",
    "recurrent": "cells",
    "train": "trainer",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
