"""A model as text: what goes in, what comes out, whether it streams, what a stream keeps, how Python calls it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console

from ..answers import Answers, meanings
from ..around.scaler import from_metadata
from ..ir.notes import assumptions, notes_of
from ..ir.ops import RECURRENT
from ..metadata import delays, networks, sample_rate, section
from .grid import name, print_grid, text, words
from .io import open_sizes

# Shown where a caller who wants a stream of frames has the source's fixed sizes in the way.
WHOLE_SEQUENCES = (
    "each call takes a whole input of fixed size and keeps nothing; to go frame by frame, convert again with their "
    "number open (--shape NAME=..., the word frames in its place), or export the model with it open"
)


def shape_text(shape: tuple[int | str, ...] | None) -> str:
    if shape is None:
        return "?"
    return "(" + ", ".join(str(s) for s in shape) + ("," if len(shape) == 1 else "") + ")"


def describe(model: Any, console: Console, notes: bool = True) -> None:
    """Prints ports, states, streaming and (unless told not to) notes of a loaded model."""
    told = [("input", port, input_words(port, model)) for port in model.inputs]
    told += [("output", port, output_words(port, model)) for port in model.outputs]
    told += [("state", port, "kept by the stream") for port in model.states]
    columns = text("role"), name("name"), text("shape"), text("dtype", 2), words("in words", 1)
    print_grid(console, columns, [(role, p.name, shape_text(p.shape), p.dtype, about) for role, p, about in told])
    console.print(f"streaming: {streaming_text(model)}", markup=False)
    rate = sample_rate(model.metadata)
    if rate:
        console.print(f"sample rate: {rate:g} Hz", markup=False)
    for line in (*scaler_lines(model), *meaning_lines(model), *delay_lines(model)):
        console.print(line, markup=False, soft_wrap=True)
    for note in notes_of(model.metadata) if notes else []:
        console.print(f"note: {note}", markup=False)


def scaler_lines(model: Any) -> list[str]:
    """A line for each scaler around a network: whose values are raw, by what, of which columns."""
    lines = []
    for part, metadata in networks(model.metadata):
        for role, side in (("scale", "input"), ("unscale", "output")):
            scalers = section(metadata, role)
            for port in scalers:
                about = section(scalers, port, f"metadata {role!r}")
                scaler = from_metadata(about, f"metadata {role!r} {port!r}")
                names = [str(name) for name in scaler.names or range(scaler.width)]
                shown = ", ".join(names[:12] + ["..."] * (len(names) > 12))
                found = f"{about.get('kind')} of {about.get('from')}, columns {shown}"
                lines.append(f"{role}: {side} {of_part(port, part)} is raw: {found}")
    return lines


def of_part(port: str, part: str) -> str:
    """A port of the whole, or of a joined part."""
    return f"{port} of {part}" if part else port


def meaning_lines(model: Any) -> list[str]:
    """A line for each output whose answers the file gives a meaning."""
    return [f"{name} tells {Answers(model, name)}" for name in meanings(model.metadata)]


def delay_lines(model: Any) -> list[str]:
    """How far each output lies behind the sound that goes in, whatever the machine: computing comes on top. Empty without a rate, and
    where everything must be there before the first answer."""
    rate = sample_rate(model.metadata)
    if not rate or not section(model.metadata, "streaming").get("supported", True):
        return []
    lines = []
    for output, parts in delays(model.metadata).items():
        each = ", ".join(f"{part} {1e3 * samples / rate:g} ms" for part, samples in parts.items())
        total = sum(parts.values())
        lines.append(f"delay of {output}: {1e3 * total / rate:g} ms ({total} samples: {each}), and computing on top")
    return lines


def show_assumptions(assumed: Iterable[str], console: Console) -> None:
    """Says, on every screen that shows a model, what its answers rest on without anybody having said it."""
    for assumption in assumed:
        console.print(f"ASSUMED: {assumption}", markup=False, style="yellow", soft_wrap=True)


def streams(model: Any) -> bool:
    return bool(model.metadata.get("streaming", {}).get("supported"))


def hop(model: Any) -> int:
    """Frames a step takes."""
    return int(model.metadata.get("streaming", {}).get("multiple", 1))


def _count(shape: list[int | str]) -> str:
    """How many values a frame of `shape` has, its symbols left out: 3 x 40 values."""
    numbers = [_coefficient(s) for s in shape]
    numbers = [n for n in numbers if n != 1] or [1]
    return " x ".join(map(str, numbers)) + (" value" if math.prod(numbers) == 1 else " values")


def _coefficient(size: int | str) -> int:
    """3 of 3 and of 3*frames; 1 of frames, batch and of what depends on them in another way."""
    if isinstance(size, int):
        return size
    match = re.fullmatch(r"([0-9]+)\*(?:frames|batch)", size)
    return int(match[1]) if match else 1


def _has(shape: tuple[int | str, ...], symbol: str) -> bool:
    return any(symbol in open_sizes(s) for s in shape)


def input_words(port: Any, model: Any) -> str:
    words = _count(list(port.shape))
    if model.is_step_model:
        return f"{words.replace('value', 'sample')} of sound" if _is_sound(port, model) else f"a frame of {words}"
    frames = "samples of sound" if _is_sound(port, model) else f"frames of {words}"
    parts = [f"any number of {frames}" if _has(port.shape, "frames") else words]
    return ", ".join(parts + ["any number of sequences"] * _has(port.shape, "batch"))


def _is_sound(port: Any, model: Any) -> bool:
    """Whether an input takes samples that audio features are computed of."""
    return port.name in section(model.metadata, "before")


def output_words(port: Any, model: Any) -> str:
    if port.shape is None:
        return "shape known after a run"
    words = _count(list(port.shape))
    if model.is_step_model or _has(port.shape, "frames"):
        return f"{words} for every frame"
    so_far = "; a stream gives its answer so far" if streams(model) and _has(model.inputs[0].shape, "frames") else ""
    return f"{words} for the whole input{so_far}"


def _takes_whole_sequences(model: Any) -> bool:
    """Whether it has recurrences that start anew at every call, over a number of frames that its source fixed."""
    frames = any(_has(port.shape, "frames") for port in model.inputs)
    return not (frames or model.is_step_model or model.states) and any(op in RECURRENT for op, _ in model.ops)


def streaming_text(model: Any) -> str:
    if not streams(model):
        return f"no, {model.metadata.get('streaming', {}).get('why', 'the file does not say that it can')}"
    if _takes_whole_sequences(model):
        return WHOLE_SEQUENCES
    if not model.states:
        return "yes, and nothing is kept between calls"
    counted = "samples" if any(_is_sound(port, model) for port in model.inputs) else "frames"
    return "yes, frame by frame" if hop(model) == 1 else f"yes, in multiples of {hop(model)} {counted} (its hop)"


def quantization_text(model: Any) -> str:
    report = model.metadata.get("quantization")
    if not report:
        return "none, float32"
    narrow = [op for op in report.get("ops", []) if op.get("stored") != "float32"]
    worst = [e["max"] for e in report.get("outputs", {}).values() if e.get("max") is not None]
    error = f", largest error at an output {max(worst):g} on {report.get('source', '?')}" if worst else ""
    return f"{report.get('weights', '?')} in {len(narrow)} of {len(report.get('ops', []))} ops with weights{error}"


def self_test_text(test: dict[str, Any] | None) -> str:
    """Whose answer the file carries (its metadata `self_test`), and why not a framework's."""
    if not test:
        return "none"
    said = f"answers of {test.get('source')}, allowed difference {test.get('tolerance'):g}"
    return f"{said}; no framework ran the model: {test['why']}" if test.get("why") else said


def python_snippet(model: Any, name: str) -> list[str]:
    """Lines that load the model and run it once, on zeros: a step where it streams, else a whole input."""
    step = streams(model) and not _takes_whole_sequences(model)
    arrays = ", ".join(_zeros(port, model, step) for port in model.inputs)
    lines = ["import numpy as np, lstm_edge", f"model = lstm_edge.load({name!r})"]
    lines += [f"stream = model.stream(); answer = stream.step({arrays})"] if step else [f"answer = model.run({arrays})"]
    if len(model.outputs) > 1:
        lines[-1] += "   # a dict: " + ", ".join(p.name for p in model.outputs)
    return lines


def _zeros(port: Any, model: Any, step: bool) -> str:
    """Python text of an input without a batch axis; a step brings one frame without its axis, or `hop` frames."""
    shape: list[int | str] = []
    several = step and any(
        "frames" in open_sizes(s) and s != "frames" for s in port.shape
    )  # step then wants the batch axis
    for size in port.shape:
        if size == "batch" and several:
            shape.append(1)
        elif size == "batch" or (size == "frames" and step and hop(model) == 1):
            continue
        else:
            frames = hop(model) if step else 100
            shape.append(
                size if isinstance(size, int) else _coefficient(size) * (1 if "batch" in open_sizes(size) else frames)
            )
    return f"np.zeros({shape_text(tuple(shape))}, np.{port.dtype.replace('bool', 'bool_')})"


def as_dict(model: Any) -> dict[str, Any]:
    """What `describe` prints, for JSON."""
    ports = {
        role: [
            {"name": p.name, "shape": None if p.shape is None else list(p.shape), "dtype": p.dtype}
            for p in getattr(model, role)
        ]
        for role in ("inputs", "outputs", "states")
    }
    ops = [{"op": op, "name": name} for op, name in model.ops]
    return {
        **ports,
        "ops": ops,
        "isa": model.isa,
        "bytes_in_memory": model.nbytes,
        "assumed": assumptions(model.metadata),
        "metadata": model.metadata,
    }
