"""HDF5 files are read where they can be ended: what libhdf5 does with damaged bytes ends a child process, and an error says so."""

import io
import sys

import numpy as np
import pytest

import lstm_edge
from lstm_edge.errors import FormatError, UnsupportedModelError
from lstm_edge.files import hdf5

H5PY = """
class File:
    def __init__(self, stream, mode):
        import os, signal, time
        content = stream.read()
        BEHAVIOUR

    def __enter__(self):
        return self

    def __exit__(self, *why):
        pass

    attrs = {"here": b"yes"}

    def visititems(self, visit):
        for path in ("a", "a/b"):
            visit(path, object())
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Installs an h5py that does `behaviour` when it opens a file."""

    def install(behaviour="pass"):
        folder = tmp_path / "site"
        folder.mkdir()
        (folder / "h5py.py").write_text(H5PY.replace("BEHAVIOUR", behaviour))
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setattr(hdf5, "STARTS", 0.0)
        monkeypatch.setattr(hdf5, "LEAST_SECONDS", 0.1)
        hdf5.stop()  # one that waits has the old path

    yield install
    hdf5.stop()


@pytest.mark.parametrize(
    "behaviour, found",
    [
        ("while True: pass", "its process ended"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "its process ended .signal 11"),
        ("os._exit(7)", "its process ended .exit code 7"),
        ("x = bytearray(1 << 32)", "fits into memory"),
        ("raise OSError('bad heap')", "bad heap"),
        ("raise TypeError('no kind')", "TypeError: no kind"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")
def test_a_file_that_its_library_does_not_bear_is_a_format_error(library, behaviour, found):
    library(behaviour)
    with pytest.raises(FormatError, match=f"(?s)a.h5: .*{found}"), hdf5.opened(hdf5.MAGIC, "a.h5"):
        pass


def test_a_child_that_waits_for_something_else_is_ended_by_the_clock(library, monkeypatch):
    monkeypatch.setattr(hdf5, "CLOCK_SECONDS", 0.2)
    library("time.sleep(60)")
    with pytest.raises(FormatError, match="its process ended"), hdf5.opened(hdf5.MAGIC, "a.h5"):
        pass


def test_one_child_reads_many_files_and_outlives_errors(library):
    library("os.write(1, b'noise')")
    processes = set()
    for number in range(4):
        try:
            with hdf5.opened(hdf5.MAGIC, "a.h5") as file:
                assert file.objects == {"a": False, "a/b": False} and file.attribute("here") == "yes"
                if number:
                    raise UnsupportedModelError("what its reader says")
        except UnsupportedModelError:
            pass
        processes.add(hdf5._idle[0].process.pid)
    assert len(processes) == 1 == len(hdf5._idle)
    with pytest.raises(KeyError), hdf5.opened(hdf5.MAGIC, "a.h5") as file:
        raise KeyError
    assert not hdf5._idle


def test_two_files_at_once(library):
    library()
    with hdf5.opened(hdf5.MAGIC, "a") as first, hdf5.opened(hdf5.MAGIC, "b") as second:
        assert first.has_attribute("here") and not second.has_attribute("there")
    assert len(hdf5._idle) == 2


def test_where_no_child_can_be_had_and_where_the_file_is_trusted_it_is_read_here(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        file["w/kernel"] = np.arange(6, dtype=">f8").reshape(2, 3)
        file["n"] = np.array([1, 2], ">i2")
        file.attrs["names"] = [b"a", b"b"]
    (tmp_path / "a.h5").write_bytes(data.getvalue())

    def read(source):
        with hdf5.opened(source, "a.h5") as found:
            return {**found.arrays(("n",)), "n": found.array("n"), "names": found.names("names"), "all": found.objects}

    by_child = [read(data.getvalue()), read(tmp_path / "a.h5")]
    monkeypatch.setattr(hdf5, "started", None)
    monkeypatch.setenv(hdf5.TRUST, "1")
    trusted = read(data.getvalue())
    monkeypatch.undo()
    hdf5.stop()
    monkeypatch.setattr(sys, "executable", "/opt/app/viewer")
    for found in (trusted, read(tmp_path / "a.h5")):
        for other in by_child:
            np.testing.assert_equal(found, other)
    assert trusted["w/kernel"].dtype == np.float32 and trusted["names"] == ["a", "b"]


def test_without_h5py_it_is_named(library, tmp_path):
    library()
    (tmp_path / "site" / "h5py.py").write_text("raise ImportError('none')")
    with pytest.raises(UnsupportedModelError, match="pip install h5py"):
        lstm_edge.convert(hdf5.MAGIC + bytes(100))
