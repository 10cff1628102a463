"""Networks as people publish them, in torch, on the whole path: live, exported, TorchScript and ONNX."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from whole_path import check

import lstm_edge

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
RNG = np.random.default_rng(3)
CASES = ((1, 14), (3, 21))
NETWORKS: dict[str, tuple] = {}


def network(*inputs, streams=True, example=False, cases=CASES):
    """Inputs: shapes in which B and T stand for batch and frames; ('tokens', n, shape) are integers below n."""

    def register(cls):
        NETWORKS[cls.__name__] = (cls, inputs, streams, example or len(inputs) > 1, cases)
        return cls

    return register


def made(spec, batch, frames):
    tokens = spec[1] if spec[0] == "tokens" else 0
    shape = [{"B": batch, "T": frames}.get(s, s) for s in (spec[2] if tokens else spec)]
    return RNG.integers(0, tokens, shape) if tokens else RNG.standard_normal(shape).astype(np.float32)


def leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    return [x for v in value for x in leaves(v)] if isinstance(value, (list, tuple)) else [value.numpy()]


def answers(module):
    def want(*arrays):
        with torch.no_grad():
            return leaves(module(*[torch.from_numpy(a) for a in arrays]))

    return want


def build(name):
    torch.manual_seed(1)
    cls, inputs, streams, example, cases = NETWORKS[name]
    module = cls().eval()
    for norm in module.modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    arrays = [[made(i, b, t) for i in inputs] for b, t in cases]
    options = {"example": tuple(torch.from_numpy(a) for a in arrays[-1])} if example else {}
    return module, arrays, streams, options


# ---- the networks ----------------------------------------------------------------------------------------------------


@network(("B", "T", 12), streams=False)
class VoiceActivity(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.b1 = nn.Conv1d(12, 16, 5, padding=2), nn.BatchNorm1d(16)
        self.c2, self.g, self.o = nn.Conv1d(16, 16, 3), nn.GRU(16, 8, 2, batch_first=True), nn.Linear(8, 1)

    def forward(self, x):
        y = F.relu(self.b1(self.c1(x.transpose(1, 2))))
        y = F.relu(self.c2(F.pad(y, (2, 0))))
        return torch.sigmoid(self.o(self.g(y.transpose(1, 2))[0])).squeeze(-1)


@network(("B", "T", 18))
class NoiseSuppressor(nn.Module):
    """Three GRUs, each seeing what came before it; two outputs."""

    def __init__(self):
        super().__init__()
        self.d, self.v = nn.Linear(18, 8), nn.GRU(8, 8, batch_first=True)
        self.n, self.g = nn.GRU(34, 12, batch_first=True), nn.GRU(38, 16, batch_first=True)
        self.vo, self.go = nn.Linear(8, 1), nn.Linear(16, 10)

    def forward(self, x):
        t = torch.tanh(self.d(x))
        v = self.v(t)[0]
        n = self.n(torch.cat([t, v, x], -1))[0]
        g = self.g(torch.cat([v, n, x], -1))[0]
        return torch.sigmoid(self.go(g)), torch.sigmoid(self.vo(v))


@network(("B", 2, "T", 17), example=True)
class CausalEncoderDecoder(nn.Module):
    """Speech enhancement: causal Conv2d, LSTM, transposed Conv2d cropped to the past, skips."""

    def __init__(self):
        super().__init__()
        self.e1, self.e2 = nn.Conv2d(2, 4, (2, 3), (1, 2)), nn.Conv2d(4, 6, (2, 3), (1, 2))
        self.n1, self.n2, self.l = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.LSTM(18, 18, batch_first=True)
        self.d2 = nn.ConvTranspose2d(12, 4, (2, 3), (1, 2), output_padding=(0, 1))
        self.d1 = nn.ConvTranspose2d(8, 2, (2, 3), (1, 2))

    def forward(self, x):
        a = F.elu(self.n1(self.e1(F.pad(x, (0, 0, 1, 0)))))
        b = F.elu(self.e2(F.pad(a, (0, 0, 1, 0))))
        n, c, t, f = b.shape
        y = self.l(b.permute(0, 2, 1, 3).reshape(n, t, c * f))[0].reshape(n, t, c, f).permute(0, 2, 1, 3)
        y = F.elu(self.n2(self.d2(torch.cat([y, b], 1))[:, :, :-1]))
        return torch.tanh(self.d1(torch.cat([y, a], 1))[:, :, :-1]) * x


@network(("B", "T", 10), streams=False)
class WakeWord(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.b = nn.Conv1d(10, 12, 7, stride=2), nn.BatchNorm1d(12)
        self.g, self.a, self.o = nn.GRU(12, 8, batch_first=True, bidirectional=True), nn.Linear(16, 1), nn.Linear(16, 3)

    def forward(self, x):
        y = self.g(F.relu(self.b(self.c(x.permute(0, 2, 1)))).permute(0, 2, 1))[0]
        return F.log_softmax(self.o((torch.softmax(self.a(y), 1) * y).sum(1)), -1)


@network(("T", "B", 1))
class GuitarAmp(nn.Module):
    """Keeps its hidden state in itself, as training code for amplifiers does; skip from input to output."""

    def __init__(self):
        super().__init__()
        self.rec, self.lin, self.hidden = nn.LSTM(1, 12), nn.Linear(12, 1), None

    def forward(self, x):
        y, self.hidden = self.rec(x, self.hidden)
        return self.lin(y) + x[:, :, 0:1]


@network(("B", "T", 3))
class Forecast(nn.Module):
    """An encoder, and a decoder that feeds its answer back five times."""

    def __init__(self):
        super().__init__()
        self.e, self.d, self.o = nn.LSTM(3, 8, batch_first=True), nn.LSTM(1, 8, batch_first=True), nn.Linear(8, 1)

    def forward(self, x):
        state, y, out = self.e(x)[1], x[:, -1:, 0:1], []
        for _ in range(5):
            z, state = self.d(y, state)
            y = self.o(z)
            out.append(y)
        return torch.cat(out, 1)


@network(("B", "T", 6))
class LearnedStart(nn.Module):
    def __init__(self):
        super().__init__()
        self.h0, self.c0 = nn.Parameter(torch.randn(2, 1, 8)), nn.Parameter(torch.randn(2, 1, 8))
        self.l, self.o = nn.LSTM(6, 8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        n = x.size(0)
        return self.o(self.l(x, (self.h0.expand(-1, n, -1).contiguous(), self.c0.repeat(1, n, 1)))[0])


@network(("B", "T", 6), ("B", 5))
class StartFromCovariates(nn.Module):
    def __init__(self):
        super().__init__()
        self.l, self.h, self.c = nn.LSTM(6, 8, batch_first=True), nn.Linear(5, 8), nn.Linear(5, 8)

    def forward(self, sequence, static):
        start = torch.tanh(self.h(static))[None], self.c(static)[None]
        return torch.cat([self.l(sequence, start)[0], static.unsqueeze(1).expand(-1, sequence.size(1), -1)], -1)


@network(("B", 4, "T"))
class TemporalConvolutions(nn.Module):
    """Dilated, causal by chomping, weight norm, residual."""

    def __init__(self):
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm
        self.c = nn.ModuleList([norm(nn.Conv1d(4, 4, 3, padding=2 * d, dilation=d)) for d in (1, 2, 4)])

    def forward(self, x):
        for c in self.c:
            x = F.relu(c(x)[:, :, : -c.padding[0]].contiguous() + x)
        return x


@network(("B", 1, "T"), cases=((1, 24), (2, 31)))
class GatedSkips(nn.Module):
    """Valid dilated convolutions, skips cropped to the shortest: answers begin when all windows are full."""

    def __init__(self):
        super().__init__()
        self.i, self.m = nn.Conv1d(1, 4, 1), nn.Conv1d(12, 1, 1)
        self.h = nn.ModuleList([nn.Conv1d(4, 8, 2, dilation=d) for d in (1, 2, 4)])
        self.r = nn.ModuleList([nn.Conv1d(4, 4, 1) for _ in range(3)])

    def forward(self, x):
        y, skips = self.i(x), []
        for h, r in zip(self.h, self.r):
            a = h(y)
            skips.append(torch.tanh(a[:, :4]) * torch.sigmoid(a[:, 4:]))
            y = r(skips[-1]) + y[:, :, -skips[-1].size(2) :]
        return self.m(torch.cat([s[:, :, -skips[-1].size(2) :] for s in skips], 1))


@network(("B", 1, "T"), cases=((1, 32), (2, 48)))
class WaveMask(nn.Module):
    """Raw audio: strided encoder, GRU mask, overlap-add decoder cropped to the past."""

    def __init__(self):
        super().__init__()
        self.e, self.g, self.d = nn.Conv1d(1, 6, 16, 8), nn.GRU(6, 6, batch_first=True), nn.ConvTranspose1d(6, 1, 16, 8)

    def forward(self, x):
        y = F.relu(self.e(F.pad(x, (8, 0))))
        return self.d(y * torch.sigmoid(self.g(y.transpose(1, 2))[0].transpose(1, 2)))[..., :-8]


@network(("B", "T", 5))
class CumulativeNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.LSTM(5, 6, batch_first=True)

    def forward(self, x):
        n = torch.arange(1, x.size(1) + 1, dtype=x.dtype)[None, :, None] * x.size(2)
        mean = x.sum(2, keepdim=True).cumsum(1) / n
        var = (x * x).sum(2, keepdim=True).cumsum(1) / n - mean * mean
        return self.l((x - mean) / torch.sqrt(var.clamp(min=0) + 1e-5))[0]


@network(("B", "T", 6), example=True)
class DualPath(nn.Module):
    """A GRU over frequencies inside each frame, then one over frames for each frequency."""

    def __init__(self):
        super().__init__()
        self.i, self.il = nn.GRU(1, 4, batch_first=True, bidirectional=True), nn.Linear(8, 4)
        self.e, self.n, self.o = nn.GRU(4, 4, batch_first=True), nn.LayerNorm([6, 4]), nn.Linear(4, 1)

    def forward(self, x):
        b, t, f = x.shape
        y = self.il(self.i(x.reshape(b * t, f, 1))[0]).reshape(b, t, f, 4)
        z = self.e(y.permute(0, 2, 1, 3).reshape(b * f, t, 4))[0].reshape(b, f, t, 4).permute(0, 2, 1, 3)
        return self.o(y + self.n(z)).squeeze(-1) * x


@network(("B", "T", 4), example=True)
class Deltas(nn.Module):
    """First differences and a window of past frames as features."""

    def __init__(self):
        super().__init__()
        self.l = nn.GRU(20, 6, batch_first=True)

    def forward(self, x):
        change = F.pad(x[:, 1:] - x[:, :-1], (0, 0, 1, 0))
        window = F.pad(x, (0, 0, 2, 0)).unfold(1, 3, 1)
        return self.l(torch.cat([x, change, window.flatten(2)], -1))[0]


@network(("B", "T", 8), streams=False)
class ConvolutionBank(nn.Module):
    """Text to speech front: prenet, convolutions of even and odd width, max pool, highway, bidirectional GRU."""

    def __init__(self):
        super().__init__()
        self.p, self.bank = nn.Linear(8, 6), nn.ModuleList([nn.Conv1d(6, 4, k, padding=k // 2) for k in (1, 2, 3)])
        self.pool, self.pr = nn.MaxPool1d(2, 1, padding=1), nn.Conv1d(12, 6, 3, padding=1)
        self.h, self.t, self.g = nn.Linear(6, 6), nn.Linear(6, 6), nn.GRU(6, 5, batch_first=True, bidirectional=True)

    def forward(self, x):
        x = F.relu(self.p(x)).transpose(1, 2)
        y = torch.cat([c(x)[:, :, : x.size(-1)] for c in self.bank], 1)
        y = (self.pr(self.pool(y)[:, :, : x.size(-1)]) + x).transpose(1, 2)
        t = torch.sigmoid(self.t(y))
        return self.g(F.relu(self.h(y)) * t + y * (1 - t))[0]


@network(("B", "T", 8), streams=False)
class AttentionOverFrames(nn.Module):
    def __init__(self):
        super().__init__()
        self.l, self.a = nn.LSTM(8, 8, batch_first=True), nn.MultiheadAttention(8, 2, batch_first=True)
        self.n, self.o = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x):
        y = self.l(x)[0]
        return self.o(self.n(y + self.a(y, y, y)[0]).mean(1))


@network(("tokens", 30, ("B", "T")), ("tokens", 7, ("B",)))
class Speakers(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.s, self.l = nn.Embedding(30, 6), nn.Embedding(7, 4), nn.LSTM(10, 8, batch_first=True, proj_size=5)

    def forward(self, tokens, speaker):
        who = self.s(speaker)[:, None].expand(-1, tokens.size(1), -1)
        y, (h, _) = self.l(torch.cat([self.e(tokens), who], -1))
        return {"each": y, "last": h.squeeze(0)}


@network(("T", 6), example=True, cases=((1, 9), (1, 14)))
class TutorialTagger(nn.Module):
    """One sequence without a batch axis, its length by len()."""

    def __init__(self):
        super().__init__()
        self.l, self.o = nn.LSTM(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return F.log_softmax(self.o(self.l(x.view(len(x), 1, -1))[0].view(len(x), -1)), dim=1)


@network(("B", 15, 5), streams=True, example=True, cases=((1, 0), (3, 0)))
class FlattenedFrames(nn.Module):
    def __init__(self):
        super().__init__()
        self.l, self.o = nn.LSTM(5, 4, batch_first=True), nn.Linear(60, 2)

    def forward(self, x):
        return self.o(self.l(x)[0].flatten(1))


# ---- routes ----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_live(name, tmp_path):
    module, arrays, streams, options = build(name)
    check(module, _fresh(module), arrays, tmp_path, streams, "torch", **options)
    assert getattr(module, "hidden", None) is None, "converting leaves the caller's module as it was"


def _fresh(module):
    """Answers of a module that keeps its state in itself, from its initial state each time."""
    want = answers(module)

    def run(*arrays):
        if hasattr(module, "hidden"):
            module.hidden = None
        result = want(*arrays)
        if hasattr(module, "hidden"):
            module.hidden = None
        return result

    return run


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["NoiseSuppressor", "CausalEncoderDecoder", "StartFromCovariates", "AttentionOverFrames", "WaveMask"]
)
def test_traced(name, tmp_path):
    module, arrays, streams, _ = build(name)
    example = tuple(torch.from_numpy(a) for a in arrays[-1])
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.trace(module, example, check_trace=False), path)
    check(path, answers(module), arrays, tmp_path, streams, example=example)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["WakeWord", "NoiseSuppressor", "LearnedStart", "CausalEncoderDecoder"])
def test_exported_to_onnx(name, tmp_path):
    pytest.importorskip("onnx")
    module, arrays, streams, _ = build(name)
    path, inputs = tmp_path / "model.onnx", NETWORKS[name][1]
    axes = {
        f"x{n}": {d: {"B": "batch", "T": "time"}[s] for d, s in enumerate(i) if s in ("B", "T")}
        for n, i in enumerate(inputs)
    }
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            module,
            tuple(torch.from_numpy(a) for a in arrays[-1]),
            path,
            input_names=list(axes),
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
    check(path, answers(module), arrays, tmp_path, streams)


@pytest.mark.filterwarnings("ignore")
def test_scripted_with_lengths(tmp_path):
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.o = nn.Embedding(30, 6), nn.Linear(10, 4)
            self.l = nn.LSTM(6, 5, bidirectional=True, batch_first=True)

        def forward(self, x, lengths):
            packed = nn.utils.rnn.pack_padded_sequence(self.e(x), lengths, batch_first=True, enforce_sorted=False)
            y, _ = nn.utils.rnn.pad_packed_sequence(self.l(packed)[0], batch_first=True)
            return self.o(y)

    torch.manual_seed(1)
    module, lengths = Tagger().eval(), np.array([6, 9, 4])
    arrays, path = [RNG.integers(0, 30, (3, 9)), lengths], tmp_path / "tagger.pt"
    torch.jit.save(torch.jit.script(module), path)
    check(path, answers(module), [arrays], tmp_path, False, example=tuple(torch.from_numpy(a) for a in arrays))


@pytest.mark.filterwarnings("ignore")
def test_an_export_that_leaves_a_range_of_frames_is_fixed_as_in_its_example(tmp_path):
    """torch fixes what the recurrence sees, half the frames, and says of the input only that it is one of two sizes."""

    class Strided(nn.Module):
        def __init__(self):
            super().__init__()
            self.c, self.g = nn.Conv1d(4, 6, 3, 2, 1), nn.GRU(6, 5, batch_first=True, bidirectional=True)

        def forward(self, x):
            y = self.g(self.c(x).transpose(1, 2))[0]
            return y.reshape(y.size(0), y.size(1), 2, -1).sum(2).view(y.size(0), y.size(1), -1)

    torch.manual_seed(1)
    module, x = Strided().eval(), RNG.standard_normal((3, 4, 21)).astype(np.float32)
    dynamic = ({0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO},)
    exported = torch.export.export(module, (torch.from_numpy(x),), dynamic_shapes=dynamic, strict=False)
    torch.export.save(exported, tmp_path / "model.pt2")
    model = lstm_edge.convert(tmp_path / "model.pt2")
    np.testing.assert_allclose(model.run(x), answers(module)(x)[0], atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_step_with_its_state_as_an_argument(tmp_path):
    class Vocoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.c, self.o = nn.GRUCell(7, 12), nn.Linear(12, 9)

        def forward(self, x, h):
            h = self.c(x, h)
            return F.softmax(self.o(F.relu(h)), -1), h

    torch.manual_seed(1)
    module = Vocoder().eval()

    def want(x):
        h, out = torch.zeros(x.shape[1], 12), []
        with torch.no_grad():
            for frame in torch.from_numpy(x):
                y, h = module(frame, h)
                out.append(y.numpy())
        return [np.stack(out)]

    x = RNG.standard_normal((9, 2, 7)).astype(np.float32)
    check(module, want, [[x]], tmp_path, True, "torch", example=(torch.randn(2, 7), torch.randn(2, 12)))


@pytest.mark.filterwarnings("ignore")
def test_bare_cells_states_and_half_precision_are_tested_by_torch(tmp_path):
    """The self-test's arguments are put back into the tuples that forward takes, and float16 modules run in float32."""
    states = torch.randn(2, 3, 7), torch.randn(2, 3, 7)
    for module, options in (
        (nn.LSTMCell(5, 7), {}),
        (nn.LSTM(5, 7, 2, batch_first=True), {"example": (torch.randn(3, 9, 5), states)}),
        (nn.GRU(5, 7).half(), {}),
    ):
        lstm_edge.convert(module, tmp_path / "model.lstm", **options)
        assert lstm_edge.format.read(tmp_path / "model.lstm").self_test.source.startswith("torch")


def test_state_dicts_of_language_models_and_of_both_final_states(tmp_path):
    torch.manual_seed(1)
    embedding, rnn, decoder = nn.Embedding(30, 6), nn.LSTM(6, 8, 2, batch_first=True), nn.Linear(8, 30)
    parts = {"encoder": embedding, "rnn": rnn, "decoder": decoder}
    tokens = RNG.integers(0, 30, (2, 9))
    weights = {f"{n}.{k}": v for n, m in parts.items() for k, v in m.state_dict().items()}
    torch.save({"model": weights, "epoch": 3}, tmp_path / "lm.pt")
    want = answers(lambda x: decoder(rnn(embedding(x))[0]))
    check(tmp_path / "lm.pt", want, [[tokens]], tmp_path, True, assume=True)
    both, fc = nn.GRU(6, 5, bidirectional=True, batch_first=True), nn.Linear(10, 2)
    weights = {
        f"{n}.{k}": v
        for n, m in {"embedding": embedding, "gru": both, "fc": fc}.items()
        for k, v in m.state_dict().items()
    }
    torch.save(weights, tmp_path / "sentiment.pt")

    def final(x):
        h = both(embedding(x))[1]
        return fc(torch.cat([h[-2], h[-1]], 1))

    check(
        tmp_path / "sentiment.pt", answers(final), [[tokens]], tmp_path, False, options={"head": "final"}, assume=True
    )
