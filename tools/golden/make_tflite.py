"""Makes tests/golden/tflite: small models with the answers of the TFLite runtime.

Needs tensorflow, tf_keras and ai-edge-litert:  python tools/golden/make_tflite.py [name ...]
Each model becomes NAME.tflite and NAME.npz with its inputs in_NAME and outputs out_NAME (by the runtime's order), one
row per invocation. What Keras 3 and Keras 2 (tf_keras) spell as loops comes from the converter; fused operators that
the converter never writes are put together table by table.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import flatbuffers  # noqa: E402
import keras as k3  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf_keras as k2  # noqa: E402
from ai_edge_litert import schema_py_generated as schema  # noqa: E402
from ai_edge_litert.interpreter import Interpreter  # noqa: E402

FOLDER = Path(__file__).parents[2] / "tests" / "golden" / "tflite"
FRAMES, FEATURES = 7, 5
Make = Callable[[np.random.Generator], tuple[bytes, int]]  # -> file, number of invocations
MAKERS: dict[str, Make] = {}


def model(function: Make) -> Make:
    MAKERS[function.__name__] = function
    return function


def sequential(keras: Any, *layers: Any, shape: tuple = (FRAMES, FEATURES), batch: int | None = 1) -> Any:
    """A model with random weights, biases included."""
    entry = (
        keras.layers.InputLayer(shape, batch_size=batch) if keras is k2 else keras.layers.Input(shape, batch_size=batch)
    )
    net = keras.Sequential([entry, *layers])
    rng = np.random.default_rng(1)
    for weight in net.weights:
        if weight.name.startswith("seed"):
            continue
        value = rng.standard_normal(weight.shape) * 0.5 / np.sqrt(weight.shape[0] if len(weight.shape) > 1 else 4)
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.name else value)
    return net


def converted(net: Any, change: Callable[[Any], None] | None = None) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    if change is not None:
        change(converter)
    return converter.convert()


def quantized(converter: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def float16(converter: Any) -> None:
    quantized(converter)
    converter.target_spec.supported_types = [tf.float16]


def integer(converter: Any, shape: tuple = (FRAMES, FEATURES)) -> None:
    quantized(converter)
    rng = np.random.default_rng(2)
    converter.representative_dataset = lambda: ([rng.standard_normal((1, *shape)).astype("f4")] for _ in range(50))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8


def tensor_lists(converter: Any) -> None:
    """TensorFlow's own list operators, as a model with a free batch needs them."""
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    converter._experimental_lower_tensor_list_ops = False


# ---- from Keras ------------------------------------------------------------------------------------------------------

L2, L3 = k2.layers, k3.layers


@model
def fused_lstm(rng):
    return converted(sequential(k2, L2.LSTM(8, return_sequences=True), L2.LSTM(6), L2.Dense(3, "softmax"))), 3


@model
def fused_lstm_step(rng):
    net = sequential(k2, L2.LSTM(8, return_sequences=True), L2.Dense(3), shape=(1, FEATURES))
    return converted(net), 10


@model
def fused_bidirectional(rng):
    return converted(sequential(k2, L2.Bidirectional(L2.LSTM(6, return_sequences=True)), L2.Dense(3))), 3


@model
def fused_float16(rng):
    return converted(sequential(k2, L2.LSTM(12), L2.Dense(3)), float16), 3


@model
def fused_integer(rng):
    net = sequential(k2, L2.LSTM(16, return_sequences=True), L2.LSTM(12), L2.Dense(8, "tanh"), L2.Dense(3, "softmax"))
    return converted(net, integer), 20


@model
def fused_integer_step(rng):
    net = sequential(k2, L2.LSTM(16, return_sequences=True), L2.Dense(3), shape=(1, FEATURES))
    return converted(net, lambda c: integer(c, (1, FEATURES))), 30


@model
def unrolled_integer(rng):
    net = sequential(k3, L3.LSTM(6, unroll=True), L3.Dense(3), shape=(3, FEATURES))
    return converted(net, lambda c: integer(c, (3, FEATURES))), 20


@model
def stateful_lstm(rng):
    net = sequential(k2, L2.LSTM(8, stateful=True, return_sequences=True), L2.Dense(3), shape=(1, FEATURES))
    return converted(net), 10


@model
def loop_lstm(rng):
    return converted(sequential(k3, L3.LSTM(8, return_sequences=True), L3.LSTM(6), L3.Dense(3, "softmax"))), 3


@model
def loop_lstm_relu_hard(rng):
    return converted(sequential(k3, L3.LSTM(8, activation="relu", recurrent_activation="hard_sigmoid"), L3.Dense(3))), 3


@model
def loop_lstm2_hard(rng):
    return converted(
        sequential(k2, L2.LSTM(8, recurrent_activation="hard_sigmoid", return_sequences=True), L2.Dense(3))
    ), 3


@model
def loop_lstm_frames(rng):
    return converted(sequential(k3, L3.LSTM(8, return_sequences=True), L3.Dense(3), shape=(None, FEATURES))), 3


@model
def loop_lstm_backwards(rng):
    return converted(sequential(k3, L3.LSTM(8, go_backwards=True, return_sequences=True), L3.Dense(3))), 3


@model
def loop_lstm_hybrid(rng):
    return converted(sequential(k3, L3.LSTM(20), L3.Dense(3)), quantized), 3


@model
def loop_lstm_float16(rng):
    return converted(sequential(k3, L3.LSTM(12), L3.Dense(3)), float16), 3


@model
def loop_masked_lstm(rng):
    return converted(sequential(k3, L3.Masking(), L3.LSTM(8, return_sequences=True), L3.Dense(3))), 3


@model
def loop_masked_last(rng):
    return converted(sequential(k3, L3.Masking(), L3.GRU(8), L3.Dense(3))), 3


@model
def loop_gru(rng):
    return converted(sequential(k3, L3.GRU(8, return_sequences=True), L3.GRU(6), L3.Dense(3))), 3


@model
def loop_gru_before(rng):
    return converted(sequential(k3, L3.GRU(8, reset_after=False, return_sequences=True), L3.Dense(3))), 3


@model
def loop_gru2(rng):
    return converted(sequential(k2, L2.GRU(8, reset_after=False, recurrent_activation="hard_sigmoid"), L2.Dense(3))), 3


@model
def loop_rnn(rng):
    return converted(sequential(k3, L3.SimpleRNN(8, return_sequences=True), L3.SimpleRNN(6, "relu"), L3.Dense(3))), 3


@model
def loop_bidirectional(rng):
    return converted(sequential(k3, L3.Bidirectional(L3.LSTM(6, return_sequences=True)), L3.Dense(3))), 3


@model
def loop_lists(rng):
    net = sequential(k3, L3.LSTM(8, return_sequences=True), L3.GRU(6), L3.Dense(3), batch=None)
    return converted(net, tensor_lists), 0


@model
def loop_masked_zero(rng):
    masked = [L2.Masking(), L2.LSTM(6, return_sequences=True, zero_output_for_mask=True), L2.Dense(3)]
    return converted(sequential(k2, *masked)), 3


@model
def loop_masked_bidirectional(rng):
    return converted(sequential(k2, L2.Masking(), L2.Bidirectional(L2.GRU(4, return_sequences=True)))), 3


@model
def loop_masked_bidirectional_zero(rng):
    layer = L2.LSTM(4, return_sequences=True, zero_output_for_mask=True)
    return converted(sequential(k2, L2.Masking(), L2.Bidirectional(layer))), 3


def from_function(net: Any) -> bytes:
    return tf.lite.TFLiteConverter.from_concrete_functions([net.get_concrete_function()]).convert()


def recurrent_weight() -> np.ndarray:
    return (np.random.default_rng(1).standard_normal((FEATURES + 4, 4)) * 0.4).astype("f4")


@model
def loop_cast_counter(rng):
    """A loop by hand: its counter is int64, cast to index the frames and to write the outputs."""
    weight = recurrent_weight()

    @tf.function(input_signature=[tf.TensorSpec([1, FRAMES, FEATURES])])
    def net(x):
        frames = tf.transpose(x, [1, 0, 2])
        outputs = tf.TensorArray(tf.float32, FRAMES, element_shape=[1, 4])

        def body(i, h, outputs):
            at = tf.cast(i, tf.int32)
            h = tf.tanh(tf.concat([tf.gather(frames, at), h], 1) @ weight)
            return i + 1, h, outputs.write(at, h)

        count = tf.cast(tf.shape(frames)[0], tf.int64)
        start = [tf.constant(0, tf.int64), tf.zeros([1, 4]), outputs]
        outputs = tf.while_loop(lambda i, h, outputs: i < count, body, start)[2]
        return tf.transpose(outputs.stack(), [1, 0, 2])

    return from_function(net), 3


@model
def loop_masked_cast(rng):
    """A loop by hand: its mask is cast to a number that holds the state and zeroes the output."""
    weight = recurrent_weight()

    @tf.function(input_signature=[tf.TensorSpec([1, FRAMES, FEATURES])])
    def net(x):
        frames = tf.transpose(x, [1, 0, 2])
        mask = tf.reduce_any(frames != 0, axis=-1, keepdims=True)
        outputs = tf.TensorArray(tf.float32, FRAMES, element_shape=[1, 4])

        def body(i, h, outputs):
            keep = tf.cast(tf.gather(mask, i), tf.float32)
            h = keep * tf.tanh(tf.concat([tf.gather(frames, i), h], 1) @ weight) + (1 - keep) * h
            return i + 1, h, outputs.write(i, keep * h)

        outputs = tf.while_loop(lambda i, h, outputs: i < FRAMES, body, [0, tf.zeros([1, 4]), outputs])[2]
        return tf.transpose(outputs.stack(), [1, 0, 2])

    return from_function(net), 3


@model
def loop_unknown(rng):
    """A cell that is none of the three."""

    class Minimal(L2.Layer):
        state_size = output_size = 6

        def build(self, shape):
            self.w = self.add_weight("w", (shape[-1], 12))
            self.u = self.add_weight("u", (6, 12))

        def call(self, x, states):
            f, g = tf.split(x @ self.w + states[0] @ self.u, 2, axis=1)
            h = states[0] + tf.sigmoid(f) * tf.sin(g) * tf.cos(states[0])
            return h, [h]

    return converted(sequential(k2, L2.RNN(Minimal()), L2.Dense(3))), 3


@model
def unrolled_lstm(rng):
    return converted(
        sequential(k3, L3.LSTM(6, unroll=True, return_sequences=True), L3.Dense(3), shape=(3, FEATURES))
    ), 3


@model
def conv_lstm(rng):
    """Convolutions, pooling and normalisation around a recurrence."""
    net = sequential(
        k3,
        L3.Conv1D(6, 3, padding="same", activation="relu"),
        L3.BatchNormalization(),
        L3.MaxPooling1D(2),
        L3.LeakyReLU(),
        L3.LSTM(6, return_sequences=True),
        L3.LayerNormalization(),
        L3.GlobalAveragePooling1D(),
        L3.Dense(4, "elu"),
        L3.Dense(3),
        shape=(12, FEATURES),
    )
    return converted(net), 3


@model
def conv_2d(rng):
    net = sequential(
        k3,
        L3.ZeroPadding2D(1),
        L3.Conv2D(4, 3, strides=2, padding="same", activation="relu6"),
        L3.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
        L3.AveragePooling2D(2, padding="same"),
        L3.Conv2DTranspose(3, 3, strides=2, padding="same"),
        L3.PReLU(),
        L3.SeparableConv2D(4, 2, dilation_rate=1),
        L3.GlobalMaxPooling2D(),
        L3.Dense(3, "hard_sigmoid"),
        shape=(9, 7, 2),
    )
    return converted(net), 2


@model
def conv_integer(rng):
    net = sequential(
        k3,
        L3.Conv2D(4, 3, activation="relu"),
        L3.AveragePooling2D(2),
        L3.Flatten(),
        L3.Dense(6, "sigmoid"),
        L3.Dense(3),
        shape=(9, 8, 2),
    )
    return converted(net, lambda c: integer(c, (9, 8, 2))), 20


@model
def plain_ops(rng):
    """Elementwise arithmetic, reductions, slices and shapes."""

    @tf.function(input_signature=[tf.TensorSpec([1, 4, 6])])
    def net(x):
        a, b = tf.split(x, 2, axis=2)
        y = tf.stack([tf.maximum(a, b), tf.math.squared_difference(a, b), tf.minimum(a, 0.5) * 2.0 - b], axis=1)
        y = tf.where(y > 0.3, tf.sqrt(tf.abs(y)), tf.exp(-tf.abs(y)))
        y = tf.concat([y, tf.reverse(y, [2])], axis=3)
        y = tf.pad(y, [[0, 0], [1, 0], [0, 2], [1, 1]], mode="REFLECT")[:, ::2, 1:-1, tf.newaxis, ::-1]
        z = tf.reduce_mean(y, axis=[2, 3]) + tf.cast(tf.argmax(y[..., 0, :], axis=-1), tf.float32)[:, :, 0:1]
        z = tf.gather(z, [2, 0, 1, 1], axis=2) if z.shape[2] > 2 else tf.tile(z, [1, 1, 4])
        z = tf.matmul(z, tf.transpose(z, [0, 2, 1]))
        return tf.nn.softmax(z * 0.1), tf.math.rsqrt(tf.reduce_sum(z * z, axis=1) + 1.0), tf.nn.log_softmax(z)

    return tf.lite.TFLiteConverter.from_concrete_functions([net.get_concrete_function()]).convert(), 2


# ---- put together table by table -------------------------------------------------------------------------------------


class Builder:
    """A model of one operator."""

    def __init__(self, hybrid: bool = False) -> None:
        self.buffers, self.tensors = [schema.BufferT()], []
        self.hybrid = hybrid  # matrices in 8 bits

    def weight(self, shape: list[int], data: np.ndarray) -> int:
        """A matrix in 8 bits with one scale."""
        hybrid, self.hybrid = self.hybrid, False
        index = self.tensor(shape, name="w")
        self.hybrid = hybrid
        t = self.tensors[index]
        t.type, t.quantization = schema.TensorType.INT8, schema.QuantizationParametersT()
        scale = np.float32(np.abs(data).max() / 127)
        t.quantization.scale, t.quantization.zeroPoint = [scale], [0]
        self.buffers[t.buffer].data = np.round(data / scale).astype("i1").reshape(-1).view(np.uint8)
        return index

    def tensor(self, shape: list[int], data: np.ndarray | None = None, variable: bool = False, name: str = "t") -> int:
        if self.hybrid and data is not None and len(shape) == 2:
            return self.weight(shape, data)
        t = schema.TensorT()
        t.shape, t.type, t.name = shape, schema.TensorType.FLOAT32, f"{name}{len(self.tensors)}".encode()
        t.isVariable, t.buffer = variable, len(self.buffers)
        buffer = schema.BufferT()
        if data is not None:
            buffer.data = np.frombuffer(np.ascontiguousarray(data, "<f4").tobytes(), np.uint8)
        self.buffers.append(buffer)
        self.tensors.append(t)
        return len(self.tensors) - 1

    def build(self, code: int, inputs: list[int], outputs: list[int], options_type: int, options: Any, x: int) -> bytes:
        op, opcode, graph, net = schema.OperatorT(), schema.OperatorCodeT(), schema.SubGraphT(), schema.ModelT()
        op.inputs, op.outputs, op.builtinOptionsType, op.builtinOptions = inputs, outputs, options_type, options
        opcode.builtinCode = opcode.deprecatedBuiltinCode = code
        opcode.version = 1
        graph.tensors, graph.inputs, graph.outputs, graph.operators, graph.name = (
            self.tensors,
            [x],
            outputs,
            [op],
            b"main",
        )
        net.version, net.operatorCodes, net.subgraphs, net.buffers, net.description = (
            3,
            [opcode],
            [graph],
            self.buffers,
            b"by hand",
        )
        builder = flatbuffers.Builder(4096)
        builder.Finish(net.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def gates(b: Builder, rng: np.random.Generator, shape: list[int], scale: float, skip_input: bool = False) -> list[int]:
    return [-1 if skip_input and n == 0 else b.tensor(shape, rng.standard_normal(shape) * scale) for n in range(4)]


def lstm_tensors(
    b: Builder,
    rng: np.random.Generator,
    features: int,
    hidden: int,
    width: int,
    coupled: bool,
    peephole: bool,
    projection: bool,
) -> list[int]:
    """Weights in the order of the fused operator, inputs 1 to 17."""
    out = gates(b, rng, [hidden, features], 0.6, coupled) + gates(b, rng, [hidden, width], 0.4, coupled)
    out += [
        b.tensor([hidden], rng.standard_normal(hidden) * 0.3) if peephole and not (coupled and n == 0) else -1
        for n in range(3)
    ]
    out += gates(b, rng, [hidden], 0.3, coupled)
    out += [b.tensor([width, hidden], rng.standard_normal([width, hidden]) * 0.5), -1] if projection else [-1, -1]
    return out


def sequence_lstm(
    rng: np.random.Generator, coupled: bool, peephole: bool, projection: bool, hybrid: bool = False, **options: Any
) -> bytes:
    b, hidden = Builder(hybrid), 8
    width = 5 if projection else hidden
    time_major = options.get("timeMajor", False)
    batch = 2 if time_major else 1
    x = b.tensor([FRAMES, batch, FEATURES] if time_major else [batch, FRAMES, FEATURES], name="x")
    inputs = [
        x,
        *lstm_tensors(b, rng, FEATURES, hidden, width, coupled, peephole, projection),
        b.tensor([batch, width], variable=True),
        b.tensor([batch, hidden], variable=True),
        -1,
        -1,
        -1,
        -1,
    ]
    y = b.tensor([FRAMES, batch, width] if time_major else [batch, FRAMES, width], name="y")
    o = schema.UnidirectionalSequenceLSTMOptionsT()
    o.fusedActivationFunction = schema.ActivationFunctionType.TANH
    for key, value in options.items():
        setattr(o, key, value)
    return b.build(
        schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM,
        inputs,
        [y],
        schema.BuiltinOptions.UnidirectionalSequenceLSTMOptions,
        o,
        x,
    )


@model
def hand_coupled_peephole_projection(rng):
    return sequence_lstm(rng, True, True, True, cellClip=0.4, projClip=0.3), 4


@model
def hand_peephole_time_major(rng):
    return sequence_lstm(rng, False, True, False, timeMajor=True), 4


@model
def hand_relu_projection(rng):
    return sequence_lstm(
        rng, False, False, True, fusedActivationFunction=schema.ActivationFunctionType.RELU, cellClip=5.0
    ), 4


@model
def hand_hybrid_lstm(rng):
    return sequence_lstm(rng, False, False, False, hybrid=True), 4


@model
def hand_bidirectional_lstm(rng):
    b, hidden = Builder(), 6
    x = b.tensor([1, FRAMES, FEATURES], name="x")
    inputs = [x]
    for _ in range(2):
        inputs += lstm_tensors(b, rng, FEATURES, hidden, hidden, False, True, False)
    inputs += [b.tensor([1, hidden], variable=True) for _ in range(4)] + [-1] * 9
    outputs = [b.tensor([1, FRAMES, hidden], name="y") for _ in range(2)]
    o = schema.BidirectionalSequenceLSTMOptionsT()
    o.fusedActivationFunction, o.timeMajor, o.mergeOutputs = schema.ActivationFunctionType.TANH, False, False
    return b.build(
        schema.BuiltinOperator.BIDIRECTIONAL_SEQUENCE_LSTM,
        inputs,
        outputs,
        schema.BuiltinOptions.BidirectionalSequenceLSTMOptions,
        o,
        x,
    ), 1


def rnn_tensors(b: Builder, rng: np.random.Generator, hidden: int) -> list[int]:
    shapes = [[hidden, FEATURES], [hidden, hidden], [hidden]]
    return [*(b.tensor(s, rng.standard_normal(s) * 0.4) for s in shapes), b.tensor([1, hidden], variable=True)]


@model
def hand_rnn(rng):
    b, hidden = Builder(), 6
    x = b.tensor([FRAMES, 1, FEATURES], name="x")
    y = b.tensor([FRAMES, 1, hidden], name="y")
    o = schema.SequenceRNNOptionsT()
    o.timeMajor, o.fusedActivationFunction = True, schema.ActivationFunctionType.RELU
    return b.build(
        schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_RNN,
        [x, *rnn_tensors(b, rng, hidden)],
        [y],
        schema.BuiltinOptions.SequenceRNNOptions,
        o,
        x,
    ), 4


@model
def hand_bidirectional_rnn(rng):
    b, hidden = Builder(), 6
    x = b.tensor([1, FRAMES, FEATURES], name="x")
    y = b.tensor([1, FRAMES, 2 * hidden], name="y")
    o = schema.BidirectionalSequenceRNNOptionsT()
    o.timeMajor, o.mergeOutputs, o.fusedActivationFunction = False, True, schema.ActivationFunctionType.TANH
    inputs = [x, *rnn_tensors(b, rng, hidden), *rnn_tensors(b, rng, hidden), -1, -1, -1]
    return b.build(
        schema.BuiltinOperator.BIDIRECTIONAL_SEQUENCE_RNN,
        inputs,
        [y],
        schema.BuiltinOptions.BidirectionalSequenceRNNOptions,
        o,
        x,
    ), 1


# ---- running ---------------------------------------------------------------------------------------------------------


def answers(data: bytes, runs: int, rng: np.random.Generator, masked: bool) -> dict[str, np.ndarray]:
    """Inputs and outputs of `runs` invocations in a row, states kept; every array has the runs in front."""
    interpreter = Interpreter(model_content=data, num_threads=1)
    inputs = interpreter.get_input_details()
    for detail in inputs:
        shape = [FRAMES if s == -1 and n else max(s, 1) for n, s in enumerate(detail["shape_signature"])]
        interpreter.resize_tensor_input(detail["index"], shape)
    interpreter.allocate_tensors()
    out: dict[str, list[np.ndarray]] = {}
    for _ in range(runs):
        for n, detail in enumerate(interpreter.get_input_details()):
            x = rng.standard_normal(detail["shape"])
            if masked:
                x[:, [0, 3, 4, 6]] = 0
            scale, zero = detail["quantization"]
            value = _stored(x, scale, zero, detail["dtype"]) if scale else x.astype(detail["dtype"])
            interpreter.set_tensor(detail["index"], value)
            out.setdefault(f"in{n}", []).append(value)
        interpreter.invoke()
        for n, detail in enumerate(interpreter.get_output_details()):
            out.setdefault(f"out{n}", []).append(interpreter.get_tensor(detail["index"]).copy())
    return {k: np.stack(v) for k, v in out.items()}


def _stored(x: np.ndarray, scale: float, zero: int, dtype: Any) -> np.ndarray:
    limits = np.iinfo(dtype)
    return np.clip(np.round(x / scale) + zero, limits.min, limits.max).astype(dtype)


def main(names: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names or MAKERS:
        rng = np.random.default_rng(3)
        data, runs = MAKERS[name](rng)
        arrays = answers(data, runs, rng, "masked" in name) if runs else keras_answers(rng)
        (FOLDER / f"{name}.tflite").write_bytes(data)
        np.savez_compressed(FOLDER / f"{name}.npz", **arrays)
        print(f"{name}: {len(data)} bytes, {', '.join(f'{k} {v.shape}' for k, v in arrays.items())}")


def keras_answers(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """loop_lists holds operators that the runtime alone does not have: its answers are those of Keras."""
    net = sequential(k3, L3.LSTM(8, return_sequences=True), L3.GRU(6), L3.Dense(3), batch=None)
    x = rng.standard_normal((1, 3, FRAMES, FEATURES)).astype("f4")
    return {"in0": x, "out0": net(x[0]).numpy()[None]}


if __name__ == "__main__":
    main(sys.argv[1:])
