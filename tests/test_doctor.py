"""lstm-edge doctor on faked machines: /proc and /sys below a folder, and a vcgencmd of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from shared import ISAS as SUPPORTED

import lstm_edge
from lstm_edge import cli
from lstm_edge.check import doctor, kernel_check

ARM_CORE = (
    "processor\t: {n}\nBogoMIPS\t: 38.40\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"
)
PI_5 = {
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/cpuinfo": "".join(ARM_CORE.format(n=n, features="fp asimd asimdhp asimddp", part="0xd0b") for n in range(4)),
    "proc/meminfo": "MemTotal:        8000000 kB\nMemFree: 1 kB\nMemAvailable:    6000000 kB\n",
    "proc/loadavg": "0.42 0.36 0.30 1/312 4711\n",
    "sys/devices/system/cpu/online": "0-3\n",
    **{f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_governor": "ondemand\n" for n in range(4)},
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "2400000\n",
    "sys/class/thermal/thermal_zone0/type": "rp1_adc\n",
    "sys/class/thermal/thermal_zone0/temp": "39000\n",
    "sys/class/thermal/thermal_zone1/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "51500\n",
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def vcgencmd(folder: Path, script: str) -> str:
    path = folder / "vcgencmd"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_board_is_told_in_full(tmp_path):
    program = vcgencmd(tmp_path, '[ "$1" = get_throttled ] && echo throttled=0x50005')
    machine = doctor.examine(tree(tmp_path, PI_5), program, "aarch64")
    assert machine.board == "Raspberry Pi 5 Model B Rev 1.0"
    assert (machine.cpu, machine.cores) == ("Cortex-A76", 4)
    assert (machine.kernel_machine, machine.kernel_bits) == ("aarch64", 64)
    assert machine.governors == ("ondemand",)
    assert (machine.mhz, machine.max_mhz, machine.temperature) == (1500, 2400, 51.5)
    assert (machine.memory, machine.memory_available) == (8000000 << 10, 6000000 << 10)
    assert machine.load == 0.42
    assert machine.throttling == doctor.Throttling(
        0x50005, ("under-voltage", "throttled"), ("under-voltage", "throttled")
    )


@pytest.mark.parametrize("bit", range(4))
def test_throttling_bits_are_told_apart(bit):
    names = ("under-voltage", "clock capped", "throttled", "soft temperature limit")
    assert doctor.decode_throttled(1 << bit) == doctor.Throttling(1 << bit, (names[bit],), ())
    assert doctor.decode_throttled(1 << bit + 16) == doctor.Throttling(1 << bit + 16, (), (names[bit],))


@pytest.mark.parametrize("script", ["exit 1", "echo 'VCHI initialization failed'", "echo throttled=0x", "kill -9 $$"])
def test_a_vcgencmd_that_may_not_ask_tells_nothing(tmp_path, script):
    assert doctor.throttling(vcgencmd(tmp_path, script)) is None
    assert doctor.throttling(str(tmp_path / "none")) is None


def test_vcgencmd_is_found_on_the_path(tmp_path, monkeypatch):
    vcgencmd(tmp_path, "echo throttled=0x0")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert doctor.examine(tmp_path).throttling == doctor.Throttling(0, (), ())


def test_a_machine_that_tells_nothing(tmp_path):
    machine = doctor.examine(tmp_path, "/nowhere/vcgencmd", "riscv64")
    told = (machine.board, machine.cpu, machine.cores, machine.mhz, machine.max_mhz, machine.temperature, machine.load)
    assert told == (None,) * 7
    assert (machine.governors, machine.memory, machine.memory_available, machine.throttling) == ((), None, None, None)
    assert not doctor.advice(replace(machine, userland_bits=64))


@pytest.mark.parametrize("text", ["", "\0", "N/A\n", "12 34\n", "-"])
def test_damaged_numbers_are_not_told(tmp_path, text):
    root = tree(tmp_path, {name: text for name in PI_5})
    machine = doctor.examine(root, "/nowhere/vcgencmd", "aarch64")
    assert (machine.mhz, machine.max_mhz, machine.temperature, machine.memory, machine.load, machine.cores) == (
        None,
    ) * 6


def test_cores_of_several_kinds_and_unknown_ones(tmp_path):
    cores = [
        ARM_CORE.format(n=n, features="asimd", part=part) for n, part in enumerate(["0xd03", "0xd08", "0xd08", "0xfff"])
    ]
    root = tree(tmp_path, {"proc/cpuinfo": "".join(cores), "sys/devices/system/cpu/online": "0,2-3\n"})
    assert doctor.cpu_model(root) == "Cortex-A53, Cortex-A72, implementer 0x41 part 0xfff"
    assert doctor.core_count(root) == 3
    (root / "sys/devices/system/cpu/online").unlink()
    assert doctor.core_count(root) == 4


def test_a_pc_is_told_by_its_names(tmp_path):
    info = "processor : 0\nmodel name : A CPU @ 2.70GHz\ncpu MHz : 2693.5\nflags : fpu avx2 fma f16c\n\n"
    root = tree(tmp_path, {"proc/cpuinfo": info, "sys/class/dmi/id/product_name": "PC 1\n"})
    assert (doctor.board(root), doctor.cpu_model(root), doctor.megahertz(root)) == (
        "PC 1",
        "A CPU @ 2.70GHz",
        (2693.5, None),
    )
    assert doctor.why("avx2", True, doctor.features(root)) == "the CPU has avx2, fma, f16c"
    assert doctor.why("avxvnni", False, doctor.features(root)) == "the CPU lacks avx_vnni"
    assert doctor.why("avx2", False, doctor.features(root)) == "the system does not let programs use it"


@pytest.mark.parametrize(
    ("machine", "bits"), [("aarch64", 64), ("armv8l", 64), ("x86_64", 64), ("armv7l", 32), ("armv6l", 32), ("i686", 32)]
)
def test_bits_of_a_kernel(machine, bits):
    assert doctor.kernel_bits(machine) == bits


def test_advice_names_the_cause_and_the_command(tmp_path):
    calm = doctor.examine(tree(tmp_path, PI_5), "/nowhere/vcgencmd", "aarch64")
    calm = replace(calm, governors=("performance",), userland_bits=64)
    assert not doctor.advice(calm)
    for change, expected in [
        ({"userland_bits": 32}, "64-bit kernel with a 32-bit system"),
        ({"governors": ("performance", "powersave")}, "governor powersave .*: echo performance | sudo tee /sys/"),
        ({"temperature": 83.0}, "83 degrees"),
        ({"throttling": doctor.decode_throttled(0x50001)}, "now: under-voltage"),
        ({"throttling": doctor.decode_throttled(0x80000)}, "since the start: soft temperature limit"),
        ({"load": 3.0}, "load average 3.0 on 4 cores"),
    ]:
        (line,) = doctor.advice(replace(calm, **change))
        assert all(part in line for part in expected.split(" .*"))


# ---- kernels --------------------------------------------------------------------------------------------------------


def test_every_table_passes_and_the_best_is_chosen():
    rows = doctor.kernels(environ={})
    assert [(row.name, row.supported) for row in rows] == lstm_edge.isas()
    assert [row.name for row in rows if row.chosen] == [SUPPORTED[-1]]
    for row in rows:
        assert not row.failed, row
        assert (row.difference is not None and row.difference <= doctor.TOLERANCE) == row.supported
        assert row.int8_equal is (True if row.supported else None)


def test_a_forced_table_is_chosen():
    chosen = [row for row in doctor.kernels(environ={"LSTM_EDGE_ISA": "scalar"}) if row.chosen]
    assert [row.name for row in chosen] == ["scalar"]
    assert "LSTM_EDGE_ISA" in chosen[0].why


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit:
        cli.main(["doctor", *arguments])
    return exit.value.code, *capsys.readouterr()


def spoil(monkeypatch, weights: str, change) -> None:
    """Kernels of the best table whose answers with such weights are changed."""
    right = kernel_check.answer

    def answer(op, kind, isa):
        y = right(op, kind, isa).copy()
        if (op, kind, isa) == ("GRU", weights, SUPPORTED[-1]):
            y.flat[-1] = change(y.flat[-1])
        return y

    monkeypatch.setattr(kernel_check, "answer", answer)


@pytest.mark.parametrize(
    ("weights", "change"),
    [
        ("float32", lambda y: y + 2e-5),
        ("float16", lambda y: y + 2e-5),
        ("float32", lambda y: float("nan")),
        ("int8", lambda y: y + 1e-6),
    ],
)
def test_a_wrong_table_fails_the_command(monkeypatch, capsys, weights, change):
    if SUPPORTED[-1] == "scalar" and weights == "int8":
        pytest.skip("scalar's int8 is the standard")
    spoil(monkeypatch, weights, change)
    code, out, err = run(capsys)
    assert code == 3
    assert "failed" in out
    assert f"kernels '{SUPPORTED[-1]}': GRU differ" in " ".join(err.split())


def test_json_tells_all(capsys):
    code, out, _ = run(capsys, "--json")
    found = json.loads(out)
    assert code == 0 and found["passed"] is True and found["error"] is None
    assert found["machine"]["userland_bits"] in (32, 64)
    assert [row["name"] for row in found["kernels"]] == [name for name, _ in lstm_edge.isas()]


def test_an_isa_that_cannot_be_had_is_an_error(monkeypatch, capsys):
    monkeypatch.setenv("LSTM_EDGE_ISA", "quantum")
    code, out, err = run(capsys)
    assert code == 1
    assert "chosen" not in out
    assert "LSTM_EDGE_ISA" in err and "'quantum'" in err


def test_doctor_needs_no_framework():
    code = "import sys; sys.argv = ['lstm-edge', 'doctor']; from lstm_edge import cli\ntry: cli.main()\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not {"onnx", "torch", "keras", "h5py", "tensorflow"} & set(done.stdout.split())
    assert done.returncode == 0
