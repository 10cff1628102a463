"""Files of weights without a network, and the networks that describe them in TOML, as a Graph."""

from __future__ import annotations

from collections.abc import Mapping

from ...files.pickles import PACKAGE_MARK
from ...files.safetensors import is_safetensors
from ..importer import Importer, Setting, Source


def _claims(source: Source) -> str | None:
    if source.is_live:  # a state dict
        value = source.value
        return "torch" if isinstance(value, Mapping) and value and all(isinstance(k, str) for k in value) else None
    head = source.head
    if is_safetensors(head, source.size):
        return "safetensors"
    archive = bool(source.entries) and all(n.endswith(".npy") for n in source.entries)
    if archive or head.startswith(b"\x93NUMPY"):
        return "npz"
    pickled = any(n.endswith(("data.pkl", PACKAGE_MARK)) for n in source.entries)
    legacy = len(head) > 1 and head[0] == 0x80 and head[1] in range(2, 6)  # a pickle
    return "torch" if pickled or legacy else None


IMPORTER = Importer(
    module=f"{__name__}.model",
    claims=_claims,
    extensions={
        **dict.fromkeys((".pt", ".pth", ".ckpt", ".tar", ".bin"), "torch"),
        **{".safetensors": "safetensors", ".npz": "npz", ".npy": "npz", ".toml": "network"},
    },
    options=("network", "options", "assume"),
    suggests=True,
    settings=(
        Setting("key", "the entry of a checkpoint that holds the network"),
        Setting("head", "what the layers after the last recurrence see", ("last", "every", "mean", "final")),
        Setting(
            "activation",
            "between the Linear layers of a state dict",
            ("relu", "tanh", "sigmoid", "gelu", "elu", "silu", "linear", "leaky_relu"),
        ),
        Setting(
            "output",
            "after the last layer of a state dict",
            ("linear", "softmax", "log_softmax", "sigmoid", "tanh", "relu"),
        ),
        Setting("nonlinearity", "of an RNN in a state dict", ("tanh", "relu")),
    ),
)
