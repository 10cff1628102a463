"""Weights that become zero in whole blocks while a network trains, for kernels that skip such blocks.

Magnitude pruning along a cubic schedule: Zhu and Gupta, "To prune, or not to prune", 2017; of blocks: Narang, Undersander and
Diamos, "Block-sparse recurrent neural networks", 2017.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from ..errors import LstmEdgeError
from ..ir.sparse import BLOCK
from .arguments import module_of, whole
from .cells import VariantLSTM

DONE, KEPT = "pruning_steps", "pruning_kept"  # in an optimiser's state of a parameter
LAYERS = (nn.RNNBase, nn.Linear, VariantLSTM)


def prune_gradually(
    module: nn.Module,
    density: float,
    blocks: tuple[int, int] = BLOCK,
    *,
    start: int = 0,
    steps: int = 1000,
    every: int = 50,
    only: Iterable[str] = ("*",),
) -> Pruning:
    """From now on every step of an optimiser that holds weights of `module` leaves them with whole blocks of exact zeros.

    density: the share of each weight's blocks that is kept in the end. blocks: rows by columns of a weight matrix. start: steps
    before the first block goes; steps: over how many the density then falls to what is asked, by the cubic schedule; 0 prunes
    at once. every: steps between two choices of blocks, those with the smallest mean square; what is zero once stays so.
    only: names of weights, or patterns such as `rnn.*`; without it all of recurrences and nn.Linear.

    Nothing else is to be called: the zeros are put back after each step, whatever momentum and weight decay have made of them.
    How far pruning is stands in the optimiser's state, so that whoever saves that and loads it goes on with the same bits,
    after the same call. Returns what is known of it. LstmEdgeError for arguments that name nothing or mean nothing.
    """
    module_of(module, "prune_gradually")
    if isinstance(density, bool) or not isinstance(density, (int, float)) or not 0 < density <= 1:
        raise LstmEdgeError(f"density: expected a share above 0, at most 1, found {density!r}")
    if (
        not isinstance(blocks, (tuple, list))
        or len(blocks) != 2
        or not all(whole(size, 1) and size <= 4096 for size in blocks)
    ):
        raise LstmEdgeError(f"blocks: expected (rows, columns), whole numbers of 1 to 4096, found {blocks!r}")
    for name, count, least in (("start", start, 0), ("steps", steps, 0), ("every", every, 1)):
        if not whole(count, least):
            raise LstmEdgeError(f"{name}: expected a whole number of {least} or more, found {count!r}")
    patterns = [only] if isinstance(only, str) else list(only)
    names = [name for name, _ in _weights(module) if any(fnmatchcase(name, p) for p in patterns)]
    if not names:
        raise LstmEdgeError(
            f"only: no weight is named {', '.join(patterns)}; there are {', '.join(n for n, _ in _weights(module)) or 'none'}"
        )
    pruning = Pruning(names, float(density), tuple(blocks), start, steps, every)
    _of_module[module] = pruning
    _watch()
    pruning.apply(module)
    return pruning


@dataclass
class Pruning:
    """The pruning of one module. kept: by weight's name, which of its elements stay (bool); done: steps so far."""

    names: list[str]
    density: float
    blocks: tuple[int, ...]
    start: int
    steps: int
    every: int
    done: int = 0
    kept: dict[str, Tensor] = field(default_factory=dict)

    @property
    def density_now(self) -> float:
        """The share of blocks that the schedule asks for after the steps done: 1 - (1 - density) (1 - (1 - t)^3)."""
        if self.done < self.start:
            return 1.0
        t = 1.0 if not self.steps else min(1.0, (self.done - self.start) / self.steps)
        return self.density + (1.0 - self.density) * (1.0 - t) ** 3

    @property
    def finished(self) -> bool:
        """Whether the density is what was asked for."""
        return self.done >= self.start + self.steps

    def step(self, module: nn.Module, state: Mapping[Tensor, dict[str, Any]]) -> None:
        """What happens after a step of the optimiser with this state by parameter."""
        first = state[module.get_parameter(self.names[0])]
        if int(first.get(DONE, self.done)) != self.done:
            self._go_on(module, state)
        self.done += 1
        self.apply(module)
        for name, kept in self.kept.items():
            state[module.get_parameter(name)][KEPT] = kept
        first[DONE] = torch.tensor(float(self.done))

    def _go_on(self, module: nn.Module, state: Mapping[Tensor, dict[str, Any]]) -> None:
        """Takes up what the state of an earlier training says; an optimiser may have made floats of it."""
        self.done = int(state[module.get_parameter(self.names[0])][DONE])
        held = {name: state[module.get_parameter(name)] for name in self.names}
        self.kept = {name: its[KEPT].bool() for name, its in held.items() if KEPT in its}

    @torch.no_grad()
    def apply(self, module: nn.Module) -> None:
        """Chooses blocks anew where that is due, and puts the zeros in their places."""
        since = self.done - self.start
        due = since == self.steps or 0 <= since < self.steps and since % self.every == 0
        for name in self.names:
            weight = module.get_parameter(name)
            if due:
                self.kept[name] = _largest_blocks(weight, self.density_now, self.blocks)
            if name in self.kept:
                weight.masked_fill_(~self.kept[name].to(weight.device), 0.0)


def prunings_of(module: nn.Module) -> dict[str, Pruning]:
    """What is being pruned within `module`, by the names of its parts."""
    return {name: _of_module[part] for name, part in module.named_modules() if part in _of_module}


def stop_pruning(module: nn.Module) -> None:
    """The zeros of `module` are put back no more."""
    _of_module.pop(module, None)


def _weights(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The matrices of recurrences and nn.Linear, by their names in `module`; peepholes are no products with a sequence."""
    for prefix, layer in module.named_modules():
        if isinstance(layer, LAYERS):
            for own, parameter in layer.named_parameters(recurse=False):
                if own.startswith("weight") and parameter.dim() > 1:
                    yield (f"{prefix}.{own}" if prefix else own), parameter


def _largest_blocks(weight: Tensor, density: float, blocks: tuple[int, ...]) -> Tensor:
    """Which elements of weight (..., N, K) lie in its largest blocks, by mean square; as many as the density says, at least one."""
    rows, columns = blocks
    matrix = weight.detach().reshape(-1, weight.shape[-1])
    down, across = -(-matrix.shape[0] // rows), -(-matrix.shape[1] // columns)
    squares = _by_block(matrix.double().square(), rows, columns) / _by_block(torch.ones_like(matrix), rows, columns)
    count = max(1, round(density * down * across))
    order = squares.flatten().argsort(descending=True, stable=True)
    kept = torch.zeros(down * across, dtype=torch.bool, device=weight.device)
    kept[order[:count]] = True
    spread = kept.view(down, across).repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    return spread[: matrix.shape[0], : matrix.shape[1]].reshape(weight.shape)


def _by_block(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """The sum over each block, those at the ends being smaller."""
    n, k = matrix.shape
    padded = nn.functional.pad(matrix, (0, -k % columns, 0, -n % rows))
    return padded.view(padded.shape[0] // rows, rows, -1, columns).sum((1, 3))


# ---- after every step ------------------------------------------------------------------------------------------------

_of_module: WeakKeyDictionary[nn.Module, Pruning] = WeakKeyDictionary()
_watching: list[Any] = []


def _watch() -> None:
    """Has torch call _after_step after every step of any optimiser, once and for all modules."""
    if not _watching:
        _watching.append(register_optimizer_step_post_hook(_after_step))


def _after_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    """A step counts for a module whose first pruned weight the optimiser holds; zeros are put back for all that it holds."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for module, pruning in list(_of_module.items()):
        weights = [module.get_parameter(name) for name in pruning.names]
        if id(weights[0]) in held:
            pruning.step(module, optimizer.state)
        elif any(id(w) in held for w in weights):
            pruning.apply(module)
