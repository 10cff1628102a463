"""Numbers in words, from words to figures, letter by letter: the page docs/seq2seq-numbers.md.

pip install matplotlib '.[train]'
python examples/tasks/numbers_in_words.py   # three minutes on one core
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parents[1]))

from page import machine, microseconds, save, write_block

from lstm_edge.decoding import Translator
from lstm_edge.training import train

DOCS = Path(__file__).parents[2] / "docs"
ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
HELD = 300


def words(n: int) -> str:
    """n from 0 to 9999: 4206 -> "four thousand two hundred and six"."""
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if n >= size:
            rest = n % size
            joint = " and " if 0 < rest < 100 else " "
            return f"{words(n // size)} {name}" + (f"{joint}{words(rest)}" if rest else "")
    if n < 20:
        return ONES[n]
    return TENS[n // 10 - 2] + (f"-{ONES[n % 10]}" if n % 10 else "")


def main() -> None:
    torch.set_num_threads(1)
    order = np.random.default_rng(0).permutation(10_000)
    held, known = order[:HELD], order[HELD:5000]
    pairs = [(words(int(n)), str(n)) for n in known]
    trained = train(
        pairs, task="seq2seq", source_unit="token", hidden=64, embedding=16, epochs=20, batch=64, rate=5e-3,
        schedule="cosine", validation=0.05, test=0.05,
    )  # fmt: skip
    print(trained.scores, *trained.notes, sep="\n")
    trained.export("numbers.lstm")
    translator = Translator.load("numbers.lstm")
    asked = [(words(int(n)), str(n)) for n in held]
    greedy = np.mean([translator(text) == right for text, right in asked])
    beams = [translator.beam(text, width=4) for text, _ in asked]
    beam = np.mean([found[0][0] == right for found, (_, right) in zip(beams, asked)])
    time = microseconds(lambda: translator(asked[0][0]), 100)
    size = sum(Path(f"numbers.{part}.lstm").stat().st_size for part in ("encoder", "decoder")) / 1000
    rows = [
        [f"of {HELD} numbers that training never saw", ""],
        ["right, the likeliest letter each time", f"{greedy:.1%}"],
        ["right, a beam of four", f"{beam:.1%}"],
        ["both files", f"{size:.0f} kB"],
        ["a number, from Python", f"{time:.0f} µs"],
    ]
    write_block(DOCS / "seq2seq-numbers.md", "scores", rows, machine())
    said = [["asked", "answered", "the next best of the beam"]]
    said += [[text, found[0][0], found[1][0]] for (text, _), found in list(zip(asked, beams))[:4]]
    write_block(DOCS / "seq2seq-numbers.md", "answers", said)
    print(rows, said)
    picture(translator, asked[0][0])


def picture(translator: Translator, text: str) -> None:
    """What the beam weighs: its four answers by their probabilities, for a number as it should be and one with a word missing."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 2), layout="constrained")
    for axis, asked in zip(axes, (text, text.rsplit(" ", 1)[0])):
        found = translator.beam(asked, width=4)[::-1]
        axis.barh([answer for answer, _ in found], np.exp([score for _, score in found]))
        axis.set(xlim=(0, 1), xlabel="probability")
        axis.set_title(f"'{asked}'", fontsize=10)
    save(figure, DOCS / "pictures" / "seq2seq-numbers.png")


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    main()
