"""Layers of Keras that join several inputs, and what becomes of their masks, which the versions treat differently."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.notes import ASSUMED
from ..dialect import Value, arithmetic, movement, norms, products
from .config import LAST_MINOR, Layer
from .emit import Call, Emit, Masked, Rule

_MERGES = {"Add": "add", "Subtract": "sub", "Multiply": "mul", "Average": "add", "Maximum": "max", "Minimum": "min"}


def merge(e: Emit, layer: Layer, call: Call) -> Masked:
    xs = call.inputs
    if layer.cls == "Subtract" and len(xs) != 2:
        raise e.unsupported(f"{len(xs)} inputs", "expected 2")
    rank = max(e.rank(x.value) for x in xs)
    parts, masks = [_aligned(e, x.value, rank) for x in xs], [x.mask for x in xs]
    mask = _merged_mask(e, layer, masks)
    if any(masks) and _modern(layer) and layer.cls in ("Multiply", "Maximum", "Minimum"):
        wide = [_wide(e, m, rank) if m else None for m in masks]
        return Masked((_masked_product if layer.cls == "Multiply" else _masked_extreme)(e, layer, parts, wide), mask)
    y = parts[0]
    for part in parts[1:]:
        y = e.binary(_MERGES[layer.cls], y, part)
    return Masked(e.scaled(y, 1 / len(xs)) if layer.cls == "Average" else y, mask)


def _masked_product(e: Emit, layer: Layer, parts: list[Value], masks: list[Value | None]) -> Value:
    """Since Keras 3.4: what is masked counts as 1, and as 0 where all inputs are masked."""
    y = _where(e, masks[0], parts[0], e.constant(1.0))
    for part, mask in zip(parts[1:], masks[1:]):
        y = e.binary("mul", y, _where(e, mask, part, e.constant(1.0)))
    valid = [m for m in masks if m]
    return y if len(valid) < len(masks) else _where(e, _joined(e, "or", valid), y, e.constant(0.0))


def _masked_extreme(e: Emit, layer: Layer, parts: list[Value], masks: list[Value | None]) -> Value:
    """Since Keras 3.4: a masked operand is replaced by the other one, two at a time."""
    y, y_mask = parts[0], masks[0]
    for x, mask in zip(parts[1:], masks[1:]):
        x = _where(e, mask, x, y)
        y = e.binary(_MERGES[layer.cls], _where(e, y_mask, y, x), x)
        y_mask = e.binary("or", y_mask, mask) if mask and y_mask else None
    return y


def _where(e: Emit, mask: Value | None, x: Value, otherwise: Value) -> Value:
    return x if mask is None else arithmetic.where(e, mask, x, otherwise)


def _joined(e: Emit, kind: str, masks: Sequence[Value]) -> Value:
    """Masks joined by `and` or `or`, each once."""
    first, *others = {m.tensor: m for m in masks}.values()
    for other in others:
        first = e.binary(kind, first, other)
    return first


def _modern(layer: Layer) -> bool:
    """Keras 3.4 and later, whose merges treat masks anew."""
    return (layer.version.major, layer.version.minor) >= (3, 4)


def _wide(e: Emit, mask: Value, rank: int) -> Value:
    return e.reshape(mask, [*e.shape(mask), *[1] * (rank - e.rank(mask))])


def _aligned(e: Emit, x: Value, rank: int) -> Value:
    """Keras's merges line up axes after the batch from the left: size-1 axes are put in behind the batch."""
    x, shape = e.real(x), e.shape(x)
    return x if len(shape) in (0, rank) else e.reshape(x, [shape[0], *[1] * (rank - len(shape)), *shape[1:]])


def _merged_mask(e: Emit, layer: Layer, masks: list[Value | None]) -> Value | None:
    """Keras 2 joins the masks there are by AND; 3.0 to 3.3 lost them; since 3.4 they are joined by OR, if every input
    has one."""
    there = [m for m in masks if m]
    if not there or (layer.version.major >= 3 and (None in masks or not _modern(layer))):
        if there and not _modern(layer):
            e.note(f"{layer.place}: Keras {layer.version.text} loses the mask here, and so does the conversion")
        return None
    if layer.version.major == 3 and layer.version.minor == LAST_MINOR:
        e.note(f"{ASSUMED}Keras 3.4 or later made the model, of which no version is known: {layer.place} joins masks")
    return _joined(e, "or" if _modern(layer) else "and", there)


def concatenate(e: Emit, layer: Layer, call: Call) -> Masked:
    axis = layer.config.take("axis", -1)
    xs, masks = alike(e, [x.value for x in call.inputs]), [x.mask for x in call.inputs]
    y = movement.concat(e, xs, axis)
    axis %= e.rank(y)
    if not any(masks) or axis == e.rank(y) - 1 or (layer.version.major >= 3 and not _modern(layer)):
        return Masked(y, _merged_mask(e, layer, masks))
    if axis != 1:
        raise e.unsupported(f"masks joined along axis {axis}", "expected axis 1 or the last")
    spread = [m or e.fill(1.0, e.shape(x)[:2], "bool") for m, x in zip(masks, xs)]
    return Masked(y, movement.concat(e, spread, 1))


def alike(e: Emit, xs: list[Value]) -> list[Value]:
    """Tensors in one dtype: their own, or float32."""
    return xs if len({e.run_dtype(x) for x in xs}) == 1 else [e.real(x) for x in xs]


def dot(e: Emit, layer: Layer, call: Call) -> Value:
    """Contraction of one axis of each input, batch by batch; rank 2 or 3."""
    if len(call.inputs) != 2:
        raise e.unsupported(f"{len(call.inputs)} inputs", "expected 2")
    a, b = (x.value for x in call.inputs)
    axes = layer.config.take("axes", -1)
    axes = [axes, axes] if isinstance(axes, int) else [x[0] if isinstance(x, (list, tuple)) else x for x in axes]
    first, second = axes[0] % e.rank(a), axes[1] % e.rank(b)
    if layer.config.flag("normalize"):
        a, b = (norms.bounded_l2_norm(e, x, [axis], 1e-12) for x, axis in ((a, first), (b, second)))
    if max(e.rank(a), e.rank(b)) > 3 or min(first, second) < 1:
        raise e.unsupported(
            f"inputs of shape {e.shape(a)} and {e.shape(b)} over axes {[first, second]}",
            "expected rank 2 or 3 and no batch axis",
        )
    flat_a, flat_b = e.rank(a) == 2, e.rank(b) == 2
    if flat_a:
        a, first = movement.unsqueeze(e, a, [1]), 2
    if flat_b:
        b, second = movement.unsqueeze(e, b, [2]), 1
    y = products.matmul(e, a, b, transpose_a=first == 1, transpose_b=second == 2)
    if flat_a and flat_b:
        return e.reshape(y, [e.shape(y)[0], 1])
    return movement.squeeze(e, y, [1 if flat_a else 2]) if flat_a or flat_b else y


RULES: dict[str, Rule] = {"Concatenate": concatenate, "Dot": dot, **{cls: merge for cls in _MERGES}}
