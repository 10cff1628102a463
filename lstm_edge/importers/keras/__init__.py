"""Keras 1.x to 3.x models as a Graph."""

from __future__ import annotations

from ..importer import Importer, Source

# How model.to_json() starts, whatever version wrote it.
_OPENINGS = (b'"class_name"', b'"keras_version"', b'"module": "keras')


def is_architecture(head: bytes) -> bool:
    """Whether the first bytes of a JSON file are those of model.to_json(), perhaps written as a string of JSON."""
    plain = head.lstrip().replace(b"\\", b"")
    return plain[:1] in (b"{", b'"') and any(key in plain for key in _OPENINGS)


def _claims(source: Source) -> str | None:
    weights = any(n.endswith("model.weights.h5") for n in source.entries)
    archive = weights or "config.json" in source.entries
    is_file = archive or source.head.startswith(b"\x89HDF\r\n\x1a\n") or is_architecture(source.head)
    # A folder is a SavedModel, if any: the reader says what to give instead.
    return "keras" if source.is_folder or is_file else None


IMPORTER = Importer(
    module=f"{__name__}.model",
    claims=_claims,
    extensions={".keras": "keras", ".h5": "keras", ".hdf5": "keras"},
    live={"keras": "keras", "tf_keras": "keras", "tensorflow": "keras"},
    options=("shapes", "architecture"),
)
