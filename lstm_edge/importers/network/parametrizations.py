"""Weights that torch keeps as what they are computed from (weight_norm, spectral_norm), as the weights themselves.

torch.nn.utils.parametrizations names them NAME.parametrizations.weight.original0 and the like, the older torch.nn.utils
weight_g, weight_v, weight_orig, weight_u.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod

import numpy as np

from ...errors import UnsupportedModelError

_NEW = re.compile(r"(?:(?P<module>.*)\.)?parametrizations\.(?P<weight>[^.]+)\.(?P<part>.+)")
_OLD = re.compile(r"(?P<name>.+)_(?P<part>g|v|u|orig)")
_LEAST = 1e-12  # of a norm that something is divided by


def computed(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays with each such weight in the place of its parts, and notes. UnsupportedModelError names a
    parametrization that is none of these."""
    found: dict[str, np.ndarray] = {}
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        weight, part = _part(name, arrays)
        if part:
            parts.setdefault(weight, {})[part] = array
            found.setdefault(weight, array)  # keeps the weight's place in the order
        else:
            found[name] = array
    names: dict[str, list[str]] = {}
    for weight, own in parts.items():
        kind, found[weight] = _weight(weight, own)
        names.setdefault(kind, []).append(weight)
    return found, [
        f"{kind} of {', '.join(of)}: the weights were computed from their parts" for kind, of in names.items()
    ]


def _part(name: str, arrays: Mapping[str, np.ndarray]) -> tuple[str, str]:
    """The weight that an array is a part of, and which; '' for a whole one."""
    match = _NEW.fullmatch(name)
    if match is not None:
        module = f"{match['module']}." if match["module"] else ""
        return f"{module}{match['weight']}", match["part"]
    match = _OLD.fullmatch(name)
    if match is None:
        return name, ""
    weight = match["name"]
    if f"{weight}_v" not in arrays or weight in arrays:
        return name, ""
    is_weight_norm = f"{weight}_g" in arrays and match["part"] in "gv"
    is_spectral = f"{weight}_orig" in arrays and f"{weight}_u" in arrays and match["part"] != "g"
    return (weight, f"_{match['part']}") if is_weight_norm or is_spectral else (name, "")


def _weight(name: str, parts: Mapping[str, np.ndarray]) -> tuple[str, np.ndarray]:
    """The kind of the parametrization, and the weight."""
    for kind, wanted in (("weight_norm", ("original0", "original1")), ("weight_norm", ("_g", "_v"))):
        if parts.keys() == set(wanted):
            return kind, _of_norm(name, *(parts[p].astype(np.float64) for p in wanted))
    for spectral in (("original", "0._u", "0._v"), ("_orig", "_u", "_v")):
        if parts.keys() == set(spectral):
            return "spectral_norm", _of_spectrum(name, *(parts[p].astype(np.float64) for p in spectral))
    raise UnsupportedModelError(
        f"{name!r} is kept as {', '.join(sorted(parts))}, a parametrization that is neither weight_norm nor "
        f"spectral_norm: call torch.nn.utils.parametrize.remove_parametrizations(module, {name.rpartition('.')[2]!r}) "
        "before saving"
    )


def _of_norm(name: str, size: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Rows of the direction's, each as long as `size` says; all of it where that is one number."""
    axes = tuple(d for d, n in enumerate(size.shape) if n == 1) if size.ndim else None
    if size.ndim not in (0, direction.ndim) or any(n not in (1, m) for n, m in zip(size.shape, direction.shape)):
        raise UnsupportedModelError(f"{name}: a weight_norm of shapes {list(size.shape)} and {list(direction.shape)}")
    norm = np.sqrt(np.sum(direction**2, axis=axes, keepdims=size.ndim > 0))
    return np.asarray(size * direction / np.maximum(norm, _LEAST), np.float32)


def _of_spectrum(name: str, weight: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The weight by its largest singular value, which u and v stand for: u along one axis, v along all others."""
    for axis, count in enumerate(weight.shape):
        if (u.size, v.size) == (count, prod(weight.shape) // count):
            matrix = np.moveaxis(weight, axis, 0).reshape(count, -1)
            return np.asarray(weight / (u @ matrix @ v), np.float32)
    raise UnsupportedModelError(
        f"{name}: a spectral_norm of shapes {list(weight.shape)}, {list(u.shape)}, {list(v.shape)}"
    )
