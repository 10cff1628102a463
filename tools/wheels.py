#!/usr/bin/env python3
"""Builds the sdist and, from it, a wheel of the stable ABI per architecture; checks what they hold and ask for.

    tools/wheels.py                                  dist/: the sdist, x86_64, aarch64 and armv7l
    tools/wheels.py --older                          and for each a wheel for Python 3.9 and one for 3.10, which this machine must have (tools/pythons.py finds them)
    tools/wheels.py --arch aarch64                   one architecture
    tools/wheels.py --check                          no build: the wheels of dist/ run models converted here, ARM's in emulated Pythons

The Python that runs this file is 3.11, the oldest that the wheels serve; building needs nothing more of it, --check what `make build` installs. The cross compilers and ARM's Python headers come
from tools/emulated_pi; other tools go into an environment under ~/.cache/lstm_edge. docs/wheels.md tells what comes out.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path

import tomllib
from common import CACHE, ROOT, install
from pythons import STABLE, python_of

DIST = ROOT / "dist"
WORK = ROOT / "build" / "wheels"
FOLDER = CACHE / "wheels"
BUILDERS = ["build>=1.2", "wheel>=0.45"]
TOOLS = [*BUILDERS, "auditwheel>=6.4", "abi3audit>=0.0.20", "numpy>=1.24"]
OLDER = (9, 10)  # minor versions that get a wheel of their own

SIZE_LIMIT = 1_550_000  # the core 0.44 MB, importers 0.32, training 0.09, the command 0.08; tables, recordings and features came after 1.3, export-c with the sources that it cuts (0.06) after 1.4, spectra of frameworks and the budget of a conversion (0.04) after 1.48
NEWEST_GLIBC = (2, 17)  # the oldest that manylinux tags of all three architectures name
LIBRARIES = {
    "libc.so.6",
    "libm.so.6",
    "libpthread.so.0",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
    "ld-linux-armhf.so.3",
}
CONTENT = re.compile(
    r"lstm_edge/(\w+/)*(\w+\.pyi?|py\.typed|core\.xz|_core\.(abi3|cpython-3\d+-[\w-]+)\.so)|lstm_edge-[^/]+\.dist-info/(licenses/)?\w+(\.txt)?"
)


@dataclass(frozen=True)
class Arch:
    """What a wheel is built for: flags of every file (kernels add their own) and, across, the target and CPU of emulated_pi."""

    name: str
    triple: str
    flags: str = ""
    cross: str = ""  # the name of emulated_pi's Target
    cpus: tuple[str, ...] = ()


ARCHES = {
    arch.name: arch
    for arch in (
        Arch("x86_64", "x86_64-linux-gnu", "-march=x86-64"),
        Arch("aarch64", "aarch64-linux-gnu", "-march=armv8-a", "ARM64", ("cortex-a53", "cortex-a76")),
        # Without NEON, which some ARMv7 CPUs lack: src_c/flags.mk gives it to kernels/neon32.c alone.
        Arch(
            "armv7l", "arm-linux-gnueabihf", "-march=armv7-a -mfpu=vfpv3-d16 -mfloat-abi=hard", "ARMHF", ("cortex-a7",)
        ),
    )
}


class CheckError(Exception):
    """What a wheel holds or asks for that it should not."""


def note(text: str) -> None:
    print(f"wheels: {text}", file=sys.stderr, flush=True)


def run(command: list[str | os.PathLike[str]], **options) -> subprocess.CompletedProcess[str]:
    """Runs a command; its output only when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        raise SystemExit(f"{done.stdout}\nerror: {' '.join(map(str, command))}: exit code {done.returncode}")
    return done


def emulated_pi():
    """The module tools/emulated_pi, which has no suffix."""
    loader = SourceFileLoader("emulated_pi", str(ROOT / "tools" / "emulated_pi"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


def build_requirements() -> list[str]:
    """What pip brings before it builds the sdist."""
    requires: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    return requires


def make_environment(name: str, packages: list[str], base: str | os.PathLike[str] = sys.executable) -> Path:
    """The Python of an environment of `base` that holds these packages, made once."""
    folder, stamp = FOLDER / name, FOLDER / f"{name}.done"
    wanted = "\n".join([run([base, "-c", "import sys; print(sys.version)"]).stdout.strip(), *packages])
    if not stamp.exists() or stamp.read_text() != wanted:
        note(f"installing {', '.join(packages)} into {folder}")
        run([base, "-m", "venv", "--clear", folder])
        run([folder / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages])
        stamp.write_text(wanted)
    return folder / "bin" / "python"


# ---- building -------------------------------------------------------------------------------------------------------


def build_sdist(python: Path) -> Path:
    DIST.mkdir(exist_ok=True)
    for old in [*DIST.glob("lstm_edge-*.tar.gz"), *DIST.glob("lstm_edge-*.whl")]:
        old.unlink()
    run([python, "-m", "build", "--sdist", "--no-isolation", "--outdir", DIST, ROOT])
    return next(DIST.glob("lstm_edge-*.tar.gz"))


def builder(minor: int) -> Path:
    """The Python, of an environment of its own, that builds wheels for an older Python."""
    found = python_of(minor)
    if not found:
        raise SystemExit(f"error: expected Python 3.{minor} on PATH or under ~/.pyenv/versions, found none")
    return make_environment(f"build-3.{minor}", [*build_requirements(), *BUILDERS], found)


def work_folder(arch: Arch, minor: int) -> Path:
    return WORK / (arch.name if minor == STABLE else f"{arch.name}-3.{minor}")


def unpack(sdist: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.unpack_archive(sdist, folder)
    return next(folder.iterdir())


def include_folders(arch: Arch, python: Path, minor: int = STABLE) -> list[Path]:
    """Where Python.h of the architecture is; pyconfig.h differs between 32 and 64 bits.

    Debian has 3.11 alone for another architecture. An older Python's headers are this machine's, beside that pyconfig.h: what 3.11's no longer
    defines is read by pymath.h alone, whether the compiler has copysign, hypot, round, isnan and the like.
    """
    if arch.cross:
        tools = emulated_pi()
        target = getattr(tools, arch.cross)
        tools.install_missing({target})
        headers = tools.make_sysroot(target) / "usr/include"
        if minor == STABLE:
            return [headers / "python3.11", headers]
        own = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('include'))"]).stdout.strip())
        mixed = work_folder(arch, minor) / "include"
        shutil.copytree(own, mixed)
        shutil.copy(headers / arch.triple / "python3.11" / "pyconfig.h", mixed)
        return [mixed]
    told = run([ROOT / "tools" / "python_headers.sh", python]).stdout.rpartition("CPATH=")[2].strip()
    return [Path(folder) for folder in told.split(":") if folder]


def build_wheel(sdist: Path, arch: Arch, python: Path, minor: int = STABLE) -> Path:
    """A wheel from the sdist, tagged with the glibc floor that its symbols ask for. python: of the version `minor`."""
    folder = work_folder(arch, minor)
    source = unpack(sdist, folder)
    includes = include_folders(arch, python, minor)
    compiler = f"{arch.triple}-gcc" if arch.cross else os.environ.get("CC", "gcc")
    # LDSHARED anew: Python's own carries the folders of the machine it was built on.
    environment = {
        **os.environ, "CC": compiler, "LDSHARED": f"{compiler} -shared", "LDFLAGS": "-Wl,-s -Wl,--as-needed -Wl,-O1",
        # C throws nothing: tables to unwind it are for debuggers, and a fortieth of a wheel.
        "CFLAGS": " ".join([arch.flags, "-DNDEBUG", "-fno-asynchronous-unwind-tables", *(f"-I{folder}" for folder in includes)]),
        "_PYTHON_HOST_PLATFORM": f"linux-{arch.name}", "PYTHONPATH": "",
    }  # fmt: skip
    if minor != STABLE:  # which the Python that builds would end as its own machine's do
        environment["SETUPTOOLS_EXT_SUFFIX"] = f".cpython-3{minor}-{arch.triple}.so"
    output = folder / "wheel"
    run([python, "-m", "build", "--wheel", "--no-isolation", "--outdir", output, source], env=environment)
    return retag(next(output.glob("*.whl")), arch, python)


def retag(wheel: Path, arch: Arch, python: Path) -> Path:
    major, minor = max(NEWEST_GLIBC, *glibc_symbols(extension(wheel, wheel.parent), arch).values())
    tag = f"manylinux_{major}_{minor}_{arch.name}"
    if (major, minor) == (2, 17):
        tag = f"manylinux2014_{arch.name}.{tag}"
    made = run([python, "-m", "wheel", "tags", "--platform-tag", tag, wheel]).stdout.split()[-1]
    return recompressed(Path(shutil.move(wheel.parent / made, DIST / made)))


def recompressed(wheel: Path) -> Path:
    """The same wheel, its parts deflated anew by a compressor that looks longer: 3 % smaller (CPython's zlib at its best is what `wheel` uses)."""
    if not shutil.which("advzip"):
        install(["advancecomp"])
    run(["advzip", "--recompress", "--shrink-extra", "--quiet", wheel])
    return wheel


# ---- checking -------------------------------------------------------------------------------------------------------


def extension(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.startswith("lstm_edge/_core.") and name.endswith(".so"))
        return Path(archive.extract(name, folder))


def glibc_symbols(library: Path, arch: Arch) -> dict[str, tuple[int, int]]:
    """Symbols of glibc -> the version of it that brought them."""
    text = run([binutil("objdump", arch), "-T", library]).stdout
    return {
        name: (int(a), int(b)) for a, b, name in re.findall(r"\(?GLIBC_(\d+)\.(\d+)(?:\.\d+)?\)?\s+(\w+)$", text, re.M)
    }


def binutil(name: str, arch: Arch) -> str:
    return f"{arch.triple}-{name}" if arch.cross else name


def check_wheel(wheel: Path, arch: Arch, python: Path) -> dict[str, object]:
    """A row for docs/wheels.md. Raises CheckError with the first thing that is wrong."""
    size = wheel.stat().st_size
    if size > SIZE_LIMIT:
        raise CheckError(f"{wheel.name}: expected at most {SIZE_LIMIT} bytes, found {size}")
    with zipfile.ZipFile(wheel) as archive:
        strangers = [name for name in archive.namelist() if not CONTENT.fullmatch(name)]
    if strangers:
        raise CheckError(f"{wheel.name}: expected Python, stubs and one extension, found {', '.join(strangers)}")
    library = extension(wheel, WORK / "checked" / wheel.name)
    dynamic = run([binutil("readelf", arch), "-dW", library]).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic))
    if needed - LIBRARIES or "RPATH" in dynamic or "RUNPATH" in dynamic:
        raise CheckError(
            f"{wheel.name}: expected no library but libc's and no path, found {', '.join(sorted(needed))}\n{dynamic}"
        )
    symbols = glibc_symbols(library, arch)
    newest = max(symbols.values())
    if newest > NEWEST_GLIBC:
        late = [name for name, version in symbols.items() if version > NEWEST_GLIBC]
        raise CheckError(f"{wheel.name}: expected no symbol newer than glibc {NEWEST_GLIBC}, found {', '.join(late)}")
    policy = audited_policy(wheel, python)
    if policy not in wheel.name:
        raise CheckError(f"{wheel.name}: auditwheel expects {policy}")
    if "-abi3-" in wheel.name:
        run([python.parent / "abi3audit", "--strict", "--assume-minimum-abi3", "3.11", wheel])
    about = {
        "wheel": wheel.name,
        "bytes": size,
        "extension": library.stat().st_size,
        "glibc": ".".join(map(str, newest)),
    }
    return {**about, "auditwheel": policy, "needs": sorted(needed)}


def audited_policy(wheel: Path, python: Path) -> str:
    """The platform tag that auditwheel finds the wheel to be consistent with."""
    text = run([python.parent / "auditwheel", "show", wheel]).stdout
    found = re.search(r'following platform tag:\s*"(\w+)"', " ".join(text.split()))
    if not found:
        raise CheckError(f"{wheel.name}: auditwheel names no platform tag: {text}")
    return found[1]


def check_sdist(sdist: Path) -> None:
    """It becomes a wheel without an index, with what build-system.requires names and no program but the compiler's on PATH."""
    bare, programs = make_environment("bare", build_requirements()).parent.parent, WORK / "programs"
    shutil.rmtree(programs, ignore_errors=True)
    programs.mkdir(parents=True)
    for name in ("gcc", "as", "ld", f"{ARCHES['x86_64'].triple}-gcc"):  # the last is gcc, as Debian's Python calls it
        if program := shutil.which(name):
            (programs / name).symlink_to(program)
    headers = ":".join(map(str, include_folders(ARCHES["x86_64"], bare / "bin" / "python")))
    environment = {"PATH": str(programs), "HOME": str(WORK), **({"CPATH": headers} if headers else {})}
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--wheel-dir", WORK / "from-sdist"]
    run([bare / "bin" / "python", "-m", "pip", "wheel", *options, sdist], env=environment)
    note(f"{sdist.name}: built with gcc, setuptools and Cython alone")


def find_wheel(arch: Arch) -> Path:
    """That of the stable ABI: `make test-pythons` runs those for older Pythons, as pip builds them."""
    found = sorted(DIST.glob(f"lstm_edge-*-abi3-*_{arch.name}.whl"))
    if len(found) != 1:
        raise SystemExit(f"error: dist: expected one wheel for {arch.name}, found {len(found)}; run `make wheels`")
    return found[0]


def check_running(arch: Arch) -> None:
    """Installs the wheel with pip and runs models converted here (tools/wheel_check.py); ARM's in emulated Pythons."""
    import pip

    wheel = find_wheel(arch)
    script = [ROOT / "tools" / "wheel_check.py", "check", WORK / "models", wheel, Path(pip.__file__).parent.parent]
    emulated = [[ROOT / "tools" / "emulated_pi", "--cpu", cpu, "--wheel", wheel, "--python", "--"] for cpu in arch.cpus]
    for prefix in emulated or [[]]:
        if subprocess.run([sys.executable, *prefix, *script]).returncode:
            raise SystemExit(f"error: {wheel.name}: see above")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", action="append", choices=list(ARCHES), help="May be repeated. Default: all.")
    parser.add_argument("--older", action="store_true", help="Wheels for Python 3.9 and 3.10, too.")
    parser.add_argument("--check", action="store_true", help="Run the wheels of dist/.")
    given = parser.parse_args()
    arches = [ARCHES[name] for name in given.arch or ARCHES]
    if given.check:
        run(
            [sys.executable, ROOT / "tools" / "wheel_check.py", "make", WORK / "models"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for arch in arches:
            check_running(arch)
        return
    python = make_environment("venv", [*build_requirements(), *TOOLS])
    sdist = build_sdist(python)
    note(f"{sdist.name}: {sdist.stat().st_size} bytes")
    check_sdist(sdist)
    pythons = {STABLE: python, **{minor: builder(minor) for minor in (OLDER if given.older else ())}}
    for arch, minor in itertools.product(arches, pythons):
        wheel = build_wheel(sdist, arch, pythons[minor], minor)
        try:
            print(json.dumps(check_wheel(wheel, arch, python)), flush=True)
        except CheckError as exc:
            raise SystemExit(f"error: {exc}") from None


if __name__ == "__main__":
    main()
