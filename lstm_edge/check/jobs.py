"""A Question answered in this process, by the framework's own file under frameworks/."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ..answers import AFTER
from ..ir.graph import Graph, Port
from ..metadata import section
from ..reference.samples import Arrays
from .frameworks import framework_of
from .frameworks.question import NO_NETWORK, Answer, NoFramework, Question
from .originals import original_answers

LONGEST_REASON = 300
WEIGHTS_ALONE = ("state dict", "network")


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
    framework = framework_of(question.kind, question.graph)
    assert framework is not None
    name, module = framework.name, import_module(f".frameworks.{framework.module}", __package__)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a framework says of its own model is not for this library's user
            return _values(question, module) if question.values else _outputs(question, module)
    except NoFramework as why:
        return Answer(why=str(why))
    except ImportError as why:
        return Answer(why=f"{name} cannot be imported ({why})"[:LONGEST_REASON])
    except Exception as why:  # a framework raises anything on a model that this library reads
        reason = " ".join(f"{type(why).__name__}: {why}".split())
        return Answer(why=f"{name} did not run the model ({reason})"[:LONGEST_REASON], fault=True)


def _outputs(question: Question, module: Any) -> Answer:
    how = {"careful": True} if question.careful else {}
    runner, name = module.runner(question.source, question.constants, question.graph, **how)
    return Answer(original_answers(question.graph, runner, question.inputs), named(name, question.graph.metadata))


def named(name: str, metadata: Mapping[str, Any]) -> str:
    """What answered, and that the file's scalers and activations stood around it where the file has some."""
    scaled = metadata.get("scale") or metadata.get("unscale")
    name = f"{name} between the file's scalers in float64" if scaled else name
    activations = {str(about["activation"]) for about in section(metadata, AFTER).values() if "activation" in about}
    return " ".join([name, *(f"behind whom the file's {kind} stood in float64" for kind in sorted(activations))])


def _values(question: Question, module: Any) -> Answer:
    """The values of an ONNX model that have the names of the graph's outputs."""
    runner, name, names = module.values(question.source, question.constants, question.graph)
    wanted = [n for n in dict.fromkeys(names) if n in {p.name for p in question.graph.outputs}]
    shown = replace(question.graph, outputs=[Port(n, n) for n in wanted])
    answers: Arrays = original_answers(shown, runner, question.inputs) if wanted else {}
    return Answer(answers, named(name, question.graph.metadata))
