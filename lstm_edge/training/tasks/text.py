"""The task text: the next symbol of a text, character by character or token by token."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...decoding import UNKNOWN, Vocabulary
from ...errors import FormatError
from ..loop import fit
from ..report import Report
from ..trained import Trained
from . import tell
from .losses import PADDING, CrossEntropy
from .network import recurrence_of
from .options import TextOptions
from .parts import by_time
from .spans import Batch, Spans, in_windows

WINDOWS_AT_ONCE = 8  # of a stretch that chooses and scores: its state is kept so long


class TextModel(nn.Module):
    """token (B, T), numbers of symbols -> logits (B, T, symbols) of the next ones."""

    def __init__(self, symbols: int, options: TextOptions):
        super().__init__()
        self.embedding = nn.Embedding(symbols, options.embedding)
        self.recurrence = recurrence_of(options.embedding, options)
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(self.recurrence.width, symbols)

    def forward(self, token: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.dropout(self.recurrence(self.embedding(token))))}


def run(source: Any, options: TextOptions, report: Report | None = None) -> Trained:
    """source: the path of a text file in UTF-8, or a list of texts, which are joined by line breaks."""
    place, text = read_text(source)
    pieces = _pieces(place, text, options)
    vocabulary = Vocabulary.learnt([pieces[0]], options.unit, most=options.vocabulary)
    numbers = [vocabulary.encode(piece) for piece in pieces]
    known = torch.from_numpy(np.concatenate(numbers)).long()
    ends = np.cumsum([len(n) for n in numbers])
    bounds = np.stack([[0, *ends[:-1]], ends], 1)

    def spans(n: int, length: int, stride: int) -> Spans:
        begin, end = bounds[n]
        if end - begin < 2:
            raise FormatError(f"{place}: expected a longer text, found {len(known)} symbols in all")
        by_frame = {"token": known[:-1], "target": known[1:]}
        return Spans(by_frame, in_windows(np.array([[begin, end - 1]]), length, stride), pads={"target": PADDING})

    long = WINDOWS_AT_ONCE * options.window
    training = spans(0, options.window, max(options.window // 2, 1))
    validation, test = spans(1, long, long), spans(2, long, long)
    unknown = max(float((n == vocabulary.number(UNKNOWN)).mean()) for n in numbers[1:])
    counts = " + ".join(f"{len(n):,}" for n in numbers)
    notes = [
        f"{place}: {len(known):,} symbols, {len(vocabulary.symbols):,} different ones; the end of the text is held out: {counts} "
        "to train, to choose, to score",
        f"{unknown:.2%} of the symbols that are held out are unknown to the training part",
    ]
    tell(report, notes)
    torch.manual_seed(options.seed)
    module = TextModel(len(vocabulary.symbols), options)
    loss = CrossEntropy(logits_of, training.frames / len(training))
    history = fit(module, loss, training, lambda m: loss.over(m, validation.batches()), options, report=report)
    return Trained(
        task="text",
        module=module,
        options=options,
        history=history,
        scores=_scores(loss.over(module, test.batches()), numbers[0], numbers[2], len(vocabulary.symbols)),
        notes=notes,
        metadata={"text": {"input": "token", "output": "logits", "vocabulary": vocabulary.written}},
        example={"token": known[None, :16]},
    )


def read_text(source: Any) -> tuple[str, str]:
    """What the source is called, and its text. FormatError where it is none."""
    if isinstance(source, (str, os.PathLike)):
        try:
            return str(source), Path(source).read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as exc:
            raise FormatError(f"{source}: expected text in UTF-8, found other bytes at {exc.start}") from None
    if isinstance(source, Sequence) and source and all(isinstance(text, str) for text in source):
        return "source", "\n".join(source)
    raise FormatError(f"source: expected the path of a text file, or a list of texts, found {type(source).__name__}")


def _pieces(place: str, text: str, options: TextOptions) -> list[str]:
    """The text's three parts in order, cut at a character."""
    if len(text) < 10:
        raise FormatError(f"{place}: expected a text of some length, found {len(text)} characters")
    parts = by_time(np.array([[0, len(text)]]), options.validation, options.test)
    return [text[begin:end] for ((begin, end),) in parts.stretches]


def logits_of(module: nn.Module, batch: Batch) -> Tensor:
    """A TextModel's logits of a batch."""
    found: Tensor = module(batch["token"])["logits"]
    return found


def _scores(entropy: float, training: np.ndarray, held: np.ndarray, symbols: int) -> dict[str, float]:
    """perplexity: the number of symbols that would be as hard to choose among; beside it, that of the training part's frequencies."""
    shares = (np.bincount(training, minlength=symbols) + 1) / (len(training) + symbols)
    return {
        "perplexity": math.exp(entropy),
        "bits per symbol": entropy / math.log(2),
        "perplexity of frequencies alone": float(np.exp(-np.log(shares[held]).mean())),
    }
