"""Gives every layer of a config its arrays, from ordered lists (HDF5, live models) or from paths (.keras zips)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...errors import FormatError, UnsupportedModelError
from ..dialect.recurrences import ALIASES, KERAS_GATES
from .config import CELL_OPS, MODELS, Layer, snake_case
from .files import Source


class Var(NamedTuple):
    """A variable of a layer: its name, whether training changes it, and the sub-object that holds it in a .keras
    path."""

    name: str
    trainable: bool = True
    holder: str = ""


_Slot = tuple[Layer, Var, bool]  # a variable, whose it is, and whether training changes it

_KERAS1_GATES = {"LSTM": "icfo", "GRU": "zrh"}


# What layers own, in Keras's order: `name?flag` where the config says so, which it does unless the flag is false; `name!`
# is not trained.
_AFFINE = "gamma?scale beta?center"
_OWNED = {
    **dict.fromkeys(("Dense", "Conv1D", "Conv2D", "Conv1DTranspose", "Conv2DTranspose"), "kernel bias?use_bias"),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), "depthwise_kernel bias?use_bias"),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), "depthwise_kernel pointwise_kernel bias?use_bias"),
    "Embedding": "embeddings",
    "BatchNormalization": f"{_AFFINE} moving_mean! moving_variance!",
    "LayerNormalization": _AFFINE,
    "GroupNormalization": _AFFINE,
    "RMSNormalization": "scale",
    "PReLU": "alpha",
}


def variables(layer: Layer) -> list[Var]:
    """What `layer` itself owns (children apart), in Keras's order."""
    config, cls = layer.config, layer.cls
    if layer.rule is not None:
        return []
    if cls in CELL_OPS or cls.startswith("ConvLSTM"):
        return _recurrent_variables(layer)
    if cls == "EinsumDense":
        return [Var("kernel")] + [Var("bias")] * (config.take("bias_axes") is not None)
    if cls == "LayerNormalization" and config.flag("rms_scaling"):
        return _named(layer, "gamma?scale")
    if cls in ("Attention", "AdditiveAttention"):
        scaled = config.flag("use_scale", cls == "AdditiveAttention")
        return [Var("scale")] * scaled + [Var("concat_score_weight")] * (config.take("score_mode", "dot") == "concat")
    if cls == "MultiHeadAttention":
        kinds = ("kernel", "bias") if config.flag("use_bias", True) else ("kernel",)
        parts = ("query", "key", "value", "output")
        return [Var(f"{part}_{kind}", True, f"{part}_dense") for part in parts for kind in kinds]
    if cls == "STFTSpectrogram":
        mode = config.take("mode", "log")
        return [Var("real_kernel")] * (mode != "imag") + [Var("imag_kernel")] * (mode != "real")
    if cls == "Normalization" and config.take("mean") is None:
        return _named(layer, "mean! variance! count!")
    return _named(layer, _OWNED.get(cls, ""))


def _named(layer: Layer, names: str) -> list[Var]:
    """The variables that `names` says a layer has, as _OWNED spells them."""
    found = []
    for name, flag in (word.partition("?")[::2] for word in names.split()):
        if not flag or layer.config.flag(flag, True):
            found.append(Var(name.removesuffix("!"), not name.endswith("!")))
    return found


def _recurrent_variables(layer: Layer) -> list[Var]:
    cls = layer.cls
    holder = "cell" if cls in ("LSTM", "GRU", "SimpleRNN") or cls.startswith("ConvLSTM") else ""
    gates = _KERAS1_GATES.get(cls)
    if layer.version.major == 1 and gates and layer.config.values.get("consume_less", "cpu") != "gpu":
        return [Var(f"{kind}_{gate}") for gate in gates for kind in ("W", "U", "b")]
    bias = cls.startswith("CuDNN") or layer.config.flag("use_bias", True)
    peepholes = (
        [Var(f"{g}_gate_peephole_weights") for g in ("input", "forget", "output")] if cls == "PeepholeLSTMCell" else []
    )
    return (
        [Var("kernel", True, holder), Var("recurrent_kernel", True, holder)]
        + [Var("bias", True, holder)] * bias
        + peepholes
    )


def assign(model: Layer, source: Source) -> None:
    """Fills `weights` of every layer of the tree. FormatError when what the file holds is not what the config asks
    for."""
    if source.groups is not None:
        _assign_groups(model, source.groups)
    else:
        _assign_paths(model, source.paths or {}, source.names, "")
    for layer in walk(model):
        _join_keras1_gates(layer)
        if source.backend == "theano":
            _flip_theano_kernels(layer)


def walk(layer: Layer) -> Iterator[Layer]:
    """`layer` and all it holds, depth first."""
    yield layer
    for child in layer.children:
        yield from walk(child)


# ---- ordered lists ---------------------------------------------------------------------------------------------------


def _assign_groups(model: Layer, groups: dict[str, list[tuple[str, np.ndarray]]]) -> None:
    """One list per top-level layer: all that trains in tree order, then all that does not."""
    for layer in model.children:
        wanted = list(_slots(layer, True))
        order = [s for s in wanted if s[2]] + [s for s in wanted if not s[2]]
        found = _without_registered(layer, groups.get(layer.name, []))
        if not wanted:
            if found and not layer.is_op:
                raise UnsupportedModelError(
                    f"{layer.place}: expected no weights, found {', '.join(n for n, _ in found[:6])}; a custom "
                    f"class named {layer.cls}?"
                )
            continue
        if len(found) != len(order):
            found, order = _other_count(layer, found, order)
        for (owner, var, _), (name, array) in zip(order, found):
            _check_name(owner, var, name)
            owner.weights[var.name] = array


def _without_registered(layer: Layer, found: list[tuple[str, np.ndarray]]) -> list[tuple[str, np.ndarray]]:
    """What is left of a list when layers that the user described have taken the arrays below their names."""
    for inner in walk(layer):
        if inner.rule is None:
            continue
        parts = {n: n.removesuffix(":0").split("/") for n, _ in found}
        own = [(n, a) for n, a in found if inner is layer or inner.name in parts[n]]
        for name, array in own:
            below = parts[name][::-1]
            below = below[: below.index(inner.name)] if inner.name in below else below[:1]
            inner.weights["/".join(below[::-1])] = array
        taken = {n for n, _ in own}
        found = [(n, a) for n, a in found if n not in taken]
    return found


def _slots(layer: Layer, trainable: bool) -> Iterator[_Slot]:
    trainable = trainable and layer.trainable
    for var in variables(layer):
        yield layer, var, trainable and var.trainable
    for child in layer.children:
        yield from _slots(child, trainable)


def _other_count(
    layer: Layer, found: list[tuple[str, np.ndarray]], order: list[_Slot]
) -> tuple[list[tuple[str, np.ndarray]], list[_Slot]]:
    """Old files that hold another number of arrays than the config says: Keras 1 recurrences stored joined."""
    if layer.version.major == 1 and layer.cls in _KERAS1_GATES and len(found) == 3:
        return found, [(layer, Var(n), True) for n in ("kernel", "recurrent_kernel", "bias")]
    raise FormatError(
        f"{layer.place}: expected {len(order)} weights ({', '.join(v.name for _, v, _ in order[:8])}), "
        f"found {len(found)} ({', '.join(n for n, _ in found[:8])})"
    )


_KNOWN = frozenset(
    (
        "kernel",
        "recurrent_kernel",
        "bias",
        "gamma",
        "beta",
        "moving_mean",
        "moving_variance",
        "embeddings",
        "depthwise_kernel",
        "pointwise_kernel",
        "real_kernel",
        "imag_kernel",
    )
)


def _check_name(owner: Layer, var: Var, name: str) -> None:
    """A wrong order would give a wrong answer in silence: names that Keras itself gave must agree."""
    last = name.split("/")[-1].split(":")[0]
    wanted = var.name.split("_", 1)[1] if owner.cls == "MultiHeadAttention" else var.name
    if last in _KNOWN and wanted in _KNOWN and last != wanted and (last, wanted) != ("kernel", "depthwise_kernel"):
        raise FormatError(
            f"{owner.place}: expected weight {wanted!r}, found {name!r}; the file's order of weights is not Keras's"
        )


def _join_keras1_gates(layer: Layer) -> None:
    """W_i, W_c, W_f, W_o as one kernel in the order of Keras 2: i, f, c, o (LSTM) or z, r, h (GRU)."""
    if not any(k.startswith("W_") for k in layer.weights):
        return
    written = {ALIASES[layer.cls].get(g, g): g for g in _KERAS1_GATES[layer.cls]}
    order = [written[g] for g in KERAS_GATES[layer.cls]]
    for old, new in (("W", "kernel"), ("U", "recurrent_kernel"), ("b", "bias")):
        layer.weights[new] = np.concatenate([layer.weights.pop(f"{old}_{g}") for g in order], axis=-1)


def _flip_theano_kernels(layer: Layer) -> None:
    """Theano convolves, all others correlate: the spatial axes run the other way."""
    rank = {"Conv1D": 1, "Conv2D": 2, "Conv1DTranspose": 1, "Conv2DTranspose": 2}.get(layer.cls)
    if rank is None:
        return
    kernel = layer.weights["kernel"]
    old_form = (
        layer.version.major == 1
        and kernel.ndim == 4
        and (layer.config.values.get("data_format") == "channels_first" or (rank == 1 and kernel.shape[1:2] != (1,)))
    )
    axes = (2, 3) if old_form else tuple(range(kernel.ndim - 2))
    layer.weights["kernel"] = np.ascontiguousarray(np.flip(kernel, axes))


# ---- paths -----------------------------------------------------------------------------------------------------------


def _assign_paths(layer: Layer, paths: dict[str, np.ndarray], names: dict[str, str], prefix: str) -> None:
    """Own variables lie at prefix/holder/vars/0, 1...; children below attributes or, in lists, below class counters."""
    if layer.rule is not None:
        layer.weights = _below(paths, prefix)
        return
    counts: dict[str, int] = {}
    for var in variables(layer):
        index = counts.get(var.holder, 0)
        counts[var.holder] = index + 1
        places = [_join(prefix, h, f"vars/{index}") for h in _spellings(var.holder)]
        found = next((p for p in places if p in paths), None)
        if found is None:
            raise FormatError(
                f"{layer.place}: weight {var.name}: expected it at {places[0]!r} in model.weights.h5, found none"
            )
        layer.weights[var.name] = paths[found]
    if layer.cls in MODELS or layer.cls == "StackedRNNCells":
        containers = ("layers", "_layer_checkpoint_dependencies") if layer.cls in MODELS else ("cells", "_cells")
        _assign_container(layer, paths, names, [_join(prefix, c) for c in containers])
        return
    attributes = {"Bidirectional": ("forward_layer", "backward_layer"), "RNN": ("cell",)}.get(layer.cls, ("layer",))
    for attribute, child in zip(attributes, layer.children):
        _assign_paths(child, paths, names, _join(prefix, attribute))


def _below(paths: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Every array below a place, by its path without `vars`: 0, 1 and dense/0, in the order of their numbers."""
    start = f"{prefix}/"
    found = {p[len(start) :].replace("vars/", ""): a for p, a in paths.items() if p.startswith(start)}
    return dict(sorted(found.items(), key=lambda f: [(len(p), p) if p.isdigit() else (0, p) for p in f[0].split("/")]))


def _assign_container(layer: Layer, paths: dict[str, np.ndarray], names: dict[str, str], containers: list[str]) -> None:
    """Layers of a list are stored as class, class_1, class_2... in order. Keras 2.12 to 2.15 counted some layers
    twice, so the n-th group that holds weights belongs to the n-th layer of its class that has any; a name written
    beside a group must agree."""
    owners: dict[str, list[Layer]] = {}
    for child in layer.children:
        described = any(inner.rule is not None for inner in walk(child))
        registered = described and any(_counted(paths, c, snake_case(child.written)) for c in containers)
        if registered or any(True for _ in _slots(child, True)):
            owners.setdefault(snake_case(child.written), []).append(child)
    for base, children in owners.items():
        container, found = next(((c, f) for c in containers if (f := _counted(paths, c, base))), (containers[0], []))
        if len(found) != len(children):
            raise FormatError(
                f"{layer.place}: expected weights of {len(children)} {base} layers under {container!r}, "
                f"found {len(found)}"
            )
        written = [names.get(_join(container, g)) for g in found]
        if set(written) == {c.name for c in children}:
            found = [found[written.index(c.name)] for c in children]
        for group, child in zip(found, children):
            _assign_paths(child, paths, names, _join(container, group))


def _counted(paths: dict[str, np.ndarray], container: str, base: str) -> list[str]:
    """Groups base, base_1, base_2... below `container` that hold weights, in counting order."""
    found: dict[int, str] = {}
    start = container + "/"
    for path in paths:
        if not path.startswith(start):
            continue
        group = path[len(start) :].split("/")[0]
        counter = group[len(base) + 1 :]
        if group == base:
            found[0] = group
        elif group.startswith(base + "_") and counter.isascii() and counter.isdigit():
            found[int(counter)] = group
    return [found[n] for n in sorted(found)]


def _spellings(holder: str) -> tuple[str, ...]:
    """Attributes were written with and without their underscore; Keras 2.12 kept a recurrence's weights on the layer
    too."""
    if not holder:
        return ("",)
    return (holder, "_" + holder, "") if holder == "cell" else (holder, "_" + holder)


def _join(*parts: str) -> str:
    return "/".join(p for p in parts if p)
