"""What `lstm-edge doctor` tells about a machine: its board, its CPU, the kernels that run there, and whether they compute right.

Everything below /proc and /sys is read under a `root`, which tests replace. Nothing is changed. What a machine does not
tell is None.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .._core import isa_needs, isas
from . import kernel_check

ROOT = Path("/")
TOLERANCE = 1e-5  # float32, of any two kernel tables

# ARM's kernels give a number where x86's give a name: those of the Raspberry Pis.
ARM_PARTS = {
    "0xb76": "ARM1176",
    "0xc07": "Cortex-A7",
    "0xd03": "Cortex-A53",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
}
ARM_IMPLEMENTER = "0x41"
# vcgencmd get_throttled: bits 0 to 3 hold now, 16 to 19 have held since the start.
THROTTLING = ("under-voltage", "clock capped", "throttled", "soft temperature limit")
HOT = 80.0  # degrees: where a Raspberry Pi starts to lower its clock
GOVERNORS = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
SET_GOVERNOR = f"echo performance | sudo tee {GOVERNORS}"


@dataclass(frozen=True)
class Throttling:
    """The firmware's word, its bits that hold now and those that have held since the start, by name."""

    word: int
    now: tuple[str, ...]
    occurred: tuple[str, ...]


@dataclass(frozen=True)
class Machine:
    """Memory in bytes, `temperature` is in degrees Celsius, `load` over one minute."""

    board: str | None
    cpu: str | None
    cores: int | None
    kernel_machine: str
    kernel_bits: int
    userland_bits: int
    python: str
    libc: str | None
    governors: tuple[str, ...]
    mhz: float | None
    max_mhz: float | None
    temperature: float | None
    throttling: Throttling | None
    memory: int | None
    memory_available: int | None
    load: float | None


@dataclass(frozen=True)
class Kernels:
    """A kernel table: whether this CPU runs it and why, and what its test found (not supported: nothing)."""

    name: str
    supported: bool
    chosen: bool
    why: str
    difference: float | None = None  # the largest from scalar's answers (scalar's own: from float64), over all networks
    int8_equal: bool | None = None
    failed: tuple[str, ...] = ()  # the networks beyond TOLERANCE or with other int8 bits


# ---- the machine ----------------------------------------------------------------------------------------------------


def read_text(root: Path, path: str) -> str | None:
    """The text of a file under `root`, without blanks or zeros around it; None where it cannot be read or is empty."""
    try:
        return (root / path).read_text(encoding="utf-8", errors="replace").strip(" \t\n\0") or None
    except OSError:
        return None


def read_number(root: Path, path: str) -> float | None:
    text = read_text(root, path)
    return float(text) if text and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text) else None


def cpuinfo(root: Path = ROOT) -> dict[str, list[str]]:
    """/proc/cpuinfo: the values of each key, once per core where it is told per core."""
    found: dict[str, list[str]] = {}
    for line in (read_text(root, "proc/cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip().lower(), []).append(value.strip())
    return found


def board(root: Path = ROOT) -> str | None:
    """The board's name: of the device tree or, on PCs, of the firmware."""
    return read_text(root, "proc/device-tree/model") or read_text(root, "sys/class/dmi/id/product_name")


def cpu_model(root: Path = ROOT) -> str | None:
    """The CPU's name; of ARM's cores, by implementer and part, each kind once."""
    info = cpuinfo(root)
    names = []
    for implementer, part in zip(info.get("cpu implementer", []), info.get("cpu part", [])):
        known = ARM_PARTS.get(part.lower()) if implementer.lower() == ARM_IMPLEMENTER else None
        names.append(known or f"implementer {implementer} part {part}")
    names = names or [name for name in info.get("model name", []) if name]
    return ", ".join(dict.fromkeys(names)) or None


def core_count(root: Path = ROOT) -> int | None:
    """Cores online."""
    online = read_text(root, "sys/devices/system/cpu/online")
    if online and re.fullmatch(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*", online):
        ranges = [part.partition("-") for part in online.split(",")]
        return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)
    return len(cpuinfo(root).get("processor", [])) or None


def governors(root: Path = ROOT) -> tuple[str, ...]:
    """The governors of all cores, each once; none on virtual machines."""
    paths = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
    return tuple(dict.fromkeys(filter(None, (read_text(root, str(p.relative_to(root))) for p in paths))))


def megahertz(root: Path = ROOT) -> tuple[float | None, float | None]:
    """The clock of the first core, now and at most."""
    folder = "sys/devices/system/cpu/cpu0/cpufreq"
    now, most = (read_number(root, f"{folder}/{name}") for name in ("scaling_cur_freq", "cpuinfo_max_freq"))
    told = cpuinfo(root).get("cpu mhz", [])
    if now is None and told and re.fullmatch(r"[0-9.]+", told[0]):
        return float(told[0]), most and most / 1e3
    return now and now / 1e3, most and most / 1e3


def temperature(root: Path = ROOT) -> float | None:
    """Degrees Celsius of the CPU's thermal zone, or of the first where none is named after it."""
    found: list[tuple[bool, float]] = []
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        place = str(zone.relative_to(root))
        value = read_number(root, f"{place}/temp")
        if value is not None:
            kind = (read_text(root, f"{place}/type") or "").lower()
            found.append((not re.search("cpu|soc|x86_pkg", kind), value / 1e3))
    return min(found, key=lambda zone: zone[0])[1] if found else None


def decode_throttled(word: int) -> Throttling:
    """The bits of vcgencmd's `throttled=0x...`."""
    now = tuple(name for bit, name in enumerate(THROTTLING) if word >> bit & 1)
    return Throttling(word, now, tuple(name for bit, name in enumerate(THROTTLING, 16) if word >> bit & 1))


def throttling(vcgencmd: str | None) -> Throttling | None:
    """What the Raspberry Pi's firmware tells through the program `vcgencmd`; None where there is none or it may not ask."""
    if not vcgencmd:
        return None
    try:
        done = subprocess.run([vcgencmd, "get_throttled"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.fullmatch(r"throttled=0x([0-9a-fA-F]+)", done.stdout.strip())
    return decode_throttled(int(found[1], 16)) if found else None


def memory(root: Path = ROOT) -> tuple[int | None, int | None]:
    """Bytes: all, and available without swapping."""
    text = read_text(root, "proc/meminfo") or ""
    found = {key: int(kib) * 1024 for key, kib in re.findall(r"^(\w+):\s+([0-9]+) kB$", text, re.MULTILINE)}
    return found.get("MemTotal"), found.get("MemAvailable")


def load_average(root: Path = ROOT) -> float | None:
    first = (read_text(root, "proc/loadavg") or "").partition(" ")[0]
    return float(first) if re.fullmatch(r"[0-9]+\.[0-9]+", first) else None


def kernel_bits(machine: str) -> int:
    """Of the kernel that calls itself `machine`. A 64-bit ARM kernel calls itself armv8l to a 32-bit process that asks for it."""
    return 64 if re.search("64|armv8|s390x", machine) else 32


def libc() -> str | None:
    """Such as "glibc 2.36"."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError, OSError):
        return " ".join(filter(None, platform.libc_ver())) or None


def examine(root: Path = ROOT, vcgencmd: str | None = None, machine: str | None = None) -> Machine:
    """Everything that is read. vcgencmd: the program to ask, by default the one on PATH. machine: the kernel's, by default uname's."""
    machine = machine or platform.machine()
    total, available = memory(root)
    now, most = megahertz(root)
    return Machine(
        board=board(root),
        cpu=cpu_model(root),
        cores=core_count(root),
        kernel_machine=machine,
        kernel_bits=kernel_bits(machine),
        userland_bits=8 * struct.calcsize("P"),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        libc=libc(),
        governors=governors(root),
        mhz=now,
        max_mhz=most,
        temperature=temperature(root),
        throttling=throttling(vcgencmd or shutil.which("vcgencmd")),
        memory=total,
        memory_available=available,
        load=load_average(root),
    )


def advice(machine: Machine) -> list[str]:
    """What makes models slower here than they need be, and what to do about it."""
    found = []
    if machine.kernel_bits > machine.userland_bits:
        found.append(
            f"a {machine.kernel_bits}-bit kernel with a {machine.userland_bits}-bit system: "
            f"only {machine.userland_bits}-bit kernels can run; install a {machine.kernel_bits}-bit system for faster ones"
        )
    slow = [name for name in machine.governors if name != "performance"]
    if slow:
        found.append(f"the governor {', '.join(slow)} lowers the clock between steps: {SET_GOVERNOR}")
    if machine.temperature is not None and machine.temperature >= HOT:
        found.append(
            f"{machine.temperature:.0f} degrees: expected below {HOT:.0f}, where the clock is lowered; cool the CPU"
        )
    if machine.throttling and machine.throttling.now:
        found.append(f"now: {', '.join(machine.throttling.now)}; check the power supply and the cooling")
    elif machine.throttling and machine.throttling.occurred:
        found.append(
            f"since the start: {', '.join(machine.throttling.occurred)}; check the power supply and the cooling"
        )
    if machine.load is not None and machine.cores and machine.load > 0.5 * machine.cores:
        found.append(f"load average {machine.load:.1f} on {machine.cores} cores: other work delays steps")
    return found


# ---- kernels --------------------------------------------------------------------------------------------------------


def why(name: str, supported: bool, features: set[str]) -> str:
    """Why this CPU runs the table or does not. The core's own detection decided; the CPU's words explain it."""
    needs = isa_needs()[name]
    missing = [feature for feature in needs if feature not in features]
    if supported:
        return (
            f"the CPU has {', '.join(needs)}"
            if needs and not missing
            else "runs everywhere"
            if not needs
            else "detected"
        )
    return f"the CPU lacks {', '.join(missing)}" if missing else "the system does not let programs use it"


def features(root: Path = ROOT) -> set[str]:
    """What the CPU calls its instruction sets."""
    info = cpuinfo(root)
    return set(" ".join(info.get("flags", []) + info.get("features", [])).split())


def chosen_isa(environ: Mapping[str, str] = os.environ) -> tuple[str | None, str | None]:
    """The kernel table that models get here; or None, and why the LSTM_EDGE_ISA that is set gives none."""
    runnable = [name for name, supported in isas() if supported]
    wanted = environ.get("LSTM_EDGE_ISA") or runnable[-1]
    if wanted in runnable:
        return wanted, None
    return None, f"LSTM_EDGE_ISA: expected one of {', '.join(runnable)}, found {wanted!r}; unset it"


def kernels(root: Path = ROOT, environ: Mapping[str, str] = os.environ) -> list[Kernels]:
    """Every kernel table of this build, worst first; those that this CPU runs are tested."""
    chosen, _ = chosen_isa(environ)
    have = features(root)
    rows = []
    for name, supported in isas():
        reason = why(name, supported, have)
        if name == chosen:
            reason += "; LSTM_EDGE_ISA asks for it" if environ.get("LSTM_EDGE_ISA") else "; the best that runs here"
        row = Kernels(name, supported, name == chosen, reason)
        rows.append(tested(row) if supported else row)
    return rows


def tested(row: Kernels) -> Kernels:
    """The row with the results of its test."""
    found = kernel_check.differences(row.name)
    failed = tuple(op for op, (difference, equal) in found.items() if difference > TOLERANCE or not equal)
    largest = max(difference for difference, _ in found.values())
    return replace(row, difference=largest, int8_equal=all(equal for _, equal in found.values()), failed=failed)
