"""Reads what torch.save and pickle wrote, without torch and without running anything the file names.

A pickle is a program for a stack machine that may call any importable function. Here every global it names becomes an
inert placeholder; only the few functions below, which rebuild tensors, arrays and plain containers, are ever called,
and they are this file's own. What was claimed (sizes, strides, offsets) is checked against the bytes that are there.
"""

from __future__ import annotations

import io
import pickle
import reprlib
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import FormatError, LstmEdgeError, UnsupportedModelError
from . import zips
from .pickled_tensors import Storage, Tensor, dtype_of_class, elements, itemsize
from .unpickler import MAX_PICKLE_BYTES, Inert, Reader, below, finish
from .zips import read_entry

__all__ = ["Inert", "below", "load"]

PACKAGE_MARK = ".data/extern_modules"  # an entry that every archive of torch.package has
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def load(source: str | Path | bytes, place: str = "", part: str = "data") -> Any:
    """The object in a file of torch.save (zip, or the stream of pickles before torch 1.6, or the tar before 0.2), of
    torch.package, or in a plain pickle: dicts, lists, numbers, strings, NumPy arrays for tensors, `Inert` for everything else.

    bfloat16 tensors become float32; every other dtype stays. FormatError: damaged, or the pickle calls code.
    """
    place = place or (str(source) if not isinstance(source, bytes) else "bytes")
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        if data[:4] == b"PK\x03\x04":
            return _load_zip(data, place, part)
        if len(data) > 262 and data[257:262] == b"ustar":
            return _load_tar(data, place)
        return _load_stream(data, place)
    except (
        pickle.UnpicklingError,
        EOFError,
        IndexError,
        KeyError,
        AttributeError,
        TypeError,
        ValueError,
        struct.error,
        tarfile.TarError,
        MemoryError,
        OverflowError,
        RecursionError,
    ) as e:
        if isinstance(e, LstmEdgeError):
            raise
        raise FormatError(f"{place}: not a readable torch checkpoint or pickle ({type(e).__name__}: {e})") from e


# ---- containers -----------------------------------------------------------------------------------------------------


def _load_zip(data: bytes, place: str, part: str = "data") -> Any:
    """The object of `part`.pkl, whose tensors lie in the folder `part`. TorchScript has a second part, constants."""
    with zips.opened(data, place) as archive:
        entries = {i.filename: i for i in archive.infolist()}
        package = next((n for n in entries if n.endswith(PACKAGE_MARK)), "")
        if package and part == "data":
            return _load_package(archive, entries, package.removesuffix(PACKAGE_MARK), place)
        mains = [n for n in entries if n.rsplit("/", 1)[-1] == f"{part}.pkl"]
        if not mains:
            raise FormatError(
                f"{place}: a zip archive without {part}.pkl: expected a file of torch.save, found "
                f"{', '.join(list(entries)[:5])}"
            )
        root = mains[0][: -len(f"{part}.pkl")]
        order = (
            read_entry(archive, entries[root + "byteorder"], place)[:6] if root + "byteorder" in entries else b"little"
        )
        big = order == b"big"
        storage = _storages(archive, entries, lambda key: f"{root}{part}/{key}", big, place)
        return finish(Reader(io.BytesIO(read_entry(archive, entries[mains[0]], place)), storage, place).load(), place)


def _load_package(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], root: str, place: str) -> Any:
    """The object in an archive of torch.package, or where it holds several, each by its name. The Python code beside them
    is not run."""
    pickles = [n for n in entries if n.startswith(root) and n.endswith(".pkl") and not n.startswith(f"{root}.data/")]
    if not pickles:
        raise FormatError(f"{place}: an archive of torch.package without a pickle")
    storage = _storages(archive, entries, lambda key: f"{root}.data/{key}.storage", False, place)
    found = {
        name.removeprefix(root): finish(
            Reader(io.BytesIO(read_entry(archive, entries[name], place)), storage, place).load(), place
        )
        for name in pickles
    }
    return next(iter(found.values())) if len(found) == 1 else found


def _storages(
    archive: zipfile.ZipFile,
    entries: dict[str, zipfile.ZipInfo],
    entry_of: Callable[[str], str],
    big: bool,
    place: str,
) -> Callable[[Any], Storage]:
    """What a persistent id of a pickle stands for: the storage in the entry that `entry_of` gives for its key."""
    read: dict[str, Storage] = {}

    def storage(pid: Any) -> Storage:
        kind, key, numel = _storage_id(pid, place)
        if key not in read:
            info = entries.get(entry_of(key))
            if info is None:
                raise FormatError(f"{place}: storage {key} is named in the pickle but has no entry in the archive")
            claimed = numel * itemsize(kind)
            if info.file_size < claimed:
                raise FormatError(
                    f"{place}: storage {key}: expected {claimed} bytes for {numel} elements, found {info.file_size}"
                )
            raw = read_entry(archive, info, place, kept=False)
            read[key] = Storage(kind, numel, elements(raw, kind, numel, big), key)
        return read[key]

    return storage


def _load_stream(data: bytes, place: str) -> Any:
    """Magic, protocol, system, the object, the list of storage keys, the storages: the format before torch 1.6.
    Without the magic, a plain pickle."""
    file = io.BytesIO(data)
    storages: dict[str, Storage] = {}

    def storage(pid: tuple[Any, ...]) -> Any:
        kind, key, numel = _storage_id(pid, place)
        if key not in storages:
            storages[key] = Storage(kind, numel, key=key)
        return storages[key]

    if len(data) > MAX_PICKLE_BYTES and not data.startswith(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."):
        raise FormatError(f"{place}: a plain pickle of {len(data)} bytes; expected at most {MAX_PICKLE_BYTES}")
    first = Reader(file, storage, place).load()
    if first != LEGACY_MAGIC or isinstance(first, bool):
        return finish(first, place)
    Reader(file, storage, place).load()  # protocol
    system = Reader(file, storage, place).load()
    big = isinstance(system, dict) and system.get("little_endian") is False
    value = Reader(file, storage, place).load()
    for key in map(_word, Reader(file, storage, place).load()):
        held = storages.get(key)
        (numel,) = struct.unpack(">q" if big else "<q", file.read(8))
        if held is None:
            raise FormatError(f"{place}: storage {key} is in the file but no tensor names it")
        if numel != held.numel:
            raise FormatError(f"{place}: storage {key}: expected {held.numel} elements, found {numel}")
        held.data = elements(_take(file, numel * itemsize(held.dtype), place), held.dtype, numel, big)
    return finish(value, place)


def _load_tar(data: bytes, place: str) -> Any:
    """The tar of torch before 0.2: members storages, tensors, pickle."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:

        def member(name: str) -> io.BytesIO:
            found = archive.extractfile(name)
            if found is None:
                raise FormatError(f"{place}: a tar archive without the member {name!r} of torch.save")
            return io.BytesIO(found.read())

        def no_storage(pid: Any) -> Any:
            raise FormatError(f"{place}: unexpected reference {reprlib.repr(pid)}")

        storages: dict[str, Storage] = {}
        file = member("storages")
        for _ in range(Reader(file, no_storage, place).load()):
            key, _location, kind_global = Reader(file, no_storage, place).load()
            kind = dtype_of_class(kind_global, place)
            (numel,) = struct.unpack("<q", file.read(8))
            raw = _take(file, numel * itemsize(kind), place)
            key = _word(key)
            storages[key] = Storage(kind, numel, elements(raw, kind, numel, False), key)
        views = Reader(file, no_storage, place).load()
        if views:
            raise UnsupportedModelError(
                f"{place}: storages that are views of storages; load it with torch and save it again"
            )
        tensors: dict[str, Tensor] = {}
        file = member("tensors")
        for _ in range(Reader(file, no_storage, place).load()):
            key, storage_key, _kind = Reader(file, no_storage, place).load()
            (ndim,) = struct.unpack("<i", file.read(4))
            file.read(4)
            sizes = struct.unpack(f"<{ndim}q", _take(file, 8 * ndim, place))
            strides = struct.unpack(f"<{ndim}q", _take(file, 8 * ndim, place))
            (offset,) = struct.unpack("<q", file.read(8))
            tensors[_word(key)] = Tensor(storages[_word(storage_key)], offset, sizes, strides)
        return finish(Reader(member("pickle"), lambda pid: tensors[_word(pid)], place).load(), place)


def _word(key: Any) -> str:
    """The name of a storage, a number or a text; of anything else a short one, which no storage has."""
    return str(key) if isinstance(key, (str, int)) else reprlib.repr(key)


def _take(file: io.BytesIO, count: int, place: str) -> bytes:
    left = file.getbuffer().nbytes - file.tell()
    if count < 0 or count > left:
        raise FormatError(f"{place}: expected {count} more bytes, found {left}: the file is truncated")
    return file.read(count)


def _storage_id(pid: Any, place: str) -> tuple[str, str, int]:
    """(dtype, key, numel) of a persistent id ('storage', class, key, location, numel[, view])."""
    if not (
        isinstance(pid, tuple)
        and len(pid) >= 5
        and pid[0] in ("storage", b"storage")
        and isinstance(pid[2], (str, int))
    ):
        raise FormatError(
            f"{place}: unknown reference {reprlib.repr(pid)}: expected ('storage', type, key, location, numel)"
        )
    if len(pid) > 5 and pid[5] is not None:
        raise UnsupportedModelError(
            f"{place}: storage {pid[2]} is a view of a storage; load it with torch and save it again"
        )
    numel = pid[4]
    if not isinstance(numel, int) or numel < 0:
        raise FormatError(f"{place}: storage {pid[2]}: expected a number of elements, found {reprlib.repr(numel)}")
    return dtype_of_class(pid[1], place), str(pid[2]), numel
