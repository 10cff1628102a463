"""What one conversion may hold in memory: one budget for all that is read, folded and written on its way.

A few bytes of a file can ask for gigabytes. Whoever takes memory by what a file says asks here first; the budget counts what is
held, arrays until they are gone, and refuses what goes beyond it. Where no conversion runs, nothing is counted.
"""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import numpy as np

from .errors import LstmEdgeError, MemoryLimitError
from .options import argument

FREE_BYTES = (
    56 << 20
)  # of every conversion; with what is too small to be counted, peaks stay below 64 MB and PER_BYTE a byte
PER_BYTE = 20  # of the files that a conversion reads
SMALL = 512  # bytes of an array that is not worth counting
PER_OBJECT = 600  # bytes of an element that is no number: an open size with its polynomial


class Budget:
    """The bytes that a conversion may hold, and those that it holds. `fixed`: the limit is the caller's, so that files do not
    raise it."""

    def __init__(self, limit: int, fixed: bool) -> None:
        self.limit, self.fixed, self.held = limit, fixed, 0
        self._arrays: dict[int, tuple[weakref.ref[Any], int]] = {}  # by the id of what owns the memory
        self._files: set[tuple[int, int]] = set()

    def ask(self, count: int, place: str) -> None:
        """MemoryLimitError where so many bytes beside those that are held go beyond the limit."""
        if count <= self.limit - self.held:
            return
        gc.collect()  # what an earlier attempt at the graph left in cycles is held by nobody
        if count > self.limit - self.held:
            where = f"{place}: " if place else ""
            raise MemoryLimitError(
                f"{where}asks for {count} bytes of memory beside {self.held} that are held, and the limit is {self.limit}; "
                f"for a file that you trust, {argument('max_memory')} raises it"
            )

    def take(self, count: int, place: str) -> None:
        """Counts bytes that are held until the conversion ends."""
        self.ask(count, place)
        self.held += count

    def hold(self, array: np.ndarray, place: str) -> None:
        """Counts an array until it is gone, once for all views of it. A view that repeats elements counts as their copy."""
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if _cost(array) > _cost(owner):
            owner = array
        key, count = id(owner), _cost(owner)
        if key not in self._arrays:
            self.take(count, place)
            self._arrays[key] = weakref.ref(owner, partial(self._let_go, key)), count

    def _let_go(self, key: int, _: Any) -> None:
        self.held -= self._arrays.pop(key)[1]

    def read(self, path: str | os.PathLike[str], whole: bool) -> None:
        """Notes a file, once: what its blocks on the disk hold raises a limit that is not the caller's. `whole`: its bytes count."""
        about = os.stat(path)
        key = about.st_dev, about.st_ino
        if key in self._files:
            return
        self._files.add(key)
        stored = min(about.st_size, 512 * getattr(about, "st_blocks", about.st_size))
        self.limit += 0 if self.fixed else PER_BYTE * stored
        if whole:
            self.take(about.st_size, os.path.basename(path))


_CURRENT: ContextVar[Budget | None] = ContextVar("memory_budget", default=None)


@contextmanager
def limited(size: int, max_memory: int | None = None) -> Iterator[None]:
    """While it lasts, conversions hold at most `max_memory` bytes; None: FREE_BYTES and PER_BYTE for each of a source's `size`
    and of the files that are read beside it. A budget that is there already stays. LstmEdgeError: no number of bytes."""
    if max_memory is not None and (isinstance(max_memory, bool) or not isinstance(max_memory, int) or max_memory < 1):
        raise LstmEdgeError(
            f"{argument('max_memory')}: expected None or a number of bytes of at least 1, found {max_memory!r}"
        )
    if _CURRENT.get() is not None:
        yield
        return
    limit = FREE_BYTES + PER_BYTE * size if max_memory is None else max_memory
    token = _CURRENT.set(Budget(limit, max_memory is not None))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def ask(count: int, place: str = "") -> None:
    """Before so many bytes are taken for a while. MemoryLimitError where they go beyond the limit; where no conversion runs, where
    they alone go beyond FREE_BYTES."""
    (_CURRENT.get() or Budget(FREE_BYTES, True)).ask(count, place)


def foresee(count: int, place: str = "") -> None:
    """`ask`, in a conversion alone: for what is of any size elsewhere."""
    budget = _CURRENT.get()
    if budget is not None:
        budget.ask(count, place)


def take(count: int, place: str = "") -> None:
    """Before so many bytes are taken to the end of the conversion. MemoryLimitError where they go beyond the limit."""
    budget = _CURRENT.get()
    if budget is not None:
        budget.take(count, place)


def hold(array: np.ndarray, place: str = "") -> np.ndarray:
    """The array, counted until it is gone. MemoryLimitError where it goes beyond the limit."""
    budget = _CURRENT.get()
    if budget is not None and array.nbytes >= SMALL:
        budget.hold(array, place)
    return array


def read(path: str | os.PathLike[str], whole: bool = True) -> None:
    """Before a file is read, as a whole or in parts whose reader asks for each. MemoryLimitError: it goes beyond the limit."""
    budget = _CURRENT.get()
    if budget is not None:
        budget.read(path, whole)


def left(most: int) -> int:
    """The bytes that may yet be taken, at most `most`; that where no conversion runs."""
    budget = _CURRENT.get()
    return most if budget is None else max(0, min(most, budget.limit - budget.held))


def _cost(array: np.ndarray) -> int:
    return array.size * PER_OBJECT if array.dtype == object else array.nbytes
