"""The benchmark: its statistics against NumPy's, its causes against causes made here, its reports, its exit codes."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lstm_edge as le
from lstm_edge import LstmEdgeError, format
from lstm_edge._core import probe
from lstm_edge.bench import MODES, Machine, bench, paced, pacing, sampling, warnings_of
from lstm_edge.bench.baseline import compare
from lstm_edge.bench.core_step import core_step
from lstm_edge.bench.energy import power_of
from lstm_edge.bench.limits import limits
from lstm_edge.bench.machine import look
from lstm_edge.bench.ops import op_times
from lstm_edge.bench.page import page
from lstm_edge.bench.sampling import empty_call, sample
from lstm_edge.bench.startup import startup
from lstm_edge.bench.statistics import histogram, median_interval, summarise
from lstm_edge.cli import _run
from lstm_edge.cli.io import rounded
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.passes import streaming

QUICK = ["--runs", "20", "--warmup", "2", "--frames", "8"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("bench") / "digits.lstm")
    le.convert("examples/digits/digits.keras", path, self_test=False)
    return path


# ---- statistics


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(100, 10**7), min_size=1, max_size=300))
def test_the_summary_is_numpys(values: list[int]) -> None:
    times = np.array(values, np.int64)
    found, exact = summarise(times), times / 1e3
    assert found.runs == len(times) and found.min == exact.min() and found.max == exact.max()
    assert np.isclose(found.mean, exact.mean()) and np.isclose(found.median, np.median(exact))
    assert np.isclose(found.p999, np.percentile(exact, 99.9))
    assert found.low <= found.median <= found.high
    shape = histogram(times)
    assert sum(shape.counts) + shape.beyond == len(times)


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        low, high = median_interval(np.sort(rng.exponential(size=101)))
        held += low <= np.log(2) <= high
    assert 930 <= held <= 990


# ---- sampling


def test_a_wait_is_laid_to_a_context_switch() -> None:
    waits = iter([0.003 if n % 100 == 50 else 0 for n in range(10_000)])

    def call() -> None:
        if pause := next(waits):
            time.sleep(pause)
        else:
            sum(range(1000))

    found = sample(call, runs=1000, warmup=0)
    assert len(found.times) == 1000 and (found.times > 2.5e6).sum() >= 10
    assert found.outliers["context switch"] >= 10


class Clock:
    """A clock that goes on when it is looked at, by what a look costs, and when somebody works: beside it a machine at other work changes nothing."""

    LOOK = 30  # ns

    def __init__(self) -> None:
        self.now = 1_000_000

    def perf_counter_ns(self) -> int:
        self.now += self.LOOK
        return self.now

    def perf_counter(self) -> float:
        return self.perf_counter_ns() / 1e9


@pytest.mark.parametrize("between", [False, True], ids=["together", "apart"])
def test_times_are_those_of_the_calls(monkeypatch: pytest.MonkeyPatch, between: bool) -> None:
    """Each time is its own call's: what passes before, behind and between the calls, and looking at the clock, is in none."""
    clock = Clock()
    monkeypatch.setattr(sampling, "time", clock)
    lengths = np.random.default_rng(3).integers(200, 9_000, 500)
    left = iter([*lengths[:13], *lengths])  # ten to warm up, three to see how many fit a block

    def call() -> None:
        clock.now += int(next(left))

    def pause() -> None:
        clock.now += 1_000_000

    found = sample(call, runs=500, warmup=10, between=pause if between else None)
    assert found.times.tolist() == lengths.tolist()
    gaps = np.diff(found.begun) - lengths[:-1] - 2 * Clock.LOOK - (1_000_000 if between else 0)
    assert (gaps >= 0).all() and np.count_nonzero(gaps) <= 3  # between two blocks the look is measured


def test_runs_end_when_the_median_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same clock: calls of one length are known after `seconds`, calls of two that come equally often never, until patience ends."""
    for lengths, least, most in (([50_000], 0.5, 0.51), ([50_000, 90_000], 2.0, 2.01)):
        clock = Clock()
        monkeypatch.setattr(sampling, "time", clock)
        turn = itertools.cycle(lengths)

        def call(clock: Clock = clock, turn: Iterator[int] = turn) -> None:
            clock.now += next(turn)

        found = sample(call, seconds=0.5, patience=4)
        passed = (found.begun[-1] + found.times[-1]) / 1e9
        assert least <= passed <= most, (lengths, passed)


def test_an_empty_call_costs_little() -> None:
    assert 0 < empty_call() < 1


@pytest.mark.parametrize("mode", MODES)
def test_modes(digits: str, mode: str) -> None:
    model = le.load(digits)
    timing = bench(model, mode=mode, frames=5, runs=15, streams=2 if mode == "step" else 1)
    assert timing.runs == 15 and timing.call.frames == (1 if mode == "step" else 5)
    assert timing.min <= timing.low <= timing.median <= timing.high <= timing.p90 <= timing.p999 <= timing.max
    assert "times" not in timing.as_dict() and len(timing.times) == len(timing.begun) == 15


def test_many_streams_in_one_call(digits: str, capsys: pytest.CaptureFixture[str]) -> None:
    timing = bench(le.load(digits), mode="many", streams=3, threads=2, runs=15)
    assert timing.runs == 15 and timing.call.streams == 3 and timing.call.threads == 2 and timing.call.frames == 1
    assert _run(["bench", digits, *QUICK, "--mode", "many", "--streams", "4"]) == 0
    told = capsys.readouterr().out
    assert "many, " in told and "a stream, 4 streams in one call" in told and "8 frames" not in told


def test_threads_and_cold_caches(digits: str) -> None:
    model = le.load(digits)
    both = bench(model, threads=2, runs=50)
    assert both.runs == 100 and both.calls_per_second > 0
    assert bench(model, runs=5, cold=True).call.cold


def test_what_cannot_be_is_named(digits: str) -> None:
    model = le.load(digits)
    for wrong, words in (
        ({"mode": "steps"}, "expected mode step, chunk, sequence or many"),
        ({"streams": 0}, "streams: expected at least 1"),
        ({"runs": 0}, "runs of 1 to 5,000,000"),
        ({"runs": 10**22}, "runs of 1 to 5,000,000"),
        ({"frames": 10**22}, "frames: expected at least 1 and at most 10,000,000"),
        ({"threads": 257}, "threads: expected at least 1 and at most 256, found 257"),
        ({"threads": 2, "streams": 65536}, "of all threads together, found 2 threads of 65,536"),
        ({"threads": 2, "cpu": 0}, "one thread on cpu 0"),
        ({"period": 0.0}, "period above 0"),
    ):
        with pytest.raises(le.LstmEdgeError, match=words):
            bench(model, **wrong)
    with pytest.raises(le.LstmEdgeError, match="longer duration"):
        paced(model, period=1.0, duration=0.5)
    with pytest.raises(le.LstmEdgeError, match="duration: expected at most 5,000,000 periods"):
        paced(model, period=1e-6, duration=1e9)


# ---- pacing


def test_systems_that_tell_less_are_measured_without(monkeypatch: pytest.MonkeyPatch, digits: str) -> None:
    """macOS pins no thread, Windows has no load average either."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(os, "getloadavg")
    machine = look()
    assert machine.load is None and not any("load" in line for line in warnings_of(machine))
    with pytest.raises(LstmEdgeError, match="cpu: expected none, as this system keeps no thread on one CPU, found 0"):
        bench(le.load(digits), runs=5, cpu=0)


def test_a_paced_run_counts_the_misses_that_load_causes(digits: str) -> None:
    model = le.load(digits)
    turns = iter(range(1000))

    def burden() -> None:
        if next(turns) % 10 == 9:
            time.sleep(0.025)  # the next frame, due in 10 ms, is answered 15 ms late, and with it the one after

    found = paced(model, period=0.01, duration=0.4, between=burden)
    assert found.frames == 40 and found.missed >= 3
    assert found.answer["max"] > 10_000 and found.duration == pytest.approx(0.4, abs=0.1)
    free = paced(model, period=0.02, duration=0.3)
    assert free.missed <= 3 and 0 < free.real_time_factor < 0.5 and 0 < free.cpu_share < 1
    assert free.frames == len(free.answers) and "answers" not in free.as_dict()


def test_a_paced_run_counts_the_misses_that_a_load_generator_causes(digits: str) -> None:
    """A step wants a fifth of its CPU; eight other processes on that CPU leave it a ninth."""
    model, cpus = le.load(digits), os.sched_getaffinity(0)
    cpu = max(cpus)
    step = bench(model, batch=64, runs=30, cpu=cpu).median / 1e6
    free = paced(model, period=5 * step, duration=80 * step, batch=64, cpu=cpu)
    hogs: list[subprocess.Popen] = []
    try:
        os.sched_setaffinity(0, {cpu})  # which those started here keep
        hogs += [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(8)]
        os.sched_setaffinity(0, cpus)
        loaded = paced(model, period=5 * step, duration=max(200 * step, 0.3), batch=64, cpu=cpu)
    finally:
        os.sched_setaffinity(0, cpus)
        for hog in hogs:
            hog.kill()
            hog.wait()
    assert loaded.missed > 0.2 * loaded.frames and free.answer["median"] < loaded.answer["median"]


def test_the_power_of_a_board() -> None:
    told = " 3V7_WL_SW_A current(0)=0.5A\n 3V3_SYS_A current(1)=1.0A\n 3V7_WL_SW_V volt(8)=4.0V\n 3V3_SYS_V volt(9)=3.0V\n EXT5V_V volt(24)=5.1V\n"
    assert power_of(told) == pytest.approx(5.0)
    assert power_of("nothing") is None


# ---- where the time goes


def test_parts_of_a_step(digits: str) -> None:
    model = le.load(digits)
    rows, machine = op_times(digits, runs=50)
    assert [(row.op, row.name) for row in rows] == model.ops
    assert sum(row.share for row in rows) == pytest.approx(1)
    held = {row.op: row.bytes for row in rows}
    assert held["Dense"] == 4 * (64 * 10 + 10) and held["Softmax"] == 0
    assert machine.bytes >= sum(row.bytes for row in rows) and machine.read > 1e8
    assert 0 < core_step(model) < 1e5


def test_ops_of_one_name_have_each_its_own_bytes(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.input("x", (BATCH, FRAMES, 3))
    for sizes in ((5, 3), (2, 5)):
        x = graph.add1("Dense", [x, graph.constant(np.ones(sizes, np.float32))], {})
    graph.output("y", x)
    streaming.apply(graph)
    format.write(graph, tmp_path / "two.lstm")
    assert [row.bytes for row in op_times(str(tmp_path / "two.lstm"), runs=10)[0]] == [60, 40]


def test_limits_of_every_isa() -> None:
    for isa, supported in le.isas():
        found = limits(isa, 16384) if supported else None
        if found:
            assert found.read > 1e8 and found.float32 > 1e8 and found.int8 > 1e8


def test_starting_in_a_fresh_process(digits: str) -> None:
    found = startup(digits)
    assert found.first >= 0 and found.package > 0 and set(found.bytes) >= {"numpy", "load", "first"}
    with pytest.raises(le.LstmEdgeError, match="could not run"):
        startup(digits + ".none")


# ---- the machine


def _machine(**changed: object) -> Machine:
    usual = dict(
        cpu="x", cpus=4, governor="performance", mhz=1000.0, load=0.1, swap=0, temperature=40.0, throttled=(), steal=0.0
    )
    return Machine(**(usual | changed))  # type: ignore[arg-type]


def test_what_is_warned_of() -> None:
    assert warnings_of(_machine(), _machine()) == []
    for changed, words in (
        ({"governor": "powersave"}, "echo performance | sudo tee"),
        ({"load": 3.0}, "load average 3.0 on 4"),
        ({"swap": 5_000_000}, "5 MB are swapped out"),
        ({"temperature": 85.0}, "85 degrees"),
        ({"throttled": ("under-voltage",)}, "under-voltage"),
    ):
        [found] = warnings_of(_machine(**changed), None)
        assert words in found
    assert "from 1000 to 600 MHz" in warnings_of(_machine(), _machine(mhz=600.0))[0]
    assert "1.00 s of this machine" in warnings_of(_machine(), _machine(steal=1.0))[0]


# ---- the command


def _report(capsys: pytest.CaptureFixture[str], args: list[str], code: int = 0) -> dict:
    assert _run(["bench", *args, "--json"]) == code
    return json.loads(capsys.readouterr().out)


RESULT = {
    "name", "precision", "mode", "isa", "batch", "frames", "streams", "threads", "cold", "warmup", "runs", "min", "mean", "sd", "median",
    "low", "high", "p90", "p95", "p99", "p999", "max", "outliers", "calls_per_second", "missed", "real_time_factor", "cpu", "histogram",
    "timeline",
}  # fmt: skip
REPORT = {
    "schema", "unit", "model", "bytes", "cpu", "version", "python", "system", "period_s", "delay", "empty_call", "results", "machine", "warnings",
}  # fmt: skip


def test_json_keeps_its_schema(digits: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = _report(
        capsys, [digits, *QUICK, "--mode", "all", "--breakdown", "--ops", "--period", "10ms", "--duration", "50ms"]
    )
    assert told["schema"] == 2 and set(told) == REPORT | {"paced", "startup", "core_step", "ops", "ops_mode", "limits"}
    assert [row["mode"] for row in told["results"]] == list(MODES)
    assert all(set(row) == RESULT for row in told["results"])
    words = Path("docs/benchmark.md").read_text()
    assert all(f"`{name}`" in words for name in RESULT | set(told))


def test_a_base_and_a_loss(digits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tmp_path / "base.json"
    told = _report(capsys, [digits, *QUICK, "--mode", "step", "--save", str(base)])
    assert rounded(json.loads(base.read_text())["results"]) == told["results"]
    same = compare(told, told, 0.05)
    assert [change.ratio for change in same] == [1.0] and not same[0].slower
    for factor, code in ((1000, 0), (1 / 1000, 3)):
        changed = json.loads(base.read_text())
        changed["results"][0]["median"] *= factor
        other = tmp_path / "other.json"
        other.write_text(json.dumps(changed))
        found = _report(capsys, [digits, *QUICK, "--mode", "step", "--against", str(other)], code)
        assert found["changes"][0]["slower"] == (code == 3)
    for name, wrong in (("streams", None), ("threads", "2"), ("batch", None), ("precision", []), ("isa", None)):
        changed = json.loads(base.read_text())
        changed["results"][0][name] = wrong
        with pytest.raises(LstmEdgeError, match=f"bench: base: {name}: expected a .*, found "):
            compare(told, changed, 0.05)
    for content in ("[]", '{"schema": 1}', "{", '{"schema": 2, "results": [{}]}', '{"schema": 2, "results": []}'):
        other.write_text(content)
        assert _run(["bench", digits, *QUICK, "--mode", "step", "--against", str(other)]) == 1
        assert "expected" in capsys.readouterr().err


def test_an_unknown_probe_is_refused() -> None:
    for kind in ("write", None, []):
        with pytest.raises(LstmEdgeError, match="probe: kind: expected one of read, float32, int8, found "):
            probe("scalar", kind, 1)


def test_forms_of_the_answer(digits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["bench", digits, *QUICK, "--mode", "step", "--isa", "scalar"]
    assert _run([*args, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 1 and rows[0]["mode"] == "step" and float(rows[0]["median"]) > 0
    assert _run([*args, "--markdown"]) == 0
    assert "| step, scalar, file | 20 |" in capsys.readouterr().out
    assert _run([*args, "--precision", "all"]) == 0
    out = capsys.readouterr().out
    assert all(f"step, scalar, {name}" in out for name in ("file", "float16", "int8")) and "95 %" in out
    assert _run([*args, "--csv", "--json"]) == 2 and "exclude" in capsys.readouterr().err
    assert _run([*args, "--max-loss", "lots"]) == 2 and "--max-loss" in capsys.readouterr().err
    for flag in ("--runs", "--threads", "--streams", "--frames", "--batch", "--warmup"):
        assert _run([*args, flag, str(10**22)]) == 2 and f"'{flag}'" in capsys.readouterr().err
    assert _run([*args, "--duration", "1s"]) == 2 and "--period" in capsys.readouterr().err


def test_strict_fails_where_the_machine_is_warned_of(digits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    args = ["bench", digits, *QUICK, "--mode", "step", "--strict"]
    monkeypatch.setattr("lstm_edge.cli.bench.look", lambda cpu=None: _machine())
    assert _run(args) == 0
    monkeypatch.setattr("lstm_edge.cli.bench.look", lambda cpu=None: _machine(governor="powersave"))
    assert _run(args) == 3


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium to open the page")
def test_the_page_opens(digits: str, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    assert _run(["bench", digits, *QUICK, "--ops", "--html", str(target)]) == 0
    text = target.read_text()
    assert "http://" not in text and "https://" not in text
    hostile = {
        "model": "</script><b>x",
        "warnings": [],
        "results": [],
        "cpu": "",
        "system": "",
        "version": "",
        "empty_call": 1,
    }
    assert "</script><b>" not in page(hostile)
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}/profile",
        "--dump-dom",
        f"file://{target}",
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    assert "step, " in dom and dom.count("<canvas") == 4 and "Ops of a step" in dom and "lstm_1 (LSTM)" in dom


def test_a_picture_is_drawn(digits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = pytest.importorskip("matplotlib.image")
    target = tmp_path / "bench.png"
    assert _run(["bench", digits, *QUICK, "--ops", "--plot", str(target)]) == 0
    pixels = image.imread(target)
    blue, red = ([0x44, 0x77, 0xAA], [0xCC, 0x66, 0x33])
    for colour in (blue, red):
        assert (np.abs(pixels[..., :3] - np.array(colour) / 255).max(-1) < 0.05).sum() > 20
    assert pixels.shape[0] > 400
    assert _run(["bench", digits, *QUICK, "--plot", "bench.txt"]) == 1 and "--plot: expected" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--save", "--html", "--plot"])
def test_where_a_report_cannot_be_written_is_said_before_anything_is_timed(digits: str, flag: str, monkeypatch) -> None:
    monkeypatch.setattr("lstm_edge.cli.bench.look", lambda cpu=None: pytest.fail("it has begun"))
    assert _run(["bench", digits, flag, "no/such/folder/x"]) == 1
    assert _run(["bench", digits, flag, digits]) == 1


def test_reports_that_hold_no_rows_of_a_bench_are_refused() -> None:
    row = {name: 1 for name in ("batch", "frames", "streams", "threads")}
    row |= {"precision": "file", "isa": "scalar", "mode": "step", "cold": False, "median": 1.0}
    report = {"schema": 2, "results": [row]}
    assert len(compare(report, report, 0.05)) == 1
    for change in ({"median": float("nan")}, {"median": "1"}, {"isa": []}, {"threads": "2"}, {"frames": None}):
        with pytest.raises(le.LstmEdgeError, match="bench: base: .*expected"):
            compare(report, {"schema": 2, "results": [{**row, **change}]}, 0.05)


def test_threads_that_the_system_does_not_give(digits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that did start end too."""
    begun: list[threading.Thread] = []
    start = threading.Thread.start

    def refusing(thread: threading.Thread) -> None:
        if len(begun) == 2:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    with pytest.raises(le.LstmEdgeError, match="threads: expected 3, found that can't start new thread"):
        bench(le.load(digits), threads=3, runs=2)
    for thread in begun:
        thread.join(10)
        assert not thread.is_alive()
    with pytest.raises(le.LstmEdgeError, match="streams: expected at least 1 and at most 65,536, found 1,000,000,000"):
        bench(le.load(digits), streams=10**9)
    with pytest.raises(le.LstmEdgeError, match="seconds > 0, found 50, None, nan"):
        bench(le.load(digits), seconds=float("nan"))


def test_a_pace_that_cannot_be_kept_ends() -> None:
    _, starts, ends = pacing._run(lambda: time.sleep(0.2), 0.01, 100, None)
    assert len(starts) == len(ends) < 30
