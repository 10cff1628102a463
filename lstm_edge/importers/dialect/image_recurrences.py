"""ConvLSTM over rows or images: the input's convolution over all frames at once, then the recurrence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.ops import GATES
from . import movement, windows
from .builder import Dialect
from .recurrences import Activation, Run, activation_attrs, core_gates, reordered
from .value import Value, known


def conv_lstm(
    d: Dialect,
    x: Value,
    kernel: np.ndarray,
    recurrent: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    gates: str = "",
    activations: Sequence[Activation] | None = None,
    initial: Sequence[Value] = (),
    **window: Any,
) -> Run:
    """x (B,T,*S,C) under kernel (4H,C,*K), recurrent (4H,H,*K) and bias (4H,), whose rows are in the order `gates`.

    initial: h and c (B,*S,H). window: strides, dilations and padding of the input's convolution, as windows.conv has
    them; the recurrent one keeps the size. The Run's y is (B,T,*S,H), its states (1,B,*S,H).
    """
    op = "ConvLSTM"
    own = core_gates(d, "LSTM", gates or GATES["LSTM"])
    kernel, recurrent = (reordered(d, np.asarray(w, np.float32), own, GATES["LSTM"]) for w in (kernel, recurrent))
    offset = None if bias is None else known(reordered(d, np.asarray(bias, np.float32), own, GATES["LSTM"]))
    frames = d.shape(x)[:2]
    sums = windows.conv(d, movement.merge_axes(d, x, 0, 1), known(kernel), offset, channels_last=True, **window)
    sums = d.reshape(sums, [*frames, *d.shape(sums)[1:]])
    starts = [None if d.uniform(state) == 0 else movement.unsqueeze(d, state, [0]) for state in initial]
    attrs = activation_attrs(d, op, activations, 1)
    y, h_n, c_n = d.emit_all(op, [sums, known(recurrent), *starts], attrs, ["float32"] * 3)
    return Run(y, h_n, c_n, False)
