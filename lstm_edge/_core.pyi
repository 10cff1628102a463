"""Types of the compiled module."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .insight.trace import Trace

class Port(NamedTuple):
    name: str
    shape: tuple[int | str, ...] | None
    dtype: str

class Layout:
    port: Port
    batch_axis: int
    frames_axis: int
    known: bool

Array = NDArray[Any]
Triple = tuple[int, int, int]
Box = tuple[int, int, int, int, Triple, Triple, Triple]  # output, input, from, to, size, from_step, to_step

def isas() -> list[tuple[str, bool]]: ...
def isa_needs() -> dict[str, tuple[str, ...]]: ...
def probe(isa: str, kind: str, times: int, data: Any = b"") -> float: ...
def load(path: Any, isa: str | None = None) -> Model: ...

class Model:
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    states: tuple[Port, ...]
    metadata: dict[str, Any]
    isa: str
    in_layouts: tuple[Layout, ...]
    out_layouts: tuple[Layout, ...]
    plans: dict[Any, Any]
    def __init__(self, data: bytes | bytearray | memoryview, isa: str | None = None) -> None: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def ops(self) -> list[tuple[str, str]]: ...
    @property
    def is_step_model(self) -> bool: ...
    def stream(self, batch: int | None = None) -> Stream: ...
    def run(self, *arrays: ArrayLike, lengths: ArrayLike | None = None, **named: ArrayLike) -> Any: ...
    def trace(self, *arrays: ArrayLike, lengths: ArrayLike | None = None, **named: ArrayLike) -> Trace: ...
    def _arrange(self, arrays: Sequence[ArrayLike], named: Mapping[str, ArrayLike]) -> list[Array]: ...
    def _begin(self, values: list[Array]) -> tuple[Stream, int, int, bool]: ...
    def _end(self, stream: Stream) -> None: ...
    def _ragged_parts(
        self, values: list[Array], lengths: ArrayLike
    ) -> tuple[int, int, list[tuple[Array, list[Array]]]]: ...
    def forecast(
        self,
        history: ArrayLike | Mapping[str, ArrayLike],
        steps: int,
        *,
        known: ArrayLike | Mapping[str, ArrayLike] | None = None,
        time: ArrayLike | None = None,
        feedback: Mapping[str, str] | None = None,
        window: int | None = None,
    ) -> Any: ...
    def _array(self, index: int, value: ArrayLike) -> Array: ...

class Stream:
    model: Model
    batch: int
    batched: bool
    def __init__(
        self, model: Model, batch: int | None = None, frames: int = 1, lengths: Sequence[int] = ()
    ) -> None: ...
    def step(self, *arrays: ArrayLike, out: np.ndarray | None = None, **named: ArrayLike) -> Any: ...
    def run(self, *arrays: ArrayLike, **named: ArrayLike) -> Any: ...
    def forecast(
        self,
        steps: int,
        *,
        known: ArrayLike | Mapping[str, ArrayLike] | None = None,
        time: ArrayLike | None = None,
        feedback: Mapping[str, str] | None = None,
    ) -> Any: ...
    def _newest(self, index: int, shape: tuple[int, ...]) -> Array | None: ...
    def _output_shapes(self, frames: int) -> list[tuple[int, ...] | None]: ...
    def _roll(
        self,
        count: int,
        frames: int,
        fresh: bool,
        inputs: Sequence[Array],
        advance: Sequence[int],
        outputs: Sequence[Array],
        feeds: Sequence[Box],
        keeps: Sequence[Box],
        kept: Sequence[Array],
    ) -> None: ...
    def reset(self) -> None: ...
    state: dict[str, Array]
    def adaptation(
        self, forgetting: float | None = 0.99, regularisation: float = 0.1, output: str | None = None
    ) -> None: ...
    def adapt(self, y: ArrayLike) -> None: ...
    @property
    def nbytes(self) -> int: ...
    def _repeat(self, values: list[np.ndarray], frames: int, times: int) -> float: ...
    def profile(self, on: bool = True) -> None: ...
    @property
    def op_seconds(self) -> list[float] | None: ...
