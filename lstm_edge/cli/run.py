"""lstm-edge run: a model over a file of frames."""

from __future__ import annotations

from typing import Any

import click
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .io import err_console, frames_axis, read_inputs, write_output
from .options import isa_option, model_argument

CHUNKS = 100  # steps of the progress bar; a chunk has at least 64 frames, so that they cost nothing beside the run


@click.command("run")
@model_argument
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "-o", "--output", default="-", metavar="FILE", help=".npy, .npz, .csv or .wav; - for CSV on stdout (default)."
)
@click.option("--select", metavar="NAME", help="Write this output only.")
@isa_option
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def command(
    model_path: str, inputs: tuple[str, ...], output: str, select: str | None, isa: str | None, quiet: bool
) -> None:
    """Run MODEL.lstm over INPUT: one .npy, .csv or .wav per model input, or one .npz with all of them by name.

    A row of a .csv is a frame. A .wav is cut into frames of the model's width, the last one filled up with zeros.
    """
    import lstm_edge

    model = lstm_edge.load(model_path, isa=isa)
    if select is not None and select not in [p.name for p in model.outputs]:
        raise lstm_edge.ShapeError(f"--select: expected one of {[p.name for p in model.outputs]}, found {select!r}")
    arrays, rate = read_inputs(model, inputs)
    outputs = run_with_progress(model, arrays, quiet)
    if not outputs:
        raise lstm_edge.ShapeError(
            "expected at least as many frames as the model's window, found fewer: there is no answer"
        )
    if select is not None:
        outputs = {select: outputs[select]}
    write_output(output, outputs, rate)


def run_with_progress(model: Any, arrays: list[np.ndarray], quiet: bool) -> dict[str, np.ndarray]:
    """Outputs by name. In chunks where that gives the same bits and the outputs can be joined; else in one call."""
    axes = _time_axes(model, arrays)
    if axes is None:
        return {k: v for k, v in _by_name(model, model.run(*arrays)).items() if v is not None}
    in_axes, out_axes, frames = axes
    multiple = int(model.metadata["streaming"].get("multiple", 1))
    chunk = -(-max(64, frames // CHUNKS) // multiple) * multiple
    stream = model.stream(_batch(model, arrays))
    parts: dict[str, list[np.ndarray]] = {p.name: [] for p in model.outputs}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err_console(), disable=quiet) as progress:
        task = progress.add_task("running", total=frames)
        for start in range(0, frames, chunk):
            count = min(chunk, frames - start)
            pieces = [a[(slice(None),) * axis + (slice(start, start + count),)] for a, axis in zip(arrays, in_axes)]
            for name, value in _by_name(model, stream.run(*pieces)).items():
                if value is not None:
                    parts[name].append(value)
            progress.advance(task, count)
    return {name: _join(values, out_axes[name]) for name, values in parts.items() if values}


def _time_axes(model: Any, arrays: list[np.ndarray]) -> tuple[list[int], dict[str, int | None], int] | None:
    """(axis of frames in each array, in each output, number of frames); None when the run cannot be cut into chunks."""
    streaming = model.metadata.get("streaming", {})
    if not streaming.get("supported"):
        return None
    if model.is_step_model:
        return [0] * len(arrays), {p.name: 0 for p in model.outputs}, len(arrays[0]) if arrays[0].ndim else 0
    in_axes = []
    for port, array in zip(model.inputs, arrays):
        axis = frames_axis(port.shape)
        if axis < 0 or str(port.shape[axis]) != "frames":
            return None
        in_axes.append(axis - (len(port.shape) - array.ndim))
    if min(in_axes, default=-1) < 0:
        return None
    out_axes: dict[str, int | None] = {}
    for port in model.outputs:
        if port.shape is None:
            return None
        axis = frames_axis(port.shape)
        out_axes[port.name] = None if axis < 0 else axis - len(port.shape)  # from the end: the batch axis may be absent
    frames = arrays[0].shape[in_axes[0]]
    return in_axes, out_axes, frames


def _batch(model: Any, arrays: list[np.ndarray]) -> int | None:
    """The batch of the arrays, None where they come without that axis."""
    lead = int(model.is_step_model)
    for port, array in zip(model.inputs, arrays):
        axis = next((d for d, size in enumerate(port.shape) if size == "batch"), -1)
        if axis >= 0 and array.ndim == len(port.shape) + lead:
            return array.shape[axis + lead]
    return None


def _join(parts: list[np.ndarray], axis: int | None) -> np.ndarray:
    """Chunks of an output along its frames axis; of an output without one (None), the last answer."""
    return parts[-1] if axis is None else np.concatenate(parts, axis)


def _by_name(model: Any, answer: Any) -> dict[str, Any]:
    """Model.run's answer as a dict also when there is one output."""
    return answer if isinstance(answer, dict) else {model.outputs[0].name: answer}
