"""Energy where the system counts it: Intel's and AMD's RAPL, a Raspberry Pi 5's power chip."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

RAPL = Path("/sys/class/powercap")
LOOK = 0.5  # seconds between two looks at a Pi's power chip, each some 10 ms of vcgencmd


@dataclass
class Energy:
    joules: float | None = None
    name: str | None = None


@contextmanager
def meter() -> Iterator[Energy]:
    """The energy of what runs inside, filled in at the end; None where nothing counts it (or only root may read it)."""
    found = Energy()
    packages = [zone for zone in sorted(RAPL.glob("intel-rapl:*")) if re.fullmatch(r"intel-rapl:\d+", zone.name)]
    before = [_number(zone / "energy_uj") for zone in packages]
    if before and None not in before:
        yield found
        found.joules = sum(_passed(zone, was) for zone, was in zip(packages, before) if was is not None)
        found.name = f"RAPL, {len(packages)} package{'s' * (len(packages) > 1)}"
    elif shutil.which("vcgencmd") and _board_power() is not None:
        stop, powers = threading.Event(), list[float]()
        watch = threading.Thread(target=_watch, args=(stop, powers), daemon=True)
        start = time.monotonic()
        watch.start()
        try:
            yield found
        finally:
            stop.set()
            watch.join()
        if powers:
            found.joules = sum(powers) / len(powers) * (time.monotonic() - start)
            found.name = "the board's power chip"
    else:
        yield found


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _passed(zone: Path, before: int) -> float:
    """Joules since `before`: the counter starts anew at its range."""
    after = _number(zone / "energy_uj") or before
    if after < before:
        after += _number(zone / "max_energy_range_uj") or 0
    return (after - before) / 1e6


def _watch(stop: threading.Event, powers: list[float]) -> None:
    while not stop.wait(LOOK):
        power = _board_power()
        if power is not None:
            powers.append(power)


def _board_power() -> float | None:
    """Watts: currents times voltages of `vcgencmd pmic_read_adc`, whose lines read ` 3V7_WL_SW_A current(0)=0.09A`."""
    try:
        told = subprocess.run(["vcgencmd", "pmic_read_adc"], capture_output=True, text=True, timeout=5).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    return power_of(told)


def power_of(told: str) -> float | None:
    rails: dict[str, dict[str, float]] = {}
    for rail, kind, value in re.findall(r"(\S+)_([AV]) \w+\(\d+\)=([\d.]+)[AV]", told):
        rails.setdefault(rail, {})[kind] = float(value)
    found = [rail["A"] * rail["V"] for rail in rails.values() if len(rail) == 2]
    return sum(found) if found else None
