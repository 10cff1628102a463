"""The dialect for rules of one's own (register_layer, register_op): Values, and what operators mean as functions of them.

Every function takes the dialect first, Values and plain numbers after it, and gives Values. docs/plugins.md lists them.
"""

from .importers.dialect import (
    Dialect,
    Value,
    activations,
    arithmetic,
    known,
    movement,
    norms,
    products,
    recurrences,
    reductions,
    selection,
    windows,
)

__all__ = [
    "Dialect",
    "Value",
    "activations",
    "arithmetic",
    "known",
    "movement",
    "norms",
    "products",
    "recurrences",
    "reductions",
    "selection",
    "windows",
]
