"""The options of TFLite's operators: the fields of their tables, in the order of the schema's slots."""

from __future__ import annotations

from typing import Any, NamedTuple


class Field(NamedTuple):
    """A scalar, string or int-vector field of a table of options."""

    slot: int
    kind: str  # i8 i32 u32 f32 bool str ints
    default: Any


def _fields(*rows: str) -> dict[str, Field]:
    """'name kind' or 'name kind default' per slot, in slot order."""
    out = {}
    for slot, row in enumerate(rows):
        name, kind, *default = row.split()
        value: Any = {"str": "", "ints": None, "bool": False, "f32": 0.0}.get(kind, 0)
        if default:
            value = bool(int(default[0])) if kind == "bool" else int(default[0])
        out[name] = Field(slot, kind, value)
    return out


_FUSED = _fields("activation i8")
_SUM = _fields("activation i8", "pot_scale_int16 bool 1")
_REDUCER = _fields("keep_dims bool")
# BuiltinOptions number -> fields. An operator whose options are of another type is refused if they say anything.
OPTIONS: dict[int, dict[str, Field]] = {
    1: _fields(
        "padding i8",
        "stride_w i32",
        "stride_h i32",
        "activation i8",
        "dilation_w i32 1",
        "dilation_h i32 1",
        "quantized_bias_type i8",
    ),
    2: _fields(
        "padding i8",
        "stride_w i32",
        "stride_h i32",
        "depth_multiplier i32",
        "activation i8",
        "dilation_w i32 1",
        "dilation_h i32 1",
    ),
    5: _fields("padding i8", "stride_w i32", "stride_h i32", "filter_w i32", "filter_h i32", "activation i8"),
    7: _fields("activation i8", "asymmetric bool"),
    8: _fields("activation i8", "weights_format i8", "keep_num_dims bool", "asymmetric bool", "quantized_bias_type i8"),
    9: _fields("beta f32"),
    10: _fields("axis i32", "activation i8"),
    11: _SUM,
    12: _FUSED,
    14: _fields("activation i8", "cell_clip f32", "proj_clip f32", "kernel_type i8", "asymmetric bool"),
    15: _fields("height i32", "width i32", "align_corners bool", "half_pixel_centers bool"),
    16: _fields("subgraph u32"),
    17: _fields("new_shape ints"),
    19: _fields("block_size i32"),
    21: _FUSED,
    23: _fields("axis i32", "batch_dims i32"),
    27: _REDUCER,
    28: _SUM,
    29: _FUSED,
    30: _fields("squeeze_dims ints"),
    31: _fields("time_major bool", "activation i8", "asymmetric bool"),
    32: _fields(
        "begin_mask i32",
        "end_mask i32",
        "ellipsis_mask i32",
        "new_axis_mask i32",
        "shrink_axis_mask i32",
        "offset bool",
    ),
    35: _fields("num_splits i32"),
    37: _fields("in_type i8", "out_type i8"),
    40: _fields("output_type i8"),
    49: _fields("padding i8", "stride_w i32", "stride_h i32", "activation i8", "quantized_bias_type i8"),
    55: _fields("out_type i8"),
    57: _fields("output_type i8"),
    58: _fields("min f32", "max f32", "num_bits i32", "narrow_range bool"),
    59: _fields("values_count i32", "axis i32"),
    61: _fields("axis i32"),
    64: _fields("num i32", "axis i32"),
    69: _fields(
        "activation i8", "cell_clip f32", "proj_clip f32", "merge_outputs bool", "time_major bool 1", "asymmetric bool"
    ),
    70: _fields("time_major bool", "activation i8", "merge_outputs bool", "asymmetric bool"),
    71: _fields(
        "activation i8",
        "cell_clip f32",
        "proj_clip f32",
        "time_major bool",
        "asymmetric bool",
        "diagonal_recurrent bool",
    ),
    74: _fields("align_corners bool", "half_pixel_centers bool"),
    75: _fields("alpha f32"),
    77: _fields("mode i8"),
    79: _fields("num_splits i32"),
    87: _fields("seq_dim i32", "batch_dim i32"),
    92: _fields("then_subgraph i32", "else_subgraph i32"),
    93: _fields("cond_subgraph i32", "body_subgraph i32"),
    94: _fields("block_size i32"),
    101: _fields("adj_x bool", "adj_y bool", "asymmetric bool"),
    102: _fields("exclusive bool", "reverse bool"),
    103: _fields("init_subgraph i32"),
    111: _fields("container str", "shared_name str"),
    116: _fields("approximate bool"),
}
