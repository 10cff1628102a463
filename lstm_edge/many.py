"""Many streams of one model in one call, and a batch over threads. The core's part, which holds no lock of the interpreter, is _many.pxi."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Optional

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._core import Many, Model, Stopped, Stream, answer_array, count_of_threads
from .errors import ShapeError

Array = NDArray[Any]
Shapes = list[Optional[tuple[int, ...]]]


def step_many(
    streams: Sequence[Stream],
    frames: ArrayLike | Sequence[ArrayLike] | Mapping[str, ArrayLike | Sequence[ArrayLike]],
    *,
    threads: int = 1,
    out: Array | None = None,
) -> Any:
    """One frame for each of many streams of one model: the answers, and the states after them, that step() gives each, to the bit.

    streams: Streams of one model, each once, all of one batch.
    frames: one array, (streams, *a frame as step takes it), or a list of frames; {input: such an array} for models of several inputs.
    threads: so many work on it, at most one for each stream.
    out: an array to write into (models with one output).

    Returns (streams, *an answer as step gives it), or {output: such an array} of several outputs. While a window of some stream is not
    full, a list instead, of what step gives: None where there is no answer yet.
    ShapeError, or LstmEdgeError for a value that an op cannot take, names the stream by its index; all streams are then as they were.
    """
    count_of_threads(threads, "step_many")
    try:
        items = tuple(streams)
    except TypeError:
        raise ShapeError(f"streams: expected a sequence of Streams, found {type(streams).__name__}") from None
    if not items:
        raise ShapeError("streams: expected at least one Stream, found none")
    first = items[0]
    if not isinstance(first, Stream):
        raise ShapeError(f"stream 0: expected a Stream, found {type(first).__name__}")
    model = first.model
    inputs = _arranged(model, frames, len(items))
    working = min(threads, len(items))
    many = model._borrow_many(first, working)
    try:
        shapes = _answer_shapes(many, first, inputs)
        outputs = [
            None
            if shape is None
            else np.asarray(answer_array(out, (len(items), *shape), np.dtype(port.dtype), len(shapes) == 1))
            for port, shape in zip(model.outputs, shapes)
        ]
        if out is not None:  # the answers may lie where the frames do
            inputs = [array.copy() if np.may_share_memory(array, outputs[0]) else array for array in inputs]
        many.call(items, inputs, outputs, working)
        answers = [_each_one(many, items, i, a) if many.windows else a for i, a in enumerate(outputs)]
        many.remember(items, ([a.copy() for a in inputs], [_copied(a) for a in answers]))
    finally:
        model._return_many(many)
    return model._pack(answers)


def _arranged(model: Model, frames: Any, count: int) -> list[Array]:
    """One array an input, of all streams' frames."""
    if hasattr(frames, "keys"):
        arrays = model._arrange((), {name: frames[name] for name in frames.keys()})
    elif len(model.inputs) == 1:
        arrays = [model._array(0, frames)]
    else:
        names = [port.name for port in model.inputs]
        raise ShapeError(f"frames: expected {{input: array}} for the inputs {names}, found {_described(frames)}")
    for port, array in zip(model.inputs, arrays):
        if array.ndim == 0 or len(array) != count:
            raise ShapeError(
                f"input {port.name!r}: expected {count} frames, one for each stream, found {_described(array)}"
            )
    return arrays


def _described(value: Any) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _answer_shapes(many: Many, first: Stream, inputs: list[Array]) -> Shapes:
    """The shapes of one stream's answers as step() has them, of its frame, which is checked. Frames as the last call's need no analysis."""
    shapes = [array.shape[1:] for array in inputs]
    if many.seen is None or many.seen[0] != shapes:
        many.seen = None
        drops = first._check_frame([array[0] for array in inputs])
        layouts = first.model._out_layouts
        many.seen = shapes, drops, [_as_step(s, o, drops) for s, o in zip(many.shapes, layouts)]
    answers: Shapes = many.seen[2]
    return answers


def _as_step(shape: tuple[int, ...] | None, layout: Any, drops: tuple[bool, bool]) -> tuple[int, ...] | None:
    return None if shape is None else layout.without(shape, *drops)


def _each_one(
    many: Many, items: tuple[Stream, ...], output: int, answers: Array | None
) -> Array | list[Array | None] | None:
    """`answers` where every stream has one of the full shape; else a list of each one's own, or None."""
    full = many.shapes[output]
    shapes = [many.shape_alone(i, stream, output) for i, stream in enumerate(items)]
    if answers is None or full is None:
        return [None] * len(items)
    if all(shape == full for shape in shapes):
        return answers
    return [
        None if shape is None else _beginning(many, items[0], output, row, shape) for row, shape in zip(answers, shapes)
    ]


def _beginning(many: Many, stream: Stream, output: int, row: Array, shape: tuple[int, ...]) -> Array:
    """What the stream has answered into its row: less than there is room for where its window gave fewer frames than a full one."""
    seen = _as_step(shape, stream.model._out_layouts[output], many.seen[1])
    return row if seen == row.shape else row.reshape(-1)[: int(np.prod(shape))].reshape(seen)


def _copied(answers: Any) -> Any:
    return [None if a is None else a.copy() for a in answers] if isinstance(answers, list) else answers.copy()


# ---- a batch over threads ----


def run_in_threads(model: Model, arrays: list[Array], lengths: ArrayLike | None, threads: int) -> list[Array]:
    """Model.run's outputs, the sequences of the batch spread over threads; in one where the model's sequences are not each as if alone."""
    lead = model.is_step_model
    if lengths is not None:
        batch, frames, parts = model._ragged_parts(arrays, lengths)
    elif model._unbatched(arrays, lead):
        return model._run_arrays(arrays)
    else:
        batch, frames, _ = model._sizes(arrays, False, -1, -1, lead)
        parts = [(np.arange(max(batch, 0)), arrays)]
    pieces = [piece for rows, part in parts for piece in _split(model, rows, part, lead, max(frames, 1), threads)]
    if lengths is None and len(pieces) == 1:
        return model._run_arrays(arrays)
    pieces.sort(key=lambda piece: -max(array.size for array in piece[1]))  # the longest first: none is left for the end
    stop: list[bool] = []
    found = _in_threads([partial(model._run_arrays, part, stop) for _, part in pieces], threads, stop)
    if lengths is None:
        order = sorted(range(len(pieces)), key=lambda i: pieces[i][0][0])
        axes = [layout.batch_axis + lead for layout in model._out_layouts]
        return [np.concatenate([found[i][o] for i in order], axis=axis) for o, axis in enumerate(axes)]
    results = model._blank_outputs(batch, frames)
    for (rows, _), part in zip(pieces, found):
        model._scatter(results, part, rows)
    return results


def _split(
    model: Model, rows: Array, arrays: list[Array], lead: bool, frames: int, threads: int
) -> list[tuple[Array, list[Array]]]:
    """[(rows, their arrays)]: at most `threads` of them."""
    n = min(threads, len(rows))
    axes = [layout.batch_axis for layout in model._in_layouts + model._out_layouts]
    if n < 2 or min(axes) < 0 or not model._rows_apart(frames):
        return [(rows, arrays)]
    bounds = [len(rows) * i // n for i in range(n + 1)]
    whole = slice(None)
    return [
        (
            rows[a:b],
            [np.ascontiguousarray(v[(whole,) * (axis + lead) + (slice(a, b),)]) for v, axis in zip(arrays, axes)],
        )
        for a, b in zip(bounds, bounds[1:])
    ]


def _in_threads(jobs: Sequence[Callable[[], list[Array]]], threads: int, stop: list[bool]) -> list[list[Array]]:
    """What the jobs return, begun in order by so many threads; the first job's error is raised.

    stop: what the jobs look at, to end once anything is in it. Only the main thread is interrupted, and tells the others by it.
    """
    found: list[list[Array]] = [[] for _ in jobs]
    failed: list[BaseException | None] = [None] * len(jobs)
    turns = iter(range(len(jobs)))

    def work() -> None:
        for i in turns:
            try:
                found[i] = jobs[i]()
            except BaseException as why:  # raised again in the caller's thread
                failed[i] = why
                if isinstance(why, KeyboardInterrupt):
                    stop.append(True)
                return

    helpers = [threading.Thread(target=work) for _ in range(min(threads, len(jobs)) - 1)]
    started = []
    try:
        for helper in helpers:
            helper.start()
            started.append(helper)
    except RuntimeError:  # the system gives no more threads: those that there are do it
        pass
    work()
    try:
        for helper in started:
            helper.join()
    except KeyboardInterrupt:
        stop.append(True)
        raise
    for why in failed:
        if why is not None and not isinstance(why, Stopped):
            raise why
    return found
