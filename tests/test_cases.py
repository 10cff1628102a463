"""The scripts of LSTM_EDGE_CASES, as they are: each builds a model that once failed, prints the right answer and what came out.

What each must print is written here; the kinds behind them have tests of their own, which need no such folder.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from shared import ROOT

import lstm_edge

CASES = Path(os.environ.get("LSTM_EDGE_CASES", ROOT / "no-cases"))
NUMBER = r"([0-9.]+(?:e-?[0-9]+)?)"


def printed(name, tmp_path, *modules):
    """The lines that a script prints, in an empty folder."""
    missing = [m for m in modules if find_spec(m) is None]
    if missing or not (CASES / name).exists():
        pytest.skip(f"{name}: needs {', '.join(missing) or 'the folder LSTM_EDGE_CASES'}")
    (tmp_path / "w").mkdir()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(CASES / name)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    return [line for line in done.stdout.splitlines() if line.strip()]


def errors(lines):
    return [float(m[1]) for line in lines if (m := re.search(rf"error {NUMBER}\s*$", line))]


def test_policy_buffers(tmp_path):
    lines = printed("01_policy_buffers.py", tmp_path, "torch")
    assert lines[-1].startswith("exit 0")
    right = np.array([float(n) for n in re.findall(r"-?\d+\.\d+", "".join(lines[:-1]))]).reshape(3, 4)
    stream = lstm_edge.load(tmp_path / "w" / "case01.lstm").stream()
    for want in right:
        np.testing.assert_allclose(np.ravel(stream.step(np.ones(12, np.float32))), want, atol=1e-5)


def test_qdq_of_old_opsets(tmp_path):
    lines = printed("02_qdq_old_opset.py", tmp_path, "onnxruntime")
    # onnxruntime's own answer there is off by this much: it multiplies by int8 weights with int8 inputs, docs/onnx.md
    assert len(lines) == 5 and all(re.search(rf" ok {NUMBER}$", line) for line in lines)
    assert max(float(line.split()[-1]) for line in lines) < 7e-3


def test_float16(tmp_path):
    lines = printed("03_fp16_dense.py", tmp_path, "torch", "onnxruntime", "onnxconverter_common")
    assert sum("exit 0" in line for line in lines if line.startswith("lstm-edge convert")) == 2
    assert max(errors(lines)) < 1e-3  # the weights are rounded to float16


def test_against_with_external_data(tmp_path):
    lines = printed("04_against_external_data.py", tmp_path, "torch", "onnxruntime", "onnxscript")
    assert [line.rsplit("exit ", 1)[1][0] for line in lines if "exit " in line] == ["0", "0", "0"]


def test_std_over_frames(tmp_path):
    lines = printed("05_std_over_frames.py", tmp_path, "torch")
    assert max(errors(lines)) < 1e-5 and not any("expected shape" in line for line in lines)


def test_tuple_states_of_torchscript(tmp_path):
    lines = printed("07_script_tuple_state.py", tmp_path, "torch")
    assert max(errors(lines)) < 1e-5 and len(errors(lines)) == 2
    assert all("exit 1" in line and "--shape hx.0=" in line for line in lines if "exit" in line)


def test_scripted_list_loop(tmp_path):
    lines = printed("10_scripted_list_loop.py", tmp_path, "torch", "onnxruntime")
    assert sum(line.split()[3] == "0" for line in lines[1:]) == 4


def test_keras_json_beside_weights(tmp_path):
    lines = printed("12_keras_json_weights.py", tmp_path, "torch", "keras")
    assert "exit 0" in lines[1] and "exit 1" in lines[2] and "--architecture" in lines[2]


def test_batch_norm_of_packed_data(tmp_path):
    lines = printed("13_packed_batchnorm.py", tmp_path, "torch")
    assert not any("refused" in line for line in lines)


def test_branches_on_the_length(tmp_path):
    lines = printed("15_branch_on_length.py", tmp_path, "torch")
    assert max(errors(lines), default=0) < 1e-5 and not any("please report" in line for line in lines)
