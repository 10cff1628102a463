"""Training with the engine's int8 arithmetic in the forward pass: what the loss sees is what the device will compute."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ..errors import LstmEdgeError
from ..importers.torch.opaque import is_tracing, traced_ops
from .arguments import module_of
from .cells import VariantLSTM, backwards
from .int8_arithmetic import lstm_cell, product, rows_of, sigmoid, stored_value, tanh


def fake_quantize(module: nn.Module) -> nn.Module:
    """Makes every nn.LSTM, nn.GRU, nn.RNN, nn.Linear and cell of lstm_edge.training in `module` compute, forward, with the
    engine's int8 arithmetic (docs/quantization.md); returns the module, whose parameters stay what they were.

    Gradients pass the roundings as if there were none (Bengio and others, 2013), so that any optimiser goes on from here.
    `export` and `lstm_edge.convert` write int8 weights with the very scales and whole numbers that training used. Recurrences
    and Linear give the core's bits on a CPU, the products of full peepholes up to the order of their sums. A layer of a class
    derived from these stays as it is, with a warning. LstmEdgeError where there is nothing to quantise, and for weights that
    are not float32.
    """
    found = 0
    for name, layer in module_of(module, "fake_quantize").named_modules():
        if isinstance(layer, Int8):
            found += 1
        elif type(layer) in _INT8:
            _check_weights(name, layer)
            layer.__class__ = _INT8[type(layer)]
            found += 1
        elif isinstance(layer, tuple(_INT8)):
            warnings.warn(f"fake_quantize: {name} stays float32: it is a {type(layer).__qualname__}", stacklevel=2)
    if not found:
        raise LstmEdgeError(
            f"fake_quantize: expected a module with {', '.join(k.__name__ for k in _INT8)} in it, found none in "
            f"{type(module).__name__}"
        )
    return module


def _check_weights(name: str, layer: nn.Module) -> None:
    for own, parameter in layer.named_parameters():
        if parameter.dtype != torch.float32:
            raise LstmEdgeError(f"fake_quantize: {name}.{own}: expected float32, found {parameter.dtype}")


class Int8:
    """What int8 layers have in common. int8_arithmetic off: the rounded weights in float32 arithmetic, as conversion compares
    them with the reference, which knows weights and not how the core multiplies."""

    int8_arithmetic = True

    def _plain(self) -> bool:
        """Whether what runs is a trace, or such a comparison."""
        return is_tracing() or not self.int8_arithmetic


def _stored(weight: Tensor) -> Tensor:
    """A weight for torch's own functions: its rounded value, and in a trace a call that the importer knows."""
    if not is_tracing():
        return stored_value(weight)
    value: Tensor = traced_ops().int8_rows(weight)
    return value


class Int8Linear(Int8, nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        if self._plain():
            return F.linear(input, _stored(self.weight), self.bias)
        with torch.autocast(input.device.type, enabled=False):
            rows = input.float().reshape(-1, self.in_features)
            y = product(rows, self.weight, rows_of(self.weight), self.bias, fine=True)
        return y.reshape(*input.shape[:-1], self.out_features)


# ---- torch's recurrences ---------------------------------------------------------------------------------------------


class Direction:
    """One direction of one layer: its weights, rounded once for all frames.

    The biases of an LSTM and an RNN are one sum, added to the product with the input; a GRU's second is added to that with h.
    """

    def __init__(self, layer: nn.RNNBase, at: str):
        def weight(name: str) -> Any:
            return getattr(layer, f"{name}_{at}", None)

        self.w_ih, self.w_hh, self.w_hr = weight("weight_ih"), weight("weight_hh"), weight("weight_hr")
        self.rows_ih, self.rows_hh = rows_of(self.w_ih), rows_of(self.w_hh)
        self.rows_hr = None if self.w_hr is None else rows_of(self.w_hr)
        self.bias, self.bias_hh = weight("bias_ih"), weight("bias_hh")
        if layer.bias and layer.mode != "GRU":
            self.bias = self.bias + self.bias_hh

    def of_frames(self, x: Tensor) -> Sequence[Tensor]:
        """The sums of the gates (B, G*H) that each frame of x (B, T, I) adds."""
        batch, frames, inputs = x.shape
        sums = product(x.reshape(batch * frames, inputs), self.w_ih, self.rows_ih, self.bias, fine=True)
        return sums.view(batch, frames, -1).unbind(1)

    def of_hidden(self, h: Tensor, start: Tensor | None) -> Tensor:
        return product(h, self.w_hh, self.rows_hh, start, fine=False)


def _lstm_step(d: Direction, of_frame: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    h, c = lstm_cell(d.of_hidden(h, of_frame), c)
    return (h if d.w_hr is None else product(h, d.w_hr, d.rows_hr, None, fine=False)), c


def _gru_step(d: Direction, of_frame: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    x_r, x_z, x_n = of_frame.chunk(3, -1)
    u_r, u_z, u_n = d.of_hidden(h, d.bias_hh).chunk(3, -1)
    z = sigmoid(x_z + u_z)
    n = tanh(x_n + sigmoid(x_r + u_r) * u_n)
    return (1.0 - z) * n + z * h, c


def _tanh_step(d: Direction, of_frame: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    return tanh(d.of_hidden(h, of_frame)), c


def _relu_step(d: Direction, of_frame: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    return torch.relu(d.of_hidden(h, of_frame)), c


_STEPS = {"LSTM": _lstm_step, "GRU": _gru_step, "RNN_TANH": _tanh_step, "RNN_RELU": _relu_step}


class _Int8RNN(Int8, nn.RNNBase):
    """What the three have in common: torch's arguments, answers, and order of layers and directions."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if self._plain():
            return super().forward(input, hx)
        data = input.data if isinstance(input, PackedSequence) else input
        with torch.autocast(data.device.type, enabled=False):
            return self._by_layout(input, hx)

    def _update_flat_weights(self) -> None:
        """What torch's own forward multiplies by, which calls this first."""
        super()._update_flat_weights()
        if self._plain():
            weights = [getattr(self, name, None) for name in self._flat_weights_names]
            self._flat_weights = [w if w is None or w.dim() < 2 else _stored(w) for w in weights]

    def _by_layout(self, input: Any, hx: Any) -> Any:
        """`_over_layers` of a packed sequence, a batch first or second, or one sequence alone."""
        states = [] if hx is None else list(hx) if self.mode == "LSTM" else [hx]
        if isinstance(input, PackedSequence):
            x, lengths = pad_packed_sequence(input, batch_first=True)
            y, last = self._over_layers(x.float(), states, lengths)
            packed = pack_padded_sequence(y, lengths, batch_first=True, enforce_sorted=input.sorted_indices is None)
            return packed, self._as_given(last)
        if input.dim() == 2:
            y, last = self._over_layers(input[None].float(), [s[:, None] for s in states], None)
            return y[0], self._as_given([s[:, 0] for s in last])
        x = input if self.batch_first else input.transpose(0, 1)
        y, last = self._over_layers(x.float(), states, None)
        return y if self.batch_first else y.transpose(0, 1), self._as_given(last)

    def _as_given(self, last: list[Tensor]) -> Any:
        return tuple(last) if self.mode == "LSTM" else last[0]

    def _over_layers(self, x: Tensor, states: list[Tensor], lengths: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """x (B, T, I) -> y (B, T, D*P), and of an LSTM h_n and c_n, of others h_n, each (layers * D, B, .)."""
        directions = ("", "_reverse") if self.bidirectional else ("",)
        last: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            found = []
            for suffix in directions:
                initial = [s[len(last)] for s in states]
                turned = backwards(x, lengths) if suffix else x
                y, ends = self._run(Direction(self, f"l{layer}{suffix}"), turned, initial, lengths)
                found.append(backwards(y, lengths) if suffix else y)
                last.append(ends)
            x = torch.cat(found, -1)
            if layer + 1 < self.num_layers:
                x = F.dropout(x, self.dropout, self.training)
        return x, [torch.stack(s) for s in zip(*last)]

    def _run(
        self, d: Direction, x: Tensor, initial: list[Tensor], lengths: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """y (B, T, P) of x's frames in the order in which they stand, and the last states (B, .)."""
        batch, width = len(x), d.w_hh.shape[1]
        h, c = initial[0] if initial else x.new_zeros(batch, width), x.new_zeros(batch, self.hidden_size)
        if len(initial) > 1:
            c = initial[1]
        hs, cs = [], []
        for of_frame in d.of_frames(x):
            h, c = _STEPS[self.mode](d, of_frame, h, c)
            hs.append(h)
            cs.append(c)
        y = torch.stack(hs, 1)
        ends = [y, torch.stack(cs, 1)] if self.mode == "LSTM" else [y]
        if lengths is None:
            return y, [s[:, -1] for s in ends]
        rows = torch.arange(batch, device=x.device)
        return y, [s[rows, lengths.to(x.device) - 1] for s in ends]


class Int8LSTM(_Int8RNN, nn.LSTM):
    pass


class Int8GRU(_Int8RNN, nn.GRU):
    pass


class Int8RNN(_Int8RNN, nn.RNN):
    pass


# ---- cells of lstm_edge.training -------------------------------------------------------------------------------------


class Int8Variant(Int8, VariantLSTM):
    """The general form of the core's LSTM: each gate by itself. Peepholes stay float32."""

    sigmoid = staticmethod(sigmoid)
    tanh = staticmethod(tanh)

    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        w_ih, w_hh, bias, peephole = super().weights()
        return (_stored(w_ih), _stored(w_hh), bias, peephole) if self._plain() else (w_ih, w_hh, bias, peephole)

    def over_frames(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().over_frames(x.float())

    def products(self) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]:
        if self._plain():
            return super().products()
        w_ih, w_hh, bias, _ = self.weights()
        rows_ih, rows_hh = rows_of(w_ih), rows_of(w_hh)
        return (
            lambda x: product(x, w_ih, rows_ih, bias[:, None], fine=True),
            lambda z, h: product(h, w_hh, rows_hh, z, fine=False),
        )


_INT8: dict[type[nn.Module], type[nn.Module]] = {
    nn.LSTM: Int8LSTM,
    nn.GRU: Int8GRU,
    nn.RNN: Int8RNN,
    nn.Linear: Int8Linear,
    VariantLSTM: Int8Variant,
}
