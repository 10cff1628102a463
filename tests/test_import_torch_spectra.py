"""torch modules that compute spectra: torch.stft and torch.fft.rfft, live, exported, traced and scripted; what has no meaning by name."""

from __future__ import annotations

import numpy as np
import pytest

import lstm_edge
from lstm_edge.errors import UnsupportedModelError

torch = pytest.importorskip("torch")
X = torch.sin(torch.arange(800).reshape(2, 400) ** 1.3 / 9) + 0.1


class Net(torch.nn.Module):
    """`read` makes real numbers of the complex spectrum."""

    def __init__(self, read, size: int = 64, **settings):
        super().__init__()
        self.read, self.settings = read, {"hop_length": 16, "center": False, **settings}
        self.register_buffer("window", torch.hann_window(size))

    def forward(self, x):
        return self.read(self, x)

    def stft(self, x):
        return torch.stft(x, 64, window=self.window, return_complex=True, **self.settings)


class Scripted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hamming_window(40))
        self.register_buffer("bank", torch.rand(33, 8, generator=torch.Generator().manual_seed(3)))

    def forward(self, x):
        z = torch.stft(x, 64, 20, 40, self.window, False, "constant", True, return_complex=True)
        return torch.log((z.abs() ** 2).transpose(1, 2) @ self.bank + 1e-5)


READ = {
    "abs": Net(lambda m, x: m.stft(x).abs() ** 2),
    "center": Net(lambda m, x: m.stft(x).abs(), center=True),
    "zeros": Net(lambda m, x: m.stft(x).abs(), 50, center=True, pad_mode="constant", normalized=True, win_length=50),
    "parts": Net(lambda m, x: m.stft(x).real ** 2 + m.stft(x).imag ** 2),
    "view": Net(lambda m, x: torch.view_as_real(m.stft(x)).pow(2).sum(-1).sqrt()),
    "moved": Net(lambda m, x: (m.stft(x)[..., :-1].transpose(1, 2) * 2 / 3).abs()),
    "angle": Net(lambda m, x: torch.sin(torch.angle(m.stft(x))) * m.stft(x).abs()),
    "rfft": Net(lambda m, x: torch.fft.rfft(x.unfold(-1, 60, 20), n=64, norm="ortho").abs()),
    "other_axis": Net(lambda m, x: torch.fft.rfft(x.reshape(2, 40, 10), n=36, dim=1, norm="forward").abs()),
}


@pytest.mark.parametrize("name", READ)
def test_spectra_are_those_of_torch(name, tmp_path):
    net = READ[name].eval()
    wanted = net(X).numpy()
    program = torch.export.export(net, (X,))
    torch.export.save(program, tmp_path / "net.pt2")
    sources = ["net.pt2"]
    if name in ("abs", "rfft"):
        torch.export.save(program.run_decompositions(), tmp_path / "core.pt2")
        torch.jit.trace(net, X, check_trace=False).save(str(tmp_path / "net.pt"))
        sources += ["core.pt2", "net.pt"]
    for source in sources:
        model = lstm_edge.convert(tmp_path / source, tmp_path / "net.lstm", shapes={"x": (2, 400)}, self_test=False)
        found = model.run(X.numpy())
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 1e-5 * max(1, np.abs(wanted).max())


def test_a_live_module_with_spectra_streams(tmp_path):
    model = lstm_edge.convert(Scripted().eval(), tmp_path / "net.lstm", example=X)
    assert model.metadata["self_test"]["source"].startswith("torch")
    whole, stream = model.run(X[:1].numpy()), model.stream(1)
    np.testing.assert_allclose(whole, Scripted().eval()(X[:1]).numpy(), atol=1e-4)
    parts = [stream.run(X[:1, at : at + 40].numpy()) for at in range(0, 400, 40)]
    answers = np.concatenate([p for p in parts if p is not None], 1)
    np.testing.assert_array_equal(answers, whole[:, : answers.shape[1]])


def test_a_script_with_spectra_converts(tmp_path):
    torch.jit.script(Scripted().eval()).save(str(tmp_path / "net.pt"))
    model = lstm_edge.convert(tmp_path / "net.pt", tmp_path / "net.lstm", shapes={"x": ("batch", "frames")})
    np.testing.assert_allclose(model.run(X.numpy()), Scripted().eval()(X).numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda m, x: torch.fft.irfft(m.stft(x), dim=1), "aten.fft_irfft.* of a complex tensor is not supported"),
        (lambda m, x: torch.exp(m.stft(x)).abs(), "aten.exp.* of a complex tensor .*, view_as_real.*table .before.INPUT."),
        (lambda m, x: (m.stft(x) * m.stft(x)).abs(), "a product of complex tensors"),
        (lambda m, x: (1 / m.stft(x)).abs(), "of a complex tensor is not supported"),
        (lambda m, x: torch.stft(x, 64, 16, window=m.window, center=False, onesided=False, return_complex=True).abs(), "onesided=False"),
        (lambda m, x: torch.stft(x, 64, 16, window=x[0, :64], center=False, return_complex=True).abs(), "window of stft: expected a constant"),
    ],
    ids=["inverse", "exp", "product", "quotient", "two_sides", "window"],
)  # fmt: skip
def test_what_has_no_meaning_is_refused_by_name(read, message, tmp_path):
    with pytest.raises(UnsupportedModelError, match=message):
        lstm_edge.convert(Net(read).eval(), tmp_path / "net.lstm", example=X)
