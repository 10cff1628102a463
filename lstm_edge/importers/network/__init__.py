"""Networks described in TOML as a Graph."""

from ..importer import Importer, Source


def _claims(source: Source) -> str | None:
    archive = bool(source.entries) and all(n.endswith(".npy") for n in source.entries)
    return "npz" if archive or source.head.startswith(b"\x93NUMPY") else None


IMPORTER = Importer(
    module=f"{__name__}.model",
    claims=_claims,
    extensions={".npz": "npz", ".npy": "npz", ".toml": "network"},
    options=("network",),
)
