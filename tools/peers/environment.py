"""The environment of the peers, outside the repository: made once, brought up to date when the list of packages changes."""

from __future__ import annotations

import os
import subprocess
import sys

from common import CACHE, ROOT, run

from peers.engines import PACKAGES

HOME = CACHE / "peers"
PATHS = os.pathsep.join(map(str, (ROOT, ROOT / "tools", ROOT / "tests")))


def interpreters(engines: list[str]) -> dict[str, str]:
    """Which Python runs each engine. Packages that pip does not find for this machine are left out; their engine then says so."""
    wanted = [package for engine in engines for package in PACKAGES[engine]]
    python = HOME / "bin" / "python"
    stamp = HOME / "packages"
    have = set(stamp.read_text().split()) if stamp.exists() else set()
    if wanted and not python.exists():
        run([sys.executable, "-m", "venv", str(HOME)])
    for package in sorted(set(wanted) - have):
        print(f"installing {package} into {HOME}", file=sys.stderr)
        done = subprocess.run([python, "-m", "pip", "install", "-q", package])
        if done.returncode == 0:
            have.add(package)
            stamp.write_text("\n".join(sorted(have)))
    return {engine: str(python) if PACKAGES[engine] else sys.executable for engine in engines}


def variables() -> dict[str, str]:
    """One thread, whatever an engine computes with."""
    one = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {**os.environ, **one, "PYTHONPATH": PATHS}
