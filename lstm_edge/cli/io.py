"""What the commands share: consoles, and arrays from .npy, .npz, .wav files and tables."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, TextIO

import numpy as np
from rich.console import Console
from rich.text import Text

from ..casting import cast
from ..errors import FormatError, LstmEdgeError, ShapeError
from ..files.number_rows import Choice, NumberRows
from ..files.rows import Dialect, Rows
from ..files.table_files import SUFFIXES as TABLES
from ..files.table_files import open_rows
from ..metadata import sample_rate, section
from .intake import Intake
from .jsonl import JsonForm, JsonLines
from .pipes import Pipe
from .wav import WavReader

SUFFIXES = (".npy", ".npz", *TABLES, ".jsonl", ".wav")
OF_ALL = (".npz", ".jsonl")  # one file for all inputs
MOST_SAMPLES = 1 << 20  # of a piece of a .wav
NO_RATE = "the model does not say what rate it expects (convert --rate HZ)"
TASKS = ("forecast", "classify", "label", "anomaly")  # whose files name the columns of their input


@dataclass(frozen=True)
class Form:
    """How files are read: what is said of tables, and what of them is taken. missing None: a gap where a trained model names the
    columns, else an error."""

    dialect: Dialect = Dialect()
    columns: tuple[str, ...] = ()
    missing: str | None = None


AS_FOUND = Form()


def stdout() -> TextIO:
    """Standard output. FormatError where the caller has closed it."""
    if sys.__stdout__ is None:
        raise FormatError("standard output: expected something to write to, found it closed")
    return sys.stdout


class _OutConsole(Console):
    def on_broken_pipe(self) -> None:
        """rich would end with 1, as on an error; a reader that has seen enough is none, see cli."""
        raise BrokenPipeError


def out_console() -> Console:
    """Results: as wide as the terminal, and wide enough for any line where stdout is none."""
    return _OutConsole(soft_wrap=True, highlight=False, width=None if stdout().isatty() else 1 << 14)


def err_console() -> Console:
    return Console(stderr=True, highlight=False)


def error_line(message: str, below: str = "") -> None:
    """One red line on stderr; what is no single line becomes one. `below`: lines to read or copy, as they are."""
    err_console().print(Text("error: " + " ".join(message.split()), style="red"), soft_wrap=True)
    if below:
        err_console().print(Text("\n" + below), soft_wrap=True)


def note(text: str) -> None:
    """A line on stderr that a caller should know, whether stderr is a terminal or not."""
    err_console().print(Text("note: " + text), soft_wrap=True)


def print_json(value: Any) -> None:
    """A result on stdout: numbers of six significant digits, null for what is no number."""
    stdout().write(json.dumps(rounded(value), indent=2, ensure_ascii=False) + "\n")


def rounded(value: Any) -> Any:
    """A value of JSON as print_json writes it."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


# ---- reading --------------------------------------------------------------------------------------------------------


def read_inputs(model: Any, paths: tuple[str, ...], form: Form = AS_FOUND) -> tuple[list[np.ndarray], int]:
    """Arrays for Model.run from one file per input, or from one .npz that holds them by name; and the sample rate.

    Arrays become the input's dtype where every value survives. Rows of tables and .wav samples are cut into frames by the shape of the model's input.
    The rate is 0 when no .wav was read.
    """
    ports = model.inputs
    check_count(model, paths)
    if len(paths) == 1 and suffix_of(paths[0]) == ".npz":
        archive = open_archive(paths[0], [p.name for p in ports])
        return taken_in(model, [archive[p.name] for p in ports], paths), 0
    if len(paths) == 1 and suffix_of(paths[0]) == ".jsonl":
        return taken_in(model, _read_lines(paths[0], ports, model, form), paths), 0
    rate, arrays = 0, []
    for port, path in zip(ports, paths):
        array, found = _read_input(path, port, model, form)
        expected = sample_rate(model.metadata)
        if found and expected and found != expected:
            raise ShapeError(f"{path}: expected {expected:g} Hz, the model's rate, found {found} Hz; resample it first")
        if found and not expected:
            note(f"{path}: {found} Hz; {NO_RATE}")
        arrays.append(array)
        rate = found or rate
    return taken_in(model, arrays, paths), rate


def taken_in(model: Any, arrays: list[np.ndarray], paths: tuple[str, ...]) -> list[np.ndarray]:
    """Arrays in the dtypes of the model's inputs; what of them is not finite is said on stderr."""
    intake = Intake()
    taken = [intake.take(array, port, ", ".join(paths)) for port, array in zip(model.inputs, arrays)]
    if intake.told():
        err_console().print(f"{', '.join(paths)}: {intake.told()}", markup=False, soft_wrap=True)
    return taken


def check_count(model: Any, paths: tuple[str, ...], streams: Collection[str] = ()) -> None:
    """Raises FormatError where the files are not one per input (or one .npz), or of a kind that is not read.

    streams: those whose suffix says nothing.
    """
    names = [p.name for p in model.inputs]
    for path in paths:
        if path not in streams and suffix_of(path) not in SUFFIXES:
            expected = f"expected a file among {', '.join(SUFFIXES)}"
            raise FormatError(f"{path}: {expected}, found {suffix_of(path) or 'no suffix'}")
    alone = len(paths) == 1 and (paths[0] in streams or suffix_of(paths[0]) in OF_ALL)
    if len(paths) != len(names) and not alone:
        raise of_all_inputs(model, str(len(paths)))


def of_all_inputs(model: Any, found: str) -> ShapeError:
    """What there should be in place of files that do not give every input."""
    names = [p.name for p in model.inputs]
    expected = f"expected {len(names)} input file{'s' if len(names) > 1 else ''} (for {', '.join(names)})"
    return ShapeError(f"{expected}, or one .npz or .jsonl that has all of these names, found {found}")


def json_lines(model: Any, pipe: Pipe, form: Form, ports: Sequence[Any], multiple: int = 1) -> JsonLines:
    """Lines of JSON with frames of these inputs. FormatError for what is said of tables alone."""
    wrong = [flag for flag, given in (("--delimiter", form.dialect.delimiter), ("--decimal", form.dialect.decimal), ("--skip", form.dialect.skip)) if given]  # fmt: skip
    if form.columns and len(ports) > 1:
        wrong.append("--columns")
    if wrong:
        raise FormatError(
            f"{', '.join(wrong)}: expected a table, found lines of JSON with {', '.join(p.name for p in ports)}"
        )
    columns = form.columns or (columns_of(model, ports[0]) if len(ports) == 1 else ())
    return JsonLines(pipe, JsonForm(tuple(p.name for p in ports), columns, bool(form.columns), form.missing), multiple)


def _read_lines(path: str, ports: Sequence[Any], model: Any, form: Form) -> list[np.ndarray]:
    with closing(Pipe(path)) as pipe:
        lines = json_lines(model, pipe, form, ports)
        frames = list(lines.frames())
    if not frames:
        raise FormatError(f"{path}: expected lines of JSON, found none")
    return [frames_of_rows(np.array(f), port, model.is_step_model, path) for port, f in zip(ports, zip(*frames))]


def _read_input(path: str, port: Any, model: Any, form: Form) -> tuple[np.ndarray, int]:
    suffix, step_model = suffix_of(path), model.is_step_model
    if suffix in TABLES:
        return frames_of_rows(read_rows(path, *named_form(model, port, form)), port, step_model, path), 0
    if suffix == ".jsonl":
        return _read_lines(path, [port], model, form)[0], 0
    if suffix == ".wav":
        samples, rate = read_wav(path)
        if samples.shape[1] != 1:
            raise ShapeError(f"{path}: expected one channel, found {samples.shape[1]}; mix it down first")
        return frames_of_samples(samples[:, 0], port, step_model, path), rate
    return open_array(path), 0


def open_array(path: str) -> np.ndarray:
    """A .npy, mapped: its values are read when they are used."""
    try:
        with open(path, "rb") as file:
            if file.read(6) != b"\x93NUMPY":
                raise FormatError(f"{path}: expected a .npy array, found other content")
        mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped
    except (FormatError, FileNotFoundError, PermissionError):
        raise
    except Exception as exc:  # whatever NumPy hands on of the parser that reads a header
        try:  # an array without values cannot be mapped
            whole: np.ndarray = np.load(path, allow_pickle=False)
            return whole
        except Exception:
            raise FormatError(f"{path}: expected a .npy array of numbers, found: {str(exc)[:160]}") from exc


def open_archive(path: str, names: list[str]) -> dict[str, np.ndarray]:
    """The arrays `names` of a .npz."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [n for n in names if n not in archive]
            if missing:
                raise ShapeError(f"{path}: expected arrays {', '.join(names)}, found {', '.join(archive) or 'none'}")
            return {n: archive[n] for n in names}
    except (LstmEdgeError, FileNotFoundError, PermissionError):
        raise
    except Exception as exc:  # whatever zipfile, zlib and NumPy raise
        raise FormatError(f"{path}: expected a .npz archive of arrays of numbers, found other content") from exc


def columns_of(model: Any, port: Any) -> tuple[str, ...]:
    """The names of an input's columns, where `lstm-edge train` or the scaler of a conversion put them into the file; else none."""
    for task in TASKS:
        about = model.metadata.get(task)
        if isinstance(about, dict) and about.get("input") == port.name and isinstance(about.get("columns"), list):
            return tuple(map(str, about["columns"]))
    return columns_of_scaler(model, port)


def columns_of_scaler(model: Any, port: Any) -> tuple[str, ...]:
    """The names of the columns that the scaler in front of an input was fitted on, where it knew them; else none."""
    about = section(section(model.metadata, "scale"), port.name, "metadata 'scale'")
    names = about.get("columns", ())
    return tuple(map(str, names)) if isinstance(names, list) else ()


def named_form(model: Any, port: Any, form: Form) -> tuple[Form, tuple[str, ...]]:
    """How a table is read for an input, and the names of its columns. Empty cells are gaps to a model that was trained on some; to one
    behind a scaler they are errors."""
    names = columns_of(model, port)
    of_scaler = bool(names) and names == columns_of_scaler(model, port)
    return (replace(form, missing=form.missing or "error") if of_scaler else form), names


def number_rows(path: str, form: Form, named: tuple[str, ...] = ()) -> NumberRows:
    """The rows of a table's numbers, to be closed. named: the columns that the model was trained with, which are taken where the
    table has them. Columns of times and words that nobody asked for are left out with a word on stderr."""
    return chosen_rows(open_rows(path, form.dialect), form, named)


def chosen_rows(rows: Rows, form: Form, named: tuple[str, ...] = ()) -> NumberRows:
    """See number_rows; of rows that are open already, and closed where they are refused."""
    path = rows.place
    try:
        trained = bool(named) and not form.columns and set(named) <= set(rows.names)
        choice = Choice(named if trained else form.columns, form.missing or ("gap" if trained else "error"))
        chosen = NumberRows(rows, choice, form.dialect)
        if chosen.left_out and named and rows.header:
            expected = f"expected columns {', '.join(map(repr, named))}, as the model was trained, or numbers alone"
            found = ", ".join(map(repr, rows.names))
            raise FormatError(f"{path}: {expected}, found {found}; --columns takes others in their place")
    except BaseException:
        rows.close()
        raise
    if trained and list(named) != [name for name in rows.names if name in named]:
        err_console().print(
            f"{path}: columns by their names, in another order than the table's: {', '.join(named)}", markup=False
        )
    if chosen.left_out:
        err_console().print(f"{path}: not used, as they hold no numbers: {', '.join(chosen.left_out)}", markup=False)
    return chosen


def read_rows(path: str, form: Form = AS_FOUND, named: tuple[str, ...] = ()) -> np.ndarray:
    """All rows of a table, float64 (rows, columns)."""
    with closing(number_rows(path, form, named)) as rows:
        return np.array(list(rows))


def read_wav(path: str) -> tuple[np.ndarray, int]:
    """All samples of a .wav (n, channels) float32 in [-1, 1), and the rate."""
    with closing(Pipe(path)) as pipe:
        reader = WavReader(pipe)
        pieces = [reader.read(MOST_SAMPLES)]
        while len(pieces[-1]):
            pieces.append(reader.read(MOST_SAMPLES))
        return np.concatenate(pieces), reader.rate


def open_sizes(size: int | str) -> set[str]:
    """The names of the open sizes in a size as Port.shape writes it."""
    return set(re.findall(r"[^\W\d]\w*", str(size)))


def frames_axis(shape: tuple[int | str, ...]) -> int:
    return next((d for d, size in enumerate(shape) if "frames" in open_sizes(size)), -1)


def without_batch(port: Any) -> list[int | str]:
    """The input's shape for one sequence: no batch axis, nor a leading axis fixed at 1 that stands for it."""
    shape = list(port.shape)
    axes = [d for d, size in enumerate(shape) if "batch" in open_sizes(size)]
    if not axes and len(shape) > 1 and shape[0] == 1:
        axes = [0]
    if axes:
        del shape[axes[0]]
    return shape


def frames_of_rows(rows: np.ndarray, port: Any, step_model: bool, place: str) -> np.ndarray:
    """Rows (n, columns) as the model's input: a row is a frame; where the model has no frames, rows fill its input."""
    shape = without_batch(port)
    further = sorted({name for size in shape for name in open_sizes(size)} - {"frames"})
    if further:
        raise ShapeError(
            f"{place}: input {port.name!r} of shape {port.shape} has open sizes of its own, {', '.join(further)}; "
            "give its array in an .npy or .npz file"
        )
    time = frames_axis(tuple(shape))
    if step_model or time >= 0:
        frame = [int(s) for d, s in enumerate(shape) if d != time]
        if time >= 0 and shape[time] != "frames":  # k values of the axis are one frame
            frame.insert(time, int(str(shape[time]).split("*")[0]))
        if math.prod(frame) != rows.shape[1]:
            raise ShapeError(
                f"{place}: expected {math.prod(frame)} columns, the values of one frame, found {rows.shape[1]}; "
                "--columns takes some of a table's"
            )
        array = rows.reshape(len(rows), *frame)
        if time >= 0 and shape[time] == "frames":
            array = np.moveaxis(array, 0, time)
        elif time >= 0:
            array = np.moveaxis(array, 0, time).reshape([-1 if d == time else s for d, s in enumerate(frame)])
    else:
        sizes = [int(s) for s in shape]
        if rows.size % math.prod(sizes):
            raise ShapeError(f"{place}: expected a multiple of {math.prod(sizes)} values, found {rows.size}")
        array = rows.reshape(-1, *sizes) if len(sizes) < len(port.shape) else rows.reshape(sizes)
    try:
        return np.ascontiguousarray(array.astype(bool) if port.dtype == "bool" else cast(array, port))
    except ShapeError as exc:
        raise exc.at(place) from None


def frame_width(port: Any, step_model: bool, place: str) -> int:
    """Samples of one frame of input `port`."""
    shape = without_batch(port)
    if not step_model and frames_axis(tuple(shape)) < 0:
        raise ShapeError(
            f"{place}: expected a model with frames to run audio, found input {port.name!r} of shape {port.shape}"
        )
    return math.prod(int(str(s).split("*")[0]) if s != "frames" else 1 for s in shape)


def frames_of_samples(samples: np.ndarray, port: Any, step_model: bool, place: str) -> np.ndarray:
    """Audio samples (n,) cut by the model's frame width; the last frame is filled up with zeros."""
    width = frame_width(port, step_model, place)
    if not len(samples):
        raise ShapeError(f"{place}: expected samples, found none")
    padded = np.pad(samples, (0, -len(samples) % width))
    return frames_of_rows(padded.reshape(-1, width), port, step_model, place)


def suffix_of(path: str) -> str:
    return os.path.splitext(path)[1].lower()
