"""HDF5 files of anyone: libhdf5 loops for hours over some damaged ones and does not hear signals then, so that it reads in a child
process, which the system ends where a file takes too much.

Limits for one file: three times the processor time that the child took to start (Python, NumPy, h5py: a measure of the machine), at
least 0.7 s, and once more that time for every MiB of the file; 64 MiB of memory and 20 times the file; MAX_BYTES of arrays. By the
clock a minute and ten times that. The processor's time and memory are the system's to limit (not on Windows, memory on Linux
alone), the clock is watched from here. The environment variable LSTM_EDGE_TRUST_HDF5=1, and a Python that cannot be started once more (an
application with Python in it), read in this process, without these limits.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .. import memory
from ..errors import FormatError, LstmEdgeError, UnsupportedModelError
from . import hdf5_child, hdf5_file
from .hdf5_file import MAX_BYTES
from .python import NotStarted, killed, started

__all__ = ["MAGIC", "MAX_BYTES", "Hdf5", "opened"]

MAGIC = b"\x89HDF\r\n\x1a\n"
TRUST = "LSTM_EDGE_TRUST_HDF5"
STARTS, LEAST_SECONDS, MIB = 3, 0.7, 1 << 20
MEMORY, MEMORY_RATIO = 64 << 20, 20
START_SECONDS, CLOCK_SECONDS, CLOCK_RATIO = 120.0, 60.0, 10
NO_H5PY = "reading HDF5 files (.h5, .keras) needs h5py: pip install h5py"


class Hdf5:
    """An open file. objects: its groups and datasets by path, and whether each is a dataset."""

    def __init__(self, objects: dict[str, bool], ask: Callable[..., Any]) -> None:
        self.objects, self._ask = objects, ask

    def is_dataset(self, path: str) -> bool:
        return self.objects.get(path, False)

    def array(self, path: str) -> np.ndarray:
        """The dataset at `path` in float32 (or its integer or bool type). FormatError where its claimed size does not go with
        what the file stores, or with what may be read from one file."""
        found: np.ndarray = self._ask("array", path)
        return memory.hold(found, path)

    def arrays(self, leave_out: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
        """Every array by its path, but those whose path starts with an entry of `leave_out`."""
        paths = [p for p in self.objects if self.is_dataset(p) and not p.startswith(leave_out)]
        return {path: self.array(path) for path in paths}

    def attribute(self, key: str, path: str = "") -> str:
        """A text attribute of a group or dataset, of the root without a path; '' where it has none."""
        return str(self._ask("attribute", key, path))

    def has_attribute(self, key: str, path: str = "") -> bool:
        return bool(self._ask("has_attribute", key, path))

    def names(self, key: str, path: str = "") -> list[str]:
        """An attribute that lists names, which writers cut into key0, key1... beyond 64 KB."""
        found: list[str] = self._ask("names", key, path)
        return found


@contextmanager
def opened(source: bytes | str | Path, place: str) -> Iterator[Hdf5]:
    """The file of these bytes or at this path while the block runs. FormatError when it is damaged, there or in the block, or takes
    more than its limits; UnsupportedModelError without h5py."""
    whole = source if isinstance(source, bytes) else os.path.abspath(source)
    child = None if os.environ.get(TRUST) == "1" else _child()
    if child is None:
        with _in_this_process(whole, place) as file:
            yield file
        return
    try:
        yield Hdf5(child.open(whole, place), child.ask)
    except LstmEdgeError:
        child.close()
        raise
    except BaseException:
        child.kill()  # the answer to its question must not be taken for that to the next
        raise
    child.close()


@contextmanager
def _in_this_process(source: bytes | str, place: str) -> Iterator[Hdf5]:
    try:
        with hdf5_file.opened(source, place) as file:
            objects = {path: file.is_dataset(path) for path in file.objects}
            yield Hdf5(objects, lambda method, *arguments: getattr(file, method)(*arguments))
    except ImportError as why:
        raise UnsupportedModelError(NO_H5PY) from why


class _Child:
    """A process that reads. It belongs to the process that made it, not to a fork of that."""

    def __init__(self) -> None:
        self.owner, self.place, self.reads = os.getpid(), "", False
        self.process = started("lstm_edge.files.hdf5_child")
        self._clock = self._timer(START_SECONDS)
        try:
            said, _ = hdf5_child.receive(self._answers, MIB)
        except (EOFError, OSError, ValueError):
            self.kill()
            raise NotStarted(f"{sys.executable} does not run lstm_edge.files.hdf5_child") from None
        self._clock.cancel()
        if "missing" in said:
            self.kill()
            raise UnsupportedModelError(NO_H5PY)
        self.start = float(said["start"])

    @property
    def _answers(self) -> Any:
        return self.process.stdout

    def open(self, source: bytes | str, place: str) -> dict[str, bool]:
        """The objects of a file."""
        size = len(source) if isinstance(source, bytes) else os.path.getsize(source)
        seconds = max(LEAST_SECONDS, self.start * STARTS) + self.start * size / MIB
        memory = MEMORY + MEMORY_RATIO * size
        self.place = place
        self.limits = f"{seconds:.1f} s of processor time and {memory >> 20} MiB, for a file of {size} bytes"
        self._clock = self._timer(CLOCK_SECONDS + CLOCK_RATIO * seconds)
        message = {"place": place, "path": None, "seconds": seconds, "memory": memory}
        self.reads = True
        if isinstance(source, bytes):
            return dict(self._talk(message, source))
        return dict(self._talk({**message, "path": source}))

    def ask(self, method: str, *arguments: str) -> Any:
        return self._talk({"ask": method, "with": arguments})

    def close(self) -> None:
        """Closes the file; the child then waits for the next one, unless it has ended."""
        if self.reads:
            self._talk({"ask": "close"})
        self.reads = False
        self._clock.cancel()
        self.waits_until = time.monotonic() + hdf5_child.IDLE_SECONDS / 2
        if self.process.poll() is None:
            _idle.append(self)

    def _talk(self, message: dict[str, Any], data: bytes = b"") -> Any:
        """The answer. FormatError where the file is what is wrong, or ended the child."""
        try:
            hdf5_child.send(self.process.stdin, message, data)  # type: ignore[arg-type]
            said, found = hdf5_child.receive(self._answers, 2 * MAX_BYTES)
        except (EOFError, OSError, ValueError) as why:
            if isinstance(why, ValueError):
                self.process.kill()  # it says what it should not
            code = self.process.wait()
            self.kill()  # its timer and pipes do not stay behind it
            self.reads = False
            raise FormatError(
                f"{self.place}: damaged HDF5 file, or one that takes too long: expected one that libhdf5 reads with "
                f"{self.limits}, found that its process ended ({f'signal {-code}' if code < 0 else f'exit code {code}'}). "
                f"Where the file is trusted, {TRUST}=1 reads it without limits"
            ) from None
        if "wrong" in said:
            self.reads = False  # its file is closed
            raise FormatError(said["wrong"])
        return _array(said, found) if "shape" in said else said["is"]

    def _timer(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self.process.kill)
        timer.daemon = True
        timer.start()
        return timer

    def kill(self) -> None:
        self._clock.cancel()
        killed(self.process)


def _array(said: dict[str, Any], data: bytearray) -> np.ndarray:
    dtype, shape = np.dtype(said["dtype"]), tuple(said["shape"])
    if dtype.kind not in "fiub" or prod(shape) * dtype.itemsize != len(data):
        raise FormatError(f"expected numbers of {shape}, found {len(data)} bytes of {dtype}")
    return np.frombuffer(data, dtype).reshape(shape)


_idle: list[_Child] = []


def _child() -> _Child | None:
    """One that waits, or a new one; None where none can be had."""
    while _idle:
        child = _idle.pop()
        if child.owner != os.getpid():
            continue
        if child.process.poll() is None and time.monotonic() < child.waits_until:
            return child
        child.kill()
    try:
        return _Child()
    except NotStarted:
        return None


@atexit.register
def stop() -> None:
    """Ends the children that wait; the next file starts another."""
    while _idle:
        child = _idle.pop()
        if child.owner == os.getpid():
            child.kill()
