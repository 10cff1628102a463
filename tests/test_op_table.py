"""The table of ops is the only one: every place that has something to say of each op has it of all, and says the same."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from strategies import STRATEGIES, Case, answers_of, cases

import lstm_edge
from lstm_edge import format
from lstm_edge.ir.graph import Node
from lstm_edge.ir.ops import OPS, each, read_attrs
from lstm_edge.ir.spec import Each
from lstm_edge.passes.timeflow import RULES as TIME_RULES
from lstm_edge.reference.node import RULES as REFERENCE_RULES

ROOT = Path(__file__).parent.parent
DIMS_SPEC = "shape from_input from_axis"


def documented() -> dict[str, str]:
    """What docs/ops.md says of each op: its row, or its section and what all recurrences share."""
    text = (ROOT / "docs/ops.md").read_text(encoding="utf-8")
    ops, recurrences = text.split("\n## Conventions\n")[1].split("\n## Recurrences\n")
    shared, *sections = recurrences.split("\n## ")[0].split("\n### ")
    found = {section.split("\n", 1)[0]: f"{shared}\n{section}" for section in sections}
    rows = re.findall(r"^\| ([A-Z]\w+) \|(.*)$", recurrences, re.MULTILINE)
    found |= {name: row.replace("dims spec", DIMS_SPEC) for name, row in rows}
    for name, row in found.items():
        other = re.search(r"\bas (Conv)\b", row)
        found[name] = f"{row} {found[other[1]]}" if other and other[1] != name else row
    return found


def core_rows() -> dict[str, tuple[str, int, int, int, int]]:
    """The rows of src_c/ops.def: function suffix, least and most inputs, least and most outputs."""
    text = (ROOT / "src_c/ops.def").read_text(encoding="utf-8")
    rows = re.findall(r"^OP\((\w+), (\w+), (\d+), (\d+), (\d+), (\d+)\)$", text, re.MULTILINE)
    return {name: (suffix, *map(int, counts)) for name, suffix, *counts in rows}


def core_sources() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src_c/ops").glob("*.c")))


def core_functions() -> set[str]:
    """The ops whose three functions are defined in src_c/ops, those of no row by the name that their row would have."""
    steps = [
        re.findall(rf"^le_status le_{step}_(\w+)\(", core_sources(), re.MULTILINE) for step in ("pack", "shape", "run")
    ]
    named = {suffix: name for name, (suffix, *_) in core_rows().items()}
    whole = set(steps[0]).intersection(*steps[1:])
    return {named.get(suffix, suffix.title().replace("_", "")) for suffix in whole}


def test_every_op_stands_everywhere():
    places = {
        "docs/ops.md": set(documented()),
        "lstm_edge/ir/ops": set(OPS),
        "lstm_edge/reference": set(REFERENCE_RULES),
        "src_c/ops.def": set(core_rows()),
        "src_c/ops": core_functions(),
        "tests/strategies.py": set(STRATEGIES),
    }
    every = set.union(*places.values())
    missing = {place: sorted(every - ops) for place, ops in places.items() if every - ops}
    assert missing == {}


def test_time_passes_through_every_op_by_a_rule():
    assert {spec.time.how for spec in OPS.values()} == set(TIME_RULES)


@pytest.mark.parametrize("op", OPS)
def test_inputs_and_outputs_are_the_cores(op):
    spec, (_, *counts) = OPS[op], core_rows()[op]
    optional = sum(name.endswith("?") for name in spec.outputs)
    assert counts == [spec.min_inputs, spec.max_inputs, len(spec.outputs) - optional, len(spec.outputs)]


@pytest.mark.parametrize("op", OPS)
def test_the_document_names_inputs_and_attributes(op):
    spec, text = OPS[op], documented()[op]
    words = set(re.findall(r"\w+", text))
    assert not {*spec.input_names, *spec.attrs} - words


def explicit(node: Node, shape: tuple[Any, ...]) -> dict[str, Any]:
    """All attributes of `node`, defaults written out as they are for x of `shape`."""
    values = read_attrs(node)
    directions = 2 if values.get("direction") == "bidirectional" else 1
    activations = directions * len(OPS[node.op].attrs["activations"].default.values) if "activations" in values else 0
    spatial, listed = len(shape) - 2, len(values.get("axes", values.get("shape", ())))
    counts = dict.fromkeys(("strides", "dilations", "output_padding"), spatial) | {"pads": 2 * spatial}
    counts |= dict.fromkeys(("steps", "from_input", "from_axis"), listed)
    counts |= {"activations": directions, "activation_alpha": activations, "activation_beta": activations}
    return {key: each(v, counts[key]) if isinstance(v, Each) else v for key, v in values.items()}


def core(case: Case, attrs: dict[str, Any]) -> lstm_edge.Model:
    graph = copy.deepcopy(case.graph)
    graph.nodes[0].attrs = attrs
    return lstm_edge.Model(format.to_bytes(graph))


def answers(model: lstm_edge.Model, case: Case) -> list[tuple[str, bytes] | None]:
    arrays = answers_of(model, case.inputs.values()).values()
    return [None if a is None else (str(a.dtype), a.tobytes()) for a in arrays]


@pytest.mark.parametrize("op", OPS)
def test_attributes_and_their_defaults_are_the_cores(op):
    every = {key for spec in OPS.values() for key in spec.attrs}

    @settings(max_examples=10)
    @given(cases(op))
    def check(case):
        node = case.graph.nodes[0]
        attrs = explicit(node, case.graph.shape(node.inputs[0]))
        assert attrs.keys() == OPS[op].attrs.keys()
        assert answers(core(case, attrs), case) == answers(core(case, node.attrs), case)
        for key in every - attrs.keys():
            with pytest.raises(lstm_edge.UnsupportedModelError, match=f"unknown attribute '{key}'"):
                core(case, {**attrs, key: 0})

    check()


def test_the_core_reads_no_attribute_beside_the_tables():
    read = set(re.findall(r'\(ctx, "(\w+)"', core_sources()))
    assert read <= {key for spec in OPS.values() for key in spec.attrs}
    assert len(read) > 40
