"""A row as an ONNX file, for the engines that read one: x (T,B,I) and, for a step, the states in and out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from peers.cases import GATES, Case, Layer, LayerWeights

ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}  # ONNX: i o f c and z r h


def states_of(case: Case) -> list[str]:
    return ["h", "c"] if case.layers[0].cell == "LSTM" else ["h"]


def write(case: Case, folder: Path) -> Path:
    path = folder / "network.onnx"
    onnx.save(network(case), path)
    return path


def network(case: Case) -> onnx.ModelProto:
    tensors: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    ins, outs = [_value("x", case.frames or 1, case.batch, case.inputs)], []
    x = "x"
    for n, (layer, weights) in enumerate(zip(case.layers, case.weights)):
        last = n == len(case.layers) - 1
        arrays = _weights(layer, weights)
        names = [f"{key}{n}" for key in arrays]
        tensors += [numpy_helper.from_array(a, name) for a, name in zip(arrays.values(), names)]
        given = ["", *states_of(case)] if case.is_step else []
        made = ["", "hn", "cn"][: len(given)] if case.is_step else ["", f"h{n}"] if last and case.dense else [f"y{n}"]
        attrs = {"hidden_size": layer.hidden, "direction": "bidirectional" if layer.directions == 2 else "forward"}
        nodes.append(
            helper.make_node(
                layer.cell,
                [x, *names, *given],
                made,
                **attrs,
                **({} if layer.cell == "LSTM" else {"linear_before_reset": 1}),
            )
        )
        if not last:
            nodes.append(helper.make_node("Squeeze", [f"y{n}", "axis"], [f"x{n + 1}"]))
            x = f"x{n + 1}"
            tensors.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    width, directions = case.layers[-1].hidden, case.layers[-1].directions
    if case.is_step:
        ins += [_value(name, 1, 1, width) for name in states_of(case)]
        outs = [_value(name + "n", 1, 1, width) for name in states_of(case)]
    elif case.dense:
        w, b = case.dense_weights
        tensors += [numpy_helper.from_array(w, "dense_w"), numpy_helper.from_array(b, "dense_b")]
        tensors.append(numpy_helper.from_array(np.array([0], np.int64), "first"))
        nodes.append(helper.make_node("Squeeze", [f"h{len(case.layers) - 1}", "first"], ["flat"]))
        nodes.append(helper.make_node("Gemm", ["flat", "dense_w", "dense_b"], ["y"], transB=1))
        outs = [_value("y", case.batch, case.dense)]
    else:
        outs = [_value(f"y{len(case.layers) - 1}", case.frames, directions, case.batch, width)]
    graph = helper.make_graph(nodes, "network", ins, outs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def batch_first(y: np.ndarray) -> np.ndarray:
    """(T,D,B,H) to (B,T,D*H)."""
    t, d, b, h = y.shape
    return y.transpose(2, 0, 1, 3).reshape(b, t, d * h)


def _weights(layer: Layer, weights: LayerWeights) -> dict[str, np.ndarray]:
    def ordered(a: np.ndarray) -> np.ndarray:
        gates = np.split(a, GATES[layer.cell], axis=1)
        return np.concatenate([gates[n] for n in ORDER[layer.cell]], axis=1)

    b = np.concatenate([ordered(weights.b), ordered(weights.rb)], axis=1)
    return {"W": ordered(weights.w), "R": ordered(weights.r), "B": b}


def _value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
