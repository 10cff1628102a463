"""Random single-op Graphs, one strategy per row of docs/ops.md: sizes around the kernels' tile edges, attributes and
optional inputs varied, operands constant (also as float16 and int8 weights) or given at run time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from lstm_edge.errors import ShapeError
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.ir.ops import ACTIVATIONS, BINARY_COMPARISON, BINARY_LOGIC, OPS, PARAMETERS, REDUCE, UNARY, UNARY_INT

WIDTHS = st.sampled_from(
    [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 63, 64, 65, 67]
)  # tiles are 8, 16 and 64 wide
SMALL = st.integers(1, 5)
SPECIALS = np.float32(
    [
        0.0,
        -0.0,
        np.nan,
        np.inf,
        -np.inf,
        1e-40,
        -1e-30,
        1e30,
        -1e30,
        0.5,
        1.5,
        2.5,
        -0.5,
        -1.5,
        1.0,
        -1.0,
        88.0,
        90.0,
        -88.0,
        -104.0,
        3.0,
        -3.0,
        6.0,
        2147483520.0,
        -2147483648.0,
        4e9,
    ]
)
INTS = np.int32([0, 1, -1, 2, -2, 3, -3, 7, 1000, -999, 2**31 - 1, -(2**31)])
CONTRACTION = 0.5  # row sums of recurrent weights: errors of early frames die out


@dataclass
class Case:
    """A Graph of one op, with arrays for its inputs by name."""

    graph: Graph = field(default_factory=Graph)
    inputs: dict[str, np.ndarray] = field(default_factory=dict)


class Builder:
    """Draws one case."""

    def __init__(self, draw: Callable, weights: tuple[str, ...] = ("float32", "float16", "int8", "run")):
        self.draw, self.weights = draw, weights
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.case = Case()

    def one_of(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def flag(self) -> int:
        return self.draw(st.integers(0, 1))

    def shape(self, low: int = 0, high: int = 4, zero: bool = True) -> tuple[int, ...]:
        """A shape of rank low..high, now and then with an empty axis."""
        sizes = st.one_of(SMALL, WIDTHS) if high <= 3 else SMALL
        shape = self.draw(st.lists(sizes, min_size=low, max_size=high))
        if zero and shape and self.draw(st.integers(0, 11)) == 0:
            shape[self.draw(st.integers(0, len(shape) - 1))] = 0
        return tuple(shape)

    def values(self, *shape: int, low: float = -1.0, high: float = 1.0) -> np.ndarray:
        return self.rng.uniform(low, high, shape).astype(np.float32)

    def wild(self, *shape: int) -> np.ndarray:
        """Floats of all kinds: NaN, infinities, subnormals, halves, beyond int32."""
        x = self.rng.uniform(-9, 9, shape).astype(np.float32)
        return np.where(self.rng.random(shape) < 0.5, self.rng.choice(SPECIALS, shape), x).astype(np.float32)

    def masked(self, x: np.ndarray) -> np.ndarray:
        """Now and then with -inf in places, as attention masks have it."""
        return (
            np.where(self.rng.random(x.shape) < 0.3, np.float32(-np.inf), x) if self.draw(st.integers(0, 2)) == 0 else x
        )

    def typed(self, shape: tuple[int, ...], *dtypes: str) -> np.ndarray:
        """Any values of one of the dtypes."""
        dtype = self.one_of(*(dtypes or ("float32", "int32", "bool")))
        if dtype == "float32":
            return self.wild(*shape)
        if dtype == "bool":
            return self.rng.random(shape) < 0.5
        return np.where(
            self.rng.random(shape) < 0.3, self.rng.choice(INTS, shape), self.rng.integers(-50, 50, shape)
        ).astype(np.int32)

    def at_run(self, array: np.ndarray, shape: tuple | None = None) -> str:
        """A graph input with this array; `shape` may name batch and frames."""
        name = f"x{len(self.case.inputs)}"
        self.case.inputs[name] = array
        return self.case.graph.input(name, array.shape if shape is None else shape, str(array.dtype))

    def operand(self, array: np.ndarray, shape: tuple | None = None) -> str:
        """Constant, or given at run time."""
        return self.at_run(array, shape) if self.flag() else self.case.graph.constant(array)

    def weight(self, array: np.ndarray, leading: int = 1, at_run: bool = True) -> str:
        """An operand that may also be stored as float16 or int8, a scale per row of its `leading` axes."""
        kind = self.one_of(*(w for w in self.weights if at_run or w != "run"))
        if kind == "run":
            return self.at_run(array)
        name = self.case.graph.constant(array)
        tensor = self.case.graph.tensors[name]
        if kind == "float16":
            tensor.data, tensor.dtype = array.astype(np.float16), "float16"
        elif kind == "int8":
            rows = array.reshape(int(np.prod(array.shape[:leading])), -1)
            scale = np.maximum(np.abs(rows).max(axis=1, initial=0), 1e-6) / np.float32(127)
            tensor.data, tensor.dtype = np.rint(rows / scale[:, None]).astype(np.int8).reshape(array.shape), "int8"
            tensor.scale = scale.astype(np.float32)
        return name

    def maybe(self, make: Callable[[], str]) -> str:
        return make() if self.flag() else ""

    def activation(self, exclude: tuple[str, ...] = ()) -> tuple[str, float, float]:
        """A name with alpha and beta that it stands."""
        name = self.draw(st.sampled_from([a for a in ACTIVATIONS if a not in exclude]))
        return name, *(
            (self.one_of(0.2, 0.9, 1.6), self.one_of(0.25, 0.5, 1.1)) if PARAMETERS.get(name) else (0.0, 0.0)
        )

    def fused(self) -> dict[str, Any]:
        """Activation attributes of a dense op. No thresholded_relu: a jump that rounding may cross."""
        name, alpha, beta = self.activation(("thresholded_relu",))
        return {} if name == "linear" else {"activation": name, "alpha": alpha, "beta": beta}

    def given(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """`attrs` less some of those at their default."""
        return {k: v for k, v in attrs.items() if v != 0 or self.flag()}

    def axis(self, rank: int) -> int:
        return self.draw(st.integers(-rank, rank - 1))

    def axes(self, rank: int, low: int = 1) -> list[int]:
        axes = self.draw(st.lists(st.integers(0, rank - 1), min_size=low, max_size=rank, unique=True))
        return [a - rank if self.flag() else a for a in axes]

    def add(self, op: str, inputs: list[str], attrs: dict[str, Any] | None = None) -> None:
        """The op under test; every output of it becomes the graph's, now and then an optional one is left out."""
        while inputs and not inputs[-1]:
            inputs.pop()
        count = len(OPS[op].outputs)
        left_out = [n > 0 and self.draw(st.integers(0, 3)) == 0 for n in range(count)]
        wanted = ["" if out else f"y{n}" for n, out in enumerate(left_out)]
        for name in self.case.graph.add(op, inputs, attrs, "op", wanted):
            if name:
                self.case.graph.output(name, name)


# Ops whose answers are sums of rounded products: tests/op_bounds.py bounds them by their conditioning.
SUMS = {
    "LSTM",
    "GRU",
    "RNN",
    "ConvLSTM",
    "Dense",
    "MatMul",
    "Conv",
    "ConvTranspose",
    "Pool",
    "Normalize",
    "Reduce",
    "Softmax",
    "CumSum",
    "Rfft",
    "Irfft",
}
STRATEGIES: dict[str, Callable[[Builder], None]] = {}


def strategy(function: Callable[[Builder], None]) -> Callable[[Builder], None]:
    """Registers fn `top_k` for the op TopK."""
    stem = function.__name__.strip("_").replace("_", "")
    STRATEGIES[{name.lower(): name for name in OPS}.get(stem, stem.title())] = function
    return function


@st.composite
def cases(draw: Callable, op: str, **options: Any) -> Case:
    builder = Builder(draw, **options)
    STRATEGIES[op](builder)
    return builder.case


# ---- recurrences -----------------------------------------------------------------------------------------------------


@dataclass
class Sizes:
    batch: int
    frames: int
    features: int
    hidden: int
    width: int
    directions: int
    time_major: int

    def x(self, last: Any) -> tuple:
        return (self.frames, self.batch, last) if self.time_major else (self.batch, self.frames, last)

    def symbolic(self, *last: Any) -> tuple:
        return (FRAMES, BATCH, *last) if self.time_major else (BATCH, FRAMES, *last)


def recurrent(
    b: Builder, gates: int, per_direction: int, plain: bool = False
) -> tuple[Sizes, dict[str, Any], list[str]]:
    """Sizes, attributes and x, w_ih, w_hh of a recurrence. plain: forward, default activations."""
    direction = "forward" if plain else b.one_of("forward", "reverse", "bidirectional")
    d = 2 if direction == "bidirectional" else 1
    hidden = b.draw(WIDTHS)
    width = b.draw(WIDTHS) if gates == 4 and b.draw(st.integers(0, 3)) == 0 else hidden
    frames = b.draw(st.sampled_from([1, 1, 2, 3, 7, 12]) if plain else st.sampled_from([0, 1, 1, 2, 3, 7, 12]))
    s = Sizes(
        b.draw(st.sampled_from([1, 1, 2, 3, 5])), frames, b.draw(WIDTHS), hidden, width, d, 0 if plain else b.flag()
    )
    attrs = {} if direction == "forward" else {"direction": direction}
    attrs |= b.given({"time_major": s.time_major, "clip": 0.0 if plain else b.one_of(0.0, 0.0, 0.6)})
    if not plain and b.flag():
        # exp would make a growing system, thresholded_relu jumps
        chosen = [b.activation(("exp", "thresholded_relu")) for _ in range(d * per_direction)]
        attrs |= {
            "activations": [a[0] for a in chosen],
            "activation_alpha": [a[1] for a in chosen],
            "activation_beta": [a[2] for a in chosen],
        }
    x = b.at_run(b.values(*s.x(s.features)), s.symbolic(s.features))
    w_ih = b.values(d, gates * hidden, s.features) * np.float32(1.5 / s.features**0.5)
    w_hh = b.values(d, gates * hidden, width)
    w_hh *= np.float32(CONTRACTION) / np.abs(w_hh).sum(axis=2, keepdims=True)
    return s, attrs, [x, b.weight(w_ih.astype(np.float32), 2, False), b.weight(w_hh.astype(np.float32), 2, False)]


def bias(b: Builder, s: Sizes, gates: int) -> str:
    return b.maybe(lambda: b.case.graph.constant(b.values(s.directions, gates * s.hidden)))


def initial(b: Builder, s: Sizes, width: int) -> str:
    return b.maybe(lambda: b.at_run(b.values(s.directions, s.batch, width), (s.directions, BATCH, width)))


def lengths_and_mask(b: Builder, s: Sizes, attrs: dict[str, Any]) -> list[str]:
    lengths = b.maybe(lambda: b.at_run(b.rng.integers(0, s.frames + 1, s.batch).astype(np.int32), (BATCH,)))
    mask = b.maybe(
        lambda: b.at_run(b.rng.random((s.frames, s.batch) if s.time_major else (s.batch, s.frames)) < 0.6, s.symbolic())
    )
    if mask and b.flag():
        attrs["masked_output"] = "zero"
    return [lengths, mask]


@strategy
def lstm(b: Builder) -> None:
    s, attrs, inputs = recurrent(b, 4, 5)
    attrs |= b.given({"cell_clip": b.one_of(0.0, 0.0, 0.3), "proj_clip": b.one_of(0.0, 0.2)})
    attrs |= {} if b.flag() else {"coupled": b.one_of("none", "f=1-i", "i=1-f")}
    projected = s.width != s.hidden or b.draw(st.integers(0, 5)) == 0
    inputs += [bias(b, s, 4), initial(b, s, s.width), initial(b, s, s.hidden), *lengths_and_mask(b, s, attrs)]
    rows = b.one_of(3, 4, 3 * s.hidden, 4 * s.hidden)
    peephole = b.values(s.directions, rows, s.hidden) * np.float32(0.3 if rows in (3, 4) else 0.3 / s.hidden)
    inputs.append(b.case.graph.constant(peephole) if b.draw(st.integers(0, 2)) == 0 else "")
    inputs.append(
        b.weight(b.values(s.directions, s.width, s.hidden) / np.float32(s.hidden), 2, False) if projected else ""
    )
    b.add("LSTM", inputs, attrs)


@strategy
def gru(b: Builder) -> None:
    s, attrs, inputs = recurrent(b, 3, 3)
    attrs |= {} if b.flag() else {"reset_after": b.flag()}
    inputs += [bias(b, s, 3), bias(b, s, 3), initial(b, s, s.hidden), *lengths_and_mask(b, s, attrs)]
    b.add("GRU", inputs, attrs)


@strategy
def rnn(b: Builder) -> None:
    s, attrs, inputs = recurrent(b, 1, 1)
    inputs += [bias(b, s, 1), initial(b, s, s.hidden), *lengths_and_mask(b, s, attrs)]
    b.add("RNN", inputs, attrs)


@strategy
def convlstm(b: Builder) -> None:
    axes, hidden = b.one_of(1, 2), b.draw(WIDTHS)
    batch, frames = b.draw(st.sampled_from([1, 1, 2, 3])), b.draw(st.sampled_from([0, 1, 2, 5]))
    image = [b.one_of(0, 1, 2, 2, 3, 3, 9) for _ in range(axes)]
    kernel = [b.one_of(1, 2, 3, 4) for _ in range(axes)]
    w_hh = b.values(4 * hidden, hidden, *kernel)
    w_hh *= np.float32(CONTRACTION) / np.abs(w_hh).sum(axis=tuple(range(1, w_hh.ndim)), keepdims=True)
    x = b.at_run(b.values(batch, frames, *image, 4 * hidden), (BATCH, FRAMES, *image, 4 * hidden))
    chosen = [b.activation(("exp", "thresholded_relu")) for _ in range(5)]
    attrs = dict(zip(("activations", "activation_alpha", "activation_beta"), map(list, zip(*chosen))))

    def state() -> str:
        return b.maybe(lambda: b.at_run(b.values(1, batch, *image, hidden), (1, BATCH, *image, hidden)))

    b.add("ConvLSTM", [x, b.weight(w_hh, 1, False), state(), state()], attrs if b.flag() else {})


@strategy
def integerlstm(b: Builder) -> None:
    features, hidden, batch, frames = (
        b.draw(WIDTHS),
        b.draw(WIDTHS),
        b.draw(SMALL),
        b.draw(st.sampled_from([0, 1, 2, 7])),
    )
    projected, normed = b.flag(), b.flag()
    width = b.draw(WIDTHS) if projected else hidden

    def whole(most: int, *shape: int) -> np.ndarray:
        return b.rng.integers(-most - 1, most + 1, shape).astype(np.int32)

    def constant(most: int, *shape: int) -> str:
        return b.case.graph.constant(whole(most, *shape))

    def state(most: int, size: int) -> str:
        return b.maybe(lambda: b.at_run(whole(most, 1, batch, size), (1, BATCH, size)))

    inputs = [
        b.at_run(whole(255, batch, frames, features), (BATCH, FRAMES, features)),
        constant(127, 1, 4 * hidden, features),
        constant(127, 1, 4 * hidden, width),
        b.maybe(lambda: constant(40000, 1, 4 * hidden)),
        state(255, width),
        state(2**15 - 1, hidden),
        b.maybe(lambda: constant(2**15 - 1, 1, 3, hidden)),
        constant(2**15 - 1, 1, 4, hidden) if normed else "",
        constant(127, 1, width, hidden) if projected else "",
        b.maybe(lambda: constant(40000, 1, width)) if projected else "",
    ]
    scales = {"x_scale": 4, "h_scale": 4, "peephole_scale": 3, "norm_scale": 4}
    attrs: dict[str, Any] = {key: np.exp2(b.values(count, low=-12, high=1)).tolist() for key, count in scales.items()}
    attrs |= {"hidden_scale": b.one_of(2.0**-23, 7.5e-8, 0.0), "proj_scale": b.one_of(0.004, 0.021)}
    attrs |= {"hidden_bounds": b.one_of([-128, 127], [-137, 118]), "state_bounds": b.one_of([-128, 127], [-60, 40])}
    attrs |= {"cell_bits": b.draw(st.integers(9, 15))} | b.given({"cell_limit": b.one_of(0, 9000)})
    b.add("IntegerLSTM", inputs, attrs | ({} if b.flag() else {"coupled": b.one_of("none", "i=1-f")}))


# ---- dense and convolution -------------------------------------------------------------------------------------------


@strategy
def dense(b: Builder) -> None:
    k, n, batch, frames = b.draw(WIDTHS), b.draw(WIDTHS), b.draw(SMALL), b.draw(st.sampled_from([0, 1, 2, 7, 9, 17]))
    x = b.at_run(b.values(batch, frames, k), (BATCH, FRAMES, k)) if b.flag() else b.at_run(b.values(k))
    b.add("Dense", [x, b.weight(b.values(n, k)), b.maybe(lambda: b.operand(b.values(n)))], b.fused())


@strategy
def matmul(b: Builder) -> None:
    m, k, n = b.draw(WIDTHS), b.draw(WIDTHS), b.draw(WIDTHS)
    batch_a, batch_b = broadcast_pair(b, 2)
    trans_a, trans_b = b.flag(), b.flag()
    x = b.values(*batch_a, *((k, m) if trans_a else (m, k)))
    y = b.values(*batch_b, *((n, k) if trans_b else (k, n)))
    attrs = b.given({"trans_a": trans_a, "trans_b": trans_b}) | ({"scale": 0.125} if b.flag() else {})
    first_at_run = b.flag()
    b.add(
        "MatMul", [b.at_run(x) if first_at_run else b.operand(x), b.operand(y) if first_at_run else b.at_run(y)], attrs
    )


def broadcast_pair(b: Builder, high: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that broadcast with each other."""
    full = b.shape(0, high)

    def part() -> tuple[int, ...]:
        thinned = tuple(1 if b.draw(st.integers(0, 3)) == 0 else s for s in full)
        return thinned[b.draw(st.integers(0, len(full))) if b.draw(st.integers(0, 3)) == 0 else 0 :]

    return part(), part()


def spatial(b: Builder) -> dict[str, Any]:
    """1 or 2 spatial axes: sizes, kernel and the attributes all three window ops share."""
    n = b.one_of(1, 1, 2)
    c: dict[str, Any] = {
        "n": n,
        "sizes": [b.draw(st.sampled_from([0, 1, 2, 5, 9, 16, 19])) for _ in range(n)],
        "kernel": [b.draw(st.integers(1, 4)) for _ in range(n)],
        "batch": b.draw(st.integers(1, 3)),
    }
    attrs: dict[str, Any] = {}
    if b.flag():
        attrs["strides"] = [b.draw(st.integers(1, 3)) for _ in range(n)]
    if b.flag():
        attrs["dilations"] = [b.draw(st.integers(1, 3)) for _ in range(n)]
    if b.flag():
        attrs["pads"] = [b.draw(st.integers(0, c["kernel"][d % n] - 1)) for d in range(2 * n)]
    if b.flag():
        attrs["layout"] = b.one_of("channels_first", "channels_last")
    c["attrs"] = attrs
    return c


def image(b: Builder, c: dict[str, Any], channels: int) -> str:
    last = c["attrs"].get("layout") == "channels_last"
    shape = (c["batch"], *c["sizes"], channels) if last else (c["batch"], channels, *c["sizes"])
    symbolic = (BATCH, FRAMES, *shape[2:]) if last else (BATCH, channels, FRAMES, *shape[3:])
    return b.at_run(b.values(*shape), symbolic)


@strategy
def conv(b: Builder) -> None:
    c, groups = spatial(b), b.one_of(1, 1, 2, 3)
    depthwise = b.draw(st.integers(0, 4)) == 0
    per_group, rows = (
        (1, 1) if depthwise else (b.draw(st.sampled_from([1, 2, 5, 8, 17])), b.draw(st.sampled_from([1, 3, 8, 17, 33])))
    )
    groups = b.draw(st.sampled_from([4, 16, 19])) if depthwise else groups
    attrs = c["attrs"] | b.fused() | ({"groups": groups} if groups > 1 else {})
    x = image(b, c, groups * per_group)
    w = b.weight(b.values(groups * rows, per_group, *c["kernel"]))
    b.add("Conv", [x, w, b.maybe(lambda: b.operand(b.values(groups * rows)))], attrs)


@strategy
def conv_transpose(b: Builder) -> None:
    c, groups = spatial(b), b.one_of(1, 1, 2, 3)
    channels, per_group = groups * b.draw(st.sampled_from([1, 2, 5, 8, 17])), b.draw(st.sampled_from([1, 3, 8, 17]))
    attrs = c["attrs"] | b.fused() | ({"groups": groups} if groups > 1 else {})
    if "strides" in attrs and b.flag():
        attrs["output_padding"] = [b.draw(st.integers(0, s - 1)) for s in attrs["strides"]]
    x = image(b, c, channels)
    w = b.weight(b.values(channels, per_group, *c["kernel"]))
    b.add("ConvTranspose", [x, w, b.maybe(lambda: b.operand(b.values(groups * per_group)))], attrs)


@strategy
def pool(b: Builder) -> None:
    c = spatial(b)
    attrs = c["attrs"] | {"kind": b.one_of("max", "average"), "kernel": c["kernel"]}
    attrs |= b.given({"ceil_mode": b.flag(), "count_include_pad": b.flag()})
    b.add("Pool", [image(b, c, b.draw(st.sampled_from([1, 3, 8, 17])))], attrs)


@strategy
def normalize(b: Builder) -> None:
    shape = b.shape(1, 4, zero=False)
    axes = b.axes(len(shape))

    def weights() -> str:
        return b.operand(
            b.values(*(1 if b.draw(st.integers(0, 3)) == 0 else s for s in shape[b.draw(st.integers(0, len(shape))) :]))
        )

    attrs = {"axes": axes, "epsilon": b.one_of(1e-5, 1e-3)} | ({"kind": b.one_of("layer", "rms")} if b.flag() else {})
    b.add("Normalize", [b.at_run(b.values(*shape)), b.maybe(weights), b.maybe(weights)], attrs)


# ---- elementwise -----------------------------------------------------------------------------------------------------


@strategy
def unary(b: Builder) -> None:
    kind = b.draw(st.sampled_from(UNARY))
    dtype = "bool" if kind == "not" else b.one_of("float32", "int32") if kind in UNARY_INT else "float32"
    x = b.typed(b.shape(0, 3), dtype)
    attrs: dict[str, Any] = {"kind": kind}
    if kind == "clip":
        attrs |= {"alpha": -2.0, "beta": 3.0}
    elif PARAMETERS.get(kind):
        attrs |= {"alpha": b.one_of(0.2, 0.9, 1.6), "beta": b.one_of(0.25, 0.5, 1.1)}
    b.add("Unary", [b.at_run(x)], attrs)


@strategy
def binary(b: Builder) -> None:
    kind = b.draw(st.sampled_from(OPS["Binary"].attrs["kind"].words))
    dtypes = ("bool",) if kind in BINARY_LOGIC else ("float32",) if kind == "prelu" else ("float32", "int32")
    dtype = b.one_of(*dtypes, *(("bool",) if kind in BINARY_COMPARISON[:2] else ()))
    left, right = (b.typed(shape, dtype) for shape in broadcast_pair(b, 4))
    if kind == "pow" and dtype == "int32":
        left, right = left % 7 - 3, right % 5
    first_at_run = b.flag()
    b.add(
        "Binary",
        [b.at_run(left) if first_at_run else b.operand(left), b.operand(right) if first_at_run else b.at_run(right)],
        {"kind": kind},
    )


@strategy
def where(b: Builder) -> None:
    (left, right), dtype = broadcast_pair(b, 3), b.one_of("float32", "int32", "bool")
    condition = tuple(
        max(s) if 0 not in s else 0
        for s in zip((1,) * (len(right) - len(left)) + left, (1,) * (len(left) - len(right)) + right)
    )
    condition = tuple(1 if b.draw(st.integers(0, 2)) == 0 else s for s in condition)
    b.add(
        "Where",
        [b.at_run(b.typed(condition, "bool")), b.operand(b.typed(left, dtype)), b.operand(b.typed(right, dtype))],
    )


@strategy
def cast(b: Builder) -> None:
    b.add("Cast", [b.at_run(b.typed(b.shape(0, 3)))], {"to": b.one_of("float32", "int32", "bool")})


# ---- over axes -------------------------------------------------------------------------------------------------------


@strategy
def reduce(b: Builder) -> None:
    kind, shape = b.draw(st.sampled_from(REDUCE)), b.shape(0, 4)
    if kind in ("max", "min"):
        x = b.typed(shape)
    else:
        x = b.values(*shape, low=0.1 if kind == "log_sum" else -1.5, high=1.5)
        if kind == "log_sum_exp":
            x = b.masked(x)
        if kind in ("sum", "prod") and b.flag():
            x = b.typed(shape, "int32")
    attrs: dict[str, Any] = {"kind": kind} | ({"axes": b.axes(len(shape))} if shape and b.flag() else {})
    b.add("Reduce", [b.at_run(x)], attrs | ({"keepdims": b.flag()} if b.flag() else {}))


@strategy
def arg_reduce(b: Builder) -> None:
    shape = b.shape(1, 3)
    x = b.rng.integers(-3, 4, shape)  # ties are the point
    attrs = {"kind": b.one_of("max", "min"), "axis": b.axis(len(shape))} | b.given({"select_last": b.flag()})
    b.add(
        "ArgReduce",
        [b.at_run(x.astype(b.one_of(np.float32, np.int32)))],
        attrs | ({"keepdims": b.flag()} if b.flag() else {}),
    )


@strategy
def softmax(b: Builder) -> None:
    shape = b.shape(1, 3)
    attrs = b.given({"log": b.flag()}) | ({"axis": b.axis(len(shape))} if b.flag() else {})
    b.add("Softmax", [b.at_run(b.masked(b.values(*shape, low=-20, high=20)))], attrs)


@strategy
def cum_sum(b: Builder) -> None:
    shape = b.shape(1, 3)
    x = b.values(*shape) if b.flag() else b.typed(shape, "int32")
    b.add("CumSum", [b.at_run(x)], {"axis": b.axis(len(shape))} | b.given({"exclusive": b.flag(), "reverse": b.flag()}))


@strategy
def top_k(b: Builder) -> None:
    shape = b.shape(1, 3)
    axis = b.axis(len(shape))
    attrs: dict[str, Any] = {"k": b.draw(st.integers(0, shape[axis]))}
    attrs |= {"axis": axis} if axis % len(shape) != len(shape) - 1 or b.flag() else {}
    attrs |= {"largest": b.flag()} if b.flag() else {}
    b.add("TopK", [b.at_run(b.rng.integers(-9, 9, shape).astype(np.float32))], attrs)


# ---- movement --------------------------------------------------------------------------------------------------------


@strategy
def reshape(b: Builder) -> None:
    """x (B, T, 12) to one of the shapes models use, with sizes from batch and frames; -1 or not."""
    batch, frames = b.draw(SMALL), b.draw(st.sampled_from([0, 1, 4, 7]))
    x = b.typed((batch, frames, 12))
    spec = b.one_of(
        ([1, 1, 3, 4], [0, 0, -1, -1], [0, 1, 0, 0]),
        ([1, -1], [0, -1], [-3, 0]),
        ([-1, 6], [-1, -1], [0, 0]),
        ([1, 12, 1, 1], [0, -1, -1, 0], [0, 0, 0, -2]),
        ([2, 2, 1, 3], [-1, 0, 0, -1], [0, 0, 1, 0]),
    )
    b.add("Reshape", [b.at_run(x, (BATCH, FRAMES, 12))], dict(zip(("shape", "from_input", "from_axis"), spec)))


@strategy
def expand(b: Builder) -> None:
    small, like = broadcast_pair(b, 3)
    x, sizes = b.typed(small), b.values(*like)
    rank = len(like)
    taken = [b.flag() for _ in range(rank)]
    attrs = {
        "shape": [1 if t else s for t, s in zip(taken, like)],
        "from_input": [1 if t else -1 for t in taken],
        "from_axis": [d if t else 0 for d, t in enumerate(taken)],
    }
    b.add("Expand", [b.at_run(x), b.at_run(sizes)], attrs if any(taken) else {"shape": list(like)})


@strategy
def fill(b: Builder) -> None:
    sizes = b.shape(1, 3)
    attrs = {
        "shape": [3, 2],
        "from_input": [-1, 0],
        "from_axis": [0, b.axis(len(sizes))],
        "value": b.one_of(0.0, 1.0, -2.5),
    }
    b.add(
        "Fill",
        [b.at_run(b.values(*sizes))],
        attrs | ({"dtype": b.one_of("float32", "int32", "bool")} if b.flag() else {}),
    )


@strategy
def transpose(b: Builder) -> None:
    shape = b.shape(0, 5)
    b.add("Transpose", [b.at_run(b.typed(shape))], {"perm": list(b.draw(st.permutations(range(len(shape)))))})


@strategy
def concat(b: Builder) -> None:
    shape, dtype = b.shape(1, 4), b.one_of("float32", "int32", "bool")
    axis, parts = b.axis(len(shape)), []
    for n in range(b.draw(st.integers(1, 4))):
        part = list(shape)
        part[axis] = b.draw(st.integers(0, 5))
        array = b.typed(tuple(part), dtype)
        parts.append(b.operand(array) if n else b.at_run(array))
    b.add("Concat", parts, {"axis": axis})


@strategy
def slice_(b: Builder) -> None:
    shape = b.shape(1, 4)
    axes = b.axes(len(shape))
    bounds = st.one_of(st.integers(-9, 9), st.sampled_from([2**31 - 1, -(2**31)]))
    attrs = {"axes": axes, "starts": [b.draw(bounds) for _ in axes], "ends": [b.draw(bounds) for _ in axes]}
    if b.flag():
        attrs["steps"] = [b.one_of(-3, -2, -1, 1, 2, 3) for _ in axes]
    b.add("Slice", [b.at_run(b.typed(shape))], attrs)


@strategy
def pad(b: Builder) -> None:
    mode = b.one_of("constant", "reflect", "edge")
    shape = b.shape(1, 3, zero=mode == "constant")
    pads = [
        b.draw(st.integers(0, min(3, shape[d % len(shape)] - 1) if mode == "reflect" else 3))
        for d in range(2 * len(shape))
    ]
    attrs: dict[str, Any] = {"pads": pads} | ({} if mode == "constant" and b.flag() else {"mode": mode})
    b.add("Pad", [b.at_run(b.typed(shape))], attrs | ({"value": 2.0} if mode == "constant" and b.flag() else {}))


@strategy
def tile(b: Builder) -> None:
    shape = b.shape(0, 4)
    b.add("Tile", [b.at_run(b.typed(shape))], {"repeats": [b.draw(st.integers(0, 3)) for _ in shape]})


def indices(b: Builder, size: int, *shape: int) -> np.ndarray:
    return b.rng.integers(-size, size, shape).astype(np.int32) if size else np.zeros((0,) * len(shape), np.int32)


@strategy
def gather(b: Builder) -> None:
    shape = b.shape(1, 3, zero=False)
    axis = b.axis(len(shape))
    at = b.at_run(indices(b, shape[axis], *b.shape(0, 2)))
    weight = axis % len(shape) == 0 and (b.flag() or len(b.weights) == 1)
    data = b.weight(b.values(*shape)) if weight else b.operand(b.typed(shape))
    b.add("Gather", [data, at], {"axis": axis} if axis % len(shape) or b.flag() else {})


@strategy
def gather_elements(b: Builder) -> None:
    shape = b.shape(1, 3, zero=False)
    axis = b.axis(len(shape))
    picked = [b.draw(st.integers(0, s)) for s in shape]
    b.add("GatherElements", [b.operand(b.typed(shape)), b.at_run(indices(b, shape[axis], *picked))], {"axis": axis})


@strategy
def scatter_elements(b: Builder) -> None:
    shape = b.shape(1, 3, zero=False)
    axis, reduction = b.axis(len(shape)), b.one_of("none", "add")
    picked = tuple(b.draw(st.integers(0, s)) for s in shape)
    data = b.values(*shape) if reduction == "add" else b.typed(shape)
    updates = b.values(*picked) if reduction == "add" else b.typed(picked, str(data.dtype))
    attrs = {"axis": axis} | ({} if reduction == "none" and b.flag() else {"reduction": reduction})
    b.add("ScatterElements", [b.operand(data), b.at_run(indices(b, shape[axis], *picked)), b.operand(updates)], attrs)


@strategy
def reverse_sequence(b: Builder) -> None:
    shape = b.shape(2, 4)
    batch, time = b.draw(st.permutations(range(len(shape))))[:2]
    lengths = b.rng.integers(0, shape[time] + 1, shape[batch]).astype(np.int32)
    b.add(
        "ReverseSequence",
        [b.at_run(b.typed(shape)), b.at_run(lengths)],
        {"batch_axis": batch, "time_axis": time - len(shape)},
    )


@strategy
def resize(b: Builder) -> None:
    shape = b.shape(1, 4)
    b.add("Resize", [b.at_run(b.typed(shape))], {"scales": [b.draw(st.integers(1, 3)) for _ in shape]})


# ---- signal ----------------------------------------------------------------------------------------------------------


@strategy
def frames(b: Builder) -> None:
    size, hop = b.draw(st.integers(1, 9)), b.draw(st.integers(1, 12))
    b.add("Frames", [b.at_run(b.wild(*b.shape(0, 2), b.draw(st.integers(0, 40))))], {"size": size, "hop": hop})


POINTS = st.sampled_from(
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 15, 16, 22, 25, 26, 30, 49, 60, 64, 77, 100, 125, 128, 400]
)


@strategy
def rfft(b: Builder) -> None:
    n = b.draw(POINTS)
    m = b.one_of(n, n, b.draw(st.integers(0, n)))
    b.add("Rfft", [b.at_run(b.values(*b.shape(0, 2), m))], {"n": n})


@strategy
def irfft(b: Builder) -> None:
    n = b.draw(POINTS)
    b.add("Irfft", [b.at_run(b.values(*b.shape(0, 2), 2, n // 2 + 1))], {"n": n})


def answers_of(model: Any, arrays: Iterable[np.ndarray]) -> dict[str, np.ndarray | None]:
    """What a model answers by output; None for all where it says that there are too few frames for an answer."""
    try:
        result = model.run(*arrays)
    except ShapeError as why:
        assert "expected a sequence long enough to answer it" in str(why)
        return {port.name: None for port in model.outputs}
    return result if isinstance(result, dict) else {model.outputs[0].name: result}
