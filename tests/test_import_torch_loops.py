"""TorchScript loops over an open number of frames against torch: recurrences of any length."""

import numpy as np
import pytest

from lstm_edge import reference
from lstm_edge.convert import to_graph
from lstm_edge.errors import UnsupportedModelError
from lstm_edge.importers.torch.model import read

torch = pytest.importorskip("torch")
nn, Tensor = torch.nn, torch.Tensor


class Listed(nn.Module):
    """An LSTM whose hidden states are collected in a list, from zeros as many as there are sequences."""

    def __init__(self):
        super().__init__()
        self.i, self.r = nn.Linear(5, 28), nn.Linear(7, 28)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.size(1), 7)
        c = torch.zeros(x.size(1), 7)
        out: list[Tensor] = []
        for t in range(x.size(0)):
            i, f, g, o = torch.split(self.i(x[t]) + self.r(h), 7, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            out += [h]
        return torch.stack(out)


class Unbound(nn.Module):
    """A GRU over the frames of x (B,T,I) that unbind gives, its last state an output too."""

    def __init__(self):
        super().__init__()
        self.i, self.r = nn.Linear(5, 12), nn.Linear(4, 12)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        frames = x.unbind(1)
        out: list[Tensor] = []
        for t in range(len(frames)):
            (a, b, c), (d, e, f) = self.i(frames[t]).chunk(3, 1), self.r(h).chunk(3, 1)
            z = torch.sigmoid(b + e)
            h = (1 - z) * torch.tanh(c + torch.sigmoid(a + d) * f) + z * h
            out.append(h)
        return torch.stack(out, 1), h


class Backward(nn.Module):
    """A simple recurrence from the last frame to the first, of which the last state is left."""

    def __init__(self):
        super().__init__()
        self.i, self.r = nn.Linear(5, 6), nn.Linear(6, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.size(1), 6)
        for t in range(x.size(0)):
            h = torch.tanh(self.i(x[x.size(0) - 1 - t]) + self.r(h))
        return h


class Sine(Backward):
    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.size(1), 6)
        for t in range(x.size(0)):
            h = torch.sin(self.i(x[t]) + self.r(h))
        return h


class Unfolded(Backward):
    """A liquid cell: three small steps at every frame, none of which is a known cell."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.size(0), 6)
        for t in range(x.size(1)):
            for _ in range(3):
                h = h + 0.1 * torch.sin(self.i(x[:, t]) + self.r(h))
        return h


class Kept(Backward):
    """What a loop changes is another variable than the one it started from."""

    def forward(self, x: Tensor, first: Tensor) -> Tensor:
        h = first
        for t in range(x.size(0)):
            h = torch.tanh(self.i(x[t]) + self.r(h))
        return h - first


class Cells(nn.Module):
    """Two layers of cells, their states in a list, called frame by frame."""

    def __init__(self):
        super().__init__()
        self.cells = nn.ModuleList([nn.GRUCell(5, 4), nn.GRUCell(4, 4)])
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hs = [torch.zeros(x.size(0), 4), torch.zeros(x.size(0), 4)]
        out: list[Tensor] = []
        for t in range(x.size(1)):
            z = x[:, t]
            for i, cell in enumerate(self.cells):
                hs[i] = cell(z, hs[i])
                z = hs[i]
            out.append(self.head(z))
        return torch.stack(out, 1), hs[1]


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(5, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, c = torch.zeros(x.size(0), 4), torch.zeros(x.size(0), 4)
        out: list[Tensor] = []
        for x_t in x.unbind(1):
            h, c = self.cell(x_t, (h, c))
            out.append(h)
        return torch.stack(out, 1), c


class FrameByFrame(nn.Module):
    """A stack of two layers, called with one frame at a time."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        state = (torch.zeros(2, x.size(1), 4), torch.zeros(2, x.size(1), 4))
        out: list[Tensor] = []
        for t in range(x.size(0)):
            y, state = self.lstm(x[t : t + 1], state)
            out.append(y)
        return torch.cat(out, 0), state[0]


class Turned(Backward):
    """Lists of a loop from the last frame to the first, in the order of time again in three ways."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        h = torch.zeros(x.size(1), 6)
        a: list[Tensor] = []
        b: list[Tensor] = []
        c: list[Tensor] = []
        for t in range(x.size(0) - 1, -1, -1):
            h = torch.tanh(self.i(x[t]) + self.r(h))
            a.insert(0, h)
            b.append(h)
            c = [h] + c
        d = torch.stack(b[::-1])
        b.reverse()
        return torch.stack(a), torch.stack(b), torch.stack(c), d


class Counted(Backward):
    """A while loop, a comprehension over its list, and a tensor whose places a loop writes."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, t = torch.zeros(x.size(1), 6), 0
        out = [h]
        while t < x.size(0):
            h = torch.tanh(self.i(x[t]) + self.r(h))
            out.append(h)
            t += 1
        y = torch.zeros(x.size(0), x.size(1), 6)
        for n, frame in enumerate(out[1:]):
            y[n] = torch.relu(self.r(frame))
        return y, torch.cat([torch.tanh(v) for v in y.unbind(0)]).view(t, -1, 6)


class InPlace(Backward):
    """A state that is written to in place, and another that keeps what the first started as."""

    def forward(self, x: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        h, out = first.clone(), torch.zeros(0, x.size(1), 6)
        latest = first
        for t in range(x.size(0)):
            h.copy_(torch.tanh(self.i(x[t]) + self.r(h)))
            latest = h + first
            out = torch.cat([out, latest.unsqueeze(0)])
        return out, h


def scripted(module: nn.Module, path) -> str:
    torch.manual_seed(0)
    torch.jit.script(module.eval()).save(str(path / "m.pt"))
    return path / "m.pt"


CASES = {
    "listed": (Listed, {"x": ["frames", "batch", 5]}, "LSTM"),
    "listed_one": (Listed, {"x": ["frames", 1, 5]}, "LSTM"),
    "unbound": (Unbound, {"x": ["batch", "frames", 5], "h": ["batch", 4]}, "GRU"),
    "backward": (Backward, {"x": ["frames", "batch", 5]}, "RNN"),
    "cell": (Cell, {"x": ["batch", "frames", 5]}, "LSTM"),
    "cells": (Cells, {"x": ["batch", "frames", 5]}, "GRU GRU"),
    "frame_by_frame": (FrameByFrame, {"x": ["frames", "batch", 5]}, "LSTM LSTM"),
    "turned": (Turned, {"x": ["frames", "batch", 5]}, "RNN"),
    "counted": (Counted, {"x": ["frames", "batch", 5]}, "RNN"),
    "in_place": (InPlace, {"x": ["frames", "batch", 5], "first": ["batch", 6]}, "RNN"),
    "kept": (Kept, {"x": ["frames", "batch", 5], "first": ["batch", 6]}, "RNN"),
}


@pytest.mark.parametrize("name", CASES)
def test_open_loops_are_recurrences(name, tmp_path):
    make, shapes, op = CASES[name]
    module = make()
    graph = read(scripted(module, tmp_path), shapes=shapes)
    assert [n.op for n in graph.nodes if n.op in ("LSTM", "GRU", "RNN")] == op.split()
    rng = np.random.default_rng(0)
    for frames in (1, 6):
        sizes = {"frames": frames, "batch": 3}
        given = {n: rng.normal(size=[sizes.get(s, s) for s in shape]).astype(np.float32) for n, shape in shapes.items()}
        with torch.no_grad():
            expected = module(*map(torch.from_numpy, given.values()))
        answers = reference.run(graph, given)[0].values()
        expected = expected if isinstance(expected, tuple) else (expected,)
        assert len(answers) == len(expected)
        for a, e in zip(answers, expected):
            assert a.shape == tuple(e.shape) and np.abs(a - e.numpy()).max() < 2e-6


def test_listed_frames_of_known_number(tmp_path):
    module = Listed()
    graph = read(scripted(module, tmp_path), shapes={"x": [4, 2, 5]})
    x = np.random.default_rng(0).normal(size=(4, 2, 5)).astype(np.float32)
    (answer,) = reference.run(graph, {"x": x})[0].values()
    assert np.abs(answer - module(torch.from_numpy(x)).detach().numpy()).max() < 2e-6


def test_an_open_loop_that_is_no_recurrence_is_refused_with_the_reason(tmp_path):
    with pytest.raises(UnsupportedModelError, match=r"no recurrence that can be told \(.*sin.*shapes="):
        read(scripted(Sine(), tmp_path), shapes={"x": ["frames", "batch", 5]})


@pytest.mark.parametrize("how", ["script", "trace"])
def test_what_stays_unrolled_says_so_and_is_for_its_frames_alone(how, tmp_path):
    module, x = Unfolded().eval(), torch.randn(2, 5, 5)
    if how == "script":
        graph = to_graph(scripted(module, tmp_path), shapes={"x": ("batch", 5, 5)})
    else:
        torch.jit.trace(module, (x,), check_trace=False).save(str(tmp_path / "m.pt"))
        graph = to_graph(tmp_path / "m.pt", example=x)
    assert [str(s) for s in graph.shape(graph.inputs[0].tensor)] == ["batch", "5", "5"]
    assert any("left unrolled: a loop over the 5 places" in note for note in graph.metadata["notes"])
    assert sum("unrolled 5 trips into" in note for note in graph.metadata["notes"]) == (how == "script")
    answer = reference.run(graph, {"x": x.numpy()})[0]["output"]
    assert np.abs(answer - module(x).detach().numpy()).max() < 2e-6
