"""Layers of Keras that make spectra of sound: MelSpectrogram and STFTSpectrogram."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...options import named
from ...spectra.fields import LIKE, Fields, misfits
from ...spectra.keras import EPSILON, of_mel_spectrogram, taper_of
from ...spectra.lowering import features
from ..dialect import Value, movement, spectra, windows
from .config import Layer
from .emit import Call, Emit, Rule

MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")


def mel_spectrogram(e: Emit, layer: Layer, call: Call) -> Value:
    """(batch, samples) to (batch, mel bins, frames), by the ops of a front end of like = keras."""
    x, config = e.real(call.x), layer.config
    if e.rank(x) != 2:
        raise e.unsupported(f"expected an input of batch and samples, found shape {e.shape(x)}", "reshape it in front")
    sizes = {k: config.size(k) for k in ("fft_length", "sequence_length", "sequence_stride", "num_mel_bins")}
    reals = "sampling_rate mag_exp min_freq max_freq min_power top_db ref_power".split()
    given: dict[str, Any] = {**sizes, **{k: config.number(k) for k in reals}}
    given |= {"window": config.take("window"), "power_to_db": config.flag("power_to_db")}
    try:
        fields = Fields(**{"like": "keras", **LIKE["keras"], **of_mel_spectrogram(given)})
    except ValueError as why:
        raise e.unsupported(str(why), "export the model to ONNX with such a window") from why
    wrong = misfits(fields)
    if wrong:
        raise e.refuse("; ".join(wrong))
    decibels = ", and decibels lie below each recording's loudest value" if fields.type == "log_mel" else ""
    e.note(
        f"{e.place}: does not stream: Keras pads a recording with what it begins and ends with{decibels}; a network without this "
        f"layer does, behind features of like = 'keras' with end = 'cut', pad_mode = 'constant', top_db = false ({named('before')})"
    )
    e.rounds(
        1e-3 if decibels else 1e-4,
        "Keras makes its filter bank in float32, where the weight of a bin at a filter's edge has few digits",
    )
    e.graph.metadata.setdefault("sample_rate", fields.rate)
    y = Value("float32", tensor=features(e.graph, e.tensor(x), fields, e.node_name))
    return movement.swap_axes(e, y, 1, 2)


def stft_spectrogram(e: Emit, layer: Layer, call: Call) -> Value:
    """(batch, samples, channels), channels_first (batch, channels, samples), each channel's spectra by themselves."""
    x, config = e.real(call.x), layer.config
    first = config.word("data_format", ("channels_last", "channels_first"), "channels_last") == "channels_first"
    mode = config.word("mode", MODES, "log")
    if e.rank(x) != 3:
        raise e.unsupported(f"expected an input of rank 3, found shape {e.shape(x)}", "reshape it in front")
    if not first:
        x = movement.swap_axes(e, x, 1, 2)
    y = e.named(_of_mode(e, _spectra(e, layer, x, mode), mode))  # (batch, channels, frames, values)
    channels, values = e.shape(y)[1], e.shape(y)[3]
    if config.flag("expand_dims"):
        return y if first else movement.transpose(e, y, [0, 2, 3, 1])
    y = movement.transpose(e, y, [0, 1, 3, 2] if first else [0, 2, 1, 3])
    merged = channels * values
    size = e.shape(y)
    return movement.reshape(e, y, [size[0], merged, size[3]] if first else [size[0], size[1], merged])


def _spectra(e: Emit, layer: Layer, x: Value, mode: str) -> Value:
    """(batch, channels, samples) to (batch, channels, frames, parts, bins): a convolution with the layer's kernels, as Keras computes
    it. They may have been trained; and where they are cosines, Keras has rounded these, which is far more than a transform does."""
    config = layer.config
    length = config.size("frame_length", 256)
    hop = length // 2 if config.take("frame_step") is None else config.size("frame_step")
    points = 1 << (length - 1).bit_length() if config.take("fft_length") is None else config.size("fft_length")
    bins, padding = points // 2 + 1, config.word("padding", ("valid", "same"), "valid")
    for key in ("window", "periodic", "scaling"):
        config.take(key)  # the kernels hold them
    names = [n for n, lacking in (("real_kernel", "imag"), ("imag_kernel", "real")) if mode != lacking]
    kernels = [layer.weight(name, (length, 1, bins))[:, 0].astype(np.float64) for name in names]
    if mode in ("log", "magnitude", "psd") and taper_of(*kernels) is not None:
        e.note(
            f"{e.place}: a convolution with {bins} waves of {length} samples, as Keras computes it; the layer given as a front end of the "
            f"network behind it ({named('before')}) is a Fourier transform, which costs less and leaves out how Keras rounded the waves"
        )
    channels = movement.fixed_sizes(e, [e.shape(x)[1]], "channels")[0]
    weight = np.tile(np.concatenate([k.T for k in kernels])[:, None], (channels, 1, 1))
    y = windows.conv(e, x, e.weight(weight, "kernels"), strides=[hop], padding=padding, groups=channels)
    sizes = e.shape(y)
    y = movement.reshape(e, y, [sizes[0], channels, len(kernels), bins, sizes[2]])
    return movement.transpose(e, y, [0, 1, 4, 2, 3])


def _of_mode(e: Emit, y: Value, mode: str) -> Value:
    """(batch, channels, frames, parts, bins) to (batch, channels, frames, values)."""
    sizes = e.shape(y)
    if mode in ("real", "imag", "stft"):
        return movement.reshape(e, y, [*sizes[:3], sizes[3] * sizes[4]])
    if mode == "angle":
        real, imaginary = (movement.squeeze(e, e.slice_axis(y, 3, n, n + 1), [3]) for n in (0, 1))
        return spectra.atan2(e, imaginary, real)
    power = spectra.magnitude(e, y, 3, 2)
    if mode == "psd":
        twice = np.full(movement.fixed_sizes(e, sizes[4:], "bins"), 2.0)
        twice[[0, -1]] = 1
        return e.binary("mul", power, e.weight(twice.astype(np.float32), "twice"))
    power = e.binary("max", power, EPSILON)
    return e.unary("sqrt", power) if mode == "magnitude" else e.binary("mul", e.unary("log", power), 0.5)


RULES: dict[str, Rule] = {"MelSpectrogram": mel_spectrogram, "STFTSpectrogram": stft_spectrogram}
