"""How sparse weights are cut: the shape of the blocks that are zero as a whole, by which training and `prune` cut, files store and kernels skip."""

from __future__ import annotations

import math

import numpy as np

from .graph import Graph, Node
from .ops import op_spec

# Rows of the outputs by columns of the inputs: one input's weights of as many outputs as a vector or two hold. The core's are as many (LE_SPARSE_ROWS).
BLOCK = (16, 1)
# Files store the blocks alone where at most this share of them holds something, and the core multiplies so (LE_SPARSE_PERCENT): with more, the
# dense product is about as fast.
MOST = 0.5
# The weights that may be stored so: what the core multiplies with and reads nowhere else.
WEIGHTS = {"LSTM": ("w_ih", "w_hh", "w_proj"), "GRU": ("w_ih", "w_hh"), "RNN": ("w_ih", "w_hh"), "Dense": ("w",)}


def blocks_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many blocks a weight (..., N, K) has down its rows, of all leading axes together, and across its columns."""
    return -(-math.prod(shape[:-1]) // BLOCK[0]), shape[-1]


def as_blocks(weight: np.ndarray) -> np.ndarray:
    """A weight (..., N, K) as (down, 16, K), the last block's missing rows being zeros."""
    matrix = weight.reshape(-1, weight.shape[-1])
    padded = np.pad(matrix, ((0, -len(matrix) % BLOCK[0]), (0, 0)))
    return padded.reshape(-1, BLOCK[0], weight.shape[-1])


def held(weight: np.ndarray) -> np.ndarray:
    """bool (down, across): the blocks of a weight (..., N, K) with something but +0 in them."""
    bits = np.ascontiguousarray(weight).view(f"u{weight.dtype.itemsize}")
    return np.asarray(as_blocks(bits).any(1))


def density(weight: np.ndarray) -> float:
    """The share of its blocks that hold something; 1 for a weight without any element."""
    return float(held(weight).mean()) if weight.size and weight.ndim > 1 else 1.0


def pays(weight: np.ndarray) -> bool:
    """Whether a weight is stored by its blocks: many of them are zero, and it has a whole one."""
    return weight.ndim > 1 and math.prod(weight.shape[:-1]) >= BLOCK[0] and weight.size > 0 and density(weight) <= MOST


def cut(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a file stores: a bit for each block, row by row (u8, the first in the lowest bit), and the blocks that hold something (n, 16)."""
    found = held(weight)
    return np.packbits(found, bitorder="little"), as_blocks(weight).transpose(0, 2, 1)[found]


def join(bits: np.ndarray, blocks: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The weight of this shape that `cut` gave; the bits are as many as it has blocks, those set as many as there are blocks."""
    down, across = blocks_of(shape)
    found = np.unpackbits(bits, count=down * across, bitorder="little").reshape(down, across).astype(bool)
    whole = np.zeros((down, across, BLOCK[0]), blocks.dtype)
    whole[found] = blocks
    rows = whole.transpose(0, 2, 1).reshape(-1, across)
    return np.ascontiguousarray(rows[: math.prod(shape[:-1])].reshape(shape))


def sparse_weights(graph: Graph) -> set[str]:
    """The constants of `graph` that a file stores by their blocks: weights of which that pays, and that nothing else reads."""
    roles = [(n.op, _role(n, i), name) for n in graph.nodes for i, name in enumerate(n.inputs) if name]
    named = {p.tensor for p in graph.outputs} | {s.write for s in graph.states}
    others = named | {name for op, role, name in roles if role not in WEIGHTS.get(op, ())}
    weights = {name for _, _, name in roles} - others
    constants = {name: graph.tensors[name].data for name in weights if name in graph.tensors}
    return {
        name
        for name, data in constants.items()
        if data is not None and str(data.dtype) in ("float32", "float16", "int8") and pays(data)
    }


def _role(node: Node, i: int) -> str:
    return op_spec(node).input_name(i) if node.op in WEIGHTS else ""
