"""Weights without a network: the description that they suggest, what it assumes, and that nothing is built unsaid."""

from __future__ import annotations

import json

import numpy as np
import pytest
from shared import ROOT
from torch_helpers import agrees

import lstm_edge
from lstm_edge.cli import _run
from lstm_edge.errors import FormatError, UnsupportedModelError
from lstm_edge.files import toml
from lstm_edge.importers.network.model import read, suggest
from lstm_edge.ir.notes import assumptions

torch = pytest.importorskip("torch")
nn = torch.nn


class Net(nn.Module):
    """A recurrence, what stands between it and a Linear layer, and what stands behind that."""

    def __init__(self, between, behind, both=False):
        super().__init__()
        self.rnn, self.out = nn.LSTM(5, 6, bidirectional=both, batch_first=True), nn.Linear(12 if both else 6, 3)
        self.between, self.behind = between, behind

    def forward(self, x):
        return self.behind(self.out(self.between(*self.rnn(x))))


def last(y, _):
    return y[:, -1]


def finals(_, states):
    return torch.cat([states[0][-2], states[0][-1]], 1)


# What the weights do not say, and the correction of the suggested description that says it.
NETWORKS = {
    "as suggested": (Net(last, nn.Identity()), []),
    "a sigmoid ends it": (Net(last, torch.sigmoid), [('activation = "linear"', 'activation = "sigmoid"')]),
    "a relu stands before the Linear": (
        Net(lambda y, _: torch.relu(y[:, -1]), nn.Identity()),
        [('name = "last_frame"', 'name = "last_frame"\n[[layer]]\ntype = "activation"\nactivation = "relu"')],
    ),
    "the two directions joined": (
        Net(finals, nn.Identity(), both=True),
        [
            ('weights = "rnn"', 'weights = "rnn"\nreturns = "last"'),
            ('[[layer]]\ntype = "last"\nname = "last_frame"\n', ""),
        ],
    ),
    "an answer for every frame": (
        Net(lambda y, _: y, nn.Identity()),
        [('[[layer]]\ntype = "last"\nname = "last_frame"\n', "")],
    ),
    "the mean of all frames": (
        Net(lambda y, _: y.mean(1), nn.Identity()),
        [('type = "last"\nname = "last_frame"', 'type = "mean"')],
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_corrected_suggestion_is_the_network(name, tmp_path):
    torch.manual_seed(0)
    module, corrections = NETWORKS[name]
    torch.save(module.state_dict(), tmp_path / "w.pt")
    with pytest.raises(UnsupportedModelError, match=r"weights without a network.*assume=True") as refused:
        lstm_edge.convert(tmp_path / "w.pt")
    text = lstm_edge.suggest_network(tmp_path / "w.pt", tmp_path / "net.toml")
    assert refused.value.below == text == (tmp_path / "net.toml").read_text() and text.count("assumed: ") == 3
    for found, better in corrections:
        assert found in text
        text = text.replace(found, better)
    graph = read(tmp_path / "w.pt", network=toml.loads(text))
    agrees(graph, module, torch.randn(2, 7, 5))
    assert assumptions(graph.metadata) == []


def test_every_screen_says_what_was_assumed(tmp_path, capsys):
    torch.save(Net(last, torch.sigmoid).state_dict(), tmp_path / "w.pt")
    path = str(tmp_path / "w.lstm")
    assert _run(["convert", str(tmp_path / "w.pt"), "-o", path]) == 1
    error = capsys.readouterr().err
    assert "--write-network net.toml" in error and "--assume" in error and '\n[[layer]]\ntype = "lstm"\n' in error
    assert not (tmp_path / "w.lstm").exists()
    assert _run(["convert", str(tmp_path / "w.pt"), "-o", path, "--assume"]) == 0
    screens = [capsys.readouterr().out]
    for command in (["info", path], ["verify", path]):
        assert _run(command) == 0
        screens.append(capsys.readouterr().out)
    for screen in screens:
        assert screen.count("ASSUMED: ") == 3 and "nothing after the last layer" in screen
    for command in ("info", "verify"):
        assert _run([command, path, "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)["assumed"]) == 3


def test_a_network_is_written_and_never_written_over(tmp_path, capsys):
    weights, net = ROOT / "examples/digits/digits.pt", tmp_path / "net.toml"
    assert _run(["convert", str(weights), "--write-network", str(net)]) == 0
    assert f"--network {net}" in capsys.readouterr().out.replace("\n", "")
    net.write_text(net.read_text().replace('"linear"', '"softmax"'))
    assert _run(["convert", str(weights), "--write-network", str(net)]) == 1
    assert "expected a new file" in capsys.readouterr().err and '"softmax"' in net.read_text()
    assert _run(["convert", str(weights), "--network", str(net), "-o", str(tmp_path / "d.lstm")]) == 0
    assert "ASSUMED" not in capsys.readouterr().out
    assert _run(["convert", str(weights), "--write-network", str(tmp_path / "n.toml"), "--assume"]) == 2
    assert "--write-network goes without --assume" in capsys.readouterr().err
    assert _run(["convert", str(weights.with_suffix(".onnx")), "--write-network", str(tmp_path / "n.toml")]) == 1
    assert "holds its network" in capsys.readouterr().err
    assert _run(["convert", str(weights.with_suffix(".onnx")), "-o", str(tmp_path / "o.lstm"), "--assume"]) == 1
    assert "--assume: not used for onnx" in capsys.readouterr().err


def test_what_is_known_is_not_assumed(tmp_path):
    state = {f"rnn.{k}": v for k, v in nn.RNN(3, 4).state_dict().items()} | {
        f"out.{k}": v for k, v in nn.Linear(4, 2).state_dict().items()
    }
    known = {"head": "mean", "nonlinearity": "relu", "output": "softmax"}
    suggestion = suggest(state, known)
    assert len(suggestion.assumptions) == 1 and "follow each other" in suggestion.assumptions[0]
    kinds = [layer["type"] for layer in toml.loads(suggestion.text)["layer"]]
    assert kinds == ["rnn", "mean", "dense"]
    assert len(suggest(state).assumptions) == 4


NAMES = ['a"b', "line\nend", "tab\tstop", "del\x7f", "csi\x9b31m", "ü.ß", "]]", "# not a comment"]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_file_ends_a_line(name):
    """Names come out of files: none adds a key or a layer to the description."""
    state = {f"{name}.{k}": v for k, v in nn.GRU(3, 4).state_dict().items()}
    suggestion = suggest(state)
    document = toml.loads(suggestion.text)
    assert [layer["weights"] for layer in document["layer"]] == [name]
    assert not any(ord(c) < 32 and c != "\n" or 127 <= ord(c) < 160 for c in suggestion.text)
    agrees(read(state, assume=True), nn_with(nn.GRU(3, 4, batch_first=True), state, name), torch.randn(2, 5, 3))


def nn_with(module, state, name):
    module.load_state_dict({k.removeprefix(f"{name}."): v for k, v in state.items()})

    class First(nn.Module):
        def forward(self, x):
            return module(x)[0]

    return First()


def test_entries_of_a_checkpoint_are_named_in_the_description(tmp_path):
    module = nn.LSTM(3, 4)
    torch.save({"ema": module.state_dict(), "raw": nn.LSTM(3, 4).state_dict()}, tmp_path / "c.pt")
    with pytest.raises(UnsupportedModelError, match="'ema', 'raw'.*key"):
        suggest(tmp_path / "c.pt")
    text = suggest(tmp_path / "c.pt", {"key": "ema"}).text
    assert toml.loads(text)["key"] == "ema"
    (tmp_path / "net.toml").write_text(text)
    graph = read(tmp_path / "c.pt", network=tmp_path / "net.toml")
    held = [t.data for t in graph.tensors.values() if t.data is not None and t.data.shape == (1, 16, 3)]
    np.testing.assert_array_equal(held[0][0], module.weight_ih_l0.detach().numpy())


def test_a_description_leaves_nothing_to_assume(tmp_path):
    (tmp_path / "net.toml").write_text("convention = 'torch'")
    with pytest.raises(UnsupportedModelError, match="assume: nothing is left"):
        read({"w": np.zeros(3)}, network=tmp_path / "net.toml", assume=True)
    with pytest.raises(FormatError, match="inputs is missing"):
        read({"w": np.zeros(3)}, network=tmp_path / "net.toml")
