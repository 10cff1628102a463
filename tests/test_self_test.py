"""Whose answer a file carries, how far from it a conversion may be, and frameworks that crash, hang or print."""

import io
import json
import os
import subprocess
import sys
import textwrap
import warnings
import zipfile

import numpy as np
import pytest
from shared import GOLDEN

import lstm_edge
from lstm_edge import format
from lstm_edge.check import child, serve
from lstm_edge.check.agreement import Allowance, aligned, allowance, demand, distance
from lstm_edge.check.frameworks.exported import _function
from lstm_edge.check.frameworks.keras import _holds_code
from lstm_edge.check.frameworks.question import NoFramework
from lstm_edge.check.frameworks.torch import _refuse_what_touches_files
from lstm_edge.errors import LstmEdgeError, UnsupportedModelError
from lstm_edge.importers.torch.folding import fold
from lstm_edge.importers.torch.program import Step

RNN = GOLDEN / "tflite" / "hand_rnn.tflite"

# LiteRT's interface over this project's own conversion, whose answers are right.
INTERPRETER = """
import os, signal, time
import numpy as np
import lstm_edge

class Interpreter:
    def __init__(self, model_path=None, model_content=None):
        BEHAVIOUR
        self.model = lstm_edge.convert(model_path or model_content, self_test=False)
        self.shapes, self.given, self.answers = {}, {}, None
    def get_input_details(self):
        ports = enumerate(self.model.inputs)
        return [{"index": n, "shape": self.shapes.get(n, (0,)), "dtype": np.dtype(p.dtype)} for n, p in ports]
    def resize_tensor_input(self, index, shape):
        self.shapes[index] = tuple(shape)
    def allocate_tensors(self):
        assert len(self.shapes) == len(self.model.inputs)
    def set_tensor(self, index, value):
        assert value.shape == self.shapes[index]
        self.given[index] = value
    def invoke(self):
        answers = self.model.run(*[self.given[n] for n in sorted(self.given)])
        self.answers = list(answers.values()) if isinstance(answers, dict) else [answers]
    def get_output_details(self):
        return [{"index": n} for n in range(len(self.answers))]
    def get_tensor(self, index):
        return self.answers[index] + OFFSET
"""


# onnxruntime's interface, with optimisations that crash.
ONNXRUNTIME = """
import os, signal, types
import lstm_edge

__version__ = "0.1"
GraphOptimizationLevel = types.SimpleNamespace(ORT_DISABLE_ALL=0)
set_default_logger_severity = print

class SessionOptions:
    def add_session_config_entry(self, key, value):
        pass

class InferenceSession:
    def __init__(self, model, options, providers):
        if getattr(options, "graph_optimization_level", 99):
            os.kill(os.getpid(), signal.SIGSEGV)
        self.model = lstm_edge.convert(model, self_test=False)
    def get_inputs(self):
        return [types.SimpleNamespace(name=p.name, type="tensor(float)") for p in self.model.inputs]
    def get_outputs(self):
        return self.model.outputs
    def run(self, names, feed):
        return [self.model.run(*feed.values())]
"""


@pytest.fixture
def litert(tmp_path, monkeypatch):
    """Installs a LiteRT that does `behaviour` when it opens a model, and whose answers are off by `offset`."""

    def install(behaviour="pass", offset="0"):
        folder = tmp_path / f"site{len(os.listdir(tmp_path))}" / "ai_edge_litert"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("__version__ = '0.1'\n")
        code = INTERPRETER.replace("BEHAVIOUR", behaviour).replace("OFFSET", offset)
        (folder / "interpreter.py").write_text(code)
        monkeypatch.syspath_prepend(folder.parent)
        child.stop()  # one that runs has the old path

    yield install
    child.stop()


def self_test_of(model):
    return model.metadata["self_test"]


# ---- what a framework does in its process ----------------------------------------------------------------------------


def test_the_frameworks_answer_verifies(litert, tmp_path):
    litert()
    path = tmp_path / "m.lstm"
    test = self_test_of(lstm_edge.convert(RNN, path))
    assert (test["source"], test["by"], test["why"]) == ("LiteRT 0.1", "framework", "")
    report = lstm_edge.verify(path)
    assert report.passed and report.verified
    assert report.words.startswith("verified: equal to what LiteRT 0.1 answered, largest difference ")


def test_bytes_are_answered_as_files_are(litert):
    litert()
    assert self_test_of(lstm_edge.convert(RNN.read_bytes()))["source"] == "LiteRT 0.1"


@pytest.mark.parametrize(
    "behaviour, why",
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "LiteRT died (SIGSEGV) on this model"),
        ("os._exit(7)", "LiteRT ended the process with exit code 7 on this model"),
        ("raise RuntimeError('no kernel')", "LiteRT did not run the model (RuntimeError: no kernel)"),
    ],
)
def test_a_framework_that_fails_does_not_take_the_conversion_with_it(litert, behaviour, why):
    litert(behaviour)
    model = lstm_edge.convert(RNN)
    test = self_test_of(model)
    assert (test["source"], test["by"], test["why"]) == ("lstm_edge.reference", "reference", why)
    assert f"self-test: {why}; the answer is this project's own reference" in model.metadata["notes"]
    litert()
    assert self_test_of(lstm_edge.convert(RNN))["by"] == "framework"  # another child answers


def test_onnxruntime_is_asked_without_its_optimisations_where_it_dies_of_them(tmp_path, monkeypatch):
    package = tmp_path / "onnxruntime"
    package.mkdir()
    (package / "__init__.py").write_text(ONNXRUNTIME)
    monkeypatch.syspath_prepend(tmp_path)
    child.stop()
    model = lstm_edge.convert(GOLDEN / "onnx" / "lstm_relu.onnx")
    child.stop()
    assert self_test_of(model)["source"] == "onnxruntime 0.1", model.metadata["self_test"]
    said = "self-test: onnxruntime died (SIGSEGV) on this model with its optimisations, and answered without them"
    assert said in model.metadata["notes"]


def test_a_framework_that_hangs_is_ended(litert, monkeypatch):
    litert("time.sleep(60)")
    monkeypatch.setattr(child, "ANSWER_SECONDS", 0.5)
    assert self_test_of(lstm_edge.convert(RNN))["why"] == "LiteRT gave no answer within 0.5 s on this model"


def test_what_a_framework_prints_goes_nowhere(litert, capfd):
    litert("print('hello'); os.write(1, b'from C'); os.write(2, b'too')")
    assert self_test_of(lstm_edge.convert(RNN))["by"] == "framework"
    assert capfd.readouterr() == ("", "")


def test_a_child_that_ended_while_idle_is_started_again(litert, monkeypatch):
    monkeypatch.setattr(child, "IDLE_SECONDS", 0.1)
    litert()
    lstm_edge.convert(RNN)
    child._child.process.wait()
    assert self_test_of(lstm_edge.convert(RNN))["by"] == "framework"


def test_one_child_answers_many_conversions(litert):
    litert()
    lstm_edge.convert(RNN)
    first = child._child.process.pid
    lstm_edge.convert(RNN)
    assert child._child.process.pid == first


@pytest.mark.parametrize("executable", ["", "/usr/bin/true-python", "/opt/app/viewer"])
def test_where_no_child_can_be_had_the_framework_runs_here(litert, monkeypatch, executable):
    litert()
    monkeypatch.setattr(sys, "executable", executable)
    for name in ("ai_edge_litert", "ai_edge_litert.interpreter"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    model = lstm_edge.convert(RNN)
    assert self_test_of(model)["by"] == "framework"
    assert any("the framework ran in this process, a child did not start" in n for n in model.metadata["notes"])
    for name in ("ai_edge_litert", "ai_edge_litert.interpreter"):
        sys.modules.pop(name, None)


def test_a_script_without_a_main_guard_runs_once(tmp_path):
    pytest.importorskip("onnxruntime")
    source = GOLDEN / "onnx" / "lstm_relu.onnx"
    script = f"""
    import sys, lstm_edge
    print("started")
    test = lstm_edge.convert({str(source)!r}).metadata["self_test"]
    print(test["by"], *sorted(m for m in sys.modules if m in ("onnxruntime", "torch", "keras")))
    """
    (tmp_path / "user.py").write_text(textwrap.dedent(script))
    path = os.pathsep.join(p for p in sys.path if p)
    run = subprocess.run(
        [sys.executable, "user.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["started", "framework"]


def test_without_a_self_test_no_child_is_started(litert):
    litert()
    lstm_edge.convert(RNN, self_test=False)
    assert child._child is None


# ---- how far an answer may be ----------------------------------------------------------------------------------------


def test_an_answer_beyond_rounding_is_a_fault_that_says_what_to_do(litert):
    litert(offset="1e-4")
    with pytest.raises(LstmEdgeError) as error:
        lstm_edge.convert(RNN)
    for said in (
        "hand_rnn.tflite: output 'y1'",
        "differs from LiteRT 0.1 by 0.0001",
        "is allowed for float32",
        "report",
    ):
        assert said in str(error.value)
    assert "largest answer" in str(error.value) and "self_test=False converts it all the same" in str(error.value)


def test_the_tolerance_is_what_was_allowed_whatever_was_found(litert):
    litert()
    exact = self_test_of(lstm_edge.convert(RNN))["tolerance"]
    litert(offset="5e-6")
    assert self_test_of(lstm_edge.convert(RNN))["tolerance"] == pytest.approx(exact, rel=1e-4)


def answers(*values, dtype=np.float32):
    return {"y": np.array(values, dtype)}


def test_what_is_allowed_follows_the_arithmetic():
    exact, stated = answers(1.0, -4.0, dtype=np.float64), {}
    near = allowance(exact, answers(1.0, -4.0), answers(1.0, -4.0), stated)
    assert near.tolerance == pytest.approx(4e-5) and near.why == "float32 arithmetic"
    sensitive = allowance(exact, answers(1.0, -4.0002), answers(1.0, -4.0), stated)
    assert sensitive.tolerance == pytest.approx(8e-4, rel=1e-2) and "rounding moves this model" in sensitive.why
    broken = allowance(exact, answers(1.0, 3.0), answers(1.0, -4.0), stated)
    assert broken.tolerance == pytest.approx(4e-3)
    stated = {"relative": 2e-2, "steps": 2, "why": "8-bit integers"}
    coarse = allowance(exact, answers(1.0, -4.0), answers(1.0, -4.0), stated)
    assert coarse.tolerance == pytest.approx(8e-2) and coarse.why == "8-bit integers"
    assert allowance(exact, answers(1.0, -4.0), answers(1, -4, dtype=np.int32), stated).tolerance == 2


def test_shapes_that_differ_by_sizes_of_one_are_compared_and_noted():
    notes, want = [], np.arange(15.0, dtype=np.float32).reshape(5, 3)
    found = aligned({"y": np.zeros((1, 5, 3))}, {"y": want}, "torch 2.13", notes.append)
    np.testing.assert_array_equal(found["y"], want[None])
    assert notes == ["output 'y': the answer has shape (1, 5, 3), torch 2.13's (5, 3)"]


def test_other_shapes_are_a_fault_that_names_both():
    with pytest.raises(LstmEdgeError, match=r"has shape \(3, 5\), torch's \(5, 3\); this is a fault"):
        aligned({"y": np.zeros((3, 5))}, {"y": np.zeros((5, 3))}, "torch", print)


def test_numbers_against_none_are_told_in_words():
    want, got = np.array([1.0, np.nan, np.inf]), np.array([1.0, 2.0, 3.0])
    assert distance(got, want) == "0 NaN and 0 infinite instead of 1 NaN and 1 infinite among 3 values"
    with pytest.raises(LstmEdgeError, match="0 NaN and 0 infinite instead of 1 NaN and 1 infinite"):
        demand({"y": got}, {"y": want}, Allowance({"y": 1.0}, "float32"), "torch")


def test_a_float16_file_may_differ_by_its_rounding():
    onnx = pytest.importorskip("onnx")
    helper, half = onnx.helper, onnx.TensorProto.FLOAT16
    weight = onnx.numpy_helper.from_array(np.full((3, 2), 0.3, np.float16), "w")
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=half),
        helper.make_node("MatMul", ["h", "w"], ["m"]),
        helper.make_node("Cast", ["m"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    ends = [helper.make_tensor_value_info(n, 1, ["n", size]) for n, size in (("x", 3), ("y", 2))]
    graph = helper.make_graph(nodes, "half", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    test = self_test_of(lstm_edge.convert(model))
    assert test["source"].startswith("onnxruntime") and test["tolerance"] >= 1e-2


# ---- what is said ----------------------------------------------------------------------------------------------------


def command(capsys, *args):
    from lstm_edge.cli import main

    with pytest.raises(SystemExit) as end:
        main([str(a) for a in args])
    return end.value.code, " ".join(capsys.readouterr().out.split())


def test_the_commands_say_whose_answer_it_was(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lstm_edge.check.jobs.find_spec", lambda name: None)
    path = tmp_path / "m.lstm"
    why = "no framework ran this model at conversion: LiteRT is not installed; pip install ai-edge-litert"
    verdict = "not verified by a framework: equal to this project's own reference, largest difference"
    for args in (["convert", RNN, "-o", path], ["verify", path]):
        code, out = command(capsys, *args)
        assert code == 0 and verdict in out and why in out
    code, out = command(capsys, "verify", path, "--json")
    said = json.loads(out)
    assert code == 0 and said["passed"] and not said["verified"]
    assert said["by"] == "reference" and "pip install ai-edge-litert" in said["why"]
    assert "pip install ai-edge-litert" in command(capsys, "info", path)[1]


def test_a_difference_is_never_verified(litert, tmp_path, capsys):
    litert()
    path = tmp_path / "m.lstm"
    lstm_edge.convert(RNN, path)
    graph = format.read(path)
    graph.self_test.outputs["y1"] += np.float32(1e-3)
    format.write(graph, path)
    code, out = command(capsys, "verify", path)
    assert code == 3 and "FAILED: differs from what LiteRT 0.1 answered" in out
    assert not lstm_edge.verify(path).verified


def test_a_file_of_before_says_no_more_than_it_knows(tmp_path):
    lstm_edge.convert(RNN, tmp_path / "m.lstm")
    graph = format.read(tmp_path / "m.lstm")
    graph.self_test.source, graph.self_test.why = "lstm_edge.reference", ""
    report = lstm_edge.verify(format.to_bytes(graph))
    assert not report.verified and "the file does not say why" in report.words


# ---- torch's files ---------------------------------------------------------------------------------------------------


def torch_files(torch, folder):
    """A TorchScript file in half precision, and an exported program with sizes computed at run time."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = torch.nn.Linear(3, 2)

        def forward(self, x):
            batch, frames, _ = x.shape
            y = self.dense(x.reshape(batch * frames, 3)).tanh().view(batch, frames, 2)
            return y, y[:, : frames - 1].mean(1)

    example = torch.zeros(2, 5, 3)
    module = Net().eval()
    frames = torch.export.Dim("frames", min=3, max=100)
    program = torch.export.export(module, (example,), dynamic_shapes=({1: frames},))
    torch.export.save(program, folder / "program.pt2")
    torch.jit.save(torch.jit.trace(module, example).half(), folder / "script.pt")


def test_torch_answers_for_its_files(tmp_path):
    torch = pytest.importorskip("torch")
    torch_files(torch, tmp_path)
    for name in ("program.pt2", "script.pt"):
        test = self_test_of(
            lstm_edge.convert(tmp_path / name, shapes={"x": ("batch", "frames", 3)} if name[0] == "s" else None)
        )
        assert test["by"] == "framework" and test["source"].startswith("torch ") and test["tolerance"] < 2e-5, test


def test_an_exported_program_runs_torchs_own_operators_alone():
    pytest.importorskip("torch")
    for target in (
        "aten.from_file.default",
        "aten.save.default",
        "mine.run.default",
        "math.while_loop",
        "operator.call",
    ):
        with pytest.raises(NoFramework, match="no plain operator"):
            _function(Step(target, [], {}, "y"))


def test_folding_touches_no_files(tmp_path):
    pytest.importorskip("torch")
    with pytest.raises(UnsupportedModelError, match="never run"):
        fold("aten.from_file.default", [str(tmp_path / "made"), True, 4], {})
    assert not os.listdir(tmp_path)


# ---- files whose framework is not given them -------------------------------------------------------------------------


def torchscript(*entries):
    data = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(data, "w") as archive:
        warnings.simplefilter("ignore")  # of two entries under one name
        for name, text in entries:
            archive.writestr(name, text)
    return data.getvalue()


@pytest.mark.parametrize("code", ["torch.save(x, 'f')", "ops.aten . save(x, 'f')", "ops.mine.run(x)"])
def test_torchscript_that_touches_files_is_not_loaded(code):
    name, touches = "m/code/__torch__.py", f"def f(x):\n  return {code}\n"
    for entries in ([(name, touches)], [(name.upper(), touches)], [(name, touches), (name, "def f(x):\n  return x\n")]):
        with pytest.raises(NoFramework, match="its code names"):
            _refuse_what_touches_files(torchscript(*entries))


def test_torchscript_that_says_itself_where_its_code_lies_is_not_loaded():
    with pytest.raises(NoFramework, match="model.json"):
        _refuse_what_touches_files(torchscript(("m/model.json", "{}"), ("m/code/__torch__.py", "")))


@pytest.mark.parametrize("cut", [0, 3, 8, 20])
def test_a_child_that_dies_in_the_middle_of_an_answer_has_ended(cut):
    whole = io.BytesIO()
    serve.send(whole, "answer " * 10)
    with pytest.raises(EOFError):
        serve.receive(io.BytesIO(whole.getvalue()[:cut]))
    assert serve.receive(io.BytesIO(whole.getvalue())) == "answer " * 10


@pytest.mark.parametrize(
    "config, found",
    [
        ({"class_name": "Lambda", "config": {}}, "Python code"),
        ({"layers": [{"config": {"function": {"class_name": "__lambda__"}}}]}, "Python code"),
        ({"class_name": "function", "module": "os", "config": "system"}, "Python code"),
        ({"class_name": "Mine", "module": "my.layers"}, "a class of my.layers"),
        ({"class_name": "LSTM", "module": "keras.layers", "config": {"units": 3}}, ""),
    ],
)
def test_keras_configs_with_code_are_not_loaded(config, found):
    assert _holds_code(config).startswith(found) and bool(_holds_code(config)) == bool(found)
