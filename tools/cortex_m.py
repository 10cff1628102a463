"""Models on emulated Cortex-M4 and M7: every bit of the self-test, flash, RAM, and instructions of a step.

    PYTHONPATH=.:tools python tools/cortex_m.py a.lstm b.lstm        a table of Markdown
    PYTHONPATH=.:tools python tools/cortex_m.py --cpu cortex-m7 --optimise=-Os a.lstm

Each model is exported by export-c, compiled by arm-none-eabi-gcc with examples/cortex_m and run by qemu-system-arm, twice: its main.c, which replays
the self-test, then a main that counts (tools/cortex_m_count.c). Needs Debian's gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm.

Flash: code, constants and initial values of the linked counting program, less those of the same program without a model. RAM: the struct of
a stream, and the stack that a step takes, found by painting it. Instructions: executed ones, by qemu's -icount, where one takes 32 ns of a clock that
a timer of the board counts in 40 ns; so they are known to about one. Cycles of a real core are more: it waits for flash, and some instructions take several.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from common import ROOT

from lstm_edge.export_c import export_c

BOARD = ROOT / "examples" / "cortex_m"
COUNT = ROOT / "tools" / "cortex_m_count.c"
STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
LINK = ["-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "--specs=rdimon.specs", "-nostartfiles"]
CPUS = {
    "cortex-m4": ("mps2-an386", ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]),
    "cortex-m7": ("mps2-an500", ["-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv5-d16"]),
}
SECONDS = 120


class Figures(NamedTuple):
    """Bytes of flash, of a stream's struct and of stack; instructions of the last step that was counted."""

    flash: int
    state: int
    stack: int
    instructions: int


def compile_for(
    cpu: str, sources: list[Path], program: Path, flags: list[str], libraries: tuple[str, ...] = ("-lm",)
) -> int:
    """Links a program; its bytes of flash."""
    linked = [*map(str, sources), f"-T{BOARD / 'mps2.ld'}", *libraries, "-o", str(program)]
    _checked(["arm-none-eabi-gcc", *CPUS[cpu][1], *flags, *LINK, *linked])
    text, data, *_ = map(int, _checked(["arm-none-eabi-size", str(program)]).splitlines()[1].split()[:3])
    return text + data


def run_on(cpu: str, program: Path) -> str:
    """What it prints, from qemu."""
    board = ["-M", CPUS[cpu][0], "-display", "none", "-monitor", "none", "-serial", "none", "-icount", "shift=5"]
    output = ["-chardev", "stdio,id=out", "-semihosting-config", "enable=on,target=native,chardev=out"]
    return _checked(["qemu-system-arm", *board, *output, "-kernel", str(program)])


def _checked(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def replay(cpu: str, folder: Path, work: Path, optimise: str = "-O2") -> str:
    """What the exported main.c says: PASS and the steps, or FAIL."""
    sources = [*sorted(folder.glob("*.c")), BOARD / "startup.c"]
    compile_for(cpu, sources, work / "replay", [*STRICT, optimise])
    return run_on(cpu, work / "replay").strip()


def count(cpu: str, folder: Path, name: str, work: Path, optimise: str = "-O2") -> Figures:
    (work / "model.h").write_text(_hooks(folder, name))
    program = [p for p in sorted(folder.glob("*.c")) if p.name != "main.c"]
    flags = [*STRICT, optimise, f"-I{folder}", f"-I{work}"]
    flash = compile_for(cpu, [*program, COUNT, BOARD / "startup.c"], work / "count", flags)
    return figures_of(cpu, work / "count", flash, flags)


def figures_of(cpu: str, program: Path, flash: int, flags: list[str]) -> Figures:
    """Of a program of count.c with so many bytes of flash, compiled with these flags."""
    blank = compile_for(cpu, [COUNT, BOARD / "startup.c"], program.with_name("blank"), [*flags, "-DBLANK"])
    return Figures(flash - blank, *map(int, run_on(cpu, program).split()))


def _hooks(folder: Path, name: str) -> str:
    """What count.c is told of a model: its inputs are ones, or zeros where they are indices."""
    header = (folder / f"{name}.h").read_text()
    found = re.search(rf"^int {name}_step\(\w+ \*state, (.*)\);", header, re.M)
    assert found, f"{name}.h declares no step"
    arguments = [re.fullmatch(r"(const )?(\w+) \*(\w+)", a) for a in found[1].split(", ")]
    lines = [f'#include "{name}.h"', f"static {name}_state state;"]
    words = []
    fill = ""
    for argument in arguments:
        assert argument
        const, kind, word = argument.groups()
        size = f"{name}_{word}_size".upper()
        lines.append(f"static {kind} port_{word}[{size} > 0 ? {size} : 1];")
        words.append(f"port_{word}")
        if const and kind == "float":
            fill += f"    for (int i = 0; i < {size}; i++)\n        port_{word}[i] = 0.25f + 0.5f * (float)(i % 2);\n"
    lines.append(f"static void prepare(void) {{\n    {name}_reset(&state);\n{fill}}}")
    lines.append(f"static void step(void) {{ {name}_step(&state, {', '.join(words)}); }}")
    return "\n".join([*lines, "#define STATE_BYTES sizeof state", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, help="Files of lstm-edge convert.")
    parser.add_argument("--cpu", action="append", choices=CPUS, help="May be repeated. Default: all.")
    parser.add_argument("--optimise", default="-O2", help="Of gcc. Default: -O2.")
    given = parser.parse_args()
    print("| Model | CPU | Self-test | Flash | RAM of a stream | Stack | Instructions a step |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for model in given.models:
        with tempfile.TemporaryDirectory() as text:
            work = Path(text)
            export_c(model, work / "c", name="net")
            for cpu in given.cpu or CPUS:
                said = replay(cpu, work / "c", work, given.optimise)
                f = count(cpu, work / "c", "net", work, given.optimise)
                print(
                    f"| {model.stem} | {cpu} | {said} | {f.flash:,} | {f.state:,} | {f.stack:,} | {f.instructions:,} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
