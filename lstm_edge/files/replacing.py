"""Files written whole: readers of a name find what it held before or all that was written, whatever happens meanwhile."""

from __future__ import annotations

import errno
import io
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows: what a killed process leaves there stays
    fcntl = None  # type: ignore[assignment]

TEMPORARY = ".{name}.{pid}-{number}.tmp"
NAME_KEPT = 50  # characters of a temporary's name that are its target's: names may have 255 bytes, each character four
_numbers = itertools.count()  # the threads of a process write the same file through names of their own


class NamedFile(io.FileIO):
    """A file whose errors say `asked`: the system's own name no path when a write fails."""

    def __init__(
        self, file: str | os.PathLike[str] | int, mode: str, asked: str | os.PathLike[str], closefd: bool = True
    ):
        self.asked = asked
        super().__init__(file, mode, closefd)

    def write(self, content: Any) -> int:
        with _naming(self.asked):
            return super().write(content)


def written_in_place(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is there and no file: a device such as /dev/null, a pipe. Nothing takes its name."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write that becomes `path` at the end, and is removed when anything goes wrong before.

    The file at the end of a symbolic link is replaced, the link stays. A file that is there keeps its permissions. Content and folder are
    synchronised to the disk, so that a power cut leaves one of the two. What a killed process left of the same file is removed.
    Raises OSError naming `path`, also when the disk is full while the caller writes.
    """
    asked = os.fspath(path)
    target = os.path.realpath(asked)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, f"expected an existing folder, found no {folder}; create it first", asked)
    if os.path.exists(target) and not os.path.isfile(target):  # renaming would put the file in a device's place
        raise OSError(errno.EINVAL, "expected the name of a file to write, found a folder, a pipe or a device", asked)
    _remove_left_over(folder, os.path.basename(target))
    raw = _created(folder, os.path.basename(target), asked)
    temporary = raw.name
    try:
        with io.BufferedRandom(raw) as file:
            yield file
            file.flush()
            with _naming(asked):
                os.fsync(raw.fileno())
                if os.path.exists(target) and hasattr(os, "fchmod"):
                    os.fchmod(raw.fileno(), os.stat(target).st_mode & 0o7777)
            if os.name == "nt":  # no open file has its name changed there
                file.close()
            with _naming(asked):
                os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            raw.close()
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _synchronise(folder)


def _created(folder: str, name: str, asked: str) -> NamedFile:
    """A new file, locked: who finds it unlocked knows that its process has ended."""
    while True:
        temporary = os.path.join(
            folder, TEMPORARY.format(name=name[:NAME_KEPT], pid=os.getpid(), number=next(_numbers))
        )
        try:
            with _naming(asked):
                raw = NamedFile(temporary, "x+b", asked)
        except FileExistsError:  # of a process with the same number, on another machine or long ago
            continue
        if _lock(raw.fileno()) and _still_there(raw):
            return raw
        raw.close()  # found between its making and its lock, and removed


def _remove_left_over(folder: str, name: str) -> None:
    start, end = f".{name[:NAME_KEPT]}.", ".tmp"  # of TEMPORARY
    with suppress(OSError):
        for entry in [each.path for each in os.scandir(folder) if each.name.startswith(start)]:
            middle = os.path.basename(entry)[len(start) : -len(end)]
            if entry.endswith(end) and middle.replace("-", "", 1).isdigit():
                _remove_unlocked(entry)


def _remove_unlocked(path: str) -> None:
    if fcntl is None:
        return
    with suppress(OSError), open(path, "rb") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)


def _lock(number: int) -> bool:
    """Whether nobody else holds the file; so it is where a file system knows no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        return exc.errno not in (errno.EWOULDBLOCK, errno.EAGAIN)
    return True


def _still_there(raw: NamedFile) -> bool:
    try:
        return os.path.samestat(os.stat(raw.name), os.fstat(raw.fileno()))
    except FileNotFoundError:
        return False


def _synchronise(folder: str) -> None:
    """The new name, to the disk. Where folders cannot be opened or synchronised, their file systems decide."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextmanager
def _naming(asked: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        exc.filename, exc.filename2 = asked, None
        raise
