"""Which function says what an aten call means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
OPS: dict[str, Callable[..., Any]] = {}
COMPLEX: dict[str, Callable[..., Any]] = {}  # where an argument is a complex tensor, by the call's base
KEEP_LAZY: set[str] = set()  # handled here even when all arguments are constants


def op(*names: str, lazy: bool = False) -> Callable[[Function], Function]:
    """Registers the lowering of the aten calls `names` ("max.dim": of that overload only). It takes the Lowering and
    the call's arguments under aten's own names."""

    def register(function: Function) -> Function:
        for name in names:
            OPS[name] = function
            if lazy:
                KEEP_LAZY.add(name)
        return function

    return register


def spell(rows: Mapping[str, Callable[..., Any]], lazy: bool = False) -> None:
    """Registers calls that only spell what the dialect has: names, parted by spaces, to a lowering as `op` takes it."""
    for names, function in rows.items():
        op(*names.split(), lazy=lazy)(function)
