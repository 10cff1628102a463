"""The sizes that an ONNX file declares for its inputs."""

from __future__ import annotations

from typing import Any

from ..dialect.input_sizes import Declared
from ..dialect.open_sizes import OpenSize


def declared(info: Any) -> Declared:
    """Per axis of a ValueInfoProto a number, or an open size under the name that the file has for it.

    A size of 0 or -1 is open, as old exporters write it.
    """
    tensor = info.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [
        int(dim.dim_value)
        if dim.HasField("dim_value") and dim.dim_value > 0
        else OpenSize(info.name, axis, _text(dim.dim_param))
        for axis, dim in enumerate(tensor.shape.dim)
    ]


def _text(name: str | bytes) -> str:
    """A name of the file; protobuf gives one that is not UTF-8 as bytes."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name
