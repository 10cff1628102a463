"""Functions of two or more numbers: arithmetic, comparisons and logic, with broadcasting."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.case import Case, Later, given
from conformance.spelled import NONE, by_name, weighted

torch = Later("torch")
K, L = Later("keras.ops"), Later("keras.layers")

BATCHED = "every input has a batch"
LIKE = (given("B T 3"), given("B T 3"))
WIDER = (given("B T 3"), given("B 1 3"))  # broadcast over frames
INTS = (given("B T 3", "ints"), given("B T 3", "ints"))
BOOLS = (given("B T 3", "bool"), given("B T 3", "bool"))
SLOPE = np.array([0.1, -0.5, 2.0])
POSITIVE = (given("B T 3", "positive"), given("B T 3"))
DIVISOR = (given("B T 3"), given("B T 3", "positive"))


def prelu(x: np.ndarray, slope: np.ndarray) -> np.ndarray:
    return np.where(x < 0, slope * x, x)


# Name, inputs, the answer; then the operator of ONNX, torch, keras.ops, TFLite and the kind of the core's Binary.
BINARY: list[tuple[str, Any, Any, Any, Any, Any, Any, Any]] = [
    ("add", LIKE, np.add, "Add", "add", "add", "ADD", "add"),
    ("add, broadcast over frames", WIDER, np.add, "Add", "add", "add", "ADD", "add"),
    ("add of integers", INTS, np.add, "Add", "add", "add", "ADD", "add"),
    ("sub", LIKE, np.subtract, "Sub", "sub", "subtract", "SUB", "sub"),
    ("sub of a rank more", (given("T 3"), given("B T 3")), np.subtract, "Sub", "sub", BATCHED, "SUB", "sub"),
    ("mul", WIDER, np.multiply, "Mul", "mul", "multiply", "MUL", "mul"),
    ("mul of integers", INTS, np.multiply, "Mul", "mul", "multiply", "MUL", "mul"),
    ("div", DIVISOR, np.divide, "Div", "div", "divide", "DIV", "div"),
    ("pow", POSITIVE, np.power, "Pow", "pow", "power", "POW", "pow"),
    ("max", LIKE, np.maximum, "Max", "maximum", "maximum", "MAXIMUM", "max"),
    ("min", LIKE, np.minimum, "Min", "minimum", "minimum", "MINIMUM", "min"),
    ("max of integers", INTS, np.maximum, "Max", "maximum", "maximum", "MAXIMUM", "max"),
    ("mod", DIVISOR, np.mod, NONE, "remainder", "mod", "FLOOR_MOD", "mod"),
    ("fmod", DIVISOR, np.fmod, lambda o, a, b: o("Mod", a, b, fmod=1), "fmod", "fmod", NONE, "fmod"),
    ("floor_div", DIVISOR, np.floor_divide, NONE, "floor_divide", "floor_divide", "FLOOR_DIV", NONE),
    ("squared_difference", LIKE, lambda a, b: (a - b) ** 2, NONE, NONE, NONE, "SQUARED_DIFFERENCE", NONE),
    ("equal", INTS, np.equal, "Equal", "eq", "equal", "EQUAL", "equal"),
    ("not_equal", INTS, np.not_equal, NONE, "ne", "not_equal", "NOT_EQUAL", "not_equal"),
    ("less", LIKE, np.less, "Less", "lt", "less", "LESS", "less"),
    ("less of integers", INTS, np.less, "Less", "lt", "less", "LESS", "less"),
    ("less_equal", INTS, np.less_equal, "LessOrEqual", "le", "less_equal", "LESS_EQUAL", "less_equal"),
    ("greater", WIDER, np.greater, "Greater", "gt", "greater", "GREATER", "greater"),
    (
        "greater_equal",
        INTS,
        np.greater_equal,
        "GreaterOrEqual",
        "ge",
        "greater_equal",
        "GREATER_EQUAL",
        "greater_equal",
    ),
    ("and", BOOLS, np.logical_and, "And", "logical_and", "logical_and", "LOGICAL_AND", "and"),
    ("or", BOOLS, np.logical_or, "Or", "logical_or", "logical_or", "LOGICAL_OR", "or"),
    ("xor", BOOLS, np.logical_xor, "Xor", "logical_xor", "logical_xor", NONE, "xor"),
]
TO_BOOL = {"equal", "not_equal", "less", "less of integers", "less_equal", "greater", "greater_equal"}

CASES: list[Case] = [
    by_name(name, inputs, answer, *spellings, raw="Binary", tflite_dtype="bool" if name in TO_BOOL else "")
    for name, inputs, answer, *spellings in BINARY
] + [
    by_name(
        "prelu",
        (given("B T 3"),),
        lambda x: prelu(x, SLOPE),
        lambda o, x: o("PRelu", x, SLOPE),
        lambda x: torch.nn.functional.prelu(x.transpose(1, 2), torch.tensor(SLOPE).float()).transpose(1, 2),
        lambda x: weighted(L.PReLU(shared_axes=[1]), [SLOPE[None]], x),
        lambda t, x: t("PRELU", x, SLOPE),
        lambda n, x: n("prelu", x, slope=SLOPE),
    ),
    by_name(
        "sum of three",
        (given("B T 3"), given("B T 3"), given("B 1 3")),
        lambda a, b, c: a + b + c,
        "Sum",
        lambda a, b, c: a + b + c,
        lambda a, b, c: K.add(K.add(a, b), c),
        "all of one shape",
        lambda n, a, b, c: n("add", a, n("add", b, c)),
    ),
    by_name(
        "sum of three of one shape",
        LIKE,
        lambda a, b: 2 * a + b,
        lambda o, a, b: o("Sum", a, a, b),
        lambda a, b: a + a + b,
        lambda a, b: L.Add()([a, a, b]),
        lambda t, a, b: t("ADD_N", a, a, b),
        lambda n, a, b: n("add", a, a, b),
    ),
    by_name(
        "mean of two",
        LIKE,
        lambda a, b: (a + b) / 2,
        "Mean",
        NONE,
        lambda a, b: L.Average()([a, b]),
        NONE,
        NONE,
    ),
    by_name(
        "scalar on the left",
        (given("B T 3", "positive"),),
        lambda x: 2.5 - x,
        lambda o, x: o("Sub", 2.5, x),
        lambda x: torch.rsub(x, 2.5),
        lambda x: K.subtract(2.5, x),
        lambda t, x: t("SUB", 2.5, x),
        lambda n, x: n("Binary", 2.5, x, kind="sub"),
    ),
    by_name(
        "division of integers gives floats",
        (given("B T 3", "ints"),),
        lambda x: x / 4,
        "integers divided stay integers",
        lambda x: x / 4,
        lambda x: K.divide(x, 4),
        "integers divided stay integers",
        "integers divided stay integers",
    ),
    by_name(
        "where",
        (given("B T 3", "bool"), given("B T 3"), given("B 1 3")),
        np.where,
        "Where",
        "where",
        "where",
        "SELECT_V2",
        lambda n, c, a, b: n("Where", c, a, b),
        tflite_dtype="float32",
    ),
    by_name(
        "where of a number",
        (given("B T 1", "bool"), given("B T 3")),
        lambda c, a: np.where(c, a, -1),
        lambda o, c, a: o("Where", c, a, -1.0),
        lambda c, a: a.masked_fill(~c, -1.0),
        lambda c, a: K.where(c, a, -1.0),
        lambda t, c, a: t("SELECT_V2", c, a, -1.0, dtype="float32"),
        lambda n, c, a: n("Where", c, a, -1.0),
    ),
]
