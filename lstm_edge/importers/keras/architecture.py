"""A network of Keras kept in two files: its architecture (model.to_json()) and its weights (model.save_weights())."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import memory
from ...errors import FormatError, UnsupportedModelError
from ...files import hdf5
from ...ir.notes import ASSUMED
from ...options import as_typed
from .files import Source, groups_of, json_object, paths_of

# What the file of weights is called beside architecture NAME.json.
BESIDE = ("{}.weights.h5", "{}.h5", "{}.hdf5", "{}_weights.h5", "{}_weights.hdf5", "{}-weights.h5")


def read_pair(weights: str | Path | bytes, architecture: Any) -> Source:
    """What both files say. architecture: the path of the JSON file, or the object in it.

    FormatError where one of them is not what it should be.
    """
    place = "weights" if isinstance(weights, bytes) else Path(weights).name
    config = _config(architecture)
    if not isinstance(weights, bytes):
        memory.read(weights)
    data = weights if isinstance(weights, bytes) else Path(weights).read_bytes()
    if not data.startswith(hdf5.MAGIC):
        raise FormatError(
            f"{place}: expected the weights of {as_typed('architecture', value=_name(architecture))} as an HDF5 file "
            f"(.weights.h5, .h5), found first bytes {data[:8]!r}"
        )
    with hdf5.opened(data, place) as h5:
        said = str(config.get("keras_version") or h5.attribute("keras_version"))
        version = said or ("3" if "module" in config else "2")  # Keras 3 writes no version
        made = Source(config, version, "json", backend=str(config.get("backend") or h5.attribute("backend")))
        if "model_weights" in h5.objects or h5.names("layer_names"):
            made.groups = groups_of(h5, place)
        else:
            made.paths, made.names = paths_of(h5)
    if version == "2":
        made.notes.append(f"{ASSUMED}the last Keras 2 wrote the files, which name no version")
    return made


def read_beside(path: Path) -> Source:
    """The architecture in a file with the weights that lie beside it under its name (weights_beside)."""
    weights = weights_beside(path)
    made = read_pair(weights, path)
    made.notes.append(f"{ASSUMED}the weights of {path.name} are those of {weights.name}, which lies beside it")
    return made


def weights_beside(path: Path) -> Path:
    """The file of weights that has the name of an architecture's. UnsupportedModelError where there is none, or several."""
    found = [p for p in (path.with_name(form.format(path.stem)) for form in BESIDE) if p.is_file()]
    if len(found) == 1:
        return found[0]
    others = found or sorted(p for p in path.parent.iterdir() if p.suffix in (".h5", ".hdf5"))
    there = f"beside it lie {', '.join(p.name for p in others[:8])}" if others else "no .h5 file lies beside it"
    raise UnsupportedModelError(
        f"{path.name}: the architecture of a Keras model without its weights ({there}); convert the file of weights and "
        f"give it this one: {as_typed('architecture', value=path.name)}"
    )


def _config(architecture: Any) -> dict[str, Any]:
    """{class_name, config} of a JSON file, of the object in one, or of what model.get_config() gave."""
    if isinstance(architecture, Mapping):
        found = dict(architecture)
    elif isinstance(architecture, (str, os.PathLike)):
        memory.read(architecture)
        found = json_object(Path(architecture).read_bytes(), Path(architecture).name)
    else:
        raise UnsupportedModelError(
            f"{as_typed('architecture')}: expected a JSON file or a dict, found {type(architecture).__name__}"
        )
    if "class_name" not in found and isinstance(found.get("layers"), list):
        found = {"class_name": "Functional" if "input_layers" in found else "Sequential", "config": found}
    if "class_name" not in found or "config" not in found:
        raise FormatError(
            f"{_name(architecture)}: expected the architecture of a Keras model (class_name and config, as model.to_json() "
            f"writes it), found {', '.join(map(repr, list(found)[:8])) or 'an empty object'}"
        )
    return found


def _name(architecture: Any) -> str:
    return "architecture" if isinstance(architecture, Mapping) else Path(architecture).name
