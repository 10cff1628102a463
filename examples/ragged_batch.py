"""Sequences of different lengths in one call: each gets the bits it would get alone."""

from pathlib import Path

import numpy as np

import lstm_edge

DIGITS = Path(__file__).parent / "digits"

model = lstm_edge.convert(DIGITS / "digits.keras")  # no file written; needs the keras extra
with np.load(DIGITS / "test.npz") as archive:
    images, labels = archive["images"][:4].astype(np.float32) / 16, archive["labels"][:4]

lengths = [8, 7, 8, 5]  # rows of each image that have arrived; what lies beyond is not read
together = model.run(images, lengths=lengths)
for image, label, length, answer in zip(images, labels, lengths, together):
    alone = model.run(image[:length])
    assert np.array_equal(answer, alone)
    print(f"{length} rows of a {label}: read as {answer.argmax()}, probability {answer.max():.3f}")
