"""Where `lstm-edge run` puts answers, piece by piece: into a temporary file that takes its name when all went well."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import IO, Any

import numpy as np

from ..errors import FormatError, ShapeError
from ..files.replacing import NamedFile, written_in_place
from ..files.replacing import replacing as whole_file
from .io import stdout
from .lines import FORMS, Clock, Lines
from .meanings import Meanings
from .pcm import FLOAT, RAW
from .wav import HEADER_BYTES, wav_header, write_samples

SUFFIXES = (".npy", ".npz", ".csv", ".jsonl", ".wav")
PICTURES = (".png", ".svg", ".pdf")
SAMPLES = ("s16le", "f32le")  # of the forms of raw samples, those that are written
PIPED = (*FORMS, "wav", *SAMPLES)
ENDLESS = 1 << 40  # samples, more than a .wav can say
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


@contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """A file to write that becomes `path` at the end. A device or a pipe stays what it is and is written as it comes."""
    if written_in_place(path):
        with _in_place(path) as file:
            yield file
    else:
        with whole_file(path) as file:
            yield file


class Sink:
    """Collects answers by output name. `write` takes them in order; an output's axis is that of its frames, None without one.

    form: one of PIPED, of what no suffix tells; without it csv, or where `sound` says that the output is samples and no terminal
    would show them, a .wav without an end. meanings: what writes lines in place of the numbers. What nobody waits to be renamed is flushed as it comes.
    """

    def __init__(
        self,
        path: str,
        clock: Clock,
        rate: float = 0,
        form: str | None = None,
        wanted: Sequence[str] = (),
        sound: bool = False,
        meanings: Meanings | None = None,
    ):
        self.in_place = path == "-" or written_in_place(path)
        suffix = os.path.splitext(path)[1].lower()
        if not self.in_place and suffix not in SUFFIXES:
            raise FormatError(
                f"{path}: expected a file to write among {', '.join(SUFFIXES)}, found {suffix or 'no suffix'}"
            )
        self.path, self.rate, self.clock, self.wanted, self.meanings = path, int(rate), clock, wanted, meanings
        heard = sound and rate and not (path == "-" and stdout().isatty())
        self.kind = suffix[1:] if suffix in SUFFIXES else form or ("wav" if heard else "csv")
        if self.kind == "wav" and not rate:
            raise ShapeError(f"{path}: expected a .wav input, whose sample rate a .wav output takes, found none")
        if (self.in_place and self.kind not in PIPED) or form not in (None, self.kind):
            expected = f"expected .{form}, as --format says" if form else f"expected {', '.join(PIPED)} for a pipe"
            raise FormatError(f"{path}: {expected}, found {suffix}")
        self.parts: dict[str, list[np.ndarray]] = {}
        self.axes: dict[str, int | None] = {}
        self.count = 0  # entries along time, or samples of a .wav
        self.shape: tuple[int, ...] = ()
        self.dtype: np.dtype[Any] | None = None

    def __enter__(self) -> Sink:
        self.context: AbstractContextManager[IO[bytes]] = (
            nullcontext(_opened(self.path)) if self.in_place else replacing(self.path)
        )
        self.file: IO[bytes] = self.context.__enter__()
        self.lines: Lines | Meanings | None = None
        if self.kind in FORMS:
            self.lines = self.meanings or Lines(self.file, self.kind, self.clock, self.wanted)
            if self.meanings is not None:
                self.meanings.begin(self.file, self.kind)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                self._finish()
            except BaseException:
                self.context.__exit__(*sys.exc_info())
                raise
        self.context.__exit__(kind, error, trace)

    def write(self, answers: Mapping[str, np.ndarray], axes: Mapping[str, int | None]) -> None:
        """Takes the next answers. Only .npz, and what cannot be appended, is kept in memory."""
        self.axes.update(axes)
        if self.kind == "csv" and len({axis is None for axis in axes.values()}) > 1:
            raise ShapeError(
                f"{self.path}: expected outputs of frames alone, or of none, as columns, found {', '.join(axes)}; give one of them by --select NAME, or -o with a .npz file"
            )
        at_once = {}
        for name, value in answers.items():
            time = axes[name]
            if time is None:
                self.parts[name] = [value]
            elif self.lines is not None:
                at_once[name] = np.moveaxis(value, time, 0)
            elif self.kind == "npz" or time % value.ndim:
                self.parts.setdefault(name, []).append(value)
            else:
                self._append(value)
                if self.in_place:
                    self.file.flush()
        self._write_lines(at_once)

    def _write_lines(self, answers: Mapping[str, np.ndarray]) -> None:
        if self.lines is not None and answers:
            self.lines.write(answers)
            if self.in_place:
                self.file.flush()

    def _append(self, value: np.ndarray) -> None:
        if self.dtype is None:  # the first answers, which may be none
            self.shape, self.dtype = value.shape[1:], value.dtype
            self.file.write(self._room())
        if self.kind == "npy":
            self.file.write(np.ascontiguousarray(value).data)
            self.count += len(value)
        elif RAW.get(self.kind, (0,))[0] == FLOAT:
            self.file.write(value.astype("<f4").tobytes())
            self.count += value.size
        else:
            self.count += write_samples(self.file, value)

    def _room(self) -> bytes:
        """What stands before the first answers: of a file the room for its header."""
        if self.kind == "npy":
            return bytes(NPY_HEADER)
        if self.kind in RAW:
            return b""
        return wav_header(ENDLESS, self.rate) if self.in_place else bytes(HEADER_BYTES)

    def _finish(self) -> None:
        whole = {name: np.concatenate(p, self.axes[name]) if len(p) > 1 else p[0] for name, p in self.parts.items()}
        if self.kind == "npz":
            np.savez(self.file, **whole)  # type: ignore[arg-type]
        elif self.lines is not None:
            self._write_lines(
                {name: value.reshape(1, -1) if value.ndim < 2 else value for name, value in whole.items()}
            )
            if self.meanings is not None:
                self.meanings.finish()
        elif whole:
            value = next(iter(whole.values()))
            if self.kind == "npy":
                np.save(self.file, value)
                return
            self._append(value.reshape(1, -1) if value.ndim < 2 else value)
        if self.dtype is not None and not self.in_place and self.kind not in RAW:
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


def _opened(path: str) -> IO[bytes]:
    return stdout().buffer if path == "-" else _in_place(path)


def _in_place(path: str) -> IO[bytes]:
    return io.BufferedWriter(NamedFile(path, "wb", path))
