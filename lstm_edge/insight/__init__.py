"""Looking inside: traces of the gates, how far they are saturated, and what an answer depends on. docs/insight.md."""

from .importance import integrated_gradients, occlusion
from .saturation import Saturation, saturation
from .trace import Recurrence, Trace, reference_trace

__all__ = ["Recurrence", "Saturation", "Trace", "integrated_gradients", "occlusion", "reference_trace", "saturation"]
