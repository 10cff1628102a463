"""The dialect's bits, running products, reductions over nothing, scatters with reductions and resampling, against NumPy and torch."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_edge import UnsupportedModelError, reference
from lstm_edge.importers.dialect import Dialect, Value, bits, known, norms, reductions, selection, windows
from lstm_edge.importers.dialect.resize import resize
from lstm_edge.ir.dims import FRAMES

RNG = np.random.default_rng(11)


def computed(meaning, *arrays, dtypes=None):
    """What a meaning gives for arrays that only a run knows."""
    d = Dialect()
    values = []
    for n, array in enumerate(arrays):
        run = {"f": "float32", "b": "bool"}.get(array.dtype.kind, "int32")
        values.append(Value(str(array.dtype), tensor=d.graph.input(f"x{n}", array.shape, run)))
    d.graph.output("y", d.tensor(meaning(d, *values)))
    return reference.run(d.graph, {f"x{n}": a for n, a in enumerate(arrays)})[0]["y"]


def integers(dtype, shape=(3, 40)):
    info = np.iinfo(dtype)
    return np.concatenate(
        [RNG.integers(info.min, info.max, shape, dtype, endpoint=True), np.full((3, 2), [info.min, info.max], dtype)], 1
    )


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32"])
def test_bits(dtype):
    a, b = integers(dtype), RNG.permuted(integers(dtype)[:1])
    for kind, exact in (("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor)):
        found = computed(lambda d, x, y, kind=kind: bits.bitwise(d, kind, x, y), a, b)
        assert np.array_equal(found.astype(np.int64).astype(dtype), exact(a, b)), kind
        at_conversion = bits.bitwise(Dialect(), kind, known(a), known(b)).data
        assert np.array_equal(at_conversion, exact(a, b))
    assert np.array_equal(computed(bits.bitwise_not, a).astype(np.int64).astype(dtype), ~a)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
@pytest.mark.parametrize("left", [True, False])
def test_shifts(dtype, left):
    x = integers(dtype)
    by = RNG.integers(0, np.iinfo(dtype).bits, x.shape).astype(dtype)
    found = computed(lambda d, a, b: bits.shift(d, a, b, left), x, by)
    assert np.array_equal(found.astype(np.int64).astype(dtype), np.left_shift(x, by) if left else np.right_shift(x, by))
    with pytest.raises(UnsupportedModelError, match="without a sign"):
        bits.shift(Dialect(), known(x.astype(np.int64)), known(by), left)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_running_products(exclusive, reverse):
    x = RNG.normal(size=(2, 7)).astype(np.float32)
    way = x[:, ::-1] if reverse else x
    way = np.concatenate([np.ones((2, 1)), way[:, :-1]], 1) if exclusive else way
    wanted = np.cumprod(way, 1)
    wanted = wanted[:, ::-1] if reverse else wanted
    assert np.allclose(computed(lambda d, v: reductions.cumulative_product(d, v, 1, exclusive, reverse), x), wanted)


@pytest.mark.parametrize(
    "kind, wanted",
    [
        ("sum", 0.0),
        ("l1", 0.0),
        ("l2", 0.0),
        ("sum_square", 0.0),
        ("prod", 1.0),
        ("max", -np.inf),
        ("min", np.inf),
        ("mean", np.nan),
        ("log_sum", -np.inf),
        ("log_sum_exp", -np.inf),
    ],
)
def test_a_reduction_over_nothing(kind, wanted):
    d = Dialect()
    x = Value("float32", tensor=d.graph.input("x", (2, 0, FRAMES)))
    y = reductions.reduce(d, kind, x, [1], keepdims=False)
    d.graph.output("y", d.tensor(y))
    (found,) = reference.run(d.graph, {"x": np.zeros((2, 0, 3))})[0].values()
    assert found.shape == (2, 3) and np.array_equal(found, np.full((2, 3), wanted), equal_nan=True)
    for dtype, value in (("int64", {"max": -(2**31), "min": 2**31 - 1}), ("bool", {"max": False, "min": True})):
        if kind in value:
            assert reductions.reduce(d, kind, known(np.zeros((0,), dtype)), [0], False).data == value[kind]


@pytest.mark.parametrize(
    "reduction, ufunc", [("add", np.add), ("mul", np.multiply), ("max", np.maximum), ("min", np.minimum)]
)
def test_scatters_meet_what_is_there(reduction, ufunc):
    x, updates = RNG.normal(size=(4, 3)).astype(np.float32), RNG.normal(size=(5, 3)).astype(np.float32)
    places = np.array([[1], [3], [1], [0], [1]])
    wanted = x.copy()
    ufunc.at(wanted, places[:, 0], updates)
    found = computed(lambda d, a, u: selection.scatter_nd(d, a, places, u, reduction), x, updates)
    assert np.allclose(found, wanted)
    columns = np.array([[0, 0, 2], [1, 1, 1]])
    wanted = x.copy()
    ufunc.at(wanted, (np.array([[0], [1]]), columns), updates[:2])
    meaning = lambda d, a, u: selection.scatter_elements(d, a, known(columns), u, 1, reduction)  # noqa: E731
    assert np.allclose(computed(meaning, x, updates[:2]), wanted)


def test_gather_over_a_batch():
    x = RNG.normal(size=(2, 3, 4)).astype(np.float32)
    places = np.array([[[1], [0]], [[2], [2]]])
    found = computed(lambda d, a: selection.gather_nd(d, a, places, 1), x)
    assert np.array_equal(found, np.stack([x[n][places[n, :, 0]] for n in range(2)]))


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1, "dilation": 2}])
def test_windows_laid_down_are_what_torch_folds(options):
    torch = pytest.importorskip("torch")
    picture = torch.randn(2, 3, 7, 6)
    columns = torch.nn.functional.unfold(picture, (3, 2), **options)
    wanted = torch.nn.functional.fold(columns, (7, 6), (3, 2), **options)
    stride, padding, dilation = (options.get(k, v) for k, v in (("stride", 1), ("padding", 0), ("dilation", 1)))
    found = computed(
        lambda d, v: windows.col2im(
            d, v, [7, 6], [3, 2], strides=[stride] * 2, dilations=[dilation] * 2, pads=[padding] * 4
        ),
        columns.numpy(),
    )
    assert np.allclose(found, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_pooling_by_a_norm_is_torchs(p):
    torch = pytest.importorskip("torch")
    x = torch.rand(2, 3, 9)
    wanted = torch.nn.functional.lp_pool1d(x, float(p), 3, 2)
    found = computed(lambda d, v: windows.lp_pool(d, v, p, [3], strides=[2]), x.numpy())
    assert np.allclose(found, wanted.numpy(), atol=1e-5)


def test_local_response_normalisation_is_torchs():
    torch = pytest.importorskip("torch")
    x = torch.randn(2, 6, 5)
    wanted = torch.nn.functional.local_response_norm(x, 3, 0.5, 0.7, 2.0)
    assert np.allclose(
        computed(lambda d, v: norms.local_response(d, v, 3, 0.5, 0.7, 2.0), x.numpy()), wanted, atol=1e-5
    )


@pytest.mark.parametrize("mode, torch_mode", [("linear", "bilinear"), ("cubic", "bicubic")])
@pytest.mark.parametrize("corners, antialias", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("sizes", [(5, 9), (3, 4)])
def test_resampling_is_torchs(mode, torch_mode, corners, sizes, antialias):
    torch = pytest.importorskip("torch")
    x = torch.randn(1, 2, 7, 6)
    wanted = torch.nn.functional.interpolate(x, sizes, mode=torch_mode, align_corners=corners, antialias=antialias)
    scales = [1.0, 1.0, sizes[0] / 7, sizes[1] / 6]
    coordinates = "align_corners" if corners else "pytorch_half_pixel"
    cubic = -0.5 if antialias else -0.75
    meaning = lambda d, v: resize(d, v, scales, mode, coordinates, antialias=antialias, cubic=cubic, inside=antialias)  # noqa: E731
    assert np.allclose(computed(meaning, x.numpy()), wanted.numpy(), atol=1e-5)
