"""Small files of every kind that an importer reads, for mutate_files.py to begin with."""

from __future__ import annotations

import io
import json
import pickle
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from conformance import spell_onnx, spell_tflite
from conformance.cases import SUBJECTS

import lstm_edge

ROOT = Path(__file__).resolve().parents[2]
GOLDEN, CORPUS = ROOT / "tests" / "golden", ROOT / "tests" / "corpus"
MOST_BYTES = 40_000
NETWORK = """weights = "weights.npz"
convention = "torch"
inputs.x = {shape = ["batch", "frames", 3]}

[[layer]]
type = "lstm"
weights = "rnn"

[[layer]]
type = "dense"
weights = "head"
activation = "sigmoid"
"""


def onnx() -> Iterator[bytes]:
    yield from (p.read_bytes() for p in sorted((GOLDEN / "onnx").glob("*.onnx")))
    yield from _spelled("onnx", lambda case: spell_onnx.model(case, case.has_open_sizes))


def tflite() -> Iterator[bytes]:
    yield from (p.read_bytes() for p in sorted((GOLDEN / "tflite").glob("*.tflite")))
    yield from _spelled("tflite", lambda case: spell_tflite.model(case, case.has_open_sizes))


def _spelled(front_end: str, spell: Callable[[Any], bytes]) -> Iterator[bytes]:
    for cases in SUBJECTS.values():
        for case in cases:
            if case.spelling(front_end) is not None and not case.why_refused(case.has_open_sizes):
                yield spell(case)


def lstm() -> Iterator[bytes]:
    yield from (p.read_bytes() for p in sorted(CORPUS.glob("*")))
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted((GOLDEN / "onnx").glob("*lstm*.onnx")):
            path = Path(folder) / "m.lstm"
            lstm_edge.convert(source, path, self_test=True)
            yield path.read_bytes()


# ---- weights ---------------------------------------------------------------------------------------------------------


def arrays(kind: str = "LSTM") -> dict[str, np.ndarray]:
    """The state dict of a recurrence of 4 over 3 values and a dense layer."""
    rng, gates = np.random.default_rng(0), {"LSTM": 16, "GRU": 12}[kind]
    shapes = {"rnn.weight_ih_l0": (gates, 3), "rnn.weight_hh_l0": (gates, 4)}
    shapes |= {"rnn.bias_ih_l0": (gates,), "rnn.bias_hh_l0": (gates,), "head.weight": (2, 4), "head.bias": (2,)}
    return {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


def npz() -> Iterator[bytes]:
    for kind in ("LSTM", "GRU"):
        out = io.BytesIO()
        np.savez(out, **arrays(kind))
        yield out.getvalue()
    out = io.BytesIO()
    np.savez_compressed(out, model=np.array(arrays(), dtype=object))
    yield out.getvalue()


def safetensors() -> Iterator[bytes]:
    for kind in ("LSTM", "GRU"):
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        body = b""
        for name, array in arrays(kind).items():
            header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(body), len(body) + array.nbytes]}
            body += array.tobytes()
        text = json.dumps(header).encode()
        yield len(text).to_bytes(8, "little") + text + body


def toml() -> Iterator[bytes]:
    yield NETWORK.encode()
    yield NETWORK.replace('"sigmoid"', '"softmax"').encode()


def pt() -> Iterator[bytes]:
    import torch

    for kind in ("LSTM", "GRU"):
        state = {name: torch.from_numpy(array) for name, array in arrays(kind).items()}
        whole = {
            "model_state_dict": state,
            "epoch": 3,
            "optimizer": {"lr": 0.1, "state": [{"step": 1}]},
            "args": range(3),
        }
        for value, new in ((state, True), (state, False), (whole, True), (whole, False)):
            out = io.BytesIO()
            torch.save(value, out, _use_new_zipfile_serialization=new)
            yield out.getvalue()
    module = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(torch.nn.Linear(3, 2)), {torch.nn.Linear})
    out = io.BytesIO()
    torch.save(module.state_dict(), out)
    yield out.getvalue()
    yield pickle.dumps(arrays(), 2)


def _modules() -> Iterator[Any]:
    import torch

    class Net(torch.nn.Module):
        def __init__(self, recurrence: Any) -> None:
            super().__init__()
            self.rnn, self.head = recurrence, torch.nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y, _ = self.rnn(x)
            return torch.sigmoid(self.head(y)[:, :, :1]) * torch.tanh(y).mean(-1, keepdim=True)

    torch.manual_seed(0)
    yield Net(torch.nn.LSTM(3, 4, batch_first=True)).eval()
    yield Net(torch.nn.GRU(3, 4, batch_first=True)).eval()
    yield torch.nn.Sequential(torch.nn.Conv1d(3, 4, 3, padding=1), torch.nn.BatchNorm1d(4), torch.nn.ReLU()).eval()


def pt2() -> Iterator[bytes]:
    import torch

    for module in _modules():
        x = torch.zeros(2, 3, 3)
        open_sizes = ({0: torch.export.Dim("batch", min=1, max=64)},)
        out = io.BytesIO()
        torch.export.save(torch.export.export(module, (x,), dynamic_shapes=open_sizes), out)
        yield out.getvalue()


def torchscript() -> Iterator[bytes]:
    import torch

    for module in _modules():
        for made in (torch.jit.script, lambda m: torch.jit.trace(m, torch.zeros(2, 3, 3))):
            out = io.BytesIO()
            torch.jit.save(made(module), out)
            yield out.getvalue()


# ---- Keras, JSON -----------------------------------------------------------------------------------------------------


def _keras(suffix: str) -> Iterator[bytes]:
    import keras

    layers = keras.layers
    stacks = (
        [layers.LSTM(4, return_sequences=True), layers.Dense(2, activation="sigmoid")],
        [layers.Bidirectional(layers.GRU(3)), layers.BatchNormalization(), layers.Dense(2, activation="softmax")],
        [layers.Conv1D(4, 3, padding="causal"), layers.ReLU(), layers.TimeDistributed(layers.Dense(2))],
        [layers.RNN(layers.LSTMCell(3)), layers.LayerNormalization(), layers.Dropout(0.2)],
    )
    with tempfile.TemporaryDirectory() as folder:
        for stack in stacks:
            model = keras.Sequential([keras.Input((None, 3)), *stack])
            model.save(Path(folder) / f"m{suffix}")
            yield (Path(folder) / f"m{suffix}").read_bytes()


def keras() -> Iterator[bytes]:
    yield from _keras(".keras")


def h5() -> Iterator[bytes]:
    yield from _keras(".h5")


def json_() -> Iterator[bytes]:
    """RTNeural's and NAM's networks, and weights as plain lists."""
    rng = np.random.default_rng(0)

    def listed(*shape: int) -> Any:
        return np.round(rng.normal(0, 0.4, shape), 3).tolist()

    lstm = {"type": "lstm", "activation": "", "shape": [None, None, 4]}
    dense = {"type": "dense", "activation": "tanh", "shape": [None, None, 1], "weights": [listed(4, 1), listed(1)]}
    rtneural = [{**lstm, "weights": [listed(1, 16), listed(4, 16), listed(16)]}, dense]
    yield json.dumps({"in_shape": [None, None, 1], "layers": rtneural}).encode()
    gru = {"type": "gru", "activation": "", "shape": [None, None, 4]}
    rtneural = [{**gru, "weights": [listed(1, 12), listed(4, 12), listed(2, 12)]}, dense]
    yield json.dumps({"in_shape": [None, None, 1], "layers": rtneural}).encode()
    config = {"input_size": 1, "hidden_size": 3, "num_layers": 1}
    count = 12 * 4 + 12 + 6 + 4
    nam = {"version": "0.5.4", "architecture": "LSTM", "config": config, "weights": listed(count), "sample_rate": 48000}
    yield json.dumps(nam).encode()
    state = {name.replace("rnn", "rec"): array.tolist() for name, array in arrays().items() if "rnn" in name}
    state |= {"lin.weight": listed(1, 4), "lin.bias": listed(1)}
    about = {"model": "SimpleRNN", "unit_type": "LSTM", "input_size": 3, "hidden_size": 4, "num_layers": 1, "skip": 0}
    yield json.dumps({"model_data": about, "state_dict": state}).encode()


# ---- what stands around a network ------------------------------------------------------------------------------------


def scalers() -> Iterator[bytes]:
    from sklearn import preprocessing

    x = np.random.default_rng(0).normal(2, 3, (20, 3))
    for kind in ("StandardScaler", "MinMaxScaler", "RobustScaler", "MaxAbsScaler"):
        fitted = getattr(preprocessing, kind)().fit(x)
        for protocol in (2, 4):
            yield pickle.dumps(fitted, protocol)
    import joblib

    out = io.BytesIO()
    joblib.dump(fitted, out)
    yield out.getvalue()
    yield json.dumps({"mean": [0.1, 0.2, 0.3], "scale": [1.0, 2.0, 3.0], "columns": ["a", "b", "c"]}).encode()
    yield json.dumps({"min": [0.1, 0.2, 0.3], "max": [1.0, 2.0, 3.0], "feature_range": [0, 1]}).encode()
    out = io.BytesIO()
    np.savez(out, mean=np.ones(3), scale=np.ones(3))
    yield out.getvalue()


def before() -> Iterator[bytes]:
    table = '[before.x]\ntype = "mfcc"\nlike = "librosa"\nrate = 16000\nn_mfcc = 3\nn_mels = 8\nn_fft = 64\nhop = 32\n'
    yield (table + 'end = "cut"\ntop_db = false\n').encode()
    yield table.replace("mfcc", "log_mel", 1).replace("n_mfcc = 3\n", "").replace("n_mels = 8", "n_mels = 3").encode()
    yield b'[before.x]\ntype = "stft"\nlike = "torchaudio"\nrate = 8000\nn_fft = 4\nhop = 2\nwindow = "hamming"\n'


def after() -> Iterator[bytes]:
    yield b'[after.dense]\ntype = "labels"\nlabels = ["a", "b"]\ntop = 1\nactivation = "softmax"\n'
    yield b'[after.dense]\ntype = "labels"\nlabels = ["a", "b"]\n'
    yield b'[after.dense]\ntype = "events"\ncolumn = 1\nthreshold = 0.5\nmin_duration_ms = 30\nframe_ms = 10\n'


def beside(folder: Path) -> None:
    """The files that descriptions name."""
    np.savez(folder / "weights.npz", **arrays())


KINDS: dict[str, tuple[str, Callable[[], Iterator[bytes]]]] = {
    "lstm": (".lstm", lstm),
    "onnx": (".onnx", onnx),
    "tflite": (".tflite", tflite),
    "npz": (".npz", npz),
    "safetensors": (".safetensors", safetensors),
    "pt": (".pt", pt),
    "pt2": (".pt2", pt2),
    "torchscript": (".pt", torchscript),
    "keras": (".keras", keras),
    "h5": (".h5", h5),
    "json": (".json", json_),
    "toml": (".toml", toml),
    "scaler": (".pkl", scalers),
    "before": (".toml", before),
    "after": (".toml", after),
}


def seeds(kind: str, folder: Path) -> list[bytes]:
    """The files of a kind, out of the folder if they were made before."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        for number, content in enumerate(c for c in KINDS[kind][1]() if len(c) <= MOST_BYTES):
            (folder / f"{number:04}").write_bytes(content)
    return [p.read_bytes() for p in sorted(folder.iterdir())]
