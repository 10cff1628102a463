"""The public names as tools see them: dir(), docstrings, and the shipped stubs under mypy --strict in a user's own file."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lstm_edge

ROOT = Path(__file__).resolve().parents[1]
USER = '''\
"""A user's own program: what it reads of the stubs is revealed."""
from array import array
from pathlib import Path

import numpy as np

import pytest

import lstm_edge
from lstm_edge import LstmEdgeError, Model, Port, ShapeError, Stream


def open_stream(path: Path) -> Stream:
    model: Model = lstm_edge.load(path)
    reveal_type(model.inputs)  # tuple[Port, ...]
    reveal_type(model.inputs[0].shape)  # tuple[int | str, ...] | None
    reveal_type(model.metadata)  # dict[str, Any]
    reveal_type(model.nbytes)  # int
    reveal_type(model.ops)  # list[tuple[str, str]]
    return model.stream(batch=2)


def main() -> None:
    stream = open_stream(Path("vad.lstm"))
    frame = np.zeros((2, 512), np.float32)
    reveal_type(stream.step(frame))  # ndarray[Any, dtype[Any]] | Any
    reveal_type(stream.step(frame.tobytes(), out=array("f", [0.0])))  # array[float] | None
    reveal_type(stream.state)  # dict[str, ndarray[Any, dtype[Any]]]
    reveal_type(stream.batch)  # int
    reveal_type(lstm_edge.isas())  # list[tuple[str, bool]]
    reveal_type(lstm_edge.load(b"", isa="scalar").run(frame))  # ndarray[Any, dtype[Any]] | Any
    report = lstm_edge.verify("vad.lstm")
    reveal_type(report.passed)  # bool
    small, cost = lstm_edge.quantize("vad.lstm", precision="int8")
    reveal_type(small)  # Model
    reveal_type(cost.max_error)  # float
    try:
        lstm_edge.convert("vad.onnx", "vad.lstm")
    except ShapeError as error:
        reveal_type(error.message)  # str
    except LstmEdgeError:
        port: Port = stream.model.outputs[0]
        print(port.name)
'''


def plain(text: str) -> str:
    """A revealed type without its modules and versions' ways to write them."""
    for prefix in ("builtins.", "lstm_edge._core.", "numpy.", "array.", "Union["):
        text = text.replace(prefix, "")
    return text.replace("ndarray[tuple[Any, ...], dtype[Any]]", "ndarray[Any, dtype[Any]]")


def test_a_users_file_passes_mypy_strict_with_the_types_it_expects(tmp_path):
    assert 38 <= len(USER.splitlines()) <= 44
    (tmp_path / "user.py").write_text(USER)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--python-version",
        "3.11",
        "--cache-dir",
        str(ROOT / ".mypy_cache"),
        "user.py",
    ]
    environment = {"MYPYPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "error:" not in done.stdout, done.stdout + done.stderr
    lines = USER.splitlines()
    found = 0
    for line in done.stdout.splitlines():
        if "Revealed type is" in line:
            number = int(line.split(":")[1])
            expected = lines[number - 1].split("  # ")[1]
            got = plain(line.split('"')[1])
            assert got.replace("tuple[str, tuple[int | str, ...] | None, str, fallback=Port]", "Port") == expected, (
                number,
                got,
            )
            found += 1
    assert found == USER.count("reveal_type(")


def test_dir_shows_the_public_names():
    shown = [name for name in dir(lstm_edge) if not name.startswith("_")]
    assert shown == sorted(lstm_edge.__all__)


@pytest.mark.parametrize("cls", [lstm_edge.Model, lstm_edge.Stream])
def test_what_completion_shows_is_documented(cls):
    pages = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    shown = [name for name in dir(cls) if not name.startswith("_")]
    assert [name for name in shown if not re.search(rf"`[^`\n]*\b{name}\b|\.{name}\b", pages)] == []


def test_everything_public_says_what_it_is():
    """Names of the package, and of the classes that it gives; what begins with an underscore, and the layouts of insight, are its own."""
    silent = [name for name in lstm_edge.__all__ if not inspect.getdoc(getattr(lstm_edge, name))]
    for cls in (lstm_edge.Model, lstm_edge.Stream, lstm_edge.Port):
        silent += [
            f"{cls.__name__}.{n}"
            for n in vars(cls)
            if not n.startswith("_") and callable(getattr(cls, n)) and not inspect.getdoc(getattr(cls, n))
        ]
    assert silent == []
