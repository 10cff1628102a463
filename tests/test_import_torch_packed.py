"""Packed sequences of live torch modules: lengths are an input, and ragged batches are right."""

from __future__ import annotations

import pytest
from torch_helpers import agrees, free

from lstm_edge.errors import UnsupportedModelError
from lstm_edge.importers.torch.model import read
from lstm_edge.ir.dims import BATCH, FRAMES

torch = pytest.importorskip("torch")
nn = torch.nn
rnn = nn.utils.rnn


def pack(x, lengths):
    return rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)


def unpack(packed, **options):
    return rnn.pad_packed_sequence(packed, batch_first=True, **options)[0]


def with_data(packed, data):
    return rnn.PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)


class Plain(nn.Module):
    def __init__(self, kind="LSTM"):
        super().__init__()
        self.first = getattr(nn, kind)(5, 6, batch_first=True, bidirectional=True)

    def forward(self, x, lengths):
        y, state = self.first(pack(x, lengths))
        return unpack(y), state


class OnRows(nn.Module):
    """Work on .data before, between and after recurrences: its rows beyond a length must leave no trace."""

    def __init__(self):
        super().__init__()
        self.norm, self.last = nn.BatchNorm1d(5), nn.Linear(6, 2)
        self.first, self.second = nn.LSTM(5, 6, batch_first=True), nn.GRU(6, 6, batch_first=True)

    def forward(self, x, lengths):
        packed = pack(x, lengths)
        packed, _ = self.first(with_data(packed, self.norm(packed.data)))
        packed, h = self.second(with_data(packed, torch.tanh(packed.data) + 1))
        return unpack(with_data(packed, self.last(nn.functional.dropout(packed.data, 0.3, self.training)))), h


class Filled(nn.Module):
    def forward(self, x, lengths):
        return unpack(pack(x + 1, lengths), padding_value=-2.0, total_length=x.size(1))


class AcrossRows(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.GRU(5, 6, batch_first=True)

    def forward(self, x, lengths):
        packed = pack(x, lengths)
        return unpack(self.first(with_data(packed, packed.data - packed.data.mean(0)))[0])


@pytest.mark.parametrize("make", [Plain, lambda: Plain("GRU"), lambda: Plain("RNN"), OnRows, Filled])
def test_ragged_batches(make):
    torch.manual_seed(1)
    module = make().eval()
    for buffer in module.buffers():
        if buffer.is_floating_point():
            buffer.data.uniform_(0.5, 1.5)
    graph = read(module, example=(torch.randn(3, 7, 5), torch.tensor([5, 7, 3])))
    assert free(graph) == [("x", (BATCH, FRAMES, 5)), ("lengths", (BATCH,))]
    for lengths in ([5, 7, 3], [1, 9], [4]):
        agrees(graph, module, torch.randn(len(lengths), max(lengths), 5), torch.tensor(lengths))


def test_what_mixes_rows_is_refused():
    with pytest.raises(UnsupportedModelError):
        read(AcrossRows().eval(), example=(torch.randn(3, 7, 5), torch.tensor([5, 7, 3])))
