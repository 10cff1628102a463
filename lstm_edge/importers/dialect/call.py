"""One operator of a file with its input values: what the front ends' own calls have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ...errors import LstmEdgeError, UnsupportedModelError
from ...ir.dims import Dim, Size
from .builder import Dialect
from .value import MEANINGLESS, Value


class OperatorCall:
    """One operator with its input values, asked for by place; an optional input that is not given is None.

    A front end's own class says what an operator and an input are called, and how its attributes are read.
    """

    ctx: Dialect
    name: str
    inputs: list[Value | None]

    @property
    def place(self) -> str:
        """The operator as messages give it."""
        raise NotImplementedError

    def input_name(self, n: int) -> str:
        """Input n as the file calls it."""
        raise NotImplementedError

    def remedy(self, n: int) -> str:
        """What to do where input n must be known at conversion and is not; goes behind that."""
        return ""

    def refuse(self, message: str) -> UnsupportedModelError:
        return UnsupportedModelError(f"{self.place}: {message}")

    def optional(self, n: int) -> Value | None:
        return self.inputs[n] if n < len(self.inputs) else None

    def input(self, n: int) -> Value:
        value = self.optional(n)
        if value is None:
            raise self.refuse(f"input {n} is missing")
        return value

    def all_inputs(self) -> list[Value]:
        return [self.input(n) for n in range(len(self.inputs))]

    def known(self, n: int) -> np.ndarray:
        """Input n as an array, refused by name unless known at conversion."""
        value = self.input(n)
        if not value.is_known:
            raise self.refuse(f"input {self.input_name(n)!r} must be known at conversion{self.remedy(n)}")
        return value.data

    def known_ints(self, n: int) -> list[int]:
        return [int(v) for v in self.known(n).reshape(-1)]

    def sizes(self, n: int) -> list[Size]:
        """Input n as a list of ints and Dims."""
        value = self.input(n)
        if value.array is None:
            raise self.refuse(
                f"input {self.input_name(n)!r} must follow from the shapes of the inputs; it is computed at run time"
            )
        return [e if isinstance(e, Dim) else int(e) for e in value.array.reshape(-1)]

    def shape(self, n: int) -> tuple[Size, ...]:
        return self.ctx.shape(self.input(n))

    def rank(self, n: int) -> int:
        return len(self.shape(n))

    def axis(self, axis: int, rank: int) -> int:
        return self.ctx.axis(axis, rank)


@contextmanager
def lowering(call: OperatorCall) -> Iterator[None]:
    """While a call is lowered: the dialect's place and names are the call's, and what goes wrong says where."""
    ctx = call.ctx
    outer = ctx.place, ctx.node_name
    ctx.place, ctx.node_name = call.place, call.name
    try:
        yield
    except LstmEdgeError as e:
        if call.place in str(e):
            raise
        raise e.at(call.place) from e
    except MEANINGLESS as e:
        raise UnsupportedModelError(f"{call.place}: cannot be converted: {type(e).__name__}: {e}") from e
    finally:
        ctx.place, ctx.node_name = outer
