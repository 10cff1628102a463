"""The training loop and its options, on networks of a few weights."""

from __future__ import annotations

import csv
import math

import pytest

from lstm_edge.options import named_as_on_command_line
from lstm_edge.training.options import OptionError, Options, read_options

torch = pytest.importorskip("torch")

from lstm_edge.training.loop import Tensors, fit  # noqa: E402
from lstm_edge.training.report import NotFinite, Reports, TrainingError  # noqa: E402
from lstm_edge.training.schedules import Schedule  # noqa: E402
from lstm_edge.training.sweep import Sweep  # noqa: E402


def line(count: int = 64, *, broken: int | None = None) -> Tensors:
    """Examples of y = 2 x0 - x1, which a Linear learns; the one numbered `broken` is not a number."""
    x = torch.randn(count, 2, generator=torch.Generator().manual_seed(5))
    y = x @ torch.tensor([[2.0], [-1.0]])
    if broken is not None:
        y[broken] = math.nan
    return Tensors((x, y))


def squared(module, batch):
    x, y = batch
    return ((module(x) - y) ** 2).mean()


def network(seed: int = 0, hidden: int = 3):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(2, hidden), torch.nn.Dropout(0.1), torch.nn.Linear(hidden, 1))


def trained(options: Options, examples: Tensors | None = None, **settings):
    module = network()
    examples = examples or line()
    whole = examples.batch(torch.arange(len(examples)))
    history = fit(module, squared, examples, lambda m: squared(m, whole).item(), options, **settings)
    return module, history


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_it_learns_and_keeps_the_best_weights():
    examples = line()
    module, history = trained(Options(epochs=30, batch=8, rate=0.05), examples)
    whole = examples.batch(torch.arange(len(examples)))
    assert history.best.validation < 0.1 * history.epochs[0].validation
    assert squared(module, whole).item() == history.best.validation
    assert not module.training


def test_the_seed_decides_and_nothing_else():
    first, again, other = (weights(trained(Options(epochs=2, seed=s))[0]) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_all_that_is_wrong_is_named_at_once_in_the_readers_form():
    given = {"epochs": 0, "rate": "fast", "epoch": 3, "log": "xml", "seed": 1.5}
    with pytest.raises(OptionError) as python:
        read_options(Options, given)
    text = str(python.value)
    assert text.startswith("5 options are wrong: epoch is no option of this task; did you mean epochs?")
    assert "epochs: expected a whole number, at least 1, found 0" in text
    assert "log: expected one of none, csv, tensorboard, found 'xml'" in text
    with named_as_on_command_line(), pytest.raises(OptionError) as typed:
        read_options(Options, given)
    assert "--epoch is no option of this task; did you mean --epochs?" in str(typed.value)
    with named_as_on_command_line(), pytest.raises(OptionError, match="expected one of .*--weight-decay,"):
        read_options(Options, {"zzz": 1})


def test_contradictions_are_named_at_once():
    with pytest.raises(OptionError) as found:
        Options(resume=True, log="csv", epochs=3, warmup=3.0, schedule="plateau", patience=5)
    assert len(found.value.problems) == 4


def test_numbers_beyond_what_torch_computes_in():
    said = (
        r"hidden: expected a whole number below 2,147,483,648, found 1e\+20; rate: expected a number of at most 1e\+30"
    )
    with pytest.raises(OptionError, match=said):
        Options(hidden=1e20, rate=1e300)


def test_the_command_line_gives_text():
    with named_as_on_command_line():
        options = read_options(Options, {"rate": "1e-2", "epochs": "7", "class_weights": "rare=5,common=1"})
        assert options.typed("class_weights") == "--class-weights rare=5.0,common=1.0"
    assert (options.rate, options.epochs, options.class_weights) == (0.01, 7, {"rare": 5.0, "common": 1.0})
    assert options.typed("class_weights") == "class_weights={'rare': 5.0, 'common': 1.0}"
    with pytest.raises(OptionError, match="expected a number, above 0, found '1e-2'"):
        read_options(Options, {"rate": "1e-2"})


def test_warm_up_rises_to_the_rate_that_the_first_step_after_it_has():
    schedule = Schedule(Options(epochs=4, warmup=1.0, rate=1.0), steps=3)
    assert [schedule.rate(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_cosine_falls_to_nothing():
    schedule = Schedule(Options(epochs=2, schedule="cosine", rate=2.0), steps=2)
    half = math.sqrt(0.5)
    assert [schedule.rate(step) for step in range(4)] == pytest.approx([2.0, 1 + half, 1.0, 1 - half])


def test_steps_multiply_after_their_epochs():
    schedule = Schedule(Options(epochs=9, schedule="step", decay=0.1, decay_after=2, rate=1.0), steps=5)
    assert [schedule.rate(step) for step in (0, 9, 10, 19, 20)] == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.01])


def test_a_plateau_multiplies_after_epochs_without_a_better_one():
    schedule = Schedule(Options(schedule="plateau", decay=0.5, decay_after=2, rate=1.0), steps=5)
    rates = []
    for better in (True, False, True, False, False, False, False):
        schedule.judged(better)
        rates.append(schedule.rate(0))
    assert rates == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25]


def test_early_stopping_keeps_the_best_of_the_epochs_before():
    values = iter([3.0, 2.0, 2.5, 2.0, 9.0])
    kept = {}

    def validate(module):
        value = next(values)
        kept.setdefault(value, weights(module).clone())
        return value

    module = network()
    history = fit(module, squared, line(), validate, Options(epochs=20, patience=3))
    assert [epoch.validation for epoch in history.epochs] == [3.0, 2.0, 2.5, 2.0, 9.0]
    assert history.stopped and history.best.number == 2
    assert torch.equal(weights(module), kept[2.0])


def test_a_long_gradient_is_clipped_to_its_length():
    """The gradient of the one step is seen before it is clipped in place, and held."""
    module = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    examples = Tensors((torch.tensor([[30.0, 40.0]]), torch.tensor([[1.0]])))  # gradient -2 * (30, 40), length 100
    seen = []
    module.weight.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad))
    fit(module, squared, examples, lambda m: 0.0, Options(epochs=1, clip=5.0))
    assert seen[0].tolist() == [pytest.approx([-3.0, -4.0], rel=1e-6)]


@pytest.mark.parametrize("clip", [1.0, 0.0])
def test_a_loss_that_is_no_number_names_epoch_and_step(clip):
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0)).tolist()
    step = order.index(7) // 8 + 1
    with pytest.raises(
        TrainingError, match=f"^epoch 1, step {step} of 8: expected a finite loss, found nan; lower rate"
    ):
        trained(Options(epochs=1, batch=8, clip=clip), line(broken=7))


@pytest.mark.parametrize(
    "loss, found",
    [(lambda m, b: m(b[0]), r"shape \[64, 1\], with a"), (lambda m, b: b[0].sum(), r"shape \[\], without a")],
)
def test_a_loss_that_training_cannot_lower_is_an_error(loss, found):
    with pytest.raises(TrainingError, match=f"^expected the loss to be a number with a gradient .*found {found}"):
        fit(network(), loss, line(), lambda m: 0.0, Options(epochs=1))


def test_a_validation_that_is_no_number_names_the_epoch():
    with pytest.raises(TrainingError, match="^after epoch 1: expected a finite validation, found inf"):
        fit(network(), squared, line(), lambda m: math.inf, Options(epochs=1))


def test_a_missing_device_is_an_error():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(TrainingError, match="^device='cuda': expected a device of that kind"):
        trained(Options(epochs=1, device="cuda"))


def test_a_log_has_every_epoch_once_though_training_went_on(tmp_path):
    options = Options(epochs=2, batch=8, folder=str(tmp_path), log="csv", patience=0)
    trained(options)
    history = trained(options.replaced(epochs=3, resume=True))[1]
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == ["1", "2", "3"]
    assert [float(row["validation"]) for row in rows] == [epoch.validation for epoch in history.epochs]


def test_events_for_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = trained(Options(epochs=2, batch=8, folder=str(tmp_path), log="tensorboard"))[1]
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert len(events.Scalars("step/loss")) == 16
    found = [event.value for event in events.Scalars("epoch/validation")]
    assert found == pytest.approx([epoch.validation for epoch in history.epochs])


def swept(options: Options):
    notes = Notes()

    class Made:
        def __init__(self, history, given):
            self.history, self.given = history, given

    def run(given, report):
        report.note("what every trial says")
        return Made(trained(given)[1], given)

    made = Sweep(run, options, Reports([notes])).search()
    return made, notes.texts


class Notes:
    """A report that keeps what is noted."""

    def __init__(self):
        self.texts = []

    def note(self, text):
        self.texts.append(text)


def test_a_sweep_is_repeated_by_its_seed_and_says_its_best(tmp_path):
    pytest.importorskip("optuna")
    options = Options(epochs=2, batch=8, rate=0.01, trials=4, seed=3, folder=str(tmp_path))
    made, texts = swept(options)
    assert texts.pop(0) == "what every trial says" and len(texts) == 5
    assert "rate 0.01, hidden 64, layers 1, dropout 0," in texts[0]
    assert texts[-1].startswith("the best of 4 trials: rate")
    values = [float(text.rpartition(" ")[2]) for text in texts]
    assert values[-1] == min(values) == pytest.approx(made.history.best.validation, rel=1e-5)
    assert swept(options.replaced(folder=str(tmp_path / "again")))[1][1:] == texts
    with pytest.raises(TrainingError, match="trial-1.*of an earlier training"):
        swept(options)
    assert swept(options.replaced(resume=True))[1][1:] == texts  # from the trials' own checkpoints


def test_a_sweep_of_trials_that_all_fail_says_why():
    pytest.importorskip("optuna")

    def run(options, report):
        raise NotFinite("nothing to learn")

    with pytest.raises(TrainingError, match="^trials=2: no trial trained, the last one for: nothing to learn"):
        Sweep(run, Options(trials=2), Reports([])).search()
