"""The child process: it answers questions, one after the other, until nobody asks. child.py is the other end.

Frameworks print, and some end the process; both stay here. `main`, given SECONDS and MODULE, reads its questions from stdin and
answers with the module's `answered` on what stdout was when it started; what frameworks print goes nowhere. It ends when stdin
does, or after so many seconds without a question.
"""

from __future__ import annotations

import os
import pickle
import queue
import struct
import sys
import threading
from importlib import import_module
from typing import IO, Any

LENGTH = struct.Struct("<Q")
READY = "ready"


def send(stream: IO[bytes], message: Any) -> None:
    """One message: its length, then its pickle."""
    content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """The next message; EOFError when the other end has closed its own, be it in the middle of one."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    (count,) = LENGTH.unpack(head)
    content = stream.read(count)
    if len(content) < count:
        raise EOFError
    return pickle.loads(content)


def main() -> None:
    idle_seconds, answered = float(sys.argv[1]), import_module(sys.argv[2]).answered
    answers = _private_stdout()
    questions: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, questions), daemon=True).start()
    send(answers, READY)
    while True:
        try:
            question = questions.get(timeout=idle_seconds)
        except queue.Empty:
            question = None
        if question is None:
            os._exit(0)  # threads that a framework left running do not keep it
        send(answers, answered(question))


def _private_stdout() -> IO[bytes]:
    """The pipe to the parent, which from now on nothing but this module can write to."""
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return os.fdopen(kept, "wb")


def _read(stream: IO[bytes], questions: queue.Queue[Any]) -> None:
    """Hands on every question as it comes; None when the parent is gone."""
    try:
        while True:
            questions.put(receive(stream))
    except (EOFError, OSError):
        pass
    finally:
        questions.put(None)
