"""From samples to features, as ops of a graph."""

from __future__ import annotations

import numpy as np

from ..ir.graph import Graph
from ..ir.ops import TO_END
from . import deltas
from .fields import UTTERANCE, Fields
from .filterbanks import cosines, lifter, mel_bank, window
from .loudness import binary, logarithm, pcen

LEAST_VARIANCE = 1e-20  # Kaldi's


def features(graph: Graph, x: str, f: Fields, name: str, kept: bool = False) -> str:
    """(batch, samples) to (batch, frames, f.width). kept: what stands before the samples is in front of them already."""
    x = _of_frames(graph, x, f, name, kept)
    of_all = isinstance(f.cmvn, dict) and len(f.cmvn["mean"]) > f.own_width
    if f.cmvn and not of_all:
        x = _normalised(graph, x, f, f"{name}.cmvn")
    x = deltas.append(graph, x, f, name)
    return _normalised(graph, x, f, f"{name}.cmvn") if of_all else x


def _normalised(graph: Graph, x: str, f: Fields, name: str) -> str:
    """Columns less their mean, over their deviation."""
    if f.cmvn != UTTERANCE:
        x = binary(graph, "sub", x, f.cmvn["mean"], f"{name}.centred")
        std = np.array(f.cmvn["std"])
        return x if (std == 1).all() else binary(graph, "mul", x, 1 / std, name)
    mean = graph.add1("Reduce", [x], {"kind": "mean", "axes": [1], "keepdims": 1}, f"{name}.mean")
    x = graph.add1("Binary", [x, mean], {"kind": "sub"}, f"{name}.centred")
    if not f.cmvn_vars:
        return x
    squares = graph.add1("Binary", [x, x], {"kind": "mul"}, f"{name}.squares")
    variance = graph.add1("Reduce", [squares], {"kind": "mean", "axes": [1], "keepdims": 1}, f"{name}.variance")
    deviation = graph.add1(
        "Unary", [binary(graph, "max", variance, LEAST_VARIANCE, f"{name}.least")], {"kind": "sqrt"}, f"{name}.std"
    )
    return graph.add1("Binary", [x, deviation], {"kind": "div"}, name)


def _of_frames(graph: Graph, x: str, f: Fields, name: str, kept: bool) -> str:
    """(batch, samples) to (batch, frames, f.own_width)."""
    if f.input_scale != 1:
        x = binary(graph, "mul", x, f.input_scale, f"{name}.scaled")
    if f.preemphasis and f.preemphasis_of == "samples":
        x = _emphasised_samples(graph, x, f, name, kept)
    if not kept:
        x = _padded(graph, x, f, name)
    frames = graph.add1("Frames", [x], {"size": f.size, "hop": f.hop}, f"{name}.frames")
    frames, energy = _prepared(graph, frames, f, name)
    spectrum = graph.add1("Rfft", [frames], {"n": f.n_fft}, f"{name}.spectrum")
    parts = {"kind": "sum_square" if f.power == 2 else "l2", "axes": [2], "keepdims": 0}
    power = graph.add1("Reduce", [spectrum], parts, f"{name}.power")
    if not f.of_bank:
        power = _scaled(graph, power, f, f"{name}.stft")
        return power if f.type == "stft" else logarithm(graph, power, f, f"{name}.log")
    bank = mel_bank(f.rate, f.n_fft, f.n_mels, f.fmin, f.fmax or f.rate / 2, f.mel, f.norm, f.spacing)
    bank[:, 0] *= f.first_bin
    mel = graph.add1("Dense", [power, graph.constant(bank * f.spectrum_scale, f"{name}.bank")], {}, f"{name}.mel")
    if f.type == "mel":
        return mel
    if f.type == "pcen":
        return pcen(graph, mel, f, f"{name}.pcen")
    logs = logarithm(graph, mel, f, f"{name}.log")
    if f.type == "log_mel":
        return logs
    dct = cosines(f.n_mfcc, f.n_mels, f.dct) * lifter(f.n_mfcc, f.lifter, f.lifter_first)[:, None]
    mfcc = graph.add1("Dense", [logs, graph.constant(dct, f"{name}.cosines")], {}, f"{name}.mfcc")
    if f.energy == "none":
        return mfcc
    if f.energy == "spectrum":
        total = graph.add1("Reduce", [power], {"kind": "sum", "axes": [2], "keepdims": 1}, f"{name}.energy")
        energy = binary(graph, "mul", total, f.spectrum_scale, f"{name}.energy_scaled")
    first = logarithm(graph, energy, f, f"{name}.log_energy")
    rest = graph.add1("Slice", [mfcc], {"axes": [2], "starts": [1], "ends": [TO_END]}, f"{name}.rest")
    return graph.add1("Concat", [first, rest], {"axis": 2}, f"{name}.with_energy")


def _scaled(graph: Graph, x: str, f: Fields, name: str) -> str:
    """A spectrum that is no filter bank's, as its library scales it."""
    if f.doubled:
        sides = np.full(f.n_fft // 2 + 1, 2 * f.spectrum_scale)
        sides[[0, -1]] /= 2
        x = binary(graph, "mul", x, sides, name)
    elif f.spectrum_scale != 1:
        x = binary(graph, "mul", x, f.spectrum_scale, name)
    return binary(graph, "max", x, f.least, f"{name}.least") if f.least else x


def _emphasised_samples(graph: Graph, x: str, f: Fields, name: str, kept: bool) -> str:
    """x[t] - a x[t-1], and x[0] itself, or without it where it is one that was kept, or less what stands before it on the line through
    x[0] and x[1], as librosa has it: 3 x[0] - x[1]."""
    if f.preemphasis_first == "extrapolated" and not kept:
        two = graph.add1("Slice", [x], {"axes": [1], "starts": [0], "ends": [2]}, f"{name}.first_two")
        line = np.array([[2.0, -1.0]]) / -f.preemphasis
        front = graph.add1("Dense", [two, graph.constant(line, f"{name}.line")], {}, f"{name}.before_first")
        x, kept = graph.add1("Concat", [front, x], {"axis": 1}, f"{name}.from_line"), True
    before = {"shape": [1, 1, 1], "from_input": [0, -1, 0], "from_axis": [0, 0, 1]}
    channel = graph.add1("Reshape", [x], before, f"{name}.channel")
    weight = graph.constant(np.array([[[-f.preemphasis, 1.0]]]), f"{name}.emphasis.weight")
    y = graph.add1("Conv", [channel, weight], {"pads": [int(not kept), 0]}, f"{name}.emphasis")
    after = {"shape": [1, 1], "from_input": [0, 0], "from_axis": [0, 2]}
    return graph.add1("Reshape", [y], after, f"{name}.emphasised")


def padding(f: Fields) -> tuple[int, int]:
    """How many samples the library puts before a recording and, at most, behind it: so many that every hop has its frame, or every sample."""
    begin = f.n_fft // 2 if f.center else 0
    reach = f.size - 1 if f.like == "tensorflow" else f.hop - 1
    return begin, 0 if f.end == "cut" else f.n_fft // 2 if f.center else reach


def _padded(graph: Graph, x: str, f: Fields, name: str) -> str:
    """Samples with what the library puts before and behind them."""
    begin, end = padding(f)
    if begin and begin == end or not (begin or end):
        both = [(begin, end)]
    else:
        both = [(begin, 0), (0, end)]
    for b, e in both:
        if b or e:
            mode = f.pad_mode if f.center else "constant"
            x = graph.add1("Pad", [x], {"pads": [0, b, 0, e], "mode": mode}, f"{name}.padded")
    return x


def _prepared(graph: Graph, frames: str, f: Fields, name: str) -> tuple[str, str]:
    """Frames as they are transformed, and the energy of each as it was before emphasis and window ("" where nobody asks)."""
    if f.remove_dc:
        mean = graph.add1("Reduce", [frames], {"kind": "mean", "axes": [2], "keepdims": 1}, f"{name}.mean")
        frames = graph.add1("Binary", [frames, mean], {"kind": "sub"}, f"{name}.without_mean")
    energy = ""
    if f.type == "mfcc" and f.energy == "frame":
        energy = graph.add1("Reduce", [frames], {"kind": "sum_square", "axes": [2], "keepdims": 1}, f"{name}.energy")
    if f.preemphasis and f.preemphasis_of == "frames":
        first = graph.add1("Slice", [frames], {"axes": [2], "starts": [0], "ends": [1]}, f"{name}.first")
        rest = graph.add1("Slice", [frames], {"axes": [2], "starts": [0], "ends": [-1]}, f"{name}.before_each")
        before = graph.add1("Concat", [first, rest], {"axis": 2}, f"{name}.shifted")
        less = binary(graph, "mul", before, f.preemphasis, f"{name}.less")
        frames = graph.add1("Binary", [frames, less], {"kind": "sub"}, f"{name}.emphasised")
    taper = window(f.window, f.win_length, f.periodic)
    left = (f.size - f.win_length) // 2
    taper = np.pad(taper, (left, f.size - f.win_length - left))
    if not (taper == 1).all():
        frames = binary(graph, "mul", frames, taper, f"{name}.windowed")
    return frames, energy
