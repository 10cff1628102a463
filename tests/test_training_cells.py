"""Cells to train against the reference in float64, and as ops of a file: whole, streamed, ragged; gaps that are filled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lstm_edge
from lstm_edge import reference
from lstm_edge.errors import LstmEdgeError
from lstm_edge.ir.graph import Graph

torch = pytest.importorskip("torch")
from lstm_edge.training import cells  # noqa: E402
from lstm_edge.training.fill import ForwardFill  # noqa: E402

VARIANTS = ("peephole", "peephole-full", "tanh-output")
SIZES = st.integers(1, 5)


def by_reference(layer, x, lengths):
    """The layer's weights under the LSTM op of docs/ops.md, in float64."""
    graph = Graph()
    names = [graph.input("x", x.shape)]
    names += [graph.constant(w.detach().numpy()) for w in (layer.weight_ih, layer.weight_hh, layer.bias)]
    names += ["", "", graph.constant(lengths) if lengths is not None else "", ""]
    names += [graph.constant(layer.peephole.detach().numpy())] if layer.peephole is not None else []
    directions = len(layer.weight_ih)
    last = "tanh" if layer.kind == "tanh-output" else "sigmoid"
    activations = ["sigmoid", "sigmoid", "tanh", last, "tanh"] * directions
    attrs = {"direction": "bidirectional" if directions == 2 else "forward", "activations": activations}
    graph.output("y", graph.add1("LSTM", names, attrs))
    return reference.run(graph, {"x": x})[0]["y"]


def ragged(batch, frames, seed):
    return np.random.default_rng(seed).integers(0, frames, batch, endpoint=True).astype(np.int32)


@given(st.sampled_from(VARIANTS), SIZES, SIZES, SIZES, SIZES, st.booleans(), st.booleans())
def test_a_variant_computes_what_the_reference_says(kind, inputs, hidden, batch, frames, both, with_lengths):
    torch.manual_seed(inputs)
    layer = cells.VariantLSTM(kind, inputs, hidden, both)
    x = np.random.default_rng(frames).normal(size=(batch, frames, inputs)).astype(np.float32)
    lengths = ragged(batch, frames, hidden) if with_lengths else None
    given_lengths = torch.from_numpy(lengths) if with_lengths else None
    y = layer(torch.from_numpy(x), given_lengths).detach().numpy()
    np.testing.assert_allclose(y, by_reference(layer, x, lengths), atol=1e-6)


@settings(max_examples=20)
@given(st.sampled_from(cells.KINDS), SIZES, SIZES, st.integers(1, 3), st.booleans())
def test_a_ragged_batch_gives_what_each_sequence_gives_alone(kind, inputs, hidden, layers, both):
    torch.manual_seed(hidden)
    module = cells.recurrent(kind, inputs, hidden, layers, bidirectional=both)
    assert module.width == hidden * (2 if both else 1)
    x, lengths = torch.randn(3, 4, inputs), torch.tensor([2, 4, 1])
    y = module(x, lengths)
    assert y.shape == (3, 4, module.width)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(y[row, :length], module(x[row : row + 1, :length])[0], atol=1e-6, rtol=1e-5)
        assert not y[row, length:].any()


def test_residual_layers_add_their_input_where_it_is_as_wide():
    module = cells.recurrent("residual", 3, 4, 2)
    x = torch.randn(2, 5, 3)
    first = module.layers[0](x)
    torch.testing.assert_close(module(x), first + module.layers[1](first))


def test_dropout_stands_between_layers_and_only_in_training():
    module = cells.recurrent("peephole", 3, 64, 2, dropout=0.5)
    x = torch.randn(1, 2, 3)
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))


def test_gradients_reach_all_weights():
    for kind in VARIANTS:
        module = cells.recurrent(kind, 2, 3, 2, bidirectional=True)
        module(torch.randn(2, 4, 2)).sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"kind": "lstm2"}, "cell: expected one of lstm, gru"),
        ({"hidden": 0}, "hidden: expected a whole number"),
        ({"dropout": 1.0}, "dropout: expected a share"),
    ],
)
def test_what_is_no_cell_is_refused(wrong, said):
    with pytest.raises(LstmEdgeError, match=said):
        cells.recurrent(**{"kind": "lstm", "inputs": 1, "hidden": 2, "layers": 1, **wrong})


# ---- as ops ----------------------------------------------------------------------------------------------------------


class Family(torch.nn.Module):
    """All variants side by side over one input, as one module to convert."""

    def __init__(self, bidirectional):
        super().__init__()
        made = {k: cells.recurrent(k, 3, 3, bidirectional=bidirectional) for k in (*VARIANTS, "residual")}
        self.cells = torch.nn.ModuleDict(made)

    def forward(self, x, lengths=None):
        return {name: cell(x, lengths) for name, cell in self.cells.items()}


def worst(answers, wanted):
    return max(float(np.abs(answers[k] - wanted[k].detach().numpy()).max()) for k in wanted)


def test_variants_convert_with_batch_and_frames_free_and_stream():
    module = Family(False).eval()
    model = lstm_edge.convert(module)
    assert model.inputs[0].shape == ("batch", "frames", 3)
    x = torch.randn(2, 9, 3)
    wanted = module(x)
    assert worst(model.run(x.numpy()), wanted) < 1e-5
    stream = model.stream(batch=2)
    parts = [stream.run(part.numpy()) for part in x.split([1, 3, 1, 4], dim=1)]
    assert worst({k: np.concatenate([p[k] for p in parts], 1) for k in wanted}, wanted) < 1e-5


def test_bidirectional_variants_convert_with_lengths():
    module = Family(True).eval()
    example = (torch.randn(2, 5, 3), torch.tensor([5, 3]))
    model = lstm_edge.convert(module, example=example)
    x, lengths = torch.randn(3, 7, 3), torch.tensor([7, 2, 5])
    answers = model.run(x.numpy(), lengths.numpy().astype(np.int32))
    assert worst(answers, module(x, lengths)) < 1e-5


# ---- gaps ------------------------------------------------------------------------------------------------------------


def with_gaps(batch, frames, columns, share, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=(batch, frames, columns)).astype(np.float32)
    x[random.random(x.shape) < share] = np.nan
    return x


def filled_one_by_one(x):
    filled = np.zeros_like(x)
    for (b, t, c), value in np.ndenumerate(x):
        filled[b, t, c] = (filled[b, t - 1, c] if t else 0.0) if np.isnan(value) else value
    return filled


@given(SIZES, st.integers(1, 12), SIZES, st.floats(0, 1), st.integers(0, 99))
def test_a_gap_takes_the_last_value_that_was_given(batch, frames, columns, share, seed):
    x = with_gaps(batch, frames, columns, share, seed)
    filled, mask = ForwardFill(columns)(torch.from_numpy(x))
    np.testing.assert_array_equal(filled.numpy(), filled_one_by_one(x))
    np.testing.assert_array_equal(mask.numpy(), (~np.isnan(x)).astype(np.float32))


def test_gaps_stream():
    x = with_gaps(2, 40, 3, 0.6, 1)
    model = lstm_edge.convert(ForwardFill(3), example=torch.from_numpy(x[:, :6]))
    wanted = [filled_one_by_one(x), (~np.isnan(x)).astype(np.float32)]
    stream = model.stream(batch=2)
    streamed = [list(stream.run(x[:, t : t + 1]).values()) for t in range(40)]
    for answer, parts, want in zip(model.run(x).values(), zip(*streamed), wanted):
        np.testing.assert_array_equal(answer, want)
        np.testing.assert_array_equal(np.concatenate(parts, 1), want)


def test_other_columns_are_refused():
    with pytest.raises(LstmEdgeError, match=r"expected \(batch, frames, 2\), found shape \(1, 4, 3\)"):
        ForwardFill(2)(torch.zeros(1, 4, 3))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_layers_one_by_one_are_the_stack(kind, bidirectional):
    """On a GPU, where dropout between layers is to be drawn from torch's generator; without dropout both are the same."""
    torch.manual_seed(3)
    stack = cells.recurrent(kind, 3, 5, 3, bidirectional=bidirectional, dropout=0.4).eval().layers[0]
    x, lengths = torch.randn(4, 7, 3), torch.tensor([7, 2, 5, 1])
    torch.testing.assert_close(stack.layer_by_layer(x, 4, [], [True]), stack(x), rtol=0, atol=1e-6)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    ours = stack.layer_by_layer(packed.data, 4, [packed.batch_sizes], [])
    torch.testing.assert_close(ours, stack.rnn(packed)[0].data, rtol=0, atol=1e-6)
