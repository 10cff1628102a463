"""A pulse at the wrist, and what in it is no pulse: the page docs/anomaly-pulse.md.

pip install heartpy matplotlib '.[train]'
python examples/tasks/pulse.py              # a minute on one core
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parents[1]))

from page import save, write_block

from lstm_edge.training import train

DOCS = Path(__file__).parents[2] / "docs"
EVERY = 3  # of about 117 samples a second one is kept
BEAT = 26  # frames, about
TEST = 0.35  # share of the recording at its end that is held out
CLIPPED = (5, 970)  # values at which the sensor has lost the pulse


def recording() -> np.ndarray:
    """(frames,) of heartpy's third example, without its first minutes, in which the sensor is clipped at every beat."""
    package = find_spec("heartpy")  # not imported: its data alone are needed
    if package is None or not package.submodule_search_locations:
        raise SystemExit("the data come with heartpy: pip install heartpy")
    table = pd.read_csv(Path(package.submodule_search_locations[0]) / "data" / "data3.csv")
    return table["hr"].to_numpy(np.float32)[24600:50000:EVERY]


def marked(pulse: np.ndarray) -> np.ndarray:
    """1 within two beats of a clipped value: what the recording itself shows to be no pulse. Training leaves it out."""
    clipped = (pulse <= CLIPPED[0]) | (pulse >= CLIPPED[1])
    return np.convolve(clipped, np.ones(4 * BEAT + 1), "same") > 0


def plant(pulse: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray, list[tuple[int, str]]]:
    """The recording with twelve faults planted after frame `first`, where they are, and the first frame and kind of each."""
    pulse, where, planted = pulse.copy(), np.zeros(len(pulse), bool), []
    rng = np.random.default_rng(1)
    kinds = ("missing beat", "loose sensor", "early beat")
    for n, at in enumerate(np.linspace(first + 4 * BEAT, len(pulse) - 4 * BEAT, 12).astype(int)):
        kind, span = kinds[n % 3], slice(at, at + BEAT)
        if kind == "missing beat":
            pulse[span] = np.linspace(pulse[at], pulse[at + BEAT], BEAT)
        elif kind == "loose sensor":
            pulse[span] += 60 * rng.standard_normal(BEAT).astype(np.float32)
        else:  # a beat and a half in the time of one
            places = np.linspace(at, at + 1.5 * BEAT, BEAT)
            pulse[span] = np.interp(places, np.arange(len(pulse)), pulse)
        where[span] = True
        planted.append((at, kind))
    return pulse, where, planted


def main() -> None:
    torch.set_num_threads(1)
    pulse = recording()
    first = round((1 - TEST) * len(pulse))
    pulse, where, planted = plant(pulse, first)
    table = pd.DataFrame({"pulse": pulse, "fault": (marked(pulse) | where).astype(int)})
    trained = train(
        table, task="anomaly", label="fault", inputs="pulse", window=128, settle=32, hidden=32, epochs=60, batch=8,
        rate=3e-3, schedule="cosine", validation=0.15, test=TEST, quantile=0.999,
    )  # fmt: skip
    print(trained.scores, *trained.notes, sep="\n")
    model = trained.export("pulse.lstm")
    stream = model.stream()
    answers = [stream.step(np.array([value])) for value in pulse]  # as a device does, frame by frame
    score, alarm = (np.array([answer[name] for answer in answers]) for name in ("score", "anomaly"))
    with torch.no_grad():
        theirs = trained.module(torch.from_numpy(pulse)[None, :, None])["score"][0].numpy()
    difference = np.abs(score - theirs).max() / score.max()
    rows = [["fault", "planted", "found", "frames until the alarm"]]
    for kind in dict.fromkeys(kind for _, kind in planted):
        late = [np.flatnonzero(alarm[at : at + 2 * BEAT]) for at, of in planted if of == kind]
        found = [int(frames[0]) for frames in late if len(frames)]
        rows.append([kind, str(len(late)), str(len(found)), ", ".join(map(str, found))])
    write_block(DOCS / "anomaly-pulse.md", "faults", rows)
    usual = ~(marked(pulse) | np.convolve(where, np.ones(2 * BEAT + 1), "same").astype(bool))
    usual[:first] = False
    alarms = int(np.diff(alarm[usual].astype(int), prepend=0).clip(0).sum())
    seconds = usual.sum() * EVERY / 117
    said = [
        ["on the held-out part", ""],
        ["threshold (learnt, in the file)", f"{trained.scores['threshold']:.2f}"],
        ["area under ROC, frame by frame", f"{trained.scores['area under ROC']:.3f}"],
        ["usual frames above the threshold", f"{alarm[usual].mean():.2%}, {alarms} times in {seconds:.0f} s"],
        ["largest difference from torch, of the largest score", f"{difference:.1e}"],
    ]
    write_block(DOCS / "anomaly-pulse.md", "scores", said)
    print(rows, said)
    picture(pulse, score, alarm, planted, marked(pulse), trained.scores["threshold"])


def picture(
    pulse: np.ndarray,
    score: np.ndarray,
    alarm: np.ndarray,
    planted: list[tuple[int, str]],
    own: np.ndarray,
    threshold: float,
) -> None:
    """Above a stretch with the recording's own faults, below the first planted ones; each with its score."""
    figure, axes = plt.subplots(4, 1, figsize=(13, 5.5), height_ratios=(2, 1, 2, 1), layout="constrained")
    worst = int(np.flatnonzero(own)[0])
    for (signal, below), start in zip(axes.reshape(2, 2), (worst - 150, planted[0][0] - 60)):
        shown = np.arange(max(start, 0), max(start, 0) + 520)
        signal.plot(shown, pulse[shown], color="0.4", lw=0.8)
        for begin in shown[alarm[shown].astype(bool)]:
            signal.axvspan(begin - 0.5, begin + 0.5, color="C3", alpha=0.25, lw=0)
        for at, kind in planted:
            if shown[0] <= at <= shown[-1]:
                signal.text(at, pulse[shown].max(), kind, fontsize=8, color="C0")
        below.plot(shown, score[shown], lw=0.8)
        below.axhline(threshold, color="C3", lw=0.8)
        below.set_ylabel("score", fontsize=8)
        for axis in (signal, below):
            axis.set_xlim(shown[0], shown[-1])
    save(figure, DOCS / "pictures" / "anomaly-pulse.png")


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    main()
