"""One precision for a graph's weights: narrowed, measured, and returned to float32 until the error allowed holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..ir.graph import Graph
from ..ir.int8 import COARSE, FINE
from .inputs import AUTO, Inputs, choose_inputs, int8_inputs, with_coarse_inputs
from .narrow import Narrower
from .report import Arrays, QuantizeReport, Trace, bytes_of, measure_ops
from .rounding import DAMPING, DAMPING_RANDOM, second_moments

# What the core takes from libm: their bits depend on the machine's C library.
LIBM: dict[str, tuple[str, ...]] = {
    "Unary": ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh"),
}


@dataclass
class Quantized:
    """A graph with narrow weights, and what is known of it."""

    graph: Graph
    report: QuantizeReport


def quantized(
    graph: Graph,
    runs: list[Arrays],
    weights: str,
    kept: Mapping[int, str],
    max_error: float | None,
    by_calibration: bool,
    input_bits: int | str = AUTO,
) -> Quantized:
    """`graph` with its weights in `weights`, less the ops in `kept` (number to reason) and those max_error returns. int8: inputs
    in 8 bits where `input_bits` (inputs.CHOICES) has it so; `auto` tries none without calibration data."""
    kept = dict(kept)
    everything = Narrower(graph, weights).apply(kept).narrow
    moments = second_moments(graph, runs, everything) if weights == "int8" else {}
    narrower = Narrower(graph, weights, moments, DAMPING if by_calibration else DAMPING_RANDOM)
    trace = Trace(graph, runs)
    alone = {n: trace.worst(narrower.alone(n)) for n in everything}
    while True:
        result = narrower.apply(kept)
        outputs, ops = measure_ops(trace, result.graph)
        worst = max((e.max for e in outputs.values()), default=0.0)
        if max_error is None or worst <= max_error or not result.narrow:
            break
        harmful = max(result.narrow, key=lambda n: alone[n])
        kept[harmful] = f"max_error {max_error:g}: alone it costs {alone[harmful]:.2g} at the outputs"
    tried = weights == "int8" and (by_calibration or input_bits != AUTO)
    inputs = choose_inputs(trace, result.graph, outputs, input_bits, max_error) if tried else Inputs()
    if inputs.coarse:
        result.graph = with_coarse_inputs(result.graph, inputs.coarse)
        outputs, ops = measure_ops(trace, result.graph)
    for n, op in enumerate(result.ops):
        op.error, op.alone = ops.get(n), alone.get(n)
    for n in int8_inputs(result.graph):
        result.ops[n].input_bits, result.ops[n].coarse = COARSE if n in inputs.coarse else FINE, inputs.growth.get(n)
    listed = [op for op in result.ops if op.bytes_before]
    before, after = bytes_of(graph), bytes_of(result.graph)
    source = "calibration data" if by_calibration else "self-test and random input"
    report = QuantizeReport(weights, source, outputs, listed, before, after, _notes(result.graph, weights))
    report.inputs = inputs.said
    return Quantized(result.graph, report)


def _notes(graph: Graph, weights: str) -> list[str]:
    if weights != "int8":
        return ["float16 weights are widened as they are read: bits differ between ISAs as they do in float32"]
    libm = libm_ops(graph)
    if libm:
        return [f"the bits depend on the machine's C library, through {', '.join(libm)}"]
    return []


def libm_ops(graph: Graph) -> list[str]:
    """Ops of `graph` whose bits depend on the C library, as `name (op kind)`."""
    found = []
    for node in graph.nodes:
        kind = node.attrs.get("kind", "")
        integer = all(graph.tensors[i].dtype == "int32" for i in node.inputs if i)
        if kind in LIBM.get(node.op, ()) and not integer:
            found.append(f"{node.name} ({node.op} {kind})")
    return found
