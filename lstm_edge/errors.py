"""The exceptions of lstm_edge. All of them are LstmEdgeError and ValueError."""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself would take a third of the time in which the package is imported
if TYPE_CHECKING:
    from types import TracebackType
    from typing import TypeVar

    Error = TypeVar("Error", bound="LstmEdgeError")


class LstmEdgeError(ValueError):
    """Base of every error the library raises on purpose.

    below: lines that belong under the message, such as a file that would help; empty with most.
    """

    below = ""

    @property
    def message(self) -> str:
        """What is wrong, without the lines below."""
        return super().__str__()

    def __str__(self) -> str:
        return f"{self.message}\n\n{self.below}" if self.below else self.message

    def at(self: Error, place: str) -> Error:
        """The same error with the place it happened at in front of its message."""
        made = type(self).__new__(type(self), f"{place}: {self.message}")
        made.__dict__.update(self.__dict__)
        return made


class FormatError(LstmEdgeError):
    """A file is damaged, truncated, of a foreign kind or of a newer major version."""


class UnsupportedModelError(LstmEdgeError):
    """A model asks for something that lstm_edge does not do; the message names the node and what to do."""


class ShapeError(LstmEdgeError):
    """An array has the wrong shape or dtype; the message says what was expected and what was found."""


class MemoryLimitError(LstmEdgeError):
    """A file asks for more memory than it may have; max_memory raises the limit for files that are trusted."""


class Findings:
    """What is wrong with several things that were given, found one by one and raised together."""

    def __init__(self) -> None:
        self._found: list[LstmEdgeError] = []

    def add(self, error: LstmEdgeError) -> None:
        self._found.append(error)

    def looking(self) -> Findings:
        """A context that keeps the error which is raised while it lasts."""
        return self

    def __enter__(self) -> Findings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, LstmEdgeError):
            self.add(error)
            return True
        return False

    def raise_all(self) -> None:
        """Raises what was found: the one error as it is, several as one of their kind with all messages."""
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            kinds = {type(error) for error in self._found}
            kind = kinds.pop() if len(kinds) == 1 else LstmEdgeError
            raise kind("; ".join(error.message for error in self._found))
