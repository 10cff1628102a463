"""Packed weights as the scalar table holds them, brought back to rows; numbers as C writes them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

PANEL_TILES, I8_PANEL_TILES, STRIP = 12, 8, 16


def _panels(tiles: int, largest: int) -> list[int]:
    """Widths of the panels, as kernels/panels.inc shares them."""
    count = -(-tiles // largest)
    return [tiles // count + (i < tiles % count) for i in range(count)]


def float_rows(data: np.ndarray, n: int, k: int, lanes: int) -> np.ndarray:
    """(n, k) of a float32 weight packed in tiles of `lanes` rows."""
    rows, at = [], 0
    for width in _panels(-(-n // lanes), PANEL_TILES):
        size = k * width * lanes
        rows.append(data[at : at + size].reshape(k, width * lanes).T)
        at += size
    return np.concatenate(rows)[:n]


def int8_rows(data: np.ndarray, n: int, k: int, lanes: int) -> tuple[np.ndarray, np.ndarray]:
    """Scales and (n, k rounded up to 4) of an int8 weight; data: its bytes."""
    tiles, groups = -(-n // lanes), -(-k // 4)
    scale = data[: n * 4].view(np.float32)
    at = (tiles * lanes * 8 + 63) // 64 * 64
    rows = []
    for width in _panels(tiles, I8_PANEL_TILES):
        size = groups * width * lanes * 4
        part = data[at : at + size].view(np.int8).reshape(groups, width * lanes, 4)
        rows.append(part.transpose(1, 0, 2).reshape(width * lanes, groups * 4))
        at += size
    return scale, np.concatenate(rows)[:n]


def sparse_rows(data: np.ndarray, n: int, k: int, int8: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scales (of int8) and all rows of a weight that lies as kernels/sparse.h says."""
    strips, columns = -(-n // STRIP), 4 if int8 else 1
    first = data[: (strips + 1) * 4].view(np.uint32)
    blocks, padded = int(first[-1]), strips * STRIP * 4 if int8 else 0
    scale_at = (strips * 4 + 4 + 63) // 64 * 64
    column_at = scale_at + 2 * padded
    column = data[column_at : column_at + 2 * blocks].view(np.uint16)
    at = column_at + (2 * blocks + 63) // 64 * 64
    kind = np.int8 if int8 else np.float32
    held = data[at : at + blocks * STRIP * columns * np.dtype(kind).itemsize].view(kind).reshape(blocks, STRIP, columns)
    rows = np.zeros((strips * STRIP, -(-k // columns) * columns), kind)
    for strip in range(strips):
        for b in range(int(first[strip]), int(first[strip + 1])):
            rows[strip * STRIP : (strip + 1) * STRIP, column[b] : column[b] + columns] = held[b]
    return data[scale_at : scale_at + padded].view(np.float32)[:n], rows[:n]


def numbers(values: Iterable[object]) -> str:
    """Values in lines of C, exact to the bit."""
    words = [number(v) for v in values]
    return "\n".join("    " + ", ".join(words[i : i + 10]) + "," for i in range(0, len(words), 10))


def number(value: object) -> str:
    if not isinstance(value, (float, np.floating)):
        return str(int(value))  # type: ignore[call-overload]
    if not np.isfinite(value):
        return "NAN" if np.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"
    text = repr(float(np.float32(value))) if isinstance(value, float) else str(value)
    return (text if "." in text or "e" in text else text + ".0") + "f"
