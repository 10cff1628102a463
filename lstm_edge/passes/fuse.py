"""Neighbouring ops that one op can do become that op. Every fusion is mathematically the same and noted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

import numpy as np

from ..ir.dims import Dim
from ..ir.graph import Graph, Node
from ..ir.ops import ACTIVATIONS, TO_END, channel_axis, each, input_of, read_attrs, spatial_axes
from .edit import constant_of, note, reader_counts, scalar_of


def fuse(graph: Graph, only: Collection[str] | None = None) -> None:
    """Applies every rule until none fits. A rule sees a node and what produces its inputs; a fused producer has no
    other reader. only: the tensors whose nodes are looked at, where not all are."""
    counts: Counter[str] = Counter()
    changed = True
    while changed:
        changed = False
        view = _View(graph)
        for node in graph.nodes:
            if only is not None and not set(only) & set(node.outputs):
                continue
            for op, rule, text in RULES:
                if node.op == op and id(node) not in view.gone and rule(view, node):
                    counts[text] += 1
                    changed = True
                    view.refresh(node)
        graph.nodes = [n for n in graph.nodes if id(n) not in view.gone]
        graph.drop_unused()
    for text, count in counts.items():
        note(graph, f"fused {text}" + (f" ({count} times)" if count > 1 else ""))


LAYERS = ("Conv", "ConvTranspose", "Dense")


class _View:
    """A graph with its producers and reader counts, kept as rules change it. A rule changes only the node it is given and
    the producers of its inputs, and removes nodes by `remove`."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.readers = reader_counts(graph)
        self.producers = graph.producers()
        self.gone: set[int] = set()
        self._known = {id(n): (list(n.inputs), list(n.outputs)) for n in graph.nodes}

    def refresh(self, node: Node) -> None:
        """Counts anew what `node` and the producers of what it read make and read now."""
        near = {id(n): n for n in [node, *(self.producers.get(i, node) for i in self._known[id(node)][0])]}.values()
        for n in near:
            inputs, outputs = self._known[id(n)]
            self.readers.subtract(i for i in inputs if i)
            for o in outputs:
                if self.producers.get(o) is n:
                    del self.producers[o]
            self._known[id(n)] = ([], []) if id(n) in self.gone else (list(n.inputs), list(n.outputs))
        for n in near:
            inputs, outputs = self._known[id(n)]
            self.readers.update(i for i in inputs if i)
            self.producers.update((o, n) for o in outputs if o)

    def remove(self, node: Node) -> None:
        self.gone.add(id(node))

    def only_feed(self, tensor: str, *ops: str) -> Node | None:
        """The node of one of `ops` that makes `tensor`, when nobody else reads it."""
        node = self.producers.get(tensor)
        return node if node is not None and node.op in ops and self.readers[tensor] == 1 else None

    def split(self, node: Node, kind: str) -> tuple[str, np.ndarray, str] | None:
        """For Binary `kind` of a tensor and a float constant, in either order: tensor, constant data and name."""
        if node.op != "Binary" or node.attrs["kind"] != kind:
            return None
        a, b = node.inputs
        for x, c in ((a, b), (b, a)):
            data = constant_of(self.graph, c)
            if data is not None and data.dtype == np.float32 and not self.graph.tensors[x].is_constant:
                return x, data, c
        return None

    def split_feed(self, node: Node, kind: str, *ops: str) -> tuple[Node, np.ndarray, str] | None:
        """`split` of what a node of one of `ops` makes for nobody else: that node, constant data and name."""
        parts = self.split(node, kind)
        feed = self.only_feed(parts[0], *ops) if parts is not None else None
        return (feed, *parts[1:]) if parts is not None and feed is not None else None

    def take_over(self, node: Node, gone: Node) -> None:
        """`node` computes what `gone` did, after it in the list, and `gone` is removed."""
        node.outputs = [gone.outputs[0]]
        self.remove(gone)


def _is_linear(node: Node) -> bool:
    return bool(node.attrs.get("activation", "linear") == "linear")


def _is_grouped_transpose(node: Node) -> bool:
    """A ConvTranspose whose weights (C, O/groups, ...) have no axis of all output channels."""
    return node.op == "ConvTranspose" and read_attrs(node)["groups"] != 1


# ---- convolution and dense -------------------------------------------------------------------------------------------


def _pad_into_conv(v: _View, node: Node) -> bool:
    """A zero Pad of the spatial axes becomes the pads of the Conv that reads it."""
    pad = v.only_feed(node.inputs[0], "Pad")
    if pad is None:
        return False
    attrs, rank = read_attrs(pad), len(v.graph.shape(node.inputs[0]))
    if attrs["mode"] != "constant" or attrs["value"] != 0:
        return False
    spatial = spatial_axes(node.attrs, rank)
    begins, ends = attrs["pads"][:rank], attrs["pads"][rank:]
    if any(begins[d] or ends[d] for d in range(rank) if d not in spatial):
        return False
    pads = each(read_attrs(node)["pads"], 2 * len(spatial))
    node.attrs["pads"] = [p + q for p, q in zip(pads, [begins[d] for d in spatial] + [ends[d] for d in spatial])]
    node.inputs[0] = pad.inputs[0]
    v.remove(pad)
    return True


def _slice_into_conv(v: _View, node: Node) -> bool:
    """A Slice that cuts off what a Conv's end padding made (causal convolution as torch code spells it) becomes less
    end padding; one that cuts off the end of a ConvTranspose becomes more of it, which there takes away."""
    conv = v.only_feed(node.inputs[0], "Conv", "ConvTranspose")
    if conv is None:
        return False
    attrs, shape = read_attrs(node), v.graph.shape(node.inputs[0])
    spatial = spatial_axes(conv.attrs, len(shape))
    conv_attrs = read_attrs(conv)
    pads, strides = each(conv_attrs["pads"], 2 * len(spatial)), each(conv_attrs["strides"], len(spatial))
    for axis, start, end, step in zip(
        attrs["axes"], attrs["starts"], attrs["ends"], each(attrs["steps"], len(attrs["axes"]))
    ):
        axis %= len(shape)
        cut = -end if end < 0 else shape[axis] - end if isinstance(shape[axis], int) and end < TO_END else None
        if axis not in spatial or start != 0 or step != 1 or not isinstance(cut, int) or cut < 0:
            return False
        d = spatial.index(axis)
        if conv.op == "Conv" and (strides[d] != 1 or pads[len(spatial) + d] < cut):
            return False
        pads[len(spatial) + d] += cut if conv.op == "ConvTranspose" else -cut
    conv.attrs["pads"] = pads
    v.take_over(conv, node)
    return True


def _matmul_to_dense(v: _View, node: Node) -> bool:
    """MatMul by a constant matrix is a Dense layer."""
    weight, attrs = constant_of(v.graph, node.inputs[1]), read_attrs(node)
    if weight is None or weight.ndim != 2 or attrs["trans_a"] or attrs["scale"] != 1:
        return False
    rows = weight if attrs["trans_b"] else weight.T
    node.op, node.attrs = "Dense", {}
    node.inputs[1] = v.graph.constant(rows, f"{node.name}.w")
    return True


def _pointwise_transpose(v: _View, node: Node) -> bool:
    """A ConvTranspose with one tap and no stride mixes the channels of a position, as a Conv does."""
    attrs, weight = read_attrs(node), constant_of(v.graph, node.inputs[1])
    if weight is None or any(size != 1 for size in weight.shape[2:]):
        return False
    n, groups = weight.ndim - 2, attrs["groups"]
    if any(s != 1 for s in each(attrs["strides"], n)) or any(
        (*each(attrs["pads"], 2 * n), *each(attrs["output_padding"], n))
    ):
        return False
    rows = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)  # of each group (outputs, inputs)
    rows = np.ascontiguousarray(rows.reshape(-1, *rows.shape[2:]))
    node.op, node.inputs[1] = "Conv", v.graph.constant(rows, f"{node.name}.w")
    node.attrs.pop("output_padding", None)
    return True


def _scale_into_weights(v: _View, node: Node) -> bool:
    """Multiplication by one constant per output channel after a layer goes into its weights and bias."""
    found = v.split_feed(node, "mul", *LAYERS)
    if found is None or not _is_linear(found[0]) or _is_grouped_transpose(found[0]):
        return False
    layer, factors, _ = found
    scale = _per_channel(v.graph, layer, factors)
    weight, bias = (constant_of(v.graph, input_of(layer, name)) for name in ("w", "bias"))
    if scale is None or weight is None or input_of(layer, "bias") and bias is None:
        return False
    scaled = weight * scale.reshape([-1 if d == (layer.op == "ConvTranspose") else 1 for d in range(weight.ndim)])
    layer.inputs[1] = v.graph.constant(scaled, f"{layer.name}.w")
    if bias is not None:
        layer.inputs[2] = v.graph.constant(bias * scale, f"{layer.name}.b")
    v.take_over(layer, node)
    return True


def _add_into_bias(v: _View, node: Node) -> bool:
    """Addition (or subtraction) of one constant per output channel after a layer goes into its bias."""
    parts, sign = v.split(node, "add"), 1.0
    if parts is None and node.attrs["kind"] == "sub":
        data = constant_of(v.graph, node.inputs[1])
        parts, sign = (node.inputs[0], data, node.inputs[1]) if data is not None else None, -1.0
    layer = v.only_feed(parts[0], *LAYERS) if parts is not None else None
    if parts is None or layer is None or not _is_linear(layer):
        return False
    offset = _per_channel(v.graph, layer, parts[1])
    old = input_of(layer, "bias")
    bias = constant_of(v.graph, old) if old else np.float64(0)
    if offset is None or bias is None:
        return False
    layer.inputs = [*layer.inputs[:2], v.graph.constant(bias + sign * offset, f"{layer.name}.b")]
    v.take_over(layer, node)
    return True


def _per_channel(graph: Graph, layer: Node, data: np.ndarray) -> np.ndarray | None:
    """`data`, broadcast against the layer's output, as one float64 per output channel; None when it varies
    elsewhere."""
    shape = graph.shape(layer.outputs[0])
    axis = len(shape) - 1 if layer.op == "Dense" else channel_axis(layer.attrs, len(shape))
    if data.ndim > len(shape):
        return None
    full = (1,) * (len(shape) - data.ndim) + data.shape
    channels = shape[axis]
    if any(s != 1 for d, s in enumerate(full) if d != axis) or full[axis] not in (1, channels):
        return None
    return None if isinstance(channels, Dim) else np.broadcast_to(data.astype(np.float64).reshape(-1), (channels,))


def _activation_into_layer(v: _View, node: Node) -> bool:
    """An activation of nothing but a Conv's or Dense's output is that layer's activation."""
    if node.attrs["kind"] not in ACTIVATIONS:
        return False
    layer = v.only_feed(node.inputs[0], *LAYERS)
    if layer is None or not _is_linear(layer):
        return False
    layer.attrs["activation"] = node.attrs["kind"]
    layer.attrs.update({k: node.attrs[k] for k in ("alpha", "beta") if k in node.attrs})
    v.take_over(layer, node)
    return True


# ---- composed functions ----------------------------------------------------------------------------------------------


def _plain_power(v: _View, node: Node) -> bool:
    """x^2, x^0.5 and x^-1 without a logarithm and an exponential."""
    if node.attrs["kind"] != "pow" or v.graph.tensors[node.inputs[0]].dtype != "float32":
        return False
    exponent = scalar_of(v.graph, node.inputs[1])
    same_shape = v.graph.shape(node.inputs[0]) == v.graph.shape(node.outputs[0])
    if exponent == 2 and same_shape:
        node.inputs, node.attrs = [node.inputs[0]] * 2, {"kind": "mul"}
    elif exponent in (0.5, -1) and same_shape:
        node.op, node.inputs, node.attrs = (
            "Unary",
            node.inputs[:1],
            {"kind": "sqrt" if exponent == 0.5 else "reciprocal"},
        )
    else:
        return False
    return True


def _silu(v: _View, node: Node) -> bool:
    """x * sigmoid(x)."""
    if node.attrs["kind"] != "mul":
        return False
    a, b = node.inputs
    for x, gate in ((a, b), (b, a)):
        sigmoid = v.only_feed(gate, "Unary")
        if sigmoid is not None and sigmoid.attrs["kind"] == "sigmoid" and sigmoid.inputs[0] == x:
            node.op, node.inputs, node.attrs = "Unary", [x], {"kind": "silu"}
            return True
    return False


def _layer_norm(v: _View, node: Node) -> bool:
    """(x - mean) / sqrt(mean((x - mean)^2) + eps), spelt out, becomes Normalize."""
    if node.attrs["kind"] not in ("div", "mul"):
        return False
    a, b = node.inputs
    for centred, by in ((a, b), (b, a)) if node.attrs["kind"] == "mul" else ((a, b),):
        root = _root(v, by, inverse=node.attrs["kind"] == "mul")
        found = _variance(v, root, centred) if root is not None else None
        if found is not None:
            x, axes, epsilon = found
            node.op, node.inputs = "Normalize", [x]
            node.attrs = {"axes": axes, "epsilon": epsilon, "kind": "layer"}
            return True
    return False


def _root(v: _View, tensor: str, inverse: bool) -> Node | None:
    """The sqrt node behind `tensor` (through a reciprocal when `inverse`)."""
    node = v.producers.get(tensor)
    if inverse:
        if node is None or node.op != "Unary" or node.attrs["kind"] != "reciprocal":
            return None
        node = v.producers.get(node.inputs[0])
    return node if node is not None and node.op == "Unary" and node.attrs["kind"] == "sqrt" else None


def _variance(v: _View, root: Node, centred: str) -> tuple[str, list[int], float] | None:
    """x, axes and epsilon when `root` is sqrt(mean(centred^2) + eps) and centred is x - mean(x) over the same axes."""
    plus = v.producers.get(root.inputs[0])
    parts = v.split(plus, "add") if plus is not None else None
    epsilon = scalar_of(v.graph, parts[2]) if parts else None
    mean_square = v.producers.get(parts[0]) if parts else None
    difference = v.producers.get(centred)
    if epsilon is None or mean_square is None or difference is None or not _is_mean(mean_square):
        return None
    if (
        not _is_square(v, mean_square.inputs[0], difference)
        or difference.op != "Binary"
        or difference.attrs["kind"] != "sub"
    ):
        return None
    x, mean = difference.inputs[0], v.producers.get(difference.inputs[1])
    if mean is None or not _is_mean(mean) or mean.inputs[0] != x:
        return None
    rank = len(v.graph.shape(x))
    axes = sorted(a % rank for a in mean.attrs.get("axes", ()))
    same_axes = axes == sorted(a % rank for a in mean_square.attrs.get("axes", ()))
    return (x, axes or list(range(rank)), epsilon) if same_axes else None


def _is_mean(node: Node) -> bool:
    return node.op == "Reduce" and node.attrs["kind"] == "mean" and node.attrs.get("keepdims", 1) == 1


def _is_square(v: _View, tensor: str, difference: Node) -> bool:
    """Whether `tensor` is the square of x - mean(x), computed once or twice."""
    node = v.producers.get(tensor)
    if node is None or node.op != "Binary":
        return False
    if node.attrs["kind"] != "mul" or node.inputs[0] != node.inputs[1]:  # a power of 2 was made this
        return False
    other = v.producers.get(node.inputs[0])
    return other is not None and (other is difference or _same_computation(v, other, difference))


def _same_computation(v: _View, a: Node, b: Node) -> bool:
    """Whether two nodes compute the same from the same (exporters spell x - mean(x) twice)."""
    if a.op != b.op or a.attrs != b.attrs or len(a.inputs) != len(b.inputs):
        return False
    return all(
        x == y or (x in v.producers and y in v.producers and _same_computation(v, v.producers[x], v.producers[y]))
        for x, y in zip(a.inputs, b.inputs)
    )


def _same_shape(v: _View, a: Node, b: Node) -> bool:
    return v.graph.shape(a.outputs[0]) == v.graph.shape(b.outputs[0])


def _scale_into_normalize(v: _View, node: Node) -> bool:
    """Multiplication by a constant after Normalize is its scale."""
    found = v.split_feed(node, "mul", "Normalize")
    if found is None or len(found[0].inputs) > 1 or not _same_shape(v, found[0], node):
        return False
    norm, _, scale = found
    norm.inputs.append(scale)
    v.take_over(norm, node)
    return True


def _bias_into_normalize(v: _View, node: Node) -> bool:
    """Addition of a constant after Normalize is its bias."""
    found = v.split_feed(node, "add", "Normalize")
    if found is None or len(found[0].inputs) > 2 or not _same_shape(v, found[0], node):
        return False
    norm, _, bias = found
    norm.inputs = [norm.inputs[0], input_of(norm, "scale"), bias]
    v.take_over(norm, node)
    return True


Rule = Callable[[_View, Node], bool]
RULES: list[tuple[str, Rule, str]] = [  # the op of a node that a rule looks at, the rule, what it does
    ("MatMul", _matmul_to_dense, "matrix product by a constant into Dense"),
    ("ConvTranspose", _pointwise_transpose, "pointwise transposed convolution into Conv"),
    ("Conv", _pad_into_conv, "zero Pad into Conv"),
    ("Slice", _slice_into_conv, "end Slice into a convolution's padding"),
    ("Binary", _plain_power, "power by a constant into multiplication, root or reciprocal"),
    ("Binary", _silu, "x * sigmoid(x) into silu"),
    ("Binary", _layer_norm, "a spelt-out layer normalisation into Normalize"),
    ("Binary", _scale_into_normalize, "scale into Normalize"),
    ("Binary", _bias_into_normalize, "bias into Normalize"),
    ("Binary", _scale_into_weights, "per-channel scale into weights"),
    ("Binary", _add_into_bias, "per-channel offset into bias"),
    ("Unary", _activation_into_layer, "activation into its layer"),
]
