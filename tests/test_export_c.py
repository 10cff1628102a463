"""export-c: the folder compiles as strict C99 and answers with the scalar table's bits."""

import os
import shutil
import subprocess

import cortex_m
import numpy as np
import pytest

from lstm_edge import format, quantize
from lstm_edge.export_c import bundle, export_c
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.passes import pipeline

RNG = np.random.default_rng(3)
COMPILER = shutil.which("cc") or shutil.which("gcc")


def weights(graph, *shape):
    return graph.constant(RNG.normal(0, 0.4, shape).astype(np.float32))


def recurrent(op, gates, **attrs):
    """A layer and a Dense with sigmoid, frame by frame."""
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, 3))
    y = g.add(
        op, [x, weights(g, 1, gates * 9, 3), weights(g, 1, gates * 9, 9), weights(g, 1, gates * 9)], attrs, "layer"
    )
    g.output("y", g.add1("Dense", [y[0], weights(g, 2, 9), weights(g, 2)], {"activation": "sigmoid"}))
    return g


def convolution():
    """Its window fills up: the first two steps give nothing."""
    g = Graph()
    x = g.input("x", (BATCH, 3, FRAMES))
    g.output("y", g.add1("Conv", [x, weights(g, 5, 3, 3), weights(g, 5)], {"activation": "relu"}))
    return g


def planes():
    """A convolution over many positions of each frame, padding, and a sum over an axis."""
    g = Graph()
    x = g.input("x", (BATCH, 8, FRAMES, 41))
    y = g.add1("Conv", [x, weights(g, 16, 8, 1, 1), weights(g, 16)], {"activation": "leaky_relu", "alpha": 0.3})
    y = g.add1("Pad", [y], {"pads": [0, 0, 0, 1, 0, 0, 0, 2]})
    g.output("y", g.add1("Reduce", [y], {"kind": "sum_square", "axes": [3], "keepdims": 0}))
    return g


def frameless():
    """No input has an axis of frames: a step is a call. Softmax takes powers, which no layer here has as its activation."""
    g = Graph()
    x = g.input("x", (BATCH, 3))
    y = g.add1("Dense", [x, weights(g, 2, 3), weights(g, 2)], {"activation": "tanh"})
    g.output("y", g.add1("Softmax", [y], {"axis": -1}))
    return g


def transforms():
    """Of an even and an odd number of points, there and back: factors 2, 3, 4 and 5, and 7, which goes another way."""
    g = Graph()
    g.output("y", g.add1("Rfft", [g.input("x", (BATCH, FRAMES, 100))], {"n": 120}))
    g.output("z", g.add1("Irfft", [g.input("s", (BATCH, FRAMES, 2, 11))], {"n": 21}))
    return g


def program(graph, folder, narrow=None):
    """What the compiled folder prints."""
    pipeline(graph)
    path = folder / "net.lstm"
    path.write_bytes(format.to_bytes(graph))
    if narrow:
        quantize(path, path, weights=narrow)
    export_c(path, folder / "c")
    # A make above this test, as of `make test`, would hand on its flags, and have this one name its folders.
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = ["make", "-s", "-C", str(folder / "c"), f"CC={COMPILER}", "CFLAGS=-O1", "test"]
    made = subprocess.run(command, capture_output=True, text=True, env=alone)
    return made.stdout + made.stderr


@pytest.mark.parametrize(
    "graph, narrow",
    [
        (lambda: recurrent("LSTM", 4), None),
        (lambda: recurrent("LSTM", 4), "int8"),
        (lambda: recurrent("GRU", 3, reset_after=0), "float16"),
        (convolution, None),
        (planes, None),
        (frameless, None),
    ],
    ids=["lstm", "lstm int8", "gru float16", "conv", "planes", "no frames"],
)
def test_answers_have_the_scalar_bits(graph, narrow, tmp_path):
    assert program(graph(), tmp_path, narrow).startswith("PASS")


def test_an_installed_package_writes_what_a_checkout_writes(tmp_path, monkeypatch):
    """A wheel carries the sources cut and compressed: the same programs come of them."""
    archive = tmp_path / "core.xz"
    archive.write_bytes(bundle.pack(bundle.CHECKOUT))
    monkeypatch.setattr(bundle, "ARCHIVE", archive)
    for name, graph in (("lstm", recurrent("LSTM", 4)), ("planes", planes())):
        (tmp_path / name).mkdir()
        assert program(graph, tmp_path / name).startswith("PASS"), name


def test_what_another_model_left_in_the_folder_is_named_and_not_compiled(tmp_path):
    graph = frameless()
    pipeline(graph)
    (tmp_path / "net.lstm").write_bytes(format.to_bytes(graph))
    (tmp_path / "c").mkdir()
    (tmp_path / "c/le_old.c").write_text("#error left over\n")
    assert export_c(tmp_path / "net.lstm", tmp_path / "c").others == ["le_old.c"]
    makefile = (tmp_path / "c/Makefile").read_text()
    assert "le_softmax.c" in makefile and "le_old.c" not in makefile and "wildcard" not in makefile


def test_other_recurrences_and_names_that_c_has_itself(tmp_path):
    """IntegerLSTM asks at run which inputs there are, ConvLSTM may be traced, and no op of the last two has weights."""
    g = Graph()
    image = g.input("plan", (BATCH, FRAMES, 3, 8))
    g.output("plan!", g.add("ConvLSTM", [image, weights(g, 8, 2, 2), "", ""], {})[0])
    whole = [g.constant(RNG.integers(-128, 128, (1, 8, n)).astype(np.int32)) for n in (3, 2)]
    scales = {"x_scale": [0.01] * 4, "h_scale": [0.01] * 4, "peephole_scale": [0.01] * 3, "norm_scale": [0.01] * 4}
    attrs = {**scales, "hidden_scale": 2.0**-23, "proj_scale": 0.004, "hidden_bounds": [-128, 127], "cell_bits": 11}
    x = g.input("short", (BATCH, FRAMES, 3), "int32")
    g.output("short!", g.add("IntegerLSTM", [x, *whole], attrs | {"state_bounds": [-128, 127]})[0])
    for name in ("a.b", "a b"):
        g.output(f"{name}!", g.add1("Unary", [g.input(name, (BATCH, FRAMES, 2))], {"kind": "neg"}))
    assert program(g, tmp_path).startswith("PASS")


@pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm"))),
    reason="expected arm-none-eabi-gcc and qemu-system-arm: apt install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm",
)
def test_a_cortex_m4_answers_with_the_scalar_bits(tmp_path):
    graph = recurrent("LSTM", 4)
    pipeline(graph)
    (tmp_path / "net.lstm").write_bytes(format.to_bytes(graph))
    export_c(tmp_path / "net.lstm", tmp_path / "c")
    assert cortex_m.replay("cortex-m4", tmp_path / "c", tmp_path, "-O1") == "PASS: 16 steps, every bit"
