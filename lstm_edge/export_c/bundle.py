"""The core's sources as export_c needs them: what runs, and the structs that say what a loaded model looks like.

In a checkout they are read from src_c; a wheel carries them cut and compressed (setup.py writes `core.xz` by `pack`).
"""

from __future__ import annotations

import json
import lzma
import re
from dataclasses import dataclass
from pathlib import Path

from .source import Source, reached, read

HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent / "src_c"
ARCHIVE = HERE / "core.xz"
# The lanes of kernels/scalar.c end where its products begin: an exported program has its own (exported/rows.inc).
LANES_END = "#define I8_OFFSET"
FILES = (
    "lstm_edge.h", "core.h", "core.c", "stream.h",
    "kernels/kernels.h", "kernels/scalar.c", "kernels/exponentials.inc", "kernels/pointwise.inc", "kernels/cells.inc",
    "kernels/quantize.inc", "kernels/fft.h", "kernels/fft.inc", "exported/rows.inc", "exported/tables.inc", "exported/step.inc",
    "exported/main.inc",
)  # fmt: skip
KERNELS = ("activate", "lstm_cell", "gru_cell", "axpy", "quantize", "quantize_fine")
STRUCTS = ("le_model", "le_stream", "core.c:le_block")


@dataclass(frozen=True)
class Core:
    """`files`: path in src_c -> text. `ops`: op -> its suffix in the names of its functions. `packed`: suffix -> (file, type of what its pack makes)."""

    files: dict[str, str]
    ops: dict[str, str]
    packed: dict[str, tuple[str, str]]


def parameters_of(text: str) -> list[str]:
    """The macros that a file of src_c/ops defines for a body of kernels/ that it includes below them."""
    return [
        word
        for found in re.finditer(r'((?:^#define .*\n)+)#include "kernels/\w+\.inc"', text, re.M)
        for word in re.findall(r"#define (\w+)", found[1])
    ]


def specs_of(text: str) -> list[str]:
    """The tables of recurrences that a file of src_c/ops has, which a packed struct points to."""
    return re.findall(r"^static const le_recurrence_spec (\w+)", text, re.M)


def core() -> Core:
    """The sources of this installation."""
    if ARCHIVE.exists():
        files, ops, packed = json.loads(lzma.decompress(ARCHIVE.read_bytes()))
        return Core(files, ops, {k: (path, kind) for k, (path, kind) in packed.items()})
    return from_folder(CHECKOUT)


def pack(folder: Path) -> bytes:
    """core.xz: of src_c what any model may need."""
    made = from_folder(folder)
    kept = [f"{path}:{kind}" for path, kind in made.packed.values()]
    kept += [f"{path}:{w}" for path, text in made.files.items() for w in (*specs_of(text), *parameters_of(text))]
    roots = [*(f"le_run_{s}" for s in made.ops.values()), *KERNELS, *STRUCTS, *kept]
    cut = reached([read(p, t) for p, t in made.files.items() if not p.startswith("exported/")], roots)
    cut |= {p: t for p, t in made.files.items() if p.startswith(("exported/", "kernels/"))}
    return lzma.compress(json.dumps([cut, made.ops, made.packed]).encode(), preset=9 | lzma.PRESET_EXTREME)


def from_folder(folder: Path) -> Core:
    paths = [
        *FILES,
        *sorted(p.relative_to(folder).as_posix() for p in folder.glob("ops/*.[ch]") if p.name != "table.c"),
    ]
    files = {path: (folder / path).read_text() for path in paths}
    files["lstm_edge.h"] = re.sub(r'#ifdef __cplusplus\n(?:extern "C" \{|\})\n#endif\n', "", files["lstm_edge.h"])
    lanes = files["kernels/scalar.c"]
    files["kernels/scalar.c"] = lanes[: lanes.index(LANES_END)]
    rows = re.findall(r"^OP\((\w+), (\w+),", (folder / "ops.def").read_text(), re.M)
    sources = [read(p, t) for p, t in files.items() if p.startswith("ops/") and p.endswith(".c")]
    packed = {suffix: found for _, suffix in rows for found in [_packed(sources, suffix)] if found}
    return Core(files, dict(rows), packed)


def _packed(sources: list[Source], suffix: str) -> tuple[str, str] | None:
    """The file of an op's pack and the type of what it makes: that of its first le_pack_alloc. None for an op that keeps nothing."""
    name = f"le_pack_{suffix}"
    for source in sources:
        if name in source.names:
            text = "".join(reached([source], [name]).values())
            found = re.search(r"\b(\w+) \*(\w+) = (?:\*out = )?le_pack_alloc\(ctx, sizeof \*\2\)", text)
            return (source.path, found[1]) if found else None
    raise AssertionError(f"no file of src_c/ops defines {name}")
