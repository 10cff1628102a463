"""Answers made on another machine: int8 models have its bits, float32 ones its values. LSTM_EDGE_GOLDEN names the folder that
tests/golden_bits.py wrote there; without it these tests are skipped."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from golden_bits import answers

import lstm_edge

FOLDER = os.environ.get("LSTM_EDGE_GOLDEN")
if not FOLDER:
    pytest.skip("LSTM_EDGE_GOLDEN names no folder", allow_module_level=True)
NAMES = sorted(p.stem for p in Path(FOLDER).glob("*.npz"))
ISAS = [name for name, supported in lstm_edge.isas() if supported]


def test_the_folder_holds_models():
    assert any(name.endswith(".int8") for name in NAMES)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", NAMES)
def test_answers_and_states_are_those_of_the_other_machine(name, isa):
    wanted = dict(np.load(Path(FOLDER) / f"{name}.npz"))
    x = wanted.pop("x")
    model = lstm_edge.load(Path(FOLDER) / f"{name}.lstm", isa)
    found = answers(model, x, any(key.startswith("stream ") for key in wanted))
    assert found.keys() == wanted.keys()
    for key, want in wanted.items():
        if name.endswith(".int8"):
            assert found[key].shape == want.shape and found[key].tobytes() == want.tobytes(), key
        else:
            scale = max(1.0, float(np.abs(want).max(initial=0)) / 10)
            np.testing.assert_allclose(found[key], want, rtol=0, atol=1e-5 * scale, err_msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_files_prove_themselves(name):
    for isa in ISAS:
        assert lstm_edge.verify(Path(FOLDER) / f"{name}.lstm", isa).passed
