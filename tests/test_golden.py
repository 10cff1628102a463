"""Answers made on another machine: int8 models have its bits, float32 ones its values. LSTM_EDGE_GOLDEN names the folder that
tests/golden_bits.py wrote there; without it these tests are skipped."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from golden_bits import answers
from shared import ISAS

import lstm_edge
from lstm_edge.cli import _run

FOLDER = os.environ.get("LSTM_EDGE_GOLDEN")
if not FOLDER:
    pytest.skip("LSTM_EDGE_GOLDEN names no folder", allow_module_level=True)
NAMES = sorted(p.stem for p in Path(FOLDER).glob("*.npz"))


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


@pytest.mark.parametrize("name", [*NAMES, "digits"])
def test_files_prove_themselves(name):
    for isa in ISAS:
        assert lstm_edge.verify(Path(FOLDER) / f"{name}.lstm", isa).passed


@pytest.mark.parametrize("name", ["digits", "silero_op15", "silero_op15.int8"])
def test_the_command_line_runs_what_another_machine_converted(name, tmp_path, capsys):
    path = str(Path(FOLDER) / f"{name}.lstm")
    model = lstm_edge.load(path)
    frames = np.random.default_rng(0).standard_normal(
        (20, *[n for n in model.inputs[0].shape if isinstance(n, int) and n > 1])
    )
    np.save(tmp_path / "x.npy", frames.astype(np.float32))
    assert _run(["verify", path]) == 0
    assert _run(["run", path, str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")]) == 0
    assert np.isfinite(np.load(tmp_path / "y.npy")).all()
    assert _run(["bench", path, "--runs", "3", "--warmup", "1", "--frames", "5", "--json"]) == 0
    capsys.readouterr()
    stream = model.stream()
    assert all(np.isfinite(stream.step(frame)).all() for frame in frames.astype(np.float32))
