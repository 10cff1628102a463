"""Spellings by the operator's name alone, where a format needs no more than that."""

from __future__ import annotations

from typing import Any

from conformance.case import Case, Input, Later

F, K = Later("torch.nn.functional"), Later("keras.ops")
NONE = "none"  # the format has no such operator


def by_name(
    name: str,
    inputs: tuple[Input, ...],
    answer: Any,
    onnx: Any = NONE,
    torch: Any = NONE,
    keras: Any = NONE,
    tflite: Any = NONE,
    network: Any = NONE,
    tflite_dtype: str = "",
    raw: str = "Unary",
) -> Case:
    """A case whose spellings may be given as the operator's name in the format. raw: the op that has `network` as a kind."""
    has = {"onnx": onnx, "torch": torch, "keras": keras, "tflite": tflite, "network": network}
    ways: dict[str, Any] = {
        "onnx": lambda o, *x: o(onnx, *x),
        "torch": lambda *x: _of_torch(torch)(*x),
        "keras": lambda *x: getattr(K, keras)(*x),
        "tflite": lambda t, *x: t(tflite, *x, dtype=tflite_dtype),
        "network": lambda n, *x: n(raw, *x, kind=network),
    }
    spellings = {f: ways[f] if isinstance(s, str) and s != NONE and " " not in s else s for f, s in has.items()}
    return Case(name, inputs, answer, **spellings)


def _of_torch(name: str) -> Any:
    """torch.relu, or torch.nn.functional.relu6 where torch itself has no such function."""
    library = Later("torch")
    return getattr(library, name, None) or getattr(F, name)


def weighted(layer: Any, weights: list[Any], *inputs: Any, **keywords: Any) -> Any:
    """A Keras layer on its inputs, with these weights."""
    y = layer(*inputs, **keywords)
    layer.set_weights(weights)
    return y
