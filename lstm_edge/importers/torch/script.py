"""TorchScript files -> Graph, without torch: the code in the archive is Python in a narrow form. It is parsed, never
compiled, and interpreted here on symbolic tensors; what it calls becomes ops, its way through ifs is decided on shapes.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import LstmEdgeError, UnsupportedModelError
from ...files.pickles import Inert
from ...ir.dims import Dim, mentions
from ...ir.graph import Graph
from ...options import as_typed
from ...recurrences.polynomials import NotACell
from ..dialect import Value, known, movement, selection
from . import script_loops
from .aten.sizes import COMPARISONS
from .lowering import Lowering
from .program import NUMBERED_DTYPES, VIEWS, DType, Program, Step, leaves
from .script_file import Script, ScriptInput, attributes, input_candidates
from .script_loops import Frames
from .script_numbers import ARITHMETIC, CONVERSIONS, NUMBERS, as_numbers, plain

# c10::ScalarType, as code and pickles number it
SCALAR_TYPES = {**dict(enumerate(NUMBERED_DTYPES)), 11: "bool", 15: "bfloat16"}
MAX_STEPS, MAX_DEPTH, MAX_LIST = 200_000, 200, 100_000


def is_script(names: list[str]) -> bool:
    """Whether a zip archive with these entries is TorchScript."""
    return any("/code/" in n or n.startswith("code/") for n in names) and any(
        n.endswith("constants.pkl") for n in names
    )


def read_script(data: bytes, place: str, shapes: dict[str, Any] | None, example: Any) -> Graph:
    """The Graph of the module's forward. Shapes of inputs are not in the file: they come from `shapes` (input name ->
    sizes), `example` (arrays in order), or are assumed from the first layer's weights and noted."""
    script = Script(data, place)
    failures: list[str] = []
    for inputs, note in input_candidates(script, shapes, example):
        try:
            return _run(script, inputs, [note] if note else [])
        except LstmEdgeError as e:
            failures.append(str(e))
    if len(failures) == 1 or shapes or example is not None:
        raise UnsupportedModelError(f"{place}: {failures[0]}")
    names = [n for n, _, optional in script.parameters() if not optional]
    wanted = " and ".join(as_typed("shapes", n, ("batch", "frames", 40)) for n in names)
    advice = f"give the inputs' shapes, for instance {wanted}, or a working input with {as_typed('example')}"
    raise UnsupportedModelError(
        f"{place}: {advice} (assumed shapes failed: {failures[0] if failures else 'none to assume'})"
    )


def _run(script: Script, inputs: list[tuple[str, Any]], notes: list[str]) -> Graph:
    lowering = Lowering(Program([], {}, [], []))
    for note in notes:
        lowering.note(note)
    machine = _Machine(script, lowering)
    arguments = [_declared(lowering, name, given) for name, given in inputs]
    try:
        result = machine.method(script.module, script.forward, arguments, {})
    except _Raised as e:
        raise UnsupportedModelError(f"the model itself refuses inputs of these shapes: {e}") from e
    lowering.stand_at(Step("", [], {}, "output"))
    values = list(result.items()) if isinstance(result, dict) else [("", v) for v in leaves(result)]
    lowering.finish([(n if isinstance(n, str) else "", v) for n, v in values if isinstance(v, Value)])
    _check_axes(lowering.graph)
    return lowering.graph


def _check_axes(g: Graph) -> None:
    """Refuses a guess under which a recurrence runs over the axis called batch."""
    for n in g.nodes:
        if n.op in ("LSTM", "GRU", "RNN"):
            first, second = g.shape(n.inputs[0])[:2]
            batch, frames = (second, first) if n.attrs.get("time_major") else (first, second)
            if mentions(frames, "batch") and not mentions(batch, "batch"):
                raise UnsupportedModelError(
                    f"node {n.name}: batch and frames are the other way round: give {as_typed('shapes')}"
                )


def _declared(lowering: Lowering, name: str, given: Any) -> Any:
    if isinstance(given, ScriptInput):
        return lowering.input(name, given.shape, given.dtype)
    if isinstance(given, tuple):
        return tuple(_declared(lowering, f"{name}_{i}", g) for i, g in enumerate(given))
    return given


# ---- interpreting ----------------------------------------------------------------------------------------------------


class _Return(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


class _Raised(Exception):
    """The script's own raise."""


@dataclass
class _Path:
    """A dotted name that is not a value: torch, ops.prim, __torch__.torch.nn..."""

    name: str


@dataclass
class _Frame:
    variables: dict[str, Any] = field(default_factory=dict)


RENAMED = {"unsafe_chunk": "chunk", "unsafe_split": "split", "log_sigmoid": "log_sigmoid"}


class _Machine:
    def __init__(self, script: Script, lowering: Lowering) -> None:
        self.script, self.low = script, lowering
        self.frames: list[_Frame] = []
        self.steps = 0
        self.in_open_loop = False
        self.path: list[str] = []
        self.roots: dict[str, str] = {}
        self.values: dict[int, Value] = {}  # by the id of the file's array

    def unsupported(self, what: str) -> UnsupportedModelError:
        return UnsupportedModelError(f"TorchScript, in {'.'.join(self.path) or 'forward'}: {what}")

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
        self.frames.append(_Frame(bound))
        try:
            self._block(function.body)
        except _Return as result:
            return result.value
        finally:
            self.frames.pop()
        return None

    # ---- statements -----------------------------------------------------------------------------------------------

    def _block(self, body: list[ast.stmt]) -> None:
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
            while self._truth(self.value(s.test)):
                self._block(s.body)
        elif isinstance(s, ast.Assert):
            if self._truth(self.value(s.test)) is False:
                raise _Raised("an assertion of the model fails for this input")
        elif not isinstance(s, (ast.Pass, ast.AnnAssign)):
            raise self.unsupported(f"a {type(s).__name__} statement")

    def _for(self, s: ast.For) -> None:
        trips = self._open_range(s.iter)
        if trips is not None and isinstance(s.target, ast.Name):
            self._open_loop(s.target.id, trips, s.body)
            return
        for item in self.value(s.iter):
            self._assign(s.target, item)
            self._block(s.body)

    def _open_range(self, e: ast.expr) -> Dim | None:
        """n of range(n) where n is an open size."""
        if isinstance(e, ast.Call) and isinstance(e.func, ast.Name) and e.func.id == "range" and len(e.args) == 1:
            trips = plain(self.value(e.args[0]))
            return trips if isinstance(trips, Dim) else None
        return None

    def _open_loop(self, counter: str, trips: Dim, block: list[ast.stmt]) -> None:
        """A loop over an open number of frames, as the recurrence that it spells."""
        outer, frames, within = self.low, self.frames, self.in_open_loop
        outer.stand_at(Step("loop", [], {}, f"loop.{self.steps}", ".".join(p for p in self.path if p)))

        def interpret(inner: Lowering, variables: dict[str, Any]) -> None:
            self.low, self.frames, self.in_open_loop = inner, [_Frame(variables)], True
            try:
                self._block(block)
            finally:
                self.low, self.frames, self.in_open_loop = outer, frames, within

        try:
            script_loops.run(outer, [f.variables for f in frames], counter, trips, interpret)
        except (NotACell, LstmEdgeError) as why:
            raise self.unsupported(
                f"a loop over batch or frames, whose number is not fixed, is no recurrence that can be told ({why}); fix "
                f"it with {as_typed('shapes')}"
            ) from why

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.frames[-1].variables[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            values = list(value.values()) if isinstance(value, dict) else list(value)
            if len(values) != len(target.elts):
                raise self.unsupported(f"{len(target.elts)} names for {len(values)} values")
            for t, v in zip(target.elts, values):
                self._assign(t, v)
        elif isinstance(target, ast.Attribute):
            raise self.unsupported(
                f"the module changes its own {target.attr!r} while it runs: pass this state in as an argument of "
                "forward and return it"
            )
        else:
            raise self.unsupported("assignment to an element")

    def _if(self, s: ast.If) -> None:
        decided = self._truth(self.value(s.test))
        if decided is None:
            only_raises = [_raises(s.body), _raises(s.orelse)]
            if only_raises[0] == only_raises[1]:
                raise self.unsupported(
                    f"the branch {ast.unparse(s.test)!r} depends on values or on the number of frames; give a fixed "
                    f"size with {as_typed('shapes')}"
                )
            decided = only_raises[1]
        self._block(s.body if decided else s.orelse)

    def _truth(self, value: Any) -> bool | None:
        """True, False, or None where only the data would say."""
        value = plain(value)
        return None if isinstance(value, (Value, Dim)) or value is NotImplemented else bool(value)

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
            return -operand if isinstance(e.op, ast.USub) else not self._truth(operand)
        if isinstance(e, ast.IfExp):
            return self.value(e.body if self._truth(self.value(e.test)) else e.orelse)
        if isinstance(e, ast.Call):
            return self._call(e)
        raise self.unsupported(f"the expression {ast.unparse(e)!r}")

    def _name(self, name: str) -> Any:
        if name in self.frames[-1].variables:
            return self.frames[-1].variables[name]
        if name in ("inf", "nan"):
            return float(name)
        return _Path(name)

    def _attribute(self, owner: Any, name: str) -> Any:
        if isinstance(owner, _Path):
            if owner.name == "CONSTANTS" and re.fullmatch(r"c\d+", name) and int(name[1:]) < len(self.script.constants):
                return self._held(self.script.constants[int(name[1:])])
            return _Path(f"{owner.name}.{name}")
        if isinstance(owner, Inert):
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
        """What the file holds, its arrays as Values: each array always as the same one."""
        if isinstance(value, (list, tuple)) and any(isinstance(v, np.ndarray) for v in value):
            return type(value)(map(self._held, value))
        if not isinstance(value, np.ndarray):
            return value
        return self.values.setdefault(id(value), known(value))

    def _item(self, owner: Any, index: Any) -> Any:
        if isinstance(owner, Frames):
            return owner.call(self.low, "__getitem__", [index])
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

    # ---- library --------------------------------------------------------------------------------------------------

    def _library(self, path: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if path in self.script.functions:
            return self._function(self.script.functions[path], args, kwargs)
        if path in self.script.classes:
            return self._named_tuple(path, args)
        head, _, name = path.rpartition(".")
        if head == "ops.prim":
            return self._prim(name, args)
        if head not in ("torch", "ops.aten"):
            raise self.unsupported(f"the call {path}")
        if name in ("warn", "_assert", "manual_seed", "unchecked_unwrap_optional"):
            return args[0] if name.startswith("unchecked") else None
        if args and isinstance(args[0], Frames):
            return args[0].call(self.low, name, [*args[1:], *kwargs.values()])
        if name == "append":
            args[0].append(args[1])
            return args[0]
        if name == "add_" and isinstance(args[0], list):
            args[0].extend(args[1])
            return args[0]
        if name == "_set_item":
            args[0][args[1]] = args[2]
            return args[0]
        if name == "device":
            return None
        if any(isinstance(a, Dim) for a in args):
            name, args, kwargs = as_numbers(name, args, kwargs)
        tensors = any(isinstance(v, Value) for v in leaves([args, kwargs]))
        if name in COMPARISONS and not tensors:
            return self._compare(name, *args)
        if name in NUMBERS and (
            not tensors
            or (args and isinstance(args[0], list))
            or name in ("__is__", "__isnot__", "len", "__getitem__", "list", "__not__", "__contains__")
        ):
            return self._number(name, args, kwargs)
        return self._aten(name, args, kwargs)

    def _number(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if name == "len" and isinstance(args[0], Value):
            return self.low.shape(args[0])[0]
        if name == "__not__":
            truth = self._truth(args[0])
            return NotImplemented if truth is None else not truth
        if name == "add" and isinstance(args[0], list):
            if len(args[0]) + len(args[1]) > MAX_LIST:
                raise self.unsupported(f"a list of more than {MAX_LIST} elements")
            return [*args[0], *args[1]]
        if name in ARITHMETIC and not all(isinstance(a, (int, float, Dim)) for a in args):
            raise self.unsupported(f"{name} of {', '.join(type(a).__name__ for a in args)}")
        if name == "pow" and abs(args[1]) > 64:
            raise self.unsupported(f"the power {args[1]}")
        try:
            return NUMBERS[name](*args)
        except (TypeError, ValueError, IndexError, KeyError, ZeroDivisionError, OverflowError) as e:
            if any(isinstance(a, Dim) for a in args):
                return self.low.invoke(
                    Step(f"operator.{ {'div': 'truediv'}.get(name, name) }", [], {}, name), args, kwargs
                )
            raise self.unsupported(f"{name} of {args} ({e})") from e

    def _compare(self, name: str, a: Any, b: Any) -> Any:
        """A comparison of numbers; of a free size only that it is itself, and not 0, is known."""
        if not isinstance(a, Dim) and not isinstance(b, Dim):
            return COMPARISONS[name](a, b)
        difference = a - b
        if not isinstance(difference, Dim):
            return COMPARISONS[name](difference, 0)
        if b == 0 and name in ("eq", "ne", "gt", "ge"):  # a free size is at least 1
            return name != "eq"
        return NotImplemented

    def _prim(self, name: str, args: list[Any]) -> Any:
        if name == "RaiseException":
            raise _Raised(str(args[0])[:200])
        if name == "NumToTensor":
            return args[0]
        if name in ("data", "unchecked_cast"):
            return args[0]
        if name == "dtype":
            return DType(self.low.dtype(args[0]))
        if name in ("device", "layout"):
            return None
        if name == "type":  # of a device
            return "cpu"
        if name in ("is_nested", "is_sparse", "is_cpu", "is_cuda", "is_quantized", "requires_grad", "is_mkldnn"):
            return False
        if name in ("min", "max"):
            return self._number(name, args, {})
        if name == "shape":
            return list(self.low.shape(args[0]))
        raise self.unsupported(f"the call ops.prim.{name}")

    def _aten(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        name = RENAMED.get(name, name)
        if name == "select" and isinstance(args[2], Value) and not args[2].is_known:  # at the number of a trip
            return selection.gather(self.low, args[0], args[2], args[1])
        if name == "unbind" and isinstance(args[0], Value):
            axis = self.low.axis_of(args[0], args[1] if len(args) > 1 else 0)
            if isinstance(self.low.shape(args[0])[axis], Dim):
                return Frames(movement.move_axes(self.low, args[0], [axis], [0]))
        if name == "sort" and self.script.packs and self.low.rank(args[0]) == 1:
            return [
                args[0],
                self.low.positions(self.low.shape(args[0]), 0),
            ]  # by length; sequences are computed one by one here
        if name in ("to", "type", "_to_copy"):
            args = [
                DType(SCALAR_TYPES[a])
                if isinstance(a, int) and not isinstance(a, bool) and i == 1 and a in SCALAR_TYPES
                else a
                for i, a in enumerate(args)
            ]
        if isinstance(kwargs.get("dtype"), int):
            kwargs["dtype"] = DType(SCALAR_TYPES[kwargs["dtype"]])
        kwargs = {
            k: v
            for k, v in kwargs.items()
            if k not in ("device", "layout", "pin_memory", "memory_format", "non_blocking")
        }
        if name in ("zeros", "ones", "full", "new_zeros", "zeros_like", "ones_like") and isinstance(args[0], tuple):
            args[0] = list(args[0])
        step = Step(f"aten.{name}", [], {}, f"{name}.{self.steps}", ".".join(p for p in self.path if p))
        value = self.low.invoke(step, args, kwargs)
        if step.in_place:
            self._rebind(args[0], value, name)
        if name in VIEWS and args and isinstance(args[0], Value) and isinstance(value, Value) and value.is_run:
            self.roots.setdefault(value.tensor, self._root(args[0]))
        return value

    def _root(self, value: Value) -> str:
        """The tensor whose memory a value shares; '' for what is known."""
        return self.roots.get(value.tensor, value.tensor)

    def _rebind(self, old: Any, new: Any, name: str) -> None:
        """After an in-place call every variable that held the tensor holds the result; one may not share its memory."""
        if self.in_open_loop:
            raise self.unsupported(f"{name} writes in place in a loop over an open number of frames")
        root = self._root(old) if isinstance(old, Value) and old.is_run else None
        for frame in self.frames:
            for variable, value in frame.variables.items():
                if value is old or _same(value, old):
                    frame.variables[variable] = new
                elif isinstance(value, Value) and value.is_run and not _same(value, new) and self._root(value) == root:
                    raise self.unsupported(f"{name} writes to memory that {variable!r} shares")

    def _named_tuple(self, path: str, args: list[Any]) -> Any:
        fields = [
            a.target.id
            for a in self.script.classes[path].body
            if isinstance(a, ast.AnnAssign) and isinstance(a.target, ast.Name)
        ]
        if not any(isinstance(b, ast.Name) and b.id == "NamedTuple" for b in self.script.classes[path].bases):
            raise self.unsupported(f"an object of class {path}")
        return dict(zip(fields, args))


def _same(a: Any, b: Any) -> bool:
    """Whether two values are one tensor of the graph."""
    return isinstance(a, Value) and isinstance(b, Value) and a.is_run and a.tensor == b.tensor


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
