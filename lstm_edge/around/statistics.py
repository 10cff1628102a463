"""Mean and deviation that features are normalised by (CMVN): out of scaler files, arrays, or statistics as Kaldi writes them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import memory
from ..errors import FormatError, LstmEdgeError
from ..files.npz import read_npy
from ..spectra.lowering import LEAST_VARIANCE
from .scaler_files import read_scaler

MOST_BYTES = 1 << 24
EXPECTED = (
    "a file of mean and std (.npz, .json, .joblib, MEAN.npy,STD.npy) or of Kaldi's statistics, a table of mean and std"
)


def read(given: Any, with_variance: bool, folder: Path | None) -> dict[str, list[float]]:
    """{"mean": ..., "std": ...}, of as many numbers as features. with_variance: whether Kaldi's statistics give more than the mean.
    folder: where files lie; None where none may be read. FormatError, UnsupportedModelError, OSError."""
    if isinstance(given, np.ndarray):
        return _checked(*_of_sums(given, with_variance))
    if isinstance(given, (str, os.PathLike)):
        if folder is None:
            raise FormatError(f"expected mean and std, found {os.fspath(given)!r}")
        return _of_file(os.fspath(given), with_variance, folder)
    if isinstance(given, Mapping) and set(given) == {"mean", "std"}:
        mean, std = (_numbers(given, key) for key in ("mean", "std"))
        if len(mean) != len(std):
            raise FormatError(f"expected as many numbers of std as of mean, found {len(std)} and {len(mean)}")
        return _checked(mean, np.where(std == 0, 1.0, std))
    if isinstance(given, Mapping) or (isinstance(given, tuple) and len(given) == 2) or hasattr(given, "get_params"):
        return _of_scaler(given)
    raise FormatError(f"expected {EXPECTED}, found {given!r:.60}")


def _numbers(given: Mapping[Any, Any], key: str) -> np.ndarray:
    try:
        return np.array(given[key], np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise FormatError(f"{key}: expected a list of numbers, found {given[key]!r:.60}") from None


def _of_file(path: str, with_variance: bool, folder: Path) -> dict[str, list[float]]:
    if "," in path and not (folder / path).exists():
        parts = tuple(str(folder / part.strip()) for part in path.split(","))
        return _of_scaler(parts)
    whole = folder / path
    if whole.stat().st_size > MOST_BYTES:
        raise FormatError(f"{whole.name}: expected at most {MOST_BYTES} bytes, found {whole.stat().st_size}")
    if whole.suffix.lower() in (".npz", ".json", ".joblib", ".pkl", ".pickle"):
        return _of_scaler(str(whole))
    memory.read(whole)
    data = whole.read_bytes()
    try:
        sums = read_npy(data, whole.name) if data.startswith(b"\x93NUMPY") else _kaldi_matrix(data)
        return _checked(*_of_sums(sums, with_variance))
    except LstmEdgeError as error:
        raise error.at(whole.name) from None


def _of_scaler(given: Any) -> dict[str, list[float]]:
    scaler, source = read_scaler(given)
    parts = scaler.steps
    if not parts:
        return {"mean": [0.0] * scaler.width, "std": [1.0] * scaler.width}
    if len(parts) > 1 or parts[0].clips or not scaler.keeps_columns:
        raise FormatError(
            f"{source}: expected a mean and a deviation for each feature, found {scaler.kind}, which does more"
        )
    part = parts[0]
    return _checked(part.centre - part.offset / part.factor, 1 / part.factor)


def _of_sums(sums: np.ndarray, with_variance: bool) -> tuple[np.ndarray, np.ndarray]:
    """Kaldi's: sums and how many frames, and, in a second row, sums of squares."""
    if sums.ndim != 2 or sums.shape[0] not in (1, 2) or sums.shape[1] < 2 or sums.dtype.kind != "f":
        raise FormatError(f"expected Kaldi's statistics, 2 rows of sums and a count, found shape {sums.shape}")
    if len(sums) == 1 and with_variance:
        raise FormatError(
            "expected sums of squares in a second row, found sums alone (cmvn_vars = false takes the mean alone)"
        )
    count = float(sums[0, -1])
    if not 1 <= count < np.inf:
        raise FormatError(f"expected a count of frames behind the sums, found {count:g}")
    mean = sums[0, :-1].astype(np.float64) / count
    if not with_variance:
        return mean, np.ones_like(mean)
    variance = sums[1, :-1] / count - mean**2
    return mean, np.sqrt(np.maximum(variance, LEAST_VARIANCE))


def _checked(mean: np.ndarray, std: np.ndarray) -> dict[str, list[float]]:
    for key, values in (("mean", mean), ("std", std)):
        if not values.size:
            raise FormatError(f"{key}: expected a number for each feature, found none")
        if not np.isfinite(values).all() or np.abs(values).max() > 1e30:
            raise FormatError(
                f"{key}: expected finite numbers of float32's range, found {values[~np.isfinite(values)][:3]}"
            )
    if not (np.abs(std) > 1e-30).all():
        raise FormatError("std: expected numbers above 0")
    return {"mean": mean.tolist(), "std": std.tolist()}


def _kaldi_matrix(data: bytes) -> np.ndarray:
    """One matrix of Kaldi, alone or the only one of an archive, in its binary form or as text."""
    at = data.find(b"\0B")
    if at >= 0:
        if (kind := data[at + 2 : at + 5]) not in (b"FM ", b"DM "):
            raise FormatError(f"expected a matrix of Kaldi, FM or DM, found {kind!r}")
        at += 5
        rows, columns = (int.from_bytes(data[p + 1 : p + 5], "little") for p in (at, at + 5))
        size, dtype = (4, "<f4") if kind == b"FM " else (8, "<f8")
        body = data[at + 10 : at + 10 + rows * columns * size]
        if data[at : at + 1] + data[at + 5 : at + 6] != b"\4\4" or len(body) != rows * columns * size:
            raise FormatError("expected a whole matrix of Kaldi, found one cut short")
        if data[at + 10 + len(body) :].find(b"\0B") >= 0:
            raise FormatError(
                "expected statistics of all speakers together, found several matrices (Kaldi's sum-matrices adds them)"
            )
        return np.frombuffer(body, dtype).reshape(rows, columns).astype(np.float64)
    found = re.findall(rb"\[([^\[\]]*)\]", data)
    if len(found) != 1:
        raise FormatError(
            f"expected {EXPECTED}, found {len(found) or 'no'} matrices" if found else f"expected {EXPECTED}"
        )
    try:
        return np.array(
            [[float(v) for v in line.split()] for line in found[0].split(b"\n") if line.strip()], np.float64
        )
    except ValueError:
        raise FormatError("expected rows of numbers between brackets") from None
