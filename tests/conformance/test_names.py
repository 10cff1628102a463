"""Which registered operators and layers no case has: a new one gets a case, or is added here with its reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from conformance import spell_onnx, spell_tflite
from conformance.case import EXPORTED, Later
from conformance.cases import SUBJECTS

keras = Later("keras")
TESTS = Path(__file__).parents[1]

CASES = [case for cases in SUBJECTS.values() for case in cases]
# Quantised arithmetic, control flow, sequences of constants, what is folded, and forms that other operators have replaced.
ONNX_WITHOUT = """BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CastLike Col2Im ConcatFromSequence Constant
    ConvInteger CumProd DFT DequantizeLinear Dropout DynamicQuantizeLinear EyeLike GlobalLpPool If LRN Loop
    LpPool MatMulInteger NonZero QLinearConv QLinearMatMul QuantizeLinear Range STFT Scan Scatter SequenceAt
    SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SimplifiedLayerNormalization
    Size SplitToSequence Unique Upsample"""
# Quantised arithmetic, control flow, variables, lists of tensors, what is folded, and single steps of recurrences.
TFLITE_WITHOUT = """ASSIGN_VARIABLE BIDIRECTIONAL_SEQUENCE_RNN CALL CALL_ONCE DEQUANTIZE FAKE_QUANT FILL
    FlexTensorListFromTensor FlexTensorListGetItem FlexTensorListLength FlexTensorListReserve FlexTensorListSetItem
    FlexTensorListStack IF LSTM QUANTIZE RANGE RANK READ_VARIABLE RELU_0_TO_1 RNN SELECT VAR_HANDLE WHILE"""


def test_onnx_operators() -> None:
    pytest.importorskip("onnx")
    from lstm_edge.importers.onnx import model  # noqa: F401  (fills the table)
    from lstm_edge.importers.onnx.lowering import LOWER

    used = set()
    for case in CASES:
        spelling, nodes = case.spelling("onnx"), spell_onnx.Nodes()
        if spelling is not None:
            spelling(nodes, *(f"x{n}" for n in range(len(case.inputs))))
        used |= {node.op_type for node in nodes.nodes}
    assert {op for domain, op in LOWER if not domain} - used == set(ONNX_WITHOUT.split())


def test_tflite_operators() -> None:
    pytest.importorskip("flatbuffers")
    from lstm_edge.importers.tflite import model  # noqa: F401  (fills the table)
    from lstm_edge.importers.tflite.lowering import LOWER

    used = set()
    for case in CASES:
        spelling, made = case.spelling("tflite"), spell_tflite.Operators()
        if spelling is not None:
            spelling(made, *(made.input(i, False) for i in case.inputs))
        used |= {kind for kind, *_ in made.operators}
    assert set(LOWER) - used == set(TFLITE_WITHOUT.split())


# Layers and operations of Keras that no case has, by the file with their tests, which spells them so or like_so().
KERAS_ELSEWHERE = {
    "test_import_keras_layers.py": """Abs Activation ActivityRegularization AdaptiveAveragePooling1D
        AdaptiveAveragePooling2D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdditiveAttention AlphaDropout Amax Amin
        AveragePooling2D ConvLSTM1D ConvLSTM2D ConvertToTensor Cropping2D DepthwiseConv1D Dropout ELU FullLike GRUCell GaussianDropout
        GaussianNoise GlobalAveragePooling2D GlobalMaxPooling2D LSTMCell LeakyReLU MaxPooling2D MultiHeadAttention NanToNum
        Normalization OnesLike RNN ReLU SeparableConv2D SimpleRNNCell SpatialDropout1D SpatialDropout2D StopGradient
        TimeDistributed TrueDivide UpSampling1D ZeroPadding2D""",
    "test_import_keras_masks.py": "Masking",
    "test_import_keras_spectrograms.py": "MelSpectrogram STFTSpectrogram",
    "test_import_keras_versions.py": "CuDNNGRU CuDNNLSTM PeepholeLSTMCell ThresholdedReLU",
}
# Stacks of cells are lists in Python; the others are second names of Abs and Swapaxes.
KERAS_UNSPELT = {"StackedRNNCells", "Fabs", "SwapAxes"}


def test_keras_layers() -> None:
    pytest.importorskip("keras")
    from lstm_edge.importers.keras import layers, ops
    from lstm_edge.importers.keras.config import CELL_OPS, snake_case

    used: set[str] = set()
    for case in CASES:
        spelling = case.spelling("keras")
        if spelling is not None:
            dtypes = ["int32" if i.dtype == "int64" else i.dtype for i in case.inputs]
            shapes = [i.shape(EXPORTED) for i in case.inputs]
            _collect(spelling(*(keras.Input(batch_shape=s, dtype=d) for s, d in zip(shapes, dtypes))), used, set())
    elsewhere = {name for names in KERAS_ELSEWHERE.values() for name in names.split()}
    there = {*layers.HANDLERS, *ops.RULES, *CELL_OPS, "TimeDistributed", "StackedRNNCells"}
    assert there - used == elsewhere | KERAS_UNSPELT
    for file, names in KERAS_ELSEWHERE.items():
        text = (TESTS / file).read_text()
        missing = [n for n in names.split() if not re.search(rf"\b{n}\b|\b{snake_case(n)}\(", text)]
        assert not missing, f"{file} says nothing of {missing}"


def _collect(made: Any, used: set[str], seen: set[int]) -> None:
    """The classes of all operations behind symbolic tensors of Keras."""
    for tensor in made if isinstance(made, (list, tuple)) else [made]:
        operation = tensor._keras_history.operation
        if id(operation) not in seen:
            seen.add(id(operation))
            used.add(type(operation).__name__)
            for node in operation._inbound_nodes:
                _collect(node.arguments.keras_tensors, used, seen)
