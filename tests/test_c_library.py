"""The C library as its users get it: configured, built and installed by CMake, then used from an empty folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest

import lstm_edge

ROOT = Path(__file__).parent.parent
HEADER = (ROOT / "src_c/lstm_edge.h").read_text()
MAP = ROOT / "src_c/library/exports.map"
EXAMPLES = ROOT / "examples"

needs_cmake = pytest.mark.skipif(
    not all(map(shutil.which, ("cmake", "pkg-config", "c++", "nm"))) or os.name != "posix",
    reason="expected cmake, pkg-config and a C++ compiler: apt install cmake pkg-config g++",
)


def run(*command, env=None, cwd=None):
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, env={**os.environ, **(env or {})}, cwd=cwd
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def declared():
    """The functions of the header."""
    return sorted(re.findall(r"^LE_API .*?\b(le_\w+)\(", HEADER, re.MULTILINE))


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Where the library is installed. What is tested is how it is built and found, so it is compiled without optimisation, in a quarter of the time."""
    build = tmp_path_factory.mktemp("build")
    prefix = tmp_path_factory.mktemp("prefix")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    run(
        "cmake",
        *generator,
        "-S",
        ROOT,
        "-B",
        build,
        f"-DCMAKE_INSTALL_PREFIX={prefix}",
        "-DLSTM_EDGE_EXTRA_FLAGS=-O0;-g",
    )
    run("cmake", "--build", build, "--parallel", str(os.cpu_count()))
    run("cmake", "--install", build)
    return prefix


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An amplifier of a few units: a sample in, a sample out."""
    rng, units = np.random.default_rng(5), 6
    cell = [rng.normal(size=s).tolist() for s in ((1, 4 * units), (units, 4 * units), (4 * units,))]
    dense = [rng.normal(size=s).tolist() for s in ((units, 1), (1,))]
    layers = [
        {"type": "lstm", "activation": "tanh", "shape": [None, None, units], "weights": cell},
        {"type": "dense", "activation": "", "shape": [None, None, 1], "weights": dense},
    ]
    path = tmp_path_factory.mktemp("model") / "amp.lstm"
    network = json.dumps({"in_shape": [None, None, 1], "layers": layers}).encode()
    lstm_edge.convert(network, path, self_test=False)
    return path


def library(prefix, name):
    return next(p for folder in ("lib", "lib64") for p in prefix.glob(f"{folder}/**/{name}"))


def environment(prefix):
    folder = library(prefix, "liblstm_edge.so").parent
    return {"PKG_CONFIG_PATH": str(folder / "pkgconfig"), "LD_LIBRARY_PATH": str(folder)}


def answers(model, x):
    return lstm_edge.load(model).run(x.reshape(1, -1, 1)).ravel()


def check_step(program, model, env):
    ramp = np.arange(8, dtype=np.float32) / 8
    got = np.array(run(program, model, env=env).split(), np.float32)
    assert got.tobytes() == answers(model, ramp).tobytes()


def check_host(program, model, folder):
    """A .wav through the plug-in in blocks of random sizes: the bits of one whole call."""
    x = np.random.default_rng(7).integers(-32768, 32767, 5000).astype("<i2")
    with wave.open(str(folder / "in.wav"), "wb") as file:
        file.setparams((1, 2, 48000, 0, "NONE", ""))
        file.writeframes(x.tobytes())
    assert run(program, model, folder / "in.wav", folder / "out.wav") == "5000 samples\n"
    sound = (folder / "out.wav").read_bytes()
    assert sound[-20000:] == answers(model, x.astype(np.float32) / 32768).tobytes()


def test_the_version_stands_once():
    text = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert text == ".".join(re.search(rf"LE_VERSION_{part} (\d+)", HEADER)[1] for part in ("MAJOR", "MINOR", "PATCH"))


def test_every_function_of_the_header_is_exported():
    assert re.findall(r"^ +(le_\w+);", MAP.read_text(), re.MULTILINE) == declared()


def test_the_header_is_plain_c_and_c_plus_plus():
    for language, standard in ("c", "c99"), ("c++", "c++11"):
        flags = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-x", language, f"-std={standard}"]
        run("cc", *flags, ROOT / "src_c/lstm_edge.h")


@pytest.mark.parametrize("flags", ["-std=c++17", "-std=c++20", "-std=c++17 -fno-exceptions"])
def test_the_cpp_header_compiles(flags):
    run(
        "c++",
        *flags.split(),
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pedantic",
        "-fsyntax-only",
        "-x",
        "c++",
        ROOT / "src_c/lstm_edge.hpp",
    )


@needs_cmake
def test_the_shared_library_shows_the_header_and_needs_no_threads(prefix):
    lib = library(prefix, "liblstm_edge.so")
    shown = [line.split()[2] for line in run("nm", "-D", "--defined-only", lib).splitlines() if " A " not in line]
    assert sorted(shown) == [f"{name}@@LSTM_EDGE_0.1" for name in declared()]
    assert lib.resolve().name.startswith("liblstm_edge.so.0.1") and "pthread" not in run("nm", "-D", "-u", lib)
    static = run("nm", library(prefix, "liblstm_edge.a"))
    assert "le_model_load" in static


@needs_cmake
def test_examples_are_built_by_find_package(prefix, model, tmp_path):
    shutil.copytree(EXAMPLES / "c", tmp_path / "c")
    shutil.copytree(EXAMPLES / "cpp", tmp_path / "cpp")
    run("cmake", "-S", tmp_path / "cpp", "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", tmp_path / "build", "--parallel", "2")
    check_step(tmp_path / "build/step", model, None)
    check_host(tmp_path / "build/host_loop", model, tmp_path)


@needs_cmake
def test_the_example_is_built_by_pkg_config(prefix, model, tmp_path):
    env = environment(prefix)
    run("sh", "-c", f"cc {EXAMPLES}/c/step.c $(pkg-config --cflags --libs lstm_edge) -o step", env=env, cwd=tmp_path)
    check_step(tmp_path / "step", model, env)


@needs_cmake
def test_an_audio_thread_allocates_nothing_and_asks_the_system_for_nothing(prefix, model, tmp_path):
    flags = ["-std=c++17", "-O1", f"-I{prefix}/include", ROOT / "tests/c/realtime.cpp"]
    run("c++", *flags, library(prefix, "liblstm_edge.a"), "-lm", "-o", tmp_path / "realtime")
    code = subprocess.run([tmp_path / "realtime", model, "64"]).returncode
    if code == 5:
        pytest.skip("seccomp: this system refuses it; allocations were counted")
    assert code == 0


@needs_cmake
def test_the_abi_is_what_was_written_down(prefix):
    if not shutil.which("abidiff"):
        pytest.skip("expected abidiff: apt install abigail-tools")
    lib = library(prefix, "liblstm_edge.so")
    run("abidiff", "--no-added-syms", "--hd2", prefix / "include", ROOT / "src_c/library/abi.xml", lib)
