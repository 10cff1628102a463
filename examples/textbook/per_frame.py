"""LSTM 50 with an answer per frame, Dense 1, on (20, 10): a slow average over ten random series.

What is to be learnt: y[t] = 0.8 y[t-1] + 0.2 (mean of the ten series at t), which asks for a memory of about five frames.
Plain Keras, as textbooks write it: nothing here knows of lstm_edge. `python per_frame.py` trains and writes per_frame.keras.
"""

from __future__ import annotations

import sys

import keras
import numpy as np

FRAMES, SERIES = 20, 10


def data() -> tuple[np.ndarray, np.ndarray]:
    """Random series (1500, 20, 10), and their slow averages (1500, 20, 1), in units of the series' own spread."""
    x = np.random.default_rng(0).standard_normal((1500, FRAMES, SERIES)).astype(np.float32)
    y, before = np.empty((len(x), FRAMES, 1), np.float32), np.zeros(len(x), np.float32)
    for t in range(FRAMES):
        before = 0.8 * before + 0.2 * x[:, t].mean(axis=1) * SERIES**0.5
        y[:, t, 0] = before
    return x, y


def build(time_distributed: bool = True) -> keras.Model:
    """Dense on its own does the same: both spellings are in use, and both convert to the same file."""
    dense = keras.layers.Dense(1)
    model = keras.Sequential(
        [
            keras.Input((FRAMES, SERIES)),
            keras.layers.LSTM(50, return_sequences=True),
            keras.layers.TimeDistributed(dense) if time_distributed else dense,
        ],
        name="per_frame",
    )
    model.compile(optimizer="adam", loss="mse")
    return model


def train(epochs: int = 10, examples: int | None = None) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """The trained network, and a fifth of the series, which training never saw."""
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
    model.save("per_frame.keras")
