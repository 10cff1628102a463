"""The core's sources, cut to what one model runs, each with what its op packed for this model behind it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from .bundle import KERNELS, Core, parameters_of
from .packed import F16, F32, I8, OpStructs
from .source import Source, reached, read
from .weights import PANEL_TILES

FAIL = """\
/* Messages have no place here: statuses are all that is told. */
static inline le_status le_fail_op(le_error *err, const le_node *node, le_status status, const char *format, ...) {
    (void)err;
    (void)node;
    (void)format;
    return status;
}
"""
GUARD = """#ifdef __FAST_MATH__
#error "the bits that lstm_edge promises need IEEE arithmetic: compile without -ffast-math"
#endif
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif
"""
SCALAR = "kernels/scalar.c"
TABLE = "const le_kernels le_kernels_rows"
# Bodies that the table of kernels names: they stand between the lanes and the products.
BODIES = ("kernels/lanes.inc", "kernels/pointwise.inc", "kernels/quantize.inc")
INCLUDE = re.compile(r'^#include "([^"]+)"\n?', re.M)
# What the model's own file is written in, whatever its ops are.
TYPES = ("le_packed", "le_status", "le_tensor", "le_node", "le_ctx", "LE_OK", "LE_MAX_RANK")
PRODUCTS = {"matmul_f32": F32, "matmul_f16": F16, "matmul_i8": I8}


def cut_sources(core: Core, suffixes: Collection[str], structs: Mapping[str, OpStructs], lanes: int) -> dict[str, str]:
    """Name in the exported folder -> text. suffixes: of the ops that run; structs: by file of src_c; lanes: of the scalar table."""
    live = {word for s in structs.values() for word in s.writer.live} | {"LE_ACT_linear"}
    roots = _roots(core, suffixes, structs)
    live |= _activations(_ops(_arranged(core, live), roots))  # an op's code has its own: softmax takes powers
    texts = _arranged(core, live)
    fields = _fields(_ops(texts, roots), {kind for s in structs.values() for kind in s.writer.kinds})
    texts[SCALAR] += _table(fields, lanes)
    cut = reached(_parsed(texts), [*roots, "le_kernels_rows", *(fields & set(KERNELS))])
    if "core.c" in cut:
        cut["core.c"] = re.sub(r"#if defined\(__linux__\).*?#endif\n", "", cut["core.c"], flags=re.S)
    made = {}
    for path, text in cut.items():
        text = _renamed(text, texts, {flat(p) for p in cut})
        if path == SCALAR:
            bodies = "".join(f'#include "{flat(p)}"\n' for p in BODIES if p in cut)
            text = text.replace(TABLE, f"{bodies}extern {TABLE};\n{TABLE}", 1)
        text = (GUARD if path.endswith(".c") else "") + text
        made[flat(path)] = text + (structs[path].text() if path in structs else "")
    return made


def flat(path: str) -> str:
    """The name of a file of src_c in the exported folder."""
    return "le_" + path.rsplit("/", 1)[-1]


def _arranged(core: Core, live: set[str]) -> dict[str, str]:
    """The core's files with this program's products in the place of the scalar table's, and without messages."""
    texts = {p: _trimmed(t, live) for p, t in core.files.items() if not p.startswith("exported/")}
    header = re.sub(r"^le_status le_fail(_op)?\(.*?;\n", "", texts["core.h"], flags=re.M | re.S)
    at = header.rindex("#endif")
    texts["core.h"] = header[:at] + FAIL + "\n" + header[at:]
    texts = {path: text.replace("#include <stdio.h>\n", "") for path, text in texts.items()}
    texts["kernels/lanes.inc"] = texts[SCALAR]
    texts[SCALAR] = '#include <string.h>\n\n#include "kernels.h"\n' + core.files["exported/rows.inc"]
    return texts


def _trimmed(text: str, live: set[str]) -> str:
    """Without what only enumerators reach that this model has not: cases of a switch over activations, and steps of a table."""
    kept = live | _activations(text)
    dropped = False

    def case(found: re.Match[str]) -> str:
        nonlocal dropped
        if found[1] in kept:
            return found[0]
        first, dropped = not dropped, True
        return "    default: break;\n" if first else ""

    text = re.sub(r"^    case (LE_ACT_\w+):.*break;\n", case, text, flags=re.M)
    if dropped:
        unused = "    (void)alpha, (void)beta, (void)zero;\n"
        text = text.replace("    switch (act.kind) {", unused + "    switch (act.kind) {")
    text = re.sub(r"\[(LE_STEP_\w+)\] = (\w+)(, )?", lambda f: f[0] if f[1] in live else "", text)
    return re.sub(r",\s*\.trace = \w+(?=\s*[,}])", "", text)


def _roots(core: Core, suffixes: Collection[str], structs: Mapping[str, OpStructs]) -> list[str]:
    """What any program of these ops reaches, beside the kernels."""
    kinds = {":".join(core.packed[s]) for s in suffixes if s in core.packed}
    kinds |= {f"{path}:{w}" for path in structs for w in parameters_of(core.files[path])}
    kinds |= {f"{path}:{table}" for path, s in structs.items() for table in s.writer.tables.values()}
    ours = ("LE_JOIN", f"{SCALAR}:I8_OFFSET", f"{SCALAR}:KERNEL", *TYPES)
    return [*(f"le_run_{s}" for s in suffixes), *kinds, *ours]


def _ops(texts: Mapping[str, str], roots: list[str]) -> str:
    """The code that the roots reach, kernels aside."""
    ops = [s for s in _parsed(texts) if not s.path.startswith("kernels/") or s.path.endswith(".h")]
    return "".join(
        t for p, t in reached(ops, roots).items() if p.endswith(".c") or p in ("ops/ops.h", "ops/recurrence.h")
    )


def _activations(text: str) -> set[str]:
    """Those that code names, not as a case among all or in a table of what a layer may have."""
    return set(
        re.findall(r"LE_ACT_\w+", re.sub(r"^\s*case LE_ACT_\w+:|\.activations = \{[^}]*\}", "", text, flags=re.M))
    )


def _fields(ops: str, kinds: set[int]) -> set[str]:
    """The kernels that the ops' code names, and products of the kinds of weights that there are."""
    words = set(re.findall(r"kernels->(\w+)", ops))
    fields = {w for w in words if w in KERNELS} | {f for f, kind in PRODUCTS.items() if kind in kinds}
    if "pack_f32" in words:
        fields |= {"pack_f32", "pack_f32_size", "matmul_f32"}
    return fields if I8 in kinds else fields - {"quantize", "quantize_fine"}


def _table(fields: set[str], lanes: int) -> str:
    lines = "".join(f"    .{f} = {'le_scalar_' + f if f in KERNELS[:4] else f},\n" for f in sorted(fields))
    return f'\n{TABLE} = {{\n    .name = "rows",\n    .panel = {PANEL_TILES * lanes},\n{lines}}};\n'


def _parsed(texts: Mapping[str, str]) -> list[Source]:
    found = [read(path, text) for path, text in texts.items() if path != "stream.h"]
    for source in found:
        if source.path == "core.c":  # FAIL stands in core.h instead
            source.items = [i for i in source.items if not i.names & {"le_fail", "le_fail_op"}]
    return found


def _renamed(text: str, texts: Mapping[str, str], kept: Collection[str]) -> str:
    """Includes by the names of the folder; a header that nothing reaches gives its place to what it includes itself."""
    headers = {flat(path): header for path, header in texts.items()}

    def include(found: re.Match[str]) -> str:
        name = flat(found[1])
        if name in kept:
            return f'#include "{name}"\n'
        return "".join(include(inner) for inner in INCLUDE.finditer(headers.get(name, "")))

    return INCLUDE.sub(include, text)
