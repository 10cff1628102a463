"""Whether a converted model agrees with an answer, by how much it may differ, and why.

float32 arithmetic alone accounts for 1e-5 of an output's scale (its largest answer, at least 1). A model that float32
rounding moves by more is allowed ROUNDINGS times what it moves this very model by on the sample: the converted model in
float32 against the reference in float64. The framework rounds in another order, so that its own distance from float64 is of
that size, and so is another CPU's. No rounding is taken to be more than MOST_ROUNDING of scale: beyond that a kernel that is
wrong would excuse itself. Sources whose own arithmetic is coarser (16-bit floats, 8-bit integers) say so in the graph's
metadata, `arithmetic`: {"relative": of scale, "steps": for outputs of whole numbers, "why": words}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import format
from .._core import Model
from ..errors import LstmEdgeError
from ..ir.graph import Graph
from ..options import without_self_test
from ..reference.samples import TOLERANCE, Arrays, difference, scale_of

ROUNDINGS = 4.0
MOST_ROUNDING = 1e-3
STEPS = 2.0**-22  # of a value: two steps of float32


@dataclass(frozen=True)
class Allowance:
    """How far each output may be from the answer, and why by so much."""

    by_output: dict[str, float]
    why: str

    @property
    def tolerance(self) -> float:
        """The largest, which a file keeps."""
        return max(self.by_output.values(), default=TOLERANCE)


def run_core(graph: Graph, inputs: Arrays) -> Arrays:
    """The converted model's answers in float32, by the best kernels of this CPU."""
    model = Model(format.to_bytes(graph))
    answers = model.run(*[inputs[p.name] for p in model.inputs])
    return answers if isinstance(answers, dict) else {model.outputs[0].name: answers}


def allowance(
    exact: Arrays,
    rounded: Arrays,
    answers: Arrays,
    stated: Mapping[str, Any],
    scales: Mapping[str, float] | None = None,
) -> Allowance:
    """exact: the reference's answers in float64; rounded: the core's in float32; answers: those to agree with; stated: the
    graph's `arithmetic` where a framework gave them, else nothing. scales: of outputs in real units, whose values may lie far from 0
    for what they differ by: they are allowed float32's own steps there beside a share of that."""
    relative, why = max(TOLERANCE, stated.get("relative", 0.0)), stated.get("why", "float32 arithmetic")
    allowed = {}
    for name, want in answers.items():
        scale = (scales or {}).get(name, scale_of(want))
        steps = STEPS * scale_of(want) if name in (scales or {}) else 0.0
        rounding = min(ROUNDINGS * difference(rounded.get(name), exact[name]), MOST_ROUNDING * scale)
        whole_numbers = want.dtype.kind in "iu" and "steps" in stated
        known = stated["steps"] if whole_numbers else relative * scale + steps
        allowed[name] = max(known, rounding)
        if rounding > known:
            why = f"float32 rounding moves this model by {rounding / ROUNDINGS:.3g} on the sample"
    return Allowance(allowed, why)


def aligned(own: Arrays, answers: Arrays, name: str, note: Callable[[str], None]) -> Arrays:
    """The answers in the shapes of the converted model's; LstmEdgeError where they differ by more than sizes of one."""
    found = {}
    for output, want in answers.items():
        got = own.get(output)
        if got is None:
            raise LstmEdgeError(
                f"output {output!r}: the converted model gives no answer where {name} gives {want.shape}"
            )
        if got.shape != want.shape:
            shapes = f"output {output!r}: the answer has shape {got.shape}, {name}'s {want.shape}"
            if np.squeeze(got).shape != np.squeeze(want).shape:
                raise LstmEdgeError(f"{shapes}; {_report()}")
            note(shapes)
        found[output] = want.reshape(got.shape)
    return found


def demand(own: Arrays, answers: Arrays, allowed: Allowance, name: str) -> None:
    """LstmEdgeError where an answer differs by more than is allowed."""
    for output, want in answers.items():
        error = difference(own[output], want)
        if error > allowed.by_output[output]:
            raise LstmEdgeError(
                f"output {output!r}: the converted model differs from {name} by {distance(own[output], want)} on the "
                f"self-test's sample, where {allowed.by_output[output]:.3g} is allowed for {allowed.why} (largest answer "
                f"{scale_of(want):.3g}); {_report()}"
            )


def distance(got: Any, want: np.ndarray) -> str:
    """The difference as a number; in words where one of the two is no number and the other is."""
    error = difference(got, want)
    if np.isfinite(error):
        return f"{error:.3g}"
    if np.shape(got) != want.shape:
        return f"its shape, {np.shape(got)} instead of {want.shape}"
    return f"{_odd(got)} instead of {_odd(want)} among {want.size} values"


def _odd(values: np.ndarray) -> str:
    nans = int(np.isnan(values).sum())
    return f"{nans} NaN and {int(np.isinf(values).sum())} infinite"


def _report() -> str:
    return (
        "this is a fault of lstm_edge: please report it with the model, or with how it was made, and the output of "
        f"lstm-edge doctor; {without_self_test()} converts it all the same"
    )
