"""The answers of a run as a picture under its input, over time. Needs matplotlib (extra `plot`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from ..errors import ShapeError

INK, LINE = "#444444", "#c8502d"
WIDTH, HEIGHT = 9.0, 2.0  # inches: of the picture, and of an input or output
LINES = 8  # values of a frame that are drawn as lines; more are a heat map


class Picture:
    """What a run took and answered. seconds: how long a frame lasts, of sound, which is drawn as its least and largest sample."""

    def __init__(self, seconds: float | None):
        self.seconds = seconds
        self.inputs: dict[str, list[np.ndarray]] = {}
        self.answers: dict[str, list[np.ndarray]] = {}

    def take(self, name: str, frames: np.ndarray, time: int | None) -> None:
        """The next frames of an input, whose axis is `time`."""
        rows = _rows(frames, time)
        if self.seconds is not None:
            rows = np.stack([rows.min(1), rows.max(1)], 1)
        self.inputs.setdefault(name, []).append(rows)

    def answer(self, name: str, values: np.ndarray, time: int | None) -> None:
        """The next answers of an output."""
        self.answers.setdefault(name, []).append(_rows(values, time))

    def draw(self, file: IO[bytes], kind: str) -> None:
        """Writes the picture (kind: png, svg, pdf). ShapeError where there is nothing over time to draw."""
        from matplotlib.figure import Figure

        above, below = _joined(self.inputs), _joined(self.answers)
        if not above or not below:
            raise ShapeError("--plot: expected frames and answers to draw, found none")
        count = len(above) + len(below)
        figure = Figure(figsize=(WIDTH, HEIGHT * count), layout="constrained")
        axes: Any = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
        frames = max(map(len, above.values()))
        length = frames * (self.seconds or 1.0)
        for ax, (name, rows) in zip(axes, above.items()):
            if self.seconds is not None:
                ax.fill_between(_places(len(rows), length), rows[:, 0], rows[:, 1], color=INK, linewidth=0.4)
            else:
                _draw_rows(ax, rows, length, INK)
            ax.set_ylabel(name)
        for ax, (name, rows) in zip(axes[len(above) :], below.items()):
            _draw_rows(ax, rows, length, LINE)
            ax.set_ylabel(name)
        for ax in axes:
            ax.spines[["top", "right"]].set_visible(False)
        axes[-1].set_xlim(0, length)
        axes[-1].set_xlabel("frames" if self.seconds is None else "seconds")
        figure.savefig(file, format=kind, dpi=110)


def _rows(values: np.ndarray, time: int | None) -> np.ndarray:
    """(frames, values of one); what has no frames is one row."""
    if time is None:
        return values.reshape(1, -1)
    rows: np.ndarray = np.moveaxis(values, time, 0).reshape(values.shape[time], -1)
    return rows


def _joined(parts: Mapping[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate(pieces) for name, pieces in parts.items() if pieces}


def _places(count: int, length: float) -> np.ndarray:
    """Where rows that share a length stand: each in the middle of its part."""
    return (np.arange(count) + 0.5) * (length / count)


def _draw_rows(ax: Any, rows: np.ndarray, length: float, colour: str) -> None:
    """Lines, or a heat map of many values."""
    width = rows.shape[1]
    if width > LINES:
        ax.imshow(
            rows.T, aspect="auto", origin="lower", extent=(0, length, 0, width), cmap="Greys", interpolation="nearest"
        )
        return
    places, marker = _places(len(rows), length), "." if len(rows) < 40 else ""
    for n in range(width):
        shade = 1.0 if width == 1 else 1.0 - 0.7 * n / width
        label = f"[{n}]" if width > 1 else None
        ax.plot(places, rows[:, n], color=colour, alpha=shade, linewidth=1.2, marker=marker, label=label)
    if width > 1:
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize="small")
