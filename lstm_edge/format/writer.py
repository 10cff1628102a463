"""A Graph as the bytes of a `.lstm` file."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from typing import Any

import numpy as np

from .. import memory
from ..errors import UnsupportedModelError
from ..ir.dims import Dim, Size, symbols
from ..ir.graph import Graph, Node, Port, SelfTest, State, Tensor
from ..ir.ops import MAX_RANK, OPS, RUN_DTYPES
from ..ir.sparse import cut, sparse_weights
from ..metadata import MAGIC
from ..options import as_typed
from .layout import (
    ALIGN,
    ATTR,
    ATTR_KINDS,
    BLOCKS,
    CONSTANT,
    CRC_START,
    DIM,
    DTYPES,
    HEADER,
    MAJOR,
    MAX_LENGTHS,
    MINOR,
    NEWER,
    NODE,
    PORT,
    RECORD_SIZE,
    SECTION,
    STATE,
    SYMBOLS,
    TENSOR,
    VARIABLE,
    WHOLE,
    one_of,
    with_lengths,
)


class Writer:
    """Collects the sections of one file. Data offsets are relative to DATA until `finish` knows where it lies."""

    def __init__(self, graph: Graph):
        held = (a.nbytes for t in graph.tensors.values() for a in (t.data, t.scale) if a is not None)
        memory.foresee(3 * sum(held), "the file to be written")
        self.strings = bytearray(b"\0")
        self.string_at: dict[str, int] = {"": 0}
        self.data = bytearray()
        self.data_at: dict[bytes, int] = {}  # by digest
        self.values = bytearray()
        self.values_at: dict[bytes, int] = {}
        self.indices: list[int] = []
        self.attrs: list[bytes] = []
        self.attrs_at: dict[tuple[bytes, ...], int] = {}
        self.tensors: list[bytes] = []
        self.constants: list[tuple[int, ...]] = []  # as CONSTANT, offsets within DATA
        self.number: dict[str, int] = {}
        self.lengths = further_lengths(graph)
        self.sparse = sparse_weights(graph)
        self.input_bits = any("input_bits" in node.attrs for node in graph.nodes)

        for name, tensor in graph.tensors.items():
            self.number[name] = self.tensor(tensor)
        states = b"".join([self.state(s, graph) for s in graph.states])
        nodes = b"".join([self.node(n) for n in graph.nodes])
        inputs = b"".join([self.port(p, graph.shape(p.tensor)) for p in graph.inputs])
        outputs = b"".join([self.port(p, None) for p in graph.outputs])
        # DATA comes last: every other size is known before it.
        self.sections: list[tuple[bytes, bytes | bytearray]] = [
            (b"STRS", bytes(self.strings)),
            (b"TENS", b"".join(self.tensors)),
            (b"CNST", bytes(CONSTANT.size * len(self.constants))),
            (b"NODE", nodes),
            (b"IDXS", struct.pack(f"<{len(self.indices)}i", *self.indices)),
            (b"ATTR", b"".join(self.attrs)),
            (b"VALS", bytes(self.values)),
            (b"INPT", inputs),
            (b"OUTP", outputs),
            (b"STAT", states),
            (b"META", _metadata_bytes(graph, self.lengths)),
        ]
        if graph.self_test is not None:
            self.sections.append((b"TEST", _self_test_bytes(graph.self_test)))
        self.sections.append((b"DATA", self.data))

    def finish(self) -> bytes:
        offsets = []
        end = HEADER.size + SECTION.size * len(self.sections)
        for _, body in self.sections:
            offsets.append(_aligned(end))
            end = offsets[-1] + len(body)
        out = bytearray(_aligned(end))
        for n, ((kind, body), offset) in enumerate(zip(self.sections, offsets)):
            if kind == b"CNST":
                body = self.constant_records(offsets[-1])
            record = RECORD_SIZE[kind]
            row = (kind, len(body) // record if record else 0, offset, len(body), 0)
            SECTION.pack_into(out, HEADER.size + n * SECTION.size, *row)
            out[offset : offset + len(body)] = body
        major = NEWER if self.sparse or self.input_bits else MAJOR
        HEADER.pack_into(out, 0, MAGIC, major, MINOR, 0, len(out), len(self.sections), 0)
        struct.pack_into("<I", out, 12, zlib.crc32(memoryview(out)[CRC_START:]))
        return bytes(out)

    def constant_records(self, data_start: int) -> bytes:
        records = []
        for number, rank, data, size, scale, scales, *dims in self.constants:
            scale_at = data_start + scale if scales else 0
            records.append(CONSTANT.pack(number, rank, data_start + data, size, scale_at, scales, *dims))
        return b"".join(records)

    def string(self, text: str, place: str) -> int:
        if "\0" in text:
            raise UnsupportedModelError(
                f"{place}: expected a name without zero bytes, found {text!r}; rename it in the source model"
            )
        if text not in self.string_at:
            self.string_at[text] = len(self.strings)
            self.strings += text.encode("utf-8", "surrogatepass") + b"\0"
        return self.string_at[text]

    def bytes_at(self, *arrays: np.ndarray) -> int:
        """The offset within DATA, aligned, of the arrays' bytes, each aligned; equal bytes lie there once."""
        content = b""
        for array in arrays:
            content += bytes(_aligned(len(content)) - len(content)) + _little(array).tobytes()
        digest = hashlib.sha256(content).digest()
        if digest not in self.data_at:
            self.data_at[digest] = _aligned(len(self.data))
            self.data += bytes(self.data_at[digest] - len(self.data))
            self.data += content
        return self.data_at[digest]

    def tensor(self, tensor: Tensor) -> int:
        """Adds a tensor; returns its number."""
        place, data, number = f"tensor {tensor.name!r}", tensor.data, len(self.tensors)
        name = self.string(tensor.name, place)
        known, dtype = (RUN_DTYPES, tensor.dtype) if data is None else (DTYPES, str(data.dtype))
        if dtype not in known:
            what = "dtype" if data is None else "constant dtype"
            raise UnsupportedModelError(f"{place}: expected {what} {one_of(known)}, found {dtype}")
        kind = VARIABLE if data is None else BLOCKS if tensor.name in self.sparse else WHOLE
        self.tensors.append(TENSOR.pack(name, DTYPES.index(dtype), kind))
        if data is not None:
            self.constants.append((number, *self.constant(tensor, data, place)))
        return number

    def constant(self, tensor: Tensor, data: np.ndarray, place: str) -> tuple[int, ...]:
        if data.ndim > MAX_RANK:
            raise UnsupportedModelError(f"{place}: expected rank 0 to {MAX_RANK}, found {data.ndim}")
        scale = scales = 0
        if data.dtype == np.int8:
            if tensor.scale is None or tensor.scale.ndim != 1 or not len(tensor.scale) or data.size % len(tensor.scale):
                found = "none" if tensor.scale is None else tensor.scale.shape
                expected = f"scales (n,) whose number divides the {data.size} elements of an int8 weight"
                raise UnsupportedModelError(f"{place}: expected {expected}, found {found}")
            scale, scales = self.bytes_at(tensor.scale.astype(np.float32)), len(tensor.scale)
        dims = data.shape + (0,) * (MAX_RANK - data.ndim)
        if tensor.name in self.sparse:
            bits, blocks = cut(data)
            size = _aligned(bits.nbytes) + blocks.nbytes
            return data.ndim, self.bytes_at(bits, blocks), size, scale, scales, *dims
        return data.ndim, self.bytes_at(data), data.nbytes, scale, scales, *dims

    def tensor_number(self, name: str, place: str) -> int:
        if name not in self.number:
            raise UnsupportedModelError(f"{place}: expected a tensor of the graph, found the unknown name {name!r}")
        return self.number[name]

    def node(self, node: Node) -> bytes:
        place = f"node {node.name!r} ({node.op})"
        if max(len(node.inputs), len(node.outputs)) > 0xFFFF:
            raise UnsupportedModelError(
                f"{place}: expected at most 65535 inputs and outputs, found {len(node.inputs)} and {len(node.outputs)}"
            )
        first_index = len(self.indices)
        self.indices += [self.tensor_number(i, place) if i else -1 for i in [*node.inputs, *node.outputs]]
        attrs = tuple(self.attr(node.op, key, value, place) for key, value in node.attrs.items())
        first_attr = self.attrs_at.setdefault(attrs, len(self.attrs))  # nodes with equal attributes share them
        if first_attr == len(self.attrs):
            self.attrs += attrs
        op, name = self.string(node.op, place), self.string(node.name, place)
        return NODE.pack(op, name, first_index, len(node.inputs), len(node.outputs), first_attr, len(node.attrs), 0)

    def attr(self, op: str, key: str, value: Any, place: str) -> bytes:
        kind, values = _attr_values(_kind(op, key), value, f"{place}: attribute {key!r}")
        element = kind.rstrip("s")
        if element == "int":
            content = struct.pack(f"<{len(values)}q", *values)
        elif element == "float":
            content = np.asarray(values, "<f4").tobytes()
        else:
            content = struct.pack(f"<{len(values)}I", *[self.string(v, place) for v in values])
        if content not in self.values_at:
            self.values += bytes(-len(self.values) % 8)
            self.values_at[content] = len(self.values)
            self.values += content
        return ATTR.pack(self.string(key, place), ATTR_KINDS.index(kind), len(values), 0, self.values_at[content])

    def port(self, port: Port, shape: tuple[Size, ...] | None) -> bytes:
        """An input with its shape, or an output, whose shape follows from the inputs (None)."""
        place = f"{'output' if shape is None else 'input'} {port.name!r}"
        rank = -1 if shape is None else len(shape)
        record = PORT.pack(self.string(port.name, place), self.tensor_number(port.tensor, place), rank, 0)
        return record + _dims(shape or (), place, with_lengths(self.lengths))

    def state(self, state: State, graph: Graph) -> bytes:
        place = f"state {state.name!r}"
        read, written = self.tensor_number(state.read, place), self.tensor_number(state.write, place)
        if graph.tensors[state.read].dtype != state.dtype:
            raise UnsupportedModelError(
                f"{place}: expected dtype {state.dtype}, found {graph.tensors[state.read].dtype}"
            )
        dims = _dims(state.shape, place, SYMBOLS[:2])
        initial = -1
        if state.initial is not None:
            name = graph.fresh(f"{state.name}.initial")
            data = np.asarray(state.initial, state.dtype)
            initial = self.tensor(Tensor(name, state.dtype, data.shape, data))
        return (
            STATE.pack(self.string(state.name, place), read, written, len(state.shape), state.fill_axis, initial, 0)
            + dims
        )


def _dims(shape: tuple[Size, ...], place: str, allowed: tuple[Size, ...]) -> bytes:
    if len(shape) > MAX_RANK:
        raise UnsupportedModelError(f"{place}: expected rank 0 to {MAX_RANK}, found {len(shape)}")
    records = [DIM.pack(*_coefficient_and_symbol(size, axis, place, allowed)) for axis, size in enumerate(shape)]
    return b"".join(records).ljust(MAX_RANK * DIM.size, b"\0")


def _coefficient_and_symbol(size: Size, axis: int, place: str, allowed: tuple[Size, ...]) -> tuple[int, int, int]:
    if not isinstance(size, Dim) and size >= 0:
        return int(size), 0, 0
    terms = size.terms if isinstance(size, Dim) else {}
    for number, symbol in enumerate(allowed):
        if isinstance(symbol, Dim) and set(terms) == set(symbol.terms) and min(terms.values()) > 0:
            return next(iter(terms.values())), number, 0
    expected = "a number, " + " or ".join(f"k*{s!r}" for s in allowed if isinstance(s, Dim))
    raise UnsupportedModelError(
        f"{place}, axis {axis}: expected {expected}, found {size!r}; fix the shape at conversion ({as_typed('shapes')})"
    )


def _kind(op: str, key: str) -> str | None:
    """The kind that the table of ops gives an attribute; None where it has none of that name."""
    attr = OPS[op].attrs.get(key) if op in OPS else None
    return None if attr is None else attr.kind


def _attr_values(declared: str | None, value: Any, place: str) -> tuple[str, list[Any]]:
    """The kind an attribute is written as, and its values as a list. A whole number is a float where it is declared so."""
    many = isinstance(value, (list, tuple, np.ndarray))
    values = [v.item() if isinstance(v, np.generic) else v for v in (value if many else [value])]
    plural = "s" if many else ""
    if values and all(isinstance(v, str) for v in values):
        return "str" + plural, values
    if not all(isinstance(v, (int, float)) for v in values):
        raise UnsupportedModelError(f"{place}: expected numbers or strings, found {value!r}")
    if not values and declared is not None:
        return declared, values
    if declared in ("float", "floats") or any(isinstance(v, float) for v in values):
        return "float" + plural, values
    if any(not -(2**63) <= v < 2**63 for v in values):
        raise UnsupportedModelError(f"{place}: expected values in [-2^63, 2^63), found {value!r}")
    return "int" + plural, [int(v) for v in values]


def further_lengths(graph: Graph) -> list[str]:
    """The open sizes of the inputs beside batch and frames, in the order in which they occur.

    UnsupportedModelError where there are more than a file can hold.
    """
    found = [name for p in graph.inputs for size in graph.shape(p.tensor) for name in sorted(symbols(size))]
    lengths = [name for name in dict.fromkeys(found) if name not in ("batch", "frames")]
    if len(lengths) > MAX_LENGTHS:
        raise UnsupportedModelError(
            f"the inputs: expected at most {MAX_LENGTHS} open sizes beside batch and frames, found {', '.join(lengths)}; "
            f"fix some of them at conversion ({as_typed('shapes')})"
        )
    return lengths


def _metadata_bytes(graph: Graph, lengths: list[str]) -> bytes:
    metadata = {k: v for k, v in graph.metadata.items() if k not in ("self_test", "lengths")}
    metadata["outputs"] = {
        p.name: [s if isinstance(s, int) else str(s) for s in graph.shape(p.tensor)] for p in graph.outputs
    }
    if lengths:
        metadata["lengths"] = lengths
    if graph.self_test is not None:
        test = graph.self_test
        metadata["self_test"] = {"source": test.source, "tolerance": test.tolerance, "by": test.by, "why": test.why}
    return json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode()


def _self_test_bytes(test: SelfTest) -> bytes:
    arrays = {f"in:{k}": v for k, v in test.inputs.items()} | {f"out:{k}": v for k, v in test.outputs.items()}
    file = io.BytesIO()
    np.savez(file, **{k: _little(np.asarray(v)) for k, v in arrays.items()})  # type: ignore[arg-type]
    return file.getvalue()


def _little(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


def _aligned(offset: int) -> int:
    return offset + -offset % ALIGN
