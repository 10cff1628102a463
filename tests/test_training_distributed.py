"""Several processes that train one network, by gloo: as torchrun starts them, but forked, so that torch is loaded once."""

from __future__ import annotations

import json
import os
import signal
import socket

import pytest

from lstm_edge.training.options import Options

torch = pytest.importorskip("torch")

from lstm_edge.training.checkpoint import NAME  # noqa: E402
from lstm_edge.training.distributed import World  # noqa: E402
from lstm_edge.training.loop import Tensors, fit  # noqa: E402
from lstm_edge.training.report import TrainingError  # noqa: E402

COUNT = 26  # 4 steps of 8 and one of 2 in two processes; 27 leave one process nothing in the last
OPTIONS = Options(epochs=4, batch=4, rate=0.02, patience=0)


class Told:
    """A report that writes down who is told."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *args, **named: self.calls.append(name)


def examples(count: int) -> Tensors:
    x = torch.randn(count, 5, 2, generator=torch.Generator().manual_seed(3))
    return Tensors((x, x.cumsum(1)[:, :, :1].sin()))


class Network(torch.nn.Module):
    def __init__(self, dropout: float):
        super().__init__()
        self.cell = torch.nn.LSTM(2, 4, batch_first=True)
        self.out = torch.nn.Sequential(torch.nn.Dropout(dropout), torch.nn.Linear(4, 1))

    def forward(self, x):
        return self.out(self.cell(x)[0])


def loss(module, batch):
    return ((module(batch[0]) - batch[1]) ** 2).mean()


def train(options: Options, *, count: int = COUNT, seed: int = 7, dropout: float = 0.0, kill_at: int = -1):
    """What a training gives, as JSON takes it. The processes begin with different weights, as seeds of their own would."""
    torch.manual_seed(seed + int(os.environ.get("RANK", 0)))
    module, told, taken = Network(dropout), Told(), 0

    def killing(module, batch):
        nonlocal taken
        taken += 1
        if taken == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(module, batch)

    whole = examples(9).tensors
    history = fit(module, killing, examples(count), lambda m: loss(m, whole).item(), options, report=told)
    curve = [[e.loss, e.validation] for e in history.epochs]
    return {"curve": curve, "weights": [p.flatten().tolist() for p in module.parameters()], "told": told.calls}


def in_two_processes(tmp_path, options: Options, **settings) -> list:
    """What both give; None for one that died."""
    torch.optim.AdamW([torch.zeros(1)])  # what torch loads with the first optimizer, a second of work, is loaded once
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [_forked(tmp_path, rank, port, options, settings) for rank in range(2)]
    codes = [os.waitpid(child, 0)[1] for child in children]
    return [
        json.loads((tmp_path / f"{rank}.json").read_text()) if code == 0 else None for rank, code in enumerate(codes)
    ]


def _forked(tmp_path, rank: int, port: int, options: Options, settings: dict) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.alarm(60)  # ends one that waits for ever
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        try:
            found = train(options, **settings)
        except TrainingError as exc:
            found = {"error": str(exc)}
        (tmp_path / f"{rank}.json").write_text(json.dumps(found))
        code = 0
    finally:
        os._exit(code)


@pytest.mark.parametrize("count", [COUNT, COUNT - 1])
def test_two_processes_learn_as_one_with_the_doubled_batch(tmp_path, count):
    first, second = in_two_processes(tmp_path, OPTIONS, count=count)
    alone = train(OPTIONS.replaced(batch=8), count=count)
    assert first["curve"] == second["curve"] and first["weights"] == second["weights"]
    for ours, theirs in zip(first["curve"] + first["weights"], alone["curve"] + alone["weights"]):
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_only_the_first_tells_and_writes(tmp_path):
    first, second = in_two_processes(tmp_path, OPTIONS.replaced(epochs=1, folder=str(tmp_path / "run")))
    assert first["told"].count("epoch") == 1 and first["told"][-1] == "ended"
    assert second["told"] == []
    assert [path.name for path in (tmp_path / "run").iterdir()] == [NAME]


def test_both_killed_they_end_with_the_same_bits(tmp_path):
    plain = in_two_processes(tmp_path, OPTIONS, dropout=0.3)
    options = OPTIONS.replaced(folder=str(tmp_path / "run"), resume=True)
    assert in_two_processes(tmp_path, options, dropout=0.3, kill_at=8) == [None, None]
    gone_on = in_two_processes(tmp_path, options, dropout=0.3)
    assert [found["weights"] for found in gone_on] == [found["weights"] for found in plain]
    assert gone_on[0]["curve"] == plain[0]["curve"]


def test_what_is_refused_is_refused_by_all(tmp_path):
    options = OPTIONS.replaced(epochs=1, folder=str(tmp_path / "run"))
    in_two_processes(tmp_path, options)
    for found in in_two_processes(tmp_path, options):
        assert "of an earlier training; resume=True goes on with it" in found["error"]
    with pytest.raises(TrainingError, match="processes 2, here 1"):
        train(options.replaced(resume=True))


def test_shares_are_neighbours_whose_weights_make_the_mean():
    indices = torch.arange(5)
    shares = [World(rank, 2).share(indices) for rank in range(2)]
    assert [(part.tolist(), weight) for part, weight in shares] == [([0, 1, 2], 1.2), ([3, 4], 0.8)]
    assert World(1, 2).share(indices[:1]) == (torch.tensor([0]), 0.0)
