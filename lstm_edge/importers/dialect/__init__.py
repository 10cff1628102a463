"""The one place where an operator's meaning becomes ops of docs/ops.md.

Front ends spell their operators with it: they read attributes, reorder, and call. It speaks NumPy's and ONNX's terms and
knows no framework.
"""

from ...ir.ops import TO_END
from .builder import Dialect
from .value import Undecided, Value, broadcast, check_bytes, check_growth, known, run_dtype

__all__ = ["TO_END", "Dialect", "Undecided", "Value", "broadcast", "check_bytes", "check_growth", "known", "run_dtype"]
