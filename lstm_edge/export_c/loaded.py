"""A model as it lies in this process once it is loaded: its nodes, tensors and memory, read through the core's declarations."""

from __future__ import annotations

from .._core import Model, Stream
from .bundle import Core
from .memory import Types
from .packed import HEAD, SLACK, Block
from .weights import PANEL_TILES

HEADERS = (
    "lstm_edge.h",
    "kernels/kernels.h",
    "kernels/fft.h",
    "core.h",
    "core.c",
    "stream.h",
    "ops/ops.h",
    "ops/recurrence.h",
    "ops/conv.h",
    "ops/fixed_point.h",
)


def types_of(core: Core, *files: str) -> Types:
    """What the core's headers declare, and these files of src_c."""
    return Types(core.files[path] for path in (*HEADERS, *files))


class Loaded:
    """Holds what it reads: `types` reads addresses that are good as long as this object is."""

    def __init__(self, model: Model, frames: int, core: Core):
        self.model, self.frames, self.core, self.types = model, frames, core, types_of(core)
        self.stream = Stream(model, None, frames)
        types = self.types
        self.m = types.at("le_model", types.at("le_stream", self.stream._address()).model)
        self.nodes = types.array("le_node", self.m.nodes, self.m.n_nodes)
        self.tensors = types.array("le_tensor_def", self.m.tensors, self.m.n_tensors)
        self.inputs = types.array("le_io", self.m.inputs, self.m.n_inputs)
        self.lanes = types.at("le_kernels", self.m.kernels).panel // PANEL_TILES

    def suffix(self, node: int) -> str:
        """Of the names of the functions of a node's op."""
        return self.core.ops[self.model.ops[node][0]]

    def blocks(self) -> list[Block]:
        """What was allocated for the model."""
        found, at = [], self.m.blocks
        while at:
            block = self.types.at("le_block", at)
            data = at + HEAD
            found.append(Block(data + (-data & 63), block.size - HEAD - SLACK))
            at = block.next
        return found


def leave_rows_of_convolutions(loaded: Loaded) -> None:
    """Convolutions of few outputs and many positions pack their windows in the layout of vector kernels (src_c/ops/conv_planes.c), which exported products
    do not have: without `rows` they go the other way, to the same bits. The plans that follow give scratch for that way."""
    for n, node in enumerate(loaded.nodes):
        path, kind = loaded.core.packed.get(loaded.suffix(n), ("", ""))
        if kind == "conv" and path.endswith("/conv.c") and node.packed:
            types_of(loaded.core, path).at(kind, node.packed).rows = None
