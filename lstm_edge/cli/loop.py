"""How `lstm-edge run` takes a model over its sources: piece by piece where the model streams, else all at once."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ..errors import ShapeError
from .intake import Intake
from .io import err_console, frames_axis, open_sizes
from .plot import Picture
from .sinks import Sink
from .sources import Source
from .windows import Windows

LEAST, MOST = 64, 1024  # frames of a chunk: enough to cost nothing beside the run, few enough for any memory


def can_chunk(model: Any) -> bool:
    """Whether the run may be cut: the model streams, and the frames of inputs and outputs have an axis of their own."""
    if not model.metadata.get("streaming", {}).get("supported"):
        return False
    if model.is_step_model:
        return True
    if any(frames_axis(p.shape) < 0 or p.shape[frames_axis(p.shape)] != "frames" for p in model.inputs):
        return False
    return not any(p.shape is None or any({"batch", "frames"} <= open_sizes(s) for s in p.shape) for p in model.outputs)


def axes_of_frames(model: Any) -> list[int]:
    """Of the inputs of a model whose run may be cut."""
    return [0 if model.is_step_model else frames_axis(p.shape) for p in model.inputs]


class Run:
    """A model, where its answers go, and how many of them (`answers`) there were."""

    def __init__(
        self, model: Any, paths: tuple[str, ...], sink: Sink, wanted: list[str], picture: Picture | None = None
    ):
        self.model, self.places, self.sink, self.wanted, self.answers = model, ", ".join(paths), sink, wanted, 0
        self.intake, self.picture = Intake(), picture

    def in_chunks(self, sources: list[Source], quiet: bool) -> None:
        """What is there is run at once, be it one frame. quiet: without a bar of progress."""
        multiple = int(self.model.metadata["streaming"].get("multiple", 1))
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        total = next((s.frames for s in sources if s.frames is not None), None)
        chunk = -(-min(max(LEAST, (total or 0) // 100), MOST) // multiple) * multiple
        stream = self.model.stream(next((s.batch for s in sources if s.batch is not None), None))
        with Progress(*columns, console=err_console(), disable=quiet or not sys.stderr.isatty()) as progress:
            task = progress.add_task("running", total=total)
            for frames, pieces in self._pieces(sources, chunk):
                try:
                    given = stream.run(*pieces)
                except ShapeError as exc:
                    raise ShapeError(f"{self.places}: {exc}") from exc
                self.sink.clock.frames += frames
                self._write(given)
                progress.advance(task, frames)

    def _pieces(self, sources: list[Source], chunk: int) -> Iterator[tuple[int, list[np.ndarray]]]:
        """As many frames of each source as there are, and how many."""
        while True:
            pieces, frames = [], chunk
            for port, source in zip(self.model.inputs, sources):
                piece = source.read(frames)
                if piece is not None:
                    pieces.append(self._take(port, piece))
                    frames = source.given
            if not pieces:
                return
            if len(pieces) != len(sources) or any(source.given != frames for source in sources):
                raise ShapeError(
                    f"{self.places}: expected as many frames in each, found one that ends before the others"
                )
            yield frames, pieces

    def whole(self, arrays: list[np.ndarray]) -> None:
        """One run over all there is."""
        arrays = [self._take(p, a) for p, a in zip(self.model.inputs, arrays)]
        try:
            answer = self.model.run(*arrays)
        except ShapeError as exc:
            raise ShapeError(f"{self.places}: {exc}") from exc
        port = self.model.inputs[0]
        axis = _time_axis(self.model, port, np.ndim(arrays[0]))
        self.sink.clock.frames = 1 if axis is None else np.shape(arrays[0])[axis]
        self._write(answer)

    def in_windows(self, windows: Windows, rows: Iterable[list[float]]) -> None:
        """One answer for each window of rows."""
        for array, newest in windows.of_rows(rows, self.places):
            try:
                answer = self.model.run(self.intake.take(array, windows.port, self.places).astype(windows.port.dtype))
            except ShapeError as exc:
                raise ShapeError(f"{self.places}: {exc}") from exc
            by_name = answer if isinstance(answer, dict) else {self.model.outputs[0].name: answer}
            given: dict[str, np.ndarray] = {}
            axes: dict[str, int | None] = {}
            for port in self.model.outputs:
                if port.name in self.wanted:
                    batch = next((d for d, size in enumerate(port.shape or ()) if size == "batch"), None)
                    value = np.asarray(by_name[port.name])
                    one_a_window = windows.batch is not None and batch is not None
                    given[port.name], axes[port.name] = (value, batch) if one_a_window else (value[None], 0)
            self.sink.clock.frames += len(newest)
            if self.picture is not None:
                self.picture.take(windows.port.name, newest, 0)
            self._give(given, axes)

    def _write(self, answer: Any) -> None:
        """Writes the outputs asked for. A convolution whose window is not full gives None."""
        by_name = answer if isinstance(answer, dict) else {self.model.outputs[0].name: answer}
        given = {name: np.asarray(by_name[name]) for name in self.wanted if by_name[name] is not None}
        ports = {port.name: port for port in self.model.outputs}
        axes = {name: _time_axis(self.model, ports[name], value.ndim) for name, value in given.items()}
        self._give(given, axes)

    def _give(self, given: dict[str, np.ndarray], axes: dict[str, int | None]) -> None:
        self.sink.write(given, axes)
        self.answers += len(given)
        if self.picture is not None:
            for name, value in given.items():
                self.picture.answer(name, value, axes[name])

    def _take(self, port: Any, array: np.ndarray) -> np.ndarray:
        """An input's next frames in its dtype, counted and drawn."""
        taken = self.intake.take(array, port, self.places)
        if self.picture is not None:
            self.picture.take(port.name, taken, _time_axis(self.model, port, taken.ndim))
        return taken


def _time_axis(model: Any, port: Any, rank: int) -> int | None:
    """The axis of frames in an array of a port, whose batch axis may be absent; None where it has no frames."""
    if model.is_step_model:
        return 0
    axis = -1 if port.shape is None else frames_axis(port.shape)
    if axis < 0:
        return None
    return axis - (len(port.shape) - rank if "batch" in map(str, port.shape[:axis]) else 0)
