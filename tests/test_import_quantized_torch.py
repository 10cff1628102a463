"""Dynamically quantised torch modules: TorchScript of them, live ones, pickles and state dicts."""

import io

import numpy as np
import pytest

import lstm_edge
from lstm_edge import reference
from lstm_edge.convert import to_graph
from lstm_edge.errors import FormatError, UnsupportedModelError
from lstm_edge.files import packed_weights, pickled_tensors
from lstm_edge.files.unpickler import Inert
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


def test_packed_weights_of_another_module_are_not_left_out():
    cell = quantized(lambda: nn.Sequential(nn.LSTMCell(5, 6), nn.Linear(6, 2)))
    with pytest.raises(UnsupportedModelError, match="_packed_weight_ih.*save the whole module as TorchScript"):
        read_weights(saved(cell.state_dict()), described=False)


W, B = np.zeros((4, 3), np.float32), np.zeros(4, np.float32)
LINEAR, CELL = "m.LinearPackedParamsBase", "m.CellParamsBase"


@pytest.mark.parametrize(
    "read, packed",
    [
        (packed_weights.linear, (W, B, B)),
        (packed_weights.linear, (B, B)),
        (packed_weights.linear, (W, B[1:])),
        (packed_weights.linear, (W, "bias")),
        (packed_weights.linear, 3),
        (packed_weights.linear, Inert("torch.ScriptObject", state=((W,), LINEAR))),
        (packed_weights.linear, Inert("torch.ScriptObject", state=("only one",))),
        (packed_weights.linear, Inert("torch.ScriptObject", state=((W, B), [LINEAR]))),
        (packed_weights.cell, Inert("torch.ScriptObject", state=((W, B), CELL))),
        (packed_weights.cell, Inert("torch.ScriptObject", state=((W, B, W, B, (W, W)), CELL))),
        (packed_weights.cell, Inert("torch.ScriptObject", state=(("quantized_dynamic", 1, 2, 3, 4), CELL))),
        (packed_weights.cell, Inert("torch.ScriptObject", state=(("quantized_dynamic", 1, 2, 3, [1, 2]), CELL))),
    ],
)
def test_what_is_no_packed_weight_is_refused(read, packed):
    with pytest.raises(UnsupportedModelError, match="packed weights in"):
        read(packed)


def stored(shape, dtype="int8", quantizer=()):
    count = int(np.prod(shape))
    stride = tuple(int(np.prod(shape[d + 1 :])) for d in range(len(shape)))
    return pickled_tensors.Tensor(
        pickled_tensors.Storage(dtype, count, np.ones(count, dtype)), 0, shape, stride, quantizer=quantizer
    )


def per_channel(scales, zeros, axis=0):
    return pickled_tensors.Global("torch", "per_channel_affine"), scales, zeros, axis


@pytest.mark.parametrize(
    "quantizer",
    [
        per_channel(stored((3,), "float32"), stored((2,), "int64")),
        per_channel(stored((1, 8), "float32"), stored((1, 8), "int64"), 1),
        (pickled_tensors.Global("torch", "per_tensor_affine"), stored((1, 8), "float32"), 0),
        per_channel(
            stored((2,), quantizer=(pickled_tensors.Global("torch", "per_tensor_affine"), 0.5, 0)),
            stored((2,), "int64"),
        ),
    ],
)
def test_scales_that_are_not_one_a_channel_are_refused(quantizer):
    with pytest.raises(FormatError, match="scales"):
        pickled_tensors.materialise(stored((2, 1), quantizer=quantizer), "the file")


def test_a_scale_a_channel():
    quantizer = per_channel(stored((2,), "float32"), stored((2,), "int64"), 1)
    assert np.array_equal(
        pickled_tensors.materialise(stored((3, 2), quantizer=quantizer), "the file"), np.zeros((3, 2), np.float32)
    )
