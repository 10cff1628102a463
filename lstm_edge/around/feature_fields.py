"""What a [before] table of audio features may say, and what each library says where it says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import FormatError, LstmEdgeError
from . import statistics
from .description import Table
from .filterbanks import SPACING, WINDOWS

TYPES = ("stft", "mel", "log_mel", "pcen", "mfcc")


@dataclass(frozen=True)
class Fields:
    """Every field of a front end, settled. Times are in samples.

    end: `pad` as the library pads the end of a recording, `cut` without the frames that need it, which streams. power: 1 magnitude, 2 power.
    spectrum_scale: multiplies the spectrum. log: of the filter bank's sums, `ln`, `db` (10 log10) or `none`; floor: the least value that a
    logarithm is taken of, or (`floor_by` add) what is added to each. top_db: [0] how far below the loudest value of a whole recording
    decibels may lie. energy: `none`, or what stands in the place of the first coefficient. deltas: how many orders stand behind the
    features. cmvn: {} or {"mean": [...], "std": [...]}, of the features, or of these and their deltas; or `utterance`, of the whole recording.
    """

    type: str
    like: str
    rate: float
    n_fft: int
    hop: int
    win_length: int
    window: str = "hann"
    periodic: bool = True
    window_at: str = "middle"  # of n_fft values: `middle` or `start`
    center: bool = False
    pad_mode: str = "constant"
    end: str = "cut"
    preemphasis: float = 0.0
    preemphasis_of: str = "samples"  # or `frames`: within each
    preemphasis_first: str = (
        "itself"  # the first sample of all: as it is, or less one that `extrapolated` puts before it (librosa)
    )
    remove_dc: bool = False
    power: float = 2.0
    spectrum_scale: float = 1.0
    input_scale: float = 1.0
    n_mels: int = 40
    fmin: float = 0.0
    fmax: float = 0.0  # 0: half the rate
    mel: str = "htk"
    norm: str = "none"
    spacing: str = "hertz"
    first_bin: bool = True
    log: str = "ln"
    floor: float = 1e-10
    floor_by: str = "max"
    top_db: float = 0.0
    n_mfcc: int = 13
    dct: str = "ortho"
    lifter: float = 0.0
    lifter_first: int = 0  # the number of the first coefficient in the lifter's sine
    energy: str = "none"
    time_constant: float = 0.4  # of PCEN, in seconds
    gain: float = 0.98
    bias: float = 2.0
    pcen_power: float = 0.5
    eps: float = 1e-6
    deltas: int = 0
    delta_width: int = 5
    delta_second: str = (
        "deltas"  # of the deltas; of the `features`, with both kernels as one; or a parabola's (`polynomial`)
    )
    delta_edges: str = "nearest"
    delta_end: str = "pad"  # or `cut`: without the last frames, whose deltas look beyond the end
    cmvn: Any = ""
    cmvn_vars: bool = True  # whether deviations are taken of Kaldi's statistics, or of the utterance

    @property
    def delta_frames(self) -> int:
        """Frames to come that a frame's deltas look at; with `interp` the first frame's are those of a whole window."""
        twice = 1 + (self.delta_edges == "interp" or self.deltas == 2 and self.delta_second != "polynomial")
        return self.delta_width // 2 * twice if self.deltas else 0

    @property
    def frames_not_answered(self) -> int:
        """The last frames of what has come, which wait for deltas."""
        return self.delta_frames if self.delta_end == "cut" else 0

    @property
    def size(self) -> int:
        """Samples of a frame."""
        return self.n_fft if self.window_at == "middle" else self.win_length

    @property
    def calls_before(self) -> int:
        """Of a network that takes one frame a call: how many calls answer frames that begin before the recording's first one does."""
        return -(-(self.size - self.zeros_before) // self.hop) - 1

    @property
    def zeros_before(self) -> int:
        """Samples before the recording that its first frame begins with."""
        return self.n_fft // 2 if self.center else 0

    @property
    def samples_kept(self) -> int:
        """Of a network that takes one frame a call: how many samples before those of a call stand in front, so that frames begin where
        they do in a whole recording."""
        of_emphasis = int(self.preemphasis > 0 and self.preemphasis_of == "samples")
        return self.calls_before * self.hop + self.zeros_before + of_emphasis

    @property
    def width(self) -> int:
        """Values of a frame's features, deltas included."""
        return self.own_width * (1 + self.deltas)

    @property
    def own_width(self) -> int:
        """Values of a frame's features without deltas."""
        return {"stft": self.n_fft // 2 + 1, "mfcc": self.n_mfcc}.get(self.type, self.n_mels)


# What the libraries call a field, to those who copy a call of theirs.
MEANT = {
    "hop_length": "hop", "frame_step": "hop", "winstep": "hop", "hop_size": "hop", "stride": "hop", "frame_length": "win_length",
    "winlen": "win_length", "window_size": "win_length", "sr": "rate", "sample_rate": "rate", "samplerate": "rate", "sampling_rate": "rate",
    "nfft": "n_fft", "fft_length": "n_fft", "fft_size": "n_fft", "numcep": "n_mfcc", "num_coeffs": "n_mfcc", "num_ceps": "n_mfcc",
    "nfilt": "n_mels", "num_filt": "n_mels", "num_mel_bins": "n_mels", "f_min": "fmin", "lowfreq": "fmin", "low_freq": "fmin",
    "f_max": "fmax", "highfreq": "fmax", "high_freq": "fmax", "preemph": "preemphasis", "preemphasis_coefficient": "preemphasis",
    "ceplifter": "lifter", "cepstral_lifter": "lifter", "mel_scale": "mel", "htk": "mel", "dct_type": "dct", "amin": "floor",
    "delta": "deltas", "add_deltas": "deltas", "delta_order": "deltas", "delta_window": "delta_width", "norm_vars": "cmvn_vars",
    "cmn": "cmvn", "preemph_coeff": "preemphasis", "alpha": "gain", "delta_mode": "delta_edges",
}  # fmt: skip

WORDS = {
    "type": TYPES,
    "window": WINDOWS,
    "window_at": ("middle", "start"),
    "pad_mode": ("constant", "reflect"),
    "end": ("pad", "cut"),
    "preemphasis_of": ("samples", "frames"),
    "preemphasis_first": ("itself", "extrapolated"),
    "mel": ("slaney", "htk"),
    "norm": ("slaney", "none"),
    "spacing": SPACING,
    "log": ("ln", "db", "none"),
    "floor_by": ("max", "add"),
    "dct": ("ortho", "even", "none"),
    "energy": ("none", "spectrum", "frame"),
    "delta_second": ("deltas", "features", "polynomial"),
    "delta_edges": ("nearest", "interp", "mirror", "constant"),
    "delta_end": ("pad", "cut"),
}

# Defaults of each library, and where they stand. `ms`: n_fft and hop that a library gives as times.
LIKE: dict[str, dict[str, Any]] = {
    # librosa 0.11: feature.melspectrogram, feature.mfcc, power_to_db, filters.mel, feature.delta, pcen, effects.preemphasis
    "librosa": {
        "rate": 22050, "n_fft": 2048, "hop": 512, "center": True, "end": "pad", "n_mels": 128, "mel": "slaney", "norm": "slaney",
        "log": "db", "top_db": 80.0, "n_mfcc": 20, "lifter_first": 1, "delta_width": 9, "delta_second": "polynomial", "delta_edges": "interp",
        "preemphasis_first": "extrapolated",
    },
    # torchaudio 2: transforms.MelSpectrogram, MFCC, AmplitudeToDB, ComputeDeltas, functional.melscale_fbanks
    "torchaudio": {
        "rate": 16000, "n_fft": 400, "hop": 200, "center": True, "pad_mode": "reflect", "end": "pad", "n_mels": 128, "log": "db",
        "top_db": 80.0, "n_mfcc": 40,
    },
    # python_speech_features 0.6: mfcc, fbank, get_filterbanks, sigproc.framesig, sigproc.powspec
    "python_speech_features": {
        "rate": 16000, "n_fft": 512, "win_length": 400, "hop": 160, "window": "rectangular", "window_at": "start", "end": "pad",
        "preemphasis": 0.97, "spectrum_scale": 1 / 512, "n_mels": 26, "spacing": "bins", "floor": 2.220446049250313e-16,
        "lifter": 22.0, "energy": "spectrum",
    },
    # TensorFlow 2: signal.stft, linear_to_mel_weight_matrix, mfccs_from_log_mel_spectrograms and its example
    "tensorflow": {
        "rate": 16000, "n_fft": 1024, "hop": 256, "window_at": "start", "power": 1.0, "n_mels": 80, "fmin": 80.0, "fmax": 7600.0,
        "spacing": "mel", "first_bin": False, "floor": 1e-6, "floor_by": "add", "dct": "even",
    },
    # Kaldi: feature-window.h, mel-computations.h, feature-mfcc.h, feature-functions.h, cmvn.h; dither is off
    "kaldi": {
        "rate": 16000, "n_fft": 512, "win_length": 400, "hop": 160, "window": "povey", "periodic": False, "window_at": "start",
        "preemphasis": 0.97, "preemphasis_of": "frames", "remove_dc": True, "n_mels": 23, "fmin": 20.0, "spacing": "mel",
        "floor": 1.1920928955078125e-07, "lifter": 22.0, "energy": "frame", "delta_second": "features",
        "cmvn_vars": False,
    },
    # Keras 3: layers.MelSpectrogram
    "keras": {
        "rate": 16000, "n_fft": 2048, "hop": 512, "center": True, "pad_mode": "reflect", "end": "pad", "n_mels": 128, "fmin": 20.0,
        "spacing": "mel", "first_bin": False, "log": "db", "top_db": 80.0,
    },
    # sonopy 0.1.2: mfcc_spec, filterbanks, safe_log
    "sonopy": {
        "rate": 16000, "n_fft": 512, "win_length": 160, "hop": 80, "window": "rectangular", "window_at": "start",
        "spectrum_scale": 1 / 512, "n_mels": 20, "spacing": "sonopy", "floor": 2.220446049250313e-16, "energy": "spectrum",
    },
}  # fmt: skip


def settled(values: Any, place: str, folder: Path | None = None) -> Fields:
    """The front end that a table describes; files that it names lie in `folder`, None where it may name none. FormatError for an unknown field, a value that none can have, fields that do not fit."""
    table = Table(values, place)
    table.known.update(f.name for f in fields(Fields))
    table.done(MEANT)
    like = table.word("like", tuple(LIKE))
    start: dict[str, Any] = {"like": like, "type": table.word("type", TYPES), **LIKE[like]}
    given: dict[str, Any] = {}
    wrong: list[str] = []
    for field in fields(Fields):
        if field.name in table.values:
            try:
                given[field.name] = _value(table, field.name, str(field.type))
            except FormatError as why:
                wrong.append(str(why))
    try:
        given |= _statistics(table, {**start, **given}, folder)
    except LstmEdgeError as why:
        wrong.append(str(why.at(f"{place}: cmvn")))
    _refuse(wrong, place)
    if "n_fft" in given and "spectrum_scale" in start:
        start["spectrum_scale"] = 1 / given["n_fft"]
    made = {**start, **given}
    if "n_fft" in given and "win_length" not in given:
        made["win_length"] = min(start.get("win_length", given["n_fft"]), given["n_fft"])
        if like in ("librosa", "torchaudio", "tensorflow", "keras"):
            made["win_length"] = given["n_fft"]
    made.setdefault("win_length", made["n_fft"])
    if like in ("librosa", "torchaudio", "keras") and not made["center"]:
        made["end"] = given.get("end", "cut")  # without centring they fill nothing up
    front = Fields(**made)
    _check(table, front)
    return front


def _statistics(table: Table, made: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """The table's cmvn as numbers; nothing where it has none."""
    value = table.values.get("cmvn")
    if isinstance(value, (str, bool)) and value in ("", False, statistics.UTTERANCE):
        return {"cmvn": value or ""}
    if value is None:
        return {}
    with_variance = made.get("cmvn_vars", True) is True
    return {"cmvn": statistics.read(value, with_variance, folder)}


def _value(table: Table, name: str, kind: str) -> Any:
    if name == "cmvn":
        return table.take(name)
    if name in WORDS:
        return table.word(name, WORDS[name])
    if kind == "str":
        return table.word(name, tuple(LIKE))
    if name == "deltas" and isinstance(table.values[name], bool):
        return int(table.values[name])
    if kind == "int":
        return table.whole(name, least=int(name not in ("lifter_first", "deltas")))
    if kind == "float":
        return 0.0 if table.values[name] is False else table.number(name)
    value = table.take(name)
    if not isinstance(value, bool):
        table.fail("true or false", value, name)
    return value


def _refuse(wrong: list[str], place: str) -> None:
    """All that is wrong with a table in one error."""
    if wrong:
        raise FormatError("; ".join([wrong[0], *(text[len(place) + 2 :] for text in wrong[1:])]))


# The least and the most that fields can be. The rest: 0 to LARGEST.
LARGEST = 1e12
BOUNDS: dict[str, tuple[float, float]] = {
    "rate": (1, 1e9),
    "n_fft": (2, 1 << 16),
    "hop": (1, 1 << 20),
    "win_length": (1, 1 << 16),
    "preemphasis": (0, 1),
    "spectrum_scale": (1e-12, LARGEST),
    "input_scale": (1e-12, LARGEST),
    "n_mels": (1, 1 << 15),
    "n_mfcc": (1, 1 << 15),
    "lifter_first": (0, 1 << 16),
    "deltas": (0, 2),
    "delta_width": (3, 1001),
    "time_constant": (1e-6, 1e6),
    "pcen_power": (0, 100),
    "eps": (1e-30, LARGEST),
}


def _check(table: Table, f: Fields) -> None:
    wrong: list[str] = []

    def expect(fits: bool, name: str, expected: str, found: Any) -> None:
        if not fits:
            wrong.append(str(table.error(expected, found, name)))

    for field in fields(Fields):
        value = getattr(f, field.name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            least, most = BOUNDS.get(field.name, (0, LARGEST))
            expect(least <= value <= most, field.name, f"{least:.12g} to {most:.12g}", value)
    _refuse(wrong, table.place)  # what follows compares them
    of_bank, highest = f.type != "stft", f.fmax or f.rate / 2
    expect(f.win_length <= f.n_fft, "win_length", f"at most n_fft, {f.n_fft}", f.win_length)
    expect(f.fmin < highest, "fmax", f"more than fmin, {f.fmin:g}", highest)
    if of_bank and f.spacing != "sonopy":
        expect(highest <= f.rate / 2, "fmax", f"at most half the rate, {f.rate / 2:g}", highest)
    if of_bank:
        bins = f.n_fft // 2 + 1
        expect(f.n_mels <= bins, "n_mels", f"at most the {bins} values of a spectrum of n_fft {f.n_fft}", f.n_mels)
    expect(f.power in (1, 2), "power", "1 (magnitude) or 2 (power)", f.power)
    if f.type == "mfcc":
        expect(f.n_mfcc <= f.n_mels, "n_mfcc", f"at most n_mels, {f.n_mels}", f.n_mfcc)
    if f.like in ("kaldi", "sonopy"):
        expect(f.end != "pad", "end", f"cut, as {f.like} fills nothing up", f.end)
    expect(f.delta_width % 2 == 1, "delta_width", "an odd number of frames", f.delta_width)
    if f.deltas == 2 and f.delta_edges == "interp":
        expect(
            f.delta_second == "polynomial", "delta_second", "polynomial, as delta_edges interp needs", f.delta_second
        )
    if isinstance(f.cmvn, dict):
        found, all_ = len(f.cmvn["mean"]), f"the {f.own_width} values of a frame of {f.type}"
        all_ += f" or, with their deltas, {f.width}" if f.deltas else ""
        expect(found in (f.own_width, f.width), "cmvn", all_, f"statistics of {found}")
    if of_bank and f.log != "none":
        expect(f.floor > 0, "floor", "more than 0, as a logarithm needs", f.floor)
    _refuse(wrong, table.place)


def as_metadata(front: Fields) -> dict[str, Any]:
    """What the file keeps: the settled fields."""
    return asdict(front)


def kept_fields(kept: Any) -> Fields:
    """The fields that a file keeps, checked as those of a table are: anybody may have written it. FormatError where they are none."""
    place = "metadata 'before'"
    return settled({key: value for key, value in Table(kept, place).values.items() if key != "shape"}, place)


def kept_shape(kept: Mapping[str, Any]) -> list[Any]:
    """The shape of the network's own input that a file keeps beside the fields: numbers, and "open" for what a caller decides."""
    found = kept.get("shape")
    if not isinstance(found, list) or not all(size == "open" or (type(size) is int and size > 0) for size in found):
        raise FormatError(f"metadata 'before': shape: expected sizes, found {found!r:.80}")
    return found


def tables_of(description: Mapping[str, Any], place: str, folder: Path | None = None) -> dict[str, Fields]:
    """Input name -> its front end, of the tables [before.INPUT]; files that they name lie in `folder`."""
    before = description.get("before")
    if set(description) != {"before"} or not isinstance(before, Mapping) or not before:
        raise FormatError(
            f"{place}: expected tables [before.INPUT] alone, found {', '.join(map(str, description)) or 'none'}"
        )
    return {name: settled(table, f"{place}: before.{name}", folder) for name, table in before.items()}
