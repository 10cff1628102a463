"""Training for labels, anomalies, text and pairs of texts: small problems that only a working task solves, and their files."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import pytest

from lstm_edge import LstmEdgeError, UnsupportedModelError, load
from lstm_edge.decoding import Translator, Vocabulary, generate
from lstm_edge.training.options import OptionError, declared_options, read_options
from lstm_edge.training.registry import TASKS

torch = pytest.importorskip("torch")
pytest.importorskip("pandas")

from torch.nn import functional  # noqa: E402

from lstm_edge.training import train  # noqa: E402
from lstm_edge.training.tasks import anomaly, losses, parts, seq2seq, sequences, tagging  # noqa: E402
from lstm_edge.training.tasks.options import ClassifyOptions, LabelOptions, SequenceOptions  # noqa: E402
from lstm_edge.training.tasks.spans import Spans, in_windows  # noqa: E402

SMALL = {"hidden": 12, "rate": 0.02, "batch": 16, "patience": 0}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def of_torch(module, *arrays):
    """What a module gives, as arrays."""
    with torch.no_grad():
        return {name: value.numpy() for name, value in module(*map(torch.as_tensor, arrays)).items()}


def close(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


def padded(arrays):
    """Sequences with zeros behind, and their lengths."""
    lengths = np.array([len(a) for a in arrays])
    whole = np.zeros((len(arrays), lengths.max(), *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(whole, arrays):
        row[: len(array)] = array
    return whole, lengths


# ---- a label for each sequence ---------------------------------------------------------------------------------------


def first_peaks(count: int = 90):
    """Ragged sequences on a large offset, whose label is where their first frame points; later frames are noise."""
    rng = np.random.default_rng(1)
    names = ["down", "flat", "up"]
    kinds = rng.integers(0, 3, count)
    found = []
    for kind in kinds:
        x = 1000 + 10 * rng.normal(0, 0.3, (rng.integers(4, 10), 2))
        x[0, 1] += 20 * (kind - 1)
        found.append(x.astype(np.float32))
    return found, [names[kind] for kind in kinds]


def test_a_label_for_each_sequence():
    frames, labels = first_peaks()
    trained = train((frames, labels), task="classify", epochs=25, **SMALL)
    assert trained.scores["accuracy"] > 0.85 > 0.6 > trained.scores["accuracy of the most frequent label"]
    assert set(trained.scores["share found"]) == {"down", "flat", "up"}
    model = trained.export()
    about = model.metadata["classify"]
    assert about["labels"] == ["down", "flat", "up"] and model.outputs[0].name == about["output"] == "probabilities"
    whole, lengths = padded(frames)
    together = model.run(whole, lengths=lengths)
    close(together, of_torch(trained.module, whole, lengths)["probabilities"])
    close(together[5], of_torch(trained.module, frames[5][None])["probabilities"][0])
    stream = model.stream()
    answers = [stream.step(frame) for frame in frames[5]]
    assert np.array_equal(answers[-1], together[5])
    assert np.array_equal(answers[2], model.run(frames[5][:3]))


@pytest.mark.parametrize(
    "cell, summary, both", [("gru", "mean", False), ("lstm", "max", True), ("peephole", "last", True)]
)
def test_every_summary_and_both_directions(cell, summary, both):
    """Untrained, with padding: torch and the file agree, and padding changes nothing."""
    frames, labels = first_peaks(24)
    options = {"epochs": 1, "cell": cell, "summary": summary, "bidirectional": both, "hidden": 5}
    trained = train((frames, labels), task="classify", **options)
    model = trained.export()
    whole, lengths = padded(frames)
    found = of_torch(trained.module, whole, lengths)["probabilities"]
    close(model.run(whole, lengths=lengths), found)
    close(of_torch(trained.module, frames[3][None])["probabilities"][0], found[3])
    assert model.metadata["streaming"]["supported"] == (not both)


def test_class_weights_find_the_rare_label():
    """Of labels that frames do not tell apart well, the rare one is found where it weighs as much as the others."""
    rng = np.random.default_rng(0)
    rare = rng.random(300) < 0.1
    frames = [(rng.normal(r, 1.0, (3, 1))).astype(np.float32) for r in rare]
    labels = ["rare" if r else "usual" for r in rare]
    shares = []
    for weights in (None, "balanced"):
        trained = train((frames, labels), task="classify", epochs=5, class_weights=weights, **SMALL)
        shares.append(trained.scores["share found"]["rare"])
    assert shares[0] < 0.5 < shares[1]


def test_the_loss_leaves_padding_out_and_halves_of_a_batch_average_to_it():
    frames, _ = first_peaks(6)
    values, ends = torch.from_numpy(np.concatenate(frames)), np.cumsum([len(f) for f in frames])
    bounds = np.stack([[0, *ends[:-1]], ends], 1)
    targets = torch.arange(len(values)) % 3
    spans = Spans({"frames": values, "target": targets}, bounds, pads={"target": losses.PADDING})
    torch.manual_seed(0)
    module = tagging.Tagger(
        tagging.Features(values.numpy(), False), 3, "frames", LabelOptions(hidden=4, bidirectional=True)
    )
    weights = torch.tensor([1.0, 2.0, 3.0])
    loss = losses.CrossEntropy(tagging.logits_of, 5.0, weights)
    with torch.no_grad():
        expected = sum(
            functional.cross_entropy(module.logits(values[None, a:b])[0], targets[a:b], weights, reduction="sum").item()
            for a, b in bounds
        )
        halves = [loss(module, spans.batch(torch.arange(3) + n)).item() for n in (0, 3)]
        assert loss(module, spans.batch(torch.arange(6))).item() == pytest.approx(expected / 30, rel=1e-5)
    assert np.mean(halves) == pytest.approx(expected / 30, rel=1e-5)
    assert loss.over(module, spans.batches(9)) == pytest.approx(expected / weights[targets].sum().item(), rel=1e-5)


# ---- a label for each frame ------------------------------------------------------------------------------------------


def rising(frames: int = 900):
    """Noise, each frame with whether the next one is higher: only who reads backwards can know."""
    x = np.random.default_rng(2).normal(0, 1, frames).astype(np.float32)
    return x, ["rises" if later > now else "falls" for now, later in zip(x, [*x[1:], x[-1]])]


def written(path, header, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_a_label_for_each_frame_from_a_table(tmp_path):
    x, labels = rising()
    path = written(tmp_path / "walk.csv", ["level", "next"], zip(x, labels))
    options = {"label": "next", "epochs": 40, "window": 40, **SMALL}
    trained = train(path, task="label", bidirectional=True, **options)
    assert trained.scores["accuracy"] > 0.9
    assert any("630 + 135 + 135 frames" in note for note in trained.notes)
    model = trained.export(tmp_path / "walk.lstm")
    assert model.metadata["label"] == {
        "input": "frames", "columns": ["level"], "output": "probabilities", "labels": ["falls", "rises"]
    }  # fmt: skip
    close(model.run(x[:70, None]), of_torch(trained.module, x[None, :70, None])["probabilities"][0])
    with pytest.raises(UnsupportedModelError, match="bidirectional: its answer at a frame depends on frames to come"):
        model.stream()


def test_a_label_for_each_frame_streams_over_gaps():
    """Which of two levels was given last, where most frames are missing."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, 2, (12, 60))
    given = rng.random(level.shape) < 0.3
    last = np.maximum.accumulate(np.where(given, np.arange(60), -1), 1)
    labels = np.where(last < 0, 0, np.take_along_axis(level, np.maximum(last, 0), 1))
    frames = np.where(given, level * 5.0 + 70, np.nan).astype(np.float32)[..., None]
    trained = train((frames, labels), task="label", epochs=60, **SMALL)
    assert trained.scores["accuracy"] > 0.97
    assert any("values are missing" in note for note in trained.notes)
    model, stream = trained.export(), None
    whole = model.run(frames[0])
    close(whole, of_torch(trained.module, frames[:1])["probabilities"][0])
    stream = model.stream()
    assert np.array_equal([stream.step(frame) for frame in frames[0]], whole)


# ---- anomalies -------------------------------------------------------------------------------------------------------


def waves(frames: int = 1400, gaps: float = 0.0):
    """Two waves with jumps in their last tenth, and a mark of each."""
    rng, t = np.random.default_rng(3), np.arange(frames)
    x = np.stack([20 + 3 * np.sin(0.2 * t), 5 * np.cos(0.2 * t)], 1) + rng.normal(0, 0.1, (frames, 2))
    marks = np.zeros(frames, int)
    marks[np.arange(frames * 9 // 10, frames, 23)] = 1
    x[marks > 0] += [2, -3]
    x[rng.random(x.shape) < gaps] = np.nan
    return x.astype(np.float32), marks


def test_anomalies_by_forecast_error_stream():
    x, marks = waves(gaps=0.05)
    trained = train(([x], [marks]), task="anomaly", epochs=8, window=50, quantile=0.99, **SMALL)
    assert trained.scores["recall"] > 0.8 and trained.scores["area under ROC"] > 0.97
    assert trained.scores["false alarms"] < 0.06
    model = trained.export()
    about = model.metadata["anomaly"]
    whole = model.run(x)
    expected = of_torch(trained.module, x[None])
    close(whole["score"], expected["score"][0])
    assert np.array_equal(whole["anomaly"], whole["score"] > np.float32(about["threshold"]))
    stream = model.stream()
    steps = [stream.step(frame) for frame in x[:60]]
    assert np.array_equal([s["score"] for s in steps], whole["score"][:60])
    assert not whole["score"][: about["settle"]].any() and whole["score"][about["settle"]] > 0
    alone = model.run(x[980:1190])["score"][about["settle"] :]  # the validation part
    given = ~np.isnan(x[980 + about["settle"] : 1190]).all(1)
    assert about["threshold"] == pytest.approx(np.quantile(alone[given], 0.99), rel=1e-4)


def test_equal_scores_count_half_in_the_area_under_the_curve():
    odd = np.array([True, False, True, False, False])
    assert anomaly._area(np.ones(5), odd) == 0.5
    scores = np.array([2.0, 2.0, 3.0, 0.0, 3.0])
    pairs = [(a > b) + (a == b) / 2 for a in scores[odd] for b in scores[~odd]]
    assert anomaly._area(scores, odd) == pytest.approx(np.mean(pairs))


def test_anomalies_by_an_autoencoder_need_the_whole():
    x, marks = waves()
    x[marks > 0] += [2, -3]
    options = {"form": "autoencoder", "window": 16, "code": 4, "quantile": 1.0, "epochs": 5, "cell": "gru", "batch": 32}
    trained = train(([x], [marks]), task="anomaly", **{**SMALL, **options, "rate": 0.03})
    assert trained.scores["area under ROC"] > 0.95
    model = trained.export()
    assert model.metadata["anomaly"]["score of"] == "sequence"
    two = np.stack([x[:16], x[40:56]])
    answer, expected = model.run(two), of_torch(trained.module, two)
    assert answer["score"].shape == (2,)
    close(answer["score"], expected["score"])
    with pytest.raises(
        UnsupportedModelError, match="brings a value known only after the last frame back to every frame"
    ):
        model.stream()


# ---- text ------------------------------------------------------------------------------------------------------------

VERSE = "the cat sat on the mat, and the dog sat on the log. " * 24


@pytest.mark.parametrize(
    "unit, prompt, follows", [("character", "the d", "og sat on the"), ("token", "the dog", " sat on the")]
)
def test_text_goes_on(unit, prompt, follows, tmp_path):
    (tmp_path / "verse.txt").write_text(VERSE)
    options = {**SMALL, "hidden": 24, "epochs": 20, "window": 24, "unit": unit}
    trained = train(tmp_path / "verse.txt", task="text", **options)
    assert trained.scores["perplexity"] < 1.3 < 7 < trained.scores["perplexity of frequencies alone"]
    model = trained.export()
    vocabulary = Vocabulary.read(model.metadata["text"]["vocabulary"], "here")
    assert vocabulary.symbols[0] == "<unknown>" and set("".join(vocabulary.symbols[1:])) == set(VERSE)
    assert generate(model, prompt, len(vocabulary.encode(follows))) == follows
    numbers = vocabulary.encode(VERSE[:80])
    whole = model.run(numbers)
    close(whole, of_torch(trained.module, numbers[None].astype(np.int64))["logits"][0])
    stream = model.stream()
    assert np.array_equal([stream.step(n) for n in numbers], whole)


# ---- sequence to sequence --------------------------------------------------------------------------------------------


def numbers_in_words():
    ones = "one two three four five six seven eight nine".split()
    tens = "twenty thirty forty fifty sixty seventy eighty ninety".split()
    parts = itertools.product(enumerate(ones, 1), enumerate(tens, 2), enumerate(ones, 1))
    return [(f"{h} hundred {t} {o}", f"{i}{j}{k}") for (i, h), (j, t), (k, o) in parts]


def test_a_text_from_a_text(tmp_path):
    """Numbers in words, which the source's tokens hold, to digits."""
    path, pairs = tmp_path / "pairs.tsv", numbers_in_words()
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    options = {**SMALL, "hidden": 32, "embedding": 12, "epochs": 13, "batch": 32}
    trained = train(path, task="seq2seq", output=tmp_path / "words.lstm", source_unit="token", **options)
    assert trained.scores["exact"] > 0.7
    translator = Translator.load(tmp_path / "words.lstm")
    assert np.mean([translator(source) == target for source, target in pairs[::20]]) > 0.7
    assert load(tmp_path / "words.encoder.lstm").metadata["seq2seq"]["source"]["symbols"][:2] == ["<end>", "<unknown>"]
    texts = translator.beam(pairs[5][0], 4)
    assert texts[0][0] == translator(pairs[5][0]) and texts[0][1] >= texts[1][1]
    source = np.append(translator.source.encode(pairs[5][0]), 0)[None]
    tokens = np.array([[translator.start, *translator.target.encode("426")]], np.int32)
    context = np.repeat(translator.encoder.run(source), 4, 1)
    with torch.no_grad():
        expected = trained.module(torch.from_numpy(source).long(), None, torch.from_numpy(tokens).long())
    close(translator.decoder.run(tokens, context), expected.numpy())


def test_pairs_of_one_source_are_never_in_two_parts():
    pairs = [(source, source + letter) for source in "abcdefghij" for letter in "xyz"]
    numbers, _ = seq2seq.divided(pairs, TASKS["seq2seq"].options())
    held = [{pairs[n][0] for n in part} for part in numbers]
    assert sum(map(len, numbers)) == 30 and sum(map(len, held)) == 10 and not held[0] & held[1] | held[0] & held[2]


# ---- parts, windows, sources -----------------------------------------------------------------------------------------


def test_whole_sequences_are_held_out_by_label():
    bounds = np.stack([np.arange(40), np.arange(40) + 1], 1) * 5
    kinds = np.array([0] * 30 + [1] * 8 + [2, 2])
    found = parts.by_sequences(bounds, kinds, 0.2, 0.2, seed=0)
    assert sorted(np.concatenate(found.sequences)) == list(range(40))
    assert [np.bincount(kinds[n], minlength=3).tolist() for n in found.sequences] == [[18, 4, 2], [6, 2, 0], [6, 2, 0]]
    assert np.array_equal(found.stretches[1], bounds[found.sequences[1]])
    again = parts.by_sequences(bounds, kinds, 0.2, 0.2, seed=1)
    assert not np.array_equal(found.sequences[0], again.sequences[0])


def test_what_is_held_out_by_time_comes_last():
    found = parts.by_time(np.array([[0, 100], [100, 140]]), 0.1, 0.2)
    assert [s.tolist() for s in found.stretches] == [
        [[0, 70], [100, 128]],
        [[70, 80], [128, 132]],
        [[80, 100], [132, 140]],
    ]


def test_windows_cover_a_stretch_and_stay_inside():
    found = in_windows(np.array([[3, 20], [30, 34]]), 8, 4)
    assert found.tolist() == [[3, 11], [7, 15], [11, 19], [12, 20], [30, 34]]


def test_rows_of_a_table_may_stand_in_any_order(tmp_path):
    rows = [("b", 2, 5.0, "x"), ("a", 1, 1.0, "y"), ("b", 1, 4.0, "x"), ("a", 0, 0.0, "y")]
    path = written(tmp_path / "t.csv", ["run", "at", "value", "kind"], rows)
    options = SequenceOptions(group="run", label="kind", time="at")
    found = sequences.read(path, options, labelled=True, grouped=True)
    assert found.names == ("b", "a") and found.values[:, 0].tolist() == [4, 5, 0, 1]
    assert found.one_label_each().tolist() == ["x", "y"] and found.columns == ("value",)


def test_a_column_of_times_orders_frames_and_uneven_ones_are_noted(tmp_path):
    """Any word but none is a label, one that elsewhere stands for what is missing too."""
    hours = [0, 1, 3, 2, 5]
    rows = [(f"2024-01-01 0{hour}:00", 10.0 * hour, "none", "?") for hour in hours]
    path = written(tmp_path / "t.csv", ["when", "value", "kind", "remark"], rows)
    found = sequences.read(path, SequenceOptions(label="kind"), labelled=True, grouped=False)
    assert found.values[:, 0].tolist() == [0, 10, 20, 30, 50] and set(found.labels) == {"none"}
    notes = [
        "orders the frames",
        "the frames are the columns 'value'",
        "not used: 'remark'",
        "1 of 4 steps between them are not",
    ]
    assert all(any(note in said for said in found.notes) for note in notes)


def test_a_folder_has_a_folder_for_each_label(tmp_path):
    for label, value in (("calm", 0.0), ("wild", 9.0)):
        (tmp_path / label).mkdir()
        np.save(tmp_path / label / "1.npy", np.full((4, 2), value))
        written(tmp_path / label / "2.csv", ["p", "q"], [[value, value]] * 3)
    found = sequences.read(tmp_path, ClassifyOptions(), labelled=True, grouped=True)
    assert found.one_label_each().tolist() == ["calm", "calm", "wild", "wild"]
    assert found.bounds.tolist() == [[0, 4], [4, 7], [7, 11], [11, 14]] and found.values[8:].min() == 9
    assert found.columns == ("p", "q")
    written(tmp_path / "wild" / "3.csv", ["q", "p"], [[1, 2]] * 3)
    with pytest.raises(
        LstmEdgeError, match="3.csv: expected the columns .'p', 'q'., as in the first file, found .'q', 'p'."
    ):
        sequences.read(tmp_path, ClassifyOptions(), labelled=True, grouped=True)


def test_labels_have_one_order_whatever_numbers_they_spell():
    assert sequences.in_order(np.array(["2", "1.0", "10", "1"], object)) == ("1", "1.0", "2", "10")
    assert sequences.in_order(np.array(["nan", "3", "2", "20"], object)) == ("2", "20", "3", "nan")


def test_an_empty_file_of_a_folder_is_named(tmp_path):
    (tmp_path / "calm").mkdir()
    (tmp_path / "calm" / "1.npy").write_bytes(b"")
    with pytest.raises(LstmEdgeError, match="calm/1.npy: expected an array of numbers"):
        sequences.read(tmp_path, ClassifyOptions(), labelled=True, grouped=True)


ROWS = [("a", "1", "x"), ("a", "2", "x"), ("b", "3", "y")]
BAD_TABLES = {
    "a cell": ([("a", "one", "x"), *ROWS], {}, r"column 'v': expected numbers, found in line 2 'one'"),
    "two labels": ([*ROWS, ("b", "4", "x")], {}, r"sequence 'b': expected one label, found 'y' and 'x'"),
    "no label": ([*ROWS, ("c", "4", "")], {}, r"column 'k': expected a word in every row, found in line 5 ''"),
    "one label": (ROWS[:2], {}, "expected two labels or more, found x"),
    "too few": (ROWS, {}, "three of a class at least; found 2 in all"),
    "a gap": ([*ROWS, ("b", "", "y")], {"missing": "error"}, r"sequence 'b', frame 1, column 'v': expected a value"),
    "no group": (ROWS, {"group": None}, "expected group, the column that says which sequence a row belongs to"),
    "a column": (ROWS, {"label": "kind"}, "label names the column 'kind', found 'g', 'v', 'k'"),
    "a role": (ROWS, {"inputs": ("v", "g")}, "column 'g' is named as an input and as something else"),
}


@pytest.mark.parametrize("rows, options, message", BAD_TABLES.values(), ids=BAD_TABLES)
def test_bad_tables_are_named(rows, options, message, tmp_path):
    path = written(tmp_path / "t.csv", ["g", "v", "k"], rows)
    with pytest.raises(LstmEdgeError, match=message) as found:
        train(path, task="classify", **{"group": "g", "label": "k", "inputs": ("v",), **options})
    assert "t.csv" in str(found.value) or "class" in message or "labels" in message


ONE = np.zeros((3, 2), np.float32)
BAD_SOURCES = {
    "no labels": ("classify", [ONE], "expected a table, a folder, or .sequences, labels., found list"),
    "labels": ("classify", ([ONE], ["a", "b"]), "expected 1 labels, one for each sequence, found 2"),
    "columns": ("classify", ([ONE, ONE[:, :1]], "ab"), "sequence '1': expected 2 columns, as '0' has, found 1"),
    "frames": ("label", ([ONE], [["a", "b"]]), r"sequence '0': expected a label, or 3, one a frame, found \(2,\)"),
    "infinite": (
        "label",
        ([ONE, ONE + np.inf], "ab"),
        "sequence '1', frame 0, column 'column1': expected a finite number",
    ),
    "marks": ("anomaly", ([ONE], [["0", "1", "2"]]), "expected 0 or 1 as the mark of an anomaly, found '2'"),
    "no text": ("text", 5, "expected the path of a text file, or a list of texts, found int"),
    "a short text": ("text", ["abc"], "expected a text of some length, found 3 characters"),
    "no pair": ("seq2seq", [("a", "b"), ("c",)], r"pair 1: expected a source, a tab and a target"),
    "one source": ("seq2seq", [("a", "b")] * 4, "expected three different sources or more, found 1"),
    "nothing usual": ("anomaly", ([np.zeros((90, 1))], [np.arange(90) > 50]), "no anomaly to choose by and to take"),
    "short": ("anomaly", np.zeros((30, 1)), "frames beyond the first 8 that are no anomaly to choose by"),
    "an empty label": ("classify", ([ONE, ONE], ["a", float("nan")]), "sequence '1': expected a label, found nan"),
    "an empty column": (
        "label",
        ([ONE * np.nan] * 12, [["a", "b", "a"]] * 12),
        "column 'column1': expected values, found none",
    ),
    "nothing to judge by": (
        "anomaly",
        np.where((np.arange(300) > 205) & (np.arange(300) < 258), np.nan, np.sin(np.arange(300)))[:, None],
        "expected values to take the threshold from, found none in the validation part",
    ),
    "complex numbers": ("classify", ([ONE + 1j] * 2, "ab"), "sequence '0': expected an array of numbers"),
    "few pairs": ("seq2seq", [("a", "b")], "expected three pairs or more, found 1"),
}


@pytest.mark.parametrize("task, source, message", BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_bad_sources_are_named(task, source, message):
    with pytest.raises(LstmEdgeError, match=message):
        train(source, task=task)


def test_lines_and_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("a\tb\nc\td\n\nno tab\n")
    with pytest.raises(LstmEdgeError, match="line 4: expected a source, a tab and a target, .* found 'no tab'"):
        train(path, task="seq2seq")
    path.write_bytes(b"abc\xff")
    with pytest.raises(LstmEdgeError, match="expected text in UTF-8, found other bytes at 3"):
        train(path, task="text")


BAD_OPTIONS = {
    "anomaly": ({"bidirectional": True}, "bidirectional=True reads frames to come, and form='forecast' measures"),
    "text": ({"bidirectional": True}, "bidirectional=True reads frames to come, which a text that is being written"),
    "classify": ({"loss": "mse"}, "loss='mse' is for numbers; a label takes cross-entropy"),
    "label": ({"window": 1, "horizon": 3}, "horizon is no option of this task"),
    "seq2seq": ({"validation": 0.5, "test": 0.5}, "validation=0.5 and test=0.5 leave nothing to train on"),
}


@pytest.mark.parametrize("task", BAD_OPTIONS)
def test_options_that_a_task_does_not_take_are_refused(task):
    options, message = BAD_OPTIONS[task]
    with pytest.raises(OptionError, match=message):
        read_options(TASKS[task].options, options)
    with pytest.raises(OptionError, match="did you mean class_weights"):
        read_options(TASKS[task].options, {"class_weight": "balanced"})


def test_tasks_share_a_flag_with_its_form():
    """The command line has each flag once, so that what it takes is the same in every task that has it."""
    forms = {}
    for task in TASKS.values():
        for name, declared in declared_options(task.options).items():
            form = (declared.kind, declared.many, declared.metavar, declared.choices)
            assert forms.setdefault(name, form) == form, name


def test_class_weights_name_labels():
    with pytest.raises(LstmEdgeError, match="class_weights: expected labels among down, flat, up, found 'left'"):
        train(first_peaks(30), task="classify", class_weights={"left": 2})


def test_sizes_without_memory_for_them_are_an_error():
    with pytest.raises(LstmEdgeError, match="expected memory for the data and the network, found: .*allocate"):
        train(["the cat sat on the mat"] * 9, task="text", hidden=10**9)
