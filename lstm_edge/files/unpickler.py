"""The pickle machine, running nothing a file names: what it calls becomes inert, but for the few functions here that rebuild
tensors, arrays and plain containers."""

from __future__ import annotations

import io
import pickle
import reprlib
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar

import numpy as np

from .. import memory
from ..errors import FormatError
from .pickled_tensors import (
    Array,
    Dtype,
    Global,
    Storage,
    Tensor,
    array_from_state,
    dtype_of_class,
    materialise,
    numpy_dtype,
)

MAX_PARTS, MAX_NESTED = 1 << 16, 64  # of an object: what is in it, counted wherever it stands, and how deep
# Elements that calls copy and keys are hashed by, of every pickle and for each of its bytes: a short program may do so often.
MAX_SPENT, SPENT_PER_BYTE = 1 << 22, 4
HASHING = {"set", "frozenset", "dict", "OrderedDict"}
JOBLIB_ARRAY = "joblib.numpy_pickle.NumpyArrayWrapper"  # also within the scikit-learn of before 2019
OPCODE_BYTES, OBJECT_BYTES, PIECE_BYTES = (
    200,
    700,
    1 << 16,
)  # of memory for an opcode, at most, and for a call; counted at once
CALLS = {op[0] for op in (pickle.REDUCE, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.OBJ, pickle.INST, pickle.EMPTY_SET)}
MAX_PICKLE_BYTES = 256 << 20  # an optimizer's or a plain array pickle; zip checkpoints keep tensors outside
# Calling one of these can only be meant to run code; other unknown globals (a config class) stay inert.
CODE_MODULES = {
    "os",
    "posix",
    "nt",
    "sys",
    "subprocess",
    "runpy",
    "importlib",
    "shutil",
    "socket",
    "ctypes",
    "pty",
    "pdb",
    "code",
    "codeop",
    "commands",
    "webbrowser",
    "multiprocessing",
    "asyncio",
    "threading",
    "signal",
    "urllib",
    "http",
    "requests",
    "pip",
    "timeit",
    "types",
    "marshal",
    "pickle",
    "_pickle",
    "operator",
    "_operator",
    "functools",
    "inspect",
    "tempfile",
    "pathlib",
    "io",
    "_io",
    "zipimport",
    "platform",
    "builtins",
    "__builtin__",
    "dill",
    "cloudpickle",
    "bdb",
    "profile",
}
PLAIN_BUILTINS = {
    "set": set,
    "frozenset": frozenset,
    "list": list,
    "dict": dict,
    "tuple": tuple,
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "complex": complex,
    "slice": slice,
    "object": object,
    "bytearray": bytearray,
    "bytes": bytes,
    "range": range,
    "xrange": range,  # as protocol 2 calls it
}


@dataclass(eq=False)
class Inert:
    """An object of a class or function this reader does not know: its name, what it was called with, its state."""

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)

    def __setitem__(self, key: Any, value: Any) -> None:  # a dict subclass
        self.items[key] = value

    def append(self, value: Any) -> None:  # a list subclass
        self.items[len(self.items)] = value

    def extend(self, values: Any) -> None:
        for value in values:
            self.append(value)

    def add(self, value: Any) -> None:
        self.append(value)


class _Counted(dict[int, Any]):
    """What the opcodes do, each counted in a conversion's memory, some at a time: one byte makes a list or an object."""

    def __init__(self, functions: dict[int, Any]) -> None:
        super().__init__(functions)
        self.left = 0

    def __getitem__(self, opcode: int) -> Any:
        self.left -= OBJECT_BYTES if opcode in CALLS else OPCODE_BYTES
        if self.left < 0:
            memory.take(PIECE_BYTES, "a pickle")
            self.left += PIECE_BYTES
        return super().__getitem__(opcode)


class Reader(pickle._Unpickler):  # the pure Python one: its memo is a dict, so a huge memo index costs nothing
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]  # this and the next three are the library's, which its type stubs leave out
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: io.BytesIO, storage: Any, place: str) -> None:
        super().__init__(file, encoding="latin1")
        self._file, self._storage, self._place = file, storage, place
        self.dispatch = _Counted(self.dispatch)  # type: ignore[misc]
        self._weights: dict[int, tuple[int, int]] = {}  # of tuples of tuples, by id: all that is in them, and how deep
        self._weighed: list[tuple[Any, ...]] = []  # they live as long as their ids stand there
        self._left = MAX_SPENT + SPENT_PER_BYTE * file.getbuffer().nbytes

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) > 1 and pid[0] == "module":  # a class with its source, before torch 1.6
            return pid[1]
        return self._storage(pid)

    def find_class(self, module: str, name: str) -> Any:
        return Global(module, name)

    def get_extension(self, code: int) -> None:
        raise FormatError(f"{self._place}: the pickle uses extension code {code}; expected none")

    def _tuple(self, parts: Any) -> tuple[Any, ...]:
        """A tuple. Python hashes, prints and compares one by all that is in it: a small pickle may put one tuple into exponentially
        many places, or nest it deeper than the C stack."""
        made = tuple(parts)
        inner = [self._weights.get(id(part), (len(part), 1)) for part in made if isinstance(part, tuple)]
        if inner:
            weight = len(made) + sum(size for size, _ in inner), 1 + max(depth for _, depth in inner)
            if weight[0] > MAX_PARTS or weight[1] > MAX_NESTED:
                raise FormatError(
                    f"{self._place}: a tuple of more than {MAX_PARTS} parts, or nested more than {MAX_NESTED} deep"
                )
            self._weights[id(made)] = weight
            self._weighed.append(made)
        return made

    def _key(self, key: Any) -> Any:
        """What a dictionary or a set is to be given, the work of hashing it counted."""
        if isinstance(key, tuple):
            self._spend(self._weights.get(id(key), (len(key), 1))[0])
        elif isinstance(key, int):
            self._spend(key.bit_length() >> 5)
        return key

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise FormatError(f"{self._place}: a pickle that copies and hashes far more than it holds")

    def load_tuple(self) -> None:
        items = self.pop_mark()  # which changes what append is
        self.append(self._tuple(items))

    dispatch[pickle.TUPLE[0]] = load_tuple

    def _load_some(self, count: int) -> None:
        self.stack[-count:] = [self._tuple(self.stack[-count:])]

    dispatch[pickle.TUPLE1[0]] = lambda self: self._load_some(1)
    dispatch[pickle.TUPLE2[0]] = lambda self: self._load_some(2)
    dispatch[pickle.TUPLE3[0]] = lambda self: self._load_some(3)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({self._key(key): value for key, value in zip(items[::2], items[1::2])})

    dispatch[pickle.DICT[0]] = load_dict

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][self._key(key)] = value

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self) -> None:
        items = self.pop_mark()
        target = self.stack[-1]
        for key, value in zip(items[::2], items[1::2]):
            target[self._key(key)] = value

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def load_additems(self) -> None:
        items = self.pop_mark()
        for item in items:
            self.stack[-1].add(self._key(item))

    dispatch[pickle.ADDITEMS[0]] = load_additems

    def load_frozenset(self) -> None:
        items = self.pop_mark()
        self.append(frozenset(map(self._key, items)))

    dispatch[pickle.FROZENSET[0]] = load_frozenset

    def _call(self, function: Any, args: tuple[Any, ...]) -> Any:
        for given in args:
            if isinstance(given, (str, bytes, bytearray, dict, list, tuple, set, frozenset)):
                self._spend(len(given))
        if isinstance(function, Global) and function.name in HASHING and args and isinstance(args[0], (list, tuple)):
            for item in args[0]:
                self._key(
                    item[0] if function.name.endswith("ict") and isinstance(item, (list, tuple)) and item else item
                )
        made = self._called(function, args)
        return self._tuple(made) if isinstance(made, tuple) else made

    def _called(self, function: Any, args: tuple[Any, ...]) -> Any:
        if not isinstance(function, Global):
            raise FormatError(f"{self._place}: the pickle calls {type(function).__name__!r}, which is not a global")
        rebuild = _REBUILD.get(function.full)
        if rebuild is not None:
            return rebuild(*args)
        if function.module in ("builtins", "__builtin__") and function.name in PLAIN_BUILTINS:
            return _plain(function.name, args, self._place)
        if function.module.split(".")[0] in CODE_MODULES and not function.full.startswith("pathlib."):
            raise FormatError(
                f"{self._place}: the pickle calls {function.full}: it carries code, which was not run; "
                "expected tensors and plain containers. Ask its author for a state_dict or safetensors file"
            )
        return Inert(function.full, args)

    def load_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], tuple(args))

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_newobj(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], tuple(args))

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def load_newobj_ex(self) -> None:
        kwargs = self.stack.pop()
        args = self.stack.pop()
        made = self._call(self.stack[-1], tuple(args))
        if isinstance(made, Inert):
            made.items.update(kwargs)
        self.stack[-1] = made

    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex

    def _instantiate(self, klass: Any, args: Any) -> None:  # INST and OBJ of protocol 0
        self.append(self._call(klass, tuple(args)))

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Inert) and target.name.endswith(JOBLIB_ARRAY):
            self.stack[-1] = self._joblib_array(state)
        elif isinstance(target, Inert):
            target.state = state
        elif isinstance(target, Array):
            target.value = array_from_state(state, self._place)
        elif isinstance(target, Dtype):
            target.order = state[1]
        # An OrderedDict's attributes (torch puts _metadata there) say nothing about tensors.

    dispatch[pickle.BUILD[0]] = load_build

    def _joblib_array(self, state: Any) -> Any:
        """The array whose bytes joblib wrote behind the object that describes it; of objects, a pickle of its own stands there."""
        shape, dtype, place = tuple(state["shape"]), state["dtype"], self._place
        if isinstance(dtype, Dtype) and dtype.code.startswith("O"):
            return Reader(self._file, self._storage, place).load()
        if state.get("numpy_array_alignment_bytes") is not None:
            self._file.read(ord(self._file.read(1)))
        raw = self._file.read(prod(shape) * numpy_dtype(dtype, place).itemsize)
        return array_from_state((1, shape, dtype, state.get("order") == "F", raw), place)

    def load_bytearray8(self) -> None:  # the library's allocates what is claimed before it looks
        (count,) = struct.unpack("<Q", self.read(8))
        if count > MAX_PICKLE_BYTES:
            raise FormatError(f"{self._place}: a byte array of {count} bytes; expected at most {MAX_PICKLE_BYTES}")
        self.append(bytearray(self.read(count)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


def _plain(name: str, args: tuple[Any, ...], place: str) -> Any:
    if name == "object" or not args:
        return PLAIN_BUILTINS[name]() if name not in ("range", "xrange", "slice") else Inert(name)
    if name in ("bytes", "bytearray", "str") and not isinstance(args[0], (bytes, str, list)):
        raise FormatError(f"{place}: the pickle calls {name}({reprlib.repr(args[0])})")  # bytes(2**40) would allocate
    if name == "str" and isinstance(args[0], list):
        raise FormatError(f"{place}: the pickle calls str({reprlib.repr(args[0])})")
    if name in ("range", "xrange", "slice", "int") or (name == "bytes" and isinstance(args[0], str)):
        return Inert(f"builtins.{name}", args)
    return PLAIN_BUILTINS[name](*args)


def _rebuild_tensor(storage: Any, offset: int, size: Any, stride: Any, *_rest: Any) -> Tensor:
    if isinstance(storage, Inert):  # torch.storage.TypedStorage around an untyped one
        held = [v for v in [*storage.args, *(storage.items or {}).values()] if isinstance(v, Storage)]
        storage = held[0] if held else storage
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError(f"a tensor over {type(storage).__name__}, not a storage")
    return Tensor(storage, offset, tuple(size), tuple(stride))


def _rebuild_tensor_v3(
    storage: Any, offset: int, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *_rest: Any
) -> Tensor:
    tensor = _rebuild_tensor(storage, offset, size, stride)
    tensor.dtype = dtype_of_class(dtype, "a tensor")
    return tensor


def _rebuild_qtensor(storage: Any, offset: int, size: Any, stride: Any, quantizer: Any, *_rest: Any) -> Tensor:
    tensor = _rebuild_tensor(storage, offset, size, stride)
    tensor.quantizer = tuple(quantizer)
    return tensor


def _numpy_scalar(dtype: Any, raw: Any = b"") -> Any:
    if not isinstance(dtype, Dtype) or dtype.code[:1] not in "fiub?":
        return Inert("numpy.scalar", (raw,))
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(raw, numpy_dtype(dtype, "a scalar"), 1)[0]


def _numpy_frombuffer(raw: Any, dtype: Any, shape: Any, order: str) -> Array:
    made = Array()
    made.value = array_from_state((1, shape, dtype, order == "F", bytes(raw)), "an array")
    return made


def _encode(text: Any, encoding: Any = "utf-8") -> bytes:
    """_codecs.encode: how protocol 2 spells bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise pickle.UnpicklingError(f"_codecs.encode with {reprlib.repr(encoding)}")
    return text.encode(encoding)


_REBUILD: dict[str, Any] = {
    "collections.OrderedDict": lambda *a: (
        OrderedDict(*a) if not a or isinstance(a[0], (list, dict)) else Inert("OrderedDict", a)
    ),
    "collections.defaultdict": lambda *a: {},
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_qtensor": _rebuild_qtensor,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
    "torch._tensor._rebuild_from_type_v2": lambda func, kind, args, state: _from_type(func, args),
    "torch.jit._pickle.restore_type_tag": lambda value, _type: value,
    "torch.jit._pickle.build_intlist": lambda values: values,
    "torch.jit._pickle.build_doublelist": lambda values: values,
    "torch.jit._pickle.build_boollist": lambda values: values,
    "torch.jit._pickle.build_tensorlist": lambda values: values,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "torch.device": lambda *a: ":".join(str(v) if isinstance(v, (str, int)) else "" for v in a),
    "torch.serialization._get_layout": lambda name: name,
    "_codecs.encode": _encode,
    "numpy.dtype": lambda code, *_: Dtype(code),
    "numpy.ndarray": lambda *_: Array(),
}
for _core in ("numpy.core", "numpy._core"):
    _REBUILD[f"{_core}.multiarray._reconstruct"] = lambda *_: Array()
    _REBUILD[f"{_core}.multiarray.scalar"] = _numpy_scalar
    _REBUILD[f"{_core}.numeric._frombuffer"] = _numpy_frombuffer


def _from_type(function: Any, args: tuple[Any, ...]) -> Any:
    rebuild = _REBUILD.get(function.full) if isinstance(function, Global) else None
    return rebuild(*args) if rebuild else Inert(type(function).__name__, args)


def below(root: Any, parts_of: Callable[[Any], Mapping[Any, Any]]) -> Iterator[tuple[str, Any]]:
    """A value and what is in it, as `parts_of` says, in order and by paths joined with dots; the value's own is ''.

    FormatError for more than MAX_PARTS or MAX_NESTED: a small pickle may hold one object in exponentially many places, and
    in itself.
    """
    waiting = [("", root, 0)]
    for _ in range(MAX_PARTS):
        if not waiting:
            return
        path, value, depth = waiting.pop()
        if depth > MAX_NESTED:
            break
        yield path, value
        parts = reversed(list(parts_of(value).items()))
        waiting += [(f"{path}.{name}" if path else str(name), part, depth + 1) for name, part in parts]
    raise FormatError(f"an object of more than {MAX_PARTS} parts, or nested more than {MAX_NESTED} deep")


def finish(value: Any, place: str) -> Any:
    """Replaces every pending tensor and array inside `value` in place; linear in the number of objects."""
    done: dict[int, Any] = {}  # a tuple may stand in exponentially many places
    keep: list[Any] = []  # ids in `done` stay valid while their objects live

    def convert(v: Any) -> Any:
        if isinstance(v, Tensor):
            if id(v) not in done:
                keep.append(v)
                done[id(v)] = materialise(v, place)
            return done[id(v)]
        if isinstance(v, Array):
            return v.value
        if isinstance(v, tuple) and any(isinstance(e, (Tensor, Array, tuple)) for e in v):
            if id(v) not in done:
                keep.append(v)
                done[id(v)] = tuple(convert(e) for e in v)
            return done[id(v)]
        return v

    root = [value]
    stack: list[Any] = [root]
    seen: set[int] = set()
    while stack:
        v = stack.pop()
        if id(v) in seen:
            continue
        seen.add(id(v))
        keep.append(v)
        if isinstance(v, dict):
            for k in v:
                v[k] = convert(v[k])
            stack.extend(v.values())
        elif isinstance(v, list):
            v[:] = [convert(e) for e in v]
            stack.extend(v)
        elif isinstance(v, tuple):
            stack.extend(v)
        elif isinstance(v, Inert):
            v.state, v.args = convert(v.state), convert(v.args)
            stack.extend([v.state, v.items, v.args])
    return root[0]
