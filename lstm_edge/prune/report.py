"""What pruning changed and what it costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ..quantize.report import Error


@dataclass(frozen=True)
class WeightReport:
    """One weight of an op. before, after: the share of its blocks that hold something; bytes as the file stores it."""

    op: str
    name: str
    weight: str
    before: float
    after: float
    bytes_before: int
    bytes_after: int


@dataclass
class PruneReport:
    """What was cut, and what that changes. by: what chose the blocks; source: what errors were measured on; calls: microseconds
    by the kind of call, before and after; stayed: why a weight was left whole, by the op's name and the weight's."""

    density: float
    by: str
    source: str
    outputs: dict[str, Error]
    weights: list[WeightReport]
    calls: dict[str, tuple[float, float]] = field(default_factory=dict)
    where: str = ""
    stayed: dict[str, str] = field(default_factory=dict)

    @property
    def max_error(self) -> float:
        """The largest absolute error at any output."""
        return max((e.max for e in self.outputs.values()), default=0.0)

    def as_metadata(self) -> dict[str, Any]:
        """As JSON values, numbers with three digits."""
        return {
            "density": self.density, "by": self.by, "source": self.source,
            "outputs": {k: e.as_metadata() for k, e in self.outputs.items()},
            "weights": [{**asdict(w), "before": round(w.before, 3), "after": round(w.after, 3)} for w in self.weights],
            "calls_us": {k: [float(f"{us:.3g}") for us in pair] for k, pair in self.calls.items()},
            "where": self.where,
            **({"stayed": self.stayed} if self.stayed else {}),
        }  # fmt: skip
