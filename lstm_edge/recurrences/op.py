"""A recognised cell as the op that docs/ops.md has for it: over the frames of a loop, or the steps of an unrolled one."""

from __future__ import annotations

from collections.abc import Sequence

from ..importers.dialect import Dialect, Value
from ..importers.dialect.recurrences import Run, Weights, recurrence
from .cells import Cell


def weights_of(cell: Cell) -> Weights:
    """The cell's weights, of its one direction."""
    w = {name: array[0] for name, array in cell.weights.items()}
    bias = w.get("bias_ih") if cell.op == "GRU" else w.get("bias")
    return Weights(w["w_ih"], w["w_hh"], bias, w.get("bias_hh"), w.get("peephole"), w.get("w_proj"))


def run(
    ctx: Dialect,
    cell: Cell,
    x: Value,
    weights: Weights,
    *,
    time_major: bool,
    initial: Sequence[Value | None],
    direction: str = "forward",
    mask: Value | None = None,
) -> Run:
    """The op over x, (T,B,I) where time_major, else (B,T,I). initial: h0 and, of an LSTM, c0; mask (B,T)."""
    return recurrence(
        ctx,
        cell.op,
        x,
        [weights],
        time_major=time_major,
        direction=direction,
        activations=_activations(cell),
        initial=initial,
        mask=mask,
        zero_masked=cell.attrs.get("masked_output") == "zero",
        reset_after=bool(cell.attrs.get("reset_after", 1)),
        coupled=cell.attrs.get("coupled", "none"),
        cell_clip=cell.attrs.get("cell_clip", 0.0),
        proj_clip=cell.attrs.get("proj_clip", 0.0),
    )


def _activations(cell: Cell) -> list[tuple[str, float, float]]:
    kinds = cell.attrs["activations"]
    zeros = [0.0] * len(kinds)
    alphas, betas = (cell.attrs.get(f"activation_{p}", zeros) for p in ("alpha", "beta"))
    return list(zip(kinds, alphas, betas))
