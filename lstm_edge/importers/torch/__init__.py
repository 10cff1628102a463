"""PyTorch models as a Graph."""

from collections.abc import Mapping

from ...files.safetensors import is_safetensors
from ..importer import Importer, Setting, Source


def _claims(source: Source) -> str | None:
    if source.is_live:  # a state dict
        value = source.value
        return "torch" if isinstance(value, Mapping) and value and all(isinstance(k, str) for k in value) else None
    if is_safetensors(source.head, source.size):
        return "safetensors"
    archive = any(n.endswith(("data.pkl", "archive_format")) for n in source.entries)
    head = source.head
    legacy = len(head) > 1 and head[0] == 0x80 and head[1] in range(2, 6)  # a pickle
    return "torch" if archive or legacy else None


IMPORTER = Importer(
    module=f"{__name__}.model",
    claims=_claims,
    extensions={
        **dict.fromkeys((".pt", ".pth", ".ckpt", ".tar", ".bin", ".pt2"), "torch"),
        ".safetensors": "safetensors",
    },
    live={"torch": "torch"},
    options=("shapes", "example", "options"),
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
