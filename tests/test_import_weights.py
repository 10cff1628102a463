"""Checkpoints and state dicts: what is read, and the networks recognised in them."""

from __future__ import annotations

import collections

import numpy as np
import pytest
from shared import MODELS, needs_models
from torch_helpers import B, Classifier, T, agrees, run, saved

import lstm_edge
from lstm_edge.errors import FormatError, UnsupportedModelError
from lstm_edge.importers.network.model import read
from lstm_edge.importers.network.weights import read_weights

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(1)


@needs_models
def test_cwru():
    ref = np.load(MODELS / "cwru/lstm_model.ref.npz")
    graph = read(MODELS / "cwru/lstm_model.pt", assume=True)
    assert np.abs(run(graph, ref["x"])[0] - ref["y"]).max() <= 1e-5
    assert any("last frame" in n for n in graph.metadata["notes"])


@needs_models
def test_real_checkpoints_are_read_as_tensors():
    safetensors = pytest.importorskip("safetensors.numpy")
    path = MODELS / "silero_vad/silero_vad_16k.safetensors"
    ours, theirs = read_weights(path).arrays, safetensors.load_file(path)
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[k], theirs[k]) for k in ours)
    with pytest.raises(UnsupportedModelError, match="stft_conv"):
        read(path)
    path = MODELS / "gtcrn/stream_model_trained_on_dns3.tar"
    ours, theirs = read_weights(path).arrays, torch.load(path, map_location="cpu")["model"]
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[k], theirs[k].numpy()) for k in ours)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_every_tensor_of_both_formats(new, protocol):
    tensors = {
        "f": torch.randn(3, 4),
        "view": torch.arange(12.0).view(3, 4)[1:, ::2],
        "t": torch.randn(2, 3).t(),
        "half": torch.randn(5).half(),
        "bfloat16": torch.randn(5).bfloat16(),
        "long": torch.arange(4),
        "flag": torch.tensor([True]),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
        "parameter": nn.Parameter(torch.randn(2)),
    }
    optimizer = torch.optim.Adam([tensors["parameter"]])
    tensors["parameter"].sum().backward()
    optimizer.step()
    data = saved(
        {"epoch": np.float64(3), "model": collections.OrderedDict(tensors), "optimizer": optimizer.state_dict()},
        new,
        protocol,
    )
    weights = read_weights(data)
    found = weights.arrays
    assert found.keys() == tensors.keys() and weights.key == "model" and "model" in weights.notes[0]
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(
            found[name], tensor.detach().float().numpy() if name == "bfloat16" else tensor.detach().numpy()
        )


@pytest.mark.parametrize("new", [True, False])
def test_a_pickled_module_gives_its_state_dict(new):
    module = Classifier()
    found = read_weights(saved(module, new)).arrays
    assert {k: v.shape for k, v in found.items()} == {k: tuple(v.shape) for k, v in module.state_dict().items()}
    agrees(read(saved(module, new), options={"output": "softmax"}, assume=True), module, torch.randn(B, T, 4))


def test_cuda_tags_and_dataparallel_prefixes_do_not_matter():
    module = Classifier()
    prefixed = {f"module.{k}": v for k, v in module.state_dict().items()}
    data = saved({"state_dict": prefixed}, new=False).replace(b"cpu", b"gpu")  # the location of every storage
    agrees(read(data, options={"output": "softmax"}, assume=True), module, torch.randn(B, T, 4))


class Stack(nn.Module):
    def __init__(self, kind, layers=1, both=False, **more):
        super().__init__()
        self.embed = nn.Embedding(11, 7)
        self.rnn = getattr(nn, kind)(7, 6, layers, bidirectional=both, batch_first=True, **more)
        width = (more.get("proj_size") or 6) * (2 if both else 1)
        self.hidden, self.out = nn.Linear(width, 9), nn.Linear(9, 2)

    def forward(self, ids):
        return self.out(torch.relu(self.hidden(self.rnn(self.embed(ids))[0][:, -1])))


@pytest.mark.parametrize(
    "kind, layers, both, more",
    [
        ("LSTM", 1, False, {}),
        ("LSTM", 2, True, {}),
        ("LSTM", 2, True, {"proj_size": 3}),
        ("GRU", 2, False, {}),
        ("RNN", 1, True, {}),
        ("GRU", 1, True, {"bias": False}),
    ],
)
def test_stacks_are_recognised_from_names_and_shapes(kind, layers, both, more):
    module = Stack(kind, layers, both, **more)
    graph = read(saved(module.state_dict()), assume=True)
    assert any("relu between Linear" in n for n in graph.metadata["notes"])
    agrees(graph, module, torch.randint(0, 11, (B, T)))
    live = {k: v for k, v in module.state_dict().items()}
    agrees(read(live, assume=True), module, torch.randint(0, 11, (B, T)))


def test_safetensors_in_alphabetical_order():
    safetensors = pytest.importorskip("safetensors.torch")
    module = Stack("GRU")
    data = safetensors.save(module.state_dict())
    graph = read(data, assume=True)
    assert [n.op for n in graph.nodes][:2] == ["Gather", "GRU"]
    agrees(graph, module, torch.randint(0, 11, (B, T)))


def test_options_change_what_is_assumed():
    module = nn.ModuleDict({"rnn": nn.RNN(3, 4, nonlinearity="relu", batch_first=True), "out": nn.Linear(4, 2)})

    class Every(nn.Module):
        def forward(self, x):
            return torch.sigmoid(module["out"](module["rnn"](x)[0]))

    graph = read(
        module.state_dict(), options={"head": "every", "nonlinearity": "relu", "output": "sigmoid"}, assume=True
    )
    agrees(graph, Every(), torch.randn(B, T, 3))
    with pytest.raises(UnsupportedModelError, match="head.*expected one of last, every, mean, final"):
        lstm_edge.convert(module.state_dict(), options={"head": "first"}, assume=True)


def test_ambiguous_weights_are_listed():
    two = {"a.weight": torch.zeros(4, 4), "b.weight": torch.zeros(4, 4)}
    with pytest.raises(UnsupportedModelError, match=r"no recurrence.*a.weight \(4, 4\)"):
        read(two)
    lstm = {f"l.{k}": v for k, v in nn.LSTM(3, 4).state_dict().items()}
    with pytest.raises(UnsupportedModelError, match="in no order"):
        read({**lstm, "fc.weight": torch.zeros(2, 5), "fc.bias": torch.zeros(2)})
    with pytest.raises(UnsupportedModelError, match="reverse"):
        read({**lstm, "l.weight_ih_l0_reverse": torch.zeros(16, 3)})
    with pytest.raises(UnsupportedModelError, match="'generator_a', 'generator_b'"):
        read(saved({"generator_a": lstm, "generator_b": lstm}))


@pytest.mark.filterwarnings("ignore")
def test_archives_of_torch_package(tmp_path):
    module = nn.LSTM(3, 4)
    optimizer = {"lr": 0.1}

    def packaged(name, **pickled):
        with torch.package.PackageExporter(tmp_path / name) as archive:
            archive.extern(["torch.**", "numpy.**"])
            for resource, value in pickled.items():
                archive.save_pickle("model", f"{resource}.pkl", value)
        return tmp_path / name

    one = packaged("one.pt", net=module)
    several = packaged("several.pt", net=module.state_dict(), optim=optimizer)
    for weights in (read_weights(one, described=False), read_weights(several, "model/net.pkl")):
        for name, tensor in module.state_dict().items():
            np.testing.assert_array_equal(weights.arrays[name], tensor.numpy())
    data = one.read_bytes()
    with pytest.raises(FormatError):
        read_weights(data[: len(data) // 2])
