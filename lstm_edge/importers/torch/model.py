"""PyTorch: live modules, exported programs, TorchScript, checkpoints and safetensors -> Graph."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FormatError, UnsupportedModelError
from ...files import pickles, safetensors
from ...ir.graph import Graph
from . import pt2 as torch_pt2
from . import script
from .checkpoint import PREFERRED_KEYS, state_dict
from .export import traced
from .lower import lower_freest
from .modules import read_module
from .state import build


def read(
    source: Any, *, shapes: dict[str, Any] | None = None, example: Any = None, options: dict[str, Any] | None = None
) -> Graph:
    """A Graph from a path or the bytes of .pt, .pth, .tar, .bin, .pt2 or .safetensors, a live nn.Module or
    ExportedProgram, or a dict of tensors or arrays.

    `shapes`: input name -> sizes (an int is fixed; None, 'batch' or 'frames' stay free), `example`: a working input
    (also options={'example': ...}); both for modules and TorchScript. `options`: for weights without a network, see
    state.build; 'key' picks an entry of a checkpoint.
    UnsupportedModelError names what has no meaning here, FormatError what is damaged. No pickle is ever run.
    """
    options = dict(options or {})
    example = options.pop("example", None) if example is None else example
    kind, graph = _read(source, shapes, example, options)
    graph.metadata["source"] = {"format": "torch", "kind": kind, **graph.metadata.get("source", {})}
    return graph


def _read(source: Any, shapes: dict[str, Any] | None, example: Any, options: dict[str, Any]) -> tuple[str, Graph]:
    if isinstance(source, (str, Path, bytes)):
        return _read_file(source, shapes, example, options)
    names = {f"{c.__module__}.{c.__name__}" for c in type(source).__mro__}
    if "torch.jit._script.ScriptModule" in names or "torch._C.ScriptModule" in names:
        import torch

        buffer = io.BytesIO()
        torch.jit.save(source, buffer)
        return "TorchScript", script.read_script(buffer.getvalue(), "the module", shapes, example)
    if "torch.nn.modules.module.Module" in names:
        return "module", read_module(source, shapes, example)
    if "torch.export.exported_program.ExportedProgram" in names:
        return "exported program", read_exported(source)
    if isinstance(source, Mapping):
        return "state dict", build(_arrays(source), "the dictionary", options)
    raise UnsupportedModelError(
        f"expected a path, bytes, nn.Module, ExportedProgram or dict of tensors, found {type(source).__name__}"
    )


def read_exported(exported: Any) -> Graph:
    """The Graph of a live ExportedProgram."""
    return lower_freest(traced(exported))


def _read_file(
    source: str | Path | bytes, shapes: dict[str, Any] | None, example: Any, options: dict[str, Any]
) -> tuple[str, Graph]:
    place, data = _content(source)
    if data[:4] == b"PK\x03\x04":
        names = _entries(data, place)
        if torch_pt2.is_pt2(names):
            return "exported program", lower_freest(torch_pt2.traced(data, place))
        if script.is_script(names):
            return "TorchScript", script.read_script(data, place, shapes, example)
    tensors, notes = read_tensors(data, options.pop("key", None), place)
    graph = build(tensors, place, options)
    graph.metadata["notes"] = notes + graph.metadata["notes"]
    return "state dict", graph


def _entries(data: bytes, place: str) -> list[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.namelist()
    except zipfile.BadZipFile as e:
        raise FormatError(f"{place}: a damaged zip archive ({e})") from e


def _content(source: str | Path | bytes) -> tuple[str, bytes]:
    """The name of a source, for messages, and its bytes."""
    return ("bytes", source) if isinstance(source, bytes) else (str(source), Path(source).read_bytes())


def read_tensors(
    source: str | Path | bytes, key: str | None = None, name: str = ""
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The named arrays of a checkpoint or safetensors file (`name`: its own in messages), and notes on what was chosen."""
    place, data = _content(source)
    place = name or place
    if safetensors.is_safetensors(data, len(data)):
        return safetensors.read(data, place), []
    return state_dict(pickles.load(data, place), place, key)


def _arrays(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    nested = [k for k in PREFERRED_KEYS if isinstance(tensors.get(k), Mapping)]
    if nested:
        return _arrays(tensors[nested[0]])
    for name, value in tensors.items():
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            value = (value.float() if str(value.dtype) in ("torch.bfloat16", "torch.float16") else value).numpy()
        if isinstance(value, np.ndarray):
            found[str(name)] = value
    return found
