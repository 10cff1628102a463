"""PyTorch programs (live modules, TorchScript, exported programs) as a Graph. Weights alone are importers/network's."""

from __future__ import annotations

from ..importer import Importer, Source


def _claims(source: Source) -> str | None:
    names = source.entries
    script = any(n.endswith("constants.pkl") for n in names) and any("code/" in n for n in names)
    exported = any(
        n.endswith(("archive_format", "models/model.json", "serialized_exported_program.json")) for n in names
    )
    return "torch" if script or exported else None


IMPORTER = Importer(
    module=f"{__name__}.model",
    claims=_claims,
    extensions={".pt2": "torch"},
    live={"torch": "torch"},
    options=("shapes", "constants", "example"),
)
