"""Networks kept as JSON as a Graph."""

from __future__ import annotations

from ..importer import Importer, Source


def _claims(source: Source) -> str | None:
    return "json" if source.head.lstrip()[:1] == b"{" else None


IMPORTER = Importer(
    module=f"{__name__}.model", claims=_claims, extensions={".json": "json", ".nam": "json"}, options=()
)
