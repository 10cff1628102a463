"""Packed sequences in TorchScript, scripted and traced: lengths are an input, and ragged batches are right."""

import io

import numpy as np
import pytest

from lstm_edge import reference
from lstm_edge.convert import to_graph

torch = pytest.importorskip("torch")
nn, Tensor = torch.nn, torch.Tensor
packing = torch.nn.utils.rnn
PackedSequence, pack, unpack = packing.PackedSequence, packing.pack_padded_sequence, packing.pad_packed_sequence
pytestmark = pytest.mark.filterwarnings("ignore")


class Tagger(nn.Module):
    def __init__(self, kind=nn.LSTM, **options):
        super().__init__()
        self.rnn = kind(3, 4, batch_first=True, **options)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return unpack(self.rnn(pack(x, lengths, batch_first=True, enforce_sorted=False))[0], batch_first=True)[0]


class Last(Tagger):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.rnn(pack(x, lengths.cpu(), batch_first=True, enforce_sorted=False))[1][0][-1]


class OnData(nn.Module):
    """Works on the rows of packed data between two recurrences, and pads with another value than 0."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.LSTM(3, 4, batch_first=True), nn.GRU(5, 4, batch_first=True)
        self.norm, self.linear = nn.BatchNorm1d(4), nn.Linear(4, 5)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = self.first(pack(x, lengths, batch_first=True, enforce_sorted=False))[0]
        rows = torch.relu(self.linear(self.norm(y.data)))
        z = self.second(PackedSequence(rows, y.batch_sizes, y.sorted_indices, y.unsorted_indices))[0]
        return unpack(z, batch_first=True, padding_value=-1.0, total_length=x.size(1))[0]


MODULES = {
    "lstm": Tagger,
    "gru": lambda: Tagger(nn.GRU),
    "rnn both ways": lambda: Tagger(nn.RNN, bidirectional=True),
    "last": Last,
    "on data": OnData,
}


@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.parametrize("name", MODULES)
def test_ragged_batches(name, how):
    torch.manual_seed(0)
    module, x = MODULES[name]().eval(), torch.randn(3, 6, 3)
    lengths = torch.tensor([6, 4, 2])
    made = torch.jit.script(module) if how == "script" else torch.jit.trace(module, (x, lengths), check_trace=False)
    buffer = io.BytesIO()
    torch.jit.save(made, buffer)
    graph = to_graph(buffer.getvalue(), example=(x, lengths))
    shapes = [([str(s) for s in graph.shape(p.tensor)], graph.tensors[p.tensor].dtype) for p in graph.inputs]
    assert shapes == [(["batch", "frames", "3"], "float32"), (["batch"], "int32")]
    for ragged in (lengths, torch.tensor([2, 6, 4]), torch.tensor([1, 1, 5])):
        with torch.no_grad():
            right = module(x, ragged).numpy()
        answer = reference.run(graph, {"x": x.numpy(), "lengths": ragged.numpy()})[0]["output"]
        answer = answer[:, : right.shape[1]] if right.ndim == 3 else answer
        np.testing.assert_allclose(answer, right, atol=2e-6)
