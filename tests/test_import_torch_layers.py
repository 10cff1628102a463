"""Single torch layers and functions against torch itself."""

from __future__ import annotations

import numpy as np
import pytest
from torch_helpers import B, T, agrees, free

import lstm_edge
from lstm_edge.importers.torch.model import read
from lstm_edge.ir.dims import BATCH, FRAMES

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(1)


ACTIVATIONS = [
    nn.ReLU(),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.ELU(0.5),
    nn.SELU(),
    nn.CELU(0.7),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Mish(),
    nn.Softplus(2.0),
    nn.Softplus(1.0, 3.0),
    nn.Softsign(),
    nn.Hardsigmoid(),
    nn.Hardswish(),
    nn.Hardtanh(-0.5, 0.7),
    nn.ReLU6(),
    nn.LeakyReLU(0.2),
    nn.LogSigmoid(),
    nn.Tanhshrink(),
    nn.Softshrink(0.3),
    nn.Hardshrink(0.3),
    nn.Threshold(0.1, -2.0),
    nn.Softmax(-1),
    nn.Softmin(-1),
    nn.LogSoftmax(-1),
    nn.GLU(),
    nn.PReLU(),
    nn.RReLU(),
    nn.Identity(),
    nn.Dropout(),
    nn.AvgPool1d(3, 2, 1),
    nn.AdaptiveAvgPool1d(1),
    nn.ConstantPad1d((1, 2), 3.0),
    nn.ReplicationPad1d(2),
    nn.CircularPad1d(1),
    nn.Flatten(),
    nn.Upsample(scale_factor=2),
    nn.Conv1d(5, 4, 3, groups=1),
]


@pytest.mark.parametrize("module", ACTIVATIONS, ids=lambda m: str(m).replace(" ", ""))
def test_single_layers(module):
    x = 3 * torch.randn(B, 5, 8)
    agrees(read(module, example=x), module, x)


IMAGES = [
    nn.Conv2d(3, 4, 3, stride=(1, 2), padding=(1, 0), dilation=2),
    nn.ConvTranspose2d(3, 5, 3, stride=2, output_padding=1),
    nn.MaxPool2d(2, ceil_mode=True),
    nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    nn.BatchNorm2d(3),
    nn.InstanceNorm2d(3),
    nn.GroupNorm(3, 3),
    nn.AdaptiveMaxPool2d((1, 1)),
    nn.ReflectionPad2d((1, 2, 3, 1)),
    nn.Unflatten(1, (3, 1)),
    nn.Conv2d(3, 6, (3, 4), padding="same", groups=3),
]


@pytest.mark.parametrize("module", IMAGES, ids=lambda m: str(m).replace(" ", ""))
def test_single_layers_on_images(module):
    x = torch.randn(B, 3, 11, 9)
    agrees(read(module, example=x), module, x)


# ---- functions -------------------------------------------------------------------------------------------------------


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


WEIGHT = torch.randn(5, 3)
FUNCTIONS = {
    "einsum of three": lambda x: torch.einsum("btc,cd,btd->bt", x, WEIGHT, x @ WEIGHT),
    "einsum with an ellipsis": lambda x: torch.einsum("...c,cd->...d", x, WEIGHT),
    "einsum without a result": lambda x: torch.einsum("btc,cd", x, WEIGHT),
    "sort over frames": lambda x: torch.sort(x, 1)[0],
    "argsort over frames": lambda x: torch.argsort(x, 1, True),
    "roll over frames": lambda x: torch.roll(x, 2, 1),
    "roll over all": lambda x: torch.roll(x, 7),
    "inverse hyperbolics": lambda x: torch.asinh(x) + torch.acosh(x.abs() + 1.5) + torch.atanh(x.tanh() * 0.9),
    "cumulative mask": lambda x: (x > 0).cumsum(1),
    "values in place": lambda x: torch.zeros_like(x).masked_fill_(x > 0, 2.0) + torch.full_like(x, 0.5),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_leave_batch_and_frames_free(name):
    module = Function(FUNCTIONS[name])
    graph = read(module, example=torch.randn(2, 7, 5))
    assert free(graph) == [("x", (BATCH, FRAMES, 5))]
    agrees(graph, module, torch.randn(B, T, 5))


def test_a_step_whose_every_output_is_a_state_still_answers():
    """A GRUCell gives its next state and nothing else: a stream carries it and hands it out."""

    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRUCell(3, 4)

        def forward(self, x, h):
            return self.cell(x, h)

    module, h = Cell().eval(), torch.zeros(1, 4)
    model = lstm_edge.convert(module, example=(torch.randn(1, 3), h))
    assert [s.name for s in model.states] == ["h"] and len(model.outputs) == 1
    stream = model.stream()
    for _ in range(3):
        x = torch.randn(1, 3)
        with torch.no_grad():
            h = module(x, h)
        np.testing.assert_allclose(stream.step(x[0].numpy()), h[0].numpy(), atol=1e-6)
