"""keras.layers.MelSpectrogram and STFTSpectrogram, as layers of a network and live in front of one: Keras's own answers."""

from __future__ import annotations

import numpy as np
import pytest
from keras_helpers import close, run
from test_features import signal

import lstm_edge
from lstm_edge import format, passes
from lstm_edge.around import features
from lstm_edge.errors import LstmEdgeError, UnsupportedModelError
from lstm_edge.importers.keras.model import read
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph

keras = pytest.importorskip("keras")
L = keras.layers
SOUND = signal()[:4000]


def network(layer, *shape, behind=()):
    return keras.Sequential([keras.Input(shape), layer, *behind])


def converted(model):
    graph = read(model)
    passes.pipeline(graph)
    return graph, lstm_edge.load(format.to_bytes(graph))


MEL = [
    {"fft_length": 1024},
    {"fft_length": 512, "sequence_stride": 160, "num_mel_bins": 40, "power_to_db": False},
    {"fft_length": 512, "sequence_length": 400, "sequence_stride": 160, "num_mel_bins": 64, "window": "hamming"},
    {"fft_length": 512, "mag_exp": 1.0, "min_freq": 100, "max_freq": 7000, "top_db": 60, "ref_power": 0.5, "num_mel_bins": 32},
    {"fft_length": 300, "sequence_stride": 75, "sampling_rate": 8000, "num_mel_bins": 20, "window": None},
]  # fmt: skip


@pytest.mark.parametrize("given", MEL, ids=range(len(MEL)))
def test_mel_spectrograms_are_those_of_the_layer(given, tmp_path):
    model = network(L.MelSpectrogram(**given), None)
    wanted = np.asarray(model(SOUND[None]))
    graph, found = converted(model)
    close([found.run(SOUND[None])], [wanted], 1e-4)
    assert found.metadata["sample_rate"] == given.get("sampling_rate", 16000)
    assert not found.metadata["streaming"]["supported"]
    assert any("does not stream: Keras pads" in note for note in found.metadata["notes"])
    model.save(tmp_path / "mel.keras")
    close(run(read(tmp_path / "mel.keras"), SOUND[None]), [wanted], 1e-4)


STFT = {
    "log": {},
    "hamming": {"frame_length": 400, "frame_step": 160, "fft_length": 512, "window": "hamming"},
    "magnitude": {"mode": "magnitude", "frame_length": 512, "frame_step": 128},
    "psd": {"mode": "psd", "frame_length": 100, "frame_step": 50, "window": "blackman", "scaling": None},
    "real": {"mode": "real", "frame_length": 128, "scaling": "spectrum", "periodic": True},
    "imag": {"mode": "imag", "frame_length": 90, "fft_length": 120, "window": None},
    "angle": {"mode": "angle", "frame_length": 64},
    "stft": {"mode": "stft", "frame_length": 65, "frame_step": 13, "fft_length": 65},
    "same": {"mode": "magnitude", "frame_length": 64, "frame_step": 1, "padding": "same"},
    "image": {"frame_length": 64, "expand_dims": True},
}
STEREO = {"stft": 2, "image": 2, "same": 2}


@pytest.mark.parametrize("first", [False, True], ids=["last", "first"])
@pytest.mark.parametrize("name", STFT)
def test_spectra_are_those_of_the_layer(name, first, tmp_path):
    given, channels = dict(STFT[name]), STEREO.get(name, 1)
    shape = (channels, None) if first else (None, channels)
    layer = L.STFTSpectrogram(**given, data_format="channels_first" if first else "channels_last")
    model, sound = network(layer, *shape), SOUND[:2000]
    x = np.stack([sound * (c + 1) for c in range(channels)], 0 if first else 1)[None]
    wanted = model(x).detach().numpy()
    model.save(tmp_path / ("m.h5" if first else "m.keras"))
    close(run(read(next(tmp_path.iterdir())), x), run(read(model), x), 0)
    graph, found = converted(model)
    of_table = given.get("mode", "log") in ("log", "magnitude", "psd")
    assert any("is a Fourier transform, which costs less" in n for n in found.metadata["notes"]) == of_table
    whole = found.run(x)
    if name == "angle":  # of what is not silent, and -pi and pi are one
        loud = keras.Sequential([keras.Input(shape), L.STFTSpectrogram("magnitude", 64, data_format=layer.data_format)])
        loud = loud(x).detach().numpy() > 1e-3
        close([np.exp(1j * whole)[loud]], [np.exp(1j * wanted)[loud]], 1e-3)
    else:
        close([whole], [wanted], 1e-4)
    if name == "same":
        return  # looks at samples to come
    assert found.metadata["streaming"]["supported"], found.metadata["notes"]
    time = 2 if first else 1
    step, stream = found.metadata["streaming"]["multiple"] * 3, found.stream(1)
    starts = range(0, x.shape[time] // step * step, step)
    parts = [stream.run(np.ascontiguousarray(x.take(range(at, at + step), time))) for at in starts]
    answers = np.concatenate([p for p in parts if p is not None], time)
    np.testing.assert_array_equal(answers, whole.take(range(answers.shape[time]), time))


def test_trained_kernels_stay_what_they_became_and_conversion_agrees_with_keras(tmp_path):
    for layer in (
        L.STFTSpectrogram("magnitude", 64),
        L.STFTSpectrogram("log", 512),
        L.MelSpectrogram(512, num_mel_bins=16),
    ):
        is_mel = type(layer).__name__ == "MelSpectrogram"
        model = network(layer, None, *[1][: not is_mel], behind=[*[L.Permute((2, 1))][:is_mel], L.GRU(3)])
        if layer.weights and layer.frame_length == 64:
            layer.real_kernel.assign(layer.real_kernel.numpy() + 1e-3)
        found = lstm_edge.convert(model, tmp_path / "m.lstm")
        assert found.metadata["self_test"]["source"].startswith("keras")
        trained = bool(layer.weights) and layer.frame_length == 64
        assert any("which costs less" in n for n in found.metadata["notes"]) == (not is_mel and not trained)
        x = SOUND[None] if is_mel else SOUND[None, :, None]
        close([found.run(x)], [np.asarray(model(x).detach())], 1e-4)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (lambda: L.MelSpectrogram(mag_exp=1.5), (None,), "power: expected 1 .magnitude. or 2 .power., found 1.5"),
        (lambda: L.MelSpectrogram(window=np.ones(2048).tolist()), (None,), "window: expected hann, hamming or None"),
        (lambda: L.MelSpectrogram(), (4, None), "expected an input of batch and samples"),
        (lambda: L.STFTSpectrogram(padding="same"), (None, 1), "SAME padding with stride 128"),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(layer, shape, message):
    with pytest.raises(LstmEdgeError, match=message):
        read(network(layer(), *shape))


# ---- live, in front of a network -------------------------------------------------------------------------------------


def behind(layer, *shape, rate=None):
    """A network that gives what it takes, negated, behind the layer as a front end."""
    graph = Graph()
    graph.output("y", graph.add1("Unary", [graph.input("x", (BATCH, *shape))], {"kind": "neg"}))
    passes.pipeline(graph, dress=lambda g: features.apply(g, layer, rate))
    return lstm_edge.load(format.to_bytes(graph))


@pytest.mark.parametrize("given", MEL, ids=range(len(MEL)))
def test_a_live_mel_spectrogram_is_its_table(given):
    layer = L.MelSpectrogram(**given)
    found = -behind(layer, given.get("num_mel_bins", 128), FRAMES).run(SOUND[None])
    close([found], [np.asarray(layer(SOUND[None]))], 1e-4)


LIVE = [
    {"frame_length": 64},
    {"frame_length": 100, "frame_step": 40, "fft_length": 128, "window": "hamming", "scaling": "spectrum"},
    {"mode": "magnitude", "frame_length": 512, "frame_step": 128, "periodic": True},
    {"mode": "psd", "frame_length": 100, "frame_step": 50, "scaling": None},
    {"mode": "magnitude", "frame_length": 90, "fft_length": 120, "window": None},
]


@pytest.mark.parametrize("given", LIVE, ids=range(len(LIVE)))
def test_a_live_stft_spectrogram_is_its_table(given):
    layer = L.STFTSpectrogram(**given)
    wanted = layer(SOUND[None, :, None]).detach().numpy()
    model = behind(layer, FRAMES, wanted.shape[2], rate=8000)
    whole = model.run(SOUND[None])
    # Keras makes the cosines of its kernels in float32: a bin as quiet as their rounding shows it in a logarithm.
    close([-whole], [wanted], 1e-3 if given.get("mode") is None else 1e-4)
    hop, stream = model.metadata["streaming"]["multiple"], model.stream(1)
    parts = [stream.run(SOUND[None, at : at + hop]) for at in range(0, 4000 // hop * hop, hop)]
    answers = np.concatenate([p for p in parts if p is not None], 1)
    np.testing.assert_array_equal(answers, whole[:, : answers.shape[1]])


def trained():
    layer = L.STFTSpectrogram("psd", 64)
    layer.build((None, None, 1))
    layer.imag_kernel.assign(layer.imag_kernel.numpy() * 1.01)
    return layer


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: L.STFTSpectrogram("psd", 64), "expected the samples a second, which STFTSpectrogram does not know"),
        (lambda: L.STFTSpectrogram("angle"), "mode: expected log, magnitude or psd, found 'angle'; leave the layer in"),
        (lambda: L.STFTSpectrogram(window="blackman"), "window: expected one of hann, .*found 'blackman'"),
        (lambda: L.STFTSpectrogram(padding="same"), "padding: expected 'valid', found 'same'"),
        (trained, "kernels: expected those of the window hann, found trained ones"),
        (lambda: L.Dense(2), "expected keras.layers.MelSpectrogram or .*, found a layer Dense"),
    ],
)
def test_a_live_layer_that_no_table_has_is_refused_by_name(layer, message):
    with pytest.raises(UnsupportedModelError, match=f"x: {message}"):
        behind({"x": layer()}, FRAMES, 33)
