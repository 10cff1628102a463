"""Files that ask for far more memory than they have bytes: each converts, or ends in an error, within 64 MB and 20 times its size.

Measured as in test_hostile.py, in a process of its own per file. Names that begin with `whole-` are converted with their
self-test; the others are read."""

import struct

import numpy as np
import pytest
from measured import measured_files
from test_hostile import onnx_model, safetensors, torch_zip

import lstm_edge
from lstm_edge import memory
from lstm_edge.convert import to_graph
from lstm_edge.errors import LstmEdgeError, MemoryLimitError

onnx = pytest.importorskip("onnx")
node = onnx.helper.make_node
SIZE = 1 << 21


def array(values, name):
    return onnx.numpy_helper.from_array(np.asarray(values), name)


def kept(make, tensors, count=40):
    """So many constants of some MB, all of which are read at the end."""
    nodes = [make(f"c{n}") for n in range(count)]
    nodes += [node("Concat", [n.output[0] for n in nodes], ["all"], axis=0)]
    nodes += [node("ReduceSum", ["all"], ["sum"], keepdims=0), node("Add", ["x", "sum"], ["y"])]
    return onnx_model(nodes, tensors)


def column_and_row(op):
    arrays = [array(np.ones((1500, 1), np.float32), "a"), array(np.ones((1, 1500), np.float32), "b")]
    return kept(lambda name: node(op, ["a", "b"], [name]), arrays)


def loop_that_stacks():
    info = onnx.helper.make_tensor_value_info
    nodes = [
        node("ConstantOfShape", ["shape"], ["o"]),
        node("Identity", ["go"], ["go2"]),
        node("Identity", ["h"], ["h2"]),
    ]
    body = onnx.helper.make_graph(
        nodes,
        "b",
        [info("at", 7, []), info("go", 9, []), info("h", 1, None)],
        [info("go2", 9, []), info("h2", 1, None), info("o", 1, None)],
    )
    nodes = [
        node("Loop", ["trips", "", "x"], ["h9", "scan"], body=body),
        node("ReduceSum", ["scan"], ["r"], keepdims=0),
    ]
    return onnx_model(
        [*nodes, node("Add", ["h9", "r"], ["y"])], [array(np.int64(500), "trips"), array(np.array([SIZE]), "shape")]
    )


def long_chain(nodes):
    names = ["x", *(f"t{n}" for n in range(nodes - 1)), "y"]
    return onnx_model([node("Tanh", [a], [b]) for a, b in zip(names, names[1:])])


def empty_nodes(count):
    """Two bytes each, of which protobuf makes 150."""
    body, size = b"\x0a\x00" * count, b""
    length = len(body)
    while length >= 128:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return b"\x08\x08\x3a" + size + bytes([length]) + body


def input_of(*shape):
    info = onnx.helper.make_tensor_value_info
    return onnx_model([node("ReduceSum", ["x"], ["y"], keepdims=0)], inputs=[info("x", 1, list(shape))])


def expanded_at_run_time():
    nodes = [
        node("Expand", ["x", "s"], ["e"]),
        node("ReduceMean", ["e"], ["y"], axes=[0, 1], keepdims=0),
    ]
    return onnx_model(nodes, [array(np.array([1 << 14, 1 << 11, 1, 1]), "s")])


def conv_of_constants():
    nodes = [
        node("ConstantOfShape", ["s"], ["im"]),
        node("ConstantOfShape", ["k"], ["w"]),
        node("Conv", ["im", "w"], ["c"]),
        node("ReduceSum", ["c"], ["r"], keepdims=0),
        node("Add", ["x", "r"], ["y"]),
    ]
    return onnx_model(nodes, [array(np.array([1, 1, 900, 900]), "s"), array(np.array([1, 1, 90, 90]), "k")])


def repeated_tensor():
    """A tensor of a million numbers by strides of 0 over a storage of one, forty times."""
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    rebuilt += b"K\x01tQK\x00J" + struct.pack("<i", 1 << 20) + b"\x85K\x00\x85\x89ccollections\nOrderedDict\n)RtR"
    entries = b"".join(b"X\x03\x00\x00\x00" + f"w{n:02}".encode() + rebuilt + b"s" for n in range(40))
    return torch_zip(b"\x80\x02}" + entries + b".", [("0", b"1234")])


def fill_of_shape(name):
    return node("ConstantOfShape", ["s"], [name])


SHAPE = [array(np.array([SIZE]), "s")]
ONE = array(np.ones(1, np.float32), "one")
CASES = {
    "constants-of-shape.onnx": lambda: kept(fill_of_shape, SHAPE),
    "expand.onnx": lambda: kept(lambda name: node("Expand", ["one", "s"], [name]), [*SHAPE, ONE]),
    "tile.onnx": lambda: kept(lambda name: node("Tile", ["one", "s"], [name]), [*SHAPE, ONE]),
    "pad.onnx": lambda: kept(lambda name: node("Pad", ["one", "p"], [name]), [ONE, array(np.array([0, SIZE]), "p")]),
    "range.onnx": lambda: kept(
        lambda name: node("Range", ["a", "b", "s"], [name]),
        [array(np.float32(v), n) for v, n in ((0, "a"), (SIZE, "b"), (1, "s"))],
    ),
    "one-hot.onnx": lambda: kept(
        lambda name: node("OneHot", ["i", "d", "v"], [name]),
        [array(np.zeros(1024, int), "i"), array(np.int64(1024), "d"), array(np.float32([0, 1]), "v")],
    ),
    "resize.onnx": lambda: kept(
        lambda name: node("Resize", ["im", "", "", "d"], [name]),
        [array(np.ones((1, 1, 2, 2), np.float32), "im"), array(np.array([1, 1, 1 << 10, 1 << 10]), "d")],
    ),
    **{f"{op}.onnx": lambda op=op: column_and_row(op) for op in ("MatMul", "Add", "Pow")},
    "conv.onnx": conv_of_constants,
    "loop.onnx": loop_that_stacks,
    "chain.onnx": lambda: long_chain(45_000),
    "empty-nodes.onnx": lambda: empty_nodes(700_000),
    "whole-input.onnx": lambda: input_of(1, 1 << 15, 1 << 14),
    "whole-expand.onnx": expanded_at_run_time,
    "strides.pt": repeated_tensor,
    "flat-lists.pt": lambda: torch_zip(b"\x80\x02](" + b"]" * 1_000_000 + b"e."),
    "header.safetensors": lambda: safetensors(b'{"__metadata__":[' + b"[],{}," * 400_000 + b"[]]}"),
    "lists.json": lambda: b'{"a":[' + b"[],{}," * 250_000 + b"[]]}",
    "names.toml": lambda: b"\n".join(b"k%d." % n + b"b." * 60 + b"c = 1" for n in range(3000)),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return measured_files(CASES, tmp_path_factory.mktemp("memory"))


@pytest.mark.parametrize("name", CASES)
def test_takes_64_megabytes_and_20_times_the_file_at_most(name, results):
    found = results[name]
    assert found["megabytes"] <= found["allowed"], found
    assert found["error"] == "MemoryLimitError" and "max_memory raises it" in found["message"], found
    assert found["seconds"] < 5, found


# ---- the limit is the caller's ----


def test_a_raised_limit_converts_what_the_default_refuses():
    data = kept(fill_of_shape, SHAPE, 8)
    with pytest.raises(MemoryLimitError, match="for a file that you trust, max_memory raises it"):
        to_graph(data)
    model = lstm_edge.convert(data, self_test=False, max_memory=1 << 30)
    assert np.all(model.run(np.ones((2, 3), np.float32)) == 1)


def test_a_limit_holds_for_honest_files_and_is_a_number_of_bytes():
    weights = np.ones((300, 300), np.float32)
    data = onnx_model([node("MatMul", ["x", "w"], ["y"])], [array(weights[:3], "w")])
    with pytest.raises(MemoryLimitError, match="the limit is 4000;"):
        lstm_edge.convert(data, max_memory=4000)
    for wrong in (0, -1, 1.5, "64 MB", True):
        with pytest.raises(LstmEdgeError, match="max_memory: expected None or a number of bytes"):
            lstm_edge.convert(data, max_memory=wrong)


def test_sparse_external_data_is_refused_before_it_is_read(tmp_path):
    tensor = onnx.TensorProto(name="w", dims=[1 << 33], data_type=1, data_location=1)
    tensor.external_data.add(key="location", value="w.bin")
    (tmp_path / "m.onnx").write_bytes(onnx_model([node("Add", ["x", "w"], ["y"])], [tensor]))
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(1 << 35)
    with pytest.raises(MemoryLimitError, match="tensor 'w': asks for"):
        to_graph(tmp_path / "m.onnx")


def test_a_file_beside_the_source_raises_the_limit_by_its_size(tmp_path):
    values = np.ones((3, 1_000_000), np.float32)
    tensor = onnx.TensorProto(name="w", dims=values.shape, data_type=1, data_location=1)
    tensor.external_data.add(key="location", value="w.bin")
    (tmp_path / "m.onnx").write_bytes(onnx_model([node("MatMul", ["x", "w"], ["y"])], [tensor]))
    (tmp_path / "w.bin").write_bytes(values.tobytes())
    assert to_graph(tmp_path / "m.onnx").shape(to_graph(tmp_path / "m.onnx").outputs[0].tensor)[-1] == 1_000_000
    with pytest.raises(MemoryLimitError):
        to_graph(tmp_path / "m.onnx", max_memory=10_000_000)


def test_what_is_gone_is_no_longer_counted():
    with memory.limited(0, 10_000):
        held = memory.hold(np.zeros(1000))
        views = [memory.hold(held[n:]) for n in range(100)]
        with pytest.raises(MemoryLimitError, match="asks for 8000 bytes of memory beside 8000 that are held"):
            memory.ask(8000, "here")
        with pytest.raises(MemoryLimitError):
            memory.hold(np.broadcast_to(held[:1], (1000, 1000)))  # what it is once somebody copies it
        del held, views
        memory.ask(8000, "here")


def test_an_honest_file_is_read_any_number_of_times_within_its_limit():
    data = onnx_model([node("Add", ["x", "w"], ["y"])], [array(np.ones((1, 3), np.float32), "w")])
    for _ in range(3):
        to_graph(data, max_memory=100_000)
