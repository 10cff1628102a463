"""Which registered operators of ONNX and TFLite no case has: a new operator gets a case, or is added here with its reason."""

from __future__ import annotations

import pytest

from conformance import spell_onnx, spell_tflite
from conformance.cases import SUBJECTS

CASES = [case for cases in SUBJECTS.values() for case in cases]
# Quantised arithmetic, control flow, sequences of constants, what is folded, and forms that other operators have replaced.
ONNX_WITHOUT = """CastLike Constant ConvInteger ConvTranspose DFT DequantizeLinear Dropout DynamicQuantizeLinear EyeLike
    GlobalLpPool If Loop MatMulInteger NonZero QLinearConv QLinearMatMul QuantizeLinear Range STFT Scan Scatter
    SimplifiedLayerNormalization Size Unique Upsample"""
# Quantised arithmetic, control flow, variables, lists of tensors, what is folded, and single steps of recurrences.
TFLITE_WITHOUT = """ASSIGN_VARIABLE BIDIRECTIONAL_SEQUENCE_RNN CALL CALL_ONCE DEPTHWISE_CONV_2D DEQUANTIZE FAKE_QUANT FILL
    FlexTensorListFromTensor FlexTensorListGetItem FlexTensorListLength FlexTensorListReserve FlexTensorListSetItem
    FlexTensorListStack IF LSTM QUANTIZE RANGE RANK READ_VARIABLE RELU_0_TO_1 RNN SELECT TRANSPOSE_CONV VAR_HANDLE WHILE"""


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
