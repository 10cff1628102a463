"""Recurrences that torch.export does not look into: it would unroll them to learn their outputs' shapes.

While tracing, the functions that nn.LSTM, nn.GRU and nn.RNN call are replaced by opaque ones that only know shapes.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

_SEQUENCE = (
    "Tensor x, Tensor[] hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, "
    "bool bidirectional"
)
_VARIANT = "Tensor x, Tensor? lengths, Tensor w_ih, Tensor w_hh, Tensor bias, Tensor? peephole, str output_gate"
_library: Any = None
_tracing = False


def is_tracing() -> bool:
    """Whether a module is being traced for conversion: what torch has no function for, is then a call of traced_ops."""
    return _tracing


def is_recurrence(module: Any) -> bool:
    """Whether `module` is a recurrence of lstm_edge.training: (batch, frames, input_size) in, batch and frames free."""
    return bool(getattr(module, "is_recurrence", False))


def traced_ops() -> Any:
    """torch.ops.lstm_edge: recurrences and packing that know their shapes only."""
    global _library
    import torch

    if _library is not None:
        return torch.ops.lstm_edge
    make: Any = torch.library.Library  # untyped in torch
    library = make("lstm_edge", "FRAGMENT")
    for name, finals in (("lstm", 2), ("gru", 1), ("rnn_tanh", 1), ("rnn_relu", 1)):
        result = "(" + ", ".join(["Tensor"] * (1 + finals)) + ")"
        library.define(f"{name}({_SEQUENCE}, bool batch_first) -> {result}")
        library.define(f"{name}_packed(Tensor x, Tensor batch_sizes, {_SEQUENCE[len('Tensor x, ') :]}) -> {result}")
        torch.library.register_fake(f"lstm_edge::{name}", _sequence_shape, lib=library)
        torch.library.register_fake(f"lstm_edge::{name}_packed", _packed_shape, lib=library)
    library.define("pack(Tensor x, Tensor lengths, bool batch_first) -> (Tensor, Tensor)")
    library.define(
        "unpack(Tensor data, Tensor batch_sizes, bool batch_first, float padding_value, SymInt total) "
        "-> (Tensor, Tensor)"
    )
    torch.library.register_fake("lstm_edge::pack", _pack_shape, lib=library)
    torch.library.register_fake("lstm_edge::unpack", _unpack_shape, lib=library)
    library.define(f"variant_lstm({_VARIANT}) -> Tensor")
    torch.library.register_fake("lstm_edge::variant_lstm", _variant_shape, lib=library)
    library.define("int8_rows(Tensor weight) -> Tensor")
    torch.library.register_fake("lstm_edge::int8_rows", lambda weight: weight.clone(), lib=library)
    library.define("forward_fill(Tensor x) -> (Tensor, Tensor)")
    torch.library.register_fake("lstm_edge::forward_fill", lambda x: (x.clone(), x.clone()), lib=library)
    _library = library
    return torch.ops.lstm_edge


def _sequence_shape(x: Any, hx: Any, params: Any, *options: Any) -> tuple[Any, ...]:
    import torch

    *_, bidirectional, batch_first = options
    directions = 2 if bidirectional else 1
    # Comparisons, not torch._check: tracing then takes the sizes as equal at once.
    if x.shape[2] != params[0].shape[1] or hx[0].shape[1] != x.shape[0 if batch_first else 1]:
        raise ValueError(f"a recurrence over {tuple(x.shape)} with states {tuple(hx[0].shape)}")
    width = directions * hx[0].shape[2]
    return (x.new_empty((x.shape[0], x.shape[1], width)), *(torch.empty_like(h) for h in hx))


def _variant_shape(x: Any, lengths: Any, w_ih: Any, w_hh: Any, *others: Any) -> Any:
    return x.new_empty((x.shape[0], x.shape[1], w_hh.shape[0] * w_hh.shape[2]))


# Packed data is traced as a row for every frame of the padded tensor, so that what acts on rows sees rows; batch_sizes has a
# number for every frame, as in torch.


def _packed_shape(x: Any, batch_sizes: Any, hx: Any, params: Any, *options: Any) -> tuple[Any, ...]:
    batch = x.shape[0] // batch_sizes.shape[0]
    states = [h.new_empty((h.shape[0], 1, h.shape[2])) for h in hx]
    y, *_ = _sequence_shape(x.unsqueeze(0), states, params, *options, True)
    return (y.squeeze(0), *(h.new_empty((h.shape[0], batch, h.shape[2])) for h in hx))


def _pack_shape(x: Any, lengths: Any, batch_first: bool) -> tuple[Any, ...]:
    batch, frames = x.shape[:2] if batch_first else (x.shape[1], x.shape[0])
    return x.new_empty((batch * frames, *x.shape[2:])), lengths.new_empty((frames,))


def _unpack_shape(data: Any, batch_sizes: Any, batch_first: bool, padding_value: float, total: int) -> tuple[Any, ...]:
    frames = batch_sizes.shape[0]
    batch = data.shape[0] // frames
    shape = (batch, frames) if batch_first else (frames, batch)
    return data.new_empty((*shape, *data.shape[1:])), batch_sizes.new_empty((batch,))


class _BatchSizes:
    """A PackedSequence's batch_sizes. torch reads the batch out of it, [0], which is a size of the input here: a number out of
    a tensor would be one that tracing knows nothing of."""

    def __init__(self, tensor: Any, batch: Any):
        self.tensor, self.batch = tensor, batch

    def __getitem__(self, at: Any) -> Any:
        return self.batch if type(at) is int and at == 0 else self.tensor[at]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tensor, name)


@contextlib.contextmanager
def opaque_recurrences() -> Iterator[None]:
    import torch
    from torch.nn.modules import rnn

    global _tracing
    ops, functions = traced_ops(), vars(rnn)["_VF"]

    def sequence(name: str) -> Any:
        def call(x: Any, second: Any, *rest: Any) -> Any:
            if isinstance(second, _BatchSizes):
                hx, params, *options = rest
                return getattr(ops, f"{name}_packed")(x, second.tensor, _listed(hx), list(params), *options)
            params, *options = rest
            return getattr(ops, name)(x, _listed(second), list(params), *options)

        return call

    replaced = {n: sequence(n) for n in ("lstm", "gru", "rnn_tanh", "rnn_relu")}

    def pack(x: Any, lengths: Any, batch_first: bool) -> Any:
        data, batch_sizes = ops.pack(x, lengths, batch_first)
        return data, _BatchSizes(batch_sizes, x.shape[0 if batch_first else 1])

    def unpack(data: Any, batch_sizes: Any, batch_first: bool, padding_value: Any, total: Any) -> Any:
        return ops.unpack(data, batch_sizes.tensor, batch_first, float(padding_value), total)

    replaced |= {"_pack_padded_sequence": pack, "_pad_packed_sequence": unpack}
    sort = torch.sort

    def sort_unless_packing(x: Any, *args: Any, **kwargs: Any) -> Any:
        """pack_padded_sequence sorts by length; sequences are computed one by one here, so any order will do."""
        if sys._getframe(1).f_globals.get("__name__") == "torch.nn.utils.rnn":
            return x, torch.arange(x.shape[0])
        return sort(x, *args, **kwargs)

    max_pool = torch.max_pool1d

    def max_pool_as_2d(
        x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> Any:
        """torch's own max_pool1d makes the traced length a number."""
        sizes = [
            _one(kernel_size),
            _one(kernel_size if stride in (None, []) else stride),
            _one(padding),
            _one(dilation),
        ]
        kernel, stride, padding, dilation = ((other, size) for other, size in zip((1, 1, 0, 1), sizes))
        return torch.max_pool2d(x.unsqueeze(-2), kernel, stride, padding, dilation, ceil_mode).squeeze(-2)

    for name, function in replaced.items():
        setattr(functions, name, function)
    vars(rnn)["int"] = lambda size: size if isinstance(size, torch.SymInt) else int(size)  # of batch_sizes[0]
    patched: Any = torch
    patched.sort, patched.max_pool1d = sort_unless_packing, max_pool_as_2d
    _tracing = True
    try:
        yield
    finally:
        _tracing = False
        patched.sort, patched.max_pool1d = sort, max_pool
        del vars(rnn)["int"]
        for name in replaced:
            delattr(functions, name)  # an instance attribute before the lookup of the real one


def _listed(states: Any) -> list[Any]:
    return list(states) if isinstance(states, (list, tuple)) else [states]


def _one(size: Any) -> int:
    return int(size[0]) if isinstance(size, (list, tuple)) else int(size)
