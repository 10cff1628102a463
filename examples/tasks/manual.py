"""Text by character: a network that writes like Python's manual; the page docs/text-manual.md.

pip install matplotlib '.[train]'
python examples/tasks/manual.py             # four minutes on one core
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from pydoc_data.topics import topics

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parents[1]))

from page import machine, microseconds, save, write_block

from lstm_edge.decoding import generate
from lstm_edge.training import train

DOCS = Path(__file__).parents[2] / "docs"
CHAPTERS = (
    "class",
    "function",
    "for",
    "try",
    "with",
    "import",
    "assignment",
    "compound",
    "specialnames",
    "typesfunctions",
)
PROMPT = "the function is "


def text() -> str:
    """Chapters of the language reference, which every Python brings along; its lines joined, in small letters."""
    return re.sub(r"[^a-z0-9.,()'*]+", " ", " ".join(topics[name] for name in CHAPTERS if name in topics).lower())


def main() -> None:
    torch.set_num_threads(1)
    manual = text()[:100_000]
    trained = train(
        [manual], task="text", hidden=128, embedding=24, window=96, epochs=10, batch=32, rate=4e-3, schedule="cosine",
        validation=0.08, test=0.08,
    )  # fmt: skip
    print(trained.scores, *trained.notes, sep="\n")
    model = trained.export("manual.lstm")
    tokens = trained.example["token"]
    with torch.no_grad():
        theirs = trained.module(tokens)["logits"].numpy()
    ours = model.run(tokens.numpy().astype(np.int32))
    time = microseconds(lambda: generate(model, PROMPT, 100, temperature=0.5), 10) / 100
    scores = trained.scores
    rows = [
        ["of the last 8,000 characters, which training never saw", ""],
        ["bits a character", f"{scores['bits per symbol']:.2f}"],
        ["as hard to guess as one of so many (perplexity)", f"{scores['perplexity']:.1f}"],
        ["the same from how often each character occurs", f"{scores['perplexity of frequencies alone']:.1f}"],
        ["largest difference from torch, in logits", f"{np.abs(ours - theirs).max():.1e}"],
        ["file", f"{Path('manual.lstm').stat().st_size / 1000:.0f} kB"],
        ["a character written, from Python", f"{time:.0f} µs"],
    ]
    write_block(DOCS / "text-manual.md", "scores", rows, machine())
    said = [["temperature", f"after '{PROMPT.strip()}'"]]
    said += [[str(t), f"`{generate(model, PROMPT, 130, temperature=t, seed=3)[-130:]}`"] for t in (0.0, 0.4, 0.8)]
    write_block(DOCS / "text-manual.md", "written", said)
    print(rows, said)
    picture(trained.module, manual[-90:], model)


def picture(module: torch.nn.Module, shown: str, model: object) -> None:
    """How many bits each character of a held-out line came as, read by a stream."""
    about = model.metadata["text"]["vocabulary"]["symbols"]
    numbers, stream, bits = [about.index(c) for c in shown], model.stream(), []
    for now, after in zip(numbers, numbers[1:]):
        logits = np.asarray(stream.step(np.int32(now)), np.float64).ravel()
        bits.append(float(np.log2(np.exp(logits - logits[after]).sum())))
    figure, axis = plt.subplots(figsize=(13, 2.2), layout="constrained")
    axis.bar(range(1, len(shown)), bits)
    axis.set(xticks=range(len(shown)), xlim=(0, len(shown)), ylabel="bits of surprise")
    axis.set_xticklabels([c.replace(" ", "_") for c in shown], family="monospace", fontsize=8)
    save(figure, DOCS / "pictures" / "text-manual.png")


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    main()
