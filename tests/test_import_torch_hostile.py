"""Checkpoints that carry code, lie about sizes, blow up or are damaged."""

from __future__ import annotations

import collections
import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from effort import at_once
from torch_helpers import saved

from lstm_edge.errors import FormatError, UnsupportedModelError
from lstm_edge.files import pickles as torch_pickle
from lstm_edge.importers import registry

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


def read(source):
    return registry.read(source, {})[1]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(1)


class Evil:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.mark.parametrize("new", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, new):
    mark = tmp_path / "ran"
    for evil in (Evil(os.system, f"touch {mark}"), Evil(eval, f"open({str(mark)!r}, 'w')"), Evil(os.mkdir, str(mark))):
        with pytest.raises(FormatError, match="carries code, which was not run"):
            read(saved({"w": torch.zeros(2), "evil": evil}, new))
    assert not mark.exists()


def test_a_call_on_a_call_is_not_run(tmp_path):
    mark = tmp_path / "ran"
    code = (
        b"\x80\x02cbuiltins\ngetattr\ncos\nsystem\nX\x04\x00\x00\x00name\x86R(X"
        + struct.pack("<I", len(str(mark)))
        + str(mark).encode()
    )
    for data in (code + b"tR.", b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.", b"(S'x'\nios\nsystem\n."):
        with pytest.raises(FormatError):
            torch_pickle.load(data)
    assert not mark.exists()


def test_unknown_classes_are_inert():
    import argparse

    value = torch_pickle.load(
        saved({"args": argparse.Namespace(lr=1), "counter": collections.Counter("aab"), "w": torch.ones(2)})
    )
    assert value["args"].name == "argparse.Namespace" and value["args"].state == {"lr": 1}
    np.testing.assert_array_equal(value["w"], np.ones(2))


def zip_with(pkl, entries=(), compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("x/data.pkl", pkl)
        for name, data in entries:
            archive.writestr(f"x/{name}", data)
    return buffer.getvalue()


def tensor_pickle(size, stride, numel, offset=0):
    """data.pkl of one float tensor with whatever is claimed about it."""

    class Claim:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, size, stride, False, collections.OrderedDict())

    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if isinstance(value, Storage) else None

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump({"w": Claim()})
    return buffer.getvalue()


@pytest.mark.parametrize(
    "size, stride, numel, offset",
    [
        ((2, 3), (3, 1), 4, 0),
        ((2,), (1,), 4, 3),
        ((2,), (1,), 4, -1),
        ((2,), (-1,), 4, 1),
        ((1 << 31,), (0,), 4, 0),
        ((2,), (1 << 60,), 4, 0),
        ((4,), (1,), 1 << 31, 0),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(size, stride, numel, offset):
    with pytest.raises(FormatError, match="storage"):
        torch_pickle.load(zip_with(tensor_pickle(size, stride, numel, offset), [("data/0", bytes(16))]))


def test_bombs_end_at_once():
    bomb = zip_with(tensor_pickle((64 << 20,), (1,), 64 << 20), [("data/0", bytes(256 << 20))], zipfile.ZIP_DEFLATED)
    memo = b"\x80\x02]r\xff\xff\xff\x7f."  # LONG_BINPUT 2^31 - 1
    claims = b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".", b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x."

    def refused():
        with pytest.raises(FormatError, match="zip bomb"):
            torch_pickle.load(bomb)
        assert torch_pickle.load(memo) == []
        for claim in claims:
            with pytest.raises(FormatError):
                torch_pickle.load(claim)

    at_once(refused)


def test_truncated_and_foreign_files():
    for data in (saved({"w": torch.randn(40, 40)}), saved({"w": torch.randn(40, 40)}, new=False)):
        for end in (3, 40, len(data) // 2, len(data) - 1):
            with pytest.raises((FormatError, UnsupportedModelError)):
                read(data[:end])
    for data in (
        b"",
        b"hello world" * 30,
        b"PK\x03\x04" + bytes(100),
        zip_with(b"\x80\x02N.").replace(b"data.pkl", b"data.txt"),
    ):
        with pytest.raises((FormatError, UnsupportedModelError)):
            read(data)


class Module:
    """Stands for nn.Module in a pickle."""

    __module__ = "torch.nn"

    def __init__(self, **below):
        self._modules, self._parameters = below, {}


class ModulePickler(pickle._Pickler):
    def save_global(self, obj, name=None):
        if obj is Module:
            self.write(b"ctorch.nn\nModule\n")
        else:
            super().save_global(obj, name)


def test_objects_in_many_places_and_in_themselves_end():
    entries, module = {"x": 1}, Module()
    for _ in range(40):
        entries, module = {"a": entries, "b": entries}, Module(a=module, b=module)
    entries_in_themselves, module_in_itself = {"w": 1}, Module()
    entries_in_themselves["a"], module_in_itself._modules["a"] = entries_in_themselves, module_in_itself
    for held in (entries, module, entries_in_themselves, module_in_itself):
        file = io.BytesIO()
        ModulePickler(file, 2).dump(held)
        with pytest.raises((FormatError, UnsupportedModelError)):
            read(file.getvalue())


@pytest.mark.parametrize(
    "code, found",
    [
        ("n = 3\n    for i in range(60):\n      n = torch.mul(n, n)", "more than 64 bits"),
        ("n = [1]\n    for i in range(60):\n      _0 = torch.extend(n, n)", "more than 100000 elements"),
        ("_0 = (self).forward(x, )", "calls itself"),
    ],
)
def test_torchscript_that_grows_without_end_is_refused(code, found):
    class Doubled(nn.Module):
        def forward(self, x):
            return x + x

    plain, changed = io.BytesIO(), io.BytesIO()
    torch.jit.save(torch.jit.script(Doubled()), plain)
    with zipfile.ZipFile(plain) as before, zipfile.ZipFile(changed, "w") as after:
        for name in before.namelist():
            text = before.read(name)
            if name.endswith(".py"):
                text = text.replace(b"    return ", f"    {code}\n    return ".encode())
            after.writestr(name, text)
    with pytest.raises(UnsupportedModelError, match=found):
        registry.read(changed.getvalue(), {"shapes": {"x": ["batch", 3]}})


@pytest.mark.parametrize(
    "header",
    [
        {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 12]}},
        {"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}},
        {"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"w": {"shape": [1]}},
        [1],
        {},
    ],
)
def test_safetensors_claims_are_checked(header):
    text = json.dumps(header).encode()
    with pytest.raises((FormatError, UnsupportedModelError)):
        read(struct.pack("<Q", len(text)) + text + bytes(16))
