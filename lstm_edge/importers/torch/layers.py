"""The aten calls of layers: recurrences, convolutions, pooling, normalisations, embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir.dims import Dim, Size, product
from .movement import permute_axes, slice_axis, unsqueeze
from .program import OPS, Full, Lowering, Var, op

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass(frozen=True)
class Packed:
    """A PackedSequence's data: the padded tensor, batch first, with the lengths."""

    x: Any
    lengths: Any


# ---- recurrences ----------------------------------------------------------------------------------------------------


@dataclass
class LayerWeights:
    """One direction's parameters of one layer, as torch lists them."""

    w_ih: np.ndarray
    w_hh: np.ndarray
    b_ih: np.ndarray | None = None
    b_hh: np.ndarray | None = None
    w_hr: np.ndarray | None = None


def recurrence_inputs(kind: str, directions: list[LayerWeights]) -> dict[str, np.ndarray]:
    """The core's weights of one layer. torch's gate orders (i, f, g, o; r, z, n) are the core's; the two biases of an
    LSTM or RNN are only ever added, so they are stored as their float32 sum."""
    arrays = {"w_ih": np.stack([d.w_ih for d in directions]), "w_hh": np.stack([d.w_hh for d in directions])}
    if directions[0].b_ih is not None:
        b_ih, b_hh = (
            np.stack([np.asarray(b, np.float32) for b in bs])
            for bs in ([d.b_ih for d in directions], [d.b_hh for d in directions])
        )
        arrays.update({"bias_ih": b_ih, "bias_hh": b_hh} if kind == "GRU" else {"bias": b_ih + b_hh})
    if directions[0].w_hr is not None:
        arrays["w_proj"] = np.stack([d.w_hr for d in directions])
    return arrays


def add_recurrence(
    c: Lowering,
    kind: str,
    x: Any,
    layer: list[LayerWeights],
    states: list[Any],
    lengths: Any,
    attrs: dict[str, Any],
    wanted: list[bool],
) -> list[Any]:
    """One LSTM, GRU or RNN op. `states`: h0 (and c0), None for zeros; `wanted`: y, h_n, c_n."""
    arrays = recurrence_inputs(kind, layer)
    biases = ["bias_ih", "bias_hh"] if kind == "GRU" else ["bias"]
    inputs = [x, arrays["w_ih"], arrays["w_hh"], *(arrays.get(b) for b in biases), *states, lengths]
    if kind == "LSTM":
        inputs += [None, None, arrays.get("w_proj")]
    names = ["" if i is None else c.t(i) for i in inputs]
    while names and not names[-1]:
        names.pop()
    label = c.label()
    outputs = [
        c.g.fresh(label if i == 0 else f"{label}:{'hc'[i - 1]}") if w or i == 0 else "" for i, w in enumerate(wanted)
    ]
    if len(layer) == 2:
        attrs = {**attrs, "direction": "bidirectional"}
        if "activations" in attrs:
            attrs["activations"] = attrs["activations"] * 2
    made = c.g.add(kind, names, attrs, label, outputs)
    return [Var(n) if n else None for n in [*made, *[""] * (len(wanted) - len(made))]]


def _layers(
    c: Lowering, params: list[Any], has_biases: bool, num_layers: int, directions: int
) -> list[list[LayerWeights]]:
    arrays = [c.array(p, "weight of a recurrence") for p in params]
    each = len(arrays) // (num_layers * directions)
    if each * num_layers * directions != len(arrays) or each not in ((4, 5) if has_biases else (2, 3)):
        raise c.unsupported(f"{len(arrays)} weights for {num_layers} layers and {directions} directions")
    made = []
    for at in range(0, len(arrays), each):
        w = arrays[at : at + each]
        made.append(LayerWeights(*w) if has_biases else LayerWeights(w[0], w[1], w_hr=w[2] if each == 3 else None))
    return [made[i : i + directions] for i in range(0, len(made), directions)]


def _stacked(
    c: Lowering,
    kind: str,
    x: Any,
    hx: list[Any],
    params: list[Any],
    has_biases: bool,
    num_layers: int,
    train: bool,
    dropout: float,
    bidirectional: bool,
    batch_first: bool,
    lengths: Any,
    attrs: dict[str, Any],
) -> list[Any]:
    if train and dropout:
        raise c.unsupported("a recurrence in training mode with dropout; call eval() before exporting")
    directions = 2 if bidirectional else 1
    layers = _layers(c, params, has_biases, num_layers, directions)
    states = [_initial(c, h) for h in hx]
    finals: list[list[Any]] = [[] for _ in hx]
    wanted = [c.used(i + 1) for i in range(len(hx))]
    attrs = {**attrs, "time_major": int(not batch_first)}
    for n, layer in enumerate(layers):
        at = (n * directions, (n + 1) * directions)
        own = [None if s is None else s if num_layers == 1 else slice_axis(c, s, 0, *at) for s in states]
        x, *last = add_recurrence(c, kind, x, layer, own, lengths, attrs, [True, *wanted])
        for kept, value in zip(finals, last):
            kept.append(value)
    results = []
    for i, (kept, state) in enumerate(zip(finals, states)):
        joined = kept[0] if len(kept) == 1 or not wanted[i] else c.node("Concat", kept, {"axis": 0})
        results.append(joined)
        if joined is not None:
            _mark(c, joined, "hc"[i], state)
    return [x, *results]


def _mark(c: Lowering, value: Var, role: str, state: Any) -> None:
    """Remembers which graph input `value` continues, so that the output can be named after it."""
    source = next((p for p in c.g.inputs if isinstance(state, Var) and p.tensor == state.name), None)
    if source is not None and re_default(source.name):
        source.name = _free_name(c, f"{role}0", source.name)
    c.roles[value.name] = (role, source.name if source else "")


def re_default(name: str) -> bool:
    """Whether a state input's name says nothing: hx, hx_0, hx_1, hidden_0 (torch's own names)."""
    return name.rstrip("0123456789").rstrip("_") in ("hx", "hidden", "hc", "args", "states")


def _free_name(c: Lowering, wanted: str, name: str) -> str:
    return name if any(p.name == wanted for p in c.g.inputs) else wanted


def _initial(c: Lowering, state: Any) -> Any:
    """None where the state starts at zero, which the core does by itself."""
    if isinstance(state, Full) and state.value == 0:
        return None
    if isinstance(state, np.ndarray) and not state.any():
        return None
    return state


def _sequence(kind: str, attrs: dict[str, Any]) -> Any:
    states = 2 if kind == "LSTM" else 1

    def lowered(c: Lowering, *args: Any) -> Any:
        x, second = args[:2]
        if isinstance(
            x, Packed
        ):  # (data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional)
            hx, params, biases, layers, dropout, train, both = args[2:9]
            hx = list(hx) if states == 2 else [hx[0] if isinstance(hx, (list, tuple)) else hx]
            y, *last = _stacked(
                c, kind, x.x, hx, list(params), biases, layers, train, dropout, both, True, x.lengths, attrs
            )
            return [Packed(y, x.lengths), *last]
        params, biases, layers, dropout, train, both, batch_first = args[2:9]
        hx = list(second) if isinstance(second, (list, tuple)) else [second]
        if c.rank(x) != 3:
            raise c.unsupported(f"a recurrence over a tensor of rank {c.rank(x)}; expected 3")
        return _stacked(c, kind, x, hx, list(params), biases, layers, train, dropout, both, batch_first, None, attrs)

    return lowered


def _cell(kind: str, attrs: dict[str, Any]) -> Any:
    def lowered(c: Lowering, input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
        layer = LayerWeights(
            *(c.array(w, "weight of a cell") for w in (w_ih, w_hh)),
            *(None if b is None else c.array(b, "bias of a cell") for b in (b_ih, b_hh)),
        )
        given = list(hx) if isinstance(hx, (list, tuple)) else [hx]
        batch, features = c.shape(input)
        x = c.reshape(input, [batch, 1, features])
        states = [_initial(c, h) for h in given]
        shaped = [None if s is None else c.reshape(s, [1, *c.shape(s)]) for s in states]
        wanted = [False, *(kind != "LSTM" or c.used(i) for i in range(len(given)))]
        _, *last = add_recurrence(c, kind, x, [layer], shaped, None, attrs, wanted)
        out = []
        for role, value, state in zip("hc", last, states):
            flat = None if value is None else c.reshape(value, list(c.shape(value))[1:])
            out.append(flat)
            if flat is not None:
                _mark(c, flat, role, state)
        return out if kind == "LSTM" else out[0]

    return lowered


for _name, _kind, _attrs in (
    ("lstm", "LSTM", {}),
    ("gru", "GRU", {}),
    ("rnn_tanh", "RNN", {}),
    ("rnn_relu", "RNN", {"activations": ["relu"]}),
):
    OPS[_name] = _sequence(_kind, _attrs)
    OPS[f"{_name}_cell"] = _cell(_kind, _attrs)
    OPS[f"{_name}_packed"] = OPS[_name]


@op("_pack_padded_sequence", "pack", lazy=True)
def _pack(c: Lowering, input: Any, lengths: Any, batch_first: bool) -> Any:
    """The padded tensor with its lengths, in whatever order they come: every sequence is computed on its own."""
    x = input if batch_first else permute_axes(c, input, [1, 0, *range(2, c.rank(input))])
    if isinstance(x, np.ndarray):
        raise c.unsupported("packing of a constant")
    lengths = Var(c.t(lengths, "int32"))
    c.notes.append(
        "pad_packed_sequence gives all frames of the input, zeros after each length, not only the longest length"
    )
    return [Packed(x, lengths), lengths]


@op("_pad_packed_sequence", "unpack", lazy=True)
def _unpack(
    c: Lowering, data: Any, batch_sizes: Any, batch_first: bool, padding_value: float, total_length: Any
) -> Any:
    if not isinstance(data, Packed):
        raise c.unsupported("unpacking what was not packed")
    if padding_value:
        raise c.unsupported(f"padding_value {padding_value}; expected 0")
    y = data.x if batch_first else permute_axes(c, data.x, [1, 0, *range(2, c.rank(data.x))])
    return [y, data.lengths]


# ---- embedding


@op("embedding")
def _embedding(c: Lowering, weight: Any, indices: Any, *_: Any, **__: Any) -> Var:
    if c.dtype(indices) != "int32":
        raise c.unsupported(f"an embedding looked up with {c.dtype(indices)}; expected integers")
    return c.node("Gather", [weight, indices], {"axis": 0})


# ---- convolutions and pooling ---------------------------------------------------------------------------------------


def _each(value: Any, n: int) -> list[int]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * n if len(values) == 1 else values


def _batched(c: Lowering, x: Any, n: int, build: Any) -> Any:
    """Runs `build` on x with a batch axis, added and taken away again where x has none."""
    if c.rank(x) == n + 2:
        return build(x)
    y = build(unsqueeze(c, x, 0))
    return c.reshape(y, list(c.shape(y))[1:])


def _convolve(
    c: Lowering,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    transposed: bool = False,
    output_padding: Any = 0,
) -> Any:
    w = c.array(weight, "weight of a convolution")
    n = w.ndim - 2
    if n not in (1, 2):
        raise c.unsupported(f"a convolution over {n} axes; expected 1 or 2")
    dilations = _each(dilation, n)
    if isinstance(padding, str):
        total = [(k - 1) * d if padding == "same" else 0 for k, d in zip(w.shape[2:], dilations)]
        pads = [t // 2 for t in total] + [t - t // 2 for t in total]
    else:
        pads = _each(padding, n) * 2
    attrs: dict[str, Any] = {"strides": _each(stride, n), "dilations": dilations, "pads": pads, "groups": groups}
    if transposed:
        attrs["output_padding"] = _each(output_padding, n)
    return _batched(c, x, n, lambda v: c.node("ConvTranspose" if transposed else "Conv", [v, w, bias], attrs))


@op("conv1d", "conv2d", "conv3d", "_convolution_mode")
def _conv(
    c: Lowering,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    return _convolve(c, input, weight, bias, stride, padding, dilation, groups)


@op("conv_transpose1d", "conv_transpose2d", "conv_transpose2d.input")
def _conv_transpose(
    c: Lowering,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    return _convolve(c, input, weight, bias, stride, padding, dilation, groups, True, output_padding)


@op("convolution", "_convolution")
def _convolution(
    c: Lowering,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    *_: Any,
) -> Any:
    return _convolve(c, input, weight, bias, stride, padding, dilation, groups, transposed, output_padding)


def _pool(
    c: Lowering,
    x: Any,
    kind: str,
    n: int,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    include_pad: bool,
) -> Any:
    kernel = _each(kernel, n)
    attrs = {
        "kind": kind,
        "kernel": kernel,
        "strides": _each(stride, n) if stride not in (None, [], ()) else kernel,
        "dilations": _each(dilation, n),
        "pads": _each(padding, n) * 2,
        "ceil_mode": int(ceil_mode),
        "count_include_pad": int(include_pad),
    }
    return _batched(c, x, n, lambda v: c.node("Pool", [v], attrs))


@op("max_pool1d", "max_pool2d", "max_pool1d_with_indices", "max_pool2d_with_indices")
def _max_pool(
    c: Lowering,
    self: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    if c.step.base.endswith("indices") and c.used(1):
        raise c.unsupported("the indices of a max pooling")
    y = _pool(c, self, "max", 1 if "1d" in c.step.base else 2, kernel_size, stride, padding, dilation, ceil_mode, False)
    return [y, None] if c.step.base.endswith("indices") else y


@op("avg_pool1d", "avg_pool2d")
def _avg_pool(
    c: Lowering,
    self: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Any:
    if divisor_override is not None:
        raise c.unsupported("divisor_override of an average pooling")
    n = 1 if "1d" in c.step.base else 2
    return _pool(c, self, "average", n, kernel_size, stride, padding, 1, ceil_mode, count_include_pad)


@op("adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d")
def _adaptive_pool(c: Lowering, self: Any, output_size: Any) -> Any:
    n = 1 if "1d" in c.step.base else 2
    kind = "mean" if "avg" in c.step.base else "max"
    sizes = c.shape(self)[-n:]
    wanted = [s if o is None else o for s, o in zip(sizes, _each(output_size, n))]
    first = c.rank(self) - n
    if all(w == 1 for w in wanted):
        y = c.node("Reduce", [self], {"kind": kind, "axes": list(range(first, first + n)), "keepdims": 1})
    elif any(isinstance(s, Dim) or s % w for s, w in zip(sizes, wanted)):
        raise c.unsupported(f"adaptive pooling from {sizes} to {wanted}: the windows are not of one size")
    else:
        kernel = [s // w for s, w in zip(sizes, wanted)]
        y = _pool(c, self, "average" if kind == "mean" else "max", n, kernel, None, 0, 1, False, False)
    return [y, None] if kind == "max" else y


@op("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest1d.vec", "upsample_nearest2d.vec")
def _upsample(c: Lowering, input: Any, output_size: Any = None, *factors: Any) -> Any:
    n = 1 if "1d" in c.step.base else 2
    flat = [f for f in (factors[0] if factors and isinstance(factors[0], (list, tuple)) else factors) if f is not None]
    sizes = c.shape(input)[-n:]
    scales: list[Any] = flat if flat else [o // s if o % s == 0 else 0 for o, s in zip(output_size, sizes)]
    if len(scales) != n or any(s != int(s) or s < 1 for s in scales):
        raise c.unsupported(f"upsampling by {scales or output_size}; expected whole factors")
    return c.node("Resize", [input], {"scales": [1] * (c.rank(input) - n) + [int(s) for s in scales]})


# ---- normalisations -------------------------------------------------------------------------------------------------


def _per_channel(v: Any, rank: int) -> np.ndarray:
    return np.asarray(v).reshape(-1, *[1] * (rank - 2))


@op("batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "native_batch_norm")
def _batch_norm(
    c: Lowering, input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, *rest: Any
) -> Any:
    """scale x + shift with the running statistics. `rest`: training, momentum, eps (core form: no training)."""
    training = False if c.step.base.endswith("no_training") else rest[0]
    epsilon = rest[-1] if c.step.base.endswith("no_training") else rest[2]
    if training and running_mean is not None:
        raise c.unsupported("batch normalisation in training mode; call eval() before exporting")
    rank = c.rank(input)
    if running_mean is None:
        y = _normalize(c, input, [0, *range(2, rank)], epsilon, weight, bias)
    else:
        mean, var = (c.array(v, "running statistics").astype(np.float64) for v in (running_mean, running_var))
        scale = 1 / np.sqrt(var + epsilon)
        scale = scale if weight is None else scale * c.array(weight, "weight of a normalisation")
        shift = -mean * scale if bias is None else c.array(bias, "bias of a normalisation") - mean * scale
        scaled = c.binary("mul", input, _per_channel(scale, rank).astype(np.float32))
        y = c.binary("add", scaled, _per_channel(shift, rank).astype(np.float32))
    return y if c.step.base == "batch_norm" else [y, None, None]


def _normalize(c: Lowering, x: Any, axes: list[int], epsilon: float, weight: Any, bias: Any) -> Var:
    """Normalises over `axes`; weight and bias are per channel (axis 1)."""
    rank = c.rank(x)
    scale, shift = (
        None if v is None else _per_channel(c.array(v, "weight of a normalisation"), rank) for v in (weight, bias)
    )
    return c.node("Normalize", [x, scale, shift], {"axes": axes, "epsilon": float(epsilon)})


@op("instance_norm")
def _instance_norm(
    c: Lowering,
    input: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> Any:
    if not use_input_stats:
        return _batch_norm_of(c, input, weight, bias, running_mean, running_var, eps)
    return _normalize(c, input, list(range(2, c.rank(input))), eps, weight, bias)


def _batch_norm_of(c: Lowering, x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float) -> Any:
    y = _batch_norm(c, x, weight, bias, mean, var, False, 0.0, eps)
    return y[0] if isinstance(y, list) else y


@op("layer_norm", "native_layer_norm")
def _layer_norm(
    c: Lowering, input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Any:
    rank = c.rank(input)
    axes = list(range(rank - len(normalized_shape), rank))
    y = c.node("Normalize", [input, weight, bias], {"axes": axes, "epsilon": float(eps)})
    return [y, None, None] if c.step.base.startswith("native") else y


@op("rms_norm", "_fused_rms_norm")
def _rms_norm(c: Lowering, input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    rank = c.rank(input)
    axes = list(range(rank - len(normalized_shape), rank))
    epsilon = float(np.finfo(np.float32).eps) if eps is None else float(eps)
    y = c.node("Normalize", [input, weight], {"axes": axes, "epsilon": epsilon, "kind": "rms"})
    return [y, None] if c.step.base.startswith("_fused") else y


@op("group_norm")
def _group_norm(
    c: Lowering, input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Any:
    shape = list(c.shape(input))
    groups = c.reshape(input, [shape[0], num_groups, product(shape[1:]) // num_groups])
    y = c.node("Normalize", [groups], {"axes": [2], "epsilon": float(eps)})
    y = c.reshape(y, shape)
    for kind, v in (("mul", weight), ("add", bias)):
        if v is not None:
            y = c.binary(kind, y, _per_channel(c.array(v, "weight of a normalisation"), len(shape)))
    return y


@op("native_group_norm")
def _native_group_norm(
    c: Lowering, input: Any, weight: Any, bias: Any, n: Size, channels: int, pixels: Size, group: int, eps: float
) -> Any:
    return [_group_norm(c, input, group, weight, bias, eps), None, None]


@op("pixel_shuffle")
def _pixel_shuffle(c: Lowering, self: Any, upscale_factor: int) -> Any:
    b, channels, height, width = c.shape(self)
    r = upscale_factor
    x = c.reshape(self, [b, channels // (r * r), r, r, height, width])
    x = permute_axes(c, x, [0, 1, 4, 2, 5, 3])
    return c.reshape(x, [b, channels // (r * r), height * r, width * r])


@op("unfold")
def _unfold(c: Lowering, self: Any, dimension: int, size: int, step: int) -> Any:
    """Windows along an axis, as a convolution with an identity kernel: (..., n, ...) -> (..., windows, ..., size)."""
    axis, rank = c.axis(self, dimension), c.rank(self)
    if axis != rank - 1:
        order = [*(d for d in range(rank) if d != axis), axis]
        windows = _unfold(c, permute_axes(c, self, order), rank - 1, size, step)
        return permute_axes(c, windows, [*np.argsort(order).tolist(), rank])
    lead = list(c.shape(self))[:-1]
    flat = c.reshape(self, [product(lead), 1, c.shape(self)[-1]]) if len(lead) != 1 else unsqueeze(c, self, 1)
    windows = c.node("Conv", [flat, np.eye(size, dtype=np.float32)[:, None, :]], {"strides": [step]})
    windows = permute_axes(c, windows, [0, 2, 1])
    count = c.shape(windows)[1]
    return c.reshape(windows, [*lead, count, size]) if len(lead) != 1 else windows


@op("cosine_similarity")
def _cosine_similarity(c: Lowering, x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    axis = c.axis(x1, dim)

    def total(v: Any, kind: str) -> Any:
        return c.node("Reduce", [v], {"kind": kind, "axes": [axis], "keepdims": 0})

    lengths = [c.binary("max", total(v, "l2"), float(eps)) for v in (x1, x2)]
    return c.binary("div", total(c.binary("mul", x1, x2), "sum"), c.binary("mul", *lengths))
