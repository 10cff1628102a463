"""main.c: the self-test, replayed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .ports import Port, macro
from .weights import numbers


def main_file(
    name: str, ports: Sequence[Port], sample: list[list[np.ndarray]], answers: list[list[Any]], body: str
) -> str:
    """sample and answers: by step, an array for each input and output, None where a window is not full. body: exported/main.inc."""
    ins, outs = [p for p in ports if p.is_input], [p for p in ports if not p.is_input]
    arrays = "".join(_inputs(p, [np.ravel(s[i]) for s in sample]) for i, p in enumerate(ins))
    for i, p in enumerate(outs):
        arrays += _answers(name, p, [np.ravel(a[i]) if a[i] is not None else np.zeros(0) for a in answers])
    arguments = [f"in_{p.word} + (long)i * {macro(name, p.word, 'size')}" for p in ins] + [
        f"got_{p.word}" for p in outs
    ]
    checks = "".join(
        f'        failed |= differs("{p.word}", i, got_{p.word}, out_{p.word} + at[{k}], (size_t)state.written[{k}] * sizeof *got_{p.word});\n'
        f"        at[{k}] += state.written[{k}];\n"
        for k, p in enumerate(outs)
    )
    return f"""/* Replays the self-test: exit code 0 when every answer has the bits that Python's runtime gave. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "{name}.h"

{arrays}{body}
static {name}_state state;

int main(void) {{
    long at[{len(outs)}] = {{0}};
    int failed = 0;
    {name}_reset(&state);
    for (int i = 0; i < {len(sample)} && !failed; i++) {{
        if ({name}_step(&state, {", ".join(arguments)}) != 0) {{
            printf("FAIL: step %d: an index is out of range\\n", i);
            return 1;
        }}
{checks}    }}
    if (!failed)
        printf("PASS: {len(sample)} steps, every bit\\n");
    return failed;
}}
"""


def _inputs(port: Port, rows: list[np.ndarray]) -> str:
    return f"static const {port.ctype} in_{port.word}[] = {{\n{numbers(np.concatenate(rows)) or '0'}\n}};\n"


def _answers(name: str, port: Port, rows: list[np.ndarray]) -> str:
    """Floats as their bits, and where a step writes its own."""
    values = np.concatenate(rows)
    if port.ctype == "float":
        kind, words = "uint32_t", [f"{v}u" for v in np.ascontiguousarray(values, np.float32).view(np.uint32)]
    else:
        kind, words = port.ctype, [str(int(v)) for v in values]
    lines = ",\n".join("    " + ", ".join(words[at : at + 8]) for at in range(0, len(words), 8))
    size = macro(name, port.word, "size")
    return (
        f"static const {kind} out_{port.word}[] = {{\n{lines or '0'}\n}}; /* bits */\n"
        f"static {port.ctype} got_{port.word}[{size} > 0 ? {size} : 1];\n"
    )
