"""WHILE: a loop that spells a recurrence becomes one; another is unrolled where its number of trips is known.

TensorFlow's converter turns the recurrence of a layer into a loop that carries a counter, the outputs so far, the
states and the inputs. Its body is interpreted once with a symbolic trip number, on a Graph of its own, which
recurrences/ reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...ir.dims import Dim, Size, mentions
from ...recurrences.body import Body, Carried, Frame
from ...recurrences.loops import Loop, Trip, settle
from ...recurrences.polynomials import NotACell
from ..dialect import Value, known
from .control import list_input, run_subgraph, subgraph
from .lowering import Call, ListValue, TfLowering, lowers
from .schema import SubGraph

TRIP = Dim.symbol("trip")
COMPARISONS = ("LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "NOT_EQUAL")


@lowers("WHILE")
def _while(call: Call) -> list[Value]:
    cond, body = subgraph(call, "cond_subgraph"), subgraph(call, "body_subgraph")
    if len(body.outputs) != len(call.inputs) or len(body.inputs) != len(call.inputs):
        raise call.refuse(
            f"its body takes {len(body.inputs)} and gives {len(body.outputs)} values, found {len(call.inputs)} inputs"
        )
    return settle(_While(call, cond, body))


# ---- the body, interpreted once --------------------------------------------------------------------------------------


@dataclass(eq=False)
class Part(Value):
    """In a body: elements start to end (exclusive) of a carried tensor, along its first axis."""

    source: Value | None = None
    start: Any = 0
    end: Any = 0


@dataclass(eq=False)
class Written(Value):
    """In a body: a carried tensor or list with one element set."""

    source: Value | None = None
    at: Any = 0
    element: Value = field(default_factory=lambda: Value("float32"))


@dataclass
class Read:
    """In a body: what was read of a tensor from outside, `source`[at]."""

    source: Value
    at: Any


class BodyLowering(TfLowering):
    """Interprets a loop's body or condition with the trip number as a symbol."""

    def __init__(self, outer: TfLowering):
        super().__init__(outer.file, outer.made_with, outer.exact)
        self.variables, self.assigned, self.depth, self.inner = outer.variables, outer.assigned, outer.depth, True
        self.budget = outer.budget
        self.frames: dict[str, Read] = {}
        self.outer: dict[str, Value] = {}  # run-time values that no trip changes
        self.carried: dict[str, int] = {}
        self.limits: list[Size] = []  # numbers of trips that the condition allows

    def special(self, call: Call) -> Value | list[Value] | None:
        function = {
            "GATHER": self._gather,
            "FlexTensorListGetItem": self._gather,
            "SLICE": self._slice,
            "CONCATENATION": self._concatenation,
            "FlexTensorListSetItem": self._set_item,
            "DYNAMIC_UPDATE_SLICE": self._update,
        }.get(call.kind)
        if call.kind in COMPARISONS:
            function = self._compare
        return function(call) if function is not None else None

    def _compare(self, call: Call) -> Value | None:
        """counter < limit and its like: true on every trip that is made."""
        a, b = call.optional(0), call.optional(1)
        if a is None or b is None or a.array is None or b.array is None or a.array.size != 1 or b.array.size != 1:
            return None
        x, y = a.array.reshape(-1)[0], b.array.reshape(-1)[0]
        if not (mentions(x, "trip") or mentions(y, "trip")):
            return None
        if call.kind in ("GREATER", "GREATER_EQUAL"):
            x, y = y, x
        count = y - (x - TRIP) + (1 if call.kind.endswith("_EQUAL") and call.kind != "NOT_EQUAL" else 0)
        if mentions(count, "trip"):
            raise NotACell("its condition does not count up by one")
        self.limits.append(count)
        return known(np.asarray(True))

    def _gather(self, call: Call) -> Value | None:
        data, index = call.input(0), call.input(1)
        if index.array is None or index.array.size != 1:
            return None
        at = index.array.reshape(-1)[0]
        if isinstance(data, ListValue):
            if data.stacked is None:
                raise NotACell("it reads a list that it writes")
            data = data.stacked
        if not mentions(at, "trip"):
            return None
        if call.kind == "GATHER" and call.option("axis") != 0 or data.is_run and data.tensor in self.carried:
            raise NotACell("it reads frames along another axis than the first, or of what it carries")
        whole = call.kind == "GATHER" and self.shape(index) != ()
        return self._frame_of(data, at, [1] if whole else [])

    def _slice(self, call: Call) -> Value | None:
        begin, count = call.input(1), call.input(2)
        if begin.array is None or count.array is None:
            return None
        low, size = begin.array.reshape(-1), count.array.reshape(-1)
        if not any(mentions(v, "trip") for v in (*low, *size)):
            return None
        if any(v != 0 for v in low[1:]) or any(
            not (isinstance(v, (int, np.integer)) and v == -1) and v != s
            for v, s in zip(size[1:], self.shape(call.input(0))[1:])
        ):
            raise NotACell("it cuts frames along another axis than the first")
        end = None if not isinstance(size[0], Dim) and size[0] == -1 else low[0] + size[0]
        x = call.input(0)
        if low[0] == TRIP and end is not None and not isinstance(end - TRIP, Dim) and end - TRIP == 1:
            return self._frame_of(x, TRIP, [1])
        return Part(x.dtype, items=[], source=x, start=low[0], end=end)

    def _frame_of(self, x: Value, at: Any, leading: list[int]) -> Value:
        """x[at] with these axes in front of it, as what a trip is given."""
        name = self.graph.fresh("frame")
        self.graph.input(name, (*leading, *self.shape(x)[1:]), self.run_dtype(x))
        self.frames[name] = Read(self.outer.get(x.tensor, x), at)
        return Value(x.dtype, tensor=name)

    def _concatenation(self, call: Call) -> Value | None:
        """x[:at], element, x[at+1:] spells a write."""
        parts = call.all_inputs()
        if not any(isinstance(p, Part) for p in parts):
            return None
        before, element, after = parts if len(parts) == 3 else (None, None, None)
        if (
            not isinstance(before, Part)
            or not isinstance(after, Part)
            or element is None
            or element.items is not None
            or before.source is not after.source
            or before.start != 0
            or after.end is not None
            or before.end is None
            or after.start - before.end != 1
            or call.option("axis") != 0
            or self.shape(element)[0] != 1
        ):
            raise NotACell("it joins parts of a carried tensor in a way that is not known")
        return Written(element.dtype, items=[], source=before.source, at=before.end, element=element)

    def _set_item(self, call: Call) -> Value | None:
        source, index = list_input(call, 0), call.input(1)
        if index.array is None:
            raise NotACell("it writes at a place that only a run knows")
        return Written("variant", items=[], source=source, at=index.array.reshape(-1)[0], element=call.input(2))

    def _update(self, call: Call) -> Value | None:
        """inputs: x, update, places."""
        element, places = call.input(1), call.input(2)
        if places.array is None or any(p != 0 for p in places.array.reshape(-1)[1:]) or self.shape(element)[0] != 1:
            return None
        return Written(element.dtype, items=[], source=call.input(0), at=places.array.reshape(-1)[0], element=element)


# ---- the loop --------------------------------------------------------------------------------------------------------


class _While(Loop):
    """A WHILE. Whatever it carries, counters and outputs too, is a carried value to the file."""

    def __init__(self, call: Call, cond: SubGraph, body: SubGraph):
        self.call, self.ctx, self.budget = call, call.ctx, call.ctx.budget
        self.tf, self.cond, self.graph, self.size = call.ctx, cond, body, len(body.operators)
        self.carried = call.all_inputs()
        self.invariant = [i == o for i, o in zip(body.inputs, body.outputs)]

    # ---- trip by trip ----------------------------------------------------------------------------------------------

    def bound(self) -> Size | str | None:
        return None

    def condition(self, carried: list[Value], last: Trip | None) -> Value | None:
        return run_subgraph(self.tf, self.cond, carried)[0]

    def trip(self, number: int, carried: list[Value], frames: list[Value]) -> Trip:
        was, self.tf.inner = self.tf.inner, True
        values = run_subgraph(self.tf, self.graph, carried)
        self.tf.inner = was
        return Trip(None, values)

    # ---- as a whole ------------------------------------------------------------------------------------------------

    def describe(self) -> Body:
        self.inner = BodyLowering(self.tf)
        self.arguments = [self._argument(k) for k in range(len(self.carried))]
        run_subgraph(self.inner, self.cond, self.arguments)
        self.results = run_subgraph(self.inner, self.graph, self.arguments)
        self.count = self._count()
        body = Body(self.inner.graph, self.inner.outer, total=self.count)
        body.frames = {name: self._frame(read) for name, read in self.inner.frames.items()}
        self.ends: dict[int, str] = {}  # carried tensors of the body, by the place of the value
        self.places: list[int] = []  # of the values that outputs are written to, one after the other
        for k, result in enumerate(self.results):
            if self._is_counter(k):
                self._check_counter(k)
            elif isinstance(result, Written):
                self._write(body, k, result)
            elif not self.invariant[k]:
                if result.items is not None or result.array is not None:
                    raise NotACell("it carries something else than states and outputs")
                self.ends[k] = f"carried{k}"
                body.carried.append(Carried(self.ends[k], result.tensor, self.carried[k]))
        return body

    def finish(self, body: Body, last: Mapping[str, Value], outputs: list[Value]) -> list[Value]:
        out = list(self.carried)
        for k, value in enumerate(self.carried):
            if self._is_counter(k):
                total = self.arguments[k].data.reshape(-1)[0] - TRIP + self.count
                out[k] = known(np.array(total, object).reshape(value.data.shape), value.dtype)
            elif k in self.ends and isinstance(self.results[k], Written):
                shape = self.inner.graph.shape(self.ends[k])
                out[k] = self._written(k, self.ctx.reshape(last[self.ends[k]], [1, *shape]))
            elif k in self.ends:
                out[k] = last[self.ends[k]]
        for k, whole in zip(self.places, outputs):
            out[k] = self._written(k, whole)
        return out

    def _argument(self, k: int) -> Value:
        """What the body sees for carried value k."""
        value, inner = self.carried[k], self.inner
        if self.invariant[k]:
            if not value.is_run:
                return value
            inner.graph.input(f"outer{k}", self.ctx.shape(value), self.ctx.run_dtype(value))
            inner.outer[f"outer{k}"] = value
            return Value(value.dtype, tensor=f"outer{k}")
        if self._is_counter(k):
            counter = np.empty(value.data.shape, object)
            counter[...] = value.data.reshape(-1)[0] + TRIP
            return known(counter, value.dtype)
        if isinstance(value, ListValue):
            return ListValue("variant", items=[], count=value.count)
        name = f"carried{k}"
        inner.graph.input(name, self.ctx.shape(value), self.ctx.run_dtype(value))
        inner.carried[name] = k
        return Value(value.dtype, tensor=name)

    def _is_counter(self, k: int) -> bool:
        value = self.carried[k]
        return (
            not self.invariant[k]
            and value.array is not None
            and value.array.size == 1
            and value.dtype in ("int32", "int64")
        )

    def _count(self) -> Size:
        """The number of trips."""
        limits = list(dict.fromkeys(self.inner.limits))
        if not limits:
            raise NotACell("its condition is no comparison of a counter")
        if all(not isinstance(n, Dim) for n in limits):
            count: Size = min(int(n) for n in limits if not isinstance(n, Dim))
            read = [self.ctx.shape(f.source)[0] for f in self.inner.frames.values()]
            return next((size for size in read if self._counts(size, count)), count)
        count = next(n for n in limits if isinstance(n, Dim))
        if not all(self._counts(count, n) for n in limits):
            raise NotACell(f"its number of trips is the least of {limits}")
        return count

    def _counts(self, size: Size, number: Size) -> bool:
        """Whether a number of the file is the number it has for this size, or this size itself."""
        return size == number or isinstance(size, Dim) and self.tf.as_made(size) == number

    def _frame(self, read: Read) -> Frame:
        ctx, x = self.ctx, read.source
        size = ctx.shape(x)[0]
        if read.at == TRIP:
            return Frame(x if size == self.count else ctx.slice_axis(x, 0, 0, self._number()), 0)
        if size == self.count and read.at + TRIP == self.count - 1:
            return Frame(x, 0, backward=True)
        raise NotACell(f"it reads frame {read.at} of {size}")

    def _number(self) -> int:
        if isinstance(self.count, Dim):
            raise NotACell(f"it makes {self.count} trips over another number of frames")
        return self.count

    def _check_counter(self, k: int) -> None:
        step = self.results[k].array
        if step is None or step.reshape(-1)[0] - self.arguments[k].data.reshape(-1)[0] != 1:
            raise NotACell("a counter does not go up by one")

    def _write(self, body: Body, k: int, write: Written) -> None:
        """Adds what is written to carried value k: an output of every trip, or the last trip's alone."""
        value, count = self.carried[k], self.count
        size = value.count if isinstance(value, ListValue) else self.ctx.shape(value)[0]
        if write.source is not self.arguments[k]:
            raise NotACell("it writes into another value than it carries")
        if mentions(write.at, "trip"):
            if write.at != TRIP:
                raise NotACell(f"it writes its outputs at {write.at}")
            if not self._counts(count, size):
                raise NotACell(f"it writes {count} elements of {size}")
            self.places.append(k)
            body.outputs.append(write.element.tensor)
            return
        if write.at != 0 or size != 1:
            raise NotACell(f"it writes element {write.at} of {size} on every trip")
        self.ends[k] = self.inner.graph.input(f"written{k}", self.inner.graph.shape(write.element.tensor))
        body.carried.append(Carried(self.ends[k], write.element.tensor, Value("float32")))

    def _written(self, k: int, whole: Value) -> Value:
        """The carried outputs after the loop, from (T, ...) of the elements."""
        trips, *inner = self.ctx.shape(whole)
        if isinstance(self.carried[k], ListValue):
            return ListValue("variant", items=[], count=trips, stacked=whole)
        return self.ctx.reshape(whole, [trips, *inner[1:]])
