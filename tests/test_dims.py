"""Symbolic sizes: every rewrite of an expression keeps its value at every batch and frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_edge.ir.dims import BATCH, FRAMES, Dim, mentions, product, value

BINARY = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


@st.composite
def expressions(draw, depth: int = 3):
    """(Size, function of batch and frames that computes it with plain ints)."""
    if depth == 0 or draw(st.booleans()):
        leaf = draw(st.sampled_from(["batch", "frames", "number"]))
        n = draw(st.integers(-9, 9))
        return {"batch": (BATCH, lambda b, t: b), "frames": (FRAMES, lambda b, t: t), "number": (n, lambda b, t: n)}[
            leaf
        ]
    left, f = draw(expressions(depth=depth - 1))
    op = draw(st.sampled_from(["+", "-", "*", "//", "%"]))
    if op in BINARY:
        right, g = draw(expressions(depth=depth - 1))
        return BINARY[op](left, right), lambda b, t: BINARY[op](f(b, t), g(b, t))
    n = draw(st.integers(1, 7))
    return (left // n, lambda b, t: f(b, t) // n) if op == "//" else (left % n, lambda b, t: f(b, t) % n)


@given(expressions(), st.integers(0, 50), st.integers(0, 50))
def test_value_is_plain_arithmetic(expression, batch, frames):
    size, function = expression
    assert value(size, batch, frames) == function(batch, frames)


@given(expressions(), st.integers(1, 9), st.integers(1, 9), st.integers(-20, 20), st.integers(0, 99))
def test_nested_floors_keep_their_value(expression, a, b, c, frames):
    size, function = expression
    assert value((size // a + c) // b, 3, frames) == (function(3, frames) // a + c) // b


@given(expressions())
def test_equal_expressions_hash_alike(expression):
    size, _ = expression
    again = (size + FRAMES) - FRAMES
    assert again == size
    assert hash(again) == hash(size)


def test_stacked_strided_convolutions_join():
    assert ((FRAMES + 1) // 2 + 1) // 2 == (FRAMES + 3) // 4
    assert repr((2 * FRAMES + 3) // 4) == "(2*frames+3)//4"


def test_exact_quotients():
    assert (6 * BATCH * FRAMES) // (2 * BATCH) == 3 * FRAMES
    assert (BATCH * FRAMES) // (BATCH * FRAMES) == 1
    with pytest.raises(ValueError, match="cannot divide"):
        BATCH // FRAMES
    with pytest.raises(ValueError, match="cannot divide"):
        FRAMES // 0


def test_what_is_no_symbol_any_more_is_an_int():
    assert FRAMES - FRAMES == 0 and isinstance(FRAMES - FRAMES, int)
    assert isinstance(2 + FRAMES - FRAMES, int)
    assert not isinstance(FRAMES, int) and isinstance(FRAMES, Dim)


def test_mentions_looks_inside_floors():
    assert mentions((FRAMES + 1) // 3 * BATCH, "frames")
    assert not mentions((BATCH + 1) // 3, "frames")
    assert not mentions(5, "batch")


def test_product_of_nothing_is_one():
    assert product([]) == 1
    assert product([2, BATCH, 3]) == 6 * BATCH
