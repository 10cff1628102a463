"""Reading ONNX files: protobuf, initialisers, external data, all checked before use."""

from __future__ import annotations

import re
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ... import memory
from ...errors import FormatError, UnsupportedModelError
from ...ir.node import dtype_name
from . import protobuf

MAX_BYTES = 1 << 40  # of memory for a parsed file where no conversion says less
OLDEST_ONNX = (1, 16)  # of the package, not of files: functions this importer calls; Debian 12 has 1.12


def check_version(found: str) -> None:
    if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < OLDEST_ONNX:
        oldest = ".".join(map(str, OLDEST_ONNX))
        raise ImportError(
            f"the module 'onnx': expected {oldest} or later, found {found}; pip install 'lstm-edge[onnx]'", name="onnx"
        )


def load_model(source: Any) -> tuple[Any, Path | None]:
    """(ModelProto, folder of the file or None) from a path, bytes or a ModelProto."""
    import onnx
    from google.protobuf.message import DecodeError

    check_version(onnx.__version__)
    if isinstance(source, onnx.ModelProto):
        return source, None
    folder = None
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, place = bytes(source), "ONNX bytes"
    else:
        path = Path(source)
        data, place, folder = path.read_bytes(), path.name, path.resolve().parent
    model = onnx.ModelProto()
    memory.take(protobuf.parsed_size(data, model.DESCRIPTOR, memory.left(MAX_BYTES)), place)
    try:
        model.ParseFromString(data)
    except DecodeError as e:
        raise FormatError(f"{place}: not an ONNX file, or truncated ({e})") from e
    if not model.graph.node and not model.graph.output:
        raise FormatError(f"{place}: not an ONNX file: expected a graph with nodes, found none")
    return model, folder


WIDENED = {"float": "float32", "double": "float64", "float16": "float32", "bfloat16": "float32"}
INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


def element_dtype(elem_type: int, place: str) -> str:
    """An ONNX element type as a NumPy name; the 16-bit floats are computed in float32."""
    name = _type_name(elem_type)
    dtype = WIDENED.get(name, name)
    if dtype not in ("float32", "float64", "bool") and dtype not in INTEGERS:
        raise UnsupportedModelError(
            f"{place}: element type {name} is not supported: expected float, double, float16, "
            "bfloat16, bool or an integer of 8 to 64 bits"
        )
    return dtype


@cache
def _type_name(elem_type: int) -> str:
    import onnx

    known = elem_type in onnx.TensorProto.DataType.values()
    name: str = onnx.TensorProto.DataType.Name(elem_type).lower() if known else f"type {elem_type}"
    return name


def tensor_array(proto: Any, place: str, folder: Path | None = None) -> np.ndarray:
    """The array of a TensorProto: float16 and bfloat16 widened to float32; sizes checked against the data."""
    import onnx

    name = f"{place}: tensor {proto.name!r}" if proto.name else place
    dtype = element_dtype(proto.data_type, name)
    if any(d < 0 for d in proto.dims):
        raise FormatError(f"{name}: negative size in {list(proto.dims)}")
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        proto = _with_external(proto, name, folder)
    memory.foresee(
        12 * min(prod(proto.dims), proto.ByteSize()), name
    )  # as it lies in the file, and widened; not of sizes it has no data for
    try:
        array = memory.hold(onnx.numpy_helper.to_array(proto), name)
    except (ValueError, TypeError, OverflowError, MemoryError) as e:
        raise FormatError(f"{name}: shape {list(proto.dims)} of {dtype} does not fit its data: {e}") from e
    return array if dtype_name(array.dtype) == dtype else array.astype(dtype)


def whole(model: Any, folder: Path | None) -> Any:
    """A copy of the model that holds the initialisers which lie in other files, checked as `tensor_array` checks them."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.CopyFrom(_with_external(tensor, f"tensor {tensor.name!r}", folder))
    return copy


def _with_external(proto: Any, name: str, folder: Path | None) -> Any:
    """A copy of the tensor with its external data read in: only from a plain file below the model's own folder."""
    import onnx

    if folder is None:
        raise UnsupportedModelError(f"{name}: its data lies in another file; convert from the path of the .onnx file")
    info = {e.key: e.value for e in proto.external_data}
    location = info.get("location", "")
    path = (folder / location).resolve()
    if not location or Path(location).is_absolute() or not path.is_relative_to(folder) or not path.is_file():
        raise FormatError(f"{name}: external data {location!r}: expected a file in the folder of the model")
    try:
        offset = int(info.get("offset", "0"))
        itemsize = onnx.helper.tensor_dtype_to_np_dtype(proto.data_type).itemsize
        needed = int(np.prod(proto.dims, dtype=object)) * itemsize if proto.dims else itemsize
        length = int(info.get("length", needed))
    except (ValueError, KeyError) as e:
        raise FormatError(f"{name}: external data: {e}") from e
    size = path.stat().st_size
    if offset < 0 or length < 0 or length != needed or offset + length > size:
        raise FormatError(
            f"{name}: external data of {needed} bytes: found offset {offset}, length {length} in a file of {size} bytes"
        )
    memory.read(path, whole=False)
    memory.foresee(3 * length, name)
    with path.open("rb") as f:
        f.seek(offset)
        data = f.read(length)
    copy = onnx.TensorProto()
    copy.CopyFrom(proto)
    del copy.external_data[:]
    copy.data_location = onnx.TensorProto.DEFAULT
    copy.raw_data = data
    return copy
