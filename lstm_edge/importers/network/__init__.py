"""Networks described in TOML as a Graph."""

from .model import read

__all__ = ["read"]
