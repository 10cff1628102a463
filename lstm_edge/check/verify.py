"""Promise 7: a converted model replays its self-test anywhere."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from .. import format
from .._core import load
from ..errors import UnsupportedModelError
from ..ir.notes import assumptions
from ..options import spelled
from ..reference.samples import difference


@dataclass(frozen=True)
class Report:
    """What `verify` found. errors: largest absolute difference per output, infinite where NaNs do not agree.

    by: 'framework' where the stored answer is that of the framework `source`, 'reference' where it is this project's own;
    `why` then says why no framework answered. assumed: what the conversion took for granted without anybody having said it.
    """

    source: str
    isa: str
    tolerance: float
    errors: dict[str, float]
    by: str = "framework"
    why: str = ""
    assumed: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether this machine's answer is the stored one."""
        return all(e <= self.tolerance for e in self.errors.values())

    @property
    def verified(self) -> bool:
        """Whether the answer is that of the framework the model came from."""
        return self.passed and self.by == "framework"

    @property
    def words(self) -> str:
        """One line: equal to what, and how far from it."""
        worst = max(self.errors.values(), default=0.0)
        figures = f"largest difference {worst:.3g}, allowed {self.tolerance:.3g}"
        if not self.passed:
            return f"FAILED: differs from what {self.source} answered, {figures}"
        if self.verified:
            return f"verified: equal to what {self.source} answered, {figures}"
        why = self.why or "the file does not say why"
        if self.source != "lstm_edge.reference":  # a quantised file, which keeps its own answers
            return f"not verified by a framework: equal to {self.source}, {figures} ({why})"
        why = f"no framework ran this model at conversion: {why}"
        return f"not verified by a framework: equal to this project's own reference, {figures} ({why})"


def verify(source: str | os.PathLike[str] | bytes, isa: str | None = None, max_memory: int | None = None) -> Report:
    """Replays the self-test of a .lstm file (a path or its bytes) on this machine.

    isa: the kernels to use, None for this CPU's best. max_memory: as load takes it. Raises UnsupportedModelError when the file carries no self-test.
    """
    graph = format.read(source)
    test = graph.self_test
    if test is None:
        without = spelled("--no-self-test", "self_test=False")
        raise UnsupportedModelError(f"the file carries no self-test; convert the model again without {without}")
    model = load(source, isa, max_memory)
    answers = model.run(*[test.inputs[p.name] for p in model.inputs])
    if not isinstance(answers, dict):
        answers = {model.outputs[0].name: answers}
    return Report(
        test.source,
        model.isa,
        test.tolerance,
        {name: difference(answers[name], want) for name, want in test.outputs.items()},
        test.by,
        test.why,
        assumptions(graph.metadata),
    )
