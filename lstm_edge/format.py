"""Writes and reads `.lstm` files, as docs/format.md specifies them. Everything in a file is verified before use."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from .dims import BATCH, FRAMES, Dim, Size
from .errors import FormatError, LstmEdgeError, UnsupportedModelError
from .graph import RUN_DTYPES, Graph, Node, Port, SelfTest, State, Tensor

MAGIC = b"LSTMEDGE"
MAJOR, MINOR = 1, 0
ALIGN = 64
MAX_RANK = 8

_HEADER = struct.Struct("<8sHHIQII32x")
_SECTION = struct.Struct("<4sIQQQ")
_TENSOR = struct.Struct("<IBBxx")
_CONSTANT = struct.Struct("<IIQQQQ8q")
_NODE = struct.Struct("<IIIHHIIQ")
_ATTR = struct.Struct("<IB3xIIQ")
_DIM = struct.Struct("<qII")
_PORT = struct.Struct("<IIiI")  # then 8 dims
_STATE = struct.Struct("<IIIIiiQ")  # then 8 dims
_INDEX = struct.Struct("<i")
_CRC_START = 16

_RECORD_SIZE = {
    b"STRS": 0, b"TENS": _TENSOR.size, b"CNST": _CONSTANT.size, b"DATA": 0, b"NODE": _NODE.size, b"IDXS": _INDEX.size,
    b"ATTR": _ATTR.size, b"VALS": 0, b"INPT": _PORT.size + 8 * _DIM.size, b"OUTP": _PORT.size + 8 * _DIM.size,
    b"STAT": _STATE.size + 8 * _DIM.size, b"META": 0, b"TEST": 0,
}  # fmt: skip
_OPTIONAL = (b"META", b"TEST")

_DTYPES = ("float32", "int32", "bool", "float16", "int8")
_SYMBOLS: tuple[Size, ...] = (1, BATCH, FRAMES)
_ATTR_KINDS = ("int", "float", "str", "ints", "floats", "strs")
_VALUE_SIZE = {"int": 8, "float": 4, "str": 4}

# Attributes that docs/ops.md types as float: a whole number there is written as a float, the kind the core expects.
_FLOAT_KEYS = frozenset((
    "alpha", "beta", "activation_alpha", "activation_beta", "clip", "cell_clip", "proj_clip", "epsilon", "scale",
    "value",
))  # fmt: skip

Source = str | os.PathLike[str] | bytes | bytearray | memoryview


# ---- writing --------------------------------------------------------------------------------------------------------


def write(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Writes `graph` to `path`, through a temporary file in the same folder so that readers never see half a model.

    Raises UnsupportedModelError when the graph holds what the format cannot, OSError when the folder cannot be written.
    """
    content = to_bytes(graph)
    target = os.fspath(path)
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def to_bytes(graph: Graph) -> bytes:
    """The content of the `.lstm` file that holds `graph`; equal graphs give equal bytes.

    Raises UnsupportedModelError for sizes other than a number, k*batch or k*frames at inputs and states, a rank above 8
    and dtypes outside docs/ops.md.
    """
    return _Writer(graph).finish()


class _Writer:
    """Collects the sections of one file. Data offsets are relative to DATA until `finish` knows where it lies."""

    def __init__(self, graph: Graph):
        self.strings = bytearray(b"\0")
        self.string_at: dict[str, int] = {"": 0}
        self.data = bytearray()
        self.data_at: dict[bytes, int] = {}
        self.values = bytearray()
        self.values_at: dict[bytes, int] = {}
        self.indices: list[int] = []
        self.attrs: list[bytes] = []
        self.attrs_at: dict[tuple[bytes, ...], int] = {}
        self.tensors: list[bytes] = []
        self.constants: list[tuple] = []  # as _CONSTANT, offsets within DATA
        self.number: dict[str, int] = {}

        for name, tensor in graph.tensors.items():
            self.number[name] = self.tensor(tensor)
        states = b"".join([self.state(s, graph) for s in graph.states])
        nodes = b"".join([self.node(n) for n in graph.nodes])
        inputs = b"".join([self.port(p, graph.shape(p.tensor)) for p in graph.inputs])
        outputs = b"".join([self.port(p, None) for p in graph.outputs])
        # DATA comes last: every other size is known before it.
        self.sections: list[tuple[bytes, bytes]] = [
            (b"STRS", bytes(self.strings)),
            (b"TENS", b"".join(self.tensors)),
            (b"CNST", bytes(_CONSTANT.size * len(self.constants))),
            (b"NODE", nodes),
            (b"IDXS", struct.pack(f"<{len(self.indices)}i", *self.indices)),
            (b"ATTR", b"".join(self.attrs)),
            (b"VALS", bytes(self.values)),
            (b"INPT", inputs),
            (b"OUTP", outputs),
            (b"STAT", states),
            (b"META", _metadata_bytes(graph)),
        ]
        if graph.self_test is not None:
            self.sections.append((b"TEST", _self_test_bytes(graph.self_test)))
        self.sections.append((b"DATA", bytes(self.data)))

    def finish(self) -> bytes:
        offsets = []
        end = _HEADER.size + _SECTION.size * len(self.sections)
        for _, body in self.sections:
            offsets.append(_aligned(end))
            end = offsets[-1] + len(body)
        out = bytearray(_aligned(end))
        for n, ((kind, body), offset) in enumerate(zip(self.sections, offsets)):
            if kind == b"CNST":
                body = self.constant_records(offsets[-1])
            record = _RECORD_SIZE[kind]
            row = (kind, len(body) // record if record else 0, offset, len(body), 0)
            _SECTION.pack_into(out, _HEADER.size + n * _SECTION.size, *row)
            out[offset : offset + len(body)] = body
        _HEADER.pack_into(out, 0, MAGIC, MAJOR, MINOR, 0, len(out), len(self.sections), 0)
        struct.pack_into("<I", out, 12, zlib.crc32(memoryview(out)[_CRC_START:]))
        return bytes(out)

    def constant_records(self, data_start: int) -> bytes:
        records = []
        for number, rank, data, size, scale, scales, *dims in self.constants:
            scale_at = data_start + scale if scales else 0
            records.append(_CONSTANT.pack(number, rank, data_start + data, size, scale_at, scales, *dims))
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

    def bytes_at(self, array: np.ndarray) -> int:
        """The offset within DATA, aligned, of the array's bytes; equal bytes lie there once."""
        content = _little(array).tobytes()
        if content not in self.data_at:
            self.data_at[content] = _aligned(len(self.data))
            self.data += bytes(self.data_at[content] - len(self.data)) + content
        return self.data_at[content]

    def tensor(self, tensor: Tensor) -> int:
        """Adds a tensor; returns its number."""
        place, data, number = f"tensor {tensor.name!r}", tensor.data, len(self.tensors)
        name = self.string(tensor.name, place)
        known, dtype = (RUN_DTYPES, tensor.dtype) if data is None else (_DTYPES, str(data.dtype))
        if dtype not in known:
            kind = "dtype" if data is None else "constant dtype"
            raise UnsupportedModelError(f"{place}: expected {kind} {_one_of(known)}, found {dtype}")
        self.tensors.append(_TENSOR.pack(name, _DTYPES.index(dtype), data is not None))
        if data is not None:
            self.constants.append((number, *self.constant(tensor, data, place)))
        return number

    def constant(self, tensor: Tensor, data: np.ndarray, place: str) -> tuple:
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
        attrs = tuple(self.attr(key, value, place) for key, value in node.attrs.items())
        first_attr = self.attrs_at.setdefault(attrs, len(self.attrs))  # nodes with equal attributes share them
        if first_attr == len(self.attrs):
            self.attrs += attrs
        op, name = self.string(node.op, place), self.string(node.name, place)
        return _NODE.pack(op, name, first_index, len(node.inputs), len(node.outputs), first_attr, len(node.attrs), 0)

    def attr(self, key: str, value: Any, place: str) -> bytes:
        kind, values = _attr_values(key, value, f"{place}: attribute {key!r}")
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
        return _ATTR.pack(self.string(key, place), _ATTR_KINDS.index(kind), len(values), 0, self.values_at[content])

    def port(self, port: Port, shape: tuple[Size, ...] | None) -> bytes:
        """An input with its shape, or an output, whose shape follows from the inputs (None)."""
        place = f"{'output' if shape is None else 'input'} {port.name!r}"
        rank = -1 if shape is None else len(shape)
        return _PORT.pack(self.string(port.name, place), self.tensor_number(port.tensor, place), rank, 0) + _dims(
            shape or (), place
        )

    def state(self, state: State, graph: Graph) -> bytes:
        place = f"state {state.name!r}"
        read, written = self.tensor_number(state.read, place), self.tensor_number(state.write, place)
        if graph.tensors[state.read].dtype != state.dtype:
            raise UnsupportedModelError(
                f"{place}: expected dtype {state.dtype}, found {graph.tensors[state.read].dtype}"
            )
        dims = _dims(state.shape, place, (1, BATCH))
        initial = -1
        if state.initial is not None:
            name = graph.fresh(f"{state.name}.initial")
            data = np.asarray(state.initial, state.dtype)
            initial = self.tensor(Tensor(name, state.dtype, data.shape, data))
        return (
            _STATE.pack(self.string(state.name, place), read, written, len(state.shape), state.fill_axis, initial, 0)
            + dims
        )


def _dims(shape: tuple[Size, ...], place: str, allowed: tuple[Size, ...] = _SYMBOLS) -> bytes:
    if len(shape) > MAX_RANK:
        raise UnsupportedModelError(f"{place}: expected rank 0 to {MAX_RANK}, found {len(shape)}")
    records = [_DIM.pack(*_coefficient_and_symbol(size, axis, place, allowed)) for axis, size in enumerate(shape)]
    return b"".join(records).ljust(MAX_RANK * _DIM.size, b"\0")


def _coefficient_and_symbol(size: Size, axis: int, place: str, allowed: tuple[Size, ...]) -> tuple[int, int, int]:
    if not isinstance(size, Dim) and size >= 0:
        return int(size), 0, 0
    terms = size.terms if isinstance(size, Dim) else {}
    for number, symbol in enumerate(_SYMBOLS):
        if (
            isinstance(symbol, Dim)
            and symbol in allowed
            and set(terms) == set(symbol.terms)
            and min(terms.values()) > 0
        ):
            return next(iter(terms.values())), number, 0
    expected = "a number, " + " or ".join(f"k*{s!r}" for s in allowed if isinstance(s, Dim))
    raise UnsupportedModelError(
        f"{place}, axis {axis}: expected {expected}, found {size!r}; fix the shape at conversion (--shape)"
    )


def _attr_values(key: str, value: Any, place: str) -> tuple[str, list]:
    """The kind an attribute is written as, and its values as a list."""
    many = isinstance(value, (list, tuple, np.ndarray))
    values = [v.item() if isinstance(v, np.generic) else v for v in (value if many else [value])]
    plural = "s" if many else ""
    if values and all(isinstance(v, str) for v in values):
        return "str" + plural, values
    if not all(isinstance(v, (int, float)) for v in values):
        raise UnsupportedModelError(f"{place}: expected numbers or strings, found {value!r}")
    if key in _FLOAT_KEYS or any(isinstance(v, float) for v in values):
        return "float" + plural, values
    if not values and key == "activations":
        return "strs", values
    if any(not -(2**63) <= v < 2**63 for v in values):
        raise UnsupportedModelError(f"{place}: expected values in [-2^63, 2^63), found {value!r}")
    return "int" + plural, [int(v) for v in values]


def _metadata_bytes(graph: Graph) -> bytes:
    metadata = {k: v for k, v in graph.metadata.items() if k != "self_test"}
    metadata["outputs"] = {
        p.name: [s if isinstance(s, int) else str(s) for s in graph.shape(p.tensor)] for p in graph.outputs
    }
    if graph.self_test is not None:
        metadata["self_test"] = {"source": graph.self_test.source, "tolerance": graph.self_test.tolerance}
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


def _one_of(words: tuple[str, ...]) -> str:
    return ", ".join(words[:-1]) + " or " + words[-1]


# ---- reading --------------------------------------------------------------------------------------------------------


def read(source: Source) -> Graph:
    """The verified Graph in a `.lstm` file (a path) or in its content (bytes), with every tensor's shape inferred.

    Raises FormatError naming the place, what was expected and what was found; OSError when the file cannot be opened.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _Reader(bytes(source), "model").graph()
    path = os.fspath(source)
    with open(path, "rb") as file:
        return _Reader(file.read(), os.path.basename(path)).graph()


@dataclass(frozen=True)
class _Section:
    offset: int
    size: int
    count: int


class _Reader:
    """One file's content. Methods raise FormatError with the file's name in front of the place."""

    def __init__(self, content: bytes, name: str):
        self.content, self.name = content, name
        self.check_header()
        self.sections = self.read_sections()
        strings = self.sections[b"STRS"]
        if not strings.size or content[strings.offset + strings.size - 1]:
            raise self.error("section STRS", "a zero byte at its end", "none")

    def error(self, place: str, expected: object, found: object) -> FormatError:
        return FormatError(f"{self.name}: {place}: expected {expected}, found {found}")

    def check_header(self) -> None:
        content = self.content
        if content[: len(MAGIC)] != MAGIC:
            raise self.error("header", f"magic {MAGIC!r}", f"{bytes(content[: len(MAGIC)])!r}; this is no .lstm file")
        if len(content) < _HEADER.size:
            raise self.error("header", f"{_HEADER.size} bytes", f"{len(content)}; the file is truncated")
        _, major, _, crc, size, self.section_count, _ = _HEADER.unpack_from(content)
        if major != MAJOR:
            advice = "upgrade lstm_edge to read it" if major > MAJOR else "convert the model again"
            raise self.error("header", f"major version {MAJOR}", f"{major}; {advice}")
        if size != len(content):
            raise self.error(
                "header", f"a file of {size} bytes", f"{len(content)}; the file is truncated or has something appended"
            )
        actual = zlib.crc32(memoryview(content)[_CRC_START:])
        if crc != actual:
            raise self.error("header", f"CRC32 {crc:08x}", f"{actual:08x}; the file is damaged")

    def read_sections(self) -> dict[bytes, _Section]:
        table_end = _HEADER.size + _SECTION.size * self.section_count
        if table_end > len(self.content):
            raise self.error(
                "section table",
                f"at most {len(self.content)} bytes",
                f"{self.section_count} sections, {table_end} bytes",
            )
        found: dict[bytes, _Section] = {}
        used = []
        for n in range(self.section_count):
            kind, count, offset, size, _ = _SECTION.unpack_from(self.content, _HEADER.size + n * _SECTION.size)
            place = f"section {kind.decode('ascii', 'backslashreplace')}"
            if offset % ALIGN or offset < table_end or offset + size > len(self.content):
                bounds = f"an offset multiple of {ALIGN} and bytes within [{table_end}, {len(self.content)})"
                raise self.error(place, bounds, f"offset {offset}, size {size}")
            if size:
                used.append((offset, size, place))
            if kind not in _RECORD_SIZE:
                continue
            if kind in found:
                raise self.error(place, "one of its kind", "two")
            record = _RECORD_SIZE[kind]
            if size != count * record if record else count:
                raise self.error(place, f"{count} records of {record} bytes", f"{size} bytes")
            found[kind] = _Section(offset, size, count)
        self.check_overlap(used)
        for kind in _RECORD_SIZE:
            if kind not in found and kind not in _OPTIONAL:
                raise self.error("section table", f"section {kind.decode()}", "none")
        return found

    def check_overlap(self, used: list[tuple[int, int, str]]) -> None:
        used.sort()
        for (offset, size, place), (next_offset, _, next_place) in itertools.pairwise(used):
            if offset + size > next_offset:
                raise self.error(place, f"its end before {next_place} at {next_offset}", offset + size)

    def graph(self) -> Graph:
        graph = Graph(metadata=self.metadata())
        tensors = self.tensors()
        graph.inputs = [self.port(b"INPT", n, tensors) for n in range(self.sections[b"INPT"].count)]
        graph.states = [self.state(n, tensors) for n in range(self.sections[b"STAT"].count)]
        graph.nodes = [self.node(n, tensors) for n in range(self.sections[b"NODE"].count)]
        graph.outputs = [self.port(b"OUTP", n, tensors) for n in range(self.sections[b"OUTP"].count)]
        for tensor in tensors:
            if tensor.name in graph.tensors or not tensor.name:
                raise self.error(
                    f"tensor {tensor.name!r}",
                    "a name of its own",
                    "a second one of that name" if tensor.name else "none",
                )
            graph.tensors[tensor.name] = tensor
        self.check_order(graph)
        self.drop_initial_values(graph, tensors)
        self.infer_shapes(graph)
        graph.self_test = self.self_test(graph)
        return graph

    # ---- records

    def record(self, layout: struct.Struct, kind: bytes, n: int) -> tuple:
        return layout.unpack_from(self.content, self.sections[kind].offset + n * _RECORD_SIZE[kind])

    def string(self, offset: int, place: str) -> str:
        strings = self.sections[b"STRS"]
        if offset >= strings.size:
            raise self.error(place, f"a string within STRS' {strings.size} bytes", f"offset {offset}")
        start = strings.offset + offset
        try:
            return self.content[start : self.content.index(b"\0", start)].decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as exc:
            raise self.error(place, "UTF-8 text", exc) from exc

    def array(self, place: str, offset: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """A copy of the constant data at a file offset, which must lie in DATA."""
        section = self.sections[b"DATA"]
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if offset % ALIGN or offset < section.offset or offset + size > section.offset + section.size:
            end = section.offset + section.size
            bounds = f"an offset multiple of {ALIGN} and bytes within DATA [{section.offset}, {end})"
            raise self.error(place, bounds, f"offset {offset}, size {size}")
        stored = np.uint8 if dtype == "bool" else np.dtype(dtype).newbyteorder("<")
        flat = np.frombuffer(self.content, stored, math.prod(shape), offset)
        if dtype == "bool" and flat.size and flat.max() > 1:
            raise self.error(place, "bool bytes 0 or 1", int(flat.max()))
        return flat.reshape(shape).astype(dtype)

    def tensors(self) -> list[Tensor]:
        """All tensors; the records of CNST belong to the constants in order."""
        tensors, used, count = [], 0, self.sections[b"CNST"].count
        for n in range(self.sections[b"TENS"].count):
            name_at, dtype_code, constant = self.record(_TENSOR, b"TENS", n)
            name = self.string(name_at, f"tensor {n}")
            place = f"tensor {n} ({name!r})"
            if dtype_code >= len(_DTYPES) or constant > 1:
                expected = f"dtype below {len(_DTYPES)} and constant 0 or 1"
                raise self.error(place, expected, f"{dtype_code} and {constant}")
            dtype = _DTYPES[dtype_code]
            if constant:
                if used == count or self.record(_CONSTANT, b"CNST", used)[0] != n:
                    raise self.error(place, "the next record of CNST", "another tensor's or none")
                tensors.append(self.constant(used, name, dtype, place))
                used += 1
            elif dtype in RUN_DTYPES:
                tensors.append(Tensor(name, dtype, ()))
            else:
                raise self.error(place, f"dtype {_one_of(RUN_DTYPES)} in a tensor that is not constant", dtype)
        if used != count:
            raise self.error("section CNST", f"{used} records, one for each constant", count)
        return tensors

    def constant(self, n: int, name: str, dtype: str, place: str) -> Tensor:
        _, rank, offset, size, scale_at, scales, *dims = self.record(_CONSTANT, b"CNST", n)
        if rank > MAX_RANK:
            raise self.error(place, f"rank at most {MAX_RANK}", rank)
        shape = tuple(dims[:rank])
        if any(d < 0 for d in shape):
            raise self.error(place, "sizes of at least 0", shape)
        expected_size = math.prod(shape) * np.dtype(dtype).itemsize
        if size != expected_size:
            raise self.error(place, f"{expected_size} bytes for {dtype} {shape}", size)
        data = self.array(place, offset, dtype, shape)
        scale = None
        if dtype == "int8":
            if not scales or data.size % scales:
                raise self.error(place, f"a number of scales that divides {data.size} elements", scales)
            scale = self.array(f"{place} scale", scale_at, "float32", (scales,))
        elif scales:
            raise self.error(place, f"no scales in a {dtype} tensor", scales)
        return Tensor(name, dtype, shape, data, scale)

    def dims(self, kind: bytes, n: int, at: int, rank: int, place: str, symbols: tuple[Size, ...]) -> tuple[Size, ...]:
        start = self.sections[kind].offset + n * _RECORD_SIZE[kind] + at
        shape = []
        for axis in range(rank):
            coefficient, symbol, _ = _DIM.unpack_from(self.content, start + axis * _DIM.size)
            if coefficient < 0 or symbol >= len(symbols):
                expected = f"a coefficient of at least 0 and a symbol below {len(symbols)}"
                raise self.error(f"{place}, axis {axis}", expected, f"{coefficient} and {symbol}")
            shape.append(symbols[symbol] * coefficient)
        return tuple(shape)

    def tensor_at(self, tensors: list[Tensor], number: int, place: str) -> Tensor:
        if not 0 <= number < len(tensors):
            raise self.error(place, f"a tensor number below {len(tensors)}", number)
        return tensors[number]

    def port(self, kind: bytes, n: int, tensors: list[Tensor]) -> Port:
        name_at, number, rank, _ = self.record(_PORT, kind, n)
        word = "input" if kind == b"INPT" else "output"
        name = self.string(name_at, f"{word} {n}")
        place = f"{word} {n} ({name!r})"
        tensor = self.tensor_at(tensors, number, place)
        if word == "output":
            if rank != -1:
                raise self.error(place, "rank -1", rank)
        elif not 0 <= rank <= MAX_RANK:
            raise self.error(place, f"rank 0 to {MAX_RANK}", rank)
        else:
            tensor.shape = self.run_time(tensor, self.dims(kind, n, _PORT.size, rank, place, _SYMBOLS), place)
        return Port(name, tensor.name)

    def state(self, n: int, tensors: list[Tensor]) -> State:
        name_at, read, written, rank, fill_axis, initial, _ = self.record(_STATE, b"STAT", n)
        name = self.string(name_at, f"state {n}")
        place = f"state {n} ({name!r})"
        tensor, target = self.tensor_at(tensors, read, place), self.tensor_at(tensors, written, place)
        if rank > MAX_RANK or not -1 <= fill_axis < rank:
            raise self.error(
                place, f"rank at most {MAX_RANK} and a fill axis from -1 to below it", f"{rank} and {fill_axis}"
            )
        shape = self.run_time(tensor, self.dims(b"STAT", n, _STATE.size, rank, place, _SYMBOLS[:2]), place)
        tensor.shape = shape
        value = None
        if initial != -1:
            value = self.tensor_at(tensors, initial, f"{place} initial value").data
            if value is None or str(value.dtype) != tensor.dtype:
                found = "a run-time tensor" if value is None else value.dtype
                raise self.error(f"{place} initial value", f"a {tensor.dtype} constant", found)
        if fill_axis >= 0:  # as State says: the read tensor has the extent that a stream starts with
            begun = 0 if value is None else value.shape[fill_axis - rank]
            tensor.shape = (*shape[:fill_axis], begun, *shape[fill_axis + 1 :])
        return State(name, tensor.name, target.name, shape, fill_axis, value, tensor.dtype)

    def run_time(self, tensor: Tensor, shape: tuple[Size, ...], place: str) -> tuple[Size, ...]:
        if tensor.is_constant:
            raise self.error(place, "a run-time tensor", f"the constant {tensor.name!r}")
        return shape

    def node(self, n: int, tensors: list[Tensor]) -> Node:
        op_at, name_at, first, inputs, outputs, first_attr, attrs, _ = self.record(_NODE, b"NODE", n)
        op, name = self.string(op_at, f"node {n}"), self.string(name_at, f"node {n}")
        place = f"node {n} {name!r} ({op})"
        if first + inputs + outputs > self.sections[b"IDXS"].count:
            raise self.error(
                place, f"indices within IDXS' {self.sections[b'IDXS'].count}", f"{inputs} + {outputs} from {first}"
            )
        if first_attr + attrs > self.sections[b"ATTR"].count:
            raise self.error(
                place, f"attributes within ATTR's {self.sections[b'ATTR'].count}", f"{attrs} from {first_attr}"
            )
        numbers = [self.record(_INDEX, b"IDXS", first + i)[0] for i in range(inputs + outputs)]
        names = [self.tensor_at(tensors, i, place).name if i != -1 else "" for i in numbers]
        node = Node(op, names[:inputs], names[inputs:], {}, name)
        for i in range(first_attr, first_attr + attrs):
            key, value = self.attr(i, place)
            if key in node.attrs:
                raise self.error(f"{place}: attribute {key!r}", "it once", "it twice")
            node.attrs[key] = value
        return node

    def attr(self, n: int, place: str) -> tuple[str, Any]:
        key_at, kind_code, count, _, offset = self.record(_ATTR, b"ATTR", n)
        key = self.string(key_at, f"{place}: attribute {n}")
        place = f"{place}: attribute {key!r}"
        if kind_code >= len(_ATTR_KINDS):
            raise self.error(place, f"a kind below {len(_ATTR_KINDS)}", kind_code)
        kind = _ATTR_KINDS[kind_code]
        element = kind.rstrip("s")
        single = kind == element
        values = self.sections[b"VALS"]
        if offset % 8 or offset + count * _VALUE_SIZE[element] > values.size or (single and count != 1):
            expected = f"{'1 value' if single else 'values'} at a multiple of 8 within VALS' {values.size} bytes"
            raise self.error(place, expected, f"{count} at {offset}")
        start = values.offset + offset
        if element == "int":
            found: list = list(struct.unpack_from(f"<{count}q", self.content, start))
        elif element == "float":
            found = np.frombuffer(self.content, "<f4", count, start).tolist()
        else:
            found = [self.string(s, place) for s in struct.unpack_from(f"<{count}I", self.content, start)]
        return key, found[0] if single else found

    # ---- the whole

    def check_order(self, graph: Graph) -> None:
        """Every tensor is constant, an input, a state's read, or the output of exactly one node before its readers."""
        known = {name for name, t in graph.tensors.items() if t.is_constant}
        for name in [p.tensor for p in graph.inputs] + [s.read for s in graph.states]:
            if name in known:
                raise self.error(f"tensor {name!r}", "one origin", "two (inputs, states)")
            known.add(name)
        for node in graph.nodes:
            place = f"node {node.name!r} ({node.op})"
            for name in node.inputs:
                if name and name not in known:
                    raise self.error(place, "inputs made before it", f"{name!r}, made later or never")
            for name in filter(None, node.outputs):
                if name in known:
                    raise self.error(place, "outputs that nothing else makes", f"{name!r}")
                known.add(name)
        for name, reader in [(p.tensor, f"output {p.name!r}") for p in graph.outputs] + [
            (s.write, f"state {s.name!r}") for s in graph.states
        ]:
            if name not in known:
                raise self.error(reader, "a tensor that something makes", f"{name!r}")

    def drop_initial_values(self, graph: Graph, tensors: list[Tensor]) -> None:
        """State.initial holds a state's initial value; its tensor goes unless the graph names it too."""
        named = (
            {i for n in graph.nodes for i in n.inputs}
            | {p.tensor for p in graph.outputs}
            | {s.write for s in graph.states}
        )
        for n in range(self.sections[b"STAT"].count):
            initial = self.record(_STATE, b"STAT", n)[5]
            if initial != -1 and tensors[initial].name not in named:
                graph.tensors.pop(tensors[initial].name, None)

    def infer_shapes(self, graph: Graph) -> None:
        try:
            from .shapes import infer
        except ImportError:  # a reader of records alone
            return
        for node in graph.nodes:
            place = f"node {node.name!r} ({node.op})"
            try:
                inferred = infer(node, [graph.tensors[i] if i else None for i in node.inputs])
            except LstmEdgeError as exc:
                raise FormatError(f"{self.name}: {exc}") from exc
            except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as exc:
                # A damaged record under a valid checksum: infer expects what importers build.
                raise self.error(place, "inputs and attributes of docs/ops.md", f"{type(exc).__name__}: {exc}") from exc
            if len(node.outputs) > len(inferred):
                raise self.error(place, f"at most {len(inferred)} outputs", len(node.outputs))
            for name, (dtype, shape) in zip(node.outputs, inferred):
                if not name:
                    continue
                if graph.tensors[name].dtype != dtype:
                    raise self.error(f"{place}: output {name!r}", f"dtype {dtype}", graph.tensors[name].dtype)
                graph.tensors[name].shape = tuple(shape)

    def metadata(self) -> dict[str, Any]:
        if b"META" not in self.sections:
            return {}
        section = self.sections[b"META"]
        try:
            metadata = json.loads(self.content[section.offset : section.offset + section.size].decode())
        except (ValueError, RecursionError) as exc:
            raise self.error("section META", "a JSON object", exc) from exc
        if not isinstance(metadata, dict):
            raise self.error("section META", "a JSON object", type(metadata).__name__)
        return metadata

    def self_test(self, graph: Graph) -> SelfTest | None:
        about = graph.metadata.pop("self_test", None)
        if b"TEST" not in self.sections:
            return None
        if (
            not isinstance(about, dict)
            or not isinstance(about.get("source"), str)
            or not isinstance(about.get("tolerance"), (int, float))
        ):
            raise self.error("section META", "self_test with source and tolerance", about)
        section = self.sections[b"TEST"]
        arrays = self.npz(self.content[section.offset : section.offset + section.size])
        return SelfTest(
            {k[3:]: v for k, v in arrays.items() if k.startswith("in:")},
            {k[4:]: v for k, v in arrays.items() if k.startswith("out:")},
            about["source"],
            float(about["tolerance"]),
        )

    def npz(self, content: bytes) -> dict[str, np.ndarray]:
        arrays = {}
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for entry in archive.infolist():
                    if entry.compress_type != zipfile.ZIP_STORED:  # so that no small file claims gigabytes
                        raise self.error(
                            f"section TEST, {entry.filename}", "an uncompressed entry", f"method {entry.compress_type}"
                        )
                    arrays[entry.filename.removesuffix(".npy")] = _npy(archive.read(entry))
        except (
            zipfile.BadZipFile,
            ValueError,
            EOFError,
            OSError,
            LookupError,
            NotImplementedError,
            RuntimeError,
            struct.error,
        ) as exc:
            if isinstance(exc, FormatError):
                raise
            raise self.error("section TEST", "a NumPy .npz archive", exc) from exc
        return arrays


def _npy(content: bytes) -> np.ndarray:
    """A `.npy` file's array; ValueError unless its header fits its bytes."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"expected .npy version 1.0, found {version}")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.kind not in "biuf" or fortran_order or any(d < 0 for d in shape):
        raise ValueError(f"expected plain numbers in C order, found {dtype} {shape}, fortran_order {fortran_order}")
    body = content[file.tell() :]
    if len(body) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"expected {math.prod(shape) * dtype.itemsize} bytes for {dtype} {shape}, found {len(body)}")
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="))
