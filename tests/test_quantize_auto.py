"""precision="auto": what stays float32, by times that the test gives, and the clock that gives them otherwise."""

import json

import numpy as np
import pytest
from test_quantize import classifier, tokens

import lstm_edge
from lstm_edge import format
from lstm_edge.cli import _run
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.passes import streaming
from lstm_edge.quantize import Narrower, targets, timing
from lstm_edge.quantize.auto import fastest
from lstm_edge.quantize.boards import Product, products
from lstm_edge.quantize.targets import measure_for
from lstm_edge.quantize.timing import CallTimes, Measured, modes, timed_here

F = np.float32
EVEN = {"float32": 10.0, "float16": 10.0, "int8": 10.0}


def clock(costs, whole=None, kinds=("step",)):
    """A measure: costs[op's name][form] microseconds an op, or of one kind of call [form, kind]; whole[form] on top of the ops' sum."""

    def cost(node, form, kind):
        of_op = costs.get(node.name, EVEN)
        return of_op.get((form, kind), of_op[form])

    def measure(forms):
        times = {}
        for name, graph in forms.items():
            held = {t.dtype for t in graph.tensors.values() if t.is_constant}
            extra = (whole or {}).get("int8" if "int8" in held else "float16" if "float16" in held else "float32", 0.0)
            times[name] = {}
            for kind in kinds:
                ops = [cost(node, stored(graph, node), kind) for node in graph.nodes]
                times[name][kind] = CallTimes(sum(ops) + extra, ops)
        return Measured("a test's clock", times)

    return measure


def stored(graph, node):
    held = {graph.tensors[i].dtype for i in node.inputs if i and graph.tensors[i].is_constant}
    return next((form for form in ("int8", "float16") if form in held), "float32")


def auto(costs, *, max_error=None, kept=None, **options):
    graph = classifier()
    return fastest(graph, [{"tokens": tokens()}], kept or {}, max_error, True, measure=clock(costs, **options))


def forms(chosen):
    return {op.name: op.stored for op in chosen.report.ops}


def fast_int8(**slow):
    """int8 at half of float32's time, float16 at its time, but in the ops named."""
    return {
        name: slow.get(name, {"float32": 10.0, "float16": 10.0, "int8": 5.0})
        for name in ("embed", "conv", "cell", "head")
    }


def test_an_op_that_int8_makes_slower_stays_float32_and_says_so():
    chosen = auto(fast_int8(conv={"float32": 3.57, "float16": 3.57, "int8": 8.45}))
    assert forms(chosen) == {"embed": "int8", "conv": "float32", "cell": "int8", "head": "int8"}
    conv = next(op for op in chosen.report.ops if op.name == "conv")
    assert conv.stayed["w"] == "float32 is faster: 3.57 us a step, 8.45 in int8"
    assert conv.times == {"float32": 3.57, "float16": 3.57, "int8": 8.45, "float32 beside int8": 3.57}
    told = chosen.report.as_metadata()
    assert told["timed_on"] == "a test's clock" and set(told["timings_us"]) == {"float32", "float16", "int8"}
    assert told["ops"][1]["us"]["int8"] == 8.45 and told["ops"][1]["stayed"] == conv.stayed
    assert told["notes"][0].startswith("int8 kept: ") and "float16 left" in told["notes"][2]


def test_an_op_slower_in_any_kind_of_call_stays():
    conv = {"float32": 10.0, "float16": 10.0, "int8": 5.0, ("int8", "chunk"): 10.5}
    chosen = auto(fast_int8(conv=conv), kinds=("step", "chunk"))
    assert forms(chosen)["conv"] == "float32" and forms(chosen)["cell"] == "int8"
    assert set(chosen.report.calls) == {"step", "chunk"} and "calls_us" in chosen.report.as_metadata()


def test_equal_times_take_the_smaller_form():
    chosen = auto({})
    assert set(forms(chosen).values()) == {"int8"}
    chosen = auto(fast_int8(conv={"float32": 10.0, "float16": 10.0, "int8": 10.15}))
    assert forms(chosen)["conv"] == "int8"
    half = {"float32": 10.0, "float16": 6.0, "int8": 9.0}
    assert set(forms(auto(dict.fromkeys(("embed", "conv", "cell", "head"), half))).values()) == {"float16"}


def test_a_model_that_would_be_slower_as_a_whole_stays_float32():
    """Each op alone is as fast, but int8's kernels for the float32 ops beside them are not."""
    chosen = auto(fast_int8(), whole={"int8": 40.0, "float16": 2.0})
    assert chosen.report.weights == "float32" and set(forms(chosen).values()) == {"float32"}
    assert chosen.report.max_error == 0 and not chosen.graph.tensors.keys() - classifier().tensors.keys()
    assert "slower than float32 in a step" in chosen.report.notes[1]
    assert all(op.stayed for op in chosen.report.ops)
    narrow = auto(fast_int8(), whole={"int8": 40.0})
    assert narrow.report.weights == "float16"


def test_what_inputs_in_8_bits_gain_is_timed():
    chosen = fastest(classifier(), [{"tokens": tokens()}], {}, None, True, measure=clock(fast_int8()), input_bits=8)
    assert {op.name: op.input_bits for op in chosen.report.ops} == {"embed": None, "conv": 8, "cell": 8, "head": 8}
    assert set(chosen.report.timings) == {"float32", "float16", "int8", "int8, inputs in 15 bits"}


def test_nothing_faster_leaves_nothing_narrow():
    slow = {"float32": 5.0, "float16": 9.0, "int8": 10.0}
    chosen = auto(dict.fromkeys(("embed", "conv", "cell", "head"), slow))
    assert chosen.report.weights == "float32" and "every op stays float32" in chosen.report.notes[-1]
    assert all("float32 is faster" in next(iter(op.stayed.values())) for op in chosen.report.ops)


def test_max_error_and_keep_hold_beside_the_times():
    chosen = auto(fast_int8(), kept={4: "kept by name"})
    assert forms(chosen)["cell"] == "float32"
    cell = next(op for op in chosen.report.ops if op.name == "cell")
    assert cell.stayed["w_ih"] == "kept by name"
    exact = auto(fast_int8(), max_error=1e-9)
    assert exact.report.max_error <= 1e-9


def test_auto_is_the_default_and_stands_in_the_file(tmp_path, monkeypatch):
    slow = clock(fast_int8(cell={"float32": 1.0, "float16": 1.0, "int8": 4.0}))
    monkeypatch.setitem(targets.TARGETS, "here", slow)
    path = tmp_path / "auto.lstm"
    model, report = lstm_edge.quantize(classifier(), path, calibration=tokens())
    assert {op.name for op in report.ops if op.stored == "float32"} == {"cell"}
    assert model.metadata["quantization"] == json.loads(json.dumps(report.as_metadata()))
    assert lstm_edge.verify(path).passed
    _, only = lstm_edge.quantize(classifier(), weights="float16", precision="auto")
    assert set(only.timings) == {"float32", "float16"}
    _, forced = lstm_edge.quantize(classifier(), precision="int8")
    assert {op.stored for op in forced.ops} == {"int8"} and not forced.timings


def test_the_command_says_what_a_form_that_was_asked_for_costs(tmp_path, monkeypatch, capsys):
    slow = dict.fromkeys(("embed", "conv", "cell", "head"), {"float32": 10.0, "float16": 12.0, "int8": 20.0})
    monkeypatch.setitem(targets.TARGETS, "here", clock(slow))
    format.write(classifier(), tmp_path / "model.lstm")
    path = str(tmp_path / "model.lstm")
    assert _run(["quantize", path, "--precision", "int8"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "note: int8 is slower than float32: " in told and "--precision auto" in told
    assert _run(["quantize", path, "--weights", "float16", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["timings_us"]["float16"] > told["timings_us"]["float32"] and "slower" in told["notes"][-1]
    assert _run(["quantize", path]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "float32 kept" in told and "float32 is faster" in told and "model.auto.lstm" in told


def cell():
    rng = np.random.default_rng(0)
    graph = Graph()
    x = graph.input("x", (BATCH, FRAMES, 4))
    w = [graph.constant(rng.uniform(-1, 1, shape).astype(F)) for shape in ((1, 32, 4), (1, 32, 8), (1, 32))]
    graph.output("y", graph.add1("LSTM", [x, *w], {}, "cell"))
    streaming.apply(graph)
    return graph


@pytest.mark.parametrize("make, kinds", [(classifier, ("sequence",)), (cell, ("step", "chunk"))])
def test_this_machines_clock_times_every_op_of_every_form(make, kinds, monkeypatch):
    monkeypatch.setattr(timing, "ROUND", 1e-4)
    graph = make()
    found = timed_here({"one": graph, "two": graph})
    assert modes(graph) == kinds and set(found.times) == {"one", "two"} and "timed" in found.where
    for times in found.times.values():
        assert tuple(times) == kinds
        for call in times.values():
            assert call.call > 0 and len(call.ops) == len(graph.nodes) and sum(call.ops) < 10 * call.call


# ---- boards ----------------------------------------------------------------------------------------------------------


def test_a_board_is_modelled_and_gives_the_same_file_every_time(tmp_path):
    """A wide layer is worth int8, a narrow one costs more around its product than it saves in it."""
    rng = np.random.default_rng(0)
    graph = Graph()
    y = graph.input("x", (BATCH, FRAMES, 256))
    for name, n, k in (("wide", 256, 256), ("thin", 8, 256), ("small", 16, 8)):
        y = graph.add1("Dense", [y, graph.constant(rng.uniform(-1, 1, (n, k)).astype(F) / F(k**0.5))], {}, name)
    graph.output("y", y)
    path = tmp_path / "pi.lstm"
    format.write(graph, path)
    assert _run(["quantize", str(path), "--for", "pi5", "-o", str(tmp_path / "a.lstm")]) == 0
    _, report = lstm_edge.quantize(path, tmp_path / "b.lstm", target="pi5")
    assert {op.name: op.stored for op in report.ops} == {"wide": "int8", "thin": "int8", "small": "float32"}
    assert report.where.startswith("Raspberry Pi 5, modelled")
    assert (tmp_path / "a.lstm").read_bytes() == (tmp_path / "b.lstm").read_bytes()
    with pytest.raises(lstm_edge.LstmEdgeError, match="target: expected here, zero2w, .* found 'pi6'"):
        lstm_edge.quantize(graph, target="pi6")


def test_what_a_board_multiplies_is_counted():
    graph = classifier()
    counted = {node.name: list(products(graph, node, 40)) for node in graph.nodes}
    assert counted["embed"] == [] == counted["softmax"]
    assert counted["conv"] == [Product("kernel", 1, 40, 24, 48)]
    assert counted["cell"] == [Product("w_ih", 1, 40, 128, 24), Product("w_hh", 40, 1, 128, 32, hidden=True)]
    assert counted["head"] == [Product("out", 1, 40, 4, 32)]


def test_times_of_a_board_are_near_those_of_whole_models_by_counted_instructions():
    """docs/raspberry-pi.md has an LSTM of 9 inputs and 128 units and one of 128 and 128, all instructions counted: 640 us against 68."""
    rng = np.random.default_rng(0)
    graph = Graph()
    y = graph.input("x", (1, FRAMES, 9))
    for name, inputs in (("one", 9), ("two", 128)):
        shapes = (1, 512, inputs), (1, 512, 128), (1, 512)
        y = graph.add1("LSTM", [y, *(graph.constant(rng.uniform(-1, 1, s).astype(F)) for s in shapes)], {}, name)
    graph.output("y", y)
    streaming.apply(graph)
    forms = {"float32": graph, "int8": Narrower(graph, "int8").apply({}).graph}
    steps = {name: times["step"].call for name, times in measure_for("pi3")(forms).times.items()}
    assert 0.8 < steps["float32"] / 640 < 1.1 and 0.8 < steps["int8"] / 68 < 1.2
