"""What the tools of this folder share: where they keep what they fetch, commands that must succeed, Debian's packages."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lstm_edge"
EMULATED_STRIDE = os.environ.get(
    "LSTM_EDGE_TEST_STRIDE", "200003"
)  # the C tests try activations at every nth float; emulated, at fewer


def run(command: list[str | os.PathLike[str]], check: bool = True, **options) -> None:
    done = subprocess.run(command, **options)
    if check and done.returncode:
        raise SystemExit(done.returncode if done.returncode > 0 else 1)


@cache
def update_packages() -> None:
    run(["apt-get", "-qq", "update"])


def install(packages: Iterable[str]) -> None:
    """Needs root on Debian."""
    update_packages()
    run(["apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages], stdout=subprocess.DEVNULL)
