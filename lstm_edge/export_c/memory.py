"""The structs of the core as its headers declare them, read where they lie in this process.

What an op packs for its run is known to its C file alone; instead of saying it twice, the declarations are read, ctypes lays them out as this machine's
compiler did, and values come with their names and types.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import UnsupportedModelError
from .source import bare

SCALARS: dict[str, Any] = {
    "int": ctypes.c_int, "unsigned": ctypes.c_uint, "float": ctypes.c_float, "double": ctypes.c_double, "bool": ctypes.c_bool,
    "char": ctypes.c_char, "size_t": ctypes.c_size_t, "ptrdiff_t": ctypes.c_ssize_t,
    **{f"{sign}int{bits}_t": getattr(ctypes, f"c_{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip


@dataclass(frozen=True)
class Field:
    """A member: the name of its type, whether it is a pointer, and the sizes of an array."""

    name: str
    kind: str
    pointer: bool
    sizes: tuple[str, ...]


class Types:
    """What C texts declare: structs by name, enumerators by enum."""

    def __init__(self, texts: Iterable[str]):
        self.fields: dict[str, list[Field]] = {}
        self.enums: dict[str, dict[str, int]] = {}
        self.numbers: dict[str, int] = {}
        self._layouts: dict[str, Any] = {}
        for text in texts:
            self._read(bare(text))

    def layout(self, kind: str) -> Any:
        """The ctypes type of a struct or scalar."""
        if kind in SCALARS:
            return SCALARS[kind]
        if kind in self.enums:
            return ctypes.c_int
        if kind not in self._layouts:
            if kind not in self.fields:
                raise UnsupportedModelError(
                    f"export-c: expected a struct that the op's own files declare, found {kind}"
                )
            members = [(f.name, self._member(f)) for f in self.fields[kind]]
            self._layouts[kind] = type(kind, (ctypes.Structure,), {"_fields_": members})
        return self._layouts[kind]

    def _member(self, field: Field) -> Any:
        made = ctypes.c_void_p if field.pointer else self.layout(field.kind)
        for size in reversed(field.sizes):
            number = self._number(size)
            assert number is not None, f"size [{size}] of member {field.name} is not known"
            made = made * number
        return made

    def at(self, kind: str, address: int) -> Any:
        return self.layout(kind).from_address(address)

    def array(self, kind: str, address: int, count: int) -> list[Any]:
        """Elements of a C array; structs, or Python's numbers."""
        return list((self.layout(kind) * count).from_address(address)) if count else []

    # ---- reading declarations

    def _read(self, code: str) -> None:
        for name, value in re.findall(r"^#define\s+(\w+)\s+(\(?[\w *]+\)?)\s*$", code, re.M):
            number = self._number(value)
            self.numbers.update({} if number is None else {name: number})
        code = _with_lists(code)
        for start in re.finditer(r"(?:typedef\s+)?\b(enum|struct)\s*(\w*)\s*\{", code):
            body, after = _braced(code, start.end())
            named = re.match(r"\s*(\w+)\s*;", after) if start[0].startswith("typedef") else None
            name = named[1] if named else start[2]
            if start[1] == "enum":
                self._enum(name, re.sub(r"^\s*#.*$", "", body, flags=re.M))
            elif name:
                self.fields[name] = list(self._members(body))

    def _enum(self, name: str, body: str) -> None:
        value, members = 0, {}
        for entry in filter(None, (e.strip() for e in body.split(","))):
            word, _, given = (part.strip() for part in entry.partition("="))
            if given:
                known = self._number(given)
                if known is None:
                    return
                value = known
            members[word] = self.numbers[word] = value
            value += 1
        if name:
            self.enums[name] = members

    def _number(self, text: str) -> int | None:
        """A product or shift of numbers and names; None for anything else."""
        factors = [
            self.numbers.get(f, int(f) if f.isdigit() else None) for f in re.split(r"\s*\*\s*", text.strip("() "))
        ]
        shift = re.fullmatch(r"\(?1 << (\d+)\)?", text)
        if shift:
            return 1 << int(shift[1])
        made = 1
        for factor in factors:
            if factor is None:
                return None
            made *= factor
        return made

    def _members(self, body: str) -> Iterator[Field]:
        at = 0
        while at < len(body):
            end = _statement_end(body, at)
            statement = body[at:end].strip()
            at = end + 1
            if not statement:
                continue
            nested = re.match(r"struct\s+(\w+)\s*\{", statement)
            function = re.search(r"\(\*\s*(?:const\s+)?(\w+)\s*((?:\[[^\]]*\])*)\)\s*\(", statement)
            if nested:
                inside, declarators = _braced(statement, nested.end())
                self.fields[nested[1]] = list(self._members(inside))
                yield from self._declared(nested[1], declarators)
            elif function:
                yield Field(function[1], "function", True, _sizes(function[2]))
            else:
                base = re.match(r"(?:const\s+)?(?:struct\s+)?(\w+)\s*(.*)", statement, re.S)
                assert base, statement
                yield from self._declared(base[1], base[2])

    def _declared(self, kind: str, declarators: str) -> Iterator[Field]:
        for one in declarators.split(","):
            name = re.search(r"(\w+)\s*((?:\[[^\]]*\]\s*)*)$", one.strip())
            assert name, declarators
            yield Field(name[1], kind, "*" in one.strip()[: name.start()], _sizes(name[2]))


def _sizes(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\[([^\]]*)\]", text))


def _with_lists(code: str) -> str:
    """Code whose enums over the list of activations are written out."""
    found = re.search(r"#define LE_ACTIVATIONS\(X\)(.*?[^\\])\n", code, re.S)
    words = re.findall(r"X\((\w+)\)", found[1]) if found else []
    return code.replace("LE_ACTIVATIONS(X)", "".join(f"LE_ACT_{w}, " for w in words)) if words else code


def _braced(code: str, start: int) -> tuple[str, str]:
    """What lies between the brace before `start` and its own, and what is behind."""
    depth = 1
    for at in range(start, len(code)):
        depth += {"{": 1, "}": -1}.get(code[at], 0)
        if depth == 0:
            return code[start:at], code[at + 1 :]
    raise AssertionError("a brace of the core's sources is not closed")


def _statement_end(code: str, start: int) -> int:
    depth = 0
    for at in range(start, len(code)):
        depth += {"{": 1, "}": -1}.get(code[at], 0)
        if code[at] == ";" and depth == 0:
            return at
    return len(code)
