"""A forecast as a picture: the end of the history, what comes next, and the band of its quantiles. Needs matplotlib (extra `plot`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

import numpy as np

INK, LINE = "#444444", "#c8502d"
WIDTH, HEIGHT = 9.0, 3.0  # inches, of one target


def draw(
    file: IO[bytes],
    kind: str,
    targets: Sequence[str],
    past: np.ndarray,
    forecast: np.ndarray,
    quantiles: Sequence[float] = (),
    times: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Writes the picture (kind: png, svg, pdf). past: (frames, targets), forecast: (steps, targets[, quantiles]); times: datetime64 of
    both, frames are counted without."""
    from matplotlib import dates
    from matplotlib.figure import Figure

    before, after = times if times is not None else (np.arange(-len(past), 0) + 1, np.arange(len(forecast)) + 1)
    figure = Figure(figsize=(WIDTH, HEIGHT * len(targets)), layout="constrained")
    axes: Any = figure.subplots(len(targets), 1, sharex=True, squeeze=False)
    for n, (name, ax) in enumerate(zip(targets, axes[:, 0])):
        answer, levels = forecast[:, n], list(quantiles)
        middle = answer[:, int(np.argmin(np.abs(np.array(levels) - 0.5)))] if levels else answer
        ax.plot(before, past[:, n], color=INK, linewidth=1.1, label="history")
        ax.plot(after, middle, color=LINE, linewidth=1.6, label="forecast", marker="." if len(after) < 3 else "")
        if len(levels) > 1:
            low, high = answer[:, np.argmin(levels)], answer[:, np.argmax(levels)]
            label = f"{min(levels):g} to {max(levels):g}"
            ax.fill_between(after, low, high, color=LINE, alpha=0.25, linewidth=0, label=label)
        ax.axvline(before[-1], color=INK, linewidth=0.6, linestyle=":")
        ax.set_ylabel(name)
        ax.spines[["top", "right"]].set_visible(False)
        ax.margins(x=0.01)
    axes[0, 0].legend(
        loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, frameon=False, ncols=3, fontsize="small"
    )
    if times is None:
        axes[-1, 0].set_xlabel("frames")
    else:
        scale: Any = dates  # its functions have no types
        locator = scale.AutoDateLocator()
        axes[-1, 0].xaxis.set_major_locator(locator)
        axes[-1, 0].xaxis.set_major_formatter(scale.ConciseDateFormatter(locator))
    figure.savefig(file, format=kind, dpi=120)
