"""What open sizes are called: the source's own word, what recurrences take them for, else a guess; and what callers ask for."""

import numpy as np
import pytest

from lstm_edge import UnsupportedModelError
from lstm_edge.errors import ShapeError
from lstm_edge.importers.dialect.input_sizes import InputSizes
from lstm_edge.importers.dialect.open_sizes import OpenSize, freest
from lstm_edge.ir.graph import Graph


def named(*labels, declared=True, recurrence=False, time_major=False):
    """The sizes of an input (labels..., 4) whose model is a function of each element, or a recurrence."""
    opens = [OpenSize("x", n, label, made_with=7, declared=declared) for n, label in enumerate(labels)]
    inputs = InputSizes({"x": [*opens, 4]}, None)

    def lower(sizes):
        g = Graph()
        x = g.input("x", inputs.shape("x", sizes))
        if recurrence:
            w_ih, w_hh = (g.constant(np.ones((1, 3, n), np.float32)) for n in (4, 3))
            g.output("y", g.add1("RNN", [x, w_ih, w_hh], {"time_major": int(time_major)}))
        else:
            g.output("y", g.add1("Unary", [x], {"kind": "tanh"}))
        return g

    graph, _ = freest(lower, inputs.open)
    return [str(s) for s in graph.shape("x")[:-1]]


@pytest.mark.parametrize(
    "labels",
    [("seq_len", "frames"), ("frames", "batch"), ("frames", "seq"), ("n", "batch"), ("time", "batch", "frames")],
)
def test_the_plain_words_of_a_source_stay_what_they_are(labels):
    found = named(*labels)
    assert all(name == label for name, label in zip(found, labels) if label in ("batch", "frames"))
    assert len(set(found)) == len(labels)


def test_frames_that_a_recurrence_has_as_its_rows_stay_frames():
    """A recurrence along another axis, as in a network of two paths, has the frames side by side."""
    assert named("frames", "bands", recurrence=True)[0] == "frames"


def test_a_layout_that_a_source_mistakes_is_known_from_the_recurrence():
    assert named("batch", "seq", recurrence=True, time_major=True) == ["frames", "batch"]


def test_words_that_an_importer_gives_are_guesses():
    assert named("frames", "other", declared=False, recurrence=True) == ["batch", "frames"]


def test_one_size_on_two_axes_is_no_batch():
    assert named("N", "N") == ["N", "N"]
    assert named("T", "T") == ["frames", "frames"]


def test_a_caller_may_say_that_two_axes_are_equal():
    onnx = pytest.importorskip("onnx")
    from lstm_edge import convert

    helper = onnx.helper
    ports = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["a", "b", 4]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"])], "g", ports[:1], ports[1:])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model = convert(proto, shapes={"x": ("frames", "frames", 4)}, self_test=False)
    assert model.run(np.zeros((3, 3, 4), np.float32)).shape == (3, 3, 4)
    with pytest.raises(ShapeError, match=r"expected shape \(frames, frames, 4\), frames 2, found \(2, 3, 4\)"):
        model.run(np.zeros((2, 3, 4), np.float32))
    with pytest.raises(UnsupportedModelError, match="two frames axes"):
        model.stream()
    with pytest.raises(UnsupportedModelError, match="'batch' stands twice in"):
        convert(proto, shapes={"x": ("batch", "batch", 4)}, self_test=False)


def test_names_that_the_model_has_not_are_refused_with_those_it_has():
    with pytest.raises(UnsupportedModelError, match="the model has no such input; its inputs are x, h"):
        InputSizes({"x": [OpenSize("x", 0), 4], "h": [5]}, {"nope": (1, 4)})


@pytest.mark.parametrize("kind", ["live", "exported", "traced"])
def test_torch_refuses_sizes_of_what_is_no_input_beside_an_example(kind):
    torch = pytest.importorskip("torch")
    from lstm_edge.convert import to_graph

    x = torch.zeros(1, 7, 4)
    module = torch.nn.Linear(4, 3).eval()
    made = {"live": lambda: module, "exported": lambda: torch.export.export(module, (x,))}
    source = made.get(kind, lambda: torch.jit.trace(module, (x,)))()
    with pytest.raises(UnsupportedModelError, match="'nope'.*has no such input; its inputs are input"):
        to_graph(source, shapes={"nope": (1, 7, 4)}, **({} if kind == "exported" else {"example": x}))


def test_a_number_of_frames_that_the_caller_of_torch_gives_is_kept():
    torch = pytest.importorskip("torch")
    from lstm_edge.convert import to_graph

    graph = to_graph(torch.nn.GRU(4, 3, batch_first=True).eval(), shapes={"input": ("batch", 7, 4)})
    assert [str(s) for s in graph.shape(graph.inputs[0].tensor)] == ["batch", "7", "4"]
