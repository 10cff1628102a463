"""The weights inside the objects that torch packs them into for its 8 and 16 bit kernels, as pickles hold them."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from ..errors import UnsupportedModelError
from .unpickler import Inert

LINEAR, CELL = "LinearPackedParamsBase", "CellParamsBase"
CELL_KINDS = ("quantized_dynamic", "quantized_fp16")
Linear = tuple[np.ndarray, Optional[np.ndarray]]  # weight (N, K), bias (N,)


def kind_of(value: Any) -> str:
    """LINEAR or CELL; '' of what is neither."""
    return next((k for k in (LINEAR, CELL) if isinstance(value, Inert) and _class(value).endswith(f".{k}")), "")


def _class(value: Inert) -> str:
    """The object's class: its own in TorchScript, one of the two parts of its state in other pickles."""
    if value.name != "torch.ScriptObject":
        return value.name
    state = value.state
    return state[1] if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], str) else ""


def _state(value: Inert) -> Any:
    return value.state[0] if value.name == "torch.ScriptObject" else value.state


def linear(value: Any) -> Linear:
    """The weight, in the float32 numbers that it stands for, and the bias, of a packed object or of the two in a tuple.

    UnsupportedModelError for anything else.
    """
    parts = value if isinstance(value, tuple) else _state(value) if kind_of(value) == LINEAR else None
    if not isinstance(parts, tuple) or len(parts) != 2 or not _is_array(parts[0], 2):
        raise UnsupportedModelError(f"packed weights in {_named(value)}: expected a weight (N, K) and a bias (N,)")
    weight, bias = parts
    if bias is not None and not (_is_array(bias, 1) and len(bias) == len(weight)):
        raise UnsupportedModelError(f"packed weights in {_named(value)}: expected a bias of {len(weight)} numbers")
    return np.asarray(weight, np.float32), None if bias is None else np.asarray(bias, np.float32)


def cell(value: Any) -> list[np.ndarray]:
    """w_ih, w_hh, and, where it has such, b_ih and b_hh, of one layer and direction. UnsupportedModelError for what is no
    such object."""
    state = _state(value) if kind_of(value) == CELL else None
    kind, *_, pair = state if isinstance(state, tuple) and len(state) == 5 else ("", ())
    if not isinstance(kind, str) or kind not in CELL_KINDS or not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise UnsupportedModelError(f"packed weights in {_named(value)}: expected one of {', '.join(CELL_KINDS)}")
    (w_ih, b_ih), (w_hh, b_hh) = (linear(packed) for packed in pair)
    return [w_ih, w_hh, *(b for b in (b_ih, b_hh) if b is not None)]


def _named(value: Any) -> str:
    return value.name if isinstance(value, Inert) else type(value).__name__


def _is_array(value: Any, rank: int) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == rank
