"""The `lstm-edge` command: one file per subcommand, each imported only when it is used.

Results go to stdout, progress and notes to stderr. Exit codes: 0 done; 1 an error, named in one line on stderr; 2 a
wrong command line; 3 `verify`, `doctor` or `bench --vs` found a difference beyond the tolerance, or `bench` a loss; 4 a fault in lstm_edge itself, whose
traceback LSTM_EDGE_TRACEBACK=1 shows, as it does where a reader stops at a file; 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import BufferedWriter, TextIOWrapper  # by name: this package has a module io
from typing import Any, NoReturn

import click

from .. import __version__
from ..errors import LstmEdgeError
from ..files.guard import TRACEBACK, UnreadableError
from ..files.replacing import NamedFile
from ..options import named_as_on_command_line
from ..overview import COMMANDS, text

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


STDOUT = "standard output"


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}").command
        return command

    def get_help(self, ctx: click.Context) -> str:
        return text()

    def invoke(self, ctx: click.Context) -> Any:
        """click ends with 1 where the reader of stdout has gone: that it has seen enough is no error."""
        try:
            code = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
            return code
        except BrokenPipeError:
            _forget_stdout()
            return 0


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lstm-edge")
def group() -> None:
    """The options before a command."""


# click 8.2 raises this for a command without arguments; before, it wrote the help itself.
NO_ARGUMENTS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())


def error_line(message: str, below: str = "") -> None:
    """io.error_line, whose libraries take longer to import than the help to print."""
    importlib.import_module(f"{__name__}.io").error_line(message, below)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits with its code."""
    _name_stdout()
    sys.exit(_run(args))


def _name_stdout() -> None:
    """From now on an error of writing to standard output says where: a full disk behind `>`. Not on Windows, whose consoles take no bytes."""
    given: object = sys.stdout
    if not isinstance(given, TextIOWrapper) or given is not sys.__stdout__ or os.name == "nt":
        return
    given.flush()
    named = BufferedWriter(NamedFile(given.fileno(), "wb", STDOUT, closefd=False))
    sys.stdout = TextIOWrapper(named, given.encoding, given.errors, None, given.line_buffering, given.write_through)


def _forget_stdout() -> None:
    """What is still to be flushed at the end goes nowhere."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
        if exc.filename == STDOUT:
            _forget_stdout()
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
        if isinstance(exc, UnreadableError) and os.environ.get(TRACEBACK) == "1":
            raise
        error_line(exc.message, exc.below)
        return 1
    except (ImportError, MemoryError) as exc:
        error_line(str(exc) or type(exc).__name__)
        return 1
    except Exception as exc:
        if os.environ.get(TRACEBACK) == "1":
            raise
        advice = f"{TRACEBACK}=1 shows where; please report it with the command"
        error_line(f"a fault in lstm_edge itself: {type(exc).__name__}: {exc}; {advice}")
        return 4
