"""torch.nn.Modules from plain functions of tensors; many cases in one module, because torch.export is slow to start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from conformance.case import EXPORTED, Case, Later

torch = Later("torch")


@dataclass(frozen=True)
class Built:
    """A spelling whose module is built before it is called."""

    make: Callable[[], Any]
    use: Callable[..., Any] = lambda module, *inputs: module(*inputs)

    def __call__(self, *inputs: Any) -> Any:
        return self.use(self.make(), *inputs)


def model(cases: Sequence[Case], is_open: bool) -> Any:
    """The cases side by side as an ExportedProgram: inputs and outputs are those of all, in order."""
    Dim = torch.export.Dim
    symbols = {"B": Dim("batch", min=2, max=64), "T": Dim("frames", min=4, max=64)}
    inputs = [i for c in cases for i in c.inputs]
    example = tuple(torch.from_numpy(a) for c in cases for a in c.arrays(EXPORTED))
    open_axes = [{a: symbols[s] for a, s in enumerate(i.sizes) if s in symbols} if is_open else {} for i in inputs]
    return torch.export.export(_module(cases), example, dynamic_shapes={"inputs": tuple(open_axes)})


def _module(cases: Sequence[Case]) -> Any:
    """A class made here, because torch is imported late."""

    class Side(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            made = [c.torch.make() if isinstance(c.torch, Built) else torch.nn.Identity() for c in cases]
            self.parts = torch.nn.ModuleList(made)

        def forward(self, *inputs: Any) -> list[Any]:
            outputs: list[Any] = []
            at = 0
            for part, case in zip(self.parts, cases):
                x = inputs[at : at + len(case.inputs)]
                at += len(case.inputs)
                spelled: Any = case.torch
                y = spelled.use(part, *x) if isinstance(spelled, Built) else spelled(*x)
                outputs += y if isinstance(y, (list, tuple)) else [y]
            return outputs

    return Side().eval()
