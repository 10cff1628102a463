"""Real ONNX models against their references."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_helpers import (
    TOLERANCE,
    importer,
    onnx,
    run,
)
from shared import MODELS, needs_models


def replay(graph, stream, carried, frames, expected):
    """Runs frame by frame with outputs fed back to inputs; the largest difference over `expected`.

    stream: input -> array of frames; carried: input -> (output, first value); expected: output -> array of frames.
    """
    state = {name: first for name, (_, first) in carried.items()}
    worst = 0.0
    for t in range(frames):
        outputs = run(graph, {**{k: v[t] for k, v in stream.items()}, **state})
        state = {name: outputs[output] for name, (output, _) in carried.items()}
        worst = max([worst] + [float(np.abs(outputs[o] - v[t]).max()) for o, v in expected.items()])
    return worst


@needs_models
@pytest.mark.parametrize(
    "name, options",
    [
        ("silero_vad_16k_op15", {"shapes": {"input": [1, 576]}, "constants": {"sr": 16000}}),
        ("silero_vad_openvino_16k", {}),
    ],
)
def test_silero_frames(name, options):
    graph = importer.read(MODELS / "silero_vad" / f"{name}.onnx", **options)
    ref = np.load(MODELS / "silero_vad" / f"{name}.ref.npz")
    frames = 60
    worst = replay(
        graph,
        {"input": ref["input"]},
        {"state": ("stateN", np.zeros((2, 1, 128)))},
        frames,
        {"output": ref["prob"], "stateN": ref["state_after"]},
    )
    assert worst < TOLERANCE
    assert len(graph.nodes) < 40, "the file becomes a straight program"
    assert not any("If" == n.op for n in graph.nodes)


@needs_models
def test_silero_batch_stays_free():
    graph = importer.read(
        MODELS / "silero_vad" / "silero_vad_16k_op15.onnx", shapes={"input": ["batch", 576]}, constants={"sr": 16000}
    )
    ref = np.load(MODELS / "silero_vad" / "silero_vad_16k_op15.ref.npz")
    x = ref["input"][100:103, 0]
    together = run(graph, {"input": x, "state": np.zeros((2, 3, 128))})["output"]
    alone = [run(graph, {"input": r[None], "state": np.zeros((2, 1, 128))})["output"][0] for r in x]
    assert np.allclose(together, alone, atol=1e-12)


@needs_models
def test_silero_sequence():
    graph = importer.read(MODELS / "silero_vad" / "silero_vad_16k_sequence.onnx")
    ref = np.load(MODELS / "silero_vad" / "silero_vad_16k_sequence.ref.npz")
    out = run(graph, {k: ref[k] for k in ("input", "h", "c")})
    for name in ("speech_probs", "hn", "cn"):  # cells grow to 10 here: onnxruntime's float32 is 1e-6 of that off
        assert np.allclose(out[name], ref[name], rtol=2e-6, atol=TOLERANCE), name


@needs_models
@pytest.mark.parametrize(
    "n, names",
    [
        (1, ("input_2", "input_3", "activation_2", "tf_op_layer_stack_2")),
        (2, ("input_4", "input_5", "conv1d_3", "tf_op_layer_stack_5")),
    ],
)
def test_dtln(n, names):
    """Model 2 has no LSTM node: its cell is spelt in MatMul and Sigmoid."""
    graph = importer.read(MODELS / "dtln" / f"model_{n}.onnx")
    ref = np.load(MODELS / "dtln" / "model_12_onnx.ref.npz")
    x, state, y, state_out = names
    worst = replay(graph, {x: ref[f"in{n}"]}, {state: (state_out, np.zeros((1, 2, 128, 2)))}, 400, {y: ref[f"out{n}"]})
    assert worst < TOLERANCE


@needs_models
def test_gtcrn():
    graph = importer.read(MODELS / "gtcrn" / "gtcrn_simple.onnx")
    ref = np.load(MODELS / "gtcrn" / "gtcrn_simple.ref.npz")
    caches = ("conv_cache", "tra_cache", "inter_cache")
    first = {c: np.zeros(graph.tensors[p.tensor].shape) for p in graph.inputs for c in [p.name] if c in caches}
    worst = replay(graph, {"mix": ref["mix"]}, {c: (f"{c}_out", first[c]) for c in caches}, 40, {"enh": ref["enh"]})
    assert worst < TOLERANCE


@needs_models
def test_nnsplit():
    graph = importer.read(MODELS / "nnsplit" / "model.onnx")
    ref = np.load(MODELS / "nnsplit" / "model.ref.npz")
    assert graph.metadata["input_dtypes"] == {"input": "uint8"}
    out = run(graph, {"input": ref["input"]})["output"]  # logits to 17: onnxruntime's float32 is 6e-7 of that off
    assert np.allclose(out, ref["output"], rtol=2e-6, atol=TOLERANCE)


def onnx_cases():
    folder = MODELS / "onnx_node"
    return sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []


@needs_models
@pytest.mark.parametrize("case", onnx_cases())
def test_onnx_node_cases(case):
    """ONNX's own cases. W, R, B and P are inputs there; they are given as constants, the others at run time."""
    folder = MODELS / "onnx_node" / case
    model = onnx.load(folder / "model.onnx")
    arrays = [
        onnx.numpy_helper.to_array(onnx.load_tensor(folder / "test_data_set_0" / f"input_{n}.pb"))
        for n in range(len(model.graph.input))
    ]
    inputs = {i.name: a for i, a in zip(model.graph.input, arrays)}
    constants = {k: inputs.pop(k) for k in ("W", "R", "B", "P") if k in inputs}
    graph = importer.read(folder / "model.onnx", constants=constants)
    outputs = run(graph, inputs)
    for n, info in enumerate(model.graph.output):
        expected = onnx.numpy_helper.to_array(onnx.load_tensor(folder / "test_data_set_0" / f"output_{n}.pb"))
        assert outputs[info.name].shape == expected.shape
        assert np.abs(outputs[info.name] - expected).max() < TOLERANCE, info.name
