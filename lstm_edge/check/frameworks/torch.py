"""Torch: live modules and exported programs as they are, TorchScript files as torch.jit.load reads them, .pt2 files call by
call (exported.py)."""

from __future__ import annotations

import ast
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...files.zips import read_entry
from ...importers.torch.original import attributes, prepared, restore
from ...importers.torch.program import TOUCH_FILES
from ...ir.graph import Graph
from ...reference.samples import Arrays
from . import exported
from .question import NO_NETWORK, Bound, NoFramework, Runner, by_order, ports

OWN_OPERATORS = ("aten", "prim", "quantized")
LEGACY_TREE = "model.json"  # says itself where the code lies, which may be anywhere in the archive


def runner(source: Any, constants: dict[str, np.ndarray], graph: Graph) -> tuple[Runner, str]:
    import torch

    name = version()
    if isinstance(source, (str, bytes)):
        return _file_runner(source, graph), name
    if hasattr(source, "graph_signature"):  # an ExportedProgram; its guards name the sizes of the example
        return called(source.module(check_guards=False), graph), name
    if isinstance(source, torch.nn.Module):
        return called(prepared(source), graph), name
    raise NoFramework(NO_NETWORK)


def bound(source: Any, constants: dict[str, np.ndarray], graph: Graph, feed: Arrays) -> Bound:
    """Of a file. An exported program's calls are made one by one, which is what torch does with one that is not compiled."""
    import torch

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)

    def native(name: str, array: np.ndarray) -> Any:
        return torch.from_numpy(_for_torch(array))

    given = {n: native(n, a) for n, a in {**constants, **feed}.items()}
    loaded = _loaded(source, graph)
    arguments, names = _arguments(graph), ports(graph, "inputs")

    def call() -> list[Any]:
        if isinstance(loaded, torch.nn.Module):
            args, kwargs = _filled(arguments, given)
            return _tensors(loaded(*args, **kwargs))
        return _tensors(loaded([given[n] for n in names]))

    return Bound(version(), call, given, ports(graph, "outputs"), native, lambda tensor: _arrays(tensor)[0])


def version() -> str:
    import torch

    return f"torch {torch.__version__.split('+')[0]}"


def _file_runner(source: str | bytes, graph: Graph) -> Runner:
    import torch

    loaded = _loaded(source, graph)
    return called(loaded, graph) if isinstance(loaded, torch.nn.Module) else _by_calls(loaded, graph)


def _loaded(source: str | bytes, graph: Graph) -> Any:
    """The module of a TorchScript file; of an exported program what gives its outputs for its inputs."""
    import torch

    kind = graph.metadata.get("source", {}).get("kind", "")
    data = Path(source).read_bytes() if isinstance(source, str) else source
    if kind == "TorchScript":
        _refuse_what_touches_files(data)
        load: Callable[..., Any] = torch.jit.load
        return _in_float32(load(io.BytesIO(data), map_location="cpu").eval())
    if kind == "exported program":
        return exported.outputs(data)
    raise NoFramework(NO_NETWORK)


def _by_calls(outputs: Callable[[list[Any]], list[Any]], graph: Graph) -> Runner:
    import torch

    names = ports(graph, "inputs")

    def run(feed: Arrays) -> Arrays:
        with torch.no_grad():
            return by_order(graph, _arrays(outputs([torch.from_numpy(_for_torch(feed[n])) for n in names])))

    return run


def _refuse_what_touches_files(data: bytes) -> None:
    """NoFramework for TorchScript that names an operator of files, or one of a foreign library. torch.jit.load runs code
    of the file (__setstate__) while it loads it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()  # by entry: two may have one name, and torch finds names in either case
        if any(e.filename.lower().endswith(LEGACY_TREE) for e in entries):
            raise NoFramework(
                f"it holds a {LEGACY_TREE}, as TorchScript before 1.1 does, so that torch was not given the file"
            )
        code = [read_entry(archive, e, "the file") for e in entries if e.filename.lower().endswith(".py")]
    for node in (n for part in code for n in ast.walk(ast.parse(part)) if isinstance(n, ast.Attribute)):
        of_library = isinstance(node.value, ast.Name) and node.value.id == "ops"
        if node.attr in TOUCH_FILES or (of_library and node.attr not in OWN_OPERATORS):
            raise NoFramework(f"its code names {ast.unparse(node)}, so that torch was not given the file")


def _in_float32(module: Any) -> Any:
    """As the converted model computes; what is float32 already is left alone."""
    kinds = {str(t.dtype) for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()}
    return module.float() if kinds - {"torch.float32"} else module


def called(module: Any, graph: Graph) -> Runner:
    """The module itself, as it is, on the arguments that the graph's inputs stand for."""
    import torch

    arguments = _arguments(graph)

    def run(feed: Arrays) -> Arrays:
        args, kwargs = _filled(arguments, {n: torch.from_numpy(_for_torch(a)) for n, a in feed.items()})
        before = [] if isinstance(module, torch.jit.ScriptModule) else attributes(module)
        try:
            with torch.no_grad():
                answer = module(*args, **kwargs)
        finally:
            restore(before)  # forward may keep a hidden state in the module; every run starts anew
        return by_order(graph, _arrays(answer))

    return run


def _arguments(graph: Graph) -> Any:
    """The names of the inputs in the places of the module's arguments: positional ones, and those by keyword."""
    return graph.metadata.get("source", {}).get("arguments") or [ports(graph, "inputs"), {}]


def _filled(names: Any, tensors: dict[str, Any]) -> Any:
    """The structure of names with the tensors in their places; lists below the first level stand for tuples."""
    if isinstance(names, dict):
        return {k: _filled(v, tensors) for k, v in names.items()}
    if isinstance(names, (list, tuple)):
        return tuple(_filled(v, tensors) for v in names)
    return tensors[names]


def _for_torch(array: np.ndarray) -> np.ndarray:
    return array.astype(np.int64) if array.dtype == np.int32 else array


def _arrays(answer: Any) -> list[np.ndarray]:
    """The tensors of an answer in order; NumPy has no bfloat16."""
    return [(t.float() if str(t.dtype) == "torch.bfloat16" else t).numpy() for t in _tensors(answer)]


def _tensors(answer: Any) -> list[Any]:
    """The tensors of an answer in order, however they are nested."""
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    if isinstance(answer, (list, tuple)):
        return [t for part in answer for t in _tensors(part)]
    return [answer] if hasattr(answer, "dtype") else []
