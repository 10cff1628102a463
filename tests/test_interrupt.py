"""What ends a call from outside, or copies its process: Ctrl-C, a fork, the interpreter's end, a folder that nobody may write to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_runtime import frames, lstm_dense

import lstm_edge
from lstm_edge import cli
from lstm_edge.format import to_bytes
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.passes import streaming

AT_ONCE = 1.0  # seconds, on a machine that has other work as well; docs/reliability.md has those of one that has not
HIDDEN = 512  # a step takes some 100 us
LONG = 50_000  # frames: several seconds


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """Where whoever started the tests ignores SIGINT, as a shell does for what runs behind it, Python does as well."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def slow() -> lstm_edge.Model:
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, 1))
    weights = [g.constant(np.full((1, 4 * HIDDEN, n), 0.01, np.float32)) for n in (1, HIDDEN)]
    y = g.add("LSTM", [x, *weights], {}, "lstm")[0]
    g.output("y", g.add("Slice", [y], {"axes": [2], "starts": [0], "ends": [1]}, "first")[0])
    streaming.apply(g)
    return lstm_edge.load(to_bytes(g))


def interrupted(call) -> float:
    """Seconds that a call still took after Ctrl-C, which comes in its midst."""
    sent = []

    def interrupt() -> None:
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.1, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        call()
    return time.perf_counter() - sent[0]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_of_a_model_ends(slow, threads):
    x = np.zeros((2, LONG, 1), np.float32)
    assert interrupted(lambda: slow.run(x, threads=threads)) < AT_ONCE
    few = np.ones((1, 3, 1), np.float32)
    np.testing.assert_array_equal(slow.run(few), slow.stream(1).run(few))


def test_a_run_of_a_stream_ends_as_if_it_had_not_been(slow):
    stream, other = slow.stream(), slow.stream()
    few = np.ones((3, 1), np.float32)
    stream.run(few), other.run(few)
    assert interrupted(lambda: stream.run(np.zeros((LONG, 1), np.float32))) < AT_ONCE
    assert "3 frames done" in repr(stream)
    np.testing.assert_array_equal(stream.run(few), other.run(few))


# ---- forks, the interpreter's end ----


def test_a_fork_goes_on_with_streams_and_threads_of_its_own():
    model = lstm_edge.load(lstm_dense())
    stream, x = model.stream(), frames(6)
    batch = np.stack([frames(4), frames(4)])
    stream.step(x[0])
    before = model.run(batch, threads=2)  # threads have been there
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answers = [stream.step(x[1]), stream.run(x[2:]), model.run(batch, threads=2), model.stream().step(x[0])]
            os.write(writer, b"".join(a.tobytes() for a in answers))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        found = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    wanted = [stream.step(x[1]), stream.run(x[2:]), before, model.stream().step(x[0])]
    assert found == b"".join(a.tobytes() for a in wanted)


AT_EXIT = """
import sys, threading, time, numpy as np, lstm_edge
model = lstm_edge.load(sys.argv[1])
streams = [model.stream() for _ in range(8)]
def step(stream):
    while True:
        stream.step(np.zeros(5, np.float32)), stream.run(np.zeros((500, 5), np.float32))
def together():
    while True:
        lstm_edge.step_many(streams[4:], np.zeros((4, 5), np.float32), threads=2)
for work in [lambda s=s: step(s) for s in streams[:4]] + [together]:
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.1)
print("done")
"""


def test_the_interpreter_ends_while_threads_run_streams(tmp_path):
    (tmp_path / "m.lstm").write_bytes(lstm_dense())
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT, str(tmp_path / "m.lstm")], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


# ---- a folder that nobody may write to ----


def exit_code(command: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    return ended.value.code


def test_a_read_only_folder_is_named_and_left_as_it_was(tmp_path):
    """Root may write everywhere, so that a child that is nobody tries."""
    folder = tmp_path / "answers"
    folder.mkdir()
    (folder / "y.npy").write_bytes(b"before")
    (tmp_path / "m.lstm").write_bytes(lstm_dense())
    np.save(tmp_path / "x.npy", frames(3))
    command = ["run", str(tmp_path / "m.lstm"), str(tmp_path / "x.npy"), "-o", str(folder / "y.npy")]
    if os.geteuid() == 0:  # pytest's own folders are its user's alone
        for path in (p for p in (tmp_path, *tmp_path.parents) if Path(tempfile.gettempdir()) in p.parents):
            path.chmod(0o755)
    folder.chmod(0o555)
    errors = tmp_path / "errors"
    errors.touch()
    assert exit_code([*command[:-1], str(tmp_path / "y.npy")]) == 0  # imports what the child may not be able to read
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.dup2(os.open(errors, os.O_WRONLY), 2)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            if os.geteuid() == 0:
                os.setuid(65534)
            code = exit_code(command)
        finally:
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 1
    assert errors.read_text() == (
        f"error: {folder}/y.npy: expected a folder that may be written, found {folder} to be read-only\n"
    )
    assert [path.name for path in folder.iterdir()] == ["y.npy"] and (folder / "y.npy").read_bytes() == b"before"
