"""Reads Keras containers (.keras zip, HDF5) into a config and a lookup of weights, without Keras and without trusting
the file.

Every size is checked before memory is taken for it; links out of the file, virtual and external data are never
followed.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...errors import FormatError, UnsupportedModelError

MAX_WEIGHTS = 2 << 30  # bytes of all weights together
MAX_JSON = 64 << 20
MAX_RATIO = 50  # uncompressed to compressed; real weights compress by about 1.1, configs by 20
MAX_OBJECTS = 200_000

WEIGHTS_ONLY = (
    "this file holds weights without a network: save the whole model (model.save('model.keras')), or describe the "
    "network in a TOML file and pass it with --network"
)


@dataclass
class Source:
    """What a Keras file or live model says, before it is understood.

    `config` is the serialised model ({class_name, config}). Weights are either `groups` (top-level layer name ->
    ordered
    [(weight name, array)], as HDF5 models and live layers give them) or `paths` (normalised path -> array, as in a
    .keras zip).
    `names` maps a group of the .keras weights to the layer name written beside it, where there is one.
    """

    config: dict[str, Any]
    version: str
    container: str
    backend: str = ""
    groups: dict[str, list[tuple[str, np.ndarray]]] | None = None
    paths: dict[str, np.ndarray] | None = None
    names: dict[str, str] = field(default_factory=dict)


def read_file(source: str | Path | bytes) -> Source:
    """Opens a path or the bytes of a file. FormatError when damaged, UnsupportedModelError when it is another kind of
    file."""
    if isinstance(source, bytes):
        return _read_stream(io.BytesIO(source), "bytes")
    path = Path(source)
    if path.is_dir():
        raise UnsupportedModelError(
            f"{path}: a folder, expected a .keras or .h5 file (a SavedModel: load it in TensorFlow and "
            "save it as .keras or .tflite)"
        )
    if not path.is_file():
        raise FormatError(f"{path}: no such file")
    with path.open("rb") as stream:
        return _read_stream(stream, str(path))


def _read_stream(stream: BinaryIO, place: str) -> Source:
    magic = stream.read(8)
    stream.seek(0)
    if magic[:4] == b"PK\x03\x04":
        return _read_zip(stream, place)
    if magic == b"\x89HDF\r\n\x1a\n":
        return _read_h5_model(stream, place)
    raise FormatError(f"{place}: expected a .keras zip or an HDF5 file, found first bytes {magic!r}")


# ---- .keras ----------------------------------------------------------------------------------------------------------


def _read_zip(stream: BinaryIO, place: str) -> Source:
    try:
        with zipfile.ZipFile(stream) as archive:
            members = {i.filename: i for i in archive.infolist()}
            if "config.json" not in members:
                raise FormatError(
                    f"{place}: expected config.json in the zip, found {', '.join(sorted(members)[:8]) or 'nothing'}"
                )
            config = _json(_member(archive, members["config.json"], MAX_JSON, place), f"{place}: config.json")
            metadata = {}
            if "metadata.json" in members:
                metadata = _json(_member(archive, members["metadata.json"], MAX_JSON, place), f"{place}: metadata.json")
            if "model.weights.h5" not in members:
                raise UnsupportedModelError(
                    f"{place}: expected model.weights.h5 in the zip, found {', '.join(sorted(members)[:8])}; "
                    "save the model again with model.save('model.keras')"
                )
            weights = _member(archive, members["model.weights.h5"], MAX_WEIGHTS, place)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as e:
        raise FormatError(f"{place}: damaged zip: {e}") from e
    arrays, names = _h5_arrays(io.BytesIO(weights), f"{place}: model.weights.h5")
    return Source(config, str(metadata.get("keras_version", "")), "keras", paths=arrays, names=names)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int, place: str) -> bytes:
    """One member, its claimed sizes checked first and the real one while reading."""
    claimed, packed = info.file_size, info.compress_size
    if claimed > limit:
        raise FormatError(f"{place}: {info.filename} claims {claimed} bytes, expected at most {limit}")
    if claimed > (1 << 20) and claimed > MAX_RATIO * max(packed, 1):
        raise FormatError(
            f"{place}: {info.filename} claims {claimed} bytes from {packed} compressed, expected a ratio below "
            f"{MAX_RATIO}"
        )
    with archive.open(info) as stream:
        data = stream.read(claimed + 1)
    if len(data) != claimed:
        raise FormatError(f"{place}: {info.filename}: expected {claimed} bytes, found {len(data)}")
    return data


def _json(text: bytes | str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise FormatError(f"{place}: not JSON: {e}") from e
    if not isinstance(value, dict):
        raise FormatError(f"{place}: expected a JSON object, found {type(value).__name__}")
    return value


# ---- HDF5 ------------------------------------------------------------------------------------------------------------


def _open_h5(stream: BinaryIO, place: str):
    try:
        import h5py
    except ImportError as e:
        raise UnsupportedModelError("reading Keras files needs h5py: pip install h5py") from e
    try:
        return h5py.File(stream, "r")
    except (OSError, RuntimeError, ValueError) as e:
        raise FormatError(f"{place}: damaged HDF5 file: {e}") from e


def _read_h5_model(stream: BinaryIO, place: str) -> Source:
    with _open_h5(stream, place) as h5:
        try:
            return _h5_model(h5, place)
        except (OSError, RuntimeError, KeyError, AttributeError, UnicodeDecodeError) as e:
            raise FormatError(f"{place}: damaged HDF5 file: {e}") from e


def _h5_model(h5, place: str) -> Source:
    if "model_config" not in h5.attrs:
        layers = (
            _strings(h5, "layer_names")
            or [n for n in ("layers", "_layer_checkpoint_dependencies") if n in h5]
            or list(h5)[:8]
        )
        raise UnsupportedModelError(
            f"{place}: no model_config attribute, found {', '.join(layers[:12])}; {WEIGHTS_ONLY}"
        )
    config = _json(_text(h5.attrs["model_config"]), f"{place}: attribute model_config")
    version, backend = _text(h5.attrs.get("keras_version", "")), _text(h5.attrs.get("backend", ""))
    objects = _walk(h5, place)
    root = "model_weights" if "model_weights" in objects else ""
    holder = objects.get(root, h5)
    groups: dict[str, list[tuple[str, np.ndarray]]] = {}
    left = MAX_WEIGHTS
    for layer in _strings(holder, "layer_names"):
        base = f"{root}/{layer}".strip("/")
        if base not in objects:
            raise FormatError(f"{place}: layer_names lists {layer!r}, expected a group {base!r}, found none")
        groups[layer] = []
        for weight in _strings(objects[base], "weight_names"):
            dataset = objects.get(f"{base}/{weight}")
            if dataset is None or not hasattr(dataset, "dtype"):
                raise FormatError(f"{place}: weight_names of {base} lists {weight!r}, expected a dataset, found none")
            array = _dataset(dataset, f"{place}: {base}/{weight}", left)
            left -= array.nbytes
            groups[layer].append((weight, array))
    return Source(config, version or "1", "h5", backend=backend, groups=groups)


def _h5_arrays(stream: BinaryIO, place: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Every weight of a .keras weights file by its path ('/' everywhere), and the layer names written beside groups."""
    with _open_h5(stream, place) as h5:
        try:
            arrays, names = {}, {}
            left = MAX_WEIGHTS
            for path, item in _walk(h5, place).items():
                if path.startswith("optimizer") or path.startswith("metrics"):
                    continue
                if hasattr(item, "dtype"):
                    array = _dataset(item, f"{place}: {path}", left)
                    left -= array.nbytes
                    arrays[path] = array
                elif path.endswith("/vars") and "name" in item.attrs:
                    names[path[: -len("/vars")]] = _text(item.attrs["name"])
            return arrays, names
        except (OSError, RuntimeError, KeyError, AttributeError, UnicodeDecodeError) as e:
            raise FormatError(f"{place}: damaged HDF5 file: {e}") from e


def _walk(h5, place: str) -> dict[str, Any]:
    """Groups and datasets by path. Each object is visited once whatever hard links say, soft and external links are not
    followed. Windows wrote whole paths with backslashes as one key: '/' stands for both here."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> bool | None:
        found[name.replace("\\", "/")] = item
        return True if len(found) > MAX_OBJECTS else None

    if h5.visititems(visit):
        raise FormatError(f"{place}: more than {MAX_OBJECTS} objects in the HDF5 file")
    return found


def _dataset(dataset: Any, place: str, limit: int) -> np.ndarray:
    """The array in float32 (or its integer or bool type); its claimed size is checked against what the file stores."""
    if dataset.is_virtual or dataset.external:
        raise FormatError(f"{place}: data outside the file is not read; save the model again into one file")
    claimed, stored = int(np.prod(dataset.shape, dtype=object)) * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if claimed > limit or claimed > MAX_RATIO * stored:
        raise FormatError(
            f"{place}: claims {claimed} bytes from {stored} stored, expected at most {limit} and a ratio below "
            f"{MAX_RATIO}"
        )
    array = dataset[()]
    array = np.asarray(array)
    if _text(dataset.attrs.get("dtype", "")) == "bfloat16":
        array = (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind in "iub":
        return array
    raise FormatError(f"{place}: expected numbers, found dtype {array.dtype}")


def _strings(item: Any, key: str) -> list[str]:
    """A list-of-names attribute, which Keras cuts into key0, key1... beyond 64 KB."""
    if key in item.attrs:
        return [_text(n) for n in np.ravel(item.attrs[key]) if isinstance(n, (bytes, str))]
    names: list[str] = []
    part = 0
    while f"{key}{part}" in item.attrs:
        names += [_text(n) for n in np.ravel(item.attrs[f"{key}{part}"])]
        part += 1
    return names


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


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
    config = json.loads(
        json.dumps(config, default=lambda v: v.tolist() if hasattr(v, "tolist") else str(v))
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
    import sys

    for cls in type(model).__mro__:
        package = cls.__module__.split(".")[0]
        if package in ("keras", "tf_keras"):
            return str(getattr(sys.modules.get(package), "__version__", "3"))
        if package == "tensorflow":
            return "2.4-tf"
    return "3"
