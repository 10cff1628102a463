"""Looking inside: traces of the gates. docs/insight.md."""

from .trace import Recurrence, Trace, reference_trace

__all__ = ["Recurrence", "Trace", "reference_trace"]
