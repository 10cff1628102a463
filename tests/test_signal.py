"""Frames, Rfft and Irfft: near the exact transform, there and back, the same bits in any batch and any cutting of the samples."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

import lstm_edge
from lstm_edge import format, passes
from lstm_edge.errors import LstmEdgeError
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph

RNG = np.random.default_rng(5)


def transform_file(op: str, n: int, *shape: int) -> bytes:
    graph = Graph()
    x = graph.input("x", (BATCH, *shape))
    graph.output("y", graph.add1(op, [x], {"n": n}))
    return format.to_bytes(passes.pipeline(graph))


def transform(op: str, n: int, *shape: int) -> lstm_edge.Model:
    return lstm_edge.Model(transform_file(op, n, *shape))


@pytest.mark.parametrize("n", [320, 400, 512, 1024, 480, 96, 254, 101, 1001, 98, 2, 1])
def test_a_transform_is_exact_to_float32_and_goes_back(n):
    x = RNG.standard_normal((3, n)).astype(np.float32)
    there, back = transform("Rfft", n, n), transform("Irfft", n, 2, n // 2 + 1)
    y, exact = there.run(x), np.fft.rfft(x.astype(np.float64))
    assert np.abs(y[:, 0] + 1j * y[:, 1] - exact).max() < 1e-6 * np.abs(exact).max()
    assert np.abs(back.run(y) - x).max() < 1e-6 * np.abs(x).max()
    np.testing.assert_array_equal(there.run(x[1:2]), y[1:2])


@pytest.mark.parametrize(
    ("n", "size"), [(512, 400), (400, 400), (96, 95), (98, 97), (254, 13), (101, 101), (75, 74), (8, 1), (2, 2), (1, 1)]
)
def test_a_row_has_the_same_bits_alone_and_beside_others_on_every_table(n, size):
    """Rows side by side go through vectors with one in each lane, full and not: the numbers of a row are those of a row alone."""
    x = (RNG.standard_normal((19, size)) * 10.0 ** RNG.integers(-20, 20, (19, 1))).astype(np.float32)
    file = transform_file("Rfft", n, size)
    alone = np.concatenate([lstm_edge.Model(file, isa="scalar").run(row[None]) for row in x])
    for isa in [name for name, runs in lstm_edge.isas() if runs]:
        table = lstm_edge.Model(file, isa=isa)
        for rows in (1, 2, 7, 8, 9, 15, 16, 17, 19):
            np.testing.assert_array_equal(
                table.run(x[:rows]).view(np.uint32), alone[:rows].view(np.uint32), err_msg=isa
            )


def test_the_inverse_takes_no_imaginary_part_where_a_real_signal_has_none():
    spectrum = RNG.standard_normal((1, 2, 9)).astype(np.float32)
    back = transform("Irfft", 16, 2, 9)
    y = back.run(spectrum)
    spectrum[0, 1, [0, 8]] = 0
    np.testing.assert_array_equal(back.run(spectrum), y)


def test_rows_are_filled_up_with_zeros():
    x = RNG.standard_normal((2, 301)).astype(np.float32)
    filled = np.pad(x, ((0, 0), (0, 211)))
    np.testing.assert_array_equal(transform("Rfft", 512, 301).run(x), transform("Rfft", 512, 512).run(filled))


@pytest.mark.parametrize(("size", "hop"), [(400, 160), (512, 128), (160, 160), (25, 10), (10, 15)])
def test_frames_stream_in_any_chunks_of_whole_hops(size, hop):
    graph = Graph()
    x = graph.input("x", (BATCH, FRAMES))
    spectrum = graph.add1("Rfft", [graph.add1("Frames", [x], {"size": size, "hop": hop})], {"n": size})
    graph.output("y", graph.add1("Reduce", [spectrum], {"kind": "sum_square", "axes": [2], "keepdims": 0}))
    model = lstm_edge.Model(format.to_bytes(passes.pipeline(graph)))
    assert model.metadata["streaming"] == {"supported": True, "why": "", "multiple": hop}
    samples = RNG.standard_normal((2, 23 * hop)).astype(np.float32)
    whole = model.run(samples)
    assert whole.shape[1] == (samples.shape[1] - size) // hop + 1
    for hops in (1, 2, 7):
        stream = model.stream(batch=2)
        chunks = [stream.run(samples[:, i : i + hops * hop]) for i in range(0, samples.shape[1], hops * hop)]
        np.testing.assert_array_equal(np.concatenate([c for c in chunks if c is not None], 1), whole)


def test_a_transform_has_a_number_of_points():
    graph = Graph()
    x = graph.input("x", (BATCH, FRAMES))
    with pytest.raises(lstm_edge.ShapeError, match="last axis of input x: expected at most 512 values, found frames"):
        graph.add1("Rfft", [x], {"n": 512})
    with pytest.raises(lstm_edge.ShapeError, match="at most 1 values"):
        transform("Rfft", 1, 2)
    with pytest.raises(lstm_edge.ShapeError, match="attribute n: expected 1 to 65536, found 65537"):
        transform("Rfft", 65537, 2)


@pytest.mark.parametrize("size", [0, -1, 2**16 + 1, 1_000_003, 2**31 - 1, 2**31, 2**40 + 15, -(2**63), 2**63 - 1])
@pytest.mark.parametrize(("op", "key"), [("Rfft", "n"), ("Irfft", "n"), ("Frames", "size"), ("Frames", "hop")])
def test_a_size_that_somebody_wrote_into_a_file_is_refused_or_answers_as_it_says(op, key, size):
    graph, shape = Graph(), (BATCH, 2, 9) if op == "Irfft" else (BATCH, 16)
    y = graph.add1(op, [graph.input("x", shape)], {"size": 4, "hop": 2} if op == "Frames" else {"n": 16})
    graph.output("y", y)
    graph.nodes[0].attrs[key] = mark = 0x7A5B3C1D  # no other number of the file
    content = bytearray(format.to_bytes(graph))
    assert content.count(mark.to_bytes(8, "little")) == 1
    at = content.index(mark.to_bytes(8, "little"))
    content[at : at + 8] = size.to_bytes(8, "little", signed=True)
    content[12:16] = zlib.crc32(content[16:]).to_bytes(4, "little")
    try:
        answer = lstm_edge.load(bytes(content)).run(np.ones((3, *shape[1:]), np.float32))
    except LstmEdgeError as why:
        assert f"attribute {key}" in str(why) or "expected" in str(why)
    else:
        assert op == "Frames" and size > 0 and answer.shape[1] == (key == "hop")
