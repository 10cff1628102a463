"""ncnn, which reads files of its own: a .param, with its .bin beside it, that was made from the same network."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import LstmEdgeError
from ...ir.graph import Graph
from ...reference.samples import Arrays
from .question import Bound, ports


def bound(source: str, constants: dict[str, np.ndarray], graph: Graph, feed: Arrays) -> Bound:
    """Inputs and outputs are taken in the order of the file's; ncnn's have no batch axis."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    weights = Path(source).with_suffix(".bin")
    if not weights.is_file():
        raise LstmEdgeError(f"expected {weights.name} beside {Path(source).name}, found none")
    if net.load_param(source) or net.load_model(str(weights)):
        raise LstmEdgeError(f"ncnn did not read {Path(source).name} and {weights.name}")
    names, outputs = ports(graph, "inputs"), ports(graph, "outputs")
    blobs, answers = net.input_names(), net.output_names()
    if len(blobs) != len(names) or len(answers) != len(outputs):
        raise LstmEdgeError(
            f"expected {len(names)} inputs and {len(outputs)} outputs, found {len(blobs)} and {len(answers)}"
        )

    def native(name: str, array: np.ndarray) -> Any:
        if array.ndim > 2:
            array = np.squeeze(array, array.shape.index(1))
        return ncnn.Mat(np.ascontiguousarray(array)).clone()  # a Mat does not keep the array that it is a view of

    given = {name: native(name, {**constants, **feed}[name]) for name in names}

    def call() -> list[Any]:
        extractor = net.create_extractor()
        for blob, name in zip(blobs, names):
            extractor.input(blob, given[name])
        return [extractor.extract(answer)[1] for answer in answers]

    return Bound(f"ncnn {version('ncnn')}", call, given, outputs, native)
