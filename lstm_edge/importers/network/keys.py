"""Tables of a network description: every key is taken by name and kind, and what is left over is an error with its line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ...errors import FormatError
from ...ir.dims import BATCH, FRAMES, Size

REQUIRED = object()
HEADER = re.compile(r"^\s*\[\[\s*layer\s*\]\]")
INLINE = re.compile(r"^\s*(layer\s*=\s*\[)?\s*\{")
SIZE = re.compile(r"(?:([0-9]+)\*)?(batch|frames)$")


class Keys:
    """The keys of one table. `place` names it in errors, `text` is the TOML it came from (may be empty), `layer` its
    number among the layers (-1: the top)."""

    def __init__(self, values: Mapping[str, Any], place: str, text: str = "", layer: int = -1):
        self.values, self.place, self.text, self.layer = dict(values), place, text, layer
        self.known: list[str] = []

    def fail(self, message: str, key: str = "") -> NoReturn:
        raise FormatError(f"{self.place}{self._line(key)}: {message}")

    def take(self, key: str, default: Any = REQUIRED) -> Any:
        self.known.append(key)
        if key not in self.values:
            if default is REQUIRED:
                self.fail(f"{key} is missing")
            return default
        return self.values.pop(key)

    def text_of(self, key: str, default: Any = REQUIRED) -> Any:
        return self._kind(key, self.take(key, default), str, "a name", default)

    def word(self, key: str, words: Sequence[str], default: Any = REQUIRED) -> Any:
        value = self.take(key, default)
        if value is not default and value not in words:
            self.fail(f"{key} = {value!r}: expected {' or '.join(words)}", key)
        return value

    def number(self, key: str, default: Any = REQUIRED) -> float:
        value: float = self._kind(key, self.take(key, default), (int, float), "a number", default)
        return value

    def whole(self, key: str, default: Any = REQUIRED) -> int:
        value: int = self._kind(key, self.take(key, default), int, "a whole number", default)
        return value

    def flag(self, key: str, default: Any = REQUIRED) -> bool:
        value: bool = self._kind(key, self.take(key, default), bool, "true or false", default)
        return value

    def names(self, key: str, default: Any = REQUIRED) -> list[str]:
        value: list[str] = self._kind(key, self.take(key, default), list, "a list of names", default)
        if not all(isinstance(v, str) for v in value):
            self.fail(f"{key}: expected a list of names, found {value!r}", key)
        return value

    def _kind(self, key: str, value: Any, kinds: Any, what: str, default: Any) -> Any:
        if value is default:
            return value
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            self.fail(f"{key}: expected {what}, found {value!r}", key)
        return value

    def done(self) -> None:
        """Refuses the keys that nothing took."""
        for key in self.values:
            near = difflib.get_close_matches(key, self.known, 1)
            hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(dict.fromkeys(self.known))}"
            self.fail(f"unknown key {key!r}; {hint}", key)

    def _line(self, key: str) -> str:
        lines = self.text.splitlines()
        first, end = _block(lines, self.layer)
        if first is None:
            return ""
        pattern = re.compile(rf'(^|[{{,\s])"?{re.escape(key)}"?\s*=') if key else None
        for n in range(first, end):
            if pattern is None or pattern.search(lines[n]):
                return f", line {n + 1}"
        return f", line {first + 1}"


def _block(lines: list[str], layer: int) -> tuple[int | None, int]:
    """The lines of a layer, written as [[layer]] or as one inline table a line; of the whole file for the top."""
    if layer < 0:
        return (0, len(lines)) if lines else (None, 0)
    starts = [n for n, line in enumerate(lines) if HEADER.match(line)]
    inline = not starts
    if inline:
        starts = [n for n, line in enumerate(lines) if INLINE.match(line)]
    if layer >= len(starts):
        return None, 0
    return starts[layer], starts[layer] + 1 if inline else (*starts, len(lines))[layer + 1]


def size_of(value: Any, keys: Keys) -> Size:
    """A number, 'batch', 'frames', or a multiple such as '512*frames'."""
    match = SIZE.match(value) if isinstance(value, str) else None
    if match:
        symbol = BATCH if match[2] == "batch" else FRAMES
        return symbol * int(match[1] or 1)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        keys.fail(f"shape: expected a number, batch, frames or a multiple such as '4*frames', found {value!r}", "shape")
    return value
