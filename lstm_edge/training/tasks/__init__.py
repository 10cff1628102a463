"""The tasks beside forecasting, a module each with `run(source, options, report)`."""

from __future__ import annotations

from ..report import Report


def tell(report: Report | None, notes: list[str]) -> list[str]:
    """The notes, which the report hears before training begins."""
    if report is not None:
        for note in notes:
            report.note(note)
    return notes
