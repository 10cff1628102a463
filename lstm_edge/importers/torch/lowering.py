"""A program of aten calls, walked once: each call's arguments resolved, folded where all are constants, else lowered.

What only torch has is here: type promotion, calls that write in place, and the outputs' names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import LstmEdgeError, UnsupportedModelError
from ...ir.dims import Dim, Size
from ...ir.graph import Graph
from ...ir.sizes import NeedsNumber
from ...options import named
from .. import plugins
from ..dialect import Dialect, Value, known
from ..dialect.value import MEANINGLESS
from .complex import Complex
from .folding import fold
from .program import VIEWS, Program, Ref, Step, leaves, used_items
from .registry import COMPLEX, KEEP_LAZY, OPS

RANKED = ("bool", "int32", "float32")  # torch's promotion order among the dtypes the core computes in


class Lowering(Dialect):
    """A Dialect at one step of a program; `env` maps the program's names to Values, numbers, or lists of such."""

    op_in_names = False  # torch has a name for every call, and all ops made of it bear that

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        self.env: dict[str, Any] = {name: known(array) for name, array in program.constants.items()}
        self.step = Step("", [], {}, "")
        self.graph.metadata["notes"] = self.notes
        self.roles: dict[str, tuple[str, str]] = {}  # tensor -> ("h" or "c", the graph input it continues or "")
        self.padded: dict[
            str, tuple[Value, bool]
        ] = {}  # rows of packed data -> the padded tensor, see aten.recurrences
        self._used = used_items(program)

    # ---- the walk -------------------------------------------------------------------------------------------------

    def run(self) -> Graph:
        for i in self.program.inputs:
            self.env[i.ref] = self.input(i.name, i.shape, i.dtype)
        roots: dict[str, str] = {}  # name -> the name whose memory it shares
        for at, step in enumerate(self.program.steps):
            value = self.invoke(step, self._resolve(step.args), self._resolve(step.kwargs))
            target = step.args[0].name if step.args and isinstance(step.args[0], Ref) else ""
            if step.in_place and step.base != "detach_":
                self._check_aliases(target, roots, at)
                self.env[target] = value
            if step.in_place or step.base in VIEWS:
                roots[step.name] = roots.get(target, target)
            self.env[step.name] = value
        self.finish([(name, self._resolve(v)) for name, v in self.program.outputs])
        for note in self.program.notes:
            self.note(note)
        return self.graph

    def input(self, name: str, shape: tuple[Size, ...], dtype: str) -> Value:
        """Declares an input of the graph."""
        return Value(dtype, tensor=self.graph.input(name, shape, dtype))

    def stand_at(self, step: Step) -> None:
        """Makes `step` the place that messages and the ops made from here on name."""
        self.step = step
        self.place = f"node {step.name} (in module {step.place})" if step.place else f"node {step.name}"
        self.node_name = f"{step.place}.{step.name}" if step.place else step.name

    def invoke(self, step: Step, args: Any, kwargs: Any) -> Any:
        """The value of one call, its arguments resolved: folded where they are all constants, else lowered."""
        self.stand_at(step)
        library, _, overload = step.target.partition(".")
        base = step.base[:-1] if step.in_place else step.base
        function = OPS.get(step.target) if library in ("operator", "math") else OPS.get(overload) or OPS.get(base)
        foldable = library == "aten" and base not in KEEP_LAZY and not step.in_place
        if foldable and all(_is_constant(v) for v in leaves([args, kwargs])):
            folded = fold(step.target, args, kwargs)
            if folded is not None:
                return folded
        rule = plugins.op_rule(library, step.base)
        if rule is not None:
            return self._by_rule(rule, args, kwargs)
        if library == "aten" and any(isinstance(v, Complex) for v in leaves([args, kwargs])):
            function = COMPLEX.get(base) or self._of_complex
        if function is None:
            own = library in ("aten", "prim", "prims", "operator", "math")
            door = "" if own else f"; {plugins.way_out(f'register_op({library!r}, {step.base!r}, rule)')}"
            raise self.refuse(f"the call {step.target} is not supported{door}")
        try:
            return function(self, *args, **kwargs)
        except LstmEdgeError as e:
            raise e from e.__cause__ or _asking_for_a_number(e, args, kwargs)
        except MEANINGLESS as e:
            message = f"arguments of {step.target} are not understood ({type(e).__name__}: {e})"
            raise self.refuse(message) from _asking_for_a_number(e, args, kwargs) or e

    def _of_complex(self, *_: Any, **__: Any) -> Any:
        raise self.refuse(
            f"the call {self.step.target} of a complex tensor is not supported: expected abs, real, imag, angle, view_as_real, moves of "
            f"elements; spectra in front of a network can be a table [before.INPUT] in the place of calls ({named('before')})"
        )

    def _by_rule(self, rule: plugins.Rule, args: Any, kwargs: Any) -> Any:
        """A custom operator that the user described: its value, or several as a list."""
        given = {**{str(n): v for n, v in enumerate(args)}, **kwargs}
        inputs = [v for v in leaves(list(given.values())) if isinstance(v, Value)]
        config = {k: v for k, v in given.items() if not any(isinstance(leaf, Value) for leaf in leaves([v]))}
        weights = {k: v.data for k, v in given.items() if isinstance(v, Value) and v.is_known}
        values = plugins.apply(rule, self, inputs, config, weights)
        return values[0] if len(values) == 1 else values

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, Ref):
            return self.env[value.name]
        if isinstance(value, (list, tuple)):
            return type(value)(self._resolve(v) for v in value)
        if isinstance(value, dict):
            return {k: self._resolve(v) for k, v in value.items()}
        return value

    def _check_aliases(self, target: str, roots: dict[str, str], at: int) -> None:
        """Refuses to write in place to memory that a later step reads under another name."""
        root = roots.get(target, target)
        later = {v.name for s in self.program.steps[at + 1 :] for v in leaves([s.args, s.kwargs]) if isinstance(v, Ref)}
        later |= {v.name for _, o in self.program.outputs for v in leaves(o) if isinstance(v, Ref)}
        shared = [n for n in later if n not in (target, self.step.name) and roots.get(n, n) == root and n in self.env]
        if shared:
            raise self.refuse(
                f"{self.step.target} writes to a part of {shared[0]!r}, which is read later; call "
                "exported.run_decompositions({}) before saving"
            )

    def used(self, item: int) -> bool:
        """Whether output `item` of the current step is read by anyone."""
        used = self._used.get(self.step.name, set()) if self._used else {-1}
        return item in used or -1 in used

    def refuse(self, message: str) -> UnsupportedModelError:
        return super().refuse(f"{message}; see docs for the list of supported operators")

    # ---- arguments ------------------------------------------------------------------------------------------------

    def rank(self, x: Value) -> int:
        return len(self.shape(x))

    def axis_of(self, x: Value, dim: int) -> int:
        return self.axis(dim, self.rank(x))

    def axes_of(self, x: Value, dim: Any) -> list[int]:
        """The axes that `dim` names: one, several, or all for None and []."""
        if dim is None or dim == []:
            return list(range(self.rank(x)))
        return [self.axis_of(x, d) for d in (dim if isinstance(dim, (list, tuple)) else [dim])]

    def dtype(self, x: Any) -> str:
        """The run-time dtype of a tensor or a number."""
        if isinstance(x, Value):
            return self.run_dtype(x)
        if isinstance(x, bool):
            return "bool"
        return "float32" if isinstance(x, float) else "int32"

    def value(self, x: Any, dtype: str = "") -> Value:
        """A tensor as it is, a number or size as a scalar; in the run-time dtype that is asked for."""
        if isinstance(x, Dim):
            x = known(np.array(x, object))
        elif isinstance(x, (bool, int, float, np.generic)):
            x = known(np.asarray(x, dtype or self.dtype(x)))
        elif not isinstance(x, Value):
            raise self.refuse(f"expected a tensor, found {type(x).__name__}")
        return x if not dtype or self.dtype(x) == dtype else self.cast(x, dtype)

    def floating(self, x: Any) -> Value:
        return self.value(x, "float32")

    def array(self, x: Any, what: str) -> np.ndarray:
        """The constant `x`; refused when it is computed at run time."""
        if isinstance(x, Value) and x.is_known:
            return x.data
        raise self.refuse(f"{what}: expected a constant, found a value computed at run time")

    def promoted(self, *values: Any) -> str:
        return max((self.dtype(v) for v in values), key=RANKED.index)

    def promote(self, *values: Any) -> list[Value]:
        """The values in the dtype that torch promotes them to."""
        dtype = self.promoted(*values)
        return [self.value(v, dtype) for v in values]

    def arithmetic(self, kind: str, a: Any, b: Any) -> Value:
        """Dialect.binary of tensors and numbers: as there, a number raises a tensor's kind (bool, int, float), not its
        size."""
        return self.binary(kind, self.value(a), self.value(b))

    # ---- outputs --------------------------------------------------------------------------------------------------

    def finish(self, values: list[tuple[str, Any]]) -> None:
        """Declares the outputs (name, '' = to be chosen, and value) and drops what none of them needs."""
        chosen: list[str] = []
        plain = 0
        for name, v in values:
            if v is None:
                continue
            tensor = self.tensor(self.value(v))
            if not name and tensor in self.roles:
                name = _state_name(*self.roles[tensor])
            if not name:
                name = f"output{plain}" if plain else "output"
                plain += 1
            while name in chosen or name in [p.name for p in self.graph.inputs]:
                name += "_out"
            chosen.append(name)
            self.graph.output(name, tensor)
        if not chosen:
            raise UnsupportedModelError("the model returns no tensor: expected at least one")
        self.graph.drop_unused()


def _asking_for_a_number(error: Exception, args: Any, kwargs: Any) -> NeedsNumber | None:
    """What an error means where an open size stands among a call's numbers: the call is understood with a number there."""
    asked = next((v for v in leaves([args, kwargs]) if isinstance(v, Dim)), None)
    return NeedsNumber.of(asked, str(error)) if asked is not None else None


def _is_constant(leaf: Any) -> bool:
    """Whether an argument is known: a constant tensor, or plain Python without sizes of the inputs in it."""
    if isinstance(leaf, Value):
        return leaf.is_known
    return leaf is None or isinstance(leaf, (bool, int, float, str))


def _state_name(role: str, source: str) -> str:
    """The name that pairs an output with the input it continues (h0/hn, state/stateN, *_cache/*_cache_out)."""
    if not source or source in ("h0", "c0"):
        return f"{source[0] if source else role}n"
    return f"{source}N" if source.startswith("state") else f"{source}_out"
