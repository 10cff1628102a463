"""lstm-edge doctor: the machine, the kernels chosen for it, and a test of every kernel table."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
from rich.console import Console

import lstm_edge

from ..check import doctor
from .grid import Column, print_grid, text, words
from .io import err_console, error_line, out_console, print_json
from .options import json_option
from .parsing import Command

FAILED, DIFFERENT = 1, 3
MIB = 1 << 20


@click.command("doctor", cls=Command)
@json_option
def command(as_json: bool) -> int:
    """Show this machine's board, CPU, clock, temperature and memory, which kernels run here and why, and test them.

    Every kernel table that this CPU runs is compared with the scalar one: float32 within 1e-5, int8 to the bit. Exit
    code 3 when one differs. Nothing on the machine is changed.
    """
    machine = doctor.examine()
    with err_console().status("testing kernels"):
        rows = doctor.kernels()
    _, error = doctor.chosen_isa()
    advice = doctor.advice(machine)
    failed = [row for row in rows if row.failed]
    if as_json:
        about = {"version": lstm_edge.__version__, "machine": asdict(machine), "kernels": [asdict(row) for row in rows]}
        print_json({**about, "advice": advice, "error": error, "passed": not failed})
    else:
        console = out_console()
        print_machine(console, machine, lstm_edge.__version__)
        console.print()
        print_kernels(console, rows)
        for line in advice:
            console.print(f"advice: {line}", markup=False)
    for row in failed:
        error_line(f"kernels {row.name!r}: {', '.join(row.failed)} differ from scalar's; expected float32 within "
                   f"{doctor.TOLERANCE:g} and equal int8, found {row.difference:.2g} and int8 {_bits(row.int8_equal)}; "
                   f"set LSTM_EDGE_ISA=scalar and report it")  # fmt: skip
    if error:
        error_line(error)
    return DIFFERENT if failed else FAILED if error else 0


def print_machine(console: Console, machine: Any, version: str) -> None:
    """Prints what was found, a row each; what the machine does not tell reads "not told"."""
    clock = " of ".join(f"{mhz:.0f}" for mhz in (machine.mhz, machine.max_mhz) if mhz is not None)
    memory = " of ".join(f"{n / MIB:.0f}" for n in (machine.memory_available, machine.memory) if n is not None)
    rows = {
        "board": machine.board,
        "CPU": machine.cpu,
        "cores": machine.cores,
        "kernel": f"{machine.kernel_machine}, {machine.kernel_bits} bits",
        "system": f"{machine.userland_bits} bits",
        "lstm_edge": version,
        "Python": machine.python,
        "C library": machine.libc,
        "governor": ", ".join(machine.governors),
        "clock": clock and f"{clock} MHz",
        "temperature": machine.temperature is not None and f"{machine.temperature:.1f} degrees C",
        "throttling": machine.throttling and _throttling(machine.throttling),
        "memory available": memory and f"{memory} MiB",
        "load average": machine.load,
    }
    told = [(name, str(value) if value not in (None, "", False) else "not told") for name, value in rows.items()]
    print_grid(console, (text(""), words("")), told, header=False)


def print_kernels(console: Console, rows: list[Any]) -> None:
    columns = text("kernels"), text(""), words("why"), Column("float32 off by"), text("int8 bits", 1), text("test")
    told = []
    for row in rows:
        state = "chosen" if row.chosen else "runs" if row.supported else "no"
        told.append((row.name, state, row.why, *(_result(row) if row.supported else ())))
    print_grid(console, columns, told)


def _result(row: Any) -> tuple[str, str, str]:
    return f"{row.difference:.1e}", _bits(row.int8_equal), "failed" if row.failed else "passed"


def _bits(equal: bool | None) -> str:
    return "equal" if equal else "differ"


def _throttling(found: Any) -> str:
    now, before = (", ".join(names) or "none" for names in (found.now, found.occurred))
    return f"now {now}; since the start {before} ({found.word:#x})"
