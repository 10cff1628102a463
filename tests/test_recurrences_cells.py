"""The table of cells that a loop may spell: each in several spellings, as the op that it is and with the same answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from lstm_edge import reference
from lstm_edge.importers.dialect import Dialect, Value
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.recurrences.body import Body, Carried, Frame
from lstm_edge.recurrences.polynomials import NotACell
from lstm_edge.recurrences.spelled import emit, recognised

H, P, INPUTS, STEPS, ROWS = 4, 3, 5, 6, 2


@dataclass(frozen=True)
class Way:
    """A way to spell what has several spellings."""

    joined: bool = True  # the gates in one product, or each in its own
    side_by_side: bool = True  # [x, h] by one matrix, or a sum of two products
    bias_first: bool = False
    transposed: bool = False
    ramp: str = "hard_sigmoid"  # or "clip", "min and max", "relu6"
    where: bool = True  # masks by Where, or m * new + (1 - m) * old
    swapped: bool = False  # b + a for a + b


PLAIN = Way()
WAYS = {
    "joined": PLAIN,
    "apart, late biases": Way(False, False, ramp="clip"),
    "early biases, transposed weights": Way(True, False, True, True, "min and max"),
    "apart, arithmetic masks": Way(False, True, ramp="relu6", where=False),
    "two products, swapped": Way(True, False, ramp="clip", where=False, swapped=True, transposed=True),
}


class Speller:
    """Writes the body of a loop over x (T,B,I), a mask (T,B,1) and states (B, width)."""

    def __init__(self, way: Way, states: list[int]):
        self.way, self.rng, self.graph = way, np.random.default_rng(3), Graph()
        self.x = self.graph.input("x", (BATCH, INPUTS))
        self.mask = self.graph.input("mask", (BATCH, 1), "bool")
        self.context = self.graph.input("context", (BATCH, 2))
        self.states = [self.graph.input(f"s{n}", (BATCH, w)) for n, w in enumerate(states)]

    def op(self, op: str, *inputs: str, **attrs) -> str:
        return self.graph.add1(op, list(inputs), attrs)

    def number(self, value: float) -> str:
        return self.graph.constant(np.float32(value))

    def weight(self, *shape: int) -> str:
        return self.graph.constant(self.rng.normal(0, 0.6, shape).astype(np.float32))

    def binary(self, kind: str, a: str, b: str) -> str:
        pair = [b, a] if self.way.swapped and kind in ("add", "mul", "min", "max") else [a, b]
        return self.op("Binary", *pair, kind=kind)

    def add(self, *terms: str) -> str:
        total = terms[0]
        for t in terms[1:]:
            total = self.binary("add", total, t)
        return total

    def mul(self, a: str, b: str) -> str:
        return self.binary("mul", a, b)

    def minus(self, a: str) -> str:
        """1 - a."""
        return self.binary("sub", self.number(1.0), a)

    def unary(self, kind: str, x: str, **attrs) -> str:
        return self.op("Unary", x, kind=kind, **attrs)

    def product(self, x: str, n: int) -> str:
        width = self.graph.shape(x)[-1]
        if self.way.transposed:
            return self.op("MatMul", x, self.weight(n, width), trans_b=1)
        return self.op("MatMul", x, self.weight(width, n))

    def linear(self, n: int, *inputs: str) -> str:
        if self.way.side_by_side:
            both = self.op("Concat", *inputs, axis=-1) if len(inputs) > 1 else inputs[0]
            return self.op("Dense", both, self.weight(n, self.graph.shape(both)[-1]), self.weight(n))
        parts, bias = [self.product(i, n) for i in inputs], self.weight(n)
        return self.add(bias, *parts) if self.way.bias_first else self.add(*parts, bias)

    def gates(self, count: int, *inputs: str) -> list[str]:
        if not self.way.joined:
            return [self.linear(H, *inputs) for _ in range(count)]
        whole = self.linear(count * H, *inputs)
        return [self.op("Slice", whole, axes=[-1], starts=[n * H], ends=[(n + 1) * H]) for n in range(count)]

    def ramp(self, x: str) -> str:
        """A hard sigmoid: of slope 1/6 and its bound at 0 for relu6, else 0.2 x + 0.5."""
        if self.way.ramp == "hard_sigmoid":
            return self.unary("hard_sigmoid", x, alpha=0.2, beta=0.5)
        if self.way.ramp == "relu6":
            return self.mul(self.unary("relu6", self.binary("add", x, self.number(3.0))), self.number(1 / 6))
        line = self.add(self.mul(x, self.number(0.2)), self.number(0.5))
        if self.way.ramp == "clip":
            return self.unary("clip", line, alpha=0.0, beta=1.0)
        return self.binary("max", self.binary("min", line, self.number(1.0)), self.number(0.0))

    def chosen(self, new: str, old: str) -> str:
        """`new` where the mask is true, else `old`."""
        if self.way.where:
            return self.op("Where", self.mask, new, old)
        m = self.op("Cast", self.mask, to="float32")
        return self.add(self.mul(m, new), self.mul(self.minus(m), old))

    def zero(self) -> str:
        return self.number(0.0)


# ---- the cells: each gives (new states, collected outputs) -------------------------------------------------------------


def lstm(
    s, x="", h="", c="", gate="sigmoid", coupled="", peephole="", clip=0.0, squash="tanh", project=False, bound=0.0
):
    h, c, x = h or s.states[0], c or s.states[1], x or s.x
    act = s.ramp if gate == "ramp" else lambda v: s.unary(gate, v)
    i, f, g, o = s.gates(4, x, h)

    def seen(pre: str, cell: str) -> str:
        return s.add(pre, s.mul(cell, s.weight(H)) if peephole == "diagonal" else s.product(cell, H))

    if peephole:
        i, f = seen(i, c), seen(f, c)
    i, f, g = act(i), act(f), s.unary("tanh", g)
    i = s.minus(f) if coupled == "i=1-f" else i
    f = s.minus(i) if coupled == "f=1-i" else f
    new = s.add(s.mul(f, c), s.mul(i, g))
    new = s.unary("clip", new, alpha=-clip, beta=clip) if clip else new
    o = act(seen(o, new) if peephole else o)
    out = s.mul(o, s.unary(squash, new) if squash else new)
    out = s.product(out, P) if project else out
    return s.unary("clip", out, alpha=-bound, beta=bound) if bound else out, new


def gru(s: Speller, after: bool, blend: str = "z h", gate="sigmoid", h=""):
    h = h or s.states[0]
    act = s.ramp if gate == "ramp" else lambda v: s.unary(gate, v)
    z, r = (act(v) for v in s.gates(2, s.x, h))
    if after:
        n = s.add(s.linear(H, s.x), s.mul(r, s.linear(H, h)))
    else:
        n = s.linear(H, s.x, s.mul(r, h))
    n = s.unary("tanh", n)
    if blend == "difference":
        return s.add(n, s.mul(z, s.binary("sub", h, n)))
    return s.add(s.mul(z, n), s.mul(s.minus(z), h)) if blend == "z n" else s.add(s.mul(s.minus(z), n), s.mul(z, h))


def rnn(s: Speller, kind="tanh"):
    return s.unary(kind, s.linear(H, s.x, s.states[0]))


def states_of(cell):
    """The cell's new states, its h collected."""

    def spell(s: Speller):
        new = cell(s)
        new = [new] if isinstance(new, str) else list(new)
        return new, [new[0]]

    return spell


def masked(cell, output: str = "h"):
    """Every state kept where the mask is false; the output the state, zeros, or a third state that repeats itself."""

    def spell(s: Speller):
        new = cell(s)
        new = [new] if isinstance(new, str) else list(new)
        kept = [s.chosen(n, old) for n, old in zip(new, s.states)]
        if output == "h":
            return kept, [kept[0]]
        if output == "zero":
            return kept, [s.chosen(new[0], s.zero())]
        again = s.chosen(new[0], s.states[-1])
        return [*kept, again], [again]

    return spell


def inverted(s: Speller):
    new = lstm(s)
    off = s.unary("not", s.mask)
    kept = [s.op("Where", off, old, n) for n, old in zip(new, s.states)]
    return kept, [kept[0]]


def residual_output(s: Speller):
    h, c = lstm(s)
    return [h, c], [s.add(h, s.product(s.x, H)), h]


def head_inside(s: Speller):
    """Scores and their softmax in every step, and the last step's scores carried."""
    h = gru(s, True)
    scores = s.linear(7, h)
    return [h, scores], [s.op("Softmax", scores, axis=-1)]


def layer_before(s: Speller):
    x = s.unary("relu", s.linear(6, s.x))
    h, c = lstm(s, s.unary("relu", s.linear(3, x)))
    return [h, c], [h]


def normalised_input(s: Speller):
    x = s.op("Normalize", s.x, s.weight(INPUTS), s.weight(INPUTS), axes=[-1], epsilon=1e-5, kind="layer")
    h, c = lstm(s, x)
    return [h, c], [h]


def with_context(s: Speller):
    """Something that is the same in every trip beside the frame."""
    h, c = lstm(s, s.op("Concat", s.x, s.context, axis=-1))
    return [h, c], [h]


def added_as_it_is(s: Speller):
    """The input's product was made before the loop."""
    whole = s.op("Slice", s.x, axes=[-1], starts=[0], ends=[H])
    h = s.unary("tanh", s.add(whole, s.product(s.states[0], H)))
    return [h], [h]


def stacked(s: Speller):
    h1, c1, h2, c2 = s.states
    first = lstm(s, h=h1, c=c1)
    second = lstm(s, x=first[0], h=h2, c=c2)
    return [*first, *second], [second[0]]


def stacked_with_residual(s: Speller):
    h1, c1, h2 = s.states
    first = lstm(s, h=h1, c=c1)
    x = s.add(first[0], s.linear(H, s.x))
    second = s.unary("tanh", s.linear(H, x, h2))
    return [*first, second], [s.add(second, x)]


@dataclass(frozen=True)
class Case:
    spell: object
    ops: str  # the recurrences, in order
    states: tuple[int, ...]
    attrs: dict
    weights: tuple[str, ...] = ()  # optional weights that must be there
    zeros: int = 0  # how many of the states, from the end, start as zeros


def one(cell, op: str, states: int | tuple, *weights: str, zeros: int = 0, **attrs) -> Case:
    widths = (H,) * states if isinstance(states, int) else states
    return Case(cell, op, widths, attrs, weights, zeros)


def lstm_of(**how):
    return lambda s: lstm(s, **how)


CASES = {
    "lstm": one(states_of(lstm), "LSTM", 2, coupled=None, cell_clip=None),
    "lstm with hard gates": one(states_of(lstm_of(gate="ramp")), "LSTM", 2),
    "lstm that squashes nothing": one(states_of(lstm_of(squash="")), "LSTM", 2),
    "lstm of relu": one(states_of(lstm_of(squash="relu")), "LSTM", 2),
    "coupled i=1-f": one(states_of(lstm_of(coupled="i=1-f")), "LSTM", 2, coupled="i=1-f"),
    "coupled f=1-i": one(states_of(lstm_of(coupled="f=1-i")), "LSTM", 2, coupled="f=1-i"),
    "coupled hard gates": one(states_of(lstm_of(gate="ramp", coupled="i=1-f")), "LSTM", 2, coupled="i=1-f"),
    "diagonal peepholes": one(states_of(lstm_of(peephole="diagonal")), "LSTM", 2, "peephole"),
    "full peepholes": one(states_of(lstm_of(peephole="full")), "LSTM", 2, "peephole"),
    "clip": one(states_of(lstm_of(clip=0.4)), "LSTM", 2, cell_clip=0.4),
    "clip and peepholes": one(states_of(lstm_of(clip=0.4, peephole="diagonal")), "LSTM", 2, "peephole", cell_clip=0.4),
    "projection": one(states_of(lstm_of(project=True)), "LSTM", (P, H), "w_proj"),
    "bounded projection": one(states_of(lstm_of(project=True, bound=0.1)), "LSTM", (P, H), "w_proj", proj_clip=0.1),
    "projection, clip, peepholes": one(
        states_of(lstm_of(project=True, clip=0.4, peephole="diagonal")), "LSTM", (P, H), "w_proj", "peephole"
    ),
    "masked lstm": one(masked(lstm), "LSTM", 2, masked_output=None),
    "masked lstm, zeroed": one(masked(lstm, "zero"), "LSTM", 2, masked_output="zero"),
    "masked lstm, output carried": one(masked(lstm, "again"), "LSTM", 3, zeros=1, masked_output=None),
    "masked lstm, inverted": one(inverted, "LSTM", 2, masked_output=None),
    "masked lstm with peepholes and clip": one(
        masked(lstm_of(clip=0.4, peephole="diagonal"), "zero"), "LSTM", 2, "peephole", masked_output="zero"
    ),
    "masked lstm with projection": one(masked(lstm_of(project=True), "zero"), "LSTM", (P, H), "w_proj"),
    "masked lstm, coupled": one(masked(lstm_of(coupled="i=1-f")), "LSTM", 2, coupled="i=1-f"),
    "gru, reset after": one(states_of(lambda s: gru(s, True)), "GRU", 1, reset_after=1),
    "gru, reset before": one(states_of(lambda s: gru(s, False)), "GRU", 1, reset_after=0),
    "gru, n + z (h - n)": one(states_of(lambda s: gru(s, True, "difference")), "GRU", 1, reset_after=1),
    "gru, z n + (1 - z) h": one(states_of(lambda s: gru(s, False, "z n")), "GRU", 1, reset_after=0),
    "gru with hard gates": one(states_of(lambda s: gru(s, True, "z n", "ramp")), "GRU", 1, reset_after=1),
    "masked gru": one(masked(lambda s: gru(s, True)), "GRU", 1, reset_after=1),
    "masked gru, zeroed": one(masked(lambda s: gru(s, False, "difference"), "zero"), "GRU", 1, masked_output="zero"),
    "masked gru, output carried": one(masked(lambda s: gru(s, True), "again"), "GRU", 2, zeros=1, masked_output=None),
    "rnn": one(states_of(rnn), "RNN", 1),
    "rnn of relu": one(states_of(lambda s: rnn(s, "relu")), "RNN", 1),
    "masked rnn, zeroed": one(masked(rnn, "zero"), "RNN", 1, masked_output="zero"),
    "residual output": one(residual_output, "LSTM", 2),
    "head in the step": one(head_inside, "GRU", (H, 7)),
    "layers before in the step": one(layer_before, "LSTM", 2),
    "normalised input": one(normalised_input, "LSTM", 2),
    "input added as it is": one(added_as_it_is, "RNN", 1),
    "context of the whole loop": one(with_context, "LSTM", 2),
    "stack of two": Case(stacked, "LSTM LSTM", (H,) * 4, {}),
    "stack of two kinds with residuals": Case(stacked_with_residual, "LSTM RNN", (H,) * 3, {}),
}


def body_of(s: Speller, following: list[str], outputs: list[str], backward: bool = False) -> Body:
    carried = [Carried(r, w, Value("float32", tensor=f"first_{r}")) for r, w in zip(s.states, following)]
    frames = {
        s.x: Frame(Value("float32", tensor="xs"), 0, backward),
        s.mask: Frame(Value("bool", tensor="masks"), 0, backward),
    }
    context = {s.context: Value("float32", tensor="outside")}
    return Body(s.graph, context, frames, carried, outputs=outputs, total=FRAMES)


def loop_around(s: Speller) -> Dialect:
    d = Dialect()
    d.graph.input("xs", (FRAMES, BATCH, INPUTS), tensor="xs")
    d.graph.input("masks", (FRAMES, BATCH, 1), "bool", tensor="masks")
    d.graph.input("outside", (BATCH, 2), tensor="outside")
    return d


def states_start(d: Dialect, body: Body, zeros: int) -> None:
    """The first values of the states: inputs, and zeros for the last ones."""
    for n, c in enumerate(body.carried):
        shape = body.graph.shape(c.read)
        if n >= len(body.carried) - zeros:
            c.initial = d.fill(0.0, shape)
        else:
            d.graph.input(c.initial.tensor, shape, tensor=c.initial.tensor)


def check(case: Case, way: Way, backward: bool = False) -> None:
    s = Speller(way, list(case.states))
    body = body_of(s, *case.spell(s), backward)
    d = loop_around(s)
    states_start(d, body, case.zeros)
    spelling = recognised(body)
    assert [m.cell.op for m in spelling.matches] == case.ops.split()
    cell = spelling.matches[0].cell
    assert {k: cell.attrs.get(k) for k in case.attrs} == case.attrs
    assert set(case.weights) == set(cell.weights) & {"peephole", "w_proj"}
    collected, last = emit(d, body, spelling)
    for n, value in enumerate(collected):
        d.graph.output(f"y{n}", d.tensor(value))
    for c in body.carried:
        d.graph.output(f"last_{c.read}", d.tensor(last[c.read]))
    against_the_body(s, body, d.graph, backward)


def against_the_body(s: Speller, body: Body, graph: Graph, backward: bool) -> None:
    """The ops' answers against the body run trip by trip."""
    rng = np.random.default_rng(1)
    sequences = {"xs": rng.normal(size=(STEPS, ROWS, INPUTS)), "masks": rng.random((STEPS, ROWS, 1)) < 0.6}
    outside = rng.normal(size=(ROWS, 2))
    width = {c.read: s.graph.shape(c.read)[-1] for c in body.carried}
    given = {p.tensor for p in graph.inputs}
    state = {r: rng.normal(size=(ROWS, w)) if f"first_{r}" in given else np.zeros((ROWS, w)) for r, w in width.items()}
    whole = {**sequences, "outside": outside, **{f"first_{r}": v for r, v in state.items() if f"first_{r}" in given}}
    found = reference.run(graph, whole)[0]
    for n, c in enumerate(body.carried):
        s.graph.output(f"next{n}", c.write)
    for n, o in enumerate(body.outputs):
        s.graph.output(f"out{n}", o)
    rows = []
    for t in range(STEPS)[:: -1 if backward else 1]:
        frame = {"x": sequences["xs"][t], "mask": sequences["masks"][t], "context": outside}
        after = reference.run(s.graph, {**frame, **state})[0]
        state = {c.read: after[f"next{n}"] for n, c in enumerate(body.carried)}
        rows.append([after[f"out{n}"] for n in range(len(body.outputs))])
    for n in range(len(body.outputs)):
        np.testing.assert_allclose(found[f"y{n}"], np.stack([r[n] for r in rows]), atol=2e-6)
    for read, value in state.items():
        np.testing.assert_allclose(found[f"last_{read}"], value, atol=2e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_cell(name, way):
    check(CASES[name], WAYS[way])


@pytest.mark.parametrize("name", ["lstm", "masked gru, zeroed", "residual output", "head in the step", "stack of two"])
def test_backwards(name):
    check(CASES[name], PLAIN, backward=True)


def test_joined_weights_and_late_biases():
    """[h, x] W, split, bias after the split, n + z (h - n), for a batch of one."""
    rng = np.random.default_rng(0)
    hidden, features = 3, 2
    w, u = rng.standard_normal((2 * hidden, hidden + features)), rng.standard_normal((hidden, hidden + features))
    g = Graph()
    x, h = g.input("frame", (1, features)), g.input("carried0", (1, hidden))
    both = g.add1("Dense", [g.add1("Concat", [h, x], {"axis": 1}), g.constant(w)])
    r, z = (g.add1("Slice", [both], {"axes": [1], "starts": [n], "ends": [n + hidden]}) for n in (0, hidden))
    z = g.add1("Unary", [g.add1("Binary", [z, g.constant(np.ones(hidden))], {"kind": "add"})], {"kind": "sigmoid"})
    r = g.add1("Unary", [r], {"kind": "sigmoid"})
    n = g.add1("Concat", [g.add1("Binary", [r, h], {"kind": "mul"}), x], {"axis": 1})
    n = g.add1("Unary", [g.add1("Dense", [n, g.constant(u)])], {"kind": "tanh"})
    difference = g.add1("Binary", [h, n], {"kind": "sub"})
    new = g.add1("Binary", [n, g.add1("Binary", [z, difference], {"kind": "mul"})], {"kind": "add"})
    d = Dialect()
    xs, h0 = d.graph.input("x", (1, 1, features)), d.graph.input("h0", (1, hidden))
    carried = Carried("carried0", new, Value("float32", tensor=h0))
    body = Body(g, {}, {"frame": Frame(Value("float32", tensor=xs), 0)}, [carried], outputs=[new])
    (match,) = (spelling := recognised(body)).matches
    assert (match.cell.op, match.cell.attrs["reset_after"], match.new["h"].width) == ("GRU", 0, hidden)
    (y,), _ = emit(d, body, spelling)
    d.graph.output("y", y.tensor)
    values = {"frame": rng.standard_normal((1, features)), "carried0": rng.standard_normal((1, hidden))}
    trace: dict = {}
    reference.run(g, values, None, trace)
    out, _ = reference.run(d.graph, {"x": values["frame"][None], "h0": values["carried0"]})
    np.testing.assert_allclose(out["y"][0], trace[new], atol=1e-6)


# ---- what is no cell ---------------------------------------------------------------------------------------------------


def refused(spell, states: int, reason: str) -> None:
    s = Speller(PLAIN, [H] * states)
    with pytest.raises(NotACell, match=reason):
        recognised(body_of(s, *spell(s)))


def test_what_is_no_cell_says_why():
    def sine(s):
        x = s.op("Slice", s.x, axes=[-1], starts=[0], ends=[H])
        return [s.mul(x, s.unary("sin", s.states[0]))], []

    refused(sine, 1, "sin is no activation; 's0' is carried from trip to trip")


def test_masks_that_keep_one_state_alone_are_no_cell():
    def half(s):
        h, c = lstm(s)
        return [s.chosen(h, s.states[0]), c], [h]

    refused(half, 2, "a mask keeps some of its states and not the others")


def test_a_mask_for_each_unit_is_no_mask():
    def by_unit(s):
        h = rnn(s)
        up = s.op("Binary", s.op("Slice", s.x, axes=[-1], starts=[0], ends=[H]), s.number(0.0), kind="greater")
        return [s.op("Where", up, h, s.states[0])], []

    refused(by_unit, 1, "truth value for each row")


def test_outputs_masked_in_two_ways_are_no_cell():
    def both(s):
        (h, c), outputs = masked(lstm)(s)
        return [h, c], [*outputs, s.chosen(lstm(s)[0], s.zero())]

    refused(both, 2, "carried from trip to trip|zeros and another")


def test_a_cell_that_reads_another_ones_previous_state_is_no_stack():
    def backwards(s):
        h1, c1, h2, c2 = s.states
        first = lstm(s, x=s.op("Concat", s.x, h2, axis=-1), h=h1, c=c1)
        return [*first, *lstm(s, x=first[0], h=h2, c=c2)], [first[0]]

    refused(backwards, 4, "carried from trip to trip")
