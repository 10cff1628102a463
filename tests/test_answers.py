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


@pytest.mark.parametrize("wrong", [{"hop": 0}, {"silence": -1}, {"threshold": 1.5}, {"below": 0.9}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ShapeError, match="^expected .*, found"):
        Hysteresis(**{"hop": 512, **wrong})


@needs_models
def test_speech_is_where_the_package_finds_it():
    source = MODELS / "silero_vad" / "silero_vad_16k_op15.onnx"
    options = {"shapes": {"input": (1, 576)}, "constants": {"sr": 16000}, "overlap": {"input": 64}}
    model = lstm_edge.convert(source, self_test=False, **options)
    with wave.open(str(MODELS.parent / "audio" / "silero_test_16k.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / np.float32(32768)
    frames = np.pad(samples, (0, -len(samples) % 512)).reshape(-1, 1, 512)
    assert speech(model.run(frames).reshape(-1), samples=len(samples)) == OF_THE_PACKAGE
