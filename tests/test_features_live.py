"""Transforms of torchaudio in front of a network: look-alikes with its documented attributes, as torchaudio cannot be installed."""

from __future__ import annotations

import numpy as np
import pytest
from test_features import fronted, signal

from lstm_edge import format, load, passes
from lstm_edge.around import features, live_features
from lstm_edge.errors import UnsupportedModelError
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.spectra.filterbanks import cosines, mel_bank, window


class Transform:
    """What all transforms are here: attributes, some of them buffers as torch keeps them."""

    def __init__(self, buffers=None, **attributes):
        self.training = False
        self._buffers = {}
        vars(self).update(attributes)
        self._buffers.update(buffers or {})

    def __getattr__(self, name):
        if name in vars(self).get("_buffers", {}):
            return self._buffers[name]
        raise AttributeError(name)

    def __call__(self, x):
        return x


def named(name, module="torchaudio.transforms._transforms"):
    return type(name, (Transform,), {"__module__": module})


def Spectrogram(n_fft=400, win_length=None, hop=None, pad=0, power=2.0, normalized=False, taper="hann", **more):
    size = win_length or n_fft
    values = window(taper, size, True).astype(np.float32) if isinstance(taper, str) else taper
    given = {
        "n_fft": n_fft,
        "win_length": size,
        "hop_length": hop or size // 2,
        "pad": pad,
        "power": power,
        "normalized": normalized,
    }
    return named("Spectrogram")(
        {"window": values}, **{**given, "center": True, "pad_mode": "reflect", "onesided": True, **more}
    )


def MelScale(n_mels=128, rate=16000, low=0.0, high=None, bins=201, norm=None, scale="htk", fb=None):
    high = float(rate // 2) if high is None else high
    bank = mel_bank(rate, 2 * (bins - 1), n_mels, low, high, scale, norm or "none", "hertz").T.astype(np.float32)
    own = {"n_mels": n_mels, "sample_rate": rate, "f_max": high, "f_min": low, "norm": norm, "mel_scale": scale}
    return named("MelScale")({"fb": bank if fb is None else fb}, **own)


def MelSpectrogram(rate=16000, n_mels=128, low=0.0, high=None, norm=None, scale="htk", n_fft=400, **more):
    inner = Spectrogram(n_fft, **more)
    own = {k: getattr(inner, k) for k in "n_fft win_length hop_length pad power normalized".split()}
    own |= {"sample_rate": rate, "n_mels": n_mels, "f_max": high, "f_min": low, "spectrogram": inner}
    return named("MelSpectrogram")(**own, mel_scale=MelScale(n_mels, rate, low, high, n_fft // 2 + 1, norm, scale))


def AmplitudeToDB(stype="power", top_db=None, **more):
    own = {"stype": stype, "top_db": top_db, "multiplier": 10.0 if stype == "power" else 20.0}
    return named("AmplitudeToDB")(**{**own, "amin": 1e-10, "ref_value": 1.0, "db_multiplier": 0.0, **more})


def MFCC(rate=16000, n_mfcc=40, norm="ortho", log_mels=False, mel=None, **more):
    mel = MelSpectrogram(rate, **(mel or {}))
    own = {"sample_rate": rate, "n_mfcc": n_mfcc, "dct_type": 2, "norm": norm, "top_db": 80.0, "log_mels": log_mels}
    dct = cosines(n_mfcc, mel.n_mels, norm or "none").T.astype(np.float32)
    own |= {"amplitude_to_DB": AmplitudeToDB("power", 80.0), "MelSpectrogram": mel}
    return named("MFCC")({"dct_mat": dct}, **{**own, **more})


class Sequential(tuple):
    __module__ = "torch.nn.modules.container"

    def __call__(self, x):
        return x


def behind(layer, width, rate=None):
    graph = Graph()
    graph.output("y", graph.add1("Unary", [graph.input("x", (BATCH, FRAMES, width))], {"kind": "neg"}))
    passes.pipeline(graph, dress=lambda g: features.apply(g, layer, rate))
    return load(format.to_bytes(graph))


def spectrum(x, n_fft=400, size=None, hop=None, power=2.0, taper="hann", center=True):
    """As torchaudio.functional.spectrogram documents it, in NumPy."""
    size = size or n_fft
    x = np.pad(x, n_fft // 2, "reflect") if center else x
    left = (n_fft - size) // 2
    values = np.pad(window(taper, size, True), (left, n_fft - size - left))
    frames = np.lib.stride_tricks.sliding_window_view(x, n_fft)[:: hop or size // 2]
    return np.abs(np.fft.rfft(frames * values)) ** power


def decibels(x, steps=10, top=None):
    y = steps * np.log10(np.maximum(x, 1e-10))
    return y if top is None else np.maximum(y, y.max() - top)


SOUND = signal().astype(np.float64)
BANK = mel_bank(16000, 400, 40, 20, 7000, "slaney", "slaney", "hertz").T
TRANSFORMS = {
    "spectrogram": (Spectrogram(), lambda: spectrum(SOUND)),
    "no_center": (Spectrogram(512, 400, 160, center=False), lambda: spectrum(SOUND, 512, 400, 160, center=False)),
    "normalized": (
        Spectrogram(256, power=1.0, normalized=True, taper="hamming"),
        lambda: spectrum(SOUND, 256, power=1.0, taper="hamming") / np.sqrt((window("hamming", 256, True) ** 2).sum()),
    ),
    "frame_length": (Spectrogram(256, normalized="frame_length"), lambda: spectrum(SOUND, 256) / 256),
    "amplitude_db": (
        Sequential([Spectrogram(256, power=1.0), AmplitudeToDB("magnitude", 60.0)]),
        lambda: decibels(spectrum(SOUND, 256, power=1.0), 20, 60),
    ),
    "mel": (
        MelSpectrogram(n_mels=40, low=20.0, high=7000.0, norm="slaney", scale="slaney"),
        lambda: spectrum(SOUND) @ BANK,
    ),
    "apart": (
        Sequential(
            [Spectrogram(), MelScale(40, low=20.0, high=7000.0, norm="slaney", scale="slaney"), AmplitudeToDB()]
        ),
        lambda: decibels(spectrum(SOUND) @ BANK),
    ),
    "mfcc": (
        MFCC(n_mfcc=13, mel={"n_mels": 40, "hop": 160}),
        lambda: (
            decibels(spectrum(SOUND, hop=160) @ mel_bank(16000, 400, 40, 0, 8000, "htk", "none", "hertz").T, top=80)
            @ cosines(13, 40, "ortho").T
        ),
    ),
    "log_mels": (
        MFCC(n_mfcc=20, norm=None, log_mels=True, mel={"n_mels": 40}),
        lambda: (
            np.log(spectrum(SOUND) @ mel_bank(16000, 400, 40, 0, 8000, "htk", "none", "hertz").T + 1e-6)
            @ cosines(20, 40, "none").T
        ),
    ),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_is_its_table(name):
    layer, wanted = TRANSFORMS[name]
    wanted = wanted()
    found = -behind(layer, wanted.shape[1], 16000).run(signal()[None])[0]
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_a_transform_has_the_defaults_of_its_library():
    table = live_features.table_of(MFCC(), "x", None)
    sound = signal()[None]
    np.testing.assert_array_equal(fronted(table).run(sound), fronted({"like": "torchaudio", "type": "mfcc"}).run(sound))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Spectrogram(), "expected the samples a second, which Spectrogram does not know"),
        (Spectrogram(power=None), "Spectrogram: attributes that no table of features has: power = None"),
        (Spectrogram(power=0.5, pad=3, onesided=False), "has: pad = 3, power = 0.5, onesided = False"),
        (Spectrogram(pad_mode="replicate"), "has: pad_mode = 'replicate'"),
        (Spectrogram(normalized="peak"), "has: normalized = 'peak'"),
        (Spectrogram(taper=np.linspace(0, 1, 400)), "Spectrogram: window: expected the values of hann_window"),
        (Spectrogram(dither=0.1), "Spectrogram: attributes that no table of features has: dither = 0.1"),
        (MFCC(dct_type=3), "MFCC: attributes that no table of features has: dct_type = 3"),
        (MFCC(mel={"high": 7000.0, "gain": 2}), "Spectrogram: attributes that no table of features has: gain = 2"),
        (Sequential([Spectrogram(), MelScale(40, fb=np.ones((201, 40)))]), "MelScale: fb: expected the filter bank"),
        (Sequential([AmplitudeToDB()]), "expected transforms of torchaudio, one of: MFCC; .*; found AmplitudeToDB"),
        (Sequential([Spectrogram(), named("Linear", "torch.nn")()]), "found Spectrogram, Linear"),
        (Sequential([Spectrogram(), AmplitudeToDB(db_multiplier=1.0)]), "AmplitudeToDB: .*db_multiplier = 1.0"),
        (named("MFCC")(), "MFCC: expected the attributes of torchaudio 2, found MelSpectrogram"),
        (named("Resample")(), "one of: MFCC; .*; found Resample"),
        (named("Spectrogram", "mine")(), "or a table, found a layer Spectrogram"),
    ],
)
def test_what_no_table_has_is_refused_by_name(layer, message):
    with pytest.raises(UnsupportedModelError, match=message):
        behind({"x": layer}, 201)
