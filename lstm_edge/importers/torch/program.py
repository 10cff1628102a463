"""What every route into torch leads to: a flat program of aten calls, and its lowering to a Graph.

Live modules, exported programs and TorchScript differ in how the calls are found; what a call means is the same, and is
written once, in ops.py (elementwise, reductions), movement.py, products.py and layers.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from ...errors import LstmEdgeError, UnsupportedModelError
from ...ir.dims import BATCH, FRAMES, Dim, Size, product
from ...ir.graph import Graph

END = 2**31 - 1  # "to the end" in a Slice
MAX_FOLDED = 1 << 27  # elements of a constant that is computed here
RANKED = ("bool", "int32", "float32")  # torch's promotion order among the dtypes the core computes in


@dataclass(frozen=True)
class Ref:
    """The value of an earlier step, an input or a constant."""

    name: str


class DType(str):
    """A torch dtype by its name, so that programs need no torch."""


@dataclass
class Step:
    """One call: `target` as torch names it ("aten.linear.default", "getitem"), arguments with Ref for values."""

    target: str
    args: list[Any]
    kwargs: dict[str, Any]
    name: str
    place: str = ""  # the module it stands in, for messages

    @property
    def base(self) -> str:
        """The call's name without library and overload; in-place calls keep their underscore."""
        parts = self.target.split(".")
        return parts[1] if len(parts) > 1 else parts[0]

    @property
    def in_place(self) -> bool:
        return self.base.endswith("_") and not self.base.endswith("__")


@dataclass
class ProgramInput:
    name: str
    shape: tuple[Size, ...]
    dtype: str
    ref: str


@dataclass
class Program:
    inputs: list[ProgramInput]
    constants: dict[str, np.ndarray]
    steps: list[Step]
    outputs: list[tuple[str, Any]]  # name ("" = to be chosen), Ref or a constant
    notes: list[str] = field(default_factory=list)
    frames: int = 0  # the number of frames it was exported for, where that number became free again


@dataclass(frozen=True)
class Var:
    """A tensor of the graph."""

    name: str


@dataclass(frozen=True)
class Full:
    """A tensor of one value, not made until somebody needs its elements."""

    value: float
    shape: tuple[Size, ...]
    dtype: str


@dataclass(frozen=True)
class Arange:
    """0, 1, ... size-1 (int32), where the size is not a number."""

    size: Size


# Calls whose result shares memory with their first argument.
VIEWS = {
    "view",
    "reshape",
    "_unsafe_view",
    "select",
    "slice",
    "narrow",
    "transpose",
    "permute",
    "t",
    "squeeze",
    "unsqueeze",
    "expand",
    "flatten",
    "unflatten",
    "split",
    "split_with_sizes",
    "chunk",
    "unbind",
    "getitem",
    "detach",
    "alias",
    "contiguous",
    "view_as",
    "expand_as",
    "movedim",
    "to",
    "dropout",
    "unfold",
}
OPS: dict[str, Callable[..., Any]] = {}
KEEP_LAZY: set[str] = set()  # handled here even when all arguments are constants


def op(*names: str, lazy: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers the lowering of the aten calls `names` ("max.dim": of that overload only). It takes the Lowering and
    the call's arguments under aten's own names."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            OPS[name] = function
            if lazy:
                KEEP_LAZY.add(name)
        return function

    return register


def lower(program: Program) -> Graph:
    """The Graph of `program`. UnsupportedModelError names the first call that has no meaning here."""
    return Lowering(program).run()


def freest(program: Callable[[tuple[Size, ...] | None], Program]) -> Graph:
    """The Graph of `program(free)` with as many free axes as hold: a size fixed at export is freed where nothing depends
    on it; one left open where something does (torch says only that it lies in a range) is fixed as in the example.
    LstmEdgeError of the first kind of attempt when none holds."""
    failures: list[LstmEdgeError] = []
    for free in ((BATCH, FRAMES), (BATCH,), (FRAMES,), (), None):
        try:
            return lower(program(free))
        except LstmEdgeError as e:
            failures.append(e)
    raise failures[-2]


def _register() -> None:
    from . import layers, movement, ops, products  # noqa: F401  (they fill OPS)


class Lowering:
    """Builds a Graph step by step; `env` maps the program's names to Var, constants (ndarray), numbers or lists."""

    def __init__(self, program: Program) -> None:
        _register()
        self.program = program
        self.g = Graph()
        self.env: dict[str, Any] = dict(program.constants)
        self.step = Step("", [], {}, "")
        self.notes = self.g.metadata.setdefault("notes", [])
        self.roles: dict[str, tuple[str, str]] = {}  # tensor -> ("h" or "c", the graph input it continues or "")
        self._constants: dict[int, tuple[Any, str]] = {}
        self._ones: dict[Any, str] = {}
        self._used = _used_items(program)

    def run(self) -> Graph:
        for i in self.program.inputs:
            self.env[i.ref] = Var(self.g.input(i.name, i.shape, i.dtype))
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
        self.notes.extend(n for n in self.program.notes if n not in self.notes)
        if self.program.frames:
            self.g.metadata["source"] = {"frames": self.program.frames}
        return self.g

    def _check_aliases(self, target: str, roots: dict[str, str], at: int) -> None:
        """Refuses to write in place to memory that a later step reads under another name."""
        root = roots.get(target, target)
        later = {v.name for s in self.program.steps[at + 1 :] for v in leaves([s.args, s.kwargs]) if isinstance(v, Ref)}
        later |= {v.name for _, o in self.program.outputs for v in leaves(o) if isinstance(v, Ref)}
        shared = [n for n in later if n not in (target, self.step.name) and roots.get(n, n) == root and n in self.env]
        if shared:
            raise self.unsupported(
                f"{self.step.target} writes to a part of {shared[0]!r}, which is read later; call "
                "exported.run_decompositions({}) before saving"
            )

    def invoke(self, step: Step, args: Any, kwargs: Any) -> Any:
        """The value of one call, its arguments resolved: folded where they are all constants, else lowered."""
        self.step = step
        library, _, overload = step.target.partition(".")
        base = step.base[:-1] if step.in_place else step.base
        function = OPS.get(step.target) if library in ("operator", "math") else OPS.get(overload) or OPS.get(base)
        foldable = library == "aten" and base not in KEEP_LAZY and not step.in_place
        if foldable and not any(isinstance(v, (Var, Full, Arange, Dim)) for v in leaves([args, kwargs])):
            folded = _fold(step.target, args, kwargs)
            if folded is not None:
                return folded
        if function is None:
            raise self.unsupported(f"the call {step.target} is not supported")
        try:
            return function(self, *args, **kwargs)
        except LstmEdgeError:
            raise
        except (TypeError, KeyError, IndexError, AttributeError, ValueError) as e:
            raise self.unsupported(f"arguments of {step.target} are not understood ({type(e).__name__}: {e})") from e

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, Ref):
            return self.env[value.name]
        if isinstance(value, (list, tuple)):
            return type(value)(self._resolve(v) for v in value)
        if isinstance(value, dict):
            return {k: self._resolve(v) for k, v in value.items()}
        return value

    def used(self, item: int) -> bool:
        """Whether output `item` of the current step is read by anyone."""
        used = self._used.get(self.step.name, set()) if self._used else {-1}
        return item in used or -1 in used

    def unsupported(self, what: str) -> UnsupportedModelError:
        where = f" (in module {self.step.place})" if self.step.place else ""
        return UnsupportedModelError(
            f"node {self.step.name}{where}: {what}; see docs for the list of supported operators"
        )

    # ---- asking ---------------------------------------------------------------------------------------------------

    def shape(self, v: Any) -> tuple[Size, ...]:
        if isinstance(v, Var):
            return self.g.shape(v.name)
        if isinstance(v, Arange):
            return (v.size,)
        return tuple(v.shape) if isinstance(v, (np.ndarray, Full)) else ()

    def rank(self, v: Any) -> int:
        return len(self.shape(v))

    def axis(self, v: Any, dim: int) -> int:
        rank = max(self.rank(v), 1)
        if not -rank <= dim < rank:
            raise self.unsupported(f"axis {dim} of a tensor of rank {rank}")
        return dim % rank

    def dtype(self, v: Any) -> str:
        if isinstance(v, Var):
            return self.g.tensors[v.name].dtype
        if isinstance(v, Full):
            return v.dtype
        if isinstance(v, np.ndarray):
            return {"f": "float32", "b": "bool"}.get(v.dtype.kind, "int32")
        if isinstance(v, bool):
            return "bool"
        return "float32" if isinstance(v, float) else "int32"

    def array(self, v: Any, what: str) -> np.ndarray:
        """The constant `v`; refused when it is computed at run time."""
        if isinstance(v, np.ndarray):
            return v
        if isinstance(v, Full) and not any(isinstance(s, Dim) for s in v.shape):
            return np.full(v.shape, v.value, v.dtype)
        if isinstance(v, Var) and self.g.tensors[v.name].data is not None:
            return self.g.tensors[v.name].data
        raise self.unsupported(f"{what}: expected a constant, found a value computed at run time")

    # ---- building -------------------------------------------------------------------------------------------------

    def node(self, op_name: str, inputs: list[Any], attrs: dict[str, Any] | None = None) -> Var:
        """One op with its first output; inputs are values (None = absent)."""
        names = ["" if i is None else self.t(i) for i in inputs]
        return Var(self.g.add1(op_name, names, attrs, self.label()))

    def label(self) -> str:
        return f"{self.step.place}.{self.step.name}" if self.step.place else self.step.name

    def t(self, v: Any, dtype: str | None = None) -> str:
        """The tensor name of a value, made a constant or computed where it is not yet in the graph."""
        if dtype is not None and self.dtype(v) != dtype:
            v = self.cast(v, dtype)
        if isinstance(v, Var):
            return v.name
        if isinstance(v, np.ndarray):
            held = self._constants.get(id(v))
            if held is None:
                held = self._constants[id(v)] = (v, self.g.constant(v, f"const.{self.step.name}"))
            return held[1]
        if isinstance(v, Full):
            return self._full(v)
        if isinstance(v, Arange):
            ones = self.ones((v.size,), "int32")
            return self.g.add1("CumSum", [ones], {"axis": 0, "exclusive": 1}, self.label())
        if isinstance(v, Dim):
            return self.g.add1("Reduce", [self.ones((v,), "int32")], {"kind": "sum", "keepdims": 0}, self.label())
        if isinstance(v, (bool, int, float, np.generic)):
            return self.g.constant(np.asarray(v), f"const.{self.step.name}")
        raise self.unsupported(f"expected a tensor, found {type(v).__name__}")

    def _full(self, v: Full) -> str:
        if not any(isinstance(s, Dim) for s in v.shape):
            if prod(v.shape) > MAX_FOLDED:
                raise self.unsupported(f"a constant of shape {v.shape}")
            return self.g.constant(np.full(v.shape, v.value, v.dtype), f"const.{self.step.name}")
        if v.value == 1:
            return self.ones(v.shape, v.dtype)
        attrs, sources, _ = self.sizes(list(v.shape), [])
        return self.g.add1("Fill", sources, {**attrs, "value": float(v.value), "dtype": v.dtype}, self.label())

    def ones(self, shape: tuple[Size, ...], dtype: str) -> str:
        if (shape, dtype) not in self._ones:
            attrs, sources, _ = self.sizes(list(shape), [])
            self._ones[shape, dtype] = self.g.add1(
                "Fill", sources, {**attrs, "value": 1.0, "dtype": dtype}, self.label()
            )
        return self._ones[shape, dtype]

    def cast(self, v: Any, dtype: str) -> Any:
        if self.dtype(v) == dtype:
            return v
        if isinstance(v, np.ndarray):
            return v.astype(dtype)
        if isinstance(v, Full):
            value = float(bool(v.value)) if dtype == "bool" else float(int(v.value)) if dtype == "int32" else v.value
            return Full(value, v.shape, dtype)
        if isinstance(v, (bool, int, float)):
            return np.asarray(v).astype(dtype)
        return self.node("Cast", [v], {"to": dtype})

    def unary(self, kind: str, x: Any, alpha: float = 0.0, beta: float = 0.0) -> Var:
        return self.node("Unary", [x], {"kind": kind, "alpha": float(alpha), "beta": float(beta)})

    def floating(self, x: Any) -> Any:
        return self.cast(x, "float32")

    def binary(self, kind: str, a: Any, b: Any) -> Var:
        """`kind` after torch's type promotion: a number raises a tensor's kind (bool, int, float), not its size."""
        dtype = self.promoted(a, b)
        if kind in ("and", "or", "xor"):
            dtype = "bool"
        elif dtype == "bool" and kind not in ("equal", "not_equal"):
            dtype = "int32"
        return self.node("Binary", [Var(self.t(a, dtype)), Var(self.t(b, dtype))], {"kind": kind})

    def promoted(self, *values: Any) -> str:
        return max((self.dtype(v) for v in values), key=RANKED.index)

    def dense(self, x: Any, weight: Any, bias: Any) -> Var:
        """x weight^T + bias."""
        if isinstance(weight, np.ndarray) and weight.ndim == 2:
            b = None if bias is None else bias
            if b is None or (isinstance(b, np.ndarray) and b.shape == weight.shape[:1]):
                return self.node("Dense", [x, weight, b])
        y = self.node("MatMul", [x, weight], {"trans_b": 1})
        return y if bias is None else self.binary("add", y, bias)

    # ---- shapes ---------------------------------------------------------------------------------------------------

    def reshape(self, x: Any, shape: list[Size]) -> Any:
        """x in `shape`; one entry may be -1."""
        if isinstance(x, np.ndarray) and not any(isinstance(s, Dim) for s in shape):
            return x.reshape(shape)
        old = self.shape(x)
        if -1 in shape:
            known = product(s for s in shape if not (isinstance(s, int) and s == -1))
            shape = [product(old) // known if isinstance(s, int) and s == -1 else s for s in shape]
        if tuple(shape) == old:
            return x
        if isinstance(x, Full):
            return Full(x.value, tuple(shape), x.dtype)
        name = self.t(x)
        attrs, sources, _ = self.sizes(shape, [name], spare=True)
        return Var(self.g.add1("Reshape", [name, *sources], attrs, self.label()))

    def sizes(self, shape: list[Size], given: list[str], spare: bool = False) -> tuple[dict[str, Any], list[str], int]:
        """A dims spec for `shape`: its attributes, the tensors to append to `given`, and how many sizes were left as -1
        (one at most, with `spare`)."""
        inputs = list(given)
        attrs: dict[str, list[int]] = {"shape": [], "from_input": [], "from_axis": []}
        left = 0
        for size in shape:
            factor, source, axis = size, -1, 0
            if isinstance(size, Dim):
                found = self._find(size, inputs)
                if found is None and spare and not left:
                    factor, left = -1, 1
                elif found is None:
                    raise self.unsupported(f"a tensor of size {size} on one axis, which no tensor at hand has")
                else:
                    name, axis, factor = found
                    if name not in inputs:
                        inputs.append(name)
                    source = inputs.index(name)
            attrs["shape"].append(int(factor))
            attrs["from_input"].append(source)
            attrs["from_axis"].append(axis)
        return attrs, inputs[len(given) :], left

    def _find(self, size: Dim, first: list[str]) -> tuple[str, int, int] | None:
        """A tensor and axis whose extent, times an integer, is `size`."""
        rest = [p.tensor for p in self.g.inputs] + [n for n, t in self.g.tensors.items() if not t.is_constant]
        for name in [*first, *rest]:
            for axis, s in enumerate(self.g.shape(name)):
                if not isinstance(s, Dim):
                    continue
                if s == size:
                    return name, axis, 1
                factor = _ratio(size, s)
                if factor:
                    return name, axis, factor
        return None

    # ---- outputs --------------------------------------------------------------------------------------------------

    def finish(self, values: list[tuple[str, Any]]) -> None:
        """Declares the outputs (name, '' = to be chosen, and value) and drops what none of them needs."""
        values = [(n, v) for n, v in values if v is not None]
        chosen: list[str] = []
        plain = 0
        for name, v in values:
            tensor = self.t(v)
            if not name and tensor in self.roles:
                name = self._state_name(*self.roles[tensor])
            if not name:
                name = f"output{plain}" if plain else "output"
                plain += 1
            while name in chosen or name in [p.name for p in self.g.inputs]:
                name += "_out"
            chosen.append(name)
            self.g.output(name, tensor)
        if not chosen:
            raise UnsupportedModelError("the model returns no tensor: expected at least one")
        self.g.drop_unused()

    def _state_name(self, role: str, source: str) -> str:
        """The name that pairs an output with the input it continues (h0/hn, state/stateN, *_cache/*_cache_out)."""
        if not source or source in ("h0", "c0"):
            return f"{source[0] if source else role}n"
        return f"{source}N" if source.startswith("state") else f"{source}_out"


def _used_items(program: Program) -> dict[str, set[int]]:
    """name -> the items of it that getitem reads; -1 stands for the whole value."""
    used: dict[str, set[int]] = {}
    for s in program.steps:
        if s.base == "getitem" and isinstance(s.args[0], Ref) and isinstance(s.args[1], int):
            used.setdefault(s.args[0].name, set()).add(s.args[1])
            continue
        for leaf in leaves([s.args, s.kwargs]):
            if isinstance(leaf, Ref):
                used.setdefault(leaf.name, set()).add(-1)
    for _, v in program.outputs:
        for leaf in leaves(v):
            if isinstance(leaf, Ref):
                used.setdefault(leaf.name, set()).add(-1)
    dead = [s for s in program.steps if s.base == "getitem" and s.name not in used]
    for s in dead:
        used.get(s.args[0].name, set()).discard(s.args[1])
    return used


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from leaves(v)
    elif isinstance(value, dict):
        for v in value.values():
            yield from leaves(v)
    else:
        yield value


def _ratio(size: Dim, part: Dim) -> int | None:
    """size / part where that is a whole number."""
    for monomial, coefficient in part.terms.items():
        factor, rest = divmod(size.terms.get(monomial, 0), coefficient)
        if factor > 0 and not rest and part * factor == size:
            return factor
        return None
    return None


def _within_reason(target: str, args: Any, kwargs: Any) -> bool:
    """Whether a call's numbers cannot blow a small file up to gigabytes."""
    if ".slice" in target or ".narrow" in target:
        return True
    size = max((v.size for v in leaves([args, kwargs]) if isinstance(v, np.ndarray)), default=1)
    lists = [
        v for v in [*args, *kwargs.values()] if isinstance(v, (list, tuple)) and all(isinstance(n, int) for n in v)
    ]
    numbers = [abs(v) for v in leaves([args, kwargs]) if isinstance(v, (int, float)) and abs(v) != float("inf")]
    counts = [*(prod(max(abs(n), 1) for n in v) for v in lists), *(n for n in numbers if ".arange" in target), 1]
    return max(size, 1) * max(counts) <= MAX_FOLDED if lists or ".arange" in target else True


def _fold(target: str, args: Any, kwargs: Any) -> Any:
    """The result of a call on constants, by torch; None where torch is missing or the call draws random numbers."""
    if any(w in target for w in ("rand", "bernoulli", "multinomial", "empty")):
        return None
    try:
        import torch
    except ImportError:
        return None
    if not _within_reason(target, args, kwargs):
        raise UnsupportedModelError(f"the call {target} on constants would make more than {MAX_FOLDED} elements")
    _, name, *overload = target.split(".")
    function = getattr(torch.ops.aten, name, None)
    if function is None:
        return None
    function = getattr(function, overload[0]) if overload else function

    def to_torch(v: Any) -> Any:
        if isinstance(v, np.ndarray):
            return torch.from_numpy(np.array(v))
        if isinstance(v, (list, tuple)):
            return [to_torch(x) for x in v]
        return getattr(torch, v) if isinstance(v, DType) else v

    def to_numpy(v: Any) -> Any:
        if isinstance(v, torch.Tensor):
            return v.detach().float().numpy() if v.dtype in (torch.bfloat16, torch.float16) else v.detach().numpy()
        if isinstance(v, (list, tuple)):
            return [to_numpy(x) for x in v]
        return v

    kwargs = {k: v for k, v in kwargs.items() if k not in ("device", "layout", "pin_memory")}
    with torch.no_grad():
        return to_numpy(function(*[to_torch(a) for a in args], **{k: to_torch(v) for k, v in kwargs.items()}))


def run_dtype(dtype: DType | None, default: str = "float32") -> str:
    """The dtype the core has for a torch dtype: floats are float32, integers int32."""
    if dtype is None:
        return default
    return "float32" if "float" in dtype or dtype in ("double", "half") else "bool" if dtype == "bool" else "int32"
