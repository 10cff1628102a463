"""Keras configs of every version as one tree of layers: names of Keras 1 and of TF 1 aliases translated, version
rules decided."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import FormatError, ShapeError, UnsupportedModelError
from .. import plugins
from .v1 import modernise

MAX_DEPTH = 32  # models within models

ALIASES = {
    "Model": "Functional",
    "CuDNNLSTMV2": "CuDNNLSTM",
    "UnifiedLSTM": "LSTM",
    "LSTMV2": "LSTM",
    "UnifiedGRU": "GRU",
    "GRUV2": "GRU",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "SeparableConvolution1D": "SeparableConv1D",
    "SeparableConvolution2D": "SeparableConv2D",
    "Convolution1DTranspose": "Conv1DTranspose",
    "Convolution2DTranspose": "Conv2DTranspose",
    "Deconvolution2D": "Conv2DTranspose",
    "TimeDistributedDense": "Dense",
    "AvgPool1D": "AveragePooling1D",
    "AvgPool2D": "AveragePooling2D",
    "MaxPool1D": "MaxPooling1D",
    "MaxPool2D": "MaxPooling2D",
    "GlobalAvgPool1D": "GlobalAveragePooling1D",
    "GlobalAvgPool2D": "GlobalAveragePooling2D",
    "GlobalMaxPool1D": "GlobalMaxPooling1D",
    "GlobalMaxPool2D": "GlobalMaxPooling2D",
}
MODELS = ("Sequential", "Functional")
LAST_MINOR = 99  # where a version says its first number alone: the last of that number is meant
CELL_OPS = {
    "LSTM": "LSTM",
    "GRU": "GRU",
    "SimpleRNN": "RNN",
    "CuDNNLSTM": "LSTM",
    "CuDNNGRU": "GRU",
    "LSTMCell": "LSTM",
    "GRUCell": "GRU",
    "SimpleRNNCell": "RNN",
    "PeepholeLSTMCell": "LSTM",
}
_TF_OPS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")
# In the HDF5 files of Keras 3 an operation differs from a layer by its config alone, which lacks `trainable` as these
# do.
_UNTRAINED = (*MODELS, "InputLayer", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")


@dataclass(frozen=True)
class Version:
    """The Keras that wrote a model; it decides defaults that the config leaves out."""

    text: str
    major: int
    minor: int
    is_tf: bool  # tf.keras and every Keras from 2.4 on, against stand-alone Keras 1.0 to 2.3

    @staticmethod
    def parse(text: str) -> Version:
        numbers = re.match(r"(\d+)(?:\.(\d+))?", text)
        major = int(numbers[1]) if numbers else 3
        minor = int(numbers[2]) if numbers and numbers[2] else LAST_MINOR if major >= 2 else 0
        return Version(text or "3", major, minor, "tf" in text or (major, minor) >= (2, 4))

    @property
    def hard_sigmoid(self) -> tuple[float, float]:
        """Slope and offset: 0.2 x + 0.5 up to Keras 2, x / 6 + 0.5 since Keras 3."""
        return (0.2, 0.5) if self.major < 3 else (1 / 6, 0.5)

    @property
    def recurrent_activation(self) -> str:
        """The default of LSTM and GRU where the config does not say: sigmoid since Keras 3 and in TF 2's Keras."""
        return "sigmoid" if (self.major, self.minor) >= (2, 4) else "hard_sigmoid"


class Config:
    """A layer's config that remembers what was read, so that what nobody read can be refused by name."""

    def __init__(self, values: dict[str, Any], place: str):
        self.values, self.place = values, place
        self._read: set[str] = set()

    def take(self, key: str, default: Any = None) -> Any:
        self._read.add(key)
        return self.values.get(key, default)

    def flag(self, key: str, default: bool = False) -> bool:
        return bool(self.take(key, default))

    def size(self, key: str, default: int | None = None) -> int:
        """A positive integer."""
        value = self.take(key, default)
        if isinstance(value, (list, tuple)) and len(value) == 1:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 1:
            raise FormatError(f"{self.place}: {key}: expected a positive integer, found {value!r}")
        return int(value)

    def number(self, key: str, default: float | None = None) -> float:
        """A float; numbers that Keras wrapped as {'value': x} or a serialised array are unwrapped."""
        value = self.take(key, default)
        if isinstance(value, dict):
            value = value.get(
                "value", value.get("config", {}).get("value") if isinstance(value.get("config"), dict) else None
            )
        value = np.ravel(value)[0] if isinstance(value, (list, tuple)) and len(np.ravel(value)) == 1 else value
        if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)):
            raise FormatError(f"{self.place}: {key}: expected a number, found {self.values.get(key, default)!r}")
        return float(value)

    def word(self, key: str, words: tuple[str, ...], default: str) -> str:
        value = self.take(key, default)
        value = default if value is None else value
        if value not in words:
            raise UnsupportedModelError(f"{self.place}: {key}: expected one of {', '.join(words)}, found {value!r}")
        return value

    def sizes(self, key: str, rank: int, default: int = 1) -> list[int]:
        """`rank` positive integers, given as one or as a list."""
        value = self.take(key, default)
        value = [default] * rank if value is None else value
        value = [value] * rank if isinstance(value, (int, float)) else list(value)
        if len(value) != rank or not all(isinstance(v, int) and v >= 1 for v in value):
            raise FormatError(f"{self.place}: {key}: expected {rank} positive integers, found {value!r}")
        return value

    def unread(self) -> list[str]:
        """Keys that nobody read, that are not neutral by name and whose value says something."""
        return [
            k
            for k, v in self.values.items()
            if k not in self._read and not _neutral(k) and v not in (None, False, 0, "", [], {})
        ]


_NEUTRAL = frozenset(
    """name trainable dtype batch_input_shape batch_shape input_shape input_dtype sparse ragged seed noise_shape rate
    dropout recurrent_dropout implementation unroll stateful unit_forget_bias input_length input_dim use_cudnn
    build_config shared_object_id consume_less init inner_init forget_bias_init dropout_W dropout_U momentum renorm
    renorm_clipping renorm_momentum fused virtual_batch_size synchronized autocast optional lora_rank lora_alpha
    weights layers experimental_autocast force_generator recurrent_dropout_seed input_shapes beta_1
    activity_regularizer W_learning_rate_multiplier b_learning_rate_multiplier original_keras_version p sigma stddev
    l1 l2 jit_compile l2_lambda cast_inputs query_shape key_shape value_shape""".split()
)
_NEUTRAL_ENDINGS = ("_initializer", "_regularizer", "_constraint", "_init")


def _neutral(key: str) -> bool:
    return key in _NEUTRAL or key.endswith(_NEUTRAL_ENDINGS)


@dataclass
class Layer:
    """One layer, cell, model or graph operation of a config.

    `children`: wrapped layers, cells, a model's layers. `weights`: by variable name, filled in by keras_weights.
    `nodes`: the calls of a layer of a functional model, as the config spells them.
    """

    cls: str
    name: str
    config: Config
    version: Version
    is_op: bool = False
    children: list[Layer] = field(default_factory=list)
    nodes: list[Any] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    trainable: bool = True
    custom: bool = False
    written: str = ""  # the class as the file names it, before aliases

    @property
    def place(self) -> str:
        return self.config.place

    @property
    def rule(self) -> plugins.Rule | None:
        """What the user registered for it: for its class, or for the name of a Lambda."""
        return plugins.layer_rule(self.name if self.written == "Lambda" else self.written)

    def weight(self, key: str, shape: Sequence[int | None], data: np.ndarray | None = None) -> np.ndarray:
        """The array `key` (or `data` in its place), its shape checked (None: any size)."""
        array = self.weights[key] if data is None else data
        if array.ndim != len(shape) or any(w is not None and w != s for w, s in zip(shape, array.shape)):
            wanted = "(" + ", ".join("any" if w is None else str(w) for w in shape) + ")"
            raise ShapeError(f"{self.place}: weight {key}: expected shape {wanted}, found {array.shape}")
        return array


def parse_model(config: dict[str, Any], version: Version) -> Layer:
    """The tree of a serialised model. FormatError when the config is not one."""
    if not isinstance(config.get("class_name"), str) or "config" not in config:
        raise FormatError(f"model config: expected class_name and config, found keys {sorted(config)[:8]}")
    model = parse_layer(config, version, "")
    if model.cls not in MODELS:
        raise UnsupportedModelError(
            f"model {model.name!r}: a subclassed model ({model.cls}) says nothing of its network in its config; "
            "rebuild it as Sequential or functional, or export it to ONNX"
        )
    return model


def parse_layer(entry: Any, version: Version, path: str, depth: int = 0) -> Layer:
    """`entry`: {class_name, config, module?, registered_name?, inbound_nodes?} as any Keras writes it."""
    if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
        raise FormatError(
            f"model config at {path or 'root'}: expected a layer with class_name, found {str(entry)[:80]!r}"
        )
    if depth > MAX_DEPTH:
        raise FormatError(f"model config at {path}: models nested deeper than {MAX_DEPTH}")
    cls: str = entry["class_name"]
    values: Any = entry.get("config", {})
    if isinstance(values, list):  # Sequential up to Keras 2.1
        values = {"layers": values}
    if not isinstance(values, dict):
        raise FormatError(f"model config at {path}/{cls}: expected a config object, found {str(values)[:80]!r}")
    registered = entry.get("registered_name")
    module = str(entry.get("module") or "")
    custom = ">" in f"{cls}{registered}" or module.split(".")[0] not in (
        "",
        "keras",
        "tf_keras",
        "keras_core",
        "tensorflow",
        "builtins",
    )
    cls = cls.split(">")[-1]
    written = cls
    name = str(entry.get("name") or values.get("name") or snake_case(cls))
    where = f"{path}/{name}".strip("/")
    if version.major == 1:
        cls, values = modernise(cls, values, where)
    cls = ALIASES.get(cls, cls)
    is_functional = "input_layers" in values
    if cls not in MODELS and isinstance(values.get("layers"), list) and (is_functional or "Sequential" in cls):
        cls = "Functional" if is_functional else "Sequential"  # a subclass of Model that kept a functional config
    if cls == "Functional" and not is_functional and isinstance(values.get("layers"), list):
        cls = "Sequential"
    layer = Layer(
        cls,
        name,
        Config(values, f"layer {where!r} ({cls})"),
        version,
        custom=custom,
        trainable=values.get("trainable", True) is not False,
        nodes=_nodes(entry),
        written=written,
    )
    layer.is_op = (
        cls in _TF_OPS
        or ".ops" in module
        or (version.major >= 3 and not module and "trainable" not in values and cls not in _UNTRAINED)
    )
    layer.children = [parse_layer(c, version, where if depth else "", depth + 1) for c in _children(layer)]
    _refuse_dtype(layer)
    return layer


def _nodes(entry: dict[str, Any]) -> list[Any]:
    nodes = entry.get("inbound_nodes") or []
    if not isinstance(nodes, list):
        raise FormatError(f"layer {entry.get('name')!r}: inbound_nodes: expected a list, found {str(nodes)[:80]!r}")
    return nodes


def _children(layer: Layer) -> list[dict[str, Any]]:
    """Configs of what `layer` holds, in the order its weights are listed."""
    values = layer.config.values
    if layer.cls in MODELS:
        layers = layer.config.take("layers")
        if not isinstance(layers, list):
            raise FormatError(f"{layer.place}: expected a list of layers, found {str(layers)[:80]!r}")
        if (
            layer.cls == "Sequential"
            and layers
            and isinstance(layers[0], dict)
            and layers[0].get("class_name") == "Merge"
        ):
            raise UnsupportedModelError(
                f"{layer.place}: a Sequential that starts with Merge; rebuild it as a functional model"
            )
        return layers
    if layer.cls == "Bidirectional":
        forward = _inner(layer, "layer")
        backward = values.get("backward_layer")
        if backward is None:
            inner = dict(forward.get("config", {}))
            inner["go_backwards"] = not inner.get("go_backwards", False)
            backward = {**forward, "config": inner}
        layer.config.take("layer"), layer.config.take("backward_layer")
        return [forward, backward]
    if layer.cls in ("TimeDistributed",):
        return [_inner(layer, "layer")]
    if layer.cls == "RNN":
        return [_inner(layer, "cell")]
    if layer.cls == "StackedRNNCells":
        return list(layer.config.take("cells") or [])
    return []


def _inner(layer: Layer, key: str) -> dict[str, Any]:
    inner = layer.config.take(key)
    if not isinstance(inner, dict):
        raise FormatError(f"{layer.place}: {key}: expected a layer, found {str(inner)[:80]!r}")
    return inner


def _refuse_dtype(layer: Layer) -> None:
    """Refuses layers that Keras quantised: their weights are int8 with scales of Keras's own."""
    dtype = layer.config.values.get("dtype")
    inner = dtype.get("config", {}) if isinstance(dtype, dict) else {}
    name = str(inner.get("name") or inner.get("mode") or dtype)
    if "int8" in name or "int4" in name or "float8" in name or "gptq" in name or "Quantized" in str(dtype):
        raise UnsupportedModelError(
            f"{layer.place}: quantised by Keras ({name[:40]}); convert the float model and quantise it with "
            "lstm-edge quantize"
        )


def snake_case(name: str) -> str:
    """Keras's name for a class in weight paths: LSTM -> lstm, SimpleRNN -> simple_rnn."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
