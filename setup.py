"""Builds lstm_edge._core for Python's stable ABI: the C core with flags per kernel file, and the Cython layer on top.

Linux, macOS and other POSIX systems: the compiler that built Python, or CC. Windows: gcc of mingw-w64, or CC=clang; MSVC has no vectors of GNU C.

LSTM_EDGE_SANITIZE=1 builds with ASan and UBSan (run Python with LD_PRELOAD="$(gcc -print-file-name=libasan.so)").
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 9):  # noqa: UP036 (older ones get here, pip looks later)
    raise SystemExit(f"error: lstm-edge needs Python 3.9 or later, found {sys.version_info[0]}.{sys.version_info[1]}")

import importlib
import os
import shutil
import subprocess
import sysconfig
import types
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
LAYER = "lstm_edge/_core.pyx"
STABLE_ABI = "0x030B0000"  # CPython 3.11 and later: the first whose stable ABI has buffers
# Older Pythons get a wheel of their own, and so does one without a global lock, which has no stable ABI.
STABLE = sys.version_info >= (3, 11) and not sysconfig.get_config_var("Py_GIL_DISABLED")
WINDOWS = sys.platform == "win32"
SANITIZE = os.environ.get("LSTM_EDGE_SANITIZE") == "1"
ARCHITECTURES = {"__x86_64__": "x86", "__i386__": "x86_32", "__aarch64__": "arm64", "__arm__": "arm32"}


def read_flags() -> dict[str, list[str]]:
    """The variables of src_c/flags.mk."""
    flags = {}
    for line in (ROOT / "src_c/flags.mk").read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            flags[name.strip()] = value.split()
    return flags


def relative(pattern: str) -> list[str]:
    return sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob(pattern))


FLAGS = read_flags()
HEADERS = [h for kind in ("h", "inc", "def", "mk") for h in relative(f"src_c/**/*.{kind}")] + ["setup.py"]


def target_flags(compiler: list[str]) -> tuple[str | None, list[str]]:
    """The architecture that the compiler makes code for, as src_c/flags.mk names it (under a cross compiler not this machine's; None: another),
    and the flags that every file gets for it."""
    command = [*compiler, "-dM", "-E", "-x", "c", os.devnull]
    macros = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    architecture = next((name for macro, name in ARCHITECTURES.items() if macro in macros), None)
    mingw_gcc = "__MINGW32__" in macros and "__clang__" not in macros
    return architecture, FLAGS.get(f"C_FLAGS_{architecture}", []) + (FLAGS["C_FLAGS_mingw"] if mingw_gcc else [])


def check_windows_compiler(kind: str, compiler: list[str]) -> None:
    """Ends with what to use where the compiler is none that takes the kernels."""
    if kind == "msvc":
        raise SystemExit(
            "error: compiler: expected gcc of mingw-w64 or clang, found MSVC, which has no vectors of GNU C: leave out --compiler=msvc"
        )
    if not shutil.which(compiler[0]):
        raise SystemExit(
            f"error: compiler: expected gcc of mingw-w64 on PATH (or CC=clang), found no {compiler[0]}: winget install BrechtSanders.WinLibs.POSIX.UCRT"
        )


def file_flags(source: str, architecture: str | None) -> list[str]:
    """The flags of one file of the core beside everyone's."""
    name = Path(source).stem
    guarded = name in FLAGS["GUARDED_FILES"] and not WINDOWS and not SANITIZE
    guard = FLAGS.get(f"GUARD_FLAGS_{architecture}", []) if guarded else []
    return guard + FLAGS.get(f"FLAGS_{name}", []) + FLAGS.get(f"FLAGS_{name}_{architecture}", [])


def check_headers(compiler: list[str]) -> None:
    """Ends with the package that brings Python.h where the compiler does not find it."""
    include = sysconfig.get_path("include")
    command = [*compiler, f"-I{include}", "-E", "-x", "c", "-", "-o", os.devnull]
    if subprocess.run(command, input="#include <Python.h>", capture_output=True, text=True).returncode:
        major, minor = sys.version_info[:2]
        raise SystemExit(
            f"error: Python.h: expected in {include} or a folder of CPATH, found none; install Python's headers: "
            f"apt install python3-dev (or python{major}.{minor}-dev), dnf install python3-devel"
        )


class BuildExt(build_ext):
    """Compiles with flags per file, and skips objects newer than their source and every header."""

    def initialize_options(self) -> None:
        super().initialize_options()
        if WINDOWS:
            self.compiler = "mingw32"  # unless the command line names another; setuptools' own choice is MSVC

    def finalize_options(self) -> None:
        """Links without Python's own folder: the stable ABI needs nothing from it, and under a cross compiler it has another machine's libraries."""
        super().finalize_options()
        if not WINDOWS:
            self.library_dirs = [folder for folder in self.library_dirs if folder != sysconfig.get_config_var("LIBDIR")]

    def get_libraries(self, ext: Extension) -> list[str]:
        """On Windows an extension names Python's own library: of the stable ABI that is python3, not python311."""
        libraries: list[str] = super().get_libraries(ext)
        if WINDOWS and STABLE:
            return ["python3" if name.startswith("python3") else name for name in libraries]
        return libraries

    def build_extensions(self) -> None:
        if WINDOWS:
            check_windows_compiler(self.compiler.compiler_type, getattr(self.compiler, "compiler", []))
        check_headers(self.compiler.compiler)
        compile_one = self.compiler._compile
        architecture, everywhere = target_flags(self.compiler.compiler)
        newest_header = max(os.path.getmtime(ROOT / h) for h in HEADERS)

        def compile_with_flags(obj, src, ext, cc_args, extra_postargs, pp_opts):
            newest = max(newest_header, os.path.getmtime(src))
            if not os.path.exists(obj) or os.path.getmtime(obj) <= newest:
                own = file_flags(src, architecture) if "src_c" in Path(src).parts else FLAGS["BINDING_FLAGS"]
                compile_one(obj, src, ext, cc_args, [*extra_postargs, *everywhere, *own], pp_opts)

        self.compiler._compile = compile_with_flags
        if SANITIZE:
            self.build_temp = os.path.join(self.build_temp, "sanitize")
        super().build_extensions()


class BuildPy(build_py):
    """Puts the core's sources, as export-c needs them, beside export_c's modules."""

    def run(self) -> None:
        super().run()
        room = types.ModuleType("export_c")  # without the package's own __init__, which needs the compiled core
        room.__path__ = [str(ROOT / "lstm_edge/export_c")]
        sys.modules["export_c"] = room
        packed = importlib.import_module("export_c.bundle").pack(ROOT / "src_c")
        (Path(self.build_lib) / "lstm_edge/export_c/core.xz").write_bytes(packed)


# What Cython's code for the stable ABI asks `inspect` for when it is imported, which takes longer than the rest of this package: numbers that never
# change, so that it is told them instead.
CODE_FLAGS = {
    "OPTIMIZED": 1,
    "NEWLOCALS": 2,
    "VARARGS": 4,
    "VARKEYWORDS": 8,
    "GENERATOR": 32,
    "COROUTINE": 128,
    "ASYNC_GENERATOR": 512,
}
# In that code, what imports modules -> what does without: the classes of collections.abc come from where the interpreter itself has them.
LIGHTER = {
    'inspect = PyImport_ImportModule("inspect");': "inspect = Py_None; Py_INCREF(inspect); (void)__Pyx_init_co_variable;",
    'PyImport_ImportModule("collections.abc")': 'PyImport_ImportModule("_collections_abc")',
}


def make_lighter(source: str) -> None:
    path = ROOT / source
    text = lighter = path.read_text()
    for heavy, light in LIGHTER.items():
        lighter = lighter.replace(heavy, light)
    if lighter != text:
        path.write_text(lighter)


def extension() -> Extension:
    sanitize_flags = FLAGS["SANITIZE_FLAGS"] if SANITIZE else []
    debug_flags = [] if SANITIZE else ["-g0"]  # Python's own flags ask for -g, which quadruples the wheel
    # mingw-w64: gcc's own functions go in; Python's headers for Windows say how wide a pointer is to MSVC alone.
    link_flags = ["-static-libgcc"] if WINDOWS else sanitize_flags
    stable_macros = (
        [("Py_LIMITED_API", STABLE_ABI), *((f"CO_{k}", str(v)) for k, v in CODE_FLAGS.items())] if STABLE else []
    )
    core = Extension(
        "lstm_edge._core",
        sources=[LAYER, *(path for path in relative("src_c/**/*.c") if not path.startswith("src_c/library/"))],
        include_dirs=["src_c"],
        depends=HEADERS,
        define_macros=stable_macros + ([("MS_WIN64", "")] if WINDOWS and sys.maxsize > 2**32 else []),
        py_limited_api=STABLE,
        extra_compile_args=FLAGS["C_FLAGS"] + debug_flags + sanitize_flags,
        extra_link_args=link_flags,
        libraries=[] if WINDOWS else ["m"],
    )
    made = cythonize([core], build_dir="build/cython", compiler_directives={"language_level": "3"})[0]
    if STABLE:
        make_lighter(made.sources[0])
    return made


setup(
    ext_modules=[extension()],
    cmdclass={"build_ext": BuildExt, "build_py": BuildPy},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE else {},
)
