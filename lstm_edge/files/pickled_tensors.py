"""Tensors and arrays as pickles spell them: storages, strides and NumPy's states, checked against the bytes that are there."""

from __future__ import annotations

import operator
import reprlib
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from .. import memory
from ..errors import FormatError, UnsupportedModelError

MAX_EXPANDED = 1 << 24  # elements of a tensor that repeats its storage by strides of 0

# Element types by the name of a storage class or of a torch dtype's other name: torch's names, which are NumPy's but for bfloat16.
DTYPES = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "bfloat16": "bfloat16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "char": "int8",
    "byte": "uint8",
    "bool": "bool",
    "untyped": "uint8",
    "qint8": "int8",
    "quint8": "uint8",
    "qint32": "int32",
}


@dataclass(frozen=True)
class Global:
    """A class or function by its name, never looked up."""

    module: str
    name: str

    @property
    def full(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Storage:
    """Raw bytes in the file; `data` is filled by whoever knows where they lie."""

    dtype: str
    numel: int
    data: np.ndarray | None = None  # 1-D, of `dtype` (bfloat16: uint16)
    key: str = ""


@dataclass(eq=False)
class Tensor:
    """A tensor whose storage may not have been read yet."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str = ""  # given where the storage is untyped
    quantizer: tuple[Any, ...] = ()  # kind, scale, zero point, or kind, scales, zero points, axis; () for plain numbers


class Array:
    """numpy's _reconstruct result while its state is still to come."""

    def __init__(self) -> None:
        self.value: np.ndarray | list[Any] | None = None


class Dtype:
    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="


def dtype_of_class(kind: Any, place: str) -> str:
    name = kind.name if isinstance(kind, Global) else kind if isinstance(kind, str) else reprlib.repr(kind)
    if isinstance(kind, Global) and kind.module == "torch" and name in DTYPES.values():
        return name
    dtype = DTYPES.get(name.removesuffix("Storage").removesuffix("Tensor").lower())
    if dtype is None:
        raise UnsupportedModelError(
            f"{place}: tensors of type {name} are not read: expected one of "
            f"{', '.join(DTYPES.values())}; convert the checkpoint to float32"
        )
    return dtype


def _stored(kind: str, big: bool = False) -> np.dtype[Any]:
    """How elements lie in a file: those of bfloat16 as 16 bits, which are widened when the tensor is made."""
    return np.dtype("uint16" if kind == "bfloat16" else kind).newbyteorder(">" if big else "<")


def itemsize(kind: str) -> int:
    return _stored(kind).itemsize


def elements(raw: bytes, kind: str, numel: int, big: bool = False) -> np.ndarray:
    return memory.hold(np.frombuffer(raw, _stored(kind, big), numel)) if numel else np.zeros(0, _stored(kind, big))


def widened(bits: np.ndarray) -> np.ndarray:
    """bfloat16, given as 16 bits an element, as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def materialise(t: Tensor, place: str) -> np.ndarray:
    s, kind = t.storage, t.dtype or t.storage.dtype
    if s.data is None:
        raise FormatError(f"{place}: a tensor names storage {s.key}, which is not in the file")
    data = s.data
    if t.dtype and s.dtype == "uint8" and t.dtype != "uint8":  # untyped storage: reinterpret
        whole = len(data) // itemsize(kind) * itemsize(kind)
        data = data[:whole].view(_stored(kind))
    ints = [*t.size, *t.stride, t.offset]
    if len(t.size) != len(t.stride) or len(t.size) > 32 or any(not isinstance(v, int) or v < 0 for v in ints):
        raise FormatError(
            f"{place}: a tensor over storage {s.key} with size {reprlib.repr(t.size)}, stride {reprlib.repr(t.stride)}, "
            f"offset {reprlib.repr(t.offset)}"
        )
    numel = prod(t.size)
    last = t.offset + sum((n - 1) * k for n, k in zip(t.size, t.stride)) if numel else 0
    if last >= max(len(data), 1) or numel > max(len(data), MAX_EXPANDED):
        raise FormatError(
            f"{place}: a tensor of size {t.size}, stride {t.stride}, offset {t.offset} does not fit its "
            f"storage {s.key} of {len(data)} elements"
        )
    if not numel:
        return np.zeros(t.size, np.float32 if kind == "bfloat16" else kind)
    strides = [k * data.itemsize for k in t.stride]
    view = np.lib.stride_tricks.as_strided(data[t.offset :], t.size, strides, writeable=False)
    memory.foresee(numel * (data.itemsize + 8 * (kind == "bfloat16") + 20 * bool(t.quantizer)), place)
    if kind == "bfloat16":
        return memory.hold(widened(view), place)
    plain = np.array(view, dtype=np.dtype(kind), order="C")
    return memory.hold(dequantized(plain, t.quantizer, place) if t.quantizer else plain, place)


def dequantized(integers: np.ndarray, quantizer: tuple[Any, ...], place: str) -> np.ndarray:
    """The float32 numbers that a quantised tensor's integers stand for."""
    kind = getattr(quantizer[0], "name", quantizer[0])
    scale, zero = (_scales(v, place) for v in quantizer[1:3])
    along = [1] * integers.ndim
    if kind in ("per_channel_affine", "per_channel_affine_float_qparams"):
        axis = operator.index(quantizer[3])
        along[axis] = integers.shape[axis]
    elif kind != "per_tensor_affine":
        raise UnsupportedModelError(
            f"{place}: a tensor quantised as {str(kind)[:40]}: expected one scale for all or one per channel"
        )
    if not scale.size == zero.size == prod(along):
        raise FormatError(
            f"{place}: a tensor quantised as {kind}: expected {prod(along)} scales and zero points, found {scale.size} and "
            f"{zero.size}"
        )
    scale, zero = scale.reshape(along), zero.reshape(along)
    if kind == "per_channel_affine_float_qparams":
        return np.asarray(integers * scale + zero, np.float32)
    return np.asarray((integers - zero) * scale, np.float32)


def _scales(value: Any, place: str) -> np.ndarray:
    """Scales or zero points: a number or a tensor, which is not quantised itself."""
    if isinstance(value, Tensor) and value.quantizer:
        raise FormatError(f"{place}: a tensor whose scales are quantised themselves")
    return np.asarray(materialise(value, place) if isinstance(value, Tensor) else value).astype(np.float64)


def array_from_state(state: Any, place: str) -> np.ndarray | list[Any]:
    """(version, shape, dtype, is_fortran, bytes, or a list of objects) of ndarray.__reduce__."""
    shape, dtype, fortran, raw = state[1:] if len(state) == 5 else state
    if isinstance(raw, list) and len(raw) == prod(shape):  # an object array: its objects
        return raw
    resolved = numpy_dtype(dtype, place)
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(raw, (bytes, bytearray)) or len(raw) != prod(shape) * resolved.itemsize:
        raise FormatError(
            f"{place}: an array of shape {reprlib.repr(shape)} and dtype {resolved}: expected "
            f"{prod(shape) * resolved.itemsize} bytes, found {len(raw) if hasattr(raw, '__len__') else type(raw).__name__}"
        )
    array = np.frombuffer(raw, resolved).reshape(shape, order="F" if fortran else "C")
    memory.foresee(array.nbytes, place)
    return memory.hold(np.array(array, resolved.newbyteorder("="), order="C"), place)


def numpy_dtype(dtype: Any, place: str) -> np.dtype:
    code = dtype.code if isinstance(dtype, Dtype) else dtype
    if not isinstance(code, str) or code.lstrip("<>|=")[:1] not in "fiub?":
        raise UnsupportedModelError(
            f"{place}: an array of dtype {reprlib.repr(code)}: expected floats, integers or bools"
        )
    resolved = np.dtype(code)
    if isinstance(dtype, Dtype) and dtype.order in "<>":
        return resolved.newbyteorder(">" if dtype.order == ">" else "<")
    return resolved.newbyteorder("=")
