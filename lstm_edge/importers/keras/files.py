"""What Keras files (.keras zip, HDF5) and live models hold: a config and a lookup of weights, read without Keras."""

from __future__ import annotations

import io
import json as stdlib_json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...errors import FormatError, LstmEdgeError, UnsupportedModelError
from ...files import hdf5, json, zips
from ...files.hdf5 import Hdf5
from ...files.json import parsed
from ...files.zips import read_entry
from ...options import as_typed
from ..importer import HEAD_BYTES
from . import is_architecture

MAX_JSON = 64 << 20
MAX_RATIO = 50  # uncompressed to compressed; real weights compress by about 1.1, configs by 20

NOT_WEIGHTS = ("optimizer", "metrics")  # how the paths start that are no part of the network


@dataclass
class Source:
    """What a Keras file or live model says, before it is understood.

    `config` is the serialised model ({class_name, config}). Weights are either `groups` (top-level layer name ->
    ordered [(weight name, array)], as HDF5 models and live layers give them) or `paths` (normalised path -> array, as
    in a .keras zip). `names` maps a group of the .keras weights to the layer name written beside it, where there is
    one. `notes`: what was assumed of the source.
    """

    config: dict[str, Any]
    version: str
    container: str
    backend: str = ""
    groups: dict[str, list[tuple[str, np.ndarray]]] | None = None
    paths: dict[str, np.ndarray] | None = None
    names: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_file(source: str | Path | bytes) -> Source:
    """Opens a path or the bytes of a file that holds a whole model. FormatError when damaged, UnsupportedModelError
    when it is another kind of file."""
    if isinstance(source, bytes):
        return _read_stream(io.BytesIO(source), source, "bytes")
    path = Path(source)
    if path.is_dir():
        raise UnsupportedModelError(
            f"{path}: a folder, expected a .keras or .h5 file (a SavedModel: load it in TensorFlow and "
            "save it as .keras or .tflite)"
        )
    if not path.is_file():
        raise FormatError(f"{path}: no such file")
    with path.open("rb") as stream:
        return _read_stream(stream, path, str(path))


def _read_stream(stream: BinaryIO, whole: bytes | Path, place: str) -> Source:
    magic = stream.read(8)
    stream.seek(0)
    if magic[:4] == b"PK\x03\x04":
        return _read_zip(stream, place)
    if magic == hdf5.MAGIC:
        with hdf5.opened(whole, place) as h5:
            return _h5_model(h5, place)
    raise FormatError(f"{place}: expected a .keras zip or an HDF5 file, found first bytes {magic!r}")


# ---- .keras ----------------------------------------------------------------------------------------------------------


def _read_zip(stream: BinaryIO, place: str) -> Source:
    with zips.opened(stream, place) as archive:
        members = {i.filename: i for i in archive.infolist()}
        if "config.json" not in members:
            raise FormatError(
                f"{place}: expected config.json in the zip, found {', '.join(sorted(members)[:8]) or 'nothing'}"
            )
        config, metadata = (
            json_object(read_entry(archive, members[name], place, MAX_RATIO, MAX_JSON), f"{place}: {name}")
            if name in members
            else {}
            for name in ("config.json", "metadata.json")
        )
        if "model.weights.h5" not in members:
            raise UnsupportedModelError(
                f"{place}: expected model.weights.h5 in the zip, found {', '.join(sorted(members)[:8])}; "
                "save the model again with model.save('model.keras')"
            )
        weights = read_entry(archive, members["model.weights.h5"], place, MAX_RATIO, hdf5.MAX_BYTES)
    with hdf5.opened(weights, f"{place}: model.weights.h5") as h5:
        arrays, names = paths_of(h5)
    return Source(config, str(metadata.get("keras_version", "")), "keras", paths=arrays, names=names)


def paths_of(h5: Hdf5) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Every weight by its path, and the layer names written beside groups."""
    groups = [p for p in h5.objects if p.endswith("/vars") and h5.has_attribute("name", p)]
    return h5.arrays(NOT_WEIGHTS), {p.removesuffix("/vars"): h5.attribute("name", p) for p in groups}


def json_object(data: bytes | str, place: str) -> dict[str, Any]:
    """The object that a text spells, also where it was written twice, as a JSON string of JSON."""
    try:
        data = data.encode() if isinstance(data, str) else data
        if data.lstrip()[:1] == b'"' and isinstance(inner := parsed(data), str):
            data = inner.encode()
        return json.load(data)
    except LstmEdgeError as error:
        raise error.at(place) from None
    except ValueError as why:
        raise FormatError(f"{place}: not readable JSON ({why})") from None


# ---- HDF5 ------------------------------------------------------------------------------------------------------------


def opens_like_architecture(path: Path) -> bool:
    """Whether a file starts like model.to_json()."""
    with path.open("rb") as file:
        return is_architecture(file.read(HEAD_BYTES))


def _h5_model(h5: Hdf5, place: str) -> Source:
    if not h5.has_attribute("model_config"):
        roots = [p for p in h5.objects if "/" not in p]
        layers = h5.names("layer_names") or [n for n in ("layers", "_layer_checkpoint_dependencies") if n in roots]
        beside = [p for p in sorted(Path(place).parent.glob("*.json")) if p.is_file() and opens_like_architecture(p)]
        named = beside[0].name if len(beside) == 1 and Path(place).is_file() else ...
        raise UnsupportedModelError(
            f"{place}: no model_config attribute, found {', '.join((layers or roots)[:12])}; this file holds "
            f"weights without a network: give its architecture, as model.to_json() writes it ({as_typed('architecture', value=named)}), "
            "save the whole model (model.save('model.keras')), or describe the network in a TOML file "
            f"({as_typed('network')})"
        )
    config = json_object(h5.attribute("model_config"), f"{place}: attribute model_config")
    version = h5.attribute("keras_version") or "1"
    return Source(config, version, "h5", backend=h5.attribute("backend"), groups=groups_of(h5, place))


def groups_of(h5: Hdf5, place: str) -> dict[str, list[tuple[str, np.ndarray]]]:
    """The weights of every layer in the order that the file lists them, of a whole model or of weights alone."""
    root = "model_weights" if "model_weights" in h5.objects else ""
    groups: dict[str, list[tuple[str, np.ndarray]]] = {}
    for layer in h5.names("layer_names", root):
        base = f"{root}/{layer}".strip("/")
        if base not in h5.objects:
            raise FormatError(f"{place}: layer_names lists {layer!r}, expected a group {base!r}, found none")
        groups[layer] = []
        for weight in h5.names("weight_names", base):
            path = f"{base}/{weight}"
            if not h5.is_dataset(path):
                raise FormatError(f"{place}: weight_names of {base} lists {weight!r}, expected a dataset, found none")
            groups[layer].append((weight, h5.array(path)))
    return groups


# ---- live models -----------------------------------------------------------------------------------------------------


def is_live(source: Any) -> bool:
    return all(hasattr(source, a) for a in ("get_config", "layers", "weights"))


def read_live(model: Any) -> Source:
    """Config and weights of a Keras model object (Keras 3 on any backend, tf_keras, Keras 2), by its public
    attributes."""
    name = type(model).__name__
    try:
        config = model.get_config()
    except NotImplementedError as e:
        config = {}
        reason = str(e)
    else:
        reason = "its config has no layers"
    config = stdlib_json.loads(
        stdlib_json.dumps(config, default=lambda v: v.tolist() if hasattr(v, "tolist") else str(v))
    )  # tuples as in files
    layers = config if isinstance(config, list) else config.get("layers") if isinstance(config, dict) else None
    if not layers:
        raise UnsupportedModelError(
            f"model {name}: a subclassed model says nothing of its network ({reason}); rebuild it as "
            "Sequential or functional, or export it to ONNX"
        )
    functional = isinstance(config, dict) and "input_layers" in config
    groups = {}
    for layer in model.layers:
        variables = [*layer.trainable_weights, *layer.non_trainable_weights]
        groups[layer.name] = [(str(getattr(v, "path", None) or v.name), _live_array(v)) for v in variables]
    return Source(
        {"class_name": "Functional" if functional else "Sequential", "config": config},
        _live_version(model),
        "live",
        groups=groups,
    )


def _live_array(variable: Any) -> np.ndarray:
    array = np.asarray(variable.numpy() if hasattr(variable, "numpy") else variable)
    return array.astype(np.float32) if array.dtype.kind == "f" or str(array.dtype) == "bfloat16" else array


def _live_version(model: Any) -> str:
    for cls in type(model).__mro__:
        package = cls.__module__.split(".")[0]
        if package in ("keras", "tf_keras"):
            return str(getattr(sys.modules.get(package), "__version__", "3"))
        if package == "tensorflow":
            return "2.4-tf"
    return "3"
