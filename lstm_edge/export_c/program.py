"""A model as a folder of C99: its own sources cut to what it runs, weights and plans as constants, one struct of memory."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._core import Model, Stream
from ..errors import UnsupportedModelError
from .bundle import KERNELS, Core, core, specs_of
from .layout import CONSTANT, Layout, Plan, Value, layout_of, up
from .memory import Types
from .packed import HEAD, SLACK, Packed
from .source import Source, reached, read
from .weights import numbers

HEADERS = (
    "lstm_edge.h",
    "kernels/kernels.h",
    "core.h",
    "core.c",
    "stream.h",
    "ops/ops.h",
    "ops/recurrence.h",
    "ops/conv.h",
    "ops/fixed_point.h",
)
CTYPE = ("float", "int32_t", "uint8_t")  # of le_dtype's first
FAIL = """
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


@dataclass
class Program:
    """The files of the folder, and what the header promises of memory."""

    files: dict[str, str] = field(default_factory=dict)
    memory: int = 0
    steps: int = 0


def program_of(
    model: Model, name: str, frames: int, sample: list[list[np.ndarray]], answers: list[list[Any]]
) -> Program:
    """Raises UnsupportedModelError for what a program cannot hold."""
    sources = core()
    types = Types(sources.files[p] for p in HEADERS)
    _leave_rows_of_convolutions(model, frames, sources, types)
    layout = layout_of(model, frames, types)
    return _Writer(model, name, frames, sources, types, layout).write(sample, answers)


def _leave_rows_of_convolutions(model: Model, frames: int, sources: Core, types: Types) -> None:
    """Convolutions of few outputs and many positions pack their windows in the layout of vector kernels (src_c/ops/conv_planes.c), which exported products
    do not have: without `rows` they go the other way, to the same bits. The plans that follow give scratch for that way."""
    stream = Stream(model, None, frames)
    loaded = types.at("le_model", types.at("le_stream", stream._address()).model)
    nodes = types.array("le_node", loaded.nodes, loaded.n_nodes)
    for node, (op, _) in zip(nodes, model.ops):
        path, kind = sources.packed.get(sources.ops[op], ("", ""))
        if kind == "conv" and path.endswith("/conv.c") and node.packed:
            Types([*(sources.files[h] for h in HEADERS), sources.files[path]]).at(kind, node.packed).rows = None


class _Writer:
    def __init__(self, model: Model, name: str, frames: int, sources: Core, types: Types, layout: Layout):
        self.model, self.name, self.frames, self.core, self.types, self.layout = (
            model,
            name,
            frames,
            sources,
            types,
            layout,
        )
        self.stream = Stream(model, None, frames)
        self.m = types.at("le_model", types.at("le_stream", self.stream._address()).model)
        self.nodes = types.array("le_node", self.m.nodes, self.m.n_nodes)
        self.defs = types.array("le_tensor_def", self.m.tensors, self.m.n_tensors)
        self.blocks = self._blocks()
        self.lanes = types.at("le_kernels", self.m.kernels).panel // 12
        self.arena = max(p.arena for p in layout.plans)
        self.memory = up(2 * layout.state_bytes + self.arena) or 8
        self.constants: dict[int, str] = {}
        self.sizes: list[int] = []
        self.size_at: dict[tuple[int, ...], int] = {}

    def _blocks(self) -> list[tuple[int, int]]:
        found, at = [], self.m.blocks
        while at:
            block = self.types.at("le_block", at)
            data = at + HEAD
            found.append((data + (-data & 63), block.size - HEAD - SLACK))
            at = block.next
        return found

    def suffix(self, node: int) -> str:
        run = self.model.ops[node][0]
        return self.core.ops[run]

    def write(self, sample: list[list[np.ndarray]], answers: list[list[Any]]) -> Program:
        active = sorted({c.node for p in self.layout.plans for c in p.calls})
        suffixes = sorted({self.suffix(n) for n in active})
        packed, places = self._packed(active)
        files = self._sources(suffixes, packed)
        made = Program(memory=self.memory)
        for path, text in files.items():
            made.files[self._flat(path)] = text
        made.files[f"{self.name}.h"] = self._header()
        made.files[f"{self.name}.c"] = self._model(places, suffixes)
        made.files["main.c"] = self._main(sample, answers)
        made.files["Makefile"] = self._makefile()
        made.steps = len(sample)
        return made

    @staticmethod
    def _flat(path: str) -> str:
        return "le_" + path.rsplit("/", 1)[-1]

    def _packed(self, active: list[int]) -> tuple[dict[str, tuple[Packed, list[str]]], dict[int, str]]:
        """By file of src_c: its writer and the initialisers; by node: the expression of where its struct lies."""
        files: dict[str, tuple[Packed, list[str]]] = {}
        places: dict[int, str] = {}
        for n in active:
            suffix = self.suffix(n)
            if suffix not in self.core.packed or not self.nodes[n].packed:
                continue
            path, kind = self.core.packed[suffix]
            if path not in files:
                types = Types([*(self.core.files[h] for h in HEADERS), self.core.files[path]])
                spec = specs_of(self.core.files[path])
                stem = path.rsplit("/", 1)[-1][:-2]
                tables = {"le_recurrence_spec": spec[0]} if spec else {}
                files[path] = (Packed(types, self.blocks, self.lanes, f"{stem}_data", tables), [])
            writer, list_of = files[path]
            stem = path.rsplit("/", 1)[-1][:-2]
            value = writer.text(kind, self.nodes[n].packed)
            if suffix == "unary":
                number = writer.types.at("int", self.nodes[n].packed).value
                writer.live |= {w for w, v in writer.types.enums["le_act"].items() if v == number}
            list_of.append(f"static const {kind} {stem}_node_{n} = {value};\n")
            places[n] = f"&le_{stem}_packed[{len(list_of) - 1}]"
        return files, places

    def _sources(self, suffixes: list[str], packed: dict[str, tuple[Packed, list[str]]]) -> dict[str, str]:
        """The core's files, cut, with what its ops packed behind them."""
        live = {word for writer, _ in packed.values() for word in writer.live} | {"LE_ACT_linear"}
        kinds = {kind for writer, _ in packed.values() for kind in writer.kinds}
        texts = {p: _trimmed(t, live) for p, t in self.core.files.items() if not p.startswith("exported/")}
        texts["core.h"] = re.sub(r"^le_status le_fail(_op)?\(.*?;\n", "", texts["core.h"], flags=re.M | re.S)
        at = texts["core.h"].rindex("#endif")
        texts["core.h"] = texts["core.h"][:at] + FAIL.lstrip() + "\n" + texts["core.h"][at:]
        for path in list(texts):
            texts[path] = texts[path].replace("#include <stdio.h>\n", "")
        rows = self.core.files["exported/rows.inc"]
        texts["kernels/lanes.inc"] = texts["kernels/scalar.c"]
        texts["kernels/scalar.c"] = '#include <string.h>\n\n#include "kernels.h"\n' + rows
        types_of = {":".join(self.core.packed[s]) for s in suffixes if s in self.core.packed}
        types_of |= {f"{path}:{table}" for path, (writer, _) in packed.items() for table in writer.tables.values()}
        roots = [
            *(f"le_run_{s}" for s in suffixes),
            *types_of,
            "LE_JOIN",
            "kernels/scalar.c:I8_OFFSET",
            "kernels/scalar.c:KERNEL",
            "le_packed",
            "LE_OK",
        ]

        def parse() -> list[Source]:
            found = [read(p, t) for p, t in texts.items() if p != "stream.h"]
            for source in found:
                if source.path == "core.c":
                    source.items = [i for i in source.items if not i.names & {"le_fail", "le_fail_op"}]
            return found

        parsed = parse()
        words: set[str] = set()
        for path, text in reached(
            [s for s in parsed if not s.path.startswith("kernels/") or s.path.endswith(".h")], roots
        ).items():
            if path.endswith(".c") or path == "ops/ops.h" or path == "ops/recurrence.h":
                words |= set(re.findall(r"->(\w+)\(|kernels->(\w+)", text) and re.findall(r"kernels->(\w+)", text))
        fields = {w for w in words if w in KERNELS}
        fields |= {f for f, kind in (("matmul_f32", 0), ("matmul_f16", 1), ("matmul_i8", 2)) if kind in kinds}
        if "pack_f32" in words:
            fields |= {"pack_f32", "pack_f32_size", "matmul_f32"}
        if 2 not in kinds:
            fields -= {"quantize", "quantize_fine"}
        table = "".join(f"    .{f} = {'le_scalar_' + f if f in KERNELS[:4] else f},\n" for f in sorted(fields))
        texts["kernels/scalar.c"] += (
            f'\nconst le_kernels le_kernels_rows = {{\n    .name = "rows",\n    .panel = {12 * self.lanes},\n{table}}};\n'
        )
        cut = reached(parse(), [*roots, "le_kernels_rows", *(fields & set(KERNELS))])
        if "core.c" in cut:
            cut["core.c"] = re.sub(r"#if defined\(__linux__\).*?#endif\n", "", cut["core.c"], flags=re.S)
        self.included = self._kernel_includes(cut)
        made = {}
        for path, text in cut.items():
            if path == "kernels/scalar.c":
                text = self._lanes(text)
            if path.endswith(".c"):
                text = GUARD + text
            text = self._renamed(text, set(cut))
            if path in packed:
                writer, lines = packed[path]
                stem = path.rsplit("/", 1)[-1][:-2]
                names = ", ".join(re.findall(r"(\w+_node_\d+) =", "".join(lines)))
                names = ", ".join("&" + w for w in names.split(", "))
                text += "\n/* ---- this model's ---- */\n\n" + (
                    "#include <math.h>\n"
                    if "NAN" in "".join(writer.arrays) or "INFINITY" in "".join(writer.arrays)
                    else ""
                )
                text += (
                    "".join(writer.arrays)
                    + "".join(lines)
                    + f"\nextern const void *const le_{stem}_packed[];\nconst void *const le_{stem}_packed[] = {{{names}}};\n"
                )
            made[path] = text
        return made

    def _kernel_includes(self, cut: dict[str, str]) -> list[str]:
        return [p for p in ("kernels/lanes.inc", "kernels/pointwise.inc", "kernels/quantize.inc") if p in cut]

    def _lanes(self, text: str) -> str:
        """The bodies that the table names stand between the lanes and the products."""
        includes = "".join(f'#include "{self._flat(p)}"\n' for p in self.included)
        at = text.index("const le_kernels le_kernels_rows")
        return text[:at] + includes + "extern const le_kernels le_kernels_rows;\n" + text[at:]

    def _renamed(self, text: str, kept: set[str]) -> str:
        flat = {self._flat(p) for p in kept}

        def include(found: re.Match[str]) -> str:
            name = self._flat(found[1])
            return f'#include "{name}"' if name in flat else ""

        return (
            re.sub(r'^#include "([^"]+)"\n?', lambda f: (include(f) + "\n") if include(f) else "", text, flags=re.M)
            if '#include "le_' not in text
            else self._renamed_once(text, include)
        )

    @staticmethod
    def _renamed_once(text: str, include: Any) -> str:
        return re.sub(
            r'^#include "(?!le_)([^"]+)"\n?', lambda f: (include(f) + "\n") if include(f) else "", text, flags=re.M
        )

    # ---- the model's own files

    def _macro(self, *words: str) -> str:
        return "_".join((self.name, *words)).upper()

    def _ports(self) -> list[tuple[str, str, int, str]]:
        """Direction, name, elements, comment of every argument of a step."""
        made = []
        first = self.layout.plans[0]
        for i, port in enumerate(self.model.inputs):
            t = self.types.array("le_io", self.m.inputs, self.m.n_inputs)[i].tensor
            dims = (
                next(p.values[t].dims for p in self.layout.plans if t in p.values)
                if any(t in p.values for p in self.layout.plans)
                else (0,)
            )
            made.append(
                (
                    "const ",
                    _word(port.name),
                    int(np.prod(dims, dtype=np.int64)),
                    f"{port.name}: {port.dtype} {dims}",
                    CTYPE[_number(port.dtype)],
                )
            )
        for i, port in enumerate(self.model.outputs):
            most = max(p.written[i] for p in self.layout.plans)
            made.append(
                ("", _word(port.name), most, f"{port.name}: {port.dtype}, {most} elements", CTYPE[_number(port.dtype)])
            )
        del first
        return made  # type: ignore[return-value]

    def _arguments(self) -> str:
        return ", ".join(f"{const}{kind} *{name}" for const, name, _, _, kind in self._ports())  # type: ignore[misc]

    def _header(self) -> str:
        n, guard = self.name, self._macro("h")
        ports: Any = self._ports()
        sizes = "".join(f"#define {self._macro(w, 'size')} {size} /* {about} */\n" for _, w, size, about, _ in ports)
        outputs = len(self.model.outputs)
        return f"""/* {n}: a network of lstm_edge in C99, made by `lstm-edge export-c`. {self.frames} frame(s) a step, one sequence.
 *
 *   static {n}_state state;
 *   {n}_reset(&state);
 *   {n}_step(&state, {", ".join(w for _, w, *_ in ports)});
 *
 * A state is all the memory of one stream; streams of several threads need one each. Nothing is allocated. */
#ifndef {guard}
#define {guard}

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

/* Elements of what goes into a step and comes out. */
{sizes}
#define {self._macro("memory")} {self.memory} /* bytes: twice {self.layout.state_bytes} of states, {self.arena} of an arena */

typedef struct {{
    union {{
        double aligned;
        unsigned char bytes[{self._macro("memory")}];
    }} memory;
    int32_t written[{outputs}]; /* elements that the last step wrote of each output; 0: none yet, while a window fills up */
    uint16_t plan, done;
    uint8_t bank;
}} {n}_state;

/* The first states of the network. */
void {n}_reset({n}_state *state);

/* A step: 0; -1 where an index among the inputs is out of range: then the states are as before. */
int {n}_step({n}_state *state, {self._arguments()});

#ifdef __cplusplus
}}
#endif
#endif
"""

    def _value(self, t: int, v: Value) -> str:
        key = v.dims
        if key not in self.size_at:
            self.size_at[key] = len(self.sizes)
            self.sizes += list(key)
        data, scale, n_scale = "NULL", "NULL", 0
        if v.place == CONSTANT and t >= 0:
            data = self._constant(t)
            if self.defs[t].scale and data != "NULL":
                scale, n_scale = f"{data}_scale", self.defs[t].n_scale
        return f"{{{data}, {scale}, {n_scale}, {v.offset}, {self.size_at[key]}, {v.place}, {v.dtype}, {len(key)}}}"

    def _constant(self, t: int) -> str:
        d = self.defs[t]
        if not d.data:
            return "NULL"
        name = f"constant_{t}"
        if t not in self.constants:
            kind, dtype = (
                ("float", np.float32),
                ("int32_t", np.int32),
                ("uint8_t", np.uint8),
                ("uint16_t", np.uint16),
                ("int8_t", np.int8),
            )[d.dtype]
            count = int(np.prod(d.dims[: d.rank], dtype=np.int64))
            values = np.array(self.types.array(kind, d.data, count), dtype)
            text = f"static const {kind} {name}[] = {{\n{numbers(values) or '0'}\n}};\n"
            if d.scale:
                scales = np.array(self.types.array("float", d.scale, d.n_scale), np.float32)
                text += f"static const float {name}_scale[] = {{\n{numbers(scales)}\n}};\n"
            self.constants[t] = text
        return name

    def _plan_text(self, i: int, plan: Plan, places: dict[int, str], indices: list[int]) -> str:
        order = {t: at for at, t in enumerate(plan.values)}
        values = ",\n    ".join(self._value(t, v) for t, v in plan.values.items()) or "{0}"
        calls = []
        for c in plan.calls:
            first = len(indices)
            indices += [order[t] if t >= 0 else 65535 for t in (*c.inputs, *c.outputs)]
            calls.append(
                f"{{le_run_{self.suffix(c.node)}, {places.get(c.node, 'NULL')}, {c.scratch}, {first}, {len(c.inputs)}, {len(c.outputs)}}}"
            )
        copies = (
            ",\n    ".join(
                f"{{{self._value(self._tensor(plan, a), a)}, {self._value(-1, b)}, {a.nbytes}}}" for a, b in plan.copies
            )
            or "{{0}, {0}, 0}"
        )
        written = ", ".join(map(str, plan.written))
        return (
            f"static const tensor_at tensors_{i}[] = {{\n    {values}}};\nstatic const node_at nodes_{i}[] = {{\n    "
            + (",\n    ".join(calls) or "{0}")
            + f"}};\nstatic const copy_at copies_{i}[] = {{\n    {copies}}};\nstatic const int32_t written_{i}[] = {{{written}}};\n"
        )

    @staticmethod
    def _tensor(plan: Plan, value: Value) -> int:
        return next((t for t, v in plan.values.items() if v == value), -1)

    def _model(self, places: dict[int, str], suffixes: list[str]) -> str:
        indices: list[int] = []
        plans = [self._plan_text(i, p, places, indices) for i, p in enumerate(self.layout.plans)]
        table = ",\n    ".join(
            f"{{tensors_{i}, nodes_{i}, copies_{i}, written_{i}, {len(p.calls)}, {len(p.copies)}, {p.repeats}}}"
            for i, p in enumerate(self.layout.plans)
        )
        stems = sorted({re.findall(r"le_(\w+)_packed", e)[0] for e in places.values()})
        most = max([len(c.inputs) + len(c.outputs) for p in self.layout.plans for c in p.calls] or [1])
        n_in = len(self.model.inputs)
        initial, reset = "", ""
        for i, (offset, _, value) in enumerate(self.layout.states):
            if any(value):
                initial += f"static const unsigned char initial_{i}[] = {{\n{numbers(value)}\n}};\n"
                reset += f"    memcpy(s->memory.bytes + {offset}, initial_{i}, sizeof initial_{i});\n"
        ports: Any = self._ports()
        ins = ", ".join(w for _, w, *_ in ports[:n_in])
        outs = ", ".join(w for _, w, *_ in ports[n_in:])
        n = self.name
        return f"""/* The tables of {n}, and its step. */
#include "{n}.h"

#include <math.h>
#include <string.h>

#include "le_core.h"
{"".join(f"le_status le_run_{s}(le_ctx *ctx);" + chr(10) for s in suffixes)}
extern const le_kernels le_kernels_rows;
{"".join(f"extern const void *const le_{s}_packed[];" + chr(10) for s in stems)}
enum {{ STATE_BYTES = {self.layout.state_bytes}, MOST_PORTS = {most}, NONE = 65535 }};
enum {{ AT_CONSTANT, AT_STATE, AT_NEXT, AT_ARENA, AT_INPUT, AT_OUTPUT = AT_INPUT + {n_in} }};

typedef struct {{
    const void *data; /* constants */
    const float *scale;
    int32_t n_scale;
    uint32_t offset; /* bytes, from where its place begins */
    uint16_t sizes;  /* of its axes, in `sizes` */
    uint8_t place, dtype, rank;
}} tensor_at;

typedef struct {{
    le_status (*run)(le_ctx *ctx);
    const void *const *packed;
    uint32_t scratch;
    uint16_t first; /* of its tensors, in `numbers` */
    uint16_t n_in, n_out;
}} node_at;

typedef struct {{
    tensor_at from, to;
    uint32_t bytes;
}} copy_at;

typedef struct {{
    const tensor_at *tensors;
    const node_at *nodes;
    const copy_at *copies;
    const int32_t *written;
    uint16_t n_nodes, n_copies, repeats;
}} plan_at;

typedef struct {{
    unsigned char *memory;
    const void *const *inputs;
    void *const *outputs;
    int bank;
}} call;

{"".join(self.constants.values())}{initial}
static const int32_t sizes[] = {{{", ".join(map(str, self.sizes)) or "0"}}};
static const uint16_t numbers[] = {{
{numbers(indices) or "0"}
}};

{"".join(plans)}
/* Of the first steps, while windows fill up, and the last one for all others. */
static const plan_at plans[] = {{
    {table}}};
enum {{ PLANS = {len(plans)} }};

{self.core.files["exported/step.inc"]}
void {n}_reset({n}_state *s) {{
    memset(s, 0, sizeof *s);
{reset}}}

int {n}_step({n}_state *s, {self._arguments()}) {{
    const plan_at *plan = &plans[s->plan];
    const void *const inputs[] = {{{ins or "NULL"}}};
    void *const outputs[] = {{{outs}}};
    call c = {{s->memory.bytes, inputs, outputs, s->bank}};
    if (run_plan(plan, &c) != 0)
        return -1;
    memcpy(s->written, plan->written, sizeof s->written);
    s->bank = !s->bank;
    if (s->plan + 1 < PLANS && ++s->done == plan->repeats) {{
        s->plan++;
        s->done = 0;
    }}
    return 0;
}}
"""

    def _main(self, sample: list[list[np.ndarray]], answers: list[list[Any]]) -> str:
        n, ports = self.name, self._ports()
        n_in = len(self.model.inputs)
        blank = ["0"]
        text = f'/* Replays the self-test: exit code 0 when every answer has the bits that Python\'s runtime gave. */\n#include <math.h>\n#include <stdio.h>\n#include <string.h>\n\n#include "{n}.h"\n\n'
        listed: Any = ports
        for i, (_, word, _, _, kind) in enumerate(listed):
            rows = (
                [np.ravel(s[i]) for s in sample]
                if i < n_in
                else [np.ravel(a[i - n_in]) if a[i - n_in] is not None else np.zeros(0) for a in answers]
            )
            flat = np.concatenate(rows)
            if i < n_in:
                text += f"static const {kind} in_{word}[] = {{\n{numbers(flat) or blank[0]}\n}};\n"
            else:
                shown = np.ascontiguousarray(flat, np.float32).view(np.uint32) if kind == "float" else flat
                bits = "uint32_t" if kind == "float" else kind
                words = ",\n".join(
                    "    " + ", ".join(f"{v}u" if bits == "uint32_t" else str(int(v)) for v in shown[at : at + 8])
                    for at in range(0, len(shown), 8)
                )
                text += f"static const {bits} out_{word}[] = {{\n{words or '0'}\n}}; /* bits */\nstatic {kind} got_{word}[{self._macro(word, 'size')} > 0 ? {self._macro(word, 'size')} : 1];\n"
        arguments = ", ".join(
            f"in_{w} + (long)i * {self._macro(w, 'size')}" if k < n_in else f"got_{w}"
            for k, (_, w, *_) in enumerate(listed)
        )
        checks = "".join(
            f'        failed |= differs("{w}", i, got_{w}, out_{w} + at[{k}], (size_t)state.written[{k}] * sizeof *got_{w});\n        at[{k}] += state.written[{k}];\n'
            for k, (_, w, *_) in enumerate(listed[n_in:])
        )
        outputs = len(self.model.outputs)
        return (
            text
            + self.core.files["exported/main.inc"]
            + f"""
static {n}_state state;

int main(void) {{
    long at[{outputs}] = {{0}};
    int failed = 0;
    {n}_reset(&state);
    for (int i = 0; i < {len(sample)} && !failed; i++) {{
        if ({n}_step(&state, {arguments}) != 0) {{
            printf("FAIL: step %d: an index is out of range\\n", i);
            return 1;
        }}
{checks}    }}
    if (!failed)
        printf("PASS: {len(sample)} steps, every bit\\n");
    return failed;
}}
"""
        )

    def _makefile(self) -> str:
        return f"""# make CC=arm-none-eabi-gcc CFLAGS="-O2 -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 --specs=rdimon.specs"
CFLAGS ?= -O2
FLAGS := -std=c99 -pedantic -Wall -Wextra -Werror -ffp-contract=off -ffunction-sections -fdata-sections

{self.name}: $(wildcard *.c) $(wildcard *.h) $(wildcard *.inc)
\t$(CC) $(FLAGS) $(CFLAGS) $(filter %.c,$^) -Wl,--gc-sections -o $@ -lm

.PHONY: test
test: {self.name}
\t./{self.name}
"""


def _trimmed(text: str, live: set[str]) -> str:
    """Without what only enumerators reach that this model has not: cases of a switch over activations, and steps of a table."""
    kept = live | {
        w
        for w in re.findall(
            r"LE_ACT_\w+", re.sub(r"^\s*case LE_ACT_\w+:|\.activations = \{[^}]*\}", "", text, flags=re.M)
        )
    }
    dropped = False

    def case(found: re.Match[str]) -> str:
        nonlocal dropped
        if found[1] in kept:
            return found[0]
        first, dropped = not dropped, True
        return "    default: break;\n" if first else ""

    text = re.sub(r"^    case (LE_ACT_\w+):.*break;\n", case, text, flags=re.M)
    if dropped:
        text = text.replace(
            "    switch (act.kind) {", "    (void)alpha, (void)beta, (void)zero;\n    switch (act.kind) {"
        )
    text = re.sub(r"\[(LE_STEP_\w+)\] = (\w+)(, )?", lambda f: f[0] if f[1] in live else "", text)
    return re.sub(r",\s*\.trace = \w+", "", text)


def _word(name: str) -> str:
    word = re.sub(r"\W", "_", name)
    return (
        word
        if re.match(r"[A-Za-z]", word) and word not in ("state", "int", "float", "double", "in", "s")
        else f"x_{word}"
    )


def _number(dtype: str) -> int:
    try:
        return ("float32", "int32", "bool").index(dtype)
    except ValueError:
        raise UnsupportedModelError(
            f"export-c: expected inputs and outputs of float32, int32 or bool, found {dtype}"
        ) from None


def write_folder(program: Program, folder: str | os.PathLike[str]) -> None:
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, text in program.files.items():
        (target / name).write_text(text)
