"""The task classify: a label for each sequence."""

from __future__ import annotations

from typing import Any

import torch

from ..report import Report
from ..trained import Trained
from .options import ClassifyOptions
from .parts import by_sequences
from .sequences import read
from .spans import Spans
from .tagging import coded, trained_tagger


def run(source: Any, options: ClassifyOptions, report: Report | None = None) -> Trained:
    """source: a table in long form, a folder with a folder for each label, or (sequences, labels)."""
    found = read(source, options, labelled=True, grouped=True)
    labels, codes = coded(found.one_label_each())
    parts = by_sequences(found.bounds, codes, options.validation, options.test, options.seed)
    values, targets = torch.from_numpy(found.values), torch.from_numpy(codes)

    def spans(n: int) -> Spans:
        return Spans({"frames": values}, parts.stretches[n], {"target": targets[parts.sequences[n]]})

    held_out = (spans(1), spans(2))
    return trained_tagger("classify", found, parts, (spans(0), *held_out), labels, options.summary, options, report)
