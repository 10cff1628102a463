"""One guard around everything that reads a file: what a library, or a fault of our own, raises on bad content becomes an error
that names the place, what was expected and what was found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from ..errors import FormatError, LstmEdgeError

TRACEBACK = "LSTM_EDGE_TRACEBACK"  # the environment variable that lets the command line show where


class UnreadableError(FormatError):
    """Content that no check refused and at which a reader stopped all the same. `__cause__` is what it stopped with.

    Mostly the file is damaged; where other programs read it, the reader has a fault, and the message says so too.
    """


@contextmanager
def reading(place: str) -> Iterator[None]:
    """Around the reading of untrusted content: everything that is raised but LstmEdgeError becomes UnreadableError with that as
    its cause. What is not the content's doing stays as it is: KeyboardInterrupt, a missing library, a file that the system
    does not open."""
    try:
        yield
    except (LstmEdgeError, ImportError):
        raise
    except Exception as why:
        if isinstance(why, OSError) and why.filename is not None:
            raise
        raise UnreadableError(f"{place}: {_described(why)}") from why


def _described(why: Exception) -> str:
    if isinstance(why, MemoryError):
        return f"expected content that fits into memory, found none left for it{_text(why)}"
    if isinstance(why, RecursionError):
        return "expected content that nests less deeply, found more levels than Python's stack takes"
    return (
        f"expected content that its reader understands, found some at which it stops ({type(why).__name__}{_text(why)}, in "
        f"{_place(why.__traceback__)}): the file is damaged, or does not go with what was given beside it. If other programs "
        f"read it, this is a fault in lstm_edge: please report it ({TRACEBACK}=1 shows more)"
    )


def _text(why: Exception) -> str:
    """What the exception says, on one line and short: it may quote the file."""
    said = " ".join(str(why)[:400].split())
    return f": {said[:160]}" if said else ""


def _place(trace: TracebackType | None) -> str:
    """The file and line where an exception was raised."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else "an unknown place"
