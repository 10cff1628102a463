"""Online adaptation: the last Dense layer's correction against least squares in NumPy, promise 1, drift, and what is refused."""

import copy

import numpy as np
import pytest
from shared import ISAS

import lstm_edge
from lstm_edge import FormatError, LstmEdgeError, ShapeError, UnsupportedModelError, format
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.passes import streaming
from lstm_edge.quantize import quantize

FEATURES, HIDDEN = 5, 12
RNG = np.random.default_rng(3)


def uniform(*shape):
    return RNG.uniform(-0.5, 0.5, shape).astype(np.float32)


def loaded(graph, isa=None, **forecast):
    """forecast: what the file says of it, beside the names of input, columns and targets: two targets, then static columns."""
    streaming.apply(graph)
    if forecast:
        named = {
            "input": "series",
            "columns": list("abcde"),
            "targets": ["a", "b"],
            "feedback": [0, 1],
            "static": [2, 3, 4],
        }
        graph.metadata["forecast"] = {**named, **forecast}
    return lstm_edge.load(format.to_bytes(graph), isa)


def dense(values=3, features=FEATURES):
    """Dense alone: what a test feeds is what the layer sees."""
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, features))
    g.output("y", g.add1("Dense", [x, g.constant(uniform(values, features)), g.constant(uniform(values))], {}, "dense"))
    return loaded(g)


def forecaster(horizon=3, quantiles=(0.1, 0.5, 0.9), isa=None, scale=(4, -0.5), last=True):
    """LSTM, Dense, then Reshape, a product, and sums with a constant and with the frame's own values: what a forecast ends in."""
    targets = 2
    g = Graph()
    x = g.input("series", (BATCH, FRAMES, FEATURES))
    y = g.add(
        "LSTM",
        [x, g.constant(uniform(1, 4 * HIDDEN, FEATURES)), g.constant(uniform(1, 4 * HIDDEN, HIDDEN))],
        {},
        "lstm",
    )[0]
    each = max(len(quantiles), 1)
    values = horizon * targets * each
    z = g.add1("Dense", [y, g.constant(uniform(values, HIDDEN)), g.constant(uniform(values))], {}, "dense")
    tail = [horizon, targets] + [each] * bool(quantiles)
    keep = {"from_input": [0, 0] + [-1] * len(tail), "from_axis": [0, 1] + [0] * len(tail)}
    z = g.add1("Reshape", [z], {"shape": [1, 1, *tail], **keep}, "shape")
    by_target = np.array(scale, np.float32).reshape((2, 1) if quantiles else (2,))
    z = g.add1("Binary", [z, g.constant(by_target)], {"kind": "mul"}, "scale")
    z = g.add1("Binary", [g.constant(np.float32(20)), z], {"kind": "sub"}, "offset")
    if last:
        known = g.add1("Slice", [x], {"axes": [2], "starts": [0], "ends": [targets]}, "last")
        ones = [1] * (len(tail) - 2)
        known = g.add1("Reshape", [known], {"shape": [1, 1, 1, targets, *ones], **keep}, "last.shape")
        z = g.add1("Binary", [known, z], {"kind": "add"}, "from_last")
    g.output("forecast", z)
    return loaded(g, isa, output="forecast", horizon=horizon, quantiles=list(quantiles))


class Oracle:
    """Recursive least squares in plain matrices, of the values of one sequence: docs/adaptation.md."""

    def __init__(self, features, values, horizon=1, forgetting=0.99, regularisation=1.0):
        n = self.n = features + 1
        self.forgetting, self.targets = forgetting, values // horizon
        self.renewed = int(np.ceil(-np.log2(forgetting) * n)) if forgetting < 1 else 0
        self.renewed = min(self.renewed, n)
        self.renewal = regularisation * (1 - forgetting ** (n / self.renewed)) if self.renewed else 0.0
        self.p, self.w = np.eye(n) / regularisation, np.zeros((n, values))
        self.turn, self.frames = 0, [None] * horizon  # newest first

    def answered(self, x, answer):
        phi = np.append(x, 1.0).astype(np.float64)
        frame = {"phi": phi, "base": answer.astype(np.float64) - phi @ self.w, "rows": None}
        self.frames = [frame, *self.frames[:-1]]

    def absorb(self, frame):
        self.p = self.p / self.forgetting
        rows = [frame["phi"]]
        for _ in range(self.renewed):
            rows.append(np.sqrt(self.renewal) * np.eye(self.n)[self.turn])
            self.turn = (self.turn + 1) % self.n
        frame["rows"] = []
        for row in rows:
            gain = self.p @ row / (1 + row @ self.p @ row)
            self.p = self.p - np.outer(gain, row @ self.p)
            frame["rows"].append((row, gain))

    def adapt(self, y):
        if np.isnan(y).all():
            return
        for frame in reversed([f for f in self.frames if f]):
            if frame["rows"] is None:
                self.absorb(frame)
        for ahead, frame in enumerate(self.frames):
            for j in np.flatnonzero(~np.isnan(y)) if frame else ():
                value = ahead * self.targets + j
                wanted = y[j] - frame["base"][value]
                for row, gain in frame["rows"]:
                    self.w[:, value] += gain * (wanted - row @ self.w[:, value])
                    wanted = 0.0


@pytest.mark.parametrize("forgetting", [1.0, 0.97, 0.5])
def test_it_is_the_weighted_least_squares_of_all_that_was_observed(forgetting):
    """Not recursion against recursion: the sum of docs/adaptation.md, minimised at once. A batch of two that know nothing of each other."""
    model, delta, frames = dense(), 0.3, 40
    stream = model.stream(batch=2)
    stream.adaptation(forgetting, delta)
    x, y = RNG.normal(size=(frames, 2, FEATURES)).astype(np.float32), RNG.normal(size=(frames, 2, 3))
    base = np.empty((frames, 2, 3))
    n = FEATURES + 1
    phi = np.concatenate([x, np.ones((frames, 2, 1))], axis=2)
    for t in range(frames):
        base[t] = -np.einsum("bi,biv->bv", phi[t], stream.state["adapt.weights"])
        base[t] += stream.step(x[t])
        stream.adapt(y[t])
    renewed = min(int(np.ceil(-np.log2(forgetting) * n)), n)
    renewal = delta * (1 - forgetting ** (n / renewed)) if renewed else 0
    age = frames - 1 - np.arange(frames)
    zeros = [(forgetting ** age[t] * renewal, (t * renewed + r) % n) for t in range(frames) for r in range(renewed)]
    for b in range(2):
        left = [np.sqrt(forgetting**age)[:, None] * phi[:, b], np.sqrt(delta * forgetting**frames) * np.eye(n)]
        left += [np.sqrt(weight) * np.eye(n)[i : i + 1] for weight, i in zeros]
        right = np.zeros((sum(len(part) for part in left), 3))
        right[:frames] = np.sqrt(forgetting**age)[:, None] * (y - base)[:, b]
        want = np.linalg.lstsq(np.concatenate(left), right, rcond=None)[0]
        np.testing.assert_allclose(stream.state["adapt.weights"][b], want, rtol=0, atol=1e-9)


@pytest.mark.parametrize("quantiles", [(0.1, 0.5, 0.9), ()])
def test_a_forecast_learns_each_step_ahead_from_the_frame_that_made_it(quantiles):
    horizon = 3
    model = forecaster(horizon, quantiles)
    plain, stream = model.stream(), model.stream()
    stream.adaptation(0.95, 0.5)
    oracle, hidden = Oracle(HIDDEN, horizon * 2, horizon, 0.95, 0.5), None
    for t in range(80):
        x, y = RNG.normal(size=FEATURES), RNG.normal(20, 3, size=2)
        y[RNG.random(2) < 0.3] = np.nan
        x = x.astype(np.float32)
        before, answer = plain.step(x), stream.step(x)
        hidden = stream.state["lstm.h"].ravel()
        change = (np.append(hidden, 1.0) @ oracle.w).reshape(horizon, 2)
        np.testing.assert_allclose(answer, before + (change[..., None] if quantiles else change), rtol=0, atol=2e-5)
        oracle.answered(hidden, (answer[..., 1] if quantiles else answer).ravel())
        if t % 7 != 5:  # a frame whose observation nobody gave
            stream.adapt(y)
            oracle.adapt(y)
        np.testing.assert_allclose(stream.state["adapt.weights"][0], oracle.w, rtol=0, atol=1e-9)
    assert np.abs(oracle.w).max() > 0.1


def test_quantiles_that_cannot_cross_move_with_the_middle_one():
    """Their widths come from an activation; the middle one is the layer's own, and the others are added to it."""
    g = Graph()
    x = g.input("series", (BATCH, FRAMES, FEATURES))
    z = g.add1("Dense", [x, g.constant(uniform(6, FEATURES))], {}, "dense")
    z = g.add1(
        "Reshape", [z], {"shape": [1, 1, 2, 3], "from_input": [0, 0, -1, -1], "from_axis": [0, 1, 0, 0]}, "shape"
    )
    low, middle, high = (
        g.add1("Slice", [z], {"axes": [-1], "starts": [n], "ends": [n + 1]}, f"part{n}") for n in (-3, -2, 2)
    )
    low, high = (g.add1("Unary", [part], {"kind": "softplus"}, "width") for part in (low, high))
    low = g.add1("Binary", [middle, low], {"kind": "sub"}, "low")
    high = g.add1("Binary", [high, middle], {"kind": "add"}, "high")
    y = g.add1("Concat", [low, middle, high], {"axis": -1}, "join")
    one_time = {"shape": [1, 1, 1, 2, 3], "from_input": [0, 0, -1, -1, -1], "from_axis": [0, 1, 0, 0, 0]}
    g.output("y", g.add1("Reshape", [y], one_time, "time"))
    model = loaded(g, output="y", horizon=1, quantiles=[0.1, 0.5, 0.9])
    plain, stream = model.stream(), model.stream()
    stream.adaptation()
    for frame in RNG.normal(size=(20, FEATURES)).astype(np.float32):
        before, answer = plain.step(frame), stream.step(frame)
        moved = np.append(frame, 1.0) @ stream.state["adapt.weights"][0]
        np.testing.assert_allclose(answer, before + moved[None, :, None], rtol=0, atol=1e-5)
        stream.adapt(np.float64([5, -5]))
    assert np.abs(moved).min() > 2


@pytest.mark.parametrize("isa", ISAS)
def test_runs_of_any_length_give_the_bits_of_steps(isa):
    model = forecaster(isa=isa)
    x, y = RNG.normal(size=(40, FEATURES)).astype(np.float32), RNG.normal(20, 3, size=(20, 2))
    learnt = model.stream()
    learnt.adaptation()
    for t in range(20):
        learnt.step(x[t])
        learnt.adapt(y[t])
    before = learnt.state
    want = np.array([learnt.step(frame) for frame in x[20:]])
    learnt.adapt(y[0])
    after = learnt.state
    for size in (2, 3, 7, 20):
        stream = model.stream()
        stream.adaptation()
        stream.state = before
        found = np.concatenate([stream.run(x[t : min(t + size, 40)]) for t in range(20, 40, size)])
        np.testing.assert_array_equal(found, want)
        stream.adapt(y[0])
        for name, value in stream.state.items():
            np.testing.assert_array_equal(value, after[name], name)
    batched = model.stream(batch=2)
    batched.adaptation()
    both = np.stack([x, -x])
    for t in range(20):
        batched.step(both[:, t])
        batched.adapt(np.stack([y[t], -y[t]]))
    np.testing.assert_array_equal(batched.run(both[:, 20:])[0], want)


def lstm_dense(hidden=HIDDEN, features=FEATURES, values=2, weights=None, activation="linear"):
    """LSTM and Dense; weights (values, hidden + 1) of the layer, the bias last."""
    rng = np.random.default_rng(5)
    w_ih, w_hh = (rng.uniform(-0.5, 0.5, (1, 4 * hidden, n)).astype(np.float32) for n in (features, hidden))
    if weights is None:
        weights = rng.uniform(-0.5, 0.5, (values, hidden + 1))
    w = np.asarray(weights, np.float32)
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, features))
    y = g.add("LSTM", [x, g.constant(w_ih), g.constant(w_hh)], {}, "lstm")[0]
    layer = [y, g.constant(np.ascontiguousarray(w[:, :-1])), g.constant(np.ascontiguousarray(w[:, -1]))]
    g.output("y", g.add1("Dense", layer, {"activation": activation}, "dense"))
    return g


def test_a_forecast_goes_by_what_was_learnt_and_teaches_nothing():
    """Three rounds of three frames ahead, against the loop in Python on a stream of its own."""
    stream = forecaster().stream()
    stream.adaptation()
    taught(stream)
    newest = stream.step(np.zeros(FEATURES, np.float32))
    before = stream.state
    found = stream.forecast(9)
    np.testing.assert_equal(stream.state, before)
    other, parts = stream.model.stream(), [newest]
    other.adaptation()
    other.state = before
    for _ in range(2):
        fed = np.zeros((3, FEATURES), np.float32)
        fed[:, :2] = parts[-1][..., 1]
        parts.append(other.run(fed)[-1])
    np.testing.assert_array_equal(found, np.concatenate(parts))
    stream.adapt([1, 2])
    with pytest.raises(LstmEdgeError, match="given already"):  # those frames were no observations
        stream.adapt([1, 2])


def test_a_forecast_that_the_file_contradicts_is_refused():
    g = lstm_dense()
    for says, expected in (({"horizon": 2}, "expected output 'y' to have"), ({"horizon": "2"}, "horizon: expected")):
        with pytest.raises(FormatError, match=f"metadata forecast: .*{expected}"):
            loaded(copy.deepcopy(g), output="y", **says).stream().adaptation()


@pytest.mark.parametrize("storage", ["int8", "float16"])
def test_quantised_models_adapt(storage):
    graph = lstm_dense()
    streaming.apply(graph)
    stream = quantize(graph, weights=storage)[0].stream()
    stream.adaptation(1.0)
    errors, wanted = [], np.array([3.0, -7.0])
    for frame in RNG.normal(size=(200, FEATURES)).astype(np.float32):
        errors.append(np.abs(stream.step(frame) - wanted).max())
        stream.adapt(wanted)
    assert errors[0] > 2 and max(errors[-20:]) < 0.5


# ---- drift -----------------------------------------------------------------------------------------------------------


def series(frames, drift):
    """A daily wave with noise of 0.1; when it drifts, its level rises by 2 and its amplitude doubles."""
    rng, t = np.random.default_rng(11), np.arange(frames)
    share = drift * t / frames
    return (1 + share) * np.sin(2 * np.pi * t / 24) + 2 * share + 0.1 * rng.standard_normal(frames)


def one_ahead():
    """An LSTM of random weights whose layer is fitted to the next value of a stationary series."""
    y = series(1000, 0).astype(np.float32)
    hidden = 24
    eye = loaded(lstm_dense(hidden, 1, weights=np.eye(hidden, hidden + 1)))  # answers with its hidden state
    phi = np.append(eye.run(y[:, None]), np.ones((1000, 1)), axis=1)[50:-1].astype(np.float64)
    w = np.linalg.solve(phi.T @ phi + 1e-2 * np.eye(hidden + 1), phi.T @ y[51:])
    return loaded(lstm_dense(hidden, 1, weights=w[None]))


def errors_of(model, y, **options):
    stream, errors = model.stream(), []
    if options:
        stream.adaptation(**options)
    for now, following in zip(y[:-1].astype(np.float32), y[1:]):
        errors.append(float(stream.step(np.array([now]))[0]) - following)
        if options:
            stream.adapt(following)
    return np.sqrt(np.mean(np.square(errors[200:])))


def test_it_follows_a_series_that_drifts_and_leaves_one_that_does_not():
    model = one_ahead()
    drifting, stationary = series(2000, 1), series(2000, 0)
    assert errors_of(model, drifting, forgetting=0.99) < 0.2 * errors_of(model, drifting)
    assert errors_of(model, stationary, forgetting=0.99) < 1.03 * errors_of(model, stationary)


def test_what_is_not_excited_does_not_wind_up():
    """A constant input, long enough that P would grow by 0.9^-2000 without the renewed regularisation; then an input of all directions."""
    model = dense(1)
    stream = model.stream()
    stream.adaptation(0.9, 1.0)
    for _ in range(2000):
        stream.step(np.ones(FEATURES, np.float32))
        stream.adapt(1.0)
    assert np.abs(stream.state["adapt.covariance"]).max() < 4
    for x in RNG.normal(size=(50, FEATURES)).astype(np.float32):
        assert abs(stream.step(x)[0]) < 20
        stream.adapt(0.0)


# ---- off, saved, restored --------------------------------------------------------------------------------------------


def taught(stream, frames=12):
    for t in range(frames):
        stream.step(np.full(FEATURES, t / 9, np.float32))
        stream.adapt([20.0, t])
    return stream


def test_off_gives_the_bits_of_a_stream_that_never_was_on():
    model, x = forecaster(), RNG.normal(size=(9, FEATURES)).astype(np.float32)
    stream = model.stream()
    stream.run(x)
    stream.reset()
    size = stream.nbytes
    stream.adaptation()
    assert stream.nbytes > size
    np.testing.assert_array_equal(stream.run(x), model.run(x))  # nothing learnt yet
    stream.adaptation(None)
    assert stream.nbytes == size and {n for n in stream.state if not n.startswith("newest.")} == {"lstm.h", "lstm.c"}
    stream.reset()
    np.testing.assert_array_equal(stream.run(x), model.run(x))
    with pytest.raises(LstmEdgeError, match="adaptation is off"):
        stream.adapt([1, 2])


def test_what_was_learnt_is_saved_restored_and_reset():
    model, x = forecaster(), RNG.normal(size=FEATURES).astype(np.float32)
    stream = model.stream()
    stream.adaptation()
    fresh = stream.state
    saved = taught(stream).state
    answers = [stream.step(x), stream.adapt([5, 6]), stream.step(x)]
    other = model.stream()
    other.adaptation()
    other.state = saved
    np.testing.assert_equal([other.step(x), other.adapt([5, 6]), other.step(x)], answers)
    stream.reset()
    np.testing.assert_equal(stream.state, fresh)
    stream.state = saved
    np.testing.assert_equal([stream.step(x), stream.adapt([5, 6]), stream.step(x)], answers)


def test_a_wrong_state_changes_nothing():
    stream = forecaster().stream()
    stream.adaptation()
    before = taught(stream).state
    plain = forecaster().stream()
    with pytest.raises(ShapeError, match="of a stream after adaptation"):
        plain.state = before
    with pytest.raises(ShapeError, match="of a stream after adaptation"):
        stream.state = plain.state
    other = forecaster(horizon=2).stream()
    other.adaptation()
    with pytest.raises(ShapeError, match="adapt.weights.*expected float64 of shape"):
        stream.state = other.state
    spoilt = {
        "adapt.weights": np.nan,
        "adapt.covariance": -1,
        "adapt.features": np.inf,
        "adapt.marks": 14,
        "adapt.clock": 3,
    }
    for name, value in spoilt.items():
        with pytest.raises(LstmEdgeError, match=f"{name}: expected what a stream's adaptation has given"):
            stream.state = {**before, name: np.full_like(before[name], value)}
        np.testing.assert_equal(stream.state, before)
    with pytest.raises(ShapeError, match="float32"):
        stream.state = {**before, "adapt.gains": before["adapt.gains"].astype(np.float32)}
    np.testing.assert_equal(stream.state, before)


def test_a_covariance_that_is_none_is_begun_anew():
    stream = dense(1).stream()
    stream.adaptation()
    state = stream.state
    p = state["adapt.covariance"][0]
    p[1] = -10 * p[0]  # an entry beside the diagonal
    stream.state = state
    stream.step(np.ones(FEATURES, np.float32))
    stream.adapt(1.0)
    assert 0 < stream.state["adapt.covariance"].max() <= 20


# ---- hostile ---------------------------------------------------------------------------------------------------------


def test_the_order_of_calls_is_checked():
    stream = forecaster().stream()
    stream.adaptation()
    with pytest.raises(LstmEdgeError, match="no frame was answered yet"):
        stream.adapt([1, 2])
    stream.step(np.zeros(FEATURES, np.float32))
    stream.adapt([1, np.nan])
    before = stream.state
    with pytest.raises(LstmEdgeError, match="given already"):
        stream.adapt([1, 2])
    np.testing.assert_equal(stream.state, before)
    with pytest.raises(ShapeError):
        stream.step(np.zeros(FEATURES + 1, np.float32))
    np.testing.assert_equal(stream.state, before)


@pytest.mark.parametrize("bad", [[np.inf, 0], [0, -1e39], [1], 1.0, [[1, 2], [3, 4]], ["a", "b"], None])
def test_observations_that_are_none_change_nothing(bad):
    stream = taught_forecaster()
    before = stream.state
    with pytest.raises(LstmEdgeError, match="adapt: y: expected"):
        stream.adapt(bad)
    np.testing.assert_equal(stream.state, before)
    stream.adapt([[1, 2]])  # the batch of one may be given


def taught_forecaster():
    stream = forecaster().stream()
    stream.adaptation()
    taught(stream).step(np.zeros(FEATURES, np.float32))
    return stream


def test_unknown_observations_and_frames_without_answers_teach_nothing():
    model = dense(1)
    stream = model.stream()
    stream.adaptation()
    for x in (np.ones(FEATURES), np.full(FEATURES, np.nan), np.full(FEATURES, np.inf)):
        answer = stream.step(x.astype(np.float32))
        np.testing.assert_array_equal(answer, model.run(x.astype(np.float32)[None])[0])
        stream.adapt(np.nan if x[0] == 1 else 3.0)
    assert not stream.state["adapt.weights"].any()
    stream.step(np.ones(FEATURES, np.float32))
    stream.adapt(1e30)
    stream.step(np.ones(FEATURES, np.float32))
    stream.adapt(0.0)
    assert np.isfinite(stream.state["adapt.weights"]).all()


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"forgetting": 0}, "forgetting: expected more than 0 and at most 1, found 0"),
        ({"forgetting": 1.01}, "forgetting"),
        ({"forgetting": float("nan")}, "forgetting"),
        ({"forgetting": "much"}, "forgetting: expected a number"),
        ({"regularisation": 0}, "regularisation: expected 1e-9 to 1e9"),
        ({"regularisation": float("inf")}, "regularisation"),
        ({"output": "z"}, "output: expected one of .'forecast'., found 'z'"),
    ],
)
def test_options_are_checked_and_leave_it_as_it_was(options, expected):
    stream = taught_forecaster()
    before = stream.state
    with pytest.raises(LstmEdgeError, match=expected):
        stream.adaptation(**options)
    np.testing.assert_equal(stream.state, before)


def wide(kind):
    """Models whose output no Dense layer makes alone."""
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, FEATURES))
    w = g.constant(uniform(FEATURES, FEATURES))
    y = g.add1("Dense", [x, w], {"activation": "sigmoid" if kind == "activation" else "linear"}, "dense")
    if kind == "softmax":
        y = g.add1("Softmax", [y], {}, "softmax")
    elif kind == "product":
        y = g.add1("Binary", [y, x], {"kind": "mul"}, "gate")
    elif kind == "zero":
        y = g.add1("Binary", [y, g.constant(np.zeros(1, np.float32))], {"kind": "mul"}, "none")
    elif kind == "two":
        y = g.add1("Concat", [y, g.add1("Dense", [x, w], {}, "other")], {"axis": 2}, "join")
    elif kind == "later":
        y = g.add1("Gather", [y, g.constant(np.array([1, 0], np.int32))], {"axis": 2}, "pick")
    elif kind == "sum":
        y = g.add1("Binary", [g.add1("Unary", [y], {"kind": "relu"}, "relu"), x], {"kind": "sub"}, "sum")
    elif kind == "spread":
        y = g.add1("Dense", [x, g.constant(uniform(1, FEATURES))], {}, "one")
        y = g.add1("Binary", [y, x], {"kind": "add"}, "spread")
    elif kind == "input":
        y = g.add1("Reshape", [x], {"shape": [1, 1, FEATURES], "from_input": [0, 0, -1], "from_axis": [0, 1, 0]}, "r")
    elif kind == "rows":
        x = g.input("rows", (BATCH, FRAMES, 2, FEATURES))
        y = g.add1("Dense", [x, w], {}, "dense.rows")
    elif kind == "transposed":
        y = g.add1("Transpose", [y], {"perm": [0, 2, 1]}, "turn")
    g.output("y", y)
    return loaded(g)


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("activation", "node dense .Dense.: adaptation: expected a layer without an activation"),
        ("softmax", "node softmax .Softmax.: adaptation: expected a Dense layer before the output"),
        ("product", "node gate .Binary.: adaptation: .*constants alone"),
        ("zero", "node none .Binary.: adaptation: expected a constant other than 0"),
        ("spread", "node one .Dense.: adaptation: expected a value of the layer for each of the output's own"),
        ("two", "node other .Dense.: adaptation: expected one layer that makes all values of a frame"),
        ("later", "node pick .Gather.: adaptation: expected a Dense layer"),
        ("sum", "node sum .Binary.: neither node relu .Unary.: .* nor .*found none before x"),
        ("input", "found none before x"),
        ("rows", "node dense.rows .Dense.: .*makes all values of a frame from one row"),
        ("transposed", "output 'y': expected batch and frames as its first axes"),
    ],
)
def test_models_that_cannot_adapt_are_refused_by_name(kind, expected):
    with pytest.raises(UnsupportedModelError, match=expected):
        wide(kind).stream().adaptation()


def doubled(kind, factor):
    """z and a multiple of it, from the same value of the same layer."""
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, FEATURES))
    z = g.add1("Dense", [x, g.constant(uniform(2, FEATURES))], {}, "dense")
    multiple = g.add1("Binary", [z, g.constant(np.float32([factor]))], {"kind": "mul"}, "multiple")
    g.output("y", g.add1("Binary", [z, multiple], {"kind": kind}, "sum"))
    return loaded(g)


@pytest.mark.parametrize("kind, factor", [("add", 2), ("sub", 3)])
def test_a_sum_of_a_value_and_its_multiple_moves_by_both(kind, factor):
    model = doubled(kind, factor)
    plain, stream = model.stream(), model.stream()
    stream.adaptation()
    for frame in RNG.normal(size=(20, FEATURES)).astype(np.float32):
        before, answer = plain.step(frame), stream.step(frame)
        moved = np.append(frame, 1.0) @ stream.state["adapt.weights"][0]
        np.testing.assert_allclose(answer, before + moved, rtol=0, atol=1e-5)
        stream.adapt(np.float64([5, -5]))
    assert np.abs(moved).min() > 2


def test_a_sum_that_cancels_its_layer_is_refused():
    with pytest.raises(UnsupportedModelError, match="node sum .Binary.: adaptation: .* whose operands cancel it"):
        doubled("sub", 1).stream().adaptation()


def test_an_output_with_other_frames_than_its_layer_is_refused():
    """A file may say that it streams where it does not: the core reads nothing beyond the output."""
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, FEATURES))
    y = g.add1("Dense", [x, g.constant(uniform(3, FEATURES))], {}, "dense")
    g.output("y", g.add1("Slice", [y], {"axes": [1], "starts": [0], "ends": [1]}, "first"))
    g.metadata["streaming"] = {"supported": True}
    stream = lstm_edge.load(format.to_bytes(g)).stream()
    with pytest.raises(UnsupportedModelError, match="node dense .Dense.: .*rows are the output's frames"):
        stream.adaptation()
