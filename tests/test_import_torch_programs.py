"""Exported programs and TorchScript against torch itself."""

from __future__ import annotations

import io
import zipfile

import pytest
from effort import at_once
from torch_helpers import NETWORKS, B, T, agrees, free

from lstm_edge.errors import FormatError, UnsupportedModelError
from lstm_edge.importers.torch.model import read
from lstm_edge.ir.dims import BATCH, FRAMES

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(1)


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
        "return ops.prim.dtype(5)",
        "return torch.select(x, x, [])",
        "for i in x:\n  y = i\nreturn y",
    ],
)
def test_hostile_torchscript_ends_in_a_named_error(code):
    data = with_code(code)

    def refused():
        with pytest.raises((UnsupportedModelError, FormatError)):
            read(data, shapes={"x": ("batch", "frames", 3)})

    at_once(refused, 2)
