"""ONNX's own node tests, all of them: right, or refused by name."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from onnx_helpers import importer, onnx, run

from lstm_edge import LstmEdgeError

AT_LEAST_RIGHT = 1420  # and this part of them all: 1520 of the 1884 of onnx 1.23
PART_RIGHT = 0.8
# Right by another reading than the published answer's, each with the reason.
DECIDED_OTHERWISE = re.compile(
    "|".join(
        [
            r"^test_dynamicquantizelinear(_expanded)?$",  # a tie, rounded in float64 here and in float32 there
            r"averagepool_2d_ceil_last_window_starts_on_pad",  # published with four digits
            # The specification divides by "the length of the resized tensor", a whole number, as onnxruntime and torch do;
            # the published answer divides by 0.6 * 4 - 1, the length before it is rounded.
            r"resize_downsample_scales_(linear|cubic)_align_corners$",
        ]
    )
)
# Operators that the onnx package has no node case for, or only with strings or sequences as outputs; test_import_onnx*.py has them.
TESTED_APART = set(
    """ConcatFromSequence Constant Gemm GlobalLpPool If Loop Scan Scatter SequenceAt SequenceConstruct SequenceEmpty SequenceErase
    SequenceInsert SequenceLength SplitToSequence Upsample""".split()
)


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


# ---- every case ------------------------------------------------------------------------------------------------------


def as_array(value):
    """A tensor of a case as an array, None for a sequence or an optional value."""
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, (np.ndarray, np.generic)) else None


def given(case):
    """name -> array of a case's inputs, without those that are no tensors."""
    feeds = zip([i.name for i in case.model.graph.input], map(as_array, case.data_sets[0][0]))
    return {name: array for name, array in feeds if array is not None}


def sizes_and_places(inputs):
    """The inputs that a model could have as constants: integers and truth values along at most one axis."""
    return {n: a for n, a in inputs.items() if a.ndim <= 1 and a.dtype.kind in "iub"}


def converted(case, inputs):
    """The graph of a case and the names of its constants: those inputs that the importer asks for, else all that may be.

    LstmEdgeError where it is refused all the same.
    """
    shapes = {n: list(a.shape) for n, a in inputs.items() if 0 in a.shape}
    constants = {}
    while True:
        sizes = {n: s for n, s in shapes.items() if n not in constants}
        try:
            return importer.read(case.model, constants=constants, shapes=sizes), constants
        except LstmEdgeError as e:
            asked = re.search(r"(?:input|condition) '([^']+)' (?:must|is known only)", str(e))
            if asked is not None and asked[1] in inputs and asked[1] not in constants:
                constants[asked[1]] = inputs[asked[1]]
            elif sizes_and_places(inputs).keys() <= constants.keys():
                raise
            else:
                constants |= sizes_and_places(inputs)


def uses_16_bit_floats(case):
    """These are computed in float32, which is more exact than the published answers."""
    infos = [*case.model.graph.input, *case.model.graph.output]
    return (
        any(i.type.tensor_type.elem_type in (10, 16) for i in infos)
        or "FLOAT16" in case.name
        or "precision" in case.name
    )


def outcome(case):
    """right, refused (with a name), or what is wrong."""
    inputs = given(case)
    try:
        graph, constants = converted(case, inputs)
        outputs = run(graph, {p.name: inputs[p.name] for p in graph.inputs if p.name not in constants})
    except LstmEdgeError as e:
        return "refused" if re.search(r"(node|input|output|model|opset)", str(e)) else f"refused without a name: {e}"
    tolerance = {"rtol": 1e-2, "atol": 1e-2} if uses_16_bit_floats(case) else {"rtol": 1e-4, "atol": 1e-5}
    for info, wanted in zip(case.model.graph.output, map(as_array, case.data_sets[0][1])):
        found = outputs[info.name]
        if found is None or found.shape != wanted.shape:
            return f"output {info.name}: found {None if found is None else found.shape}, expected {wanted.shape}"
        if wanted.dtype.kind in "iu":
            found = found.astype(np.int64).astype(wanted.dtype)  # a run has integers in 32 bits with a sign
        if not np.allclose(found.astype(np.float64), wanted.astype(np.float64), equal_nan=True, **tolerance):
            return f"output {info.name}: another value"
    return "right"


def test_every_node_test_is_right_or_refused_by_name():
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = [c for c in load_model_tests(kind="node") if c.model is not None and c.data_sets]
        outcomes = {c.name: outcome(c) for c in cases}
    counts = Counter(o if o in ("right", "refused") else "wrong" for o in outcomes.values())
    print(f"onnx {onnx.__version__}: {len(cases)} node tests, {dict(counts)}")
    wrong = {n: o for n, o in outcomes.items() if o not in ("right", "refused") and not DECIDED_OTHERWISE.search(n)}
    assert not wrong
    assert counts["right"] >= max(AT_LEAST_RIGHT, PART_RIGHT * len(cases))
    right = {n.op_type for c in cases if outcomes[c.name] == "right" for n in c.model.graph.node}
    listed = set(re.findall(r"`(\w+)`", supported_section("ai.onnx")))
    assert not listed - right - TESTED_APART, "docs/onnx.md lists operators without a case that is right"
