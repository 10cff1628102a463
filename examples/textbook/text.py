"""LSTM 128 - Dense softmax: the next character of a text from the forty before it.

The text is a chapter of Python's own reference, which every Python brings along (pydoc_data).
Plain Keras, as textbooks write it: nothing here knows of lstm_edge. `python text.py` trains and writes text.keras.
"""

from __future__ import annotations

import re
import sys
from pydoc_data.topics import topics

import keras
import numpy as np

WINDOW = 40
ALPHABET = " abcdefghijklmnopqrstuvwxyz.,"


def text() -> str:
    """Twelve thousand characters of the chapter on classes, without what is no letter, full stop or comma."""
    return re.sub(r"[^a-z.,]+", " ", topics["specialnames"].lower())[:12000]


def one_hot(characters: str) -> np.ndarray:
    """(length, 29)"""
    return np.eye(len(ALPHABET), dtype=np.float32)[[ALPHABET.index(c) for c in characters]]


def data() -> tuple[np.ndarray, np.ndarray]:
    """Windows (2990, 40, 29), one begun at every fourth character, and the numbers (2990,) of the characters that follow."""
    letters = one_hot(text())
    starts = np.arange(0, len(letters) - WINDOW, 4)
    return letters[starts[:, None] + np.arange(WINDOW)], letters[starts + WINDOW].argmax(axis=1)


def build() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((WINDOW, len(ALPHABET))),
            keras.layers.LSTM(128),
            keras.layers.Dense(len(ALPHABET), activation="softmax"),
        ],
        name="text",
    )
    model.compile(optimizer=keras.optimizers.Adam(0.005), loss="sparse_categorical_crossentropy")
    return model


def train(epochs: int = 8, examples: int | None = None) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """The trained network, and the windows of the text's last tenth, which training never saw."""
    x, y = (a[:examples] for a in data())
    split = len(x) * 9 // 10
    model = build()
    model.fit(x[:split], y[:split], epochs=epochs, batch_size=64, verbose=0)
    return model, x[split:], y[split:]


def score(y: np.ndarray, answer: np.ndarray) -> str:
    return f"{np.mean(answer.argmax(axis=1) == y):.1%} of the characters guessed"


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    model, x, y = train()
    print(score(y, model.predict(x, verbose=0)))
    model.save("text.keras")
