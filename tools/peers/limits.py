"""What a row could take at best on the machine that measured it, and what it may take."""

from __future__ import annotations

from typing import Any

from peers.cases import BYTES, Case, Trained

PYTHON_CALL = 0.35  # microseconds
OF_LIMIT = {"float32": 1.12, "float16": 1.25, "int8": 1.35}
LARGE, SMALL = 128, 64  # hidden: from here on the limit is aimed at, up to here the best peer's share
OF_BEST_PEER = 0.30


def limit(case: Case, runs: list[dict[str, Any]], precision: str, which: str) -> float | None:
    """Microseconds; `which` of the probes' times: min or median. A frame reads all weights of a step, but only the recurrent ones of a
    sequence, whose input product is done for all frames at the peak of its instruction. A batch's recurrent product is read once a
    frame or done at the peak, whichever takes longer."""
    probes = {(r["name"], r["precision"]): r for r in runs if "work" in r and which in r}
    read, peak = probes.get(("read", precision)), probes.get(("peak", "int8" if precision == "int8" else "float32"))
    if read is None or peak is None:
        return None
    bytes_us, operations_us = (probe["work"] / probe[which] for probe in (read, peak))
    count = sum(la.recurrent + la.of_input * case.is_step for la in case.layers)
    frames = case.frames or 1
    reading = frames * count * BYTES[precision] / bytes_us
    if case.is_step:
        return reading + PYTHON_CALL
    multiplying = 2 * frames * case.batch * sum(la.recurrent for la in case.layers) / operations_us
    inputs = 2 * frames * case.batch * sum(la.of_input for la in case.layers) / operations_us
    return (max(reading, multiplying) if case.batch > 1 else reading) + inputs + PYTHON_CALL


def misses(case: Case | Trained, precision: str, of_limit: float | None, of_peer: float | None) -> list[str]:
    """What a row was to reach and does not, in words."""
    found = []
    if isinstance(case, Trained):
        if precision == "float32" and of_peer is not None and of_peer > case.target:
            found.append(f"over {case.target:.2f} of onnxruntime")
        return found
    single = len(case.layers) == 1 and case.layers[0].directions == 1 and case.batch == 1
    if single and case.hidden >= LARGE and of_limit is not None and of_limit > OF_LIMIT[precision]:
        found.append(f"over {OF_LIMIT[precision]} of the limit")
    if of_peer is not None and of_peer > 1:
        found.append("behind a peer")
    elif single and case.hidden <= SMALL and of_peer is not None and of_peer > OF_BEST_PEER:
        found.append(f"over {OF_BEST_PEER:.2f} of the best peer")
    return found
