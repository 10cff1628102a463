"""The process in which libhdf5 reads what may be damaged. hdf5.py is the other end: it starts it, and says what it may use.

It reads one file after the other: a message that opens one, questions about it, a message that closes it. It ends when stdin does,
when nobody opens a file for a while, and, killed by the system, where a file takes more processor time than was allowed for it.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from ..errors import FormatError, LstmEdgeError
from .guard import reading
from .hdf5_file import Hdf5File, opened

try:
    import resource
except ImportError:  # Windows, where only the other end's clock ends this process
    resource = None  # type: ignore[assignment]

IDLE_SECONDS = 10.0
LENGTHS = struct.Struct("<QQ")  # of a message's JSON, and of the bytes behind it
QUESTIONS = ("array", "attribute", "has_attribute", "names")  # methods of Hdf5File


def send(stream: IO[bytes], message: Any, data: bytes | memoryview = b"") -> None:
    """One message: JSON, and plain bytes. Nothing is pickled: the reader of a damaged file makes the answers."""
    text = json.dumps(message).encode()
    stream.write(LENGTHS.pack(len(text), len(data)))
    stream.write(text)
    stream.write(data)
    stream.flush()


def receive(stream: IO[bytes], most: int) -> tuple[Any, bytearray]:
    """The next message; EOFError when the other end is gone, ValueError where it claims more than
    `most` bytes."""
    texts, size = LENGTHS.unpack(_exactly(stream, LENGTHS.size, most))
    return json.loads(_exactly(stream, texts, most)), _exactly(stream, size, most)


def _exactly(stream: IO[bytes], count: int, most: int) -> bytearray:
    if count > most:
        raise ValueError(f"a message of {count} bytes")
    data = bytearray(count)
    view, at = memoryview(data), 0
    while at < count:
        found = stream.readinto(view[at:])  # type: ignore[attr-defined]
        if not found:
            raise EOFError
        at += found
    return data


def main() -> None:
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print is no answer
    try:
        import h5py  # noqa: F401
    except ImportError as why:
        send(answers, {"missing": str(why)})
        return
    send(answers, {"start": time.process_time()})
    try:
        while True:
            idle = threading.Timer(IDLE_SECONDS, os._exit, (0,))
            idle.daemon = True
            idle.start()
            message, data = receive(questions, sys.maxsize)
            idle.cancel()
            with _limited(message["seconds"], message["memory"]):
                _answer(message, bytes(data), questions, answers)
    except (EOFError, BrokenPipeError):
        return


@contextmanager
def _limited(seconds: float, memory: int) -> Iterator[None]:
    """The system ends this process after so many seconds of work, whatever C code runs then, and gives it at most so many bytes more
    than it has."""
    if resource is None:
        yield
        return
    limits = resource.getrlimit(resource.RLIMIT_AS)
    try:
        with open("/proc/self/statm") as file:
            held = int(file.read().split()[0]) * resource.getpagesize()
        most = held + memory if limits[1] == resource.RLIM_INFINITY else min(held + memory, limits[1])
        resource.setrlimit(resource.RLIMIT_AS, (most, limits[1]))
    except OSError:  # not Linux: nothing tells what is held already
        pass
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # it may be ignored or blocked where this process comes from
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _answer(message: Any, data: bytes, questions: IO[bytes], answers: IO[bytes]) -> None:
    """Opens the file, and answers until it is to be closed. What is wrong with it is told instead of the answer."""
    place = message["place"]
    try:
        with reading(place), opened(data if message["path"] is None else message["path"], place) as file:
            send(answers, {"is": {path: file.is_dataset(path) for path in file.objects}})
            while (question := receive(questions, sys.maxsize)[0])["ask"] != "close":
                _ask(file, question, answers)
    except LstmEdgeError as error:
        send(answers, {"wrong": error.message})
        return
    send(answers, {"is": None})


def _ask(file: Hdf5File, question: Any, answers: IO[bytes]) -> None:
    if question["ask"] not in QUESTIONS:
        raise FormatError(f"no question of {QUESTIONS}: {question['ask']!r}")
    value = getattr(file, question["ask"])(*question["with"])
    if isinstance(value, np.ndarray):
        plain = np.ascontiguousarray(value)
        send(answers, {"shape": value.shape, "dtype": value.dtype.str}, plain.reshape(-1).view(np.uint8).data)
    else:
        send(answers, {"is": value})
