"""The task seq2seq: a text from a text, by an encoder and a decoder, each a file of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..._core import Model
from ...decoding import END, START, Vocabulary, part_paths
from ...errors import FormatError
from ..loop import fit
from ..report import Report
from ..trained import Trained
from . import tell
from .losses import PADDING, CrossEntropy
from .network import last, recurrence_of
from .options import Seq2SeqOptions
from .parts import by_sequences
from .text import read_text

PAIRS_AT_ONCE = 256

Pair = tuple[str, str]


class Encoder(nn.Module):
    """source (B, S), numbers of symbols -> context (B, 1, hidden), what the decoder is told of it."""

    def __init__(self, symbols: int, options: Seq2SeqOptions):
        super().__init__()
        self.embedding, self.bidirectional = nn.Embedding(symbols, options.embedding), options.bidirectional
        self.recurrence = recurrence_of(options.embedding, options, bidirectional=options.bidirectional)
        self.context = nn.Linear(self.recurrence.width, options.hidden)

    def forward(self, source: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        y = self.recurrence(self.embedding(source), lengths)
        return {"context": torch.tanh(self.context(last(y, lengths, self.bidirectional)))[:, None]}


class Decoder(nn.Module):
    """token (B, T), the symbols before, and context (B, T, hidden) beside each -> logits (B, T, symbols) of the next ones.

    The context at every step (Cho and others, "Learning phrase representations using RNN encoder-decoder", 2014) serves every
    cell, and a stream of the decoder has no state but its own.
    """

    def __init__(self, symbols: int, options: Seq2SeqOptions):
        super().__init__()
        self.embedding = nn.Embedding(symbols, options.embedding)
        self.recurrence = recurrence_of(options.embedding + options.hidden, options)
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(self.recurrence.width, symbols)

    def forward(self, token: Tensor, context: Tensor) -> dict[str, Tensor]:
        y = self.recurrence(torch.cat([self.embedding(token), context], -1))
        return {"logits": self.head(self.dropout(y))}


class EncoderDecoder(nn.Module):
    """Both: source (B, S) of these lengths, token (B, T) -> logits (B, T, symbols)."""

    def __init__(self, encoder: Encoder, decoder: Decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, source: Tensor, lengths: Tensor | None, token: Tensor) -> Tensor:
        context = self.encoder(source, lengths)["context"].expand(-1, token.shape[1], -1)
        found: Tensor = self.decoder(token, context)["logits"]
        return found


class Pairs:
    """Examples of the loop: padded pairs of sequences of numbers. The decoder is told the right symbol before each (teacher
    forcing)."""

    def __init__(self, sources: list[Tensor], targets: list[Tensor], start: int, end: int):
        """sources end with their end; targets without start and end."""
        self.sources = pad_sequence(sources, batch_first=True)
        self.lengths = torch.tensor([len(s) for s in sources])
        edge, stop = torch.tensor([start]), torch.tensor([end])
        self.tokens = pad_sequence([torch.cat([edge, t]) for t in targets], batch_first=True)
        self.targets = pad_sequence([torch.cat([t, stop]) for t in targets], batch_first=True, padding_value=PADDING)
        self.counts = torch.tensor([len(t) + 1 for t in targets])

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        lengths, steps = self.lengths[indices], int(self.counts[indices].max())
        return {
            "source": self.sources[indices, : int(lengths.max())],
            "lengths": lengths,
            "token": self.tokens[indices, :steps],
            "target": self.targets[indices, :steps],
        }

    def batches(self) -> list[dict[str, Tensor]]:
        """All pairs in order, some at a time."""
        count = len(self)
        return [self.batch(torch.arange(n, min(n + PAIRS_AT_ONCE, count))) for n in range(0, count, PAIRS_AT_ONCE)]


class TrainedPair(Trained):
    """As Trained; its file is two, NAME.encoder.lstm and NAME.decoder.lstm, which decoding.Translator.load opens together."""

    def export(self, path: str | os.PathLike[str] | None = None) -> Model:
        """Writes both files that `path` stands for, where one is given, and returns the decoder's Model."""
        return self.exported(path)[1]

    def files(self, path: str | os.PathLike[str]) -> tuple[str, ...]:
        return tuple(map(str, part_paths(path)))

    def exported(self, path: str | os.PathLike[str] | None = None) -> tuple[Model, Model]:
        """The encoder's and the decoder's Model, for decoding.Translator."""
        assert isinstance(self.module, EncoderDecoder)
        parts: tuple[Encoder | Decoder, ...] = (self.module.encoder, self.module.decoder)
        paths = (None, None) if path is None else part_paths(path)
        source, token = self.example["source"], self.example["token"]
        with torch.no_grad():
            context = self.module.encoder(source)["context"].expand(-1, token.shape[1], -1).contiguous()
        examples = ({"source": source}, {"token": token, "context": context})
        about = self.metadata["seq2seq"]
        said = ({k: about[k] for k in ("source",)}, {k: about[k] for k in ("target", "limit")})
        encoder, decoder = (
            Trained(
                self.task, part, self.options, self.history, self.scores, self.notes, {"seq2seq": told}, example
            ).export(where)
            for part, where, example, told in zip(parts, paths, examples, said)
        )
        return encoder, decoder


def run(source: Any, options: Seq2SeqOptions, report: Report | None = None) -> Trained:
    """source: the path of a text file with a pair in each line, source and target with a tab between them; or a list of pairs."""
    place, pairs = read_pairs(source)
    numbers, note = divided(pairs, options)
    training = [pairs[n] for n in numbers[0]]
    known = Vocabulary.learnt((s for s, _ in training), options.source_unit, special=[END], most=options.vocabulary)
    told = Vocabulary.learnt(
        (t for _, t in training), options.target_unit, special=[START, END], most=options.vocabulary
    )
    start, end = told.number(START), told.number(END)

    def examples(numbers: np.ndarray) -> Pairs:
        sources = [torch.from_numpy(np.append(known.encode(pairs[n][0]), known.number(END))).long() for n in numbers]
        return Pairs(sources, [torch.from_numpy(told.encode(pairs[n][1])).long() for n in numbers], start, end)

    drawn, validation, test = map(examples, numbers)
    notes = [
        f"{place}: {len(pairs):,} pairs; {note}",
        f"{len(known.symbols)} symbols of sources, {len(told.symbols)} of targets",
    ]
    tell(report, notes)
    torch.manual_seed(options.seed)
    module = EncoderDecoder(Encoder(len(known.symbols), options), Decoder(len(told.symbols), options))
    loss = CrossEntropy(logits_of, float(drawn.counts.float().mean()))
    history = fit(module, loss, drawn, lambda m: loss.over(m, validation.batches()), options, report=report)
    limit = 2 * int(drawn.counts.max())
    return TrainedPair(
        task="seq2seq",
        module=module,
        options=options,
        history=history,
        scores={**_scores(module, test, start), "cross-entropy": loss.over(module, test.batches())},
        notes=notes,
        metadata={"seq2seq": {"source": known.written, "target": told.written, "limit": limit}},
        example={name: drawn.batch(torch.tensor([0]))[name] for name in ("source", "token")},
    )  # fmt: skip


def _shown(pair: object) -> str:
    """What stands in the place of a pair: the line itself where it has no tab."""
    return str(pair[0] if isinstance(pair, Sequence) and len(pair) == 1 else pair)[:60]


def read_pairs(source: Any) -> tuple[str, list[Pair]]:
    """What the source is called, and its pairs. FormatError names the line that is none."""
    if isinstance(source, (str, os.PathLike)):
        place, text = read_text(source)
        lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        found = [(n, line.split("\t")) for n, line in lines]
        word = "line"
    elif isinstance(source, Sequence) and source:
        place, found, word = "source", list(enumerate(source)), "pair"
    else:
        raise FormatError(
            f"source: expected the path of a text file, or a list of pairs, found {type(source).__name__}"
        )
    for n, pair in found:
        if not isinstance(pair, Sequence) or len(pair) != 2 or not all(isinstance(t, str) and t for t in pair):
            raise FormatError(
                f"{place}: {word} {n}: expected a source, a tab and a target, two texts, found {_shown(pair)!r}"
            )
    if len(found) < 3:
        raise FormatError(f"{place}: expected three pairs or more, found {len(found)}")
    return place, [(pair[0], pair[1]) for _, pair in found]


def divided(pairs: list[Pair], options: Seq2SeqOptions) -> tuple[list[np.ndarray], str]:
    """The pairs of each part, and a note. Pairs with the same source are in the same part."""
    codes = {source: n for n, source in enumerate(dict.fromkeys(source for source, _ in pairs))}
    bounds, of_pair = np.zeros((len(codes), 2), np.int64), np.array([codes[source] for source, _ in pairs])
    if len(codes) < 3:
        raise FormatError(f"expected three different sources or more, found {len(codes)}")
    parts = by_sequences(bounds, bounds[:, 0], options.validation, options.test, options.seed)
    return [np.flatnonzero(np.isin(of_pair, some)) for some in parts.sequences], parts.note


def logits_of(module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """An EncoderDecoder's logits of a batch, each symbol told the right one before it."""
    found: Tensor = module(batch["source"], batch["lengths"], batch["token"])
    return found


def _scores(module: EncoderDecoder, test: Pairs, start: int) -> dict[str, float]:
    """exact: the share of targets that greedy decoding gives whole; symbols: of symbols told the right ones before."""
    right = seen = exact = 0
    with torch.no_grad():
        for batch in test.batches():
            logits = logits_of(module, batch)
            judged = batch["target"] != PADDING
            right += int((logits.argmax(-1) == batch["target"])[judged].sum())
            seen += int(judged.sum())
            exact += _exact(module, batch, start)
    return {"exact": exact / len(test), "symbols": right / seen}


def _exact(module: EncoderDecoder, batch: dict[str, Tensor], start: int) -> int:
    """How many targets of a batch come out whole where the decoder is told its own symbols."""
    wanted = batch["target"]
    said = torch.full((len(wanted), 1), start)
    context = module.encoder(batch["source"], batch["lengths"])["context"]
    for _ in range(wanted.shape[1]):
        logits = module.decoder(said, context.expand(-1, said.shape[1], -1))["logits"]
        said = torch.cat([said, logits[:, -1:].argmax(-1)], 1)
    return int(((said[:, 1:] == wanted) | (wanted == PADDING)).all(1).sum())
