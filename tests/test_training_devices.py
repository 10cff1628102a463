"""Training on each kind of device: the same tests on the CPU and, where torch finds one, on a GPU (`-m gpu`)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lstm_edge.training.options import CELLS, Options

torch = pytest.importorskip("torch")
pd = pytest.importorskip("pandas")

import lstm_edge  # noqa: E402
from lstm_edge.training import loop, train  # noqa: E402
from lstm_edge.training.cells import recurrent  # noqa: E402
from lstm_edge.training.loop import Tensors, fit  # noqa: E402
from lstm_edge.training.report import TrainingError  # noqa: E402

GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")]
on_every_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])


def waves(count: int = 48) -> Tensors:
    """Waves of any phase, and their next values: (count, 12, 1) each."""
    phase = 6.28 * torch.rand(count, 1, 1, generator=torch.Generator().manual_seed(2))
    series = torch.sin(phase + 0.5 * torch.arange(13).reshape(1, -1, 1))
    return Tensors((series[:, :-1], series[:, 1:]))


class Forecaster(torch.nn.Module):
    def __init__(self, cell: str = "lstm"):
        super().__init__()
        torch.manual_seed(1)
        self.cell = recurrent(cell, 1, 12, 2, dropout=0.1)
        self.out = torch.nn.Linear(12, 1)

    def forward(self, x):
        return self.out(self.cell(x))


def loss(module, batch):
    return torch.nn.functional.mse_loss(module(batch[0]).float(), batch[1])


def trained(device: str, *, cell: str = "lstm", fails_at: int = 0, **settings):
    module, taken = Forecaster(cell), 0
    options = Options(**{"epochs": 6, "batch": 8, "rate": 0.02, "device": device, **settings})
    whole = waves().tensors

    def failing(module, batch):
        nonlocal taken
        taken += 1
        assert all(tensor.device.type == device for tensor in batch)
        if taken == fails_at:
            raise RuntimeError("interrupted")
        return loss(module, batch)

    def validate(module):
        place = next(module.parameters()).device
        return loss(module, [tensor.to(place) for tensor in whole]).item()

    return module, fit(module, failing, waves(), validate, options)


@on_every_device
def test_it_learns_and_comes_back(device):
    module, history = trained(device)
    assert history.best.validation < 0.3 * history.epochs[0].validation
    assert all(p.device.type == "cpu" for p in module.parameters())
    assert loss(module, waves().tensors).item() == pytest.approx(history.best.validation, rel=1e-3)
    assert device in history.device


@on_every_device
def test_bfloat16_learns_as_float32_does(device):
    wide, narrow = (trained(device, precision=p)[1] for p in ("float32", "bf16"))
    assert narrow.best.validation < 0.3 * narrow.epochs[0].validation
    assert narrow.epochs[0].loss == pytest.approx(wide.epochs[0].loss, rel=0.05)
    assert narrow.epochs[0].loss != wide.epochs[0].loss


@on_every_device
def test_interrupted_it_goes_on(device, tmp_path):
    whole = trained(device, epochs=3)[0]
    folder = {"epochs": 3, "folder": str(tmp_path), "resume": True}
    with pytest.raises(RuntimeError, match="interrupted"):
        trained(device, fails_at=12, **folder)
    module = trained(device, **folder)[0]
    for ours, theirs in zip(module.parameters(), whole.parameters()):
        torch.testing.assert_close(ours, theirs, **({"rtol": 0, "atol": 0} if device == "cpu" else {}))


@on_every_device
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_trains(device, cell):
    history = trained(device, cell=cell, epochs=2)[1]
    assert history.epochs[1].loss < history.epochs[0].loss


@on_every_device
def test_a_forecast_trained_there_runs_in_the_core(device, tmp_path):
    time = pd.date_range("2024-01-01", periods=300, freq="h")
    load = 300 + 40 * np.sin(np.arange(300) / 24 * 2 * np.pi)
    table = pd.DataFrame({"time": time, "load": load})
    settings = {"window": 30, "horizon": 3, "hidden": 6, "epochs": 2, "device": device, "precision": "bf16"}
    train(table, "forecast", tmp_path / "load.lstm", target=["load"], **settings)
    assert lstm_edge.verify(tmp_path / "load.lstm").verified


@pytest.mark.parametrize("at_once", [1, 4, 20])
def test_losses_that_are_read_late_still_name_their_step(monkeypatch, at_once):
    monkeypatch.setitem(loop.STEPS_READ_AT_ONCE, "cpu", at_once)
    examples = waves()
    examples.tensors[1][5] = math.nan
    step = torch.randperm(48, generator=torch.Generator().manual_seed(0)).tolist().index(5) // 8 + 1
    with pytest.raises(TrainingError, match=f"^epoch 1, step {step} of 6: expected a finite loss, found nan"):
        fit(Forecaster(), loss, examples, lambda m: 0.0, Options(epochs=1, batch=8, device="cpu"))
