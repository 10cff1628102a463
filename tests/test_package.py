"""What the package promises about itself: light imports, the stable ABI, one version, a public face with docstrings."""

from __future__ import annotations

import ast
import platform
import re
import runpy
import subprocess
import sys
import sysconfig
from pathlib import Path

import Cython.Build
import pytest
import setuptools
from shared import ROOT

import lstm_edge
from lstm_edge.cli import EXTRAS
from lstm_edge.files import toml

HEAVY = (
    *("click", "rich", "onnx", "onnxruntime", "h5py", "torch", "keras", "tensorflow", "flatbuffers", "safetensors"),
    *("pandas", "optuna", "tensorboard", "matplotlib", "ncnn", "soxr"),
)


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="guards: x86-64 Linux")
def test_what_reads_files_guards_its_stack():
    assert b"__stack_chk_fail" in Path(lstm_edge._core.__file__).read_bytes()


def imported_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sorted(m.split('.')[0] for m in sys.modules)))"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.split()
    )


def test_import_brings_only_numpy():
    assert not imported_by("import lstm_edge") & set(HEAVY)


def test_convert_and_verify_import_no_framework():
    heavy = set(HEAVY) - {"click", "rich"}
    assert not imported_by("import lstm_edge; lstm_edge.convert; lstm_edge.verify; import lstm_edge.bench") & set(HEAVY)
    assert not imported_by("import lstm_edge.cli, lstm_edge.cli.train") & heavy


@pytest.mark.parametrize("module", ["click", "rich"])
def test_the_command_names_its_extra_where_it_is_missing(module):
    code = f"import sys; sys.modules[{module!r}] = None; import lstm_edge.__main__"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"expected the module '{module}', found none; pip install 'lstm-edge[cli]'" in done.stderr


def test_extras_are_declared():
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = toml.loads(file.read().decode())["project"]
    assert [re.match(r"[\w-]+", d)[0] for d in project["dependencies"]] == [
        "numpy",
        "tomli",
    ]  # tomli before Python 3.11
    assert {"cli", *EXTRAS.values()} <= set(project["optional-dependencies"])


def imports_inside_functions(tree: ast.AST) -> set[str]:
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    found: set[str] = set()
    for node in (n for f in functions for n in ast.walk(f)):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or "").split(".")[0])
    return found


def test_functions_import_optional_libraries_alone():
    """What is always there is imported at the top; an import of our own inside a function hides a circle."""
    for path in (ROOT / "lstm_edge").rglob("*.py"):
        strangers = imports_inside_functions(ast.parse(path.read_text())) - {
            *HEAVY,
            "google",
        }  # onnx brings google.protobuf
        assert not strangers, f"{path.relative_to(ROOT)}: {strangers}"


def test_extension_is_built_for_the_stable_abi():
    import lstm_edge._core

    assert lstm_edge._core.__file__.endswith(".abi3.so")


def test_building_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    monkeypatch.setattr(Cython.Build, "cythonize", lambda extensions, **_: extensions)
    build = runpy.run_path(str(ROOT / "setup.py"))
    monkeypatch.delenv("CPATH", raising=False)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(
        SystemExit, match=r"^error: Python.h: expected in \S+ .*, found none; .*: apt install python3-dev"
    ):
        build["check_headers"](["gcc"])
    (tmp_path / "Python.h").touch()
    build["check_headers"](["gcc"])
    with pytest.raises(SystemExit, match="^error: compiler: expected gcc of mingw-w64 or clang, found MSVC"):
        build["check_windows_compiler"]("msvc", [])
    with pytest.raises(SystemExit, match="^error: compiler: expected gcc of mingw-w64 on PATH .* found no no-such-gcc"):
        build["check_windows_compiler"]("mingw32", ["no-such-gcc"])


def test_one_version():
    with open(ROOT / "pyproject.toml", "rb") as file:
        assert toml.loads(file.read().decode())["project"]["version"] == lstm_edge.__version__
    assert f"## {lstm_edge.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_public_names_exist_and_say_what_they_do():
    for name in lstm_edge.__all__:
        assert getattr(lstm_edge, name).__doc__, name


def test_every_package_folder_is_installed():
    from setuptools import find_packages

    with open(ROOT / "pyproject.toml", "rb") as file:
        included = toml.loads(file.read().decode())["tool"]["setuptools"]["packages"]["find"]["include"]
    listed = set(find_packages(str(ROOT), include=included))
    folders = {str(p.parent.relative_to(ROOT)).replace("/", ".") for p in (ROOT / "lstm_edge").rglob("*.py")}
    assert listed == folders


def test_every_kernel_row_has_a_file():
    rows = re.findall(r"^ISA\((\w+),", (ROOT / "src_c/kernels.def").read_text(), re.MULTILINE)
    assert rows and all((ROOT / f"src_c/kernels/{name}.c").exists() for name in rows)
    assert next(name for name, _ in lstm_edge.isas()) == "scalar"


def test_functions_hide_the_modules_of_their_names():
    code = "from lstm_edge.convert import to_graph; import lstm_edge.quantize.report; print(lstm_edge.convert, lstm_edge.quantize)"
    out = subprocess.run(
        [sys.executable, "-c", f"import lstm_edge; {code}"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert out.stdout.count("<function") == 2


def test_an_isa_is_named_where_contributing_says():
    """Its file, its row, its flags; cpu.c knows CPU features, not ISAs."""
    rows = re.findall(r"^ISA\((\w+), ", (ROOT / "src_c/kernels.def").read_text(), re.MULTILINE)
    assert {name for name, _ in lstm_edge.isas()} <= set(rows)
    parts = [
        path
        for folder in ("src_c", "lstm_edge")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".c", ".h", ".inc", ".def", ".mk", ".py", ".pyx", ".pxd")
    ]
    texts = {path: path.read_text() for path in [*parts, ROOT / "setup.py", ROOT / "Makefile"]}
    for isa in ("avxvnni", "neon_dotprod", "neon32"):  # the others' names are or begin words for CPU features, too
        assert isa in rows
        word = re.compile(rf"(?<![a-zA-Z0-9]){isa}(?![a-zA-Z0-9])")
        found = {path.relative_to(ROOT).as_posix() for path, text in texts.items() if word.search(text)}
        assert found == {f"src_c/kernels/{isa}.c", "src_c/kernels.def", "src_c/flags.mk"}
