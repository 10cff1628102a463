"""This Python once more, as a process of its own: started with subprocess, not multiprocessing, which would run the user's own
script again where that has no main guard."""

from __future__ import annotations

import os
import subprocess
import sys

# '' is the folder in which Python was started: no module of ours comes from there. Its flag -P needs Python 3.11.
_START = "import sys, importlib; sys.path[:] = filter(None, sys.path); importlib.import_module(sys.argv.pop(1)).main()"


class NotStarted(Exception):
    """The process cannot be had; the text says why."""


def started(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A process that runs `main` of a module with these arguments in sys.argv, stdin and stdout being pipes. NotStarted."""
    command = [_python(), "-c", _START, module, *arguments]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    try:
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, env=_environment())
    except OSError as why:
        raise NotStarted(str(why)) from why


def killed(process: subprocess.Popen[bytes]) -> None:
    """Ends it, if it has not ended, and gives its pipes back."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        try:
            if stream is not None:
                stream.close()
        except OSError:  # bytes that a dead process did not take
            pass


def _python() -> str:
    """This Python. NotStarted where sys.executable is another program that has Python in it: that must not run again."""
    if getattr(sys, "frozen", False) or "python" not in os.path.basename(sys.executable or "").lower():
        raise NotStarted(f"sys.executable is {sys.executable!r}, no Python")
    return sys.executable


def _environment() -> dict[str, str]:
    """With the modules that this process finds, and no others."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(p) for p in sys.path)}
