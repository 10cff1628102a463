"""quantize: what is stored narrow, what stays and why, what the report says, and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lstm_edge
from lstm_edge import format, reference
from lstm_edge.cli import _run
from lstm_edge.errors import LstmEdgeError, UnsupportedModelError
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph, SelfTest
from lstm_edge.quantize import Narrower, libm_ops, to_int8
from lstm_edge.quantize.report import error
from lstm_edge.quantize.rounding import Moments, plain, round_columns, second_moments

F = np.float32


def classifier(seed: int = 0, self_test: bool = True) -> Graph:
    """Embedding, Conv, LSTM, Dense with an activation; tokens in, 4 classes per frame out."""
    rng = np.random.default_rng(seed)
    graph = Graph(
        metadata={"streaming": {"supported": False, "why": "'same' padding over time"}, "source": {"format": "test"}}
    )

    def w(name: str, *shape: int) -> str:
        return graph.constant(rng.uniform(-0.4, 0.4, shape).astype(F), name)

    tokens = graph.input("tokens", (BATCH, FRAMES), "int32")
    y = graph.add1("Gather", [w("table", 30, 16), tokens], {"axis": 0}, "embed")
    y = graph.add1("Transpose", [y], {"perm": [0, 2, 1]}, "turn")
    y = graph.add1(
        "Conv", [y, w("kernel", 24, 16, 3), w("kernel_bias", 24)], {"pads": [1, 1], "activation": "relu"}, "conv"
    )
    y = graph.add1("Transpose", [y], {"perm": [0, 2, 1]}, "back")
    y = graph.add1("LSTM", [y, w("w_ih", 1, 128, 24), w("w_hh", 1, 128, 32), w("b", 1, 128)], {}, "cell")
    y = graph.add1("Dense", [y, w("out", 4, 32), w("out_bias", 4)], {}, "head")
    graph.output("scores", graph.add1("Softmax", [y], {}, "softmax"))
    if self_test:
        sample = rng.integers(0, 30, (1, 8)).astype(np.int32)
        graph.self_test = SelfTest(
            {"tokens": sample}, {"scores": reference.run(graph, {"tokens": sample})[0]["scores"].astype(F)}, "t", 1e-5
        )
    return graph


def dtypes(graph: Graph) -> dict[str, str]:
    return {k: t.dtype for k, t in graph.tensors.items() if t.is_constant}


def tokens(n: int = 3, frames: int = 40, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 30, (n, frames)).astype(np.int32)


def test_what_is_stored_in_int8(tmp_path):
    graph = classifier()
    path = tmp_path / "int8.lstm"
    model, report = lstm_edge.quantize(graph, path, calibration=tokens(), precision="int8")
    stored = format.read(path)
    kinds = {
        (n.name, i): stored.tensors[i].dtype
        for n in stored.nodes
        for i in n.inputs
        if i and stored.tensors[i].is_constant
    }
    narrow = {(name, i.removesuffix(".int8")) for (name, i), dtype in kinds.items() if dtype == "int8"}
    assert narrow == {("embed", "table"), ("conv", "kernel"), ("cell", "w_ih"), ("cell", "w_hh"), ("head", "out")}
    for tensor in stored.tensors.values():
        if tensor.dtype == "int8":
            rows = {"table": 30, "kernel": 24, "w_ih": 128, "w_hh": 128, "out": 4}[tensor.name.removesuffix(".int8")]
            assert tensor.scale.shape == (rows,) and tensor.data.min() >= -127
    assert dtypes(graph).keys() == {
        "table",
        "kernel",
        "kernel_bias",
        "w_ih",
        "w_hh",
        "b",
        "out",
        "out_bias",
    }  # as it was
    assert set(dtypes(graph).values()) == {"float32"}
    assert model.run(tokens()).shape == (3, 40, 4)
    assert report.bytes_after < 0.35 * report.bytes_before


def test_the_report_is_true():
    graph, x = classifier(), tokens()
    model, report = lstm_edge.quantize(graph, calibration=x, precision="int8")
    exact = lstm_edge.Model(format.to_bytes(graph)).run(x).astype(np.float64)
    gap = np.abs(model.run(x) - exact)
    got = report.outputs["scores"]
    assert got.max == pytest.approx(gap.max()) and got.mean == pytest.approx(gap.mean())
    assert got.snr == pytest.approx(10 * np.log10(np.square(exact).sum() / np.square(gap).sum()))
    ops = {o.name: o for o in report.ops}
    assert list(ops) == ["embed", "conv", "cell", "head"]
    assert ops["cell"].stayed == {"bias": "biases are added in float32"} and ops["cell"].stored == "int8"
    assert (
        ops["cell"].bytes_before == 4 * 128 * (24 + 32 + 1)
        and ops["cell"].bytes_after == 128 * (24 + 32) + 2 * 4 * 128 + 4 * 128
    )
    assert ops["embed"].error.max < 0.4 / 127 and 0 < ops["embed"].alone < got.max * 3
    assert model.metadata["quantization"] == json.loads(json.dumps(report.as_metadata()))


def test_each_op_alone_is_what_it_says():
    graph, x = classifier(), tokens()
    _, report = lstm_edge.quantize(graph, calibration=x, precision="int8")
    exact = lstm_edge.Model(format.to_bytes(graph)).run(x)
    names = [o.name for o in report.ops]
    for op in report.ops:
        _, single = lstm_edge.quantize(graph, calibration=x, keep=[n for n in names if n != op.name], precision="int8")
        assert single.max_error == pytest.approx(op.alone, rel=1e-6)
    assert np.isfinite(exact).all()


def test_keep_leaves_ops_and_says_so():
    _, report = lstm_edge.quantize(classifier(), calibration=tokens(), keep=["ce*", "head"], precision="int8")
    kept = {o.name: o for o in report.ops if o.stored == "float32"}
    assert set(kept) == {"cell", "head"}
    assert kept["cell"].stayed["w_ih"] == "kept by name"
    with pytest.raises(LstmEdgeError, match="no op is named 'decoder'.*embed, conv, cell, head"):
        lstm_edge.quantize(classifier(), keep=["decoder"])


def test_max_error_returns_the_most_harmful_ops():
    graph, x = classifier(), tokens()
    _, everything = lstm_edge.quantize(graph, calibration=x, precision="int8")
    bound = everything.max_error * 0.6
    model, report = lstm_edge.quantize(graph, calibration=x, max_error=bound, precision="int8")
    exact = lstm_edge.Model(format.to_bytes(graph)).run(x)
    assert np.abs(model.run(x) - exact).max() <= bound and report.max_error <= bound
    left = [o for o in report.ops if o.stored == "float32"]
    assert left and any(o.stored == "int8" for o in report.ops)
    worst = max(everything.ops, key=lambda o: o.alone)
    assert worst.name in {o.name for o in left}
    assert all(any("max_error" in why for why in o.stayed.values()) for o in left)
    model, report = lstm_edge.quantize(graph, calibration=x, max_error=1e-9, precision="int8")
    assert report.max_error == 0 and model.run(x).tobytes() == exact.tobytes()


def test_float16_halves_the_file(tmp_path):
    graph = classifier()
    path = tmp_path / "half.lstm"
    model, report = lstm_edge.quantize(graph, path, weights="float16", calibration=tokens())
    assert {o.stored for o in report.ops} == {"float16"}
    assert report.max_error < 1e-3 and report.bytes_after < 0.52 * report.bytes_before
    assert all(lstm_edge.verify(path, isa).passed for isa, supported in lstm_edge.isas() if supported)


def test_nothing_is_left_without_a_reason():
    rng = np.random.default_rng(0)
    graph = Graph()
    x = graph.input("x", (BATCH, 1, FRAMES))

    def w(name, *shape):
        return graph.constant(rng.uniform(-1, 1, shape).astype(F), name)

    y = graph.add1("ConvTranspose", [x, w("up", 1, 6, 4)], {"strides": [2]}, "up")
    y = graph.add1("Transpose", [y], {"perm": [0, 2, 1]}, "turn")
    bad = w("bad", 5, 6)
    graph.tensors[bad].data[0, 0] = np.inf
    wide = w("wide", 5, 6)
    graph.tensors[wide].data[0, 0] = 1e5
    a = graph.add1("Dense", [y, bad], {}, "infinite")
    b = graph.add1("Dense", [y, wide], {}, "wide")
    c = graph.add1("MatMul", [y, w("square", 6, 5)], {}, "product")
    d = graph.add1("Gather", [w("columns", 5, 7), graph.constant(np.arange(5))], {"axis": 1}, "pick")
    total = graph.add1("Binary", [a, b], {"kind": "add"}, "ab")
    total = graph.add1("Binary", [total, c], {"kind": "add"}, "abc")
    total = graph.add1("Dense", [total, w("narrow", 3, 5)], {}, "last")
    graph.output("y", total)
    graph.output(
        "z",
        graph.add1(
            "Dense",
            [graph.add1("Reduce", [d], {"axes": [1], "kind": "sum", "keepdims": 1}), w("one", 3, 1)],
            {},
            "column",
        ),
    )
    _, int8 = lstm_edge.quantize(graph, precision="int8")
    _, half = lstm_edge.quantize(graph, weights="float16")
    why = {o.name: "; ".join(o.stayed.values()) for o in int8.ops}
    assert "input channels" in why["up"] and "NaN or infinity" in why["infinite"] and "MatMul" in why["product"]
    assert "axis 0" in why["pick"] and "one weight" in why["column"] and not why["wide"] and not why["last"]
    why = {o.name: "; ".join(o.stayed.values()) for o in half.ops}
    assert "65504" in why["wide"] and not why["up"] and not why["column"]
    for report in (int8, half):
        constants = {
            n.name
            for n in graph.nodes
            if any(graph.tensors[i].is_constant and graph.tensors[i].dtype == "float32" for i in n.inputs)
        }
        assert {o.name for o in report.ops} == constants


def test_a_shared_weight_is_stored_once():
    rng = np.random.default_rng(0)
    graph = Graph()
    x = graph.input("x", (BATCH, FRAMES, 8))
    w = graph.constant(rng.standard_normal((8, 8)).astype(F), "tied")
    y = graph.add1("Dense", [graph.add1("Dense", [x, w], {}, "one"), w], {}, "two")
    graph.output("y", y)
    narrow = Narrower(graph, "int8").apply({}).graph
    assert list(dtypes(narrow).values()) == ["int8"]
    half = Narrower(graph, "int8").apply({0: "kept"}).graph
    assert sorted(dtypes(half).values()) == ["float32", "int8"]


def test_the_file_proves_itself(tmp_path):
    """Its own answers, to the bit on every ISA; as many frames as 1 % of the weights allow."""
    graph = classifier()
    path = tmp_path / "int8.lstm"
    model, _ = lstm_edge.quantize(graph, path, calibration=tokens(), precision="int8")
    test = format.read(path).self_test
    assert test.tolerance == 0.0 and not libm_ops(graph)
    assert model.run(**test.inputs).tobytes() == test.outputs["scores"].tobytes()
    for isa, supported in lstm_edge.isas():
        if supported:
            report = lstm_edge.verify(path, isa)
            assert report.passed and set(report.errors.values()) == {0.0}


def test_bits_that_depend_on_libm_are_named():
    graph = classifier()
    scores = graph.outputs[0].tensor
    graph.outputs[0].tensor = graph.add1("Unary", [scores], {"kind": "sin"}, "wave")
    graph.self_test = None
    model, report = lstm_edge.quantize(graph, precision="int8")
    assert report.notes == ["the bits depend on the machine's C library, through wave (Unary sin)"]
    assert model.metadata["self_test"]["tolerance"] > 0


def test_precision_auto_keeps_the_fastest_within_the_tolerance():
    graph, x = classifier(), tokens()
    model, report = lstm_edge.quantize(graph, calibration=x, precision="auto", max_error=1e-9)
    assert report.weights in ("float32", "int8", "float16") and report.max_error <= 1e-9
    assert set(report.timings) == {"float32", "float16", "int8"} and all(v > 0 for v in report.timings.values())
    assert any("kept:" in n for n in report.notes) and sum("left:" in n for n in report.notes) == 2
    _, report = lstm_edge.quantize(graph, calibration=x, precision="auto", max_error=10.0)
    assert report.timings[report.weights] <= min(report.timings.values()) * 1.04


def test_calibration_rounds_for_what_the_weights_meet():
    """Correlated inputs: rounding by second moments leaves a fraction of plain rounding's error at the output."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((400, 4)) @ rng.standard_normal((4, 48)) + 0.05 * rng.standard_normal((400, 48))
    w = rng.standard_normal((20, 48)).astype(F)
    scale = to_int8(w, 1)[1]
    errors = [
        np.abs(x @ (q * scale[:, None] - w).T).mean()
        for q in (plain(w, scale), round_columns(w, scale, Moments(x.T @ x, len(x))))
    ]
    assert errors[1] < 0.3 * errors[0]
    np.testing.assert_array_equal(round_columns(w, scale, Moments(np.eye(48), 400)), plain(w, scale))
    np.testing.assert_array_equal(round_columns(w, scale, Moments(np.full((48, 48), np.nan), 400)), plain(w, scale))


@pytest.mark.parametrize("layout, groups, dilation", [("channels_first", 1, 1), ("channels_last", 2, 2)])
def test_second_moments_are_those_of_the_windows(layout, groups, dilation):
    """w x over all windows has the energy that the moments say."""
    rng = np.random.default_rng(3)
    graph = Graph()
    shape = (BATCH, 6, 20) if layout == "channels_first" else (BATCH, 20, 6)
    x = graph.input("x", shape)
    w = rng.standard_normal((4, 6 // groups, 3)).astype(F)
    attrs = {"layout": layout, "groups": groups, "dilations": [dilation], "strides": [2], "pads": [2, 1]}
    graph.output("y", graph.add1("Conv", [x, graph.constant(w, "w")], attrs, "conv"))
    sample = rng.standard_normal((3, *shape[1:])).astype(F)
    y = reference.run(graph, {"x": sample})[0]["y"]
    y = y if layout == "channels_first" else np.moveaxis(y, -1, 1)
    moments = second_moments(graph, [{"x": sample}], [0])[0, "w"].sums
    assert moments.shape == (groups, 18 // groups, 18 // groups)
    for row in range(4):
        flat = w[row].reshape(-1).astype(np.float64)
        assert flat @ moments[row * groups // 4] @ flat == pytest.approx(np.square(y[:, row]).sum(), rel=1e-5)


def frames_model() -> Graph:
    """An RNN and a Dense over frames of 24 features."""
    rng = np.random.default_rng(4)
    graph = Graph()
    x = graph.input("x", (BATCH, FRAMES, 24))
    w_ih, w_hh, out = (rng.uniform(-0.2, 0.2, shape).astype(F) for shape in ((1, 32, 24), (1, 32, 32), (5, 32)))
    y = graph.add1("RNN", [x, graph.constant(w_ih, "w_ih"), graph.constant(w_hh, "w_hh")], {}, "cell")
    graph.output("y", graph.add1("Dense", [y, graph.constant(out, "out")], {}, "head"))
    return graph


def input_bits(report) -> dict[str, int]:
    return {op.name: op.input_bits for op in report.ops if op.input_bits is not None}


def test_inputs_are_taken_in_8_bits_where_outputs_hardly_tell(tmp_path):
    """Of numbers that 8 bits hold the second plane is zero: the cell's input needs none of it, the head's does."""
    signs = np.random.default_rng(1).integers(-1, 2, (2, 40, 24)).astype(F)
    path = tmp_path / "signs.lstm"
    model, report = lstm_edge.quantize(frames_model(), path, calibration=signs, precision="int8")
    assert input_bits(report) == {"cell": 8, "head": 15}
    assert report.inputs.startswith("8 bits in 1 of 2 ops (cell): the outputs' mean error is 1 times")
    fine, of_fine = lstm_edge.quantize(frames_model(), calibration=signs, precision="int8", input_bits=15)
    assert model.run(signs).tobytes() == fine.run(signs).tobytes() and report.outputs == of_fine.outputs
    stored = format.read(path)
    told = {op["name"]: op for op in stored.metadata["quantization"]["ops"]}
    assert [node.attrs.get("input_bits") for node in stored.nodes] == [8, None]
    assert told["cell"]["input_bits"] == 8 and told["cell"]["error_with_8"] == 1.0 < told["head"]["error_with_8"]
    assert stored.metadata["quantization"]["inputs"] == report.inputs and lstm_edge.verify(path).passed


def test_inputs_stay_in_15_bits_where_8_cost_or_nobody_has_seen_them():
    drawn = np.random.default_rng(1).standard_normal((2, 40, 24)).astype(F)
    _, report = lstm_edge.quantize(frames_model(), calibration=drawn, precision="int8")
    assert set(input_bits(report).values()) == {15} and report.inputs.startswith("15 bits in all 2 ops: with 8 in ")
    _, unseen = lstm_edge.quantize(frames_model(), precision="int8")
    assert set(input_bits(unseen).values()) == {15} and unseen.inputs == ""


def test_8_bits_asked_for_hold_to_max_error():
    drawn = np.random.default_rng(1).standard_normal((2, 40, 24)).astype(F)
    arguments = {"calibration": drawn, "precision": "int8"}
    _, fine = lstm_edge.quantize(frames_model(), input_bits=15, **arguments)
    _, coarse = lstm_edge.quantize(frames_model(), input_bits=8, **arguments)
    assert set(input_bits(coarse).values()) == {8} and coarse.max_error > 1.2 * fine.max_error
    _, held = lstm_edge.quantize(frames_model(), input_bits="8", max_error=1.01 * fine.max_error, **arguments)
    assert held.max_error <= 1.01 * fine.max_error and all(op.stored == "int8" for op in held.ops)
    assert 15 in input_bits(held).values()


def test_errors_that_are_not_finite():
    nan, inf = F(np.nan), F(np.inf)
    same = error([np.array([nan, inf, 1])], [np.array([nan, inf, 1])])
    assert (same.max, same.mean, same.snr) == (0, 0, np.inf)
    assert error([np.array([1.0])], [np.array([nan])]).max == np.inf
    assert error([np.array([inf])], [np.array([-inf])]).max == np.inf
    assert same.as_metadata()["snr"] is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"weights": "int4"}, "expected int8 or float16, found 'int4'"),
        ({"max_error": 0.0}, "above 0"),
        ({"precision": "fast"}, "expected auto, int8 or float16, found 'fast'"),
        ({"precision": "int8", "weights": "float16"}, "weights: expected int8"),
        ({"calibration": []}, "at least one run"),
        ({"input_bits": 12}, "input_bits: expected auto, 8 or 15, found 12"),
        ({"input_bits": 8, "weights": "float16"}, "input_bits: expected auto where weights become float16, found 8"),
        ({"calibration": {"x": 1}}, r"expected arrays for the inputs \['tokens'\], found \['x'\]"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(LstmEdgeError, match=message):
        lstm_edge.quantize(classifier(), **arguments)


def test_what_cannot_be_quantised_is_refused(tmp_path):
    path = tmp_path / "int8.lstm"
    model, _ = lstm_edge.quantize(classifier(), path, precision="int8")
    with pytest.raises(UnsupportedModelError, match="int8 already"):
        lstm_edge.quantize(path)
    with pytest.raises(LstmEdgeError, match="found a loaded Model"):
        lstm_edge.quantize(model)


# ---- the command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    model, data = tmp_path / "model.lstm", tmp_path / "tokens.npy"
    format.write(classifier(), model)
    np.save(data, tokens())
    return str(model), str(data), str(tmp_path / "out.lstm")


def test_command_prints_the_table(files, capsys):
    model, data, out = files
    assert _run(["quantize", model, "-o", out, "--calibrate", data, "--precision", "int8"]) == 0
    text = capsys.readouterr().out
    for part in ("embed", "conv", "cell", "head", "SNR dB", "calibration data", "biases are added in float32", "of "):
        assert part in text
    assert _run(["verify", out]) == 0


def test_command_prints_json(files, capsys):
    model, data, out = files
    assert (
        _run(
            [
                "quantize",
                model,
                "-o",
                out,
                "--calibrate",
                data,
                "--keep",
                "cell",
                "--max-error",
                "0.5",
                "--precision",
                "int8",
                "--json",
            ]
        )
        == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert {o["name"]: o["stored"] for o in report["ops"]} == {
        "embed": "int8",
        "conv": "int8",
        "cell": "float32",
        "head": "int8",
    }
    assert report["file_bytes"][1] < report["file_bytes"][0]


def test_command_takes_input_bits(files, capsys):
    model, data, out = files
    arguments = ["quantize", model, "-o", out, "--calibrate", data, "--precision", "int8", "--input-bits", "8"]
    assert _run([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {o["name"]: o.get("input_bits") for o in report["ops"]} == {"embed": None, "conv": 8, "cell": 8, "head": 8}
    assert "int8, inputs in 15 bits" in report["timings_us"] and report["inputs"].startswith("8 bits in 3 of 3 ops")
    assert _run(arguments) == 0
    printed = capsys.readouterr().out
    assert "int8, x in 8 bits" in printed and "inputs: 8 bits in 3 of 3 ops" in printed


def test_command_names_its_file(files, capsys):
    model, _, _ = files
    assert _run(["quantize", model, "--weights", "float16"]) == 0
    assert model.replace(".lstm", ".float16.lstm") in capsys.readouterr().out
    assert _run(["quantize", model, "--keep", "nothing"]) == 1
    assert "no op is named 'nothing'" in capsys.readouterr().err
