"""A stream that stops and goes on later, in another process or on another machine of the same ISA, with the same bits."""

import tempfile
from pathlib import Path

import numpy as np

import lstm_edge

DIGITS = Path(__file__).parent / "digits"

model = lstm_edge.convert(DIGITS / "digits.keras")  # needs the keras extra
rows = np.loadtxt(DIGITS / "seven.csv", delimiter=",", dtype=np.float32)

stream = model.stream()
for row in rows[:5]:
    stream.step(row)
with tempfile.TemporaryDirectory() as folder:
    saved = Path(folder) / "state.npz"
    np.savez(saved, **stream.state)  # a dictionary of arrays, by the names `lstm-edge info` shows

    later = model.stream()
    with np.load(saved) as archive:
        later.state = dict(archive)

for row in rows[5:]:
    expected, found = stream.step(row), later.step(row)
    assert np.array_equal(expected, found)
print(f"read as {found.argmax()} by both")
