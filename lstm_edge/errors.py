"""The exceptions of lstm_edge. All of them are LstmEdgeError and ValueError."""

from __future__ import annotations

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
