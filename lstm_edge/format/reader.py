"""The Graph in the bytes of a `.lstm` file. Everything is verified before use."""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import FormatError, LstmEdgeError
from ..ir.dims import Size
from ..ir.graph import Graph, Node, Port, SelfTest, State, Tensor
from ..ir.ops import MAX_RANK, RUN_DTYPES
from ..ir.shapes import infer
from ..ir.sparse import BLOCK, blocks_of, join
from ..ir.spec import WEIGHT_DTYPES
from ..metadata import MAGIC, checked
from .layout import (
    ALIGN,
    ATTR,
    ATTR_KINDS,
    BLOCKS,
    CONSTANT,
    CONSTANT_KINDS,
    CRC_START,
    DIM,
    DTYPES,
    HEADER,
    INDEX,
    MAJOR,
    MAX_LENGTHS,
    NEWER,
    NODE,
    OPTIONAL,
    PORT,
    RECORD_SIZE,
    SECTION,
    STATE,
    SYMBOLS,
    TENSOR,
    VALUE_SIZE,
    one_of,
    with_lengths,
)


@dataclass(frozen=True)
class Section:
    offset: int
    size: int
    count: int


class Reader:
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
            found = f"{bytes(content[: len(MAGIC)])!r}; this is not a .lstm file; convert it first: lstm_edge.convert or lstm-edge convert"
            raise self.error("header", f"magic {MAGIC!r}", found)
        if len(content) < HEADER.size:
            raise self.error("header", f"{HEADER.size} bytes", f"{len(content)}; the file is truncated")
        _, major, _, crc, size, self.section_count, _ = HEADER.unpack_from(content)
        if not MAJOR <= major <= NEWER:
            advice = "upgrade lstm_edge to read it" if major > MAJOR else "convert the model again"
            raise self.error("header", f"major version {MAJOR} or {NEWER}", f"{major}; {advice}")
        if size != len(content):
            raise self.error(
                "header", f"a file of {size} bytes", f"{len(content)}; the file is truncated or has something appended"
            )
        actual = zlib.crc32(memoryview(content)[CRC_START:])
        if crc != actual:
            raise self.error("header", f"CRC32 {crc:08x}", f"{actual:08x}; the file is damaged")

    def read_sections(self) -> dict[bytes, Section]:
        table_end = HEADER.size + SECTION.size * self.section_count
        if table_end > len(self.content):
            raise self.error(
                "section table",
                f"at most {len(self.content)} bytes",
                f"{self.section_count} sections, {table_end} bytes",
            )
        found: dict[bytes, Section] = {}
        used = []
        for n in range(self.section_count):
            kind, count, offset, size, _ = SECTION.unpack_from(self.content, HEADER.size + n * SECTION.size)
            place = f"section {kind.decode('ascii', 'backslashreplace')}"
            if offset % ALIGN or offset < table_end or offset + size > len(self.content):
                bounds = f"an offset multiple of {ALIGN} and bytes within [{table_end}, {len(self.content)})"
                raise self.error(place, bounds, f"offset {offset}, size {size}")
            if size:
                used.append((offset, size, place))
            if kind not in RECORD_SIZE:
                continue
            if kind in found:
                raise self.error(place, "one of its kind", "two")
            record = RECORD_SIZE[kind]
            if size != count * record if record else count:
                raise self.error(place, f"{count} records of {record} bytes", f"{size} bytes")
            found[kind] = Section(offset, size, count)
        self.check_overlap(used)
        for kind in RECORD_SIZE:
            if kind not in found and kind not in OPTIONAL:
                raise self.error("section table", f"section {kind.decode()}", "none")
        return found

    def check_overlap(self, used: list[tuple[int, int, str]]) -> None:
        used.sort()
        for (offset, size, place), (next_offset, _, next_place) in zip(used, used[1:]):
            if offset + size > next_offset:
                raise self.error(place, f"its end before {next_place} at {next_offset}", offset + size)

    def graph(self) -> Graph:
        graph = Graph(metadata=self.metadata())
        self.symbols = with_lengths(self.lengths(graph))
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

    def record(self, layout: struct.Struct, kind: bytes, n: int) -> tuple[Any, ...]:
        return layout.unpack_from(self.content, self.sections[kind].offset + n * RECORD_SIZE[kind])

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
            name_at, dtype_code, constant = self.record(TENSOR, b"TENS", n)
            name = self.string(name_at, f"tensor {n}")
            place = f"tensor {n} ({name!r})"
            if dtype_code >= len(DTYPES) or constant not in CONSTANT_KINDS:
                expected = f"dtype below {len(DTYPES)} and constant {one_of(tuple(map(str, CONSTANT_KINDS)))}"
                raise self.error(place, expected, f"{dtype_code} and {constant}")
            dtype = DTYPES[dtype_code]
            if constant:
                if used == count or self.record(CONSTANT, b"CNST", used)[0] != n:
                    raise self.error(place, "the next record of CNST", "another tensor's or none")
                tensors.append(self.constant(used, name, dtype, place, constant == BLOCKS))
                used += 1
            elif dtype in RUN_DTYPES:
                tensors.append(Tensor(name, dtype, ()))
            else:
                raise self.error(place, f"dtype {one_of(RUN_DTYPES)} in a tensor that is not constant", dtype)
        if used != count:
            raise self.error("section CNST", f"{used} records, one for each constant", count)
        return tensors

    def constant(self, n: int, name: str, dtype: str, place: str, by_blocks: bool) -> Tensor:
        _, rank, offset, size, scale_at, scales, *dims = self.record(CONSTANT, b"CNST", n)
        if rank > MAX_RANK:
            raise self.error(place, f"rank at most {MAX_RANK}", rank)
        shape = tuple(dims[:rank])
        if any(d < 0 for d in shape):
            raise self.error(place, "sizes of at least 0", shape)
        expected_size = math.prod(shape) * np.dtype(dtype).itemsize
        if by_blocks:
            data = self.blocks(place, offset, size, dtype, shape)
        elif size != expected_size:
            raise self.error(place, f"{expected_size} bytes for {dtype} {shape}", size)
        else:
            data = self.array(place, offset, dtype, shape)
        scale = None
        if dtype == "int8":
            if not scales or data.size % scales:
                raise self.error(place, f"a number of scales that divides {data.size} elements", scales)
            scale = self.array(f"{place} scale", scale_at, "float32", (scales,))
        elif scales:
            raise self.error(place, f"no scales in a {dtype} tensor", scales)
        return Tensor(name, dtype, shape, data, scale)

    def blocks(self, place: str, offset: int, size: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """A weight of which the file has the blocks that hold something, behind a bit for each."""
        if len(shape) < 2 or dtype not in ("float32", *WEIGHT_DTYPES):
            raise self.error(place, "a weight of rank 2 or more to be stored by its blocks", f"{dtype} {shape}")
        down, across = blocks_of(shape)
        bits = self.array(place, offset, "uint8", (-(-down * across // 8),))
        marked = np.unpackbits(bits, bitorder="little")
        if marked[down * across :].any():
            raise self.error(place, f"bits for {down * across} blocks", "bits behind them")
        count, rows = int(marked.sum()), BLOCK[0]
        start = -(-bits.nbytes // ALIGN) * ALIGN
        expected = start + count * rows * np.dtype(dtype).itemsize
        if size != expected:
            raise self.error(place, f"{expected} bytes for {count} of {down * across} blocks", size)
        return join(bits, self.array(place, offset + start, dtype, (count, rows)), shape)

    def dims(self, kind: bytes, n: int, at: int, rank: int, place: str, symbols: tuple[Size, ...]) -> tuple[Size, ...]:
        start = self.sections[kind].offset + n * RECORD_SIZE[kind] + at
        shape = []
        for axis in range(rank):
            coefficient, symbol, _ = DIM.unpack_from(self.content, start + axis * DIM.size)
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
        name_at, number, rank, _ = self.record(PORT, kind, n)
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
            tensor.shape = self.run_time(tensor, self.dims(kind, n, PORT.size, rank, place, self.symbols), place)
        return Port(name, tensor.name)

    def state(self, n: int, tensors: list[Tensor]) -> State:
        name_at, read, written, rank, fill_axis, initial, _ = self.record(STATE, b"STAT", n)
        name = self.string(name_at, f"state {n}")
        place = f"state {n} ({name!r})"
        tensor, target = self.tensor_at(tensors, read, place), self.tensor_at(tensors, written, place)
        if rank > MAX_RANK or not -1 <= fill_axis < rank:
            raise self.error(
                place, f"rank at most {MAX_RANK} and a fill axis from -1 to below it", f"{rank} and {fill_axis}"
            )
        shape = self.run_time(tensor, self.dims(b"STAT", n, STATE.size, rank, place, SYMBOLS[:2]), place)
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
        op_at, name_at, first, inputs, outputs, first_attr, attrs, _ = self.record(NODE, b"NODE", n)
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
        numbers = [self.record(INDEX, b"IDXS", first + i)[0] for i in range(inputs + outputs)]
        names = [self.tensor_at(tensors, i, place).name if i != -1 else "" for i in numbers]
        node = Node(op, names[:inputs], names[inputs:], {}, name)
        for i in range(first_attr, first_attr + attrs):
            key, value = self.attr(i, place)
            if key in node.attrs:
                raise self.error(f"{place}: attribute {key!r}", "it once", "it twice")
            node.attrs[key] = value
        return node

    def attr(self, n: int, place: str) -> tuple[str, Any]:
        key_at, kind_code, count, _, offset = self.record(ATTR, b"ATTR", n)
        key = self.string(key_at, f"{place}: attribute {n}")
        place = f"{place}: attribute {key!r}"
        if kind_code >= len(ATTR_KINDS):
            raise self.error(place, f"a kind below {len(ATTR_KINDS)}", kind_code)
        kind = ATTR_KINDS[kind_code]
        element = kind.rstrip("s")
        single = kind == element
        values = self.sections[b"VALS"]
        if offset % 8 or offset + count * VALUE_SIZE[element] > values.size or (single and count != 1):
            expected = f"{'1 value' if single else 'values'} at a multiple of 8 within VALS' {values.size} bytes"
            raise self.error(place, expected, f"{count} at {offset}")
        start = values.offset + offset
        if element == "int":
            found: list[Any] = list(struct.unpack_from(f"<{count}q", self.content, start))
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
            initial = self.record(STATE, b"STAT", n)[5]
            if initial != -1 and tensors[initial].name not in named:
                graph.tensors.pop(tensors[initial].name, None)

    def infer_shapes(self, graph: Graph) -> None:
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
            text = self.content[section.offset : section.offset + section.size]
            metadata = json.loads(text.decode())
        except (ValueError, RecursionError) as exc:
            raise self.error("section META", "a JSON object", exc) from exc
        if not isinstance(metadata, dict):
            raise self.error("section META", "a JSON object", type(metadata).__name__)
        checked(metadata, text, f"{self.name}: section META")
        return metadata

    def lengths(self, graph: Graph) -> list[str]:
        """The names of the open lengths beside batch and frames, which the writer finds again from the inputs."""
        names = graph.metadata.pop("lengths", [])
        words = isinstance(names, list) and all(isinstance(n, str) and n.isidentifier() for n in names)
        if not words or len(names) > MAX_LENGTHS or len({*names, "batch", "frames"}) != len(names) + 2:
            raise self.error("section META", f"lengths: at most {MAX_LENGTHS} names, each once", names)
        return list(names)

    def self_test(self, graph: Graph) -> SelfTest | None:
        about = graph.metadata.pop("self_test", None)
        if b"TEST" not in self.sections:
            return None
        if (
            not isinstance(about, dict)
            or not isinstance(about.get("source"), str)
            or not isinstance(about.get("tolerance"), (int, float))
            or not isinstance(about.get("why", ""), str)
        ):
            raise self.error("section META", "self_test with source and tolerance, and why as text", about)
        section = self.sections[b"TEST"]
        arrays = self.npz(self.content[section.offset : section.offset + section.size])
        return SelfTest(
            {k[3:]: v for k, v in arrays.items() if k.startswith("in:")},
            {k[4:]: v for k, v in arrays.items() if k.startswith("out:")},
            about["source"],
            float(about["tolerance"]),
            about.get("why", ""),
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
