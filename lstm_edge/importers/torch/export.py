"""A live ExportedProgram -> Traced."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from .axes import Extent, Given, Sizes, Traced
from .program import DType, Ref, Step, run_dtype


def traced(exported: Any) -> Traced:
    """The calls of `exported` (torch.export.ExportedProgram). UnsupportedModelError for what a program cannot say here."""
    guards = list(getattr(exported, "_guards_code", None) or [])  # torch 2.9 and later
    exported = functional(exported)
    nodes = list(exported.graph.nodes)
    refuse_mutation([(s.kind.name, s.target or s.arg.name) for s in exported.graph_signature.output_specs])
    specs = {s.arg.name: s for s in exported.graph_signature.input_specs}
    given: list[Given] = []
    constants: dict[str, np.ndarray] = {}
    for n in nodes:
        if n.op == "get_attr":
            constants[n.name] = _array(_attribute(exported.graph_module, n.target))
        elif n.op == "placeholder" and specs[n.name].kind.name != "USER_INPUT":
            if specs[n.name].target is not None:
                constants[n.name] = _constant(exported, specs[n.name])
        elif n.op == "placeholder" and hasattr(n.meta.get("val"), "dtype"):
            given.append(Given(n.name, run_dtype(_dtype(n.meta["val"].dtype)), _sizes(n)))
    steps = [_step(n) for n in nodes if n.op == "call_function"]
    shapes = {n.name: _sizes(n) for n in nodes if hasattr(n.meta.get("val"), "dtype")}
    values = [_value(v) for v in next(n for n in nodes if n.op == "output").args[0]]
    outputs = list(zip(_output_names(exported, len(values)), values))
    ranges = {str(name): (_end(r.lower) or 1, _end(r.upper)) for name, r in exported.range_constraints.items()}
    return Traced(steps, shapes, given, constants, outputs, ranges, guards)


def _end(number: Any) -> int | None:
    """An end of a range; None where it is one of torch's infinities."""
    return int(number) if number.is_Integer else None


def refuse_mutation(outputs: list[tuple[str, str]]) -> None:
    """(kind, what) of every output; a program that writes to its own buffers keeps state that no stream would see."""
    changed = [what for kind, what in outputs if kind.upper() not in ("USER_OUTPUT", "LOSS_OUTPUT")]
    if changed:
        raise UnsupportedModelError(
            f"the module changes its own {changed[0]!r} while it runs: pass this state in as an argument of "
            "forward and return it, so that it becomes a stream's state"
        )


def functional(exported: Any) -> Any:
    """`exported` without in-place calls, which a program from export may still hold."""
    calls = [
        n.target.__name__ for n in exported.graph.nodes if n.op == "call_function" and hasattr(n.target, "_schema")
    ]
    if any(c.split(".")[0].endswith("_") and not c.startswith("_") for c in calls):
        return exported.run_decompositions({})
    return exported


def _sizes(node: Any) -> Sizes:
    return [_size(s) for s in node.meta["val"].shape]


def _size(size: Any) -> Any:
    """An int, or the symbols of a SymInt."""
    if not hasattr(size, "node"):
        return int(size)
    expr = size.node.expr
    names = frozenset(str(s) for s in expr.free_symbols)
    if not names:
        return int(expr)
    return Extent(names, bool(expr.is_Symbol), int(size.node.hint) if size.node.hint is not None else 0)


def _dtype(dtype: Any) -> DType:
    return DType(str(dtype).removeprefix("torch."))


def _array(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu()
    kind = str(tensor.dtype)
    if tensor.is_complex() or "float8" in kind or "qint" in kind:
        raise UnsupportedModelError(f"a parameter of dtype {kind}: expected floats, integers or bools")
    return np.asarray((tensor.float() if kind in ("torch.bfloat16", "torch.float16") else tensor).numpy())


def _constant(exported: Any, spec: Any) -> np.ndarray:
    for group in (exported.state_dict, exported.constants):
        if spec.target in group:
            return _array(group[spec.target])
    raise UnsupportedModelError(f"constant {spec.target!r} ({spec.kind.name}) is not a tensor")


def _attribute(module: Any, target: str) -> Any:
    for part in target.split("."):
        module = getattr(module, part)
    return module


def _step(node: Any) -> Step:
    target = node.target
    if hasattr(target, "_schema"):
        name = str(target)
    else:
        module = getattr(target, "__module__", "") or ""
        name = f"{'operator' if module in ('_operator', 'operator', 'builtins') else 'math'}.{target.__name__}"
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    place = stack[-1][0] if stack and not str(stack[-1][0]).startswith("_empty") else ""
    return Step(name, [_value(a) for a in node.args], {k: _value(v) for k, v in node.kwargs.items()}, node.name, place)


def _value(v: Any) -> Any:
    """An argument without torch in it; devices, layouts and memory formats mean nothing here."""
    if hasattr(v, "op") and hasattr(v, "meta"):
        return Ref(v.name)
    if isinstance(v, (list, tuple)):
        return [_value(x) for x in v]
    kind = type(v).__name__
    if kind == "dtype":
        return _dtype(v)
    return None if kind in ("device", "layout", "memory_format") else v


def _output_names(exported: Any, count: int) -> list[str]:
    """Names where the model returns a dict, '' elsewhere."""
    from torch.utils import _pytree as pytree

    spec = exported.call_spec.out_spec
    if spec is None or spec.num_leaves != count:
        return [""] * count
    tree = pytree.tree_unflatten(list(range(count)), spec)
    names = [""] * count
    for path, index in pytree.tree_flatten_with_path(tree)[0]:
        names[index] = ".".join(str(k.key) for k in path if hasattr(k, "key"))
    return names
