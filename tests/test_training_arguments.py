"""What is no module, or none that a file can hold, is named by the functions for a torch loop of one's own."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
prune = pytest.importorskip("torch.nn.utils.prune")

import lstm_edge  # noqa: E402
from lstm_edge.training import export, fake_quantize, prune_gradually  # noqa: E402


@pytest.mark.parametrize("call", [export, fake_quantize, lambda module: prune_gradually(module, 0.5)])
@pytest.mark.parametrize("given", ["x", None, 3, torch.zeros(2)])
def test_no_module(call, given):
    with pytest.raises(lstm_edge.LstmEdgeError, match="expected a torch.nn.Module, found"):
        call(given)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"density": "a"}, "density: expected a share"),
        ({"density": None}, "density: expected a share"),
        ({"density": True}, "density: expected a share"),
        ({"blocks": None}, "blocks: expected"),
        ({"blocks": 16}, "blocks: expected"),
        ({"blocks": (True, 4)}, "blocks: expected"),
        ({"blocks": (10**9, 4)}, "blocks: expected"),
        ({"steps": 2**40}, "steps: expected"),
    ],
)
def test_what_pruning_cannot_take(options, words):
    with pytest.raises(lstm_edge.LstmEdgeError, match=words):
        prune_gradually(torch.nn.Linear(4, 4), **{"density": 0.5} | options)


def test_modules_that_no_file_can_hold():
    for module, words in (
        (torch.nn.LSTM(2, 3, device="meta"), "meta device"),
        (torch.nn.LSTM(2, 3).bfloat16(), r"call module.float\(\)"),
    ):
        with pytest.raises(lstm_edge.LstmEdgeError, match=words):
            export(module, example=torch.zeros(1, 4, 2))
    pruned = torch.nn.Sequential(torch.nn.Linear(4, 4))
    prune.l1_unstructured(pruned[0], "weight", 0.5)
    with pytest.raises(lstm_edge.LstmEdgeError, match="remove"):
        export(pruned, example=torch.zeros(1, 4))
    for wrong, words in (
        ({"metadata": 5}, "metadata: expected"),
        ({"names": 5}, "names: expected"),
        ({"names": "y"}, "names: expected"),
    ):
        with pytest.raises(lstm_edge.LstmEdgeError, match=words):
            export(torch.nn.Linear(4, 4), example=torch.zeros(1, 4), **wrong)
