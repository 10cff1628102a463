"""lstm-edge forecast: tables by the names of their columns, on the grid of their times; the answer as a table and as a picture."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from forecast_helpers import SIMPLE, WIDE, described_file, one_ahead_file

import lstm_edge
from lstm_edge import FormatError
from lstm_edge.cli import _run
from lstm_edge.files.tables import read_table
from lstm_edge.forecasting.steps import Step, step_of

HOURLY = replace(SIMPLE, horizon=3, quantiles=(0.1, 0.5, 0.9), time="time", time_column="when", minutes=60)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str) -> str:
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)
    return name


def write_model(about, name: str = "m.lstm") -> str:
    with open(name, "wb") as file:
        file.write(described_file(about))
    return name


def said(capsys) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_a_table_to_a_table_and_a_picture(folder, capsys):
    write_model(HOURLY)
    write("h.csv", "when,other,load\n2026-11-26 22:00,x,1.5\n2026-11-26 20:00,y,2\n2026-11-26 21:00,z,-1\n")
    assert _run(["forecast", "m.lstm", "h.csv", "--steps", "5", "-o", "next.csv", "--plot", "next.png"]) == 0
    lines = open("next.csv").read().splitlines()
    assert lines[0] == "time,load_0.1,load_0.5,load_0.9"
    assert [line.split(",")[0] for line in lines[1:]] == [
        *("2026-11-26 23:00", "2026-11-27 00:00", "2026-11-27 01:00", "2026-11-27 02:00", "2026-11-27 03:00")
    ]
    times = np.datetime64("2026-11-26T20:00") + np.arange(3) * np.timedelta64(1, "h")
    expected = lstm_edge.load("m.lstm").forecast(np.float32([[2], [-1], [1.5]]), 5, time=times)
    np.testing.assert_array_equal(np.float32([line.split(",")[1:] for line in lines[1:]]), expected[:, 0])
    assert (folder / "next.png").read_bytes().startswith(b"\x89PNG")
    assert _run(["forecast", "m.lstm", "h.csv", "--plot", "next.svg"]) == 0
    assert capsys.readouterr().out.splitlines() == lines[:4]  # the horizon, printed
    assert "<svg" in (folder / "next.svg").read_text()


def test_gaps_are_missing_rows_and_empty_cells(folder, capsys):
    """A network that is not told of gaps gives NaN, which is not written."""
    write_model(HOURLY)
    write("h.csv", "when;load\n26.11.2026 20:00;1,5\n26.11.2026 23:00;2,5\n")
    assert _run(["forecast", "m.lstm", "h.csv"]) == 1
    assert (
        "column 'load': expected a value in every row, because the model takes no gaps, found none at 2026-11-26 21:00:00"
        in said(capsys)
    )
    write("twice.csv", "when,load\n2026-11-26 20:00,1\n2026-11-26 20:10,2\n")
    assert _run(["forecast", "m.lstm", "twice.csv"]) == 1
    assert "expected one row every 60 minutes, found lines 2 and 3 in one" in said(capsys)
    write("far.csv", "when,load\n1996-11-26 20:00,1\n2026-11-26 20:10,2\n")
    assert _run(["forecast", "m.lstm", "far.csv"]) == 1
    assert "expected a row every 60 minutes, found 2 rows for 262,969 frames" in said(capsys)


def test_known_columns_are_read_beyond_the_history(folder, capsys):
    about = replace(WIDE, known=("price",))
    write_model(about)
    rows = [f"{n},7,{n / 2},{n / 4}" for n in range(6)]
    future = [f",,,{n / 4}" for n in range(6, 14)]
    write("h.csv", "\n".join(["load,place,wind,price", *rows, *future[:7]]))
    assert _run(["forecast", "m.lstm", "h.csv", "--steps", "5"]) == 1
    assert "expected 8 rows with price behind the last observation, for --steps 5 in rounds of 4, found 7" in said(
        capsys
    )
    write("h.csv", "\n".join(["load,place,wind,price", *rows, *future]))
    assert _run(["forecast", "m.lstm", "h.csv", "--steps", "5", "-o", "n.csv"]) == 0
    past = np.float32([[n, 7, n / 2] for n in range(6)])
    expected = lstm_edge.load("m.lstm").forecast(past, 5, known=np.float32([[n / 4] for n in range(14)]))
    written = np.float32([line.split(",")[1:] for line in open("n.csv").read().splitlines()[1:]])
    np.testing.assert_array_equal(written, expected.reshape(5, -1))
    assert open("n.csv").readline() == "step,wind_0.1,wind_0.5,wind_0.9,load_0.1,load_0.5,load_0.9\n"
    gap = [rows[0], rows[1].rpartition(",")[0] + ",", *rows[2:]]  # takes the value before it, as in training
    write("h.csv", "\n".join(["load,place,wind,price", *gap, *future]))
    assert _run(["forecast", "m.lstm", "h.csv", "--steps", "5", "--window", "5", "-o", "n.csv"]) == 0
    known = np.float32([[n / 4 if n != 1 else 0] for n in range(14)])
    expected = lstm_edge.load("m.lstm").forecast(past, 5, known=known, window=5)
    written = np.float32([line.split(",")[1:] for line in open("n.csv").read().splitlines()[1:]])
    np.testing.assert_array_equal(written, expected.reshape(5, -1))
    write("h.csv", "load,price\n1,2\n")
    assert _run(["forecast", "m.lstm", "h.csv"]) == 1
    assert "h.csv: expected columns 'place', 'wind', as the model has them, found 'load', 'price'" in said(capsys)


def test_a_table_of_several_series(folder, capsys):
    """Each is forecast as if it were alone: rows of the others are no gaps of it."""
    write_model(replace(HOURLY, group="shop"))
    rows = {"north": ["2026-11-26 20:00,north,1", "2026-11-26 21:00,north,2"], "a, b": ['2026-11-26 21:00,"a, b",5']}
    write("h.csv", "\n".join(["when,shop,load", rows["north"][1], *rows["a, b"], rows["north"][0]]))
    assert _run(["forecast", "m.lstm", "h.csv"]) == 0
    every = capsys.readouterr().out.splitlines()
    assert every[0] == "shop,time,load_0.1,load_0.5,load_0.9" and len(every) == 7
    assert [line.split(",")[-4] for line in every[1:5]] == [
        *("2026-11-26 22:00", "2026-11-26 23:00", "2026-11-27 00:00", "2026-11-26 22:00")
    ]
    assert _run(["forecast", "m.lstm", "h.csv", "--series", "a, b", "--plot", "p.png"]) == 0
    assert capsys.readouterr().out.splitlines() == [every[0], *(e for e in every if e.startswith('"a, b"'))]
    time = np.array(["2026-11-26T20:00", "2026-11-26T21:00"], "M8[m]")
    expected = lstm_edge.load("m.lstm").forecast(np.float32([[1], [2]]), 3, time=time)
    written = np.float32([line.split(",")[2:] for line in every if line.startswith("north")])
    np.testing.assert_array_equal(written, expected[:, 0])
    write("none.csv", "when,load\n2026-11-26 20:00,1\n")
    write("empty.csv", "when,shop,load\n2026-11-26 20:00,,1\n")
    write_model(HOURLY, "one.lstm")
    for words, message in {
        ("m.lstm", "h.csv", "--series", "south"): "expected a series 'south' in column 'shop' (--series), found 'north', 'a, b'",
        ("m.lstm", "h.csv", "--plot", "p.png"): "--plot: expected one series, because a picture shows one; pick it by --series, one of",
        ("m.lstm", "none.csv"): "none.csv: expected columns 'shop', as the model has them ('shop' says which series a row belongs to)",
        ("m.lstm", "empty.csv"): "empty.csv: line 2, column 'shop': expected the name of a series, found ''",
        ("one.lstm", "h.csv", "--series", "north"): "--series: expected a model trained on several series (--group)",
        ("one.lstm", "h.csv"): "expected one row every 60 minutes, found lines 2 and 3 in one",
    }.items():  # fmt: skip
        assert _run(["forecast", *words]) == 1
        assert message in said(capsys)


def test_run_and_trace_take_the_same_tables(folder, capsys):
    """Columns by their names, a missing row as NaN, time stamps and known values; rows under no header are frames."""
    about = replace(WIDE, known=("price",), time="time", time_column="when", minutes=60)
    model = lstm_edge.load(write_model(about))
    rows = [f"2026-11-26 {n:02}:00,{n / 4},7,{n},{n / 2}" for n in (3, 0, 1)]
    future = [f"2026-11-26 {n:02}:00,{n / 4},,," for n in (4, 5, 6, 7)]
    write("h.csv", "\n".join(["when,price,place,load,wind", *rows, *future]))
    assert _run(["run", "m.lstm", "h.csv", "-o", "y.npy"]) == 0
    series = np.float32([[n, 7, n / 2] for n in range(4)])
    series[2] = np.nan, 7, np.nan  # static columns have no gaps, as in training
    prices = np.float32([n / 4 if n != 2 else 1 / 4 for n in range(8)])
    known = np.float32([prices[n + 1 : n + 5, None] for n in range(4)])
    minutes = np.int32([(np.datetime64("2026-11-26T00:00") + 60 * n).astype(int) for n in range(4)])
    given = {"series": series, "known": known, "time": minutes}
    arrays = [given[port.name] for port in model.inputs]
    np.testing.assert_array_equal(np.load("y.npy"), model.run(*arrays))
    assert np.isnan(np.load("y.npy")[2:]).all() and not np.isnan(np.load("y.npy")[:2]).any()
    assert _run(["trace", "m.lstm", "h.csv", "-o", "g.npz"]) == 0
    with np.load("g.npz") as gates:
        for name, array in model.trace(*arrays).arrays.items():
            np.testing.assert_array_equal(gates[name], array)
    simple = lstm_edge.load(write_model(SIMPLE, "one.lstm"))
    write("plain.csv", "1\n2\n")
    assert _run(["run", "one.lstm", "plain.csv", "-o", "y.npy"]) == 0
    np.testing.assert_array_equal(np.load("y.npy"), simple.run(np.float32([[1], [2]])))
    write_model(replace(SIMPLE, group="shop"), "two.lstm")
    write("two.csv", "shop,load\na,1\nb,2\na,3\n")
    assert _run(["run", "two.lstm", "two.csv", "--series", "a", "-o", "y.npy"]) == 0
    np.testing.assert_array_equal(np.load("y.npy"), simple.run(np.float32([[1], [3]])))
    write("short.csv", "\n".join(["when,price,place,load,wind", *rows, *future[:3]]))
    capsys.readouterr()
    for words, message in {
        ("two.lstm", "two.csv"): "two.csv: expected one series, found 'a', 'b'; `run` and `trace` pick it by --series",
        ("m.lstm", "short.csv"): "short.csv: expected 4 rows with price behind the last observation, found 3",
        ("m.lstm", "plain.csv"): "expected columns 'load', 'place', 'wind', 'price', 'when', as the model has them, found 'column1'",
        ("one.lstm", "y.npy", "--series", "a"): "--series: expected a table (.csv, .tsv, .parquet, .jsonl), found y.npy",
    }.items():  # fmt: skip
        for command in ("run", "trace"):
            assert _run([command, *words]) == (2 if "--series" in words else 1)
            assert message in said(capsys)


def test_a_file_that_says_nothing(folder, capsys):
    with open("y.lstm", "wb") as file:
        file.write(one_ahead_file())
    write("h.csv", "a,b\n" + "\n".join(f"{n},{-n}" for n in range(8)))
    assert _run(["forecast", "y.lstm", "h.csv", "--steps", "2", "--feedback", "y=x"]) == 0
    past = np.float32([[n, -n] for n in range(8)])
    model = lstm_edge.load("y.lstm")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "step,y0,y1"
    np.testing.assert_array_equal(
        np.float32([line.split(",")[1:] for line in lines[1:]]), model.forecast(past, 2, feedback={"y": "x"})
    )
    assert (
        _run(["forecast", "y.lstm", "h.csv", "--steps", "2", "--feedback", "y=x", "--window", "3", "--plot", "p.pdf"])
        == 0
    )
    capsys.readouterr()
    for words, message in {
        (): "--steps: expected how many",
        ("--steps", "2"): "h.csv: --feedback: expected OUTPUT=INPUT, because the file does not say what continues what",
        ("--steps", "2", "--feedback", "z=x"): "h.csv: --feedback: expected an output, found 'z'",
        ("--steps", "2", "--feedback", "y=x", "--window", "9"): "expected at least 9 frames, the window, found 8",
        ("--steps", "0", "--feedback", "y=x"): "--steps: expected a whole number of at least 1, found 0",
        ("--steps", "2", "-o", "next.npy"): "--output: expected a .csv file",
        ("--steps", "2", "--plot", "next.bmp"): "--plot: expected a file among .png, .svg, .pdf",
        ("--steps", "2", "-o", "h.csv"): "expected another file than the input",
    }.items():
        assert _run(["forecast", "y.lstm", "h.csv", *words]) == 1
        assert message in said(capsys)


def test_matplotlib_is_asked_for_by_its_extra(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_model(SIMPLE)
    write("h.csv", "load\n1\n2\n")
    assert _run(["forecast", "m.lstm", "h.csv", "--plot", "p.png"]) == 1
    assert "expected the module 'matplotlib', found none; pip install 'lstm-edge[plot]'" in said(capsys)
    assert not list(folder.glob("p.png*"))


def test_tables(folder):
    write("t.csv", 'b|a\n"1,5"|2026-01-31\n\nNA|2026-02-28T12:00:00Z\n-|2026-03-31 12:00:00+02:00\n')
    table = read_table("t.csv")
    np.testing.assert_array_equal(table.numbers("b"), [1.5, np.nan, np.nan])
    expected = np.array(["2026-01-31", "2026-02-28T12", "2026-03-31T10"], "M8[s]")
    np.testing.assert_array_equal(table.times("a"), expected)
    for cell, form, time in (
        ("1959", None, "1959"),
        ("1767225600", None, "2026-01-01"),
        ("1767225600000", None, "2026-01-01"),
        ("13/02/2026 01:02", None, "2026-02-13T01:02"),
        ("02/13/2026", None, "2026-02-13"),
        ("2026/2/1", None, "2026-02-01"),
        ("3.2.26", "%d.%m.%y", "2026-02-03"),
        ("02/13/2026 12:05 AM", None, "2026-02-13T00:05"),
        ("02/13/2026 1:05 pm", None, "2026-02-13T13:05"),
        ("05-Feb-2026", None, "2026-02-05"),
        ("February 5, 2026 13:00", None, "2026-02-05T13"),
        ("2026Q2", None, "2026-04-01"),
    ):
        (read,) = read_table(write("t.csv", f'when,n\n"{cell}",1\n')).times("when", form)
        assert read == np.datetime64(time, "s")
    for text, message in (
        ("", "expected rows of a table as text, found none"),
        ("a,b\n", "expected rows below the header, found none"),
        ("a,a\n1,2\n", "expected a name for each column, found 'a' more than once"),
        ("a,b\n1,2\n1\n", "line 3: expected 2 columns, separated by ',', as the first row has, found 1"),
    ):
        with pytest.raises(FormatError, match=message):
            read_table(write("t.csv", text))
    table = read_table(write("t.csv", "a,b\n01/02/2026,x\n"))
    with pytest.raises(
        FormatError,
        match="t.csv: line 2, column 'a': '01/02/2026' may have its day or its month first; say it with form",
    ):
        table.times("a")
    with pytest.raises(FormatError, match="line 2, column 'b': expected a number, found 'x'"):
        table.numbers("b")
    with pytest.raises(FormatError, match="line 2, column 'b': expected a time"):
        table.times("b")
    with pytest.raises(FormatError, match="expected a column 'c', found 'a', 'b'"):
        table.numbers("c")


def test_steps_of_seconds_and_of_months():
    assert (step_of("15 minutes"), step_of("1 year"), step_of("0 days")) == (Step(900), Step(0, 12), None)
    month = Step(0, 1)
    after = month.after(np.datetime64("2026-01-31T06:00:00"), 3)
    assert [str(t) for t in after] == ["2026-02-28T06:00:00", "2026-03-31T06:00:00", "2026-04-30T06:00:00"]
    np.testing.assert_array_equal(
        month.places(np.array(["2026-01-31", "2026-02-28", "2026-04-30"], "M8[s]")), [0, 1, 3]
    )
    assert str(Step(90).after(np.datetime64("2026-01-31T23:59:00"), 1)[0]) == "2026-02-01T00:00:30"
    np.testing.assert_array_equal(Step(60).places(np.array([0, 61, 150], "M8[s]")), [0, 1, 3])


def test_run_and_trace_take_the_columns_that_the_file_names(folder, capsys):
    write_model(SIMPLE)
    write("table.csv", "when;site;load\n01.02.2026;north;1,5\n02.02.2026;north;-2\n")
    write("plain.csv", "1.5\n-2\n")
    answers = []
    for name in ("table.csv", "plain.csv"):
        assert _run(["run", "m.lstm", name, "-o", f"{name}.npy"]) == 0
        answers.append(np.load(f"{name}.npy"))
    np.testing.assert_array_equal(*answers)
    assert len(answers[0]) == 2
    write("other.csv", "when;site;heat\n01.02.2026;north;1,5\n")
    capsys.readouterr()
    assert _run(["run", "m.lstm", "other.csv"]) == 1
    assert "expected columns 'load', as the model was trained, or numbers alone, found 'when', 'site', 'heat'" in said(
        capsys
    )
    assert _run(["run", "m.lstm", "other.csv", "--columns", "heat"]) == 0


def test_training_that_is_no_object_is_refused(folder, capsys):
    write("h.csv", "load\n1\n2\n3\n")
    for wrong in ([], {"options": 3}):
        graph = lstm_edge.format.read(described_file(SIMPLE))
        graph.metadata["training"] = wrong
        (folder / "m.lstm").write_bytes(lstm_edge.format.to_bytes(graph))
        assert _run(["forecast", "m.lstm", "h.csv"]) == 1
        assert "expected an object, found" in said(capsys)
