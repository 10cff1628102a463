"""Functions of one number, of any shape."""

from __future__ import annotations

from math import erf
from typing import Any

import numpy as np

from conformance.case import Case, Later, given
from conformance.spelled import NONE, by_name

torch, F = Later("torch"), Later("torch.nn.functional")
K, L = Later("keras.ops"), Later("keras.layers")
erf_of = np.vectorize(erf)
ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805  # of SELU


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def softplus(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.log1p(np.exp(x)))


def relu(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(x, 0))


def elu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    return np.where(x < 0, alpha * np.expm1(x), x)


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


def silu(x: np.ndarray) -> np.ndarray:
    return np.asarray(x * sigmoid(x))


def shrink(x: np.ndarray, limit: float, bias: float) -> np.ndarray:
    return np.where(x > limit, x - bias, np.where(x < -limit, x + bias, 0))


# Name, what goes in, the answer; then the operator of ONNX, torch, keras.ops, TFLite and the kind of the core's Unary.
FUNCTIONS: list[tuple[str, str, Any, Any, Any, Any, Any, Any]] = [
    ("abs", "normal", np.abs, "Abs", "abs", "abs", "ABS", "abs"),
    ("neg", "normal", np.negative, "Neg", "neg", "negative", "NEG", "neg"),
    ("sqrt", "positive", np.sqrt, "Sqrt", "sqrt", "sqrt", "SQRT", "sqrt"),
    ("rsqrt", "positive", lambda x: 1 / np.sqrt(x), NONE, "rsqrt", "rsqrt", "RSQRT", NONE),
    ("square", "normal", np.square, NONE, "square", "square", "SQUARE", NONE),
    ("reciprocal", "positive", lambda x: 1 / x, "Reciprocal", "reciprocal", "reciprocal", NONE, "reciprocal"),
    ("exp", "normal", np.exp, "Exp", "exp", "exp", "EXP", "exp"),
    ("exp2", "normal", np.exp2, NONE, "exp2", "exp2", NONE, NONE),
    ("expm1", "normal", np.expm1, NONE, "expm1", "expm1", NONE, NONE),
    ("log", "positive", np.log, "Log", "log", "log", "LOG", "log"),
    ("log1p", "positive", np.log1p, NONE, "log1p", "log1p", NONE, NONE),
    ("log2", "positive", np.log2, NONE, NONE, "log2", NONE, NONE),
    ("log10", "positive", np.log10, NONE, "log10", "log10", NONE, NONE),
    ("sin", "normal", np.sin, "Sin", "sin", "sin", "SIN", "sin"),
    ("cos", "normal", np.cos, "Cos", "cos", "cos", "COS", "cos"),
    ("tan", "unit", np.tan, "Tan", "tan", "tan", NONE, "tan"),
    ("asin", "unit", np.arcsin, "Asin", "asin", "arcsin", NONE, "asin"),
    ("acos", "unit", np.arccos, "Acos", "acos", "arccos", NONE, "acos"),
    ("atan", "normal", np.arctan, "Atan", "atan", "arctan", NONE, "atan"),
    ("sinh", "normal", np.sinh, "Sinh", "sinh", "sinh", NONE, "sinh"),
    ("cosh", "normal", np.cosh, "Cosh", "cosh", "cosh", NONE, "cosh"),
    ("tanh", "normal", np.tanh, "Tanh", "tanh", "tanh", "TANH", "tanh"),
    ("asinh", "normal", np.arcsinh, "Asinh", "asinh", "arcsinh", NONE, NONE),
    ("acosh", "above_one", np.arccosh, "Acosh", "acosh", "arccosh", NONE, NONE),
    ("atanh", "unit", np.arctanh, "Atanh", "atanh", "arctanh", NONE, NONE),
    ("erf", "normal", erf_of, "Erf", "erf", "erf", NONE, "erf"),
    ("floor", "normal", np.floor, "Floor", "floor", "floor", "FLOOR", "floor"),
    ("ceil", "normal", np.ceil, "Ceil", "ceil", "ceil", "CEIL", "ceil"),
    ("round", "normal", np.round, "Round", "round", "round", "ROUND", "round"),
    ("trunc", "normal", np.trunc, NONE, "trunc", "trunc", NONE, NONE),
    ("sign", "normal", np.sign, "Sign", "sign", "sign", "SIGN", "sign"),
    ("sigmoid", "normal", sigmoid, "Sigmoid", "sigmoid", "sigmoid", "LOGISTIC", "sigmoid"),
    ("log_sigmoid", "normal", lambda x: -softplus(-x), NONE, "logsigmoid", "log_sigmoid", NONE, NONE),
    ("relu", "normal", relu, "Relu", "relu", "relu", "RELU", "relu"),
    ("relu6", "normal", lambda x: np.clip(x, 0, 6), NONE, "relu6", "relu6", "RELU6", "relu6"),
    ("softplus", "normal", softplus, "Softplus", "softplus", "softplus", NONE, "softplus"),
    ("softsign", "normal", lambda x: x / (1 + np.abs(x)), "Softsign", "softsign", "softsign", NONE, "softsign"),
    ("mish", "normal", lambda x: x * np.tanh(softplus(x)), "Mish", "mish", NONE, NONE, "mish"),
    ("silu", "normal", silu, lambda o, x: o("Swish", x, alpha=1.0), "silu", "silu", NONE, "silu"),
    (
        "hard_silu",
        "normal",
        lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
        "HardSwish",
        "hardswish",
        "hard_silu",
        "HARD_SWISH",
        "hard_silu",
    ),
    ("tanh_shrink", "normal", lambda x: x - np.tanh(x), NONE, "tanhshrink", "tanh_shrink", NONE, NONE),
    ("relu_n1_to_1", "normal", lambda x: np.clip(x, -1, 1), NONE, "hardtanh", "hard_tanh", "RELU_N1_TO_1", NONE),
    ("is_nan", "normal", np.isnan, "IsNaN", "isnan", "isnan", NONE, "is_nan"),
    ("is_inf", "normal", np.isinf, "IsInf", "isinf", "isinf", NONE, NONE),
    ("is_finite", "normal", np.isfinite, NONE, "isfinite", "isfinite", NONE, NONE),
    ("not", "bool", np.logical_not, "Not", "logical_not", "logical_not", "LOGICAL_NOT", "not"),
    ("abs of integers", "ints", np.abs, "Abs", "abs", "abs", "ABS", "abs"),
    ("neg of integers", "ints", np.negative, "Neg", "neg", "negative", "NEG", "neg"),
    ("identity", "normal", lambda x: x, "Identity", "clone", lambda x: L.Identity()(x), NONE, NONE),
]

# As above, with parameters.
PARAMETRIC: list[tuple[str, str, Any, Any, Any, Any, Any, Any]] = [
    (
        "hard_sigmoid",
        "normal",
        lambda x: np.clip(x / 6 + 0.5, 0, 1),
        lambda o, x: o("HardSigmoid", x, alpha=1 / 6, beta=0.5),
        "hardsigmoid",
        "hard_sigmoid",
        NONE,
        lambda n, x: n("Unary", x, kind="hard_sigmoid", alpha=1 / 6, beta=0.5),
    ),
    (
        "leaky_relu",
        "normal",
        lambda x: np.where(x < 0, 0.3 * x, x),
        lambda o, x: o("LeakyRelu", x, alpha=0.3),
        lambda x: F.leaky_relu(x, 0.3),
        lambda x: K.leaky_relu(x, 0.3),
        lambda t, x: t("LEAKY_RELU", x, alpha=0.3),
        lambda n, x: n("activation", x, activation={"kind": "leaky_relu", "alpha": 0.3}),
    ),
    (
        "elu",
        "normal",
        lambda x: elu(x),
        "Elu",
        "elu",
        "elu",
        "ELU",
        lambda n, x: n("Unary", x, kind="elu", alpha=1.0),
    ),
    (
        "elu with alpha",
        "normal",
        lambda x: elu(x, 0.5),
        lambda o, x: o("Elu", x, alpha=0.5),
        lambda x: F.elu(x, 0.5),
        lambda x: K.elu(x, 0.5),
        "no alpha",
        lambda n, x: n("Unary", x, kind="elu", alpha=0.5),
    ),
    (
        "celu",
        "normal",
        lambda x: relu(x) + np.minimum(0, 0.7 * np.expm1(x / 0.7)),
        lambda o, x: o("Celu", x, alpha=0.7),
        lambda x: F.celu(x, 0.7),
        lambda x: K.celu(x, 0.7),
        NONE,
        lambda n, x: n("Unary", x, kind="celu", alpha=0.7),
    ),
    (
        "selu",
        "normal",
        lambda x: SCALE * elu(x, ALPHA),
        "Selu",
        "selu",
        "selu",
        NONE,
        lambda n, x: n("Unary", x, kind="selu", alpha=ALPHA, beta=SCALE),
    ),
    (
        "gelu",
        "normal",
        lambda x: x / 2 * (1 + erf_of(x / np.sqrt(2))),
        "Gelu",
        "gelu",
        lambda x: K.gelu(x, approximate=False),
        lambda t, x: t("GELU", x, approximate=False),
        "gelu",
    ),
    (
        "gelu by tanh",
        "normal",
        gelu_tanh,
        lambda o, x: o("Gelu", x, approximate="tanh"),
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: K.gelu(x, approximate=True),
        lambda t, x: t("GELU", x, approximate=True),
        "gelu_tanh",
    ),
    (
        "clip",
        "normal",
        lambda x: np.clip(x, -0.5, 0.75),
        lambda o, x: o("Clip", x, -0.5, 0.75),
        lambda x: torch.clamp(x, -0.5, 0.75),
        lambda x: K.clip(x, -0.5, 0.75),
        "no bounds of its own",
        lambda n, x: n("Unary", x, kind="clip", alpha=-0.5, beta=0.75),
    ),
    (
        "clip from below",
        "normal",
        lambda x: np.maximum(x, 0.25),
        lambda o, x: o("Clip", x, 0.25),
        lambda x: torch.clamp(x, min=0.25),
        "both bounds or none",
        "no bounds of its own",
        NONE,
    ),
    (
        "thresholded_relu",
        "normal",
        lambda x: np.where(x > 0.4, x, 0),
        lambda o, x: o("ThresholdedRelu", x, alpha=0.4),
        lambda x: F.threshold(x, 0.4, 0.0),
        lambda x: K.threshold(x, 0.4, 0.0),
        NONE,
        lambda n, x: n("Unary", x, kind="thresholded_relu", alpha=0.4),
    ),
    (
        "hard_shrink",
        "normal",
        lambda x: shrink(x, 0.4, 0.0),
        lambda o, x: o("Shrink", x, lambd=0.4, bias=0.0),
        lambda x: F.hardshrink(x, 0.4),
        lambda x: K.hard_shrink(x, 0.4),
        NONE,
        NONE,
    ),
    (
        "soft_shrink",
        "normal",
        lambda x: shrink(x, 0.4, 0.4),
        lambda o, x: o("Shrink", x, lambd=0.4, bias=0.4),
        lambda x: F.softshrink(x, 0.4),
        lambda x: K.soft_shrink(x, 0.4),
        NONE,
        NONE,
    ),
    (
        "cast to integers",
        "normal",
        np.trunc,
        lambda o, x: o("Cast", x, to=6),
        lambda x: x.to(torch.int32),
        lambda x: K.cast(x, "int32"),
        lambda t, x: t("CAST", x, dtype="int32"),
        lambda n, x: n("Cast", x, to="int32"),
    ),
    (
        "cast to bool",
        "bits",
        lambda x: x != 0,
        lambda o, x: o("Cast", x, to=9),
        lambda x: x.to(torch.bool),
        lambda x: K.cast(x, "bool"),
        lambda t, x: t("CAST", x, dtype="bool"),
        lambda n, x: n("Cast", x, to="bool"),
    ),
    (
        "cast of bool",
        "bool",
        lambda x: x.astype(float),
        lambda o, x: o("Cast", x, to=1),
        lambda x: x.to(torch.float32),
        lambda x: K.cast(x, "float32"),
        lambda t, x: t("CAST", x, dtype="float32"),
        lambda n, x: n("Cast", x, to="float32"),
    ),
    (
        "glu",
        "normal",
        lambda x: x[..., :2] * sigmoid(x[..., 2:]),
        NONE,
        lambda x: F.glu(x, -1),
        lambda x: K.glu(x, -1),
        NONE,
        NONE,
    ),
    (
        "softmax-free zeros of its shape",
        "normal",
        np.zeros_like,
        lambda o, x: o("ConstantOfShape", o("Shape", x)),
        lambda x: torch.zeros_like(x),
        lambda x: K.zeros_like(x),
        "ZEROS_LIKE",
        NONE,
    ),
]

CASES: list[Case] = [
    by_name(name, (given("B T 4", kind),), answer, *spellings) for name, kind, answer, *spellings in FUNCTIONS
] + [by_name(name, (given("B T 4", kind),), answer, *spellings) for name, kind, answer, *spellings in PARAMETRIC]
