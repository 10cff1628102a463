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
    with pytest.raises(UnsupportedModelError, match="the_ConstantOfShape"):
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
