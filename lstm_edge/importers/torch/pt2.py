"""A .pt2 file -> Program, without torch: the graph is JSON, the weights are raw bytes (torch 2.8 and later) or a
checkpoint that torch_pickle reads (2.1 to 2.7)."""

from __future__ import annotations

import re
import zipfile
from typing import Any

import numpy as np

from ...errors import FormatError, LstmEdgeError, UnsupportedModelError
from ...files import pickles, zips
from ...files.json import parsed
from ...files.pickled_tensors import Storage, Tensor, elements, itemsize, materialise
from ...files.zips import read_entry
from .axes import Extent, Given, Sizes, Traced
from .export import refuse_mutation
from .program import NUMBERED_DTYPES, DType, Ref, Step, run_dtype

# torch._export.serde.schema.ScalarType
SCALAR_TYPES = {**dict(enumerate(NUMBERED_DTYPES, 1)), 12: "bool", 13: "bfloat16"}
SYMBOL = re.compile(r"Symbol\('(\w+)'[^)]*\)")
INFINITE = 1 << 62  # a size beyond this is any size
OLD_GRAPH, OLD_STATE, OLD_CONSTANTS = (
    "serialized_exported_program.json",
    ("serialized_state_dict.pt", "serialized_state_dict.json"),
    ("serialized_constants.pt", "serialized_constants.json"),
)


def is_pt2(names: list[str]) -> bool:
    """Whether a zip archive with these entries is an exported program."""
    return any(n.endswith(("models/model.json", OLD_GRAPH)) for n in names)


def traced(data: bytes, place: str) -> Traced:
    """The calls of the exported program in `data`. FormatError where the archive is damaged, UnsupportedModelError for
    what a Graph cannot hold."""
    try:
        with zips.opened(data, place) as archive:
            return _Archive(archive, place).traced()
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as e:
        if isinstance(e, LstmEdgeError):
            raise
        raise FormatError(f"{place}: not a readable exported program ({type(e).__name__}: {e})") from e


class _Archive:
    def __init__(self, archive: zipfile.ZipFile, place: str) -> None:
        self.archive, self.place = archive, place
        self.entries = {i.filename: i for i in archive.infolist()}
        self.model = next(n for n in self.entries if n.endswith(("models/model.json", OLD_GRAPH)))
        self.root = self.model.removesuffix("models/model.json").removesuffix(OLD_GRAPH)

    def read(self, name: str) -> bytes:
        if name not in self.entries:
            raise FormatError(f"{self.place}: the archive has no entry {name!r}")
        return read_entry(self.archive, self.entries[name], self.place)

    def traced(self) -> Traced:
        described = parsed(self.read(self.model))
        module = described["graph_module"]
        graph, signature = module["graph"], module["signature"]
        values: dict[str, Any] = graph["tensor_values"]
        arrays = self._arrays()
        refuse_mutation([_output_kind(s) for s in signature["output_specs"]])
        given: list[Given] = []
        constants: dict[str, np.ndarray] = {}
        for spec in signature["input_specs"]:
            kind, content = _only(spec)
            if kind == "user_input":
                argument, ref = _only(content["arg"])
                if argument == "as_tensor":
                    meta = values[ref["name"]]
                    given.append(Given(ref["name"], run_dtype(_scalar_type(meta["dtype"], self.place)), _sizes(meta)))
            elif kind in ("parameter", "buffer", "tensor_constant"):
                name = content[f"{kind}_name"]
                if name not in arrays:
                    raise FormatError(f"{self.place}: the graph reads {kind} {name!r}, which the archive does not hold")
                constants[content["arg"]["name"]] = arrays[name]
        steps = [s for n in graph["nodes"] for s in _steps(n, self.place)]
        outputs = [_argument(o, self.place) for o in graph["outputs"]]
        named = list(zip(_output_names(module, len(outputs)), outputs))
        shapes = {k: _sizes(v) for k, v in values.items()}
        guards = [str(g) for g in described.get("guards_code") or []]  # torch 2.9 and later
        return Traced(steps, shapes, given, constants, named, _ranges(described.get("range_constraints") or {}), guards)

    def _arrays(self) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for folder, config in (("weights", "model_weights_config.json"), ("constants", "model_constants_config.json")):
            name = f"{self.root}data/{folder}/{config}"
            for key, entry in parsed(self.read(name))["config"].items() if name in self.entries else ():
                found[key] = self._array(key, entry, f"{self.root}data/{folder}/{entry['path_name']}")
        for name in (*OLD_STATE, *OLD_CONSTANTS):
            if self.root + name in self.entries:
                held = pickles.load(self.read(self.root + name), f"{self.place}: {name}")
                found.update({k: v for k, v in held.items() if isinstance(v, np.ndarray)})
        return found

    def _array(self, key: str, entry: dict[str, Any], path: str) -> np.ndarray:
        raw = self.read(path)
        if entry.get("use_pickle"):
            value = pickles.load(raw, f"{self.place}: {key}")
            if not isinstance(value, np.ndarray):
                raise UnsupportedModelError(f"{self.place}: {key!r} is not a tensor")
            return value
        meta = entry["tensor_meta"]
        kind = _scalar_type(meta["dtype"], self.place)
        numel = len(raw) // itemsize(kind)
        size, stride = (tuple(_number(s) for s in meta[k]) for k in ("sizes", "strides"))
        storage = Storage(kind, numel, elements(raw, kind, numel), key)
        return materialise(Tensor(storage, _number(meta["storage_offset"]), size, stride), self.place)


# ---- the graph's JSON ------------------------------------------------------------------------------------------------


def _only(tagged: dict[str, Any]) -> tuple[str, Any]:
    """The tag and content of a union: {'as_int': 3}."""
    ((tag, content),) = tagged.items()
    return tag, content


def _number(size: Any) -> int:
    value = size["as_int"] if isinstance(size, dict) else size
    if not isinstance(value, int):
        raise ValueError(f"expected a number, found {size}")
    return value


def _scalar_type(number: int, place: str) -> DType:
    if number not in SCALAR_TYPES:
        raise UnsupportedModelError(f"{place}: scalar type {number}: expected one of {SCALAR_TYPES}")
    return DType(SCALAR_TYPES[number])


def _sizes(meta: dict[str, Any]) -> Sizes:
    return [_extent(s) for s in meta["sizes"]]


def _extent(size: dict[str, Any]) -> Any:
    tag, content = _only(size)
    if tag == "as_int":
        return content
    text, hint = content["expr_str"], content.get("hint") or {"as_int": 0}
    names = frozenset(SYMBOL.findall(text)) or frozenset(re.findall(r"\bs\d+\b", text))
    alone = bool(SYMBOL.fullmatch(text)) or text in names
    return Extent(names, alone, _number(hint)) if names else int(text)


def _ranges(constraints: dict[str, Any]) -> dict[str, tuple[int, int | None]]:
    """symbol -> least and most; an end that is infinite is null, or the largest number in older files."""
    found = {}
    for symbol, ends in constraints.items():
        most = ends["max_val"]
        found[symbol] = (ends["min_val"] or 1, None if most is None or most >= INFINITE else most)
    return found


def _output_kind(spec: dict[str, Any]) -> tuple[str, str]:
    kind, content = _only(spec)
    return kind, str(content.get("buffer_name") or content.get("arg"))


def _steps(node: dict[str, Any], place: str) -> list[Step]:
    """A node, and a getitem for each of its outputs when it has several."""
    target = node["target"].removeprefix("torch.ops.").removeprefix("_")
    target = target if target.startswith(("aten.", "operator.")) else f"math.{target.split('.')[-1]}"
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for i in node["inputs"]:
        value = _argument(i["arg"], place)
        if i.get("kind", 1) == 1 and not kwargs:
            args.append(value)
        else:
            kwargs[i["name"]] = value
    stack = (node.get("metadata") or {}).get("nn_module_stack", "")
    module = stack.split(";")[-1].split(",")[1] if stack.count(",") >= 2 else ""
    outputs = [_only(o) for o in node["outputs"]]
    names = [
        c["name"] if t == "as_tensor" else c.get("as_name", "") for t, c in outputs if t in ("as_tensor", "as_sym_int")
    ]
    if len(outputs) == 1 and outputs[0][0] == "as_tensors":
        names = [c["name"] for c in outputs[0][1]]
    elif len(outputs) == 1 and len(names) == 1:
        return [Step(target, args, kwargs, names[0], module)]
    elif not outputs:
        return [Step(target, args, kwargs, f"{node.get('name') or target}", module)]
    call = Step(target, args, kwargs, f"{names[0] if names else target}.all", module)
    return [call, *(Step("operator.getitem", [Ref(call.name), n], {}, name, module) for n, name in enumerate(names))]


def _argument(arg: dict[str, Any], place: str) -> Any:
    tag, content = _only(arg)
    if tag in ("as_none", "as_device", "as_layout", "as_memory_format"):
        return None
    if tag == "as_tensor":
        return Ref(content["name"])
    if tag in ("as_tensors", "as_optional_tensors"):
        return [
            None if "as_none" in c else Ref(c["as_tensor"]["name"] if "as_tensor" in c else c["name"]) for c in content
        ]
    if tag in ("as_sym_int", "as_sym_bool", "as_sym_float"):
        return _symbolic(content)
    if tag in ("as_sym_ints", "as_sym_floats"):
        return [_symbolic(c) for c in content]
    if tag == "as_scalar_type":
        return _scalar_type(content, place)
    if tag == "as_float" and isinstance(content, str):
        return float(content)
    if tag in ("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string", "as_strings"):
        return content
    raise UnsupportedModelError(f"{place}: an argument of kind {tag}")


def _symbolic(content: dict[str, Any]) -> Any:
    tag, value = _only(content)
    return Ref(value) if tag == "as_name" else value


def _output_names(module: dict[str, Any], count: int) -> list[str]:
    """Names where the model returns a flat dict, '' elsewhere."""
    calls = module.get("module_call_graph") or []
    signature = next((c["signature"] for c in calls if c.get("fqn") == "" and c.get("signature")), None)
    if signature is None:
        return [""] * count
    spec = parsed(signature["out_spec"])[1]
    keys = parsed(spec["context"]) if (spec.get("type") or "").endswith("dict") else []
    keys = keys[1] if len(keys) == 2 and isinstance(keys[1], list) else keys
    return [str(k) for k in keys] if len(keys) == count else [""] * count
