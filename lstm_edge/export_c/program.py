"""A model as a folder of C99: its own sources cut to what it runs, weights and plans as constants, one struct of memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._core import Model
from ..answers import AFTER
from ..errors import UnsupportedModelError
from ..files.replacing import replacing
from .bundle import core, specs_of
from .cutting import cut_sources
from .layout import Layout, layout_of, up
from .loaded import Loaded, leave_rows_of_convolutions, types_of
from .packed import OpStructs, Packed
from .ports import Port, macro, ports_of
from .replay import main_file
from .tables import model_file


@dataclass
class Program:
    """The files of the folder, what the header promises of memory, and what C files of others lie in the folder."""

    files: dict[str, str]
    memory: int
    steps: int
    meanings: list[str] = field(
        default_factory=list
    )  # outputs whose events or labels the file knows, and a program does not
    others: list[str] = field(default_factory=list)


def program_of(
    model: Model, name: str, frames: int, sample: list[list[np.ndarray]], answers: list[list[Any]]
) -> Program:
    """Raises UnsupportedModelError for what a program cannot hold."""
    loaded = Loaded(model, frames, core())
    leave_rows_of_convolutions(loaded)
    layout = layout_of(model, frames, loaded.types)
    ports = ports_of(loaded, layout)
    active = sorted({c.node for p in layout.plans for c in p.calls})
    structs, places = _structs(loaded, active)
    files = cut_sources(loaded.core, sorted({loaded.suffix(n) for n in active}), structs, loaded.lanes)
    files[f"{name}.h"] = _header(name, frames, layout, ports)
    files[f"{name}.c"] = model_file(name, loaded, layout, structs, places, ports)
    files["main.c"] = main_file(name, ports, sample, answers, loaded.core.files["exported/main.inc"])
    files["Makefile"] = _makefile(name, files)
    return Program(files, _memory(layout), len(sample), sorted(model.metadata.get(AFTER, {})))


def _structs(loaded: Loaded, active: Iterable[int]) -> tuple[dict[str, OpStructs], dict[int, str]]:
    """By file of src_c: what its ops packed; by node: the expression of where its struct is pointed to."""
    files: dict[str, OpStructs] = {}
    places: dict[int, str] = {}
    blocks = loaded.blocks()
    for n in active:
        suffix, address = loaded.suffix(n), loaded.nodes[n].packed
        if suffix not in loaded.core.packed or not address:
            continue
        path, kind = loaded.core.packed[suffix]
        if path not in files:
            stem = Path(path).stem
            specs = specs_of(loaded.core.files[path])
            tables = {"le_recurrence_spec": specs[0]} if specs else {}
            writer = Packed(types_of(loaded.core, path), blocks, loaded.lanes, f"{stem}_data", tables)
            files[path] = OpStructs(stem, writer)
        try:
            places[n] = files[path].add(kind, n, address)
        except UnsupportedModelError as why:  # a struct that no exported header declares
            op, node = loaded.model.ops[n]
            raise UnsupportedModelError(f"{why}; node {node} ({op}) cannot be exported") from None
    return files, places


def _memory(layout: Layout) -> int:
    return up(2 * layout.state_bytes + layout.arena) or 8


def _header(name: str, frames: int, layout: Layout, ports: Sequence[Port]) -> str:
    guard = macro(name, "h")
    sizes = "".join(f"#define {macro(name, p.word, 'size')} {p.size} /* {p.about} */\n" for p in ports)
    return f"""/* {name}: a network of lstm_edge in C99, made by `lstm-edge export-c`. {frames} frame(s) a step, one sequence.
 *
 *   static {name}_state state;
 *   {name}_reset(&state);
 *   {name}_step(&state, {", ".join(p.word for p in ports)});
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
#define {macro(name, "memory")} {_memory(layout)} /* bytes: twice {layout.state_bytes} of states, {layout.arena} of an arena */

typedef struct {{
    union {{
        double aligned;
        unsigned char bytes[{macro(name, "memory")}];
    }} memory;
    int32_t written[{len(layout.plans[0].written)}]; /* elements that the last step wrote of each output; 0: none yet, while a window fills up */
    uint16_t plan, done;
    uint8_t bank;
}} {name}_state;

/* The first states of the network. */
void {name}_reset({name}_state *state);

/* A step: 0; -1 where an index among the inputs is out of range: then the states are as before. */
int {name}_step({name}_state *state, {", ".join(p.declared for p in ports)});

#ifdef __cplusplus
}}
#endif
#endif
"""


def _makefile(name: str, files: Iterable[str]) -> str:
    return f"""# make CC=arm-none-eabi-gcc CFLAGS="-O2 -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 --specs=rdimon.specs"
CFLAGS ?= -O2
FLAGS := -std=c99 -pedantic -Wall -Wextra -Werror -ffp-contract=off -ffunction-sections -fdata-sections
SOURCES := {" ".join(sorted(f for f in files if f.endswith(".c")))}

{name}: $(SOURCES) {" ".join(sorted(f for f in files if not f.endswith(".c")))}
\t$(CC) $(FLAGS) $(CFLAGS) $(SOURCES) -Wl,--gc-sections -o $@ -lm

.PHONY: test
test: {name}
\t./{name}
"""


def write_folder(program: Program, folder: str | os.PathLike[str]) -> None:
    """Also sees what other C files lie there: the Makefile names this program's alone, and leaves them."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, text in program.files.items():
        with replacing(target / name) as file:
            file.write(text.encode())
    found = [p.name for pattern in ("*.c", "*.h", "*.inc") for p in target.glob(pattern)]
    program.others = sorted(set(found) - set(program.files))
