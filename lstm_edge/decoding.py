"""Text from converted networks: the likeliest symbol each time, a symbol drawn with a temperature, or a search with a beam.

NumPy and the core alone, so that a device decodes what `lstm_edge.training` (or anything else) trained:

    from lstm_edge.decoding import Translator, generate
    generate(lstm_edge.load("verse.lstm"), "Once upon", 100, temperature=0.7, seed=1)
    Translator.load("dates.lstm").beam("the third of May 2021", width=4)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._core import Model, Stream, load
from .errors import FormatError, LstmEdgeError, ShapeError
from .metadata import section

UNKNOWN, START, END = "<unknown>", "<start>", "<end>"
UNITS = ("character", "token")
# A word or a run of marks with the space before it, or any other white space: every text is cut without loss.
_TOKEN = re.compile(r" ?\w+| ?[^\w\s]+|\s")

Numbers = NDArray[np.float64]


# ---- vocabularies ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Vocabulary:
    """The symbols that a network knows, by their numbers. unit: what a text is cut into, "character" or "token" (words
    and marks, each with the space before it)."""

    symbols: tuple[str, ...]
    unit: str = "character"

    @classmethod
    def learnt(cls, texts: Iterable[str], unit: str, *, special: Sequence[str] = (), most: int = 0) -> Vocabulary:
        """The vocabulary of texts: `special` symbols, what is unknown, then the others, the most frequent first.

        most: how many others are kept; 0 keeps all. LstmEdgeError for an unknown unit.
        """
        if unit not in UNITS:
            raise LstmEdgeError(f"unit: expected one of {', '.join(UNITS)}, found {unit!r}")
        counts: dict[str, int] = {}
        for text in texts:
            for symbol in cut(text, unit):
                counts[symbol] = counts.get(symbol, 0) + 1
        order = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
        return cls((*special, UNKNOWN, *order[: most or None]), unit)

    @classmethod
    def read(cls, about: Any, place: str) -> Vocabulary:
        """The vocabulary in a file's metadata. FormatError names the place where there is none."""
        found = about if isinstance(about, Mapping) else {}
        symbols, unit = found.get("symbols"), found.get("unit")
        if not isinstance(symbols, list) or not all(isinstance(s, str) for s in symbols) or unit not in UNITS:
            raise FormatError(f"{place}: expected a vocabulary, its symbols and unit, found {_short(about)}")
        return cls(tuple(symbols), unit)

    def check_size(self, model: Model, place: str) -> None:
        """FormatError unless the model's answers are over as many symbols."""
        shapes = [port.shape for port in model.outputs]
        if len(shapes) != 1 or not shapes[0] or shapes[0][-1] != len(self.symbols):
            raise FormatError(
                f"{place}: expected one output over the {len(self.symbols)} symbols of the vocabulary, found shapes {shapes}"
            )

    @property
    def written(self) -> dict[str, Any]:
        """What a file's metadata holds of it."""
        return {"symbols": list(self.symbols), "unit": self.unit}

    def number(self, symbol: str) -> int:
        """LstmEdgeError where the vocabulary lacks the symbol."""
        if symbol not in self.symbols:
            raise LstmEdgeError(f"vocabulary: expected the symbol {symbol!r}, found none among {len(self.symbols)}")
        return self.symbols.index(symbol)

    def encode(self, text: str) -> NDArray[np.int32]:
        """The numbers of a text's symbols; LstmEdgeError for a symbol that is not known, where none stands for it."""
        if not isinstance(text, str):
            raise LstmEdgeError(f"text: expected a text, found {_short(text)}")
        numbers = {symbol: n for n, symbol in enumerate(self.symbols)}
        pieces = cut(text, self.unit)
        if UNKNOWN not in numbers and not numbers.keys() >= set(pieces):
            bad = next(p for p in pieces if p not in numbers)
            raise LstmEdgeError(f"expected symbols of the vocabulary, found {bad!r}, and it has no {UNKNOWN}")
        unknown = numbers.get(UNKNOWN, 0)
        return np.array([numbers.get(piece, unknown) for piece in pieces], np.int32)

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of the numbers."""
        return "".join(self.symbols[n] for n in numbers)


def cut(text: str, unit: str) -> list[str]:
    """The pieces of a text; joined they are the text."""
    return list(text) if unit == "character" else _TOKEN.findall(text)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# ---- one symbol after the other --------------------------------------------------------------------------------------


def log_softmax(logits: NDArray[Any]) -> Numbers:
    """The logarithms of the probabilities over the last axis."""
    wide = np.asarray(logits, np.float64)
    wide = wide - wide.max(-1, keepdims=True)
    return np.asarray(wide - np.log(np.exp(wide).sum(-1, keepdims=True)))


def choose(logits: NDArray[Any], temperature: float, rng: np.random.Generator) -> int:
    """One symbol: the likeliest at temperature 0, else drawn from softmax(logits / temperature). logits: (symbols,)."""
    if not isinstance(temperature, (int, float, np.number)) or not np.isfinite(temperature) or temperature < 0:
        raise LstmEdgeError(f"temperature: expected a number of 0 or more, found {temperature!r}")
    wide = np.asarray(logits, np.float64)
    if temperature == 0:
        return int(wide.argmax())
    # Gumbel's trick: the largest of the logits with such noise is distributed as softmax says.
    # The largest is moved to 0, so that no temperature makes it infinite.
    with np.errstate(over="ignore"):
        return int(((wide - wide.max()) / temperature + rng.gumbel(size=wide.shape)).argmax())


def generate(model: Model, prompt: str, length: int, *, temperature: float = 0.0, seed: int = 0) -> str:
    """`length` symbols that go on after `prompt`, by a model of text (`lstm-edge train --task text`).

    temperature: 0 takes the likeliest symbol each time, 1 draws as the model says, less than 1 more boldly towards the
    likely ones. seed: of what is drawn. The symbol for what is unknown is never written.
    LstmEdgeError where the prompt is empty; FormatError where the file holds no vocabulary.
    """
    if not isinstance(length, (int, np.integer)) or length < 0:
        raise LstmEdgeError(f"length: expected a whole number of 0 or more, found {length!r}")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise LstmEdgeError(f"seed: expected a whole number of 0 or more, found {seed!r}")
    vocabulary = Vocabulary.read(section(model.metadata, "text").get("vocabulary"), "metadata 'text'")
    vocabulary.check_size(model, "metadata 'text'")
    asked = vocabulary.encode(prompt)
    if not len(asked):
        raise LstmEdgeError("prompt: expected at least one symbol to go on from, found none")
    banned = [n for n, symbol in enumerate(vocabulary.symbols) if symbol == UNKNOWN]
    rng = np.random.default_rng(seed)
    stream = model.stream()
    said: list[int] = []
    logits = stream.run(asked)[-1]
    while len(said) < length:
        logits[banned] = -np.inf
        said.append(choose(logits, temperature, rng))
        logits = stream.step(np.array(said[-1], np.int32))
    return vocabulary.decode(said)


# ---- sequences of a decoder ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hypothesis:
    """A sequence of symbols as numbers, without start and end; score: the logarithm of its probability, the end's too;
    ended: whether it came to an end before the limit."""

    numbers: tuple[int, ...]
    score: float
    ended: bool


class Decoder:
    """One decoder at work: a stream for each sequence that is followed, with what the encoder gave.

    model: a file with a stream, an int32 input for the symbol before, and one output, over the symbols. given: for other inputs
    what they are at every step, (1, ...) or (1, 1, ...), and for states what they start as, by name. probabilities: whether
    the output is probabilities, not logits. Raises ShapeError by name where the model is none such.
    """

    def __init__(self, model: Model, given: Mapping[str, NDArray[Any]], width: int = 1, *, probabilities: bool = False):
        self.model, self.width, self.probabilities = model, width, probabilities
        tokens = [p.name for p in model.inputs if p.dtype == "int32"]
        if len(tokens) != 1 or len(model.outputs) != 1:
            found = f"{', '.join(tokens) or 'none'} and outputs {', '.join(p.name for p in model.outputs)}"
            raise ShapeError(f"decoder: expected one int32 input, the symbol before, and one output, found {found}")
        self.token = tokens[0]
        self._axes = {p.name: _batch_axis(p.shape) for p in model.states}
        inputs = {p.name for p in model.inputs} - {self.token}
        expected = inputs | self._axes.keys()
        if not inputs <= given.keys() or not given.keys() <= expected:
            raise ShapeError(
                f"decoder: expected values of the inputs ({', '.join(sorted(inputs)) or 'none'}) and of states among "
                f"{', '.join(self._axes) or 'none'}, found {', '.join(given) or 'none'}"
            )
        self.stream: Stream = model.stream(width)
        states = {
            name: np.repeat(np.asarray(v), width, self._axes[name]) for name, v in given.items() if name in self._axes
        }
        if states:
            self.stream.state = {**self.stream.state, **states}
        self._constant = {name: np.repeat(np.asarray(given[name]), width, 0) for name in inputs}

    def step(self, symbols: Sequence[int]) -> Numbers:
        """The logarithms of the probabilities (width, symbols) of what follows each symbol before."""
        column = np.asarray(symbols, np.int32)[:, None]
        answer = np.asarray(self.stream.run(**{self.token: column}, **self._constant), np.float64)
        answer = answer.reshape(self.width, -1)
        return np.log(np.maximum(answer, 1e-300)) if self.probabilities else log_softmax(answer)

    def follow(self, rows: NDArray[np.int64]) -> None:
        """Goes on from the states of these rows, one for each of the width."""
        state = self.stream.state
        self.stream.state = {name: np.take(state[name], rows, axis) for name, axis in self._axes.items()}


def _batch_axis(shape: tuple[int | str, ...] | None) -> int:
    if shape is None or "batch" not in shape:
        raise ShapeError(f"decoder: expected states with a batch axis, found shape {shape}")
    return shape.index("batch")


def greedy(decoder: Decoder, start: int, end: int, limit: int) -> Hypothesis:
    """The likeliest symbol each time, until the end or `limit` symbols; `decoder` has width 1."""
    said: list[int] = []
    score, last = 0.0, start
    while len(said) < limit:
        chances = decoder.step([last])[0]
        last = int(chances.argmax())
        score += float(chances[last])
        if last == end:
            return Hypothesis(tuple(said), score, True)
        said.append(last)
    return Hypothesis(tuple(said), score, False)


def beam(decoder: Decoder, start: int, end: int, limit: int, *, length_power: float = 0.0) -> list[Hypothesis]:
    """The likeliest sequences that a search finds which follows as many at once as the decoder is wide, best first.

    Sequences end with `end`, or have `limit` symbols. They are ordered by score / symbols^length_power (the end counts as
    one): 0 takes the likeliest, 1 the likeliest by symbol, which favours longer ones. With a width of all beginnings that
    there are, the search is exhaustive; with 1 it is `greedy`.
    """
    width = decoder.width
    scores = np.full(width, -np.inf)
    scores[0] = 0.0
    said: list[tuple[int, ...]] = [()] * width
    last = [start] * width
    done: list[Hypothesis] = []

    def rank(found: Hypothesis) -> float:
        symbols = len(found.numbers) + found.ended
        return float(found.score / symbols**length_power)

    for _ in range(limit):
        totals = scores[:, None] + decoder.step(last)
        best = np.argsort(-totals, axis=None, kind="stable")[: 2 * width]  # enough where half of them are ends
        rows, symbols = np.unravel_index(best, totals.shape)
        found = [(int(r), int(s), float(totals[r, s])) for r, s in zip(rows, symbols) if np.isfinite(totals[r, s])]
        done += [Hypothesis(said[r], score, True) for r, s, score in found[:width] if s == end]
        live = [(r, s, score) for r, s, score in found if s != end][:width]
        if not live or _settled(done, width, rank, live[0][2] / limit**length_power):
            live = []
            break
        live += [(live[0][0], live[0][1], -np.inf)] * (width - len(live))  # rows that are followed no more
        decoder.follow(np.array([r for r, _, _ in live]))
        said = [(*said[r], s) for r, s, _ in live]
        last, scores = [s for _, s, _ in live], np.array([score for _, _, score in live])
    else:
        done += [Hypothesis(n, float(score), False) for n, score in zip(said, scores) if np.isfinite(score)]
    return sorted(done, key=rank, reverse=True)[:width]


def _settled(done: list[Hypothesis], width: int, rank: Any, bound: float) -> bool:
    """Whether `width` sequences have ended that none still followed can pass; `bound` is the most that one of them can reach."""
    return len(done) >= width and sorted(map(rank, done))[-width] >= bound


# ---- encoder and decoder ---------------------------------------------------------------------------------------------


class Translator:
    """An encoder and a decoder with their vocabularies, as `lstm-edge train --task seq2seq` writes them.

    encoder: reads the source's symbols whole; its outputs are the decoder's inputs or states of the same names, or of
    those that the decoder's metadata["seq2seq"]["given"] maps to them. FormatError where a file lacks what it must say.
    """

    def __init__(self, encoder: Model, decoder: Model):
        self.encoder, self.decoder = encoder, decoder
        about = section(decoder.metadata, "seq2seq", "decoder, metadata")
        source = section(encoder.metadata, "seq2seq", "encoder, metadata").get("source")
        self.source = Vocabulary.read(source, "encoder, metadata 'seq2seq'")
        self.target = Vocabulary.read(about.get("target"), "decoder, metadata 'seq2seq'")
        self.target.check_size(decoder, "decoder, metadata 'seq2seq'")
        self.start, self.end = self.target.number(START), self.target.number(END)
        self.limit = about.get("limit", 100)
        if not isinstance(self.limit, int) or self.limit < 1:
            raise FormatError(
                f"decoder, metadata 'seq2seq': limit: expected a whole number of 1 or more, found {self.limit!r}"
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Translator:
        """Of the two files that training wrote for `path`: for dates.lstm, dates.encoder.lstm and dates.decoder.lstm."""
        return cls(*(load(p) for p in part_paths(path)))

    def __call__(self, text: str) -> str:
        """The likeliest symbol each time."""
        found = greedy(self._decoder(text, 1), self.start, self.end, self.limit)
        return self.target.decode(found.numbers)

    def beam(self, text: str, width: int = 4, *, length_power: float = 0.0) -> list[tuple[str, float]]:
        """(text, logarithm of its probability) of the sequences that a beam finds, best first."""
        found = beam(self._decoder(text, width), self.start, self.end, self.limit, length_power=length_power)
        return [(self.target.decode(h.numbers), h.score) for h in found]

    def _decoder(self, text: str, width: int) -> Decoder:
        if type(width) is bool or not isinstance(width, int) or width < 1:
            raise LstmEdgeError(f"width: expected a whole number of 1 or more, found {width!r}")
        symbols = np.append(self.source.encode(text), self.source.number(END)).astype(np.int32)
        answer = self.encoder.run(symbols[None])
        given = answer if isinstance(answer, dict) else {self.encoder.outputs[0].name: answer}
        return Decoder(self.decoder, given, width)


def part_paths(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """The encoder's and the decoder's file of a pair that is called `path`."""
    whole = Path(path)
    if not whole.name:
        raise LstmEdgeError(f"path: expected the name of a pair of files, found {str(path)!r}")
    return whole.with_suffix(f".encoder{whole.suffix}"), whole.with_suffix(f".decoder{whole.suffix}")
