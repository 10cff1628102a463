"""Recurrent layers: cells in NumPy as docs/ops.md has them, both directions, initial states, last states, lengths."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.case import Array, Case, Later, given
from conformance.cases.elementwise import sigmoid
from conformance.spell_torch import Built
from conformance.spelled import NONE, by_name, weighted

torch, L = Later("torch"), Later("keras.layers")

_RNG = np.random.default_rng(4)
INPUTS, HIDDEN = 3, 2
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


class Weights:
    """Of one direction, in torch's order of gates (ifgo, rzn): w (gates x H, I), r (gates x H, H), one bias."""

    def __init__(self, gates: int):
        self.w = _RNG.normal(0, 0.5, (gates * HIDDEN, INPUTS))
        self.r = _RNG.normal(0, 0.5, (gates * HIDDEN, HIDDEN))
        self.b = _RNG.normal(0, 0.5, gates * HIDDEN)

    def parts(self, order: list[int]) -> list[Array]:
        """w, r and b with their gates in another order."""
        rows = np.concatenate([np.arange(HIDDEN) + g * HIDDEN for g in order])
        return [self.w[rows], self.r[rows], self.b[rows]]


W = {kind: [Weights(gates), Weights(gates)] for kind, gates in GATES.items()}
ONNX_ORDER = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}
NO_MASKS = "has lengths, no masks"
KERAS_ORDER = {"LSTM": [0, 1, 2, 3], "GRU": [1, 0, 2], "RNN": [0]}


def step(kind: str, w: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """GRU: the reset gate is applied behind the product, and the bias of that product is 0."""
    zx, zh = x @ w.w.T + w.b, h @ w.r.T
    if kind == "RNN":
        return np.tanh(zx + zh), c
    if kind == "LSTM":
        i, f, g, o = np.split(zx + zh, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    (rx, ux, nx), (rh, uh, nh) = np.split(zx, 3, -1), np.split(zh, 3, -1)
    n, u = np.tanh(nx + sigmoid(rx + rh) * nh), sigmoid(ux + uh)
    return (1 - u) * n + u * h, c


def run(kind: str, x: Array, at: int = 0, h: Array | None = None, c: Array | None = None) -> list[Array]:
    """y (B,T,H), and the last h and c (B,H), of direction `at`."""
    zero = np.zeros((len(x), HIDDEN))
    h, c, ys = zero if h is None else h, zero if c is None else c, []
    for t in range(x.shape[1]):
        h, c = step(kind, W[kind][at], x[:, t], h, c)
        ys.append(h)
    return [np.stack(ys, 1), h, c]


def both(kind: str, x: Array) -> Array:
    return np.concatenate([run(kind, x)[0], run(kind, x[:, ::-1], 1)[0][:, ::-1]], -1)


def up_to(kind: str, x: Array, lengths: Array) -> Array:
    """y, zero behind each length."""
    y = run(kind, x)[0]
    return y * (np.arange(x.shape[1])[None] < lengths[:, None])[..., None]


def masked(kind: str, x: Array, mask: Array, zeroed: bool = False, at: int = 0) -> Array:
    """y (B,T,H): a masked frame changes no state; its output is the one before, or 0 where that is asked for."""
    h, c, ys = np.zeros((len(x), HIDDEN)), np.zeros((len(x), HIDDEN)), []
    for t in range(x.shape[1]):
        now = mask[:, t, None]
        new_h, new_c = step(kind, W[kind][at], x[:, t], h, c)
        h, c = np.where(now, new_h, h), np.where(now, new_c, c)
        ys.append(h * now if zeroed else h)
    return np.stack(ys, 1)


def both_masked(kind: str, x: Array, mask: Array) -> Array:
    """As Keras has it: what is masked gives 0."""
    back = masked(kind, x[:, ::-1], mask[:, ::-1], True, 1)[:, ::-1]
    return np.concatenate([masked(kind, x, mask, True), back], -1)


def onnx(o: Any, kind: str, x: Any, count: int = 1, lengths: Any = None, initial: tuple[Any, ...] = ()) -> list[Any]:
    """Y (B,T,count*H), Y_h (count,B,H) and Y_c of an ONNX node, which is time-major."""
    parts = [w.parts(ONNX_ORDER[kind]) for w in W[kind][:count]]
    wide = [np.stack(p) for p in zip(*parts)]
    bias = np.concatenate([wide[2], np.zeros_like(wide[2])], -1)
    more = {"linear_before_reset": 1} if kind == "GRU" else {}
    states = [o("Unsqueeze", s, [0]) for s in initial]
    y, *last = o(
        kind,
        o("Transpose", x, perm=[1, 0, 2]),
        *wide[:2],
        bias,
        lengths,
        *states,
        outputs=3 if kind == "LSTM" else 2,
        hidden_size=HIDDEN,
        direction="bidirectional" if count == 2 else "forward",
        **more,
    )
    return [o("Reshape", o("Transpose", y, perm=[2, 0, 1, 3]), [0, 0, count * HIDDEN]), *last]


def of_torch(kind: str, count: int = 1) -> Any:
    module = getattr(torch.nn, kind)(INPUTS, HIDDEN, batch_first=True, bidirectional=count == 2)
    for at, suffix in enumerate(["", "_reverse"][:count]):
        w = W[kind][at]
        zero = np.zeros_like(w.b)
        for name, array in (("weight_ih", w.w), ("weight_hh", w.r), ("bias_ih", w.b), ("bias_hh", zero)):
            getattr(module, f"{name}_l0{suffix}").data = torch.tensor(array).float()
    return module


def keras_weights(kind: str, at: int) -> list[Array]:
    w, r, b = W[kind][at].parts(KERAS_ORDER[kind])
    return [w.T, r.T, np.stack([b, np.zeros_like(b)]) if kind == "GRU" else b]


def of_keras(kind: str, **keywords: Any) -> Any:
    return getattr(L, {"RNN": "SimpleRNN"}.get(kind, kind))(HIDDEN, return_sequences=True, **keywords)


def tflite(t: Any, x: Any, count: int) -> Any:
    """LSTM, whose gates are inputs of their own."""
    inputs: list[Any] = [x]
    for w in W["LSTM"][:count]:
        inputs += [*np.split(w.w, 4), *np.split(w.r, 4), None, None, None, *np.split(w.b, 4), None, None]
    inputs += [t.variable(2, HIDDEN) for _ in range(2 * count)]
    if count == 1:
        return t("UNIDIRECTIONAL_SEQUENCE_LSTM", *inputs, None, None, None, None, activation=4, time_major=False)
    return t(
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        *inputs,
        *[None] * 9,
        activation=4,
        time_major=False,
        merge_outputs=True,
    )


def _torch_keys(kind: str, at: int) -> dict[str, Any]:
    return {"kernel": W[kind][at].w, "recurrent": W[kind][at].r, "bias": W[kind][at].b}


def _cases(kind: str) -> list[Case]:
    count = {"LSTM": 3, "GRU": 2, "RNN": 2}[kind]
    network = {"gates": "ifgo" if kind == "LSTM" else "rzn"} if kind != "RNN" else {}
    states = tuple(given("B 2") for _ in range(count - 1))
    mask = given("B T", "bool")
    tflite_word = NONE if kind == "GRU" else "reads its own states"
    return [
        by_name(
            kind,
            (given("B T 3"),),
            lambda x: run(kind, x)[0],
            lambda o, x: onnx(o, kind, x)[0],
            Built(lambda: of_torch(kind), lambda m, x: m(x)[0]),
            lambda x: weighted(of_keras(kind), keras_weights(kind, 0), x),
            _tflite_one(kind),
            lambda n, x: n(kind.lower(), x, **_torch_keys(kind, 0), **network),
        ),
        by_name(
            f"{kind}, both directions",
            (given("B T 3"),),
            lambda x: both(kind, x),
            lambda o, x: onnx(o, kind, x, 2)[0],
            Built(lambda: of_torch(kind, 2), lambda m, x: m(x)[0]),
            lambda x: weighted(L.Bidirectional(of_keras(kind)), [*keras_weights(kind, 0), *keras_weights(kind, 1)], x),
            (lambda t, x: tflite(t, x, 2)) if kind == "LSTM" else NONE,
            NONE,
        ),
        by_name(
            f"{kind}, last state",
            (given("B T 3"),),
            lambda x: run(kind, x)[1],
            lambda o, x: o("Squeeze", onnx(o, kind, x)[1], [0]),
            Built(lambda: of_torch(kind), lambda m, x: (m(x)[1][0] if kind == "LSTM" else m(x)[1]).squeeze(0)),
            lambda x: weighted(getattr(L, {"RNN": "SimpleRNN"}.get(kind, kind))(HIDDEN), keras_weights(kind, 0), x),
            NONE,
            lambda n, x: n(kind.lower(), x, **_torch_keys(kind, 0), returns="last", **network),
        ),
        by_name(
            f"{kind}, initial states",
            (given("B T 3"), *states),
            lambda x, *s: run(kind, x, 0, *s)[0],
            lambda o, x, *s: onnx(o, kind, x, initial=s)[0],
            Built(
                lambda: of_torch(kind),
                lambda m, x, *s: m(x, tuple(v[None] for v in s) if len(s) > 1 else s[0][None])[0],
            ),
            lambda x, *s: weighted(of_keras(kind), keras_weights(kind, 0), x, initial_state=list(s)),
            tflite_word,
            lambda n, x, *s: n(
                kind.lower(), x, **_torch_keys(kind, 0), **dict(zip(("initial_h", "initial_c"), s)), **network
            ),
        ),
        by_name(
            f"{kind}, mask",
            (given("B T 3"), mask),
            lambda x, m: masked(kind, x, m),
            NO_MASKS,
            NO_MASKS,
            lambda x, m: weighted(of_keras(kind), keras_weights(kind, 0), x, mask=m),
            NO_MASKS,
            NO_MASKS,
        ),
        by_name(
            f"{kind}, mask, zeroed",
            (given("B T 3"), mask),
            lambda x, m: masked(kind, x, m, True),
            NO_MASKS,
            NO_MASKS,
            lambda x, m: weighted(of_keras(kind, zero_output_for_mask=True), keras_weights(kind, 0), x, mask=m),
            NO_MASKS,
            NO_MASKS,
        ),
        by_name(
            f"{kind}, both directions, mask",
            (given("B T 3"), mask),
            lambda x, m: both_masked(kind, x, m),
            NO_MASKS,
            NO_MASKS,
            lambda x, m: weighted(
                L.Bidirectional(of_keras(kind)), [*keras_weights(kind, 0), *keras_weights(kind, 1)], x, mask=m
            ),
            NO_MASKS,
            NO_MASKS,
        ),
        by_name(
            f"{kind}, lengths",
            (given("B T 3"), given("B", "lengths")),
            lambda x, n: up_to(kind, x, n),
            lambda o, x, n: onnx(o, kind, x, lengths=o("Cast", n, to=6))[0],
            NONE,
            NONE,
            NONE,
            NONE,
        ),
    ]


def _tflite_one(kind: str) -> Any:
    if kind == "LSTM":
        return lambda t, x: tflite(t, x, 1)
    if kind == "GRU":
        return NONE
    w = W["RNN"][0]
    return lambda t, x: t(
        "UNIDIRECTIONAL_SEQUENCE_RNN", x, w.w, w.r, w.b, t.variable(2, HIDDEN), activation=4, time_major=False
    )


CASES: list[Case] = [case for kind in GATES for case in _cases(kind)]
