"""Keras 1 configs in the words of Keras 2."""

from __future__ import annotations

from typing import Any

from ...errors import UnsupportedModelError

_RENAMED = {
    "output_dim": "units",
    "inner_activation": "recurrent_activation",
    "nb_filter": "filters",
    "border_mode": "padding",
    "bias": "use_bias",
    "subsample": "strides",
    "subsample_length": "strides",
    "filter_length": "kernel_size",
    "pool_length": "pool_size",
    "stride": "strides",
    "atrous_rate": "dilation_rate",
    "length": "size",
}


def modernise(cls: str, values: dict[str, Any], place: str) -> tuple[str, dict[str, Any]]:
    """Class name and config of a Keras 1 layer as Keras 2 would write them."""
    kept = ("output_dim",) if cls == "Embedding" else ()
    new = {k if k in kept else _RENAMED.get(k, k): v for k, v in values.items()}
    if cls == "Merge":
        return _merge(new, place)
    if cls in ("MaxoutDense", "Highway"):
        raise UnsupportedModelError(
            f"layer {place!r} ({cls}): not supported; rebuild it from Dense layers in a later Keras"
        )
    if "nb_row" in new:
        new["kernel_size"] = [new.pop("nb_row"), new.pop("nb_col")]
    if new.get("dim_ordering") in ("th", "tf"):
        new["data_format"] = "channels_first" if new["dim_ordering"] == "th" else "channels_last"
    new.pop("dim_ordering", None)
    if cls == "RepeatVector" and "size" in new:
        new["n"] = new.pop("size")
    if cls == "BatchNormalization" and new.pop("mode", 0) != 0:
        raise UnsupportedModelError(
            f"layer {place!r} (BatchNormalization): mode {values['mode']} normalises by the batch at hand; "
            "expected mode 0"
        )
    return cls, new


_MERGE = {
    "sum": "Add",
    "mul": "Multiply",
    "ave": "Average",
    "max": "Maximum",
    "concat": "Concatenate",
    "dot": "Dot",
    "cos": "Dot",
}


def _merge(values: dict[str, Any], place: str) -> tuple[str, dict[str, Any]]:
    """Merge(mode=...) of a functional model as the layer that took its place."""
    mode = values.get("mode", "sum")
    if values.get("mode_type", "raw") != "raw" or mode not in _MERGE:
        raise UnsupportedModelError(
            f"layer {place!r} (Merge): mode {str(mode)[:40]!r}: expected one of {', '.join(_MERGE)}"
        )
    new = {"name": values.get("name")}
    if mode == "concat":
        new["axis"] = values.get("concat_axis", -1)
    if mode in ("dot", "cos"):
        new["axes"], new["normalize"] = values.get("dot_axes", -1), mode == "cos"
    return _MERGE[mode], new
