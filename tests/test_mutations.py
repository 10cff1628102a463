"""The changed files that readers are tried with: made again from their numbers, whole where their structure is kept; what comes of
them is told apart."""

import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
from fuzz import mutations
from shared import ROOT
from test_runtime import lstm_dense


def zipped():
    out = io.BytesIO()
    np.savez(out, a=np.ones(3), b=np.zeros((2, 2)))
    return out.getvalue()


SEEDS = {
    "zip": zipped(),
    "json": json.dumps({"layers": [{"a": 1, "b": [1, 2]}], "text": '{"c": 1}'}).encode(),
    "pickle": pickle.dumps({"a": [1, 2, (3, 4)], "b": {"c": 1.5}}, 2),
    "safetensors": struct.pack("<Q", 8) + b'{"a":[1]' + bytes(8),
    "toml": b'[[layer]]\ntype = "lstm"\nweights = "rnn"\n',
    "protobuf": (ROOT / "tests" / "golden" / "onnx" / "lstm_relu.onnx").read_bytes(),
    "lstm": lstm_dense(),
}


@pytest.mark.parametrize("name", SEEDS)
def test_a_file_is_its_numbers_alone_and_most_differ(name):
    data = SEEDS[name]
    made = [mutations.mutated(data, data, random.Random(n)) for n in range(100)]
    assert made == [mutations.mutated(data, data, random.Random(n)) for n in range(100)]
    assert sum(m != data for m in made) > 80 and len(set(made)) > 70


def test_structures_are_kept():
    for n in range(100):
        rng = random.Random(n)
        assert zipfile.ZipFile(io.BytesIO(mutations.members(SEEDS["zip"], b"", rng))).testzip() is None
        json.loads(mutations.values(SEEDS["json"], b"", rng))
        assert mutations.fields(SEEDS["protobuf"], b"", rng)
        changed = mutations.summed(mutations.sections(SEEDS["lstm"], b"", rng))
        assert struct.unpack_from("<IQ", changed, 12) == (zlib.crc32(changed[16:]), len(changed))


def test_a_protocol_buffer_is_parsed_and_written_alike():
    data = SEEDS["protobuf"]
    parts = mutations._parsed(data)
    again = b"".join(
        mutations._varint(n << 3 | k) + (mutations._varint(len(v)) + v if k == 2 else v) for n, k, v in parts
    )
    assert again == data and len(parts) > 3


BROKEN = """
import os, signal, sys, time
from fuzz import mutate_files
def use(kind, path, number):
    [lambda: None, lambda: {}["x"], lambda: os.kill(os.getpid(), signal.SIGSEGV), lambda: time.sleep(600), lambda: bytearray(1 << 40)][number % 5]()
mutate_files.use, mutate_files.FOLDER = use, mutate_files.Path(sys.argv.pop())
mutate_files.main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked, with Linux's limits")
def test_what_comes_of_files_is_told_apart(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", BROKEN, "toml", "--count", "6", "--seconds", "5", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1, ran.stderr
    assert ran.stdout.startswith("toml: 6 files: 2 read, 1 raised, 1 crash, 1 hang, 1 memory;"), ran.stdout
    said = "".join(p.read_text() for p in (tmp_path / "findings").glob("*.txt"))
    assert "raised KeyError" in said and "crash died of signal 11" in said and "--first 3 --count 1" in said
