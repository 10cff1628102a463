"""Features as each library computes them: every setting they differ in, what each library says where nothing is said, and what fits."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

TYPES = ("stft", "log_stft", "mel", "log_mel", "pcen", "mfcc")
UTTERANCE = "utterance"  # of cmvn: by the recording itself


@dataclass(frozen=True)
class Fields:
    """Every field of a front end, settled. Times are in samples.

    end: `pad` as the library pads the end of a recording, `cut` without the frames that need it, which streams. power: 1 magnitude, 2 power.
    spectrum_scale: multiplies the spectrum. log: of the filter bank's sums (of log_stft: of the spectrum), `ln`, `db` (10 log10),
    `amplitude_db` (20 log10) or `none`; floor: the least value that a
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
    doubled: bool = False  # whether every bin but the first and the last counts twice, as both sides of a spectrum do
    least: float = 0.0  # of the spectrum's values
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
    db_of: float = 1.0  # the value of 0 decibels
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
        return self.n_mfcc if self.type == "mfcc" else self.n_mels if self.of_bank else self.n_fft // 2 + 1

    @property
    def of_bank(self) -> bool:
        """Whether features are of a filter bank's sums, not of the spectrum itself."""
        return self.type not in ("stft", "log_stft")

    @property
    def in_decibels(self) -> bool:
        return self.type in ("log_stft", "log_mel", "mfcc") and self.log in ("db", "amplitude_db")


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


def misfits(f: Fields) -> list[str]:
    """What no front end can be, each as "FIELD: expected ..., found ...": none where all fields fit."""
    wrong: list[str] = []

    def expect(fits: bool, name: str, expected: str, found: Any) -> None:
        if not fits:
            wrong.append(f"{name}: expected {expected}, found {found if isinstance(found, str) else repr(found)}")

    for field in fields(Fields):
        value = getattr(f, field.name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            least, most = BOUNDS.get(field.name, (0, LARGEST))
            expect(least <= value <= most, field.name, f"{least:.12g} to {most:.12g}", value)
    if wrong:
        return wrong  # what follows compares them
    of_bank, highest = f.of_bank, f.fmax or f.rate / 2
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
    if f.type != "stft" and f.log != "none":
        expect(f.floor > 0, "floor", "more than 0, as a logarithm needs", f.floor)
    return wrong
