"""LSTM 64 - LSTM 32 - Dense 10: the ten next values of a wave of two periods from the thirty before them.

Plain Keras, as textbooks write it: nothing here knows of lstm_edge. `python stacked.py` trains and writes stacked.keras.
"""

from __future__ import annotations

import sys

import keras
import numpy as np

WINDOW, AHEAD = 30, 10


def data() -> tuple[np.ndarray, np.ndarray]:
    """Windows (1961, 30, 1) and the ten values (1961, 10) that follow each."""
    rng, t = np.random.default_rng(0), np.arange(2000)
    wave = np.sin(0.2 * t) + 0.5 * np.sin(0.47 * t) + 0.05 * rng.standard_normal(2000)
    windows = np.lib.stride_tricks.sliding_window_view(wave, WINDOW + AHEAD).astype(np.float32)
    return windows[:, :WINDOW, None], windows[:, WINDOW:]


def build() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((WINDOW, 1)),
            keras.layers.LSTM(64, return_sequences=True),
            keras.layers.LSTM(32),
            keras.layers.Dense(AHEAD),
        ],
        name="stacked",
    )
    model.compile(optimizer="adam", loss="mse")
    return model


def train(epochs: int = 8, examples: int | None = None) -> tuple[keras.Model, np.ndarray, np.ndarray]:
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
    model.save("stacked.keras")
