"""The dialect's convolutions, pooling and their padding against torch: fixed and open sizes, both layouts, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from dialect_cases import everywhere, run_time
from hypothesis import given
from hypothesis import strategies as st

from lstm_edge.errors import UnsupportedModelError
from lstm_edge.importers.dialect import Dialect, Value, known, windows
from lstm_edge.ir.dims import BATCH, FRAMES

torch = pytest.importorskip("torch")
functional = torch.nn.functional
RNG = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


def last(x: np.ndarray) -> np.ndarray:
    """Channels last from channels first."""
    return np.moveaxis(x, 1, -1)


def both_layouts(build, x: np.ndarray, wanted: np.ndarray, open_axes=(0,)):
    """build(d, value, channels_last) with channels first and last."""
    everywhere(lambda d, v: build(d, v, False), x, wanted, open_axes=open_axes, tol=1e-4)
    at_last = [a if a == 0 else a - 1 for a in open_axes]
    everywhere(lambda d, v: build(d, v, True), last(x), last(wanted), open_axes=at_last, tol=1e-4)


# ---- SAME padding ---------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.booleans())
def test_same_padding_gives_a_window_per_stride(size, extent, stride, lower):
    begin, end = windows.same_pads(Dialect(), size, extent, stride, lower)
    assert (size + begin + end - extent) // stride + 1 == -(-size // stride) or begin + end == 0
    assert (begin - end if lower else end - begin) in (0, 1)


@given(st.integers(1, 9), st.integers(1, 5), st.booleans(), st.integers(1, 300))
def test_same_padding_of_an_open_size_is_right_for_every_size(extent, stride, lower, frames):
    """Where a padding is found, each window of any size sees what it sees with that size's own padding."""
    d = Dialect()
    try:
        begin, end = windows.same_pads(d, FRAMES, extent, stride, lower)
    except UnsupportedModelError as e:
        assert "depends on that size" in str(e) and stride > 1
        return
    own, _ = windows.same_pads(d, frames, extent, stride, lower)
    if frames >= extent:
        assert begin == own
    assert (frames + begin + end - extent) // stride + 1 == -(-frames // stride) or frames + begin + end < extent


def test_same_padding_knows_what_an_open_size_is_a_multiple_of():
    assert windows.same_pads(Dialect(), FRAMES * 4, 5, 4) == (0, 1)
    assert windows.same_pads(Dialect(), FRAMES * 4 + 1, 5, 4) == (2, 2)
    with pytest.raises(UnsupportedModelError, match=r"stride 2 .* frames"):
        windows.same_pads(Dialect(), FRAMES, 3, 2)


@pytest.mark.parametrize(("kernel", "stride", "frames"), [(2, 2, 7), (2, 2, 8), (5, 1, 4), (4, 3, 10), (4, 3, 12)])
def test_strided_same_convolution_over_open_frames(kernel, stride, frames):
    if (kernel, stride) == (4, 3):
        with pytest.raises(UnsupportedModelError, match="depends on that size"):
            windows.same_pads(Dialect(), FRAMES, kernel, stride)
        return
    x, w = numbers(2, 3, frames), numbers(5, 3, kernel)
    begin, end = windows.same_pads(Dialect(), frames, kernel, stride)
    padded = functional.pad(torch.from_numpy(x), (begin, end))
    wanted = functional.conv1d(padded, torch.from_numpy(w), stride=stride).numpy()
    meaning = lambda d, v: windows.conv(d, v, known(w), strides=[stride], padding="same")  # noqa: E731
    np.testing.assert_allclose(run_time(meaning, x, [BATCH, 3, FRAMES])[0], wanted, atol=1e-4)


def test_causal_padding():
    x, w = numbers(2, 3, 9), numbers(4, 3, 3)
    wanted = functional.conv1d(functional.pad(torch.from_numpy(x), (4, 0)), torch.from_numpy(w), dilation=2).numpy()
    meaning = lambda d, v: windows.conv(d, v, known(w), dilations=[2], padding="causal")  # noqa: E731
    everywhere(meaning, x, wanted, open_axes=(0, 2), tol=1e-4)


def test_padding_refusals():
    for padding, said in (("reflect", "padding 'reflect'"), ([1], "pads")):
        with pytest.raises(UnsupportedModelError, match=said):
            windows.conv(Dialect(), known(numbers(1, 3, 5)), known(numbers(4, 3, 2)), padding=padding)


# ---- convolutions ---------------------------------------------------------------------------------------------------


@given(st.data())
def test_convolution(data):
    n, groups = data.draw(st.integers(1, 2)), data.draw(st.sampled_from([1, 2]))
    kernel, strides, dilations = ([data.draw(st.integers(1, most)) for _ in range(n)] for most in (3, 3, 2))
    pads = [data.draw(st.integers(0, 2)) for _ in range(n)]
    x, w, bias = numbers(2, 4, *[7] * n), numbers(6, 4 // groups, *kernel), numbers(6)
    run = functional.conv1d if n == 1 else functional.conv2d
    wanted = run(*map(torch.from_numpy, (x, w, bias)), strides, pads, dilations, groups).numpy()

    def build(d: Dialect, v: Value, channels_last: bool) -> Value:
        return windows.conv(
            d,
            v,
            known(w),
            known(bias),
            strides=strides,
            dilations=dilations,
            padding=pads * 2,
            groups=groups,
            channels_last=channels_last,
        )

    both_layouts(build, x, wanted, open_axes=(0, 2))


def test_negative_pads_cut():
    x, w = numbers(2, 3, 9), numbers(4, 3, 2)
    wanted = functional.conv1d(functional.pad(torch.from_numpy(x), (-1, 2)), torch.from_numpy(w)).numpy()
    build = lambda d, v, channels_last: windows.conv(  # noqa: E731
        d, v, known(w), padding=[-1, 2], channels_last=channels_last
    )
    both_layouts(build, x, wanted, open_axes=(0, 2))


def test_convolution_without_a_batch_axis_and_with_its_activation():
    x, w = numbers(3, 9), numbers(4, 3, 2)
    wanted = functional.relu(functional.conv1d(*map(torch.from_numpy, (x, w)))).numpy()
    meaning = lambda d, v: windows.conv(d, v, known(w), activation={"activation": "relu"})  # noqa: E731
    everywhere(meaning, x, wanted, open_axes=(1,), tol=1e-4)


def test_one_row_of_pixels_is_one_dimensional():
    d = Dialect()
    x = Value("float32", tensor=d.graph.input("x", (1, 1, FRAMES, 3)))
    y = windows.conv(d, x, known(numbers(4, 3, 1, 5)), padding="same", channels_last=True)
    assert d.shape(y) == (1, 1, FRAMES, 4)
    assert [len(d.shape(known(d.graph.tensors[n.inputs[1]].data))) for n in d.graph.nodes if n.op == "Conv"] == [3]
    x, w = numbers(1, 3, 1, 8), numbers(4, 3, 1, 5)
    wanted = functional.conv2d(*map(torch.from_numpy, (x, w)), padding=(0, 2)).numpy()
    build = lambda d, v, channels_last: windows.conv(d, v, known(w), padding="same", channels_last=channels_last)  # noqa: E731
    both_layouts(build, x, wanted, open_axes=(0, 3))


@given(st.data())
def test_transposed_convolution(data):
    n = data.draw(st.integers(1, 2))
    kernel, strides = ([data.draw(st.integers(1, 3)) for _ in range(n)] for _ in range(2))
    pads = [data.draw(st.integers(0, (k - 1) // 2)) for k in kernel]
    extra = [data.draw(st.integers(0, s - 1)) for s in strides]
    x, w, bias = numbers(2, 4, *[5] * n), numbers(4, 3, *kernel), numbers(3)
    run = functional.conv_transpose1d if n == 1 else functional.conv_transpose2d
    wanted = run(*map(torch.from_numpy, (x, w, bias)), strides, pads, extra).numpy()

    def build(d: Dialect, v: Value, channels_last: bool) -> Value:
        return windows.conv_transpose(
            d,
            v,
            known(w),
            known(bias),
            strides=strides,
            pads=pads * 2,
            output_padding=extra,
            channels_last=channels_last,
        )

    both_layouts(build, x, wanted, open_axes=(0, 2))


@pytest.mark.parametrize(("share", "begin"), [("end", 1), ("begin", 2), ("all_end", 0)])
def test_what_a_wanted_size_takes_away(share, begin):
    d = Dialect()
    totals = windows.taken_away(d, [FRAMES, 4], [FRAMES * 2, 10], [5, 2], [2, 2], [1, 1], [0, 0])
    assert totals == [3, -2]
    assert windows.transposed_pads(totals, [0, 1], share) == ([begin, 0, 3 - begin, 0], [0, 3])
    with pytest.raises(UnsupportedModelError, match="depends on a size left open"):
        windows.taken_away(d, [FRAMES], [9], [5], [2], [1], [0])
    with pytest.raises(UnsupportedModelError, match="none negative"):
        windows.conv_transpose(d, known(numbers(1, 2, 4)), known(numbers(2, 3, 3)), pads=[-1, 0])


def test_windows_over_other_numbers_of_axes():
    for shape, weight in (((1, 3, 4, 4, 4), (2, 3, 1, 1, 1)), ((3, 4), (2, 3, 1, 1))):
        with pytest.raises(UnsupportedModelError, match="axes"):
            windows.conv(Dialect(), known(numbers(*shape)), known(numbers(*weight)))
    with pytest.raises(UnsupportedModelError, match="pooling over 3 axes"):
        windows.pool(Dialect(), known(numbers(1, 3, 4, 4, 4)), "max", [2, 2, 2])


# ---- pooling --------------------------------------------------------------------------------------------------------


@given(st.data())
def test_pooling(data):
    n, ceil = data.draw(st.integers(1, 2)), data.draw(st.booleans())
    kernel, strides = ([data.draw(st.integers(1, 3)) for _ in range(n)] for _ in range(2))
    pads = [data.draw(st.integers(0, k // 2)) for k in kernel]
    include = data.draw(st.booleans())
    x = numbers(2, 4, *[7] * n)
    tensor = torch.from_numpy(x)
    most = (functional.max_pool1d if n == 1 else functional.max_pool2d)(tensor, kernel, strides, pads, 1, ceil)
    mean = (functional.avg_pool1d if n == 1 else functional.avg_pool2d)(tensor, kernel, strides, pads, ceil, include)

    def build(d: Dialect, v: Value, channels_last: bool, kind: str) -> Value:
        return windows.pool(
            d,
            v,
            kind,
            kernel,
            strides=strides,
            padding=pads * 2,
            ceil_mode=ceil,
            count_include_pad=include,
            channels_last=channels_last,
        )

    both_layouts(lambda *a: build(*a, "max"), x, most.numpy(), open_axes=(0,))
    both_layouts(lambda *a: build(*a, "average"), x, mean.numpy(), open_axes=(0,))


def test_pooling_of_integers():
    x = RNG.integers(-50, 50, (2, 3, 8)).astype(np.int32)
    wanted = x.reshape(2, 3, 4, 2).max(-1)
    for found in (
        windows.pool(Dialect(), known(x), "max", [2], strides=[2]).data,
        run_time(lambda d, v: windows.pool(d, v, "max", [2], strides=[2]), x, [2, 3, FRAMES])[0],
    ):
        assert found.dtype.kind == "i"
        np.testing.assert_array_equal(found, wanted)


def test_global_pooling():
    x = numbers(2, 3, 4, 5)
    for kind, wanted in (("mean", x.mean((2, 3), keepdims=True)), ("l2", np.sqrt((x**2).sum((2, 3), keepdims=True)))):
        build = lambda d, v, channels_last, kind=kind: windows.global_pool(d, v, kind, 2, channels_last=channels_last)  # noqa: E731
        both_layouts(build, x, wanted, open_axes=(0, 2))
    everywhere(lambda d, v: windows.global_pool(d, v, "max", 2, keepdims=False), x, x.max((2, 3)), open_axes=(0, 3))


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_adaptive_pooling(kind, size):
    x = numbers(2, 3, 6)
    run = functional.adaptive_max_pool1d if kind == "max" else functional.adaptive_avg_pool1d
    wanted = run(torch.from_numpy(x), size).numpy()
    build = lambda d, v, channels_last: windows.adaptive_pool(d, v, kind, [size], channels_last)  # noqa: E731
    both_layouts(build, x, wanted, open_axes=(0, 2) if size == 1 else (0,))


def test_adaptive_pooling_of_open_sizes():
    x = numbers(2, 3, 4, 6)
    wanted = functional.adaptive_avg_pool2d(torch.from_numpy(x), (None, 1)).numpy()
    meaning = lambda d, v: windows.adaptive_pool(d, v, "average", [None, 1])  # noqa: E731
    np.testing.assert_allclose(run_time(meaning, x, [2, 3, FRAMES, 6])[0], wanted, atol=1e-5)
    halves = lambda d, v: windows.adaptive_pool(d, v, "average", [FRAMES, 3])  # noqa: E731
    wanted = functional.adaptive_avg_pool2d(torch.from_numpy(x), (2, 3)).numpy()
    np.testing.assert_allclose(run_time(halves, x, [2, 3, FRAMES * 2, 6])[0], wanted, atol=1e-5)
    for sizes in ([4], [FRAMES]):
        with pytest.raises(UnsupportedModelError, match="not of one size"):
            windows.adaptive_pool(Dialect(), known(numbers(2, 3, 6)), "max", sizes)


def test_the_stride_of_a_damaged_file_takes_no_memory():
    assert windows.same_pads(None, FRAMES, 1, 1 << 40) == (0, 0)
