"""The dialect's movement and resampling against NumPy and torch: known values, run-time ones, open sizes, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from dialect_cases import arrays_of, everywhere, run_time
from hypothesis import given
from hypothesis import strategies as st

from lstm_edge.errors import MemoryLimitError, UnsupportedModelError
from lstm_edge.importers.dialect import TO_END, Dialect, Value, known, movement, norms, windows
from lstm_edge.importers.dialect.reshaping import reshape_target
from lstm_edge.importers.dialect.resize import resize, scales_to
from lstm_edge.ir.dims import BATCH, FRAMES

X = np.arange(2 * 6 * 3 * 4, dtype=np.float32).reshape(2, 6, 3, 4)

CASES = {
    "flatten": (lambda d, x: movement.flatten(d, x, 2), X.reshape(12, 12)),
    "flatten from the end": (lambda d, x: movement.flatten(d, x, -1), X.reshape(36, 4)),
    "merge": (lambda d, x: movement.merge_axes(d, x, 1, -2), X.reshape(2, 18, 4)),
    "unflatten": (lambda d, x: movement.unflatten(d, x, 3, [-1, 2]), X.reshape(2, 6, 3, 2, 2)),
    "reshape": (lambda d, x: movement.reshape(d, x, [0, 0, -1], copy_zeros=True), X.reshape(2, 6, 12)),
    "unsqueeze": (lambda d, x: movement.unsqueeze(d, x, [0, -1]), X[None, ..., None]),
    "squeeze": (
        lambda d, x: movement.squeeze(d, movement.unsqueeze(d, x, [1, 3]), [1, -3]),
        X.reshape(2, 6, 3, 4),
    ),
    "lenient squeeze": (lambda d, x: movement.squeeze(d, movement.unsqueeze(d, x, [1]), [1, 3], lenient=True), X),
    "transpose": (lambda d, x: movement.transpose(d, x), X.T),
    "permute": (lambda d, x: movement.transpose(d, x, [-1, 0, 2, 1]), X.transpose(3, 0, 2, 1)),
    "swap": (lambda d, x: movement.swap_axes(d, x, 1, -1), X.swapaxes(1, -1)),
    "move": (lambda d, x: movement.move_axes(d, x, [0, -1], [2, 0]), np.moveaxis(X, [0, -1], [2, 0])),
    "take": (
        lambda d, x: movement.take(d, x, [1, -1], [-2, 0], [TO_END, 3], [1, 2]),
        X[:, -2:, :, 0:3:2],
    ),
    "take backwards": (lambda d, x: movement.take(d, x, [1], [-1], [-TO_END], [-2]), X[:, ::-2]),
    "index": (lambda d, x: movement.index(d, x, 1, -1), X[:, -1]),
    "index in front": (lambda d, x: movement.index(d, x, -3, 2), X[:, 2]),
    "flip": (lambda d, x: movement.flip(d, x, [1, -1]), X[:, ::-1, :, ::-1]),
    "roll": (lambda d, x: movement.roll(d, x, [2, -1], [1, 3]), np.roll(X, (2, -1), (1, 3))),
    "tile": (lambda d, x: movement.tile(d, x, [2, 1, 3, 1]), np.tile(X, [2, 1, 3, 1])),
    "tile in front": (lambda d, x: movement.tile(d, x, [2, 1, 1, 1, 1]), np.tile(X, [2, 1, 1, 1, 1])),
    "repeat each": (lambda d, x: movement.repeat_each(d, x, 3, 1), np.repeat(X, 3, 1)),
    "stack": (lambda d, x: movement.stack(d, [x, movement.flip(d, x, [3])], 1), np.stack([X, X[..., ::-1]], 1)),
    "concat": (
        lambda d, x: movement.concat(d, [x, known(np.zeros(0, np.float32)), d.slice_axis(x, 3, 0, 1)], -1),
        np.concatenate([X, X[..., :1]], -1),
    ),
    "pad": (
        lambda d, x: movement.pad(d, x, [0, 2, 0, -1], [0, 0, 1, 2], value=7.0),
        np.pad(X[..., 1:], ((0, 0), (2, 0), (0, 1), (0, 2)), constant_values=7),
    ),
    "pad by cutting": (lambda d, x: movement.pad(d, x, [0, -1, 0, 0], [0, -2, 0, -1]), X[:, 1:-2, :, :-1]),
    "pad by edge": (
        lambda d, x: movement.pad(d, x, [0, 1, 0, 0], [0, 2, 0, 0], "edge"),
        np.pad(X, ((0, 0), (1, 2), (0, 0), (0, 0)), "edge"),
    ),
    "pad by reflection": (
        lambda d, x: movement.pad(d, x, [0, 2, 0, 0], [0, 1, 1, 0], "reflect"),
        np.pad(X, ((0, 0), (2, 1), (0, 1), (0, 0)), "reflect"),
    ),
    "pad symmetrically": (
        lambda d, x: movement.pad(d, x, [0, 2, 0, 0], [0, 1, 1, 0], "symmetric"),
        np.pad(X, ((0, 0), (2, 1), (0, 1), (0, 0)), "symmetric"),
    ),
    "pad around": (
        lambda d, x: movement.pad(d, x, [0, 2, 0, 0], [0, 1, 1, 0], "wrap"),
        np.pad(X, ((0, 0), (2, 1), (0, 1), (0, 0)), "wrap"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_moves_as_numpy_does(name):
    meaning, wanted = CASES[name]
    everywhere(meaning, X, wanted, open_axes=(0, 1))


def test_roll_over_all_elements():
    everywhere(lambda d, x: movement.roll(d, x, [5]), X, np.roll(X, 5))


@pytest.mark.parametrize("parts", [[1, 2, 3], [1, -1, 2], [-1, 2], [2, -1]])
def test_split(parts):
    whole = [p if p != -1 else 6 - sum(parts) - 1 for p in parts]
    wanted = np.split(X, np.cumsum(whole)[:-1], 1)
    open_axes = (0, 1) if -1 in parts else (0,)
    everywhere(lambda d, x: movement.split(d, x, 1, parts), X, *wanted, open_axes=open_axes)


def test_equal_parts_end_with_the_smaller_one():
    d = Dialect()
    assert movement.equal_parts(d, 7, 3) == [3, 3, 1]
    with pytest.raises(UnsupportedModelError, match="equal parts"):
        movement.equal_parts(d, FRAMES, 2)


def test_split_refuses_parts_that_do_not_fit():
    for parts in ([4, 3], [-1, -1], [7, -1]):
        with pytest.raises(UnsupportedModelError, match="splits an axis of size 6"):
            movement.split(Dialect(), known(X), 1, parts)


def test_unstack():
    everywhere(lambda d, x: movement.unstack(d, x, 2), X, *(X[:, :, n] for n in range(3)), open_axes=(0, 1))


def test_bounds_that_depend_on_an_open_size():
    for first, last, wanted in (
        (FRAMES - 2, FRAMES, X[:, -2:]),
        (1, FRAMES - 1, X[:, 1:-1]),
        (2 - FRAMES, TO_END, X[:, 2:]),
    ):
        meaning = lambda d, x, first=first, last=last: movement.take(d, x, [1], [first], [last])  # noqa: E731
        (found,) = run_time(meaning, X, [2, FRAMES, 3, 4])
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(UnsupportedModelError, match="slice bound"):
        run_time(lambda d, x: movement.take(d, x, [1], [0], [BATCH]), X, [2, FRAMES, 3, 4])


def _trained(frames: int) -> Dialect:
    d = Dialect()
    d.made_with = {"frames": frames}
    return d


def test_frames_that_the_source_was_made_with():
    """Where frames are open and the source has 6 of them, 6 means the end and 5 the last."""

    def meaning(d: Dialect, x: Value) -> list[Value]:
        d.made_with = {"frames": 6}
        return [
            movement.take(d, x, [1], [0], [6]),
            movement.index(d, x, 1, 5),
            movement.reshape(d, x, [2, 6, 12]),
            movement.reshape(d, x, [-1, 12]),
        ]

    assert reshape_target(_trained(6), [FRAMES, 6], [6, 6, 1]) == [FRAMES, 6, 1]
    longer = np.concatenate([X, X], 1)
    found = run_time(meaning, longer, [2, FRAMES, 3, 4])
    for got, want in zip(found, (longer, longer[:, -1], longer.reshape(2, 12, 12), longer.reshape(-1, 12))):
        np.testing.assert_array_equal(got, want)
    with pytest.raises(UnsupportedModelError, match="element 3 of 6"):
        movement.slice_bounds(_trained(6), FRAMES, 3, TO_END)


@given(st.data())
def test_reshape_with_open_sizes(data):
    """Any way of joining neighbouring axes and splitting the known ones, one of the sizes left to be found."""
    shape = [BATCH, FRAMES, 4, 6]
    cuts = sorted(data.draw(st.sets(st.integers(1, 3))))
    groups = [shape[a:b] for a, b in zip([0, *cuts], [*cuts, 4])]
    target = []
    for group in groups:
        if len(group) == 1 and isinstance(group[0], int) and data.draw(st.booleans()):
            target += [group[0] // 2, 2]
        else:
            size = 1
            for s in group:
                size = size * s
            target.append(size)
    hidden = data.draw(st.integers(-1, len(target) - 1))
    asked = [-1 if n == hidden else s for n, s in enumerate(target)]
    x = np.arange(3 * 5 * 24, dtype=np.float32).reshape(3, 5, 4, 6)
    (found,) = run_time(lambda d, v: movement.reshape(d, v, asked), x, shape)
    sizes = [s if isinstance(s, int) else s.value(3, 5) for s in target]
    np.testing.assert_array_equal(found, x.reshape(sizes))


def test_reshape_to_a_multiple_of_a_stride():
    d = Dialect()
    pairs = FRAMES // 2
    assert reshape_target(d, [1, pairs * 2, 1], [1, pairs, 2]) == [1, pairs, 2] and not d.notes
    assert reshape_target(d, [pairs * 2], [FRAMES]) == [pairs * 2]
    assert "multiple of 2" in d.notes[0]


def test_reshape_refuses_another_number_of_elements():
    for asked in ([5, -1], [2, 6, 13], [-1, -1], [7]):
        with pytest.raises(UnsupportedModelError, match="cannot reshape"):
            movement.reshape(Dialect(), known(X), asked)


def test_squeeze_without_axes_leaves_open_ones_alone():
    x = X[:1, :, :1]
    everywhere(lambda d, v: movement.squeeze(d, v), x, x.reshape(6, 4))
    (found,) = run_time(lambda d, v: movement.squeeze(d, v), x, [BATCH, 6, 1, 4])
    assert found.shape == (1, 6, 4)
    with pytest.raises(UnsupportedModelError, match="squeezes an axis of size 6"):
        movement.squeeze(Dialect(), known(X), [1])


def test_tile_by_an_open_number():
    x = X[:, :1, :, 0]
    meaning = lambda d, v: movement.tile(d, v, [1, d.shape(v)[0], 2])  # noqa: E731
    (found,) = run_time(meaning, x, [BATCH, 1, 3])
    np.testing.assert_array_equal(found, np.tile(x, [1, 2, 2]))
    with pytest.raises(UnsupportedModelError, match="repeats"):
        run_time(lambda d, v: movement.tile(d, v, [1, 1, d.shape(v)[0]]), x, [BATCH, 1, 3])


def test_arange():
    d = Dialect()
    np.testing.assert_array_equal(movement.arange(d, 5, -3, -2, "int64").data, np.arange(5, -3, -2))
    np.testing.assert_allclose(movement.arange(d, 0.5, 2.0, 0.25, "float32").data, np.arange(0.5, 2, 0.25))
    (found,) = run_time(lambda d, v: movement.arange(d, 3, d.shape(v)[1] * 2, 2, "int64"), X, [2, FRAMES, 3, 4])
    np.testing.assert_array_equal(found, np.arange(3, 12, 2))
    with pytest.raises(UnsupportedModelError, match="a range from"):
        movement.arange(d, FRAMES, 10, 1, "int64")


def test_shapes_are_partly_known():
    d = Dialect()
    x = Value("float32", tensor=d.graph.input("x", (BATCH, FRAMES, 4)))
    shape = movement.shape_of(d, x)
    parts = movement.concat(d, [movement.take(d, shape, [0], [0], [1]), known(np.array([-1]))], 0)
    assert list(parts.data) == [BATCH, -1] and not d.graph.nodes
    assert movement.size_of(d, x).data.item() == BATCH * FRAMES * 4
    assert list(movement.reshape(d, shape, [3, 1]).data.reshape(-1)) == [BATCH, FRAMES, 4]
    (found,) = arrays_of(d, movement.flip(d, shape, [0]), np.zeros((2, 5, 4), np.float32))
    np.testing.assert_array_equal(found, [4, 5, 2])


def test_concat_refuses_to_repeat_a_constant_without_end():
    big = known(np.zeros(1 << 22, np.float32))
    with pytest.raises(MemoryLimitError, match="asks for 167772160 bytes"):
        movement.concat(Dialect(), [big] * 10, 0)


def test_reverse_sequence():
    x = X[:, :, 0]
    wanted = x.copy()
    wanted[0, :2], wanted[1, :5] = x[0, 1::-1], x[1, 4::-1]
    meaning = lambda d, v: movement.reverse_sequence(d, v, known(np.array([2, 5])), 1, 0)  # noqa: E731
    np.testing.assert_array_equal(run_time(meaning, x)[0], wanted)
    full = lambda d, v: movement.reverse_sequence(d, v, known(np.array([6, 6])), 1, 0)  # noqa: E731
    np.testing.assert_array_equal(run_time(full, x)[0], x[:, ::-1])


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("depth_last", [False, True])
def test_depth_and_space(channels_last, depth_last):
    pictures = np.arange(2 * 3 * 4 * 6, dtype=np.float32).reshape(2, 3, 4, 6)
    blocks = pictures.reshape(2, 3, 2, 2, 3, 2).transpose(0, 1, 3, 5, 2, 4)  # (n, c, row, column, h, w)
    deep = (blocks if depth_last else blocks.transpose(0, 2, 3, 1, 4, 5)).reshape(2, 12, 2, 3)
    if channels_last:
        pictures, deep = pictures.transpose(0, 2, 3, 1), deep.transpose(0, 2, 3, 1)
    everywhere(lambda d, x: movement.space_to_depth(d, x, 2, channels_last, depth_last), pictures, deep, open_axes=(0,))
    everywhere(lambda d, x: movement.depth_to_space(d, x, 2, channels_last, depth_last), deep, pictures, open_axes=(0,))


def test_pixel_shuffle_is_depth_last():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, 8, 3, 5), np.float32)
    wanted = torch.pixel_shuffle(torch.from_numpy(x), 2).numpy()
    everywhere(lambda d, v: movement.depth_to_space(d, v, 2, depth_last=True), x, wanted, open_axes=(0, 3))


@pytest.mark.parametrize(("axis", "size", "step"), [(1, 3, 2), (-1, 2, 1), (0, 2, 1)])
def test_unfold(axis, size, step):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((4, 9, 5), np.float32)
    wanted = torch.from_numpy(x).unfold(axis, size, step).numpy()
    everywhere(lambda d, v: movement.unfold(d, v, axis, size, step), x, wanted, open_axes=(0, 1))


# ---- resampling -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("size", [3, 7, 12, 5])
def test_resize_of_one_axis(mode, size):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, 3, 6), np.float32)
    wanted = torch.nn.functional.interpolate(torch.from_numpy(x), size, mode=mode).numpy()
    coordinates = "asymmetric" if mode == "nearest" else "half_pixel"

    def meaning(d: Dialect, v: Value) -> Value:
        return resize(d, v, [1.0, 1.0, *scales_to(d, [6], [size])], mode, coordinates)

    everywhere(meaning, x, wanted, open_axes=(0, 1))


def test_whole_factors_of_open_sizes():
    (found,) = run_time(
        lambda d, v: resize(d, v, scales_to(d, d.shape(v), [2, FRAMES * 3, 3, 4])), X, [2, FRAMES, 3, 4]
    )
    np.testing.assert_array_equal(found, np.repeat(X, 3, 1))
    with pytest.raises(UnsupportedModelError, match="resizes an axis of frames to 10"):
        scales_to(Dialect(), [FRAMES], [10])


def test_resize_refusals():
    for scales, mode, coordinates, rounding in (
        ([1, 1.5, 1, 1], "spline", "half_pixel", "floor"),
        ([1, 1.5, 1, 1], "nearest", "somewhere", "floor"),
        ([1, 1.5, 1, 1], "nearest", "asymmetric", "up"),
    ):
        with pytest.raises(UnsupportedModelError, match=r"mode|rounding"):
            resize(Dialect(), known(X), scales, mode, coordinates, rounding)


def test_numbers_that_make_no_sense_are_refused():
    for meaning in (
        lambda d: movement.space_to_depth(d, known(X), 0),
        lambda d: movement.depth_to_space(d, known(X[0, 0]), 2),
        lambda d: movement.equal_parts(d, 6, 0),
        lambda d: movement.unfold(d, known(X), 1, 1 << 20, 1),
        lambda d: movement.eye(d, 1 << 20, 1 << 20),
        lambda d: movement.tile(d, known(X), [1 << 30, 1, 1, 1]),
        lambda d: movement.repeat_each(d, known(X), 1 << 30, 0),
        lambda d: movement.arange(d, 0, 1 << 40, 1, "int64"),
        lambda d: movement.index(d, known(X), 1, 6),
        lambda d: movement.take(d, known(X), [1], [0], [4], [0]),
        lambda d: movement.pad(d, known(X), [0, 1 << 30, 0, 0], [0] * 4),
        lambda d: resize(d, known(X), [1, float("inf"), 1, 1]),
        lambda d: resize(d, known(X), [1, 0, 1, 1]),
        lambda d: resize(d, known(np.zeros(1 << 20, np.float32)), [1.5], "linear"),
        lambda d: windows.conv(d, known(X[0]), known(X[:, :, :, 0]), strides=[0], padding="same"),
        lambda d: norms.group_norm(d, known(X), 0),
    ):
        with pytest.raises((UnsupportedModelError, MemoryLimitError)):
            meaning(Dialect())
