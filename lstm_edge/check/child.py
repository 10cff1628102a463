"""Questions to a framework about a file go to a child process: a framework that crashes, hangs or prints does so there.

The child is started for the first question, answers those that follow, and ends by itself when none comes.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import sys
import threading
from dataclasses import replace
from typing import Any

from ..files.python import NotStarted, killed, started
from .frameworks import framework_of
from .frameworks.question import Answer, Question
from .jobs import answered
from .serve import READY, receive, send

START_SECONDS = 60.0  # for Python and NumPy to be there, on a busy board
IDLE_SECONDS = 10.0  # without a question for so long, the child ends
ANSWER_SECONDS = 120.0  # the import of the framework included


class Child:
    """One process that answers what the `answered` of a module answers. It belongs to the process that made it, not to a fork
    of that."""

    def __init__(self, module: str = "lstm_edge.check.jobs", idle: float = IDLE_SECONDS) -> None:
        self.owner = os.getpid()
        self.timed_out = False
        self.process = started("lstm_edge.check.serve", str(idle), module)
        try:
            if self._within(START_SECONDS, self._receive) == READY:
                return
        except (EOFError, OSError, pickle.UnpicklingError):
            pass
        self.kill()
        raise NotStarted(f"{sys.executable} does not run lstm_edge.check.serve")

    def ask(self, question: Any) -> Any:
        """EOFError or OSError when the child ended instead of answering."""

        def talk() -> Any:
            assert self.process.stdin is not None
            send(self.process.stdin, question)
            return self._receive()

        return self._within(ANSWER_SECONDS, talk)

    def _receive(self) -> Any:
        assert self.process.stdout is not None
        return receive(self.process.stdout)

    def _within(self, seconds: float, work: Any) -> Any:
        """What `work` gives; the child is killed when that takes longer, and when anything else ends the wait."""
        timer = threading.Timer(seconds, self._time_out)
        timer.daemon = True
        timer.start()
        try:
            return work()
        except BaseException as why:
            if not isinstance(why, (EOFError, OSError)):
                self.kill()  # the answer to this question must not be taken for that to the next
            raise
        finally:
            timer.cancel()

    def _time_out(self) -> None:
        self.timed_out = True
        self.process.kill()

    def end(self) -> str:
        """How it ended, in words; '' where it ended by itself as it should."""
        code = self.process.wait()
        self.kill()
        if self.timed_out:
            return f"gave no answer within {ANSWER_SECONDS:g} s"
        if code < 0:
            known = code in {-s.value for s in signal.Signals}
            return f"died ({signal.Signals(-code).name if known else f'signal {-code}'})"
        return f"ended the process with exit code {code}" if code else ""

    def kill(self) -> None:
        killed(self.process)


_lock = threading.Lock()
_child: Child | None = None


def ask(question: Question) -> Answer:
    """The framework's answer: from the child for a file, from this process for a live object, which cannot leave it."""
    parts = question.source if isinstance(question.source, tuple) else (question.source,)
    if not all(isinstance(part, (str, bytes)) for part in parts):
        return answered(question)
    try:
        with _lock:
            return _from_child(question)
    except NotStarted as why:
        answer = answered(question)
        return replace(
            answer, notes=[*answer.notes, f"the framework ran in this process, a child did not start: {why}"]
        )


def _from_child(question: Question) -> Answer:
    """The child's answer. Where it dies of an ONNX model, onnxruntime is asked once more, without its optimisations."""
    framework = framework_of(question.kind, question.graph)
    name = framework.name if framework else question.kind
    answer, how = _asked(question)
    if answer is not None:
        return answer
    if question.kind == "onnx" and not question.values and how.startswith("died"):
        answer, _ = _asked(replace(question, careful=True))
        if answer is not None and answer.outputs is not None:
            said = f"{name} {how} on this model with its optimisations, and answered without them"
            return replace(answer, notes=[*answer.notes, said])
    return Answer(why=f"{name} {how} on this model", fault=True)


def _asked(question: Question) -> tuple[Answer | None, str]:
    """The child's answer, or how the child ended instead."""
    for _ in range(2):  # a child that had just ended by itself is started once more
        child = _running()
        try:
            return child.ask(question), ""
        except (EOFError, OSError):
            how = child.end()
            _forget()
            if how:
                return None, how
    return None, "ended without an answer"


def _running() -> Child:
    global _child
    if _child is not None and _child.owner != os.getpid():
        _child = None  # a fork: the pipes belong to the parent
    if _child is None:
        _child = Child()
    return _child


def _forget() -> None:
    global _child
    _child = None


@atexit.register
def stop() -> None:
    """Ends the child; the next question starts another."""
    if _child is not None and _child.owner == os.getpid():
        _child.kill()
    _forget()
