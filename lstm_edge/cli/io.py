"""What the commands share: consoles, and arrays from and to .npy, .npz, .csv and .wav files."""

from __future__ import annotations

import json
import math
import os
import struct
import sys
import wave
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from ..errors import FormatError, ShapeError

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


def out_console() -> Console:
    """Results: as wide as the terminal, and wide enough for any table where stdout is none."""
    return Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 160)


def err_console() -> Console:
    return Console(stderr=True, highlight=False)


def error_line(message: str) -> None:
    """One red line on stderr; what is no single line becomes one."""
    err_console().print(Text("error: " + " ".join(message.split()), style="red"), soft_wrap=True)


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


# ---- reading --------------------------------------------------------------------------------------------------------


def read_inputs(model: Any, paths: tuple[str, ...]) -> tuple[list[np.ndarray], int]:
    """Arrays for Model.run from one file per input, or from one .npz that holds them by name; and the sample rate.

    .npy arrays are taken as they are. .csv rows and .wav samples are cut into frames by the shape of the model's input.
    The rate is 0 when no .wav was read.
    """
    ports = model.inputs
    if len(paths) == 1 and _suffix(paths[0]) == ".npz":
        with np.load(paths[0], allow_pickle=False) as archive:
            missing = [p.name for p in ports if p.name not in archive]
            if missing:
                raise ShapeError(f"{paths[0]}: expected arrays {[p.name for p in ports]}, found {list(archive)}")
            return [archive[p.name] for p in ports], 0
    if len(paths) != len(ports):
        raise ShapeError(f"expected {len(ports)} input files, for {[p.name for p in ports]}, found {len(paths)}")
    rate, arrays = 0, []
    for port, path in zip(ports, paths):
        array, found = _read_input(path, port, model.is_step_model)
        arrays.append(array)
        rate = found or rate
    return arrays, rate


def _read_input(path: str, port: Any, step_model: bool) -> tuple[np.ndarray, int]:
    suffix = _suffix(path)
    if suffix == ".npy":
        try:
            return np.load(path, allow_pickle=False), 0
        except ValueError as exc:
            raise FormatError(f"{path}: expected a .npy array, found {exc}") from exc
    if suffix == ".csv":
        return frames_of_rows(read_csv(path), port, step_model, path), 0
    if suffix == ".wav":
        samples, rate = read_wav(path)
        if samples.shape[1] != 1:
            raise ShapeError(f"{path}: expected one channel, found {samples.shape[1]}; mix it down first")
        return frames_of_samples(samples[:, 0], port, step_model, path), rate
    raise FormatError(f"{path}: expected a .npy, .npz, .csv or .wav file, found {suffix or 'no suffix'}")


def read_csv(path: str) -> np.ndarray:
    """The numbers of a comma-separated file, float64 (rows, columns); a first line that is no numbers is a header."""
    with open(path, encoding="utf-8-sig") as file:
        lines = [line for line in file.read().splitlines() if line.strip()]
    if lines and not _is_numbers(lines[0]):
        lines = lines[1:]
    rows = []
    for n, line in enumerate(lines):
        if not _is_numbers(line):
            raise FormatError(f"{path}: row {n + 1}: expected numbers separated by commas, found {line[:60]!r}")
        rows.append([float(cell) for cell in line.split(",")])
        if len(rows[-1]) != len(rows[0]):
            raise FormatError(f"{path}: row {n + 1}: expected {len(rows[0])} columns, found {len(rows[-1])}")
    if not rows:
        raise FormatError(f"{path}: expected rows of numbers, found none")
    return np.array(rows)


def _is_numbers(line: str) -> bool:
    try:
        return bool([float(cell) for cell in line.split(",")])
    except ValueError:
        return False


def read_wav(path: str) -> tuple[np.ndarray, int]:
    """Samples (n, channels) float32 in [-1, 1), and the rate. PCM of 8, 16, 24 and 32 bits, float of 32 and 64."""
    with open(path, "rb") as file:
        content = file.read()
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise FormatError(f"{path}: expected a RIFF WAVE file, found {content[:12]!r}")
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(content):
        kind, size = content[at : at + 4], struct.unpack_from("<I", content, at + 4)[0]
        chunks.setdefault(kind, content[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    if len(chunks.get(b"fmt ", b"")) < 16 or b"data" not in chunks:
        raise FormatError(f"{path}: expected chunks 'fmt ' and 'data', found {[k.decode('latin-1') for k in chunks]}")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunks[b"fmt "])
    if tag == EXTENSIBLE and len(chunks[b"fmt "]) >= 26:
        tag = struct.unpack_from("<H", chunks[b"fmt "], 24)[0]
    samples = _samples(path, chunks[b"data"], tag, bits)
    if not channels:
        raise FormatError(f"{path}: expected at least one channel, found 0")
    return samples[: len(samples) // channels * channels].reshape(-1, channels), rate


def _samples(path: str, data: bytes, tag: int, bits: int) -> np.ndarray:
    width = bits // 8
    data = data[: len(data) // width * width] if width else b""
    if tag == PCM and bits == 24:
        low = np.frombuffer(data, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(low), 4), np.uint8)
        wide[:, 1:] = low
        return (wide.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
    if tag == PCM and bits in (16, 32):
        return (np.frombuffer(data, f"<i{width}") / 2.0 ** (bits - 1)).astype(np.float32)
    if tag == PCM and bits == 8:
        return ((np.frombuffer(data, np.uint8) - 128.0) / 128.0).astype(np.float32)
    if tag == FLOAT and bits in (32, 64):
        return np.frombuffer(data, f"<f{width}").astype(np.float32)
    raise FormatError(
        f"{path}: expected PCM of 8, 16, 24 or 32 bits or float of 32 or 64, found format {tag} of {bits} bits"
    )


def frames_axis(shape: tuple[int | str, ...]) -> int:
    return next((d for d, size in enumerate(shape) if isinstance(size, str) and "frames" in size), -1)


def _without_batch(port: Any) -> list[int | str]:
    """The input's shape for one sequence: no batch axis, nor a leading axis fixed at 1 that stands for it."""
    shape = list(port.shape)
    axes = [d for d, size in enumerate(shape) if isinstance(size, str) and "batch" in size]
    if not axes and len(shape) > 1 and shape[0] == 1:
        axes = [0]
    if axes:
        del shape[axes[0]]
    return shape


def frames_of_rows(rows: np.ndarray, port: Any, step_model: bool, place: str) -> np.ndarray:
    """Rows (n, columns) as the model's input: a row is a frame; where the model has no frames, rows fill its input."""
    shape = _without_batch(port)
    time = frames_axis(tuple(shape))
    if step_model or time >= 0:
        frame = [int(s) for d, s in enumerate(shape) if d != time]
        if time >= 0 and shape[time] != "frames":  # k values of the axis are one frame
            frame.insert(time, int(str(shape[time]).split("*")[0]))
        if math.prod(frame) != rows.shape[1]:
            raise ShapeError(
                f"{place}: expected {math.prod(frame)} columns, the values of one frame, found {rows.shape[1]}"
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
    if port.dtype == "int32" and np.array_equal(array, np.trunc(array)):
        return np.ascontiguousarray(array, np.int32)
    return np.ascontiguousarray(array, np.float32 if port.dtype != "bool" else np.bool_)


def frames_of_samples(samples: np.ndarray, port: Any, step_model: bool, place: str) -> np.ndarray:
    """Audio samples (n,) cut by the model's frame width; the last frame is filled up with zeros."""
    shape = _without_batch(port)
    time = frames_axis(tuple(shape))
    if not step_model and time < 0:
        raise ShapeError(
            f"{place}: expected a model with frames to run audio, found input {port.name!r} of shape {port.shape}"
        )
    width = math.prod(int(str(s).split("*")[0]) if s != "frames" else 1 for s in shape)
    if not len(samples):
        raise ShapeError(f"{place}: expected samples, found none")
    padded = np.pad(samples, (0, -len(samples) % width))
    return frames_of_rows(padded.reshape(-1, width), port, step_model, place)


# ---- writing --------------------------------------------------------------------------------------------------------


def write_output(path: str, outputs: dict[str, np.ndarray], rate: int, place: str = "output") -> None:
    """Writes one array as .npy, .csv or .wav, or all of them as .npz. `-` is CSV on stdout."""
    suffix = ".csv" if path == "-" else _suffix(path)
    if suffix == ".npz":
        np.savez(path, **outputs)  # type: ignore[arg-type]
        return
    if len(outputs) != 1:
        found = f"{len(outputs)} outputs {list(outputs)} for {path!r}"
        raise ShapeError(f"{place}: expected a .npz file or --select NAME, found {found}")
    array = next(iter(outputs.values()))
    if suffix == ".npy":
        np.save(path, array)
    elif suffix == ".csv":
        write_csv(sys.stdout if path == "-" else path, array)
    elif suffix == ".wav":
        write_wav(path, array, rate)
    else:
        raise FormatError(f"{path}: expected a .npy, .npz, .csv or .wav file to write, found {suffix or 'no suffix'}")


def write_csv(target: Any, array: np.ndarray) -> None:
    """One row per entry of the first axis, 9 significant digits: float32 reads back bit for bit."""
    table = array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1)
    np.savetxt(target, table, fmt="%.9g" if array.dtype.kind == "f" else "%d", delimiter=",")


def write_wav(path: str, array: np.ndarray, rate: int) -> None:
    """Samples in order, 16 bits, clipped to [-1, 1)."""
    if not rate:
        raise ShapeError(f"{path}: expected a .wav input, whose rate a .wav output takes, found none")
    samples = np.clip(np.rint(array.reshape(-1) * 32768.0), -32768, 32767).astype("<i2")
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()
