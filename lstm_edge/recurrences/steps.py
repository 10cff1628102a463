"""What a loop's body holds of recurrences already, brought to the form that its algebra reads.

A recurrence over one frame (a framework's cell, or its layer called frame by frame) is spelt in products and gates, and a
tensor that carries the states of several layers is parted into those of each.
"""

from __future__ import annotations

import numpy as np

from ..importers.dialect import Dialect, Value, known, movement, size_tensors
from ..importers.dialect.products import dense
from ..ir.graph import Graph, Node, Tensor
from ..ir.ops import GATES, axes_of_frames, each, input_of, op_spec, read_attrs
from .body import Body, Carried

# What a step may read and say beside its defaults.
READ = ("x", "w_ih", "w_hh", "bias", "bias_ih", "bias_hh", "h0", "c0", "w_proj")
SAID = ("direction", "time_major", "activations")
Parted = dict[
    str, tuple[int, list[str]]
]  # a carried tensor -> the axis along which its parts lie, and what they are read as


def spell_out(graph: Graph) -> None:
    """Replaces every recurrence over one frame that starts from a given state by what it computes."""
    nodes, graph.nodes = graph.nodes, []
    for node in nodes:
        if node.op in GATES and _is_plain_step(graph, node):
            _Step(graph, node).spell()
        else:
            graph.nodes.append(node)


def _is_plain_step(graph: Graph, node: Node) -> bool:
    spec = op_spec(node)
    read = {spec.input_names[n] for n, tensor in enumerate(node.inputs) if tensor}
    frames = graph.shape(node.inputs[0])[axes_of_frames(node.attrs)[1]]
    said = {name for name, value in node.attrs.items() if name not in SAID and value != spec.attrs[name].default}
    one_way = read_attrs(node)["direction"] != "bidirectional"
    return frames == 1 and one_way and "h0" in read and read <= set(READ) and not said


class _Step(Dialect):
    """One recurrence over one frame, its ops added to the Graph that it stands in."""

    op_in_names = False

    def __init__(self, graph: Graph, node: Node):
        super().__init__()
        self.graph, self.node, self.place, self.node_name = graph, node, f"node {node.name}", node.name
        self.attrs = read_attrs(node)
        self.acts = each(self.attrs["activations"], len(op_spec(node).attrs["activations"].default.values))

    def spell(self) -> None:
        hidden, cell = {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[self.node.op]()
        for name, made in zip(op_spec(self.node).output_names, (hidden, hidden, cell)):
            at = op_spec(self.node).output_names.index(name)
            if at < len(self.node.outputs) and self.node.outputs[at] and made is not None:
                self._name_output(made, self.node.outputs[at])

    def _name_output(self, made: Value, output: str) -> None:
        """(B,n) under the name and in the shape of what the recurrence gave."""
        shape = self.graph.shape(output)
        del self.graph.tensors[output]
        self.rename(self.reshape(made, shape), output, 0)

    def _lstm(self) -> tuple[Value, Value | None]:
        i, f, g, o = self._gates("bias")
        i, f, g, o = (self.unary(kind, gate) for kind, gate in zip(self.acts, (i, f, g, o)))
        cell = self.binary("add", self.binary("mul", f, self._rows("c0")), self.binary("mul", i, g))
        hidden = self.binary("mul", o, self.unary(self.acts[-1], cell))
        projection = self._weight("w_proj")
        return hidden if projection is None else dense(self, hidden, projection), cell

    def _gru(self) -> tuple[Value, None]:
        before = self._rows("h0")
        x, h = self._product("x", "w_ih", "bias_ih"), self._product("h0", "w_hh", "bias_hh")
        (xr, xz, xn), (hr, hz, hn) = self._parts(x), self._parts(h)
        r = self.unary(self.acts[0], self.binary("add", xr, hr))
        z = self.unary(self.acts[1], self.binary("add", xz, hz))
        n = self.unary(self.acts[2], self.binary("add", xn, self.binary("mul", r, hn)))
        rest = self.binary("mul", self.binary("sub", self.constant(1.0), z), n)
        return self.binary("add", rest, self.binary("mul", z, before)), None

    def _rnn(self) -> tuple[Value, None]:
        (total,) = self._gates("bias")
        return self.unary(self.acts[0], total), None

    def _gates(self, bias: str) -> list[Value]:
        return self._parts(self.binary("add", self._product("x", "w_ih", bias), self._product("h0", "w_hh", "")))

    def _parts(self, rows: Value) -> list[Value]:
        count = len(GATES[self.node.op])
        width = self.shape(rows)[1]
        return movement.split(self, rows, 1, [int(width) // count] * count) if count > 1 else [rows]  # type: ignore[arg-type]

    def _product(self, of: str, weight: str, bias: str) -> Value:
        matrix = self._weight(weight)
        assert matrix is not None
        return dense(self, self._rows(of), matrix, self._weight(bias) if bias else None)

    def _rows(self, name: str) -> Value:
        """An input as (B, n)."""
        value = Value("float32", tensor=input_of(self.node, name))
        shape = self.shape(value)
        batch = shape[1] if name != "x" else shape[axes_of_frames(self.node.attrs)[0]]
        return self.reshape(value, [batch, shape[-1]])

    def _weight(self, name: str) -> Value | None:
        """A weight of the one direction."""
        tensor = input_of(self.node, name)
        return known(np.asarray(self.graph.tensors[tensor].values, np.float32)[0]) if tensor else None


def meet(body: Body) -> None:
    """Lets what reads a new state in another shape read it where the loop carries it, so that the two are seen as one."""
    graph = body.graph
    for carried in body.carried:
        root = _unshaped(body, carried.write)
        if root == carried.write or root not in body.producers:
            continue
        own = body.producers[carried.write]
        own.inputs = [root, *own.inputs[1:]]
        again = _in_shape_of(graph, carried.write, root)
        graph.nodes = [n for n in graph.nodes if n is not own and n is not again]
        for node in graph.nodes:
            if node.op == "Reshape" and _unshaped(body, node.inputs[0]) == root:
                node.inputs = [carried.write, *node.inputs[1:]]
            else:
                node.inputs = [again.outputs[0] if i == root else i for i in node.inputs]
        after = next(n for n, node in enumerate(graph.nodes) if root in node.outputs) + 1
        graph.nodes[after:after] = [own, again]
        body.read_again()


def _in_shape_of(graph: Graph, tensor: str, like: str) -> Node:
    """The tensor in the shape of another."""
    d = Dialect()
    d.graph = graph
    inputs, attrs = size_tensors.dims_spec(d, list(graph.shape(like)), [tensor], rest=True)
    graph.add1("Reshape", inputs, attrs, f"{tensor}.rows")
    return graph.nodes[-1]


def _unshaped(body: Body, tensor: str) -> str:
    """What a tensor is a Reshape of."""
    node = body.producers.get(tensor)
    return _unshaped(body, node.inputs[0]) if node is not None and node.op == "Reshape" else tensor


# ---- states of several layers ----------------------------------------------------------------------------------------


def part(ctx: Dialect, body: Body) -> Parted:
    """Carries the parts of a tensor that a trip puts together of parts and reads part by part."""
    parted: Parted = {}
    for carried in list(body.carried):
        found = _parts_of(body, carried)
        if found is None:
            continue
        axis, slices, writes = found
        at, reads = 0, []
        for read, write in zip(slices, writes):
            size = body.graph.shape(read)[axis]
            assert isinstance(size, int)
            initial = ctx.slice_axis(carried.initial, axis, at, at + size)
            at += size
            body.carried.append(Carried(read, write, initial))
            reads.append(read)
        body.carried.remove(carried)
        parted[carried.read] = axis, reads
    return parted


def joined(ctx: Dialect, parted: Parted, last: dict[str, Value]) -> dict[str, Value]:
    """The last values, those of parts put together again too."""
    whole = {read: movement.concat(ctx, [last[p] for p in parts], axis) for read, (axis, parts) in parted.items()}
    return {**last, **whole}


def _parts_of(body: Body, carried: Carried) -> tuple[int, list[str], list[str]] | None:
    """The axis, what reads each part, and what becomes each; None where the tensor is not read and written so."""
    graph = body.graph
    joins = body.producers.get(carried.write)
    if joins is None or joins.op != "Concat" or carried.read in body.outputs:
        return None
    axis = read_attrs(joins)["axis"] % len(graph.shape(carried.read))
    places, at = {}, 0
    for n, tensor in enumerate(joins.inputs):
        size = graph.shape(tensor)[axis]
        if not isinstance(size, int):
            return None
        places[at, at + size], at = n, at + size
    readers = [n for n in graph.nodes if carried.read in n.inputs]
    found: dict[int, list[Node]] = {}
    for node in readers:
        attrs = read_attrs(node)
        if node.op != "Slice" or attrs["axes"] != [axis] or each(attrs["steps"], 1) != [1]:
            return None
        start, end = attrs["starts"][0], min(attrs["ends"][0], at)
        if (start, end) not in places:
            return None
        found.setdefault(places[start, end], []).append(node)
    return axis, [_as_input(graph, found.get(n, []), t) for n, t in enumerate(joins.inputs)], list(joins.inputs)


def _as_input(graph: Graph, slices: list[Node], like: str) -> str:
    """The tensor that the slices give, from now on one that no node makes."""
    if not slices:
        name = graph.fresh(f"{like}.before")
        graph.tensors[name] = Tensor(name, graph.tensors[like].dtype, graph.shape(like))
        return name
    first = slices[0].outputs[0]
    for node in slices:
        graph.nodes = [n for n in graph.nodes if n is not node]
        for other in graph.nodes:
            other.inputs = [first if i == node.outputs[0] else i for i in other.inputs]
    return first
