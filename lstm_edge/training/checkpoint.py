"""Checkpoints: written whole or not at all, read without running what they hold, and refused where they belong to another
training."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import FormatError
from ..files.replacing import replacing
from ..options import spelled
from .distributed import World
from .int8_layers import Int8
from .options import BESIDE, Options
from .pruning import prunings_of
from .report import TrainingError

NAME = "checkpoint.pt"
KIND = "lstm_edge training 1"
# Options that a training may go on with in other values: another device gives other bits, which is said; patience only says
# when training ends.
FREE = BESIDE | {"device", "patience"}
EXAMPLES_AT_ONCE = 1024
STEPS_BETWEEN_LOOKS = 20  # at the clock, which several processes must agree on
NAMED_AT_MOST = 4  # differences that a message names


class Checkpoints:
    """The checkpoint in the folder of a training, or none without a folder."""

    def __init__(
        self,
        options: Options,
        module: nn.Module,
        loss: Callable[..., Any],
        examples: Any,
        world: World,
        device: torch.device,
    ):
        self.options, self.world, self.device = options, world, device
        self.path = Path(options.folder, NAME) if options.folder else None
        self.last = time.monotonic()
        self.tried = False  # whether what is written can be read again
        if self.path is None:
            return
        self.identity = _identity(options, module, loss, examples, world)
        if world.first:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(self.path.parent, os.W_OK):
                raise TrainingError(f"{self.path.parent}: expected a folder that may be written, found it read-only")

    def due(self, step: int, steps: int) -> bool:
        """Whether one is to be written after this step, of `steps` in the epoch."""
        if self.path is None:
            return False
        if not self.options.checkpoint_minutes:
            return step == (steps + 1) // 2 or step == steps
        if self.world.size > 1 and step % STEPS_BETWEEN_LOOKS:
            return False
        passed = time.monotonic() - self.last >= 60 * self.options.checkpoint_minutes
        return bool(self.world.first_ones(passed, self.device))

    def write(self, state: Mapping[str, Any]) -> None:
        """Replaces the file at once, by the first process: who is killed meanwhile leaves the one before."""
        if self.path is None or not self.world.first:
            return
        content = {"kind": KIND, "identity": self.identity, "made by": _made_by(self.device), **state}
        with replacing(self.path) as file:
            torch.save(content, file)
            if not self.tried:
                file.seek(0)
                _loaded(file.read(), f"{self.path}: what the network keeps in its state")
                self.tried = True
        self.last = time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """What the checkpoint holds, or None where training starts at its beginning.

        FormatError: no checkpoint, or a damaged one. TrainingError: of another training, each difference by name; or
        there is one and nobody said to go on.
        """
        if self.path is None:
            return None
        content = self.path.read_bytes() if self.world.first and self.path.exists() else b""
        content = self.world.first_bytes(content, self.device)
        if not content:
            return None
        if not self.options.resume:
            how = spelled("--resume", "resume=True")
            raise TrainingError(f"{self.path}: of an earlier training; {how} goes on with it, or name another folder")
        state = _loaded(content, str(self.path))
        self._compare(state["identity"])
        return state

    def _compare(self, found: Mapping[str, str]) -> None:
        names = [name for name in {**found, **self.identity} if found.get(name) != self.identity.get(name)]
        if not names:
            return
        known = self.options.given()
        texts = [
            f"{self.options.named(name) if name in known else name} {found.get(name)}, here {self.identity.get(name)}"
            for name in names
        ]
        more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
        raise TrainingError(
            f"{self.path}: expected a checkpoint of this training, found one made with {'; '.join(texts[:NAMED_AT_MOST])}"
            f"{more}; go on as it began, or name another folder"
        )


def strangeness(state: Mapping[str, Any], device: torch.device) -> str:
    """Why a training that goes on from `state` may end in other bits than one never interrupted; "" where it does not."""
    now = _made_by(device)
    changed = [f"{n} {state['made by'].get(n)}, now {now[n]}" for n in now if state["made by"].get(n) != now[n]]
    return f"the checkpoint was made with {' and '.join(changed)}: the last bits may differ" if changed else ""


def _made_by(device: torch.device) -> dict[str, str]:
    """What the last bits of a training depend on beside its options."""
    threads = str(torch.get_num_threads()) if device.type == "cpu" else "any"
    return {"torch": str(torch.__version__), "device": device.type, "threads": threads}


def _identity(
    options: Options, module: nn.Module, loss: Callable[..., Any], examples: Any, world: World
) -> dict[str, str]:
    """What must be equal for a training to go on: its options, weights, layers, loss, examples and processes, text by name."""
    free = FREE | ({"epochs"} if options.schedule != "cosine" else set())  # a cosine is as long as all epochs
    found = {name: repr(value) for name, value in options.given().items() if name not in free}
    for name, value in module.state_dict().items():
        if isinstance(value, torch.Tensor):
            found[f"weights {name}"] = str(list(value.shape))
    for name, pruning in prunings_of(module).items():
        found[f"pruning of {name or 'all'}"] = f"{pruning.density:g} in blocks {pruning.blocks}"
    found["examples"] = f"{len(examples)} of digest {_digest(examples, options.seed)}"
    found["processes"] = str(world.size)
    found["loss function"] = _called(loss)
    for name, layer in module.named_modules():
        arithmetic = " in int8" if isinstance(layer, Int8) and layer.int8_arithmetic else ""
        found[f"layer {name or 'of all'}"] = _called(type(layer)) + arithmetic
    return found


def _called(what: Any) -> str:
    """The name in its code of a function or class, of another object that of its class. The module is left out: a script is
    named otherwise when it is run than when it is imported."""
    while isinstance(what, functools.partial):
        what = what.func
    return str(getattr(what, "__qualname__", type(what).__qualname__))


def _digest(examples: Any, seed: int) -> str:
    torch.manual_seed(seed)  # for examples that draw, such as noise that is added
    digest = hashlib.sha256()
    for indices in torch.split(torch.arange(len(examples)), EXAMPLES_AT_ONCE):
        for tensor in _tensors(examples.batch(indices)):
            digest.update(f"{tensor.dtype}{list(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _tensors(batch: Any) -> Iterator[torch.Tensor]:
    if isinstance(batch, torch.Tensor):
        yield batch.reshape(-1)
    elif isinstance(batch, (dict, tuple, list)):
        for part in batch.values() if isinstance(batch, dict) else batch:
            yield from _tensors(part)


def _loaded(content: bytes, path: str) -> dict[str, Any]:
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as exc:  # torch's reader of damaged bytes fails in any way there is
        raise FormatError(f"{path}: expected a checkpoint of a training, found a damaged file or another") from exc
    parts = ("identity", "made by")
    if (
        not isinstance(state, dict)
        or state.get("kind") != KIND
        or not all(isinstance(state.get(p), dict) for p in parts)
    ):
        raise FormatError(f"{path}: expected a checkpoint of lstm_edge's training, found something else")
    return state
