"""Keras 1.x to 3.x models as a Graph."""

from .model import read

__all__ = ["read"]
