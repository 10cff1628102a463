"""The PyTorch importer against torch itself, against the given real models, and against hostile files."""

from __future__ import annotations

import collections
import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from effort import at_once
from shared import MODELS, needs_models

from lstm_edge import reference
from lstm_edge.errors import FormatError, UnsupportedModelError
from lstm_edge.files import pickles as torch_pickle
from lstm_edge.importers.torch.model import read, read_tensors
from lstm_edge.ir.dims import BATCH, FRAMES

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
B, T = 3, 29


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(1)


def leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    return [x for v in value for x in leaves(v)] if isinstance(value, (list, tuple)) else [value]


def run(graph, *inputs):
    """Outputs in order, as float64; inputs in the graph's order."""
    feeds = {
        p.name: np.asarray(x.detach() if hasattr(x, "detach") else x) for p, x in zip(graph.inputs, leaves(inputs))
    }
    outputs, _ = reference.run(graph, feeds)
    return [outputs[p.name] for p in graph.outputs]


def agrees(graph, module, *args, tolerance=1e-5):
    with torch.no_grad():
        want = [w.numpy() for w in leaves(module.eval()(*args))]
    got = run(graph, *args)
    assert len(got) == len(want)
    for g, w in zip(got, want):
        assert g.shape == w.shape
        np.testing.assert_allclose(g, w, rtol=tolerance, atol=tolerance)


def free(graph):
    return [(p.name, graph.shape(p.tensor)) for p in graph.inputs]


# ---- live recurrences ------------------------------------------------------------------------------------------------


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


# ---- live networks ---------------------------------------------------------------------------------------------------


class Classifier(nn.Module):
    def __init__(self, h_n=False):
        super().__init__()
        self.lstm = nn.LSTM(4, 8, 2, batch_first=True, dropout=0.2)
        self.fc, self.h_n = nn.Linear(8, 3), h_n

    def forward(self, x):
        h0 = torch.zeros(2, x.size(0), 8).to(x.device)
        out, (h, _) = self.lstm(x, (h0, h0.clone()))
        return torch.softmax(self.fc(h[-1] if self.h_n else out[:, -1, :]), dim=1)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.stack = nn.ModuleList(nn.LSTM(8, 8, batch_first=True) for _ in range(3))
        self.norm = nn.LayerNorm(8)

    def forward(self, x):
        x = self.first(x)
        for layer in self.stack:
            x = x + layer(x)[0]
        return self.norm(x)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 6, padding_idx=0)
        self.lstm = nn.LSTM(6, 5, bidirectional=True, batch_first=True)
        self.score, self.out = nn.Linear(10, 1), nn.Linear(10, 4)

    def forward(self, ids):
        y, _ = self.lstm(self.embedding(ids))
        weights = F.softmax(self.score(torch.tanh(y)).squeeze(-1).masked_fill(ids == 0, -1e9), dim=1)
        return {"logits": self.out(torch.bmm(weights.unsqueeze(1), y).squeeze(1)), "weights": weights}


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.pool = nn.Conv1d(3, 8, 5, padding=2, stride=2), nn.BatchNorm1d(8), nn.MaxPool1d(2)
        self.gru = nn.GRU(8, 7, 2, bidirectional=True, batch_first=True)
        self.head = nn.Sequential(nn.Linear(14, 9), nn.ReLU(), nn.Dropout(0.3), nn.Linear(9, 2))

    def forward(self, x):
        y, _ = self.gru(self.pool(F.relu(self.norm(self.conv(x)))).transpose(1, 2))
        return self.head(y.mean(1)), y.max(dim=1)[0]


class EncoderDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.GRU(4, 6, batch_first=True), nn.GRU(3, 6, batch_first=True)
        self.out = nn.Linear(6, 3)

    def forward(self, source, target):
        _, h = self.encoder(source)
        return self.out(self.decoder(target, h)[0])


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.attention = nn.LSTM(4, 8, batch_first=True), nn.MultiheadAttention(8, 2, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        y, _ = self.lstm(x)
        return self.layer(y + self.attention(y, y, y)[0])


class TimeDistributed(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        y, _ = self.lstm(x)
        t, b, h = y.shape
        return F.log_softmax(self.out(y.contiguous().view(t * b, h)), 1).view(t, b, -1) * (1 / t)


class Layers(nn.Module):
    """Norms, padding, transposed convolution, activations, einsum: what stands around recurrences."""

    def __init__(self):
        super().__init__()
        self.rnn, self.rms = nn.RNN(8, 8, batch_first=True), nn.RMSNorm(8)
        self.group, self.instance = nn.GroupNorm(2, 8), nn.InstanceNorm1d(8, affine=True)
        self.up, self.slope = nn.ConvTranspose1d(8, 4, 4, stride=2, padding=1), nn.PReLU(8)

    def forward(self, x):
        z = self.rms(self.rnn(x)[0]).transpose(1, 2)
        z = F.pad(self.slope(self.group(z) + self.instance(z)), (2, 1), mode="reflect")
        a, b = z.chunk(2, 1)
        return (
            self.up(z),
            F.glu(z, 1),
            (a - b).abs().clamp(min=0.1).log(),
            torch.where(a > b, a, -b),
            z.std(1),
            z[..., 1::2],
            a[:, :, -3:],
            torch.einsum("bct,bdt->bcd", a, b) / 29,
            torch.stack([a, b], 2).flatten(1, 2),
        )


class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 6, 2, batch_first=True)
        self.h, self.c = nn.Parameter(torch.randn(2, 1, 6)), nn.Parameter(torch.randn(2, 1, 6))

    def forward(self, x):
        return self.lstm(x, (self.h.expand(-1, x.size(0), -1).contiguous(), self.c.repeat(1, x.shape[0], 1)))[0]


IDS = torch.randint(0, 20, (B, T))
NETWORKS = {
    "last frame": (Classifier(), (torch.randn(B, T, 4),), [(BATCH, FRAMES, 4)]),
    "h_n": (Classifier(h_n=True), (torch.randn(B, T, 4),), [(BATCH, FRAMES, 4)]),
    "residual": (Residual(), (torch.randn(B, T, 4),), [(BATCH, FRAMES, 4)]),
    "attention": (Attention(), (IDS,), [(BATCH, FRAMES)]),
    "convolutional": (Convolutional(), (torch.randn(B, 3, T),), [(BATCH, 3, FRAMES)]),
    "encoder and decoder": (
        EncoderDecoder(),
        (torch.randn(B, T, 4), torch.randn(B, 11, 3)),
        [(BATCH, FRAMES, 4), (BATCH, 11, 3)],
    ),
    "transformer": (Transformer(), (torch.randn(B, T, 4),), [(BATCH, FRAMES, 4)]),
    "time distributed": (TimeDistributed(), (torch.randn(T, B, 4),), [(FRAMES, BATCH, 4)]),
    "layers": (Layers(), (torch.randn(B, T, 8),), [(BATCH, FRAMES, 8)]),
    "learned states": (Learned(), (torch.randn(B, T, 4),), [(BATCH, FRAMES, 4)]),
}


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


def test_training_mode_and_device_of_the_callers_module_stay():
    module = Classifier().double().train()
    graph = read(module, example=np.zeros((2, 5, 4), np.float32))
    assert module.training and module.fc.weight.dtype == torch.float64
    agrees(graph, Classifier.float(module), torch.randn(B, T, 4))


def test_shapes_fix_and_free_axes():
    module = Classifier()
    assert free(read(module, shapes={"x": (1, "frames", 4)})) == [("x", (1, FRAMES, 4))]
    assert free(read(module, shapes={"x": (None, 10, 4)})) == [("x", (BATCH, 10, 4))]


def test_what_has_no_meaning_is_refused_by_name():
    class Sorts(nn.Module):
        def forward(self, x):
            return torch.fft.rfft(x).abs()

    with pytest.raises(UnsupportedModelError, match="fft"):
        read(Sorts(), example=torch.randn(2, 8))
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


# ---- exported programs and TorchScript -------------------------------------------------------------------------------

PROGRAMS = [
    "last frame",
    "h_n",
    "residual",
    "attention",
    "convolutional",
    "encoder and decoder",
    "learned states",
    "layers",
]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("dynamic", [True, False])
def test_exported_programs_live_and_in_files(name, dynamic, tmp_path):
    module, args, shapes = NETWORKS[name]
    auto = tuple({axis: torch.export.Dim.AUTO for axis in range(a.dim())} for a in args) if dynamic else None
    exported = torch.export.export(module.eval(), args, dynamic_shapes=auto, strict=False)
    path = tmp_path / "model.pt2"
    torch.export.save(exported, path)
    for source in (exported, path):
        graph = read(source)
        agrees(graph, module, *args)
        if name in ("last frame", "h_n", "residual", "attention"):
            assert [s for _, s in free(graph)] == shapes
        if name == "attention":
            assert [p.name for p in graph.outputs] == ["logits", "weights"]


def test_a_number_that_is_the_frames_keeps_them_fixed():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 5, batch_first=True)

        def forward(self, x):
            return self.lstm(x)[0].sum(1) / x.shape[1]

    exported = torch.export.export(Scaled().eval(), (torch.randn(3, 29, 4),))
    assert free(read(exported)) == [("x", (BATCH, 29, 4))]


def scripted(module, args, how):
    module = module.eval()
    with torch.no_grad():
        script = (
            torch.jit.trace(module, args, check_trace=False, strict=False)
            if how == "trace"
            else torch.jit.script(module)
        )
    buffer = io.BytesIO()
    torch.jit.save(script, buffer)
    return script, buffer.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["trace", "script"])
@pytest.mark.parametrize(
    "name",
    [
        "last frame",
        "h_n",
        "residual",
        "convolutional",
        "encoder and decoder",
        "time distributed",
        "transformer",
        "layers",
        "learned states",
    ],
)
def test_torchscript(name, how):
    module, args, shapes = NETWORKS[name]
    if (name, how) in (("layers", "script"), ("transformer", "script")):
        pytest.skip("torch.jit.script cannot compile it, or takes a path that only its optimizer resolves")
    script, data = scripted(module, args, how)
    for source in (script, data):
        graph = read(source, example=args)
        assert [s for _, s in free(graph)] == shapes
        agrees(graph, module, *args)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["trace", "script"])
def test_torchscript_of_recurrences_and_cells(how):
    for module, args in (
        (nn.GRU(4, 5, 2), (torch.randn(T, B, 4), torch.randn(2, B, 5))),
        (nn.LSTM(4, 5, batch_first=True, bidirectional=True), (torch.randn(B, T, 4),)),
        (nn.LSTMCell(4, 5), (torch.randn(B, 4), (torch.randn(B, 5), torch.randn(B, 5)))),
    ):
        _, data = scripted(module, args, how)
        agrees(read(data, example=args), module, *args)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(4, 4, batch_first=True)

    def forward(self, x, double: bool = False):
        if x.dim() == 2:
            x = x.unsqueeze(0)
        if x.size(2) != 4:
            raise ValueError("four features")
        y = self.rnn(x)[0]
        for i in range(3):
            y = torch.tanh(y) + i
        return y * 2 if double else y


class FrameLimit(nn.Module):
    def forward(self, x):
        if x.size(1) > 10:
            x = x[:, :10]
        return x.sum(1)


def test_branches_and_loops_of_torchscript():
    module = Branches()
    script, data = scripted(module, (), "script")
    graph = read(data)
    assert free(graph) == [("x", (BATCH, FRAMES, 4))] and any("assumed" in n for n in graph.metadata["notes"])
    agrees(graph, module, torch.randn(B, T, 4))
    _, data = scripted(FrameLimit(), (), "script")
    with pytest.raises(UnsupportedModelError, match="branch"):
        read(data, shapes={"x": ("batch", "frames", 3)})
    agrees(read(data, shapes={"x": ("batch", 12, 3)}), FrameLimit(), torch.randn(B, 12, 3))


def with_code(code):
    """A TorchScript file of Branches whose forward has been replaced."""
    _, data = scripted(FrameLimit(), (), "script")
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith(".py"):
                head = content[: content.index(b"    if ")]
                content = head + b"".join(b"    " + line + b"\n" for line in code.encode().split(b"\n"))
            new.writestr(info.filename, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.system('touch x')\nreturn x",
        "return x.__class__",
        "os.system('true')\nreturn x",
        "while True:\n  pass\nreturn x",
        "return (x).forward(x)",
        "return open('/etc/passwd')",
        "a = [x]\nfor i in range(99999):\n  a = torch.add(a, a)\nreturn x",
        "return torch.add(x, torch.ones([1000000, 1000000]))",
        "return torch.add(x, torch.arange(1000000000000))",
        "return torch.mul([1], 10000000000)",
        "return torch.pow(10, 1000000000)",
        "return eval('x')",
    ],
)
def test_hostile_torchscript_ends_in_a_named_error(code):
    data = with_code(code)

    def refused():
        with pytest.raises((UnsupportedModelError, FormatError)):
            read(data, shapes={"x": ("batch", "frames", 3)})

    at_once(refused, 2)


# ---- state dicts -----------------------------------------------------------------------------------------------------


def saved(value, new=True, protocol=2):
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    return buffer.getvalue()


@needs_models
def test_cwru():
    ref = np.load(MODELS / "cwru/lstm_model.ref.npz")
    graph = read(MODELS / "cwru/lstm_model.pt")
    assert np.abs(run(graph, ref["x"])[0] - ref["y"]).max() <= 1e-5
    assert any("last frame" in n for n in graph.metadata["notes"])


@needs_models
def test_real_checkpoints_are_read_as_tensors():
    safetensors = pytest.importorskip("safetensors.numpy")
    path = MODELS / "silero_vad/silero_vad_16k.safetensors"
    ours, theirs = read_tensors(path)[0], safetensors.load_file(path)
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[k], theirs[k]) for k in ours)
    with pytest.raises(UnsupportedModelError, match="stft_conv"):
        read(path)
    path = MODELS / "gtcrn/stream_model_trained_on_dns3.tar"
    ours, theirs = read_tensors(path)[0], torch.load(path, map_location="cpu")["model"]
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[k], theirs[k].numpy()) for k in ours)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_every_tensor_of_both_formats(new, protocol):
    tensors = {
        "f": torch.randn(3, 4),
        "view": torch.arange(12.0).view(3, 4)[1:, ::2],
        "t": torch.randn(2, 3).t(),
        "half": torch.randn(5).half(),
        "bfloat16": torch.randn(5).bfloat16(),
        "long": torch.arange(4),
        "flag": torch.tensor([True]),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
        "parameter": nn.Parameter(torch.randn(2)),
    }
    optimizer = torch.optim.Adam([tensors["parameter"]])
    tensors["parameter"].sum().backward()
    optimizer.step()
    data = saved(
        {"epoch": np.float64(3), "model": collections.OrderedDict(tensors), "optimizer": optimizer.state_dict()},
        new,
        protocol,
    )
    found, notes = read_tensors(data)
    assert found.keys() == tensors.keys() and "model" in notes[0]
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(
            found[name], tensor.detach().float().numpy() if name == "bfloat16" else tensor.detach().numpy()
        )


@pytest.mark.parametrize("new", [True, False])
def test_a_pickled_module_gives_its_state_dict(new):
    module = Classifier()
    found, _ = read_tensors(saved(module, new))
    assert {k: v.shape for k, v in found.items()} == {k: tuple(v.shape) for k, v in module.state_dict().items()}
    agrees(read(saved(module, new), options={"output": "softmax"}), module, torch.randn(B, T, 4))


def test_cuda_tags_and_dataparallel_prefixes_do_not_matter():
    module = Classifier()
    prefixed = {f"module.{k}": v for k, v in module.state_dict().items()}
    data = saved({"state_dict": prefixed}, new=False).replace(b"cpu", b"gpu")  # the location of every storage
    agrees(read(data, options={"output": "softmax"}), module, torch.randn(B, T, 4))


class Stack(nn.Module):
    def __init__(self, kind, layers=1, both=False, **more):
        super().__init__()
        self.embed = nn.Embedding(11, 7)
        self.rnn = getattr(nn, kind)(7, 6, layers, bidirectional=both, batch_first=True, **more)
        width = (more.get("proj_size") or 6) * (2 if both else 1)
        self.hidden, self.out = nn.Linear(width, 9), nn.Linear(9, 2)

    def forward(self, ids):
        return self.out(torch.relu(self.hidden(self.rnn(self.embed(ids))[0][:, -1])))


@pytest.mark.parametrize(
    "kind, layers, both, more",
    [
        ("LSTM", 1, False, {}),
        ("LSTM", 2, True, {}),
        ("LSTM", 2, True, {"proj_size": 3}),
        ("GRU", 2, False, {}),
        ("RNN", 1, True, {}),
        ("GRU", 1, True, {"bias": False}),
    ],
)
def test_stacks_are_recognised_from_names_and_shapes(kind, layers, both, more):
    module = Stack(kind, layers, both, **more)
    graph = read(saved(module.state_dict()))
    assert any("relu between Linear" in n for n in graph.metadata["notes"])
    agrees(graph, module, torch.randint(0, 11, (B, T)))
    live = {k: v for k, v in module.state_dict().items()}
    agrees(read(live), module, torch.randint(0, 11, (B, T)))


def test_safetensors_in_alphabetical_order():
    safetensors = pytest.importorskip("safetensors.torch")
    module = Stack("GRU")
    data = safetensors.save(module.state_dict())
    graph = read(data)
    assert [n.op for n in graph.nodes][:2] == ["Gather", "GRU"]
    agrees(graph, module, torch.randint(0, 11, (B, T)))


def test_options_change_what_is_assumed():
    module = nn.ModuleDict({"rnn": nn.RNN(3, 4, nonlinearity="relu", batch_first=True), "out": nn.Linear(4, 2)})

    class Every(nn.Module):
        def forward(self, x):
            return torch.sigmoid(module["out"](module["rnn"](x)[0]))

    graph = read(module.state_dict(), options={"head": "every", "nonlinearity": "relu", "output": "sigmoid"})
    agrees(graph, Every(), torch.randn(B, T, 3))
    with pytest.raises(UnsupportedModelError, match="head"):
        read(module.state_dict(), options={"head": "first"})


def test_ambiguous_weights_are_listed():
    two = {"a.weight": torch.zeros(4, 4), "b.weight": torch.zeros(4, 4)}
    with pytest.raises(UnsupportedModelError, match=r"no recurrence.*a.weight \(4, 4\)"):
        read(two)
    lstm = {f"l.{k}": v for k, v in nn.LSTM(3, 4).state_dict().items()}
    with pytest.raises(UnsupportedModelError, match="in no order"):
        read({**lstm, "fc.weight": torch.zeros(2, 5), "fc.bias": torch.zeros(2)})
    with pytest.raises(UnsupportedModelError, match="reverse"):
        read({**lstm, "l.weight_ih_l0_reverse": torch.zeros(16, 3)})
    with pytest.raises(UnsupportedModelError, match="'generator_a', 'generator_b'"):
        read(saved({"generator_a": lstm, "generator_b": lstm}))


# ---- hostile files ---------------------------------------------------------------------------------------------------


class Evil:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.mark.parametrize("new", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, new):
    mark = tmp_path / "ran"
    for evil in (Evil(os.system, f"touch {mark}"), Evil(eval, f"open({str(mark)!r}, 'w')"), Evil(os.mkdir, str(mark))):
        with pytest.raises(FormatError, match="carries code, which was not run"):
            read(saved({"w": torch.zeros(2), "evil": evil}, new))
    assert not mark.exists()


def test_a_call_on_a_call_is_not_run(tmp_path):
    mark = tmp_path / "ran"
    code = (
        b"\x80\x02cbuiltins\ngetattr\ncos\nsystem\nX\x04\x00\x00\x00name\x86R(X"
        + struct.pack("<I", len(str(mark)))
        + str(mark).encode()
    )
    for data in (code + b"tR.", b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.", b"(S'x'\nios\nsystem\n."):
        with pytest.raises(FormatError):
            torch_pickle.load(data)
    assert not mark.exists()


def test_unknown_classes_are_inert():
    import argparse

    value = torch_pickle.load(
        saved({"args": argparse.Namespace(lr=1), "counter": collections.Counter("aab"), "w": torch.ones(2)})
    )
    assert value["args"].name == "argparse.Namespace" and value["args"].state == {"lr": 1}
    np.testing.assert_array_equal(value["w"], np.ones(2))


def zip_with(pkl, entries=(), compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("x/data.pkl", pkl)
        for name, data in entries:
            archive.writestr(f"x/{name}", data)
    return buffer.getvalue()


def tensor_pickle(size, stride, numel, offset=0):
    """data.pkl of one float tensor with whatever is claimed about it."""

    class Claim:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, size, stride, False, collections.OrderedDict())

    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if isinstance(value, Storage) else None

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump({"w": Claim()})
    return buffer.getvalue()


@pytest.mark.parametrize(
    "size, stride, numel, offset",
    [
        ((2, 3), (3, 1), 4, 0),
        ((2,), (1,), 4, 3),
        ((2,), (1,), 4, -1),
        ((2,), (-1,), 4, 1),
        ((1 << 31,), (0,), 4, 0),
        ((2,), (1 << 60,), 4, 0),
        ((4,), (1,), 1 << 31, 0),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(size, stride, numel, offset):
    with pytest.raises(FormatError, match="storage"):
        torch_pickle.load(zip_with(tensor_pickle(size, stride, numel, offset), [("data/0", bytes(16))]))


def test_bombs_end_at_once():
    bomb = zip_with(tensor_pickle((64 << 20,), (1,), 64 << 20), [("data/0", bytes(256 << 20))], zipfile.ZIP_DEFLATED)
    memo = b"\x80\x02]r\xff\xff\xff\x7f."  # LONG_BINPUT 2^31 - 1
    claims = b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".", b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x."

    def refused():
        with pytest.raises(FormatError, match="zip bomb"):
            torch_pickle.load(bomb)
        assert torch_pickle.load(memo) == []
        for claim in claims:
            with pytest.raises(FormatError):
                torch_pickle.load(claim)

    at_once(refused)


def test_truncated_and_foreign_files():
    for data in (saved({"w": torch.randn(40, 40)}), saved({"w": torch.randn(40, 40)}, new=False)):
        for end in (3, 40, len(data) // 2, len(data) - 1):
            with pytest.raises((FormatError, UnsupportedModelError)):
                read(data[:end])
    for data in (
        b"",
        b"hello world" * 30,
        b"PK\x03\x04" + bytes(100),
        zip_with(b"\x80\x02N.").replace(b"data.pkl", b"data.txt"),
    ):
        with pytest.raises((FormatError, UnsupportedModelError)):
            read(data)


@pytest.mark.parametrize(
    "header",
    [
        {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 12]}},
        {"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}},
        {"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"w": {"shape": [1]}},
        [1],
        {},
    ],
)
def test_safetensors_claims_are_checked(header):
    text = json.dumps(header).encode()
    with pytest.raises((FormatError, UnsupportedModelError)):
        read(struct.pack("<Q", len(text)) + text + bytes(16))
