"""One check for a model on its whole path: source -> convert -> file -> core on every ISA -> run, chunks, steps, lengths.

The framework gives what is right; the whole run gives the bits that every cutting into chunks must give.
"""

from __future__ import annotations

import numpy as np
from shared import ISAS

import lstm_edge
from lstm_edge import format

TOLERANCE = 1e-5  # of the largest answer when that is above 1
CHUNKS = (1, 2, 3, 7)


def axis_of(port, symbol):
    """The axis whose size names the symbol, -1 where none does."""
    return next((d for d, size in enumerate(port.shape) if symbol in str(size)), -1)


def listed(model, answer):
    return [answer[p.name] for p in model.outputs] if isinstance(answer, dict) else [answer]


def check(source, want, cases, tmp_path, streams, self_test=None, **options):
    """`want(*arrays)`: the framework's answers in order. `cases`: inputs in order, of several batches and lengths.
    `streams`: whether the model must stream; `self_test`: how its self-test's source must begin."""
    path = tmp_path / "model.lstm"
    lstm_edge.convert(source, path, **options)
    if self_test is not None:
        assert format.read(path).self_test.source.startswith(self_test)
    for isa in ISAS:
        model = lstm_edge.load(path, isa)
        why = model.metadata["streaming"]["why"]
        assert model.metadata["streaming"]["supported"] == streams, why
        for case in cases:
            arrays = [np.ascontiguousarray(a, p.dtype) for a, p in zip(case, model.inputs)]
            whole = listed(model, model.run(*arrays))
            near(whole, want(*case), isa)
            if streams and case is cases[-1]:
                check_stream(model, arrays, whole)
            check_lengths(model, arrays)
    return model


def near(got, want, isa):
    assert len(got) == len(want)
    for g, w in zip(got, want):
        w = np.asarray(w, np.float64)
        assert g.shape == w.shape, isa
        scale = max(1.0, float(np.abs(w).max(initial=0.0)))
        assert np.abs(g - w).max(initial=0.0) <= TOLERANCE * scale, isa


def frames_of(model, arrays):
    axes = [0 if model.is_step_model else axis_of(p, "frames") for p in model.inputs]
    sized = [(a.shape[x], p.shape[x]) for a, x, p in zip(arrays, axes, model.inputs) if x >= 0]
    return axes, sized[0][0] if sized else 0


def check_stream(model, arrays, whole):
    """Chunks of several sizes, a state saved in the middle and restored into another stream, and single steps."""
    axes, frames = frames_of(model, arrays)
    multiple = model.metadata["streaming"]["multiple"]
    if not frames or frames % multiple:
        return
    lead = int(model.is_step_model)
    batch = next(
        (a.shape[axis_of(p, "batch") + lead] for a, p in zip(arrays, model.inputs) if axis_of(p, "batch") >= 0), None
    )

    def part(low, high):
        cut = [a if x < 0 else a[(slice(None),) * x + (slice(low, high),)] for a, x in zip(arrays, axes)]
        return [np.ascontiguousarray(c) for c in cut]

    for size in (c * multiple for c in CHUNKS):
        starts = range(0, frames, size)
        stream, answers, half = model.stream(batch), [], len(starts) // 2
        for n, low in enumerate(starts):
            saved = {k: v.copy() for k, v in stream.state.items()} if n == half else None
            if saved is not None:
                other = model.stream(batch)
                other.state = saved
                stream.run(*part(low, min(low + size, frames)))  # what goes on in the first is not seen by the other
                stream = other
            answers.append(listed(model, stream.run(*part(low, min(low + size, frames)))))
        same_bits(model, answers, whole, lead, f"chunks of {size}", batch)
    if multiple == 1:
        stream, answers = model.stream(batch), []
        for t in range(frames):
            one = [c if x < 0 else c.squeeze(x) for c, x in zip(part(t, t + 1), axes)]
            step = listed(model, stream.step(*one))
            axes_out = [0 if lead else axis_of(p, "frames") for p in model.outputs]
            answers.append(
                [
                    s if s is None or x < 0 or s.ndim == w.ndim else np.expand_dims(s, x)
                    for s, x, w in zip(step, axes_out, whole)
                ]
            )
        same_bits(model, answers, whole, lead, "steps", batch)


def same_bits(model, answers, whole, lead, what, batch):
    for n, (port, w) in enumerate(zip(model.outputs, whole)):
        axis = 0 if lead else axis_of(port, "frames")
        parts = [a[n] for a in answers if a[n] is not None]
        if axis >= 0 and "batch" in str(port.shape[axis]) and batch and batch > 1:
            continue  # sequences one behind the other: a chunk's rows are not the whole's
        got = np.concatenate(parts, axis) if axis >= 0 else parts[-1]
        assert got.shape == w.shape, (what, port.name)
        assert got.tobytes() == w.tobytes(), (what, port.name, float(np.abs(got.astype(np.float64) - w).max()))


def check_lengths(model, arrays):
    """A ragged batch gives every sequence the bits it gives alone."""
    axes = [(axis_of(p, "batch"), axis_of(p, "frames")) for p in model.inputs]
    sized = [(a.shape[b], a.shape[f]) for a, (b, f) in zip(arrays, axes) if b >= 0 and f >= 0]
    out_axes = [(axis_of(p, "batch"), axis_of(p, "frames")) for p in model.outputs]
    whole = all(
        b >= 0 and b != f and ("frames" in str(p.shape)) == (f >= 0) for (b, f), p in zip(out_axes, model.outputs)
    )
    if (
        model.is_step_model
        or not sized
        or sized[0][0] < 2
        or not whole
        or any(p.name == "lengths" for p in model.inputs)
    ):
        return
    (batch, frames), multiple = sized[0], model.metadata["streaming"]["multiple"]
    lengths = np.array([max(frames - n * multiple, 1) for n in range(batch)])
    together = listed(model, model.run(*arrays, lengths=lengths))
    for row, length in enumerate(lengths):
        alone = []
        for a, (b, f) in zip(arrays, axes):
            a = np.take(a, [row], b) if b >= 0 else a
            alone.append(np.ascontiguousarray(a[(slice(None),) * f + (slice(0, length),)] if f >= 0 else a))
        for got, w, (b, f) in zip(together, listed(model, model.run(*alone)), out_axes):
            got = np.take(got, [row], b)
            got = got[(slice(None),) * f + (slice(0, w.shape[f]),)] if f >= 0 else got
            assert got.tobytes() == w.tobytes(), (row, length)
