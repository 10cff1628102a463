"""Trains the five networks, converts them, measures both, and writes the table and the picture of docs/textbook.md.

python examples/textbook/report.py          # eight minutes on one core; needs keras, scikit-learn and matplotlib
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import sys
import tempfile
from pathlib import Path

import keras
import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parents[1]))

import image_rows
import per_frame
import sine
import stacked
import text
from page import machine, save, write_block

import lstm_edge as le
from lstm_edge.bench import bench

DOCS = Path(__file__).parents[2] / "docs"
NETWORKS = {
    "sine.py": ("LSTM 50 relu, Dense 1", "(10, 1)", sine),
    "stacked.py": ("LSTM 64, LSTM 32, Dense 10", "(30, 1)", stacked),
    "per_frame.py": ("LSTM 50 per frame, Dense 1", "(20, 10)", per_frame),
    "image_rows.py": ("LSTM 128, Dropout, LSTM 64, Dropout, Dense 10", "(8, 8)", image_rows),
    "text.py": ("LSTM 128, Dense softmax", "(40, 29)", text),
}


def streamed(model: le.Model, window: np.ndarray) -> np.ndarray:
    """What a stream answers to a window's frames, one by one: every answer where the network has one a frame, else the last."""
    stream = model.stream()
    answers = np.stack([stream.step(frame) for frame in window])
    return answers if model.run(window[None]).ndim == 3 else answers[-1]


def measured(script: str, file: Path) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """A row of the table; and what a network was asked, what was right, and what lstm_edge answered."""
    words, shape, module = NETWORKS[script]
    keras.utils.set_random_seed(0)
    trained, x, y = module.train()
    trained.save(file)
    model = le.convert(file, file.with_suffix(".lstm"))
    theirs = keras.models.load_model(file).predict(x, verbose=0)
    ours = model.run(x)
    for window, answer in zip(x[:20], ours):
        assert np.array_equal(streamed(model, window), answer), f"{script}: a stream and a run differ"
    kb = file.with_suffix(".lstm").stat().st_size / 1000
    score = module.score(y, ours)
    assert score == module.score(y, theirs), f"{script}: Keras and lstm_edge score apart"
    difference = float(np.abs(ours - theirs).max())
    row = [f"[{script}](../examples/textbook/{script})", words, shape, score, f"{difference:.1e}", f"{kb:.0f} kB"]
    return [*row, f"{bench(model, runs=2000).median:.1f} µs"], x, y, ours


def picture(answers: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], path: Path) -> None:
    """One answer of each network, beside what it was asked."""
    figure, axes = plt.subplots(1, 5, figsize=(15, 2.6), layout="constrained")
    for axis, (script, (x, y, ours)) in zip(axes, answers.items()):
        axis.set_title(script, fontsize=10)
        if script == "sine.py":
            axis.plot(y[:100], color="0.7", lw=3, label="series")
            axis.plot(ours[:100], lw=1, label="foretold one value before")
        elif script == "stacked.py":
            window = x.shape[1]
            axis.plot(np.arange(window), x[50, :, 0], color="0.5", label="seen")
            axis.plot(window + np.arange(10), y[50], color="0.7", lw=3, label="what followed")
            axis.plot(window + np.arange(10), ours[50], label="foretold")
        elif script == "per_frame.py":
            axis.plot(y[0, :, 0], color="0.7", lw=3, label="average")
            axis.plot(ours[0, :, 0], label="answer of each frame")
        elif script == "image_rows.py":
            axis.imshow(np.concatenate(x[:5], axis=1), cmap="gray_r")
            axis.set_xlabel("read as " + "  ".join(str(n) for n in ours[:5].argmax(axis=1)))
            axis.set(xticks=[], yticks=[])
            continue
        else:
            likely = np.argsort(ours[3])[::-1][:8]
            axis.bar([text.ALPHABET[n].replace(" ", "space") for n in likely], ours[3][likely])
            asked = "".join(text.ALPHABET[n] for n in x[3].argmax(axis=1))
            axis.set_xlabel(f"after '{asked[-22:]}'", fontsize=8)
            continue
        axis.legend(fontsize=7)
    save(figure, path)


def main() -> None:
    rows, answers = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for script in NETWORKS:
            row, *answers[script] = measured(script, Path(folder) / f"{Path(script).stem}.keras")
            print(*row, sep=" | ", flush=True)
            rows.append(row)
    head = ["script", "network", "frames, values", "on what training never saw", "largest difference", "file", "a step"]
    picture(answers, DOCS / "pictures" / "textbook.png")
    write_block(DOCS / "textbook.md", "table", [head, *rows], machine())


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    main()
