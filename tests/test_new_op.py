"""CONTRIBUTING.md's list of what a new op needs is complete: y = 2x, added to a copy of the tree by the places it names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COPIED = ("LICENSE", "docs", "lstm_edge", "src_c", "tests", "tools", "build", "pyproject.toml", "setup.py", "README.md")
LEFT = shutil.ignore_patterns("golden", "sanitize", "c", "__pycache__", "*.so", "lib.*")

C_FILE = """/* y = 2x. */
#include "ops.h"

le_status le_pack_twice(le_pack_ctx *ctx) {
    static const char *const keys[] = {NULL};
    return le_attr_check(ctx, keys);
}

le_status le_shape_twice(le_ctx *ctx) {
    LE_TRY(le_expect_dtype(ctx, 0, LE_F32));
    le_like(ctx->out[0], ctx->in[0], LE_F32);
    return LE_OK;
}

le_status le_run_twice(le_ctx *ctx) {
    const float *x = ctx->in[0]->data;
    float *y = ctx->out[0]->data;
    for (int64_t i = 0; i < le_count(ctx->in[0]); i++)
        y[i] = 2 * x[i];
    return LE_OK;
}
"""
# By place as CONTRIBUTING.md lists them: the file, and what is put in front of a text that stands there once.
PLACES: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "docs/ops.md": ("docs/ops.md", [("| Where |", "| Twice | x -> y (same shape) | |\n")]),
    "lstm_edge/ir/ops/": (
        "lstm_edge/ir/ops/elementwise.py",
        [
            (
                "def _where(",
                'def _twice(c: Call) -> Result:\n    return [(c.dtype("x", "float32"), c.shape("x"))]\n\n\n',
            ),
            ('    "Where": row(', '    "Twice": row("x", "y", _twice, MAPS),\n'),
        ],
    ),
    "lstm_edge/reference/": (
        "lstm_edge/reference/elementwise.py",
        [
            (
                "def _where(",
                "def _twice(node: Node, a: Attrs, arrays: list[Array]) -> Array:\n    return 2 * arrays[0]\n\n\n",
            ),
            ('"Where": _where', '"Twice": _twice, '),
        ],
    ),
    "src_c/ops.def": ("src_c/ops.def", [("OP(Where,", "OP(Twice, twice, 1, 1, 1, 1)\n")]),
    "src_c/ops/": ("src_c/ops/twice.c", [("", C_FILE)]),
    "tests/strategies.py": (
        "tests/strategies.py",
        [
            (
                "@strategy\ndef where(",
                '@strategy\ndef twice(b: Builder) -> None:\n    b.add("Twice", [b.at_run(b.wild(*b.shape(0, 3)))])\n\n\n',
            )
        ],
    ),
}


def with_edits(text: str, edits: list[tuple[str, str]]) -> str:
    for marker, added in edits:
        assert not marker or text.count(marker) == 1, marker
        text = text.replace(marker, added + marker, 1)
    return text


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> tuple[Path, dict[str, str | None]]:
    """A copy with the new op and a core built from it, and its edited files as they were."""
    copy = tmp_path_factory.mktemp("new_op")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=LEFT)
        elif (ROOT / name).exists():
            shutil.copy2(ROOT / name, copy)
    before: dict[str, str | None] = {}
    for file, edits in PLACES.values():
        path = copy / file
        before[file] = path.read_text(encoding="utf-8") if path.exists() else None
        path.write_text(with_edits(before[file] or "", edits), encoding="utf-8")
    # Objects are taken to depend on every header. A row more in ops.def changes only the table, so only that is stale.
    table, rows = copy / "src_c/ops/table.c", copy / "src_c/ops.def"
    os.utime(rows, (os.stat(table).st_atime, os.stat(ROOT / "src_c/ops.def").st_mtime))
    table.touch()
    build = f"env $(tools/python_headers.sh {sys.executable}) {sys.executable} setup.py -q build_ext --inplace"
    subprocess.run(["sh", "-c", build], cwd=copy, check=True)
    return copy, before


def run_tests(copy: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)


def test_the_list_is_contributings():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## A new op\n")[1].split("\n## ")[0]
    assert re.findall(r"^\d\. `([^`]+)`:", section, re.MULTILINE) == list(PLACES)
    assert len(PLACES) <= 6


def test_the_op_runs_and_is_tested(tree):
    files = (f"tests/test_{name}.py" for name in ("op_table", "ops", "shapes"))
    result = run_tests(tree[0], *files, "-k", "Twice or everywhere or time_passes")
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(re.search(r"(\d+) passed", result.stdout)[1]) >= 7


@pytest.mark.parametrize("place", PLACES)
def test_a_place_left_out_is_missed(tree, place):
    copy, before = tree
    file = PLACES[place][0]
    path, original = copy / file, before[file]
    edited = path.read_text(encoding="utf-8")
    try:
        path.write_text(original, encoding="utf-8") if original is not None else path.unlink()
        result = run_tests(copy, "tests/test_op_table.py", "-k", "everywhere")
    finally:
        path.write_text(edited, encoding="utf-8")
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{{'{place.rstrip('/')}': ['Twice']}}" in result.stdout, result.stdout
