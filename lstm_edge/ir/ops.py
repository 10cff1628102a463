"""The table of ops, docs/ops.md as data: inputs, outputs, attributes with kinds and defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UnsupportedModelError

if TYPE_CHECKING:
    from .graph import Node

ACTIVATIONS = (
    "linear",
    "relu",
    "sigmoid",
    "tanh",
    "hard_sigmoid",
    "leaky_relu",
    "elu",
    "selu",
    "softplus",
    "softsign",
    "gelu",
    "gelu_tanh",
    "silu",
    "hard_silu",
    "mish",
    "thresholded_relu",
    "scaled_tanh",
    "affine",
    "celu",
    "relu6",
    "exp",
)
# How many of alpha, beta a function uses. Those have no default: a missing one is refused, never taken as 0.
PARAMETERS = {
    "hard_sigmoid": 2,
    "leaky_relu": 1,
    "elu": 1,
    "selu": 2,
    "thresholded_relu": 1,
    "scaled_tanh": 2,
    "affine": 2,
    "celu": 1,
    "clip": 2,
}

UNARY_FLOAT = (
    "neg",
    "abs",
    "sqrt",
    "log",
    "exp",
    "floor",
    "ceil",
    "round",
    "reciprocal",
    "sign",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "erf",
    "clip",
    "is_nan",
)
UNARY = (*ACTIVATIONS, *(k for k in UNARY_FLOAT if k not in ACTIVATIONS), "not")
UNARY_INT = ("neg", "abs", "sign", "clip", "relu")
BINARY_ARITHMETIC = ("add", "sub", "mul", "div", "pow", "min", "max", "mod", "fmod", "prelu")
BINARY_COMPARISON = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
BINARY_LOGIC = ("and", "or", "xor")
REDUCE = ("sum", "mean", "max", "min", "prod", "l1", "l2", "sum_square", "log_sum", "log_sum_exp")
RUN_DTYPES = ("float32", "int32", "bool")
MAX_RANK = 8
TO_END = 2**31 - 1  # a Slice's bound at or beyond it means to the end, whatever the size; at or below -TO_END, before x
# The blocks of rows of a recurrence's w_ih, w_hh and biases, a letter a gate, in the order they have in the file.
GATES = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"}


@dataclass(frozen=True)
class Each:
    """A default of as many `values` as the node needs: once per axis, direction or activation."""

    values: tuple


REQUIRED = object()


@dataclass(frozen=True)
class Attr:
    """`kind`: int, float, str, ints, floats or strs, as stored in the file. `words`: what strings may be."""

    kind: str
    default: Any = REQUIRED
    words: tuple[str, ...] | None = None


@dataclass(frozen=True)
class OpSpec:
    """`inputs` names the inputs in order: '?' ends an optional one, '...' one that repeats. `outputs` likewise.

    `weights`: numbers of the inputs that may be float16 or int8 constants.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ("y",)
    attrs: dict[str, Attr] = field(default_factory=dict)
    weights: tuple[int, ...] = ()

    @property
    def min_inputs(self) -> int:
        return sum(not i.endswith(("?", "...")) for i in self.inputs)

    @property
    def max_inputs(self) -> int:
        return 4096 if self.inputs[-1].endswith("...") else len(self.inputs)

    def input_name(self, index: int) -> str:
        return self.inputs[min(index, len(self.inputs) - 1)].rstrip("?.")

    def index(self, name: str) -> int:
        """The position of the input called `name` (without ? or ...); KeyError where the op has none."""
        for position in range(len(self.inputs)):
            if self.input_name(position) == name:
                return position
        raise KeyError(name)


def _spec(
    inputs: str, outputs: str = "y", weights: tuple[int, ...] = (), shared: dict[str, Attr] | None = None, **attrs: Attr
) -> OpSpec:
    return OpSpec(tuple(inputs.split()), tuple(outputs.split()), {**(shared or {}), **attrs}, weights)


def _int(default: Any = REQUIRED) -> Attr:
    return Attr("int", default)


def _float(default: Any = REQUIRED) -> Attr:
    return Attr("float", default)


def _word(words: tuple[str, ...], default: Any = REQUIRED) -> Attr:
    return Attr("str", default, words)


def _ints(*each: int) -> Attr:
    return Attr("ints", Each(each) if each else REQUIRED)


def _recurrent(*activations: str) -> dict[str, Attr]:
    return {
        "direction": _word(("forward", "reverse", "bidirectional"), "forward"),
        "time_major": _int(0),
        "activations": Attr("strs", Each(activations), ACTIVATIONS),
        "activation_alpha": Attr("floats", Each((0.0,))),
        "activation_beta": Attr("floats", Each((0.0,))),
        "clip": _float(0.0),
        "masked_output": _word(("previous", "zero"), "previous"),
    }


_ACTIVATION = {"activation": _word(ACTIVATIONS, "linear"), "alpha": _float(0.0), "beta": _float(0.0)}
_LAYOUT = {"layout": _word(("channels_first", "channels_last"), "channels_first")}
_CONV = {**_LAYOUT, "strides": _ints(1), "dilations": _ints(1), "pads": _ints(0), "groups": _int(1), **_ACTIVATION}
_DIMS_SPEC = {"shape": Attr("ints"), "from_input": _ints(-1), "from_axis": _ints(0)}

OPS: dict[str, OpSpec] = {
    "LSTM": _spec(
        "x w_ih w_hh bias? h0? c0? lengths? mask? peephole? w_proj?",
        "y h_n? c_n?",
        (1, 2, 9),
        shared=_recurrent("sigmoid", "sigmoid", "tanh", "sigmoid", "tanh"),
        coupled=_word(("none", "f=1-i", "i=1-f"), "none"),
        cell_clip=_float(0.0),
        proj_clip=_float(0.0),
    ),
    "GRU": _spec(
        "x w_ih w_hh bias_ih? bias_hh? h0? lengths? mask?",
        "y h_n?",
        (1, 2),
        shared=_recurrent("sigmoid", "sigmoid", "tanh"),
        reset_after=_int(1),
    ),
    "RNN": _spec("x w_ih w_hh bias? h0? lengths? mask?", "y h_n?", (1, 2), shared=_recurrent("tanh")),
    "Dense": _spec("x w bias?", weights=(1,), shared=_ACTIVATION),
    "MatMul": _spec("a b", trans_a=_int(0), trans_b=_int(0), scale=_float(1.0)),
    "Conv": _spec("x w bias?", weights=(1,), shared=_CONV),
    "ConvTranspose": _spec("x w bias?", weights=(1,), shared=_CONV, output_padding=_ints(0)),
    "Pool": _spec(
        "x",
        kind=_word(("max", "average")),
        kernel=_ints(),
        strides=_ints(1),
        dilations=_ints(1),
        pads=_ints(0),
        ceil_mode=_int(0),
        count_include_pad=_int(0),
        shared=_LAYOUT,
    ),
    "Normalize": _spec("x scale? bias?", axes=_ints(), epsilon=_float(), kind=_word(("layer", "rms"), "layer")),
    "Unary": _spec("x", kind=_word(UNARY), alpha=_float(0.0), beta=_float(0.0)),
    "Binary": _spec("a b", kind=_word(BINARY_ARITHMETIC + BINARY_COMPARISON + BINARY_LOGIC)),
    "Where": _spec("condition a b"),
    "Cast": _spec("x", to=_word(RUN_DTYPES)),
    "Reduce": _spec("x", kind=_word(REDUCE), axes=Attr("ints", ()), keepdims=_int(1)),
    "ArgReduce": _spec("x", kind=_word(("max", "min")), axis=_int(), keepdims=_int(1), select_last=_int(0)),
    "Softmax": _spec("x", axis=_int(-1), log=_int(0)),
    "CumSum": _spec("x", axis=_int(), exclusive=_int(0), reverse=_int(0)),
    "TopK": _spec("x", "values indices?", k=_int(), axis=_int(-1), largest=_int(1)),
    "Reshape": _spec("x sizes...", shared=_DIMS_SPEC),
    "Expand": _spec("x sizes...", shared=_DIMS_SPEC),
    "Fill": _spec("sizes...", shared=_DIMS_SPEC, value=_float(), dtype=_word(RUN_DTYPES, "float32")),
    "Transpose": _spec("x", perm=_ints()),
    "Concat": _spec("x...", axis=_int()),
    "Slice": _spec("x", axes=_ints(), starts=_ints(), ends=_ints(), steps=_ints(1)),
    "Pad": _spec("x", pads=_ints(), mode=_word(("constant", "reflect", "edge"), "constant"), value=_float(0.0)),
    "Tile": _spec("x", repeats=_ints()),
    "Gather": _spec("data indices", weights=(0,), axis=_int(0)),
    "GatherElements": _spec("data indices", axis=_int()),
    "ScatterElements": _spec("data indices updates", axis=_int(), reduction=_word(("none", "add"), "none")),
    "ReverseSequence": _spec("x lengths", batch_axis=_int(), time_axis=_int()),
    "Resize": _spec("x", scales=_ints(), mode=_word(("nearest",), "nearest")),
}


def place(node: Node) -> str:
    return f"node {node.name} ({node.op})"


def op_spec(node: Node) -> OpSpec:
    """The row of `node.op`; UnsupportedModelError when there is none."""
    spec = OPS.get(node.op)
    if spec is None:
        raise UnsupportedModelError(f"{place(node)}: unknown op, expected one of {', '.join(OPS)}")
    return spec


def input_of(node: Node, name: str) -> str:
    """The tensor that `node` reads as its input `name`, '' where it leaves that out; KeyError for a name its op lacks."""
    index = op_spec(node).index(name)
    return node.inputs[index] if index < len(node.inputs) else ""


def read_attrs(node: Node) -> dict[str, Any]:
    """All attributes of `node` in plain Python types, defaults filled in (Each defaults stay, see `each`).

    UnsupportedModelError for a name the op does not know, a value of the wrong kind, an unknown word, a missing value.
    """
    spec = op_spec(node)
    unknown = sorted(set(node.attrs) - set(spec.attrs))
    if unknown:
        raise UnsupportedModelError(
            f"{place(node)}: unknown attribute {unknown[0]!r}, expected only {', '.join(spec.attrs) or 'none'}"
        )
    values = {}
    for key, attr in spec.attrs.items():
        if key in node.attrs:
            values[key] = _plain(node, key, attr, node.attrs[key])
        elif attr.default is REQUIRED:
            raise UnsupportedModelError(f"{place(node)}: attribute {key!r} ({attr.kind}) is missing")
        else:
            values[key] = attr.default
    _check_parameters(node, values)
    return values


def each(value: Any, count: int) -> list:
    """The list itself, or an Each default repeated `count` times."""
    return list(value.values) * count if isinstance(value, Each) else list(value)


_PLAIN = {
    "int": lambda v: isinstance(v, (int, np.integer, np.bool_)),
    "float": lambda v: isinstance(v, (int, float, np.integer, np.floating)) and not isinstance(v, bool),
    "str": lambda v: isinstance(v, str),
}
_TYPES = {"int": int, "float": float, "str": str}


def _plain(node: Node, key: str, attr: Attr, value: Any) -> Any:
    single = attr.kind.rstrip("s")
    many = attr.kind != single
    items = list(value) if many and isinstance(value, (list, tuple, np.ndarray)) else [value]
    if (many and items and items[0] is value) or not all(_PLAIN[single](i) for i in items):
        raise UnsupportedModelError(f"{place(node)}: attribute {key!r}: expected {attr.kind}, found {value!r}")
    for item in items:
        if attr.words and item not in attr.words:
            raise UnsupportedModelError(
                f"{place(node)}: attribute {key!r}: expected one of {', '.join(attr.words)}, found {item!r}"
            )
    items = [_TYPES[single](i) for i in items]
    return items if many else items[0]


def _check_parameters(node: Node, values: dict[str, Any]) -> None:
    """Refuses an activation whose alpha or beta is used but not given."""
    names, prefix = values.get("activations", ()), "activation_"
    if "alpha" in values:
        names, prefix = (values.get("activation", values.get("kind")),), ""
    for name in names.values if isinstance(names, Each) else names:
        for parameter in ("alpha", "beta")[: PARAMETERS.get(name, 0)]:
            if prefix + parameter not in node.attrs:
                raise UnsupportedModelError(
                    f"{place(node)}: {name} needs attribute {prefix + parameter!r}, it is missing"
                )
