"""Handwritten digits, read row by row: the page docs/classify-digits.md.

pip install scikit-learn matplotlib '.[train]'
python examples/tasks/digits.py             # a minute on one core
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch
from sklearn.datasets import load_digits

matplotlib.use("Agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parents[1]))

from page import machine, save, write_block

import lstm_edge as le
from lstm_edge.bench import bench
from lstm_edge.training import train

DOCS = Path(__file__).parents[2] / "docs"
HELD = 300  # images at the end, by other hands than most of those before


def by_rows(model: le.Model, image: np.ndarray) -> np.ndarray:
    """(8, 10), the probabilities after each row."""
    stream = model.stream()
    answers = [stream.step(row) for row in image]
    return np.array([answer["probabilities"] if isinstance(answer, dict) else answer for answer in answers])


def main() -> None:
    torch.set_num_threads(1)
    digits = load_digits()
    images, labels = digits.images.astype(np.float32), digits.target
    trained = train(
        (list(images[:-HELD]), list(labels[:-HELD])), task="classify", hidden=64, epochs=40, batch=32, rate=3e-3,
        schedule="cosine", validation=0.1, test=0.1,
    )  # fmt: skip
    print(trained.scores, *trained.notes, sep="\n")
    model = trained.export("digits.lstm")
    answers = np.stack([by_rows(model, image) for image in images[-HELD:]])
    right = (answers.argmax(-1) == labels[-HELD:, None]).mean(0)
    size = Path("digits.lstm").stat().st_size / 1000
    small, _ = le.quantize("digits.lstm", "digits-int8.lstm", calibration=images[:50], precision="int8")
    small_right = np.mean([by_rows(small, i)[-1].argmax() == n for i, n in zip(images[-HELD:], labels[-HELD:])])
    rows = [
        ["", "float32", "int8"],
        ["of 150 images drawn by chance, held out, read right", f"{trained.scores['accuracy']:.1%}", ""],
        [f"of the last {HELD} images, held out, read right", f"{right[-1]:.1%}", f"{small_right:.1%}"],
        ["file", f"{size:.0f} kB", f"{Path('digits-int8.lstm').stat().st_size / 1000:.0f} kB"],
        ["a row", f"{bench(model, runs=2000).median:.1f} µs", f"{bench(small, runs=2000).median:.1f} µs"],
    ]
    write_block(DOCS / "classify-digits.md", "scores", rows, machine())
    print(rows, right)
    picture(images[-HELD:], labels[-HELD:], answers, right)


def picture(images: np.ndarray, labels: np.ndarray, answers: np.ndarray, right: np.ndarray) -> None:
    """What a stream thinks of an image after each row; and how many are right by then."""
    figure, axes = plt.subplots(1, 4, figsize=(13, 3), width_ratios=(1, 2, 1, 2), layout="constrained")
    for n, (image, thoughts) in zip((1, 2), axes[:2].reshape(1, 2)):
        image.imshow(images[n], cmap="gray_r")
        image.set(xticks=[], yticks=range(8), title=f"a {labels[n]}", ylabel="row")
        thoughts.imshow(answers[n], vmin=0, vmax=1, aspect="auto")
        thoughts.set(xticks=range(10), yticks=range(8), title="probabilities after each row", xlabel="digit")
    shown = axes[2]
    wrong = np.flatnonzero(answers[:, -1].argmax(-1) != labels)
    n = int(wrong[0]) if len(wrong) else 0
    shown.imshow(images[n], cmap="gray_r")
    shown.set(xticks=[], yticks=[], title=f"a {labels[n]}, read as {answers[n, -1].argmax()}")
    axes[3].plot(range(1, 9), right, marker="o")
    axes[3].set(xlabel="rows seen", ylim=(0, 1), title="share read right")
    save(figure, DOCS / "pictures" / "classify-digits.png")


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    main()
