"""What Stream.adaptation compares with observations: which values of a frame's answer are which times, targets and quantiles."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from .._core import Model
from ..errors import FormatError, LstmEdgeError, UnsupportedModelError
from .description import Description


@dataclass(frozen=True)
class Observed:
    """output: its number; time_major: its frames lie before its batch; shape: of one sequence's observation.

    A frame's answer holds horizon x prod(shape) x each values; of the last, the quantiles, `middle` is compared.
    """

    output: int
    time_major: bool
    shape: tuple[int, ...]
    horizon: int = 1
    each: int = 1
    middle: int = 0

    @property
    def values(self) -> int:
        return self.horizon * prod(self.shape) * self.each


def observed(model: Model, batch: int, output: str | None) -> Observed:
    """For streams of `batch` sequences. output: its name; None for the only one or, of a forecast, the one that its file names.

    Raises LstmEdgeError (no such output), UnsupportedModelError (its axes are others), FormatError (the file contradicts itself).
    """
    stored = model.metadata.get("forecast")
    forecast = None if stored is None else Description.from_metadata(stored)
    names = [port.name for port in model.outputs]
    if output is None and (forecast or len(names) == 1):
        output = forecast.output if forecast else names[0]
    if output not in names:
        raise LstmEdgeError(f"adaptation: output: expected one of {names}, found {output!r}")
    number = names.index(output)
    layout, port = model._out_layouts[number], model.outputs[number]
    axes = [axis for axis in (layout.batch_axis, layout.frames_axis) if axis >= 0]
    shape = port.shape[len(axes) :] if port.shape is not None else ("unknown",)
    sizes = tuple(size for size in shape if isinstance(size, int))
    if len(sizes) < len(shape) or sorted(axes) != list(range(len(axes))) or (batch > 1 and layout.batch_axis < 0):
        raise UnsupportedModelError(
            f"adaptation: output {output!r}: expected batch and frames as its first axes and numbers as the others, found {port.shape}"
        )
    found = Observed(number, 0 <= layout.frames_axis < layout.batch_axis, sizes)
    if forecast is None or forecast.output != output:
        return found
    return _of_forecast(found, forecast, sizes, layout.frames_axis >= 0 or model.is_step_model)


def _of_forecast(found: Observed, forecast: Description, sizes: tuple[int, ...], every_frame: bool) -> Observed:
    quantiles = forecast.quantiles
    expected = (forecast.horizon, len(forecast.targets)) + ((len(quantiles),) if quantiles else ())
    if sizes != expected:
        raise FormatError(
            f"metadata forecast: expected output {forecast.output!r} to have {expected} a frame, found {sizes}"
        )
    if forecast.horizon > 1 and not every_frame:
        raise UnsupportedModelError(
            f"adaptation: output {forecast.output!r}: expected an answer at every frame, found one for all of them"
        )
    middle = min(range(len(quantiles)), key=lambda n: abs(quantiles[n] - 0.5), default=0)
    targets = (len(forecast.targets),)
    return Observed(found.output, found.time_major, targets, forecast.horizon, max(len(quantiles), 1), middle)
