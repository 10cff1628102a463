"""TFLite files in LiteRT, by whichever of its packages is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from ...ir.graph import Graph
from ...reference.samples import Arrays
from . import LITERT
from .question import NoFramework, Runner, by_order, ports


def runner(source: Any, constants: dict[str, np.ndarray], graph: Graph) -> tuple[Runner, str]:
    package = next((p for p in LITERT if find_spec(p)), None)
    if package is None:
        raise NoFramework("no LiteRT is installed")
    module, name = LITERT[package]
    given = {"model_path": source} if isinstance(source, str) else {"model_content": source}
    interpreter = import_module(module).Interpreter(**given)
    version = getattr(import_module(package), "__version__", "")
    return _by_position(interpreter, graph), f"{name} {version}".strip()


def _by_position(interpreter: Any, graph: Graph) -> Runner:
    """Variables keep what they hold from run to run, as a stream does: the interpreter starts with them at zero."""
    names = ports(graph, "inputs")
    allocated = False

    def run(feed: Arrays) -> Arrays:
        nonlocal allocated
        details = interpreter.get_input_details()
        if len(details) != len(names):
            raise ValueError(f"expected {len(names)} inputs, found {len(details)}")
        for name, detail in zip(names, details):
            if tuple(detail["shape"]) != feed[name].shape:
                interpreter.resize_tensor_input(detail["index"], feed[name].shape)
                allocated = False
        if not allocated:
            interpreter.allocate_tensors()
            allocated = True
        for name, detail in zip(names, interpreter.get_input_details()):
            interpreter.set_tensor(detail["index"], feed[name].astype(detail["dtype"]))
        interpreter.invoke()
        outputs = [o["index"] for o in interpreter.get_output_details()]
        return by_order(graph, [np.array(interpreter.get_tensor(i)) for i in dict.fromkeys(outputs)])

    return run
