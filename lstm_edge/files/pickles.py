"""Reads what torch.save and pickle wrote, without torch and without running anything the file names.

A pickle is a program for a stack machine that may call any importable function. Here every global it names becomes an
inert placeholder; only the few functions below, which rebuild tensors, arrays and plain containers, are ever called,
and they are this file's own. What was claimed (sizes, strides, offsets) is checked against the bytes that are there.
"""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import FormatError, UnsupportedModelError
from .zips import read_entry

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
MAX_PICKLE_BYTES = 256 << 20  # an optimizer's or a plain array pickle; zip checkpoints keep tensors outside
MAX_EXPANDED = 1 << 24  # elements of a tensor that repeats its storage by strides of 0

# Element types by the name of the storage class or torch dtype. bfloat16 is widened when the tensor is made.
STORAGE_DTYPES = {
    "Float": "f4",
    "Double": "f8",
    "Half": "f2",
    "BFloat16": "bf16",
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
    "Untyped": "u1",
}
TORCH_DTYPES = {
    "float32": "f4",
    "float": "f4",
    "float64": "f8",
    "double": "f8",
    "float16": "f2",
    "half": "f2",
    "bfloat16": "bf16",
    "int64": "i8",
    "long": "i8",
    "int32": "i4",
    "int": "i4",
    "int16": "i2",
    "short": "i2",
    "int8": "i1",
    "uint8": "u1",
    "bool": "?",
}
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


@dataclass(frozen=True)
class _Global:
    module: str
    name: str

    @property
    def full(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class _Storage:
    """Raw bytes in the file; `data` is filled by whoever knows where they lie."""

    dtype: str
    numel: int
    data: np.ndarray | None = None  # 1-D, of `dtype` (bfloat16: uint16)
    key: str = ""


@dataclass(eq=False)
class _Tensor:
    """A tensor whose storage may not have been read yet."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str = ""  # given where the storage is untyped


class _Array:
    """numpy's _reconstruct result while its state is still to come."""

    def __init__(self) -> None:
        self.value: np.ndarray | list[Any] | None = None


class _Dtype:
    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="


def load(source: str | Path | bytes, place: str = "", part: str = "data") -> Any:
    """The object in a file of torch.save (zip, or the stream of pickles before torch 1.6, or the tar before 0.2) or in
    a plain pickle: dicts, lists, numbers, strings, NumPy arrays for tensors, `Inert` for everything else.

    bfloat16 tensors become float32; every other dtype stays. FormatError: damaged, or the pickle calls code.
    """
    place = place or (str(source) if not isinstance(source, bytes) else "bytes")
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        if data[:4] == b"PK\x03\x04":
            return _load_zip(data, place, part)
        if len(data) > 262 and data[257:262] == b"ustar":
            return _load_tar(data, place)
        return _load_stream(data, place)
    except (
        pickle.UnpicklingError,
        EOFError,
        IndexError,
        KeyError,
        AttributeError,
        TypeError,
        ValueError,
        struct.error,
        zipfile.BadZipFile,
        tarfile.TarError,
        MemoryError,
        OverflowError,
        RecursionError,
        NotImplementedError,
    ) as e:
        if isinstance(e, (FormatError, UnsupportedModelError)):
            raise
        raise FormatError(f"{place}: not a readable torch checkpoint or pickle ({type(e).__name__}: {e})") from e


# ---- containers -----------------------------------------------------------------------------------------------------


def _load_zip(data: bytes, place: str, part: str = "data") -> Any:
    """The object of `part`.pkl, whose tensors lie in the folder `part`. TorchScript has a second part, constants."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {i.filename: i for i in archive.infolist()}
        mains = [n for n in entries if n.rsplit("/", 1)[-1] == f"{part}.pkl"]
        if not mains:
            raise FormatError(
                f"{place}: a zip archive without {part}.pkl: expected a file of torch.save, found "
                f"{', '.join(list(entries)[:5])}"
            )
        root = mains[0][: -len(f"{part}.pkl")]
        order = archive.read(entries[root + "byteorder"])[:6] if root + "byteorder" in entries else b"little"
        big = order == b"big"
        read: dict[str, _Storage] = {}

        def storage(pid: tuple[Any, ...]) -> _Storage:
            kind, key, numel = _storage_id(pid, place)
            if key not in read:
                info = entries.get(f"{root}{part}/{key}")
                if info is None:
                    raise FormatError(f"{place}: storage {key} is named in {part}.pkl but has no entry in the archive")
                claimed = numel * _itemsize(kind)
                if info.file_size < claimed:
                    raise FormatError(
                        f"{place}: storage {key}: expected {claimed} bytes for {numel} elements, found {info.file_size}"
                    )
                raw = read_entry(archive, info, place)
                read[key] = _Storage(kind, numel, _elements(raw, kind, numel, big), key)
            return read[key]

        return _finish(_Reader(io.BytesIO(read_entry(archive, entries[mains[0]], place)), storage, place).load(), place)


def _load_stream(data: bytes, place: str) -> Any:
    """Magic, protocol, system, the object, the list of storage keys, the storages: the format before torch 1.6.
    Without the magic, a plain pickle."""
    file = io.BytesIO(data)
    storages: dict[str, _Storage] = {}

    def storage(pid: tuple[Any, ...]) -> Any:
        kind, key, numel = _storage_id(pid, place)
        if key not in storages:
            storages[key] = _Storage(kind, numel, key=key)
        return storages[key]

    if len(data) > MAX_PICKLE_BYTES and not data.startswith(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."):
        raise FormatError(f"{place}: a plain pickle of {len(data)} bytes; expected at most {MAX_PICKLE_BYTES}")
    first = _Reader(file, storage, place).load()
    if first != LEGACY_MAGIC or isinstance(first, bool):
        return _finish(first, place)
    _Reader(file, storage, place).load()  # protocol
    system = _Reader(file, storage, place).load()
    big = isinstance(system, dict) and system.get("little_endian") is False
    value = _Reader(file, storage, place).load()
    for key in _Reader(file, storage, place).load():
        held = storages.get(str(key))
        (numel,) = struct.unpack(">q" if big else "<q", file.read(8))
        if held is None:
            raise FormatError(f"{place}: storage {key} is in the file but no tensor names it")
        if numel != held.numel:
            raise FormatError(f"{place}: storage {key}: expected {held.numel} elements, found {numel}")
        held.data = _elements(_take(file, numel * _itemsize(held.dtype), place), held.dtype, numel, big)
    return _finish(value, place)


def _load_tar(data: bytes, place: str) -> Any:
    """The tar of torch before 0.2: members storages, tensors, pickle."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:

        def member(name: str) -> io.BytesIO:
            found = archive.extractfile(name)
            if found is None:
                raise FormatError(f"{place}: a tar archive without the member {name!r} of torch.save")
            return io.BytesIO(found.read())

        def no_storage(pid: Any) -> Any:
            raise FormatError(f"{place}: unexpected reference {pid!r}")

        storages: dict[str, _Storage] = {}
        file = member("storages")
        for _ in range(_Reader(file, no_storage, place).load()):
            key, _location, kind_global = _Reader(file, no_storage, place).load()
            kind = _dtype_of_class(kind_global, place)
            (numel,) = struct.unpack("<q", file.read(8))
            raw = _take(file, numel * _itemsize(kind), place)
            storages[str(key)] = _Storage(kind, numel, _elements(raw, kind, numel, False), str(key))
        views = _Reader(file, no_storage, place).load()
        if views:
            raise UnsupportedModelError(
                f"{place}: storages that are views of storages; load it with torch and save it again"
            )
        tensors: dict[str, _Tensor] = {}
        file = member("tensors")
        for _ in range(_Reader(file, no_storage, place).load()):
            key, storage_key, _kind = _Reader(file, no_storage, place).load()
            (ndim,) = struct.unpack("<i", file.read(4))
            file.read(4)
            sizes = struct.unpack(f"<{ndim}q", _take(file, 8 * ndim, place))
            strides = struct.unpack(f"<{ndim}q", _take(file, 8 * ndim, place))
            (offset,) = struct.unpack("<q", file.read(8))
            tensors[str(key)] = _Tensor(storages[str(storage_key)], offset, sizes, strides)
        return _finish(_Reader(member("pickle"), lambda pid: tensors[str(pid)], place).load(), place)


def _take(file: io.BytesIO, count: int, place: str) -> bytes:
    left = file.getbuffer().nbytes - file.tell()
    if count < 0 or count > left:
        raise FormatError(f"{place}: expected {count} more bytes, found {left}: the file is truncated")
    return file.read(count)


def _storage_id(pid: Any, place: str) -> tuple[str, str, int]:
    """(dtype, key, numel) of a persistent id ('storage', class, key, location, numel[, view])."""
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] not in ("storage", b"storage"):
        raise FormatError(
            f"{place}: unknown reference {str(pid)[:80]}: expected ('storage', type, key, location, numel)"
        )
    if len(pid) > 5 and pid[5] is not None:
        raise UnsupportedModelError(
            f"{place}: storage {pid[2]} is a view of a storage; load it with torch and save it again"
        )
    numel = pid[4]
    if not isinstance(numel, int) or numel < 0:
        raise FormatError(f"{place}: storage {pid[2]}: expected a number of elements, found {numel!r}")
    return _dtype_of_class(pid[1], place), str(pid[2]), numel


def _dtype_of_class(kind: Any, place: str) -> str:
    name = kind.name if isinstance(kind, _Global) else str(kind)
    if isinstance(kind, _Global) and kind.module == "torch" and name in TORCH_DTYPES:
        return TORCH_DTYPES[name]
    dtype = STORAGE_DTYPES.get(name.removesuffix("Storage").removesuffix("Tensor"))
    if dtype is None:
        raise UnsupportedModelError(
            f"{place}: tensors of type {name} are not read: expected one of "
            f"{', '.join(STORAGE_DTYPES)}; convert the checkpoint to float32"
        )
    return dtype


def _itemsize(kind: str) -> int:
    return 2 if kind == "bf16" else np.dtype(kind).itemsize


def _elements(raw: bytes, kind: str, numel: int, big: bool) -> np.ndarray:
    dtype = np.dtype("u2" if kind == "bf16" else kind).newbyteorder(">" if big else "<")
    return np.frombuffer(raw, dtype, numel)


# ---- tensors --------------------------------------------------------------------------------------------------------


def _materialise(t: _Tensor, place: str) -> np.ndarray:
    s, kind = t.storage, t.dtype or t.storage.dtype
    if s.data is None:
        raise FormatError(f"{place}: a tensor names storage {s.key}, which is not in the file")
    data = s.data
    if t.dtype and s.dtype == "u1" and t.dtype != "u1":  # untyped storage: reinterpret
        whole = len(data) // _itemsize(kind) * _itemsize(kind)
        data = data[:whole].view(np.dtype("u2" if kind == "bf16" else kind).newbyteorder("<"))
    ints = [*t.size, *t.stride, t.offset]
    if len(t.size) != len(t.stride) or len(t.size) > 32 or any(not isinstance(v, int) or v < 0 for v in ints):
        raise FormatError(
            f"{place}: a tensor over storage {s.key} with size {t.size}, stride {t.stride}, offset {t.offset}"
        )
    numel = prod(t.size)
    last = t.offset + sum((n - 1) * k for n, k in zip(t.size, t.stride)) if numel else 0
    if last >= max(len(data), 1) or numel > max(len(data), MAX_EXPANDED):
        raise FormatError(
            f"{place}: a tensor of size {t.size}, stride {t.stride}, offset {t.offset} does not fit its "
            f"storage {s.key} of {len(data)} elements"
        )
    if not numel:
        return np.zeros(t.size, np.float32 if kind == "bf16" else kind)
    strides = [k * data.itemsize for k in t.stride]
    view = np.lib.stride_tricks.as_strided(data[t.offset :], t.size, strides, writeable=False)
    if kind == "bf16":
        return (view.astype(np.uint32) << 16).view(np.float32)
    return np.array(view, dtype=np.dtype(kind), order="C")


def _finish(value: Any, place: str) -> Any:
    """Replaces every pending tensor and array inside `value` in place; linear in the number of objects."""
    done: dict[int, Any] = {}
    keep: list[Any] = []  # ids in `done` stay valid while their objects live

    def convert(v: Any) -> Any:
        if isinstance(v, _Tensor):
            if id(v) not in done:
                keep.append(v)
                done[id(v)] = _materialise(v, place)
            return done[id(v)]
        if isinstance(v, _Array):
            return v.value
        if isinstance(v, tuple) and any(isinstance(e, (_Tensor, _Array, tuple)) for e in v):
            return tuple(convert(e) for e in v)
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


# ---- the pickle machine ---------------------------------------------------------------------------------------------


class _Reader(pickle._Unpickler):  # the pure Python one: its memo is a dict, so a huge memo index costs nothing
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]  # this and the next two are the library's, which its type stubs leave out
    append: Callable[[Any], None]
    read: Callable[[int], bytes]

    def __init__(self, file: io.BytesIO, storage: Any, place: str) -> None:
        super().__init__(file, encoding="latin1")
        self._storage, self._place = storage, place

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) > 1 and pid[0] == "module":  # a class with its source, before torch 1.6
            return pid[1]
        return self._storage(pid)

    def find_class(self, module: str, name: str) -> Any:
        return _Global(module, name)

    def get_extension(self, code: int) -> None:
        raise FormatError(f"{self._place}: the pickle uses extension code {code}; expected none")

    def _call(self, function: Any, args: tuple[Any, ...]) -> Any:
        if not isinstance(function, _Global):
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
        if isinstance(target, Inert):
            target.state = state
        elif isinstance(target, _Array):
            target.value = _array_from_state(state, self._place)
        elif isinstance(target, _Dtype):
            target.order = state[1]
        # An OrderedDict's attributes (torch puts _metadata there) say nothing about tensors.

    dispatch[pickle.BUILD[0]] = load_build

    def load_bytearray8(self) -> None:  # the library's allocates what is claimed before it looks
        (count,) = struct.unpack("<Q", self.read(8))
        if count > MAX_PICKLE_BYTES:
            raise FormatError(f"{self._place}: a byte array of {count} bytes; expected at most {MAX_PICKLE_BYTES}")
        self.append(bytearray(self.read(count)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


def _plain(name: str, args: tuple[Any, ...], place: str) -> Any:
    if name == "object" or not args:
        return PLAIN_BUILTINS[name]() if name not in ("range", "slice") else Inert(name)
    if name in ("bytes", "bytearray", "str") and not isinstance(args[0], (bytes, str, list)):
        raise FormatError(f"{place}: the pickle calls {name}({args[0]!r})")  # bytes(2**40) would allocate
    if name in ("range", "slice", "int") or (name == "bytes" and isinstance(args[0], str)):
        return Inert(f"builtins.{name}", args)
    return PLAIN_BUILTINS[name](*args)


def _rebuild_tensor(storage: Any, offset: int, size: Any, stride: Any, *_rest: Any) -> _Tensor:
    if isinstance(storage, Inert):  # torch.storage.TypedStorage around an untyped one
        held = [v for v in [*storage.args, *(storage.items or {}).values()] if isinstance(v, _Storage)]
        storage = held[0] if held else storage
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError(f"a tensor over {type(storage).__name__}, not a storage")
    return _Tensor(storage, offset, tuple(size), tuple(stride))


def _rebuild_tensor_v3(
    storage: Any, offset: int, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *_rest: Any
) -> _Tensor:
    tensor = _rebuild_tensor(storage, offset, size, stride)
    tensor.dtype = _dtype_of_class(dtype, "a tensor")
    return tensor


def _array_from_state(state: Any, place: str) -> np.ndarray | list[Any]:
    """(version, shape, dtype, is_fortran, bytes, or a list of objects) of ndarray.__reduce__."""
    shape, dtype, fortran, raw = state[1:] if len(state) == 5 else state
    if isinstance(raw, list) and len(raw) == prod(shape):  # an object array: its objects
        return raw
    resolved = _numpy_dtype(dtype, place)
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(raw, (bytes, bytearray)) or len(raw) != prod(shape) * resolved.itemsize:
        raise FormatError(
            f"{place}: an array of shape {shape} and dtype {resolved}: expected "
            f"{prod(shape) * resolved.itemsize} bytes, found {len(raw) if hasattr(raw, '__len__') else raw!r}"
        )
    array = np.frombuffer(bytes(raw), resolved).reshape(shape, order="F" if fortran else "C")
    return np.array(array.astype(resolved.newbyteorder("=")), order="C")


def _numpy_dtype(dtype: Any, place: str) -> np.dtype:
    code = dtype.code if isinstance(dtype, _Dtype) else dtype
    if not isinstance(code, str) or code.lstrip("<>|=")[:1] not in "fiub?":
        raise UnsupportedModelError(f"{place}: an array of dtype {code!r}: expected floats, integers or bools")
    resolved = np.dtype(code)
    if isinstance(dtype, _Dtype) and dtype.order in "<>":
        return resolved.newbyteorder(">" if dtype.order == ">" else "<")
    return resolved.newbyteorder("=")


def _numpy_scalar(dtype: Any, raw: Any = b"") -> Any:
    if not isinstance(dtype, _Dtype) or dtype.code[:1] not in "fiub?":
        return Inert("numpy.scalar", (raw,))
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(raw, _numpy_dtype(dtype, "a scalar"), 1)[0]


def _numpy_frombuffer(raw: Any, dtype: Any, shape: Any, order: str) -> _Array:
    made = _Array()
    made.value = _array_from_state((1, shape, dtype, order == "F", bytes(raw)), "an array")
    return made


def _encode(text: Any, encoding: Any = "utf-8") -> bytes:
    """_codecs.encode: how protocol 2 spells bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise pickle.UnpicklingError(f"_codecs.encode with {encoding!r}")
    return text.encode(encoding)


_REBUILD: dict[str, Any] = {
    "collections.OrderedDict": lambda *a: (
        OrderedDict(*a) if not a or isinstance(a[0], (list, dict)) else Inert("OrderedDict", a)
    ),
    "collections.defaultdict": lambda *a: {},
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
    "torch._tensor._rebuild_from_type_v2": lambda func, kind, args, state: _from_type(func, args),
    "torch.jit._pickle.restore_type_tag": lambda value, _type: value,
    "torch.jit._pickle.build_intlist": lambda values: values,
    "torch.jit._pickle.build_doublelist": lambda values: values,
    "torch.jit._pickle.build_boollist": lambda values: values,
    "torch.jit._pickle.build_tensorlist": lambda values: values,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "torch.device": lambda *a: ":".join(map(str, a)),
    "torch.serialization._get_layout": lambda name: name,
    "_codecs.encode": _encode,
    "numpy.dtype": lambda code, *_: _Dtype(code),
    "numpy.ndarray": lambda *_: _Array(),
}
for _core in ("numpy.core", "numpy._core"):
    _REBUILD[f"{_core}.multiarray._reconstruct"] = lambda *_: _Array()
    _REBUILD[f"{_core}.multiarray.scalar"] = _numpy_scalar
    _REBUILD[f"{_core}.numeric._frombuffer"] = _numpy_frombuffer


def _from_type(function: Any, args: tuple[Any, ...]) -> Any:
    rebuild = _REBUILD.get(function.full) if isinstance(function, _Global) else None
    return rebuild(*args) if rebuild else Inert(str(function), args)
