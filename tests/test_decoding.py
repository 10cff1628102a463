"""Decoding on the device: greedy, drawn and beam search, over files made here without a framework."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lstm_edge import FormatError, LstmEdgeError, ShapeError, decoding, format, load
from lstm_edge.decoding import Decoder, Translator, Vocabulary, beam, generate, greedy
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.passes import pipeline

LIMIT = 4


def network(symbols: int, seed: int, *, context: int = 0, sharp: float = 3.0, **metadata) -> object:
    """A stream of symbols to logits over them: Embedding, GRU, Dense of random weights; with a context beside each symbol."""
    rng, hidden = np.random.default_rng(seed), 6
    graph = Graph()

    def weight(name, *shape, scale=1.0):
        return graph.constant((rng.standard_normal(shape) * scale).astype(np.float32), name)

    token = graph.input("token", (BATCH, FRAMES), "int32")
    x = graph.add1("Gather", [weight("table", symbols, 5), token], {"axis": 0}, "embed")
    if context:
        x = graph.add1("Concat", [x, graph.input("context", (BATCH, FRAMES, context))], {"axis": -1}, "join")
    weights = [weight("w", 1, 3 * hidden, 5 + context), weight("r", 1, 3 * hidden, hidden)]
    y = graph.add1("GRU", [x, *weights], {}, "gru")
    graph.output("logits", graph.add1("Dense", [y, weight("out", symbols, hidden, scale=sharp)], {}, "out"))
    pipeline(graph)
    graph.metadata.update(metadata)
    return load(format.to_bytes(graph))


def chances(model, numbers, start, end, **given):
    """The logarithm of the probability of a sequence, by one run over the whole of it."""
    logits = model.run(np.array([[start, *numbers][: len(numbers)]], np.int32), **given)[0]
    return float(decoding.log_softmax(logits)[np.arange(len(numbers)), numbers].sum())


def every_sequence(symbols, end, limit):
    """All that end within `limit` symbols, and those of `limit` symbols that do not."""
    others = [s for s in range(symbols) if s != end]
    for length in range(limit):
        yield from ((*head, end) for head in itertools.product(others, repeat=length))
    yield from itertools.product(others, repeat=limit)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("power", [0.0, 0.7])
def test_a_beam_as_wide_as_all_beginnings_is_exhaustive(seed, power):
    start, end, context = 0, 1, np.random.default_rng(seed).standard_normal((1, 1, 2)).astype(np.float32)
    model = network(4, seed, context=2)
    along = {"context": np.repeat(context, LIMIT, 1)}
    scores = {
        numbers: chances(model, numbers, start, end, context=along["context"][:, : len(numbers)])
        for numbers in every_sequence(4, end, LIMIT)
    }
    assert np.exp(list(scores.values())).sum() == pytest.approx(1, abs=1e-5)
    order = sorted(scores, key=lambda n: scores[n] / len(n) ** power, reverse=True)
    found = beam(Decoder(model, {"context": context}, 3**LIMIT), start, end, LIMIT, length_power=power)
    for numbers, hypothesis in zip(order[:10], found):
        assert hypothesis.ended == (numbers[-1] == end)
        assert (*hypothesis.numbers, *[end] * hypothesis.ended) == numbers
        assert hypothesis.score == pytest.approx(scores[numbers], abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_a_beam_of_one_is_greedy_and_a_wider_one_is_no_worse(seed):
    model = network(6, seed)
    one = greedy(Decoder(model, {}), 0, 1, 8)
    assert beam(Decoder(model, {}), 0, 1, 8) == [one]
    assert beam(Decoder(model, {}, 6), 0, 1, 8)[0].score >= one.score - 1e-9


def test_a_beam_finds_what_greedy_passes_by():
    """The likeliest first symbol leads to an even choice among many, the other one to a sure end."""

    class Table:
        width = 4
        after = {0: [0, 0, 0.55, 0.45], 2: [0, 0.34, 0.33, 0.33], 3: [0, 1, 0, 0]}

        def step(self, symbols):
            with np.errstate(divide="ignore"):
                return np.log([self.after[s] for s in symbols])

        def follow(self, rows):
            pass

    assert greedy(Table(), 0, 1, 5).numbers[0] == 2
    best = beam(Table(), 0, 1, 5)[0]
    assert best.numbers == (3,) and best.score == pytest.approx(np.log(0.45))


def test_a_decoder_starts_from_given_states_and_follows_its_rows():
    model = network(5, 1)
    stream = model.stream()
    stream.run(np.array([3, 2], np.int32))
    name = model.states[0].name
    whole = decoding.log_softmax(model.run(np.array([3, 2, 4, 1], np.int32)))
    decoder = Decoder(model, {name: stream.state[name].reshape(1, 1, -1)}, 2)
    np.testing.assert_allclose(decoder.step([4, 0])[0], whole[2], atol=1e-6)
    decoder.follow(np.array([0, 0]))
    np.testing.assert_allclose(decoder.step([0, 1])[1], whole[3], atol=1e-6)


def test_what_is_no_decoder_is_named():
    with pytest.raises(ShapeError, match=r"expected values of the inputs \(context\).*found none"):
        Decoder(network(4, 0, context=2), {})
    with pytest.raises(ShapeError, match="found gru.x"):
        Decoder(network(4, 0), {"gru.x": np.zeros((1, 1, 6), np.float32)})


@pytest.mark.parametrize("wrong", [[], "text", None, {"source": 3}])
def test_metadata_that_is_no_object_is_refused(wrong):
    with pytest.raises(FormatError, match="(META: text|metadata 'text'): expected"):
        generate(network(4, 0, text=wrong), "a", 1)
    with pytest.raises(FormatError, match="metadata 'seq2seq': expected"):
        Translator(network(4, 0), network(4, 0, seq2seq=wrong))
    with pytest.raises(FormatError, match="encoder, metadata 'seq2seq': expected"):
        Translator(network(4, 0, seq2seq=wrong), network(4, 0))


# ---- text ------------------------------------------------------------------------------------------------------------


def test_tokens_are_cut_without_loss():
    text = "It's 12.5  degrees,\n\tsaid  Ada (née B.) …"
    assert "".join(decoding.cut(text, "token")) == text
    assert decoding.cut("a dog, two", "token") == ["a", " dog", ",", " two"]


def test_a_vocabulary_orders_by_frequency_and_keeps_the_most_frequent():
    vocabulary = Vocabulary.learnt(["abba", "cab"], "character", special=["<end>"], most=2)
    assert vocabulary.symbols == ("<end>", "<unknown>", "a", "b")
    assert vocabulary.encode("abc").tolist() == [2, 3, 1] and vocabulary.decode([3, 2]) == "ba"
    assert Vocabulary.read(vocabulary.written, "here") == vocabulary
    with pytest.raises(FormatError, match="here: expected a vocabulary"):
        Vocabulary.read({"symbols": 3}, "here")
    with pytest.raises(LstmEdgeError, match="expected one of character, token, found 'word'"):
        Vocabulary.learnt([], "word")


VOCABULARY = Vocabulary(("<unknown>", *"abcd"))


def text_model():
    return network(5, 2, sharp=1.0, text={"vocabulary": VOCABULARY.written})


def test_text_goes_on_with_the_likeliest_symbol():
    model, text = text_model(), "ab"
    for _ in range(12):
        logits = model.run(VOCABULARY.encode(text))[-1]
        text += "abcd"[logits[1:].argmax()]
    assert generate(model, "ab", 12) == text[2:]


def test_text_is_drawn_as_the_model_says():
    """After one symbol, draws at two temperatures come as often as softmax says."""
    rng, logits = np.random.default_rng(0), np.array([1.0, 0.0, -1.0, 2.0])
    for temperature in (1.0, 0.5):
        drawn = [decoding.choose(logits, temperature, rng) for _ in range(4000)]
        expected = np.exp(decoding.log_softmax(logits / temperature))
        np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 4000, expected, atol=0.03)
    model = text_model()
    assert generate(model, "a", 30, temperature=1.0, seed=3) == generate(model, "a", 30, temperature=1.0, seed=3)
    assert len({generate(model, "a", 30, temperature=1.0, seed=s) for s in range(5)}) == 5


def test_prompts_and_files_that_do_not_serve_are_named():
    with pytest.raises(LstmEdgeError, match="prompt: expected at least one symbol"):
        generate(text_model(), "", 3)
    with pytest.raises(LstmEdgeError, match="temperature: expected a number of 0 or more, found -1"):
        generate(text_model(), "a", 3, temperature=-1)
    with pytest.raises(FormatError, match="metadata 'text': expected a vocabulary"):
        generate(network(5, 2), "a", 3)
    with pytest.raises(FormatError, match="encoder, metadata 'seq2seq'"):
        Translator(network(5, 2), network(5, 2))


def test_arguments_and_files_of_another_kind_are_named():
    symbols = {"symbols": ["<unknown>", "a", "b"], "unit": "character"}
    model = network(3, 0, text={"vocabulary": symbols})
    for arguments, message in (
        ({"prompt": 5}, "text: expected a text, found 5"),
        ({"length": float("inf")}, "length: expected a whole number of 0 or more, found inf"),
        ({"seed": -1}, "seed: expected a whole number of 0 or more, found -1"),
        ({"temperature": "warm"}, "temperature: expected a number of 0 or more, found 'warm'"),
    ):
        with pytest.raises(LstmEdgeError, match=message):
            generate(model, **{"prompt": "ab", "length": 3, **arguments})
    assert len(generate(model, "ab", 3, temperature=1e-320)) == 3
    for text in ({"vocabulary": {**symbols, "symbols": ["a"]}}, {"vocabulary": []}, ["vocabulary"]):
        with pytest.raises(FormatError, match="(META: text|metadata 'text'): expected"):
            generate(network(3, 0, text=text), "a", 3)
    with pytest.raises(LstmEdgeError, match="path: expected the name of a pair of files"):
        Translator.load("")
