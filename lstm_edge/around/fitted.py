"""scikit-learn's fitted scalers, live or as a pickle holds them, by the attributes that its versions give them. scikit-learn is not
imported: the name of a class and of its module say what an object is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import FormatError, UnsupportedModelError
from ..files.unpickler import Inert
from .scaler import Scaler, beside, composed, simple, step

SUPPORTED = "StandardScaler, MinMaxScaler, RobustScaler, MaxAbsScaler, ColumnTransformer and Pipeline of these"
WAY_OUT = {
    "Normalizer": "it divides a row by the row's own length: do that in the network",
    "QuantileTransformer": "its map is no straight line: fit one of the others, or put it in front of the device's values",
    "PowerTransformer": "its map is no straight line: fit one of the others, or take logarithms in the network",
}
MOST_NESTED = 16


def is_fitted_object(value: Any) -> bool:
    """Whether it is an object of scikit-learn, live or out of a pickle."""
    return _module_of(value).split(".")[0] == "sklearn"


def read_fitted(value: Any, depth: int = 0) -> Scaler:
    """The Scaler of a fitted object. UnsupportedModelError names one that is none, FormatError what it lacks."""
    kind = _name_of(value)
    if not is_fitted_object(value):
        raise UnsupportedModelError(f"expected a fitted scaler of scikit-learn ({SUPPORTED}), found {kind}")
    read = _KINDS.get(kind)
    if read is None:
        why = f"; {WAY_OUT[kind]}" if kind in WAY_OUT else ""
        raise UnsupportedModelError(f"{kind}: expected one of {SUPPORTED}{why}")
    if depth > MOST_NESTED:
        raise FormatError(f"{kind}: expected scalers at most {MOST_NESTED} deep in one another")
    return read(kind, _attributes(value), depth)


def _module_of(value: Any) -> str:
    return value.name.rpartition(".")[0] if isinstance(value, Inert) else type(value).__module__


def _name_of(value: Any) -> str:
    if isinstance(value, Inert):
        return value.name if not is_fitted_object(value) else value.name.rpartition(".")[2]
    kind = type(value)
    return (
        kind.__name__
        if kind.__module__.split(".")[0] in ("sklearn", "builtins")
        else f"{kind.__module__}.{kind.__name__}"
    )


def _attributes(value: Any) -> Mapping[str, Any]:
    found = value.state if isinstance(value, Inert) else vars(value)
    if not isinstance(found, Mapping):
        raise FormatError(f"{_name_of(value)}: expected its attributes, found {type(found).__name__}")
    return found


# ---- scalers ---------------------------------------------------------------------------------------------------------


def _column(kind: str, has: Mapping[str, Any], name: str, otherwise: float) -> np.ndarray:
    """An attribute, one number a column; `otherwise` where the scaler does without it."""
    found = has.get(name)
    try:
        return np.array(otherwise if found is None else found, np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise FormatError(f"{kind}: {name}: expected numbers, found {type(found).__name__}") from None


def _width(kind: str, has: Mapping[str, Any], *arrays: np.ndarray) -> int:
    """Columns that it was fitted on; FormatError where it was not fitted."""
    given = [len(a) for a in arrays if len(a) > 1]
    for name in ("n_features_in_", "mean_", "scale_", "std_", "center_", "max_abs_", "min_"):
        found = has.get(name)
        if found is not None:
            width = int(found) if name == "n_features_in_" else np.size(found)
            if 0 < width <= 1 << 20 and all(n == width for n in given):
                return width
            raise FormatError(f"{kind}: expected numbers for {width} columns, found {max(given, default=width)}")
    raise FormatError(f"{kind}: expected a fitted scaler, found one that `fit` was not called on")


def _names(has: Mapping[str, Any], width: int) -> tuple[str, ...]:
    found = has.get("feature_names_in_")
    names = () if found is None else tuple(map(str, found))
    return names if len(names) == width else ()


def _line(kind: str, has: Mapping[str, Any], centre: Any, factor: Any, offset: Any = 0.0, *clip: float) -> Scaler:
    try:
        made = step(centre, factor, offset, *clip)
    except ValueError as why:
        raise FormatError(f"{kind}: expected as many numbers in each of its attributes ({why})") from None
    width = _width(kind, has, made.centre)
    wide = step(np.broadcast_to(made.centre, width), made.factor, made.offset, *clip)
    return simple(kind, wide, _names(has, width))


def _standard(kind: str, has: Mapping[str, Any], depth: int) -> Scaler:
    scale = "std_" if "std_" in has and "scale_" not in has else "scale_"  # before scikit-learn 0.17
    mean = _column(kind, has, "mean_", 0.0) if has.get("with_mean", True) else np.zeros(1)
    return _line(kind, has, mean, 1 / _column(kind, has, scale, 1.0))


def _min_max(kind: str, has: Mapping[str, Any], depth: int) -> Scaler:
    _width(kind, has)
    factor, least = _column(kind, has, "scale_", 1.0), _column(kind, has, "min_", 0.0)
    low, high = (float(v) for v in has.get("feature_range", (0, 1)))
    clip = (low, high) if has.get("clip", False) else ()
    return _line(
        kind, has, (low - least) / factor, factor, low, *clip
    )  # x * factor + least, without its loss of digits


def _robust(kind: str, has: Mapping[str, Any], depth: int) -> Scaler:
    return _line(kind, has, _column(kind, has, "center_", 0.0), 1 / _column(kind, has, "scale_", 1.0))


def _max_abs(kind: str, has: Mapping[str, Any], depth: int) -> Scaler:
    clip = (-1.0, 1.0) if has.get("clip", False) else ()
    return _line(kind, has, 0.0, 1 / _column(kind, has, "scale_", 1.0), 0.0, *clip)


# ---- scalers of scalers ----------------------------------------------------------------------------------------------


def _is_idle(value: Any) -> bool:
    """Whether it hands its columns on: 'passthrough', None, and the transformer that newer versions put in their place."""
    if value is None or isinstance(value, str):
        return value in (None, "passthrough")
    return (
        is_fitted_object(value) and _name_of(value) == "FunctionTransformer" and _attributes(value).get("func") is None
    )


def _pipeline(kind: str, has: Mapping[str, Any], depth: int) -> Scaler:
    parts = []
    for step_name, part in _tuples(kind, has.get("steps"), 2):
        if not _is_idle(part):
            parts.append(_part(kind, str(step_name), part, depth))
    if not parts:
        raise FormatError(f"{kind}: expected steps that scale, found none")
    return composed(f"{kind} of {', '.join(p.kind for p in parts)}", parts)


def _column_transformer(kind: str, has: Mapping[str, Any], depth: int) -> Scaler:
    fitted = has.get("transformers_")
    if fitted is None:
        raise FormatError(f"{kind}: expected a fitted one, found one that `fit` was not called on")
    found = has.get("n_features_in_", has.get("_n_features"))
    given = has.get("feature_names_in_", has.get("_feature_names_in"))
    names = () if given is None else tuple(map(str, given))
    if not isinstance(found, (int, np.integer)) and not names:
        raise FormatError(f"{kind}: expected n_features_in_, the number of columns it was fitted on, found none")
    width = int(found) if isinstance(found, (int, np.integer)) else len(names)
    if not 0 < width <= 1 << 20:
        raise FormatError(f"{kind}: expected a number of columns, found {width}")
    weights = has.get("transformer_weights") or {}
    parts: list[tuple[Scaler, list[int]]] = []
    for part_name, part, columns in _tuples(kind, fitted, 3):
        at = _places(f"{kind}: {part_name}", columns, names, width)
        if not at or (isinstance(part, str) and part == "drop"):
            continue
        idle = simple("passthrough", step(np.zeros(len(at)), 1, 0))
        made = idle if _is_idle(part) else _part(kind, str(part_name), part, depth)
        if weights.get(part_name) is not None:
            heavy = simple("weight", step(np.zeros(len(made.source)), float(weights[part_name]), 0))
            made = composed(made.kind, [made, heavy])
        parts.append((made, at))
    if not parts:
        raise FormatError(f"{kind}: expected columns that it hands on, found none")
    return beside(f"{kind} of {', '.join(dict.fromkeys(p.kind for p, _ in parts))}", width, parts, names)


def _part(kind: str, name: str, part: Any, depth: int) -> Scaler:
    try:
        return read_fitted(part, depth + 1)
    except (FormatError, UnsupportedModelError) as error:
        raise error.at(f"{kind}, {name}") from None


def _tuples(kind: str, found: Any, size: int) -> list[Sequence[Any]]:
    rows = list(found) if isinstance(found, (list, tuple)) else [()]
    if any(not isinstance(row, (list, tuple)) or len(row) != size for row in rows):
        raise FormatError(f"{kind}: expected its parts by name, found {type(found).__name__}")
    return rows


def _places(place: str, columns: Any, names: Sequence[str], width: int) -> list[int]:
    """The raw columns that a ColumnTransformer's part takes: names, numbers, a mask, or a slice of either."""
    if isinstance(columns, Inert):
        columns = _unpickled_columns(columns)
    if hasattr(columns, "data") and isinstance(columns.data, list):  # scikit-learn's own list of what remains
        columns = columns.data
    if isinstance(columns, slice):
        ends = [columns.start, columns.stop, columns.step]
        if any(isinstance(end, str) for end in ends):
            ends[:2] = [_place(place, e, names, width) if e is not None else None for e in ends[:2]]
            ends[1] = None if ends[1] is None else ends[1] + 1
        return list(range(width))[slice(*ends)]
    listed = [columns] if isinstance(columns, (str, int, np.integer)) else list(columns)
    if listed and all(isinstance(c, (bool, np.bool_)) for c in listed):
        return [n for n, taken in enumerate(listed) if taken and n < width]
    return [_place(place, c, names, width) for c in listed]


def _place(place: str, column: Any, names: Sequence[str], width: int) -> int:
    if isinstance(column, str) and column in names:
        return list(names).index(column)
    if isinstance(column, (int, np.integer)) and -width <= column < width:
        return int(column) % width
    raise FormatError(f"{place}: expected columns of the {width} that it was fitted on, found {column!r}")


def _unpickled_columns(columns: Inert) -> Any:
    if columns.name == "builtins.slice":
        return slice(*columns.args)
    if columns.name == "builtins.range":
        return range(*columns.args)
    data = columns.state.get("data") if isinstance(columns.state, Mapping) else None
    if isinstance(data, list):
        return data
    raise FormatError(f"expected columns by name or number, found {columns.name}")


_KINDS = {
    "StandardScaler": _standard,
    "MinMaxScaler": _min_max,
    "RobustScaler": _robust,
    "MaxAbsScaler": _max_abs,
    "Pipeline": _pipeline,
    "ColumnTransformer": _column_transformer,
}
