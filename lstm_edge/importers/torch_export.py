"""ExportedProgram -> Program. Which axes are batch and frames is read off the first recurrence's input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dims import BATCH, FRAMES, Size
from ..errors import UnsupportedModelError
from .torch_program import DType, Program, ProgramInput, Ref, Step, run_dtype

RECURRENCES = ("lstm", "gru", "rnn_tanh", "rnn_relu")


def program_of(
    exported: Any, fixed: dict[str, dict[int, int]] | None = None, free: tuple[Size, ...] = (BATCH, FRAMES)
) -> Program:
    """The calls of `exported` (torch.export.ExportedProgram).

    `fixed`: input name -> axis -> size, for axes that the caller has settled. `free`: which of BATCH and FRAMES may be
    given to axes that the program itself holds fixed. UnsupportedModelError for what a program cannot say here.
    """
    exported = functional(exported)
    signature, nodes = exported.graph_signature, list(exported.graph.nodes)
    kinds = {s.arg.name: s for s in signature.input_specs}
    placeholders = [n for n in nodes if n.op == "placeholder"]
    user = [n for n in placeholders if kinds[n.name].kind.name == "USER_INPUT" and _is_tensor(n.meta.get("val"))]
    symbols = _symbols(nodes, user)
    free_axes = _free_axes(nodes, user, symbols, free)
    inputs, constants = [], {}
    for n in placeholders:
        spec = kinds[n.name]
        if n in user:
            shape = _shape(n, symbols, (fixed or {}).get(n.name, {}), free_axes)
            inputs.append(ProgramInput(n.name, shape, run_dtype(_dtype(n.meta["val"].dtype)), n.name))
        elif spec.target is not None:
            constants[n.name] = _constant(exported, spec)
    result = next(n for n in nodes if n.op == "output")
    mutated = [s for s in signature.output_specs if s.kind.name not in ("USER_OUTPUT", "LOSS_OUTPUT")]
    if mutated:
        raise UnsupportedModelError(
            f"the module changes its own {mutated[0].target or mutated[0].arg.name!r} while it runs: pass "
            "this state in as an argument of forward and return it, so that it becomes a stream's state"
        )
    steps = [_step(n) for n in nodes if n.op == "call_function"]
    for n in nodes:
        if n.op == "get_attr":
            constants[n.name] = _array(_attribute(exported.graph_module, n.target))
    values = [_value(v) for v in result.args[0]]
    notes = [
        f"input {n.name!r}: axis {a} was free in torch and is fixed at {s}, its size in the example; one batch and one "
        "number of frames can be free"
        for n, i in zip(user, inputs)
        for a, s in enumerate(i.shape)
        if isinstance(s, int) and _names(n.meta["val"].shape[a])
    ]
    return Program(inputs, constants, steps, list(zip(_output_names(exported, len(values)), values)), notes)


def functional(exported: Any) -> Any:
    """`exported` without in-place calls, which a program from export may still hold."""
    calls = [
        n.target.__name__ for n in exported.graph.nodes if n.op == "call_function" and hasattr(n.target, "_schema")
    ]
    if any(c.split(".")[0].endswith("_") and not c.startswith("_") for c in calls):
        return exported.run_decompositions({})
    return exported


def has_dynamic(exported: Any) -> bool:
    return bool(exported.range_constraints)


# ---- axes -----------------------------------------------------------------------------------------------------------


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def recurrence_sizes(nodes: list[Any]) -> list[tuple[Any, Any]]:
    """(batch, frames) as the first input of every recurrence has them."""
    found = []
    for n in nodes:
        base = str(n.target).split(".")[1] if n.op == "call_function" and "." in str(n.target) else ""
        if base in RECURRENCES and not isinstance(n.args[1], (str, int)):
            packed = len(n.args) < 9 or not isinstance(n.args[8], bool) or not isinstance(n.args[3], bool)
            shape = n.args[0].meta["val"].shape
            batch_first = True if packed else n.args[8]
            if len(shape) == 3:
                found.append((shape[0], shape[1]) if batch_first else (shape[1], shape[0]))
    return found


def _names(size: Any) -> set[str]:
    """The symbols in a size."""
    return {str(s) for s in size.node.expr.free_symbols} if hasattr(size, "node") else set()


def _symbols(nodes: list[Any], user: list[Any]) -> dict[str, Size]:
    """What each symbol of the program stands for: BATCH, FRAMES, or the size it had in the example."""
    hints: dict[str, int] = {}
    order: list[str] = []
    for n in user:
        for size in n.meta["val"].shape:
            for name in sorted(_names(size)):
                order += [name] if name not in order else []
                if str(size.node.expr) == name:
                    hints[name] = int(size.node.hint)
    batch = frames = None
    for b, t in recurrence_sizes(nodes):
        batch = batch or (next(iter(_names(b))) if len(_names(b)) == 1 and str(b.node.expr) in _names(b) else None)
        rest = _names(t) - {batch}
        frames = frames or (next(iter(rest)) if len(rest) == 1 and (batch or not _names(b)) else None)
    sizes: list[list[Any]] = [list(n.meta["val"].shape) for n in user if len(n.meta["val"].shape) >= 1]
    if batch is None:
        first = [s[0] for s in sizes if _names(s[0])]
        batch = str(first[0].node.expr) if first and not recurrence_sizes(nodes) else None
        batch = batch or next(
            (str(s[0].node.expr) for s in sizes if _names(s[0]) and str(s[0].node.expr) != frames), None
        )
    others = [s for s in order if s != batch]
    if frames is None and not recurrence_sizes(nodes):
        frames = others[0] if others else None
    meaning: dict[str, Size] = {}
    for name in order:
        at_batch_axis = any(_names(s[0]) == {name} for s in sizes[1:]) and sizes and _names(sizes[0][0]) == {batch}
        if name == batch or (at_batch_axis and name != frames):
            meaning[name] = BATCH
        else:
            meaning[name] = FRAMES if name == frames else hints.get(name, 0)
    return meaning


def _free_axes(
    nodes: list[Any], user: list[Any], symbols: dict[str, Size], free: tuple[Size, ...]
) -> dict[tuple[str, int], Size]:
    """Axes of fixed size that may be batch or frames all the same: the program was exported without dynamic shapes, but
    nothing in it depends on the number."""
    found: dict[tuple[str, int], Size] = {}
    sizes = recurrence_sizes(nodes)
    if not sizes:
        return found
    for symbol, size in zip((BATCH, FRAMES), sizes[0]):
        number = size if isinstance(size, int) else 0
        if symbol not in free or symbol in symbols.values() or number < 1 or (symbol is FRAMES and number == 1):
            continue
        if _depends_on(nodes, number):
            continue
        for n in user:
            shape = list(n.meta["val"].shape)
            axes = [
                a for a, s in enumerate(shape[:-1] if len(shape) > 2 else shape) if isinstance(s, int) and s == number
            ]
            axes = [a for a in axes if (n.name, a) not in found]
            if len(axes) > 1:
                axes = _same_place(nodes, n, symbol, axes)
            if len(axes) == 1:
                found[n.name, axes[0]] = symbol
    return found


def _same_place(nodes: list[Any], placeholder: Any, symbol: Size, axes: list[int]) -> list[int]:
    """Of several axes of that size, the one that a recurrence reading the input directly calls batch or frames."""
    for n in nodes:
        base = str(n.target).split(".")[1] if n.op == "call_function" and "." in str(n.target) else ""
        if base not in RECURRENCES:
            continue
        batch_axis = 0 if n.args[-1] is True else 1
        if n.args[0] is placeholder:
            wanted = batch_axis if symbol is BATCH else 1 - batch_axis
            return [wanted] if wanted in axes else []
        if isinstance(n.args[1], (list, tuple)) and placeholder in n.args[1] or n.args[1] is placeholder:
            return [1] if symbol is BATCH and 1 in axes else []
    return []


SHAPE_CALLS = (
    "zeros",
    "new_zeros",
    "lstm",
    "gru",
    "rnn_tanh",
    "rnn_relu",
    "conv1d",
    "conv2d",
    "layer_norm",
    "linear",
    "getitem",
    "dropout",
    "batch_norm",
    "group_norm",
    "transpose",
    "permute",
    "unsqueeze",
    "cat",
    "stack",
    "softmax",
    "log_softmax",
)


def _depends_on(nodes: list[Any], number: int) -> bool:
    """Whether a call spells the number itself, where it could be the fixed size (or one less, of the last element)."""
    if number == 1:
        return False
    for n in nodes:
        base = str(n.target).split(".")[1] if n.op == "call_function" and "." in str(n.target) else ""
        if n.op != "call_function" or base in SHAPE_CALLS:
            continue
        suspicious = {number, -number, number - 1} if base in ("select", "slice", "narrow") else {number}
        for v in _flat([n.args, n.kwargs]):
            if isinstance(v, bool) or not isinstance(v, (int, float)):
                continue
            if (v in suspicious and v not in (0, 1)) or (isinstance(v, float) and math.isclose(v * number, 1.0)):
                return True
    return False


def _flat(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [x for v in value for x in _flat(v)]
    if isinstance(value, dict):
        return [x for v in value.values() for x in _flat(v)]
    return [value]


def _shape(
    node: Any, symbols: dict[str, Size], fixed: dict[int, int], free_axes: dict[tuple[str, int], Size]
) -> tuple[Size, ...]:
    shape: list[Size] = []
    for axis, size in enumerate(node.meta["val"].shape):
        if axis in fixed:
            shape.append(fixed[axis])
        elif hasattr(size, "node"):
            shape.append(_expression(size.node.expr, symbols))
        else:
            shape.append(free_axes.get((node.name, axis), int(size)))
    return tuple(shape)


def _expression(expr: Any, symbols: dict[str, Size]) -> Size:
    """A SymPy sum of products of symbols as a Size."""
    if expr.is_Integer:
        return int(expr)
    if expr.is_Symbol:
        return symbols[str(expr)]
    if expr.is_Add or expr.is_Mul:
        parts = [_expression(a, symbols) for a in expr.args]
        total = parts[0]
        for p in parts[1:]:
            total = total + p if expr.is_Add else total * p
        return total
    raise UnsupportedModelError(f"an input axis of size {expr}: expected sums of multiples of batch and frames")


# ---- values ---------------------------------------------------------------------------------------------------------


def _dtype(dtype: Any) -> DType:
    return DType(str(dtype).removeprefix("torch."))


def _array(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu()
    kind = str(tensor.dtype)
    if tensor.is_complex() or "float8" in kind or "qint" in kind:
        raise UnsupportedModelError(f"a parameter of dtype {kind}: expected floats, integers or bools")
    return (tensor.float() if kind in ("torch.bfloat16", "torch.float16") else tensor).numpy()


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
    if kind in ("device", "layout", "memory_format"):
        return None
    return v


def _output_names(exported: Any, count: int) -> list[str]:
    """Names where the model returns a dict, '' elsewhere."""
    from torch.utils import _pytree as pytree

    spec = exported.call_spec.out_spec
    if spec is None or spec.num_leaves != count:
        return [""] * count
    tree = pytree.tree_unflatten(list(range(count)), spec)
    names = [""] * count
    for path, index in pytree.tree_flatten_with_path(tree)[0]:
        keys = [str(k.key) for k in path if hasattr(k, "key")]
        names[index] = ".".join(keys)
    return names
