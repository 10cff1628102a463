"""Live torch modules against torch itself: recurrences, networks, examples, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from torch_helpers import NETWORKS, B, Classifier, EncoderDecoder, T, agrees, free

from lstm_edge.errors import UnsupportedModelError
from lstm_edge.importers.torch.model import read
from lstm_edge.ir.dims import BATCH, FRAMES

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(1)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize(
    "layers, both, first, bias", [(1, False, True, True), (2, True, False, True), (3, True, True, False)]
)
def test_a_bare_recurrence_needs_no_example(kind, layers, both, first, bias):
    module = getattr(nn, kind)(
        4, 5, layers, bidirectional=both, batch_first=first, bias=bias, dropout=0.3 if layers > 1 else 0
    )
    graph = read(module)
    assert free(graph) == [("input", (BATCH, FRAMES, 4) if first else (FRAMES, BATCH, 4))]
    assert [p.name for p in graph.outputs] == ["output", "hn", "cn"][: 3 if kind == "LSTM" else 2]
    agrees(graph, module, torch.randn(B, T, 4))


@pytest.mark.parametrize("kind, projection", [("LSTM", 0), ("LSTM", 2), ("GRU", 0), ("RNN", 0)])
def test_states_become_paired_inputs_and_outputs(kind, projection):
    module = getattr(nn, kind)(4, 5, 2, batch_first=True, **({"proj_size": projection} if projection else {}))
    h = torch.randn(2, B, projection or 5)
    args = (torch.randn(B, T, 4), (h, torch.randn(2, B, 5)) if kind == "LSTM" else h)
    graph = read(module, example=args)
    assert [p.name for p in graph.inputs] == ["input", "h0", "c0"][: 3 if kind == "LSTM" else 2]
    assert [p.name for p in graph.outputs] == ["output", "hn", "cn"][: 3 if kind == "LSTM" else 2]
    agrees(graph, module, *args)


def test_relu_recurrence():
    module = nn.RNN(3, 4, nonlinearity="relu", bidirectional=True)
    agrees(read(module), module, torch.randn(T, B, 3))


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
def test_a_bare_cell_is_a_step_with_its_state(kind):
    module = getattr(nn, kind)(4, 5)
    graph = read(module)
    assert graph.is_step_model()
    h = torch.randn(B, 5)
    agrees(graph, module, torch.randn(B, 4), (h, torch.randn(B, 5)) if kind == "LSTMCell" else h)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_agree_with_torch_and_keep_batch_and_frames_free(name):
    module, args, shapes = NETWORKS[name]
    for buffer in module.buffers():
        if buffer.is_floating_point():
            buffer.data.uniform_(0.5, 1.5)
    graph = read(module, example=args)
    assert [s for _, s in free(graph)] == shapes
    agrees(graph, module, *args)
    if len(args) == 1 and args[0].is_floating_point():
        agrees(
            graph,
            module,
            torch.randn(*[n + 2 if s in (BATCH, FRAMES) else n for n, s in zip(args[0].shape, shapes[0])]),
        )


def test_an_example_of_one_sequence_and_one_frame_leaves_both_free():
    module = Classifier()
    for shape in ((1, 1, 4), (1, 7, 4), (4, 4, 4)):
        graph = read(module, example=torch.randn(shape))
        assert free(graph) == [("x", (BATCH, FRAMES, 4))]
    agrees(graph, module, torch.randn(B, T, 4))


def test_packed_sequences_become_lengths():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 6, bidirectional=True, batch_first=True)

        def forward(self, x, lengths):
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            out, (h, _) = self.lstm(packed)
            return nn.utils.rnn.pad_packed_sequence(out, batch_first=True)[0], torch.cat([h[0], h[1]], -1)

    args = (torch.randn(B, T, 4), torch.tensor([5, T, 9]))
    graph = read(Packed(), example=args)
    assert free(graph) == [("x", (BATCH, FRAMES, 4)), ("lengths", (BATCH,))]
    module = Packed()
    agrees(read(module, example=args), module, *args)


def test_a_loop_over_frames_asks_for_its_number_and_then_runs():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.LSTMCell(4, 6)

        def forward(self, x):
            h = c = torch.zeros(x.size(0), 6)
            out = []
            for t in range(x.size(1)):
                h, c = self.cell(x[:, t], (h, c))
                out.append(h)
            return torch.stack(out, 1)

    module = Loop()
    with pytest.raises(UnsupportedModelError, match="example="):
        read(module)
    x = torch.randn(B, 5, 4)
    graph = read(module, example=x)
    assert free(graph) == [("x", (BATCH, 5, 4))]
    agrees(graph, module, x)


def test_training_mode_and_device_of_the_callers_module_stay():
    module = Classifier().double().train()
    graph = read(module, example=np.zeros((2, 5, 4), np.float32))
    assert module.training and module.fc.weight.dtype == torch.float64
    agrees(graph, Classifier.float(module), torch.randn(B, T, 4))


def test_shapes_fix_and_free_axes():
    module = Classifier()
    assert free(read(module, shapes={"x": (1, "frames", 4)})) == [("x", (1, FRAMES, 4))]
    assert free(read(module, shapes={"x": (None, 10, 4)})) == [("x", (BATCH, 10, 4))]


class Gathers(nn.Module):
    """Its inputs come through *args, as a wrapper of another module hands them on."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 6, batch_first=True)

    def forward(self, x, *more):
        return self.gru(x + more[0])[0]


def test_inputs_of_any_number():
    module, x = Gathers().eval(), torch.randn(B, T, 4)
    graph = read(module, example=(x, x + 1))
    assert free(graph) == [("x", (BATCH, FRAMES, 4)), ("more_0", (BATCH, FRAMES, 4))]
    agrees(graph, module, torch.randn(1, 2, 4), torch.randn(1, 2, 4))


def test_what_has_no_meaning_is_refused_by_name():
    class Turns(nn.Module):
        def forward(self, x):
            return torch.fft.fft(x).abs()

    with pytest.raises(UnsupportedModelError, match="fft"):
        read(Turns(), example=torch.randn(2, 8))
    with pytest.raises(UnsupportedModelError, match="example="):
        read(EncoderDecoder())

    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("memory", torch.zeros(4))

        def forward(self, x):
            self.memory.add_(x.sum(0))
            return x + self.memory

    with pytest.raises(UnsupportedModelError, match="memory"):
        read(Remembers(), example=torch.randn(2, 4))


def test_hypothesis_sizes():
    hypothesis = pytest.importorskip("hypothesis")
    st = hypothesis.strategies

    @hypothesis.settings(max_examples=12, deadline=None)
    @hypothesis.given(
        st.sampled_from(["LSTM", "GRU", "RNN"]),
        st.integers(1, 9),
        st.integers(1, 17),
        st.integers(1, 3),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    )
    def check(kind, features, hidden, layers, both, first, bias):
        module = getattr(nn, kind)(features, hidden, layers, bidirectional=both, batch_first=first, bias=bias)
        agrees(read(module), module, torch.randn(2, 4, features))

    check()
