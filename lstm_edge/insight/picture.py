"""Heat maps of gates and states under the input, as a picture (matplotlib, the extra `plot`)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .shown import Map

WIDTH, LEAST, MOST = 4.2, 0.5, 1.6  # inches: of a column, and the heights of a row by its units


def draw(
    inputs: list[Map],
    recurrences: dict[str, list[Map]],
    path: str | os.PathLike[str] | Any,
    *,
    format: str | None = None,
) -> None:
    """Writes a .png, .svg or .pdf: a column for each recurrence, the inputs above its gates, c and h; a row of a map is a unit.

    path: a name, or an open file with its `format`. Gates run from 0 (white) to 1 (dark); inputs, candidates and states from blue
    (negative) over white to red, values all on one side of 0 from their least (white) to their most. Grey: frames that lengths or a mask leave out.
    """
    from matplotlib.figure import Figure

    columns = [inputs + maps for maps in recurrences.values()]
    rows = max(len(maps) for maps in columns)
    heights = [max(_height(maps[r]) if r < len(maps) else LEAST for maps in columns) for r in range(rows)]
    figure = Figure(figsize=(WIDTH * len(columns) + 0.4, sum(heights) * 1.25 + 1), layout="constrained")
    axes = figure.subplots(rows, len(columns), squeeze=False, gridspec_kw={"height_ratios": heights})
    for column, (name, maps) in enumerate(zip(recurrences, columns)):
        for row in range(rows):
            if row < len(maps):
                _heat_map(figure, axes[row][column], maps[row], last=row == len(maps) - 1)
            else:
                axes[row][column].axis("off")
        axes[0][column].set_title(name, fontsize=9)
    figure.savefig(path, format=format, dpi=100)


def _height(shown: Map) -> float:
    return float(np.clip(shown.values.shape[1] / 40, LEAST, MOST))


def _heat_map(figure: Any, axes: Any, shown: Map, last: bool) -> None:
    low, high, colours = _scale(shown)
    axes.set_facecolor("0.7")
    image = axes.imshow(shown.values.T, aspect="auto", interpolation="nearest", vmin=low, vmax=high, cmap=colours)
    axes.set_ylabel(shown.name, rotation=0, ha="right", va="center", fontsize=9)
    axes.set_yticks([])
    axes.tick_params(labelsize=7, labelbottom=last)
    if last:
        axes.set_xlabel("frame", fontsize=8)
    figure.colorbar(image, ax=axes, pad=0.01, fraction=0.04).ax.tick_params(labelsize=6)


def _scale(shown: Map) -> tuple[float, float, str]:
    """Least, most and colours: what has no sign, as a raw sensor's value, would be of one colour on a scale around 0."""
    if shown.gate:
        return 0.0, 1.0, "Greys"
    found = shown.values[np.isfinite(shown.values)]
    low, high = float(found.min(initial=np.inf)), float(found.max(initial=-np.inf))
    if 0 < low < high or low < high < 0:
        return low, high, "Greys"
    largest = max(abs(low), abs(high)) if found.size else 0.0
    return -largest or -1.0, largest or 1.0, "RdBu_r"
