"""Where `lstm-edge run` puts answers, piece by piece: into a temporary file that takes its name when all went well."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any

import numpy as np

from ..errors import FormatError, ShapeError
from ..format import MAGIC
from .wav import HEADER_BYTES, wav_header, write_samples

SUFFIXES = (".npy", ".npz", ".csv", ".wav")
PICTURES = (".png", ".svg", ".pdf")
NPY_HEADER = 192  # room for any shape; .npy wants a multiple of 64


def check_output(path: str, sources: tuple[str, ...]) -> None:
    """Refuses, before any work, a folder that is missing, a directory, and a file that is being read."""
    if os.path.isdir(path):
        raise FormatError(f"{path}: expected the name of a file to write, found a directory")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise FormatError(f"{path}: expected an existing folder, found no {folder}; create it first")
    if not os.access(folder, os.W_OK):
        raise FormatError(f"{path}: expected a folder that may be written, found {folder} to be read-only")
    for source in sources:
        if os.path.exists(path) and os.path.exists(source) and os.path.samefile(path, source):
            raise FormatError(f"{path}: expected another file than the input to write to; give another -o")


def check_replaceable(path: str) -> None:
    """Refuses to write a model over a file that is none."""
    if os.path.exists(path):
        with open(path, "rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise FormatError(
                    f"{path}: expected a .lstm file to replace, found another; remove it or give another -o"
                )


@contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """A file to write that becomes `path` at the end, and is removed when anything goes wrong before."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w+b") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


class Sink:
    """Collects answers by output name. `write` takes them in order; `time` is their frames axis, None without one."""

    def __init__(self, path: str, rate: float = 0):
        suffix = os.path.splitext(path)[1].lower()
        if path != "-" and suffix not in SUFFIXES:
            raise FormatError(
                f"{path}: expected a file to write among {', '.join(SUFFIXES)}, found {suffix or 'no suffix'}"
            )
        if suffix == ".wav" and not rate:
            raise ShapeError(f"{path}: expected a .wav input, whose sample rate a .wav output takes, found none")
        self.path, self.rate = path, int(rate)
        self.kind = suffix[1:] if path != "-" else "csv"
        self.parts: dict[str, list[np.ndarray]] = {}
        self.axes: dict[str, int | None] = {}
        self.count = 0  # entries along time, or samples of a .wav
        self.shape: tuple[int, ...] = ()
        self.dtype: np.dtype[Any] | None = None

    def __enter__(self) -> Sink:
        self.context = None if self.path == "-" else replacing(self.path)
        self.file: IO[bytes] = sys.stdout.buffer if self.context is None else self.context.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                self._finish()
            except BaseException:
                if self.context is not None:
                    self.context.__exit__(*sys.exc_info())
                raise
        if self.context is not None:
            self.context.__exit__(kind, error, trace)
        elif kind is None:
            self.file.flush()

    def write(self, name: str, value: np.ndarray, time: int | None) -> None:
        """Takes the next answer of output `name`. Only .npz, and what cannot be appended, is kept in memory."""
        self.axes[name] = time
        if time is None:
            self.parts[name] = [value]
        elif self.kind == "npz" or (self.kind != "csv" and time % value.ndim):
            self.parts.setdefault(name, []).append(value)
        else:
            self._append(value if self.kind != "csv" else np.moveaxis(value, time, 0))

    def _append(self, value: np.ndarray) -> None:
        if self.kind == "csv":
            np.savetxt(
                self.file, value.reshape(len(value), -1), fmt="%.9g" if value.dtype.kind == "f" else "%d", delimiter=","
            )
            return
        if not self.count:
            self.shape, self.dtype = value.shape[1:], value.dtype
            self.file.write(bytes(NPY_HEADER if self.kind == "npy" else HEADER_BYTES))
        if self.kind == "npy":
            self.file.write(np.ascontiguousarray(value).data)
            self.count += len(value)
        else:
            self.count += write_samples(self.file, value)

    def _finish(self) -> None:
        whole = {name: np.concatenate(p, self.axes[name]) if len(p) > 1 else p[0] for name, p in self.parts.items()}
        if self.kind == "npz":
            np.savez(self.file, **whole)  # type: ignore[arg-type]
        elif whole:
            value = next(iter(whole.values()))
            if self.kind == "npy":
                np.save(self.file, value)
                return
            self._append(value.reshape(1, -1) if value.ndim < 2 else value)
        if self.dtype is not None:
            self.file.seek(0)
            self.file.write(wav_header(self.count, self.rate) if self.kind == "wav" else self._npy_header())

    def _npy_header(self) -> bytes:
        fields = {
            "descr": self.dtype.str if self.dtype else "",
            "fortran_order": False,
            "shape": (self.count, *self.shape),
        }
        text = repr(fields).encode()
        return b"\x93NUMPY\x01\x00" + (NPY_HEADER - 10).to_bytes(2, "little") + text.ljust(NPY_HEADER - 11) + b"\n"
