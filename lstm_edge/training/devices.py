"""Where training is computed, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from .distributed import World
from .options import Options
from .report import TrainingError


def choose_device(options: Options, world: World) -> tuple[torch.device, str]:
    """This process's device, and a sentence that says what it is. TrainingError: the machine has none of that kind."""
    local = world.local
    kind, chosen = options.device, ""
    if kind == "auto":
        kind = next((k for k in ("cuda", "mps") if _present(k)), "cpu")
        chosen = f", chosen by {options.typed('device')}"
    if not _present(kind):
        raise TrainingError(f"{options.typed('device')}: expected a device of that kind, torch finds none; try auto")
    if kind == "cuda":
        if local >= torch.cuda.device_count():
            raise TrainingError(f"process {local} of this machine has no GPU: torch finds {torch.cuda.device_count()}")
        return torch.device(kind, local), f"trained on {torch.cuda.get_device_name(local)} (cuda:{local}){chosen}"
    if kind == "mps" and world.size > 1:
        raise TrainingError(
            f"expected cpu or cuda for several processes, found {options.typed('device')}, which is mps"
        )
    threads = f" with {torch.get_num_threads()} threads" if kind == "cpu" else ""
    return torch.device(kind), f"trained on {kind}{threads}{chosen}"


def _present(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_available()
    return kind == "cpu" or torch.backends.mps.is_available()


def check_precision(options: Options, device: torch.device) -> str:
    """What is to be said of the precision, "" for float32. TrainingError: the device has no bfloat16."""
    if options.precision == "float32":
        return ""
    if device.type == "mps" or (device.type == "cuda" and not torch.cuda.is_bf16_supported()):
        raise TrainingError(f"{options.typed('precision')}: expected a device with bfloat16, found {device}")
    slow = "; slower than float32 on a CPU without instructions for it" if device.type == "cpu" else ""
    return f"products in bfloat16, weights and optimizer in float32{slow}"


def arithmetic(options: Options, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which losses are computed."""
    return torch.autocast(device.type, torch.bfloat16) if options.precision == "bf16" else nullcontext()


def moved(batch: Any, device: torch.device) -> Any:
    """A tensor, or a tuple, list or dict of such, on the device; all else as it is."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {name: moved(value, device) for name, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        parts = [moved(value, device) for value in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of the generators that dropout and the like draw from, by the device they belong to."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_states(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Puts the generators where `random_states` found them; a device whose state was not kept goes on as it is."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])
