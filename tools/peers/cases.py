"""The rows of the table: networks with random weights of one seed, and trained models."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lstm_edge.ir.sparse import BLOCK

SEED = 13
TEXT = 500
STEPS_CHECKED = 16  # frames of a step's check and of its timing
GATES = {"LSTM": 4, "GRU": 3}
PRECISIONS = ("float32", "float16", "int8")
BYTES = {"float32": 4, "float16": 2, "int8": 1}


@dataclass(frozen=True)
class Layer:
    cell: str
    inputs: int
    hidden: int
    directions: int = 1

    @property
    def outputs(self) -> int:
        return self.hidden * self.directions

    @property
    def recurrent(self) -> int:
        """Weights of the product with h."""
        return self.directions * GATES[self.cell] * self.hidden * self.hidden

    @property
    def of_input(self) -> int:
        """Weights of the product with x."""
        return self.directions * GATES[self.cell] * self.hidden * self.inputs


@dataclass(frozen=True)
class LayerWeights:
    """Gates in torch's order (i f g o; r z n): w (D,G,I), r (D,G,H), b and rb (D,G), where G counts all rows of the gates."""

    w: np.ndarray
    r: np.ndarray
    b: np.ndarray
    rb: np.ndarray


@dataclass(frozen=True)
class Case:
    """Recurrent layers, and behind the last frame a Dense layer where `dense` says how wide. frames 0: a step, state kept. zeros: what
    share of the recurrences' weights is zero, in the blocks that the sparse kernels are made for."""

    name: str
    layers: tuple[Layer, ...]
    frames: int = 0
    batch: int = 1
    dense: int = 0
    zeros: float = 0.0

    @property
    def is_step(self) -> bool:
        return self.frames == 0

    @property
    def inputs(self) -> int:
        return self.layers[0].inputs

    @property
    def hidden(self) -> int:
        return self.layers[0].hidden

    @cached_property
    def weights(self) -> list[LayerWeights]:
        rng = np.random.default_rng(SEED)
        return [_uniform(rng, layer, self.zeros) for layer in self.layers]

    @cached_property
    def dense_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """(O,H), (O,)"""
        rng, width = np.random.default_rng(SEED + 1), self.layers[-1].outputs
        bound = width**-0.5
        w, b = (rng.uniform(-bound, bound, shape).astype(np.float32) for shape in ((self.dense, width), (self.dense,)))
        return w, b

    @cached_property
    def x(self) -> np.ndarray:
        """N(0,1): the frames of a step one after another (STEPS_CHECKED,I), or sequences (B,T,I)."""
        shape = (STEPS_CHECKED, self.inputs) if self.is_step else (self.batch, self.frames, self.inputs)
        return np.random.default_rng(SEED + 2).standard_normal(shape).astype(np.float32)


def _uniform(rng: np.random.Generator, layer: Layer, zeros: float) -> LayerWeights:
    """torch's default range. One bias is enough for LSTM, where the two are only added."""
    bound, rows = layer.hidden**-0.5, GATES[layer.cell] * layer.hidden

    def draw(*shape: int) -> np.ndarray:
        return rng.uniform(-bound, bound, (layer.directions, rows, *shape)).astype(np.float32)

    w, r, b = draw(layer.inputs), draw(layer.hidden), draw()
    if zeros:
        w, r = (_without_blocks(a, zeros) for a in (w, r))
    return LayerWeights(w, r, b, draw() if layer.cell == "GRU" else np.zeros_like(b))


def _without_blocks(w: np.ndarray, zeros: float) -> np.ndarray:
    d, rows, columns = w.shape
    kept = np.random.default_rng(SEED + 3).random((d, -(-rows // BLOCK[0]), columns)) >= zeros
    return np.where(np.repeat(kept, BLOCK[0], axis=1)[:, :rows], w, np.float32(0))


@dataclass(frozen=True)
class Trained:
    """A trained model of LSTM_EDGE_MODELS: an ONNX file, whose inputs and outputs behind the first are its states, and real frames, `key`
    of the reference file. context: samples of the frame before that the source wants in front of each frame, and this project keeps
    itself. whole: no step but a text of TEXT bytes at a time. target: of the ratio to onnxruntime in float32."""

    name: str
    path: str
    reference: str
    key: str
    target: float
    options: tuple[tuple[str, Any], ...] = ()
    constants: tuple[tuple[str, int], ...] = ()
    context: int = 0
    whole: bool = False

    def x(self) -> np.ndarray:
        """STEPS_CHECKED frames as the source takes them, one after another, or one text."""
        x = np.load(Path(os.environ["LSTM_EDGE_MODELS"]) / self.reference)[self.key]
        return np.resize(x, (1, 1, TEXT)) if self.whole else x[:STEPS_CHECKED]

    @property
    def source(self) -> Path:
        return Path(os.environ["LSTM_EDGE_MODELS"]) / self.path


@dataclass(frozen=True)
class Streams:
    """Many streams of one network or trained model, a frame for each, and which share of the time of one by one is aimed at."""

    name: str
    of: Case | Trained
    target: float
    count: int = 1000

    def frames(self) -> np.ndarray:
        """A few frames for every stream: (frames, streams, *a frame)."""
        x = self.of.x if isinstance(self.of, Case) else np.ascontiguousarray(self.of.x()[..., self.of.context :])
        return np.stack([np.resize(np.roll(x, -n, axis=0), (self.count, *x.shape[1:])) for n in range(4)])


def _step(inputs: int, hidden: int, cell: str = "LSTM") -> Case:
    return Case(f"{'' if cell == 'LSTM' else cell + ' '}step {inputs}x{hidden}", (Layer(cell, inputs, hidden),))


def _sequence(inputs: int, hidden: int, cell: str = "LSTM") -> Case:
    name = f"{'' if cell == 'LSTM' else cell + ' '}100 steps {inputs}x{hidden}"
    return Case(name, (Layer(cell, inputs, hidden),), frames=100)


SIZES = ((1, 32), (40, 64), (64, 128), (128, 128), (257, 128), (128, 256), (256, 512), (512, 1024))
CASES = (
    *(_step(*size) for size in SIZES),
    *(_sequence(*size) for size in SIZES),
    *(_step(*size, "GRU") for size in ((64, 128), (128, 256))),
    *(_sequence(*size, "GRU") for size in ((64, 128), (128, 256))),
    Case("LSTM64-LSTM32-Dense10 on 20x10", (Layer("LSTM", 10, 64), Layer("LSTM", 64, 32)), frames=20, dense=10),
    Case("LSTM128-LSTM64-Dense10 on 28x28", (Layer("LSTM", 28, 128), Layer("LSTM", 128, 64)), frames=28, dense=10),
    Case("bidirectional 128 on 100x40", (Layer("LSTM", 40, 128, 2),), frames=100),
    Case("batch 32, 100 steps, 64x128", (Layer("LSTM", 64, 128),), frames=100, batch=32),
)
TRAINED = (
    Trained(
        "Silero VAD, a frame",
        "silero_vad/silero_vad_16k_op15.onnx",
        "silero_vad/silero_vad_16k_op15.ref.npz",
        "input",
        0.17,
        options=(("shapes", {"input": (1, 576)}), ("constants", {"sr": 16000}), ("overlap", {"input": 64})),
        constants=(("sr", 16000),),
        context=64,
    ),
    Trained("DTLN block 1", "dtln/model_1.onnx", "dtln/model_12_onnx.ref.npz", "in1", 0.28),
    Trained("DTLN block 2", "dtln/model_2.onnx", "dtln/model_12_onnx.ref.npz", "in2", 0.30),
    Trained("GTCRN", "gtcrn/gtcrn_simple.onnx", "gtcrn/gtcrn_simple.ref.npz", "mix", 0.15),
    Trained("nnsplit", "nnsplit/model.onnx", "nnsplit/model.ref.npz", "input", 0.60, whole=True),
)
SPARSE = (Case("step 256x512, 90 % of blocks zero", (Layer("LSTM", 256, 512),), zeros=0.9),)
SPARSE_AIMS = {"float32": 0.30, "int8": 0.45}  # of the dense network's time
STREAMS = (
    Streams("1000 streams of step 1x32", CASES[0], 0.35),
    Streams("1000 streams of step 64x128", CASES[2], 0.7),
    Streams("1000 streams of step 128x256", CASES[5], 1.0),
    Streams("1000 streams of Silero VAD", TRAINED[0], 1.0),
)
TWO_THREADS = 1.9  # times one thread's rate, from 64x128 on
Row = Case | Trained | Streams
BY_NAME: dict[str, Row] = {case.name: case for case in (*CASES, *TRAINED, *SPARSE, *STREAMS)}
OURS_ALONE = {case.name for case in (*SPARSE, *STREAMS)}


def needs_models(row: Row | None) -> bool:
    return isinstance(row.of if isinstance(row, Streams) else row, Trained)
