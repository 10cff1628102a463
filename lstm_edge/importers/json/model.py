"""JSON files of recurrent networks: RTNeural and AIDA-X, GuitarML, NAM. The content says which."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ...errors import FormatError, LstmEdgeError, UnsupportedModelError
from ...files import json
from ...ir.graph import Graph
from ...options import as_typed
from . import guitarml, nam, rtneural

READERS: dict[str, tuple[Callable[[dict[str, Any]], bool], Callable[[dict[str, Any]], Graph]]] = {
    "RTNeural": (lambda d: "layers" in d and "in_shape" in d, rtneural.build),
    "GuitarML": (lambda d: "model_data" in d and "state_dict" in d, guitarml.build),
    "NAM": (lambda d: "architecture" in d and "weights" in d, nam.build),
}


def read(source: str | os.PathLike[str] | bytes) -> Graph:
    """The Graph of a JSON file (a path, or its bytes).

    FormatError for what is not such a file, UnsupportedModelError for a layer or an architecture that is not done.
    """
    document = json.load(source)
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
        f"in a TOML file and give it ({as_typed('network', value='net.toml')})"
    )
