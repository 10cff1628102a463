"""Keras 1.x to 3.x models as a Graph."""

from ..importer import Importer, Source


def _claims(source: Source) -> str | None:
    weights = any(n.endswith("model.weights.h5") for n in source.entries)
    archive = weights or "config.json" in source.entries
    # A folder is a SavedModel, if any: the reader says what to give instead.
    return "keras" if source.is_folder or archive or source.head.startswith(b"\x89HDF\r\n\x1a\n") else None


IMPORTER = Importer(
    module=f"{__name__}.model",
    claims=_claims,
    extensions={".keras": "keras", ".h5": "keras", ".hdf5": "keras"},
    live={"keras": "keras", "tf_keras": "keras", "tensorflow": "keras"},
    options=("shapes",),
)
