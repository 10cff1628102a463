"""LSTM 50 with relu, Dense 1, on windows (10, 1): the next value of a noisy sine from the ten before it.

Plain Keras, as textbooks write it: nothing here knows of lstm_edge. `python sine.py` trains and writes sine.keras.
"""

from __future__ import annotations

import sys

import keras
import numpy as np

WINDOW = 10


def data() -> tuple[np.ndarray, np.ndarray]:
    """Windows (1990, 10, 1) of a sine with a little noise, and the values (1990, 1) that follow them."""
    rng = np.random.default_rng(0)
    wave = np.sin(0.2 * np.arange(2000)) + 0.05 * rng.standard_normal(2000)
    windows = np.lib.stride_tricks.sliding_window_view(wave, WINDOW + 1).astype(np.float32)
    return windows[:, :WINDOW, None], windows[:, WINDOW:]


def build() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((WINDOW, 1)),
            keras.layers.LSTM(50, activation="relu"),
            keras.layers.Dense(1),
        ],
        name="sine",
    )
    model.compile(optimizer="adam", loss="mse")
    return model


def train(epochs: int = 6, examples: int | None = None) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """The trained network, and the last fifth of the windows in time, which training never saw."""
    x, y = (a[:examples] for a in data())
    split = len(x) * 4 // 5
    model = build()
    model.fit(x[:split], y[:split], epochs=epochs, batch_size=32, verbose=0)
    return model, x[split:], y[split:]


def score(y: np.ndarray, answer: np.ndarray) -> str:
    return f"root mean square error {np.sqrt(np.mean((y - answer) ** 2)):.3f}"


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    model, x, y = train()
    print(score(y, model.predict(x, verbose=0)))
    model.save("sine.keras")
