"""precision="auto": an op is stored narrow only where that is no slower, and a model only where the whole of it is no slower."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np

from ..ir.graph import Graph, Tensor
from ..ir.int8 import COARSE
from .inputs import AUTO, int8_inputs, with_coarse_inputs
from .narrow import Narrower
from .report import Arrays, Error, QuantizeReport, bytes_of
from .search import Quantized, quantized
from .timing import CallTimes, Measure, Measured, timed_here

EXACT, NARROW = "float32", ("float16", "int8")
SAME_OP, CLOCK = (
    1.02,
    0.03,
)  # an op's times so close, as a factor and in microseconds, are equal: it is then stored narrow
SAME_CALL = 1.01  # a narrow model may take so much of float32's time, which is what the clock cannot tell apart
SMALLER_WINS = 1.03  # of the forms that come so close to the fastest, the smallest is kept
BESIDE_INT8 = "float32 beside int8"
FINE_INPUTS = "int8, inputs in 15 bits"


def fastest(
    graph: Graph,
    runs: list[Arrays],
    kept: Mapping[int, str],
    max_error: float | None,
    by_calibration: bool,
    wanted: tuple[str, ...] = NARROW,
    measure: Measure = timed_here,
    input_bits: int | str = AUTO,
) -> Quantized:
    """The best of float32 and the forms `wanted`, each with those ops left in float32 that are faster so, and those that
    max_error returns.

    Best is what takes the least time of those no slower than float32 in any kind of call, and the smallest where times are equal.
    The report holds the times of the forms and of every op. measure: what tells times, this machine's clock or a model of another one.
    """
    forms = _forms(graph, wanted, kept, input_bits)
    looked = measure(forms)
    candidates, stay = {EXACT: Quantized(graph, _unchanged(graph))}, dict(kept)
    for form in wanted:
        stay = {**(_slower_ops(looked, form) if form in forms else {}), **kept}
        candidates[form] = quantized(graph, runs, form, stay, max_error, by_calibration, input_bits)
    whole = _whole(candidates, measure)
    best, why = _choose(candidates, whole, max_error)
    chosen = candidates[best]
    if best == EXACT:
        chosen = _exact(graph, wanted[-1], stay)
    said = f"{best} kept: {_call_text(whole.times[best])}, error {chosen.report.max_error:.2g}; {whole.where}"
    _tell(chosen.report, looked, whole, [said, *why])
    return chosen


def _whole(candidates: Mapping[str, Quantized], measure: Measure) -> Measured:
    """The candidates' times; one that is all float32 takes what float32 takes. FINE_INPUTS tells what inputs in 8 bits gained."""
    narrow = {name: c.graph for name, c in candidates.items() if name == EXACT or _is_narrow(c)}
    found = measure(_with_fine_inputs(narrow))
    names = [*candidates, *(name for name in found.times if name not in candidates)]
    return Measured(found.where, {name: found.times.get(name, found.times[EXACT]) for name in names})


def _with_fine_inputs(forms: dict[str, Graph]) -> dict[str, Graph]:
    """The forms, and int8 with all inputs in 15 bits where it has some in 8."""
    int8 = forms.get("int8")
    if int8 is None or not any("input_bits" in node.attrs for node in int8.nodes):
        return forms
    return {**forms, FINE_INPUTS: with_coarse_inputs(int8, ())}


def _is_narrow(candidate: Quantized) -> bool:
    return any(op.stored != EXACT for op in candidate.report.ops)


def compare(before: Graph, after: Graph, form: str, measure: Measure = timed_here) -> tuple[Measured, list[str]]:
    """Times of a model in float32 and in `form`, and a line for each kind of call in which `form` is slower."""
    found = measure(_with_fine_inputs({EXACT: before, form: after}))
    exact, narrow = found.times[EXACT], found.times[form]
    lines = [
        f"{form} is slower than float32: {_us(narrow[mode])} a {mode}, float32 {_us(exact[mode])} ({found.where}); "
        "--precision auto keeps in float32 what is faster so"
        for mode in exact
        if narrow[mode].call > SMALLER_WINS * exact[mode].call
    ]
    return found, lines


# ---- ops -------------------------------------------------------------------------------------------------------------


def _forms(graph: Graph, wanted: tuple[str, ...], kept: Mapping[int, str], input_bits: int | str) -> dict[str, Graph]:
    """float32 and the graph in every form wanted that makes a difference. A file that holds int8 anywhere runs its float32
    ops with kernels that give the same bits on every CPU, so that int8 is measured against those."""
    forms = {EXACT: graph}
    for form in wanted:
        narrowed = Narrower(graph, form).apply(kept)
        if narrowed.narrow:
            forms[form] = narrowed.graph
        if narrowed.narrow and form == "int8" and input_bits == COARSE:
            forms[form] = with_coarse_inputs(narrowed.graph, int8_inputs(narrowed.graph))
    if "int8" in forms:
        beside = copy.copy(graph)
        beside.tensors = dict(graph.tensors)
        name = graph.fresh("int8")
        beside.tensors[name] = Tensor(name, "int8", (1, 2), np.ones((1, 2), np.int8), np.ones(1, np.float32))
        forms[BESIDE_INT8] = beside
    return forms


def _slower_ops(found: Measured, form: str) -> dict[int, str]:
    """The ops that are slower in `form` in any kind of call, by number, with the times that say so."""
    exact = found.times[BESIDE_INT8 if form == "int8" else EXACT]
    slower: dict[int, str] = {}
    for mode, narrow in found.times[form].items():
        for n, (a, b) in enumerate(zip(exact[mode].ops, narrow.ops)):
            if b > SAME_OP * a + CLOCK:
                slower.setdefault(n, f"float32 is faster: {a:.2f} us a {mode}, {b:.2f} in {form}")
    return slower


# ---- the whole model -------------------------------------------------------------------------------------------------


def _choose(candidates: Mapping[str, Quantized], found: Measured, max_error: float | None) -> tuple[str, list[str]]:
    """The form to keep, and a line for each other one."""
    exact = found.times[EXACT]
    reasons = {}
    for name, candidate in candidates.items():
        slower = [m for m in exact if found.times[name][m].call > SAME_CALL * exact[m].call]
        if name != EXACT and not _is_narrow(candidate):
            reasons[name] = "every op stays float32"
        elif max_error is not None and candidate.report.max_error > max_error:
            reasons[name] = f"its error is beyond the tolerance {max_error:.2g}"
        elif slower:
            reasons[name] = f"slower than float32 in a {slower[0]}"
    left = [name for name in candidates if name not in reasons]
    first = next(iter(exact))
    least = min(found.times[name][first].call for name in left)
    close = [name for name in left if found.times[name][first].call <= SMALLER_WINS * least]
    best = min(close, key=lambda name: candidates[name].report.bytes_after)
    lines = []
    for name, candidate in candidates.items():
        if name != best:
            why = reasons.get(name, "larger, and not faster" if name in close else "not as fast")
            lines.append(f"{name} left: {_call_text(found.times[name])}, error {candidate.report.max_error:.2g}; {why}")
    return best, lines


def _unchanged(graph: Graph) -> QuantizeReport:
    size = bytes_of(graph)
    outputs = {p.name: Error(0.0, 0.0, np.inf) for p in graph.outputs}
    return QuantizeReport(EXACT, "none needed", outputs, [], size, size)


def _exact(graph: Graph, form: str, why: Mapping[int, str]) -> Quantized:
    """The graph as it is, with the reason why each constant stays that could be in `form`."""
    same = copy.copy(graph)
    same.metadata = copy.deepcopy(graph.metadata)
    report = _unchanged(graph)
    whole = "the whole model is no better in a narrow form: see the notes"
    reasons = {n: why.get(n, whole) for n in range(len(graph.nodes))}
    report.ops = [op for op in Narrower(graph, form).apply(reasons).ops if op.bytes_before]
    return Quantized(same, report)


# ---- what is said ----------------------------------------------------------------------------------------------------


def _tell(report: QuantizeReport, looked: Measured, whole: Measured, lines: list[str]) -> None:
    """Where and what was measured: of whole calls for every form, of each op in the call that comes first."""
    first = next(iter(whole.times[EXACT]))
    report.take_times(whole)
    report.notes = [*report.notes, *lines]
    for op in report.ops:
        op.times = {form: times[first].ops[op.number] for form, times in looked.times.items()}


def _call_text(times: Mapping[str, CallTimes]) -> str:
    return ", ".join(f"{_us(call)} a {mode}" for mode, call in times.items())


def _us(times: CallTimes) -> str:
    return f"{times.call:.4g} us"
