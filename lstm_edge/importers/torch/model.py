"""PyTorch: live modules, exported programs and TorchScript -> Graph."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ...errors import UnsupportedModelError
from ...files import zips
from ...ir.graph import Graph
from ...options import as_typed, named
from . import pt2 as torch_pt2
from . import script
from .axes import Traced
from .examples import fixed_axes
from .export import traced
from .lower import lower_freest
from .modules import read_module


def read(
    source: Any,
    *,
    shapes: dict[str, Any] | None = None,
    constants: dict[str, Any] | None = None,
    example: Any = None,
) -> Graph:
    """A Graph from a path or the bytes of a TorchScript or .pt2 file, a live nn.Module or ExportedProgram.

    `shapes`: input name -> sizes (an int is fixed; None, 'batch' or 'frames' stay free), `example`: a working input;
    both for modules and TorchScript. `constants`: arguments of a TorchScript file that are no inputs.
    UnsupportedModelError names what has no meaning here, FormatError what is damaged. No pickle is ever run.
    """
    kind, graph = _read(source, shapes, constants, example)
    if kind != "TorchScript" or example is not None:  # a script's own reader knows the arguments of forward
        _check_names(shapes or {}, [p.name for p in graph.inputs])
    if constants and kind != "TorchScript":
        raise UnsupportedModelError(f"{named('constants')}: not used for a {kind}, of TorchScript alone")
    graph.metadata["source"] = {"format": "torch", "kind": kind, **graph.metadata.get("source", {})}
    return graph


def _check_names(shapes: dict[str, Any], inputs: list[str]) -> None:
    """UnsupportedModelError for sizes of what is no input, nor an argument whose parts are inputs."""
    for name in shapes:
        if name not in inputs and not any(i.startswith((f"{name}_", f"{name}.")) for i in inputs):
            raise UnsupportedModelError(
                f"{as_typed('shapes', name)}: the model has no such input; its inputs are {', '.join(inputs)}"
            )


def _read(
    source: Any, shapes: dict[str, Any] | None, constants: dict[str, Any] | None, example: Any
) -> tuple[str, Graph]:
    if isinstance(source, (str, Path, bytes)):
        return _read_file(source, shapes, constants, example)
    names = {f"{c.__module__}.{c.__name__}" for c in type(source).__mro__}
    if "torch.jit._script.ScriptModule" in names or "torch._C.ScriptModule" in names:
        return "TorchScript", _read_live_script(source, shapes, constants, example)
    if "torch.nn.modules.module.Module" in names and _is_quantized(source):
        return "TorchScript", _read_live_script(_scripted(source, example), shapes, constants, example)
    if "torch.nn.modules.module.Module" in names:
        return "module", read_module(source, shapes, example)
    if "torch.export.exported_program.ExportedProgram" in names:
        return "exported program", read_exported(source, shapes)
    raise UnsupportedModelError(f"expected a path, bytes, nn.Module or ExportedProgram, found {type(source).__name__}")


def _read_live_script(
    source: Any, shapes: dict[str, Any] | None, constants: dict[str, Any] | None, example: Any
) -> Graph:
    import torch

    buffer = io.BytesIO()
    torch.jit.save(source, buffer)
    return script.read_script(buffer.getvalue(), "the module", shapes, example, constants)


def _is_quantized(module: Any) -> bool:
    """Whether a module's weights lie in packed objects, which torch.export cannot look into."""
    return any(type(m).__module__.startswith("torch.ao.nn.quantized.") for m in module.modules())


def _scripted(module: Any, example: Any) -> Any:
    """The module as TorchScript: its code, or where that is beyond torch.jit.script, a trace with the example."""
    import torch

    module = module.eval()
    try:
        return torch.jit.script(module)
    except Exception as why:  # whatever torch.jit raises on code that it cannot compile
        if example is None:
            raise UnsupportedModelError(
                f"the quantised {type(module).__name__} is beyond torch.jit.script ({type(why).__name__}): give a working "
                f"input to trace it with, {as_typed('example')}"
            ) from why
    given = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    trace: Any = torch.jit.trace  # untyped in torch
    return trace(module, tuple(map(torch.as_tensor, given)), check_trace=False)


def read_exported(exported: Any, shapes: dict[str, Any] | None = None) -> Graph:
    """The Graph of a live ExportedProgram."""
    return _of_program(traced(exported), shapes)


def _of_program(program: Traced, shapes: dict[str, Any] | None) -> Graph:
    """`shapes` fixes sizes at the numbers that the program was exported for."""
    unknown = sorted((shapes or {}).keys() - {i.name for i in program.inputs})
    if unknown:
        raise UnsupportedModelError(
            f"{as_typed('shapes', unknown[0])}: the program has no such input; its inputs are "
            f"{', '.join(i.name for i in program.inputs)}"
        )
    return lower_freest(program, fixed_axes(shapes))


def _read_file(
    source: str | Path | bytes, shapes: dict[str, Any] | None, constants: dict[str, Any] | None, example: Any
) -> tuple[str, Graph]:
    place, data = ("bytes", source) if isinstance(source, bytes) else (str(source), Path(source).read_bytes())
    names = _entries(data, place)
    if torch_pt2.is_pt2(names):
        return "exported program", _of_program(torch_pt2.traced(data, place), shapes)
    if script.is_script(names):
        return "TorchScript", script.read_script(data, place, shapes, example, constants)
    raise UnsupportedModelError(f"{place}: expected TorchScript or an exported program, found neither")


def _entries(data: bytes, place: str) -> list[str]:
    with zips.opened(data, place) as archive:
        return archive.namelist()
