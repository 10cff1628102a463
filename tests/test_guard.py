"""Every bad file ends in an LstmEdgeError that names the place, what was expected and what was found, whatever a reader meets."""

import io
import json
import os
import struct
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from shared import ROOT

import lstm_edge
from lstm_edge import memory
from lstm_edge.errors import FormatError, LstmEdgeError, MemoryLimitError
from lstm_edge.files import npz, pickles, safetensors, zips
from lstm_edge.files.guard import UnreadableError, reading
from lstm_edge.importers import registry
from lstm_edge.importers.network.weights import read_weights

WEIGHTS = {"rnn.weight_ih_l0": np.ones((16, 3), np.float32)}


# ---- the guard itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raised",
    [TypeError("no\nsuch"), KeyError("x"), AssertionError(), MemoryError(), RecursionError(), OSError(22, "bad")],
)
def test_whatever_a_reader_raises_is_a_format_error_with_its_cause(raised):
    with pytest.raises(UnreadableError, match="^here: expected .* found [^\n]*$") as found, reading("here"):
        raise raised
    assert found.value.__cause__ is raised


@pytest.mark.parametrize(
    "raised",
    [KeyboardInterrupt(), SystemExit(), ImportError("h5py"), FileNotFoundError(2, "gone", "a.npz"), FormatError("f")],
)
def test_what_is_not_the_contents_doing_stays_as_it_is(raised):
    with pytest.raises(type(raised)) as found, reading("here"):
        raise raised
    assert found.value is raised


def test_a_fault_of_our_own_names_the_file_and_asks_for_a_report(tmp_path, monkeypatch):
    def read(source, options):
        return {}[source]

    monkeypatch.setattr(registry, "read", read)
    path = tmp_path / "weights.npz"
    np.savez(path, **WEIGHTS)
    with pytest.raises(UnreadableError, match=r"weights\.npz: expected .*KeyError.*test_guard\.py:\d+.*please report"):
        lstm_edge.convert(path)
    with pytest.raises(UnreadableError, match="^bytes: "):
        lstm_edge.convert(path.read_bytes())


def test_the_command_line_names_it_in_one_line_and_shows_the_traceback_when_asked(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(npz_of(b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', (" + b" " * 100 + b"\n"))
    code = "import sys; from lstm_edge.importers import registry\nregistry.read = lambda *a: [][0]\n"
    code += "from lstm_edge.cli import main; main(['convert', sys.argv[1]])"
    for shows in ("0", "1"):
        ran = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            text=True,
            capture_output=True,
            env={"PYTHONPATH": str(ROOT), "LSTM_EDGE_TRACEBACK": shows},
        )
        assert ran.returncode == 1 and "a.npz: expected" in ran.stderr and ("Traceback" in ran.stderr) == (shows == "1")


# ---- kinds that mutation found ---------------------------------------------------------------------------------------


def npz_of(member, name="w.npy"):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(name, member)
    return data.getvalue()


def npy(header):
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', (",  # NumPy's tokenizer raises what is no ValueError
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4611686018427387904), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0," + "1," * 70 + "), }",
        "{'descr': [('a', '<f4', -1)], 'fortran_order': False, 'shape': (1,), }",
        "(" * 300,
    ],
)
def test_headers_of_arrays(header):
    with pytest.raises(FormatError, match="array 'w'"):
        npz.read_npz(npz_of(npy(header)))


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": [[]], "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, None]},
        {"dtype": "F32", "shape": [1], "data_offsets": [[1], 4]},
        {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [0, 1 << 62], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [1] * 70, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]},
        "F32",
    ],
)
def test_entries_of_safetensors(entry):
    text = json.dumps({"w": entry}).encode()
    with pytest.raises(FormatError, match="tensor 'w'"):
        safetensors.read(struct.pack("<Q", len(text)) + text + bytes(4), "a")


def damaged_zips():
    """(where, archive): bytes changed so that zipfile raises each of what it raises."""
    plain = npz_of(b"content" * 20, "word.pkl")
    at, central = plain.index(b"word.pkl"), plain.rindex(b"word.pkl")
    start = plain.index(b"PK\x01\x02")
    yield "a sum", plain[: at + 20] + b"?" + plain[at + 21 :]
    yield "a name that is not the directory's", plain[:at] + b"w0rd" + plain[at + 4 :]
    yield (
        "a name that is no UTF-8",
        bytes(plain[: start + 9]) + b"\x08" + plain[start + 10 : central] + b"\xff\xfe" + plain[central + 2 :],
    )
    yield "a method of compression", plain[: start + 10] + b"\x63" + plain[start + 11 :]
    yield "a password", plain[: start + 8] + b"\x01" + plain[start + 9 :]
    yield "a place", plain[: start + 42] + b"\xff\xff\xff\x7f" + plain[start + 46 :]


@pytest.mark.parametrize(("where", "data"), list(damaged_zips()), ids=lambda v: v if isinstance(v, str) else "")
def test_zip_archives(where, data):
    with pytest.raises(FormatError, match=r"^a\.pt: .*damaged"):
        archive = zips.opened(data, "a.pt")
        for info in archive.infolist():
            zips.read_entry(archive, info, "a.pt")


@pytest.mark.parametrize("name", ["a.npz", "a.pt", "a.keras", "a.pt2"])
def test_damaged_archives_of_every_kind(name, tmp_path):
    for n, (_, data) in enumerate(damaged_zips()):
        (tmp_path / f"{n}{name}").write_bytes(data)
        with pytest.raises(LstmEdgeError, match=name):
            lstm_edge.convert(tmp_path / f"{n}{name}")


# ---- the file that a description of a network names ------------------------------------------------------------------


@pytest.mark.parametrize(
    "named", ["../w.npz", "{folder}/w.npz", "link.npz", "pipe.npz", "none.npz", "", "a\\u0000b", "n" * 5000]
)
def test_weights_of_a_description_are_a_regular_file_below_it(named, tmp_path):
    np.savez(tmp_path / "w.npz", **WEIGHTS)
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "link.npz").symlink_to(tmp_path / "w.npz")
    os.mkfifo(inner / "pipe.npz")
    (inner / "net.toml").write_text(f'weights = "{named.format(folder=tmp_path)}"\n')
    with pytest.raises(LstmEdgeError, match="weights: expected a file in the folder of the description or below"):
        lstm_edge.convert(inner / "net.toml")


# ---- pickles that share and nest what is in them ---------------------------------------------------------------------

DOUBLED = b"".join(b"2\x86" for _ in range(100))  # a tuple of the last thing twice, over and over
NESTED = b"\x85" * 300_000
LISTS = b"]q\x00" + b"".join(b"]q" + bytes([n + 1]) + b"(" + 2 * (b"h" + bytes([n])) + b"e" for n in range(100))
TUPLES = b"K\x01" + b"2\x86" * 15  # 65,534 parts, as many as there may be


@pytest.mark.parametrize(
    "program",
    [
        b"K\x01" + DOUBLED,
        b"K\x01" + NESTED,
        b"}K\x01" + DOUBLED + b"K\x01s",
        b"}K\x01" + NESTED + b"K\x01s",
        b"}" + TUPLES + b"q\x00K\x01s" + b"h\x00K\x02s" * 5000,
        b"cbuiltins\nset\n)R(" + b"K\x01" + NESTED + b"\x90",
        b"(K\x01" + DOUBLED + b"\x91",
        b"(K\x01" + NESTED + b"K\x01d",
        LISTS + b"Q",
        b"(X\x07\x00\x00\x00storage" + LISTS + LISTS + b"X\x03\x00\x00\x00cpuK\x01tQ",
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + LISTS + b"X\x03\x00\x00\x00cpuK\x01tQ",
        b"cbuiltins\nstr\n" + LISTS + b"\x85R",
        b"cbuiltins\nbytes\n}K\x01" + LISTS + b"s\x85R",
        b"cbuiltins\nset\n]K\x01" + DOUBLED + b"a\x85R",
        b"ctorch\ndevice\n" + LISTS + b"\x85R",
        b"ctorch._utils\n_rebuild_tensor_v2\n" + LISTS + b"K\x00" + LISTS + LISTS + b"tR",
        b"c_codecs\nencode\nX\x01\x00\x00\x00a" + LISTS + b"\x86R",
        b"cbuiltins\nlist\nq\x01(" + b"K\x01" * 5000 + b"lq\x020" + b"(" + b"h\x01h\x02\x85R" * 20_000 + b"t",
    ],
    ids=range(18),
)
def test_a_short_pickle_takes_no_long_time_and_does_not_end_the_process(program):
    start = time.process_time()
    with pytest.raises(LstmEdgeError):
        read_weights(b"\x80\x04" + program + b".")
    assert time.process_time() - start < 2


def test_arrays_of_a_pickle_that_share_their_bytes_are_held_to_the_budget():
    """20,000 arrays of the same million bytes."""
    one = b"cnumpy._core.multiarray\n_reconstruct\n)R(K\x01J\x40\x42\x0f\x00\x85cnumpy\ndtype\nX\x02\x00\x00\x00u1\x85R\x89h\x00tb"
    raw = b"B\x40\x42\x0f\x00" + bytes(1_000_000) + b"q\x000"
    with pytest.raises(MemoryLimitError, match="asks for 1000000 bytes"), memory.limited(len(raw)):
        pickles.load(b"\x80\x04" + raw + b"](" + one * 20_000 + b"e.", "a")
