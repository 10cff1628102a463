"""What `make demo` runs: a trained Keras model becomes one file, proves itself, and reads digits it has never seen.

Needs the package with the keras extra (h5py); no Keras, no TensorFlow.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import lstm_edge
from lstm_edge.bench import Timing, bench

FOLDER = Path(__file__).parents[1] / "examples" / "digits"
SHOWN = 8
MAX_PIXEL = 16.0


def main() -> None:
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "digits.lstm")
        lstm_edge.convert(str(FOLDER / "digits.keras"), path)
        console.print(f"converted examples/digits/digits.keras: {os.path.getsize(path):,} bytes")
        report = lstm_edge.verify(path)
        for name, error in report.errors.items():
            console.print(f"verified against {report.source}: {name} differs by at most {error:.2g}", markup=False)
        if not report.passed:
            raise SystemExit(f"error: expected a difference of at most {report.tolerance:g}")
        model = lstm_edge.load(path)
    with np.load(FOLDER / "test.npz") as archive:
        images, labels = archive["images"].astype(np.float32) / MAX_PIXEL, archive["labels"]
    probabilities = model.run(images)
    console.print(answers_table(images, labels, probabilities))
    console.print(latency_table(model, float((probabilities.argmax(-1) == labels).mean()), len(labels)))


def picture(image: np.ndarray) -> str:
    """8 rows of 8 pixels as text, two rows a line."""
    shades = " ░▒▓█"
    rows = image.reshape(4, 2, 8).mean(axis=1)
    return "\n".join("".join(shades[min(int(p * 5), 4)] for p in row) for row in rows)


def answers_table(images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> Table:
    table = Table(
        "image", "is", "read as", "probability", title=f"{SHOWN} of {len(images)} images held out of training"
    )
    for image, label, answer in zip(images[:SHOWN], labels, probabilities):
        digit = int(answer.argmax())
        style = "" if digit == label else "red"
        table.add_row(picture(image), str(label), f"{digit}", f"{answer[digit]:.4f}", style=style, end_section=True)
    return table


def latency_table(model: lstm_edge.Model, accuracy: float, count: int) -> Table:
    table = Table("what", "result", title=f"LSTM128 - LSTM64 - Dense10 on {model.isa} kernels, one thread, float32")
    table.add_row(f"accuracy on {count} images never seen", f"{accuracy:.2%}")
    step, sequence = bench(model, mode="step"), bench(model, mode="sequence", frames=8)
    table.add_row("one row (step), microseconds", timing_text(step))
    table.add_row("one image of 8 rows (run), microseconds", timing_text(sequence))
    return table


def timing_text(timing: Timing) -> str:
    return f"median {timing.median:.1f}, p99 {timing.p99:.1f}, min {timing.min:.1f}"


if __name__ == "__main__":
    main()
