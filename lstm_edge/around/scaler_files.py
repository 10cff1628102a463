"""A scaler out of what a user has: a file (.joblib, .pkl, .json, .npz, .npy), a live object of scikit-learn, arrays. Nothing that a
file holds is run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from .. import memory
from ..errors import FormatError, UnsupportedModelError
from ..files import json, pickles
from ..files.compressed import inflated
from ..files.guard import reading
from ..files.npz import read_npy, read_npz
from ..files.unpickler import MAX_PICKLE_BYTES
from ..options import spelled
from .fitted import is_fitted_object, read_fitted
from .scaler import Scaler, simple, step

SUFFIXES = (".joblib", ".pkl", ".pickle", ".json", ".npz", ".npy")
KEYS = "mean and scale, or min and max (of feature_range, [0, 1] where it is not said), and columns, their names"
_LISTED = {"mean", "scale", "std", "min", "max", "feature_range", "columns"}


def read_scaler(given: Any) -> tuple[Scaler, str]:
    """The Scaler and what it was read from in words. given: a path, a live object of scikit-learn, a dict of mean and scale, a pair
    of such arrays or of .npy files; any of these with columns, as PATH:COLUMN,... or (scaler, columns).

    Raises FormatError, UnsupportedModelError, OSError.
    """
    source, columns = _with_columns(given)
    place = os.fspath(source) if isinstance(source, (str, os.PathLike)) else ""
    name = os.path.basename(place) if place else "a live object"
    with reading(place) if place else nullcontext():
        try:
            scaler = _of(_content(source) if place else source)
            if columns is not None:
                if isinstance(columns, str):
                    columns = [columns] if columns in scaler.names else [c.strip() for c in columns.split(",")]
                scaler = scaler.of([_column(scaler, c) for c in columns])
        except (FormatError, UnsupportedModelError) as error:
            raise error if not place or str(place) in str(error) else error.at(place) from None
    return scaler, name


def _with_columns(given: Any) -> tuple[Any, Any]:
    """What a scaler is read from, and the columns asked for: a list, the text behind a path, or None."""
    if isinstance(given, tuple) and len(given) == 2 and not _is_pair(given):
        source, chosen = given
        return source, list(chosen) if isinstance(chosen, (list, tuple)) else [chosen]
    if not isinstance(given, str) or os.path.exists(given):
        return given, None
    at = given.find(":")
    while at >= 0:
        if os.path.isfile(given[:at]):
            return given[:at], given[at + 1 :]
        at = given.find(":", at + 1)
    return given, None


def _is_pair(given: Any) -> bool:
    """Whether two things are a mean and a scale: arrays, or .npy files."""
    return all(isinstance(v, (np.ndarray, list)) for v in given) or all(
        isinstance(v, (str, os.PathLike)) and os.fspath(v).endswith(".npy") for v in given
    )


def _column(scaler: Scaler, column: Any) -> int:
    if column in scaler.names:
        return scaler.names.index(column)
    number = column
    if isinstance(column, str) and column.lstrip("-").isdecimal():
        number = int(column)
    if isinstance(number, (int, np.integer)) and not isinstance(number, bool) and 0 <= number < scaler.width:
        return int(number)
    raise FormatError(f"column {column!r}: expected one of {scaler.labels}, by name or by number from 0")


# ---- files -----------------------------------------------------------------------------------------------------------


def _content(path: str | os.PathLike[str]) -> Any:
    text = os.fspath(path)
    if "," in text and not os.path.exists(text):  # MEAN.npy,SCALE.npy
        parts = text.split(",")
        if len(parts) == 2 and all(p.endswith(".npy") for p in parts):
            return tuple(parts)
    suffix = os.path.splitext(text)[1].lower()
    if os.path.getsize(text) > MAX_PICKLE_BYTES:
        raise FormatError(f"a file of {os.path.getsize(text)} bytes; expected a scaler, at most {MAX_PICKLE_BYTES}")
    memory.read(text)
    data = Path(text).read_bytes()
    if suffix == ".json":
        return json.load(data)
    if suffix == ".npy":
        raise FormatError("one .npy holds one of mean and scale: expected MEAN.npy,SCALE.npy, or a .npz of both")
    try:
        return read_npz(data) if data.startswith(b"PK\x03\x04") else pickles.load(inflated(data), "a pickle")
    except FormatError:
        if suffix in SUFFIXES or data.startswith(b"\x80"):
            raise
        raise FormatError(
            f"expected a scaler as {', '.join(SUFFIXES[:-1])} or MEAN.npy,SCALE.npy, found a file of another kind"
        ) from None


def _of(value: Any) -> Scaler:
    if isinstance(value, tuple) and len(value) == 2 and _is_pair(value):
        mean, scale = (
            read_npy(Path(v).read_bytes(), os.fspath(v)) if isinstance(v, (str, os.PathLike)) else v for v in value
        )
        value = {"mean": mean, "scale": scale}
    if is_fitted_object(value):
        return read_fitted(value)
    if isinstance(value, Mapping):
        return _listed(value)
    if isinstance(value, Scaler):
        return value
    return read_fitted(value)  # which says what it is


def _listed(found: Mapping[Any, Any]) -> Scaler:
    """mean and scale, or min and max, as lists of numbers."""
    held = [str(k) for k, v in found.items() if is_fitted_object(v)]
    if held:
        raise FormatError(
            f"expected one scaler, found several under the keys {', '.join(held)}: write each to a file of its own"
        )
    unknown = [str(k) for k in found if k not in _LISTED]
    if unknown:
        raise FormatError(f"expected {KEYS}, found {', '.join(unknown[:5])}")
    names = tuple(map(str, np.asarray(found.get("columns", ())).reshape(-1)))
    if {"min", "max"} <= set(found) and not {"mean", "scale", "std"} & set(found):
        least, most = _numbers(found, "min"), _numbers(found, "max")
        low, high = _numbers(found, "feature_range") if "feature_range" in found else (0.0, 1.0)
        same = most == least
        made, kind = (least, (high - low) / np.where(same, 1.0, most - least), low), "min and max"
    elif "mean" in found and ("scale" in found) != ("std" in found):
        scale = _numbers(found, "scale" if "scale" in found else "std")
        made, kind = (_numbers(found, "mean"), 1 / np.where(scale == 0, 1.0, scale), 0.0), "mean and scale"
    else:
        raise FormatError(f"expected {KEYS}, found {', '.join(map(str, found)) or 'nothing'}")
    try:
        part = step(*made)
    except ValueError:
        sizes = [np.size(v) for v in made[:2]]
        raise FormatError(f"expected as many numbers of one as of the other, found {sizes[0]} and {sizes[1]}") from None
    if names and len(names) != len(part.centre):
        raise FormatError(f"columns: expected {len(part.centre)} names, found {len(names)}")
    return simple(kind, part, names)


def _numbers(found: Mapping[Any, Any], key: str) -> np.ndarray:
    try:
        numbers = np.array(found[key], np.float64).reshape(-1)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if not numbers.size or not np.isfinite(numbers).all():
        raise FormatError(f"{key}: expected a list of finite numbers")
    return numbers


def typed(argument: str, port: str, source: str, column: str) -> str:
    """What is typed to take one column of a scaler."""
    return spelled(f"--{argument} {port}={source}:{column}", f"{argument}={{{port!r}: (scaler, {column!r})}}")
