"""Loops of cells in live torch modules: one recurrence over any number of frames, where torch says the same at others."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_edge import convert
from lstm_edge.errors import ShapeError

torch = pytest.importorskip("torch")
nn = torch.nn


class EveryFrame(nn.Module):
    def __init__(self, kind="LSTMCell"):
        super().__init__()
        torch.manual_seed(2)
        self.cell, self.out = getattr(nn, kind)(4, 6), nn.Linear(6, 2)

    def states(self, x, count):
        h = c = torch.zeros(x.size(0), 6)
        for t in range(count):
            if isinstance(self.cell, nn.LSTMCell):
                h, c = self.cell(x[:, t], (h, c))
            else:
                h = self.cell(x[:, t], h)
            yield h

    def forward(self, x):
        return self.out(torch.stack(list(self.states(x, x.size(1))), 1))


class LastFrame(EveryFrame):
    def forward(self, x):
        return self.out(list(self.states(x, x.size(1)))[-1])


class TimeMajor(EveryFrame):
    def forward(self, x):
        return super().forward(x.transpose(0, 1)).transpose(0, 1)


class FirstFive(EveryFrame):
    def forward(self, x):
        return self.out(list(self.states(x, 5))[-1])


class OwnCell(EveryFrame):
    def forward(self, x):
        h, out = torch.zeros(x.size(0), 2), []
        for t in range(x.size(1)):
            h = h + 0.1 * (torch.tanh(self.out(torch.cat([x[:, t], h], 1))) - h)
            out.append(h)
        return torch.stack(out, 1)


def agrees(model, module, shape):
    x = torch.randn(shape)
    with torch.no_grad():
        want = module(x).numpy()
    np.testing.assert_allclose(model.run(x.numpy()), want, atol=1e-5)


@pytest.mark.parametrize("make", [EveryFrame, lambda: EveryFrame("GRUCell"), LastFrame])
def test_a_loop_of_cells_takes_any_number_of_frames_and_streams(make):
    module = make().eval()
    model = convert(module, example=torch.randn(2, 5, 4))
    assert model.inputs[0].shape == ("batch", "frames", 4)
    for frames in (1, 3, 5, 12):
        agrees(model, module, (2, frames, 4))
    stream, x = model.stream(), torch.randn(1, 7, 4)
    with torch.no_grad():
        for t in range(7):
            got, want = stream.step(x[0, t].numpy()), module(x[:, : t + 1]).numpy()[0]
            np.testing.assert_allclose(got, want[-1] if want.ndim == 2 else want, atol=1e-5)


def test_frames_first():
    module = TimeMajor().eval()
    model = convert(module, example=torch.randn(5, 2, 4))
    assert model.inputs[0].shape == ("frames", "batch", 4)
    agrees(model, module, (8, 1, 4))


def test_a_loop_over_a_number_of_its_own_stays_one():
    module = FirstFive().eval()
    model = convert(module, example=torch.randn(2, 5, 4))
    assert model.inputs[0].shape == ("batch", 5, 4)
    agrees(model, module, (3, 5, 4))


def test_a_loop_that_no_op_was_found_for_says_its_number_of_ops_and_refuses_other_lengths():
    module = OwnCell()
    module.out = nn.Linear(6, 2)
    model = convert(module.eval(), example=torch.randn(2, 5, 4))
    assert any("ops are left unrolled" in note for note in model.metadata["notes"])
    agrees(model, module, (2, 5, 4))
    for frames in (1, 4, 6):
        with pytest.raises(ShapeError, match="5"):
            model.run(np.zeros((2, frames, 4), np.float32))
