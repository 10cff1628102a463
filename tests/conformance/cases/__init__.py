"""The table of cases, by subject."""

from __future__ import annotations

from conformance.case import Case
from conformance.cases import (
    arithmetic,
    elementwise,
    movement,
    norms,
    products,
    recurrences,
    reductions,
    selection,
    windows,
)

SUBJECTS: dict[str, list[Case]] = {
    "elementwise": elementwise.CASES,
    "arithmetic": arithmetic.CASES,
    "reductions": reductions.CASES,
    "movement": movement.CASES,
    "selection": selection.CASES,
    "products": products.CASES,
    "windows": windows.CASES,
    "norms": norms.CASES,
    "recurrences": recurrences.CASES,
}
