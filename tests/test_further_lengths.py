"""Models whose inputs have lengths of their own: an encoder's frames and a decoder's."""

from __future__ import annotations

import numpy as np
import pytest

import lstm_edge
from lstm_edge import FormatError, ShapeError, UnsupportedModelError, reference
from lstm_edge import format as le_format
from lstm_edge.convert import to_graph

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

HIDDEN = 6


def encoder_decoder() -> bytes:
    """A decoder's GRU that starts from the encoder's last state and attends to all of its frames."""
    rng = np.random.default_rng(7)
    weights = {
        name: rng.standard_normal((1, 3 * HIDDEN, width)).astype(np.float32) * 0.4
        for name, width in (("w_e", 4), ("r_e", HIDDEN), ("w_d", 3), ("r_d", HIDDEN))
    }
    node = onnx.helper.make_node
    nodes = [
        node("GRU", ["source", "w_e", "r_e"], ["e4", "h_e"], hidden_size=HIDDEN),
        node("GRU", ["target", "w_d", "r_d", "", "", "h_e"], ["d4"], hidden_size=HIDDEN),
        node("Squeeze", ["e4", "one"], ["e"]),
        node("Squeeze", ["d4", "one"], ["d"]),
        node("Transpose", ["e"], ["keys"], perm=[1, 2, 0]),
        node("Transpose", ["d"], ["queries"], perm=[1, 0, 2]),
        node("MatMul", ["queries", "keys"], ["scores"]),
        node("Softmax", ["scores"], ["weights"], axis=-1),
        node("Transpose", ["e"], ["values"], perm=[1, 0, 2]),
        node("MatMul", ["weights", "values"], ["y"]),
    ]
    float32 = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "encoder_decoder",
        [
            onnx.helper.make_tensor_value_info("source", float32, ["src_len", "n", 4]),
            onnx.helper.make_tensor_value_info("target", float32, ["tgt_len", "n", 3]),
        ],
        [onnx.helper.make_tensor_value_info("y", float32, None)],
        [onnx.numpy_helper.from_array(a, n) for n, a in {**weights, "one": np.array([1])}.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def arrays(source: int, target: int, batch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(source * 100 + target)
    return {
        "source": rng.standard_normal((source, batch, 4)).astype(np.float32),
        "target": rng.standard_normal((target, batch, 3)).astype(np.float32),
    }


def test_an_encoder_and_a_decoder_have_lengths_of_their_own():
    model = lstm_edge.convert(encoder_decoder())
    assert [p.shape for p in model.inputs] == [("frames", "batch", 4), ("tgt_len", "batch", 3)]
    session = ort.InferenceSession(encoder_decoder())
    for sizes in ((9, 7, 1), (5, 11, 3), (9, 7, 1), (1, 1, 1)):
        x = arrays(*sizes)
        np.testing.assert_allclose(model.run(**x), session.run(None, x)[0], atol=1e-5)


def test_the_reference_takes_any_lengths():
    graph = to_graph(encoder_decoder())
    x = arrays(4, 6, 2)
    wanted = ort.InferenceSession(encoder_decoder()).run(None, x)[0]
    np.testing.assert_allclose(reference.run(graph, x)[0]["y"], wanted, atol=1e-5)


def test_the_file_keeps_the_names_of_lengths():
    graph = to_graph(encoder_decoder())
    content = le_format.to_bytes(graph)
    back = le_format.read(content)
    assert [back.shape(p.tensor) for p in back.inputs] == [graph.shape(p.tensor) for p in graph.inputs]
    assert le_format.to_bytes(back) == content


def test_it_does_not_stream_and_says_why():
    model = lstm_edge.convert(encoder_decoder())
    with pytest.raises(UnsupportedModelError, match="input 'target' has a length of its own, tgt_len"):
        model.stream()


def test_inputs_of_one_length_must_agree():
    model = lstm_edge.convert(
        encoder_decoder(), shapes={"source": ["frames", "batch", 4], "target": ["frames", "batch", 3]}
    )
    assert [p.shape for p in model.inputs] == [("frames", "batch", 4), ("frames", "batch", 3)]
    with pytest.raises(ShapeError, match="'target'.*frames 5"):
        model.run(**arrays(5, 6, 1))


def test_ragged_batches_of_several_lengths_are_refused():
    model = lstm_edge.convert(encoder_decoder())
    with pytest.raises(ShapeError, match="other lengths, tgt_len"):
        model.run(**arrays(5, 6, 2), lengths=[3, 5])


def test_names_that_are_missing_are_a_damaged_file():
    graph = to_graph(encoder_decoder())
    content = le_format.to_bytes(graph)
    damaged = content.replace(b'"lengths":["tgt_len"]', b'"lengths":["tgt len"]')
    assert damaged != content
    with pytest.raises(FormatError):
        le_format.read(damaged)


@pytest.mark.parametrize("names", [b'["batch"]  ', b'["a","a"]  ', b"[]         "])
def test_the_core_refuses_names_that_do_not_go_with_the_inputs(names):
    import zlib

    content = bytearray(le_format.to_bytes(to_graph(encoder_decoder())))
    at = content.index(b'"lengths":["tgt_len"]') + len(b'"lengths":')
    content[at : at + len(names)] = names
    content[12:16] = zlib.crc32(content[16:]).to_bytes(4, "little")
    with pytest.raises(FormatError, match="lengths"):
        lstm_edge.load(bytes(content))


def test_the_command_line_takes_several_lengths(tmp_path, capsys):
    from lstm_edge.cli import _run

    path, x = tmp_path / "model.onnx", arrays(9, 7, 1)
    path.write_bytes(encoder_decoder())
    np.savez(tmp_path / "x.npz", **x)
    converted, answer = str(tmp_path / "model.lstm"), tmp_path / "y.npy"
    assert _run(["convert", str(path), "-o", converted]) == 0
    assert _run(["info", converted]) == 0
    assert "tgt_len" in capsys.readouterr().out
    assert _run(["verify", converted]) == 0
    assert _run(["bench", converted, "--mode", "sequence", "--runs", "3", "--warmup", "1", "--frames", "5"]) == 0
    assert _run(["run", converted, str(tmp_path / "x.npz"), "-o", str(answer)]) == 0
    wanted = ort.InferenceSession(encoder_decoder()).run(None, x)[0]
    np.testing.assert_allclose(np.load(answer).reshape(wanted.shape), wanted, atol=1e-5)
