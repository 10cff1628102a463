"""The `lstm-edge` command: one file per subcommand, each imported only when it is used.

Results go to stdout, progress and notes to stderr. Exit codes: 0 done; 1 an error, named in one line on stderr; 2 a
wrong command line; 3 `verify`, `doctor` or `bench --vs` found a difference beyond the tolerance, or `bench` a loss; 4 a fault in lstm_edge itself, whose
traceback LSTM_EDGE_TRACEBACK=1 shows; 130 interrupted.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

import click

from .. import __version__
from ..errors import LstmEdgeError
from ..options import named_as_on_command_line

if importlib.util.find_spec("rich") is None:  # imported where something is printed, but always needed then
    raise ModuleNotFoundError("No module named 'rich'", name="rich")

# What the help says of each, here so that it need not import them.
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
    "evaluate": "Compare answers with labels.",
    "bench": "Time a model, alone or beside other engines.",
    "doctor": "Show this machine and its kernels, and test them.",
}
# Modules that only some formats need -> the extra of pyproject.toml that brings them.
EXTRAS = {
    "onnx": "onnx",
    "h5py": "keras",
    "torch": "torch",
    "flatbuffers": "tflite",
    "matplotlib": "plot",
    "soxr": "audio",
    "pandas": "pandas",
    "pyarrow": "pandas",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """click ends with 1 where the reader of stdout has gone: that it has seen enough is no error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            with suppress(OSError):  # what is still to be flushed at the end goes nowhere
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 error, 2 wrong command line, 3 verify or doctor found a difference, or bench a loss, "
    "4 a fault in lstm_edge itself, 130 interrupted.",
)
@click.version_option(__version__, prog_name="lstm-edge")
def group() -> None:
    """Convert trained recurrent networks to one small file and run it on a CPU, frame by frame."""


# click 8.2 raises this for a command without arguments; before, it wrote the help itself.
NO_ARGUMENTS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())


def error_line(message: str, below: str = "") -> None:
    """io.error_line, whose libraries take longer to import than the help to print."""
    importlib.import_module(f"{__name__}.io").error_line(message, below)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits with its code."""
    sys.exit(_run(args))


def _run(args: Sequence[str] | None) -> int:
    try:
        with named_as_on_command_line():
            code = group.main(args, prog_name="lstm-edge", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except NO_ARGUMENTS as exc:
        sys.stderr.write(exc.format_message() + "\n")
        return 2
    except click.UsageError as exc:
        path = exc.ctx.command_path if exc.ctx else "lstm-edge"
        error_line(f"{exc.format_message()} See `{path} --help`.")
        return 2
    except click.ClickException as exc:
        error_line(exc.format_message())
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        error_line("interrupted")
        return 130
    except OSError as exc:
        error_line(f"{exc.filename}: {exc.strerror}" if exc.filename and exc.strerror else str(exc))
        words = sys.argv[1:] if args is None else args
        missing = isinstance(exc, FileNotFoundError) and exc.filename
        return 2 if missing and any(str(missing) in word for word in words) else 1
    except ModuleNotFoundError as exc:
        extra = EXTRAS.get((exc.name or "").partition(".")[0])
        needed = f"expected the module {exc.name!r}, found none; pip install 'lstm-edge[{extra}]'"
        error_line(needed if extra else str(exc))
        return 1
    except LstmEdgeError as exc:
        error_line(exc.message, exc.below)
        return 1
    except (ImportError, MemoryError) as exc:
        error_line(str(exc) or type(exc).__name__)
        return 1
    except Exception as exc:
        if os.environ.get("LSTM_EDGE_TRACEBACK") == "1":
            raise
        advice = "LSTM_EDGE_TRACEBACK=1 shows where; please report it with the command"
        error_line(f"a fault in lstm_edge itself: {type(exc).__name__}: {exc}; {advice}")
        return 4
