"""The door for what no importer can know: layers and operators that their users describe in the dialect.

A rule is registered by the user's own code, in the process that converts, or by a file named with `--plugin`. Nothing that a
model names is ever looked for, imported or run.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np

from ..errors import LstmEdgeError
from ..options import spelled
from .dialect import Dialect, Value

# What a layer or operator becomes: rule(dialect, inputs, config, weights) -> its output, or its outputs in order.
Rule = Callable[[Dialect, list[Value], dict[str, Any], dict[str, np.ndarray]], Union[Value, Sequence[Value]]]

_LAYERS: dict[str, Rule] = {}
_OPS: dict[tuple[str, str], Rule] = {}


def register_layer(name: str, rule: Rule) -> None:
    """From now on a Keras layer whose class is called `name`, or a Lambda layer of that name, becomes what `rule` makes of
    it, as rule(dialect, inputs, config, weights): its output, or a sequence of them.

    inputs: the Values that the layer is called on, in order. config: what the layer's get_config gave, as the file holds it.
    weights: its arrays, in the order in which the layer made them, by the names that the file has for them (a .keras file
    numbers them: "0", "1", and those of a layer inside as "dense/0"). docs/plugins.md has an example.
    """
    _LAYERS[_checked(name, "name")] = _callable(rule)


def register_op(domain: str, name: str, rule: Rule) -> None:
    """From now on the ONNX operator `name` of `domain`, or torch's torch.ops.<domain>.<name>, becomes what `rule` makes of
    it, as rule(dialect, inputs, config, weights): its output, or a sequence of them.

    inputs: the Values of its tensors, in order. config: ONNX's attributes by name; torch's arguments that are no tensors, by
    name where they were given by name and by position ("1") where not. weights: the arrays of those inputs that are known at
    conversion, by name in ONNX and by position in torch.
    """
    _OPS[(_checked(domain, "domain"), _checked(name, "name"))] = _callable(rule)


def _checked(text: Any, what: str) -> str:
    if not isinstance(text, str) or not text:
        raise LstmEdgeError(f"{what}: expected a name, found {text!r}")
    return text


def _callable(rule: Any) -> Rule:
    if not callable(rule):
        raise LstmEdgeError(f"rule: expected a function of (dialect, inputs, config, weights), found {rule!r}")
    made: Rule = rule
    return made


def layer_rule(*names: str) -> Rule | None:
    """The rule of a layer under the first of these names that has one."""
    return next((_LAYERS[n] for n in names if n in _LAYERS), None)


def op_rule(domain: str, name: str) -> Rule | None:
    return _OPS.get((domain, name))


def apply(
    rule: Rule,
    d: Dialect,
    inputs: Sequence[Value],
    config: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    outputs: int | None = None,
) -> list[Value]:
    """What a rule gives, as a list; noted. `outputs`: how many are expected, None where nobody knows.

    UnsupportedModelError where the rule raises, or gives something else.
    """
    name = f"the registered rule {getattr(rule, '__qualname__', type(rule).__name__)}"
    try:
        made = rule(d, list(inputs), dict(config), dict(weights))
    except LstmEdgeError as why:
        raise why.at(f"{d.place}: {name}") from why
    except Exception as why:  # whatever the user's own code raises
        raise d.refuse(f"{name} raised {type(why).__name__}: {why}") from why
    values = [made] if isinstance(made, Value) else list(made) if isinstance(made, Sequence) else [made]
    if not values or not all(isinstance(v, Value) for v in values):
        raise d.refuse(f"{name} gave {made!r}: expected a Value or a sequence of them")
    if outputs is not None and len(values) < outputs:
        raise d.refuse(f"{name} gave {len(values)} values: expected {outputs}")
    d.note(f"{d.place}: made by {name}")
    return values


def way_out(call: str) -> str:
    """What to do about a layer or operator that nobody knows; `call`: how Python registers it."""
    rules = [*_LAYERS, *(f"{domain}.{name}" for domain, name in _OPS)]
    there = f"; there are rules for {', '.join(sorted(rules))}" if rules else ""
    return f"describe it yourself ({spelled('--plugin FILE.py', f'lstm_edge.{call}')}, docs/plugins.md{there})"


def load(path: str | Path) -> None:
    """Runs a file of the user's, which registers rules. LstmEdgeError for what it raises, and where there is no rule after it."""
    try:
        runpy.run_path(str(path))
    except (Exception, SystemExit) as why:  # whatever the user's own code raises; one that exits has converted nothing
        raise LstmEdgeError(f"{path}: the plugin raised {type(why).__name__}: {why}") from why
    if not _LAYERS and not _OPS:
        raise LstmEdgeError(
            f"{path}: the plugin registers no rule: call lstm_edge.register_layer or lstm_edge.register_op in it"
        )
