"""Writes tests/golden/features.npz: what librosa, python_speech_features, kaldi-native-fbank, sonopy and TensorFlow compute of a signal and of
pieces of recordings, for tests/test_features.py. Run in an environment with these (`--only` where it has some), not in the tests':

    python tools/golden/make_features.py tests/golden/features.npz [--wavs a.wav b.wav] [--only librosa,sonopy]
"""

from __future__ import annotations

import argparse
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np

L, P, K, S, T = "librosa", "python_speech_features", "kaldi", "sonopy", "tensorflow"
# The tables that tests convert with; the functions below read the same fields.
SETS: list[dict] = [
    {"like": L, "type": "mfcc", "rate": 16000, "n_fft": 512, "hop": 160, "n_mfcc": 13},
    {"like": L, "type": "mfcc", "rate": 16000, "n_fft": 400, "hop": 160, "n_mels": 40, "n_mfcc": 20, "lifter": 22, "center": False, "top_db": False, "end": "cut"},
    {"like": L, "type": "mel", "rate": 16000, "n_fft": 1024, "hop": 256, "n_mels": 64, "fmin": 20, "fmax": 7600, "mel": "htk", "norm": "none"},
    {"like": L, "type": "log_mel", "rate": 16000, "n_fft": 512, "hop": 128, "n_mels": 80, "power": 1, "window": "hamming"},
    {"like": L, "type": "stft", "rate": 16000, "n_fft": 512, "win_length": 320, "hop": 160, "power": 1, "pad_mode": "reflect"},
    {"like": P, "type": "mfcc"},
    {"like": P, "type": "mfcc", "hop": 80, "n_mels": 40, "n_mfcc": 20, "lifter": False, "energy": "none"},
    {"like": P, "type": "mfcc", "n_fft": 1024, "win_length": 640, "hop": 320, "window": "hamming", "periodic": False, "fmin": 100, "fmax": 7000},
    {"like": P, "type": "log_mel", "preemphasis": 0.0},
    {"like": P, "type": "mel", "n_mels": 20, "fmax": 4000},
    {"like": K, "type": "mfcc"},
    {"like": K, "type": "mfcc", "energy": "none", "n_mels": 40, "n_mfcc": 20, "fmax": 7600},
    {"like": K, "type": "log_mel", "n_mels": 80},
    {"like": K, "type": "log_mel", "n_mels": 40, "window": "hamming", "remove_dc": False, "preemphasis": 0.0},
    {"like": K, "type": "mel", "win_length": 320, "hop": 80, "power": 1},
    {"like": S, "type": "mfcc"},
    {"like": S, "type": "mfcc", "win_length": 400, "hop": 200, "n_mfcc": 20},
    {"like": S, "type": "log_mel"},
    {"like": S, "type": "log_mel", "n_mels": 26, "win_length": 512, "hop": 256},
    {"like": S, "type": "stft", "hop": 160},
    {"like": T, "type": "mfcc"},
    {"like": T, "type": "log_mel", "n_fft": 512, "win_length": 400, "hop": 160, "n_mels": 40, "fmin": 20, "fmax": 4000},
    {"like": T, "type": "stft", "n_fft": 256, "hop": 128},
    {"like": T, "type": "mel", "n_fft": 512, "hop": 160, "power": 2},
    {"like": T, "type": "mfcc", "n_fft": 512, "win_length": 480, "hop": 160, "n_mels": 40, "n_mfcc": 10, "end": "pad"},
    # deltas
    {"like": L, "type": "mfcc", "rate": 16000, "n_fft": 512, "hop": 160, "n_mfcc": 13, "deltas": 2},
    {"like": L, "type": "log_mel", "rate": 16000, "n_fft": 512, "hop": 160, "n_mels": 20, "deltas": 1, "delta_width": 5, "delta_edges": "nearest"},
    {"like": L, "type": "mfcc", "rate": 16000, "n_fft": 512, "hop": 256, "n_mfcc": 13, "deltas": 2, "delta_width": 7, "delta_edges": "mirror"},
    {"like": L, "type": "mfcc", "rate": 16000, "n_fft": 512, "hop": 160, "n_mfcc": 8, "deltas": 2, "delta_edges": "constant"},
    {"like": L, "type": "mel", "rate": 16000, "n_fft": 512, "hop": 160, "n_mels": 16, "deltas": 2, "delta_width": 3, "delta_edges": "nearest"},
    {"like": P, "type": "mfcc", "deltas": 2},
    {"like": P, "type": "mfcc", "deltas": 1, "delta_width": 3},
    {"like": P, "type": "log_mel", "deltas": 2, "delta_width": 9},
    {"like": P, "type": "mfcc", "n_mfcc": 20, "deltas": 2, "delta_width": 7},
    {"like": P, "type": "mel", "n_mels": 20, "deltas": 1},
    {"like": K, "type": "mfcc", "deltas": 2},
    {"like": K, "type": "mfcc", "deltas": 1, "delta_width": 7},
    {"like": K, "type": "log_mel", "n_mels": 40, "deltas": 2, "delta_width": 3},
    {"like": K, "type": "log_mel", "n_mels": 30, "deltas": 1},
    {"like": K, "type": "mfcc", "energy": "none", "deltas": 2, "delta_width": 7},
    # normalised features
    {"like": K, "type": "mfcc", "cmvn": {"mean": [14.0, *[-3.0] * 12], "std": [2.5 + n for n in range(13)]}},
    {"like": K, "type": "mfcc", "deltas": 2, "cmvn": {"mean": [14.0, *[-3.0] * 12, *[0.25] * 26], "std": [*[9.0] * 13, *[0.5] * 26]}},
    {"like": K, "type": "mfcc", "deltas": 1, "cmvn": {"mean": [12.5, *[-2.0] * 12], "std": [7.0] * 13}},
    {"like": K, "type": "mfcc", "cmvn": "utterance"},
    {"like": K, "type": "log_mel", "n_mels": 40, "cmvn": "utterance", "cmvn_vars": True},
    # PCEN and pre-emphasis
    {"like": L, "type": "pcen", "rate": 16000, "n_fft": 512, "hop": 160, "n_mels": 40, "power": 1, "spectrum_scale": 2**31},
    {"like": L, "type": "pcen", "rate": 16000, "n_fft": 512, "hop": 128, "n_mels": 40, "time_constant": 0.06, "gain": 0.8, "bias": 10, "pcen_power": 0.25},
    {"like": L, "type": "pcen", "rate": 16000, "n_fft": 1024, "hop": 512, "n_mels": 64, "bias": 0, "pcen_power": 0.5, "eps": 1e-3, "spectrum_scale": 1e4},
    {"like": L, "type": "pcen", "rate": 16000, "n_fft": 512, "hop": 160, "n_mels": 20, "pcen_power": 0, "gain": 0.5, "preemphasis": 0.97, "spectrum_scale": 1e4},
    {"like": L, "type": "pcen", "rate": 16000, "n_fft": 400, "hop": 160, "n_mels": 40, "gain": 0.0, "power": 1, "deltas": 2, "spectrum_scale": 100},
    {"like": L, "type": "mfcc", "rate": 16000, "n_fft": 512, "hop": 160, "n_mfcc": 13, "preemphasis": 0.97},
    {"like": L, "type": "mel", "rate": 16000, "n_fft": 512, "hop": 160, "n_mels": 40, "preemphasis": 0.5, "center": False},
]  # fmt: skip
TIMES = 12  # frames that are kept of each answer


def signal() -> np.ndarray:
    """Half a second of noise that rises and falls, with a part of silence: whole numbers, so that every machine makes the same."""
    steps = np.random.default_rng(15).integers(-900, 901, 8000)
    loud = np.cumsum(steps) // 4 % 12001 - 6000
    loud[3000:3600] = 0
    return (loud / 32768).astype(np.float32)


def pieces(paths: list[str]) -> dict[str, np.ndarray]:
    found = {"signal": signal()}
    for path in paths:
        with wave.open(path) as sound:
            data = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
        found[Path(path).stem] = (data / 32768).astype(np.float32)
    return found


def librosa(s: dict, x: np.ndarray) -> np.ndarray:
    import librosa as lib

    if s.get("preemphasis"):
        x = lib.effects.preemphasis(x, coef=s["preemphasis"])
    features = _librosa(lib, s, x)
    common = {"width": s.get("delta_width", 9), "mode": s.get("delta_edges", "interp")}
    orders = [lib.feature.delta(features.T, order=n + 1, **common).T for n in range(s.get("deltas", 0))]
    return np.concatenate([features, *orders], 1)


def _librosa(lib: Any, s: dict, x: np.ndarray) -> np.ndarray:
    n_fft = s["n_fft"]
    common = {
        "n_fft": n_fft,
        "hop_length": s["hop"],
        "win_length": s.get("win_length", n_fft),
        "window": s.get("window", "hann"),
    }
    common |= {"center": s.get("center", True), "pad_mode": s.get("pad_mode", "constant")}
    power = s.get("power", 2)
    if s["type"] == "stft":
        return (np.abs(lib.stft(x, **common)) ** power).T
    mel = lib.feature.melspectrogram(
        y=x, sr=s["rate"], power=power, n_mels=s.get("n_mels", 128), fmin=s.get("fmin", 0), fmax=s.get("fmax"),
        htk=s.get("mel") == "htk", norm=None if s.get("norm") == "none" else "slaney", **common,
    )  # fmt: skip
    if s["type"] == "mel":
        return mel.T
    if s["type"] == "pcen":
        named = {"time_constant": "time_constant", "gain": "gain", "bias": "bias", "eps": "eps", "pcen_power": "power"}
        given = {named[key]: value for key, value in s.items() if key in named}
        return lib.pcen(mel * s.get("spectrum_scale", 1), sr=s["rate"], hop_length=s["hop"], **given).T
    db = lib.power_to_db(mel, top_db=None if s.get("top_db") is False else 80.0)
    return db.T if s["type"] == "log_mel" else lib.feature.mfcc(S=db, n_mfcc=s["n_mfcc"], lifter=s.get("lifter", 0)).T


def python_speech_features(s: dict, x: np.ndarray) -> np.ndarray:
    import python_speech_features as lib

    window = {"hamming": np.hamming}.get(s.get("window", ""), lambda n: np.ones(n))
    n_fft, n_mels = s.get("n_fft", 512), s.get("n_mels", 26)
    common = {
        "samplerate": 16000, "winlen": s.get("win_length", 400) / 16000, "winstep": s.get("hop", 160) / 16000, "nfilt": n_mels,
        "nfft": n_fft, "lowfreq": s.get("fmin", 0), "highfreq": s.get("fmax"), "preemph": s.get("preemphasis", 0.97),
        "winfunc": window,
    }  # fmt: skip

    def with_deltas(features: np.ndarray) -> np.ndarray:
        blocks = [features]
        for _ in range(s.get("deltas", 0)):
            blocks.append(lib.delta(blocks[-1], s.get("delta_width", 5) // 2))
        return np.concatenate(blocks, 1)

    if s["type"] == "mfcc":
        lifter = 0 if s.get("lifter") is False else 22
        return with_deltas(
            lib.mfcc(x, numcep=s.get("n_mfcc", 13), ceplifter=lifter, appendEnergy=s.get("energy") != "none", **common)
        )
    mel, _ = lib.fbank(x, **common)
    return with_deltas(np.log(mel) if s["type"] == "log_mel" else mel)


def kaldi(s: dict, x: np.ndarray) -> np.ndarray:
    import kaldi_native_fbank as lib

    is_mfcc = s["type"] == "mfcc"
    opts = lib.MfccOptions() if is_mfcc else lib.FbankOptions()
    opts.frame_opts.dither = 0
    opts.frame_opts.frame_length_ms = s.get("win_length", 400) / 16
    opts.frame_opts.frame_shift_ms = s.get("hop", 160) / 16
    opts.frame_opts.window_type = s.get("window", "povey")
    opts.frame_opts.remove_dc_offset = s.get("remove_dc", True)
    opts.frame_opts.preemph_coeff = s.get("preemphasis", 0.97)
    opts.mel_opts.num_bins = s.get("n_mels", 23)
    opts.mel_opts.high_freq = s.get("fmax", 0)
    if is_mfcc:
        opts.num_ceps, opts.use_energy = s.get("n_mfcc", 13), s.get("energy") != "none"
    else:
        opts.use_log_fbank, opts.use_power = s["type"] == "log_mel", s.get("power", 2) == 2
    made = lib.OnlineMfcc(opts) if is_mfcc else lib.OnlineFbank(opts)
    made.accept_waveform(16000, x.tolist())
    made.input_finished()
    features = np.stack([made.get_frame(i) for i in range(made.num_frames_ready)])
    before = len(s["cmvn"]["mean"]) == features.shape[1] if isinstance(s.get("cmvn"), dict) else True
    features = _normalised(lib, s, features) if before else features
    if s.get("deltas"):
        features = lib.compute_deltas(
            lib.DeltaOptions(order=s["deltas"], window=s.get("delta_width", 5) // 2), features
        )
    return features if before else _normalised(lib, s, features)


def _normalised(lib: Any, s: dict, features: np.ndarray) -> np.ndarray:
    given = s.get("cmvn")
    if not given:
        return features
    if given == "utterance":
        return lib.apply_cmvn(
            lib.compute_cmvn_stats(features), lib.CmvnOptions(norm_vars=s.get("cmvn_vars", False)), features
        )
    mean, std, count = np.array(given["mean"]), np.array(given["std"]), 1000
    sums = np.stack([np.append(mean * count, count), np.append((std**2 + mean**2) * count, 0)])
    return lib.apply_cmvn(sums, lib.CmvnOptions(norm_vars=True), features)


def sonopy(s: dict, x: np.ndarray) -> np.ndarray:
    import sonopy as lib

    stride, x = (s.get("win_length", 160), s.get("hop", 80)), x.astype(np.float64)
    if s["type"] == "stft":
        return lib.power_spec(x, stride, 512)
    if s["type"] == "log_mel":
        return lib.mel_spec(x, 16000, stride, 512, s.get("n_mels", 20))
    return lib.mfcc_spec(x, 16000, stride, 512, 20, s.get("n_mfcc", 13))


def tensorflow(s: dict, x: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    n_fft = s.get("n_fft", 1024)
    size = s.get("win_length", n_fft)
    spectrum = tf.signal.stft(x, size, s.get("hop", 256), n_fft, pad_end=s.get("end") == "pad")
    power = tf.abs(spectrum) ** s.get("power", 1)
    if s["type"] == "stft":
        return power.numpy()
    n_mels = s.get("n_mels", 80)
    bank = tf.signal.linear_to_mel_weight_matrix(
        n_mels, n_fft // 2 + 1, 16000, s.get("fmin", 80.0), s.get("fmax", 7600.0)
    )
    mel = tf.tensordot(power, bank, 1)
    if s["type"] == "mel":
        return mel.numpy()
    logs = tf.math.log(mel + 1e-6)
    return (
        logs if s["type"] == "log_mel" else tf.signal.mfccs_from_log_mel_spectrograms(logs)[..., : s.get("n_mfcc", 13)]
    ).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--wavs", nargs="*", default=[])
    parser.add_argument("--only", default=f"{L},{P},{K},{S},{T}")
    parser.add_argument("--from-set", type=int, default=0, help="the first table whose answers are made anew")
    parser.add_argument("--whole", action="store_true", help="keep every frame")
    args = parser.parse_args()
    kept = dict(np.load(args.path)) if Path(args.path).exists() else {}
    for n, table in enumerate(SETS):
        if n >= args.from_set and table["like"] in args.only.split(","):
            for name, x in pieces(args.wavs).items():
                answer = np.asarray(globals()[table["like"]](table, x), np.float32)
                kept[f"{n}/{name}"] = answer if args.whole else answer[-TIMES:] if name == "signal" else answer[:TIMES]
                if name == "signal" and not args.whole:
                    kept[f"{n}/signal/first"] = answer[:TIMES]
                kept[f"{n}/{name}/frames"] = np.array(len(answer))
    kept["sets"] = np.array(json.dumps(SETS))
    np.savez_compressed(args.path, **kept)


if __name__ == "__main__":
    main()
