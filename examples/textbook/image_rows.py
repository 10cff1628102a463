"""LSTM 128 - Dropout - LSTM 64 - Dropout - Dense 10 on the rows of images: scikit-learn's handwritten digits.

Plain Keras, as textbooks write it: nothing here knows of lstm_edge. `python image_rows.py` trains and writes image_rows.keras.
"""

from __future__ import annotations

import sys

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def data() -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 8, 8) from 0 to 1, a row a frame, and their digits (1797,)."""
    digits = load_digits()
    return (digits.images / 16).astype(np.float32), digits.target


def build() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            keras.layers.LSTM(128, return_sequences=True),
            keras.layers.Dropout(0.2),
            keras.layers.LSTM(64),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10, activation="softmax"),
        ],
        name="image_rows",
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    return model


def train(epochs: int = 30, examples: int | None = None) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """The trained network, and a fifth of the images, drawn by chance, which training never saw."""
    x, y = (a[:examples] for a in data())
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=0)
    model = build()
    model.fit(x_train, y_train, epochs=epochs, batch_size=32, verbose=0)
    return model, x_test, y_test


def score(y: np.ndarray, answer: np.ndarray) -> str:
    return f"{np.mean(answer.argmax(axis=1) == y):.1%} of the digits right"


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    model, x, y = train()
    print(score(y, model.predict(x, verbose=0)))
    model.save("image_rows.keras")
