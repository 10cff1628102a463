"""In how many bits int8 weights take what comes into their op: 15, or 8 where the model's outputs hardly tell."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..errors import LstmEdgeError
from ..ir.graph import Graph, Node
from ..ir.int8 import COARSE, INPUT_BITS
from ..ir.ops import input_of
from ..options import argument
from ..reference.samples import enough_frames
from .boards import products
from .report import Error, Trace
from .timing import CHUNK

AUTO = "auto"
CHOICES = (AUTO, *INPUT_BITS)
SHARE = 0.05  # of the errors with 15 bits, which all ops with 8 together may add to an output's
OUTER = {"LSTM": "w_ih", "GRU": "w_ih", "RNN": "w_ih", "Dense": "w", "Conv": "w"}  # what multiplies an op's input


@dataclass(frozen=True)
class Inputs:
    """The ops, by number, whose input is taken in 8 bits; `growth`: how many times the outputs' mean error it becomes when one op alone
    takes its input so. `said`: that in words, for the report."""

    coarse: tuple[int, ...] = ()
    growth: Mapping[int, float] = field(default_factory=dict)
    said: str = ""


def check_choice(input_bits: int | str, float16: bool) -> int | str:
    """One of CHOICES; LstmEdgeError for anything else, and for a number of bits where weights become float16."""
    found = int(input_bits) if isinstance(input_bits, str) and input_bits.isdecimal() else input_bits
    if found not in CHOICES:
        raise LstmEdgeError(
            f"{argument('input_bits')}: expected {', '.join(map(str, CHOICES[:-1]))} or 15, found {input_bits!r}"
        )
    if found != AUTO and float16:
        raise LstmEdgeError(
            f"{argument('input_bits')}: expected {AUTO} where weights become float16, found {input_bits!r}"
        )
    return found


def int8_inputs(graph: Graph) -> list[int]:
    """The ops that multiply what comes into them with int8 weights. Depthwise convolutions do not: their weights are widened."""
    found = []
    for number, node in enumerate(graph.nodes):
        if node.op not in OUTER:
            continue
        w = graph.tensors[input_of(node, OUTER[node.op])]
        if w.dtype == "int8" and not (node.op == "Conv" and node.attrs.get("groups", 1) > 1 and w.shape[1] == 1):
            found.append(number)
    return found


def with_coarse_inputs(graph: Graph, ops: Iterable[int]) -> Graph:
    """The graph with the inputs of the ops `ops` in 8 bits and all others in 15; what it holds is shared."""
    coarse, out = set(ops), copy.copy(graph)
    out.nodes = []
    for number, node in enumerate(graph.nodes):
        attrs = {key: value for key, value in node.attrs.items() if key != "input_bits"}
        out.nodes.append(replace(node, attrs=attrs | ({"input_bits": COARSE} if number in coarse else {})))
    return out


def choose_inputs(
    trace: Trace, graph: Graph, exact: Mapping[str, Error], input_bits: int | str, max_error: float | None
) -> Inputs:
    """Which ops of an int8 graph take their input in 8 bits, by one of CHOICES, and none of it beyond max_error.

    exact: the errors at the outputs with 15 bits everywhere. 8: all, or with max_error as many as it allows; auto: those that together
    add no more than SHARE to the largest, the mean and the root mean square error of any output on the trace's runs. Those that add
    least come first, and an op that meets its input a row at a time is not among them: its weights' way from memory is what takes time,
    and 8 bits would save some hundredths.
    """
    candidates = int8_inputs(graph)
    if input_bits == AUTO:
        candidates = [n for n in candidates if _meets_rows(graph, graph.nodes[n])]
    if input_bits not in (AUTO, COARSE) or not candidates:
        return Inputs()
    most = math.inf if max_error is None else max_error

    def fits(found: Mapping[str, Error]) -> bool:
        return all(
            e.max <= most and (input_bits == COARSE or _hardly_more(e, exact[name])) for name, e in found.items()
        )

    alone = {n: trace.at_outputs(with_coarse_inputs(graph, [n])) for n in candidates}
    growth = {n: _growth(found, exact) for n, found in alone.items()}
    order = sorted((n for n in candidates if fits(alone[n])), key=lambda n: growth[n])
    coarse: tuple[int, ...] = ()
    together: Mapping[str, Error] = exact
    low, high = 0, len(order)
    while low < high:  # the longest beginning of the order that fits
        middle = (low + high + 1) // 2
        found = trace.at_outputs(with_coarse_inputs(graph, order[:middle]))
        if fits(found):
            low, coarse, together = middle, tuple(order[:middle]), found
        else:
            high = middle - 1
    return Inputs(coarse, growth, _said(graph, coarse, growth, _growth(together, exact)))


def _meets_rows(graph: Graph, node: Node) -> bool:
    """Whether a call of many frames multiplies several rows of the op's input at once."""
    outer = input_of(node, OUTER[node.op])
    return any(p.rows > 1 for p in products(graph, node, enough_frames(graph, CHUNK)) if p.tensor == outer)


def _hardly_more(found: Error, exact: Error) -> bool:
    more = 1 + SHARE
    return (
        found.max <= more * exact.max
        and found.mean <= more * exact.mean
        and found.snr >= exact.snr - 20 * math.log10(more)
    )


def _growth(found: Mapping[str, Error], exact: Mapping[str, Error]) -> float:
    """The worst output's mean error as a multiple of what it is with 15 bits."""
    ratios = [
        e.mean / exact[name].mean if exact[name].mean else math.inf if e.mean else 1.0 for name, e in found.items()
    ]
    return max(ratios, default=1.0)


def _said(graph: Graph, coarse: tuple[int, ...], growth: Mapping[int, float], together: float) -> str:
    if not coarse:
        least = min(growth, key=lambda n: growth[n])
        return (
            f"15 bits in all {len(growth)} ops: with 8 in {graph.nodes[least].name} alone the outputs' mean error would be "
            f"{growth[least]:.3g} times as large"
        )
    names = ", ".join(graph.nodes[n].name for n in coarse)
    return (
        f"8 bits in {len(coarse)} of {len(growth)} ops ({names}): the outputs' mean error is {together:.3g} times as large as with "
        "15 everywhere"
    )
