"""Writes docs/layers.md: every layer and operator of every importer, supported or with the error that names it.

python tools/layer_table.py [docs/layers.md]. The names are tools/layer_names.json (Keras 3.15 and the layers it dropped, ONNX
1.23, ATen's core of torch 2.13) and the tables of the importers; what is supported is what the importers have registered, and
what is checked in every front end is the table of cases in tests/conformance.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "layers.md"
NAMES = json.loads(Path(__file__).with_name("layer_names.json").read_text())

HEAD = """# Layers and operators

Every name an importer can meet, and what becomes of it. A refused one ends the conversion with UnsupportedModelError and the
message given, which names the layer or node. Made by `tools/layer_table.py` from what the importers have registered;
`tests/test_layer_table.py` fails when this page is stale, and has every refused name refused.

What a supported name takes (ranks, attributes, what must be known) is on the pages of the formats: [ONNX](onnx.md),
[Keras](keras.md), [PyTorch](torch.md), [TFLite](tflite.md), [networks in TOML](network.md). An attribute or option with a meaning that is not supported is refused by
name as well.
"""


@dataclass(frozen=True)
class Section:
    """One kind of names. `error`: what is said of a refused one, NAME for the name; `special`: messages of their own."""

    title: str
    supported: list[str]
    refused: list[str]
    error: str
    special: dict[str, str]


def keras_layers() -> Section:
    from lstm_edge.importers.keras.config import ALIASES, CELL_OPS, MODELS
    from lstm_edge.importers.keras.layers import HANDLERS
    from lstm_edge.importers.keras.supported import ADVICE

    known = {*HANDLERS, *MODELS, *CELL_OPS, "StackedRNNCells", "InputLayer", "TimeDistributed"}
    names = {*NAMES["keras_layers"], *known, *ALIASES}
    yes = {n for n in names if ALIASES.get(n, n) in known}
    advice = {n: f"layer 'name' (NAME): layer NAME is not supported; {text}" for n, text in ADVICE.items()}
    return Section(
        "Keras layers",
        sorted(yes),
        sorted(names - yes),
        "layer NAME is not supported; rebuild the model from standard layers, or export it to ONNX",
        advice,
    )


def keras_operations() -> Section:
    from lstm_edge.importers.keras import ops as keras_ops

    known = {*keras_ops.RULES}
    names = {*NAMES["keras_operations"], *known}
    return Section(
        "Keras operations (keras.ops, TFOpLambda, TensorFlowOpLayer)",
        sorted(known),
        sorted(names - known),
        "operation NAME is not supported; rebuild the model from standard layers, or export it to ONNX",
        {},
    )


def onnx_operators() -> Section:
    from lstm_edge.importers.onnx import model as onnx  # noqa: F401  (fills the tables)
    from lstm_edge.importers.onnx.folding import RANDOM
    from lstm_edge.importers.onnx.lowering import LOWER

    page = (ROOT / "docs" / "onnx.md").read_text()
    by_definition = re.findall(r"`(\w+)`", next(p for p in page.split("\n") if p.startswith("By the definition")))
    data = {"NonZero", "Unique"}
    yes = {op for domain, op in LOWER if not domain} - data | {*by_definition, "SequenceEmpty"}
    special = {n: "node 'name' (NAME): the shape of its output depends on data, which is not supported" for n in data}
    special |= {
        n: "node 'name' (NAME): a random generator is not supported; export the model in inference mode"
        for n in RANDOM & set(NAMES["onnx"])
    }
    return Section(
        "ONNX operators",
        sorted(yes),
        sorted({*NAMES["onnx"], *data} - yes),
        "node 'name' (NAME): operator NAME is "
        "not supported; docs/onnx.md lists those that are (folded all the same where its inputs are known)",
        special,
    )


def onnxruntime_operators() -> Section:
    from lstm_edge.importers.onnx.lowering import LOWER

    return Section(
        "ONNX operators of com.microsoft",
        sorted(op for d, op in LOWER if d == "com.microsoft"),
        [],
        "node 'name' (NAME): operator NAME of domain 'com.microsoft' is not supported",
        {},
    )


def torch_modules() -> Section:
    yes = {n for n, row in NAMES["torch_modules"].items() if all(_is_call(c) for c in row["calls"])} - {"Conv3d"}
    yes |= {"LSTM", "GRU", "RNN"}
    refused = sorted(set(NAMES["torch_modules"]) - yes)
    special = {"Conv3d": "node conv3d: a convolution over 3 axes"}
    for name in set(refused) - {"Conv3d"}:
        special[name] = f"the call {missing_calls(name)[0]} is not supported"
    return Section("PyTorch modules (torch.nn)", sorted(yes), refused, "the call aten.NAME is not supported", special)


def missing_calls(module: str) -> list[str]:
    return [c for c in NAMES["torch_modules"][module]["calls"] if not _is_call(c)]


def _is_call(target: str) -> bool:
    from lstm_edge.importers.torch.lower import OPS as table

    library, _, overload = target.partition(".")
    return target in table if library in ("operator", "math") else overload in table or overload.split(".")[0] in table


def aten_calls() -> Section:
    from lstm_edge.importers.torch.lower import OPS

    known = {n for n in OPS if not n.startswith(("operator.", "math."))}
    bases = {n.split(".")[0] for n in known}
    refused = sorted({n for n in NAMES["aten_core"] if n not in bases and n.rstrip("_") not in bases})
    return Section(
        "ATen calls (exported programs, TorchScript)",
        sorted(bases),
        refused,
        "node name: the call aten.NAME is not supported",
        {},
    )


def tflite_operators() -> Section:
    from lstm_edge.importers.tflite import model as tflite  # noqa: F401  (fills the table)
    from lstm_edge.importers.tflite.lowering import LOWER
    from lstm_edge.importers.tflite.names import OPERATORS

    return Section(
        "TFLite operators",
        sorted(set(OPERATORS) & set(LOWER)),
        sorted(set(OPERATORS) - set(LOWER)),
        "operator 0 'name' (NAME): this operator is not supported; docs/tflite.md lists those that are",
        {},
    )


def toml_layers() -> Section:
    from lstm_edge.importers.network.layers import LAYERS
    from lstm_edge.ir.ops import OPS

    return Section(
        "Layers of a network in TOML",
        ["lstm", "gru", "rnn", *LAYERS, *OPS],
        [],
        "unknown type 'NAME'; expected lstm, gru, rnn, ... or an op of docs/ops.md",
        {},
    )


def json_layers() -> Section:
    from lstm_edge.importers.json.rtneural import LAYER_KEYS

    return Section(
        "Layers in RTNeural's JSON",
        list(LAYER_KEYS),
        ["conv2d", "batchnorm2d"],
        "layer 0 (NAME): this layer is not done, expected one of dense, time-distributed-dense, ...",
        {},
    )


CHECKED = """## Operators checked in every front end

Every row is one operator under one choice of attributes, written once with its answer in tests/conformance and sent through
each front end that has a mark, with its sizes fixed and with batch and frames open where it has such: all give that answer.
Where there is no mark, the format has no such operator, or not in this form; the word says which.
"""


def checked_operators() -> str:
    """The table of tests/conformance, by subject."""
    from conformance.case import FRONT_ENDS
    from conformance.cases import SUBJECTS

    parts = [CHECKED]
    for subject, cases in SUBJECTS.items():
        parts.append(
            f"### {subject.capitalize()}\n\n| operator | {' | '.join(FRONT_ENDS)} |\n|---|{'---|' * len(FRONT_ENDS)}"
        )
        for case in cases:
            marks = ["x" if case.spelling(f) else str(getattr(case, f)) for f in FRONT_ENDS]
            refused = case.refused or (case.refused_open and f"open sizes: {case.refused_open}")
            name = f"{case.name} (refused: {refused})" if refused else case.name
            parts.append(f"| {name} | {' | '.join(marks)} |")
        parts.append("")
    return "\n".join(parts).rstrip()


SECTIONS = (
    keras_layers,
    keras_operations,
    onnx_operators,
    onnxruntime_operators,
    torch_modules,
    aten_calls,
    tflite_operators,
    toml_layers,
    json_layers,
)


def page() -> str:
    parts = [HEAD]
    for make in SECTIONS:
        section = make()
        parts.append(f"## {section.title}\n\n| | names |\n|---|---|")
        parts.append(_row(f"supported ({len(section.supported)})", section.supported))
        groups: dict[str, list[str]] = {}
        for name in section.refused:
            message = section.special.get(name, section.error)
            groups.setdefault(message.replace("(NAME)", "(...)").replace("NAME", "..."), []).append(name)
        for message, names in sorted(groups.items(), key=lambda g: -len(g[1])):
            parts.append(_row(f'refused ({len(names)}): "{message}"', names))
        if not section.refused:
            parts.append(f'| any other is refused: "{section.error.replace("NAME", "...")}" | |')
        parts.append("")
    return "\n".join([*parts, checked_operators()]) + "\n"


def _row(what: str, names: list[str]) -> str:
    return f"| {what} | {' '.join(f'`{n}`' for n in names)} |"


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    target.write_text(page())
    print(
        textwrap.shorten(
            f"{target}: {sum(len(m().supported) for m in SECTIONS)} supported, "
            f"{sum(len(m().refused) for m in SECTIONS)} refused",
            120,
        )
    )
