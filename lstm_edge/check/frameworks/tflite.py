"""TFLite files in LiteRT, by whichever of its packages is installed."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from ...ir.graph import Graph
from ...reference.samples import Arrays
from . import LITERT
from .question import Bound, NoFramework, Runner, by_order, ports


def runner(source: Any, constants: dict[str, np.ndarray], graph: Graph) -> tuple[Runner, str]:
    interpreter, name = _opened(source, LITERT)
    return _by_position(interpreter, graph), name


def bound(
    source: Any, constants: dict[str, np.ndarray], graph: Graph, feed: Arrays, packages: Collection[str] = LITERT
) -> Bound:
    """packages: those of LITERT that will do."""
    interpreter, name = _opened(source, packages, num_threads=1)
    names, details = ports(graph, "inputs"), interpreter.get_input_details()
    if len(details) != len(names):
        raise ValueError(f"expected {len(names)} inputs, found {len(details)}")
    feed = {**constants, **feed}
    for port, detail in zip(names, details):
        if tuple(detail["shape"]) != feed[port].shape:
            interpreter.resize_tensor_input(detail["index"], feed[port].shape)
    interpreter.allocate_tensors()
    details = dict(zip(names, interpreter.get_input_details()))
    places = [(port, details[port]["index"]) for port in names]
    outputs = [o["index"] for o in interpreter.get_output_details()]

    def native(port: str, array: np.ndarray) -> np.ndarray:
        return np.asarray(array, details[port]["dtype"])

    given = {port: native(port, feed[port]) for port in names}

    def call() -> list[np.ndarray]:
        for port, index in places:
            interpreter.set_tensor(index, given[port])
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return Bound(name, call, given, ports(graph, "outputs"), native)


def _opened(source: Any, packages: Collection[str], **how: Any) -> tuple[Any, str]:
    """An interpreter, and its name with its version."""
    package = next((p for p in LITERT if p in packages and find_spec(p)), None)
    if package is None:
        raise NoFramework("no LiteRT is installed")
    module, name = LITERT[package]
    given = {"model_path": source} if isinstance(source, str) else {"model_content": source}
    version = getattr(import_module(package), "__version__", "")
    return import_module(module).Interpreter(**given, **how), f"{name} {version}".strip()


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
