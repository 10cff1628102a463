"""The dialect's recurrences against torch's, in other orders of gates and time, and its normalisations against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from dialect_cases import arrays_of, everywhere
from hypothesis import given
from hypothesis import strategies as st

from lstm_edge.errors import UnsupportedModelError
from lstm_edge.importers.dialect import Dialect, Value, known, norms, recurrences
from lstm_edge.importers.dialect.recurrences import Run, Weights, recurrence
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.ops import GATES

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(1)
ORDERS = {"LSTM": ["ifgo", "iofc", "jfio"], "GRU": ["rzn", "zrh", "ruh"], "RNN": ["h", "i"]}
B, T, F, H = 2, 5, 3, 4  # batch, frames, features, hidden


def reordered(op: str, rows: np.ndarray, gates: str) -> np.ndarray:
    """Blocks of rows from the core's order to `gates`."""
    own = "".join(recurrences.ALIASES[op].get(g, g) for g in gates)
    blocks = dict(zip(GATES[op], np.split(rows, len(own))))
    return np.concatenate([blocks[g] for g in own])


def torch_layer(op: str, both: bool, projection: int = 0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"proj_size": projection} if projection else {}
        return getattr(torch.nn, op)(F, H, bidirectional=both, batch_first=True, **options)


def weights_of(layer, op: str, gates: str) -> list[Weights]:
    made = []
    for suffix in ("", "_reverse")[: 1 + layer.bidirectional]:
        given = {
            k: getattr(layer, f"{k}_l0{suffix}").detach().numpy()
            for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        rows = [reordered(op, a, gates) for a in given.values()]
        projection = getattr(layer, f"weight_hr_l0{suffix}").detach().numpy() if layer.proj_size else None
        made.append(Weights(*rows, projection=projection))
    return made


def built(op: str, weights: list[Weights], time_major: bool, shape: tuple, **options) -> tuple[Dialect, Run]:
    d = Dialect()
    x = Value("float32", tensor=d.graph.input("x", shape))
    return d, recurrence(d, op, x, weights, time_major=time_major, **options)


def answers(d: Dialect, run: Run, time_major: bool, x: np.ndarray) -> list[np.ndarray]:
    values = [run.frames(d, time_major), run.h_n, *([] if run.c_n is None else [run.c_n])]
    return arrays_of(d, values, x)


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


@given(st.data())
def test_any_order_of_gates_and_time_gives_torchs_answers(data):
    op = data.draw(st.sampled_from(["LSTM", "GRU", "RNN"]))
    gates, both, time_major = data.draw(st.sampled_from(ORDERS[op])), data.draw(st.booleans()), data.draw(st.booleans())
    projection = 2 if op == "LSTM" and data.draw(st.booleans()) else 0
    started = data.draw(st.sampled_from(["", "tensors", "constants", "directions"]))
    layer = torch_layer(op, both, projection)
    x, directions = numbers(B, T, F), 1 + both
    widths = [projection or H, H][: 2 if op == "LSTM" else 1]
    states = [numbers(directions, 1 if started == "constants" else B, w) for w in widths]
    spread = [torch.from_numpy(np.broadcast_to(s, (directions, B, s.shape[2])).copy()) for s in states]
    initial = {
        "": [],
        "tensors": [known(s) for s in states],
        "constants": [s[:, 0] for s in states],
        "directions": [[known(row) for row in s] for s in states],
    }[started]
    with torch.no_grad():
        start = tuple(spread) if op == "LSTM" else spread[0]
        y, last = layer(torch.from_numpy(x), start) if started else layer(torch.from_numpy(x))
    given_x = x.swapaxes(0, 1) if time_major else x
    sizes = (T, B, F) if time_major else (B, T, F)
    opened = tuple(FRAMES if s == T else BATCH if s == B and started == "constants" else s for s in sizes)
    for shape in (sizes, opened):
        d, run = built(op, weights_of(layer, op, gates), time_major, shape, gates=gates, initial=initial)
        found = answers(d, run, time_major, given_x)
        wanted = [
            y.numpy().swapaxes(0, 1) if time_major else y.numpy(),
            *(s.numpy() for s in (last if op == "LSTM" else [last])),
        ]
        for got, want in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_directions_apart_and_a_swap_taken_in(time_major, swapped, both):
    """A Transpose in front that swaps batch and time is taken in, and y comes in the order asked for all the same."""
    layer, x = torch_layer("GRU", both), numbers(B, T, F)
    with torch.no_grad():
        y = layer(torch.from_numpy(x))[0].numpy().reshape(B, T, 1 + both, H)
    d = Dialect()
    first_is_time = time_major != swapped
    source = Value("float32", tensor=d.graph.input("x", (T, BATCH, F) if first_is_time else (BATCH, T, F)))
    given_x = d.transpose(source, [1, 0, 2]) if swapped else source
    run = recurrence(d, "GRU", given_x, weights_of(layer, "GRU", "rzn"), time_major=time_major)
    (found,) = arrays_of(d, run.directions_apart(d, time_major, 1 + both), x.swapaxes(0, 1) if first_is_time else x)
    np.testing.assert_allclose(found, y.transpose(1, 2, 0, 3) if time_major else y, atol=1e-5)
    assert run.time_major == first_is_time
    assert sum(n.op == "Transpose" for n in d.graph.nodes) <= 1 + swapped


def test_lengths_and_masks_say_the_same():
    layer, x = torch_layer("LSTM", True), numbers(B, T, F)
    weights, count = weights_of(layer, "LSTM", "ifgo"), np.array([3, 5])
    mask = np.arange(T) < count[:, None]
    found = []
    for time_major in (False, True):
        for options in ({"lengths": known(count)}, {"mask": known(mask), "zero_masked": True}):
            shape = (T, B, F) if time_major else (B, T, F)
            d, run = built("LSTM", weights, time_major, shape, **options)
            y, *last = answers(d, run, time_major, x.swapaxes(0, 1) if time_major else x)
            found.append([y.swapaxes(0, 1) if time_major else y, *last])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)
    assert not found[0][0][0, 3:].any() and found[0][0][0, :3].any()


def test_what_says_nothing_is_left_out():
    """Zero states, lengths of all frames, zero biases and peepholes make no input of the op."""
    zeros = np.zeros(4 * H, np.float32)
    weights = Weights(numbers(4 * H, F), numbers(4 * H, H), zeros, zeros, peephole=np.zeros((3, H), np.float32))
    lengths = known(np.full(B, T))
    d, _ = built("LSTM", [weights], False, (B, T, F), initial=[known(np.zeros((1, B, H))), None], lengths=lengths)
    assert len(d.graph.nodes[-1].inputs) == 3


def test_biases_are_joined_and_peepholes_put_in_order():
    bias, other, peephole = numbers(4 * H), numbers(4 * H), numbers(3, H)
    w_ih, w_hh = numbers(4 * H, F), numbers(4 * H, H)
    d, _ = built(
        "LSTM", [Weights(w_ih, w_hh, bias, other, peephole)], False, (B, T, F), gates="iofc", peephole_gates="iof"
    )
    node = d.graph.nodes[-1]
    data = [d.graph.tensors[n].data if n else None for n in node.inputs]
    np.testing.assert_array_equal(data[3][0], (bias + other).reshape(4, H)[[0, 2, 3, 1]].reshape(-1))
    np.testing.assert_array_equal(data[1][0], w_ih.reshape(4, H, F)[[0, 2, 3, 1]].reshape(-1, F))
    np.testing.assert_array_equal(data[8][0], peephole[[0, 2, 1]])


def test_attributes():
    weights = [Weights(numbers(4 * H, F), numbers(4 * H, H))] * 2
    acts = [("hard_sigmoid", 0.2, 0.5)] * 2 + [("tanh", 0.0, 0.0), ("sigmoid", 0.0, 0.0), ("relu", 0.0, 0.0)]
    d, _ = built("LSTM", weights, False, (B, T, F), activations=acts, clip=3, coupled="f=1-i", cell_clip=2)
    attrs = d.graph.nodes[-1].attrs
    assert attrs["direction"] == "bidirectional" and attrs["clip"] == 3.0 and attrs["cell_clip"] == 2.0
    assert attrs["activations"] == ["hard_sigmoid", "hard_sigmoid", "tanh", "sigmoid", "relu"] * 2
    assert attrs["activation_alpha"][:3] == [0.2, 0.2, 0.0] and attrs["activation_beta"][5] == 0.5
    assert attrs["coupled"] == "f=1-i" and "proj_clip" not in attrs
    d, _ = built(
        "GRU", [Weights(numbers(3 * H, F), numbers(3 * H, H))], False, (B, T, F), reset_after=False, direction="reverse"
    )
    assert d.graph.nodes[-1].attrs["reset_after"] == 0 and d.graph.nodes[-1].attrs["direction"] == "reverse"


def test_refusals():
    good = Weights(numbers(4 * H, F), numbers(4 * H, H))
    for op, weights, options, said in (
        ("LSTM", [good], {"gates": "iffo"}, "gates 'iffo' of LSTM"),
        ("LSTM", [Weights(numbers(4 * H, F + 1), good.w_hh)], {}, "expected weights"),
        ("LSTM", [Weights(good.w_ih, good.w_hh, numbers(3))], {"gates": "iofc"}, "multiple of 4 rows"),
        ("LSTM", [Weights(good.w_ih, good.w_hh, numbers(8))], {}, "expected a bias"),
        ("LSTM", [Weights(good.w_ih, good.w_hh, peephole=numbers(2, H))], {}, "peepholes"),
        ("LSTM", [Weights(good.w_ih, numbers(4 * H, 2), projection=numbers(2, H + 1))], {}, "expected a projection"),
        ("LSTM", [good], {"direction": "bidirectional"}, "with weights of 1 directions"),
        ("LSTM", [good], {"activations": [("tanh", 0.0, 0.0)]}, "1 activations"),
        ("LSTM", [good], {"initial": [known(numbers(1, 3, H))]}, "h0 is a constant for 3 sequences"),
    ):
        with pytest.raises(UnsupportedModelError, match=said):
            built(op, weights, False, (B, T, F), **options)
    with pytest.raises(UnsupportedModelError, match="expected a sequence"):
        built("LSTM", [good], False, (B, F))


# ---- normalisations -------------------------------------------------------------------------------------------------

X = numbers(3, 6, 5, 4)
SCALE, OFFSET = numbers(6), numbers(6)
CHANNELS = (1, 6, 1, 1)


def normal(x: np.ndarray, axes: tuple[int, ...], epsilon: float = 1e-5) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def test_batch_norm():
    mean, variance = numbers(6), np.abs(numbers(6))
    wanted = (X - mean.reshape(CHANNELS)) / np.sqrt(variance.reshape(CHANNELS) + 1e-3)
    everywhere(lambda d, x: norms.batch_norm(d, x, mean, variance, epsilon=1e-3), X, wanted, open_axes=(0, 2))
    wanted = wanted * SCALE.reshape(CHANNELS) + OFFSET.reshape(CHANNELS)
    meaning = lambda d, x: norms.batch_norm(d, x, mean, variance, SCALE, OFFSET, 1e-3, -3)  # noqa: E731
    everywhere(meaning, X, wanted, open_axes=(0, 2))
    d = Dialect()
    x = Value("float32", tensor=d.graph.input("x", (3, 6)))
    assert norms.batch_norm(d, x, np.zeros(6), np.ones(6), epsilon=0.0) is x
    with pytest.raises(UnsupportedModelError, match="statistics of 4 channels for 6"):
        norms.batch_norm(d, x, np.zeros(4), np.ones(4))


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("channels_last", [False, True])
def test_group_norm(groups, channels_last):
    layer = torch.nn.GroupNorm(groups, 6)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(SCALE)), layer.bias.copy_(torch.from_numpy(OFFSET))
        wanted = layer(torch.from_numpy(X)).numpy()
    x, axis = (np.moveaxis(X, 1, -1), -1) if channels_last else (X, 1)
    meaning = lambda d, v: norms.group_norm(d, v, groups, SCALE, OFFSET, axis=axis)  # noqa: E731
    everywhere(meaning, x, np.moveaxis(wanted, 1, -1) if channels_last else wanted, open_axes=(0, 2), tol=1e-4)


def test_group_norm_with_a_scale_per_group():
    wanted = normal(X.reshape(3, 2, 3, 5, 4), (2, 3, 4)).reshape(X.shape) * np.repeat(SCALE[:2], 3).reshape(CHANNELS)
    everywhere(lambda d, v: norms.group_norm(d, v, 2, SCALE[:2]), X, wanted, open_axes=(0, 3), tol=1e-4)
    with pytest.raises(UnsupportedModelError, match="4 groups of 6 channels"):
        norms.group_norm(Dialect(), known(X), 4)


def test_instance_norm():
    wanted = normal(X, (2, 3)) * SCALE.reshape(CHANNELS) + OFFSET.reshape(CHANNELS)
    everywhere(lambda d, x: norms.instance_norm(d, x, SCALE, OFFSET), X, wanted, open_axes=(0, 2), tol=1e-4)


def test_layer_and_rms_norm():
    everywhere(lambda d, x: norms.normalize(d, x, [-1, -2], 1e-5), X, normal(X, (2, 3)), open_axes=(0, 1), tol=1e-4)
    wanted = X / np.sqrt((X**2).mean(-1, keepdims=True) + 1e-6) * SCALE[:4]
    meaning = lambda d, x: norms.normalize(d, x, [-1], 1e-6, known(SCALE[:4]), kind="rms")  # noqa: E731
    everywhere(meaning, X, wanted, open_axes=(0, 2), tol=1e-4)


def test_lp_and_mean_variance_norms():
    x = X.copy()
    x[0, 0] = 0
    for p in (1, 2):
        norm = np.linalg.norm(x, p, -1, keepdims=True)
        wanted = x / np.where(norm == 0, 1, norm)
        everywhere(lambda d, v, p=p: norms.lp_norm(d, v, p, [-1]), x, wanted, open_axes=(0, 1), tol=1e-4)
    wanted = x / np.sqrt(np.maximum((x**2).sum(-1, keepdims=True), 1e-2))
    everywhere(lambda d, v: norms.bounded_l2_norm(d, v, [-1], 1e-2), x, wanted, open_axes=(0, 1), tol=1e-4)
    wanted = (X - X.mean((0, 2), keepdims=True)) / (X.std((0, 2), keepdims=True) + 1e-9)
    everywhere(lambda d, v: norms.mean_variance(d, v, [0, 2]), X, wanted, open_axes=(0, 2), tol=1e-4)
    with pytest.raises(UnsupportedModelError, match="p = 3"):
        norms.lp_norm(Dialect(), known(X), 3, [0])
