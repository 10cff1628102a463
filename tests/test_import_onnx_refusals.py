"""ONNX files that are refused: with the node, the reason and a way on; damaged ones as FormatError."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_helpers import (
    FLOAT,
    identity_model,
    importer,
    make_model,
    node,
    normal,
    onnx,
    recurrent_model,
    run,
    value_info,
)

from lstm_edge import FormatError, LstmEdgeError, UnsupportedModelError
from lstm_edge.errors import MemoryLimitError


def test_refusals_name_the_node_and_the_attribute():
    weight = normal(2, 3, 3)
    model = make_model(
        [node("Conv", ["x", "w"], ["y"], name="conv1", flavour=3)],
        [value_info("x", [1, 3, 9])],
        [value_info("y", None)],
        {"w": weight},
    )
    with pytest.raises(UnsupportedModelError, match=r"conv1.*flavour"):
        importer.read(model)
    model = make_model(
        [node("NonMaxSuppression", ["x", "s"], ["y"], name="nms")],
        [value_info("x", [1, 3, 4]), value_info("s", [1, 1, 3])],
        [value_info("y", None)],
    )
    with pytest.raises(UnsupportedModelError, match=r"nms.*NonMaxSuppression"):
        importer.read(model)


def test_damaged_files_are_format_errors(tmp_path):
    data = identity_model({"x": [1, 4]}).SerializeToString()
    for broken in (b"", b"not a protobuf at all", data[: len(data) // 2]):
        with pytest.raises(FormatError):
            importer.read(broken)
    missing = make_model([node("Relu", ["nowhere"], ["y"])], [value_info("x", [1])], [value_info("y", None)])
    with pytest.raises(FormatError, match="nowhere"):
        importer.read(missing)


def test_flipped_bytes_end_in_a_named_error_or_a_graph():
    data = recurrent_model("LSTM", 2, extra_inputs=("B",)).SerializeToString()
    for place in range(len(data)):
        for flip in (0x01, 0x80):
            broken = bytearray(data)
            broken[place] ^= flip
            try:
                importer.read(bytes(broken))
            except LstmEdgeError:
                pass  # anything else fails the test


def test_names_of_sizes_that_are_no_text():
    model = make_model([node("Relu", ["x"], ["y"])], [value_info("x", ["QQQ", 3])], [value_info("y", None)])
    graph = importer.read(model.SerializeToString().replace(b"QQQ", b"Q\xceQ"))
    assert run(graph, {"x": np.zeros((4, 3))})["y"].shape == (4, 3)


def test_a_claimed_huge_tensor_is_refused():
    model = make_model(
        [node("ConstantOfShape", ["s"], ["big"]), node("Add", ["x", "big"], ["y"])],
        [value_info("x", [1])],
        [value_info("y", None)],
        {"s": np.array([2**31, 2**20])},
    )
    with pytest.raises(MemoryLimitError, match="the_ConstantOfShape"):
        importer.read(model)
    model = identity_model({"x": [1]})
    model.graph.initializer.append(onnx.TensorProto(name="w", data_type=FLOAT, dims=[2**31, 8], raw_data=b"1234"))
    with pytest.raises(FormatError, match="'w'"):
        importer.read(model)


@pytest.mark.parametrize(
    "location, length", [("../secret.bin", 16), ("/etc/hostname", 16), ("w.bin", 99), ("none.bin", 16)]
)
def test_external_data_stays_in_the_folder(tmp_path, location, length):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (tmp_path / "secret.bin").write_bytes(bytes(16))

    def write(location, length):
        model = make_model([node("Add", ["x", "w"], ["y"])], [value_info("x", [4])], [value_info("y", None)])
        tensor = onnx.TensorProto(name="w", data_type=FLOAT, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
        for key, value in (("location", location), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
        model.graph.initializer.append(tensor)
        (folder / "m.onnx").write_bytes(model.SerializeToString())
        return folder / "m.onnx"

    assert list(run(importer.read(write("w.bin", 16)), {"x": np.zeros(4)})["y"]) == [0, 1, 2, 3]
    with pytest.raises(FormatError, match="external data"):
        importer.read(write(location, length))


def test_an_old_onnx_package_is_named(monkeypatch):
    """Debian 12's: it lacks functions that this importer calls, which is no fault of the file."""
    monkeypatch.setattr(onnx, "__version__", "1.12.0")
    with pytest.raises(ImportError, match=r"expected 1\.16 or later, found 1\.12\.0; pip install"):
        importer.read(b"")


def test_all_that_is_refused_is_listed_at_once():
    """Also behind what is refused, where an operator is not known at all; not what only lacks its inputs."""
    nodes = [
        node("NonMaxSuppression", ["x", "s"], ["boxes"], name="nms"),
        node("Det", ["x"], ["d"], name="det"),
        node("Relu", ["d"], ["r"], name="behind"),
        node("GridSample", ["r", "x"], ["g"], name="first_grid"),
        node("GridSample", ["g", "x"], ["h"], name="second_grid"),
        node("Relu", ["x"], ["y"]),
    ]
    model = make_model(
        nodes,
        [value_info("x", [1, 3, 4, 4]), value_info("s", [1, 1, 3])],
        [value_info(o, None) for o in ("boxes", "h", "y")],
    )
    with pytest.raises(UnsupportedModelError) as caught:
        importer.read(model)
    lines = str(caught.value).splitlines()
    assert "nms" in lines[0] and lines[2] == "also refused:" and len(lines) == 5
    assert "'det' (Det): operator Det" in lines[3]
    assert "'first_grid' (GridSample) and 1 more like it: operator GridSample" in lines[4]
    assert "behind" not in str(caught.value)


def test_the_sizes_of_what_comes_before_a_refusal_are_still_solved():
    nodes = [
        node("Det", ["m"], ["d"], name="det"),
        node("Concat", ["x", "one"], ["z"], axis=1),
        node("GridSample", ["z", "z"], ["g"], name="grid"),
    ]
    model = make_model(
        nodes,
        [value_info("x", ["batch", "time", 4]), value_info("m", [3, 3])],
        [value_info("d", None), value_info("g", None)],
        {"one": np.ones((1, 1, 4), np.float32)},
    )
    with pytest.raises(UnsupportedModelError, match=r"(?s)'det' \(Det\).*also refused.*'grid' \(GridSample\)"):
        importer.read(model)


def test_what_must_be_known_is_traced_to_the_models_inputs():
    branches = {
        f"{way}_branch": onnx.helper.make_graph([node(op, ["x"], [way])], way, [], [value_info(way, None)])
        for way, op in (("then", "Relu"), ("else", "Neg"))
    }
    nodes = [
        node("Cast", ["rate"], ["number"], to=FLOAT),
        node("Greater", ["number", "limit"], ["fast"]),
        node("If", ["fast"], ["y"], **branches),
    ]
    model = make_model(
        nodes,
        [value_info("x", [2, 3]), value_info("rate", [], 7)],
        [value_info("y", None)],
        {"limit": np.float32(8000)},
    )
    with pytest.raises(UnsupportedModelError, match=r"the_If.*comes from the model's input 'rate'.*constants=\{'rate'"):
        importer.read(model)
    assert [n.attrs["kind"] for n in importer.read(model, constants={"rate": 16000}).nodes] == ["relu"]
