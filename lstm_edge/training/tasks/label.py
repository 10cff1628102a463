"""The task label: a label for each frame."""

from __future__ import annotations

from typing import Any

import torch

from ..report import Report
from ..trained import Trained
from .losses import PADDING
from .options import LabelOptions
from .parts import divided
from .sequences import read
from .spans import Spans, Stretches, in_windows
from .tagging import coded, trained_tagger


def run(source: Any, options: LabelOptions, report: Report | None = None) -> Trained:
    """source: a table whose rows are frames, of one sequence or several, or (sequences, labels)."""
    found = read(source, options, labelled=True, grouped=False)
    assert found.labels is not None
    labels, codes = coded(found.labels)
    parts = divided(found.bounds, options)
    by_frame = {"frames": torch.from_numpy(found.values), "target": torch.from_numpy(codes)}

    def spans(part: Stretches) -> Spans:
        return Spans(by_frame, part, pads={"target": PADDING})

    windows = in_windows(parts.stretches[0], options.window, max(options.window // 2, 1))
    three = (spans(windows), spans(parts.stretches[1]), spans(parts.stretches[2]))
    return trained_tagger("label", found, parts, three, labels, "frames", options, report)
