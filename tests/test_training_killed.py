"""A training that is killed goes on from its checkpoint and ends with the same bits."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from lstm_edge.errors import FormatError
from lstm_edge.options import named_as_on_command_line
from lstm_edge.training.options import Options

torch = pytest.importorskip("torch")

from lstm_edge.training.checkpoint import NAME  # noqa: E402
from lstm_edge.training.int8_layers import fake_quantize  # noqa: E402
from lstm_edge.training.loop import Tensors, fit  # noqa: E402
from lstm_edge.training.pruning import prune_gradually  # noqa: E402
from lstm_edge.training.report import TrainingError  # noqa: E402

STEPS = 7  # of an epoch: 27 examples by 4
OPTIONS = Options(epochs=4, batch=4, rate=0.02, schedule="plateau", decay_after=1, patience=3, warmup=0.5)


def examples(count: int = 27, seed: int = 3) -> Tensors:
    x = torch.randn(count, 5, 2, generator=torch.Generator().manual_seed(seed))
    return Tensors((x, x.cumsum(1)[:, :, :1].sin()))


class Network(torch.nn.Module):
    """A recurrence with what a checkpoint could lose: dropout, a buffer that training moves."""

    def __init__(self, hidden: int = 4):
        super().__init__()
        torch.manual_seed(11)
        self.norm = torch.nn.BatchNorm1d(2)
        self.cell = torch.nn.LSTM(2, hidden, batch_first=True)
        self.out = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Linear(hidden, 1))

    def forward(self, x):
        return self.out(self.cell(self.norm(x.mT).mT)[0])


def loss(module, batch):
    return ((module(batch[0]) - batch[1]) ** 2).mean()


def train(options: Options, *, count: int = 27, hidden: int = 4, kill_at: int = -1, report=None):
    """The bits of the weights and the validations; kill_at: the step before which the process kills itself."""
    module, taken = Network(hidden), 0

    def killing(module, batch):
        nonlocal taken
        taken += 1
        if taken == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(module, batch)

    whole = examples(9, seed=4).tensors
    history = fit(module, killing, examples(count), lambda m: loss(m, whole).item(), options, report=report)
    bits = b"".join(value.numpy().tobytes() for value in module.state_dict().values())
    return bits, [(e.loss, e.validation, e.rate, e.better) for e in history.epochs], taken


def killed(options: Options, step: int) -> None:
    """Trains in a process of its own, which SIGKILL ends before that step."""
    child = os.fork()
    if child == 0:
        try:
            train(options, kill_at=step)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


@pytest.fixture(scope="module")
def undisturbed():
    return train(OPTIONS)


@pytest.mark.parametrize("step", [1, 3, 5, 7, 8, 12, 20, 28])
def test_a_killed_training_ends_with_the_same_bits(tmp_path, undisturbed, step):
    options = OPTIONS.replaced(folder=str(tmp_path), resume=True)
    killed(options, step)
    bits, epochs, taken = train(options)
    assert (bits, epochs) == undisturbed[:2]
    assert taken <= 4 * STEPS - (step - 1) + STEPS // 2 + 1  # at most half an epoch is lost


def test_killed_while_a_checkpoint_is_written(tmp_path, undisturbed, monkeypatch):
    """The second one is half written when the process dies: the first still stands."""
    options = OPTIONS.replaced(folder=str(tmp_path), resume=True)
    save, saved = torch.save, []

    def dying(content, file):
        saved.append(file)
        if len(saved) == 2:
            file.write(b"PK half of it")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(content, file)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", dying)
        killed(options, -1)
    left, whole = sorted(path.name for path in tmp_path.iterdir())
    assert whole == NAME and left.startswith(f".{NAME}.") and left.endswith(".tmp")
    assert train(options)[:2] == undisturbed[:2]
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_killed_twice_and_ended(tmp_path, undisturbed):
    options = OPTIONS.replaced(folder=str(tmp_path), resume=True)
    killed(options, 9)
    killed(options, 9)
    assert train(options)[:2] == undisturbed[:2]
    assert train(options) == (*undisturbed[:2], 0)  # nothing is left to do


def test_what_a_file_says_of_its_training_is_not_where_it_was_kept():
    kept = OPTIONS.replaced(folder="somewhere", resume=True, log="csv", checkpoint_minutes=3.0)
    assert kept.said() == OPTIONS.said() and OPTIONS.said()["rate"] == 0.02


def test_minutes_between_checkpoints(tmp_path, undisturbed):
    options = OPTIONS.replaced(folder=str(tmp_path), resume=True, checkpoint_minutes=1e-9)
    killed(options, 17)
    bits, epochs, taken = train(options)
    assert (bits, epochs, taken) == (*undisturbed[:2], 4 * STEPS - 16)


class Sparse(Network):
    """Half of each weight's blocks go within ten steps; the products are those of int8."""

    def __init__(self, hidden: int = 4):
        super().__init__(hidden)
        fake_quantize(self)
        prune_gradually(self, 0.5, (2, 2), steps=10, every=3)


def test_pruned_and_quantised_weights_go_on_too(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "Network", Sparse)
    undisturbed = train(OPTIONS)
    options = OPTIONS.replaced(folder=str(tmp_path), resume=True)
    killed(options, 6)
    killed(options, 5)
    assert train(options)[:2] == undisturbed[:2]
    monkeypatch.undo()
    with pytest.raises(TrainingError, match=r"pruning of all 0.5 in blocks \(2, 2\), here None"):
        train(options)
    betters = [better for *_, better in undisturbed[1]]
    assert betters[:2] == [True, True]  # in which weights were still being pruned


def test_the_weights_that_are_kept_have_their_zeros():
    module = Sparse()
    values = iter([1.0, 5.0, 6.0, 7.0])
    history = fit(module, loss, examples(), lambda m: next(values), OPTIONS)
    assert history.best.number == 2  # the first with all its zeros
    assert (module.cell.weight_hh_l0 == 0).sum() == module.cell.weight_hh_l0.numel() // 2


def test_a_training_too_short_to_prune_all_says_so():
    notes = []
    report = SimpleNamespace(note=notes.append, **dict.fromkeys(("began", "step", "epoch", "ended"), ignored))
    fit(Sparse(), loss, examples(), lambda m: 0.0, OPTIONS.replaced(epochs=1), report=report)
    assert notes[-1].startswith("training ended before prune_gradually did")


def test_more_epochs_go_on_from_the_end(tmp_path):
    options = OPTIONS.replaced(patience=0, folder=str(tmp_path), resume=True)
    train(options.replaced(epochs=2))
    assert train(options)[0] == train(OPTIONS.replaced(patience=0))[0]


def test_a_checkpoint_of_another_training_is_refused_by_name(tmp_path):
    options = OPTIONS.replaced(epochs=1, folder=str(tmp_path))
    train(options)
    with pytest.raises(TrainingError, match="of an earlier training; resume=True goes on with it"):
        train(options)
    with named_as_on_command_line(), pytest.raises(TrainingError) as found:
        train(options.replaced(resume=True, weight_decay=0.5), count=26)
    assert "made with --weight-decay None, here 0.5; examples 27 of digest" in str(found.value)
    with pytest.raises(TrainingError, match=r"weights cell.weight_ih_l0 \[16, 2\], here \[20, 2\]; .* and 1 more"):
        train(options.replaced(resume=True), hidden=5)


def test_a_checkpoint_of_other_layers_or_another_loss_is_refused_by_name(tmp_path):
    options = OPTIONS.replaced(epochs=1, folder=str(tmp_path), resume=True)

    def go_on(module, loss):
        fit(module, loss, examples(), lambda m: 0.0, options)

    go_on(Network(), loss)
    go_on(Network(), functools.partial(loss))
    with pytest.raises(
        TrainingError, match="layer cell LSTM, here Int8LSTM in int8; layer out.1 Linear, here Int8Linear"
    ):
        go_on(fake_quantize(Network()), loss)
    with pytest.raises(TrainingError, match="made with loss function loss, here L1Loss; go on"):
        go_on(Network(), torch.nn.L1Loss())


def test_more_patience_goes_on_as_if_it_had_been_given_at_once(tmp_path):
    notes, values = [], [3.0, 4.0, 5.0, 2.0, 1.0]
    report = SimpleNamespace(note=notes.append, **dict.fromkeys(("began", "step", "epoch", "ended"), ignored))
    options = OPTIONS.replaced(epochs=5, schedule="constant", patience=1, folder=str(tmp_path), resume=True)

    def validations(start):
        left = iter(values[start:])
        return lambda module: next(left)

    def trained(options, start=0):
        module = Network()
        history = fit(module, loss, examples(), validations(start), options, report=report)
        return len(history.epochs), history.stopped, [value.tolist() for value in module.state_dict().values()]

    assert trained(options)[:2] == (2, True)
    assert trained(options.replaced(epochs=9), 2)[:2] == (2, True)
    assert notes[-1].endswith("at its end, by patience=1; more of it goes on")
    whole = trained(options.replaced(patience=3, folder=None, resume=False))
    assert trained(options.replaced(patience=3), 2) == whole and whole[:2] == (5, False)


def test_what_may_change_the_last_bits_is_said(tmp_path, monkeypatch):
    notes = []
    report = SimpleNamespace(note=notes.append, **dict.fromkeys(("began", "step", "epoch", "ended"), ignored))
    options = OPTIONS.replaced(epochs=1, folder=str(tmp_path), resume=True)
    train(options, report=report)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    train(options.replaced(epochs=2), report=report)
    assert notes[1].endswith("no checkpoint yet; training starts at its beginning")
    assert "goes on from" in notes[3] and notes[3].endswith("at epoch 2, step 1")
    assert notes[4].endswith("threads 1, now 7: the last bits may differ")


def ignored(*told, **named):
    """What this test does not look at."""


def test_a_damaged_checkpoint_is_named(tmp_path):
    options = OPTIONS.replaced(epochs=1, folder=str(tmp_path))
    train(options)
    path = tmp_path / NAME
    for content in (path.read_bytes()[:-100], b"PK\x03\x04nothing", b"text"):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=f"^{path}: expected a checkpoint"):
            train(options.replaced(resume=True))


def test_a_state_that_could_not_be_read_again_is_refused_when_it_is_written(tmp_path):
    class Strange(Network):
        def get_extra_state(self):
            return Path("somewhere")

    with pytest.raises(FormatError, match="what the network keeps in its state: expected a checkpoint"):
        fit(Strange(), loss, examples(), lambda m: 0.0, OPTIONS.replaced(epochs=1, folder=str(tmp_path)))
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("part", ["identity", "epoch", "module", "optimizer", "random", "epochs", "schedule"])
def test_a_checkpoint_with_a_part_of_another_kind_is_named(tmp_path, part):
    options = OPTIONS.replaced(folder=str(tmp_path), epochs=1)
    train(options)
    content = torch.load(tmp_path / NAME, weights_only=True)
    torch.save({**content, part: [7]}, tmp_path / NAME)
    with pytest.raises(FormatError, match="checkpoint.pt: expected a checkpoint of"):
        train(options.replaced(resume=True))


def test_a_checkpoint_runs_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"kind": Evil()}, tmp_path / NAME)
    with pytest.raises(FormatError, match="expected a checkpoint"):
        train(OPTIONS.replaced(folder=str(tmp_path), resume=True))
    assert not (tmp_path / "ran").exists()
