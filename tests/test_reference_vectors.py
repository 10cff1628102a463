"""The kernels give the bits that they gave when tests/reference_vectors.json was written: a changed rounding is a decision, not an accident."""

from __future__ import annotations

import json

import pytest
from reference_vectors import PATH, bits, cases
from shared import ISAS

ROWS = json.loads(PATH.read_text())
CASES = cases()
# What every ISA computes by the same sequence of IEEE operations: everything but products of float32 and float16.
EVERYWHERE = [name for name in CASES if not any(word in name for word in ("float32", "float16"))]


def test_every_case_has_its_row():
    assert list(ROWS) == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_bits_are_those_of_the_file(name):
    known = {isa: ROWS[name][isa] for isa in ISAS if isa in ROWS[name]}
    found = {isa: bits(*CASES[name], isa) for isa in known}
    assert found == known, (
        "where the change is meant: python tests/reference_vectors.py, and say in the commit what it changes"
    )


@pytest.mark.parametrize("name", EVERYWHERE)
def test_every_isa_has_one_row_where_arithmetic_is_the_same(name):
    assert len(set(ROWS[name].values()) | {bits(*CASES[name], isa) for isa in ISAS}) == 1
