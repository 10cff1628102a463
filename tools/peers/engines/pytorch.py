"""torch: nn.LSTM and nn.GRU, and quantize_dynamic of a module that holds them (it leaves a bare one in float32 without a word)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from peers.cases import Case, Layer, LayerWeights, Trained
from peers.engines import CannotMake, Runner


def version() -> str:
    return f"torch {torch.__version__}"


class Network(nn.Module):
    def __init__(self, case: Case) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_recurrence(la, w) for la, w in zip(case.layers, case.weights))
        self.dense = _dense(case) if case.dense else None

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        for layer in self.layers:
            x, state = layer(x, state)
            made, state = (x, state), None
        return self.dense(x[:, -1]) if self.dense is not None else made


def runners(case: Case | Trained, folder: Path) -> list[Runner]:
    if isinstance(case, Trained):
        raise CannotMake("the source is an ONNX file")
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    plain = Network(case).eval()
    made = [_runner(case, plain, "float32")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        narrow = torch.ao.quantization.quantize_dynamic(plain, {nn.LSTM, nn.GRU, nn.Linear}, dtype=torch.qint8)
    return [*made, _runner(case, narrow, "int8")]


def _runner(case: Case, network: nn.Module, precision: str) -> Runner:
    if not case.is_step:
        shown = (lambda y: y.numpy()) if case.dense else (lambda y: y[0].numpy())
        return Runner("torch", precision, lambda x: network(torch.from_numpy(x)), [case.x], shown=shown)
    kept: dict[str, Any] = {"state": None}

    def step(x: np.ndarray) -> torch.Tensor:
        y, kept["state"] = network(torch.from_numpy(x), kept["state"])
        return y

    return Runner("torch", precision, step, list(case.x[:, None, None]), lambda: kept.update(state=None))


def _recurrence(layer: Layer, weights: LayerWeights) -> nn.Module:
    made = {"LSTM": nn.LSTM, "GRU": nn.GRU}[layer.cell](
        layer.inputs, layer.hidden, batch_first=True, bidirectional=layer.directions == 2
    )
    names = {"weight_ih": weights.w, "weight_hh": weights.r, "bias_ih": weights.b, "bias_hh": weights.rb}
    for name, arrays in names.items():
        for suffix, array in zip(("", "_reverse"), arrays):
            getattr(made, f"{name}_l0{suffix}").data = torch.from_numpy(array.copy())
    return made


def _dense(case: Case) -> nn.Module:
    w, b = case.dense_weights
    made = nn.Linear(w.shape[1], w.shape[0])
    made.weight.data, made.bias.data = torch.from_numpy(w.copy()), torch.from_numpy(b.copy())
    return made
