"""A Question answered in this process, by the framework's own file under frameworks/."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from importlib.util import find_spec

from ..ir.graph import Graph, Port
from ..reference.samples import Arrays
from .frameworks import keras, onnx, tflite, torch
from .frameworks.question import NO_NETWORK, Answer, NoFramework, Question
from .originals import original_answers

LONGEST_REASON = 300
WEIGHTS_ALONE = ("state dict", "network")


@dataclass(frozen=True)
class Framework:
    """packages: any of them will do. install: what to give to pip."""

    name: str
    packages: tuple[str, ...]
    install: str


FRAMEWORKS = {
    "onnx": Framework("onnxruntime", ("onnxruntime",), "onnxruntime"),
    "torch": Framework("torch", ("torch",), "torch"),
    "keras": Framework("keras", ("keras",), "keras torch"),
    "tf_keras": Framework("tf_keras", ("tf_keras",), "tf_keras"),
    "tflite": Framework("LiteRT", tuple(tflite.PACKAGES), "ai-edge-litert"),
}
RUNNERS = {"onnx": onnx.runner, "torch": torch.runner, "keras": keras.runner, "tflite": tflite.runner}


def framework_of(kind: str, graph: Graph) -> Framework | None:
    """What runs sources of this kind; None where no framework does."""
    producer = graph.metadata.get("source", {}).get("producer", "")
    return FRAMEWORKS.get(keras.package_of(producer) if kind == "keras" else kind)


def why_none(kind: str, graph: Graph) -> str:
    """Why no framework can answer for such a source here; '' where one can be asked. Nothing is imported."""
    framework = framework_of(kind, graph)
    if graph.metadata.get("source", {}).get("kind") in WEIGHTS_ALONE:
        return NO_NETWORK
    if framework is None:
        return f"no framework runs a {kind} file" if kind else "the source is not known"
    if not any(find_spec(p) for p in framework.packages):
        return f"{framework.name} is not installed; pip install {framework.install}"
    return ""


def answered(question: Question) -> Answer:
    """What the framework answers. Whatever it raises becomes the reason why there is no answer."""
    name = FRAMEWORKS[question.kind].name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a framework says of its own model is not for this library's user
            return _values(question) if question.values else _outputs(question)
    except NoFramework as why:
        return Answer(why=str(why))
    except ImportError as why:
        return Answer(why=f"{name} cannot be imported ({why})"[:LONGEST_REASON])
    except Exception as why:  # a framework raises anything on a model that this library reads
        reason = " ".join(f"{type(why).__name__}: {why}".split())
        return Answer(why=f"{name} did not run the model ({reason})"[:LONGEST_REASON], fault=True)


def _outputs(question: Question) -> Answer:
    runner, name = RUNNERS[question.kind](question.source, question.constants, question.graph)
    return Answer(original_answers(question.graph, runner, question.inputs), name)


def _values(question: Question) -> Answer:
    """The values of an ONNX model that have the names of the graph's outputs."""
    runner, name, names = onnx.values(question.source, question.constants, question.graph)
    wanted = [n for n in dict.fromkeys(names) if n in {p.name for p in question.graph.outputs}]
    shown = replace(question.graph, outputs=[Port(n, n) for n in wanted])
    answers: Arrays = original_answers(shown, runner, question.inputs) if wanted else {}
    return Answer(answers, name)
