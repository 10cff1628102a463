"""A copy of the tree outside the repository with a core of its own: other flags, faults, counters. The tree and its extension stay as they are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = (
    "docs",
    "lstm_edge",
    "src_c",
    "tests",
    "tools",
    "examples",
    "Makefile",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
)
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.so")


class CoreCopy:
    """The tree under `folder`. The Makefile builds objects and C tests there; Cython's part of the extension is built once, without `flags`.

    level: the optimisation of every file of the core (-O0, -O1) but the kernels, which have -O1: their loops are unrolled by inlining, whose branches on
    constants are none. flags: given to compiler and linker.
    """

    def __init__(self, folder: Path, level: str, flags: str = "") -> None:
        self.folder = folder
        self.flags = flags
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=LEFT_OUT)
            else:
                shutil.copy2(source, folder / name)
        compiled_by = folder / "src_c/flags.mk"
        text = re.sub(
            r"(?m)^(FLAGS_(?:avx|neon|scalar).*)-O[23]", r"\1-O1", compiled_by.read_text() + "FLAGS_scalar = -O1\n"
        )
        compiled_by.write_text(re.sub("-O[23]", level, text))
        self.build_layer()

    def run(
        self, *command: str | Path, limit: float | None = None, **surroundings: str
    ) -> subprocess.CompletedProcess[str]:
        """In the copy, without the LSTM_EDGE_ variables that are set here. limit: seconds of processor time; twenty times as many by the clock, as the
        machine may be busy with other things. Raises subprocess.TimeoutExpired past the clock's; past the processor's, the command is killed."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LSTM_EDGE_")} | surroundings
        limited = ["prlimit", f"--cpu={limit:.0f}"] if limit else []
        return subprocess.run(
            [*limited, *map(str, command)], cwd=self.folder, env=environment, capture_output=True, text=True, errors="replace",
            timeout=20 * limit if limit else None,
        )  # fmt: skip

    def must(self, *command: str | Path) -> None:
        done = self.run(*command)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")

    def make(self, build: str) -> str:
        """Objects and C tests in the folder `build` of the copy; what the compiler says where it fails."""
        done = self.run(
            "make",
            "-s",
            f"-j{os.cpu_count()}",
            "build-test-c",
            f"C_BUILD={build}",
            f"SANITIZE_FLAGS=-fPIC {self.flags}",
        )
        return "" if done.returncode == 0 else done.stderr or "make failed"

    def build_layer(self) -> None:
        python = sysconfig.get_paths()["include"]
        self.must(sys.executable, "-m", "cython", "-3", "lstm_edge/_core.pyx", "-o", "_core.c")
        self.must("gcc", "-O0", "-fPIC", "-Isrc_c", f"-I{python}", "-c", "_core.c", "-o", "_core.o")

    def link(self, build: str) -> None:
        """The extension of the copy, of the objects in `build`."""
        objects = [p for p in (self.folder / build).rglob("*.o") if p.parent.name != "tests"]
        module = self.folder / "lstm_edge" / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
        self.must("gcc", "-shared", *self.flags.split(), "-o", module, "_core.o", *objects, "-lm", "-lpthread")

    def c_tests(self, build: str) -> list[Path]:
        return [p for p in sorted((self.folder / build / "tests").glob("test_*")) if not p.suffix]

    def pytest(
        self, files: list[str], limit: float, *options: str, profile: str = "emulated"
    ) -> subprocess.CompletedProcess[str]:
        """Those of the test files that exist; profile: hypothesis's, of tests/conftest.py."""
        present = [name for name in files if (self.folder / name).exists()]
        return self.run(
            sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, *present,
            limit=limit, HYPOTHESIS_PROFILE=profile, OMP_NUM_THREADS="1", PYTHONFAULTHANDLER="1",
        )  # fmt: skip
