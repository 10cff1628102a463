"""What `lstm-edge --help` says, written without click, which takes three times what Python itself takes to start."""

from __future__ import annotations

import os
import sys

ABOUT = "Convert trained recurrent networks to one small file and run it on a CPU, frame by frame."
OPTIONS = {"--version": "Show the version and exit.", "-h, --help": "Show this message and exit."}
COMMANDS = {
    "convert": "Convert a trained model to one .lstm file.",
    "join": "Join networks and what lies between them to one file.",
    "train": "Train a network on a table, a folder or a text.",
    "info": "Show what goes in, what comes out, whether it streams.",
    "run": "Run a model over arrays, tables or sound, or live input.",
    "forecast": "Forecast what comes after a history.",
    "trace": "Show the gates and states of every recurrence.",
    "verify": "Compare with the answers stored in the file, or a source's.",
    "prune": "Cut weights in blocks.",
    "quantize": "Store weights in int8 or float16, and report the cost.",
    "export-c": "Write a model as a folder of C99 for microcontrollers.",
    "evaluate": "Compare answers with labels.",
    "bench": "Time a model, alone or beside other engines.",
    "doctor": "Show this machine and its kernels, and test them.",
}
EXIT_CODES = (
    "Exit codes: 0 done, 1 error, 2 wrong command line, 3 verify or doctor found a difference, or bench a loss, "
    "4 a fault in lstm_edge itself, 130 interrupted."
)


def text() -> str:
    """The help, as wide as click writes that of a command: the terminal's columns, at most 80, less two."""
    width = max(min(_columns(), 80) - 2, 50)
    blocks = [
        "Usage: lstm-edge [OPTIONS] COMMAND [ARGS]...",
        _wrapped(ABOUT, width, "  "),
        "Options:\n" + _table(OPTIONS, width),
        "Commands:\n" + _table(COMMANDS, width),
        _wrapped(EXIT_CODES, width, "  "),
    ]
    return "\n\n".join(blocks)


def show() -> None:
    try:
        print(text(), flush=True)
    except BrokenPipeError:  # the reader has seen enough; what Python still flushes at its end goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as exc:
        raise SystemExit(f"error: standard output: {exc.strerror}") from None


def _columns() -> int:
    given = os.environ.get("COLUMNS", "")
    try:
        return int(given) if given.isdecimal() and int(given) else os.get_terminal_size().columns
    except (OSError, ValueError):  # no terminal
        return 80


def _table(rows: dict[str, str], width: int) -> str:
    first = max(map(len, rows)) + 2
    return "\n".join(
        f"  {name:{first}}{_wrapped(about, width, ' ' * (first + 2)).lstrip()}" for name, about in rows.items()
    )


def _wrapped(words: str, width: int, indent: str) -> str:
    lines = [""]
    for word in words.split():
        if lines[-1] and len(indent) + len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += " " * bool(lines[-1]) + word
    return "\n".join(indent + line for line in lines)
