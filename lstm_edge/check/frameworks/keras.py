"""Keras: live models as they are; files in the Keras of their major version.

Keras 3 loads some files of Keras 2 and then computes something else (hard_sigmoid has another slope there): those are
run by tf_keras, which is Keras 2.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...importers.keras.architecture import read_pair, weights_beside
from ...importers.keras.files import Source, opens_like_architecture, read_file
from ...ir.graph import Graph
from ...reference.samples import Arrays
from . import keras_package
from .question import NoFramework, Runner, by_order, ports

ZIP = b"PK\x03\x04"


def runner(source: Any, constants: dict[str, np.ndarray], graph: Graph) -> tuple[Runner, str]:
    if isinstance(source, (str, bytes, tuple)):
        package = _package(graph)
        model = _loaded(package, source)
        name = package.__name__
    else:
        model, name = source, type(source).__module__.split(".")[0]
    version = getattr(import_module(name), "__version__", "")

    def run(feed: Arrays) -> Arrays:
        arrays = [feed[n] for n in ports(graph, "inputs")]
        answer = model(arrays[0] if len(arrays) == 1 else arrays, training=False)
        return by_order(graph, [_to_numpy(t) for t in _flat(answer)])

    return run, f"{name} {version}".strip()


def _package(graph: Graph) -> Any:
    name = keras_package(graph)
    if name == "keras" and "KERAS_BACKEND" not in os.environ:  # its own default is TensorFlow, installed or not
        backend = next((b for b in ("tensorflow", "torch", "jax") if find_spec(b)), None)
        if backend is None:
            raise NoFramework("Keras needs a backend that is not installed; pip install torch")
        os.environ["KERAS_BACKEND"] = backend
    return import_module(name)


def _loaded(package: Any, source: str | bytes | tuple[Any, Any]) -> Any:
    """The model of a file, or of weights and their architecture. NoFramework where code lies in it: old Keras runs that
    while it loads the file."""
    if isinstance(source, str) and opens_like_architecture(Path(source)):
        source = str(weights_beside(Path(source))), source
    read = read_pair(*source) if isinstance(source, tuple) else read_file(source)
    found = _holds_code(read.config)
    if found:
        raise NoFramework(
            f"the file holds {found}, so that Keras was not given it; converting the live model compares it"
        )
    if isinstance(source, tuple):
        return _joined(package, read, source[0])
    if isinstance(source, str):
        return package.models.load_model(Path(source), compile=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("model.keras" if source[:4] == ZIP else "model.h5")
        path.write_bytes(source)
        return package.models.load_model(path, compile=False)


def _joined(package: Any, read: Source, weights: str | bytes) -> Any:
    """The model of an architecture and a file of weights, under the ending by which Keras knows their form."""
    model = package.models.model_from_json(json.dumps(read.config))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("model.h5" if read.groups else "model.weights.h5")
        path.write_bytes(weights if isinstance(weights, bytes) else Path(weights).read_bytes())
        model.load_weights(path)
    return model


def _holds_code(config: Any) -> str:
    """What in a config stands for Python code (a Lambda layer, a serialised function, a class of another package or of the
    user's own)."""
    if isinstance(config, list):
        return next(filter(None, map(_holds_code, config)), "")
    if not isinstance(config, Mapping):
        return ""
    kind, module = config.get("class_name"), str(config.get("module") or "")
    if kind in ("Lambda", "__lambda__") or (kind == "function" and module.split(".")[0] not in ("keras", "builtins")):
        return f"Python code ({kind})"
    if kind and module and module.split(".")[0] not in ("keras", "tf_keras", "builtins"):
        return f"a class of {module}"
    registered = next((n for n in (config.get("registered_name"), kind) if isinstance(n, str) and ">" in n), "")
    if registered:  # package>class: of a program that registered it, which this process is not
        return f"the custom class {registered.split('>')[-1]}"
    return next(filter(None, map(_holds_code, config.values())), "")


def _to_numpy(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu() if hasattr(tensor, "detach") else tensor
    return np.asarray(tensor)


def _flat(answer: Any) -> list[Any]:
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    if isinstance(answer, (list, tuple)):
        return [t for part in answer for t in _flat(part)]
    return [answer]
