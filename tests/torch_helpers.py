"""What the tests of the PyTorch importer share: networks, and the comparison with torch itself."""

from __future__ import annotations

import io

import numpy as np
import pytest

from lstm_edge import reference
from lstm_edge.ir.dims import BATCH, FRAMES, Dim

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
B, T = 3, 29


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


def saved(value, new=True, protocol=2):
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    return buffer.getvalue()


# ---- networks --------------------------------------------------------------------------------------------------------


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
        [(BATCH, FRAMES, 4), (BATCH, Dim.symbol("target_frames"), 3)],
    ),
    "transformer": (Transformer(), (torch.randn(B, T, 4),), [(BATCH, FRAMES, 4)]),
    "time distributed": (TimeDistributed(), (torch.randn(T, B, 4),), [(FRAMES, BATCH, 4)]),
    "layers": (Layers(), (torch.randn(B, T, 8),), [(BATCH, FRAMES, 8)]),
    "learned states": (Learned(), (torch.randn(B, T, 4),), [(BATCH, FRAMES, 4)]),
}
