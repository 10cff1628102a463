"""What the tests of the dialect share: one meaning on known values, on run-time ones of fixed sizes and of open ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lstm_edge import reference
from lstm_edge.importers.dialect import Dialect, Value, known
from lstm_edge.ir.dims import Dim, Size

Meaning = Callable[[Dialect, Value], "Value | list[Value]"]


def arrays_of(d: Dialect, result: Value | list[Value], x: np.ndarray | None) -> list[np.ndarray]:
    """The results of a meaning as arrays: known ones as they are, others run by the reference on x."""
    values = result if isinstance(result, list) else [result]
    for n, value in enumerate(values):
        d.graph.output(f"y{n}", d.tensor(value))
    d.graph.drop_unused()
    answers, _ = reference.run(d.graph, {} if x is None else {"x": x})
    return [answers[f"y{n}"] for n in range(len(values))]


def run_time(meaning: Meaning, x: np.ndarray, sizes: Sequence[Size] | None = None) -> list[np.ndarray]:
    """The answers on an input of these sizes (those of x without them)."""
    d = Dialect()
    dtype = {"f": "float32", "i": "int32", "b": "bool"}[x.dtype.kind]
    tensor = d.graph.input("x", tuple(sizes or x.shape), dtype)
    return arrays_of(d, meaning(d, Value(dtype, tensor=tensor)), x)


def everywhere(meaning: Meaning, x: np.ndarray, *wanted: np.ndarray, open_axes: Sequence[int] = (), tol: float = 1e-5):
    """Checks the answers on known values, on run-time ones of fixed sizes, and with each of `open_axes` left open."""
    d = Dialect()
    result = meaning(d, known(x))
    values = result if isinstance(result, list) else [result]
    assert all(v.is_known for v in values) and not d.graph.nodes, "known values made an op"
    ways = [[v.data for v in values], run_time(meaning, x)]
    for n, axis in enumerate(open_axes):
        name = ("batch", "frames")[n % 2]
        ways.append(run_time(meaning, x, [Dim.symbol(name) if a == axis else s for a, s in enumerate(x.shape)]))
    for found in ways:
        for got, want in zip(found, wanted, strict=True):
            assert got.shape == want.shape, (got.shape, want.shape)
            np.testing.assert_allclose(got, want, rtol=tol, atol=tol)
