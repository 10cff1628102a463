"""Random graphs over frames, to be cut into chunks: recurrences, convolutions and what stands between them, each reading any tensor made before it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from graph_strategies import GraphCase, Wiring, is_plain
from hypothesis import assume
from hypothesis import strategies as st
from strategies import STRATEGIES, WIDTHS

from lstm_edge.ir.dims import BATCH, FRAMES, Dim, mentions

OVER_FRAMES = ("LSTM", "GRU", "RNN", "ConvLSTM", "IntegerLSTM", "Conv", "ConvTranspose", "Pool")
STRAIGHT = {"forward": 4, "channels_first": 1}  # how much likelier than another the first of some choices is
LARGEST = 4.0  # of a tensor that is read on
SMOOTH = ("tanh", "sigmoid", "softplus", "neg", "abs", "relu", "erf", "silu", "sin")


class Sequence(Wiring):
    """`pool` has the tensors that later layers may read, each (BATCH, its frames, features)."""

    def __init__(self, draw: Callable[..., Any]):
        super().__init__(draw, weights=("float32", "float16", "int8"))
        self.pool: list[str] = []
        self.last = ""  # what the strategy at work was given
        self.length = int(self.one_of(1, 2, 5, 9, 12))
        batch = draw(st.integers(1, 3))
        for _ in range(draw(st.integers(1, 2))):
            array = self.values(batch, self.length, draw(st.integers(1, 9)))
            name = f"x{len(self.pool)}"
            self.case.inputs[name] = self.values_of[name] = array
            self.pool.append(self.case.graph.input(name, (BATCH, FRAMES, array.shape[2])))

    def one_of(self, *choices: Any) -> Any:
        first = choices[:1] * STRAIGHT.get(choices[0], 0) if isinstance(choices[0], str) else ()
        return super().one_of(*first, *choices)

    # ---- what a strategy asks for

    def at_run(self, array: np.ndarray, shape: tuple[Any, ...] | None = None) -> str:
        """A tensor over frames brought to `shape`; what has no frames is a constant, an initial state or a length is left out."""
        if shape is None:
            return self.case.graph.constant(array)
        if FRAMES not in shape:
            return ""
        if array.dtype.kind == "b":  # a mask, of the frames of the x that was asked for before it
            name = self._one("Slice", [self.last], {"axes": [2], "starts": [0], "ends": [1]})
            name = self._one("Reshape", [name], {"shape": [1, 1], "from_input": [0, 0], "from_axis": [0, 1]})
            zero = self.case.graph.constant(np.float32(-0.2))
            name = self._one("Binary", [name, zero], {"kind": "greater"})
            return name if shape[0] == BATCH else self._one("Transpose", [name], {"perm": [1, 0]})
        assume(0 not in [size for size in shape if not isinstance(size, Dim)])
        name = self.last = self.source()
        if array.dtype.kind == "i":
            name = self._one("Unary", [name], {"kind": "affine", "alpha": 60.0, "beta": 3.0})
            name = self._one("Cast", [name], {"to": "int32"})
        return self._laid_out(name, shape)

    def add(self, op: str, inputs: list[str], attrs: dict[str, Any] | None = None) -> None:
        """The node, and of its first output what later layers may read."""
        while inputs and not inputs[-1]:
            inputs.pop()
        self.keep(self._add(op, inputs, attrs or {}, ["y"]))

    # ---- wiring

    def source(self) -> str:
        return str(self.draw(st.sampled_from(self.pool)))

    def _laid_out(self, name: str, wanted: tuple[Any, ...]) -> str:
        """(BATCH, frames, features) as `wanted`: the features over and over, or some of them, its axes turned."""
        rest = [size for size in wanted if not isinstance(size, Dim)]
        need, have = math.prod(rest), self.values_of[name].shape[2]
        if have < need:
            name = self._one("Tile", [name], {"repeats": [1, 1, -(-need // have)]})
        if have != need and -(-need // have) * have != need:
            start = self.draw(st.integers(0, self.values_of[name].shape[2] - need))
            name = self._one("Slice", [name], {"axes": [2], "starts": [start], "ends": [start + need]})
        if len(rest) != 1:
            copied = {"from_input": [0, 0, *[-1] * len(rest)], "from_axis": [0, 1, *[0] * len(rest)]}
            name = self._one("Reshape", [name], {"shape": [1, 1, *rest], **copied})
        numbers = iter(range(2, len(wanted)))
        perm = [0 if s == BATCH else 1 if s == FRAMES else next(numbers) for s in wanted]
        return name if perm == sorted(perm) else self._one("Transpose", [name], {"perm": perm})

    def keep(self, name: str) -> None:
        """Puts a tensor into the pool, where it has batch and frames and a value, bounded."""
        shape, value = self.case.graph.shape(name), self.values_of.get(name)
        batch = [d for d, s in enumerate(shape) if s == BATCH]
        time = [d for d, s in enumerate(shape) if mentions(s, "frames")]
        if value is None or not value.size or not is_plain(value) or len(batch) != 1 or len(time) != 1:
            return
        if value.dtype.kind == "i":
            name = self._one("Cast", [name], {"to": "float32"})
            name = self._one("Unary", [name], {"kind": "affine", "alpha": 1 / 64, "beta": 0.0})
        elif np.abs(value).max() > LARGEST:
            name = self._one("Unary", [name], {"kind": "tanh"})
        rest = [d for d in range(len(shape)) if d not in (*batch, *time)]
        perm = [*batch, *time, *rest]
        if perm != sorted(perm):
            name = self._one("Transpose", [name], {"perm": perm})
        if len(rest) != 1:
            features = math.prod(shape[d] for d in rest)
            copied = {"from_input": [0, 0, -1], "from_axis": [0, 1, 0]}
            name = self._one("Reshape", [name], {"shape": [1, 1, features], **copied})
        self.pool.append(name)

    def finish(self) -> None:
        read = {i for node in self.case.graph.nodes for i in node.inputs}
        self.case.outputs = [n for n in self.case.made if n not in read or self.draw(st.integers(0, 5)) == 0]


# ---- layers beside those that have a strategy over frames


def dense(b: Sequence) -> None:
    k, n = b.draw(WIDTHS), b.draw(WIDTHS)
    x = b._laid_out(b.source(), (BATCH, FRAMES, k))
    bias = b.maybe(lambda: b.case.graph.constant(b.values(n)))
    b.add("Dense", [x, b.weight(b.values(n, k)), bias], b.fused())


def pair(b: Sequence) -> None:
    """Two tensors of the same frames: added, or side by side."""
    left = b.source()
    frames = b.case.graph.shape(left)[1]
    right = b.draw(st.sampled_from([n for n in b.pool if b.case.graph.shape(n)[1] == frames]))
    if b.flag():
        b.add("Concat", [left, right], {"axis": 2})
    else:
        right = b._laid_out(right, (BATCH, FRAMES, b.values_of[left].shape[2]))
        b.add("Binary", [left, right], {"kind": b.one_of("add", "mul", "max", "sub")})


def elementwise(b: Sequence) -> None:
    b.add("Unary", [b.source()], {"kind": b.draw(st.sampled_from(SMOOTH))})


def features(b: Sequence) -> None:
    """What looks at the features of one frame."""
    op, attrs = b.draw(
        st.sampled_from(
            [
                ("Softmax", {}),
                ("Normalize", {"axes": [-1], "epsilon": 1e-3}),
                ("CumSum", {"axis": 2}),
                ("Rfft", {"n": 30}),
                ("Reduce", {"kind": "max", "axes": [2], "keepdims": 1}),
            ]
        )
    )
    b.add(op, [b._laid_out(b.source(), (BATCH, FRAMES, 30)) if op == "Rfft" else b.source()], attrs)


def time(b: Sequence) -> None:
    """What looks along the frames: sums so far, answers so far, frames in front, a part of them."""
    before = b.draw(st.integers(1, 3))
    op, attrs = b.draw(
        st.sampled_from(
            [
                ("CumSum", {"axis": 1}),
                ("Reduce", {"kind": "mean", "axes": [1], "keepdims": 0}),
                ("Reduce", {"kind": "max", "axes": [1], "keepdims": 1}),
                ("Pad", {"pads": [0, before, 0, 0, 0, 0], "value": 0.5}),
                ("Pad", {"pads": [0, before, 0, 0, 0, 0], "mode": "edge"}),
                ("Slice", {"axes": [1], "starts": [before], "ends": [2**31 - 1]}),
                ("Slice", {"axes": [1], "starts": [0], "ends": [-before]}),
                ("Resize", {"scales": [1, before, 1]}),
            ]
        )
    )
    b.add(op, [b.source()], attrs)


LAYERS: dict[str, Callable[[Any], None]] = {
    **{op: STRATEGIES[op] for op in OVER_FRAMES},
    "Dense": dense,
    "pair": pair,
    "elementwise": elementwise,
    "features": features,
    "time": time,
}


@st.composite
def sequences(draw: Callable[..., Any], layer: str) -> tuple[GraphCase, list[int]]:
    """A graph with this layer among others, and where to cut its frames."""
    b = Sequence(draw)
    others = st.lists(st.sampled_from(sorted(LAYERS)), max_size=2)
    for name in [*draw(others), layer, *draw(others)]:
        LAYERS[name](b)
    b.finish()
    return b.case, sorted(draw(st.lists(st.integers(0, b.length), max_size=4)))
