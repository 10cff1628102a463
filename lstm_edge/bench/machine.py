"""The machine that times are taken on: what it is, what it is doing, what disturbs. Nothing is changed."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import LstmEdgeError
from ..options import argument

CPUS = Path("/sys/devices/system/cpu")
HOT = 80.0  # degrees Celsius: a Raspberry Pi lowers its clock from here on
# Bits of `vcgencmd get_throttled`: now, and since boot (https://www.raspberrypi.com/documentation/computers/os.html#get_throttled).
THROTTLED = {0: "under-voltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit"}


@dataclass(frozen=True)
class Machine:
    """One look. None: the system does not say. mhz: of the CPU asked for; load: the run queue's mean over a minute; swap:
    bytes in use; temperature: Celsius, of the hottest zone; steal: seconds that a hypervisor gave to others since boot."""

    cpu: str
    cpus: int
    governor: str | None
    mhz: float | None
    load: float | None
    swap: int | None
    temperature: float | None
    throttled: tuple[str, ...] | None
    steal: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def look(cpu: int | None = None) -> Machine:
    rate = clock_rate(cpu)
    return Machine(
        cpu=cpu_name(),
        cpus=os.cpu_count() or 1,
        governor=_text(governor_path(cpu)),
        mhz=None if rate is None else rate / 1e3,
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        swap=_swap(),
        temperature=_temperature(),
        throttled=_throttled(),
        steal=_steal(),
    )


def warnings_of(before: Machine, after: Machine | None = None, cpu: int | None = None) -> list[str]:
    """What makes times vary or differ from the next run's, each with the command that would change it."""
    found = []
    if before.governor not in (None, "performance"):
        advice = f"echo performance | sudo tee {governor_path(cpu)}"
        found.append(
            f"cpu {cpu or 0} is governed by {before.governor!r}: its clock changes during a run; run: {advice}"
        )
    if before.load is not None and before.load > 0.5 * before.cpus:
        found.append(f"load average {before.load:.1f} on {before.cpus} CPUs: other work disturbs the times")
    if before.swap:
        found.append(
            f"{before.swap / 1e6:.0f} MB are swapped out: pages may come back during a run; run: sudo swapoff -a"
        )
    last = after or before
    if last.temperature is not None and last.temperature >= HOT:
        found.append(f"{last.temperature:.0f} degrees Celsius: the clock may be lowered; let it cool, or cool it")
    if last.throttled:
        found.append(f"the firmware reports {', '.join(last.throttled)}: a better supply or cooling is needed")
    if after is None:
        return found
    if before.mhz and after.mhz and abs(after.mhz / before.mhz - 1) > 0.05:
        found.append(f"the clock went from {before.mhz:.0f} to {after.mhz:.0f} MHz during the run")
    if before.steal is not None and after.steal is not None and after.steal - before.steal >= 0.05:
        found.append(f"the hypervisor gave {after.steal - before.steal:.2f} s of this machine to others during the run")
    return found


@contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
    """Keeps this thread on one CPU; None leaves it to the system."""
    if cpu is None:
        yield
        return
    if not hasattr(os, "sched_getaffinity"):
        raise LstmEdgeError(
            f"bench: {argument('cpu')}: expected none, as this system keeps no thread on one CPU, found {cpu}"
        )
    before = os.sched_getaffinity(0)
    if cpu not in before:
        raise LstmEdgeError(
            f"bench: {argument('cpu')}: expected one of {', '.join(map(str, sorted(before)))}, found {cpu}"
        )
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def governor_path(cpu: int | None) -> Path:
    return CPUS / f"cpu{cpu or 0}" / "cpufreq" / "scaling_governor"


def clock_rate(cpu: int | None) -> float | None:
    """Kilohertz, as the kernel scales it; virtual machines do not say."""
    text = _text(CPUS / f"cpu{cpu or 0}" / "cpufreq" / "scaling_cur_freq")
    return float(text) if text and text.isdigit() else None


def cpu_name() -> str:
    """The CPU's model name as the kernel tells it."""
    for line in (_text(Path("/proc/cpuinfo")) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _swap() -> int | None:
    sizes = {}
    for line in (_text(Path("/proc/meminfo")) or "").splitlines():
        key, _, value = line.partition(":")
        if key in ("SwapTotal", "SwapFree"):
            sizes[key] = 1024 * int(value.split()[0])
    return sizes["SwapTotal"] - sizes["SwapFree"] if len(sizes) == 2 else None


def _temperature() -> float | None:
    texts = (_text(zone / "temp") for zone in Path("/sys/class/thermal").glob("thermal_zone*"))
    found = [int(text) / 1e3 for text in texts if text and text.lstrip("-").isdigit()]
    return max(found, default=None)


def _throttled() -> tuple[str, ...] | None:
    """What a Raspberry Pi's firmware holds against itself now; None where there is no such firmware."""
    if shutil.which("vcgencmd") is None:
        return None
    try:
        told = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=5).stdout
        bits = int(told.partition("=")[2].strip() or "0", 16)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return tuple(name for bit, name in THROTTLED.items() if bits >> bit & 1)


def _steal() -> float | None:
    fields = (_text(Path("/proc/stat")) or "").partition("\n")[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK") if len(fields) > 8 else None
