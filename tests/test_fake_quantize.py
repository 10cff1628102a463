"""Training in the engine's int8 arithmetic: torch's answers are the bits of the exported int8 file; and what `export` writes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lstm_edge
from lstm_edge import Model, format
from lstm_edge.errors import LstmEdgeError
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph, Tensor
from lstm_edge.quantize import to_int8

torch = pytest.importorskip("torch")
nn = torch.nn

from lstm_edge.training import export, fake_quantize, recurrent  # noqa: E402
from lstm_edge.training import int8_arithmetic as arithmetic  # noqa: E402

SIZES = st.integers(1, 40)


def numbers(seed, *shape):
    """Numbers of several magnitudes, some of them zero."""
    random = np.random.default_rng(seed)
    x = random.normal(size=shape) * np.exp(random.normal(size=shape))
    return np.where(random.random(shape) < 0.1, 0, x).astype(np.float32)


# ---- one op against the core -----------------------------------------------------------------------------------------


def by_core(op, x, weights, attrs=None):
    """The op over x (B,T,I), 2-D weights of int8 as `quantize` stores them plainly, other inputs as they are."""
    graph = Graph()
    names = [graph.input("x", (BATCH, FRAMES, x.shape[2]))]
    for weight in weights:
        array = None if weight is None else weight.detach().numpy()
        leading = 1 if op == "Dense" else 2
        if array is None:
            names.append("")
        elif array.ndim <= leading or array.shape[-1] < 2:
            names.append(graph.constant(array))
        else:
            name = graph.fresh("w")
            graph.tensors[name] = Tensor(name, "int8", array.shape, *to_int8(array, leading))
            names.append(name)
    graph.output("y", graph.add1(op, names, attrs or {}))
    return Model(format.to_bytes(graph)).run(x)


def same_bits(got, want):
    np.testing.assert_array_equal(got.detach().numpy().view(np.uint32), want.view(np.uint32))


@given(st.integers(2, 40), SIZES, st.integers(1, 3), st.booleans(), st.integers(0, 999))
def test_linear_gives_the_bits_of_dense(inputs, outputs, batch, bias, seed):
    layer = fake_quantize(nn.Linear(inputs, outputs, bias=bias))
    layer.weight.data = torch.from_numpy(numbers(seed, outputs, inputs))
    x = numbers(seed + 1, batch, 4, inputs)
    same_bits(layer(torch.from_numpy(x)), by_core("Dense", x, [layer.weight, layer.bias]))


def stacked(layer, name):
    parts = [getattr(layer, f"{name}_l0{suffix}") for suffix in ("", "_reverse")[: 2 if layer.bidirectional else 1]]
    return torch.stack(parts)


@given(
    st.sampled_from([nn.LSTM, nn.GRU, nn.RNN]),
    SIZES,
    st.integers(2, 40),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
def test_recurrences_give_the_bits_of_their_ops(kind, inputs, hidden, both, bias, seed):
    torch.manual_seed(seed)
    layer = fake_quantize(kind(inputs, hidden, batch_first=True, bidirectional=both, bias=bias))
    x = numbers(seed, 2, 9, inputs)
    weights = [stacked(layer, "weight_ih"), stacked(layer, "weight_hh")]
    biases = [stacked(layer, "bias_ih"), stacked(layer, "bias_hh")] if bias else [None, None]
    if kind is not nn.GRU and bias:
        biases = [biases[0] + biases[1]]
    attrs = {"direction": "bidirectional" if both else "forward"}
    same_bits(layer(torch.from_numpy(x))[0], by_core(kind.__name__, x, weights + biases, attrs))


@given(st.integers(2, 60), st.integers(1, 20), st.integers(0, 99))
def test_weights_are_rounded_as_quantize_rounds_them_plainly(columns, rows, seed):
    weight = numbers(seed, rows, columns)
    weight[0] *= 1e-38 if seed % 5 == 0 else 1
    made = arithmetic.rows_of(torch.from_numpy(weight))
    q, scale = to_int8(weight, 1)
    np.testing.assert_array_equal(made.turned.numpy().T, q)
    np.testing.assert_array_equal(made.scale.numpy()[0], scale)
    np.testing.assert_array_equal(made.value.numpy(), q * scale[:, None])


def test_sums_beyond_float32_are_exact():
    torch.manual_seed(0)
    columns = 4 * arithmetic.MOST_IN_FLOAT32
    layer = fake_quantize(nn.Linear(columns, 3))
    x = torch.ones(1, 2, columns)
    layer.weight.data = torch.ones_like(layer.weight) - torch.rand_like(layer.weight) / 100
    same_bits(layer(x), by_core("Dense", x.numpy(), [layer.weight, layer.bias]))


@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_what_is_no_number_makes_its_row_nan(special):
    layer = fake_quantize(nn.Linear(3, 2))
    y = layer(torch.tensor([[1.0, special, 0.0], [1.0, 2.0, 3.0]]))
    assert y[0].isnan().all() and y[1].isfinite().all()


# ---- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN, lambda *a, **k: recurrent("peephole", *a[:2])])
def test_gradients_are_those_of_the_rounded_weights_in_float(make):
    """As if nothing had been rounded: near those of a float layer whose weights are what the int8 ones stand for."""
    torch.manual_seed(1)
    plain = make(6, 16, batch_first=True)
    for parameter in plain.parameters():
        if parameter.dim() > 1 and parameter.shape[-2] != 3:
            parameter.data = arithmetic.stored_value(parameter.data)
    narrow = make(6, 16, batch_first=True)
    narrow.load_state_dict(plain.state_dict())
    fake_quantize(narrow)
    x = torch.randn(4, 12, 6)
    for layer in (plain, narrow):
        y = layer(x)
        (y[0] if isinstance(y, tuple) else y).square().sum().backward()
    for a, b in zip(plain.parameters(), narrow.parameters()):
        assert (a.grad - b.grad).norm() < 0.03 * a.grad.norm()


def test_the_loss_falls_with_plain_adam():
    torch.manual_seed(0)
    layer = nn.Sequential(recurrent("gru", 2, 8), nn.Linear(8, 1))
    fake_quantize(layer)
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    x = torch.randn(16, 5, 2)
    losses = []
    for _ in range(15):
        loss = (layer(x) - x.cumsum(1)[..., :1] / 4).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


# ---- torch's ways of calling -----------------------------------------------------------------------------------------


def test_layouts_states_and_packing_as_torch_has_them():
    torch.manual_seed(0)
    layer = nn.LSTM(3, 8, 2, bidirectional=True, proj_size=4)
    x, hx = torch.randn(5, 2, 3), (torch.randn(4, 2, 4), torch.randn(4, 2, 8))
    pack = nn.utils.rnn.pack_padded_sequence(x, [3, 5], enforce_sorted=False)
    calls = [(x, hx), (x,), (x[:, 0], (hx[0][:, 0], hx[1][:, 0])), (pack, hx)]
    wanted = [layer(*call) for call in calls]
    fake_quantize(layer)
    for call, (y, last) in zip(calls, wanted):
        y_int8, last_int8 = layer(*call)
        pairs = [(getattr(y_int8, "data", y_int8), getattr(y, "data", y)), *zip(last_int8, last)]
        assert all(a.shape == b.shape and (a - b).abs().max() < 0.03 for a, b in pairs)


def test_autocast_changes_no_bits():
    layer = fake_quantize(nn.GRU(3, 8, batch_first=True))
    x = torch.randn(2, 4, 3)
    want = layer(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x)[0], want)


def test_what_cannot_be_quantised_is_said():
    with pytest.raises(LstmEdgeError, match="fake_quantize: expected a module with LSTM, GRU"):
        fake_quantize(nn.ReLU())
    with pytest.raises(LstmEdgeError, match=r"0\.weight: expected float32, found torch.float64"):
        fake_quantize(nn.Sequential(nn.Linear(2, 2).double()))
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), nn.Linear(2, 2))
    with pytest.warns(UserWarning, match="0 stays float32: it is a ParametrizedLinear"):
        fake_quantize(normed)
    assert fake_quantize(fake_quantize(nn.Linear(2, 2))) is not None


# ---- export ----------------------------------------------------------------------------------------------------------


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = recurrent("lstm", 4, 8, 2)
        self.second = recurrent("tanh-output", 8, 6, bidirectional=True)
        self.last = nn.Linear(12, 2)

    def forward(self, x):
        return self.last(self.second(self.first(x)))


def test_an_exported_file_computes_as_training_did(tmp_path):
    torch.manual_seed(3)
    module = fake_quantize(Network()).train()
    example = torch.randn(2, 7, 4)
    model = export(
        module, tmp_path / "a.lstm", example, metadata={"forecast": {"horizon": 3}, "notes": ["N"]}, names=["load"]
    )
    assert len(model.metadata["notes"]) > 1 and model.metadata["notes"][-1] == "N"
    assert module.training and module.first.layers[0].rnn.int8_arithmetic
    x = torch.randn(3, 30, 4)
    same_bits(module(x), model.run(x.numpy()))
    assert model.metadata["forecast"] == {"horizon": 3} and model.outputs[0].name == "load"
    test = model.metadata["self_test"]
    assert test["by"] == "framework" and test["tolerance"] == 0
    graph = format.read(tmp_path / "a.lstm")
    stored = {t.name: t for t in graph.tensors.values() if t.dtype == "int8"}
    assert len(stored) == 2 * 2 + 2 + 1 and model.metadata["quantization"]["weights"] == "int8"
    q, scale = to_int8(module.last.weight.detach().numpy(), 1)
    assert any(np.array_equal(t.data, q) and np.array_equal(t.scale, scale) for t in stored.values())


def test_a_network_that_roundings_move_far_exports_all_the_same():
    """Answers so far from those of its own weights in float32 would be a fault in any other conversion."""
    torch.manual_seed(0)
    module = nn.RNN(1, 16, batch_first=True)
    nn.init.orthogonal_(module.weight_hh_l0, 2.0)
    x = torch.randn(1, 20, 1)
    fake_quantize(module)
    y = module(x)[0]
    module.int8_arithmetic = False
    assert (module(x)[0] - y).abs().max() > 0.03
    module.int8_arithmetic = True
    for model in (export(module, example=x), lstm_edge.convert(module, example=x)):
        same_bits(y, model.run(x.numpy())["output"])
        assert model.metadata["self_test"]["tolerance"] == 0


def test_metadata_is_kept_by_quantize(tmp_path):
    module = nn.Linear(4, 4)
    export(module, tmp_path / "a.lstm", torch.randn(2, 4), metadata={"forecast": {"horizon": 3}})
    for options in ({}, {"weights": "float16"}, {"precision": "auto"}):
        model, _ = lstm_edge.quantize(tmp_path / "a.lstm", tmp_path / "b.lstm", **options)
        assert model.metadata["forecast"] == {"horizon": 3}
        assert lstm_edge.load(tmp_path / "b.lstm").metadata["forecast"] == {"horizon": 3}


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"metadata": {"source": 1}}, "metadata: 'source' is what the converter writes there"),
        ({"metadata": {"a": np.zeros(2)}}, "metadata: expected what JSON can hold"),
        ({"names": ["a", "b"]}, r"names: expected 1 different names for the outputs \['output'\], found \['a', 'b'\]"),
    ],
)
def test_what_export_refuses(wrong, said):
    with pytest.raises(LstmEdgeError, match=said):
        export(nn.Linear(2, 2), example=torch.zeros(1, 2), **wrong)
