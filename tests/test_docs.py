"""README and docs: what they show runs, what they link to exists, and every page can be reached from README.

A fenced `python` or `sh` block runs, those of a page in order, in a folder that holds examples/ and the small models that a page
names. `sh norun` is shown only, commands of `sh refused` end with exit code 1.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from forecast_helpers import described_file, one_ahead_file
from librosa_mfcc import stand_in
from shared import ROOT

from lstm_edge.cli import COMMANDS, _run, group
from lstm_edge.forecasting import Description

PAGES = "python streaming command-line keras torch refused insight tasks adaptation training-loop benchmark forecasting tutorial scaling features answers pipelines".split()
RUNNABLE = [ROOT / "README.md", *(ROOT / "docs" / f"{n}.md" for n in PAGES)]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
FENCE = re.compile(r"^```(\w+)( norun| refused)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    return [ROOT / n for n in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/**/*.md"))


def links(page: Path) -> set[Path]:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = [t for t in LINK.findall(text) if not re.match(r"[a-z]+:", t)]
    return {(page.parent / target).resolve() for target in found}


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.name)
def test_relative_links_exist(page):
    missing = [str(target) for target in links(page) if not target.exists()]
    assert not missing


def test_every_page_is_reached_from_readme():
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        seen.add(page)
        todo += [t for t in links(page) if t.suffix == ".md" and t.exists() and t not in seen]
    assert not set(ROOT.glob("docs/**/*.md")) - seen


@pytest.fixture
def folder(tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- models that docs/refused.md names -------------------------------------------------------------------------------


def make_vad():
    """vad.onnx, which holds two networks and takes a sample rate that chooses one; and a folder that holds a copy."""
    from onnx import TensorProto, helper, numpy_helper, save

    node, rng = helper.make_node, np.random.default_rng(0)
    rate = numpy_helper.from_array(np.array(16000), "rate")
    weights = {n: rng.standard_normal(s).astype(np.float32) for n, s in {"W": (1, 9, 4), "R": (1, 9, 3)}.items()}
    gru = node("GRU", ["x", "W", "R"], ["h"], hidden_size=3)
    other = node("GRU", ["x", "W", "R"], ["g"], hidden_size=3, direction="reverse")
    then, otherwise = (
        helper.make_graph([n], f"{o}_branch", [], [helper.make_tensor_value_info(o, TensorProto.FLOAT, None)])
        for n, o in ((gru, "h"), (other, "g"))
    )
    graph = helper.make_graph(
        [node("Equal", ["sr", "rate"], ["c"]), node("If", ["c"], ["y"], then_branch=then, else_branch=otherwise)],
        "vad",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["frames", "batch", 4]),
            helper.make_tensor_value_info("sr", TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [rate, *(numpy_helper.from_array(a, n) for n, a in weights.items())],
    )
    Path("models").mkdir()
    for path in ("vad.onnx", "models/vad.onnx"):
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


def make_torch_files():
    """scripted.pt with x.npy, an input of it, and weights.pt."""
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = torch.nn.GRU(4, 5, batch_first=True), torch.nn.Linear(5, 2)

        def forward(self, x):
            return self.out(self.rnn(x)[0])

    torch.jit.script(Net()).save("scripted.pt")
    np.save("x.npy", np.zeros((1, 6, 4), np.float32))
    torch.save(Net().state_dict(), "weights.pt")


def make_keras_files():
    """classifier.keras, whose custom layer my_layers.py describes; half.json and half.weights.h5."""
    keras = pytest.importorskip("keras")

    class MyAttention(keras.layers.Layer):
        def build(self, shape):
            self.w, self.v = (self.add_weight(shape=s, name=n) for n, s in (("w", (shape[-1], 3)), ("v", (3, 1))))

        def call(self, x):
            ops = keras.ops
            return ops.sum(ops.softmax(ops.matmul(ops.tanh(ops.matmul(x, self.w)), self.v), axis=1) * x, axis=1)

    keras.Sequential([keras.Input((None, 4)), keras.layers.LSTM(5, return_sequences=True), MyAttention()]).save(
        "classifier.keras"
    )
    guide = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    Path("my_layers.py").write_text(FENCE.search(guide).group(3).partition("model = ")[0])
    half = keras.Sequential([keras.Input((None, 4)), keras.layers.GRU(3)])
    Path("half.json").write_text(half.to_json())
    half.save_weights("half.weights.h5")


# ---- data that docs/tasks.md trains on ------------------------------------------------------------------------------


def make_data_of_tasks():
    """strokes.csv, pump.csv, verse.txt and numbers.tsv."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("pandas")
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    rows = ["id,x,y,shape"]
    for n in range(60):
        shape, turn = (("left", 0.4), ("right", -0.4), ("straight", 0.0))[n % 3]
        along = rng.uniform(0, 6) * (turn == 0) + turn * np.arange(rng.integers(8, 14))
        points = np.stack([np.cos(along), np.sin(along)], 1) + rng.normal(0, 0.05, (len(along), 2))
        rows += [f"{n},{x:.3f},{y:.3f},{shape}" for x, y in points]
    Path("strokes.csv").write_text("\n".join(rows))
    t = np.arange(500)
    flow, pressure = 20 + 3 * np.sin(0.3 * t), 5 * np.cos(0.3 * t)
    readings = np.stack([flow, pressure], 1) + rng.normal(0, 0.1, (500, 2))
    np.savetxt("pump.csv", readings, "%.3f", ",", header="flow,pressure", comments="")
    Path("verse.txt").write_text("the cat sat on the mat, and the dog sat on the log. " * 18)
    ones = "one two three four five six seven eight nine".split()
    tens = "twenty thirty forty fifty sixty seventy eighty ninety".split()
    pairs = [(i, j, k) for i in range(2) for j in range(8) for k in range(9)]
    lines = [f"{ones[i]} hundred {tens[j]} {ones[k]}\t{i + 1}{j + 2}{k + 1}" for i, j, k in pairs]
    Path("numbers.tsv").write_text("\n".join(lines))


def make_forecast_files():
    """load.lstm and ahead.lstm, small networks of random weights; history.csv and two.csv, what they continue."""
    about = Description(
        *("series", "forecast", ("load",), ("load",), (0,), 24, (0.1, 0.5, 0.9)), time_column="time", step="1 hour"
    )
    Path("load.lstm").write_bytes(described_file(about))
    Path("ahead.lstm").write_bytes(one_ahead_file())
    hours = np.datetime64("2026-11-01T00:00") + np.arange(300) * np.timedelta64(1, "h")
    rows = [f"{hour},{50 + 10 * np.sin(n / 4):.3f}" for n, hour in enumerate(hours)]
    Path("history.csv").write_text("\n".join(["time,load", *rows]))
    Path("two.csv").write_text("\n".join(f"{n % 5},{n % 7}" for n in range(40)))


def make_parts_of_pipelines():
    """dtln_1.lstm and dtln_2.lstm, recurrences of a unit over frames as wide as theirs, and noisy.wav."""
    import lstm_edge

    pytest.importorskip("torch").set_num_threads(1)
    pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    for name, width in (("dtln_1", 257), ("dtln_2", 512)):
        sizes = {
            "rec.weight_ih_l0": (3, width),
            "rec.weight_hh_l0": (3, 1),
            "rec.bias_ih_l0": (3,),
            "rec.bias_hh_l0": (3,),
        }
        sizes = {**sizes, "out.weight": (width, 1), "out.bias": (width,)}
        layers = [{"type": "gru", "weights": "rec"}, {"type": "dense", "weights": "out"}]
        network = {"convention": "torch", "inputs": {"x": ["batch", "frames", width]}, "layer": layers}
        weights = {n: rng.standard_normal(s).astype(np.float32) / 8 for n, s in sizes.items()}
        lstm_edge.convert(weights, f"{name}.lstm", network=network, self_test=False)
    write_wav(Path("noisy.wav"), rng.integers(-3000, 3000, 16000), 16000)


def frameworks_of_tutorial():
    """Its models are made by the page itself."""
    for name in ("keras", "onnx", "torch"):
        pytest.importorskip(name)


def frameworks_of_features():
    """Its model is made by the page itself."""
    pytest.importorskip("torch").set_num_threads(1)


EXIT_CODES = {"": 0, " refused": 1, " norun": None}
MADE_FOR = {
    "refused.md": (make_vad, make_torch_files, make_keras_files),
    "tasks.md": (make_data_of_tasks,),
    "forecasting.md": (make_forecast_files,),
    "tutorial.md": (frameworks_of_tutorial,),
    "features.md": (frameworks_of_features,),
    "pipelines.md": (make_parts_of_pipelines,),
}


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda p: p.name)
def test_blocks_run(page, folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "librosa", stand_in())
    ran: dict = {}
    for model in MADE_FOR.get(page.name, ()):
        model()
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    blocks = [(language, code, body) for language, how, body in found if (code := EXIT_CODES[how]) is not None]
    assert blocks
    for language, code, body in blocks:
        if language == "python":
            exec(compile(body, str(page), "exec"), ran)
        elif language == "sh":
            for line in body.splitlines():
                words = shlex.split(line, comments=True)
                assert words[0] == "lstm-edge", f"{page.name}: {line!r} cannot be run: mark its block norun"
                assert _run(words[1:]) == code, (line, capsys.readouterr().err)


COMMAND = re.compile(r"(?:^|\s)lstm-edge ([a-z]+(?:-[a-z]+)*)((?: [^`|\n]*)?)")
HELP = {"--help", "-h", "--version"}


def commands_shown(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Every command of this program that a page names, in blocks that run and that do not and between backticks, with its flags."""
    text = page.read_text(encoding="utf-8")
    spans = [body for kind, _, body in FENCE.findall(text) if kind == "sh"]
    spans += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for span in spans:
        for name, rest in COMMAND.findall(span):
            yield name, [w.partition("=")[0] for w in rest.partition(" #")[0].split() if re.match(r"--?[a-zA-Z]", w)]


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.name)
def test_commands_and_flags_that_are_shown_exist(page):
    for name, flags in commands_shown(page):
        assert name in COMMANDS, f"{page.name}: lstm-edge {name}"
        params = group.get_command(click.Context(group), name).params
        known = {flag for param in params for flag in (*param.opts, *param.secondary_opts)}
        assert not {f.rstrip(",.;)") for f in flags} - known - HELP, f"{page.name}: lstm-edge {name} {flags}"


def test_what_else_is_typed_exists():
    """Targets of make, extras of pip install, scripts: of the blocks that are shown only."""
    made = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    for page in pages():
        for kind, _, body in FENCE.findall(page.read_text(encoding="utf-8")):
            for line in body.splitlines() if kind == "sh" else ():
                typed = line.partition(" #")[0]
                assert all(f"\n{target}:" in made for target in re.findall(r"\bmake ([a-z][a-z0-9-]*)", typed)), line
                assert all(set(e.split(",")) <= set(extras) for e in re.findall(r"[.l]\[([\w,]+)\]", typed)), line
                assert all((ROOT / script).exists() for script in re.findall(r"(?:tools|examples)/[\w./-]+", typed)), (
                    line
                )


def run_example(name: str, *args: str) -> str:
    path = ROOT / "examples" / name
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(path), *args], check=False, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["streaming_vad.py", "guitar_amp.py"])
def test_examples_without_their_arguments_tell_their_usage(name):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "examples" / name), "--help"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    assert done.returncode == 1 and f"python {name} " in done.stderr and "Traceback" not in done.stderr


def test_every_example_with_arguments_or_work_of_minutes_tells_its_usage():
    scripts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "examples").rglob("*.py")}
    mains = {path: text.partition('if __name__ == "__main__":')[2] for path, text in scripts.items()}
    silent = [
        path.name for path, main in mains.items() if main and not ("__doc__" in main or "argparse" in scripts[path])
    ]
    assert not silent


def test_example_ragged_batch():
    pytest.importorskip("h5py")
    assert "8 rows of a 8: read as 8" in run_example("ragged_batch.py")


def test_example_saved_state():
    pytest.importorskip("h5py")
    assert run_example("saved_state.py") == "read as 7 by both\n"


def test_example_from_torch():
    pytest.importorskip("torch")
    assert float(run_example("from_torch.py").split("torch: ")[1]) < 1e-5


def write_wav(path: Path, samples: np.ndarray, rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())


def test_example_guitar_amp(tmp_path):
    """On a network of random weights: blocks give what one call gives."""
    import lstm_edge
    from lstm_edge.convert import passes
    from lstm_edge.format import write
    from lstm_edge.ir import graph as le_graph
    from lstm_edge.ir.dims import BATCH, FRAMES

    rng = np.random.default_rng(0)
    graph = le_graph.Graph()
    x = graph.input("x", (BATCH, FRAMES, 1))
    gain = graph.constant(rng.uniform(0.1, 0.5, (1, 1, 1)).astype(np.float32), "gain")
    graph.output("y", graph.add1("Binary", [x, gain], {"kind": "mul"}, "amplify"))
    passes.pipeline(graph)
    write(graph, tmp_path / "amp.lstm")
    dry = rng.integers(-3000, 3000, 1000)
    write_wav(tmp_path / "dry.wav", dry, 48000)
    out = run_example("guitar_amp.py", *(str(tmp_path / n) for n in ("amp.lstm", "dry.wav", "wet.wav")))
    assert "of the 1333 us it lasts" in out
    with wave.open(str(tmp_path / "wet.wav"), "rb") as file:
        wet = np.frombuffer(file.readframes(2000), "<i2")
    whole = lstm_edge.load(tmp_path / "amp.lstm").run((dry / 32768).astype(np.float32)[:, None])
    np.testing.assert_array_equal(wet, np.rint(whole[:, 0] * 32768))


def test_example_streaming_vad(tmp_path):
    models = os.environ.get("LSTM_EDGE_MODELS")
    if not models:
        pytest.skip("LSTM_EDGE_MODELS is not set")
    pytest.importorskip("onnx")
    source = Path(models) / "silero_vad" / "silero_vad_16k_op15.onnx"
    path = str(tmp_path / "vad.lstm")
    options = ["--shape", "input=1,576", "--set", "sr=16000", "--overlap", "input=64", "--no-self-test"]
    assert _run(["convert", str(source), "-o", path, *options]) == 0
    write_wav(tmp_path / "quiet.wav", np.zeros(16000), 16000)
    assert run_example("streaming_vad.py", path, str(tmp_path / "quiet.wav")) == ""
    speech = Path(models).parent / "audio" / "silero_test_16k.wav"
    if speech.exists():
        assert run_example("streaming_vad.py", path, str(speech)).startswith("speech   0.03 s to   2.02 s")
