"""A report as a picture (matplotlib, the extra `plot`): of every row its histogram and its calls over time, and the ops."""

from __future__ import annotations

from typing import Any

WIDTH, HEIGHT = 11.0, 2.0  # inches: of the picture, and of a row
BLUE, RED = "#4477aa", "#cc6633"


def draw(report: dict[str, Any], file: Any, format: str) -> None:
    """report: as `lstm-edge bench --json` prints it. file: open for writing, as a `format` (png, svg, pdf)."""
    from matplotlib.figure import Figure

    rows, ops = report["results"], report.get("ops", [])
    heights = [HEIGHT] * len(rows) + [0.9 + 0.22 * len(ops)] * bool(ops)
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.6), layout="constrained")
    figure.suptitle(f"{report['model']}: microseconds per call, {report['cpu']}", fontsize=10)
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    for n, row in enumerate(rows):
        _histogram(figure.add_subplot(grid[n, 0]), row)
        _timeline(figure.add_subplot(grid[n, 1]), row)
    if ops:
        _ops(figure.add_subplot(grid[-1, :]), ops, report["ops_mode"])
    figure.savefig(file, format=format, dpi=100)


def _histogram(axes: Any, row: dict[str, Any]) -> None:
    shape = row["histogram"]
    axes.stairs(shape["counts"], shape["edges"], fill=True, color=BLUE)
    axes.axvline(row["median"], color="black", linewidth=0.8)
    axes.set_title(
        f"{row['name']}: median {row['median']:.4g}, {shape['beyond']} of {row['runs']} calls beyond", fontsize=8
    )
    axes.set_ylabel("calls", fontsize=8)
    axes.set_xlabel("us", fontsize=8)
    axes.tick_params(labelsize=7)


def _timeline(axes: Any, row: dict[str, Any]) -> None:
    line = row["timeline"]
    longest = line["us"]
    axes.plot([line["seconds"] * n / len(longest) for n in range(len(longest))], longest, ".", color=RED, markersize=2)
    axes.axhline(row["median"], color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_title("the longest call of each stretch over time", fontsize=8)
    axes.set_xlabel("s", fontsize=8)
    axes.tick_params(labelsize=7, which="both")


def _ops(axes: Any, ops: list[dict[str, Any]], mode: str) -> None:
    names = [f"{op['name']} ({op['op']})" for op in ops]
    axes.barh(range(len(ops)), [op["median"] for op in ops], color=BLUE)
    for place, op in enumerate(ops):
        read = f", {100 * op['of_bandwidth']:.0f} % of bandwidth" if op["bytes"] else ""
        axes.text(
            op["median"], place, f" {op['median']:.3g} us, {100 * op['share']:.1f} %{read}", va="center", fontsize=7
        )
    axes.set_yticks(range(len(ops)), names, fontsize=7)
    axes.invert_yaxis()
    axes.margins(x=0.25)
    axes.set_xlim(left=0)
    axes.set_title(f"ops of a {mode}", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
