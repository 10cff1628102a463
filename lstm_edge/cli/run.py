"""lstm-edge run: a model over a file of frames."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import click
import numpy as np
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

import lstm_edge

from ..errors import ShapeError
from .io import check_count, err_console, frames_axis, open_sizes, read_inputs, suffix_of
from .options import isa_option, model_argument
from .sinks import Sink, check_output
from .sources import Source, open_sources
from .tables import Reading, arrays_of_table, table_options
from .wav import WavReader

LEAST, MOST = 64, 1024  # frames of a chunk: enough to cost nothing beside the run, few enough for any memory


@click.command("run")
@model_argument
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "-o", "--output", default="-", metavar="FILE", help=".npy, .npz, .csv or .wav; - for CSV on stdout (default)."
)
@click.option("--select", metavar="NAME", help="Write this output only.")
@table_options("the one to run over")
@isa_option
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def command(
    model_path: str, inputs: tuple[str, ...], output: str, select: str | None, series: str | None, time_format: str | None,
    delimiter: str | None, isa: str | None, quiet: bool,
) -> None:  # fmt: skip
    """Run MODEL.lstm over INPUT: one .npy, .csv or .wav per model input, or one .npz with all of them by name.

    A row of a .csv is a frame. A .wav (one channel) is cut into frames of the model's width, the last one filled up
    with zeros. Of a model that `lstm-edge train` made to forecast, one .csv with its columns is a table as
    `lstm-edge forecast` reads it: columns by their names, empty cells and missing rows are gaps. Answers of other files are
    written frame by frame, so that a long one needs little memory.
    """
    model = lstm_edge.load(model_path, isa=isa)
    names = [p.name for p in model.outputs]
    if select is not None and select not in names:
        raise ShapeError(f"--select: expected one of {', '.join(names)}, found {select!r}")
    wanted = names if select is None else [select]
    table = arrays_of_table(model, inputs, Reading(series, time_format, delimiter))
    if table is None:
        check_count(model, inputs)
    rate = sample_rate(model, inputs, quiet)
    sink = Sink(output, rate)
    if output != "-":
        check_output(output, (model_path, *inputs))
    if len(wanted) > 1 and sink.kind != "npz":
        found = f"{len(wanted)} outputs ({', '.join(wanted)}) for {output!r}"
        raise ShapeError(f"--output: expected a .npz file, or one output by --select NAME; found {found}")
    with sink:
        if table is None and _can_chunk(model):
            answers = _run_chunks(model, inputs, sink, wanted, quiet)
        else:
            arrays = read_inputs(model, inputs)[0] if table is None else table
            answers = _run_whole(model, arrays, inputs, sink, wanted)
        if not answers:
            raise ShapeError(
                f"{inputs[0]}: expected as many frames as the model's window or more, found fewer: no answer"
            )


def sample_rate(model: Any, paths: tuple[str, ...], quiet: bool) -> float:
    """The rate of the .wav inputs, 0 without one. Raises ShapeError where they differ or the model has another."""
    known = rate = model.metadata.get("sample_rate") or 0
    for path in paths:
        if suffix_of(path) != ".wav":
            continue
        with closing(WavReader(path)) as reader:
            found = reader.rate
        if rate and found != rate:
            whose = "the model's rate" if known else "that of the other input"
            raise ShapeError(f"{path}: expected {rate:g} Hz, {whose}, found {found} Hz; resample it first")
        rate = found
        if not known and not quiet and sys.stderr.isatty():
            err_console().print(f"{path}: {found} Hz; the model does not say what rate it expects", markup=False)
    return rate


def _can_chunk(model: Any) -> bool:
    """Whether the run may be cut: the model streams, and the frames of inputs and outputs have an axis of their own."""
    if not model.metadata.get("streaming", {}).get("supported"):
        return False
    if model.is_step_model:
        return True
    if any(frames_axis(p.shape) < 0 or p.shape[frames_axis(p.shape)] != "frames" for p in model.inputs):
        return False
    return not any(p.shape is None or any({"batch", "frames"} <= open_sizes(s) for s in p.shape) for p in model.outputs)


def _run_chunks(model: Any, paths: tuple[str, ...], sink: Sink, wanted: list[str], quiet: bool) -> int:
    """Runs piece by piece; how many answers were written."""
    axes = [0 if model.is_step_model else frames_axis(p.shape) for p in model.inputs]
    multiple = int(model.metadata["streaming"].get("multiple", 1))
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=err_console(), disable=quiet or not sys.stderr.isatty())
    with ExitStack() as stack:
        sources = open_sources(model, paths, axes)
        for source in sources:
            stack.enter_context(closing(source))
        total = next((s.frames for s in sources if s.frames is not None), None)
        chunk = -(-min(max(LEAST, (total or 0) // 100), MOST) // multiple) * multiple
        stream = model.stream(next((s.batch for s in sources if s.batch is not None), None))
        stack.enter_context(progress)
        task = progress.add_task("running", total=total)
        answers = 0
        for pieces in _pieces(sources, chunk, paths):
            try:
                given = stream.run(*pieces)
            except ShapeError as exc:
                raise ShapeError(f"{', '.join(paths)}: {exc}") from exc
            answers += _write(model, given, sink, wanted)
            progress.advance(task, chunk)
    return answers


def _pieces(sources: list[Source], chunk: int, paths: tuple[str, ...]) -> Iterator[list[np.ndarray]]:
    while True:
        pieces = [piece for piece in (s.read(chunk) for s in sources) if piece is not None]
        if not pieces:
            return
        if len(pieces) != len(sources):
            raise ShapeError(
                f"{', '.join(paths)}: expected as many frames in each, found one that ends before the others"
            )
        yield pieces


def _run_whole(model: Any, arrays: list[np.ndarray], paths: tuple[str, ...], sink: Sink, wanted: list[str]) -> int:
    try:
        return _write(model, model.run(*arrays), sink, wanted)
    except ShapeError as exc:
        raise ShapeError(f"{', '.join(paths)}: {exc}") from exc


def _write(model: Any, answer: Any, sink: Sink, wanted: list[str]) -> int:
    """Writes the outputs asked for; how many there were. A convolution whose window is not full gives None."""
    by_name = answer if isinstance(answer, dict) else {model.outputs[0].name: answer}
    given = [name for name in wanted if by_name[name] is not None]
    for name in given:
        sink.write(name, np.asarray(by_name[name]), _time_axis(model, name, by_name[name].ndim))
    return len(given)


def _time_axis(model: Any, name: str, rank: int) -> int | None:
    """The axis of frames in an answer, whose batch axis may be absent; None where it has no frames."""
    if model.is_step_model:
        return 0
    shape = next(p.shape for p in model.outputs if p.name == name)
    axis = -1 if shape is None else frames_axis(shape)
    if axis < 0:
        return None
    return axis - (len(shape) - rank if "batch" in map(str, shape[:axis]) else 0)
