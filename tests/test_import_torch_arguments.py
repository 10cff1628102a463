"""Arguments of TorchScript's forward: tuples, lists, dicts, numbers, and sizes that meet by chance."""

import io

import numpy as np
import pytest

from lstm_edge import reference
from lstm_edge.convert import to_graph
from lstm_edge.errors import UnsupportedModelError
from lstm_edge.importers.torch.model import read
from lstm_edge.options import named_as_on_command_line

torch = pytest.importorskip("torch")
nn, Tensor = torch.nn, torch.Tensor


def saved(script):
    buffer = io.BytesIO()
    torch.jit.save(script, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def stateful():
    """An LSTM of two layers, traced with four frames: forward(input, hx), hx a tuple."""
    torch.manual_seed(0)
    z = torch.zeros(2, 1, 3)
    return saved(torch.jit.trace(nn.LSTM(2, 3, 2).eval(), (torch.randn(4, 1, 2), (z, z)), check_trace=False))


def states(graph):
    return [(s.name, s.shape) for s in graph.states]


@pytest.mark.parametrize(
    "hx",
    [
        {"hx.0": (2, 1, 3), "hx.1": (2, 1, 3)},
        {"hx": ((2, 1, 3), (2, 1, 3))},
        {"hx.1": (2, 1, 3), "hx.0": (2, 1, 3)},
    ],
)
def test_a_tuple_has_a_shape_for_each_of_its_tensors(stateful, hx):
    graph = to_graph(stateful, shapes={"input": ("frames", 1, 2), **hx})
    assert states(graph) == [("h0", (2, 1, 3)), ("c0", (2, 1, 3))] and graph.metadata["streaming"]["supported"]
    x = np.random.default_rng(0).normal(size=(5, 1, 2)).astype(np.float32)
    z = torch.zeros(2, 1, 3)
    right = torch.jit.load(io.BytesIO(stateful))(torch.from_numpy(x), (z, z))[0].detach().numpy()
    np.testing.assert_allclose(reference.run(graph, {"input": x})[0]["output"], right, atol=1e-6)


@pytest.mark.parametrize("shapes", [{"hx": (2, 1, 3)}, {}, {"hx.0": (2, 1, 3)}, {"hx.0": (2, 1, 3), "hx.2": (2, 1, 3)}])
def test_what_is_to_be_typed_for_a_tuple_is_said(stateful, shapes):
    with named_as_on_command_line(), pytest.raises(UnsupportedModelError) as refusal:
        read(stateful, shapes={"input": ("frames", 1, 2), **shapes})
    assert "--shape hx.0=1,batch,40 and --shape hx.1=1,batch,40" in str(refusal.value)


@pytest.mark.parametrize("frames", [2, 3, 4])
def test_frames_of_an_example_that_are_as_many_as_layers_or_features(stateful, frames):
    z = torch.zeros(2, 1, 3)
    graph = to_graph(stateful, example=(torch.randn(frames, 1, 2), (z, z)))
    assert [(p.name, [str(s) for s in graph.shape(p.tensor)]) for p in graph.inputs] == [
        ("input", ["frames", "batch", "2"])
    ]
    assert [[str(n) for n in s.shape] for s in graph.states] == [["2", "batch", "3"]] * 2


class Chooses(nn.Module):
    """Takes numbers besides its input."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor, keep: int, scale: float = 1.0, flip: bool = False, h: Tensor | None = None) -> Tensor:
        y = self.gru(x, h)[0][:, :, :keep] * scale
        return -y if flip else y


class Gathers(nn.Module):
    def forward(self, parts: list[Tensor], more: dict[str, Tensor]) -> Tensor:
        return torch.cat(parts, 1) + more["bias"]


def test_numbers_are_constants():
    torch.manual_seed(0)
    module = Chooses().eval()
    data = saved(torch.jit.script(module))
    x = torch.randn(2, 5, 3)
    shapes = {"x": ("batch", "frames", 3)}
    for constants, given in (({"keep": 2}, (2,)), ({"keep": 3, "scale": 0.5, "flip": True}, (3, 0.5, True))):
        graph = to_graph(data, shapes=shapes, constants=constants)
        answer = reference.run(graph, {"x": x.numpy()})[0]["output"]
        np.testing.assert_allclose(answer, module(x, *given).detach().numpy(), atol=1e-6)
    with named_as_on_command_line():
        with pytest.raises(UnsupportedModelError, match="give --set keep="):
            read(data, shapes=shapes)
        with pytest.raises(
            UnsupportedModelError, match="--set kept=.*expected a parameter of forward: x: Tensor, keep: int"
        ):
            read(data, shapes=shapes, constants={"kept": 2})


def test_lists_and_dicts():
    module = Gathers()
    data = saved(torch.jit.script(module))
    graph = to_graph(data, shapes={"parts.0": ("batch", 2), "parts.1": ("batch", 3), "more.bias": (5,)})
    rng = np.random.default_rng(0)
    given = {p.name: rng.normal(size=s).astype(np.float32) for p, s in zip(graph.inputs, [(4, 2), (4, 3), (5,)])}
    a, b, bias = map(torch.from_numpy, given.values())
    np.testing.assert_allclose(
        reference.run(graph, given)[0]["output"], module([a, b], {"bias": bias}).numpy(), atol=1e-6
    )
