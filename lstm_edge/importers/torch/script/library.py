"""What TorchScript calls: aten, with the handles of memory around it, and its own functions of numbers, lists and dicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ....ir.dims import Dim
from ....recurrences.polynomials import NotACell
from ...dialect import Value, movement, selection
from ..aten.recurrences import Packing
from ..aten.sizes import COMPARISONS
from ..lowering import Lowering
from ..program import NUMBERED_DTYPES, DType, Step, leaves
from . import frames, quantized
from .frames import Frames
from .numbers import ARITHMETIC, NUMBERS, Open, as_numbers, compared, plain

if TYPE_CHECKING:
    from .machine import Machine

# c10::ScalarType, as code and pickles number it
SCALAR_TYPES = {**dict(enumerate(NUMBERED_DTYPES)), 11: "bool", 15: "bfloat16"}
MAX_LIST = 100_000
RENAMED = {"unsafe_chunk": "chunk", "unsafe_split": "split"}
WITHOUT_MEANING = ("device", "layout", "pin_memory", "memory_format", "non_blocking")
OF_ANYTHING = ("__is__", "__isnot__", "len", "__getitem__", "list", "__not__", "__contains__")  # of tensors too
NOTHING = ("warn", "_assert", "manual_seed", "device")
IN_NAME_ONLY = ("detach_", "requires_grad_")  # writes nothing


class Raised(Exception):
    """The script's own raise."""


# ---- ops.prim ------------------------------------------------------------------------------------------------------


def _raise(m: Machine, message: Any, *_: Any) -> None:
    raise Raised(str(message)[:200])


PRIM: dict[str, Callable[..., Any]] = {
    "RaiseException": _raise,
    **dict.fromkeys(("NumToTensor", "data", "unchecked_cast"), lambda m, value, *_: value),
    "dtype": lambda m, x: DType(m.low.dtype(x)),
    "shape": lambda m, x: list(m.low.shape(x)),
    **dict.fromkeys(("device", "layout"), lambda m, x: None),
    "type": lambda m, device: "cpu",
    **dict.fromkeys(
        ("is_nested", "is_sparse", "is_cpu", "is_cuda", "is_quantized", "requires_grad", "is_mkldnn"),
        lambda m, x: False,
    ),
    "min": lambda m, *args: _extreme(m, "min", *args),
    "max": lambda m, *args: _extreme(m, "max", *args),
}


def _extreme(m: Machine, name: str, *args: Any) -> Any:
    """The least or largest number; of several that are one size, or the end of no list at all, that size."""
    numbers = [plain(v) for v in (args[0] if len(args) == 1 else args)]
    bounded = [n for n in numbers if name == "max" or n != (1 << 63) - 1]
    return bounded[0] if bounded and all(n == bounded[0] for n in bounded) else number(m, name, [numbers], {})


def prim(m: Machine, name: str, args: list[Any]) -> Any:
    """A call of ops.prim."""
    if name not in PRIM:
        raise m.unsupported(f"the call ops.prim.{name}")
    return PRIM[name](m, *args)


# ---- lists ----------------------------------------------------------------------------------------------------------


def _append(found: list[Any], value: Any) -> list[Any]:
    found.append(value)
    return found


def _extend(found: list[Any], values: Any) -> list[Any]:
    if len(found) + len(values) > MAX_LIST:
        raise IndexError(f"more than {MAX_LIST} elements")
    found.extend(values)
    return found


def _set_item(found: Any, at: Any, value: Any) -> Any:
    found[at] = value
    return found


LISTS: dict[str, Callable[..., Any]] = {
    "append": _append,
    "add_": _extend,
    "extend": _extend,
    "_set_item": _set_item,
    "insert": lambda found, at, value: found.insert(at, value),
    "pop": lambda found, *at: found.pop(*at),
    "reverse": lambda found: found.reverse(),
    "clear": lambda found: found.clear(),
    "copy": lambda found: type(found)(found),
}


def _on_list(m: Machine, name: str, args: list[Any]) -> Any:
    try:
        return LISTS[name](args[0], *map(plain, args[1:2]), *args[2:])
    except (IndexError, KeyError, TypeError) as e:
        raise m.unsupported(f"{name} of a list ({e})") from e


class Growing:
    """A list inside a loop: what is in it is not told there, only what a trip adds to it.

    added: the tensors of this trip; in_front: whether they go before the others. of: the list as the trip began.
    """

    def __init__(self, of: Growing | None = None, added: Sequence[Any] = (), in_front: bool = False):
        self.of, self.added, self.in_front = of or self, list(added), in_front

    def call(self, name: str, args: list[Any]) -> Any:
        """What a function of TorchScript gives for such a list. NotACell where it reads it."""
        if name == "append":
            return self._add(args, False)
        if name == "insert" and args[0] == 0:
            return self._add(args[1:], True)
        if name in ("add_", "extend") and isinstance(args[0], list):
            return self._add(args[0], False)
        if name == "add" and isinstance(args[0], list):
            return Growing(self.of, [*self.added, *args[0]])
        raise NotACell(f"it reads a list that it adds to ({name})")

    def _add(self, values: list[Any], in_front: bool) -> Growing:
        self.added, self.in_front = [*self.added, *values], in_front
        return self


# ---- numbers --------------------------------------------------------------------------------------------------------


def number(m: Machine, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """A function of numbers, lists and dicts."""
    if name == "len" and isinstance(args[0], Value):
        return m.low.shape(args[0])[0]
    if name == "__not__":
        truth = m.truth(args[0])
        return args[0] if truth is None else not truth
    if name == "add" and isinstance(args[0], list):
        if len(args[0]) + len(args[1]) > MAX_LIST:
            raise m.unsupported(f"a list of more than {MAX_LIST} elements")
        return [*args[0], *args[1]]
    if name in ARITHMETIC and not all(isinstance(a, (int, float, Dim)) for a in args):
        raise m.unsupported(f"{name} of {', '.join(type(a).__name__ for a in args)}")
    if name == "pow" and abs(args[1]) > 64:
        raise m.unsupported(f"the power {args[1]}")
    try:
        found = NUMBERS[name](*args)
        if isinstance(found, int) and not -(1 << 63) <= found < 1 << 63:
            raise OverflowError("more than 64 bits")
        return found
    except (TypeError, ValueError, IndexError, KeyError, ZeroDivisionError, OverflowError) as e:
        if any(isinstance(a, Dim) for a in args):
            return m.low.invoke(Step(f"operator.{ {'div': 'truediv'}.get(name, name) }", [], {}, name), args, kwargs)
        raise m.unsupported(f"{name} of {args} ({e})") from e


def _both(m: Machine, name: str, a: Any, b: Any) -> Any:
    """and, or of two truth values, of which one may not be known; of numbers bit by bit."""
    if all(isinstance(v, int) for v in (a, b)):
        return a & b if name == "__and__" else a | b
    deciding = name == "__or__"
    known = [m.truth(v) for v in (a, b)]
    if deciding in known:
        return deciding
    return a if known[0] is None else b


def _derived(m: Machine, trip: Value, start: Any, step: int) -> Value:
    """The number that a range has at a trip."""
    if step in (1, -1):
        return m.low.binary("add" if step == 1 else "sub", m.low.value(start), trip)
    return m.low.binary("add", m.low.value(start), m.low.binary("mul", trip, m.low.value(step)))


# ---- aten ------------------------------------------------------------------------------------------------------------


def call(m: Machine, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """A call of torch or ops.aten; `args` hold handles."""
    if name in NOTHING:
        return None
    if name == "unchecked_unwrap_optional" or name in IN_NAME_ONLY:
        return args[0]
    if args and isinstance(args[0], Growing):
        return args[0].call(name, args[1:])
    if name == "add" and len(args) > 1 and isinstance(args[1], Growing):
        return Growing(args[1].of, [*args[0], *args[1].added], in_front=True)
    if any(isinstance(v, Growing) for v in leaves([args, kwargs])):
        raise NotACell(f"it reads a list that it adds to ({name})")
    if args and isinstance(args[0], Frames):
        found = frames.call(m, name, args[0], [*args[1:], *kwargs.values()])
        if found is not None:
            return found
        args[0] = args[0].elements(m)
    if name in LISTS and isinstance(args[0], (list, dict)):
        return _on_list(m, name, args)
    if any(isinstance(a, Dim) for a in args):
        name, args, kwargs = as_numbers(name, m.memory.now(args), kwargs)
    if name in ("__and__", "__or__") and any(isinstance(a, (bool, Open)) for a in args):
        return _both(m, name, *args)
    tensors = any(isinstance(v, Value) for v in leaves([args, kwargs]))
    if name in COMPARISONS and not tensors:
        return compared(name, *args)
    if name == "__derive_index" and tensors:
        return _derived(m, *args)
    if name in NUMBERS and (not tensors or name in OF_ANYTHING or isinstance(args[0], list)):
        return number(m, name, args, kwargs)
    if f"aten.{name}" in quantized.CALLS:
        return quantized.CALLS[f"aten.{name}"](m, *args, **kwargs)
    return _aten(m, RENAMED.get(name, name), args, kwargs)


def custom(m: Machine, target: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """A call of another library than torch's own, which a user may have described."""
    if target in quantized.CALLS:
        return quantized.CALLS[target](m, *args, **kwargs)
    step = Step(target, [], {}, f"{target.rpartition('.')[2]}.{m.steps}", m.place)
    return m.low.invoke(step, m.memory.now(args), m.memory.now(kwargs))


def _aten(m: Machine, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    low, memory = m.low, m.memory
    args, kwargs = _plain_arguments(name, args, kwargs)
    if name == "sort" and m.script.packs and low.rank(args[0]) == 1:
        # by length; sequences are computed one by one here
        return [args[0], low.positions(low.shape(args[0]), 0)]
    if name == "unbind" and isinstance(args[0], Value):
        return Frames(args[0], low.axis_of(args[0], args[1] if len(args) > 1 else kwargs.get("dim", 0)))
    if name == "size" and isinstance(args[0], Packing):  # one for each frame
        return args[0].frames if len(args) > 1 else [args[0].frames]
    step = Step(f"aten.{name}", [], {}, f"{name}.{m.steps}", m.place)

    def made(first: Value) -> Any:
        now = memory.now([first, *args[1:]])
        if name in ("select", "slice") and any(isinstance(v, Value) and not v.is_known for v in now[2:]):
            low.stand_at(step)
            return _at_trip(low, name, now)
        return low.invoke(step, now, memory.now(kwargs))

    if not args or not isinstance(args[0], Value):
        return memory.result(name, args, kwargs, low.invoke(step, memory.now(args), memory.now(kwargs)), made)
    value = made(args[0])
    if step.in_place:
        memory.write(args[0], low.value(value, low.dtype(args[0])))
        return args[0]
    return memory.result(name, args, kwargs, value, made)


def _at_trip(low: Lowering, name: str, now: list[Any]) -> Value:
    """The place, or the slice of one place, that the number of a trip says."""
    x, axis, start = now[:3]
    if name == "select":
        return selection.gather(low, x, start, axis)
    end = now[3] if len(now) > 3 else None
    made = low.producer(end) if isinstance(end, Value) else None
    if not isinstance(start, Value) or made is None or made.op != "Binary" or made.attrs["kind"] != "add":
        raise low.refuse("a slice whose bounds are computed")
    one = low.graph.tensors[made.inputs[1]].data
    if made.inputs[0] != low.tensor(start) or one is None or one.size != 1 or one.reshape(-1)[0] != 1:
        raise low.refuse("a slice of more than the frame of a trip")
    return movement.unsqueeze(low, selection.gather(low, x, start, axis), [low.axis_of(x, axis)])


def _plain_arguments(name: str, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments without numbers for dtypes, devices and memory formats."""
    if name in ("to", "type", "_to_copy") and len(args) > 1 and type(args[1]) is int and args[1] in SCALAR_TYPES:
        args = [args[0], DType(SCALAR_TYPES[args[1]]), *args[2:]]
    if isinstance(kwargs.get("dtype"), int):
        kwargs = {**kwargs, "dtype": DType(SCALAR_TYPES[kwargs["dtype"]])}
    if args and isinstance(args[0], tuple):
        args = [list(args[0]), *args[1:]]
    return args, {k: v for k, v in kwargs.items() if k not in WITHOUT_MEANING}
