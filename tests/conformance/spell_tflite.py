"""TFLite files from lines such as `t("SOFTMAX", x, beta=1.0)`, written with the flatbuffers library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conformance.case import EXPORTED, Case, Input, Later
from lstm_edge.importers.tflite.names import OPERATORS
from lstm_edge.importers.tflite.options import OPTIONS
from lstm_edge.importers.tflite.schema import IDENTIFIER, SCHEMA_VERSION, TYPES

flatbuffers = Later("flatbuffers")
TYPE_NUMBERS = {name: n for n, (name, _) in enumerate(TYPES)}
# The kind of options of every operator that has some, by the number that the schema gives it.
OPTIONS_OF = {
    1: "CONV_2D",
    2: "DEPTHWISE_CONV_2D",
    5: "AVERAGE_POOL_2D MAX_POOL_2D",
    8: "FULLY_CONNECTED",
    9: "SOFTMAX",
    10: "CONCATENATION",
    11: "ADD",
    12: "L2_NORMALIZATION",
    17: "RESHAPE",
    19: "SPACE_TO_DEPTH",
    21: "MUL",
    23: "GATHER",
    27: "MEAN SUM REDUCE_MAX REDUCE_MIN REDUCE_PROD REDUCE_ANY REDUCE_ALL",
    28: "SUB",
    29: "DIV",
    30: "SQUEEZE",
    31: "UNIDIRECTIONAL_SEQUENCE_RNN",
    32: "STRIDED_SLICE",
    35: "SPLIT",
    49: "TRANSPOSE_CONV",
    59: "PACK",
    61: "ONE_HOT",
    64: "UNPACK",
    69: "BIDIRECTIONAL_SEQUENCE_LSTM",
    70: "BIDIRECTIONAL_SEQUENCE_RNN",
    71: "UNIDIRECTIONAL_SEQUENCE_LSTM",
    75: "LEAKY_RELU",
    77: "MIRROR_PAD",
    87: "REVERSE_SEQUENCE",
    94: "DEPTH_TO_SPACE",
    101: "BATCH_MATMUL",
    102: "CUMSUM",
    116: "GELU",
}
OPTIONS_NUMBER = {kind: number for number, kinds in OPTIONS_OF.items() for kind in kinds.split()}


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file. signature: -1 for open sizes; data: of a constant; a variable starts at 0 and keeps state. scales: of
    integers that stand for reals, one, or one a row (axis 0)."""

    index: int
    dtype: str
    shape: list[int]
    signature: list[int]
    data: np.ndarray | None = None
    variable: bool = False
    scales: np.ndarray | None = None


class Operators:
    """The operators so far. Numbers and arrays among the inputs of a call become constants: float32, int32 or bool."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.operators: list[tuple[str, list[int], list[int], dict[str, Any]]] = []

    def __call__(self, kind: str, *inputs: Any, outputs: int = 1, dtype: str = "", **options: Any) -> Any:
        """The output tensors. dtype: of all, when it is not that of the first input that is none's constant."""
        at = [self._index(i) for i in inputs]
        run_time = [t for t in inputs if isinstance(t, Tensor) and t.data is None]
        made = [self.tensor(dtype or run_time[0].dtype, [], []) for _ in range(outputs)]
        self.operators.append((kind, at, [t.index for t in made], options))
        return made[0] if outputs == 1 else made

    def tensor(self, dtype: str, shape: list[int], signature: list[int], **more: Any) -> Tensor:
        self.tensors.append(Tensor(len(self.tensors), dtype, shape, signature, **more))
        return self.tensors[-1]

    def variable(self, *shape: int) -> Tensor:
        return self.tensor("float32", list(shape), list(shape), variable=True)

    def input(self, x: Input, is_open: bool) -> Tensor:
        dtype = "int32" if x.dtype == "int64" else x.dtype
        shape = x.shape(EXPORTED)
        return self.tensor(dtype, shape, [-1 if is_open and isinstance(s, str) else n for s, n in zip(x.sizes, shape)])

    def _index(self, value: Any) -> int:
        if value is None:
            return -1
        if isinstance(value, Tensor):
            return value.index
        array = np.asarray(value)
        array = array.astype({"f": np.float32, "i": np.int32}.get(array.dtype.kind, array.dtype))
        return self.tensor(str(array.dtype), list(array.shape), list(array.shape), data=array).index


def model(case: Case, is_open: bool) -> bytes:
    """The case as a .tflite file."""
    t = Operators()
    inputs = [t.input(i, is_open) for i in case.inputs]
    made = case.tflite(t, *inputs)  # type: ignore[operator]
    return written(t, inputs, [made] if isinstance(made, Tensor) else made)


def written(t: Operators, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bytes:
    """The operators as a .tflite file."""
    return _File().write(t, [i.index for i in inputs], [o.index for o in outputs])


class _File:
    """A flatbuffer by the slots of the schema; children are written before their parents."""

    def __init__(self) -> None:
        self.b = flatbuffers.Builder(1024)

    def write(self, t: Operators, inputs: list[int], outputs: list[int]) -> bytes:
        kinds = sorted({kind for kind, *_ in t.operators})
        codes = [self.table({0: ("Int8", min(n, 127)), 3: ("Int32", n)}) for n in map(OPERATORS.index, kinds)]
        constants = [x for x in t.tensors if x.data is not None]
        buffers = [self.table({})] + [self.table({0: ("UOffsetTRelative", self.bytes(x))}) for x in constants]
        tensors = [self.tensor(x, 1 + constants.index(x) if x.data is not None else 0) for x in t.tensors]
        operators = [self.operator(kinds.index(o[0]), *o) for o in t.operators]
        graph = self.table(
            {
                0: self.tables(tensors),
                1: self.ints(inputs),
                2: self.ints(outputs),
                3: self.tables(operators),
            }
        )
        root = self.table(
            {0: ("Uint32", SCHEMA_VERSION), 1: self.tables(codes), 2: self.tables([graph]), 4: self.tables(buffers)}
        )
        self.b.Finish(root, IDENTIFIER)
        return bytes(self.b.Output())

    def tensor(self, x: Tensor, buffer: int) -> int:
        name = self.b.CreateString(f"t{x.index}")
        slots: dict[int, Any] = {0: self.ints(x.shape), 1: ("Int8", TYPE_NUMBERS[x.dtype]), 2: ("Uint32", buffer)}
        slots |= {3: ("UOffsetTRelative", name), 5: ("Bool", x.variable), 7: self.ints(x.signature)}
        if x.scales is not None:
            slots[4] = ("UOffsetTRelative", self.quantization(x.scales))
        return self.table(slots)

    def quantization(self, scales: np.ndarray) -> int:
        slots: dict[int, Any] = {2: ("UOffsetTRelative", self.b.CreateNumpyVector(scales.astype("<f4")))}
        slots[3] = ("UOffsetTRelative", self.b.CreateNumpyVector(np.zeros(len(scales), "<i8")))
        return self.table(slots)

    def operator(self, code: int, kind: str, inputs: list[int], outputs: list[int], options: dict[str, Any]) -> int:
        slots: dict[int, Any] = {0: ("Uint32", code), 1: self.ints(inputs), 2: self.ints(outputs)}
        if options:
            number = OPTIONS_NUMBER[kind]
            slots |= {3: ("Uint8", number), 4: ("UOffsetTRelative", self.options(OPTIONS[number], options))}
        return self.table(slots)

    def options(self, fields: dict[str, Any], given: dict[str, Any]) -> int:
        types = {"i8": "Int8", "i32": "Int32", "u32": "Uint32", "f32": "Float32", "bool": "Bool"}
        slots: dict[int, Any] = {}
        for name, value in given.items():
            slot, kind, _ = fields[name]
            slots[slot] = self.ints(value) if kind == "ints" else (types[kind], value)
        return self.table(slots)

    def table(self, slots: dict[int, tuple[str, Any]]) -> int:
        self.b.StartObject(max(slots, default=-1) + 1)
        for slot, (kind, value) in slots.items():
            getattr(self.b, f"Prepend{kind}Slot" if kind != "Bool" else "PrependBoolSlot")(slot, value, None)
        return int(self.b.EndObject())

    def ints(self, values: list[int]) -> tuple[str, int]:
        return "UOffsetTRelative", self.b.CreateNumpyVector(np.asarray(values, "<i4"))

    def bytes(self, x: Tensor) -> int:
        assert x.data is not None
        values = np.frombuffer(np.ascontiguousarray(x.data).tobytes(), np.uint8)
        self.b.Prep(16, len(values))  # the schema's force_align
        return int(self.b.CreateNumpyVector(values))

    def tables(self, offsets: list[int]) -> tuple[str, int]:
        self.b.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.b.PrependUOffsetTRelative(offset)
        return "UOffsetTRelative", self.b.EndVector()
