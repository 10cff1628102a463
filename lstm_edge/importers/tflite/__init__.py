"""TFLite models as a Graph."""

from __future__ import annotations

from ..importer import Importer, Setting, Source


def _claims(source: Source) -> str | None:
    return "tflite" if source.head[4:8] == b"TFL3" else None


IMPORTER = Importer(
    module=f"{__name__}.model",
    claims=_claims,
    extensions={".tflite": "tflite"},
    options=("shapes", "options"),
    settings=(
        Setting("integer", "compute a full-integer model with or without its runtime's roundings", ("exact", "float")),
    ),
)
