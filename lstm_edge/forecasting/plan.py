"""What continues what: which values of an answer become which values of the frames to come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._core import Model
from ..errors import FormatError, ShapeError, UnsupportedModelError
from ..options import spelled
from .description import KNOWN, Description, description_of
from .frames import Cut, cut_of

if TYPE_CHECKING:
    from .._core import Box


@dataclass(frozen=True)
class Link:
    """A frame of `output` holds (horizon, targets, quantiles) values; those of the median continue `columns` of `input`'s frames."""

    output: int
    input: int
    columns: tuple[int, ...]
    quantiles: int  # 1 without
    median: int
    step: tuple[int, ...]  # shape of the forecast of one time, as the caller sees it


@dataclass(frozen=True)
class Plan:
    """A model with what its forecast loop needs to know. step_model: one call of it is one frame."""

    description: Description | None
    inputs: tuple[Cut, ...]
    outputs: dict[int, Cut]  # of the links
    links: tuple[Link, ...]
    horizon: int
    step_model: bool

    def rounds(self, steps: int) -> int:
        """How many answers it takes after the first one."""
        return -(-steps // self.horizon) - 1

    def check_steps(self, steps: int) -> None:
        """Raises ShapeError where nobody knows what to feed back so far."""
        about = self.description
        if about is None or steps <= self.horizon:
            return
        limit = f"{typed('steps')}: expected at most {self.horizon}, the horizon of the file, "
        if about.blocking:
            raise ShapeError(
                f"{limit}because nobody knows the values to come of {', '.join(about.blocking)} "
                f"(columns that are neither targets nor static), found {steps}"
            )
        if about.median is None:
            raise ShapeError(f"{limit}because 0.5 is not among its quantiles {list(about.quantiles)}, found {steps}")

    def boxes(self, batch: int, frames: int) -> tuple[list[Box], list[Box]]:
        """(feeds, keeps) of runs of so many frames: the newest frame's answer goes into the last `horizon` frames of the input."""
        feeds: list[Box] = []
        keeps: list[Box] = []
        for link in self.links:
            out, into = self.outputs[link.output], self.inputs[link.input]
            out_batch, out_frame = out.steps(batch, frames)
            last = (frames - 1) * out_frame
            keeps.append((link.output, 0, last, 0, (batch, 1, out.size), (out_batch, 0, 1), (0, 0, 0)))
            in_batch, in_frame = into.steps(batch, frames)
            first = (frames - self.horizon) * in_frame
            width, row = link.quantiles, len(link.columns) * link.quantiles
            for value, (column, end) in _runs(link.columns):
                times, values = (self.horizon, row, in_frame), (end - column, width, 1)
                outer, inner = sorted((times, values))  # the core is quickest along the last size
                size, out_steps, in_steps = zip((batch, out_batch, in_batch), outer, inner)
                place = (last + value * width + link.median, first + column)
                feeds.append((link.output, link.input, *place, size, out_steps, in_steps))
        return feeds, keeps


def _runs(columns: tuple[int, ...]) -> list[tuple[int, tuple[int, int]]]:
    """Columns cut into runs of neighbours: (place of the first in the list, (first column, behind the last))."""
    found: list[tuple[int, tuple[int, int]]] = []
    for place, column in enumerate(columns):
        if found and found[-1][1][1] == column:
            found[-1] = (found[-1][0], (found[-1][1][0], column + 1))
        else:
            found.append((place, (column, column + 1)))
    return found


def plan_of(model: Model, feedback: Mapping[str, str] | None) -> Plan:
    """The model's plan, made once. Raises FormatError, ShapeError or UnsupportedModelError, with what to say where the file does not say
    enough."""
    if feedback is not None:
        _check_names(feedback)
    key = None if feedback is None else tuple(feedback.items())
    if key not in model._plans:
        model._plans[key] = _made(model, feedback)
    plan: Plan = model._plans[key]
    return plan


def _check_names(feedback: Any) -> None:
    mapping = isinstance(feedback, Mapping)
    if not mapping or not all(isinstance(name, str) for pair in feedback.items() for name in pair):
        raise ShapeError(
            f"{typed('feedback')}: expected {spelled('OUTPUT=INPUT', '{output: input}')} of names, found {feedback!r}"
        )


def _made(model: Model, feedback: Mapping[str, str] | None) -> Plan:
    description = description_of(model)
    if description is not None and feedback is not None:
        raise ShapeError(
            f"{typed('feedback')}: expected none, because the file says that {description.output} continues {description.input}, "
            f"found {dict(feedback)}"
        )
    inputs = tuple(cut_of(layout, "input") for layout in model._in_layouts)
    if description is not None:
        return _described(model, description, inputs)
    return _told(model, feedback or {}, inputs)


def _described(model: Model, about: Description, inputs: tuple[Cut, ...]) -> Plan:
    output = [p.name for p in model.outputs].index(about.output)
    series = [p.name for p in model.inputs].index(about.input)
    out = cut_of(model._out_layouts[output], "output")
    quantiles = max(len(about.quantiles), 1)
    expected = {about.input: len(about.columns)}
    if about.known:
        expected[KNOWN] = about.horizon * len(about.known)
    if about.time is not None:
        expected[about.time] = 1
    sizes = {cut.name: cut.size for cut in inputs}
    wrong = [
        f"input {n!r}: expected {s} values in a frame, found {sizes[n]}" for n, s in expected.items() if sizes[n] != s
    ]
    wrong += [f"input {n!r}: expected no such input, found it" for n in sizes if n not in expected]
    values = about.horizon * len(about.targets) * quantiles
    if out.size != values:
        wrong.append(
            f"output {out.name!r}: expected {values} values in a frame (horizon, targets, quantiles), found {out.size}"
        )
    if wrong:
        raise FormatError(f"metadata forecast: {'; '.join(wrong)}")
    step = (len(about.targets), len(about.quantiles)) if about.quantiles else (len(about.targets),)
    link = Link(output, series, about.feedback, quantiles, about.median or 0, step)
    return _checked(model, Plan(about, inputs, {output: out}, (link,), about.horizon, model.is_step_model))


def typed(argument: str) -> str:
    """An argument of forecast as the reader types it."""
    return spelled(f"--{argument}", argument)


def _told(model: Model, feedback: Mapping[str, str], inputs: tuple[Cut, ...]) -> Plan:
    ins, outs = ([p.name for p in ports] for ports in (model.inputs, model.outputs))
    have = f"its outputs are {', '.join(outs)}, its inputs {', '.join(ins)}"
    if not feedback:
        raise ShapeError(
            f"{typed('feedback')}: expected {spelled('OUTPUT=INPUT', '{output: input}')}, because the file does not say what continues what, found nothing; {have}"
        )
    wrong = [f"expected an output, found {name!r}" for name in feedback if name not in outs]
    wrong += [f"expected an input, found {name!r}" for name in feedback.values() if name not in ins]
    if len(set(feedback.values())) != len(feedback):
        wrong.append(f"expected each input once, found {list(feedback.values())}")
    if wrong:
        raise ShapeError(f"{typed('feedback')}: {'; '.join(wrong)}; {have}")
    cuts, links = {}, []
    for name, onto in feedback.items():
        output, place = outs.index(name), ins.index(onto)
        out, into = cut_of(model._out_layouts[output], "output"), inputs[place]
        if (out.size, out.dtype) != (into.size, into.dtype):
            wrong.append(
                f"{name!r} to {onto!r}: expected {into.size} {into.dtype} values in a frame, found {out.size} {out.dtype}"
            )
        cuts[output] = out
        links.append(Link(output, place, tuple(range(into.size)), 1, 0, out.frame))
    if wrong:
        raise ShapeError(f"{typed('feedback')}: {'; '.join(wrong)}")
    return _checked(model, Plan(None, inputs, cuts, tuple(links), 1, model.is_step_model))


def _checked(model: Model, plan: Plan) -> Plan:
    """Only what the loop can do: a frame in, an answer out."""
    hop = int(model.metadata.get("streaming", {}).get("multiple", 1))
    if hop > 1:
        raise UnsupportedModelError(
            f"forecast: expected a model that answers at every frame, found one that takes {hop} at once"
        )
    if plan.step_model and plan.horizon > 1:
        raise UnsupportedModelError(
            f"forecast: expected a model with a frames axis for a horizon of {plan.horizon}, found a step model"
        )
    return plan
