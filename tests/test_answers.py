"""Events out of probabilities: the rule, in any pieces, and the timestamps that Silero's own package gives."""

from __future__ import annotations

import wave

import numpy as np
import pytest
from shared import MODELS, needs_models

import lstm_edge
from lstm_edge.answers import Event, Hysteresis, padded, speech
from lstm_edge.errors import ShapeError

# silero-vad 6.2.3, get_speech_timestamps with its defaults, on silero_test_16k.wav
OF_THE_PACKAGE = [
    (32, 32736), (42528, 75232), (79392, 110048), (149024, 213472), (216608, 241632), (245280, 253920), (260640, 286688),
    (293920, 313824), (325152, 521696), (523296, 569824), (571936, 602080), (607264, 623072), (637984, 692704), (697888, 714208),
    (720416, 749024), (781344, 799712), (817184, 867808), (871456, 918496), (920096, 953312),
]  # fmt: skip


def test_an_event_begins_above_and_ends_well_below():
    probabilities = [0.4, 0.6, 0.4, 0.3, 0.6, 0.3, 0.2, 0.1, 0.9]
    rule = Hysteresis(10, 0.5, shortest=10, silence=20)
    assert rule.feed(probabilities) == [Event(10, 50)]  # 0.4 ends nothing, 0.3 is too short a silence at first
    assert rule.finish() == []  # one frame is not longer than the shortest
    assert rule.feed([0.9, 0.9]) == [] and rule.finish(107) == [Event(90, 107)]


def test_pieces_change_nothing():
    probabilities = np.random.default_rng(5).random(200)
    whole = Hysteresis(4, 0.6, silence=8)
    one = Hysteresis(4, 0.6, silence=8)
    pieces = [event for p in probabilities for event in one.feed([p])]
    assert pieces == whole.feed(probabilities) and len(pieces) > 5 and one.finish() == whole.finish()


def test_padding_is_shared_between_neighbours():
    events = [Event(5, 20), Event(30, 40), Event(80, 95)]
    assert padded(events, 10, 100) == [Event(0, 25), Event(25, 50), Event(70, 100)]


def test_what_is_too_long_is_cut_at_its_longest_gap_or_there():
    def events(text: str, **more):
        """A digit is tenths of probability."""
        rule = Hysteresis(10, 0.5, shortest=10, silence=100, longest=60, **more)
        return rule.feed(int(one) / 10 for one in text) + rule.finish()

    assert events("991919999199") == [(0, 20), (30, 90), (100, 120)]  # at the first of equal gaps
    assert events("99911991999999", gap=10) == [(0, 30), (50, 120)]  # a gap of one frame is too short
    assert events("99999999") == [(0, 70)]  # what is left is one frame, no longer than the shortest


@pytest.mark.parametrize(
    "wrong",
    [
        {"hop": 0},
        {"silence": -1},
        {"threshold": 1.5},
        {"below": 0.9},
        {"longest": 0},
        {"gap": -1},
        {"silence": float("nan")},
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ShapeError, match="^expected .*, found"):
        Hysteresis(**{"hop": 512, **wrong})


def test_what_is_no_number_is_told_by_name():
    for wrong, name in (({"hop": "5"}, "hop"), ({"hop": 5, "below": [0.1]}, "below"), ({"hop": 5, "gap": None}, "gap")):
        with pytest.raises(ShapeError, match=f"^{name}: expected a number, found "):
            Hysteresis(**wrong)
    with pytest.raises(ShapeError, match="^speech_pad_ms: expected a number, found '30'"):
        speech([0.1], speech_pad_ms="30")
    assert Hysteresis(np.int32(5), np.float32(0.5)).hop == 5


# The same package's rule on what onnxruntime answers for each recording, with other arguments.
CUT = [
    ("silero_test_16k", {"max_speech_duration_s": 5, "min_silence_duration_ms": 2000}, [
        (32, 32736), (42528, 122336), (149024, 213472), (216608, 286688), (293920, 313824), (325152, 404736), (404736, 457696),
        (458784, 521696), (523296, 569824), (571936, 623072), (637984, 692704), (697888, 717792), (720416, 777696), (781344, 800224),
        (817184, 867808), (871456, 918496), (920096, 960000),
    ]),
    ("gtcrn_mix_16k", {}, [(8736, 58336), (60448, 112096), (114720, 153568)]),
    ("gtcrn_mix_16k", {"max_speech_duration_s": 3}, [(8736, 56288), (60448, 108000), (114720, 153568)]),
    ("gtcrn_mix_16k", {"max_speech_duration_s": 1.5, "speech_pad_ms": 33.3, "min_silence_at_max_speech": 30, "threshold": 0.7}, [
        (9195, 32512), (32512, 55828), (60395, 71680), (71680, 94976), (94976, 111636), (115179, 138496), (138496, 153108),
    ]),
    ("gtcrn_mix_16k", {"max_speech_duration_s": 2, "min_silence_duration_ms": 400, "threshold": 0.8, "neg_threshold": 0.6, "min_speech_duration_ms": 100}, [
        (9248, 40704), (40704, 56800), (60448, 91904), (91904, 111584), (115232, 141280), (142368, 156302),
    ]),
]  # fmt: skip


@needs_models
def test_speech_is_where_the_package_finds_it():
    source = MODELS / "silero_vad" / "silero_vad_16k_op15.onnx"
    options = {"shapes": {"input": (1, 576)}, "constants": {"sr": 16000}, "overlap": {"input": 64}}
    model = lstm_edge.convert(source, self_test=False, **options)
    heard = {}
    for name in ("silero_test_16k", "gtcrn_mix_16k"):
        with wave.open(str(MODELS.parent / "audio" / f"{name}.wav")) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / np.float32(32768)
        frames = np.pad(samples, (0, -len(samples) % 512)).reshape(-1, 1, 512)
        heard[name] = {"probabilities": model.run(frames).reshape(-1), "samples": len(samples)}
    assert speech(**heard["silero_test_16k"]) == OF_THE_PACKAGE
    for name, arguments, expected in CUT:
        assert speech(**heard[name], **arguments) == expected
