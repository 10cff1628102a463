"""From a trained module to the file that a device runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn
from torch.utils import _pytree as pytree

from .. import format, load
from .._core import Model
from ..check.frameworks.torch import called, version
from ..check.self_test import make_self_test
from ..convert import to_graph
from ..errors import LstmEdgeError
from ..ir.graph import Graph, Port, SelfTest
from ..ir.notes import TRAINED_IN_INT8
from ..ir.ops import op_spec
from ..passes.edit import note
from ..quantize import OpReport, QuantizeReport, bytes_of, narrow_bytes
from ..reference.samples import difference, is_framed
from .arguments import copy_of

# What the converter itself says in a file.
TAKEN = set(
    f"arithmetic converter lengths outputs overlap pairs ports quantization ranges self_test source streaming {TRAINED_IN_INT8}".split()
)


def export(
    module: nn.Module,
    path: str | os.PathLike[str] | None = None,
    example: Any = None,
    *,
    metadata: Mapping[str, Any] | None = None,
    names: Sequence[str] | None = None,
) -> Model:
    """Converts a module, checks the result against it, and returns the Model; `path`: where the .lstm file is written.

    example: an input that forward takes (a tensor; a tuple or a dict of several); without it one is made up from the first layer.
    The module itself stays as it is, on its device and in its mode. metadata: JSON values that the file carries beside the ops;
    `quantize` keeps them; its notes come after the converter's. names: what the outputs are called in the file, in order; its inputs are called as forward's
    parameters. A module that went through `fake_quantize` gives an int8 file with the weights and scales of its training.
    Raises LstmEdgeError, UnsupportedModelError, OSError.
    """
    _check({} if metadata is None else metadata)
    if names is not None and (isinstance(names, str) or not all(isinstance(n, str) for n in _listed(names))):
        raise LstmEdgeError(f"names: expected a list of texts, found {names!r}")
    own = copy_of(module, "export")
    graph = to_graph(own, example=example)
    graph.self_test = make_self_test(graph, own, sample=_sample(graph, example))
    if graph.metadata.get(TRAINED_IN_INT8):
        graph.self_test = _by_torch(graph, own, graph.self_test)
        graph.metadata["quantization"] = _report(graph).as_metadata()
    if names is not None:
        _rename(graph, list(names))
    notes = [*graph.metadata["notes"], *(metadata or {}).get("notes", [])]
    graph.metadata.update(metadata or {}, notes=notes)
    if path is None:
        return load(format.to_bytes(graph))
    format.write(graph, path)
    return load(path)


def _listed(names: Any) -> list[Any]:
    try:
        return list(names)
    except TypeError:
        raise LstmEdgeError(f"names: expected a list of texts, found {names!r}") from None


def _check(metadata: Mapping[str, Any]) -> None:
    if not isinstance(metadata, Mapping):
        raise LstmEdgeError(f"metadata: expected a dictionary, found {type(metadata).__name__}")
    taken = [key for key in metadata if key in TAKEN]
    if taken:
        raise LstmEdgeError(f"metadata: {taken[0]!r} is what the converter writes there: choose another name")
    try:
        json.dumps(dict(metadata))
    except (TypeError, ValueError) as why:
        raise LstmEdgeError(f"metadata: expected what JSON can hold, found something else ({why})") from why


def _sample(graph: Graph, example: Any) -> dict[str, np.ndarray] | None:
    """The example as the core takes it, for the self-test; None where the graph's inputs are not simply those of forward."""
    arguments = graph.metadata["source"].get("arguments")
    if example is None or arguments is None or is_framed(graph):
        return None
    given = pytree.tree_leaves([(), example] if isinstance(example, Mapping) else [example])
    by_name = dict(zip(pytree.tree_leaves(arguments), given))
    if any(port.name not in by_name for port in graph.inputs):
        return None
    arrays = {p.name: np.asarray(_array(by_name[p.name])) for p in graph.inputs}
    return {p.name: arrays[p.name].astype(graph.tensors[p.tensor].dtype) for p in graph.inputs}


def _array(value: Any) -> Any:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _rename(graph: Graph, names: list[str]) -> None:
    """Gives the outputs other names, wherever they stand."""
    before = [port.name for port in graph.outputs]
    if len(names) != len(before) or len(set(names)) < len(names) or not all(names):
        raise LstmEdgeError(f"names: expected {len(before)} different names for the outputs {before}, found {names}")
    new = dict(zip(before, names))
    graph.outputs = [Port(new[p.name], p.tensor) for p in graph.outputs]
    if graph.self_test is not None:
        graph.self_test.outputs = {new.get(name, name): array for name, array in graph.self_test.outputs.items()}
    ports = graph.metadata["ports"]
    graph.metadata["ports"] = {**ports, "outputs": [new.get(name, name) for name in ports["outputs"]]}


# ---- int8 ------------------------------------------------------------------------------------------------------------


def _by_torch(graph: Graph, module: nn.Module, own: SelfTest) -> SelfTest:
    """The int8 file's own answers in torch's name, where torch in int8 arithmetic gives the same bits; else the distance is noted."""
    if is_framed(graph):
        return own
    by_torch = called(module, graph)(own.inputs)
    if all(np.array_equal(by_torch[name], array, equal_nan=True) for name, array in own.outputs.items()):
        return SelfTest(own.inputs, own.outputs, version(), own.tolerance)
    far = max(difference(by_torch[name], array) for name, array in own.outputs.items())
    note(graph, f"self-test: {version()} differs by up to {far:.2g} through what it computes beside the int8 layers")
    return own


def _report(graph: Graph) -> QuantizeReport:
    """What is int8 in the file. Training has seen the errors; there is no float32 model to measure them against."""
    ops = []
    for at, node in enumerate(graph.nodes):
        roles = op_spec(node).weights
        report = OpReport(node.op, node.name, at)
        for number, name in enumerate(node.inputs):
            tensor = graph.tensors[name] if name else None
            if tensor is None or tensor.data is None or op_spec(node).input_name(number) not in roles:
                continue
            report.bytes_before += 4 * tensor.data.size
            report.bytes_after += narrow_bytes(tensor)
            report.stored = "int8" if tensor.dtype == "int8" else report.stored
        if report.bytes_before:
            ops.append(report)
    saved = sum(op.bytes_before - op.bytes_after for op in ops)
    return QuantizeReport("int8", "training with fake_quantize", {}, ops, bytes_of(graph) + saved, bytes_of(graph))
