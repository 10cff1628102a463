"""Reading a .tflite file: its flatbuffer tables as plain dataclasses, every offset and length checked before use.

Tables are read by field slot through the `flatbuffers` runtime; the slots are those of TFLite's public schema.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ... import memory
from ...errors import FormatError, UnsupportedModelError
from .names import OPERATORS
from .options import OPTIONS

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
MAX_RANK = 8
MAX_READ = 1 << 23  # bytes of tables; what may take a second to read
TABLE_COST = 24
TABLE_BYTES = 600  # of memory, for what is made of it

# Element types in the order of the schema: name, NumPy dtype of the stored data (None: not stored as an array).
TYPES: list[tuple[str, Any]] = [
    ("float32", "<f4"),
    ("float16", "<f2"),
    ("int32", "<i4"),
    ("uint8", "u1"),
    ("int64", "<i8"),
    ("string", None),
    ("bool", "?"),
    ("int16", "<i2"),
    ("complex64", None),
    ("int8", "i1"),
    ("float64", "<f8"),
    ("complex128", None),
    ("uint64", "<u8"),
    ("resource", None),
    ("variant", None),
    ("uint32", "<u4"),
    ("uint16", "<u2"),
    ("int4", None),
    ("bfloat16", None),
    ("int2", None),
    ("uint4", None),
]


@dataclass
class Quantization:
    """real = scale * (stored - zero_point), per tensor or along axis `dim`."""

    scale: np.ndarray  # float32 (n,)
    zero_point: np.ndarray  # int64 (n,)
    dim: int

    def same(self, other: Quantization | None) -> bool:
        return (
            other is not None
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
            and (self.dim == other.dim or self.scale.size == 1)
        )


@dataclass
class TensorInfo:
    """A tensor as the file declares it. `shape` has the sizes of the export, `signature` -1 where one is open."""

    index: int
    name: str
    dtype: str
    shape: list[int]
    signature: list[int]
    is_variable: bool
    quantization: Quantization | None
    data: np.ndarray | None  # raw bytes (uint8), None when it is no constant
    sparse: bool

    @property
    def place(self) -> str:
        return f"tensor {self.index} {self.name!r}"

    @cached_property
    def array(self) -> np.ndarray:
        """The stored elements of a constant; float16, bfloat16 and 4-bit integers widened."""
        if self.data is None:
            raise FormatError(f"{self.place}: no data, where a constant is expected")
        if self.sparse:
            raise UnsupportedModelError(
                f"{self.place}: sparse weights are not supported; convert the model with dense ones"
            )
        count = prod(self.shape)
        stored = dict(TYPES)[self.dtype]
        if self.dtype in ("int4", "uint4"):
            return _nibbles(self, count)
        if self.dtype == "bfloat16":
            stored = "<u2"
        if stored is None:
            raise UnsupportedModelError(f"{self.place}: constants of {self.dtype} are not supported")
        dtype = np.dtype(stored)
        if count * dtype.itemsize != self.data.size:
            raise FormatError(
                f"{self.place}: shape {self.shape} of {self.dtype}: expected {count * dtype.itemsize} bytes, "
                f"found {self.data.size}"
            )
        array = self.data.view(dtype) if dtype.itemsize == 1 else np.frombuffer(self.data.tobytes(), dtype)
        if self.dtype == "bfloat16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        if self.dtype == "float16":
            array = array.astype(np.float32)
        if self.dtype == "bool":
            array = array.view(np.uint8) != 0
        return array.reshape(self.shape)


def _nibbles(tensor: TensorInfo, count: int) -> np.ndarray:
    """4-bit integers, the first of a pair in the low half of its byte."""
    assert tensor.data is not None
    if tensor.data.size != (count + 1) // 2:
        raise FormatError(
            f"{tensor.place}: shape {tensor.shape} of {tensor.dtype}: expected {(count + 1) // 2} bytes, "
            f"found {tensor.data.size}"
        )
    low, high = tensor.data & 15, tensor.data >> 4
    values = np.stack([low, high], 1).reshape(-1)[:count].astype(np.int8)
    if tensor.dtype == "int4":
        values = np.where(values > 7, values - 16, values).astype(np.int8)
    return values.reshape(tensor.shape)


@dataclass
class Operator:
    """One operator: its kind (`CUSTOM` ones by their own name), tensors (-1: absent) and options."""

    index: int
    kind: str
    inputs: list[int]
    outputs: list[int]
    intermediates: list[int]
    options: dict[str, Any]


@dataclass
class SubGraph:
    name: str
    tensors: list[TensorInfo]
    inputs: list[int]
    outputs: list[int]
    operators: list[Operator]


@dataclass
class Signature:
    """Names for inputs and outputs: tensor index -> name."""

    key: str
    subgraph: int
    inputs: dict[int, str]
    outputs: dict[int, str]


@dataclass
class ModelFile:
    description: str
    subgraphs: list[SubGraph]
    signatures: list[Signature] = field(default_factory=list)


def load(source: Any) -> ModelFile:
    """The content of a .tflite file: a path or its bytes. FormatError for damaged ones."""
    data = bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) else Path(source).read_bytes()
    if len(data) < 16 or data[4:8] != IDENTIFIER:
        raise FormatError(f"not a .tflite file: expected the identifier {IDENTIFIER!r} at byte 4, found {data[4:8]!r}")
    try:
        return _model(_Buffer(data).root())
    except (struct.error, IndexError, TypeError, OverflowError, MemoryError) as e:
        raise FormatError(f"damaged .tflite file: {type(e).__name__}: {e}") from e


# ---- tables ----------------------------------------------------------------------------------------------------------


class _Buffer:
    """The bytes, and how much more may be read of them.

    Offsets may share what they point to, so that a small file can ask for quadratic work: the sum of what is read as
    tables, strings and vectors of numbers is bounded (files seen need 1.1 times their size). Weights are not copied and
    not counted.
    """

    def __init__(self, data: bytes):
        self.data = data
        self.array = np.frombuffer(data, np.uint8)
        self.left = min(4 * len(data) + 65536, MAX_READ)

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise FormatError("damaged .tflite file: its tables overlap without end")

    def root(self) -> _Table:
        from flatbuffers import encode, number_types

        return _Table(self, encode.Get(number_types.UOffsetTFlags.packer_type, self.data, 0))


class _Table:
    """One flatbuffer table with checked access by slot."""

    def __init__(self, buffer: _Buffer, position: int):
        from flatbuffers import number_types
        from flatbuffers.table import Table

        if not 4 <= position <= len(buffer.data) - 4:
            raise FormatError(f"damaged .tflite file: a table at byte {position} of {len(buffer.data)}")
        buffer.spend(TABLE_COST)
        memory.take(TABLE_BYTES, "the tables")
        self._buffer, self._types, self._table = buffer, number_types, Table(buffer.data, position)
        start = position - self._table.Get(number_types.SOffsetTFlags, position)
        if not 0 <= start <= len(buffer.data) - 4:
            raise FormatError(f"damaged .tflite file: the field table of byte {position} lies at byte {start}")
        self.slots = (self._table.Get(number_types.VOffsetTFlags, start) - 4) // 2

    def _at(self, slot: int) -> int:
        """Absolute position of a field, 0 when absent."""
        offset = self._table.Offset(4 + 2 * slot)
        return self._table.Pos + offset if offset else 0

    def has(self, slot: int) -> bool:
        return bool(self._at(slot))

    def scalar(self, slot: int, kind: str, default: Any) -> Any:
        flags = {
            "i8": "Int8Flags",
            "u8": "Uint8Flags",
            "i32": "Int32Flags",
            "u32": "Uint32Flags",
            "u64": "Uint64Flags",
            "f32": "Float32Flags",
            "bool": "BoolFlags",
        }[kind]
        position = self._at(slot)
        return self._table.Get(getattr(self._types, flags), position) if position else default

    def _vector(self, slot: int, itemsize: int) -> tuple[int, int]:
        """(first byte, number of elements) of a vector, checked to lie in the file."""
        position = self._at(slot)
        if not position:
            return 0, 0
        start = self._table.Indirect(position)
        count = self._table.Get(self._types.UOffsetTFlags, start)
        if start < 4 or start + 4 + count * itemsize > len(self._buffer.data):
            raise FormatError(
                f"damaged .tflite file: {count} elements of {itemsize} bytes at byte {start} pass its end"
            )
        return start + 4, count

    def numbers(self, slot: int, dtype: str) -> np.ndarray:
        """A vector of numbers, empty when absent."""
        itemsize = np.dtype(dtype).itemsize
        start, count = self._vector(slot, itemsize)
        self._buffer.spend(count * itemsize)
        return np.frombuffer(self._buffer.data, dtype, count, start) if count else np.empty(0, dtype)

    def ints(self, slot: int) -> list[int]:
        return [int(n) for n in self.numbers(slot, "<i4")]

    def raw(self, slot: int) -> np.ndarray | None:
        """The bytes of a vector, not copied; None when absent."""
        start, count = self._vector(slot, 1)
        return self._buffer.array[start : start + count] if count else None

    def span(self, offset: int, size: int) -> np.ndarray:
        """Bytes of the file that lie behind the flatbuffer itself (models beyond 2 GB)."""
        if offset + size > len(self._buffer.data):
            raise FormatError(f"damaged .tflite file: {size} bytes at {offset} pass its end")
        return self._buffer.array[offset : offset + size]

    def text(self, slot: int) -> str:
        start, count = self._vector(slot, 1)
        self._buffer.spend(count)
        return self._buffer.data[start : start + count].decode("utf-8", "replace")

    def tables(self, slot: int) -> list[_Table]:
        start, count = self._vector(slot, 4)
        self._buffer.spend(4 * count)
        return [_Table(self._buffer, self._table.Indirect(start + 4 * n)) for n in range(count)]

    def table(self, slot: int) -> _Table | None:
        position = self._at(slot)
        return _Table(self._buffer, self._table.Indirect(position)) if position else None


def _model(table: _Table) -> ModelFile:
    version = table.scalar(0, "u32", 0)
    if version != SCHEMA_VERSION:
        raise FormatError(f"schema version {version}: expected {SCHEMA_VERSION}")
    codes = [_operator_kind(t) for t in table.tables(1)]
    buffers = [_buffer_data(t) for t in table.tables(4)]
    subgraphs = [_subgraph(t, codes, buffers) for t in table.tables(2)]
    if not subgraphs:
        raise FormatError("damaged .tflite file: no subgraph")
    signatures = []
    for t in table.tables(7):
        names = [{m.scalar(1, "u32", 0): m.text(0) for m in t.tables(slot)} for slot in (0, 1)]
        signatures.append(Signature(t.text(2), t.scalar(4, "u32", 0), *names))
    return ModelFile(table.text(3), subgraphs, signatures)


def _operator_kind(table: _Table) -> str:
    code = max(table.scalar(0, "i8", 0), table.scalar(3, "i32", 0))
    if not 0 <= code < len(OPERATORS):
        return f"operator number {code}"
    return table.text(1) or "CUSTOM" if OPERATORS[code] == "CUSTOM" else OPERATORS[code]


def _buffer_data(table: _Table) -> np.ndarray | None:
    offset, size = table.scalar(1, "u64", 0), table.scalar(2, "u64", 0)
    return table.span(offset, size) if offset > 1 else table.raw(0)


def _subgraph(table: _Table, codes: list[str], buffers: list[np.ndarray | None]) -> SubGraph:
    tensors = [_tensor(t, n, buffers) for n, t in enumerate(table.tables(0))]
    operators = [_operator(t, n, codes) for n, t in enumerate(table.tables(3))]
    graph = SubGraph(table.text(4), tensors, table.ints(1), table.ints(2), operators)
    ends = [(graph.inputs, 0, "the inputs"), (graph.outputs, 0, "the outputs")]
    for o in operators:
        ends += [(o.inputs + o.intermediates, -1, f"operator {o.index}"), (o.outputs, -1, f"operator {o.index}")]
    for indices, low, place in ends:
        wrong = [i for i in indices if not low <= i < len(tensors)]
        if wrong:
            raise FormatError(f"damaged .tflite file: {place} name tensor {wrong[0]} of {len(tensors)}")
    return graph


def _tensor(table: _Table, index: int, buffers: list[np.ndarray | None]) -> TensorInfo:
    name, shape = table.text(3), table.ints(0)
    number = table.scalar(1, "i8", 0)
    place = f"tensor {index} {name!r}"
    if not 0 <= number < len(TYPES):
        raise UnsupportedModelError(f"{place}: element type number {number} is not known")
    if len(shape) > MAX_RANK or any(s < 0 for s in shape):
        raise FormatError(f"{place}: expected at most {MAX_RANK} sizes, none negative, found {shape[:16]}")
    buffer = table.scalar(2, "u32", 0)
    if buffer >= max(len(buffers), 1):
        raise FormatError(f"{place}: buffer {buffer} of {len(buffers)}")
    signature = table.ints(7)
    if len(signature) != len(shape):
        signature = shape
    data = buffers[buffer] if buffer else None
    if data is None and 0 in shape and buffer:
        data = np.empty(0, np.uint8)
    return TensorInfo(
        index,
        name,
        TYPES[number][0],
        shape,
        signature,
        bool(table.scalar(5, "bool", False)),
        _quantization(table.table(4), shape, place),
        data,
        table.has(6),
    )


def _quantization(table: _Table | None, shape: list[int], place: str) -> Quantization | None:
    scale = table.numbers(2, "<f4") if table is not None else np.empty(0, np.float32)
    if table is None or not scale.size:
        return None
    if table.scalar(4, "u8", 0):
        raise UnsupportedModelError(f"{place}: quantisation of another kind than scale and zero point is not supported")
    zero, dim = table.numbers(3, "<i8"), table.scalar(6, "i32", 0)
    if zero.size == 0:
        zero = np.zeros(scale.size, np.int64)
    if zero.size != scale.size or scale.size > 1 and not (0 <= dim < len(shape) and shape[dim] == scale.size):
        raise FormatError(f"{place}: {scale.size} scales and {zero.size} zero points along axis {dim} of shape {shape}")
    if not np.all(np.isfinite(scale)) or np.any(scale < 0):
        raise FormatError(f"{place}: expected scales above 0, found {scale[:4]}")
    return Quantization(scale.astype(np.float32), zero, dim)


def _operator(table: _Table, index: int, codes: list[str]) -> Operator:
    code = table.scalar(0, "u32", 0)
    if code >= len(codes):
        raise FormatError(f"damaged .tflite file: operator {index} has code {code} of {len(codes)}")
    number, options = table.scalar(3, "u8", 0), table.table(4)
    place = f"operator {index} ({codes[code]})"
    if table.has(11) and table.scalar(11, "u8", 0):
        raise UnsupportedModelError(f"{place}: options of the StableHLO kind are not supported")
    return Operator(index, codes[code], table.ints(1), table.ints(2), table.ints(8), _options(options, number, place))


def _options(table: _Table | None, number: int, place: str) -> dict[str, Any]:
    fields = OPTIONS.get(number, {})
    out: dict[str, Any] = {}
    for name, (slot, kind, default) in fields.items():
        if table is None or not table.has(slot):
            out[name] = default
        elif kind == "str":
            out[name] = table.text(slot)
        else:
            out[name] = table.ints(slot) if kind == "ints" else table.scalar(slot, kind, default)
    unknown = [
        s for s in range(len(fields), table.slots if table is not None else 0) if table is not None and table.has(s)
    ]
    if unknown:
        raise UnsupportedModelError(
            f"{place}: field {unknown[0]} of its options is not known to this version of lstm_edge"
        )
    return out
