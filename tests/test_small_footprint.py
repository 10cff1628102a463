"""What a device pays that only steps: no NumPy until an array must be made, frames from any buffer, little beside the weights."""

import array
import ctypes
import json
import os
import pickle
import subprocess
import sys
import threading

import click
import numpy as np
import pytest
from test_runtime import INPUTS, OUTPUTS, frames, lstm_dense

import lstm_edge
from lstm_edge import ShapeError, format, overview
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.passes import streaming

WITHOUT_NUMPY = """
import sys
sys.modules["numpy"] = None  # any import of it fails
from array import array
import lstm_edge
stream = lstm_edge.load(sys.argv[1]).stream()
out = array("f", [0.0] * 3)
for i in range(4):
    assert stream.step(array("f", [i, 1, 2, 3, 4]), out=out) is out
    assert stream.step(memoryview(array("f", [i, 1, 2, 3, 4])), out=out) is out
    assert stream.step(array("h", [i, 1, -32768, 3, 4]).tobytes(), out=out) is out
print(*out, repr(stream.model)[:16], "typing" in sys.modules)
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "m.lstm"
    path.write_bytes(lstm_dense())
    return path


def test_load_stream_and_step_do_without_numpy(path):
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-S", "-c", WITHOUT_NUMPY, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stream = lstm_edge.load(path).stream()
    for i in range(4):
        for scale in (1, 1):
            stream.step(np.array([i, 1, 2, 3, 4], np.float32) * np.float32(scale))
        answer = stream.step(np.array([i, 1, -32768, 3, 4], np.float32) / np.float32(32768))
    said = done.stdout.split()
    assert [np.float32(number) for number in said[:OUTPUTS]] == list(answer)
    assert said[OUTPUTS:] == ["<lstm_edge.Model", "False"]


WHAT_COMES_ALONG = """
import os, sys
before = set(sys.modules)
import lstm_edge
stream = lstm_edge.load(sys.argv[1]).stream()
stream.step(memoryview(bytearray(20)).cast("f"), out=memoryview(bytearray(12)).cast("f"))
print(*sorted(name for name in set(sys.modules) - before if "cython" not in name))
"""


def test_import_load_and_step_import_nearly_nothing_else(path):
    """Time is not measured: what else were imported would take it. json, re and enum take longer than the rest together."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", WHAT_COMES_ALONG, str(path)],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
    )
    ours = {"lstm_edge", "lstm_edge._core", "lstm_edge.errors", "lstm_edge.metadata"}  # the last imports nothing itself
    few = ours | {"__future__", "_json", "types", "_types"}
    assert set(done.stdout.split()) <= few, done.stderr


@pytest.mark.parametrize(
    "text", ['{"a": [1, 2.5, null, true]}', ' {"a": "\\u00e9\\n"} ', '{"a": 1e400, "b": -Infinity}']
)
def test_metadata_is_read_as_json_reads_it(text):
    assert lstm_edge._core.read_json(text) == json.loads(text)


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}x', '{"a": "\n"}', "{'a': 1}", "[1,]", "nope"])
def test_what_is_no_json_is_refused_in_its_words(text):
    with pytest.raises(ValueError) as expected:
        json.loads(text)
    with pytest.raises(ValueError) as found:
        lstm_edge._core.read_json(text)
    assert str(found.value) == str(expected.value)


def test_metadata_is_read_where_a_later_scanner_asks_for_more(monkeypatch):
    def scanner(decoder):
        assert decoder.array_hook is None  # of Python 3.15
        return decoder.what_python_does_not_ask_for_yet

    monkeypatch.setattr(lstm_edge._core, "make_scanner", scanner)
    assert lstm_edge._core.read_json('{"a": [1]}') == {"a": [1]}


def test_a_port_is_a_named_tuple(path):
    port = lstm_edge.load(path).inputs[0]
    name, shape, dtype = port
    assert (name, shape, dtype) == (port.name, port.shape, port.dtype) == ("x", ("batch", "frames", INPUTS), "float32")
    assert repr(port) == "Port(name='x', shape=('batch', 'frames', 5), dtype='float32')"
    assert port._replace(name="y") == lstm_edge.Port("y", shape, dtype) == lstm_edge.Port._make(["y", shape, dtype])
    assert port._asdict() == {"name": name, "shape": shape, "dtype": dtype}
    twin = pickled(port)
    assert twin == port and type(twin) is lstm_edge.Port and twin.__doc__


def test_help_imports_no_numpy():
    code = (
        "import sys, lstm_edge.cli as cli\ntry: cli.main(['--help'])\n"
        "except SystemExit: print([m for m in ('numpy', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.getcwd()}, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]" and "quantize" in done.stdout, done.stderr


HELP = """
import sys
before = set(sys.modules)
sys.argv[1:] = ["--help"]
from lstm_edge.__main__ import main
main()
print(*set(sys.modules) - before)
"""


def test_the_program_tells_its_commands_with_nothing_else_imported():
    """click takes three times what Python takes to start; this holds on every machine, where a time does not."""
    done = subprocess.run(
        [sys.executable, "-c", HELP], env={**os.environ, "PYTHONPATH": os.getcwd()}, capture_output=True, text=True
    )
    *_, imported = done.stdout.splitlines()
    few = {"__future__", "_json", "types", "_types", *(f"lstm_edge{m}" for m in ("", "._core", ".errors"))}
    own = {"lstm_edge.__main__", "lstm_edge.overview"}
    assert {m for m in imported.split() if "cython" not in m} <= few | own, done.stderr


@pytest.mark.parametrize("columns", [20, 64, 70, 80, 200])
def test_the_overview_is_written_as_click_writes_the_help_of_a_group(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    group = click.Group(
        commands={name: click.Command(name, short_help=about) for name, about in overview.COMMANDS.items()},
        help=overview.ABOUT,
        epilog=overview.EXIT_CODES,
        params=[click.Option(["--version"], is_flag=True, help=overview.OPTIONS["--version"])],
    )
    monkeypatch.setattr(group, "list_commands", lambda ctx: list(overview.COMMANDS))
    context = click.Context(group, info_name="lstm-edge", help_option_names=["-h", "--help"])
    assert overview.text() == group.get_help(context)


@pytest.mark.parametrize(
    "held",
    [
        lambda x: array.array("f", x),
        lambda x: memoryview(x),
        lambda x: memoryview(x).cast("B").cast("f"),
        lambda x: (ctypes.c_float * len(x))(*x),
        lambda x: x.tolist(),
    ],
)
def test_a_frame_in_any_buffer_gives_the_bits_of_an_array(path, held):
    model = lstm_edge.load(path)
    one, other = model.stream(), model.stream()
    out = array.array("f", bytes(4 * OUTPUTS))
    for x in frames(6):
        expected = one.step(x)
        np.testing.assert_array_equal(other.step(held(x), out=out), expected)
    np.testing.assert_array_equal(other.step(held(x)), one.step(x))


def test_flat_buffers_are_frames_of_several_axes():
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, 2, 3))
    g.output("y", g.add1("Unary", [x], {"kind": "tanh"}))
    streaming.apply(g)
    model = lstm_edge.load(format.to_bytes(g))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = model.stream().step(x)
    stream, flat, shaped = (
        model.stream(),
        array.array("f", range(6)),
        memoryview(bytearray(24)).cast("B").cast("f", (2, 3)),
    )
    for _ in range(2):
        out = array.array("f", bytes(24))
        assert stream.step(flat, out=out) is out and list(out) == list(expected.ravel())
        stream.step(x, out=shaped)
        assert shaped.tolist() == expected.tolist()
    pair = model.stream(2)
    np.testing.assert_array_equal(pair.step(array.array("f", [*range(6)] * 2)), [expected, expected])


@pytest.mark.parametrize("held", [bytes, bytearray, memoryview, lambda b: array.array("h", b)])
def test_pcm_is_scaled_by_the_stream(path, held):
    model = lstm_edge.load(path)
    samples = np.random.default_rng(3).integers(-32768, 32768, (5, INPUTS)).astype("<i2")
    one, other = model.stream(), model.stream()
    for x in samples:
        np.testing.assert_array_equal(other.step(held(x.tobytes())), one.step(x.astype(np.float32) / np.float32(32768)))
    with pytest.raises(ShapeError, match="expected dtype float32, found int16"):
        other.step(samples[0])
    with pytest.raises(ShapeError, match="expected dtype float32, found uint8"):
        other.step(samples[0].view(np.uint8))
    np.testing.assert_array_equal(
        pickled(other).step(held(x.tobytes())), one.step(x.astype(np.float32) / np.float32(32768))
    )


def pickled(made):
    return pickle.loads(pickle.dumps(made))


@pytest.mark.parametrize(
    "given, out, expected",
    [
        (array.array("f", [0.0] * 4), None, r"input 'x': expected a frame of shape \(5,\), 5 values, found 4"),
        (bytes(7), None, "expected samples of 2 bytes, found 7 bytes"),
        (
            array.array("f", [0.0] * 5),
            array.array("f", [0.0] * 2),
            "out: expected one writable C-contiguous float32 array",
        ),
        (array.array("f", [0.0] * 5), array.array("i", [0] * 3), "out: expected one writable"),
        (array.array("f", [0.0] * 5), bytes(12), "out: expected"),
        (array.array("f", [0.0] * 5), [0.0] * 3, "out: expected"),
    ],
)
def test_buffers_that_do_not_fit_are_named(path, given, out, expected):
    stream = lstm_edge.load(path).stream()
    good = array.array("f", [1.0] * 5)
    for _ in range(2):  # before any step and after one
        with pytest.raises(ShapeError, match=expected):
            stream.step(given, out=out)
        stream.step(good)


def written(path, inputs, units):
    """A file of an LSTM and a Dense layer of random weights."""
    rng = np.random.default_rng(1)
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, inputs))
    weights = [g.constant(rng.normal(size=(1, 4 * units, n)).astype(np.float32)) for n in (inputs, units)]
    y = g.add("LSTM", [x, *weights], {}, "lstm")[0]
    g.output("y", g.add1("Dense", [y, g.constant(rng.normal(size=(64, units)).astype(np.float32))], {}, "dense"))
    streaming.apply(g)
    path.write_bytes(format.to_bytes(g))
    return path


HELD = """
import os, sys
import lstm_edge

def private():
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))

models = [lstm_edge.load(sys.argv[1])]  # what the interpreter keeps of a first call is not the model's
models[0].stream()
for path in sys.argv[2:]:
    before = private()
    models.append(lstm_edge.load(path))
    print(private() - before, end=" ")
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="needs the memory map of Linux 4.14")
def test_a_loaded_model_holds_its_packed_weights_and_little_else(tmp_path):
    """Dirty pages of a process that loads one model after the other: none may leave its file's bytes behind."""
    paths = [written(tmp_path / f"{n}.lstm", n, n) for n in (16, 96, 128, 256, 384)]
    paths += paths[2:]
    done = subprocess.run(
        [sys.executable, "-c", HELD, *map(str, paths)],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for path, held in zip(paths[1:], done.stdout.split()):
        size = path.stat().st_size
        assert lstm_edge.load(path).nbytes <= 1.1 * size
        assert 1024 * int(held) <= 1.1 * size + 48 * 1024, (path.name, size, done.stdout)


def test_a_small_op_costs_little_beside_its_weights():
    """200 of them: what a node holds is its record, its attributes and what it packed, not a room for each."""
    g = Graph()
    y = g.input("x", (BATCH, FRAMES, 2))
    for _ in range(200):
        y = g.add1("Unary", [y], {"kind": "tanh"})
    g.output("y", y)
    streaming.apply(g)
    assert lstm_edge.load(format.to_bytes(g)).nbytes <= 200 * 560


def test_a_file_that_tells_no_size_is_read_whole(path, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()))
    writer.start()
    assert lstm_edge.load(pipe).ops == lstm_edge.load(path).ops
    writer.join()
