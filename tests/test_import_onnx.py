"""The ONNX importer: real models against their references, conformance cases, and one small model per operator."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from shared import MODELS, needs_models

from lstm_edge import FormatError, LstmEdgeError, UnsupportedModelError, reference
from lstm_edge.importers.onnx import model as importer
from lstm_edge.ir.dims import BATCH, FRAMES, Dim

onnx = pytest.importorskip("onnx")

TOLERANCE = 1e-5


def run(graph, inputs):
    outputs, _ = reference.run(graph, inputs)
    return outputs


def replay(graph, stream, carried, frames, expected):
    """Runs frame by frame with outputs fed back to inputs; the largest difference over `expected`.

    stream: input -> array of frames; carried: input -> (output, first value); expected: output -> array of frames.
    """
    state = {name: first for name, (_, first) in carried.items()}
    worst = 0.0
    for t in range(frames):
        outputs = run(graph, {**{k: v[t] for k, v in stream.items()}, **state})
        state = {name: outputs[output] for name, (output, _) in carried.items()}
        worst = max([worst] + [float(np.abs(outputs[o] - v[t]).max()) for o, v in expected.items()])
    return worst


# ---- real models ----------------------------------------------------------------------------------------------------


@needs_models
@pytest.mark.parametrize(
    "name, options",
    [
        ("silero_vad_16k_op15", {"shapes": {"input": [1, 576]}, "constants": {"sr": 16000}}),
        ("silero_vad_openvino_16k", {}),
    ],
)
def test_silero_frames(name, options):
    graph = importer.read(MODELS / "silero_vad" / f"{name}.onnx", **options)
    ref = np.load(MODELS / "silero_vad" / f"{name}.ref.npz")
    frames = 60
    worst = replay(
        graph,
        {"input": ref["input"]},
        {"state": ("stateN", np.zeros((2, 1, 128)))},
        frames,
        {"output": ref["prob"], "stateN": ref["state_after"]},
    )
    assert worst < TOLERANCE
    assert len(graph.nodes) < 40, "the file becomes a straight program"
    assert not any("If" == n.op for n in graph.nodes)


@needs_models
def test_silero_batch_stays_free():
    graph = importer.read(
        MODELS / "silero_vad" / "silero_vad_16k_op15.onnx", shapes={"input": ["batch", 576]}, constants={"sr": 16000}
    )
    ref = np.load(MODELS / "silero_vad" / "silero_vad_16k_op15.ref.npz")
    x = ref["input"][100:103, 0]
    together = run(graph, {"input": x, "state": np.zeros((2, 3, 128))})["output"]
    alone = [run(graph, {"input": r[None], "state": np.zeros((2, 1, 128))})["output"][0] for r in x]
    assert np.allclose(together, alone, atol=1e-12)


@needs_models
def test_silero_sequence():
    graph = importer.read(MODELS / "silero_vad" / "silero_vad_16k_sequence.onnx")
    ref = np.load(MODELS / "silero_vad" / "silero_vad_16k_sequence.ref.npz")
    out = run(graph, {k: ref[k] for k in ("input", "h", "c")})
    for name in ("speech_probs", "hn", "cn"):  # cells grow to 10 here: onnxruntime's float32 is 1e-6 of that off
        assert np.allclose(out[name], ref[name], rtol=2e-6, atol=TOLERANCE), name


@needs_models
@pytest.mark.parametrize(
    "n, names",
    [
        (1, ("input_2", "input_3", "activation_2", "tf_op_layer_stack_2")),
        (2, ("input_4", "input_5", "conv1d_3", "tf_op_layer_stack_5")),
    ],
)
def test_dtln(n, names):
    """Model 2 has no LSTM node: its cell is spelt in MatMul and Sigmoid."""
    graph = importer.read(MODELS / "dtln" / f"model_{n}.onnx")
    ref = np.load(MODELS / "dtln" / "model_12_onnx.ref.npz")
    x, state, y, state_out = names
    worst = replay(graph, {x: ref[f"in{n}"]}, {state: (state_out, np.zeros((1, 2, 128, 2)))}, 400, {y: ref[f"out{n}"]})
    assert worst < TOLERANCE


@needs_models
def test_gtcrn():
    graph = importer.read(MODELS / "gtcrn" / "gtcrn_simple.onnx")
    ref = np.load(MODELS / "gtcrn" / "gtcrn_simple.ref.npz")
    caches = ("conv_cache", "tra_cache", "inter_cache")
    first = {c: np.zeros(graph.tensors[p.tensor].shape) for p in graph.inputs for c in [p.name] if c in caches}
    worst = replay(graph, {"mix": ref["mix"]}, {c: (f"{c}_out", first[c]) for c in caches}, 40, {"enh": ref["enh"]})
    assert worst < TOLERANCE


@needs_models
def test_nnsplit():
    graph = importer.read(MODELS / "nnsplit" / "model.onnx")
    ref = np.load(MODELS / "nnsplit" / "model.ref.npz")
    assert graph.metadata["input_dtypes"] == {"input": "uint8"}
    out = run(graph, {"input": ref["input"]})["output"]  # logits to 17: onnxruntime's float32 is 6e-7 of that off
    assert np.allclose(out, ref["output"], rtol=2e-6, atol=TOLERANCE)


def onnx_cases():
    folder = MODELS / "onnx_node"
    return sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []


@needs_models
@pytest.mark.parametrize("case", onnx_cases())
def test_onnx_node_cases(case):
    """ONNX's own cases. W, R, B and P are inputs there; they are given as constants, the others at run time."""
    folder = MODELS / "onnx_node" / case
    model = onnx.load(folder / "model.onnx")
    arrays = [
        onnx.numpy_helper.to_array(onnx.load_tensor(folder / "test_data_set_0" / f"input_{n}.pb"))
        for n in range(len(model.graph.input))
    ]
    inputs = {i.name: a for i, a in zip(model.graph.input, arrays)}
    constants = {k: inputs.pop(k) for k in ("W", "R", "B", "P") if k in inputs}
    graph = importer.read(folder / "model.onnx", constants=constants)
    outputs = run(graph, inputs)
    for n, info in enumerate(model.graph.output):
        expected = onnx.numpy_helper.to_array(onnx.load_tensor(folder / "test_data_set_0" / f"output_{n}.pb"))
        assert outputs[info.name].shape == expected.shape
        assert np.abs(outputs[info.name] - expected).max() < TOLERANCE, info.name


# ---- every operator, by ONNX's own conformance cases ----------------------------------------------------------------

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
    missing = listed - right - TESTED_HERE
    assert not missing, "docs/onnx.md lists operators without a case that is right"


# Operators that the onnx package has no node case for, or only with strings; tests below cover them.
TESTED_HERE = {"GlobalLpPool", "If", "Loop", "Scan", "Scatter", "Upsample", "Constant", "Gemm"}


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


# ---- small models ---------------------------------------------------------------------------------------------------

FLOAT, INT64, BOOL = 1, 7, 9


def value_info(name, shape, elem_type=FLOAT):
    return onnx.helper.make_tensor_value_info(name, elem_type, shape)


def make_model(nodes, inputs, outputs, initializers=(), opset=17, extra=()):
    tensors = [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in dict(initializers).items()]
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, tensors)
    opsets = [onnx.helper.make_opsetid("", opset), *(onnx.helper.make_opsetid(d, 1) for d in extra)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


def node(op, inputs, outputs, **attrs):
    return onnx.helper.make_node(op, inputs, outputs, name=attrs.pop("name", f"the_{op}_{outputs[0]}"), **attrs)


def against_onnxruntime(model, feeds, tolerance=TOLERANCE, **options):
    """Converts, runs both, compares every output; returns the graph."""
    ort = pytest.importorskip("onnxruntime")
    ort.set_default_logger_severity(3)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, feeds)
    graph = importer.read(model.SerializeToString(), **options)
    outputs = run(graph, {k: v for k, v in feeds.items() if k not in options.get("constants", {})})
    for info, e in zip(session.get_outputs(), expected):
        assert outputs[info.name].shape == e.shape, info.name
        assert np.allclose(
            outputs[info.name].astype(np.float64), e.astype(np.float64), rtol=tolerance, atol=tolerance
        ), info.name
    return graph


RNG = np.random.default_rng(7)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def recurrent_model(op, hidden, direction="forward", extra_inputs=(), **attrs):
    """A recurrence on x (T,B,3) with free T and B; the optional inputs named are given too."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    d = 2 if direction == "bidirectional" else 1
    weights = {"W": normal(d, gates * hidden, 3), "R": normal(d, gates * hidden, hidden)}
    names = ["x", "W", "R", "", "", "", "", ""]
    inputs = [value_info("x", ["T", "N", 3])]
    if "B" in extra_inputs:
        weights["B"], names[3] = normal(d, 2 * gates * hidden), "B"
    if "P" in extra_inputs:
        weights["P"], names[7] = normal(d, 3 * hidden), "P"
    if "lengths" in extra_inputs:
        names[4] = "lengths"
        inputs.append(value_info("lengths", ["N"], 6))
    for place, name in ((5, "h0"), (6, "c0")):
        if name in extra_inputs:
            names[place] = name
            inputs.append(value_info(name, [d, "N", hidden]))
    while not names[-1]:
        names.pop()
    outputs = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
    attributes = {"direction": direction, "hidden_size": hidden, **attrs}
    return make_model([node(op, names, outputs, **attributes)], inputs, [value_info(o, None) for o in outputs], weights)


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("extras", [(), ("B", "h0"), ("B", "lengths", "h0")])
def test_recurrence(op, direction, extras):
    extras = (*extras, "c0") if op == "LSTM" and "h0" in extras else extras
    model = recurrent_model(op, 5, direction, extras)
    d = 2 if direction == "bidirectional" else 1
    feeds = {
        "x": normal(6, 4, 3),
        "lengths": np.array([6, 3, 1, 5], np.int32),
        "h0": normal(d, 4, 5),
        "c0": normal(d, 4, 5),
    }
    graph = against_onnxruntime(model, {k: v for k, v in feeds.items() if k == "x" or k in extras})
    assert graph.shape(graph.inputs[0].tensor) == (FRAMES, BATCH, 3)


@pytest.mark.parametrize(
    "op, attrs, extras",
    [
        ("LSTM", {"clip": 0.3}, ("B",)),
        ("LSTM", {"input_forget": 1}, ("B",)),
        ("LSTM", {}, ("B", "P")),
        (
            "LSTM",
            {"activations": ["HardSigmoid", "Relu", "Softsign"], "activation_alpha": [0.25], "activation_beta": [0.4]},
            ("B",),
        ),
        (
            "LSTM",
            {
                "activations": ["Sigmoid", "Affine", "ScaledTanh"],
                "activation_alpha": [0.5, 1.2],
                "activation_beta": [0.1, 0.7],
            },
            ("B",),
        ),
        ("LSTM", {"activations": ["Sigmoid", "LeakyRelu", "Elu"]}, ("B",)),
        ("GRU", {"linear_before_reset": 1}, ("B",)),
        ("GRU", {"clip": 0.4, "activations": ["HardSigmoid", "Tanh"]}, ("B",)),
        ("RNN", {"activations": ["ThresholdedRelu"], "activation_alpha": [0.2]}, ("B",)),
        ("RNN", {"activations": ["Softplus"], "clip": 1.0}, ("B",)),
    ],
)
def test_recurrence_variants(op, attrs, extras):
    against_onnxruntime(recurrent_model(op, 4, "forward", extras, **attrs), {"x": normal(7, 2, 3)})


def test_recurrence_refuses_what_it_does_not_know():
    model = recurrent_model("LSTM", 4, activations=["Sigmoid", "Swish", "Tanh"])
    with pytest.raises(UnsupportedModelError, match="the_LSTM.*swish|the_LSTM.*Swish"):
        importer.read(model)


def test_zero_initial_states_of_unknown_batch_are_left_out():
    """What torch writes for a missing h0: ConstantOfShape over a batch that Shape gives."""
    model = recurrent_model("GRU", 4)
    recurrence = model.graph.node[0]
    recurrence.input.extend(["", "", "zeros"])
    for n in [
        node("ConstantOfShape", ["h_shape"], ["zeros"]),
        node("Concat", ["one", "batch", "four"], ["h_shape"], axis=0),
        node("Gather", ["shape", "at"], ["batch"], axis=0),
        node("Shape", ["x"], ["shape"]),
    ]:
        model.graph.node.insert(0, n)
    for name, value in (("one", [1]), ("four", [4]), ("at", [1])):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, np.int64), name))
    graph = against_onnxruntime(model, {"x": normal(5, 3, 3)})
    gru = next(n for n in graph.nodes if n.op == "GRU")
    assert len(gru.inputs) <= 5 and len(graph.nodes) == 2  # and the Reshape of Y
    assert any("initial_h" in n for n in graph.metadata["notes"])


def test_bidirectional_layers_leave_no_movement_between_them():
    """Transpose and Reshape that only undo each other go: batch-first torch layers become LSTM after LSTM."""
    torch = pytest.importorskip("torch")
    import io

    module = torch.nn.LSTM(5, 7, 2, batch_first=True, bidirectional=True).eval()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(2, 9, 5),),
            file,
            dynamo=False,
            input_names=["x"],
            opset_version=17,
            dynamic_axes={"x": {0: "batch", 1: "time"}},
        )
    graph = importer.read(file.getvalue())
    assert [n.op for n in graph.nodes if n.op not in ("Concat",)] == ["LSTM", "LSTM"]
    x = normal(3, 11, 5)
    expected = module(torch.from_numpy(x))[0].detach().numpy()
    first = graph.outputs[0].name
    assert np.abs(run(graph, {"x": x})[first] - expected).max() < TOLERANCE


# ---- sizes ----------------------------------------------------------------------------------------------------------


def identity_model(shapes, op="Relu"):
    nodes = [node(op, [n], [f"{n}_out"], name=f"node_{n}") for n in shapes]
    return make_model(
        nodes, [value_info(n, s) for n, s in shapes.items()], [value_info(f"{n}_out", None) for n in shapes]
    )


@pytest.mark.parametrize(
    "dims, expected",
    [
        (["batch_size", "seq_len", 4], (BATCH, FRAMES, 4)),
        (["sequence", "batch", 4], (FRAMES, BATCH, 4)),
        (["N", "T", 4], (BATCH, FRAMES, 4)),
        ([None, None, 4], (BATCH, FRAMES, 4)),
        (["unk__7", 10, 4], (BATCH, 10, 4)),
        ([1, "samples"], (1, FRAMES)),
        ([1, 50, 25], (1, 50, 25)),
    ],
)
def test_dynamic_sizes_by_name_and_place(dims, expected):
    graph = importer.read(identity_model({"x": dims}))
    assert graph.shape(graph.inputs[0].tensor) == expected


def test_the_recurrence_says_more_than_names():
    """A torch module without batch_first, exported under the names of one with it."""
    model = recurrent_model("LSTM", 4)
    shape = model.graph.input[0].type.tensor_type.shape
    shape.dim[0].dim_param, shape.dim[1].dim_param = "batch", "sequence"
    graph = importer.read(model)
    assert graph.shape(graph.inputs[0].tensor) == (FRAMES, BATCH, 3)


def test_states_share_the_batch():
    graph = importer.read(identity_model({"x": ["unk__1", "unk__2", 4], "h0": [2, "unk__3", 8]}))
    assert [graph.shape(p.tensor) for p in graph.inputs] == [(BATCH, FRAMES, 4), (2, BATCH, 8)]


def test_given_shapes_hold_for_all_dimensions_of_a_name():
    graph = importer.read(
        identity_model({"x": ["batch", "time", 4], "state": [2, "batch", 8]}), shapes={"x": [1, "frames", 4]}
    )
    assert [graph.shape(p.tensor) for p in graph.inputs] == [(1, FRAMES, 4), (2, 1, 8)]


@pytest.mark.parametrize(
    "shapes, expected",
    [
        (
            {"x": ["batch", "src_len", 4], "y": ["batch", "tgt_len", 4]},
            [(BATCH, FRAMES, 4), (BATCH, Dim.symbol("tgt_len"), 4)],
        ),
        ({"x": ["batch", "frames", "features"]}, [(BATCH, FRAMES, Dim.symbol("features"))]),
        ({"x": [4, "width", "height"]}, [(4, Dim.symbol("width"), Dim.symbol("height"))]),
        (
            {"x": ["b", "t", 4], "memory": ["slots", 4]},
            [(BATCH, FRAMES, 4), (Dim.symbol("slots"), 4)],
        ),
        ({"a.b": [2, 3, None], "a_b": [2, 3, None]}, [(2, 3, FRAMES), (2, 3, Dim.symbol("a_b_frames"))]),
        ({"x": [None, None, None]}, [(BATCH, FRAMES, Dim.symbol("x_frames"))]),
    ],
)
def test_sizes_beyond_batch_and_frames_keep_names_of_their_own(shapes, expected):
    graph = importer.read(identity_model(shapes))
    assert [graph.shape(p.tensor) for p in graph.inputs] == expected


def one_node(op, shapes, constants=None, outputs=("y",), **attrs):
    inputs = [value_info(name, shape) for name, shape in shapes.items()]
    nodes = [node(op, [*shapes, *(constants or {})], list(outputs), **attrs)]
    return make_model(nodes, inputs, [value_info(o, None) for o in outputs], constants or {})


def test_a_reshape_by_what_is_left_says_nothing_of_sizes():
    model = one_node("Reshape", {"x": ["N", "T", 6]}, {"shape": np.array([-1, 42])})
    with pytest.raises(UnsupportedModelError, match="number of elements"):
        importer.read(model)


def test_the_axes_of_an_ellipsis_broadcast():
    ort = pytest.importorskip("onnxruntime")
    model = one_node("Einsum", {"x": ["N", "T", 6]}, {"w": normal(1, 6, 3)}, equation="...ij,...jk->...ik")
    graph = importer.read(model)
    assert graph.shape(graph.inputs[0].tensor) == (BATCH, FRAMES, 6)
    x = normal(3, 5, 6)
    wanted = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(reference.run(graph, {"x": x})[0]["y"], wanted, rtol=1e-4, atol=1e-5)


def test_parts_of_an_axis_say_its_size():
    graph = importer.read(one_node("Split", {"x": ["N", 4]}, {"parts": np.array([2, 3])}, ("a", "b"), axis=0))
    assert graph.shape(graph.inputs[0].tensor) == (5, 4)


def test_a_squeezed_axis_is_one():
    graph = importer.read(one_node("Squeeze", {"x": ["N", "T", 4]}, {"axes": np.array([0])}))
    assert graph.shape(graph.inputs[0].tensor) == (1, FRAMES, 4)


@pytest.mark.parametrize("perm", [[0, 1], [0, 0, 1], [0, 2, 2], [0, 1, 3]])
def test_a_transpose_that_is_no_permutation_is_refused(perm):
    with pytest.raises(UnsupportedModelError, match="expected each of them once|axis 3 of a tensor"):
        importer.read(one_node("Transpose", {"x": ["N", "T", 4]}, perm=perm))


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_a_batch_of_one_fixes_the_unnamed_batch_of_states(op):
    """As Silero and others are exported: frames of one sequence beside states whose batch has no name."""
    states = ("h0", "c0") if op == "LSTM" else ("h0",)
    model = recurrent_model(op, 5, "forward", states)
    for info in model.graph.input:
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param == "N":
                dim.ClearField("dim_param")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    graph = importer.read(model)
    assert graph.shape(graph.inputs[0].tensor) == (FRAMES, 1, 3)
    assert all(graph.shape(p.tensor) == (1, 1, 5) for p in graph.inputs[1:])


def test_sizes_that_the_model_equates_are_one():
    model = make_model(
        [node("Add", ["x", "y"], ["sum"]), node("Concat", ["sum", "one"], ["z"], axis=1)],
        [value_info("x", ["batch", "src", 4]), value_info("y", ["n", "tgt", 4])],
        [value_info("z", None)],
        {"one": np.ones((1, 1, 4), np.float32)},
    )
    graph = importer.read(model)
    assert [graph.shape(p.tensor) for p in graph.inputs] == [(1, FRAMES, 4), (1, FRAMES, 4)]
    assert any("dimension 0 ('batch') is fixed at 1: node 'the_Concat_z'" in n for n in graph.metadata["notes"])
    assert "input 'y': dimension 1 ('tgt') is frames" in graph.metadata["notes"]


@pytest.mark.parametrize(
    "shapes, options, message",
    [
        ({"x": ["batch", 4]}, {"shapes": {"z": [1, 4]}}, "z"),
        ({"x": ["batch", 4]}, {"shapes": {"x": [1, 2, 4]}}, "expected 2 sizes"),
        ({"x": ["batch", 4]}, {"shapes": {"x": ["rows", 4]}}, "rows"),
        ({"x": ["batch", 4]}, {"constants": {"sr": 1}}, "sr"),
    ],
)
def test_sizes_that_cannot_be_placed_are_refused(shapes, options, message):
    with pytest.raises(UnsupportedModelError, match=message):
        importer.read(identity_model(shapes), **options)


def test_a_baked_size_is_refused_with_what_to_do():
    model = make_model(
        [node("Reshape", ["x", "shape"], ["y"])],
        [value_info("x", ["batch", "time", 4])],
        [value_info("y", None)],
        {"shape": np.array([2, 10, 2, 2])},
    )
    with pytest.raises(UnsupportedModelError, match=r"the_Reshape.*shapes="):
        importer.read(model)
    graph = importer.read(model, shapes={"x": [2, 10, 4]})
    assert graph.shape(graph.outputs[0].tensor) == (2, 10, 2, 2)


def test_shape_arithmetic_on_free_sizes():
    """(batch, frames, 4) -> (batch * frames, 4) -> (batch, 2 * frames, 2) -> mean of a mask made from Range."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Split", ["s", "ones"], ["b", "t", "f"], axis=0),
        node("Mul", ["b", "t"], ["bt"]),
        node("Concat", ["bt", "f"], ["flat_shape"], axis=0),
        node("Reshape", ["x", "flat_shape"], ["flat"]),
        node("Mul", ["t", "two"], ["tt"]),
        node("Concat", ["b", "tt", "minus"], ["wide_shape"], axis=0),
        node("Reshape", ["flat", "wide_shape"], ["wide"]),
        node("Squeeze", ["tt"], ["count"]),
        node("Range", ["zero", "count", "one"], ["places"]),
        node("Cast", ["places"], ["places_f"], to=FLOAT),
        node("Unsqueeze", ["places_f", "column"], ["weights"]),
        node("Mul", ["wide", "weights"], ["weighted"]),
        node("ReduceSum", ["weighted", "column"], ["y"]),
    ]
    constants = {
        "ones": np.array([1, 1, 1]),
        "two": np.array([2]),
        "minus": np.array([-1]),
        "zero": np.array(0),
        "one": np.array(1),
        "column": np.array([1]),
    }
    model = make_model(nodes, [value_info("x", ["batch", "time", 4])], [value_info("y", None)], constants)
    against_onnxruntime(model, {"x": normal(3, 5, 4)})


def pooled_and_convolved(kernel):
    nodes = [
        node("MaxPool", ["x"], ["p"], kernel_shape=[kernel], strides=[2], auto_pad="SAME_UPPER"),
        node("Conv", ["p", "w"], ["y"], auto_pad="SAME_LOWER"),
    ]
    ports = [value_info("x", ["batch", 3, "frames"])], [value_info("y", None)]
    return make_model(nodes, *ports, {"w": normal(4, 3, 4)})


@pytest.mark.parametrize("frames", [8, 9])
def test_strided_same_padding_over_free_frames(frames):
    """Where one padding serves every number of frames; where none does, the size is asked for."""
    against_onnxruntime(pooled_and_convolved(2), {"x": normal(2, 3, frames)})
    with pytest.raises(UnsupportedModelError, match=r"the_MaxPool_p.*SAME padding with stride 2"):
        importer.read(pooled_and_convolved(3))


def test_sort_of_a_free_batch():
    """torch's pack_padded_sequence sorts lengths with TopK over the whole batch."""
    nodes = [
        node("Shape", ["lengths"], ["n"]),
        node("TopK", ["lengths", "n"], ["sorted", "order"]),
        node("Gather", ["x", "order"], ["y"], axis=0),
    ]
    model = make_model(
        nodes,
        [value_info("lengths", ["batch"], INT64), value_info("x", ["batch", 4])],
        [value_info(o, None, t) for o, t in (("sorted", INT64), ("order", INT64), ("y", FLOAT))],
    )
    against_onnxruntime(model, {"lengths": np.array([3, 9, 3, 1, 9, 5]), "x": normal(6, 4)})


# ---- control flow ---------------------------------------------------------------------------------------------------


def branch(op, name):
    return onnx.helper.make_graph([node(op, ["x"], [name])], name, [], [value_info(name, None)])


def test_if_follows_a_constant_and_is_refused_without():
    model = make_model(
        [node("If", ["c"], ["y"], then_branch=branch("Relu", "a"), else_branch=branch("Neg", "b"))],
        [value_info("x", [2, 3]), value_info("c", [], BOOL)],
        [value_info("y", None)],
    )
    for c in (True, False):
        graph = against_onnxruntime(model, {"x": normal(2, 3), "c": np.array(c)}, constants={"c": c})
        assert [n.attrs["kind"] for n in graph.nodes] == ["relu" if c else "neg"]
    with pytest.raises(UnsupportedModelError, match="the_If.*'c'.*constants="):
        importer.read(model)


def test_loop_of_known_trips_is_unrolled():
    body = onnx.helper.make_graph(
        [
            node("Gather", ["x", "i"], ["row"], axis=0),
            node("Add", ["acc", "row"], ["total"]),
            node("Tanh", ["total"], ["next"]),
            node("Identity", ["keep"], ["keep_out"]),
            node("Identity", ["next"], ["collected"]),
        ],
        "body",
        [value_info("i", [], INT64), value_info("keep", [], BOOL), value_info("acc", [3])],
        [value_info("keep_out", [], BOOL), value_info("next", [3]), value_info("collected", [3])],
    )
    model = make_model(
        [node("Loop", ["trips", "", "start"], ["last", "all"], body=body)],
        [value_info("x", [4, 3])],
        [value_info("last", None), value_info("all", None)],
        {"trips": np.array(4), "start": np.zeros(3, np.float32)},
    )
    against_onnxruntime(model, {"x": normal(4, 3)})


def nested_loops(outer, inner):
    """y = x after outer * inner trips of tanh(y + 1); the outer loop's state is in the inner one's scope."""

    def body(name, nodes):
        return onnx.helper.make_graph(
            [*nodes, node("Identity", [f"{name}_keep"], [f"{name}_kept"])],
            name,
            [value_info(f"{name}_i", [], INT64), value_info(f"{name}_keep", [], BOOL), value_info(f"{name}_in", [3])],
            [value_info(f"{name}_kept", [], BOOL), value_info(f"{name}_out", [3])],
        )

    within = body("inner", [node("Add", ["inner_in", "one"], ["more"]), node("Tanh", ["more"], ["inner_out"])])
    around = body("outer", [node("Loop", ["inner_trips", "", "outer_in"], ["outer_out"], body=within)])
    return make_model(
        [node("Loop", ["outer_trips", "", "x"], ["y"], body=around)],
        [value_info("x", [3])],
        [value_info("y", [3])],
        {"outer_trips": np.array(outer), "inner_trips": np.array(inner), "one": np.ones(3, np.float32)},
    )


def test_a_loop_in_a_loop_is_unrolled():
    graph = against_onnxruntime(nested_loops(3, 4), {"x": normal(3)})
    assert sum(n.attrs.get("kind") == "tanh" for n in graph.nodes) == 12


def test_loops_in_loops_are_refused_by_the_product_of_their_trips():
    importer.read(nested_loops(2, 200))
    with pytest.raises(UnsupportedModelError, match="200 trips of 3 nodes, 200 times over, .*16000"):
        importer.read(nested_loops(200, 200))


@pytest.mark.parametrize("backward", [0, 1])
def test_scan_of_known_size_is_unrolled(backward):
    body = onnx.helper.make_graph(
        [
            node("Add", ["acc", "row"], ["total"]),
            node("Tanh", ["total"], ["next"]),
            node("Identity", ["next"], ["collected"]),
        ],
        "body",
        [value_info("acc", [3]), value_info("row", [3])],
        [value_info("next", [3]), value_info("collected", [3])],
    )
    model = make_model(
        [
            node(
                "Scan",
                ["start", "x"],
                ["last", "all"],
                body=body,
                num_scan_inputs=1,
                scan_input_directions=[backward],
                scan_output_directions=[backward],
            )
        ],
        [value_info("start", [3]), value_info("x", [5, 3])],
        [value_info("last", None), value_info("all", None)],
    )
    against_onnxruntime(model, {"start": normal(3), "x": normal(5, 3)})


# ---- old opsets, quantised and fused operators ----------------------------------------------------------------------


def test_opset_9_spellings():
    """Attributes that became inputs (Slice, Squeeze, Split, Clip, Pad...), and Softmax over all axes that follow."""
    nodes = [
        node("Slice", ["x"], ["a"], starts=[1], ends=[9], axes=[1]),
        node("Unsqueeze", ["a"], ["b"], axes=[0]),
        node("Squeeze", ["b"], ["c"], axes=[0]),
        node("Split", ["c"], ["d", "e"], axis=1, split=[1, 2]),
        node("Clip", ["e"], ["f"], min=-0.5, max=0.5),
        node("Pad", ["f"], ["g"], pads=[0, 1, 0, 0, 0, 1], value=2.0),
        node("ReduceSum", ["g"], ["h"], axes=[2], keepdims=1),
        node("Mul", ["g", "h"], ["k"]),
        node("Softmax", ["k"], ["y"], axis=1),
        node("Unsqueeze", ["d"], ["four"], axes=[1]),
        node("Upsample", ["four", "scales"], ["z"], mode="nearest"),
    ]
    model = make_model(
        nodes,
        [value_info("x", [2, 4, 3])],
        [value_info("y", None), value_info("z", None)],
        {"scales": np.array([1, 1, 2, 3], np.float32)},
        opset=9,
    )
    against_onnxruntime(model, {"x": normal(2, 4, 3)})


def test_operators_without_a_case_of_their_own():
    nodes = [
        node("GlobalLpPool", ["x"], ["a"], p=1),
        node("Scatter", ["x", "places", "news"], ["b"], axis=2),
        node("Gemm", ["rows", "w", "c"], ["d"], alpha=0.5, beta=2.0, transB=1),
    ]
    model = make_model(
        nodes,
        [value_info("x", [2, 3, 4]), value_info("rows", ["batch", 5])],
        [value_info(o, None) for o in "abd"],
        {
            "places": np.array([[[1], [0], [3]], [[2], [2], [0]]]),
            "news": normal(2, 3, 1),
            "w": normal(6, 5),
            "c": normal(6),
        },
        opset=10,
    )
    against_onnxruntime(model, {"x": normal(2, 3, 4), "rows": normal(3, 5)})


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


@pytest.mark.parametrize("point", [0, 3])
def test_dynamic_quantize_lstm_is_the_lstm_of_its_weights(point):
    """Symmetric weights stay int8; with a zero point that takes them beyond int8 they are dequantised. Those that onnxruntime runs, too, have 7
    bits: it adds pairs of products in 16 bits where a CPU has AVX2 without VNNI, and wider weights saturate there (its option reduce_range)."""
    hidden, most = 6, 127 if point else 63
    w, r = (RNG.integers(-most, most, (1, k, 4 * hidden)).astype(np.int8) for k in (3, hidden))
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


@pytest.mark.parametrize(
    "op, inputs, attrs",
    [
        ("FusedMatMul", {"a": (3, 5, 4), "b": (3, 6, 4)}, {"transB": 1, "alpha": 0.5}),
        ("BiasGelu", {"a": (3, 4), "b": (4,)}, {}),
        ("FastGelu", {"a": (3, 4), "b": (4,)}, {}),
        ("QuickGelu", {"a": (3, 4)}, {}),
        ("Gelu", {"a": (3, 4)}, {}),
        (
            "SkipLayerNormalization",
            {"a": (2, 3, 4), "b": (2, 3, 4), "c": (4,), "d": (4,), "e": (4,)},
            {"epsilon": 1e-5},
        ),
        ("FusedGemm", {"a": (3, 4), "b": (4, 2), "c": (2,)}, {"activation": "Relu"}),
    ],
)
def test_onnxruntimes_fused_operators(op, inputs, attrs):
    infos = [value_info(n, s) for n, s in inputs.items()]
    model = make_model(
        [node(op, list(inputs), ["y"], domain="com.microsoft", **attrs)],
        infos,
        [value_info("y", None)],
        extra=("com.microsoft",),
    )
    against_onnxruntime(model, {n: normal(*s) for n, s in inputs.items()})


@pytest.mark.parametrize(
    "equation, shapes",
    [
        ("bthd,bshd->bhts", [(2, 3, 4, 5), (2, 6, 4, 5)]),
        ("...ij,jk->...ik", [(2, 3, 4), (4, 5)]),
        ("ij,ij->", [(3, 4), (3, 4)]),
        ("abc->ca", [(2, 3, 4)]),
        ("bi,bj->bij", [(2, 3), (2, 4)]),
        ("ab,bc,cd->ad", [(2, 3), (3, 4), (4, 5)]),
        ("ij,jk", [(2, 3), (3, 4)]),
    ],
)
def test_einsum(equation, shapes):
    names = [f"x{n}" for n in range(len(shapes))]
    model = make_model(
        [node("Einsum", names, ["y"], equation=equation)],
        [value_info(n, s) for n, s in zip(names, shapes)],
        [value_info("y", None)],
    )
    against_onnxruntime(model, {n: normal(*s) for n, s in zip(names, shapes)}, tolerance=1e-4)


@pytest.mark.parametrize("places", [np.s_[:, 1:3], np.s_[0, :, ::2], np.s_[:, :, 1], np.s_[1:, 0], np.s_[:, :, ::2]])
def test_scatter_at_constant_places(places):
    """What torch writes for y[places] = update."""
    shape = (2, 4, 6)
    index = np.stack(np.unravel_index(np.arange(48).reshape(shape)[places], shape), -1).astype(np.int64)
    update = normal(*index.shape[:-1])
    model = make_model(
        [node("ScatterND", ["x", "index", "u"], ["y"])],
        [value_info("x", shape), value_info("u", update.shape)],
        [value_info("y", shape)],
        {"index": index},
    )
    against_onnxruntime(model, {"x": normal(*shape), "u": update})


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_float_widths_become_float32(dtype):
    elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    weight = normal(4, 3).astype(dtype)
    model = make_model(
        [node("MatMul", ["x", "w"], ["y"])],
        [value_info("x", ["batch", 4], elem_type)],
        [value_info("y", None, elem_type)],
        {"w": weight},
    )
    graph = importer.read(model)
    assert graph.metadata["input_dtypes"] == {"x": dtype} and graph.tensors["x"].dtype == "float32"
    x = normal(2, 4)
    assert np.allclose(run(graph, {"x": x})["y"], x @ weight.astype(np.float32), atol=1e-5)


# ---- refusals and damaged files -------------------------------------------------------------------------------------


def test_refusals_name_the_node_and_the_attribute():
    weight = normal(2, 3, 3)
    model = make_model(
        [node("Conv", ["x", "w"], ["y"], name="conv1", flavour=3)],
        [value_info("x", [1, 3, 9])],
        [value_info("y", None)],
        {"w": weight},
    )
    with pytest.raises(UnsupportedModelError, match=r"conv1.*flavour"):
        importer.read(model)
    model = make_model(
        [node("NonMaxSuppression", ["x", "s"], ["y"], name="nms")],
        [value_info("x", [1, 3, 4]), value_info("s", [1, 1, 3])],
        [value_info("y", None)],
    )
    with pytest.raises(UnsupportedModelError, match=r"nms.*NonMaxSuppression"):
        importer.read(model)


def test_damaged_files_are_format_errors(tmp_path):
    data = identity_model({"x": [1, 4]}).SerializeToString()
    for broken in (b"", b"not a protobuf at all", data[: len(data) // 2]):
        with pytest.raises(FormatError):
            importer.read(broken)
    missing = make_model([node("Relu", ["nowhere"], ["y"])], [value_info("x", [1])], [value_info("y", None)])
    with pytest.raises(FormatError, match="nowhere"):
        importer.read(missing)


def test_flipped_bytes_end_in_a_named_error_or_a_graph():
    data = recurrent_model("LSTM", 2, extra_inputs=("B",)).SerializeToString()
    for place in range(len(data)):
        for flip in (0x01, 0x80):
            broken = bytearray(data)
            broken[place] ^= flip
            try:
                importer.read(bytes(broken))
            except LstmEdgeError:
                pass  # anything else fails the test


def test_names_of_sizes_that_are_no_text():
    model = make_model([node("Relu", ["x"], ["y"])], [value_info("x", ["QQQ", 3])], [value_info("y", None)])
    graph = importer.read(model.SerializeToString().replace(b"QQQ", b"Q\xceQ"))
    assert run(graph, {"x": np.zeros((4, 3))})["y"].shape == (4, 3)


def test_a_claimed_huge_tensor_is_refused():
    model = make_model(
        [node("ConstantOfShape", ["s"], ["big"]), node("Add", ["x", "big"], ["y"])],
        [value_info("x", [1])],
        [value_info("y", None)],
        {"s": np.array([2**31, 2**20])},
    )
    with pytest.raises(UnsupportedModelError, match="the_ConstantOfShape"):
        importer.read(model)
    model = identity_model({"x": [1]})
    model.graph.initializer.append(onnx.TensorProto(name="w", data_type=FLOAT, dims=[2**31, 8], raw_data=b"1234"))
    with pytest.raises(FormatError, match="'w'"):
        importer.read(model)


@pytest.mark.parametrize(
    "location, length", [("../secret.bin", 16), ("/etc/hostname", 16), ("w.bin", 99), ("none.bin", 16)]
)
def test_external_data_stays_in_the_folder(tmp_path, location, length):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    (tmp_path / "secret.bin").write_bytes(bytes(16))

    def write(location, length):
        model = make_model([node("Add", ["x", "w"], ["y"])], [value_info("x", [4])], [value_info("y", None)])
        tensor = onnx.TensorProto(name="w", data_type=FLOAT, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
        for key, value in (("location", location), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
        model.graph.initializer.append(tensor)
        (folder / "m.onnx").write_bytes(model.SerializeToString())
        return folder / "m.onnx"

    assert list(run(importer.read(write("w.bin", 16)), {"x": np.zeros(4)})["y"]) == [0, 1, 2, 3]
    with pytest.raises(FormatError, match="external data"):
        importer.read(write(location, length))


def test_an_old_onnx_package_is_named(monkeypatch):
    """Debian 12's: it lacks functions that this importer calls, which is no fault of the file."""
    monkeypatch.setattr(onnx, "__version__", "1.12.0")
    with pytest.raises(ImportError, match=r"expected 1\.16 or later, found 1\.12\.0; pip install"):
        importer.read(b"")
