"""What answers mean, as a file keeps it: events or labels of an output, by the tables [after.OUTPUT] of a TOML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..answers import AFTER, Answers
from ..errors import FormatError
from ..ir.dims import value
from ..ir.graph import Graph, Node, Port
from ..metadata import section
from ..passes.edit import rename
from ..passes.fuse import fuse
from .description import MOST, Description, Table, read
from .labels import labelled, lines_of, names_of, width_of

ACTIVATIONS = ("softmax", "sigmoid")
LONGEST_MS = 1e9  # eleven days
LONG = 1 << 40  # frames, by which an output's pace shows to a part of a sample


def apply(graph: Graph, after: Description | None, labels: Any = None, source: Any = None) -> None:
    """Keeps what `after` says of outputs: a TOML file of tables [after.OUTPUT], or such a dict. labels: names of an output's values, a list
    or the file of one, by output name or alone where there is one output; they stand for `labels` of its table. Without them the
    `class_names` of a live `source`, where they fit its only output. To be called when the graph's ports and its sample rate are settled.
    FormatError (the place, expected, found), OSError."""
    tables: Any = {}
    place, folder = "the description", Path()
    if after is not None:
        values, place = read(after)
        folder = folder if isinstance(after, Mapping) else Path(after).parent
        top = Table(values, place)
        tables = top.take(AFTER)
        top.done()
        if not isinstance(tables, Mapping) or not tables:
            top.fail("tables [after.OUTPUT]", "none" if not tables else tables, AFTER)
    settle(graph, labelled(graph, tables, labels, source), place, folder)


def settle(graph: Graph, tables: Any, place: str, folder: Path) -> None:
    """Keeps tables by output name; a file that they name lies in `folder`."""
    for name in Table(tables, f"{place}: {AFTER}").values:
        table = Table(tables[name], f"{place}: {AFTER}.{name}")
        port = next((p for p in graph.outputs if p.name == name), None)
        if port is None:
            table.fail(f"an output of the model ({', '.join(p.name for p in graph.outputs)})", repr(name))
        kind = table.word("type", tuple(KINDS))
        dtype = graph.tensors[port.tensor].dtype
        is_alarm = kind == "events" and dtype == "bool" and not table.has("activation")
        if dtype != "float32" and not is_alarm:
            table.fail("an output of float32, or for events one of bool without activation", dtype)
        about = KINDS[kind](graph, port, table, folder)
        activation = table.word("activation", ("none", *ACTIVATIONS), "none")
        table.done()
        if activation != "none":
            about |= {"activation": activation, "axis": _activate(graph, port, activation, table)}
        graph.metadata.setdefault(AFTER, {})[name] = {"type": kind, **about}
        try:
            answers = Answers(graph, name)
        except FormatError as error:
            raise FormatError(f"{table.place}: {str(error).partition(': ')[2]}") from error
        if kind == "events":
            parts = graph.metadata.setdefault("delay", {}).setdefault(name, {"frame": about["hop"]})
            parts["end of an event"] = answers.delay


def _events(graph: Graph, port: Port, table: Table, folder: Path) -> dict[str, Any]:
    """The rule of Silero's timestamps, with its defaults."""
    width = width_of(graph, port)
    if width != 1 and not table.has("column"):
        table.fail(f"column, which of the output's {width} values is the probability", "none", "column")
    column = table.whole("column", 0, 0)
    if column >= width:
        table.fail(f"one of the output's {width} values, from 0 on", column, "column")
    threshold = table.number("threshold", 0.5)
    below = table.number("neg_threshold", max(threshold - 0.15, 0.01))
    if threshold > 1:
        table.fail("a probability, 1 at most", f"{threshold:g}", "threshold")
    if below > threshold:
        table.fail(f"at most the threshold of {threshold:g}", f"{below:g}", "neg_threshold")
    rate = float(graph.metadata.get("sample_rate") or 0)
    hop = _samples_of_answer(graph, port) if rate else 0.0
    if table.has("frame_ms"):
        rate = rate or 1000.0
        hop = _ms(table, "frame_ms", 0) * rate / 1000
    elif not rate:
        table.fail("how long an answer lasts, as the model has no sample rate (--rate)", "none", "frame_ms")
    if hop < 1 or hop != int(hop):
        table.fail("a whole number of samples to an answer; frame_ms says how long one lasts", f"{hop:g}", "frame_ms")
    pad, longest = rate * _ms(table, "pad_ms", 30) / 1000, {}
    gap = rate * _ms(table, "min_silence_at_max_ms", 98) / 1000
    if table.has("max_duration_ms"):
        longest = {"max_duration": rate * _ms(table, "max_duration_ms", 0) / 1000, "gap": gap}
        if longest["max_duration"] <= hop + 2 * pad:
            least = f"more than {1000 * (hop + 2 * pad) / rate:g} ms, an answer and what is put before and behind"
            table.fail(least, f"{1000 * longest['max_duration'] / rate:g}", "max_duration_ms")
    return {
        "hop": int(hop),
        "rate": rate,
        "column": column,
        "width": width,
        "threshold": threshold,
        "neg_threshold": below,
        "min_duration": rate * _ms(table, "min_duration_ms", 250) / 1000,
        "min_silence": rate * _ms(table, "min_silence_ms", 100) / 1000,
        "pad": pad,
        **longest,
    }


def _ms(table: Table, key: str, default: float) -> float:
    """Milliseconds, of which there are so many that a message can still tell them."""
    if (found := table.number(key, default)) > LONGEST_MS:
        table.fail(f"milliseconds, at most {LONGEST_MS:g}", f"{found:g}", key)
    return found


def _labels(graph: Graph, port: Port, table: Table, folder: Path) -> dict[str, Any]:
    """Names of the output's values, and how many of an answer are told."""
    labels = _names(table.take("labels"), port, graph, table, folder)
    if (top := table.whole("top", 1)) > len(labels):
        table.fail(f"at most the {len(labels)} labels", top, "top")
    return {"labels": labels, "top": top, "threshold": _least(table)}


def _ctc(graph: Graph, port: Port, table: Table, folder: Path) -> dict[str, Any]:
    """Symbols of the output's values, one of which is the blank: a word with a character for each, or labels."""
    alphabet, labels = table.take("alphabet"), table.take("labels")
    if alphabet is not None and (not isinstance(alphabet, str) or labels is not None):
        table.fail("a word with a character for each value, or labels in its place", alphabet, "alphabet")
    names = _names(labels if alphabet is None else list(alphabet), port, graph, table, folder)
    if (blank := table.whole("blank", 0, 0)) >= len(names):
        table.fail(f"one of the output's {len(names)} values, from 0 on", blank, "blank")
    return {"labels": names, "top": 1, "threshold": _least(table), "blank": blank}


def _least(table: Table) -> float | None:
    """The least score that is told; logits may be below 0."""
    return table.number("threshold", least=-MOST) if table.has("threshold") else None


def _names(given: Any, port: Port, graph: Graph, table: Table, folder: Path) -> list[str]:
    """A name for each value of the output: a list, or a file with one on each line."""
    names = lines_of(folder / given, table, graph) if isinstance(given, str) else names_of(given, table)
    if len(names) != (width := width_of(graph, port)):
        table.fail(f"{width} labels, one for each value of the output", len(names), "labels")
    return names


KINDS = {"events": _events, "labels": _labels, "ctc": _ctc}


def _activate(graph: Graph, port: Port, kind: str, table: Table) -> int:
    """Probabilities of logits, as an op of the file; the axis of the values, from the end. FormatError where they are that already."""
    node = graph.producers().get(port.tensor)
    if node is not None and _gives_probabilities(node):
        table.fail(
            "logits, which become probabilities", f"what {node.op} {node.name} made probabilities of", "activation"
        )
    if kind == "softmax" and width_of(graph, port) == 1:
        table.fail(
            "several values, as softmax of one is always 1; sigmoid makes a probability of it", kind, "activation"
        )
    shape = graph.shape(port.tensor)
    sizes = [size if isinstance(size, int) else 0 for size in shape]
    axis = sizes.index(max(sizes)) - len(shape)
    inner = port.tensor
    if node is not None:
        inner = graph.fresh(f"{port.tensor}.logits")
        rename(graph, port.tensor, inner)
    name = f"{port.name}.{kind}"
    if kind == "softmax":
        port.tensor = graph.add1("Softmax", [inner], {"axis": axis}, name)
    else:
        port.tensor = graph.add1("Unary", [inner], {"kind": kind}, name)
    fuse(graph, {port.tensor})
    return axis


def _gives_probabilities(node: Node) -> bool:
    return node.op == "Softmax" or "sigmoid" in (node.attrs.get("kind"), node.attrs.get("activation"))


def tells(graph: Graph, port: Port) -> bool:
    """Whether an output has no unit: it has a meaning of its own, is a probability, or no number."""
    node = graph.producers().get(port.tensor)
    is_number = graph.tensors[port.tensor].dtype == "float32"
    return (
        not is_number or port.name in graph.metadata.get(AFTER, {}) or (node is not None and _gives_probabilities(node))
    )


def activated(metadata: Mapping[str, Any], answers: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Answers of the network alone as the file gives them: logits become probabilities, in float64."""
    made = dict(answers)
    described = section(metadata, AFTER)
    for name in described.keys() & made.keys():
        about = section(described, name, f"metadata {AFTER!r}")
        if about.get("activation") in ACTIVATIONS:
            logits, softmax = made[name].astype(np.float64), about["activation"] == "softmax"
            axis = int(about["axis"])
            largest = logits.max(axis, keepdims=True) if softmax else np.maximum(logits, 0)
            powers = np.exp(logits - largest)
            total = powers.sum(axis, keepdims=True) if softmax else powers + np.exp(-largest)
            made[name] = (powers / total).astype(np.float32)
    return made


def _samples_of_answer(graph: Graph, port: Port) -> float:
    """Values of the first input to an answer: those of a frame, times the frames to an answer."""
    source = graph.shape(graph.inputs[0].tensor)
    width = float(np.prod([size for size in source if isinstance(size, int)], dtype=np.int64))
    counts = [
        [max((value(s, 1, n) for s in shape if not isinstance(s, int)), default=1) for n in (LONG, 2 * LONG)]
        for shape in (source, graph.shape(port.tensor))
    ]
    taken, given = (more - less for less, more in counts)
    return round(width * taken / given, 3) if taken and given else width
