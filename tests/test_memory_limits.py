"""What a .lstm file asks for is bounded by its size, in memory and in time, and by the caller's own limit."""

from __future__ import annotations

import json
import pickle
import struct
import time
import zlib

import numpy as np
import pytest

import lstm_edge
from lstm_edge import format
from lstm_edge.errors import FormatError, LstmEdgeError, MemoryLimitError
from lstm_edge.files import safetensors, toml
from lstm_edge.ir.graph import Graph


def chain(nodes: int, width: int = 8) -> bytes:
    """So many Unary ops, one behind the other, that share their attributes."""
    g = Graph()
    x = g.input("x", (1, width))
    for _ in range(nodes):
        x = g.add1("Unary", [x], {"kind": "tanh"})
    g.output("y", x)
    return format.to_bytes(g)


def fill(width: int) -> bytes:
    """An answer of so many numbers that a file of a kB asks for."""
    g = Graph()
    y = g.add1("Fill", [], {"shape": [width], "value": 1.0, "dtype": "float32"})
    g.output("y", g.add1("Binary", [g.input("x", (1,)), y], {"kind": "add"}))
    return format.to_bytes(g)


def signed(data: bytearray) -> bytes:
    data[12:16] = zlib.crc32(bytes(data[16:])).to_bytes(4, "little")
    return bytes(data)


def section(data: bytes, kind: bytes) -> int:
    """Where the row of a section stands in the table."""
    count = struct.unpack_from("<I", data, 24)[0]
    return next(64 + 32 * i for i in range(count) if data[64 + 32 * i :][:4] == kind)


def test_long_chains_open_and_run_in_time():
    data = chain(20_000)
    started = time.process_time()
    answer = lstm_edge.load(data).run(np.zeros((1, 8), np.float32))
    assert answer.shape == (1, 8) and time.process_time() - started < 2


def test_nodes_that_share_many_attributes_are_refused():
    data = bytearray(chain(2))
    row = section(data, b"NODE")
    at = struct.unpack_from("<Q", data, row + 8)[0]
    attrs = section(data, b"ATTR")
    records, where = struct.unpack_from("<IQ", data, attrs + 4)
    record = bytes(data[where : where + 24])
    data += bytes(-len(data) % 64)
    struct.pack_into("<IQQ", data, attrs + 4, 65, len(data), 65 * 24)
    data += record * 65
    struct.pack_into("<I", data, at + 20, 65)
    struct.pack_into("<Q", data, 16, len(data))
    assert records == 1
    with pytest.raises(FormatError, match=r"node 0 .*expected at most 64 attributes, found 65"):
        lstm_edge.load(signed(data))


def test_a_table_of_very_many_sections_is_refused():
    data = bytearray(chain(1))
    struct.pack_into("<I", data, 24, 1025)
    data += bytes(32 * 1100)
    struct.pack_into("<Q", data, 16, len(data))
    with pytest.raises(FormatError, match="expected at most 1024 sections, found 1025"):
        lstm_edge.load(signed(data))


def test_an_answer_beyond_the_limit_is_refused_and_a_raised_limit_gives_it():
    data, x = fill(20_000_000), np.zeros(1, np.float32)
    with pytest.raises(MemoryLimitError, match="asks for .* and the limit is .* max_memory raises it"):
        lstm_edge.load(data).run(x)
    assert lstm_edge.load(data, max_memory=1 << 30).run(x).shape == (20_000_000,)


def test_the_callers_limit_holds_for_the_model_and_for_its_streams():
    data, x = chain(2, 1000), np.zeros((1, 1000), np.float32)
    model = lstm_edge.load(data)
    with pytest.raises(MemoryLimitError, match="the model asks for .* and the limit is 500;"):
        lstm_edge.load(data, max_memory=500)
    tight = lstm_edge.load(data, max_memory=model.nbytes + 100)
    with pytest.raises(MemoryLimitError, match="a stream of batch 1"):
        tight.run(x)
    with pytest.raises(MemoryLimitError):
        pickle.loads(pickle.dumps(tight)).run(x)
    assert lstm_edge.load(data, max_memory=model.nbytes + 100_000).run(x).shape == (1, 1000)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "64 MB", True])
def test_a_limit_is_a_number_of_bytes(wrong):
    with pytest.raises(LstmEdgeError, match="max_memory: expected None or a number of bytes"):
        lstm_edge.load(chain(1), max_memory=wrong)


# ---- sources of conversions ----


def test_safetensors_that_share_bytes_are_refused_before_memory_is_taken():
    entry = {"dtype": "F32", "shape": [4096], "data_offsets": [0, 16384]}
    header = json.dumps({f"w{i}": entry for i in range(50_000)}).encode()
    with pytest.raises(FormatError, match=r"w\.safetensors: tensors 'w0' and 'w1' overlap"):
        safetensors.read(struct.pack("<Q", len(header)) + header + bytes(16384), "w.safetensors")


@pytest.mark.parametrize("text", ["a" + ".a" * 20_000 + " = 1", "x = 1\n[" + '"b" . ' * 200 + "c]"])
def test_keys_of_very_many_parts_are_refused(text):
    with pytest.raises(FormatError, match=r"line [12]: expected keys of at most 64 parts"):
        toml.loads(text)


def test_numbers_with_points_are_no_keys():
    assert toml.loads("a.b.c = [" + "0.25, " * 500 + "]\nname = '" + "1.2." * 99 + "'")["a"]["b"]["c"] == [0.25] * 500
