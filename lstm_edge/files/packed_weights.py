"""The weights inside the objects that torch packs them into for its 8 and 16 bit kernels, as pickles hold them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import UnsupportedModelError
from .unpickler import Inert

LINEAR, CELL = "LinearPackedParamsBase", "CellParamsBase"
CELL_KINDS = ("quantized_dynamic", "quantized_fp16")
Linear = tuple[np.ndarray, np.ndarray | None]  # weight (N, K), bias (N,)


def kind_of(value: Any) -> str:
    """LINEAR or CELL; '' of what is neither."""
    return next((k for k in (LINEAR, CELL) if isinstance(value, Inert) and _class(value).endswith(f".{k}")), "")


def _class(value: Inert) -> str:
    """The object's class: its own in TorchScript, one of the two parts of its state in other pickles."""
    state = value.state
    return str(state[1]) if value.name == "torch.ScriptObject" and isinstance(state, tuple) else value.name


def _state(value: Inert) -> Any:
    return value.state[0] if value.name == "torch.ScriptObject" else value.state


def linear(value: Inert) -> Linear:
    """The weight, in the float32 numbers that it stands for, and the bias."""
    state = _state(value)
    if kind_of(value) != LINEAR or not isinstance(state, tuple) or len(state) != 2 or not _is_array(state[0]):
        raise UnsupportedModelError(f"packed weights of {value.name}: expected a weight and a bias")
    bias = state[1] if _is_array(state[1]) else None
    return np.asarray(state[0], np.float32), None if bias is None else np.asarray(bias, np.float32)


def cell(value: Inert) -> list[np.ndarray]:
    """w_ih, w_hh, and, where it has such, b_ih and b_hh, of one layer and direction."""
    state = _state(value)
    if kind_of(value) != CELL or not isinstance(state, tuple) or len(state) != 5 or state[0] not in CELL_KINDS:
        raise UnsupportedModelError(f"packed weights of {value.name}: expected one of {', '.join(CELL_KINDS)}")
    (w_ih, b_ih), (w_hh, b_hh) = (linear(packed) for packed in state[4])
    return [w_ih, w_hh, *(b for b in (b_ih, b_hh) if b is not None)]


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)
