"""TorchScript that writes in place, to its own buffers too: they are states of the stream."""

import io

import numpy as np
import pytest

import lstm_edge
from lstm_edge import reference
from lstm_edge.convert import to_graph
from lstm_edge.errors import UnsupportedModelError
from lstm_edge.format import to_bytes

torch = pytest.importorskip("torch")
nn, Tensor = torch.nn, torch.Tensor


class Policy(nn.Module):
    """A robot's policy as published: the state of its LSTM lies in two buffers."""

    def __init__(self):
        super().__init__()
        self.mem, self.head = nn.LSTM(3, 4), nn.Linear(4, 2)
        self.register_buffer("h", torch.full((1, 1, 4), 0.25))
        self.register_buffer("c", torch.zeros(1, 1, 4))

    def forward(self, obs: Tensor) -> Tensor:
        y, (h, c) = self.mem(obs.unsqueeze(0), (self.h, self.c))
        self.h[:] = h
        self.c[:] = c
        return self.head(y.squeeze(0))


class Pieces(nn.Module):
    """Writes to parts of a buffer, through views and by arithmetic in place."""

    def __init__(self):
        super().__init__()
        self.i, self.r = nn.Linear(3, 4), nn.Linear(4, 4)
        self.register_buffer("h", torch.ones(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        alias = self.h
        self.h.copy_(torch.tanh(self.i(x) + self.r(self.h)))
        self.h[0, 1:3] = 0.5
        self.h.t()[3].mul_(2.0)
        self.h[..., 0].zero_()
        self.h += 0.125
        return alias * 2


class Assigned(nn.Module):
    """Sets its buffer anew, which what was read before does not see."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 4)
        self.register_buffer("state", torch.zeros(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        before = self.state
        self.state = self.cell(x, self.state)
        return self.state - before


class OverFrames(nn.Module):
    """Writes to its buffer at every frame of a loop."""

    def __init__(self):
        super().__init__()
        self.i, self.r = nn.Linear(3, 4), nn.Linear(4, 4)
        self.register_buffer("h", torch.zeros(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        out: list[Tensor] = []
        for t in range(x.size(1)):
            self.h[:] = torch.tanh(self.i(x[:, t]) + self.r(self.h))
            out.append(self.h.clone())
        return torch.stack(out, 1)


class Lazy(nn.Module):
    """Has no state before its first call."""

    h: Tensor | None

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 4)
        self.h = None

    def forward(self, x: Tensor) -> Tensor:
        h = self.h
        if h is None:
            h = torch.zeros(1, x.size(0), 4)
        y, self.h = self.gru(x.unsqueeze(0), h)
        return y.squeeze(0)


class Resets(nn.Module):
    """Makes its state anew at the first call, and wherever the rate changes."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(3, 4)
        self.state, self.rate = torch.zeros(0), 0

    @torch.jit.export
    def reset(self, batch: int):
        self.state = torch.zeros(2, batch, 4)

    def forward(self, x: Tensor, rate: int = 16000) -> Tensor:
        if self.rate != rate:
            self.reset(x.size(0))
        h, c = self.cell(x, (self.state[0], self.state[1]))
        self.state, self.rate = torch.stack([h, c]), rate
        return h


class Held(nn.Module):
    """Keeps its states in a tuple and a dict."""

    def __init__(self):
        super().__init__()
        self.lstm, self.cell = nn.LSTM(3, 4), nn.GRUCell(4, 4)
        self.hc = (torch.ones(1, 1, 4), torch.zeros(1, 1, 4))
        self.more: dict[str, Tensor] = {"h": torch.zeros(1, 4)}

    def forward(self, x: Tensor) -> Tensor:
        y, self.hc = self.lstm(x.unsqueeze(0), self.hc)
        self.more["h"] = self.cell(y.squeeze(0), self.more["h"])
        return self.more["h"]


class StartsElsewhere(Lazy):
    def forward(self, x: Tensor) -> Tensor:
        h = self.h
        if h is None:
            h = torch.ones(1, x.size(0), 4)
        y, self.h = self.gru(x.unsqueeze(0), h)
        return y.squeeze(0)


class Copies(nn.Module):
    """What is a copy keeps its own values, and what is a view does not."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = x.clone()
        y.add_(1.0)
        first, second = y.chunk(2, 0)
        first.mul_(3.0)
        second[:, 0] = x[0, 0]
        return x + y, first - second, y.t()


class MayBeACopy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        flat = x.transpose(0, 1).reshape(-1)
        flat.add_(1.0)
        return x + 1.0


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


def scripted(module):
    torch.manual_seed(0)
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(module().eval()), buffer)
    return buffer.getvalue()


def loaded(data):
    return torch.jit.load(io.BytesIO(data))


POLICIES = [(Policy, "obs"), *((module, "x") for module in (Pieces, Assigned, Lazy, Resets, Held))]


@pytest.mark.parametrize("module, name", POLICIES)
def test_buffers_are_states_of_the_stream(module, name):
    data = scripted(module)
    model = lstm_edge.load(to_bytes(to_graph(data, shapes={name: (1, 3)})))
    own = loaded(data)
    frames = np.random.default_rng(0).normal(size=(3, 1, 3)).astype(np.float32)
    with torch.no_grad():
        right = np.stack([own(torch.from_numpy(x)).numpy().copy() for x in frames])
    stream = model.stream()
    for _ in range(2):  # and once more after a reset
        answers = np.stack([np.asarray(stream.step(x)) for x in frames])
        np.testing.assert_allclose(answers.reshape(right.shape), right, atol=2e-6)
        stream.reset()
    np.testing.assert_allclose(model.run(frames), right, atol=2e-6)


def test_a_policy_needs_no_shape():
    graph = to_graph(scripted(Policy))
    assert [(p.name, graph.shape(p.tensor)) for p in graph.inputs] == [("obs", (1, 3))]
    assert [(s.name, s.shape) for s in graph.states] == [("c", (1, 1, 4)), ("h", (1, 1, 4))]


def test_a_buffer_written_at_every_frame_is_the_state_of_a_recurrence():
    data = scripted(OverFrames)
    graph = to_graph(data, shapes={"x": (1, "frames", 3)})
    assert [n.op for n in graph.nodes if n.op in ("LSTM", "GRU", "RNN")] == ["RNN"]
    assert graph.metadata["streaming"]["supported"] and [s.name for s in graph.states] == ["h"]
    x = np.random.default_rng(0).normal(size=(1, 5, 3)).astype(np.float32)
    with torch.no_grad():
        right = loaded(data)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(reference.run(graph, {"x": x})[0]["output"], right, atol=2e-6)


def test_copies_and_views():
    data = scripted(Copies)
    graph = to_graph(data, shapes={"x": (2, 3)})
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    with torch.no_grad():
        right = loaded(data)(torch.from_numpy(x))
    for answer, wanted in zip(reference.run(graph, {"x": x})[0].values(), right, strict=True):
        np.testing.assert_allclose(answer, wanted.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "module, why",
    [
        (MayBeACopy, "may be a copy"),
        (Counts, r"'calls' is another at every call \(1, then 2\).*register it as a buffer"),
        (StartsElsewhere, "do not start as zeros: register them as buffers"),
    ],
)
def test_what_only_a_run_can_tell_is_refused(module, why):
    with pytest.raises(UnsupportedModelError, match=why):
        to_graph(scripted(module), shapes={"x": (2, 3)})
