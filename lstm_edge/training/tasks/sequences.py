"""Sequences of frames with labels: from a table in long form, a folder with a folder for each label, or arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FormatError
from ...ir.notes import ASSUMED
from ...options import spelled
from .. import columns as cells_of
from ..columns import Cells
from .options import SequenceOptions
from .spans import Stretches

Words = np.ndarray  # of str, dtype object


@dataclass(frozen=True)
class Sequences:
    """values: (frames, columns) float32, all sequences one after another, NaN where missing. bounds: (n, 2) the first frame of
    each and the one after its last. names: how each is called. labels: (frames,) words, or None where there are none.
    notes: what was assumed."""

    place: str
    values: np.ndarray
    bounds: Stretches
    names: tuple[str, ...]
    columns: tuple[str, ...]
    labels: Words | None
    notes: list[str] = field(default_factory=list)

    @property
    def gaps(self) -> bool:
        return bool(np.isnan(self.values).any())

    def one_label_each(self) -> Words:
        """(n,) the label of each sequence. FormatError names a sequence with several."""
        if self.labels is None:
            raise FormatError(f"{self.place}: expected labels, found none")
        found = []
        for name, (begin, end) in zip(self.names, self.bounds):
            held = list(dict.fromkeys(self.labels[begin:end]))
            if len(held) > 1:
                raise FormatError(
                    f"{self.place}: sequence {name!r}: expected one label, found {held[0]!r} and {held[1]!r}; "
                    f"{spelled('--task label', 'task=' + repr('label'))} gives each frame its own"
                )
            found.append(held[0])
        return np.array(found, object)


def in_order(labels: Words) -> tuple[str, ...]:
    """The labels that there are: by number where all are numbers, else by alphabet. FormatError for fewer than two."""
    found = {str(label) for label in labels}
    if len(found) < 2:
        raise FormatError(f"expected two labels or more, found {', '.join(found) or 'none'}")
    try:
        numbers = {label: float(label) for label in found}
    except ValueError:
        return tuple(sorted(found))
    if any(number != number for number in numbers.values()):  # NaN stands nowhere among numbers
        return tuple(sorted(found))
    return tuple(sorted(found, key=lambda label: (numbers[label], label)))


def read(source: Any, options: SequenceOptions, *, labelled: bool, grouped: bool) -> Sequences:
    """The sequences of a CSV file or a DataFrame in long form (a row is a frame), of a folder of .npy and .csv files in folders
    called by their label, or of arrays: (sequences, labels), or sequences alone.

    labelled: labels are needed. grouped: a table must say which sequence a row belongs to. FormatError names by place
    what is wrong.
    """
    if isinstance(source, (str, os.PathLike)) and Path(source).is_dir():
        found = _of_folder(Path(source), options)
    elif isinstance(source, (str, os.PathLike)) or hasattr(source, "columns"):
        found = _of_table(cells_of.read(source, options.delimiter), options, labelled, grouped)
    else:
        found = _of_arrays(source, options, labelled)
    return _checked(found, options)


def _checked(found: Sequences, options: SequenceOptions) -> Sequences:
    wrong = np.argwhere(np.isinf(found.values))
    gone = np.argwhere(np.isnan(found.values))
    if len(wrong) or (len(gone) and options.missing == "error"):
        row, column = (wrong if len(wrong) else gone)[0]
        n = int(np.searchsorted(found.bounds[:, 1], row, "right"))
        what = "a finite number" if len(wrong) else f"a value ({options.typed('missing')})"
        raise FormatError(
            f"{found.place}: sequence {found.names[n]!r}, frame {row - found.bounds[n, 0]}, column {found.columns[column]!r}: "
            f"expected {what}, found {found.values[row, column]:g}"
        )
    if len(gone):
        found.notes.append(f"{len(gone):,} of {found.values.size:,} values are missing: the last one stands for each")
    return found


# ---- tables ----------------------------------------------------------------------------------------------------------


def _of_table(cells: Cells, options: SequenceOptions, labelled: bool, grouped: bool) -> Sequences:
    for name, needed, what in (
        ("group", grouped, "the column that says which sequence a row belongs to"),
        ("label", labelled, "the column of labels"),
    ):
        if getattr(options, name) is not None:
            cells.require(getattr(options, name), options.named(name))
        elif needed:
            found = ", ".join(map(repr, cells.columns))
            raise FormatError(f"{cells.place}: expected {options.named(name)}, {what}, one of {found}")
    time = options.time or _found_time(cells, options)
    columns = _input_columns(cells, options, time)
    values = np.stack([cells_of.numbers(cells, name) for name in columns], 1)
    labels = None if options.label is None else _names_in(cells, options.label)
    order, bounds, names = _grouped(cells, options, time)
    return Sequences(
        cells.place, values[order].astype(np.float32), bounds, names, columns, None if labels is None else labels[order], cells.notes
    )  # fmt: skip


def _input_columns(cells: Cells, options: SequenceOptions, time: str | None) -> tuple[str, ...]:
    for name in options.inputs:
        cells.require(name, options.named("inputs"))
    if options.time is not None:
        cells.require(options.time, options.named("time"))
    roles = {options.group, options.label, time}
    found = options.inputs or tuple(c for c in cells.columns if c not in roles and cells_of.is_numeric(cells, c))
    if not found:
        raise FormatError(f"{cells.place}: expected columns of numbers for the frames, found none beside the others")
    both = [name for name in found if name in roles]
    if both:
        raise FormatError(f"{cells.place}: column {both[0]!r} is named as an input and as something else; name it once")
    if not options.inputs:
        cells.notes.append(f"{ASSUMED}the frames are the columns {', '.join(map(repr, found))}")
    unused = [repr(name) for name in cells.columns if name not in roles and name not in found]
    if unused:
        cells.notes.append(f"not used: {', '.join(unused)}")
    return found


def _found_time(cells: Cells, options: SequenceOptions) -> str | None:
    """The first column of times that is not named for something else."""
    found = cells_of.time_column(cells)
    if found is None or found in (options.group, options.label, *options.inputs):
        return None
    cells.notes.append(f"{ASSUMED}column {found!r} orders the frames")
    return found


def _names_in(cells: Cells, column: str) -> np.ndarray:
    """A column as words, of which any but an empty one is a name: none, na and - too."""
    held = cells.frame[column]
    words = np.array(held.astype(str), object)
    gone = np.flatnonzero(np.array(held.isna(), bool) | (words == ""))
    if len(gone):
        cells.refuse(column, gone, "a word in every row")
    return words


def _grouped(cells: Cells, options: SequenceOptions, time: str | None) -> tuple[np.ndarray, Stretches, tuple[str, ...]]:
    """The order of rows that puts each sequence's together, the bounds of each, and their names as they first stand."""
    count = len(cells.frame)
    names = np.full(count, "all", object) if options.group is None else _names_in(cells, options.group)
    codes = {name: n for n, name in enumerate(dict.fromkeys(names))}
    numbers = np.array([codes[name] for name in names])
    order = np.argsort(numbers, kind="stable")
    if time is not None:
        moments = _moments(cells, time)
        order = np.lexsort((moments, numbers))
        _note_steps(cells, moments[order], numbers[order])
    ends = np.cumsum(np.bincount(numbers))
    return order, np.stack([ends - np.bincount(numbers), ends], 1), tuple(codes)


def _moments(cells: Cells, column: str) -> np.ndarray:
    """What orders frames: numbers as they are, or times."""
    if not cells_of.is_numeric(cells, column):
        return cells_of.times(cells, column)
    values = cells_of.numbers(cells, column)
    gone = np.flatnonzero(np.isnan(values))
    if len(gone):
        cells.refuse(column, gone, "a time in every row")
    return values


def _note_steps(cells: Cells, moments: np.ndarray, numbers: np.ndarray) -> None:
    """Says where frames are not evenly apart, which a network cannot see. moments: in the order of the frames."""
    steps = np.diff(moments.astype("datetime64[s]").astype(np.int64) if moments.dtype.kind == "M" else moments)
    steps = steps[np.diff(numbers) == 0]
    if not len(steps):
        return
    usual = np.median(steps)
    uneven = int((np.abs(steps - usual) > 0.01 * abs(usual)).sum())
    if uneven:
        cells.notes.append(
            f"{ASSUMED}frames are evenly apart, where {uneven:,} of {len(steps):,} steps between them are not"
        )


# ---- folders and arrays ----------------------------------------------------------------------------------------------


def _of_folder(folder: Path, options: SequenceOptions) -> Sequences:
    refuse_columns(options, f"a folder, {folder}")
    files = sorted(p for p in folder.glob("*/*") if p.suffix in (".npy", ".csv"))
    if not files:
        raise FormatError(f"{folder}: expected a folder for each label with .npy or .csv files, found none")
    tables = {path: cells_of.read(path, options.delimiter) for path in files if path.suffix == ".csv"}
    columns = next((tuple(cells.columns) for cells in tables.values()), None)
    for path, cells in tables.items():
        if tuple(cells.columns) != columns:
            raise FormatError(
                f"{path}: expected the columns {columns}, as in the first file, found {tuple(cells.columns)}"
            )
    arrays = [_numbers(tables[path]) if path in tables else _of_npy(path) for path in files]
    labels = [path.parent.name for path in files]
    return _joined(str(folder), arrays, [str(p.relative_to(folder)) for p in files], labels, columns)


def _numbers(cells: Cells) -> np.ndarray:
    return np.stack([cells_of.numbers(cells, name) for name in cells.columns], 1)


def _of_npy(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path))
    except (ValueError, EOFError) as exc:
        raise FormatError(f"{path}: expected an array of numbers, found {exc}") from None


def refuse_columns(options: SequenceOptions, source: str) -> None:
    """FormatError for options that name columns, where the source has none."""
    for name in ("group", "label", "inputs", "time"):
        if getattr(options, name):
            raise FormatError(f"{options.typed(name)} names a column of a table, found {source}")


def _of_arrays(source: Any, options: SequenceOptions, labelled: bool) -> Sequences:
    refuse_columns(options, "arrays")
    pair = isinstance(source, tuple) and len(source) == 2
    if labelled and not pair:
        raise FormatError(f"source: expected a table, a folder, or (sequences, labels), found {_kind(source)}")
    sequences, labels = source if pair else (source, None)
    if isinstance(sequences, np.ndarray) and sequences.ndim < 3 and labels is None:
        sequences = [sequences]
    if not isinstance(sequences, (Sequence, np.ndarray)) or not len(sequences):
        raise FormatError(f"source: expected sequences, arrays (frames, columns), found {_kind(sequences)}")
    if labels is not None and len(labels) != len(sequences):
        raise FormatError(f"source: expected {len(sequences)} labels, one for each sequence, found {len(labels)}")
    return _joined("source", list(sequences), list(map(str, range(len(sequences)))), labels)


def _joined(
    place: str, arrays: list[Any], names: list[str], labels: Any, columns: tuple[str, ...] | None = None
) -> Sequences:
    frames = [_frames(place, name, array) for name, array in zip(names, arrays)]
    width = frames[0].shape[1]
    for name, array in zip(names, frames):
        if array.shape[1] != width:
            raise FormatError(
                f"{place}: sequence {name!r}: expected {width} columns, as {names[0]!r} has, found {array.shape[1]}"
            )
    lengths = np.array([len(array) for array in frames])
    ends = np.cumsum(lengths)
    words = None
    if labels is not None:
        words = np.concatenate([_words(place, name, held, n) for name, held, n in zip(names, labels, lengths)])
    columns = columns or tuple(f"column{n + 1}" for n in range(width))
    return Sequences(place, np.concatenate(frames), np.stack([ends - lengths, ends], 1), tuple(names), columns, words)


def _frames(place: str, name: str, held: Any) -> np.ndarray:
    try:
        if np.iscomplexobj(held):
            raise TypeError
        with np.errstate(over="ignore"):  # what becomes infinite is named by its place
            array = np.asarray(held, np.float32)
    except (TypeError, ValueError):
        raise FormatError(f"{place}: sequence {name!r}: expected an array of numbers, found {_kind(held)}") from None
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size:
        raise FormatError(
            f"{place}: sequence {name!r}: expected (frames, columns), one of each at least, found {array.shape}"
        )
    return array


def _words(place: str, name: str, held: Any, frames: int) -> Words:
    """A label for each frame out of one for all, or one for each."""
    if isinstance(held, str) or np.ndim(held) == 0:
        return np.full(frames, _word(place, name, held), object)
    if np.shape(held) != (frames,):
        raise FormatError(
            f"{place}: sequence {name!r}: expected a label, or {frames}, one a frame, found {np.shape(held)}"
        )
    return np.array([_word(place, name, label) for label in held], object)


def _word(place: str, name: str, label: Any) -> str:
    if label is None or label != label or not str(label):  # NaN alone differs from itself
        raise FormatError(f"{place}: sequence {name!r}: expected a label, found {label!r}")
    return str(label)


def _kind(value: Any) -> str:
    return f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
