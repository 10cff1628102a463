"""JSON files of recurrent networks: RTNeural and AIDA-X, GuitarML, NAM. The content says which."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import FormatError, LstmEdgeError, UnsupportedModelError
from ...ir.graph import Graph
from . import guitarml, nam, rtneural

MAX_BYTES = 40 << 20  # a million weights, as an indented dump spells them
MAX_NUMBERS, MAX_LISTS = 4 << 20, 1 << 19  # parsed, a number takes 32 bytes and a list some 90, however short its text

READERS: dict[str, tuple[Callable[[dict], bool], Callable[[dict], Graph]]] = {
    "RTNeural": (lambda d: "layers" in d and "in_shape" in d, rtneural.build),
    "GuitarML": (lambda d: "model_data" in d and "state_dict" in d, guitarml.build),
    "NAM": (lambda d: "architecture" in d and "weights" in d, nam.build),
}


def read(source: str | os.PathLike[str] | bytes) -> Graph:
    """The Graph of a JSON file (a path, or its bytes).

    FormatError for what is not such a file, UnsupportedModelError for a layer or an architecture that is not done.
    """
    document = load(source)
    for kind, (fits, build) in READERS.items():
        if fits(document):
            try:
                graph = build(document)
            except LstmEdgeError:
                raise
            except (KeyError, TypeError, AttributeError, IndexError, OverflowError, ValueError) as why:
                raise FormatError(f"not a {kind} file as that program writes it: {type(why).__name__} {why}") from why
            graph.metadata["source"] = {"kind": kind}
            return graph
    raise UnsupportedModelError(
        f"a JSON file with entries {', '.join(map(repr, list(document)[:8]))}: expected RTNeural (in_shape, layers), "
        "GuitarML (model_data, state_dict) or NAM (architecture, weights); for a file of arrays describe the network "
        "in a TOML file and pass it with --network"
    )


def load(source: str | os.PathLike[str] | bytes) -> dict[str, Any]:
    """The object in a JSON file; FormatError when it is none, nests too deeply or is beyond MAX_BYTES."""
    size = len(source) if isinstance(source, bytes) else os.path.getsize(source)
    if size > MAX_BYTES:
        raise FormatError(f"a JSON file of {size} bytes; expected at most {MAX_BYTES}")
    text = source if isinstance(source, bytes) else Path(source).read_bytes()
    lists = text.count(b"[") + text.count(b"{")
    if lists > MAX_LISTS or text.count(b",") > MAX_NUMBERS:
        raise FormatError(
            f"a JSON file of {text.count(b',')} numbers in {lists} lists; expected at most {MAX_NUMBERS} in {MAX_LISTS}"
        )
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as why:
        raise FormatError(f"not readable JSON ({type(why).__name__}: {str(why)[:120]})") from None
    if not isinstance(value, dict):
        raise FormatError(f"expected a JSON object, found {type(value).__name__}")
    return value
