"""Recurrences to train: torch's own, and the members of the LSTM family that torch has not. `convert` makes an op of each.

In all equations x is a frame, h and c the state before it, * is by element, and W, R, b are a gate's weights of the input, its
weights of the hidden state, and its bias; sigma is the sigmoid.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Union

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ..errors import LstmEdgeError
from ..importers.torch.opaque import is_tracing, traced_ops

OF_TORCH: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
KINDS = (*OF_TORCH, "peephole", "peephole-full", "residual", "tanh-output")
Terms = tuple[Union[Tensor, float], Union[Tensor, float], Union[Tensor, float]]  # of the gates i, f and g
Before = Callable[[Tensor], Terms]
After = Callable[[Tensor], Union[Tensor, float]]


def recurrent(
    kind: str, inputs: int, hidden: int, layers: int = 1, *, bidirectional: bool = False, dropout: float = 0.0
) -> Recurrence:
    """A stack of recurrences: called with x (B, T, inputs), batch first, it gives y (B, T, hidden * directions).

    kind: a word of KINDS. lstm, gru, rnn (tanh) are torch's. peephole, peephole-full and tanh-output: see VariantLSTM.
    residual: torch's LSTM, each layer's input added to its output where both are as wide (He and others, 2016; Wu and others,
    "Google's neural machine translation system", 2016). dropout: between layers, as torch's. LstmEdgeError for an unknown kind
    and for sizes that are none.
    """
    if kind not in KINDS:
        raise LstmEdgeError(f"cell: expected one of {', '.join(KINDS)}, found {kind!r}")
    for name, size in (("inputs", inputs), ("hidden", hidden), ("layers", layers)):
        if not isinstance(size, int) or size < 1:
            raise LstmEdgeError(f"{name}: expected a whole number of 1 or more, found {size!r}")
    if not 0 <= dropout < 1:
        raise LstmEdgeError(f"dropout: expected a share from 0 to below 1, found {dropout!r}")
    widths = [inputs, *[hidden * (2 if bidirectional else 1)] * layers]
    if kind in OF_TORCH:
        between = dropout if layers > 1 else 0.0  # torch warns of dropout with nothing to act between
        rnn = OF_TORCH[kind](inputs, hidden, layers, batch_first=True, dropout=between, bidirectional=bidirectional)
        made: list[nn.Module] = [TorchLayers(rnn)]
    elif kind == "residual":
        made = [
            TorchLayers(nn.LSTM(width, hidden, batch_first=True, bidirectional=bidirectional)) for width in widths[:-1]
        ]
    else:
        made = [VariantLSTM(kind, width, hidden, bidirectional) for width in widths[:-1]]
    return Recurrence(made, widths, dropout, kind == "residual")


class Recurrence(nn.Module):
    """What `recurrent` makes: layers over one another. `width`: the features of its output."""

    is_recurrence = True  # for which convert makes up an example

    def __init__(self, layers: list[nn.Module], widths: list[int], dropout: float, residual: bool):
        super().__init__()
        self.layers, self.dropout, self.residual = nn.ModuleList(layers), nn.Dropout(dropout), residual
        self.input_size, self.width = widths[0], widths[-1]

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, T, inputs), lengths (B,) of ragged sequences that are padded behind -> y (B, T, width), 0 at and after a
        sequence's length."""
        for n, layer in enumerate(self.layers):
            y = layer(self.dropout(x) if n else x, lengths)
            x = x + y if self.residual and x.shape[-1] == y.shape[-1] else y
        return x if lengths is None or not self.residual else cut(x, lengths)


class TorchLayers(nn.Module):
    """One of torch's own recurrences without its last state, and with lengths."""

    def __init__(self, rnn: nn.RNNBase):
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if lengths is None:
            y: Tensor = self._run(x)
        elif not self.rnn.bidirectional:  # what stands behind a sequence changes nothing before it
            y = cut(self._run(x), lengths)
        else:
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            y, _ = pad_packed_sequence(self._run_packed(packed), batch_first=True, total_length=x.shape[1])
        return y

    def _run(self, x: Tensor) -> Tensor:
        if x.is_cuda and self.training and self.rnn.dropout:
            return self.layer_by_layer(x, x.shape[0], [], [True])
        y: Tensor = self.rnn(x)[0]
        return y

    def _run_packed(self, packed: PackedSequence) -> PackedSequence:
        if packed.data.is_cuda and self.training and self.rnn.dropout:
            y = self.layer_by_layer(packed.data, int(packed.batch_sizes[0]), [packed.batch_sizes], [])
            return PackedSequence(y, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        y_packed: PackedSequence = self.rnn(packed)[0]
        return y_packed

    def layer_by_layer(self, x: Tensor, batch: int, sizes: list[Tensor], order: list[bool]) -> Tensor:
        """What `rnn` computes, its dropout drawn from torch's generator. cuDNN draws what falls between its layers from a state of its own,
        which no seed and no checkpoint reaches: a training that was interrupted would go on with other bits.

        x (B, T, I), or the data of a packed sequence, whose batch sizes are `sizes`; order: of the axes, batch first, of what is not packed.
        """
        rnn = self.rnn
        run: Callable[..., tuple[Tensor, ...]] = getattr(
            torch, rnn.mode.lower()
        )  # torch.lstm, torch.gru, torch.rnn_tanh
        directions = 2 if rnn.bidirectional else 1
        zeros = x.new_zeros(directions, batch, rnn.hidden_size)
        before = (zeros, zeros) if rnn.mode == "LSTM" else zeros
        with (
            warnings.catch_warnings()
        ):  # the weights of one layer do not lie alone in memory: measured, 1.06 of the time of the stack
            warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous")
            for layer in range(rnn.num_layers):
                weights = [
                    w for of_one in rnn.all_weights[layer * directions : (layer + 1) * directions] for w in of_one
                ]
                x = nn.functional.dropout(x, rnn.dropout, self.training) if layer else x
                x = run(x, *sizes, before, weights, True, 1, 0.0, self.training, rnn.bidirectional, *order)[0]
        return x


class VariantLSTM(nn.Module):
    """One layer of an LSTM with

        i = sigma(W_i x + R_i h + b_i [+ p_i(c)])      f alike
        g = tanh (W_g x + R_g h + b_g [+ p_g(c)])
        c' = f * c + i * g
        o = act_o(W_o x + R_o h + b_o [+ p_o(c')])
        h' = o * tanh(c')

    peephole        p_k(c) = w_k * c for i, f and o, the w_k vectors; act_o = sigma (Gers and Schmidhuber, "Recurrent nets that
                    time and count", 2000; Graves, "Generating sequences with recurrent neural networks", 2013)
    peephole-full   p_k(c) = W_ck c, the W_ck matrices (H, H), in the candidate too (W_cc); act_o = sigma
    tanh-output     no p_k; act_o = tanh

    Weights are laid out as in the core's LSTM op, directions first: weight_ih (D, 4H, I), weight_hh (D, 4H, H) and bias (D, 4H)
    with gates i, f, g, o; peephole (D, 3, H) of i, f, o, or (D, 4H, H) of i, f, o, g.
    """

    peephole: Tensor | None
    sigmoid: Callable[[Tensor], Tensor] = staticmethod(torch.sigmoid)
    tanh: Callable[[Tensor], Tensor] = staticmethod(torch.tanh)

    def __init__(self, kind: str, inputs: int, hidden: int, bidirectional: bool = False):
        super().__init__()
        directions = 2 if bidirectional else 1
        self.kind, self.hidden_size = kind, hidden
        self.weight_ih = nn.Parameter(torch.empty(directions, 4 * hidden, inputs))
        self.weight_hh = nn.Parameter(torch.empty(directions, 4 * hidden, hidden))
        self.bias = nn.Parameter(torch.empty(directions, 4 * hidden))
        rows = {"peephole": 3, "peephole-full": 4 * hidden}.get(kind)
        self.peephole = nn.Parameter(torch.empty(directions, rows, hidden)) if rows else None
        bound = 1 / math.sqrt(hidden)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, T, I) -> y (B, T, D*H)."""
        if is_tracing():
            activation = "tanh" if self.kind == "tanh-output" else "sigmoid"
            y: Tensor = traced_ops().variant_lstm(x, lengths, *self.weights(), activation)
            return y
        directions = len(self.weight_ih)
        both = torch.stack([x, backwards(x, lengths)]) if directions == 2 else x[None]
        y = self.over_frames(both)
        if directions == 1:
            y = y[0]
        else:
            y = torch.cat([y[0], backwards(y[1], lengths)], -1)
        return y if lengths is None else cut(y, lengths)

    def over_frames(self, x: Tensor) -> Tensor:
        """x (D, B, T, I) -> y (D, B, T, H), both directions in the order in which they run."""
        directions, batch, frames, inputs = x.shape
        of_input, of_hidden = self.products()
        before, after = self.peepholes()
        act_o = self.tanh if self.kind == "tanh-output" else self.sigmoid
        sums = of_input(x.reshape(directions, batch * frames, inputs))
        h = c = x.new_zeros(directions, batch, self.hidden_size)
        found = []
        for of_frame in sums.view(directions, batch, frames, -1).unbind(2):
            i, f, g, o = of_hidden(of_frame, h).chunk(4, -1)
            p_i, p_f, p_g = before(c)
            c = self.sigmoid(f + p_f) * c + self.sigmoid(i + p_i) * self.tanh(g + p_g)
            h = act_o(o + after(c)) * self.tanh(c)
            found.append(h)
        return torch.stack(found, 2)

    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        return self.weight_ih, self.weight_hh, self.bias, self.peephole

    def products(self) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]:
        """The sums of the gates (D, rows, 4H): from rows of x, and what h adds to those of a frame."""
        w_ih, w_hh, bias, _ = self.weights()
        turned_ih, turned_hh = w_ih.transpose(1, 2), w_hh.transpose(1, 2)
        return lambda x: torch.baddbmm(bias[:, None], x, turned_ih), lambda z, h: torch.baddbmm(z, h, turned_hh)

    def peepholes(self) -> tuple[Before, After]:
        """What the cell adds to the sums of the gates: c to those of i, f and g, and c' to that of o."""
        if self.peephole is None:
            return lambda c: (0.0, 0.0, 0.0), lambda c: 0.0
        if self.kind == "peephole":
            w_i, w_f, w_o = self.peephole[:, :, None].unbind(1)
            return lambda c: (w_i * c, w_f * c, 0.0), lambda c: w_o * c
        m_i, m_f, m_o, m_g = self.peephole.transpose(1, 2).chunk(4, -1)
        first = torch.cat([m_i, m_f, m_g], -1)

        def before(c: Tensor) -> Terms:
            i, f, g = torch.bmm(c, first).chunk(3, -1)
            return i, f, g

        return before, lambda c: torch.bmm(c, m_o)


def backwards(x: Tensor, lengths: Tensor | None) -> Tensor:
    """x (B, T, F) with its frames in reverse; of a sequence with a length those before it, the others where they are."""
    if lengths is None:
        return x.flip(1)
    at = torch.arange(x.shape[1], device=x.device)
    ends = lengths.to(x.device)[:, None]
    order = torch.where(at < ends, ends - 1 - at, at)
    return x.gather(1, order[:, :, None].expand_as(x))


def cut(y: Tensor, lengths: Tensor) -> Tensor:
    """y (B, T, F) with zeros at and after each sequence's length."""
    beyond = torch.arange(y.shape[1], device=y.device) >= lengths.to(y.device)[:, None]
    return y.masked_fill(beyond[:, :, None], 0.0)
