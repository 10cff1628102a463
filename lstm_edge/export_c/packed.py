"""What ops packed, as C initialisers of the same structs."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .memory import Field, Types
from .weights import float_rows, int8_rows, number, numbers, sparse_rows

HEAD, SLACK = 2 * ctypes.sizeof(ctypes.c_void_p), 128  # of a block of the model's memory
F32, F16, I8 = 0, 1, 2  # le_packed_kind


class Block(NamedTuple):
    """An allocation: the address that was handed out, and its bytes."""

    start: int
    size: int


class Packed:
    """Writes initialisers for the nodes of one op's file.

    `arrays` collects the arrays that they point to, and `live` the enumerators that occur, by which the sources are cut.
    """

    def __init__(self, types: Types, blocks: Sequence[Block], lanes: int, prefix: str, tables: dict[str, str]):
        self.types, self.blocks, self.lanes, self.prefix, self.tables = types, blocks, lanes, prefix, tables
        self.arrays: list[str] = []
        self.live: set[str] = set()
        self.kinds: set[int] = set()
        self._known: dict[int, str] = {}

    def text(self, kind: str, address: int) -> str:
        if kind not in self.types.fields:
            return number(self.types.at(kind, address).value)
        if kind == "le_packed":
            return self._weight(self.types.at(kind, address))
        made = self.types.at(kind, address)
        members = []
        for f in self.types.fields[kind]:
            place = address + getattr(type(made), f.name).offset
            value = self._member(f, list(map(self._size, f.sizes)), place)
            if value not in ("", "0", "NULL"):
                members.append(f".{f.name} = {value}")
        return "{" + ", ".join(members or ["0"]) + "}"

    def see(self, enum: str, address: int) -> str:
        """The word of the enumerator that lies there, or its number; it counts as one that occurs."""
        value = int(ctypes.c_int.from_address(address).value)
        words = [w for w, n in self.types.enums[enum].items() if n == value]
        self.live |= set(words)
        return words[0] if words else str(value)

    def _size(self, text: str) -> int:
        size = self.types._number(text)
        assert size is not None
        return size

    def _member(self, f: Field, sizes: list[int], address: int) -> str:
        if sizes:
            step = ctypes.sizeof(self.types._member(Field(f.name, f.kind, f.pointer, tuple(map(str, sizes[1:])))))
            values = [self._member(f, sizes[1:], address + i * step) for i in range(sizes[0])]
            empty = all(v in ("", "0", "NULL", "{0}", "0.0f") for v in values)
            blank = "{0}" if len(sizes) > 1 or (f.kind in self.types.fields and not f.pointer) else "0"
            return "" if empty else "{" + ", ".join(v or blank for v in values) + "}"
        if f.pointer:
            target = ctypes.c_void_p.from_address(address).value
            return self._pointer(f, target) if target else "NULL"
        if f.kind in self.types.enums:
            return self.see(f.kind, address)
        if f.kind in self.types.fields:
            return self.text(f.kind, address)
        value = self.types.at(f.kind, address).value
        if f.kind == "float":
            return "" if value == 0 and not np.signbit(value) else number(np.float32(value))
        return str(int(value)) if value else ""

    def _pointer(self, f: Field, target: int) -> str:
        if f.kind in self.tables:
            return f"&{self.tables[f.kind]}"
        start, size = next(b for b in self.blocks if b.start <= target < b.start + max(b.size, 1))
        if f.kind == "le_packed":
            count = (size - (target - start)) // ctypes.sizeof(self.types.layout("le_packed"))
            values = [
                self.text("le_packed", target + i * ctypes.sizeof(self.types.layout("le_packed"))) for i in range(count)
            ]
            name = self._name()
            self.arrays.append(f"static const le_packed {name}[] = {{\n    " + ",\n    ".join(values) + "};\n")
            return f"(le_packed *){name}"
        name = self._known.get(start) or self._array(f.kind, start, size)
        self._known[start] = name
        offset = (target - start) // ctypes.sizeof(self.types.layout(f.kind))
        return f"({f.kind} *){name}" + (f" + {offset}" if offset else "")

    def _name(self) -> str:
        return f"{self.prefix}_{len(self.arrays)}"

    def _array(self, kind: str, start: int, size: int) -> str:
        dtype = {"float": np.float32, "int32_t": np.int32, "int64_t": np.int64}[kind]
        values = np.frombuffer(
            ctypes.string_at(start, size // np.dtype(dtype).itemsize * np.dtype(dtype).itemsize), dtype
        )
        name = self._name()
        self.arrays.append(f"static const {kind} {name}[] = {{\n{numbers(values)}\n}};\n")
        return name

    def _weight(self, p: Any) -> str:
        if not p.data:
            return "{" + f".n = {p.n}, .k = {p.k}" + "}" if p.n or p.k else "{0}"
        start, size = next(b for b in self.blocks if b.start <= p.data < b.start + b.size)
        data = np.frombuffer(ctypes.string_at(p.data, size - (p.data - start)), np.uint8)
        name, kind = self._name(), p.kind
        if kind == I8:
            scale, rows = sparse_rows(data, p.n, p.k, True) if p.sparse else int8_rows(data, p.n, p.k, self.lanes)
            self.arrays.append(
                f"static const struct {{\n    float scale[{p.n}];\n    int8_t rows[{rows.size}];\n}} {name} = {{{{\n{numbers(scale)}\n}}, {{\n{numbers(rows.ravel())}\n}}}};\n"
            )
            at = f"&{name}"
        else:
            floats = data[: data.size // 4 * 4].view(np.float32)
            rows = (
                sparse_rows(data, p.n, p.k, False)[1][:, : p.k]
                if p.sparse
                else float_rows(floats, p.n, p.k, self.lanes)
            )
            with np.errstate(over="ignore"):
                half = rows.astype(np.float16)
            if np.array_equal(half.astype(np.float32), rows):
                kind = F16
                self.arrays.append(
                    f"static const uint16_t {name}[] = {{ /* float16 */\n{numbers(half.view(np.uint16).ravel())}\n}};\n"
                )
            else:
                self.arrays.append(f"static const float {name}[] = {{\n{numbers(rows.ravel())}\n}};\n")
            at = name
        self.kinds.add(kind)
        word = ("LE_PACKED_F32", "LE_PACKED_F16", "LE_PACKED_I8")[kind]
        fine = ", .fine = true" if p.fine else ""
        return f"{{.n = {p.n}, .k = {p.k}, .kind = {word}{fine}, .data = (void *){at}}}"


class OpStructs:
    """What the ops of one file of src_c packed for the nodes of a model; `stem` is the file's."""

    def __init__(self, stem: str, writer: Packed):
        self.stem, self.writer = stem, writer
        self.lines: list[str] = []
        self.names: list[str] = []

    @property
    def table(self) -> str:
        """Of pointers to the structs, which the model's own file knows by this name."""
        return f"le_{self.stem}_packed"

    def add(self, kind: str, node: int, address: int) -> str:
        """Writes a node's struct of this kind and returns the expression of where it is pointed to."""
        name = f"{self.stem}_node_{node}"
        self.lines.append(f"static const {kind} {name} = {self.writer.text(kind, address)};\n")
        self.names.append(f"&{name}")
        return f"&{self.table}[{len(self.names) - 1}]"

    def text(self) -> str:
        arrays = "".join(self.writer.arrays)
        math = "#include <math.h>\n" if re.search("NAN|INFINITY", arrays) else ""
        listed = f"const void *const {self.table}[]"
        return (
            f"\n/* ---- this model's ---- */\n\n{math}{arrays}{''.join(self.lines)}"
            f"\nextern {listed};\n{listed} = {{{', '.join(self.names)}}};\n"
        )
