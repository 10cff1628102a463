"""The file format: what is written is read back; what is damaged is refused with FormatError and nothing else."""

from __future__ import annotations

import dataclasses
import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_edge import format as le_format
from lstm_edge.errors import FormatError, LstmEdgeError, UnsupportedModelError
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph, Node, SelfTest, State, Tensor


def small_graph() -> Graph:
    """x (batch, frames, 3) through an LSTM(2) whose h and c a stream keeps, and a Dense(1)."""
    rng = np.random.default_rng(7)
    graph = Graph(metadata={"converter": "lstm_edge test", "notes": ["ünïcode"], "step": False})
    x = graph.input("x", (BATCH, FRAMES, 3))
    w_ih = graph.constant(rng.standard_normal((1, 8, 3)), "w_ih")
    w_hh = graph.constant(rng.standard_normal((1, 8, 2)), "w_hh")
    state_shape = (1, BATCH, 2)
    for name in ("h", "c"):
        graph.tensors[name] = Tensor(name, "float32", state_shape)
    y, h_n, c_n = graph.add(
        "LSTM",
        [x, w_ih, w_hh, "", "h", "c"],
        {"clip": 3, "activations": ["sigmoid"] * 2 + ["tanh", "sigmoid", "tanh"]},
        "rnn",
    )
    dense = graph.add1(
        "Dense", [y, graph.constant(rng.standard_normal((1, 2)), "w")], {"activation": "sigmoid"}, "dense"
    )
    graph.output("y", dense)
    graph.states = [
        State("h", "h", h_n, state_shape, initial=np.full((1, 1, 2), 0.25, np.float32)),
        State("c", "c", c_n, state_shape),
    ]
    sample = rng.standard_normal((1, 4, 3)).astype(np.float32)
    graph.self_test = SelfTest({"x": sample}, {"y": sample[..., :1]}, "test 1.0", 2e-5)
    return recorded(graph)


def recorded(graph: Graph) -> Graph:
    """The graph with what the writer adds to the metadata."""
    shapes = {p.name: [s if isinstance(s, int) else str(s) for s in graph.shape(p.tensor)] for p in graph.outputs}
    graph.metadata["outputs"] = shapes
    return graph


def plain(value):
    """A structure that == compares: arrays by dtype, shape and bytes; tuples as lists."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, np.ascontiguousarray(value).tobytes()
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.compare}
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def with_crc(content: bytes | bytearray) -> bytes:
    out = bytearray(content)
    struct.pack_into("<I", out, 12, zlib.crc32(out[16:]))
    return bytes(out)


def test_small_graph_round_trips():
    graph = small_graph()
    content = le_format.to_bytes(graph)
    back = le_format.read(content)
    graph.nodes[0].attrs["clip"] = 3.0
    assert plain(back) == plain(graph)
    assert le_format.to_bytes(back) == content


@st.composite
def random_graphs(draw) -> Graph:
    """Chains of elementwise ops over constants of every dtype, with random ports, names and metadata."""
    graph = Graph(
        metadata=draw(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9) | st.none(), max_size=3))
    )
    graph.metadata.pop("self_test", None)
    size = draw(st.integers(1, 9))
    lead = draw(st.sampled_from([(), (BATCH,), (BATCH * 3, FRAMES), (FRAMES * 2, 4)]))
    names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=8)
    values = [graph.input(draw(names), (*lead, size))]
    for dtype in draw(st.lists(st.sampled_from(["float32", "int32", "bool", "float16", "int8"]), max_size=5)):
        shape = tuple(draw(st.lists(st.integers(0, 4), min_size=1, max_size=4)))
        data = np.arange(int(np.prod(shape)) + 1)[1:].reshape(shape).astype(dtype)
        scales = draw(st.sampled_from([1, max(shape[0], 1), max(data.size, 1)]))
        scale = np.linspace(0.5, 1, scales, dtype=np.float32) if dtype == "int8" else None
        name = graph.fresh(draw(names))
        graph.tensors[name] = Tensor(name, dtype, shape, data, scale)
    for _ in range(draw(st.integers(0, 6))):
        a, b = draw(st.sampled_from(values)), draw(st.sampled_from(values))
        if draw(st.booleans()):
            values.append(
                graph.add1("Binary", [a, b], {"kind": draw(st.sampled_from(["add", "mul", "max"]))}, draw(names))
            )
        else:
            attrs = {"kind": "leaky_relu", "alpha": draw(st.floats(-2, 2, width=32))}
            values.append(graph.add1("Unary", [a], attrs, draw(names)))
    graph.output(draw(names), values[-1])
    return recorded(graph)


@settings(max_examples=60, deadline=None)
@given(random_graphs())
def test_random_graphs_round_trip(graph):
    content = le_format.to_bytes(graph)
    back = le_format.read(content)
    assert plain(back) == plain(graph)
    assert le_format.to_bytes(back) == content


@pytest.mark.parametrize(
    "value, back",
    [
        (5, 5), (-(2**63), -(2**63)), (True, 1), (np.int64(3), 3), (0.5, 0.5),
        (np.float32(0.1), float(np.float32(0.1))), ("word", "word"),
        ([1, 2], [1, 2]), ((), []), (np.arange(3), [0, 1, 2]), ([1.5, 2], [1.5, 2.0]), (["a", ""], ["a", ""]),
    ],
)  # fmt: skip
def test_attributes_keep_kind_and_value(monkeypatch, value, back):
    monkeypatch.setattr("lstm_edge.format.reader.Reader.infer_shapes", lambda self, graph: None)
    graph = Graph(nodes=[Node("Any", [], [], {"key": value}, "n")])
    found = le_format.read(le_format.to_bytes(graph)).nodes[0].attrs["key"]
    assert found == back and type(found) is type(back)


def test_every_flipped_byte_is_refused_or_harmless():
    graph = small_graph()
    content = le_format.to_bytes(graph)
    same = plain(le_format.read(content))
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << (at % 8)
        try:
            assert plain(le_format.read(damaged)) == same, at
        except FormatError:
            pass


def test_every_flipped_byte_under_a_valid_checksum_raises_only_our_errors():
    content = le_format.to_bytes(small_graph())
    for at in range(16, len(content)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[at] ^= mask
            try:
                le_format.read(with_crc(damaged))
            except LstmEdgeError:
                pass


def test_truncation_at_every_length_is_refused():
    content = le_format.to_bytes(small_graph())
    for length in range(len(content)):
        with pytest.raises(FormatError):
            le_format.read(content[:length])


def test_appended_bytes_are_refused():
    with pytest.raises(FormatError, match="appended"):
        le_format.read(le_format.to_bytes(small_graph()) + bytes(64))


def test_newer_major_version_names_both_numbers():
    content = bytearray(le_format.to_bytes(small_graph()))
    struct.pack_into("<H", content, 8, 7)
    with pytest.raises(FormatError, match=r"header: expected major version 1 or 2, found 7"):
        le_format.read(content)


def test_newer_minor_version_and_unknown_sections_are_ignored():
    graph = small_graph()
    content = bytearray(le_format.to_bytes(graph))
    struct.pack_into("<H", content, 10, 9)
    struct.pack_into("<Q", content, 16, len(content) + 64)
    rows = struct.unpack_from("<I", content, 24)[0]
    first = struct.unpack_from("<Q", content, 64 + 8)[0]
    assert 64 + 32 * (rows + 1) <= first
    struct.pack_into("<4sIQQQ", content, 64 + 32 * rows, b"NEW!", 3, len(content), 64, 0)
    struct.pack_into("<I", content, 24, rows + 1)
    back = le_format.read(with_crc(content + bytes(64)))
    assert plain(back) == plain(le_format.read(le_format.to_bytes(graph)))


def section_row(content: bytes, kind: bytes) -> int:
    rows = struct.unpack_from("<I", content, 24)[0]
    return next(64 + 32 * n for n in range(rows) if content[64 + 32 * n :][:4] == kind)


@pytest.mark.parametrize(
    "kind, field, value, words",
    [
        (b"TENS", 8, 1 << 40, "TENS.*bytes within"),
        (b"CNST", 16, 60, "CNST.*records of 104 bytes, found 60"),
        (b"NODE", 8, 65, "NODE.*multiple of 64"),
        (b"VALS", 8, None, "expected its end before"),
        (b"IDXS", 4, 1, "IDXS.*1 records of 4 bytes"),
    ],
)
def test_bad_section_rows_are_named(kind, field, value, words):
    content = bytearray(le_format.to_bytes(small_graph()))
    row = section_row(content, kind)
    if value is None:  # onto TENS
        value = struct.unpack_from("<Q", content, section_row(content, b"TENS") + 8)[0]
    struct.pack_into("<I" if field == 4 else "<Q", content, row + field, value)
    with pytest.raises(FormatError, match=words):
        le_format.read(with_crc(content))


def test_missing_and_double_sections_are_named():
    content = le_format.to_bytes(small_graph())
    row = section_row(content, b"STAT")
    missing, double = bytearray(content), bytearray(content)
    missing[row : row + 4] = b"XXXX"
    double[row : row + 4] = b"INPT"
    with pytest.raises(FormatError, match="expected section STAT, found none"):
        le_format.read(with_crc(missing))
    with pytest.raises(FormatError):
        le_format.read(with_crc(double))


@pytest.mark.parametrize("shape", [(BATCH * FRAMES, 2), (FRAMES + 1, 2), (FRAMES // 2, 2), (-1, 2)])
def test_sizes_the_format_cannot_hold_are_refused(shape):
    graph = Graph()
    graph.output("y", graph.input("x", shape))
    with pytest.raises(UnsupportedModelError, match=r"input 'x', axis 0: expected a number, k\*batch or k\*frames"):
        le_format.to_bytes(graph)


def test_states_may_not_mention_frames():
    graph = small_graph()
    graph.states[0].shape = (1, FRAMES, 2)
    with pytest.raises(UnsupportedModelError, match="state 'h', axis 1"):
        le_format.to_bytes(graph)


def test_write_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "m.lstm"
    path.write_bytes(b"old")
    le_format.write(small_graph(), path)
    assert path.read_bytes() == le_format.to_bytes(small_graph())
    assert os.listdir(tmp_path) == ["m.lstm"]
    broken = small_graph()
    broken.states[0].shape = (1, FRAMES, 2)
    with pytest.raises(UnsupportedModelError):
        le_format.write(broken, path)
    assert path.read_bytes() == le_format.to_bytes(small_graph())


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "other.lstm"
    path.write_bytes(b"\x89PNG and more")
    with pytest.raises(FormatError, match=r"other\.lstm: header: expected magic"):
        le_format.read(path)


def test_a_missing_folder_is_named_and_not_the_temporary_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"existing folder.*none/m\.lstm'$"):
        le_format.write(Graph(), str(tmp_path / "none" / "m.lstm"))
