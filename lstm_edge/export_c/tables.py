"""The model's own file: constants, where every tensor lies in every plan, and the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .layout import CONSTANT, Layout, Plan, Value
from .loaded import Loaded
from .packed import OpStructs
from .ports import Port
from .weights import numbers

CONSTANTS = (
    ("float", np.float32),
    ("int32_t", np.int32),
    ("uint8_t", np.uint8),
    ("uint16_t", np.uint16),
    ("int8_t", np.int8),
)  # of le_dtype
ABSENT = 65535  # NONE of the text below


class Tables:
    """Collects what plans share: constants, sizes of axes, and the tensor numbers of calls."""

    def __init__(self, loaded: Loaded, places: Mapping[int, str]):
        self.loaded, self.places = loaded, places
        self.constants: dict[int, str] = {}
        self.sizes: list[int] = []
        self.numbers: list[int] = []
        self._size_at: dict[tuple[int, ...], int] = {}

    def plan(self, i: int, plan: Plan) -> str:
        order = {t: at for at, t in enumerate(plan.values)}
        values = [self._value(t, v) for t, v in plan.values.items()]
        calls = []
        for c in plan.calls:
            first = len(self.numbers)
            self.numbers += [order[t] if t >= 0 else ABSENT for t in (*c.inputs, *c.outputs)]
            run = f"le_run_{self.loaded.suffix(c.node)}, {self.places.get(c.node, 'NULL')}"
            calls.append(f"{{{run}, {c.scratch}, {first}, {len(c.inputs)}, {len(c.outputs)}}}")
        copies = [f"{{{self._value(_tensor(plan, a), a)}, {self._value(-1, b)}, {a.nbytes}}}" for a, b in plan.copies]
        return (
            _array("tensor_at", f"tensors_{i}", values, "{0}")
            + _array("node_at", f"nodes_{i}", calls, "{0}")
            + _array("copy_at", f"copies_{i}", copies, "{{0}, {0}, 0}")
            + f"static const int32_t written_{i}[] = {{{', '.join(map(str, plan.written))}}};\n"
        )

    def _value(self, t: int, v: Value) -> str:
        if v.dims not in self._size_at:
            self._size_at[v.dims] = len(self.sizes)
            self.sizes += list(v.dims)
        data, scale, n_scale = "NULL", "NULL", 0
        if v.place == CONSTANT and t >= 0:
            data = self._constant(t)
            if self.loaded.tensors[t].scale and data != "NULL":
                scale, n_scale = f"{data}_scale", self.loaded.tensors[t].n_scale
        return (
            f"{{{data}, {scale}, {n_scale}, {v.offset}, {self._size_at[v.dims]}, {v.place}, {v.dtype}, {len(v.dims)}}}"
        )

    def _constant(self, t: int) -> str:
        d, types = self.loaded.tensors[t], self.loaded.types
        if not d.data:
            return "NULL"
        name = f"constant_{t}"
        if t not in self.constants:
            kind, dtype = CONSTANTS[d.dtype]
            count = int(np.prod(d.dims[: d.rank], dtype=np.int64))
            values = np.array(types.array(kind, d.data, count), dtype)
            text = f"static const {kind} {name}[] = {{\n{numbers(values) or '0'}\n}};\n"
            if d.scale:
                scales = np.array(types.array("float", d.scale, d.n_scale), np.float32)
                text += f"static const float {name}_scale[] = {{\n{numbers(scales)}\n}};\n"
            self.constants[t] = text
        return name


def _tensor(plan: Plan, value: Value) -> int:
    return next((t for t, v in plan.values.items() if v == value), -1)


def _array(kind: str, name: str, entries: Sequence[str], blank: str) -> str:
    lines = ",\n    ".join(entries) or blank
    return f"static const {kind} {name}[] = {{\n    {lines}}};\n"


def _first_states(layout: Layout) -> tuple[str, str]:
    """Arrays of states that begin with other than zeros, and the lines that copy them."""
    arrays, lines = "", ""
    for i, (offset, _, value) in enumerate(layout.states):
        if any(value):
            arrays += f"static const unsigned char initial_{i}[] = {{\n{numbers(value)}\n}};\n"
            lines += f"    memcpy(s->memory.bytes + {offset}, initial_{i}, sizeof initial_{i});\n"
    return arrays, lines


def model_file(
    name: str, loaded: Loaded, layout: Layout, structs: Mapping[str, OpStructs], places: Mapping[int, str],
    ports: Sequence[Port],
) -> str:  # fmt: skip
    """structs: by file of src_c what ops packed; places: by node where its struct is pointed to."""
    tables = Tables(loaded, places)
    plans = [tables.plan(i, p) for i, p in enumerate(layout.plans)]
    table = ",\n    ".join(
        f"{{tensors_{i}, nodes_{i}, copies_{i}, written_{i}, {len(p.calls)}, {len(p.copies)}, {p.repeats}}}"
        for i, p in enumerate(layout.plans)
    )
    calls = [c for p in layout.plans for c in p.calls]
    runs = sorted({f"le_run_{loaded.suffix(c.node)}" for c in calls})
    packed = sorted(s.table for s in structs.values())
    most = max((len(c.inputs) + len(c.outputs) for c in calls), default=1)
    initial, reset = _first_states(layout)
    ins = ", ".join(p.word for p in ports if p.is_input)
    outs = ", ".join(p.word for p in ports if not p.is_input)
    return f"""/* The tables of {name}, and its step. */
#include "{name}.h"

#include <math.h>
#include <string.h>

#include "le_core.h"
{"".join(f"le_status {run}(le_ctx *ctx);" + chr(10) for run in runs)}
extern const le_kernels le_kernels_rows;
{"".join(f"extern const void *const {word}[];" + chr(10) for word in packed)}
enum {{ STATE_BYTES = {layout.state_bytes}, MOST_PORTS = {most}, NONE = {ABSENT} }};
enum {{ AT_CONSTANT, AT_STATE, AT_NEXT, AT_ARENA, AT_INPUT, AT_OUTPUT = AT_INPUT + {len(loaded.inputs)} }};

{loaded.core.files["exported/tables.inc"]}
{"".join(tables.constants.values())}{initial}
static const int32_t sizes[] = {{{", ".join(map(str, tables.sizes)) or "0"}}};
static const uint16_t numbers[] = {{
{numbers(tables.numbers) or "0"}
}};

{"".join(plans)}
/* Of the first steps, while windows fill up, and the last one for all others. */
static const plan_at plans[] = {{
    {table}}};
enum {{ PLANS = {len(plans)} }};

{loaded.core.files["exported/step.inc"]}
void {name}_reset({name}_state *s) {{
    memset(s, 0, sizeof *s);
{reset}}}

int {name}_step({name}_state *s, {", ".join(p.declared for p in ports)}) {{
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
