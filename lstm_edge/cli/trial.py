"""convert --check: which of many files convert, with what flags, and why the others do not."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lstm_edge

from ..errors import LstmEdgeError
from ..importers import registry
from ..ir.notes import assumptions
from .grid import Column, name, print_grid, text, words
from .io import err_console, out_console
from .summary import streaming_text

DATA = (".npz", ".npy")  # more often data than weights: tried where they are named, not where a folder holds them
SAVED_MODEL = "saved_model.pb"  # a folder with this file is one model


@dataclass(frozen=True)
class Trial:
    """One file: what kind it is, whether it converts, and in words how, or why not. seconds: of the conversion."""

    path: str
    kind: str
    converts: bool
    words: str
    seconds: float


def check(sources: Sequence[str], self_test: bool, options: dict[str, Any]) -> int:
    """Tries to convert every file and those in folders, writes none, prints a table. 1 where any does not convert."""
    paths = list(_files(sources))
    trials = []
    for path in paths:
        with err_console().status(f"converting {os.path.basename(path)}"):
            trials.append(_tried(path, self_test, options))
    console = out_console()
    columns = name("file"), text("kind", 1), text("converts"), Column("seconds", drop=2), words("in words")
    rows = [(t.path, t.kind, "yes" if t.converts else "no", f"{t.seconds:.2f}", t.words) for t in trials]
    print_grid(console, columns, rows)
    done = sum(t.converts for t in trials)
    console.print(f"{done} of {len(trials)} files convert", markup=False)
    return 0 if done == len(trials) else 1


def _files(sources: Iterable[str]) -> Iterator[str]:
    """The files named, and in folders those of a kind that is known and that are models by their name."""
    for source in sources:
        if not os.path.isdir(source) or os.path.exists(os.path.join(source, SAVED_MODEL)):
            yield source
            continue
        for folder, folders, names in os.walk(source):
            folders.sort()
            yield from (path for name in sorted(names) if _is_known(path := os.path.join(folder, name)))


def _is_known(path: str) -> bool:
    if path.endswith(DATA):
        return False
    try:
        registry.kind_of(path)
    except (LstmEdgeError, OSError):
        return Path(path).suffix.lower() in registry.extensions()  # damaged, which the table should say
    return True


def _tried(path: str, self_test: bool, options: dict[str, Any]) -> Trial:
    start, kind = time.perf_counter(), "?"
    try:
        kind = registry.kind_of(path)
        converts, words = True, _converted(path, self_test, options)
    except LstmEdgeError as why:
        converts, words = False, f"{why.message} {why.below}"
        if why.below and registry.suggests(path):  # what stands below is the network that weights suggest
            words = f"weights without a network: {_with_suggestion(path, options)}"
    except (OSError, ImportError) as why:
        converts, words = False, str(why)
    except Exception as why:
        converts, words = False, f"a fault in lstm_edge itself: {type(why).__name__}: {why}; please report it"
    return Trial(path, kind, converts, " ".join(words.split()), time.perf_counter() - start)


def _converted(path: str, self_test: bool, options: dict[str, Any]) -> str:
    """What came of a conversion, in words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lstm_edge.convert(path, self_test=self_test, **options)
    words = [f"{len(model.ops)} ops", f"streaming: {streaming_text(model)}"]
    words += [f"ASSUMED: {a}" for a in assumptions(model.metadata)]
    return ", ".join(words)


def _with_suggestion(path: str, options: dict[str, Any]) -> str:
    """With which flags weights convert: the network that they suggest, tried."""
    try:
        _converted(path, False, {**options, "assume": True})
    except LstmEdgeError as failed:
        return f"the one that they suggest does not convert ({failed.message})"
    return "--write-network NET.toml, correct it, then --network NET.toml; or --assume"
