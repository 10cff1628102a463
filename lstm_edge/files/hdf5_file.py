"""HDF5 files by h5py, without trusting them: every size is checked before memory is taken for it; links out of the file, virtual
and external data are never followed. What libhdf5 itself does with damaged bytes is bounded where this runs (hdf5.py)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import FormatError, LstmEdgeError
from .pickled_tensors import widened

MAX_BYTES = 2 << 30  # of all arrays read from one file
MAX_RATIO = 50  # bytes of an array to bytes stored; real weights compress by about 1.1
MAX_OBJECTS = 200_000


@contextmanager
def opened(source: bytes | str, place: str) -> Iterator[Hdf5File]:
    """The file of these bytes or at this path while the block runs. FormatError when it is damaged, there or in the block;
    ImportError without h5py."""
    import h5py

    try:
        # A stream, not its path: HDF5 would lock the file, and follow what it says of files beside it.
        stream = open(source, "rb") if isinstance(source, str) else io.BytesIO(source)
        with stream, h5py.File(stream, "r") as file:
            yield Hdf5File(file, place)
    except LstmEdgeError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, AttributeError) as e:  # whatever h5py meets in damaged bytes
        raise FormatError(f"{place}: damaged HDF5 file: {e}") from e


class Hdf5File:
    """An open file: `objects` are its groups and datasets by path. Its answers are what hdf5.Hdf5 asks for."""

    def __init__(self, file: Any, place: str) -> None:
        self.place, self.root = place, file
        self.objects = self._walk()
        self._left = MAX_BYTES

    def _walk(self) -> dict[str, Any]:
        """Each object is visited once whatever hard links say, soft and external links are not followed. Windows wrote
        whole paths with backslashes as one key: '/' stands for both here."""
        found: dict[str, Any] = {}

        def visit(name: str, item: Any) -> bool | None:
            found[name.replace("\\", "/")] = item
            return True if len(found) > MAX_OBJECTS else None

        if self.root.visititems(visit):
            raise FormatError(f"{self.place}: more than {MAX_OBJECTS} objects in the HDF5 file")
        return found

    def is_dataset(self, path: str) -> bool:
        return hasattr(self.objects.get(path), "dtype")

    def array(self, path: str) -> np.ndarray:
        """The dataset at `path` in float32 (or its integer or bool type); its claimed size is checked against what the
        file stores and against what may be read from one file."""
        dataset, place = self.objects[path], f"{self.place}: {path}"
        if dataset.is_virtual or dataset.external:
            raise FormatError(f"{place}: data outside the file is not read; save the model again into one file")
        claimed = int(np.prod(dataset.shape, dtype=object)) * dataset.dtype.itemsize
        stored = dataset.id.get_storage_size()
        if claimed > self._left or claimed > MAX_RATIO * stored:
            raise FormatError(
                f"{place}: claims {claimed} bytes from {stored} stored, expected at most {self._left} and a ratio "
                f"below {MAX_RATIO}"
            )
        array = np.asarray(dataset[()])
        if text(dataset.attrs.get("dtype", "")) == "bfloat16":
            array = widened(array.view(np.uint16))
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        elif array.dtype.kind not in "iub":
            raise FormatError(f"{place}: expected numbers, found dtype {array.dtype}")
        self._left -= array.nbytes
        return array

    def attribute(self, key: str, path: str = "") -> str:
        """A text attribute of a group or dataset, '' where it has none."""
        return text(self._item(path).attrs.get(key, ""))

    def has_attribute(self, key: str, path: str = "") -> bool:
        return key in self._item(path).attrs

    def names(self, key: str, path: str = "") -> list[str]:
        """An attribute that lists names, which writers cut into key0, key1... beyond 64 KB."""
        attributes = self._item(path).attrs
        if key in attributes:
            return [text(n) for n in np.ravel(attributes[key]) if isinstance(n, (bytes, str))]
        found: list[str] = []
        part = 0
        while f"{key}{part}" in attributes:
            found += [text(n) for n in np.ravel(attributes[f"{key}{part}"])]
            part += 1
        return found

    def _item(self, path: str) -> Any:
        return self.objects[path] if path else self.root


def text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
