"""What of a model is not supported: all of it in one refusal, before anything is built."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import UnsupportedModelError
from .. import plugins
from . import ops
from .activations import known_activation
from .config import CELL_OPS, MODELS, Layer
from .layers import HANDLERS
from .operation import kind_of
from .recurrent import gate_activations
from .weights import walk

MOST_LISTED = 20
_HOLDERS = (*MODELS, *CELL_OPS, "InputLayer", "TimeDistributed", "StackedRNNCells")
ADVICE = {
    "Lambda": "it holds Python code, which is never run; replace it by layers or keras.ops and save again",
    "ConvLSTM3D": "rebuild it with ConvLSTM2D",
}


def check_supported(model: Layer) -> None:
    """UnsupportedModelError that names every layer, operation and activation of the tree that has no meaning here."""
    unknown = [text for layer in walk(model) for text in _problems(layer)]
    if unknown:
        more = [f"... and {len(unknown) - MOST_LISTED} more"] if len(unknown) > MOST_LISTED else []
        raise UnsupportedModelError("\n".join([*unknown[:MOST_LISTED], *more]))


def _problems(layer: Layer) -> Iterator[str]:
    if layer.rule is not None:
        return
    known = kind_of(layer) in ops.RULES if layer.is_op else layer.cls in HANDLERS or layer.cls in _HOLDERS
    if layer.custom or not known:
        yield _unknown(layer)
        return
    try:
        _check_activations(layer)
    except UnsupportedModelError as why:
        yield str(why)


def _unknown(layer: Layer) -> str:
    kind = "custom class" if layer.custom else "operation" if layer.is_op else "layer"
    advice = ADVICE.get(layer.written, "rebuild the model from standard layers, or export it to ONNX")
    name = kind_of(layer) if layer.is_op else layer.written
    called = layer.name if layer.written == "Lambda" else layer.written
    door = "" if layer.is_op else f"; or {plugins.way_out(f'register_layer({called!r}, rule)')}"
    return f"{layer.place}: {kind} {name} is not supported; {advice}{door}"


def _check_activations(layer: Layer) -> None:
    if layer.is_op:
        return
    if layer.cls in CELL_OPS or layer.cls.startswith("ConvLSTM"):
        gate_activations(layer, CELL_OPS.get(layer.cls, "LSTM"))
    elif "activation" in layer.config.values and layer.cls != "RNN":
        known_activation(layer.config.values["activation"], layer)
