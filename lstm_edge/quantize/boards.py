"""What the matrix products of a model's weights take on a Raspberry Pi, by a model: no board is asked.

A product of `rows` rows of k inputs with n rows of weights takes n k rows weights at the rate of its inner loop, or the time in which its
weights are read from where they lie, whichever is longer, and instructions around it. tools/cycle_model has the loops' rates and the
boards; docs/raspberry-pi.md says how the instructions were counted. All else that ops do takes as long in every form, and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from ..ir.dims import value
from ..ir.graph import Graph, Node
from ..ir.int8 import COARSE as COARSE_BITS
from ..ir.ops import axes_of_frames, op_spec
from ..reference.samples import enough_frames
from .report import bytes_of
from .timing import CHUNK, CallTimes, Measured, modes

MATRIX = 4  # rows that the loops for matrices take at once


@dataclass(frozen=True)
class Cpu:
    """Cycles a weight and row of the inner loops: `row` of one row, `matrix` of more; int8 `fine` for inputs of 15 bits, `coarse` for a
    hidden state's 8. ipc: instructions a cycle outside of them."""

    row: Mapping[str, float]
    matrix: Mapping[str, float]
    fine: float
    coarse: float
    ipc: float


@dataclass(frozen=True)
class Board:
    """Hertz, bytes of the last cache, bytes a second out of it and out of memory."""

    name: str
    cpu: Cpu
    clock: float
    caches: int
    cached: float
    memory: float


@dataclass(frozen=True)
class Around:
    """Instructions of a product outside of its inner loop: each, for every row and output, for every row and input."""

    each: float
    output: float
    input: float


A53 = Cpu(
    {"float32": 98 / 192, "float16": 50 / 48}, {"float32": 88 / 256, "float16": 132 / 256}, 272 / 512, 132 / 512, 0.8
)
A72 = Cpu(
    {"float32": 49 / 192, "float16": 30.5 / 48}, {"float32": 64 / 256, "float16": 96 / 256}, 128 / 512, 64 / 512, 1.5
)
A76 = Cpu(
    {"float32": 24.5 / 192, "float16": 25 / 48}, {"float32": 32 / 256, "float16": 48 / 256}, 32 / 512, 16.5 / 512, 2.5
)
AROUND = {"float32": Around(393, 3.1, 0.5), "float16": Around(400, 4.0, 0.5), "int8": Around(615, 17.2, 1.1)}
COARSE = Around(615, 10.5, 1.1)  # int8, of a hidden state
BOARDS = {
    "zero2w": Board("Raspberry Pi Zero 2 W", A53, 1.0e9, 512 << 10, 4e9, 1.35e9),
    "pi3": Board("Raspberry Pi 3B+", A53, 1.4e9, 512 << 10, 5.6e9, 1.35e9),
    "pi4": Board("Raspberry Pi 4", A72, 1.5e9, 1 << 20, 12e9, 4.8e9),
    "pi5": Board("Raspberry Pi 5", A76, 2.4e9, 2560 << 10, 38.4e9, 6.4e9),
}


@dataclass(frozen=True)
class Product:
    """`times` products in a row of `rows` rows of k inputs with the weight `tensor` of n rows. hidden: what it multiplies is a hidden
    state, or is taken in 8 bits as one is."""

    tensor: str
    times: int
    rows: int
    n: int
    k: int
    hidden: bool = False


def modelled(board: Board, forms: Mapping[str, Graph]) -> Measured:
    """The forms' times on the board."""
    times = {}
    for name, graph in forms.items():
        source = board.cached if bytes_of(graph) <= board.caches else board.memory
        times[name] = {mode: _call(board, graph, mode, source) for mode in modes(graph)}
    return Measured(f"{board.name}, modelled: products of weights alone", times)


def measure_of(board: Board) -> Callable[[Mapping[str, Graph]], Measured]:
    return partial(modelled, board)


def _call(board: Board, graph: Graph, mode: str, source: float) -> CallTimes:
    hop = int(graph.metadata.get("streaming", {}).get("multiple", 1))
    frames = hop if mode == "step" else enough_frames(graph, CHUNK)
    ops = [
        1e6 * sum(_seconds(board, graph, product, source) for product in products(graph, node, frames))
        for node in graph.nodes
    ]
    return CallTimes(sum(ops), ops)


def _seconds(board: Board, graph: Graph, product: Product, source: float) -> float:
    cpu, form = board.cpu, graph.tensors[product.tensor].dtype
    around = COARSE if form == "int8" and product.hidden else AROUND[form]
    if form == "int8":
        rate = cpu.coarse if product.hidden else cpu.fine
    else:
        rate = (cpu.row if product.rows < MATRIX else cpu.matrix)[form]
    weights = product.n * product.k
    inner = weights * product.rows * rate / board.clock
    read = weights * {"int8": 1, "float16": 2, "float32": 4}[form] / source
    rest = around.each + product.rows * (around.output * product.n + around.input * product.k)
    return product.times * (max(inner, read) + rest / cpu.ipc / board.clock)


# ---- what an op multiplies -------------------------------------------------------------------------------------------


def products(graph: Graph, node: Node, frames: int) -> Iterator[Product]:
    """The products of a node's constant weights in a call of `frames` frames of one sequence. Depthwise convolutions, whose weights are
    float32 in every form once they are loaded, tables and transposed convolutions have none."""
    roles, coarse = op_spec(node).weights, node.attrs.get("input_bits") == COARSE_BITS
    for at, tensor in enumerate(node.inputs):
        role = op_spec(node).input_name(at)
        if not tensor or role not in roles or not graph.tensors[tensor].is_constant:
            continue
        if node.op in ("LSTM", "GRU", "RNN"):
            yield from _recurrent(graph, node, role, tensor, frames, coarse)
        elif node.op == "Dense":
            n, k = graph.tensors[tensor].values.shape
            yield Product(tensor, 1, _count(graph, node.outputs[0], frames) // max(n, 1), n, k, coarse)
        elif node.op == "Conv":
            n, depth, *kernel = graph.tensors[tensor].values.shape
            groups = int(node.attrs.get("groups", 1))
            if depth > 1 or groups == 1:
                positions = _count(graph, node.outputs[0], frames) // max(n, 1)
                yield Product(tensor, groups, positions, n // groups, depth * math.prod(kernel), coarse)


def _recurrent(graph: Graph, node: Node, role: str, tensor: str, frames: int, coarse: bool) -> Iterator[Product]:
    """The inputs of all frames at once, the hidden state a frame at a time, in each direction."""
    directions, n, k = graph.tensors[tensor].values.shape
    batch, steps = (value(graph.shape(node.inputs[0])[axis], 1, frames) for axis in axes_of_frames(node.attrs))
    if role == "w_ih":
        yield Product(tensor, directions, batch * steps, n, k, coarse)
    else:
        yield Product(tensor, directions * steps, batch, n, k, hidden=True)


def _count(graph: Graph, tensor: str, frames: int) -> int:
    return math.prod(value(size, 1, frames) for size in graph.shape(tensor))
