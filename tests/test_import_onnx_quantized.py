"""ONNX's quantised operators, and those of onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_helpers import (
    FLOAT,
    RNG,
    against_onnxruntime,
    importer,
    make_model,
    node,
    normal,
    run,
    value_info,
)

import lstm_edge


def test_dynamically_quantised_matmul_is_exact():
    weight = RNG.integers(-128, 127, (6, 5)).astype(np.int8)
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node("MatMulInteger", ["q", "w", "z"], ["i"]),
        node("Cast", ["i"], ["f"], to=FLOAT),
        node("Mul", ["s", "ws"], ["scale"]),
        node("Mul", ["f", "scale"], ["y"]),
    ]
    model = make_model(
        nodes, [value_info("x", ["batch", 6])], [value_info("y", None)], {"w": weight, "ws": np.float32(0.02)}
    )
    against_onnxruntime(model, {"x": normal(4, 6)})


def test_the_framework_computes_what_the_file_says():
    """onnxruntime would replace a float product with dequantised weights by one on int8 inputs, off by 4e-3."""
    pytest.importorskip("onnxruntime")
    arrays = {"q": RNG.integers(-127, 127, (5, 3)).astype(np.int8), "s": np.float32(0.01), "z": np.int8(0)}
    nodes = [node("DequantizeLinear", ["q", "s", "z"], ["d"]), node("MatMul", ["x", "d"], ["y"])]
    model = make_model(nodes, [value_info("x", ["t", 5])], [value_info("y", ["t", 3])], arrays).SerializeToString()
    assert lstm_edge.convert(model).metadata["self_test"]["source"].startswith("onnxruntime")


@pytest.mark.parametrize("point", [0, 3])
def test_dynamic_quantize_lstm_is_the_lstm_of_its_weights(point):
    """Symmetric weights stay int8; with a zero point that takes them beyond int8 they are dequantised. Those that onnxruntime runs, too, have 7
    bits: it adds pairs of products in 16 bits where a CPU has AVX2 without VNNI, and wider weights saturate there (its option reduce_range)."""
    hidden, most = 6, 127 if point else 63
    w, r = (RNG.integers(-most, most, (1, k, 4 * hidden)).astype(np.int8) for k in (3, hidden))
    w[0, 0, 0] = r[0, 0, 0] = -most  # beyond -127 behind the zero point
    scales = [(RNG.uniform(0.25, 0.75, (1, 4 * hidden)) / most).astype(np.float32) for _ in range(2)]
    constants = {
        "W": w,
        "R": r,
        "B": normal(1, 8 * hidden),
        "ws": scales[0],
        "rs": scales[1],
        "zero": np.full((1, 4 * hidden), point, np.int8),
    }
    names = ["x", "W", "R", "B", "", "", "", "", "ws", "zero", "rs", "zero"]
    model = make_model(
        [node("DynamicQuantizeLSTM", names, ["Y", "Y_h", "Y_c"], hidden_size=hidden, domain="com.microsoft")],
        [value_info("x", ["T", "N", 3])],
        [value_info(o, None) for o in ("Y", "Y_h", "Y_c")],
        constants,
        extra=("com.microsoft",),
    )
    x = normal(9, 2, 3)
    floats = {
        "W": np.swapaxes((w - np.float32(point)) * scales[0][:, None], 1, 2),
        "R": np.swapaxes((r - np.float32(point)) * scales[1][:, None], 1, 2),
        "B": constants["B"],
    }
    plain = make_model(
        [node("LSTM", ["x", "W", "R", "B"], ["Y", "Y_h", "Y_c"], hidden_size=hidden)],
        [value_info("x", ["T", "N", 3])],
        [value_info(o, None) for o in ("Y", "Y_h", "Y_c")],
        {k: v.astype(np.float32) for k, v in floats.items()},
    )
    graph = importer.read(model)
    assert np.allclose(run(graph, {"x": x})["Y"], run(importer.read(plain), {"x": x})["Y"], atol=1e-6)
    assert any("dequantised" in n for n in graph.metadata["notes"]) == bool(point)
    assert {t.dtype for t in graph.tensors.values()} >= ({"float32"} if point else {"int8"})
    if not point:  # the runtime knows no other, and rounds activations to 8 bits
        against_onnxruntime(model, {"x": x}, tolerance=0.03)
