"""Changed files for every reader: python tests/fuzz/mutate_files.py KIND... --count N --seed S (PYTHONPATH=.:tests).

Each file is the seed's, its number's and its kind's alone, so that a finding is made again with --first NUMBER --count 1. A worker, forked
from a process that has imported everything, converts it (a .lstm: opens it, asks it all, streams, runs); everything but success and
LstmEdgeError is a finding, as is a file that takes longer than --seconds or more than --memory. Findings lie in build/fuzz/findings,
a file of each place and kind, the smallest.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

import lstm_edge
from fuzz.importer_seeds import KINDS, ROOT, beside, seeds
from fuzz.mutations import mutated
from lstm_edge import format
from lstm_edge.around.scaler_files import read_scaler
from lstm_edge.cli import group
from lstm_edge.errors import LstmEdgeError, MemoryLimitError
from lstm_edge.files import hdf5
from lstm_edge.files.guard import UnreadableError

FOLDER = ROOT / "build" / "fuzz"
NETWORK = ROOT / "tests" / "golden" / "onnx" / "lstm_relu.onnx"


# ---- what is done with a file ----------------------------------------------------------------------------------------


COMMANDS = (
    "info MODEL --ops --notes",
    "info MODEL --json",
    "run MODEL INPUT -o OUT.npy",
    "run MODEL INPUT",
    "verify MODEL",
    "quantize MODEL -o OUT.lstm --precision int8",
    "quantize MODEL -o OUT.lstm --precision float16 --calibrate INPUT",
    "join MODEL --pipeline pipeline.toml -o OUT.lstm",
    "export-c MODEL -o OUT",
    "trace MODEL INPUT",
    "bench MODEL --runs 1 --warmup 0 --seconds 0.001 --mode both --frames 4",
)
PIPELINE = 'rate = 16000\ninput = "x"\noutput = "y"\nstage = [{ run = "m", in = "x", out = "y" }]\n'


def use(kind: str, path: Path, number: int) -> None:
    """Reads a file of the kind, and runs what comes of it."""
    if kind == "lstm":
        every([lambda: format.read(path)])
        model = lstm_edge.load(path)
        run(model)
        every([partial(command, line, model, path) for line in random.Random(number).sample(COMMANDS, 3)])
    elif kind == "scaler":
        read_scaler(path)
    elif kind in ("before", "after"):
        lstm_edge.convert(NETWORK, self_test=False, **{kind: path})
    else:
        options = {"assume": True} if kind in ("npz", "safetensors", "pt") else {}
        run(lstm_edge.convert(path, self_test=False, **options))


def command(line: str, model: Any, path: Path) -> None:
    """A line of the command line on the model, with ones as its input."""
    folder = path.parent
    (folder / "pipeline.toml").write_text(PIPELINE)
    if "INPUT" in line:
        np.save(folder / "x.npy", array(model.inputs[0], 4) if model.inputs else np.ones(3))
    places = {"MODEL": str(path), "INPUT": str(folder / "x.npy"), "OUT": str(folder / "out")}
    words = [places.get(word, word.replace("OUT", places["OUT"])) for word in line.split()]
    try:
        group.main([str(folder / w) if w == "pipeline.toml" else w for w in words], "lstm-edge", standalone_mode=False)
    except (click.ClickException, click.Abort) as error:
        raise LstmEdgeError(str(error)) from error


def every(attempts: list[Any]) -> None:
    """All of them, whatever LstmEdgeError one ends in."""
    for attempt in attempts:
        try:
            attempt()
        except LstmEdgeError as error:
            if isinstance(error, UnreadableError):
                raise


def run(model: Any) -> None:
    """A model's whole run of a few frames, a stream of it and a step."""
    every([lambda: repr(model), lambda: whole(model), lambda: stepped(model)])


def whole(model: Any) -> None:
    model.run(*(array(port, 4) for port in model.inputs))


def stepped(model: Any) -> None:
    stream = model.stream()
    stream.run(*(array(port, 4) for port in model.inputs))
    stream.step(*(array(port, None) for port in model.inputs))
    stream.state = stream.state
    stream.reset()


def array(port: Any, frames: int | None) -> np.ndarray:
    """Ones of an input, without its batch; without frames the axis of frames is left out."""
    sizes = []
    for size in port.shape:
        if isinstance(size, int):
            sizes.append(size)
        elif "frames" in size:
            sizes += [] if frames is None else [frames]
        elif "batch" not in size:
            sizes.append(2)
    if int(np.prod(sizes, dtype=object)) > 1 << 22:
        raise LstmEdgeError(f"input {port.name!r}: more than a test gives")
    return np.ones(sizes, port.dtype)


# ---- the worker ------------------------------------------------------------------------------------------------------


def work(
    kind: str, contents: list[bytes], numbers: range, options: argparse.Namespace, pipe: int, folder: Path
) -> None:
    """In the forked process: says the number of the file it turns to, then what came of it."""
    with open("/proc/self/statm") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + (options.memory << 20),) * 2)
    path = folder / f"m{KINDS[kind][0]}"
    for number in numbers:
        os.write(pipe, f"{number}\n".encode())
        path.write_bytes(changed(kind, contents, options.seed, number))
        start = time.process_time()
        found = outcome(kind, path, number)
        found["seconds"] = round(time.process_time() - start, 2)
        os.write(pipe, json.dumps(found).encode() + b"\n")


def changed(kind: str, contents: list[bytes], seed: int, number: int) -> bytes:
    rng = random.Random(f"{kind} {seed} {number}")
    return mutated(rng.choice(contents), rng.choice(contents), rng)


def outcome(kind: str, path: Path, number: int) -> dict[str, Any]:
    """A word for it; of a finding, its place and traceback too."""
    try:
        use(kind, path, number)
        return {"is": "read"}
    except UnreadableError as error:
        cause = error.__cause__ or error
        memory = isinstance(cause, MemoryError)
        return {"is": "memory" if memory else "guarded", "place": place_of(cause), "text": text_of(cause)}
    except MemoryLimitError:
        return {"is": "refused"}
    except LstmEdgeError:
        return {"is": "refused"}
    except MemoryError as error:
        return {"is": "memory", "place": place_of(error), "text": text_of(error)}
    except BaseException as error:
        return {"is": "raised", "place": place_of(error), "text": text_of(error)}


def place_of(error: BaseException) -> str:
    """The kind of the error and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "lstm_edge" in f.filename] or frames
    last = ours[-1] if ours else None
    return f"{type(error).__name__} {os.path.basename(last.filename)}:{last.lineno}" if last else type(error).__name__


def text_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))[-3000:]


# ---- the parent ------------------------------------------------------------------------------------------------------


class Tally:
    """What came of all files of a kind."""

    def __init__(self, kind: str, contents: list[bytes], seed: int) -> None:
        self.kind, self.contents, self.seed = kind, contents, seed
        self.counts: Counter[str] = Counter()
        self.places: Counter[str] = Counter()
        self.slowest = 0.0
        self.smallest: dict[str, int] = {}

    def add(self, number: int, found: dict[str, Any]) -> None:
        self.counts[found["is"]] += 1
        self.slowest = max(self.slowest, found.get("seconds", 0.0))
        if found["is"] in ("read", "refused"):
            return
        key = f"{found['is']} {found.get('place', '')}"
        self.places[key] += 1
        content = changed(self.kind, self.contents, self.seed, number)
        if len(content) < self.smallest.get(key, sys.maxsize):
            self.smallest[key] = len(content)
            name = f"{self.kind}_{hashlib.sha256(key.encode()).hexdigest()[:8]}"
            (FOLDER / "findings").mkdir(parents=True, exist_ok=True)
            (FOLDER / "findings" / (name + KINDS[self.kind][0])).write_bytes(content)
            said = f"{key}\n--seed {self.seed} --first {number} --count 1\n{found.get('text', '')}"
            (FOLDER / "findings" / f"{name}.txt").write_text(said, errors="replace")


def tried(kind: str, options: argparse.Namespace) -> Tally:
    contents = seeds(kind, FOLDER / "seeds" / kind)
    tally = Tally(kind, contents, options.seed)
    first, end = options.first, options.first + options.count
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        folder = Path(name)
        beside(folder)
        while first < end:
            first = _one_worker(kind, contents, range(first, end), options, folder, tally)
    return tally


def _one_worker(
    kind: str, contents: list[bytes], numbers: range, options: argparse.Namespace, folder: Path, tally: Tally
) -> int:
    """Runs a worker until it is through, or ends; the number that the next one begins with."""
    read, write = os.pipe()
    hdf5.stop()  # the worker starts one of its own
    child = os.fork()
    if not child:
        os.close(read)
        code = 1
        try:
            with open(folder / "crash", "w") as file:
                faulthandler.enable(file)
                for number in (1, 2):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), number)
                work(kind, contents, numbers, options, write, folder)
            code = 0
        finally:
            hdf5.stop()
            os._exit(code)
    os.close(write)
    current = numbers.start
    with os.fdopen(read, "rb", buffering=0) as pipe:
        rest = b""
        while True:
            ready, _, _ = select.select([pipe], [], [], options.seconds)
            piece = pipe.read(1 << 16) if ready else None
            if not ready:
                os.kill(child, signal.SIGKILL)
            if not piece:
                break
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.startswith(b"{"):
                    tally.add(current, json.loads(line))
                    current += 1
                else:
                    current = int(line)
    _, status = os.waitpid(child, 0)
    if current < numbers.stop:
        how = (
            f"died of signal {os.WTERMSIG(status)}"
            if os.WIFSIGNALED(status)
            else f"ended with {os.WEXITSTATUS(status)}"
        )
        word = "hang" if not ready else "crash"
        tally.add(current, {"is": word, "place": how, "text": (folder / "crash").read_text()})
        current += 1
    return current


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+", choices=[*KINDS, "all"], metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--count", type=int, default=1000, help="files of each kind")
    parser.add_argument("--first", type=int, default=0, help="the number of the first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20.0, help="by the clock, for one file")
    parser.add_argument("--memory", type=int, default=512, help="MiB more than what is imported")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    bad = 0
    for kind in KINDS if "all" in options.kinds else options.kinds:
        start = time.monotonic()
        tally = tried(kind, options)
        words = ", ".join(f"{count} {word}" for word, count in tally.counts.most_common())
        print(
            f"{kind}: {options.count} files: {words}; slowest {tally.slowest:.1f} s; {time.monotonic() - start:.0f} s",
            flush=True,
        )
        for place, count in tally.places.most_common():
            print(f"    {count:6} {place}", flush=True)
        bad += sum(count for word, count in tally.counts.items() if word not in ("read", "refused", "guarded"))
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
