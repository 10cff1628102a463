"""The calls of torch's dynamically quantised modules, whose weights of 8 or 16 bits lie in packed objects.

Activations, which torch rounds to 8 bits before each product, are float32 here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ....files import packed_weights
from ....files.pickles import Inert
from ...dialect import Value, known
from ..program import Step, leaves

if TYPE_CHECKING:
    from .machine import Machine

ROUNDING = 3e-2  # of an output's scale: activations of 7 or 8 bits, over a stack of layers
WHY = "torch's rounding of activations to 8 bits before it multiplies (dynamic quantisation)"


def _aten(m: Machine, name: str, args: list[Any]) -> Any:
    """The call on float32 weights, which are the ones known among the arguments."""
    weights = [v.data for v in leaves(args) if isinstance(v, Value) and v.is_known and v.data.ndim == 2]
    if all(np.array_equal(w, w.astype(np.float16)) for w in weights):
        m.low.note("weights of 16 bits became the float32 numbers that they stand for")
    else:
        m.low.note(f"weights of 8 bits became the float32 numbers that they stand for; answers differ by {WHY}")
        m.low.rounds(ROUNDING, WHY)
    step = Step(f"aten.{name}", [], {}, f"{name}.{m.steps}", m.place)
    return m.low.invoke(step, m.memory.now(args), {})


def _linear(m: Machine, x: Value, packed: Inert, *_: Any) -> Value:
    weight, bias = packed_weights.linear(packed)
    made: Value = _aten(m, "linear", [x, known(weight), None if bias is None else known(bias)])
    return made


def _linear_relu(m: Machine, x: Value, packed: Inert, *_: Any) -> Any:
    return m.aten("relu", [_linear(m, x, packed)])


def _sequence(name: str) -> Callable[..., Any]:
    def lowered(m: Machine, x: Any, *args: Any, **_: Any) -> Any:
        at = next(n for n, a in enumerate(args) if _is_cells(a))
        weights = [known(w) for packed in args[at] for w in packed_weights.cell(packed)]
        return _aten(m, name, [x, *args[:at], weights, *args[at + 1 :]])

    return lowered


def _is_cells(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(packed_weights.kind_of(v) for v in value)


def _cell(name: str) -> Callable[..., Any]:
    def lowered(m: Machine, x: Value, hx: Any, w_ih: Inert, w_hh: Inert, b_ih: Any = None, b_hh: Any = None) -> Any:
        # The biases that count are those packed beside the weights.
        (i, own_ih), (h, own_hh) = (packed_weights.linear(w) for w in (w_ih, w_hh))
        biases = [given if own is None else known(own) for own, given in ((own_ih, b_ih), (own_hh, b_hh))]
        return _aten(m, name, [x, hx, known(i), known(h), *biases])

    return lowered


CALLS: dict[str, Callable[..., Any]] = {
    "aten.quantized_lstm": _sequence("lstm"),
    "aten.quantized_gru": _sequence("gru"),
    "quantized.linear_dynamic": _linear,
    "quantized.linear_dynamic_fp16": _linear,
    "quantized.linear_relu_dynamic": _linear_relu,
    "quantized.linear_relu_dynamic_fp16": _linear_relu,
    "quantized.quantized_lstm_cell_dynamic": _cell("lstm_cell"),
    "quantized.quantized_gru_cell_dynamic": _cell("gru_cell"),
    "quantized.quantized_rnn_tanh_cell_dynamic": _cell("rnn_tanh_cell"),
    "quantized.quantized_rnn_relu_cell_dynamic": _cell("rnn_relu_cell"),
}
