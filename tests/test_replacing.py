"""Files written whole: two writers, a killed one, links, permissions, a full disk."""

from __future__ import annotations

import importlib.util
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from shared import ROOT

from lstm_edge.errors import FormatError
from lstm_edge.files.replacing import replacing

ROUNDS = int(os.environ.get("LSTM_EDGE_WRITER_ROUNDS", "300"))  # 10,000 by hand: a minute


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".tmp"))


def test_threads_that_write_one_path_show_whole_files_alone(tmp_path):
    path = tmp_path / "model.lstm"
    contents = {bytes([letter]) * size for letter, size in ((65, 10), (66, 70_000), (67, 300_000))}
    path.write_bytes(min(contents))
    seen, failed, done = set(), [], threading.Event()

    def write(content: bytes) -> None:
        try:
            for _ in range(ROUNDS // len(contents)):
                with replacing(path) as file:
                    file.write(content)
        except BaseException as exc:
            failed.append(exc)

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    reader.start()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    done.set()
    reader.join()
    assert not failed and seen <= contents and not left_over(tmp_path)


@pytest.mark.parametrize("name", ["model.lstm", "a|b{0}.lstm"])
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, name):
    path = tmp_path / name
    code = "import os, signal, sys\nfrom lstm_edge.files.replacing import replacing\nwith replacing(sys.argv[1]) as file:\n    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", code, str(path)])
    assert done.returncode == -signal.SIGKILL and len(left_over(tmp_path)) == 1 and not path.exists()
    (tmp_path / f".{name}.notes.tmp").write_text("the user's own")
    with replacing(path) as file:
        assert len(left_over(tmp_path)) == 2  # this one's, and the user's
        with replacing(path) as other:  # a living writer's is left alone
            other.write(b"first")
        file.write(b"whole")
    assert path.read_bytes() == b"whole" and left_over(tmp_path) == [f".{name}.notes.tmp"]


def test_a_conversion_that_is_killed_leaves_a_whole_file(tmp_path):
    """By hand: python tools/kill_convert.py 200."""
    spec = importlib.util.spec_from_file_location("kill_convert", ROOT / "tools/kill_convert.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    found = tool.kill(2, tmp_path)
    assert found["before"] + found["new"] == 2


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "store").mkdir()
    link = tmp_path / "model.lstm"
    link.symlink_to("store/v1.lstm")
    with replacing(link) as file:  # to a file that is not there yet
        file.write(b"first")
    with replacing(link) as file:
        file.write(b"second")
    assert link.is_symlink() and (tmp_path / "store" / "v1.lstm").read_bytes() == b"second"


def test_permissions_of_a_file_that_is_there_are_kept(tmp_path):
    path = tmp_path / "model.lstm"
    before = os.umask(0o022)
    try:
        with replacing(path) as file:
            file.write(b"first")
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        path.chmod(0o600)
        with replacing(path) as file:
            file.write(b"second")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_disk_that_is_full_names_the_file(tmp_path):
    """A limit on the size of files stands for the disk: the write fails in the same place."""
    path = tmp_path / "y.npy"
    path.write_bytes(b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(OSError) as failed, replacing(path) as file:
            np.save(file, np.zeros(1 << 16, np.float32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handled)
    assert failed.value.filename == str(path)
    assert path.read_bytes() == b"before" and not left_over(tmp_path)


def test_an_error_of_the_body_stays_what_it_is(tmp_path):
    with pytest.raises(FormatError, match="row 3"), replacing(tmp_path / "y.csv") as file:
        file.write(b"1,2\n")
        raise FormatError("row 3")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["n" * 250, "é" * 125])
def test_names_as_long_as_names_can_be(tmp_path, name):
    with replacing(tmp_path / name) as file:
        file.write(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_folders_and_devices_are_not_replaced(tmp_path):
    for path in (tmp_path, "/dev/null"):
        with pytest.raises(OSError, match="found a folder, a pipe or a device"), replacing(path):
            pass
    with pytest.raises(FileNotFoundError, match="create it first"), replacing(tmp_path / "none" / "y.csv"):
        pass
