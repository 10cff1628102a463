"""Files made to do harm, for every importer: each ends in an error of the library within a second, 64 MB and 20 times its size,
and runs no code. Measured in a process of its own per file, forked from one that has imported everything already."""

import io
import json
import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from measured import SECONDS, measured_files, possible
from shared import GOLDEN

GIGA = 1 << 29  # elements: 2 GB of float32

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by /proc")


# ---- ONNX ------------------------------------------------------------------------------------------------------------


def onnx_model(nodes, tensors=(), inputs=None, functions=(), opset=17) -> bytes:
    import onnx

    helper, f32 = onnx.helper, onnx.TensorProto.FLOAT
    x = helper.make_tensor_value_info("x", f32, ["N", 3])
    y = helper.make_tensor_value_info("y", f32, None)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("f", 1)]
    graph = helper.make_graph(nodes, "g", inputs or [x], [y], list(tensors))
    return helper.make_model(graph, opset_imports=imports, functions=functions).SerializeToString()


def claimed_tensor():
    import onnx

    tensor = onnx.TensorProto(name="w", dims=[GIGA], data_type=1, raw_data=b"1234")
    return onnx_model([onnx.helper.make_node("Add", ["x", "w"], ["y"])], [tensor])


def onnx_shape_bomb(op):
    import onnx

    node, array = onnx.helper.make_node, onnx.numpy_helper.from_array
    shape = array(np.array([1 << 20, 1 << 20], np.int64), "shape")
    one, zero = array(np.ones((1, 1), np.float32), "one"), array(np.array(0, np.int64), "zero")
    far, step = array(np.array(1 << 60, np.int64), "far"), array(np.array(1, np.int64), "step")
    first = {
        "ConstantOfShape": node("ConstantOfShape", ["shape"], ["big"]),
        "Expand": node("Expand", ["one", "shape"], ["big"]),
        "Tile": node("Tile", ["one", "shape"], ["big"]),
        "Range": node("Range", ["zero", "far", "step"], ["range"]),
    }[op]
    nodes = [
        first,
        *([node("Cast", ["range"], ["big"], to=1)] if op == "Range" else []),
        node("Add", ["x", "big"], ["y"]),
    ]
    return onnx_model(nodes, [shape, one, zero, far, step])


def onnx_doubling(run_time):
    """Concat of a tensor with itself, 60 times."""
    import onnx

    names = ["x" if run_time else "w", *(f"t{n}" for n in range(60))]
    nodes = [onnx.helper.make_node("Concat", [a, a], [b], axis=0) for a, b in zip(names, names[1:])]
    nodes.append(
        onnx.helper.make_node(
            "Einsum" if run_time else "Add",
            [names[-1]] if run_time else ["x", names[-1]],
            ["y"],
            **({"equation": "ij->j"} if run_time else {}),
        )
    )
    return onnx_model(nodes, [onnx.numpy_helper.from_array(np.ones((1, 3), np.float32), "w")])


def onnx_nested(depth):
    """A graph in an attribute of a node of a graph, over and over."""
    body = b""
    for field in [*[6, 5, 1] * depth, 7]:  # ModelProto.graph, GraphProto.node, NodeProto.attribute, AttributeProto.g
        length, size = len(body), b""
        while length >= 128:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        body = bytes([field << 3 | 2]) + size + bytes([length]) + body
    return b"\x08\x08" + body


def onnx_endless_loop():
    import onnx

    helper, info = onnx.helper, onnx.helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Sin", ["h"], ["h2"]), helper.make_node("Identity", ["go"], ["go2"])],
        "b",
        [info("at", 7, []), info("go", 9, []), info("h", 1, None)],
        [info("go2", 9, []), info("h2", 1, None)],
    )
    trips = onnx.numpy_helper.from_array(np.array(1 << 40, np.int64), "trips")
    return onnx_model([helper.make_node("Loop", ["trips", "", "x"], ["y"], body=body)], [trips])


def onnx_function_of_itself():
    import onnx

    helper = onnx.helper
    calls = [helper.make_node("again", ["a"], ["b"], domain="f")]
    function = helper.make_function("f", "again", ["a"], ["b"], calls, [helper.make_opsetid("f", 1)])
    return onnx_model([helper.make_node("again", ["x"], ["y"], domain="f")], functions=[function])


def onnx_functions_doubled():
    """40 functions, each of which calls the one before twice."""
    import onnx

    helper = onnx.helper
    imports = [helper.make_opsetid("f", 1), helper.make_opsetid("", 17)]
    functions = [helper.make_function("f", "f0", ["a"], ["b"], [helper.make_node("Sin", ["a"], ["b"])], imports)]
    for n in range(1, 40):
        calls = [helper.make_node(f"f{n - 1}", [a], [b], domain="f") for a, b in (("a", "m"), ("m", "b"))]
        functions.append(helper.make_function("f", f"f{n}", ["a"], ["b"], calls, imports))
    return onnx_model([helper.make_node("f39", ["x"], ["y"], domain="f")], functions=functions)


def onnx_nested_loops():
    """1000 trips in 1000 trips in 1000 trips."""
    import onnx

    helper, info = onnx.helper, onnx.helper.make_tensor_value_info
    nodes = [helper.make_node("Sin", ["h0"], ["k0"])]
    for n in range(3):
        body = helper.make_graph(
            [*nodes, helper.make_node("Identity", [f"go{n}"], [f"stay{n}"])],
            f"b{n}",
            [info(f"at{n}", 7, []), info(f"go{n}", 9, []), info(f"h{n}", 1, None)],
            [info(f"stay{n}", 9, []), info(f"k{n}", 1, None)],
        )
        start, end = ("x", "y") if n == 2 else (f"h{n + 1}", f"k{n + 1}")
        nodes = [helper.make_node("Loop", ["trips", "", start], [end], body=body)]
    return onnx_model(nodes, [onnx.numpy_helper.from_array(np.array(1000, np.int64), "trips")])


def onnx_product_of_constants(op):
    import onnx

    arrays = {"a": np.ones((40000, 1), np.float32), "b": np.ones((1, 40000), np.float32)}
    attrs = {"equation": "ij,jk->ik"} if op == "Einsum" else {}
    nodes = [onnx.helper.make_node(op, ["a", "b"], ["big"], **attrs), onnx.helper.make_node("Add", ["x", "big"], ["y"])]
    return onnx_model(nodes, [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items()])


def onnx_external(path):
    import onnx

    tensor = onnx.TensorProto(name="w", dims=[4], data_type=1, data_location=1)
    tensor.external_data.add(key="location", value=path)
    return onnx_model([onnx.helper.make_node("Add", ["x", "w"], ["y"])], [tensor])


def onnx_lstm_of_claims():
    """An LSTM whose weights are a broadcast of one number."""
    import onnx

    node, array = onnx.helper.make_node, onnx.numpy_helper.from_array
    shape = array(np.array([1, 4 << 20, 1 << 10], np.int64), "shape")
    one = array(np.ones((1, 1, 1), np.float32), "one")
    nodes = [
        node("Expand", ["one", "shape"], ["w"]),
        node("Unsqueeze", ["x", "zero"], ["x3"]),
        node("LSTM", ["x3", "w", "w"], ["", "y"], hidden_size=1 << 20),
    ]
    return onnx_model(nodes, [shape, one, array(np.array([0], np.int64), "zero")])


# ---- Keras -----------------------------------------------------------------------------------------------------------


def keras_config(layers, name="Sequential"):
    return {"module": "keras", "class_name": name, "config": {"name": "m", "layers": layers}, "registered_name": None}


def dense(units=4):
    first = {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "registered_name": None,
        "config": {"batch_shape": [None, 3], "dtype": "float32", "name": "x"},
    }
    last = {
        "module": "keras.layers",
        "class_name": "Dense",
        "registered_name": None,
        "config": {"name": "dense", "trainable": True, "units": units, "activation": "linear", "use_bias": True},
    }
    return keras_config([first, last])


def h5_file(fill=lambda f: None):
    import h5py

    data = io.BytesIO()
    with h5py.File(data, "w") as f:
        fill(f)
    return data.getvalue()


def keras_archive(config, weights=None, extra=()):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config if isinstance(config, bytes) else json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        if weights != "bomb":
            archive.writestr("model.weights.h5", weights or h5_file())
        else:
            with archive.open("model.weights.h5", "w", force_zip64=True) as f:
                for _ in range(2048):
                    f.write(bytes(1 << 20))
        for name, body in extra:
            archive.writestr(name, body)
    return data.getvalue()


def json_bomb():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("config.json", "w", force_zip64=True) as f:
            f.write(b"[")
            for _ in range(1024):
                f.write(b" " * (1 << 20))
        archive.writestr("model.weights.h5", h5_file())
        archive.writestr("metadata.json", "{}")
    return data.getvalue()


def h5_model(fill):
    def whole(f):
        f.attrs["model_config"] = json.dumps(dense())
        f.attrs["keras_version"] = "2.4.0"
        fill(f)

    return h5_file(whole)


def soft_cycle(f):
    import h5py

    g = f.create_group("model_weights")
    g.attrs["layer_names"] = ["dense"]
    g["dense"] = h5py.SoftLink("/model_weights")


def hard_cycle(f):
    g = f.create_group("model_weights")
    g.attrs["layer_names"] = ["dense"]
    inner = g.create_group("dense").create_group("dense")
    inner["dense"] = f["model_weights"]
    inner["kernel:0"] = f["model_weights"]


def endless_soft_link(f):
    import h5py

    f["model_weights"] = h5py.SoftLink("/model_weights")


def link_out(f):
    import h5py

    g = f.create_group("model_weights/dense")
    f["model_weights"].attrs["layer_names"] = ["dense"]
    g.attrs["weight_names"] = ["kernel:0", "bias:0"]
    for n in ("kernel:0", "bias:0"):
        g[n] = h5py.ExternalLink("/etc/passwd", "/")


def claimed_dataset(f):
    g = f.create_group("model_weights/dense")
    f["model_weights"].attrs["layer_names"] = ["dense"]
    g.attrs["weight_names"] = ["kernel:0", "bias:0"]
    for n in ("kernel:0", "bias:0"):  # chunks that were never written take no place in the file
        g.create_dataset(n, (3, GIGA), "f4", chunks=(3, 1 << 16))


def nested_json(depth=200_000):
    return b"[" * depth + b"]" * depth


# ---- torch, safetensors, npz -----------------------------------------------------------------------------------------


class Evil:
    """Its pickle calls a function when it is loaded."""

    def __reduce__(self):
        return os.system, ("touch " + os.environ["HOSTILE_MARK"],)


def torch_zip(pickled, storages=()):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/version", "3\n")
        for name, body in storages:
            archive.writestr(f"a/data/{name}", body)
    return data.getvalue()


def claimed_storage():
    """{'w': a tensor of 2 GB whose storage has 4 bytes}, pickled as torch does."""
    op = pickle
    name = b"ctorch._utils\n_rebuild_tensor_v2\n"
    storage = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        + b"J"
        + struct.pack("<i", GIGA)
        + b"tQ"
    )
    body = (
        b"\x80\x02}X\x01\x00\x00\x00w"
        + name
        + b"("
        + storage
        + b"K\x00J"
        + struct.pack("<i", GIGA)
        + b"\x85K\x01\x85\x89"
        + b"ccollections\nOrderedDict\n)RtRs."
    )
    assert op
    return torch_zip(body, [("0", b"1234")])


def pickle_of_depth(depth=100_000):
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


def pickle_that_grows():
    """A list doubled 40 times by memo references."""
    body = b"\x80\x02]q\x00"
    for n in range(40):
        body += b"]q" + bytes([n + 1]) + b"(" + (b"h" + bytes([n])) * 2 + b"e"
    return body + b"."


def safetensors(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def npy(shape, body=b"", descr="<f4"):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def npz(entries):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in entries.items():
            archive.writestr(f"{name}.npy", body)
    return data.getvalue()


# ---- TFLite ----------------------------------------------------------------------------------------------------------


def tflite(edit):
    data = bytearray(next(iter(sorted((GOLDEN / "tflite").glob("fused*.tflite")))).read_bytes())
    return bytes(edit(data))


def with_huge_offsets(data):
    for at in range(8, len(data) - 4, 4):
        if data[at : at + 4] == bytes(4):
            data[at : at + 4] = b"\xff\xff\xff\x7f"
    return data


def with_claimed_shapes(data):
    """Every small number that may be a size becomes 2^30."""
    for at in range(len(data) // 2, len(data) - 4, 4):
        if 1 <= int.from_bytes(data[at : at + 4], "little") <= 64:
            data[at : at + 4] = (1 << 30).to_bytes(4, "little")
    return data


# ---- all of them -----------------------------------------------------------------------------------------------------


def half(path):
    data = Path(path).read_bytes()
    return data[: len(data) // 2]


CASES = {
    "onnx-claimed-tensor.onnx": claimed_tensor,
    **{
        f"onnx-{op}-bomb.onnx": lambda op=op: onnx_shape_bomb(op)
        for op in ("ConstantOfShape", "Expand", "Tile", "Range")
    },
    "onnx-doubling.onnx": lambda: onnx_doubling(False),
    "onnx-nested.onnx": lambda: onnx_nested(2000),
    "onnx-endless-loop.onnx": onnx_endless_loop,
    "onnx-function-of-itself.onnx": onnx_function_of_itself,
    "onnx-functions-doubled.onnx": onnx_functions_doubled,
    "onnx-nested-loops.onnx": onnx_nested_loops,
    **{
        f"onnx-{op}-of-constants.onnx": lambda op=op: onnx_product_of_constants(op)
        for op in ("MatMul", "Einsum", "Add", "Pow")
    },
    "onnx-external-outside.onnx": lambda: onnx_external("../../etc/passwd"),
    "onnx-external-absolute.onnx": lambda: onnx_external("/etc/passwd"),
    "onnx-weights-of-one-number.onnx": onnx_lstm_of_claims,
    "onnx-truncated.onnx": lambda: half(GOLDEN / "onnx" / "lstm_relu.onnx"),
    "onnx-noise.onnx": lambda: b"\x08\x07\x12" + np.random.default_rng(0).bytes(5000),
    "keras-weights-bomb.keras": lambda: keras_archive(dense(), "bomb"),
    "keras-config-bomb.keras": json_bomb,
    "keras-nested-config.keras": lambda: keras_archive(nested_json()),
    "keras-huge-layer.keras": lambda: keras_archive(dense(1 << 30)),
    "keras-truncated.keras": lambda: keras_archive(dense())[:900],
    "keras-soft-cycle.h5": lambda: h5_model(soft_cycle),
    "keras-hard-cycle.h5": lambda: h5_model(hard_cycle),
    "keras-endless-link.h5": lambda: h5_model(endless_soft_link),
    "keras-link-out.h5": lambda: h5_model(link_out),
    "keras-claimed-dataset.h5": lambda: h5_model(claimed_dataset),
    "keras-truncated.h5": lambda: h5_model(hard_cycle)[:1500],
    "torch-code.pt": lambda: torch_zip(pickle.dumps({"w": Evil()}, 2)),
    "torch-code-legacy.pt": lambda: pickle.dumps(Evil(), 2),
    "torch-claimed-storage.pt": claimed_storage,
    "torch-deep-pickle.pt": lambda: torch_zip(pickle_of_depth()),
    "torch-growing-pickle.pt": lambda: torch_zip(pickle_that_grows()),
    "torch-truncated.pt": lambda: claimed_storage()[:200],
    "safetensors-claimed.safetensors": lambda: safetensors(
        {"w": {"dtype": "F32", "shape": [GIGA], "data_offsets": [0, 4 * GIGA]}}, b"1234"
    ),
    "safetensors-claimed-small-offsets.safetensors": lambda: safetensors(
        {"w": {"dtype": "F32", "shape": [GIGA], "data_offsets": [0, 4]}}, b"1234"
    ),
    "safetensors-long-header.safetensors": lambda: safetensors(b"{}", length=1 << 60),
    "safetensors-nested.safetensors": lambda: safetensors(b'{"w":' + nested_json() + b"}"),
    "npz-claimed.npz": lambda: npz({"w": npy((GIGA,), b"1234")}),
    "npz-code.npz": lambda: npz({"w": npy((1,), pickle.dumps([Evil()], 2), "|O")}),
    "npz-bomb.npz": lambda: npz({"w": npy((GIGA // 4,), bytes(GIGA))}),
    "npz-overflowing-shape.npz": lambda: npz({"w": npy((1 << 62, 1 << 62), b"1234")}),
    "npz-truncated.npz": lambda: npz({"w": npy((4,), bytes(16))})[:60],
    "tflite-truncated.tflite": lambda: tflite(lambda d: d[: len(d) // 2]),
    "tflite-offsets.tflite": lambda: tflite(with_huge_offsets),
    "tflite-claimed-shapes.tflite": lambda: tflite(with_claimed_shapes),
    "json-nested.json": nested_json,
    "json-nested-objects.json": lambda: b'{"a":' * 200_000,
    "json-claimed-width.json": lambda: json.dumps(
        {"in_shape": [None, None, 1 << 60], "layers": [{"type": "dense", "shape": [None, 1 << 60], "weights": []}]}
    ).encode(),
    "json-long-number.json": lambda: b'{"in_shape": [' + b"9" * 5_000_000 + b'], "layers": []}',
    "json-truncated.json": lambda: b'{"in_shape": [null, null, 1], "layers": [',
    "empty.onnx": lambda: b"",
    "lstm-claimed.lstm": lambda: b"LSTMEDGE" + b"\xff" * 4000,
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder, mark = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("mark") / "ran"
    os.environ["HOSTILE_MARK"] = str(mark)
    return measured_files({name: make for name, make in CASES.items() if possible(name)}, folder), mark


@pytest.mark.parametrize("name", CASES)
def test_ends_in_a_named_error_within_a_second_and_64_megabytes(name, results):
    if not possible(name):
        pytest.skip("its library is not installed")
    found = results[0][name]
    assert found["error"], found["message"]
    assert found["seconds"] < SECONDS and found["megabytes"] <= found["allowed"], found
    assert len(found["message"]) > 10


def test_no_code_was_run(results):
    assert not results[1].exists()
