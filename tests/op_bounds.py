"""How far an op of the core may be from the float64 oracle.

Bounds, u = 2^-24 being float32's unit roundoff:
- what moves, compares, counts or is one IEEE operation: equal to the oracle's answer rounded to float32;
- elementwise functions: 8u |y|, that is 8 ulp, and with it 4e-7 where a sigmoid, tanh or exp - 1 may cancel (the
  kernels' promise), times 1 + |x| for x sigmoid(x) and its like;
- sums of n products (dense, convolution, recurrence, reductions): a float32 sum is the exact sum of inputs each changed
  a little, and with data of random signs by about sqrt(n) u (Higham and Mary, "A new approach to probabilistic rounding
  error analysis", 2019). So the oracle runs on inputs and weights changed at random by sqrt(n) u, and CONDITION times
  the largest change of its answer is allowed, plus 4e-7 + 8u |y| for an activation: random changes, not the worst;
- int8 weights: the core rounds each row of x to 1/127 of its largest, so the changes are by that much; and every ISA
  gives the same bits.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from strategies import SUMS, Case

from lstm_edge import reference

U = 2.0**-24
CONDITION = 12
EXACT = {
    "linear",
    "relu",
    "neg",
    "abs",
    "sqrt",
    "floor",
    "ceil",
    "round",
    "reciprocal",
    "sign",
    "clip",
    "relu6",
    "is_nan",
    "not",
    "thresholded_relu",
    "max",
    "min",
}
RELATIVE = {"exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "erf", "pow"}
TIMES_X = {"silu", "gelu", "gelu_tanh", "hard_silu", "mish", "leaky_relu"}
# x f(x) with f(-inf) = 0, or inf / inf: the formula gives NaN where the limit is a number, frameworks differ.
UNDEFINED_AT_INFINITY = {"silu", "gelu", "gelu_tanh", "hard_silu", "mish", "softsign"}


def terms(case: Case) -> float:
    """How many rounded operations lead to one element of the answer, about."""
    node, shape = case.graph.nodes[0], case.inputs["x0"].shape
    sizes = [case.graph.shape(i) if i else () for i in node.inputs]
    if node.op in ("LSTM", "GRU", "RNN"):
        return 8 + sizes[1][2] + sizes[2][2]
    if node.op in ("Conv", "ConvTranspose"):
        return 8 + math.prod(sizes[1][1:] if node.op == "Conv" else (sizes[1][0], *sizes[1][2:]))
    if node.op == "Dense":
        return 8 + shape[-1]
    if node.op == "MatMul":
        return 8 + sizes[0][-2 if node.attrs.get("trans_a") else -1]
    if node.op == "Pool":
        return 8 + math.prod(node.attrs["kernel"])
    axes = node.attrs.get("axes", range(len(shape)) if node.op == "Reduce" else [node.attrs.get("axis", -1)])
    return 8 + math.prod(shape[a] for a in axes)


def holds_int8(case: Case) -> bool:
    return any(t.dtype == "int8" for t in case.graph.tensors.values())


def changed(case: Case, rng: np.random.Generator) -> Case:
    """The case in float64 with every float changed at random, as much as the core's rounding stands for."""
    size = 1 / 127 if holds_int8(case) else math.sqrt(terms(case)) * U

    def change(a: np.ndarray) -> np.ndarray:
        if a.dtype.kind != "f":
            return a
        reach = np.abs(a).max(axis=-1, keepdims=True, initial=0) if holds_int8(case) else a
        return a + np.where(np.isfinite(a), size * reach, 0) * rng.uniform(-1, 1, a.shape)

    graph = copy.deepcopy(case.graph)
    for t in graph.tensors.values():
        if t.is_constant:
            t.data, t.scale = change(reference.constant(t)), None
    return Case(graph, {n: change(a.astype(np.float64) if a.dtype.kind == "f" else a) for n, a in case.inputs.items()})


def allowance(case: Case, expected: dict, seed: int = 0) -> dict[str, np.ndarray | float]:
    """The allowed difference of each float output from the oracle's."""
    node, x = case.graph.nodes[0], case.inputs["x0"]
    kind = node.attrs.get("kind")
    rounds = node.op in SUMS or node.op == "Unary" or kind == "pow" or node.attrs.get("reduction") == "add"
    if not rounds or kind in EXACT:
        return dict.fromkeys(expected, 0.0)
    near = 0.0 if kind in RELATIVE else 4e-7 * (1 + np.minimum(np.abs(x), 10)) if kind in TIMES_X else 4e-7
    with np.errstate(invalid="ignore", over="ignore"):
        bounds = {
            n: np.where(np.isfinite(y), near + 8 * U * np.abs(y), 0.0)
            for n, y in expected.items()
            if y is not None and y.dtype.kind == "f"
        }
    if node.op in ("Unary", "Binary"):
        return bounds
    rng = np.random.default_rng(seed)
    largest = dict.fromkeys(bounds, 0.0)
    for _ in range(3):
        other = changed(case, rng)
        moved, _ = reference.run(other.graph, other.inputs)
        for n in bounds:
            with np.errstate(invalid="ignore"):  # -inf stays -inf
                largest[n] = max(largest[n], np.nan_to_num(np.abs(moved[n] - expected[n])).max(initial=0))
    return {n: bound + CONDITION * largest[n] for n, bound in bounds.items()}


def assert_matches(case: Case, found: dict, expected: dict, isa: str) -> None:
    bounds = allowance(case, expected)
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        have = found[name]
        assert (have is None) == (want is None), (isa, name)
        if want is None:
            continue
        assert have.shape == want.shape
        if want.dtype.kind != "f":
            assert have.dtype == want.dtype
            np.testing.assert_array_equal(have, want, err_msg=isa)
            continue
        assert have.dtype == np.float32
        with np.errstate(over="ignore", invalid="ignore"):
            want32 = want.astype(np.float32)
            same = (have == want32) | (np.isnan(have) & np.isnan(want)) | (np.abs(have - want) <= bounds[name])
            node = case.graph.nodes[0]
            if node.op == "Unary" and node.attrs["kind"] in UNDEFINED_AT_INFINITY:
                same |= np.isinf(next(iter(case.inputs.values())))
        if not same.all():
            at = np.unravel_index(int(np.argmin(same)), same.shape)
            bound = np.broadcast_to(bounds[name], same.shape)[at]
            pytest.fail(
                f"{isa} {node.op} {node.attrs} {name}{list(at)}: expected {want[at]!r}, found {have[at]!r}, "
                f"bound {bound:.3g}"
            )


def assert_same_bits(a: np.ndarray | None, b: np.ndarray | None) -> None:
    assert (a is None) == (b is None)
    if a is not None:
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()
