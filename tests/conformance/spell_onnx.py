"""ONNX models from lines such as `o("Clip", x, 0.0, 1.0)`."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.case import EXPORTED, Case, Later

onnx = Later("onnx")
SYMBOLS = {"B": "batch", "T": "frames"}


class Nodes:
    """The nodes so far. Numbers and arrays among the inputs of a call become constants: float32, int64 or bool."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.opset = 22

    def __call__(self, op: str, *inputs: Any, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        names = [f"v{len(self.nodes)}_{n}" for n in range(outputs)]
        node = onnx.helper.make_node(op, [self._name(i) for i in inputs], names, domain=domain, **attributes)
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def _name(self, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        array = np.asarray(value)
        array = array.astype({"f": np.float32, "i": np.int64}.get(array.dtype.kind, array.dtype))
        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(array, name))
        return name


def model(case: Case, is_open: bool) -> bytes:
    """The case as an ONNX file."""
    o = Nodes()
    names = [f"x{n}" for n in range(len(case.inputs))]
    made = case.onnx(o, *names)  # type: ignore[operator]
    outputs = [made] if isinstance(made, str) else made
    types = {"float32": onnx.TensorProto.FLOAT, "int64": onnx.TensorProto.INT64, "bool": onnx.TensorProto.BOOL}
    infos = [
        onnx.helper.make_tensor_value_info(
            name, types[i.dtype], [SYMBOLS[s] if s in SYMBOLS else s for s in i.sizes] if is_open else i.shape(EXPORTED)
        )
        for name, i in zip(names, case.inputs)
    ]
    results = [onnx.helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = onnx.helper.make_graph(o.nodes, case.name, infos, results, o.constants)
    opsets = [onnx.helper.make_opsetid("", o.opset), onnx.helper.make_opsetid("com.microsoft", 1)]
    return bytes(onnx.helper.make_model(graph, opset_imports=opsets).SerializeToString())
