"""Tables of a TOML that somebody wrote, read with care: a message names the place, what was expected and what was found."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, Union

from .. import memory
from ..errors import FormatError
from ..files import toml

MOST_BYTES = 1 << 20
MOST = sys.float_info.max  # whole numbers of TOML may lie above
Description = Union[str, "os.PathLike[str]", Mapping[str, Any]]


def read(description: Description) -> tuple[dict[str, Any], str]:
    """The tables of a TOML file, or a dict as they are, and how messages name them. FormatError, OSError."""
    if isinstance(description, Mapping):
        return dict(description), "the description"
    if not isinstance(description, (str, os.PathLike)):
        raise FormatError(
            f"the description: expected the path of a TOML file or a dict, found {type(description).__name__}"
        )
    path = Path(description)
    if path.stat().st_size > MOST_BYTES:
        raise FormatError(f"{path.name}: expected at most {MOST_BYTES} bytes, found {path.stat().st_size}")
    try:
        memory.read(path)
        return toml.loads(path.read_text(encoding="utf-8")), path.name
    except (toml.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise FormatError(f"{path.name}: expected TOML, found {exc}") from exc


class Table:
    """One table: its keys are taken one by one, and `done` refuses those that nobody took."""

    def __init__(self, values: Any, place: str):
        self.place = place
        if not isinstance(values, Mapping):
            raise self.error("a table of keys and values", values)
        self.values, self.known = values, set[str]()

    def error(self, expected: str, found: Any, key: str = "") -> FormatError:
        at = f"{self.place}: {key}" if key else self.place
        return FormatError(f"{at}: expected {expected}, found {found if isinstance(found, str) else repr(found)}")

    def fail(self, expected: str, found: Any, key: str = "") -> NoReturn:
        raise self.error(expected, found, key)

    def has(self, key: str) -> bool:
        return key in self.values

    def take(self, key: str) -> Any:
        """The value as it stands, None where the table has none."""
        self.known.add(key)
        return self.values.get(key)

    def number(self, key: str, default: float | None = None, least: float = 0) -> float:
        """A number of at least `least`; without a default it must be there."""
        value = self.take(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= MOST:
            expected = "a number" if least == -MOST else f"a number of at least {least:g}"
            self.fail(expected, "none" if value is None else repr(value), key)
        return float(value)

    def whole(self, key: str, default: int | None = None, least: int = 1) -> int:
        """A whole number of at least `least`."""
        value = self.take(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self.fail(f"a whole number of at least {least}", "none" if value is None else repr(value), key)
        return value

    def word(self, key: str, words: tuple[str, ...], default: str | None = None) -> str:
        """One of a few words."""
        value = self.take(key)
        if value is None and default is not None:
            return default
        if value not in words:
            self.fail(f"one of {', '.join(words)}", "none" if value is None else value, key)
        return str(value)

    def names(self, key: str) -> list[str]:
        """A name or a list of names, each not empty."""
        value = self.take(key)
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, list) or not found or not all(isinstance(n, str) and n for n in found):
            self.fail("a name or a list of names", "none" if value is None else value, key)
        return list(found)

    def done(self, meant: Mapping[str, str] | None = None) -> None:
        """Refuses a key that nobody asked for, with the one that was meant: as `meant` has it, or where one is near."""
        for key in self.values:
            if key not in self.known:
                near = [meant[key]] if meant and key in meant else difflib.get_close_matches(str(key), self.known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known here are {', '.join(sorted(self.known))}"
                self.fail("a key that this table has", f"{key!r}; {hint}")
