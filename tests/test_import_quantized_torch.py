"""Dynamically quantised torch modules: TorchScript of them, live ones, pickles and state dicts."""

import io

import numpy as np
import pytest

import lstm_edge
from lstm_edge import reference
from lstm_edge.convert import to_graph
from lstm_edge.errors import UnsupportedModelError
from lstm_edge.importers.network.weights import read_weights

torch = pytest.importorskip("torch")
nn, Tensor = torch.nn, torch.Tensor
pytestmark = pytest.mark.filterwarnings("ignore")


class Tagger(nn.Module):
    def __init__(self, kind=nn.LSTM, inputs=5, **options):
        super().__init__()
        self.rnn = kind(inputs, 6, batch_first=True, **options)
        self.head = nn.Linear(12 if options.get("bidirectional") else 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


class Cells(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.LSTMCell(5, 6), nn.GRUCell(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        h, c, g = torch.zeros(x.size(1), 6), torch.zeros(x.size(1), 6), torch.zeros(x.size(1), 4)
        out: list[Tensor] = []
        for t in range(x.size(0)):
            h, c = self.first(x[t], (h, c))
            g = self.second(h, g)
            out.append(g)
        return torch.stack(out)


def quantized(module, dtype=torch.qint8):
    torch.manual_seed(0)
    kinds = {nn.LSTM, nn.GRU, nn.Linear, nn.LSTMCell, nn.GRUCell}
    return torch.ao.quantization.quantize_dynamic(module().eval(), kinds, dtype=dtype)


def saved(value, save=torch.save):
    buffer = io.BytesIO()
    save(value, buffer)
    return buffer.getvalue()


MODULES = {
    "lstm": (lambda: Tagger(num_layers=2), ["LSTM", "LSTM"]),
    "both directions": (lambda: Tagger(bidirectional=True), ["LSTM"]),
    "gru": (lambda: Tagger(nn.GRU), ["GRU"]),
    "cells": (Cells, ["LSTM", "GRU"]),
}


@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16])
@pytest.mark.parametrize("name", MODULES)
def test_scripts_have_the_float_answers_of_their_rounded_weights(name, dtype):
    make, ops = MODULES[name]
    module = quantized(make, dtype)
    x = torch.randn(4, 7, 5)
    right = module(x).detach().numpy()
    graph = to_graph(saved(torch.jit.script(module), torch.jit.save), example=x)
    assert [n.op for n in graph.nodes if n.op in ("LSTM", "GRU")] == ops
    (answer,) = reference.run(graph, {"x": x.numpy()})[0].values()
    coarse = dtype == torch.qint8
    assert np.abs(answer - right).max() < (0.02 if coarse else 1e-6)
    assert ("arithmetic" in graph.metadata) == coarse
    assert any("bits became the float32 numbers" in note for note in graph.metadata["notes"])


def test_a_live_module_is_verified_within_its_rounding():
    model = lstm_edge.convert(quantized(Tagger), example=torch.randn(2, 7, 5))
    assert [op for op, _ in model.ops] == ["LSTM", "Dense"]
    assert [str(s) for s in model.inputs[0].shape] == ["batch", "frames", "5"]


@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True, "num_layers": 2}])
def test_pickled_modules_and_state_dicts(options):
    module = quantized(lambda: Tagger(**options))
    plain = Tagger(**options)
    for source in (saved(module), saved(module.state_dict()), module.state_dict()):
        weights = read_weights(source, described=False)
        assert list(weights.arrays) == list(plain.state_dict())
        assert any("packed weights" in note for note in weights.notes)
        with torch.no_grad():
            plain.load_state_dict({n: torch.from_numpy(a.copy()) for n, a in weights.arrays.items()})
            x = torch.randn(2, 4, 5)
            assert (plain(x) - module(x)).abs().max() < 0.02


def test_two_layers_or_two_directions_are_not_guessed():
    module = quantized(lambda: Tagger(inputs=6, num_layers=2))
    assert "rnn.weight_ih_l1" in read_weights(saved(module), described=False).arrays
    with pytest.raises(UnsupportedModelError, match="'rnn'.*two layers or two directions; save the whole module"):
        read_weights(saved(module.state_dict()), described=False)
