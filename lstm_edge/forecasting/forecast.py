"""Model.forecast and Stream.forecast: the arrays of the loop that runs in the core (le_stream_roll)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._core import Model, Stream
from ..errors import LstmEdgeError, ShapeError, UnsupportedModelError
from .futures import Frames, Given
from .plan import Link, Plan, plan_of, typed

if TYPE_CHECKING:
    from .._core import Array

CHUNK = 256  # frames of history in one run: its answers are not kept


def forecast_stream(
    stream: Stream,
    steps: int,
    *,
    known: ArrayLike | Mapping[str, ArrayLike] | None,
    time: ArrayLike | None,
    feedback: Mapping[str, str] | None,
) -> Any:
    """See Stream.forecast."""
    steps = _count("steps", steps)
    plan = plan_of(stream.model, feedback)
    plan.check_steps(steps)
    _check_batch(plan, stream.batch)
    newest = [stream._newest(i, cut.shape(stream.batch, 1)) for i, cut in enumerate(plan.inputs)]
    past = [None if array is None else cut.restored(array) for cut, array in zip(plan.inputs, newest)]
    future = Frames(plan, stream.batch, 0, plan.rounds(steps) * plan.horizon, Given(known, time))
    return _pack(plan, _continue(stream, plan, steps, future.arrays(past, [None] * len(past))), stream.batched)


def forecast_model(
    model: Model,
    history: ArrayLike | Mapping[str, ArrayLike],
    steps: int,
    *,
    known: ArrayLike | Mapping[str, ArrayLike] | None,
    time: ArrayLike | None,
    feedback: Mapping[str, str] | None,
    window: int | None,
) -> Any:
    """See Model.forecast."""
    steps = _count("steps", steps)
    plan = plan_of(model, feedback)
    plan.check_steps(steps)
    if window is not None:
        window = _count("window", window)
    _check_way(model, plan, window)
    past, batch, frames, batched = _history(model, plan, history)
    _check_batch(plan, batch)
    newest = [None if array is None else array[:, -1:] for array in past]
    arrays = Frames(plan, batch, frames, plan.rounds(steps) * plan.horizon, Given(known, time)).arrays(newest, past)
    if window is not None:
        return _pack(plan, _windows(model, plan, arrays, batch, frames, window, steps), batched)
    stream = model.stream(batch if batched else None)
    _run(stream, plan, arrays, frames)
    return _pack(
        plan,
        _continue(
            stream,
            plan,
            steps,
            [
                a if cut.frames_axis < 0 and not plan.step_model else a[:, frames:]
                for cut, a in zip(plan.inputs, arrays)
            ],
        ),
        batched,
    )


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ShapeError(f"{typed(name)}: expected a whole number of at least 1, found {value!r}")
    if value >= 2**31:
        raise ShapeError(f"{typed(name)}: expected a whole number below {2**31:,}, found {value}")
    return int(value)


def _pack(plan: Plan, answers: list[Array], batched: bool) -> Any:
    """One answer, or by the names of the outputs where several are fed back."""
    shown = [a if batched else a[0] for a in answers]
    if len(shown) == 1:
        return shown[0]
    return {plan.outputs[link.output].name: a for link, a in zip(plan.links, shown)}


# ---- the history ----------------------------------------------------------------------------------------------------


def _check_way(model: Model, plan: Plan, window: int | None) -> None:
    """Raises UnsupportedModelError where the model cannot be run that way."""
    streaming = model.metadata.get("streaming", {})
    if window is None and not streaming.get("supported", False):
        raise UnsupportedModelError(
            f"forecast: this model cannot stream: {streaming.get('why', 'the file does not say that it can')}; "
            f"give {typed('window')}, the number of frames that it was trained on: each step then runs the last ones from the beginning"
        )
    if window is not None and (plan.step_model or plan.inputs[plan.links[0].input].frames_axis < 0):
        raise UnsupportedModelError(f"forecast: {typed('window')}: expected a model with a frames axis, found none")
    if window is not None and window < plan.horizon:
        raise ShapeError(
            f"{typed('window')}: expected at least {plan.horizon} frames, the horizon that is fed back at once, found {window}"
        )


def _check_batch(plan: Plan, batch: int) -> None:
    """Raises ShapeError where sequences of a batch would be fed back to one and the same array."""
    for link in plan.links:
        for cut in (plan.outputs[link.output], plan.inputs[link.input]):
            if batch > 1 and cut.batch_axis < 0:
                raise ShapeError(
                    f"forecast: expected one sequence, because {cut.name!r} is fed back and has no batch axis, found a batch of {batch}"
                )


def _history(model: Model, plan: Plan, history: Any) -> tuple[list[Array | None], int, int, bool]:
    """((batch, frames, ...) per input, None for what is not of the history; batch; frames; whether it came with a batch axis)."""
    names = [cut.name for cut in plan.inputs]
    if plan.description is not None:
        values = {plan.description.input: history}
        if isinstance(history, Mapping):
            raise ShapeError(
                f"history: expected an array of {plan.description.input}, found names: {', '.join(history)}"
            )
    elif isinstance(history, Mapping):
        values = dict(history)
        if set(values) != set(names):
            raise ShapeError(
                f"history: expected {{input: array}} of {', '.join(names)}, found {', '.join(map(str, values)) or 'none'}"
            )
    elif len(names) > 1:
        raise ShapeError(f"history: expected {{input: array}} of {', '.join(names)}, found one array")
    else:
        values = {names[0]: history}
    arrays: list[Array | None] = []
    batches: set[int] = set()
    lengths: set[int] = set()
    batched = True
    lead = plan.step_model
    for index, cut in enumerate(plan.inputs):
        if cut.name not in values:
            arrays.append(None)
            continue
        array = model._array(index, values[cut.name])
        full = len(cut.shape(1, 1)) + lead
        if cut.batch_axis >= 0 and array.ndim == full - 1:
            batched = False
            array = np.expand_dims(array, cut.batch_axis + lead)
        shape = model.inputs[index].shape
        expected = (
            f"history: input {cut.name!r}: expected shape ({', '.join(map(str, [*['frames'] * lead, *(shape or ())]))})"
        )
        if array.ndim != full:
            raise ShapeError(f"{expected}, or without the batch, found {np.shape(values[cut.name])}")
        if lead:
            array = np.moveaxis(array, 0, max(cut.batch_axis + 1, 0)) if cut.batch_axis >= 0 else array[None]
        else:
            array = cut.restored(array)
        if array.shape[2:] != cut.frame:
            raise ShapeError(f"{expected}, found {np.shape(values[cut.name])}")
        arrays.append(array)
        if cut.batch_axis >= 0:
            batches.add(array.shape[0])
        if cut.frames_axis >= 0 or lead:
            lengths.add(array.shape[1])
    if len(batches) > 1 or len(lengths) != 1 or min(lengths) < 1 or 0 in batches:
        raise ShapeError(
            f"history: expected arrays of one batch and as many frames, at least 1, found batch {sorted(batches)}, frames {sorted(lengths)}"
        )
    return arrays, max(batches, default=1), lengths.pop(), batched


def _run(stream: Stream, plan: Plan, arrays: list[Array], frames: int) -> None:
    """The history, chunk by chunk: its answers are not needed, only where the stream then stands."""
    lead = plan.step_model
    chunk = frames if "frames" in stream.model.metadata.get("ranges", {}) else CHUNK
    for start in range(0, frames, chunk):
        piece = slice(start, min(start + chunk, frames))
        parts = []
        for cut, array in zip(plan.inputs, arrays):
            part = array[:, piece] if cut.frames_axis >= 0 or lead else array
            if lead:
                part = np.moveaxis(part, 1, 0)
                parts.append(np.ascontiguousarray(part if cut.batch_axis >= 0 else part[:, 0]))
            else:
                parts.append(cut.arranged(part))
        stream.run(*parts)


# ---- the loop -------------------------------------------------------------------------------------------------------


def _continue(stream: Stream, plan: Plan, steps: int, future: list[Array]) -> list[Array]:
    """(batch, steps, ...) per link: the newest answer, then those of a copy of the states rolled forward."""
    batch, rounds = stream.batch, plan.rounds(steps)
    frames = plan.horizon
    n_inputs = len(plan.inputs)
    last = [stream._newest(n_inputs + link.output, plan.outputs[link.output].shape(batch, 1)) for link in plan.links]
    if any(array is None for array in last):
        raise LstmEdgeError(
            "forecast: expected a stream that has answered since it began or its state was set, found none: give it a frame first"
        )
    firsts = [
        plan.outputs[k.output].restored(a).reshape(batch, 1, -1) for k, a in zip(plan.links, last) if a is not None
    ]
    if not rounds:
        return [_joined(plan, link, first, steps) for link, first in zip(plan.links, firsts)]
    inputs, advance = [], []
    for cut, array in zip(plan.inputs, future):
        if cut.frames_axis < 0 and not plan.step_model:
            inputs.append(cut.arranged(array[:, :1]))
            advance.append(0)
            continue
        inputs.append(cut.in_runs(array, rounds))
        advance.append(inputs[-1].nbytes // rounds)
    outputs = _scratch(stream, plan, batch, frames)
    for link, first in zip(plan.links, firsts):
        cut = plan.outputs[link.output]
        cut.restored(outputs[link.output])[:, -1] = first.reshape(batch, *cut.frame)
    feeds, keeps = plan.boxes(batch, frames)
    kept = [np.empty((rounds, batch, plan.outputs[k.output].size), plan.outputs[k.output].dtype) for k in plan.links]
    stream._roll(rounds, frames, False, inputs, advance, outputs, feeds, keeps, kept)
    return [
        _joined(plan, link, np.concatenate([first, array.swapaxes(0, 1)], 1), steps)
        for link, first, array in zip(plan.links, firsts, kept)
    ]


def _windows(
    model: Model, plan: Plan, arrays: list[Array], batch: int, past: int, window: int, steps: int
) -> list[Array]:
    """(batch, steps, ...) per link: every answer is that of the last `window` frames, from the initial state. Inputs without
    a batch axis are the same for each sequence."""
    if past < window:
        raise ShapeError(f"history: expected at least {window} frames, the window, found {past}")
    horizon, runs = plan.horizon, plan.rounds(steps) + 1
    stream = Stream(model, None, window)
    feeds, keeps = plan.boxes(1, window)
    answers = []
    for b in range(batch):
        inputs, advance = [], []
        for cut, array in zip(plan.inputs, arrays):
            one = array[b : b + 1] if cut.batch_axis >= 0 else array
            moves = cut.frames_axis >= 0
            inputs.append(cut.arranged(one[:, past - window :] if moves else one[:, :1]))
            advance.append(horizon * cut.size * inputs[-1].itemsize if moves else 0)
        outputs = _scratch(stream, plan, 1, window)
        for link in plan.links:  # the loop begins by feeding back: that which is there
            cut = plan.outputs[link.output]
            fed = arrays[link.input][b, past - horizon : past].reshape(horizon, -1)[:, list(link.columns)]
            answer = np.zeros((horizon, len(link.columns), link.quantiles), cut.dtype)
            answer[:, :, link.median] = fed
            cut.restored(outputs[link.output])[0, -1] = answer.reshape(cut.frame)
        kept = [np.empty((runs, 1, plan.outputs[k.output].size), plan.outputs[k.output].dtype) for k in plan.links]
        stream._roll(runs, window, True, inputs, advance, outputs, feeds, keeps, kept)
        answers.append([array[:, 0] for array in kept])
    return [_joined(plan, link, np.stack(arrays), steps) for link, arrays in zip(plan.links, zip(*answers))]


def _scratch(stream: Stream, plan: Plan, batch: int, frames: int) -> list[Array]:
    """An array for every output of a run; of those that are not fed back only while they are there."""
    made = []
    for index, shape in enumerate(stream._output_shapes(frames)):
        cut = plan.outputs.get(index)
        made.append(np.zeros(cut.shape(batch, frames) if cut else shape or (0,), stream.model.outputs[index].dtype))
    return made


def _joined(plan: Plan, link: Link, answers: Array, steps: int) -> Array:
    """(batch, answers, values of a frame) as (batch, steps, ...)."""
    batch, count, _ = answers.shape
    return np.ascontiguousarray(answers.reshape(batch, count * plan.horizon, *link.step)[:, :steps])
