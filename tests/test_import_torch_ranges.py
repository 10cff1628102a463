"""Sizes for which a torch program holds: ranges, guards, and what an enlarged example may not bring into a model."""

from __future__ import annotations

import numpy as np
import pytest

import lstm_edge
from lstm_edge import convert
from lstm_edge.errors import LstmEdgeError, ShapeError
from lstm_edge.importers.torch import guards
from lstm_edge.importers.torch.guards import Range
from lstm_edge.ir.notes import assumptions

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


class Base(nn.Module):
    def __init__(self, features=3):
        super().__init__()
        torch.manual_seed(3)
        self.rnn, self.out = nn.GRU(features, 4, batch_first=True), nn.Linear(4, 2)

    def head(self, x):
        return self.out(self.rnn(x)[0][:, -1])

    def forward(self, x):
        return self.head(x)


class PadsShort(Base):
    def forward(self, x):
        return self.head(F.pad(x, (0, 0, 5 - x.size(1), 0)) if x.size(1) < 5 else x)


class CropsLong(Base):
    def forward(self, x):
        return self.head(x[:, -8:] if x.size(1) > 8 else x)


class WeighsLong(Base):
    def forward(self, x):
        return self.head(x) * (2.0 if x.size(1) > 8 else 1.0)


class PadsOdd(Base):
    def forward(self, x):
        return self.head(F.pad(x, (0, 0, 0, 1)) if x.size(1) % 2 else x)


class Checked(Base):
    def forward(self, x):
        torch._check(x.size(1) <= 50)
        return self.head(x)


class OneLength(Base):
    def forward(self, x):
        return self.head(x) * (2.0 if x.size(1) == 7 else 1.0)


class Window(Base):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 3, 5, stride=2)

    def forward(self, x):
        return self.head(self.conv(x.mT).mT)


class Positions(Base):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 30, 3))

    def forward(self, x):
        return self.head(x + self.table[:, : x.size(1)])


class LaterPositions(Positions):
    def forward(self, x):
        return self.head(x + self.table[:, 2 : 2 + x.size(1)])


BRANCHES = [  # module, frames of the example, the range that is stated
    (PadsShort, 7, [5, None, 1, 0]),
    (PadsShort, 3, None),
    (CropsLong, 7, [1, 8, 1, 0]),
    (CropsLong, 12, None),  # the last 8 of fewer are all of them, there as here
    (WeighsLong, 7, [1, 8, 1, 0]),
    (PadsOdd, 8, [2, None, 2, 0]),
    (PadsOdd, 7, [1, None, 2, 1]),
    (Checked, 7, [1, 50, 1, 0]),
    (OneLength, 7, None),
    (Window, 9, None),
    (Positions, 7, [1, 30, 1, 0]),
    (LaterPositions, 7, [1, 28, 1, 0]),
    (Base, 7, None),
]


def answers_as(model, module, lengths=(1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 40, 60)):
    """Every length is answered as torch answers it or refused; how many were answered."""
    answered = 0
    for frames in lengths:
        x = torch.randn(1, frames, 3)
        try:
            got = model.run(x.numpy())
        except ShapeError:
            continue
        with torch.no_grad():
            np.testing.assert_allclose(got, module(x).numpy(), atol=1e-5)
        answered += 1
    return answered


@pytest.mark.parametrize("kind, frames, wanted", BRANCHES)
def test_a_live_module_answers_as_torch_or_not_at_all(kind, frames, wanted):
    module = kind().eval()
    model = convert(module, example=torch.randn(1, frames, 3))
    assert model.metadata.get("ranges", {}).get("frames") == wanted
    assert answers_as(model, module) >= (1 if kind is OneLength or frames == 3 else 2)


@pytest.mark.parametrize("kind", [PadsShort, CropsLong, Checked])
def test_an_exported_program_answers_as_torch_or_not_at_all(kind, tmp_path):
    """torch.export unrolls a recurrence, so that the frames are a number there; its guards stand beside it."""
    module = kind().eval()
    auto = ({0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO},)
    exported = torch.export.export(module, (torch.randn(3, 7, 3),), dynamic_shapes=auto)
    torch.export.save(exported, tmp_path / "model.pt2")
    for source in (exported, tmp_path / "model.pt2"):
        model = convert(source)
        assert "frames" in model.metadata["ranges"]
        assert answers_as(model, module) >= 3


def test_a_number_of_frames_that_a_program_was_exported_for_is_free_by_assumption_alone():
    """Behind a recurrence that torch unrolls no guard stands: a branch there cannot be seen."""
    exported = torch.export.export(WeighsLong().eval(), (torch.randn(3, 7, 3),))
    model = convert(exported)
    assert model.inputs[0].shape == ("batch", "frames", 3)
    assert any(n.startswith("assumed: input 'x'") and "exported for 7 alone" in n for n in model.metadata["notes"])
    assert convert(exported, shapes={"x": (None, 7, 3)}).inputs[0].shape == ("batch", 7, 3)


def test_a_range_that_the_user_exported_with_is_kept(tmp_path):
    class Plain(nn.Module):
        def forward(self, x):
            return torch.cumsum(x, 1)

    sizes = {0: torch.export.Dim("n", min=1, max=16), 1: torch.export.Dim("t", min=4, max=20)}
    exported = torch.export.export(Plain(), (torch.randn(2, 7, 3),), dynamic_shapes=(sizes,))
    torch.export.save(exported, tmp_path / "model.pt2")
    model = convert(tmp_path / "model.pt2")
    assert model.metadata["ranges"] == {"batch": [1, 16, 1, 0], "frames": [4, 20, 1, 0]}
    for shape in ((1, 3, 3), (1, 21, 3), (17, 5, 3)):
        with pytest.raises(ShapeError, match="exported"):
            model.run(np.zeros(shape, np.float32))


def test_too_few_frames_for_an_answer_are_refused_and_a_stream_waits_for_more():
    class Fourth(Base):
        def forward(self, x):
            return self.rnn(x)[0][:, 3]

    for kind, least in ((Fourth, 4), (Window, 5)):
        model = convert(kind().eval(), example=torch.randn(1, 9, 3))
        assert "ranges" not in model.metadata
        model.run(np.zeros((1, least, 3), np.float32))
        with pytest.raises(ShapeError):
            model.run(np.zeros((1, least - 1, 3), np.float32))
    stream = model.stream()
    assert [stream.run(np.zeros((1, 2, 3), np.float32)) is None for _ in range(3)] == [True, True, False]


def test_a_stream_answers_only_for_lengths_that_the_model_holds_for():
    module = PadsShort().eval()
    model = convert(module, example=torch.randn(1, 7, 3))
    x = torch.randn(1, 9, 3)
    stream = model.stream()
    with pytest.raises(ShapeError, match="first frames in one run"):
        stream.step(x[0, 0].numpy())
    stream.run(x[:, :5].numpy())
    for t in range(5, 9):
        with torch.no_grad():
            np.testing.assert_allclose(stream.step(x[0, t].numpy()), module(x[:, : t + 1]).numpy()[0], atol=1e-5)
    stream = convert(CropsLong().eval(), example=x[:, :7]).stream()
    for _ in range(2):
        for t in range(8):
            stream.step(x[0, t].numpy())
        with pytest.raises(ShapeError, match="1 to 8"):
            stream.step(x[0, 8].numpy())
        stream.reset()


# ---- an example that was enlarged -------------------------------------------------------------------------------------


class PerItem(Base):
    def forward(self, x):
        return torch.cat([self.rnn(x[i : i + 1])[0] for i in range(x.size(0))])


class Squeezes(Base):
    def forward(self, x):
        return self.rnn(x)[0].mean(2).squeeze()


class OverFrames(Base):
    def forward(self, x):
        return self.head((x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-5))


class Policy(Base):
    def forward(self, x):
        if x.size(0) != 1:
            raise ValueError("one robot")
        return self.head(x)


@pytest.mark.parametrize("kind", [PerItem, Squeezes, OverFrames, Policy])
def test_an_enlarged_example_does_not_leak_into_the_model(kind):
    module, x = kind().eval(), torch.randn(1, 7, 3)
    model = convert(module, example=x)
    assert model.inputs[0].shape == ("batch" if kind is OverFrames else 1, "frames", 3)
    with torch.no_grad():
        want = module(x).numpy()
    got = model.run(x.numpy())
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_made_up_batch_does_not_leak_either():
    model = convert(PerItem().eval())
    assert model.inputs[0].shape == (1, "frames", 3)


# ---- guards ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("L['x'].size()[1] <= 8", Range(1, 8)),
        ("5 <= L['x'].size()[1]", Range(5)),
        ("L['x'].size()[1] % 4 == 3", Range(3, None, 4, 3)),
        ("2*(L['x'].size()[1] // 2) == L['x'].size()[1]", Range(2, None, 2, 0)),
        ("max(1, L['x'].size()[1]) < 4097 and L['x'].size()[1] >= 3", Range(3, 4096)),
        ("not L['x'].size()[1] > 5", Range(1, 5)),
        ("L['x'].size()[1] != 9", None),
    ],
)
def test_what_a_guard_leaves_of_a_size(text, wanted):
    found = guards.parsed(text)
    assert guards.range_where(lambda v: found.holds({("x", 1): v}), set(found.numbers)) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "L['x'].size()[1] != 1",
        "L['x'].size()[1] == 29",
        "L['x'].stride()[0] == 3",
        "__import__('os').system('true')",
        "L['x'].size()[1] ** 10**10 > 1",
        "(" * 5000,
        "",
    ],
)
def test_other_guards_say_nothing_and_run_nothing(text):
    assert guards.parsed(text) is None


def test_damaged_ranges_are_refused():
    from lstm_edge import format as files
    from lstm_edge.convert import to_graph

    graph = to_graph(Base().eval(), example=torch.randn(1, 7, 3))
    for ranges in ([], {"frames": 3}, {"frames": [1, None, 0, 0]}, {"frames": [1, "x", 1, 0]}):
        graph.metadata["ranges"] = ranges
        with pytest.raises(LstmEdgeError, match="ranges"):
            lstm_edge.load(files.to_bytes(graph))


def test_a_guard_that_is_too_long_is_not_read_in_part():
    text = "L['x'].size()[1] <= 8"
    assert guards.parsed(text) is not None
    assert guards.parsed(text + "0" * guards.MOST_TEXT) is None and guards.unread(text + "0" * guards.MOST_TEXT)


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("L['x'].size()[1] ** 2 > 9", True),
        ("bitwise(L['x'].size()[1], 1) == 0", True),
        ("L['x'].size()[1] <=", True),
        ("L['x'].size()[1] <= 8", False),
        ("L['x'].size()[1] != 1", False),
        ("L['x'].stride()[0] == 2*L['x'].size()[1]", False),
        ("L['x'].dtype == 3", False),
    ],
)
def test_a_guard_on_sizes_that_is_not_understood_is_an_assumption(text, wanted):
    assert guards.unread(text) == wanted


class Compares(nn.Module):
    def forward(self, x, y):
        return x.sum(1) + y.sum(1) if x.size(1) < 2 * y.size(1) else x.sum(1) - y.sum(1)


def test_a_guard_of_two_sizes_is_among_what_is_assumed():
    auto = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    given = torch.randn(3, 7, 2), torch.randn(3, 5, 2)
    exported = torch.export.export(Compares(), given, dynamic_shapes=(auto, auto))
    assumed = assumptions(convert(exported, self_test=False).metadata)
    assert any(text.startswith("of ") and "size()[1]" in text for text in assumed)


class LargestSoFar(nn.Module):
    """A loop whose largest value stays unlike its cell a number of frames: it must never look right at others."""

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.LSTMCell(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        h = c = x.new_zeros(x.size(0), 4)
        best = h - 9
        for t in range(x.size(1)):
            h, c = self.cell(x[:, t], (h, c))
            best = torch.max(best, h)
        return self.out(best)


@pytest.mark.parametrize("seed", [1, 11])
def test_what_hardly_shows_at_more_frames_is_not_taken_for_right(seed):
    torch.manual_seed(seed)
    module, x = LargestSoFar().eval(), torch.randn(2, 30, 3)
    model = lstm_edge.convert(module, example=x[:, :7])
    try:
        got = model.run(x.numpy())
    except LstmEdgeError:
        return  # held at the example's frames
    with torch.no_grad():
        np.testing.assert_allclose(got, module(x).numpy(), atol=1e-5)


class Middle(Base):
    def forward(self, x):
        return self.out(self.rnn(x)[0])[:, x.size(1) // 2]


def test_a_place_in_the_middle_of_an_exported_program_holds_its_frames(tmp_path):
    dims = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    program = torch.export.export(Middle().eval(), (torch.randn(2, 7, 3),), dynamic_shapes={"x": dims})
    torch.export.save(program, tmp_path / "m.pt2")
    assert lstm_edge.convert(tmp_path / "m.pt2").inputs[0].shape == ("batch", 7, 3)


def test_a_check_of_a_script_is_an_assumption():
    class Checks(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(3, 4, batch_first=True)

        def forward(self, x):
            assert x.size(1) < 10
            return self.rnn(x)[0]

    script = torch.jit.script(Checks())
    notes = lstm_edge.convert(script, shapes={"x": ("batch", "frames", 3)}).metadata["notes"]
    assert any(n.startswith("assumed: ") and "10" in n for n in notes)
    plain = lstm_edge.convert(torch.jit.script(nn.GRU(3, 4)), shapes={"input": ("frames", "batch", 3)})
    assert not any(n.startswith("assumed: ") for n in plain.metadata["notes"])
