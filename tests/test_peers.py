"""tools/peers: one row with two engines, what does not count, and the committed page."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from peers import cases, page
from peers.limits import limit, misses
from peers.measure import Process, compared, row

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def measured():
    pytest.importorskip("onnxruntime")
    processes = {engine: Process(engine, sys.executable, None) for engine in ("ours", "onnx_runtime", "no_such_engine")}
    found = row("step 1x32", processes, rounds=1)
    for process in processes.values():
        process.close()
    return found


def test_a_row_is_checked_and_timed_for_every_engine(measured):
    counted = {(r["name"], r["precision"]) for r in measured["runs"] if "median" in r and not r["why"]}
    peers = {(name, precision) for name in ("onnxruntime", "onnxruntime bound") for precision in ("float32", "int8")}
    assert counted >= peers | {("lstm_edge", precision) for precision in cases.PRECISIONS}
    assert "no_such_engine" in measured["left_out"]["no_such_engine"]


def test_a_limit_is_the_reading_of_the_weights_and_a_call():
    """1000 bytes and 2000 operations a microsecond."""
    probes = [{"name": "read", "precision": p, "work": 5e3, "median": 5.0} for p in cases.PRECISIONS]
    probes += [{"name": "peak", "precision": p, "work": 4e3, "median": 2.0} for p in ("float32", "int8")]
    step, sequence, batch = (
        cases.BY_NAME[n] for n in ("step 64x128", "100 steps 64x128", "batch 32, 100 steps, 64x128")
    )
    of_input, recurrent = 4 * 128 * 64, 4 * 128 * 128
    assert limit(step, probes, "float32", "median") == pytest.approx(4 * (of_input + recurrent) / 1000 + 0.35)
    inputs = 100 * 2 * of_input / 2000
    assert limit(sequence, probes, "int8", "median") == pytest.approx(100 * recurrent / 1000 + inputs + 0.35)
    assert limit(batch, probes, "int8", "median") == pytest.approx(32 * (100 * 2 * recurrent / 2000 + inputs) + 0.35)
    assert limit(step, probes[:3], "float32", "median") is None and limit(step, probes, "float32", "min") is None


def test_the_page_has_the_row(measured):
    text = page.written({"rows": {"step 1x32": measured}})
    assert "| step 1x32 | 0." in text and "| step 40x64 | | not measured" in text


def test_wrong_answers_and_unrounded_int8_do_not_count():
    wanted = np.float32([1.0, -2.0])
    assert compared(wanted * 1.01, wanted, "int8")[0] == ""
    assert "wrong" in compared(wanted * 1.01, wanted, "float32")[0]
    assert "wrong" in compared(wanted * np.nan, wanted, "int8")[0]
    assert compared(wanted, wanted, "int8")[0] == "left in float32"
    assert "shape" in compared(wanted[:1], wanted, "float32")[0]


@pytest.mark.parametrize(
    "name, of_limit, of_peer, missed",
    [
        ("step 64x128", 1.11, 0.5, []),
        ("step 64x128", 1.13, 0.5, ["over 1.12 of the limit"]),
        ("step 40x64", 9.0, 0.31, ["over 0.30 of the best peer"]),
        ("100 steps 64x128", 1.5, 1.1, ["over 1.12 of the limit", "behind a peer"]),
        ("bidirectional 128 on 100x40", 1.5, 0.9, []),
        ("GTCRN", None, 0.2, ["over 0.15 of onnxruntime"]),
    ],
)
def test_what_a_row_misses(name, of_limit, of_peer, missed):
    assert misses(cases.BY_NAME[name], "float32", of_limit, of_peer) == missed


def test_a_bound_explains_the_rows_that_it_names():
    bounds = page.Bounds("### a: why\n\nrows: float32 step *; int8 *\n\nBecause.\n")
    assert bounds.keys("float32", "step 1x32") == "[a](#a)" and bounds.keys("float32", "GTCRN") == "not explained"
    assert "rows:" not in bounds.text and "Because." in bounds.text


def test_the_committed_page_was_made_from_this_list():
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert page.names_of(text) == list(cases.BY_NAME)
