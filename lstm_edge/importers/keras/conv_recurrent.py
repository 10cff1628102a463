"""ConvLSTM1D and ConvLSTM2D of Keras, one way or both ways."""

from __future__ import annotations

from ..dialect import Value, movement, windows
from ..dialect.image_recurrences import conv_lstm
from ..dialect.recurrences import KERAS_GATES
from . import recurrent
from .config import Layer
from .conv import window_of
from .emit import Call, Emit, Masked, Rule, spatial_rank
from .recurrent import Flags, arguments, gate_activations

CONV_RECURRENT = ("ConvLSTM1D", "ConvLSTM2D")


def conv_recurrent(e: Emit, layer: Layer, call: Call) -> list[Masked]:
    """(B,T,*S,C) -> (B,T,*S,F), or the last frame's (B,*S,F); then the states where they are asked for."""
    x, initial = arguments(e, layer, call)
    flags, rank = Flags(e, layer), spatial_rank(layer)
    if x.mask:
        raise e.unsupported("a mask over the frames of images", "leave out the Masking, or pad with frames that count")
    if e.rank(x.value) != rank + 3 or len(initial) not in (0, 2):
        raise e.unsupported(
            f"input {e.shape(x.value)} with {len(initial)} initial states",
            f"expected (batch, frames, {rank} sizes and channels) with none or two",
        )
    first = layer.config.word("data_format", ("channels_last", "channels_first"), "channels_last") == "channels_first"
    images = movement.move_axes(e, e.real(x.value), [2], [-1]) if first else e.real(x.value)
    filters, size = layer.config.size("filters"), layer.config.sizes("kernel_size", rank)
    gates = len(KERAS_GATES["LSTM"])
    kernel = layer.weight("kernel", (*size, None, gates * filters))
    fed_back = layer.weight("recurrent_kernel", (*size, filters, gates * filters))
    layer.config.take("use_bias")
    bias = layer.weight("bias", (gates * filters,)) if "bias" in layer.weights else None
    run = conv_lstm(
        e,
        movement.flip(e, images, [1]) if flags.go_backwards else images,
        windows.kernel_first(kernel),
        windows.kernel_first(fed_back),
        bias,
        gates=KERAS_GATES["LSTM"],
        activations=gate_activations(layer, "LSTM"),
        initial=[_laid_out(e, e.real(s), 1, -1, first) for s in initial],
        **window_of(layer),
    )
    e.named(run.y)
    assert run.c_n is not None
    y = run.y if flags.return_sequences else movement.squeeze(e, run.h_n, [0])
    out = _laid_out(e, y, -1, 2 if flags.return_sequences else 1, first)
    states = [movement.squeeze(e, s, [0]) for s in (run.h_n, run.c_n)] if flags.return_state else []
    return [Masked(out), *(Masked(_laid_out(e, s, -1, 1, first)) for s in states)]


def bidirectional(e: Emit, layer: Layer, call: Call) -> list[Masked]:
    """Both directions of a ConvLSTM; of any other layer as recurrent.py has it."""
    if not all(child.cls in CONV_RECURRENT for child in layer.children):
        return recurrent.bidirectional(e, layer, call)
    mode, (x, initial) = recurrent.merge_mode(e, layer), arguments(e, layer, call)
    half = len(initial) // 2
    ways = []
    for n, child in enumerate(layer.children):
        states = [Masked(s) for s in initial[half * n : half * (n + 1)]]
        ways.append(conv_recurrent(e, child, Call([x, *states])))
    pair = [way[0].value for way in ways]
    if layer.children[0].config.flag("return_sequences"):
        pair[1] = movement.flip(e, pair[1], [1])
    return [*(Masked(y) for y in recurrent.merge(e, pair, mode)), *(state for way in ways for state in way[1:])]


def _laid_out(e: Emit, x: Value, source: int, target: int, moves: bool) -> Value:
    """x with its channels moved, where the layer has them first."""
    return movement.move_axes(e, x, [source], [target]) if moves else x


RULES: dict[str, Rule] = {**dict.fromkeys(CONV_RECURRENT, conv_recurrent), "Bidirectional": bidirectional}
