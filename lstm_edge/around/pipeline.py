"""Several networks and what lies between them as one Graph, by a description in TOML (docs/pipelines.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..answers import AFTER
from ..errors import UnsupportedModelError
from ..ir.graph import Graph
from ..ir.notes import ASSUMED, notes_of
from ..metadata import BEFORE, PARTS, sample_rate, section
from ..passes import fold, pieces
from ..passes.edit import growing, note
from . import after
from .compose import graft
from .description import Description, Table, read
from .labels import LABELLED
from .scalers import SCALE, UNSCALE
from .stages import KINDS, Stage, Value, latest

ROUND_A_NETWORK = (BEFORE, SCALE, UNSCALE)  # of metadata: what stands in front of its inputs and behind its outputs
TRAINED = ("classify", "label", "anomaly")  # of metadata: names of columns and labels that training keeps
ONE = {"batch": 1, "frames": 1}  # what a network's open sizes are in a step


def pipeline(networks: Mapping[str, Graph], description: Description) -> Graph:
    """The Graph of a description (the path of a TOML, or such a dict) whose stages run the networks by their names.

    One call takes a hop of every input and gives one of every output; all that the networks and the stages keep are its states.
    Raises FormatError (the place in the description, expected, found) and UnsupportedModelError (a network that does not fit).
    """
    values, place = read(description)
    folder = Path() if isinstance(description, Mapping) else Path(description).parent
    return _Building(networks, values, place, folder).graph


class _Building:
    def __init__(self, networks: Mapping[str, Graph], values: dict[str, Any], place: str, folder: Path):
        self.networks, self.runs = networks, Counter[str]()
        self.graph = Graph()
        top = Table(values, place)
        self.rate = top.number("rate", 0)
        self.inputs, self.outputs = top.names("input"), top.names("output")
        self.hops: dict[str, int] = {}  # samples that a call brings, of inputs that are cut into frames
        for key, names in (("input", self.inputs), ("output", self.outputs)):
            if len(set(names)) < len(names):
                top.fail("names that differ", ", ".join(names), key)
        self.values: dict[str, Value] = {}
        self.makers: dict[str, str] = {name: "an input" for name in self.inputs}
        stages, meanings = top.take("stage"), top.take(AFTER)
        top.done()
        if not isinstance(stages, list) or not stages:
            top.fail("a list of stages", "none" if stages is None else stages, "stage")
        for number, stage in enumerate(stages, 1):
            self._stage(Table(stage, f"{place}: stage {number}"))
        if unused := [name for name in networks if not self.runs[name]]:
            top.fail(f"a stage that runs each network, run = {unused[0]!r} among them", "none", "stage")
        if idle := [name for name in self.inputs if name not in self.values]:
            top.fail("inputs that a stage reads", idle[0], "input")
        for name in self.outputs:
            if name not in self.values or name in self.inputs:
                top.fail(
                    f"what a stage makes: {', '.join(n for n in self.values if n not in self.inputs)}", name, "output"
                )
            self.graph.output(name, self.values[name].tensor)
        self._finish(top)
        if meanings is not None:
            after.settle(self.graph, meanings, place, folder)

    def _stage(self, table: Table) -> None:
        if table.has("run") == table.has("do"):
            both = "both" if table.has("run") else "neither"
            table.fail(f"run = the name of a network, or do = one of {', '.join(KINDS)}", both)
        sources = table.take("in")
        if table.has("run"):
            self._network(table, sources)
        else:
            self._between(table)
        table.done()

    def _between(self, table: Table) -> None:
        do = table.word("do", tuple(KINDS))
        table.place += f" ({do})"
        names, (out,) = table.names("in"), self._outs(table, 1)
        if len(names) != KINDS[do].inputs:
            table.fail(f"{KINDS[do].inputs} name{'s' * (KINDS[do].inputs > 1)}", ", ".join(names), "in")
        if names[0] in self.inputs and names[0] not in self.values:
            if do != "frames":
                table.fail("a stage before it that cuts the input into frames, or a network", names[0], "in")
            self.hops[names[0]] = table.whole("hop")
            if self.rate and len(set(self.hops.values())) > 1:
                others = next(iter(self.hops.values()))
                table.fail(f"{others}, as of the other input at this rate", self.hops[names[0]], "hop")
            self._input(names[0], (1, self.hops[names[0]]))
        read_ = [self._value(table, name) for name in names]
        self._made(table, out, KINDS[do].build(Stage(self.graph, table, out, read_)))

    def _network(self, table: Table, sources: Any) -> None:
        name = table.word("run", tuple(self.networks))
        table.place += f" ({name})"
        part = self.networks[name]
        self.runs[name] += 1
        self._check_steps(name, part)
        ports = [p.name for p in part.inputs]
        given = sources if isinstance(sources, Mapping) else dict(zip(ports, table.names("in")))
        if set(given) != set(ports) or (not isinstance(sources, Mapping) and len(table.names("in")) != len(ports)):
            table.fail(f"a name for each of its inputs {', '.join(ports)}", sources, "in")
        bound, read_ = {}, []
        for port in part.inputs:
            shape = tuple(int(s) if isinstance(s, int) else int(s.value(1, 1)) for s in part.shape(port.tensor))
            if given[port.name] in self.inputs and given[port.name] not in self.values:
                self._input(given[port.name], shape, part.tensors[port.tensor].dtype)
            value = self._value(table, given[port.name])
            read_.append(value)
            bound[port.name] = self._fitted(table, name, port.name, value, shape)
        outputs = [p.name for p in part.outputs]
        outs = self._outs(table, len(outputs), outputs)
        ahead = table.whole("lookahead", 0, 0)
        behind = latest(read_) + ((("look-ahead", ahead),) if ahead else ())
        prefix = f"{name}.{self.runs[name]}" if self.runs[name] > 1 else name
        made = graft(self.graph, part, bound, prefix, ONE)
        for port_name, out in zip(outputs, outs):
            self._made(table, out, Value(made[port_name], behind))
            self._keep_meaning(name, part, port_name, out)
        self._keep_raw(prefix, part, given, dict(zip(outputs, outs)))
        if report := section(part.metadata, "quantization"):
            self._keep_quantisation(prefix, report)
        for line in notes_of(part.metadata):
            note(
                self.graph,
                f"{ASSUMED}{name}: {line[len(ASSUMED) :]}" if line.startswith(ASSUMED) else f"{name}: {line}",
            )

    def _keep_meaning(self, name: str, part: Graph, port: str, out: str) -> None:
        """Names of values go on with an output of the whole; how long events last is to be said of the whole's own hop."""
        about = section(section(part.metadata, AFTER), port, f"metadata {AFTER!r}")
        if about.get("type") in LABELLED and out in self.outputs:
            self.graph.metadata.setdefault(AFTER, {})[out] = dict(about)
        elif about and out in self.outputs:
            note(self.graph, f"{name}: its events are told where [after.{out}] of the pipeline says so again")

    def _keep_raw(self, prefix: str, part: Graph, reads: Mapping[str, str], makes: Mapping[str, str]) -> None:
        """What a part says of its columns and their scalers goes on with the ports of the whole that are its own, so that a table's
        columns are found; what it says of its other ports is kept under the part's name, for `info`."""
        whole, inner = self.graph.metadata, {k: dict(section(part.metadata, k)) for k in ROUND_A_NETWORK}
        sides = ((SCALE, reads, self.inputs), (UNSCALE, makes, self.outputs))
        for kind, names, ports in sides:
            for port in [p for p in inner[kind] if names.get(p) in ports and p not in inner[BEFORE]]:
                if names[port] not in whole.get(kind, {}):
                    whole.setdefault(kind, {})[names[port]] = inner[kind].pop(port)
        for task in TRAINED:
            about = section(part.metadata, task)
            own = {k: names.get(str(about[k])) for k, names in (("input", reads), ("output", makes)) if k in about}
            if own and task not in whole and all(p in (*self.inputs, *self.outputs) for p in own.values()):
                whole[task] = {**about, **own}
        for name, about in (("", inner), *section(part.metadata, PARTS).items()):
            if kept := {kind: said for kind, said in about.items() if said}:
                whole.setdefault(PARTS, {})[f"{prefix}/{name}".rstrip("/")] = kept

    def _keep_quantisation(self, prefix: str, report: Mapping[str, Any]) -> None:
        kept = self.graph.metadata.setdefault("quantization", {"weights": report.get("weights"), "ops": []})
        if kept["weights"] != report.get("weights"):
            kept["weights"] = "mixed"
        kept["ops"] += [{**op, "name": f"{prefix}/{op.get('name')}"} for op in report.get("ops", [])]

    def _check_steps(self, name: str, part: Graph) -> None:
        rate = sample_rate(part.metadata)
        if self.rate and rate and rate != self.rate:
            raise UnsupportedModelError(
                f"{name}: expected a network of the pipeline's rate, {self.rate:g} Hz, found one of {rate:g} Hz"
            )
        for port in part.outputs:
            if any(not isinstance(s, int) and s.value(1, 1) < 1 for s in part.shape(port.tensor)):
                raise UnsupportedModelError(
                    f"{name}: expected a network that answers every frame, found one whose output {port.name!r} has no answer to the "
                    "first ones (a window over time without padding): pad its beginning by zeros, as causal convolutions do"
                )
        streaming = part.metadata.get("streaming", {})
        if not streaming.get("supported") or streaming.get("multiple", 1) != 1:
            why = streaming.get("why") or f"it takes {streaming.get('multiple')} frames at a time"
            raise UnsupportedModelError(
                f"{name}: expected a network that streams frame by frame, found one that does not: {why}"
            )

    def _fitted(self, table: Table, network: str, port: str, value: Value, shape: tuple[int, ...]) -> str:
        """As a network takes it: the same values in the same order, a spectrum as pairs where its last axis is 2."""
        tensor, place = value.tensor, f"{network}/{port}"
        found = self.graph.shape(tensor)
        if np.prod(found) != np.prod(shape):  # type: ignore[arg-type]
            table.fail(f"{np.prod(shape)} values, {shape}, for input {port!r} of {network}", f"shape {found}", "in")
        if value.is_spectrum and shape[-1] == 2:
            tensor = self.graph.add1("Transpose", [tensor], {"perm": [0, 2, 1]}, f"{place}/pairs")
        if self.graph.shape(tensor) == shape:
            return tensor
        return self.graph.add1("Reshape", [tensor], {"shape": list(shape)}, place)

    def _outs(self, table: Table, count: int, of: list[str] | None = None) -> list[str]:
        names = table.names("out")
        if len(names) != count:
            what = f"a name for each of its outputs {', '.join(of)}" if of else "one name"
            table.fail(what, ", ".join(names), "out")
        for name in names:
            if name in self.makers:
                table.fail("a name of its own", f"{name!r}, which is {self.makers[name]}", "out")
        return names

    def _made(self, table: Table, name: str, value: Value) -> None:
        self.values[name], self.makers[name] = value, f"made by {table.place.split(': ')[-1]}"

    def _input(self, name: str, shape: tuple[int, ...], dtype: str = "float32") -> None:
        self.values[name] = Value(self.graph.input(name, shape, dtype))

    def _value(self, table: Table, name: str) -> Value:
        if name not in self.values:
            table.fail(f"an input or what a stage before it makes: {', '.join(self.makers)}", name, "in")
        return self.values[name]

    def _finish(self, top: Table) -> None:
        graph = self.graph
        for name in self.outputs if self.rate and self.hops else ():
            count, hop = int(np.prod(graph.shape(self.values[name].tensor))), next(iter(self.hops.values()))  # type: ignore[arg-type]
            if self.values[name].is_sound and count != hop:
                found = f"{name} of {count}, which would be sound of another rate"
                top.fail(f"sound of {hop} samples a call, as many as come in", found, "output")
        filling = growing(graph)
        fold.fold(graph, filling)
        pieces.take_from_sources(graph, filling)
        graph.drop_unused()
        graph.metadata["step"] = True
        graph.metadata["streaming"] = {"supported": True, "why": "", "multiple": 1}
        graph.metadata["ports"] = {"inputs": [p.name for p in graph.inputs], "outputs": [p.name for p in graph.outputs]}
        graph.metadata["pipeline"] = {key: value for key, value in top.values.items() if key != AFTER}
        if self.rate:
            first = int(np.prod(graph.shape(graph.inputs[0].tensor)))  # type: ignore[arg-type]
            hop = next(iter(self.hops.values()), first)
            graph.metadata["sample_rate"] = self.rate
            graph.metadata["sound"] = [p.name for p in graph.outputs if self.values[p.name].is_sound]
            graph.metadata["delay"] = {
                p.name: {"frame": hop, **dict(self.values[p.name].behind)} for p in graph.outputs
            }
