"""What stands between the networks of a pipeline: each stage makes one value of others, in ops of the core.

A signal is (1, n) samples; a spectrum (1, 2, bins), real parts before imaginary ones. A value knows what keeps it behind the newest sample that
went in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..ir.graph import Graph, State, Tensor
from ..ir.ops import TO_END
from .description import Table

MOST_SAMPLES = 1 << 22  # of a block: minutes of sound
TINY = np.float32(1e-30)  # what a magnitude of 0 is taken for where it is divided by
WINDOWS = ("hann", "sqrt_hann", "hamming")


@dataclass(frozen=True)
class Value:
    """A tensor of the pipeline, and the stages that keep it behind, each by how many samples. is_sound: one hop after the other.
    is_spectrum: made here, as this room has them."""

    tensor: str
    behind: tuple[tuple[str, int], ...] = ()
    is_sound: bool = False
    is_spectrum: bool = False


def latest(values: list[Value]) -> tuple[tuple[str, int], ...]:
    """What keeps behind what is made of several values."""
    return max((v.behind for v in values), key=lambda parts: sum(samples for _, samples in parts))


@dataclass(frozen=True)
class Stage:
    """A stage: the graph that it adds to, its table, its name there, and what it reads."""

    graph: Graph
    table: Table
    name: str
    inputs: list[Value]

    def add(self, op: str, inputs: list[str], attrs: dict[str, object] | None = None, name: str = "") -> str:
        return self.graph.add1(op, inputs, attrs, f"{self.name}/{name}" if name else self.name)

    def reshaped(self, tensor: str, *shape: int) -> str:
        """`tensor` as `shape`, without an op where it has it."""
        return (
            tensor if self.graph.shape(tensor) == shape else self.add("Reshape", [tensor], {"shape": list(shape)}, "as")
        )

    def count(self, n: int) -> int:
        """How many values input n has."""
        return int(np.prod([int(size) for size in self.graph.shape(self.inputs[n].tensor)]))  # type: ignore[arg-type]

    def signal(self, n: int) -> tuple[str, int]:
        """Input n as a signal, and its samples."""
        count = self.count(n)
        return self.reshaped(self.inputs[n].tensor, 1, count), count

    def spectrum(self, n: int) -> tuple[str, int]:
        """Input n as a spectrum, and its bins. A network may give pairs (..., bins, 2), or rows (..., 2, bins)."""
        value, shape, bins = self.inputs[n], self.graph.shape(self.inputs[n].tensor), self.count(n) // 2
        if value.is_spectrum:
            return value.tensor, bins
        if shape and shape[-1] == 2:
            pairs = self.reshaped(value.tensor, 1, bins, 2)
            return self.add("Transpose", [pairs], {"perm": [0, 2, 1]}, "rows"), bins
        if 2 not in shape[:-1] or shape[-1] != bins:
            self.table.fail(
                "a spectrum: real and imaginary parts, an axis of 2 behind or before the bins", f"shape {shape}", "in"
            )
        return self.reshaped(value.tensor, 1, 2, bins), bins

    def gains(self, n: int, bins: int) -> str:
        """Input n as one number for each of `bins`."""
        if self.count(n) != bins:
            self.table.fail(f"one value for each of the {bins} bins", f"{self.count(n)} values", "in")
        return self.reshaped(self.inputs[n].tensor, 1, 1, bins)

    @property
    def behind(self) -> tuple[tuple[str, int], ...]:
        return latest(self.inputs)

    def state(self, width: int) -> State:
        """A state of `width` samples, zeros at first, whose `write` is yet to be set."""
        read = self.graph.fresh(f"{self.name}/kept")
        self.graph.tensors[read] = Tensor(read, "float32", (1, width))
        self.graph.states.append(State(read, read, "", (1, width)))
        return self.graph.states[-1]

    def part(self, tensor: str, start: int, end: int, name: str, axis: int = -1) -> str:
        return self.add("Slice", [tensor], {"axes": [axis], "starts": [start], "ends": [end]}, name)


def frames(stage: Stage) -> Value:
    """Blocks of `size` samples, a new one every `hop`."""
    x, hop = stage.signal(0)
    size = stage.table.whole("size")
    if stage.table.whole("hop") != hop:
        stage.table.fail(f"{hop}, the samples that a call brings", stage.table.take("hop"), "hop")
    if size > MOST_SAMPLES:
        stage.table.fail(f"at most {MOST_SAMPLES} samples", size, "size")
    if size < hop:
        stage.table.fail(f"at least the hop of {hop} samples", size, "size")
    block = x
    if size > hop:
        kept = stage.state(size - hop)
        block = stage.add("Concat", [kept.read, x], {"axis": -1}, "join")
        kept.write = stage.part(block, hop, TO_END, "keep")
    if stage.table.has("window"):
        block = stage.add(
            "Binary", [block, stage.graph.constant(_window(stage, size)[None], "window")], {"kind": "mul"}
        )
    return Value(block, stage.behind)


def _window(stage: Stage, size: int) -> np.ndarray:
    """The window's numbers in float64, periodic, as torch.hann_window(size) and scipy's get_window have them."""
    kind = stage.table.word("window", WINDOWS)
    turn = np.cos(2 * np.pi * np.arange(size) / size)
    if kind == "hamming":
        return np.asarray(0.54 - 0.46 * turn)
    hann = 0.5 - 0.5 * turn
    return np.asarray(np.sqrt(hann) if kind == "sqrt_hann" else hann)


def rfft(stage: Stage) -> Value:
    """The spectrum of a real signal."""
    x, size = stage.signal(0)
    if size % 2:
        stage.table.fail("an even number of samples", size, "in")
    return Value(stage.add("Rfft", [x], {"n": size}), stage.behind, is_spectrum=True)


def irfft(stage: Stage) -> Value:
    """The real signal of a spectrum: 2 (bins - 1) samples."""
    s, bins = stage.spectrum(0)
    return Value(stage.add("Irfft", [s], {"n": 2 * (bins - 1)}), stage.behind)


def magnitude(stage: Stage) -> Value:
    """The length of each bin."""
    s, _ = stage.spectrum(0)
    return Value(stage.add("Reduce", [s], {"kind": "l2", "axes": [1], "keepdims": 0}), stage.behind)


def mask(stage: Stage) -> Value:
    """A spectrum, each bin times a number: the phase stays."""
    s, bins = stage.spectrum(0)
    return Value(stage.add("Binary", [s, stage.gains(1, bins)], {"kind": "mul"}), stage.behind, is_spectrum=True)


def with_phase(stage: Stage) -> Value:
    """Magnitudes with the phases of a spectrum."""
    s, bins = stage.spectrum(1)
    length = stage.add("Reduce", [s], {"kind": "l2", "axes": [1], "keepdims": 1}, "length")
    length = stage.add("Binary", [length, stage.graph.constant(TINY, "tiny")], {"kind": "max"}, "not0")
    gain = stage.add("Binary", [stage.gains(0, bins), length], {"kind": "div"}, "gain")
    return Value(stage.add("Binary", [s, gain], {"kind": "mul"}), stage.behind, is_spectrum=True)


def complex_mask(stage: Stage) -> Value:
    """The product of two spectra, bin by bin."""
    (a, bins), (b, others) = stage.spectrum(0), stage.spectrum(1)
    if bins != others:
        stage.table.fail(f"two spectra of {bins} bins", f"one of {others}", "in")
    a_re, a_im, b_re, b_im = (stage.part(x, n, n + 1, "part", 1) for x in (a, b) for n in (0, 1))

    def of(kind: str, x: str, y: str) -> str:
        return stage.add("Binary", [x, y], {"kind": kind}, kind)

    rows = [
        of("sub", of("mul", a_re, b_re), of("mul", a_im, b_im)),
        of("add", of("mul", a_re, b_im), of("mul", a_im, b_re)),
    ]
    return Value(stage.add("Concat", rows, {"axis": 1}), stage.behind, is_spectrum=True)


def overlap_add(stage: Stage) -> Value:
    """The sum of blocks that each begin `hop` samples after the one before: the `hop` samples that are complete.

    With a window each block is weighted by it and divided by what squares of windows add up to, as torch.istft does.
    """
    x, size = stage.signal(0)
    hop = stage.table.whole("hop")
    if hop > size:
        stage.table.fail(f"at most the block's {size} samples", hop, "hop")
    if stage.table.has("window"):
        x = stage.add(
            "Binary",
            [x, stage.graph.constant(_synthesis(stage, size, hop)[None], "window")],
            {"kind": "mul"},
            "windowed",
        )
    if hop == size:
        return Value(x, stage.behind, True)
    kept = stage.state(size - hop)
    head = stage.add("Binary", [kept.read, stage.part(x, 0, size - hop, "head")], {"kind": "add"}, "sum")
    whole = stage.add("Concat", [head, stage.part(x, size - hop, TO_END, "tail")], {"axis": -1}, "join")
    kept.write = stage.part(whole, hop, TO_END, "keep")
    return Value(stage.part(whole, 0, hop, "done"), (*stage.behind, ("overlap-add", size - hop)), True)


def _synthesis(stage: Stage, size: int, hop: int) -> np.ndarray:
    window = _window(stage, size)
    squares = np.zeros(hop)
    for start in range(0, size, hop):
        piece = window[start : start + hop] ** 2
        squares[: len(piece)] += piece
    if squares.min() < 1e-8:
        stage.table.fail("a window and a hop that leave no sample without weight", f"hop = {hop} of {size}", "hop")
    return np.asarray(window / squares[np.arange(size) % hop])


@dataclass(frozen=True)
class Kind:
    """What `do` may say: what builds it, and how many values it reads."""

    build: Callable[[Stage], Value]
    inputs: int = 1


KINDS = {
    "frames": Kind(frames),
    "rfft": Kind(rfft),
    "irfft": Kind(irfft),
    "magnitude": Kind(magnitude),
    "mask": Kind(mask, 2),
    "with_phase": Kind(with_phase, 2),
    "complex_mask": Kind(complex_mask, 2),
    "overlap_add": Kind(overlap_add),
}
