"""Audio features in front of a network: samples in, what its own library computes of them, as ops of the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import reference
from ..errors import ShapeError, UnsupportedModelError
from ..ir.dims import BATCH, FRAMES, Dim, Size, mentions, value
from ..ir.graph import Graph, Port, State, Tensor
from ..ir.ops import TO_END, read_attrs
from ..metadata import section
from ..options import named
from ..passes.edit import note
from ..spectra.fields import UTTERANCE, Fields
from ..spectra.lowering import features as features_of
from ..spectra.lowering import padding
from . import description, live_features
from .compose import graft
from .feature_fields import as_metadata, kept_fields, kept_shape, tables_of


def apply(graph: Graph, before: Any, rate: float | None = None) -> None:
    """Puts a front end before each input that `before` names: a TOML file of tables [before.INPUT], such a dict, {input: a live
    layer of Keras or transform of torchaudio}, or one alone where there is one input. The input then takes
    samples. To be called before the graph is made to stream. FormatError, UnsupportedModelError, OSError."""
    if before is None:
        return
    values, place = description.read(_as_tables(graph, before, rate))
    folder = Path() if isinstance(before, Mapping) or live_features.is_layer(before) else Path(before).parent
    fronts = tables_of(values, place, folder)
    _refuse_several_rates(fronts, place)
    for name, front in fronts.items():
        if rate not in (None, front.rate):
            raise UnsupportedModelError(
                f"{place}: before.{name}: rate: expected the {rate:g} samples a second of {named('rate')}, found {front.rate:g}"
            )
        port = next((p for p in graph.inputs if p.name == name), None)
        if port is None:
            known = ", ".join(p.name for p in graph.inputs)
            raise UnsupportedModelError(
                f"{place}: before.{name}: expected an input of the model ({known}), found {name!r}"
            )
        shape = [size if isinstance(size, int) else "open" for size in graph.shape(port.tensor)]
        _put_before(graph, port, front, f"{place}: before.{name}")
        graph.metadata.setdefault("before", {})[name] = {**as_metadata(front), "shape": shape}
        graph.metadata["sample_rate"] = float(front.rate)


def _as_tables(graph: Graph, before: Any, rate: float | None) -> Any:
    """`before` with the tables that live layers stand for in their place."""
    place = named("before")
    if live_features.is_layer(before):
        if len(graph.inputs) != 1:
            raise UnsupportedModelError(
                f"{place}: expected the name of an input before the layer, one of {', '.join(p.name for p in graph.inputs)}"
            )
        before = {graph.inputs[0].name: before}
    if isinstance(before, Mapping) and before and all(map(live_features.is_layer, before.values())):
        return {"before": {n: live_features.table_of(layer, f"{place}: {n}", rate) for n, layer in before.items()}}
    return before


def _refuse_several_rates(fronts: Mapping[str, Fields], place: str) -> None:
    """A file has one clock of samples, which all front ends share."""
    rates = {name: front.rate for name, front in fronts.items()}
    if len(set(rates.values())) > 1:
        found = ", ".join(f"{rate:g} Hz of {name}" for name, rate in rates.items())
        raise UnsupportedModelError(f"{place}: expected one rate of all front ends, found {found}")


def computed(metadata: Mapping[str, Any], inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs as the network alone takes them: samples become features by the front ends that a file keeps, in float64."""
    fed = dict(inputs)
    for name, kept in section(metadata, "before").items():
        if name in fed:
            fed[name] = _computed_one(*_of_file(kept), fed[name], name)
    return fed


def _computed_one(front: Fields, shape: tuple[Size, ...], at: int, samples: np.ndarray, name: str) -> np.ndarray:
    """samples: (batch, samples), or (calls, batch, hop) of a network that takes one frame a call; then calls lead the answer, too."""
    graph, by_call = Graph(), _frame_axis(shape, at) is None
    one_row = samples
    if by_call:
        one_row = samples.swapaxes(0, -2).reshape(samples.shape[-2], -1)
        one_row = np.pad(one_row, ((0, 0), (front.samples_kept, 0)))
    features = features_of(graph, graph.input(name, one_row.shape), front, name, by_call)
    graph.output(name, features if by_call else _as_input(graph, features, shape, at, name))
    answer = reference.run(graph, {name: one_row})[0][name]
    if answer is None:
        raise ShapeError(f"input {name}: expected samples of a frame or more, found shape {samples.shape}")
    if by_call:
        frame = [front.width if d == at else 1 for d in range(1, len(shape))]
        answer = answer.swapaxes(0, 1).reshape(*samples.shape[:-1], *frame)
    return answer.astype(np.float32)


def frames_to_try(metadata: Mapping[str, Any]) -> int | None:
    """Samples of a self-test: some frames of the longest front end, None without one or where calls are frames."""
    fronts = map(_of_file, section(metadata, "before").values())
    return max(
        (
            f.n_fft + (9 + f.deltas * f.delta_width) * f.hop
            for f, shape, at in fronts
            if _frame_axis(shape, at) is not None
        ),
        default=None,
    )


def _of_file(kept: Any) -> tuple[Fields, tuple[Size, ...], int]:
    """A front end that a file keeps, the shape that the network's input had, and its axis of features."""
    front = kept_fields(kept)
    shape = tuple((FRAMES if d else BATCH) if size == "open" else size for d, size in enumerate(kept_shape(kept)))
    return front, shape, _axis_of_features(shape, front, "metadata 'before'")


def _put_before(graph: Graph, port: Port, f: Fields, place: str) -> None:
    """Replaces `graph` by the front end with the network grafted behind it."""
    shape = graph.shape(port.tensor)
    at = _axis_of_features(shape, f, place)
    whole, samples = Graph(metadata=graph.metadata, self_test=graph.self_test), _samples(graph, shape, at, f, place)
    for other in graph.inputs:
        if other is port:
            x = whole.input(port.name, samples)
        else:
            whole.input(other.name, graph.shape(other.tensor), graph.tensors[other.tensor].dtype)
    by_call = _frame_axis(shape, at) is None
    if by_call:
        x = _behind_kept(whole, x, f, port.name)
    features = features_of(whole, x, f, f"{port.name}.before", by_call)
    sizes: dict[str, Size] = {"frames": whole.shape(features)[1]} if any(mentions(s, "frames") for s in shape) else {}
    fed = _as_input(whole, features, shape, at, f"{port.name}.before")
    bound = {p.name: fed if p.name == port.name else p.tensor for p in whole.inputs}
    outputs = graft(whole, graph, bound, sizes=sizes)
    for output in graph.outputs:
        whole.output(output.name, outputs[output.name])
    vars(graph).update({key: value for key, value in vars(whole).items() if key != "ask"})
    _note_delay(graph, port.name, f)
    _keep_least(graph, port.name)
    if by_call and f.calls_before:
        note(
            graph,
            f"input {port.name}: {f.hop} samples a call; {f.calls_before} calls answer before the first whole frame",
        )


def _keep_least(graph: Graph, name: str) -> None:
    """Keeps how many samples a recording must have where its end is repeated or mirrored: so much of it must be there."""
    least = 0
    for node in graph.nodes:
        if node.op != "Pad" or not node.name.startswith(f"{name}.before.") or read_attrs(node)["mode"] == "constant":
            continue
        pads = np.reshape(read_attrs(node)["pads"], (2, -1))
        for size, behind, most in zip(graph.shape(node.inputs[0]), pads[1], pads.max(0)):
            if behind and mentions(size, "frames"):
                least = max(least, _samples_for(size, int(most) + 1 if read_attrs(node)["mode"] == "reflect" else 1))
    if least:
        found = graph.metadata.setdefault("ranges", {}).setdefault("frames", [0, None, 1, 0])
        found[0] = max(found[0], least)


def _samples_for(size: Size, wanted: int) -> int:
    """The fewest samples of which a size becomes `wanted`."""
    low, high = 0, 1
    while value(size, 1, high) < wanted:
        low, high = high + 1, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if value(size, 1, middle) >= wanted else (middle + 1, high)
    return high


def _behind_kept(graph: Graph, x: str, f: Fields, name: str) -> str:
    """A call's samples behind those that its frame shares with the calls before, a state of the stream, zeros at first."""
    n, batch = f.samples_kept, graph.shape(x)[0]
    if not n:
        return x
    read = graph.fresh(f"{name}.samples")
    graph.tensors[read] = Tensor(read, "float32", (batch, n))
    joined = graph.add1("Concat", [read, x], {"axis": 1}, f"{name}.samples.joined")
    last = {"axes": [1], "starts": [-n], "ends": [TO_END], "steps": [1]}
    write = graph.add1("Slice", [joined], last, f"{name}.samples.next")
    graph.states.append(State(f"{name}.samples", read, write, (batch, n)))
    return joined


def _axis_of_features(shape: tuple[Size, ...], f: Fields, place: str) -> int:
    """The axis of the network's input that holds a frame's features: the last one that has as many values."""
    fits = [d for d, size in enumerate(shape) if size == f.width]
    if not fits:
        raise UnsupportedModelError(
            f"{place}: expected an input with an axis of the {f.width} values of a frame of {f.type}, found shape {shape}"
        )
    return fits[-1]


def _frame_axis(shape: tuple[Size, ...], at: int) -> int | None:
    """The axis of frames, None where the network takes one frame: that of time, else the only one that is neither 1 nor batch."""
    moving = [d for d, size in enumerate(shape) if mentions(size, "frames")]
    longer = [d for d, size in enumerate(shape) if d not in (0, at) and size != 1]
    found = moving or longer
    return found[0] if found else None


def _samples(graph: Graph, shape: tuple[Size, ...], at: int, f: Fields, place: str) -> tuple[Size, ...]:
    """The shape of the input that takes samples: open as the network's frames are, else as many as its frames need."""
    time = _frame_axis(shape, at)
    others = [size for d, size in enumerate(shape) if d not in (0, at, time)]
    if any(size != 1 for size in others) or at == 0 or time == 0 or len(shape) < 2:
        raise UnsupportedModelError(f"{place}: expected an input of batch, frames and features, found shape {shape}")
    if time is None:
        _refuse_by_call(graph, shape, f, place)
        return (shape[0], f.hop)
    frames = shape[time]
    if mentions(frames, "frames"):
        if frames != FRAMES:
            raise UnsupportedModelError(f"{place}: expected as many frames as the clock has, found {frames}")
        return (shape[0], FRAMES)
    if isinstance(frames, Dim):
        raise UnsupportedModelError(f"{place}: expected frames that are the model's clock, found the size {frames}")
    frames += f.frames_not_answered
    return (shape[0], max((frames - 1) * f.hop + f.size - sum(padding(f)), 1))


def _refuse_by_call(graph: Graph, shape: tuple[Size, ...], f: Fields, place: str) -> None:
    """A network that takes one frame a call has no end of a recording, and a clock of its own."""
    if any(mentions(s, "frames") for p in graph.inputs for s in graph.shape(p.tensor)):
        raise UnsupportedModelError(
            f"{place}: expected an input with an axis of frames as the other inputs have, found shape {shape}; "
            f"free it by {named('shapes')} where the network allows it"
        )
    whole = _whole_recording(f)
    if f.deltas:
        whole.append("deltas look at frames before and behind (a network with an axis of frames is given them)")
    if f.type == "pcen" and f.calls_before:
        whole.append("PCEN goes on from a recording's first frame (a network with an axis of frames is given it)")
    if whole:
        raise UnsupportedModelError(
            f"{place}: expected features that a network of one frame a call (shape {shape}) can be given while the sound comes, "
            f"found {f.like}'s of whole recordings: {'; '.join(whole)}"
        )


def _as_input(graph: Graph, features: str, shape: tuple[Size, ...], at: int, name: str) -> str:
    """(batch, frames, features) laid out as the network's input: other axes are of 1."""
    time = _frame_axis(shape, at)
    if time is not None and at < time:
        features = graph.add1("Transpose", [features], {"perm": [0, 2, 1]}, f"{name}.turned")
    if len(shape) == 3 and time is not None:
        return features
    source = {0: 0, at: 2} if time is None else {0: 0, min(time, at): 1, max(time, at): 2}
    axes = [source.get(d) for d in range(len(shape))]
    attrs = {
        "shape": [1] * len(shape),
        "from_input": [-1 if a is None else 0 for a in axes],
        "from_axis": [a or 0 for a in axes],
    }
    return graph.add1("Reshape", [features], attrs, f"{name}.laid_out")


def _whole_recording(f: Fields) -> list[str]:
    """What of a front end needs a whole recording."""
    whole = []
    if f.end == "pad":
        whole.append("the end of a recording is padded (end = 'cut' leaves those frames out)")
    if f.pad_mode == "reflect" and f.center:
        whole.append("its beginning is padded with what comes after it (pad_mode = 'constant' pads zeros)")
    if f.top_db and f.in_decibels:
        whole.append("decibels are counted from the loudest value of a whole recording (top_db = false does not)")
    if f.preemphasis and f.preemphasis_of == "samples" and f.preemphasis_first == "extrapolated":
        whole.append("its first sample is emphasised by the second (preemphasis_first = 'itself' leaves it as it is)")
    if f.deltas and f.delta_end == "pad":
        whole.append("deltas at the end of a recording look beyond it (delta_end = 'cut' leaves those frames out)")
    if f.deltas and f.delta_edges == "mirror":
        whole.append("deltas at its beginning look at frames mirrored (delta_edges = 'nearest' repeats the first)")
    if f.cmvn == UTTERANCE:
        whole.append("mean and deviation are those of a whole recording (cmvn = 'FILE' takes given ones)")
    return whole


def _note_delay(graph: Graph, name: str, f: Fields) -> None:
    whole = _whole_recording(f)
    if whole:
        note(graph, f"input {name}: does not stream as {f.like} computes it: {'; '.join(whole)}")
        return
    # Of what an answer lies behind: the samples that a frame waits for, and those from its middle to its end.
    parts = {"frame": f.hop, "half a window": f.size // 2}
    if f.delta_frames:
        parts["deltas"] = f.delta_frames * f.hop
    longest = max([parts, *graph.metadata.get("delay", {}).values()], key=lambda p: sum(p.values()))
    graph.metadata["delay"] = {p.name: dict(longest) for p in graph.outputs}


def described(front: Mapping[str, Any]) -> str:
    """A line for `info`: what stands before an input."""
    f = kept_fields(front)
    more = ["", " with deltas", " with deltas and their deltas"][f.deltas]
    more += f", normalised by {'the recording' if f.cmvn == UTTERANCE else 'given statistics'}" * bool(f.cmvn)
    return f"{f.type}{more} as {f.like} computes it: {f.width} values a frame of {f.size} samples every {f.hop} at {f.rate:g} Hz"
