"""Input/output pairs that carry state become states of the stream."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..errors import UnsupportedModelError
from ..ir.dims import Dim, Size, mentions
from ..ir.graph import Graph, Port, State
from ..ir.notes import ASSUMED
from ..options import as_typed
from .by_use import Uses
from .edit import note

IN_WORDS = {"in", "input", "prev", "previous", "old", "init", "initial", "past", "last"}
OUT_WORDS = {"out", "output", "next", "new", "present", "final", "updated", "n"}
# A pair of these names is the signal itself on its way in and out, never a state.
SIGNAL_WORDS = {
    "x",
    "y",
    "audio",
    "frame",
    "frames",
    "signal",
    "wav",
    "waveform",
    "sample",
    "samples",
    "mel",
    "spec",
    "spectrum",
    "speech",
    "mix",
    "noisy",
    "data",
    "feature",
    "features",
    "feat",
    "feats",
    "pcm",
    "token",
    "tokens",
}
# Spellings of one token that mean two: hn is h, new.
TWO_WORDS = {f"{s}{mark}": (s, mark) for s in ("h", "c", "state", "hidden", "cell") for mark in ("n", "0", "out", "in")}


def pair(graph: Graph, pairs: dict[str, str] | None = None) -> dict[str, str]:
    """Takes paired inputs and outputs out of the graph's ports and keeps them as states that start as zeros.

    `pairs` maps input names to output names and is then all that is paired. Without it, pairs are found by name and
    identical shape and dtype (state/stateN, h0/hn, cache_in/cache_out, past_k/present_k, conv_cache/conv_cache_out, ...),
    then by use: what recurrences start from, and what they end with. A single pair that is left and agrees by shape
    alone is taken too and noted as an assumption. The first input is data and so never paired by shape; an input with a
    frames axis is never a state. A model whose every output is a state (a GRUCell) gives them as answers too. Returns the
    pairs that were taken.
    """
    taken = _named(graph, pairs) if pairs is not None else _found(graph)
    answers = list(graph.outputs)
    for source, target in taken.items():
        _keep(graph, source, target)
    if not graph.outputs:
        graph.outputs = answers
    return taken


def _named(graph: Graph, pairs: dict[str, str]) -> dict[str, str]:
    inputs, outputs = [p.name for p in graph.inputs], [p.name for p in graph.outputs]
    for source, target in pairs.items():
        if source not in inputs:
            raise UnsupportedModelError(
                f"state {source}={target}: the model has no input {source!r}; its inputs are {inputs}"
            )
        if target not in outputs:
            raise UnsupportedModelError(
                f"state {source}={target}: the model has no output {target!r}; its outputs are {outputs}"
            )
        a, b = _tensor(graph.inputs, source), _tensor(graph.outputs, target)
        if not _alike(graph, a, b):
            ta, tb = graph.tensors[a], graph.tensors[b]
            raise UnsupportedModelError(
                f"state {source}={target}: expected the same dtype and shape, found {ta.dtype}{list(ta.shape)} "
                f"and {tb.dtype}{list(tb.shape)}"
            )
    if len(set(pairs.values())) < len(pairs):
        raise UnsupportedModelError(f"states {pairs}: one output is named for two inputs")
    if pairs and len(pairs) == len(graph.inputs):
        raise UnsupportedModelError(f"states {pairs}: every input would be a state, but one must stay for the frames")
    return dict(pairs)


def _found(graph: Graph) -> dict[str, str]:
    candidates = [p for p in graph.inputs if _may_be_state(graph, p)]
    taken: dict[str, str] = {}
    for stem in (_stem, _stem_without_zero, _stem_without_digits):
        _match_by_name(graph, candidates, stem, taken)
    uses = Uses(graph, candidates)
    _match_by_use(graph, candidates, uses, taken)
    if taken and len(taken) == len(graph.inputs):
        note(graph, f"not paired as states, since no input would be left: {_text(taken)}")
        return {}
    _match_by_shape(graph, candidates, uses, taken)
    if taken:
        note(graph, f"kept as states of the stream: {_text(taken)}")
    return taken


def _match_by_name(
    graph: Graph, candidates: list[Port], stem: Callable[[str], tuple[str, ...]], taken: dict[str, str]
) -> None:
    """Adds pairs whose stems agree, where a stem names exactly one input and one output of the same shape."""
    sources = [p for p in candidates if p.name not in taken]
    targets = [p for p in graph.outputs if p.name not in taken.values()]
    for source in sources:
        key = stem(source.name)
        if not key or set(key) <= SIGNAL_WORDS:
            continue
        rivals = [s for s in sources if stem(s.name) == key]
        fits = [t for t in targets if stem(t.name) == key and _alike(graph, source.tensor, t.tensor)]
        if len(rivals) == 1 and len(fits) == 1:
            taken[source.name] = fits[0].name


def _match_by_use(graph: Graph, candidates: list[Port], uses: Uses, taken: dict[str, str]) -> None:
    """Adds pairs of an input that recurrences start from and the one output beside the first that is what they end with."""
    for source in candidates:
        targets = [p for p in graph.outputs[1:] if p.name not in taken.values()]
        fits = [t for t in targets if uses.continues(source, t) and _alike(graph, source.tensor, t.tensor)]
        if source.name not in taken and len(fits) == 1:
            taken[source.name] = fits[0].name


def _match_by_shape(graph: Graph, candidates: list[Port], uses: Uses, taken: dict[str, str]) -> None:
    """A single pair; one that recurrences use in different ways is none."""
    sources = [
        p
        for p in candidates
        if p.name not in taken
        and p is not graph.inputs[0]
        and graph.tensors[p.tensor].dtype == "float32"
        and len(graph.shape(p.tensor)) >= 2
    ]
    targets = [p for p in graph.outputs if p.name not in taken.values() and p is not graph.outputs[0]]
    data = graph.inputs[0].tensor
    fits = [
        (s, t)
        for s in sources
        for t in targets
        if _alike(graph, s.tensor, t.tensor)
        and not uses.are_states(s, t)
        and _depends(graph, t.tensor, s.tensor)
        and _depends(graph, t.tensor, data)
    ]
    if len(fits) == 1:
        source, target = fits[0]
        taken[source.name] = target.name
        note(
            graph,
            f"{ASSUMED}from shapes alone: {source.name} -> {target.name} {list(graph.shape(source.tensor))} "
            "carries state "
            f"(say {as_typed('states', value={})} to keep them as input and output)",
        )


def _stem(name: str) -> tuple[str, ...]:
    """The words of a name without those that say 'in' or 'out': hn gives (h,), conv_cache_out (conv, cache)."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name.split(":")[0])
    words = [w for token in re.findall(r"[a-z0-9]+", spaced.lower()) for w in TWO_WORDS.get(token, (token,))]
    return tuple(w for w in words if w not in IN_WORDS | OUT_WORDS)


def _stem_without_zero(name: str) -> tuple[str, ...]:
    """h_0 gives (h,): a last 0 says 'initial' where it does not number layers."""
    words = _stem(name)
    return words[:-1] if len(words) > 1 and words[-1] == "0" else words


def _stem_without_digits(name: str) -> tuple[str, ...]:
    words = (re.sub(r"\d+", "", w) for w in _stem(name))
    return tuple(w for w in words if w)


def _may_be_state(graph: Graph, port: Port) -> bool:
    shape = graph.shape(port.tensor)
    return bool(shape) and not any(mentions(s, "frames") for s in shape)


def _alike(graph: Graph, a: str, b: str) -> bool:
    ta, tb = graph.tensors[a], graph.tensors[b]
    return ta.dtype == tb.dtype and tuple(ta.shape) == tuple(tb.shape)


def _depends(graph: Graph, tensor: str, source: str) -> bool:
    """Whether `tensor` is computed from `source`."""
    reached = {source}
    for node in graph.nodes:
        if reached.intersection(node.inputs):
            reached.update(node.outputs)
    return tensor in reached and tensor != source


def _keep(graph: Graph, source: str, target: str) -> None:
    read, write = _tensor(graph.inputs, source), _tensor(graph.outputs, target)
    t = graph.tensors[read]
    for axis, size in enumerate(t.shape):
        if not _is_state_size(size):
            raise UnsupportedModelError(
                f"state {source}={target}: axis {axis} has size {size}, expected a number or a multiple of batch"
            )
    graph.inputs = [p for p in graph.inputs if p.name != source]
    graph.outputs = [p for p in graph.outputs if p.name != target]
    graph.states.append(State(source, read, write, tuple(t.shape), dtype=t.dtype))


def _is_state_size(size: Size) -> bool:
    return not isinstance(size, Dim) or set(size.terms) == {("batch",)}


def _tensor(ports: list[Port], name: str) -> str:
    return next(p.tensor for p in ports if p.name == name)


def _text(pairs: dict[str, str]) -> str:
    return ", ".join(f"{a} -> {b}" for a, b in pairs.items())
