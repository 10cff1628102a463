"""A graph's weights in int8 or float16."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..ir.graph import Graph, Node, Tensor
from ..ir.int8 import LEAST_COLUMNS, MOST_COLUMNS, plain, row_scales
from ..ir.ops import op_spec, read_attrs
from ..ir.sparse import BLOCK, held, pays
from ..metadata import in_front_end
from .report import OpReport
from .rounding import DAMPING, Moments, MomentsOf, round_columns

LARGEST_HALF = 65504.0
NEVER = {
    "bias": "biases are added in float32", "bias_ih": "biases are added in float32", "bias_hh": "biases are added in float32",
    "peephole": "peepholes act on the cell state, which is float32",
}  # fmt: skip


@dataclass
class Narrowed:
    """A rewritten graph: `ops` has a row per node, `narrow` the numbers of those that hold a narrow weight."""

    graph: Graph
    ops: list[OpReport]
    narrow: list[int] = field(default_factory=list)


class Narrower:
    """Rewrites a graph's weights as int8 or float16; each weight is rounded once, however many graphs are made."""

    def __init__(self, graph: Graph, weights: str, moments: MomentsOf | None = None, damping: float = DAMPING):
        self.graph, self.weights, self.moments, self.damping = graph, weights, moments or {}, damping
        self.made: dict[tuple[str, int], Tensor] = {}

    def apply(self, kept: Mapping[int, str]) -> Narrowed:
        """A copy of the graph with narrow weights but in the ops `kept` (number to reason); other constants are shared."""
        out = copy.copy(self.graph)
        out.nodes = [Node(n.op, list(n.inputs), list(n.outputs), dict(n.attrs), n.name) for n in self.graph.nodes]
        out.tensors = dict(self.graph.tensors)
        out.metadata = copy.deepcopy(self.graph.metadata)
        result = Narrowed(out, [])
        for number, node in enumerate(out.nodes):
            result.ops.append(self.narrow_node(out, number, node, kept.get(number)))
            if result.ops[-1].stored != "float32":
                result.narrow.append(number)
        out.drop_unused()
        return result

    def alone(self, number: int) -> Graph:
        """The graph with narrow weights in one op only."""
        return self.apply({n: "" for n in range(len(self.graph.nodes)) if n != number}).graph

    def narrow_node(self, graph: Graph, number: int, node: Node, kept: str | None) -> OpReport:
        """Replaces the node's weights where it pays; says of every float32 constant it reads why it stays."""
        report = OpReport(node.op, node.name, number)
        spec = op_spec(node)
        for i, name in enumerate(node.inputs):
            tensor = graph.tensors[name] if name else None
            if tensor is None or tensor.data is None or tensor.dtype != "float32" or not tensor.data.size:
                continue
            role = spec.input_name(i)
            why = _why_not(node, role, tensor.data, self.weights) or (kept if kept is not None else "")
            if not why and in_front_end(graph.metadata, node.name):
                why = "audio features are computed in float32"
            report.bytes_before += tensor.data.nbytes
            if why or kept is not None:
                report.stayed[role] = why
                report.bytes_after += tensor.data.nbytes
                continue
            narrow = self.narrow(tensor, spec.weights[role], self.moments.get((number, role)))
            graph.tensors[narrow.name] = narrow
            node.inputs[i] = narrow.name
            report.stored = self.weights
            report.bytes_after += narrow_bytes(narrow)
        return report

    def narrow(self, tensor: Tensor, leading: int, moments: Moments | None) -> Tensor:
        """The tensor in its narrow form. Ops that share it share that too, when their rows are the same."""
        key = tensor.name, leading if self.weights == "int8" else 0
        if key not in self.made:
            taken = {t.name for t in self.made.values()}
            base = f"{tensor.name}.{self.weights}"
            name = (
                base if base not in taken and base not in self.graph.tensors else self.graph.fresh(f"{base}.{leading}")
            )
            if self.weights == "int8":
                data, scale = to_int8(tensor.values, leading, moments, self.damping)
            else:
                data, scale = tensor.values.astype(np.float16), None
            self.made[key] = Tensor(name, self.weights, tensor.shape, data, scale)
        return self.made[key]


def narrow_bytes(tensor: Tensor) -> int:
    return tensor.values.nbytes + (0 if tensor.scale is None else tensor.scale.nbytes)


def _why_not(node: Node, role: str, data: np.ndarray, weights: str) -> str:
    """Why a float32 constant stays; empty when it need not."""
    leading = op_spec(node).weights.get(role)
    if leading is None:
        if node.op == "MatMul":
            return "MatMul takes its constants as activations; a Dense op would take them as weights"
        return NEVER.get(role, f"{node.op} computes in float32")
    if node.op == "Gather" and read_attrs(node)["axis"] % data.ndim != 0:
        return "only tables looked up along axis 0 have a scale per row"
    if not np.isfinite(data).all():
        return "it holds NaN or infinity"
    if weights == "float16":
        return f"it holds values beyond float16's {LARGEST_HALF:g}" if np.abs(data).max() > LARGEST_HALF else ""
    if leading == 0:
        return "its rows are input channels: a scale per output channel does not fit them"
    rows = int(np.prod(data.shape[:leading]))
    columns = data.size // rows
    if columns > MOST_COLUMNS:
        return f"{columns} columns are more than int32 sums hold ({MOST_COLUMNS})"
    if columns < LEAST_COLUMNS:
        return "rows of one weight: int8 and a scale would take more room than float32"
    return ""


def to_int8(
    data: np.ndarray, leading: int, moments: Moments | None = None, damping: float = DAMPING
) -> tuple[np.ndarray, np.ndarray | None]:
    """Weights as int8 in -127..127, and a scale per row of the `leading` axes, float32 (rows,). `moments` of what they
    multiply: quantize_rounding."""
    rows = data.reshape(int(np.prod(data.shape[:leading])), -1)
    scale = row_scales(rows)
    # What rounding leaves over goes to other columns, but not into blocks that are zero: those are not multiplied.
    zero = _zero_blocks(rows) if data.shape[-1] == rows.shape[1] and pays(rows) else None
    q = plain(rows, scale) if moments is None else round_columns(rows, scale, moments, damping, zero)
    return q.reshape(data.shape), scale


def _zero_blocks(rows: np.ndarray) -> np.ndarray:
    return np.repeat(~held(rows), BLOCK[0], 0)[: len(rows)]
