"""ONNX's own node tests."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from onnx_helpers import (
    importer,
    onnx,
    run,
)

from lstm_edge import UnsupportedModelError

# Cases whose answer depends on what this project decided otherwise, each with the reason.
DECIDED_OTHERWISE = re.compile(
    "|".join(
        [
            r"_empty_set",  # a reduction over nothing is absent (docs/ops.md)
            r"^test_dynamicquantizelinear",  # a tie, rounded in float64 here and in float32 there
            r"averagepool_2d_ceil_last_window_starts_on_pad",  # published with four digits
            r"resize_downsample_scales_linear_align_corners",  # the size before rounding; onnxruntime takes the rounded one
        ]
    )
)


# Operators that the onnx package has no node case for, or only with strings; tests of test_import_onnx*.py cover them.
TESTED_APART = {
    "ConcatFromSequence",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SplitToSequence",
    "GlobalLpPool",
    "If",
    "Loop",
    "Scan",
    "Scatter",
    "Upsample",
    "Constant",
    "Gemm",
}


def supported_section(domain):
    text = (Path(__file__).parent.parent / "docs" / "onnx.md").read_text()
    return re.search(rf"^## {re.escape(domain)}$(.*?)(?=^## |\Z)", text, re.M | re.S)[1]


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_table_of_operators_is_true(domain):
    from lstm_edge.importers.onnx.folding import RANDOM
    from lstm_edge.importers.onnx.lowering import LOWER

    registered = {op for d, op in LOWER if d == domain} - {
        "NonZero",
        "Unique",
        "SimplifiedLayerNormalization",
    }
    listed = set(re.findall(r"`(\w+)`", supported_section(domain or "ai.onnx"))) - {"SimplifiedLayerNormalization"}
    by_definition = listed - registered
    assert registered <= listed
    assert not listed & RANDOM
    for op in by_definition:
        schema = onnx.defs.get_schema(op)
        assert schema.has_function or schema.has_context_dependent_function, op


def as_array(value):
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def import_case(model, inputs):
    """The graph of a case, with those inputs as constants that the importer asks for by name; and the other inputs."""
    constants = {}
    while True:
        try:
            return importer.read(model, constants=constants), {k: v for k, v in inputs.items() if k not in constants}
        except UnsupportedModelError as e:
            asked = re.search(r"input '([^']+)' must (?:be known|follow)", str(e))
            if asked is None or asked[1] not in inputs or asked[1] in constants:
                return None, {}
            constants[asked[1]] = inputs[asked[1]]


def uses_16_bit_floats(model):
    """These are computed in float32, which is more exact than the published answers."""
    infos = [*model.graph.input, *model.graph.output]
    return any(i.type.tensor_type.elem_type in (10, 16) for i in infos) or "FLOAT16" in model.graph.name


def test_conformance():
    """Every case of the onnx package is converted and right, or refused by name; none ends in another error."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = [c for c in load_model_tests(kind="node") if c.model is not None and c.data_sets]
    right, wrong = set(), []
    for case in cases:
        inputs, expected = case.data_sets[0]
        graph, run_inputs = import_case(case.model, dict(zip([i.name for i in case.model.graph.input], inputs)))
        if graph is None:
            continue
        outputs = run(graph, {k: as_array(v) for k, v in run_inputs.items()})
        pairs = [(outputs[o.name], np.asarray(as_array(e))) for o, e in zip(case.model.graph.output, expected)]
        if all(
            a is not None
            and a.shape == e.shape
            and np.allclose(a.astype(np.float64), e.astype(np.float64), rtol=1e-4, atol=1e-5, equal_nan=True)
            for a, e in pairs
        ):
            right.update(n.op_type for n in case.model.graph.node)
        elif not DECIDED_OTHERWISE.search(case.name) and not uses_16_bit_floats(case.model):
            wrong.append(case.name)
    assert not wrong
    listed = set(re.findall(r"`(\w+)`", supported_section("ai.onnx")))
    missing = listed - right - TESTED_APART
    assert not missing, "docs/onnx.md lists operators without a case that is right"
