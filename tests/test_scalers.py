"""Scalers around a network: scikit-learn's own answers in raw units, files read without being run, and what is refused."""

from __future__ import annotations

import bz2
import copy
import gzip
import io
import json
import lzma
import os
import pickle
import zlib
from types import SimpleNamespace

import numpy as np
import pytest

import lstm_edge
from lstm_edge import format
from lstm_edge.around import scalers
from lstm_edge.around.scaler_files import read_scaler
from lstm_edge.check.against import compare
from lstm_edge.check.verify import verify
from lstm_edge.cli import _run
from lstm_edge.cli.summary import scaler_lines
from lstm_edge.convert import to_graph
from lstm_edge.errors import FormatError, LstmEdgeError, ShapeError, UnsupportedModelError
from lstm_edge.files import compressed
from lstm_edge.ir.graph import Graph
from lstm_edge.reference.samples import sample_inputs

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
import joblib  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.pipeline import Pipeline  # noqa: E402
from sklearn.preprocessing import (  # noqa: E402
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

RNG = np.random.default_rng(0)
NAMES = np.array(["t", "p", "q", "u"], object)
ROWS = RNG.standard_normal((200, 4)) * [5, 2e3, 0.01, 1] + [20, 1e5, 3, 0]
FRAMES = np.float32(RNG.standard_normal((25, 4)) * [8, 3e3, 0.02, 2] + [20, 1e5, 3, 0])  # beyond what was fitted: clips


def fitted(scaler, columns=4, names=True):
    """With the names that a frame of pandas would give, without pandas."""
    scaler.fit(ROWS[:, :columns])
    if names and not isinstance(scaler, Pipeline):
        scaler.feature_names_in_ = NAMES[:columns]
    return scaler


class Net(torch.nn.Module):
    def __init__(self, columns: int, outputs: int):
        super().__init__()
        self.gru, self.out = torch.nn.GRU(columns, 5, batch_first=True), torch.nn.Linear(5, outputs)

    def forward(self, x):
        return self.out(self.gru(x)[0])


MADE: dict = {}


def network(columns: int = 4, outputs: int = 1) -> tuple[Graph, Net]:
    """A network as a Graph of its own, and in torch."""
    if (columns, outputs) not in MADE:
        torch.manual_seed(columns)
        net = Net(columns, outputs)
        MADE[columns, outputs] = to_graph(net.state_dict(), assume=True, options={"head": "every"}), net
    graph, net = MADE[columns, outputs]
    return copy.deepcopy(graph), net


def scaled(scale=None, unscale=None, columns: int = 4, outputs: int = 1):
    """The model with scalers in its file, and what torch answers to scaled frames, in float64."""
    graph, net = network(columns, outputs)
    scalers.apply(graph, scale, unscale)
    return lstm_edge.load(format.to_bytes(graph)), graph, net


def answers_of(net, frames) -> np.ndarray:
    with torch.no_grad():
        return net(torch.from_numpy(np.float32(frames))[None])[0].double().numpy()


def assert_near(got, want, spread) -> None:
    """Within 1e-5 of what the values differ by, and of the steps that float32 has there."""
    allowed = 1e-5 * spread * max(1.0, np.abs((want - want.mean()) / spread).max()) + 2.0**-22 * np.abs(want).max()
    assert np.abs(got - want).max() <= allowed


COLUMNS = ColumnTransformer(
    [("a", StandardScaler(), [3]), ("b", MinMaxScaler((-1, 2)), [1, 0])], remainder="passthrough"
)
KINDS = {
    "standard": lambda: StandardScaler(),
    "mean alone": lambda: StandardScaler(with_std=False),
    "deviation alone": lambda: StandardScaler(with_mean=False),
    "min max": lambda: MinMaxScaler(),
    "clip": lambda: MinMaxScaler((-1, 1), clip=True),
    "robust": lambda: RobustScaler(quantile_range=(10, 90), unit_variance=True),
    "robust centre": lambda: RobustScaler(with_scaling=False),
    "max abs": lambda: MaxAbsScaler(),
    "pipeline": lambda: Pipeline([("a", RobustScaler()), ("none", "passthrough"), ("b", MinMaxScaler(clip=True))]),
    "columns": lambda: COLUMNS,
    "columns by slice": lambda: ColumnTransformer(
        [("a", "drop", slice(0, 0)), ("b", RobustScaler(), slice(2, 4)), ("c", "passthrough", np.arange(4) == 1)],
        remainder=MaxAbsScaler(),
        transformer_weights={"b": 0.5},
    ),
    "pipeline of columns": lambda: Pipeline([("a", COLUMNS), ("b", StandardScaler())]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_raw_frames_have_the_answers_of_scikit_learn_and_torch(kind):
    scaler, target = fitted(KINDS[kind](), names=False), fitted(StandardScaler(), 2)
    model, _, net = scaled(scaler, target, outputs=2)
    want = target.inverse_transform(answers_of(net, scaler.transform(FRAMES)))
    got = model.run(FRAMES)
    for column, spread in enumerate(target.scale_):
        assert_near(got[:, column], want[:, column], spread)
    stream = model.stream()
    chunks = [stream.run(FRAMES[start:end]) for start, end in ((0, 1), (1, 8), (8, 25))]
    assert np.array_equal(np.concatenate(chunks), got)
    assert np.array_equal(model.run(np.stack([FRAMES, FRAMES]))[1], got)


@pytest.mark.parametrize("make", [StandardScaler, MinMaxScaler, lambda: MinMaxScaler((-1, 1)), RobustScaler])
def test_one_target_column_out_of_all(make):
    target = fitted(make())
    for column, number in (("q", 2), (1, 1), ("u", 3)):
        model, _, net = scaled(None, {"output": (target, column)})
        filled = np.zeros((len(FRAMES), 4))
        filled[:, number] = answers_of(net, FRAMES * 1e-5)[:, 0]
        want = target.inverse_transform(filled)[:, number]
        spread = np.ptp(target.inverse_transform(np.array([[0.0] * 4, [1.0] * 4]))[:, number])
        assert_near(model.run(np.float32(FRAMES * 1e-5))[:, 0], want, spread)


def test_one_side_alone_is_said():
    """The usual mistake is a target that was a column of what was scaled; what has no unit needs none."""
    scaler, layer = fitted(MinMaxScaler()), {"type": "dense", "name": "out", "weights": "out"}
    arrays = {"out.weight": np.ones((4, 4), np.float32), "out.bias": np.zeros(4, np.float32)}
    network = {
        "convention": "torch",
        "inputs": {"x": ["batch", "frames", 4]},
        "outputs": {"y": "out"},
        "layer": [layer],
    }
    kinds = {"after": {"y": {"type": "labels", "labels": list("abcd")}}}
    for given, said in (
        ({"scale": scaler}, "assumed: output 'y' stays in the units"),
        ({"unscale": scaler}, "assumed: input 'x' takes columns as the network was trained on them"),
        ({"scale": scaler, "unscale": scaler}, None),
        ({"scale": scaler, "after": kinds}, None),
        ({}, None),
    ):
        notes = to_graph(arrays, network=network, **given).metadata.get("notes", [])
        found = [note for note in notes if " is given" in note]
        assert [note.startswith(said) for note in found] == [True] * (said is not None), found


def test_columns_that_a_transformer_drops_are_not_asked_for():
    scaler = ColumnTransformer([("a", StandardScaler(), [3, 0])])
    fitted(scaler)
    model, graph, net = scaled(scaler, columns=2)
    assert graph.metadata["scale"]["input"]["columns"] == ["t", "u"] and model.inputs[0].shape[-1] == 2
    want = answers_of(net, scaler.transform(FRAMES.astype(np.float64)))
    assert np.abs(model.run(FRAMES[:, [0, 3]]) - want).max() < 1e-5


def test_values_far_from_zero_lose_their_centre_first():
    far = np.float32(1e9 + RNG.standard_normal((300, 1)) * 1e5)
    scaler = StandardScaler().fit(far.astype(np.float64))
    model, _, net = scaled(scaler, columns=1)
    assert np.abs(model.run(far[:50]) - answers_of(net, scaler.transform(far[:50].astype(np.float64)))).max() < 1e-5
    hopeless = StandardScaler().fit(1e9 + RNG.standard_normal((300, 1)))
    with pytest.raises(FormatError, match="scale: input: a live object: column '0': .*subtract a constant"):
        scaled(hopeless, columns=1)


def test_products_go_into_the_layer_and_large_sums_do_not():
    near, far = {"min": [0.0], "max": [30.0]}, {"mean": [1e5], "scale": [3.0]}
    without = [op for op, _ in scaled()[0].ops]
    assert [op for op, _ in scaled(None, near)[0].ops] == without
    assert [op for op, _ in scaled(None, far)[0].ops] == [*without, "Binary"]


# ---- files -----------------------------------------------------------------------------------------------------------

COMPRESSED = {"zlib": zlib.compress, "gzip": gzip.compress, "bz2": bz2.compress, "lzma": lzma.compress}


def same(a, b) -> bool:
    return bool(np.array_equal(a(FRAMES), b(FRAMES))) and a.names == b.names


def test_pickles_of_every_protocol_and_compressor(tmp_path):
    scaler = fitted(KINDS["pipeline of columns"]())
    live, path = read_scaler(scaler)[0], str(tmp_path / "scaler.pkl")
    for protocol in range(2, 6):
        (tmp_path / "scaler.pkl").write_bytes(pickle.dumps(scaler, protocol))
        assert same(read_scaler(path)[0], live)
        joblib.dump(scaler, tmp_path / "scaler.joblib", protocol=protocol)
        assert same(read_scaler(tmp_path / "scaler.joblib")[0], live)
    for name, compress in COMPRESSED.items():
        (tmp_path / "scaler.pkl").write_bytes(compress(pickle.dumps(scaler)))
        assert same(read_scaler(path)[0], live)
        joblib.dump(scaler, path, compress=(name, 3))
        assert same(read_scaler(path)[0], live)


def test_attributes_of_older_versions():
    old = StandardScaler()
    old.__dict__ = {"with_mean": True, "with_std": True, "copy": True, "mean_": np.ones(3), "std_": np.full(3, 2.0)}
    assert np.array_equal(read_scaler(old)[0](np.full((1, 3), 5.0)), [[2.0] * 3])


def test_numbers_in_json_npz_and_npy(tmp_path):
    mean, scale = np.array([1.0, 2.0]), np.array([0.5, 0.0])
    want = np.array([[4.0, 2.0]])
    (tmp_path / "s.json").write_text(json.dumps({"mean": [1, 2], "std": [0.5, 0], "columns": ["a", "b"]}))
    np.savez(tmp_path / "s.npz", mean=mean, scale=scale, columns=np.array(["a", "b"]))
    for name, values in (("mean", mean), ("scale", scale)):
        np.save(tmp_path / f"{name}.npy", values)
    both = f"{tmp_path / 'mean.npy'},{tmp_path / 'scale.npy'}"
    for given in (tmp_path / "s.json", tmp_path / "s.npz", both, (mean, scale), {"mean": mean, "scale": scale}):
        scaler = read_scaler(given)[0]
        assert np.array_equal(scaler(np.array([[3.0, 4.0]])), want)
    assert read_scaler(f"{tmp_path / 's.json'}:b")[0].names == read_scaler(f"{tmp_path / 's.npz'}:1")[0].names == ("b",)


class Hostile:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.system, (f"touch {self.folder}/ran",)


def test_nothing_in_a_file_is_run(tmp_path):
    scaler = fitted(StandardScaler())
    scaler.extra = Hostile(tmp_path)
    path = tmp_path / "scaler.joblib"
    nested = np.empty(1, object)  # which joblib keeps as a pickle of its own within the file
    nested[0] = Hostile(tmp_path)
    for value in (Hostile(tmp_path), scaler, {"a": nested}):
        for compress in (0, 3):
            joblib.dump(value, path, compress=compress)
            with pytest.raises(FormatError, match=r"scaler.joblib: a pickle: the pickle calls (posix|nt)\.system"):
                read_scaler(path)
    assert not (tmp_path / "ran").exists()


def test_damaged_files_are_errors(tmp_path, monkeypatch):
    path = tmp_path / "scaler.joblib"
    whole = io.BytesIO()
    joblib.dump(fitted(StandardScaler()), whole)
    content = whole.getvalue()
    for kept in range(0, len(content), 37):
        path.write_bytes(content[:kept])
        with pytest.raises(LstmEdgeError):
            read_scaler(path)
    path.write_bytes(zlib.compress(content)[:-9])
    with pytest.raises(FormatError, match="truncated"):
        read_scaler(path)
    monkeypatch.setattr(compressed, "MOST", 999)
    path.write_bytes(zlib.compress(bytes(1000)))
    with pytest.raises(FormatError, match="more than"):
        read_scaler(path)


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scaler, said",
    [
        (QuantileTransformer(n_quantiles=5), "QuantileTransformer: expected one of StandardScaler"),
        (Normalizer(), "Normalizer: .*a row by the row's own length"),
        (Pipeline([("a", StandardScaler()), ("b", Normalizer())]), "Pipeline, b: Normalizer"),
    ],
)
def test_what_is_no_line_is_refused_by_name(scaler, said):
    with pytest.raises(UnsupportedModelError, match=said):
        scaled(fitted(scaler))
    with pytest.raises(UnsupportedModelError, match="found test_scalers.Hostile"):
        scaled(Hostile(""))
    with pytest.raises(FormatError, match="StandardScaler: expected a fitted scaler"):
        scaled(StandardScaler())


def test_a_scaler_over_all_columns_for_one_target_is_told(tmp_path):
    path = str(tmp_path / "target.joblib")
    joblib.dump(fitted(StandardScaler()), path)
    with pytest.raises(ShapeError) as told:
        scaled(None, path)
    assert "target.joblib scales 4 columns ('t', 'p', 'q', 'u'), the output has 1" in str(told.value)
    assert "unscale={'output': (scaler, 't')}" in str(told.value)
    with pytest.raises(FormatError, match="column 'v': expected one of 't', 'p', 'q', 'u'"):
        scaled(None, f"{path}:v")
    with pytest.raises(FormatError, match="ColumnTransformer .* has other columns behind it"):
        scaled(None, fitted(COLUMNS), outputs=4)


def test_several_columns_are_asked_for_and_other_files_are_told(tmp_path):
    scaler = fitted(StandardScaler())
    with pytest.raises(ShapeError, match=r"such as scale=\{'input': \(scaler, 't,p'\)\}"):
        scaled({"input": scaler}, columns=2)
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    with pytest.raises(
        FormatError, match=r"data.csv: expected a scaler as .joblib, .pkl.*found a file of another kind"
    ):
        read_scaler(str(tmp_path / "data.csv"))


def test_all_that_is_wrong_is_said_at_once():
    target = fitted(StandardScaler(), 2)
    with pytest.raises(LstmEdgeError) as told:
        scaled({"x": target, "input": target}, {"y": target, "output": Normalizer().fit(ROWS)})
    for part in ("no input is named 'x'; expected one of input", "scales 2 columns", "'y'", "Normalizer"):
        assert part in str(told.value)


def test_a_scaler_of_one_column_is_that_of_every_value_and_says_so():
    one = fitted(MinMaxScaler(), 1)
    model, graph, net = scaled(None, one, outputs=3)
    assert any("every value of output 'output'" in n and n.startswith("assumed: ") for n in graph.metadata["notes"])
    want = answers_of(net, FRAMES * 1e-5) * one.data_range_ + one.data_min_
    assert_near(model.run(np.float32(FRAMES * 1e-5)), want, one.data_range_[0])


# ---- the whole way ---------------------------------------------------------------------------------------------------


def test_the_self_test_takes_raw_values_and_holds_for_int8(tmp_path):
    scaler, target = fitted(StandardScaler()), fitted(StandardScaler(), 2)
    path = tmp_path / "m.lstm"
    _, net = network()
    model = lstm_edge.convert(
        net.state_dict(), path, assume=True, options={"head": "every"}, scale=scaler, unscale=(target, "p")
    )
    report = verify(path)
    assert report.passed and report.tolerance < 1e-4 * target.scale_[1]
    raw = format.read(path).self_test.inputs["input"].reshape(-1, 4)
    assert np.abs((raw - scaler.mean_) / scaler.scale_).max() < 6
    small, report = lstm_edge.quantize(path, weights="int8", precision="int8")
    assert "int8" in {o.stored for o in report.ops}
    assert np.abs(small.run(FRAMES) - model.run(FRAMES)).max() < 0.02 * target.scale_[1]


def test_info_names_the_scalers_and_tables_are_read_by_their_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    joblib.dump(fitted(StandardScaler()), "s.joblib")
    graph, _ = network()
    scalers.apply(graph, "s.joblib", "s.joblib:p")
    format.write(graph, "m.lstm")
    order = [2, 0, 3, 1]
    lines = [",".join(["time", *NAMES[order]]), *(f"2024-01-0{n + 1}," + ",".join(map(repr, row[order].tolist())) for n, row in enumerate(FRAMES[:5]))]  # fmt: skip
    (tmp_path / "x.csv").write_text("\n".join(lines))
    assert _run(["run", "m.lstm", "x.csv", "-o", "y.npy"]) == 0
    assert "columns by their names, in another order than the table's: t, p, q, u" in capsys.readouterr().err
    assert np.array_equal(np.load("y.npy").reshape(-1), lstm_edge.load("m.lstm").run(FRAMES[:5]).reshape(-1))
    (tmp_path / "x.csv").write_text("t,p,q,u\n1,,3,4\n")
    assert _run(["run", "m.lstm", "x.csv", "-o", "y.npy"]) != 0
    assert "'p'" in capsys.readouterr().err
    assert _run(["info", "m.lstm"]) == 0
    out = capsys.readouterr().out
    assert "scale: input input is raw: StandardScaler of s.joblib, columns t, p, q, u" in out
    assert "unscale: output output is raw: StandardScaler of s.joblib, columns p" in out


def onnx_file(path, spatial: bool):
    """Of a convolution with channels first over open frames, or of a GRU over frames of four columns."""
    from onnx import TensorProto, helper, numpy_helper, save

    weights = {"w": (2, 4, 1)} if spatial else {"w": (1, 15, 4), "r": (1, 15, 5)}
    held = [numpy_helper.from_array(RNG.standard_normal(s).astype(np.float32), n) for n, s in weights.items()]
    node = (
        helper.make_node("Conv", ["x", "w"], ["y"])
        if spatial
        else helper.make_node("GRU", ["x", "w", "r"], ["y"], hidden_size=5)
    )
    shape = ["batch", 4, "frames"] if spatial else ["frames", "batch", 4]
    x, y = (
        helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    )
    save(helper.make_model(helper.make_graph([node], "g", [x], [y], held), opset_imports=[helper.make_opsetid("", 17)]), path)  # fmt: skip


@pytest.mark.parametrize("spatial", [False, True])
def test_verify_against_a_source_that_does_not_scale(tmp_path, spatial):
    pytest.importorskip("onnxruntime")
    source, path = str(tmp_path / "m.onnx"), str(tmp_path / "m.lstm")
    onnx_file(source, spatial)
    target = fitted(MinMaxScaler(), 2 if spatial else 1)
    lstm_edge.convert(source, path, scale=fitted(RobustScaler()), unscale=target)
    graph = format.read(path)
    assert graph.self_test.source.startswith("onnxruntime") and "between the file's scalers" in graph.self_test.source
    assert graph.metadata["scale"]["x"]["axis"] == (-2 if spatial else -1)
    found = compare(path, source)
    assert found.passed and found.by == "framework" and "scalers" in found.source
    raw = graph.self_test.inputs["x"]
    assert raw[:, 1].min() > 5e4 if spatial else raw[..., 1].min() > 5e4


def test_keras_normalization_and_rescaling_convert_as_they_are():
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    adapted = keras.layers.Normalization()
    adapted.adapt(ROWS.astype(np.float32))
    given = keras.layers.Normalization(mean=[1.0, 2, 3, 4], variance=[1.0, 4, 9, 16])
    small = np.float32(FRAMES * 1e-4)
    for layer, frames in ((adapted, FRAMES), (given, small), (keras.layers.Rescaling(0.1, -1.0), small)):
        net = keras.Sequential([keras.Input((None, 4)), layer, keras.layers.SimpleRNN(3, return_sequences=True)])
        model = lstm_edge.convert(net, self_test=False)
        want = keras.ops.convert_to_numpy(net(frames[None]))[0]
        assert np.abs(model.run(frames) - want).max() < 1e-5


def test_metadata_of_a_stranger_is_an_error():
    _, graph, _ = scaled(fitted(StandardScaler()))
    about = graph.metadata["scale"]["input"]
    inputs = {"input": FRAMES[None]}
    for changed in ({"steps": 5}, {"source": [9]}, {"columns": ["a"]}, {"steps": [{}]}, {"width": "x"}):
        with pytest.raises(FormatError, match="metadata 'scale': input: expected a scaler"):
            scalers.around({"scale": {"input": {**about, **changed}}}, inputs, "scale")
    graph.metadata["scale"]["input"] = {**about, "centre": "x"}
    with pytest.raises(FormatError, match="expected centre and spread"):
        sample_inputs(graph)


@pytest.mark.parametrize("kept", [3, [], {}, {"columns": 3}, {"columns": [], "width": "a", "source": [], "steps": []}])
def test_a_kept_scaler_that_nobody_wrote_is_refused_by_its_place(kept):
    with pytest.raises(FormatError, match="metadata 'scale' 'x': expected"):
        scaler_lines(SimpleNamespace(metadata={"scale": {"x": kept}}))
