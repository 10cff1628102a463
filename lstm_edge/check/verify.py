"""Promise 7: a converted model replays its self-test anywhere."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .. import format
from .._core import load
from ..errors import UnsupportedModelError
from ..ir.notes import assumptions
from ..reference.samples import difference


@dataclass(frozen=True)
class Report:
    """What `verify` found. errors: largest absolute difference per output, NaN where NaNs do not agree. assumed: what the
    conversion took for granted without anybody having said it."""

    source: str
    isa: str
    tolerance: float
    errors: dict[str, float]
    assumed: list[str]

    @property
    def passed(self) -> bool:
        return all(e <= self.tolerance for e in self.errors.values())


def verify(source: str | os.PathLike[str] | bytes, isa: str | None = None) -> Report:
    """Replays the self-test of a .lstm file (a path or its bytes) on this machine.

    isa: the kernels to use, None for this CPU's best. Raises UnsupportedModelError when the file carries no self-test.
    """
    graph = format.read(source)
    test = graph.self_test
    if test is None:
        raise UnsupportedModelError("the file carries no self-test; convert the model again without self_test=False")
    model = load(source, isa)
    answers = model.run(*[test.inputs[p.name] for p in model.inputs])
    if not isinstance(answers, dict):
        answers = {model.outputs[0].name: answers}
    return Report(
        test.source,
        model.isa,
        test.tolerance,
        {name: difference(answers[name], want) for name, want in test.outputs.items()},
        assumptions(graph.metadata),
    )
