"""State dicts whose weights torch keeps as parts of them: weight_norm and spectral_norm, new and old."""

import numpy as np
import pytest

from lstm_edge.errors import UnsupportedModelError
from lstm_edge.importers.network.weights import read_weights

torch = pytest.importorskip("torch")
nn = torch.nn
parametrizations, utils = torch.nn.utils.parametrizations, torch.nn.utils

MODULES = {
    "weight_norm": lambda: parametrizations.weight_norm(nn.LSTM(3, 4), "weight_hh_l0"),
    "weight_norm of a bias's module": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4), dim=1)),
    "old weight_norm": lambda: utils.weight_norm(nn.Conv1d(3, 4, 5), dim=0),
    "old weight_norm of one size": lambda: nn.Sequential(utils.weight_norm(nn.Linear(3, 4), dim=None)),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(3, 4)),
    "spectral_norm of a transposed convolution": lambda: parametrizations.spectral_norm(nn.ConvTranspose1d(3, 4, 5)),
    "old spectral_norm": lambda: nn.Sequential(utils.spectral_norm(nn.Conv1d(3, 4, 5))),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODULES)
def test_the_weights_are_what_torch_computes(name):
    torch.manual_seed(0)
    module = MODULES[name]()
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(1.5).add_(0.01)
    weights = read_weights(module.eval().state_dict())
    layer = module[0] if isinstance(module, nn.Sequential) else module
    prefix = "0." if isinstance(module, nn.Sequential) else ""
    if name.startswith("old"):
        layer(torch.randn(2, 3) if isinstance(layer, nn.Linear) else torch.randn(2, 3, 9))  # computes the weight
    wanted = {"weight", "bias"} if not isinstance(layer, nn.LSTM) else {n for n in layer._flat_weights_names}
    assert set(weights.arrays) == {prefix + n for n in wanted}
    for n in wanted:
        np.testing.assert_allclose(weights.arrays[prefix + n], getattr(layer, n).detach().numpy(), rtol=1e-5, atol=1e-6)
    kind = "spectral_norm" if "spectral" in name else "weight_norm"
    assert [note.split(" of ")[0] for note in weights.notes] == [kind]


def test_another_parametrization_is_refused_by_name():
    module = nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 4)))
    with pytest.raises(
        UnsupportedModelError, match=r"'0\.weight' is kept as 0\.base, original.*remove_parametrizations"
    ):
        read_weights(module.state_dict())


def test_names_that_only_look_like_parts_stay():
    arrays = {n: np.ones((2, 2), np.float32) for n in ("gate_v", "gate_u", "b_g", "w_v", "w")}
    assert set(read_weights(arrays).arrays) == set(arrays)
