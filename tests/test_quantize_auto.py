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
from lstm_edge.quantize import targets, timing
from lstm_edge.quantize.auto import fastest
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
