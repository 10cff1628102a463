"""The inputs of the times to come: known values, time stamps, columns that keep their value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ShapeError
from .description import KNOWN
from .frames import Cut
from .plan import Plan

if TYPE_CHECKING:
    from .._core import Array

MOST_MINUTES = 2**31 - 1  # of the int32 input: the year 6053


@dataclass(frozen=True)
class Given:
    """What the caller said of the times to come."""

    known: ArrayLike | Mapping[str, ArrayLike] | None
    time: ArrayLike | None


class Frames:
    """Frames of every input, (batch, past + future, ...): `past` that were, 0 where a stream has taken them already.

    `newest` is the last one that was, per input; wrong: what does not fit, raised together by `arrays`.
    """

    def __init__(self, plan: Plan, batch: int, past: int, future: int, given: Given):
        self.plan, self.batch, self.past, self.future, self.given = plan, batch, past, future, given
        self.wrong: list[str] = []
        self.by_input: dict[str, Any] = {}
        if isinstance(given.known, Mapping):
            self.by_input = dict(given.known)
        elif given.known is not None:
            if plan.description is None or not plan.description.known:
                self.wrong.append(f"known: expected {{input: values}} or nothing, found {_found(given.known)}")
            else:
                self.by_input = {KNOWN: given.known}
        names = [cut.name for cut in plan.inputs]
        fed = {names[link.input] for link in plan.links}
        for name in self.by_input:
            if name not in names or name in fed:
                free = [n for n in names if n not in fed and not self._is_time(n)]
                self.wrong.append(f"known: expected one of {', '.join(free) or 'no input'}, found {name!r}")
        if given.time is not None and not any(map(self._is_time, names)):
            self.wrong.append("time: expected none, because the model takes no time stamps, found some")

    def _batch(self, cut: Cut) -> int:
        """Sequences in the input's array: one, for all of the batch, where it has no batch axis."""
        return self.batch if cut.batch_axis >= 0 else 1

    def _is_time(self, name: str) -> bool:
        return self.plan.description is not None and self.plan.description.time == name

    def _is_windows(self, name: str) -> bool:
        return self.plan.description is not None and bool(self.plan.description.known) and name == KNOWN

    def arrays(self, newest: list[Array | None], history: list[Array | None]) -> list[Array]:
        """One array per input, from its newest frame (batch, 1, ...) and, where there are past frames, these."""
        made = [self._input(i, cut, newest[i], history[i]) for i, cut in enumerate(self.plan.inputs)]
        if self.wrong:
            raise ShapeError("; ".join(self.wrong))
        return [array for array in made if array is not None]

    def _input(self, index: int, cut: Cut, newest: Array | None, history: Array | None) -> Array | None:
        if self._is_time(cut.name):
            return self._times(cut, newest)
        if self._is_windows(cut.name):
            return self._windows(cut)
        if newest is None:
            return None
        fed = index in [link.input for link in self.plan.links]
        constant = cut.frames_axis < 0 and not self.plan.step_model
        if fed or constant:  # what is fed back is written over; static columns keep their value
            future: Array | None = np.repeat(newest, self.future, 1)
        else:
            future = self._known(cut)
        return future if history is None or future is None else np.concatenate([history, future], 1)

    def _known(self, cut: Cut) -> Array | None:
        """Values that the caller knows of an input of its own."""
        if not self.future:
            return np.zeros((self._batch(cut), 0, *cut.frame), cut.dtype)
        if cut.name not in self.by_input:
            self.wrong.append(
                f"known: expected {{{cut.name!r}: the {self.future} frames to come}}, because nothing is fed back to it, found nothing"
            )
            return None
        return self._frames(f"known {cut.name!r}", cut, cut.frame, self.future)

    def _windows(self, cut: Cut) -> Array | None:
        """At each frame the known values of the next `horizon` times."""
        assert self.plan.description is not None
        horizon, columns = self.plan.horizon, len(self.plan.description.known)
        frames = self.past + self.future
        if not frames:
            return np.zeros((self._batch(cut), 0, *cut.frame), cut.dtype)
        times = frames + horizon
        if cut.name not in self.by_input:
            names = ", ".join(self.plan.description.known)
            self.wrong.append(f"known: expected {names} of {self._times_text(times)}, found nothing")
            return None
        values = self._frames("known", cut, (columns,), times)
        if values is None:
            return None
        view = np.lib.stride_tricks.sliding_window_view(values[:, 1:], horizon, axis=1)
        return np.moveaxis(view, -1, 2).reshape(-1, frames, *cut.frame)

    def _times_text(self, times: int) -> str:
        return (
            f"{times} times ({self.past} of the history, {times - self.past} to come)"
            if self.past
            else f"the {times} times to come"
        )

    def _frames(self, place: str, cut: Cut, frame: tuple[int, ...], frames: int) -> Array | None:
        """The caller's values of an input, (frames, ...) or (batch, frames, ...), as (batch, frames, ...); None, and what is
        wrong, where they do not fit."""
        array = _array(self.by_input[cut.name])
        shape, batch, dtype = (frames, *frame), self._batch(cut), cut.dtype
        if array.dtype != dtype and array.dtype.kind in "fiub" and np.dtype(dtype).kind == "f":
            given = array
            with np.errstate(over="ignore"):
                array = given.astype(dtype)
            if (np.isinf(array) & ~np.isinf(given)).any():
                self.wrong.append(f"{place}: expected numbers of {dtype}'s range, found {np.abs(given).max():g}")
                return None
        if array.dtype == dtype and array.shape in (shape, (batch, *shape)):
            return np.ascontiguousarray(np.broadcast_to(array, (batch, *shape)))
        self.wrong.append(
            f"{place}: expected {dtype} of shape {shape}{_batch_text(batch, shape)}, found {_found(array)}"
        )
        return None

    def _times(self, cut: Cut, newest: Array | None) -> Array | None:
        """Minutes of past and future frames: the newest time goes on."""
        assert self.plan.description is not None and self.plan.description.between is not None
        batch = self._batch(cut)
        past = np.zeros((batch, 0), "M8[s]")
        if self.given.time is not None:
            times = as_times(self.given.time)
            shape = (self.past,) if self.past else ()
            if times is None or times.shape not in (shape, (batch, *shape)):
                self.wrong.append(
                    f"time: expected {'a time stamp for each frame' if self.past else 'the time stamp of the newest frame'}, "
                    f"datetime64 or minutes since 1970, of shape {shape}{_batch_text(batch, shape)}, found {_found(self.given.time)}"
                )
                return None
            times = np.broadcast_to(times, (batch, *shape)).reshape(batch, -1)
            past, last = times[:, : self.past], times[:, -1]
        elif newest is not None and not self.past:
            last = (60 * newest.reshape(batch).astype(np.int64)).astype("M8[s]")
        else:
            self.wrong.append(f"time: expected {self.past} time stamps, one for each frame, found nothing")
            return None
        future = self.plan.description.between.after(last, self.future)
        minutes = np.concatenate([past, future], 1).astype(np.int64) // 60
        if np.abs(minutes).max(initial=0) > MOST_MINUTES:
            self.wrong.append("time: expected minutes within 32 bits (until the year 6053), found later ones")
            return None
        return minutes.astype(np.int32).reshape(batch, self.past + self.future, *cut.frame)


def _batch_text(batch: int, shape: tuple[int, ...]) -> str:
    return f" or {(batch, *shape)}" if batch > 1 else ""


def as_times(value: ArrayLike) -> Array | None:
    """datetime64, or whole minutes since 1970, as datetime64[s]; None for anything else, and where one is missing."""
    array = _array(value)
    if array.dtype.kind == "M":
        try:
            return None if np.isnat(array).any() else array.astype("M8[s]")
        except OverflowError:  # attoseconds
            return None
    if array.dtype.kind not in "iu":
        return None
    # What is beyond 32 bits stays so, without leaving 64.
    return (60 * np.clip(array.astype(np.float64), -(2.0**40), 2.0**40).astype(np.int64)).astype("M8[s]")


def _array(value: Any) -> Array:
    """`value` as an array; rows of several lengths are one of objects, which fits nowhere."""
    try:
        return np.asarray(value)
    except ValueError:
        return np.array([None])


def _found(value: Any) -> str:
    array = _array(value)
    return f"{array.dtype} of shape {array.shape}"
