"""What the tests share: folders, the real models where LSTM_EDGE_MODELS names them, and the kernels that run here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import lstm_edge

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
EXAMPLES = ROOT / "examples"
MODELS = Path(os.environ.get("LSTM_EDGE_MODELS", "/nowhere"))
needs_models = pytest.mark.skipif("LSTM_EDGE_MODELS" not in os.environ, reason="LSTM_EDGE_MODELS names no folder")
ISAS = [name for name, supported in lstm_edge.isas() if supported]
