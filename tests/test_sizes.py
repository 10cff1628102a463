"""Open sizes: what equations between them say, and that nothing else is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_edge import ShapeError
from lstm_edge.ir.dims import Dim, substitute, symbols
from lstm_edge.ir.sizes import Sizes

A, B, C = (Dim.symbol(n) for n in "abc")


def test_a_number_wins_over_a_symbol():
    sizes = Sizes("ab")
    assert sizes.equate(A, 1, "concat")
    assert sizes.resolve(A + 3) == 4


def test_of_two_symbols_the_first_stays():
    for left, right in ((A, B), (B, A)):
        sizes = Sizes("ab")
        assert sizes.equate(left, right, "add")
        assert sizes.resolve(B) == A and sizes.resolve(A) == A


def test_what_is_learnt_reaches_what_was_learnt_before():
    sizes = Sizes("abc")
    sizes.equate(C, B, "add")
    sizes.equate(B, A * 2, "concat")
    sizes.equate(A, 3, "reshape")
    assert [sizes.resolve(s) for s in (A, B, C)] == [3, 6, 6]


def test_a_common_factor_is_divided_out():
    """A reshape to (batch, 9, 64) of (batch, frames, 64) says that there are 9 frames, whatever the batch."""
    sizes = Sizes("ab")
    assert sizes.equate(A * B * 64, A * 9 * 64, "reshape")
    assert sizes.resolve(B) == 9 and sizes.resolve(A) == A


def test_an_equation_that_holds_says_nothing():
    assert not Sizes("a").equate((A + 4) // 2, A // 2 + 2, "pool")


def test_what_cannot_be_told_is_left():
    assert not Sizes("ab").equate(A * B, 12, "reshape")
    assert not Sizes("a").equate(A // 2, 3, "pool")
    assert not Sizes("a").equate(A * 2, 7, "reshape")


def test_a_contradiction_names_both_places():
    sizes = Sizes("a")
    sizes.equate(A, 9, "node 'first'")
    with pytest.raises(ShapeError, match=r"node 'second'.*9 and 7.*a is 9 because of node 'first'"):
        sizes.equate(A, 7, "node 'second'")


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_below_one_is_no_solution(size):
    assert not Sizes("a").equate(A, size, "slice")


def test_symbols_are_found_in_floors():
    assert symbols((A + B * 3) // 2 + C) == {"a", "b", "c"}
    assert symbols(7) == set()


expressions = st.recursive(
    st.sampled_from([A, B, C]) | st.integers(-5, 9),
    lambda inner: st.tuples(inner, inner, st.sampled_from(["+", "-", "*", "//"])).map(
        lambda t: {"+": t[0] + t[1], "-": t[0] - t[1], "*": t[0] * t[1], "//": t[0] // 3}[t[2]]
    ),
    max_leaves=6,
)


@given(expressions, st.fixed_dictionaries({n: st.integers(1, 30) for n in "abc"}))
def test_substitution_keeps_the_value(size, numbers):
    whole = substitute(size, numbers)
    assert isinstance(whole, int)
    some = substitute(size, {"a": numbers["a"]})
    assert substitute(some, {n: numbers[n] for n in "bc"}) == whole


@given(expressions, expressions, st.fixed_dictionaries({n: st.integers(1, 30) for n in "abc"}))
def test_a_solution_is_one(left, right, numbers):
    sizes = Sizes("abc")
    try:
        learnt = sizes.equate(left, right, "op")
    except ShapeError:
        return
    if learnt:
        assert sizes.resolve(left) - sizes.resolve(right) == 0
