"""TOML by the standard library, which has it from Python 3.11 on; before that by tomli, which it was taken from."""

from __future__ import annotations

import re
import sys
from typing import Any

from .. import memory
from ..errors import FormatError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOMLDecodeError = tomllib.TOMLDecodeError
MOST_PARTS = (
    64  # of a dotted key: each is a table in the one before, for which the reader keeps the whole key up to there
)
_WORD = re.compile(r"""[\w-]+|"[^"\n]*"|'[^'\n]*'|\S""")


def loads(text: str) -> dict[str, Any]:
    """The tables of a TOML text. TOMLDecodeError where it is none, FormatError for a key of more than MOST_PARTS parts."""
    parts, before, tables = 1, "", 0
    for word in _WORD.finditer(text):
        parts = 1 if word[0] != "." and before != "." else parts + (word[0] == ".")
        before = word[0]
        tables += parts > 2
        if parts > MOST_PARTS:
            line = text.count("\n", 0, word.start()) + 1
            raise FormatError(f"line {line}: expected keys of at most {MOST_PARTS} parts, found more between dots")
    headers = text.count("\n[") + text.startswith("[")
    memory.take(600 * tables + 500 * text.count("=") + 850 * headers + 80 * text.count("[") + 10 * len(text), "TOML")
    return tomllib.loads(text)
