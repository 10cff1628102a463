"""Bytes as they come, from standard input or a file: nothing waits for more than it needs."""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

from ..errors import FormatError

STDIN = "-"
PIECE, MOST = 1 << 16, 1 << 24  # of one read: what a pipe holds, at most, and what is asked of a file, at most


class Pipe:
    """What stands in `path` (- is standard input), in order and once. `place` names it in messages.

    `stopped` is the signal that ended it before its end, 0 without one (see `ended_by_signals`).
    """

    def __init__(self, path: str):
        self.place = "standard input" if path == STDIN else path
        self.owned = path != STDIN
        if path == STDIN and sys.__stdin__ is None:
            raise FormatError("standard input: expected something to read, found it closed")
        self.fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)) if self.owned else 0
        self.held = bytearray()
        self.ended = False
        self.stopped = 0
        self.wake: int | None = None  # can be read from when a signal came

    def left(self) -> int | None:
        """Bytes to the end of a file, those here included; None of a pipe, which does not say."""
        about = os.fstat(self.fd)
        if not stat.S_ISREG(about.st_mode):
            return None
        return len(self.held) + max(0, about.st_size - os.lseek(self.fd, 0, os.SEEK_CUR))

    def more(self, wanted: int = PIECE) -> bool:
        """Waits for bytes, takes those that are there, and says whether there were any: False at the end."""
        if self.ended:
            return False
        data = os.read(self.fd, min(max(wanted, PIECE), MOST)) if self._ready() else b""
        self.held += data
        self.ended = self.ended or not data
        return bool(data)

    def _ready(self) -> bool:
        """Waits for bytes, the end, or a signal: False then."""
        if self.wake is not None:
            poll = select.poll()
            for fd in (self.fd, self.wake):
                poll.register(fd, select.POLLIN)
            if self.wake in dict(poll.poll()):
                return False
        return not self.stopped

    def exactly(self, count: int) -> bytes:
        """The next `count` bytes, fewer at the end."""
        while len(self.held) < count and self.more(count - len(self.held)):
            pass
        return self._taken(count)

    def some(self, unit: int, most: int) -> bytes:
        """Whole units of bytes that are there, at most `most` bytes: waits for one unit. Nothing at the end."""
        while len(self.held) < unit and self.more(most):
            pass
        return self._taken(min(len(self.held), most) // unit * unit)

    def skip(self, count: int) -> None:
        while count > 0 and (self.held or self.more()):
            count -= len(self._taken(min(count, len(self.held))))

    def line(self) -> bytes | None:
        """The next line with its end, which the last one may lack; None at the end. A line that a signal cut short is none: its last
        number might be another."""
        at = 0
        while (end := self.held.find(b"\n", at)) < 0:
            at = len(self.held)
            if not self.more():
                return None if self.stopped else self._taken(at) or None
        return self._taken(end + 1)

    def has_line(self) -> bool:
        """Whether a line that is not blank can be had without waiting."""
        return b"\n" in self.held.lstrip()

    def _taken(self, count: int) -> bytes:
        data = bytes(memoryview(self.held)[:count])
        del self.held[:count]
        return data

    def close(self) -> None:
        if self.owned:
            os.close(self.fd)
            self.owned = False


@contextmanager
def ended_by_signals(pipe: Pipe | None) -> Iterator[None]:
    """While it lasts, SIGINT and SIGTERM end the pipe, as if its writer had ended it, so that what came is answered and written.

    A second SIGINT interrupts as ever. Without a pipe, outside the main thread, and on Windows, signals do what they did.
    """
    if pipe is None or not hasattr(select, "poll") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        if pipe.stopped:
            raise KeyboardInterrupt
        pipe.stopped, pipe.ended = number, True

    pipe.wake, writing = os.pipe()
    os.set_blocking(writing, False)
    wake_before = signal.set_wakeup_fd(writing)
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wake_before)
        os.close(pipe.wake)
        os.close(writing)
        pipe.wake = None


def end_as_stopped(pipe: Pipe | None) -> None:
    """Ends the command with the code of the signal that ended its input, where one did: 130 for SIGINT, as anywhere."""
    if pipe is not None and pipe.stopped:
        raise KeyboardInterrupt if pipe.stopped == signal.SIGINT else click.exceptions.Exit(128 + pipe.stopped)
