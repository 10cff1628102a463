"""Every layer of Keras with its rule, and the rules of Dense, Embedding, Masking and the activations."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ...ir.sizes import require_equal
from ..dialect import Value, arithmetic, movement, products, reductions, selection
from ..dialect.activations import activate
from . import attention, conv, conv_recurrent, merges, norms, recurrent, shaping, spectrograms
from .activations import Finish, apply_activation, layer_activation, relu_layer
from .config import Layer
from .emit import Call, Emit, Masked, Rule


class Handler(NamedTuple):
    """`passes_mask`: the first input's mask goes on to the outputs."""

    rule: Rule
    passes_mask: bool


# ---- dense, embedding, masks -----------------------------------------------------------------------------------------


def dense(e: Emit, layer: Layer, call: Call) -> Value:
    units, x = layer.config.size("units"), e.real(call.x)
    kernel = layer.weight("kernel", (None, units))
    message = f"{layer.place}: expected {kernel.shape[0]} features as in its kernel, found input {e.shape(x)}"
    require_equal(e.shape(x)[-1], kernel.shape[0], message)
    weight, end = e.weight(kernel.T, "w"), Finish(e, layer, units)
    return end(e, products.dense(e, x, weight, end.bias, end.activation), "dense")


def einsum_dense(e: Emit, layer: Layer, call: Call) -> Value:
    """A product over the last axes of the input (abc,cd->abd, ab,bcd->acd, ...x,xy->...y) is a Dense; other equations
    are products of matrices with the bias behind."""
    equation, x = str(layer.config.take("equation")).replace(" ", ""), e.real(call.x)
    left, _, out = equation.partition("->")
    data, _, weight = left.partition(",")
    summed = "".join(c for c in weight if c in data)
    new = weight[len(summed) :]
    kernel, bias = layer.weights["kernel"], layer.weights.get("bias")
    bias_axes = layer.config.take("bias_axes") or new
    layer.config.take("output_shape")
    is_dense = summed and new and data.endswith(summed) and weight.startswith(summed) and bias_axes == new
    if is_dense and out == data[: -len(summed)] + new:
        y = _dense_over_last(e, layer, x, kernel, bias, len(summed))
    else:
        y = e.named(products.einsum(e, equation, [x, e.weight(kernel, "w")]), "product")
        y = y if bias is None else e.binary("add", y, e.weight(bias, "bias"))
    return apply_activation(e, layer.config.take("activation"), y, layer)


def _dense_over_last(e: Emit, layer: Layer, x: Value, kernel: np.ndarray, bias: np.ndarray | None, count: int) -> Value:
    """The last `count` axes of x against as many of the kernel, as one Dense."""
    sizes, inner, outer = e.shape(x), kernel.shape[:count], kernel.shape[count:]
    lead = sizes[: len(sizes) - count]
    for size, wanted in zip(sizes[len(lead) :], inner):
        require_equal(size, wanted, f"{layer.place}: expected features {inner}, found input {sizes}")
    width = math.prod(inner)
    flat = e.reshape(x, [*lead, width]) if count > 1 else x
    offset = None if bias is None else e.weight(bias.ravel(), "bias")
    y = e.named(products.dense(e, flat, e.weight(kernel.reshape(width, -1).T, "w"), offset), "dense")
    return e.reshape(y, [*lead, *outer]) if len(outer) > 1 else y


def embedding(e: Emit, layer: Layer, call: Call) -> Masked:
    rows, width = layer.config.size("input_dim", layer.weights["embeddings"].shape[0]), layer.config.size("output_dim")
    table = e.weight(layer.weight("embeddings", (rows, width)), "table")
    ids = e.cast(call.x, "int32")
    mask = e.binary("not_equal", ids, e.constant(0, "int32")) if layer.config.flag("mask_zero") else None
    return Masked(selection.embedding(e, table, ids), mask)


def masking(e: Emit, layer: Layer, call: Call) -> Masked:
    """A frame counts where any feature differs from mask_value; the others are set to 0."""
    x = e.real(call.x)
    differs = e.binary("not_equal", x, e.constant(layer.config.number("mask_value", 0.0)))
    kept = reductions.reduce(e, "max", differs, [-1])
    return Masked(e.binary("mul", x, e.real(kept)), movement.squeeze(e, kept, [-1]))


# ---- activations -----------------------------------------------------------------------------------------------------


def identity(e: Emit, layer: Layer, call: Call) -> Value:
    layer.config.take("data_format")  # of SpatialDropout2D
    return call.x


def activation(e: Emit, layer: Layer, call: Call) -> Value:
    return apply_activation(e, layer.config.take("activation"), e.real(call.x), layer)


def advanced_activation(e: Emit, layer: Layer, call: Call) -> Value:
    act = layer_activation(layer.cls, layer.config)
    return relu_layer(e, layer, call.x) if act is None else activate(e, call.x, act)


def prelu(e: Emit, layer: Layer, call: Call) -> Value:
    layer.config.take("shared_axes")
    return e.binary("prelu", call.x, e.weight(layer.weights["alpha"], "slope"))


def softmax(e: Emit, layer: Layer, call: Call) -> Value:
    axis, mask = layer.config.take("axis", -1), call.mask()
    axes = [axis] if isinstance(axis, int) else list(axis)
    if mask is None:
        return reductions.softmax_over(e, call.x, axes)
    if e.rank(mask) != e.rank(call.x):
        raise e.unsupported(
            f"a mask of shape {e.shape(mask)} on input {e.shape(call.x)}", "give Softmax a mask of its input's shape"
        )
    y = reductions.softmax_over(e, arithmetic.where(e, mask, call.x, e.constant(-3e38)), axes)
    return arithmetic.where(e, mask, y, e.constant(0.0))


_UNCHANGED = (
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
)
_ADVANCED = ("LeakyReLU", "ELU", "ThresholdedReLU", "ReLU")
# Layers that act on the last axis alone: TimeDistributed of them is the layer itself.
LAST_AXIS = (*_UNCHANGED, *_ADVANCED, "Dense", "Activation", "Rescaling", "Embedding")
_KEEPING_MASK: dict[str, Rule] = {
    "Dense": dense,
    "Activation": activation,
    "PReLU": prelu,
    "Softmax": softmax,
    **{cls: advanced_activation for cls in _ADVANCED},
    **{cls: identity for cls in _UNCHANGED},
    **norms.RULES,
}
_OTHERS: dict[str, Rule] = {
    "EinsumDense": einsum_dense,
    "Embedding": embedding,
    "Masking": masking,
    **shaping.RULES,
    **merges.RULES,
    **recurrent.RULES,
    **conv.RULES,
    **conv_recurrent.RULES,
    **attention.RULES,
    **spectrograms.RULES,
}
HANDLERS = {
    **{cls: Handler(rule, True) for cls, rule in _KEEPING_MASK.items()},
    **{cls: Handler(rule, False) for cls, rule in _OTHERS.items()},
}
