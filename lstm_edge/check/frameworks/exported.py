"""Exported programs (.pt2), their calls made one by one with torch's own operators.

torch.export.load is not given the file: it unpickles what the file names (torch 2.13 calls torch.load with
weights_only=False). The calls are read by the importer, which runs nothing; this says whether it gives them their meaning.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ...importers.torch import pt2
from ...importers.torch.program import TOUCH_FILES, DType, Ref, Step
from .question import NoFramework

# Arithmetic on sizes, by the names in `operator` and by torch's own.
SIZE_OPERATORS = "add sub mul floordiv truediv mod pow neg getitem eq ne lt le gt ge".split()
SIZE_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sym_min": min,
    "sym_max": max,
    "sym_float": float,
    "sym_int": int,
    "sym_not": operator.not_,
}


def outputs(data: bytes) -> Callable[[list[Any]], list[Any]]:
    """What gives the program's outputs for its inputs, both tensors in order. NoFramework where it calls what is no operator of torch's."""
    import torch

    program = pt2.traced(data, "the file")
    calls = [(s, _function(s)) for s in program.steps if not s.base.startswith("_assert")]  # those give no value

    constants = {n: torch.from_numpy(np.array(a)) for n, a in program.constants.items()}
    written = any(s.in_place for s in program.steps)  # in place: every run must begin with what the file holds

    def run(feed: list[Any]) -> list[Any]:
        values = {n: a.clone() for n, a in constants.items()} if written else dict(constants)
        values.update(zip((i.name for i in program.inputs), feed))
        for step, function in calls:
            values[step.name] = function(*_resolved(step.args, values), **_resolved(step.kwargs, values))
        return [_resolved(value, values) for _, value in program.outputs]

    return run


def _function(step: Step) -> Callable[..., Any]:
    """What a call of an exported program calls."""
    import torch

    library, _, rest = step.target.partition(".")
    name, _, overload = rest.partition(".")
    found: Any = None
    if library == "aten" and name not in TOUCH_FILES:
        packet = getattr(torch.ops.aten, name, None)
        found = getattr(packet, overload, None) if overload else packet
    elif library == "operator" and name in SIZE_OPERATORS:
        found = getattr(operator, name)
    elif library == "math":
        found = SIZE_FUNCTIONS.get(name)
    if found is None:
        raise NoFramework(f"the program calls {step.target}, which is no plain operator of torch's and was not run")
    function: Callable[..., Any] = found
    return function


def _resolved(value: Any, values: dict[str, Any]) -> Any:
    """An argument, with the values that it names in their places."""
    import torch

    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, (list, tuple)):
        return [_resolved(v, values) for v in value]
    if isinstance(value, dict):
        return {k: _resolved(v, values) for k, v in value.items()}
    return getattr(torch, value) if isinstance(value, DType) else value
