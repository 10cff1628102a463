"""Makes tests/golden/tflite/integer_*: full-integer LSTMs of one operator, with the answers of the TFLite runtime.

Needs ai-edge-litert alone:  python tools/golden/make_tflite_integer.py [name ...]
Each model becomes NAME.tflite and NAME.npz as make_tflite.py writes them. No converter writes these operators with peepholes,
projection or layer normalisation, so they are put together table by table, with scales as a calibration would find them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

FOLDER = Path(__file__).parents[2] / "tests" / "golden" / "tflite"
TYPES = {"int8": schema.TensorType.INT8, "int16": schema.TensorType.INT16, "int32": schema.TensorType.INT32}


@dataclass(frozen=True)
class Model:
    """What the operator has. width: of the fed-back state, with a projection where it is not `hidden`."""

    frames: int = 9
    features: int = 5
    hidden: int = 8
    width: int = 8
    coupled: bool = False
    peephole: bool = False
    norm: bool = False
    cell_bits: int = 11  # behind the point of the 16-bit cell
    cell_clip: float = 0.0
    proj_clip: float = 0.0
    time_major: bool = False
    runs: int = 4


MODELS = {
    "integer_plain": Model(),
    "integer_wide_cell": Model(cell_bits=13, cell_clip=2.5),
    "integer_coupled": Model(coupled=True, time_major=True),
    "integer_peephole": Model(peephole=True),
    "integer_projection": Model(width=5, proj_clip=0.6),
    "integer_norm": Model(norm=True),
    "integer_all": Model(coupled=True, peephole=True, norm=True, width=6, cell_clip=3.0, proj_clip=0.7),
}


@dataclass
class File:
    """A subgraph of one operator."""

    buffers: list = field(default_factory=lambda: [schema.BufferT()])
    tensors: list = field(default_factory=list)

    def tensor(
        self, shape: list[int], dtype: str, scale: float, zero: int = 0, data=None, variable: bool = False
    ) -> int:
        t = schema.TensorT()
        t.shape, t.type, t.name = shape, TYPES[dtype], f"t{len(self.tensors)}".encode()
        t.isVariable, t.buffer = variable, 0
        t.quantization = schema.QuantizationParametersT()
        t.quantization.scale, t.quantization.zeroPoint = [float(np.float32(scale))], [zero]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, dtype).tobytes(), np.uint8)
            t.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.tensors.append(t)
        return len(self.tensors) - 1

    def weight(self, values: np.ndarray, dtype: str = "int8", scale: float = 0.0) -> int:
        """Real numbers as integers with one scale, by default the one that fills the type."""
        most = np.iinfo(dtype).max
        scale = float(np.float32(scale or np.abs(values).max() / most))
        return self.tensor(list(values.shape), dtype, scale, 0, np.clip(np.round(values / scale), -most, most))

    def scale(self, index: int) -> float:
        return self.tensors[index].quantization.scale[0]


def build(m: Model, rng: np.random.Generator) -> bytes:
    f = File()
    batch, width, hidden = 1 if not m.time_major else 2, m.width, m.hidden
    lead = [m.frames, batch] if m.time_major else [batch, m.frames]
    x = f.tensor([*lead, m.features], "int8", 0.024, -3)
    state = f.tensor([batch, width], "int8", 0.0071, 6, variable=True)
    cell = f.tensor([batch, hidden], "int16", 2.0**-m.cell_bits, variable=True)

    def gates(shape: list[int], size: float) -> list[int]:
        return [-1 if n == 0 and m.coupled else f.weight(rng.standard_normal(shape) * size) for n in range(4)]

    w_ih, w_hh = gates([hidden, m.features], 0.6), gates([hidden, width], 0.4)
    peep = [
        f.weight(rng.standard_normal(hidden) * 0.3, "int16") if m.peephole and not (m.coupled and n == 0) else -1
        for n in range(3)
    ]
    norms = [
        f.weight(1.0 + rng.standard_normal(hidden) * 0.2, "int16") if m.norm and not (m.coupled and n == 0) else -1
        for n in range(4)
    ]
    biases = [
        -1
        if n == 0 and m.coupled
        else f.weight(
            rng.standard_normal(hidden) * 0.3,
            "int32",
            f.scale(norms[n]) / 1024 if m.norm else f.scale(x) * f.scale(w_ih[n]),
        )
        for n in range(4)
    ]
    projection = [-1, -1]
    hidden_scale, hidden_zero = f.scale(state), 6
    if width != hidden:
        hidden_scale, hidden_zero = 0.0065, -4
        weight = f.weight(rng.standard_normal([width, hidden]) * 0.5)
        projection = [weight, f.weight(rng.standard_normal(width) * 0.1, "int32", f.scale(weight) * hidden_scale)]
    y = f.tensor([*lead, width], "int8", f.scale(state), 6)
    intermediates = [f.tensor([], "int16", 1 / 2048 if m.norm else 2.0**-12) for _ in range(4)]
    intermediates.append(f.tensor([], "int8", hidden_scale, hidden_zero))
    inputs = [x, *w_ih, *w_hh, *peep, *biases, *projection, state, cell, *norms]
    o = schema.UnidirectionalSequenceLSTMOptionsT()
    o.fusedActivationFunction, o.timeMajor = schema.ActivationFunctionType.TANH, m.time_major
    o.cellClip, o.projClip = m.cell_clip, m.proj_clip
    return packed(f, inputs, intermediates, x, y, o)


def packed(f: File, inputs: list[int], intermediates: list[int], x: int, y: int, options) -> bytes:
    op, code, graph, net = schema.OperatorT(), schema.OperatorCodeT(), schema.SubGraphT(), schema.ModelT()
    op.inputs, op.outputs, op.intermediates = inputs, [y], intermediates
    op.builtinOptionsType = schema.BuiltinOptions.UnidirectionalSequenceLSTMOptions
    op.builtinOptions = options
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM
    code.version = 1
    graph.tensors, graph.inputs, graph.outputs, graph.operators, graph.name = f.tensors, [x], [y], [op], b"main"
    net.version, net.operatorCodes, net.subgraphs, net.buffers, net.description = (
        3,
        [code],
        [graph],
        f.buffers,
        b"by hand",
    )
    builder = flatbuffers.Builder(4096)
    builder.Finish(net.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def answers(data: bytes, runs: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Inputs and outputs of `runs` invocations in a row, states kept; every array has the runs in front."""
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    (given,), (answered,) = interpreter.get_input_details(), interpreter.get_output_details()
    inputs, outputs = [], []
    for _ in range(runs):
        inputs.append(rng.integers(-128, 128, given["shape"]).astype(np.int8))
        interpreter.set_tensor(given["index"], inputs[-1])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(answered["index"]).copy())
    return {"in0": np.stack(inputs), "out0": np.stack(outputs)}


def main(names: list[str]) -> None:
    for name in names or MODELS:
        rng = np.random.default_rng(3)
        data = build(MODELS[name], rng)
        arrays = answers(data, MODELS[name].runs, rng)
        (FOLDER / f"{name}.tflite").write_bytes(data)
        np.savez_compressed(FOLDER / f"{name}.npz", **arrays)
        print(f"{name}: {len(data)} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
