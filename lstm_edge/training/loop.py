"""The training loop: examples in an order of their own, steps, validation, the best weights kept."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from typing import Any, Protocol

import torch
from torch import nn

from ..errors import FormatError
from .checkpoint import Checkpoints, strangeness
from .devices import arithmetic, check_precision, choose_device, moved, random_states, set_random_states
from .distributed import World, announced, join
from .logs import log_of
from .options import Options
from .pruning import prunings_of
from .report import Epoch, History, NotFinite, Report, Reports, TrainingError
from .schedules import Schedule

Batch = Any  # a tensor, or a tuple, list or dict of tensors
Loss = Callable[[nn.Module, Batch], torch.Tensor]
Validate = Callable[[nn.Module], float]

STEPS_READ_AT_ONCE = {"cpu": 1}  # by the kind of device; reading a loss from a GPU waits for all steps before it
OTHERWISE = 20


class Examples(Protocol):
    """What training draws from."""

    def __len__(self) -> int: ...

    def batch(self, indices: torch.Tensor) -> Batch:
        """The examples of these numbers (int64, on the CPU) as one batch; any device, `fit` moves it."""


@dataclass(frozen=True)
class Tensors:
    """Examples held in tensors, whose first axis counts them. A batch is a tuple of their rows."""

    tensors: tuple[torch.Tensor, ...]

    def __len__(self) -> int:
        return len(self.tensors[0])

    def batch(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(tensor[indices] for tensor in self.tensors)


def fit(
    module: nn.Module,
    loss: Loss,
    training: Examples,
    validate: Validate,
    options: Options,
    *,
    report: Report | None = None,
) -> History:
    """Trains `module` in place; afterwards it holds the weights of the best epoch, in eval mode, on the device that it
    came from.

    loss: (module, batch) -> the mean over the batch's examples, a scalar tensor. validate: module -> a number that is
    lower for better weights; called after each epoch in eval mode without gradients. All that is drawn follows from
    options.seed, through torch's generators. Under torchrun each process calls it alike (distributed.py). Of a module under
    prune_gradually, the epochs after its pruning count.

    Raises NotFinite for a loss, a gradient or a validation that is none (it names epoch and step), TrainingError for a device
    that the machine does not have and for a checkpoint of another training, FormatError for a damaged one.
    """
    if not len(training):
        raise TrainingError("expected examples to train on, found none")
    world = announced()
    device, said = choose_device(options, world)
    told = [*([report] if report is not None else []), *log_of(options)] if world.first else []
    reports = Reports(told)
    for note in filter(None, (said, check_precision(options, device))):
        reports.note(note)
    home = next((p.device for p in module.parameters()), device)
    join(world, device)
    module.to(device)
    checkpoints = Checkpoints(options, module, loss, training, world, device)
    run = _Run(module, loss, training, validate, options, reports, world, device, checkpoints)
    run.history.device = said
    try:
        run.go()
    finally:
        reports.ended(run.history)
    module.load_state_dict(run.best)
    module.to(home).eval()
    return run.history


class _Loss(nn.Module):
    """The loss as a module's forward, which is what DistributedDataParallel wraps; `loss` sees the module itself."""

    def __init__(self, module: nn.Module, loss: Loss):
        super().__init__()
        self.module = module
        self.loss = loss

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.loss(self.module, batch)


class _Order:
    """The order of examples: a permutation for each epoch, cut into steps."""

    def __init__(self, count: int, per_step: int, seed: int):
        self.count, self.per_step = count, per_step
        self.steps = math.ceil(count / per_step)
        self.generator = torch.Generator().manual_seed(seed)
        self.start = self.generator.get_state()  # from which the epoch that is under way, or the next, is drawn
        self.permutation = torch.empty(0, dtype=torch.int64)

    def begin(self) -> None:
        self.generator.set_state(self.start)
        self.permutation = torch.randperm(self.count, generator=self.generator)

    def end(self) -> None:
        self.start = self.generator.get_state()

    def step(self, number: int) -> torch.Tensor:
        return self.permutation[number * self.per_step : (number + 1) * self.per_step]


class _Run:
    """A training under way: everything that a checkpoint holds, and how it goes on."""

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        training: Examples,
        validate: Validate,
        options: Options,
        reports: Reports,
        world: World,
        device: torch.device,
        checkpoints: Checkpoints,
    ):
        self.module, self.training, self.validate = module, training, validate
        self.options, self.reports, self.world, self.device = options, reports, world, device
        self.checkpoints = checkpoints
        torch.manual_seed(options.seed + world.rank)
        self.loss = world.wrapped(_Loss(module, loss), device)
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = _optimizer(self.parameters, options)
        self.order = _Order(len(training), options.batch * world.size, options.seed)
        self.schedule = Schedule(options, self.order.steps)
        self.history = History()
        self.best: dict[str, Any] = {}
        self.epoch = 0  # epochs done
        self.step = 0  # steps done of the epoch under way
        self.prunings = prunings_of(module)
        self.best_is_final = False  # whether the best weights have all the zeros that prune_gradually was asked for
        self.since_better = 0
        self.total = 0.0  # of the epoch's losses, each weighted with its examples
        self.seconds = 0.0  # of the epoch, in an earlier process
        self.began = time.monotonic()  # the epoch, in this one
        self.saved_at = (-1, -1)
        self.unread: list[tuple[int, torch.Tensor, torch.Tensor | None, float, float]] = []

    def go(self) -> None:
        """All epochs that are left."""
        self._go_on()
        steps = self.order.steps
        self.reports.began(epochs=self.options.epochs, steps=steps, done=self.epoch * steps + self.step)
        while self.epoch < self.options.epochs and not self.history.stopped:
            self._run_epoch()
        if not self.best_is_final:
            self.reports.note("training ended before prune_gradually did: fewer blocks are zero than it was asked for")
        if self.saved_at != (self.epoch, 0):
            self._save()

    def _run_epoch(self) -> None:
        self.began = time.monotonic()
        self.order.begin()
        self.module.train()
        steps = self.order.steps
        while self.step < steps:
            self._take_step()
            if self.step < steps and self.checkpoints.due(self.step, steps):
                self._save()
        self._read_losses()
        value = self._validated()
        self._judge(self._over_all(self.total) / len(self.training), value)
        self.order.end()
        self.epoch, self.step, self.total, self.seconds = self.epoch + 1, 0, 0.0, 0.0
        if self.checkpoints.due(steps, steps):
            self._save()

    def _over_all(self, value: float) -> float:
        """The sum of the processes' numbers."""
        return sum(float(held) for held in self.world.gathered(_number(value, self.device)))

    def _take_step(self) -> None:
        indices, weight = self.world.share(self.order.step(self.step))
        batch = moved(self.training.batch(indices), self.device)
        rate = self.schedule.rate(self.epoch * self.order.steps + self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        with arithmetic(self.options, self.device):
            loss = self.loss(batch)
        if loss.ndim or not loss.requires_grad:
            found = f"shape {list(loss.shape)}, {'with' if loss.requires_grad else 'without'} a gradient"
            raise TrainingError(f"expected the loss to be a number with a gradient (shape []), found {found}")
        (loss if weight == 1 else loss * weight).backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.options.clip) if self.options.clip else None
        self.optimizer.step()
        self.step += 1
        self.unread.append((self.step, loss.detach(), norm, rate, len(indices) * (weight > 0)))
        if len(self.unread) >= STEPS_READ_AT_ONCE.get(self.device.type, OTHERWISE):
            self._read_losses()

    def _read_losses(self) -> None:
        """Reads what steps left on the device; TrainingError at the first that is not finite."""
        for step, held, norm, rate, count in self.unread:
            loss = held.item()
            for name, value in (("loss", loss), ("gradient", norm.item() if norm is not None else 0.0)):
                if not math.isfinite(value):
                    raise self._not_finite(f"epoch {self.epoch + 1}, step {step} of {self.order.steps}", name, value)
            self.total += loss * count
            self.reports.step(self.epoch + 1, step, loss, rate)
        self.unread.clear()

    def _not_finite(self, place: str, name: str, value: float) -> NotFinite:
        o = self.options
        advice = f"lower {o.typed('rate')}" + (
            f", lengthen {o.typed('warmup')}" if o.clip else f", or set {o.named('clip')}"
        )
        return NotFinite(
            f"{place}: expected a finite {name}, found {value}; {advice}, or look for values in the data that are not finite"
        )

    def _validated(self) -> float:
        self.module.eval()
        with torch.no_grad():
            value = self.world.first_ones(float(self.validate(self.module)), self.device)
        if not math.isfinite(value):
            raise self._not_finite(f"after epoch {self.epoch + 1}", "validation", value)
        return value

    def _judge(self, mean: float, value: float) -> None:
        """Keeps the best weights, and decides whether to go on. While weights are still being pruned, the newest are the best."""
        final = all(pruning.finished for pruning in self.prunings.values())
        better = not (final and self.best_is_final) or value < self.history.best.validation
        self.best_is_final = final
        self.since_better = 0 if better else self.since_better + 1
        if better:
            self.best = {name: _copied(value) for name, value in self.module.state_dict().items()}
        rate = self.optimizer.param_groups[0]["lr"]
        seconds = self.seconds + time.monotonic() - self.began
        self.history.epochs.append(Epoch(self.epoch + 1, mean, value, rate, seconds, better))
        self.history.stopped = self._out_of_patience()
        self.schedule.judged(better)
        self.reports.epoch(self.history.epochs[-1], self.history)

    def _out_of_patience(self) -> bool:
        return 0 < self.options.patience <= self.since_better

    def _save(self) -> None:
        """A checkpoint of this moment, from which a training ends as if it had never been interrupted."""
        if self.checkpoints.path is None:
            return
        self._read_losses()
        totals = self.world.gathered(_number(self.total, self.device))
        states = random_states(self.device)
        gathered = {name: self.world.gathered(state.to(self.device)) for name, state in states.items()}
        self.checkpoints.write(
            {
                "epoch": self.epoch,
                "step": self.step,
                "module": self.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "best": self.best,
                "since better": self.since_better,
                "best is final": self.best_is_final,
                "schedule": self.schedule.state(),
                "order": self.order.start,
                "random": {name: [state.cpu() for state in found] for name, found in gathered.items()},
                "totals": [float(total) for total in totals],
                "seconds": self.seconds + (time.monotonic() - self.began if self.step else 0.0),
                "epochs": [list(astuple(epoch)) for epoch in self.history.epochs],
            }
        )
        self.saved_at = (self.epoch, self.step)

    def _go_on(self) -> None:
        """Takes up where the checkpoint was written, if there is one."""
        state = self.checkpoints.read()
        if state is None:
            if self.options.resume:
                self.reports.note(f"{self.checkpoints.path}: no checkpoint yet; training starts at its beginning")
            return
        try:
            self._restore(state)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as exc:
            raise FormatError(
                f"{self.checkpoints.path}: expected a checkpoint of this training, found one that does not hold what it needs: {exc}"
            ) from exc
        self.saved_at = (self.epoch, self.step)
        place = f"epoch {self.epoch + 1}, step {self.step + 1}" if self.epoch < self.options.epochs else "its end"
        if self.history.stopped:
            place = f"its end, by {self.options.typed('patience')}; more of it goes on"
        self.reports.note(f"goes on from {self.checkpoints.path} at {place}")
        if strange := strangeness(state, self.device):
            self.reports.note(strange)

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Any error but its own where the state is not what `_save` wrote."""
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = state["best"]
        self.since_better, self.best_is_final = state["since better"], state["best is final"]
        self.schedule.restore(state["schedule"])
        self.order.start = state["order"]
        set_random_states({name: found[self.world.rank] for name, found in state["random"].items()}, self.device)
        self.total = state["totals"][self.world.rank]
        self.seconds = state["seconds"]
        self.history.epochs = [Epoch(*values) for values in state["epochs"]]
        self.history.stopped = self._out_of_patience()


def _number(value: float, device: torch.device) -> torch.Tensor:
    """A number where the processes' talk needs it."""
    return torch.tensor([value], dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else copy.deepcopy(value)


def _optimizer(parameters: list[nn.Parameter], options: Options) -> torch.optim.Optimizer:
    if not parameters:
        raise TrainingError("expected parameters to train, found none that requires a gradient")
    adamw = options.optimizer == "adamw"
    decay = 0.01 * adamw if options.weight_decay is None else options.weight_decay
    return (torch.optim.AdamW if adamw else torch.optim.Adam)(parameters, lr=options.rate, weight_decay=decay)
