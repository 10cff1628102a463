"""The one place where an operator's meaning becomes ops of docs/ops.md."""
