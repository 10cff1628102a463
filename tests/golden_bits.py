"""Real models in float32 and int8 with the answers and final states of this machine, for test_golden.py to compare with on another.

LSTM_EDGE_MODELS=... python tests/golden_bits.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from shared import ISAS

import lstm_edge

MOST_FRAMES, MOST_SEQUENCES = 60, 4


def answers(model: lstm_edge.Model, x: np.ndarray, streams: bool) -> dict[str, np.ndarray]:
    """Every output of a whole run and, where the model streams, of a stream in two chunks with the states it ends in."""
    found = {}
    y = model.run(x)
    outputs = y if isinstance(y, dict) else {model.outputs[0].name: y}
    found.update({f"output {k}": v for k, v in outputs.items()})
    if streams:
        stream = model.stream()
        stream.run(x[:7])
        y = stream.run(x[7:])
        found.update({f"stream {k}": v for k, v in (y if isinstance(y, dict) else {model.outputs[0].name: y}).items()})
        found.update({f"state {k}": v for k, v in stream.state.items()})
    return found


def make(folder: Path) -> None:
    import test_real_models as real  # needs the models and the importers' libraries; comparing needs neither

    folder.mkdir(parents=True, exist_ok=True)
    lstm_edge.convert(Path(__file__).parents[1] / "examples/digits/digits.keras", folder / "digits.lstm")
    for name, case in real.CASES.items():
        x, _ = case.prepare(np.load(real.ROOT / case.reference))
        if case.answers != "whole" and name != "dgad":  # no more than an emulator runs in a second
            x = x[:MOST_SEQUENCES] if case.frames_axis else x[:MOST_FRAMES]
        streams = case.answers == "frames" and case.frames_axis == 0
        lstm_edge.convert(real.ROOT / case.path, folder / f"{name}.lstm", **case.options)
        lstm_edge.quantize(folder / f"{name}.lstm", folder / f"{name}.int8.lstm", calibration=x, precision="int8")
        for kind in ("", ".int8"):
            found = {isa: answers(lstm_edge.load(folder / f"{name}{kind}.lstm", isa), x, streams) for isa in ISAS}
            if kind:
                for isa in ISAS:
                    for key, value in found[isa].items():
                        assert value.tobytes() == found[ISAS[0]][key].tobytes(), (
                            f"{name}: {isa} differs from {ISAS[0]} in {key}"
                        )
            np.savez_compressed(folder / f"{name}{kind}.npz", x=x, **found[ISAS[-1]])


if __name__ == "__main__":
    make(Path(sys.argv[1]))
