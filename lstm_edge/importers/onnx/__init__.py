"""ONNX models as a Graph."""

from __future__ import annotations

from ..importer import Importer, Source


def _claims(source: Source) -> str | None:
    if source.is_folder:  # external data beside a model; the reader says what to give instead
        return "onnx" if source.extension == ".onnx" else None
    head = source.head  # a ModelProto: ir_version, then producer, graph or opsets
    model = len(head) > 2 and head[0] == 0x08 and head[1] < 0x20 and head[2] in (0x12, 0x3A, 0x42)
    return "onnx" if model else None


IMPORTER = Importer(
    module=f"{__name__}.model",
    claims=_claims,
    extensions={".onnx": "onnx"},
    live={"onnx": "onnx"},
    options=("shapes", "constants"),
)
