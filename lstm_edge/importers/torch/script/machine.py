"""The code of a TorchScript file, which is Python in a narrow form, interpreted on symbolic tensors.

It is parsed, never compiled. What it calls becomes ops (library.py), its way through ifs is decided on shapes, and its loops
become recurrences where they are such (loops.py).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ....errors import UnsupportedModelError
from ....files.pickles import Inert
from ....ir.dims import Dim, Size
from ....ir.notes import ASSUMED
from ....ir.sizes import SizeMismatch
from ....options import as_typed
from ...dialect import Value, known
from ..lowering import Lowering
from . import frames, library, loops
from .archive import Script, attributes
from .frames import Frames
from .library import Raised
from .memory import Memory
from .numbers import CONVERSIONS, Open, plain

MAX_STEPS, MAX_DEPTH = 200_000, 200
Variables = dict[str, Any]
Key = tuple[int, str]  # an attribute: the id of its module, and its name


class _Return(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


class _Path:
    """A dotted name that is not a value: torch, ops.prim, __torch__.torch.nn..."""

    def __init__(self, name: str) -> None:
        self.name = name


class Machine:
    """Runs methods of a script's modules.

    `states`: by the id of the file's array, the Values of buffers that calls hand to the next. `frames`: the variables of the
    functions that are running. `assigned`: what modules' attributes have been set to, by the id of the module and the name; `first`: what these were.
    """

    def __init__(self, script: Script, lowering: Lowering, states: Mapping[int, Value]) -> None:
        self.script, self.low, self.memory = script, lowering, Memory(lowering)
        self.frames: list[Variables] = []
        self.assigned: dict[Key, Any] = {}
        self.first: dict[Key, Any] = {}
        self.held: dict[int, Value] = dict(states)
        self.containers: dict[int, tuple[Any, Any]] = {}  # lists and dicts of the file, with what stands for them here
        self.unrolled: dict[int, Exception] = {}  # loops by the id of their statement, and why they are no recurrences
        self.unrolling = 0  # how many loops around what runs are unrolled
        self.steps = 0
        self.path: list[str] = []

    @property
    def place(self) -> str:
        """The module whose code runs."""
        return ".".join(p for p in self.path if p)

    def unsupported(self, what: str) -> UnsupportedModelError:
        return UnsupportedModelError(f"TorchScript, in {'.'.join(self.path) or 'forward'}: {what}")

    def aten(self, name: str, args: list[Any]) -> Any:
        return library.call(self, name, args, {})

    # ---- calls ----------------------------------------------------------------------------------------------------

    def method(self, module: Inert, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        function = self.script.method(module.name, name)
        if function is None:
            raise self.unsupported(f"{module.name} has no method {name}")
        return self._function(function, [module, *args], kwargs)

    def _function(self, function: ast.FunctionDef, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if len(self.frames) > MAX_DEPTH:
            raise self.unsupported(f"calls nested deeper than {MAX_DEPTH}")
        names = [a.arg for a in function.args.args]
        bound = dict(zip(names, args)) | kwargs
        for name, default in zip(names[len(names) - len(function.args.defaults) :], function.args.defaults):
            if name not in bound:
                bound[name] = self.value(default)
        self.frames.append(bound)
        try:
            self.run(function.body)
        except _Return as result:
            return result.value
        finally:
            self.frames.pop()
        return None

    # ---- statements -----------------------------------------------------------------------------------------------

    def run(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise self.unsupported(f"more than {MAX_STEPS} steps; a loop over a number of frames, perhaps")
            self._statement(statement)

    def _statement(self, s: ast.stmt) -> None:
        if isinstance(s, ast.Return):
            raise _Return(None if s.value is None else self.value(s.value))
        if isinstance(s, ast.Assign) and len(s.targets) == 1:
            self._assign(s.targets[0], self.value(s.value))
        elif isinstance(s, ast.AnnAssign) and s.value is not None:
            self._assign(s.target, self.value(s.value))
        elif isinstance(s, ast.Expr):
            self.value(s.value)
        elif isinstance(s, ast.If):
            self._if(s)
        elif isinstance(s, ast.For):
            self._for(s)
        elif isinstance(s, ast.While):
            self._while(s)
        elif isinstance(s, ast.Assert):
            decided = self.truth(self.value(s.test))
            if decided is False:
                raise Raised("an assertion of the model fails for this input")
            if decided is None:
                self._assume(f"{ast.unparse(s.test)} is true, as the model asserts")
        elif not isinstance(s, (ast.Pass, ast.AnnAssign)):
            raise self.unsupported(f"a {type(s).__name__} statement")

    def _for(self, s: ast.For) -> None:
        count = self._counted(s.iter)
        if count is not None and isinstance(s.target, ast.Name):
            why = self.unrolled.get(id(s)) or loops.run(self, s.body, count, counter=s.target.id)
            if why is None:
                return
            if isinstance(count, Dim):
                raise self._no_recurrence(why)
            self._unrolled(count, s, why)
            return
        for item in self.value(s.iter):
            self._assign(s.target, item)
            self.run(s.body)

    def _unrolled(self, count: int, s: ast.For, why: Exception) -> None:
        """Trip by trip, which is noted where it makes ops, loops in it included."""
        place, before = self.low.place, len(self.low.graph.nodes)
        self.unrolled[id(s)] = why
        self.unrolling += 1
        try:
            for item in range(count):
                self._assign(s.target, item)
                self.run(s.body)
        finally:
            self.unrolling -= 1
        made = len(self.low.graph.nodes) - before
        if made and count > 1 and not self.unrolling:
            self.low.note(f"{place}: unrolled {count} trips into {made} ops, since it spells no recurrence ({why})")

    def _counted(self, e: ast.expr) -> Size | None:
        """n of range(n)."""
        if isinstance(e, ast.Call) and isinstance(e.func, ast.Name) and e.func.id == "range" and len(e.args) == 1:
            count = plain(self.value(e.args[0]))
            return count if isinstance(count, (int, Dim)) else None
        return None

    def _while(self, s: ast.While) -> None:
        goes_on = self.truth(self.value(s.test))
        if goes_on is False:
            return
        why = loops.run(self, s.body, None, condition=s.test)
        if why is None:
            return
        while goes_on:
            self.run(s.body)
            goes_on = self.truth(self.value(s.test))
        if goes_on is None:
            raise self._no_recurrence(why)

    def _no_recurrence(self, why: Exception) -> UnsupportedModelError:
        error = self.unsupported(
            "a loop over batch or frames, whose number is not fixed, is no recurrence that can be told "
            f"({why}); fix it with {as_typed('shapes')}"
        )
        error.__cause__ = why
        return error

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.frames[-1][target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            value = value.elements(self) if isinstance(value, Frames) else value
            values = list(value.values()) if isinstance(value, dict) else list(value)
            if len(values) != len(target.elts):
                raise self.unsupported(f"{len(target.elts)} names for {len(values)} values")
            for t, v in zip(target.elts, values):
                self._assign(t, v)
        elif isinstance(target, ast.Attribute) and isinstance(self.value(target.value), Inert):
            owner = self.value(target.value)
            self.first.setdefault((id(owner), target.attr), self._attribute(owner, target.attr))
            self.assigned[id(owner), target.attr] = value
        else:
            raise self.unsupported("assignment to an element")

    def _if(self, s: ast.If) -> None:
        test = self.value(s.test)
        decided = self.truth(test)
        if decided is None:
            only_raises = [_raises(s.body), _raises(s.orelse)]
            if only_raises[0] == only_raises[1]:
                raise self.unsupported(
                    f"the branch {ast.unparse(s.test)!r} depends on values or on the number of frames; give a fixed "
                    f"size with {as_typed('shapes')}"
                )
            decided = only_raises[1]
            if isinstance(test, Open) and test.equal is not None:
                a, b = test.equal
                raise self.unsupported(f"the model itself asks for equal sizes, found {a} and {b}") from (
                    SizeMismatch.between(a, b, "sizes that the model compares")
                )
            self._assume(f"{ast.unparse(s.test)} is {str(decided).lower()}, else the model raises")
        self.run(s.body if decided else s.orelse)

    def _assume(self, what: str) -> None:
        """Notes what the model checks and the core does not."""
        self.low.note(f"{ASSUMED}{self.low.place}: {what}"[:300])

    def truth(self, value: Any) -> bool | None:
        """True, False, or None where only the data would say."""
        value = plain(self.memory.now(value))
        return None if isinstance(value, (Value, Dim, Open)) else bool(value)

    # ---- expressions ----------------------------------------------------------------------------------------------

    def value(self, e: ast.expr) -> Any:
        if isinstance(e, ast.Constant):
            return e.value
        if isinstance(e, ast.Name):
            return self._name(e.id)
        if isinstance(e, (ast.Tuple, ast.List)):
            made = [self.value(v) for v in e.elts]
            return tuple(made) if isinstance(e, ast.Tuple) else made
        if isinstance(e, ast.Dict):
            return {self.value(k): self.value(v) for k, v in zip(e.keys, e.values) if k is not None}
        if isinstance(e, ast.Attribute):
            return self._attribute(self.value(e.value), e.attr)
        if isinstance(e, ast.Subscript):
            return self._item(self.value(e.value), self.value(e.slice))
        if isinstance(e, ast.UnaryOp) and isinstance(e.op, (ast.USub, ast.Not)):
            operand = self.value(e.operand)
            return -operand if isinstance(e.op, ast.USub) else library.number(self, "__not__", [operand], {})
        if isinstance(e, ast.IfExp):
            return self.value(e.body if self.truth(self.value(e.test)) else e.orelse)
        if isinstance(e, ast.Call):
            return self._call(e)
        raise self.unsupported(f"the expression {ast.unparse(e)!r}")

    def _name(self, name: str) -> Any:
        if name in self.frames[-1]:
            return self.frames[-1][name]
        if name in ("inf", "nan"):
            return float(name)
        return _Path(name)

    def _attribute(self, owner: Any, name: str) -> Any:
        if isinstance(owner, _Path):
            if owner.name == "CONSTANTS" and re.fullmatch(r"c\d+", name) and int(name[1:]) < len(self.script.constants):
                return self._held(self.script.constants[int(name[1:])])
            return _Path(f"{owner.name}.{name}")
        if isinstance(owner, Inert):
            if (id(owner), name) in self.assigned:
                return self.assigned[id(owner), name]
            if name in attributes(owner):
                value = attributes(owner)[name]
                if name == "training":
                    return False  # as after eval(); dropout and batch statistics are for training
                return self._held(value)
            final = self.script.final(owner.name, name)
            if final is not None:
                return self.value(final)
            if name == "_flat_weights":
                return self._flat_weights(owner)
        if isinstance(owner, dict) and name in owner:
            return owner[name]
        label = owner.tensor if isinstance(owner, Value) else getattr(owner, "name", type(owner).__name__)
        raise self.unsupported(f"attribute {name!r} of {label}")

    def _flat_weights(self, module: Inert) -> list[Any]:
        names = attributes(module).get("_flat_weights_names") or [
            n for n in attributes(module) if re.match(r"(weight|bias)_", n)
        ]
        return [self._held(attributes(module)[n]) for n in names]

    def _held(self, value: Any) -> Any:
        """What the file holds, its arrays as Values: each array, and each list that holds such, always as the same one."""
        if isinstance(value, np.ndarray):
            return self.held.setdefault(id(value), known(value))
        if not isinstance(value, (list, tuple, dict)):
            return value
        if id(value) not in self.containers:
            parts = value.values() if isinstance(value, dict) else value
            made = list(map(self._held, parts))
            container = dict(zip(value, made)) if isinstance(value, dict) else type(value)(made)
            self.containers[id(value)] = value, container
        return self.containers[id(value)][1]

    def _item(self, owner: Any, index: Any) -> Any:
        if isinstance(owner, Frames):
            return frames.item(self, owner, index)
        if isinstance(owner, (list, tuple, dict, str)) and not isinstance(index, Dim):
            if isinstance(owner, dict) and isinstance(index, int) and index not in owner:
                owner = list(owner.values())  # a named tuple
            try:
                return owner[index]
            except (IndexError, KeyError, TypeError) as e:
                raise self.unsupported(f"index {index!r} ({e})") from e
        raise self.unsupported(f"index {index!r} of {type(owner).__name__}")

    def _call(self, e: ast.Call) -> Any:
        if isinstance(e.func, ast.Name) and e.func.id in (
            "annotate",
            "unchecked_cast",
            "uninitialized",
            "getattr",
            "range",
            "int",
            "float",
            "bool",
            "str",
            "device",
            "isinstance",
        ):
            return self._builtin(e.func.id, e.args)
        args = [self.value(a) for a in e.args]
        kwargs = {k.arg: self.value(k.value) for k in e.keywords if k.arg}
        if isinstance(e.func, ast.Attribute):
            owner = self.value(e.func.value)
            if isinstance(owner, Inert):
                self.path.append(_label(e.func.value))
                try:
                    return self.method(owner, e.func.attr, args, kwargs)
                finally:
                    self.path.pop()
            if isinstance(owner, _Path):
                return self._library(f"{owner.name}.{e.func.attr}", args, kwargs)
        if isinstance(e.func, ast.Name) and isinstance(self._name(e.func.id), _Path):
            return self._library(self._name(e.func.id).name, args, kwargs)
        raise self.unsupported(f"the call {ast.unparse(e)[:80]!r}")

    def _builtin(self, name: str, nodes: list[ast.expr]) -> Any:
        if name in ("annotate", "unchecked_cast"):
            value = self.value(nodes[1])
            return plain(value) if ast.unparse(nodes[0]) in CONVERSIONS else value
        if name == "uninitialized":
            return None
        if name == "device":
            return None
        if name == "isinstance":
            return self._is_instance(self.value(nodes[0]), ast.unparse(nodes[1]))
        values = [self.value(n) for n in nodes]
        if name == "getattr":
            return self._attribute(values[0], values[1])
        if name == "range":
            values = [plain(v) for v in values]
            if any(isinstance(v, (Dim, Value)) for v in values):
                raise self.unsupported(
                    f"a loop over batch or frames, whose number is not fixed; give it with {as_typed('shapes')}"
                )
            return range(*values)
        value = plain(values[0])
        return value if isinstance(value, (Dim, Value)) else CONVERSIONS[name](value)

    def _is_instance(self, value: Any, kind: str) -> bool:
        kinds = {
            "Tensor": (Value,),
            "int": (int, Dim),
            "float": (float,),
            "bool": (bool,),
            "str": (str,),
        }
        if kind in kinds:
            return isinstance(value, kinds[kind])
        if kind.startswith("List"):
            return isinstance(value, list)
        raise self.unsupported(f"a test for the type {kind}")

    def _library(self, path: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if path in self.script.functions:
            return self._function(self.script.functions[path], args, kwargs)
        if path in self.script.classes:
            return self._named_tuple(path, args)
        head, _, name = path.rpartition(".")
        if head == "ops.prim":
            return library.prim(self, name, args)
        if head.startswith("ops.") and head != "ops.aten":
            return library.custom(self, f"{head.removeprefix('ops.')}.{name}", args, kwargs)
        if head not in ("torch", "ops.aten"):
            raise self.unsupported(f"the call {path}")
        return library.call(self, name, args, kwargs)

    def _named_tuple(self, path: str, args: list[Any]) -> Any:
        fields = [
            a.target.id
            for a in self.script.classes[path].body
            if isinstance(a, ast.AnnAssign) and isinstance(a.target, ast.Name)
        ]
        if not any(isinstance(b, ast.Name) and b.id == "NamedTuple" for b in self.script.classes[path].bases):
            raise self.unsupported(f"an object of class {path}")
        return dict(zip(fields, args))


def _label(e: ast.expr) -> str:
    if isinstance(e, ast.Call) and len(e.args) == 2 and isinstance(e.args[1], ast.Constant):
        return str(e.args[1].value)
    return e.id if isinstance(e, ast.Name) else ""


def _raises(body: list[ast.stmt]) -> bool:
    """Whether a branch does nothing but raise."""
    return any(
        isinstance(s, ast.Expr) and isinstance(s.value, ast.Call) and "RaiseException" in ast.unparse(s.value.func)
        for s in body
    )
