"""Tables of a terminal: numbers and short words stay whole at any width, and what is left out is said."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lstm_edge.cli.grid import Column, name, print_grid, shortened, text, words
from lstm_edge.cli.io import print_json

COLUMNS = text("op", 1), name("name"), Column("bytes"), Column("from", drop=3), words("why", 2)
ROWS = [
    (
        "ConvTranspose",
        "decoder/lstm_1/weights",
        "1,048,576",
        "4,194,304",
        "the only form that this machine runs faster",
    ),
    ("LSTM", "decoder/lstm_2/weights", "7", "9,999"),
]


def printed(width: int, rows=ROWS) -> str:
    stream = io.StringIO()
    print_grid(Console(file=stream, width=width, soft_wrap=True), COLUMNS, rows)
    return stream.getvalue()


@pytest.mark.parametrize("width", [20, 26, 40, 60, 80, 120, 1 << 14])
def test_numbers_are_never_cut(width):
    told = printed(width)
    assert "1,048,576" in told
    assert ("4,194,304" in told) != ("left out for want of room" in told and "from" in told.splitlines()[-1])
    assert all(len(line) <= width for line in told.splitlines()[:-1] if width >= 26)


def test_wide_consoles_show_every_cell_whole():
    assert all(cell in printed(1 << 14).splitlines()[n + 1] for n, row in enumerate(ROWS) for cell in row)


def test_words_go_on_below_and_names_keep_both_ends():
    lines = printed(60).splitlines()
    assert "decod…eights" in lines[1] and [line[-20:].strip() for line in lines[1:4]] == [
        *("the only form that", "this machine runs", "faster")
    ]


def test_shortened():
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghijk", 10) == "abcd…ghijk"


def test_json_has_six_digits_and_no_words_of_its_own(capsys):
    print_json({"a": 1 / 3, "b": [1e-9 / 7, 123456789], "c": (float("nan"), float("inf"), True, None, "x")})
    told = capsys.readouterr().out
    assert [s.strip(" ,") for s in told.splitlines() if ":" not in s and s.strip("[]{} ,")] == [
        *("1.42857e-10", "123456789", "null", "null", "true", "null", '"x"')
    ]
    assert '"a": 0.333333,' in told
