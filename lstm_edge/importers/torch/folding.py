"""Calls on constants, answered by torch itself where it is at hand."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ..dialect import Value, known
from .program import TOUCH_FILES, DType, leaves

MAX_FOLDED = 1 << 27  # elements of a constant that is computed here


def _within_reason(target: str, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a call's numbers cannot blow a small file up to gigabytes."""
    if ".slice" in target or ".narrow" in target:
        return True
    size = max((v.data.size for v in leaves([args, kwargs]) if isinstance(v, Value)), default=1)
    lists = [
        v for v in [*args, *kwargs.values()] if isinstance(v, (list, tuple)) and all(isinstance(n, int) for n in v)
    ]
    numbers = [abs(v) for v in leaves([args, kwargs]) if isinstance(v, (int, float)) and abs(v) != float("inf")]
    counts = [*(prod(max(abs(n), 1) for n in v) for v in lists), *(n for n in numbers if ".arange" in target), 1]
    return max(size, 1) * max(counts) <= MAX_FOLDED if lists or ".arange" in target else True


def fold(target: str, args: Any, kwargs: dict[str, Any]) -> Any:
    """The result of a call on constants, by torch; None where torch is missing or the call draws random numbers."""
    if any(w in target for w in ("rand", "bernoulli", "multinomial", "empty")):
        return None
    try:
        import torch
    except ImportError:
        return None
    if not _within_reason(target, args, kwargs):
        raise UnsupportedModelError(f"the call {target} on constants would make more than {MAX_FOLDED} elements")
    _, name, *overload = target.split(".")
    if name in TOUCH_FILES:
        raise UnsupportedModelError(f"the call {target} reads or writes a file, and is never run")
    function = getattr(torch.ops.aten, name, None)
    if function is None:
        return None
    function = getattr(function, overload[0]) if overload else function

    def to_torch(v: Any) -> Any:
        if isinstance(v, Value):
            return torch.from_numpy(np.array(v.data))
        if isinstance(v, (list, tuple)):
            return [to_torch(x) for x in v]
        return getattr(torch, v) if isinstance(v, DType) else v

    def from_torch(v: Any) -> Any:
        if isinstance(v, torch.Tensor):
            v = v.detach()
            return known((v.float() if v.dtype in (torch.bfloat16, torch.float16) else v).numpy())
        if isinstance(v, (list, tuple)):
            return [from_torch(x) for x in v]
        return v

    kwargs = {k: v for k, v in kwargs.items() if k not in ("device", "layout", "pin_memory")}
    with torch.no_grad():
        return from_torch(function(*[to_torch(a) for a in args], **{k: to_torch(v) for k, v in kwargs.items()}))
