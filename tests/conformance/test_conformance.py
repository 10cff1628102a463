"""One table of operators through every front end: the same answer everywhere, or the same refusal."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from conformance.case import EXPORTED, FRONT_ENDS, RUN_WITH, Case
from conformance.cases import SUBJECTS
from conformance.front_ends import answers
from lstm_edge.errors import ShapeError, UnsupportedModelError

TOLERANCE = 1e-5  # of the largest number of an answer, when that is above 1
# torch.export holds the 4 frames of several of these as they are spelled here, so that torch has them with fixed sizes alone.
HELD_BY_EXPORT = ("windows", "recurrences")
NEEDS = {"onnx": "onnx", "torch": "torch", "keras": "keras", "tflite": "flatbuffers", "network": "numpy"}


def ways() -> list[Any]:
    found: list[Any] = []
    for subject, cases in SUBJECTS.items():
        for case in cases:
            for front_end in FRONT_ENDS:
                if case.spelling(front_end) is None:
                    continue
                held = front_end == "torch" and subject in HELD_BY_EXPORT
                for is_open in (False, True) if case.has_open_sizes and not held else (False,):
                    name = f"{front_end}-{subject}-{case.name}-{'open' if is_open else 'fixed'}"
                    found.append(pytest.param(front_end, subject, case, is_open, id=name.replace(" ", "_")))
    return found


@pytest.mark.parametrize("front_end, subject, case, is_open", ways())
def test_case(front_end: str, subject: str, case: Case, is_open: bool) -> None:
    pytest.importorskip(NEEDS[front_end])
    why = case.why_refused(is_open)
    if why:
        with pytest.raises((UnsupportedModelError, ShapeError), match=why):
            answers(front_end, case, is_open, SUBJECTS[subject])
        return
    found = answers(front_end, case, is_open, SUBJECTS[subject])
    wanted = case.wanted(case.arrays(RUN_WITH if is_open else EXPORTED))
    if is_open:
        axes = [[a for a, s in enumerate(i.sizes) if isinstance(s, str)] for i in case.inputs]
        assert found.open_axes == axes, "a size that was to stay open was fixed"
    for engine, got in found.by_engine.items():
        assert len(got) == len(wanted), engine
        for g, w in zip(got, wanted):
            assert g.shape == w.shape, engine
            scale = max(1.0, float(np.abs(w).max(initial=0.0)))
            np.testing.assert_allclose(g, w, rtol=0, atol=TOLERANCE * scale, err_msg=engine)


def test_names_are_unique() -> None:
    names = [c.name for cases in SUBJECTS.values() for c in cases]
    assert len(names) == len(set(names)) and all(re.fullmatch(r"[ -~]+", n) for n in names)
