"""A network described in TOML over a file of weights. docs/network.md is the language."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ... import memory
from ...errors import FormatError, LstmEdgeError, UnsupportedModelError
from ...files import toml
from ...ir.graph import RUN_DTYPES, Graph
from ...options import as_typed, named, spelled
from .keys import Keys, size_of
from .layers import LAYERS, raw_op
from .recurrent import recurrent
from .suggestion import Suggestion, suggested
from .tensors import Network
from .weights import Weights, read_weights

CONVENTIONS = ("torch", "keras")
HARMLESS = ("num_batches_tracked",)  # counters of training
MAX_TOML = 1 << 20
MAX_LAYERS = 4096


def read(source: Any, *, network: Any = None, options: Mapping[str, str] | None = None, assume: bool = False) -> Graph:
    """The Graph of weights (a path, bytes, or a dict of arrays) under a description: a path of a TOML file or a dict.

    Without `network`, a TOML source names its weights file itself (`weights = "file.npz"`). Other weights are refused with
    the description that their names and sizes suggest, or built from it where that is to be assumed. options: `key`, the
    entry of a checkpoint, and what is known of the network (see `suggest`). FormatError names the line and key of what is
    wrong in the description.
    """
    if network is None and not _is_toml(source):
        return _undescribed(source, options, assume)
    if assume:
        raise UnsupportedModelError(f"{named('assume')}: nothing is left to assume where a network is described")
    document, text, place = _description(source if network is None else network)
    top = Keys(document, place, text)
    own = top.text_of("weights", None)
    if network is None:
        if own is None:
            top.fail(f"names no weights: write weights = 'file.npz', or give it to the weights ({as_typed('network')})")
        source = _below(Path(source).parent, own, top)
    weights = read_weights(source, top.text_of("key", None) or (options or {}).get("key"))
    graph = _build(top, weights)
    graph.metadata["source"] = {"kind": "network", "network": place}
    if text:
        graph.metadata["source"]["network_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return graph


def _is_toml(source: Any) -> bool:
    return isinstance(source, (str, os.PathLike)) and Path(source).suffix.lower() == ".toml"


def suggest(source: Any, options: Mapping[str, str] | None = None) -> Suggestion:
    """The network that weights suggest. options: `key` and the answers that are known, as IMPORTER.settings declare them.
    UnsupportedModelError lists the tensors where they make no network."""
    return _suggested(source, options)[1]


def _suggested(source: Any, options: Mapping[str, str] | None) -> tuple[Weights, Suggestion]:
    answers = dict(options or {})
    weights = read_weights(source, answers.pop("key", None), described=False)
    name = Path(source).name if isinstance(source, (str, os.PathLike)) else "the weights"
    try:
        return weights, suggested(weights.arrays, name, answers, weights.key)
    except UnsupportedModelError as why:
        raise UnsupportedModelError(
            f"weights without a network ({why}); describe the network in a TOML file and pass it with {as_typed('network')}"
        ) from None


def _undescribed(source: Any, options: Mapping[str, str] | None, assume: bool) -> Graph:
    weights, suggestion = _suggested(source, options)
    if not assume:
        write = spelled("--write-network net.toml", "lstm_edge.suggest_network(source, 'net.toml')")
        refusal = UnsupportedModelError(
            f"weights without a network. Their names and sizes suggest the one below, which rests on "
            f"{len(suggestion.assumptions)} assumptions: write it to a file ({write}), correct it and convert with "
            f"{as_typed('network', value='net.toml')}; or take it as it stands with {as_typed('assume')}"
        )
        refusal.below = suggestion.text
        raise refusal
    top = Keys(toml.loads(suggestion.text), "the suggested network", suggestion.text)
    top.take("key", None)  # the weights were read with it
    graph = _build(top, weights)
    graph.metadata["notes"] += [*suggestion.notes, *suggestion.assumptions]
    graph.metadata["source"] = {"kind": "state dict"}
    return graph


def _below(folder: Path, own: str, top: Keys) -> Path:
    """The regular file that a description names, which lies in its folder or below: the description may come from anybody."""
    try:
        path, root = (folder / own).resolve(), folder.resolve()
        inside = root in path.parents
        found = path.is_file()
    except (OSError, ValueError, RuntimeError):  # a name too long, with a null byte, or a circle of links
        inside = found = False
    if not inside or not found:
        top.fail(f"weights: expected a file in the folder of the description or below, found {own[:200]!r}", "weights")
    return path


def _description(network: Any) -> tuple[dict[str, Any], str, str]:
    """The table, its text, its name."""
    if isinstance(network, Mapping):
        return dict(network), "", "network"
    if not isinstance(network, (str, os.PathLike)):
        raise UnsupportedModelError(f"network: expected a TOML file or a dict, found {type(network).__name__}")
    path = Path(network)
    if path.stat().st_size > MAX_TOML:
        raise FormatError(f"{path.name}: a description of {path.stat().st_size} bytes; expected at most {MAX_TOML}")
    try:
        memory.read(path)
        text = path.read_bytes().decode("utf-8")
        return toml.loads(text), text, path.name
    except (toml.TOMLDecodeError, UnicodeDecodeError, RecursionError) as why:
        raise FormatError(f"{path.name}: not TOML ({why})") from None


# ---- building --------------------------------------------------------------------------------------------------------


def _build(top: Keys, weights: Weights) -> Graph:
    net = Network(weights.arrays, top.word("convention", CONVENTIONS))
    inputs, layers = top.take("inputs"), top.take("layer")
    outputs, ignore = top.take("outputs", None), top.names("ignore", [])
    metadata = top.take("metadata", {})
    top.done()
    if not isinstance(inputs, dict) or not inputs or not isinstance(metadata, dict):
        top.fail("inputs: expected a table such as {x = ['batch', 'frames', 16]}, and metadata a table", "inputs")
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS or not all(isinstance(v, dict) for v in layers):
        top.fail(f"layer: expected at most {MAX_LAYERS} tables [[layer]]", "layer")
    for name, value in inputs.items():
        _input(net, top, name, value)
    net.previous = next(iter(net.named.values()))
    for n, values in enumerate(layers):
        _layer(net, Keys(values, f"{top.place}: layer {n}", top.text, n), n)
    _outputs(net, top, outputs)
    _all_used(net, top, ignore)
    net.graph.metadata.update(metadata)
    net.graph.metadata["notes"] = weights.notes + net.notes
    return net.graph


def _input(net: Network, top: Keys, name: str, value: Any) -> None:
    value = {"shape": value} if isinstance(value, list) else value
    if not isinstance(value, dict):
        top.fail(f"input {name}: expected a shape such as ['batch', 'frames', 16], found {value!r}", name)
    keys = Keys(value, f"{top.place}: input {name}", top.text)
    shape = keys.take("shape")
    dtype = keys.word("dtype", RUN_DTYPES, "float32")
    keys.done()
    if not isinstance(shape, list):
        keys.fail(f"shape: expected a list, found {shape!r}", "shape")
    net.input(name, tuple(size_of(s, keys) for s in shape), dtype)


def _layer(net: Network, keys: Keys, n: int) -> None:
    kind = keys.text_of("type")
    name = keys.text_of("name", f"{kind.lower()}_{n}")
    keys.place += f" ({kind})" if name.startswith(f"{kind.lower()}_") else f" ({kind} {name})"
    if name in net.named:
        keys.fail(f"the name {name!r} is taken", "name")
    net.node_name = name
    try:
        if kind in ("lstm", "gru", "rnn"):
            result = recurrent(net, keys, kind.upper())
        elif kind in LAYERS:
            result = LAYERS[kind](net, keys)
        elif kind[:1].isupper():
            result = raw_op(net, keys, kind)
        else:
            keys.fail(
                f"unknown type {kind!r}; expected lstm, gru, rnn, {', '.join(LAYERS)} or an op of docs/ops.md", "type"
            )
    except FormatError:
        raise
    except LstmEdgeError as why:
        raise why.at(f"{keys.place}{keys._line('')}") from None
    keys.done()
    net.named[name] = net.previous = result


def _outputs(net: Network, top: Keys, outputs: Any) -> None:
    if outputs is None:
        outputs = {"output": None}
    elif isinstance(outputs, list):
        outputs = {name: name for name in map(str, outputs)}
    if not isinstance(outputs, dict) or not outputs:
        top.fail("outputs: expected names of layers, or a table {name = 'layer'}", "outputs")
    for name, layer in outputs.items():
        if layer is not None and (not isinstance(layer, str) or layer not in net.named):
            top.fail(f"outputs: no layer or input is called {layer!r}; there are {', '.join(net.named)}", "outputs")
        net.graph.output(name, net.tensor(net.previous if layer is None else net.named[layer]))


def _all_used(net: Network, top: Keys, ignore: list[str]) -> None:
    """An array that no layer took is a layer forgotten, unless `ignore` says otherwise."""
    left = [n for n in net.arrays if n not in net.used and not n.endswith(HARMLESS)]
    for pattern in ignore:
        rest = [n for n in left if not fnmatchcase(n, pattern)]
        if len(rest) == len(left):
            top.fail(f"ignore: {pattern!r} matches no array that is left over", "ignore")
        left = rest
    if left:
        top.fail(
            f"no layer takes {len(left)} arrays of the weights: {', '.join(left[:8])}{' ...' if len(left) > 8 else ''}; "
            "add their layers, or list them under ignore"
        )
