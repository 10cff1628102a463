"""An LSTM of 16 units and a Dense on a Cortex-M4 and M7: the table of docs/export-c.md beside a peer.

    PYTHONPATH=.:tools python tools/peers/microcontrollers.py [--rtneural FOLDER]

Ours is what export-c writes, in float32 and int8. RTNeural is taken from a folder that holds its sources (RTNeural/lstm/lstm.h and so on), with the
compile-time layers and the STL backend, which a core without vectors uses; on this machine its answers are first compared with ours. All are compiled
with the same flags and counted as tools/cortex_m.py says. emlearn has no recurrent layer and TensorFlow Lite Micro is in no package for Cortex-M.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT
from cortex_m import BOARD, COUNT, CPUS, Figures, compile_for, count, figures_of, replay

import lstm_edge
from lstm_edge import quantize
from lstm_edge.export_c import export_c

UNITS = 16
PEER = ROOT / "tools" / "peers" / "rtneural_step.cpp"
PEER_FLAGS = ["-std=c++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-ffp-contract=off"]
# What tools/cortex_m_count.c calls, and the program that prints answers on this machine.
HOOKS = """
unsigned peer_bytes(void);
void peer_prepare(void);
float peer_step(float x);
static float answer;
static void prepare(void) { peer_prepare(); }
static void step(void) { answer = peer_step(answer + 0.25f); }
#define STATE_BYTES peer_bytes()
"""
PRINTED = """
#include <cstdio>
extern "C" { void peer_prepare(); float peer_step(float x); }
int main() { peer_prepare(); for (int i = 0; i < 8; i++) std::printf("%.9g\\n", peer_step(0.125f * i)); }
"""


def network() -> dict[str, np.ndarray]:
    """Weights in Keras's order of gates, i f c o."""
    rng = np.random.default_rng(5)
    shapes = {
        "kernel": (1, 4 * UNITS),
        "recurrent": (UNITS, 4 * UNITS),
        "bias": (4 * UNITS,),
        "dense_kernel": (UNITS, 1),
        "dense_bias": (1,),
    }
    return {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


def as_model(weights: dict[str, np.ndarray], path: Path) -> None:
    """RTNeural's own JSON, converted."""
    lists: dict[str, Any] = {name: values.tolist() for name, values in weights.items()}
    layers = [
        {
            "type": "lstm",
            "activation": "tanh",
            "shape": [None, None, UNITS],
            "weights": [lists["kernel"], lists["recurrent"], lists["bias"]],
        },
        {
            "type": "dense",
            "activation": "",
            "shape": [None, None, 1],
            "weights": [lists["dense_kernel"], lists["dense_bias"]],
        },
    ]
    lstm_edge.convert(json.dumps({"in_shape": [None, None, 1], "layers": layers}).encode(), path)


def ours(model: Path, cpu: str, work: Path, optimise: str) -> Figures:
    export_c(model, work / "c", name="net")
    said = replay(cpu, work / "c", work, optimise)
    assert said.startswith("PASS"), said
    return count(cpu, work / "c", "net", work, optimise)


def write_weights(weights: dict[str, np.ndarray], work: Path) -> None:
    text = f"enum {{ UNITS = {UNITS} }};\n"
    for name, values in weights.items():
        text += f"static const float {name}[] = {{{', '.join(float(v).hex() + 'f' for v in values.ravel())}}};\n"
    (work / "weights.h").write_text(text)
    (work / "model.h").write_text(HOOKS)
    (work / "printed.cpp").write_text(PRINTED)


def check_peer(model: Path, folder: Path, work: Path) -> None:
    """The peer runs the same network: on this machine its answers are near ours."""
    program = work / "printed"
    subprocess.run(
        ["c++", "-O1", "-std=c++17", f"-I{folder}", f"-I{work}", PEER, work / "printed.cpp", "-o", program], check=True
    )
    found = np.array(subprocess.run([program], check=True, capture_output=True, text=True).stdout.split(), np.float32)
    x = (0.125 * np.arange(8)).astype(np.float32).reshape(1, 8, 1)
    np.testing.assert_allclose(found, np.ravel(lstm_edge.load(model).run(x)), rtol=1e-4, atol=1e-5)


def peer(cpu: str, folder: Path, work: Path, optimise: str) -> Figures:
    made = work / "peer.o"
    command = [
        "arm-none-eabi-g++",
        *CPUS[cpu][1],
        *PEER_FLAGS,
        optimise,
        "-ffunction-sections",
        "-fdata-sections",
        f"-I{folder}",
        f"-I{work}",
    ]
    subprocess.run([*command, "-c", PEER, "-o", made], check=True)
    flags = ["-std=c99", optimise, f"-I{work}", "--specs=nano.specs"]  # the smaller C++ library
    flash = compile_for(cpu, [made, COUNT, BOARD / "startup.c"], work / "peer", flags, ("-lstdc++", "-lm"))
    return figures_of(cpu, work / "peer", flash, flags)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rtneural", type=Path, help="The folder above RTNeural/lstm/lstm.h.")
    parser.add_argument("--optimise", default="-O2", help="Of gcc. Default: -O2.")
    given = parser.parse_args()
    print("| LSTM 1x16 | CPU | Flash | RAM | Stack | Instructions a step |\n| --- | --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as text:
        work = Path(text)
        weights = network()
        as_model(weights, work / "f32.lstm")
        quantize(work / "f32.lstm", work / "i8.lstm", weights="int8")
        rows = [("float32", work / "f32.lstm"), ("int8", work / "i8.lstm")]
        for cpu in CPUS:
            found = [(f"lstm_edge, {kind}", ours(model, cpu, work, given.optimise)) for kind, model in rows]
            if given.rtneural:
                write_weights(weights, work)
                check_peer(work / "f32.lstm", given.rtneural, work)
                found.append(("RTNeural, float32", peer(cpu, given.rtneural, work, given.optimise)))
            for name, f in found:
                print(f"| {name} | {cpu} | {f.flash:,} | {f.state:,} | {f.stack:,} | {f.instructions:,} |", flush=True)


if __name__ == "__main__":
    main()
