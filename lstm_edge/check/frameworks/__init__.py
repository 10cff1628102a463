"""The frameworks that run the sources: each file knows one, and imports it only when it is asked to run a model.

A framework answers a Question about a file in a process of its own (check/child.py), about a live object in this one.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.graph import Graph

# Packages that have LiteRT's Interpreter -> the module it is in, and the name that an answer bears.
LITERT = {
    "ai_edge_litert": ("ai_edge_litert.interpreter", "LiteRT"),
    "tflite_runtime": ("tflite_runtime.interpreter", "tflite_runtime"),
    "tensorflow": ("tensorflow.lite", "TensorFlow Lite of tensorflow"),
}


@dataclass(frozen=True)
class Framework:
    """module: the file here that runs it. packages: any of them will do. install: what to give to pip."""

    name: str
    module: str
    packages: tuple[str, ...]
    install: str


FRAMEWORKS = {
    "onnx": Framework("onnxruntime", "onnx", ("onnxruntime",), "onnxruntime"),
    "torch": Framework("torch", "torch", ("torch",), "torch"),
    "keras": Framework("keras", "keras", ("keras",), "keras torch"),
    "tf_keras": Framework("tf_keras", "keras", ("tf_keras",), "tf_keras"),
    "tflite": Framework("LiteRT", "tflite", tuple(LITERT), "ai-edge-litert"),
}


def framework_of(kind: str, graph: Graph) -> Framework | None:
    """What runs sources of this kind; None where no framework does."""
    return FRAMEWORKS.get(keras_package(graph) if kind == "keras" else kind)


def keras_package(graph: Graph) -> str:
    """The package that runs what this Keras made ('keras 2.15.0'): Keras 3 loads some files of Keras 2 and then computes
    something else, tf_keras is Keras 2."""
    producer = graph.metadata.get("source", {}).get("producer", "")
    return "keras" if producer.removeprefix("keras ").split(".")[0] in ("3", "") else "tf_keras"
