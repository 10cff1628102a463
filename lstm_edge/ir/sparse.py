"""How sparse weights are cut: the shape of the blocks that are zero as a whole, by which training prunes and kernels skip."""

from __future__ import annotations

BLOCK = (
    16,
    1,
)  # rows of the outputs by columns of the inputs: one input's weights of as many outputs as a vector or two hold
