"""Tables as people have them: every dialect gives the same numbers, or is refused by line and column."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import lstm_edge
from lstm_edge import format
from lstm_edge.cli import _run
from lstm_edge.cli.io import Form, read_inputs, read_rows
from lstm_edge.cli.tables import Reading, calibration_of, read_runs
from lstm_edge.cli.windows import whole_table_note
from lstm_edge.errors import FormatError, ShapeError
from lstm_edge.files.rows import Dialect
from lstm_edge.files.tables import read_table
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.options import named_as_on_command_line
from lstm_edge.passes import streaming

ROWS = [[1.5, -2.0], [0.25, 1234.5]]  # what each of DIALECTS holds

DIALECTS = {
    "commas": "1.5,-2\n0.25,1234.5\n",
    "a header": "load,temp\n1.5,-2\n0.25,1234.5\n",
    "semicolons": "load;temp\n1.5;-2\n0.25;1234.5\n",
    "semicolons and decimal commas": "load;temp\n1,5;-2\n0,25;1234,5\n",
    "thousands with points": "load;temp\n1,5;-2\n0,25;1.234,5\n",
    "thousands with commas in quotes": 'load,temp\n1.5,-2\n0.25,"1,234.5"\n',
    "thousands with blanks": "load;temp\n1,5;-2\n0,25;1 234,5\n",
    "thousands with thin blanks": "load;temp\n1,5;-2\n0,25;1\u202f234,5\n",
    "thousands with apostrophes": "load;temp\n1.5;-2\n0.25;1'234.5\n",
    "tabs": "load\ttemp\n1.5\t-2\n0.25\t1234.5\n",
    "bars": "load|temp\n1.5|-2\n0.25|1234.5\n",
    "aligned blanks": "   load     temp\n    1.5       -2  \n   0.25   1234.5\n",
    "quotes everywhere": '"load","temp"\n"1.5","-2"\n"0.25","1234.5"\n',
    "quoted decimal commas": '"load","temp"\n"1,5","-2,0"\n"0,25","1234,5"\n',
    "a name with a delimiter and a line end": '"load, kW\nof all",temp\n1.5,-2\n0.25,1234.5\n',
    "a byte order mark": "\ufeffload,temp\n1.5,-2\n0.25,1234.5\n",
    "line ends of Windows": "load,temp\r\n1.5,-2\r\n0.25,1234.5\r\n",
    "line ends of old Macs": "load,temp\r1.5,-2\r0.25,1234.5\r",
    "no line end at the end": "load,temp\n1.5,-2\n0.25,1234.5",
    "blank lines": "\nload,temp\n\n1.5,-2\n\n0.25,1234.5\n\n\n",
    "empty rows at the end": "load,temp\n1.5,-2\n0.25,1234.5\n,\n,\n",
    "a delimiter behind each row": "load,temp,\n1.5,-2,\n0.25,1234.5,\n",
    "blanks around": "load , temp\n 1.5 , -2\n 0.25 , 1234.5 \n",
    "exponents": "load,temp\n15e-1,-2E0\n+.25,1.2345e+3\n",
    "times beside": "when,load,temp\n2026-01-31 10:00,1.5,-2\n2026-01-31 11:00,0.25,1234.5\n",
    "days and words beside": "site;load;day;temp\nnorth;1,5;31.01.2026;-2\nsouth;0,25;01.02.2026;1234,5\n",
    "a spreadsheet's separator": "sep=|\nload|temp\n1.5|-2\n0.25|1234.5\n",
    "line ends of all kinds": "load,temp\r\n1.5,-2\r0.25,1234.5\n",
    "signs and bare points": "load,temp\n+1.5,-2.\n.25,+1234.5\n",
    "times of a day in halves beside": "t,load,temp\n1/31/2026 1:00 PM,1.5,-2\n2/1/2026 2:00 PM,0.25,1234.5\n",
    "months in words beside": "t;load;temp\n31-Jan-2026;1,5;-2\n1-Feb-2026;0,25;1234,5\n",
    "truth and percents beside": "on,load,temp,share\ntrue,1.5,-2,10%\nfalse,0.25,1234.5,20%\n",
    "hundred empty rows at the end": "load,temp\n1.5,-2\n0.25,1234.5\n" + ",\n" * 100,
    "quotes doubled in a name": '"a ""load""",temp\n1.5,-2\n0.25,1234.5\n',
    "a decimal comma with exponents": "load;temp\n1,5e0;-2\n2,5e-1;1,2345e3\n",
    "a header as a comment": "# load,temp\n1.5,-2\n0.25,1234.5\n",
}

REFUSED = {
    "words among numbers": ("load,temp\n1,2\n3,x\n", "line 3, column 'temp': expected a number, found 'x'"),
    "a unit": ("load,temp\n1,2 kW\n3,4\n5,6 kW\n6,7\n", "line 2, column 'temp': expected a number, found '2 kW'"),
    "thousands or decimals": ("load;temp\n1,234;2\n5,678;3\n", "line 2, column 'load': expected a number that can be read in one way, found '1,234', 1234 or 1.234"),
    "a point as thousands or decimals": ("load;temp\n1.234;2,5\n", "line 2, column 'load': .*one way, found '1.234'"),
    "points below decimal commas": ("load;temp\n1,5;2\n1.5;3\n", "line 3, column 'load': expected a number with a decimal comma, as others of the column, found '1.5'"),
    "an underscore": ("load,temp\n1,2\n1_000,2\n", "line 3, column 'load': expected a number, found '1_000'"),
    "an empty cell": ("load,temp\n1,2\n,3\n", "line 3, column 'load': expected a number, found an empty cell; --missing forward .*--missing zero"),
    "not available": ("load,temp\n1,2\n1,NA\n", "line 3, column 'temp': expected a number, found 'NA'; --missing"),
    "an empty row": ("load,temp\n1,2\n,\n3,4\n", "line 3, column 'load': expected a number, found an empty cell"),
    "a short row": ("load,temp\n1,2\n3\n4,5\n", "line 3: expected 2 columns, separated by ',', as the first row has, found 1"),
    "a long row": ("load;temp\n1;2\n3;4;5\n", "line 3: expected 2 columns, separated by ';', .*found 3"),
    "a short row after many": ("1;2\n" * 200 + "3\n", "line 201: expected 2 columns"),
    "titles above the header": ("Logger 3\nload,temp\n1,2\n3,4\n", "line 2: expected 1 columns.*nothing may stand above the header"),
    "an open quote": ('load,temp\n1,2\n"3,4\n5,6\n', "line 3: expected a row of a table, found: unexpected end of data"),
    "a code page": ("load,temp\n1,2\n3,4 \udcb0C\n", "line 3: expected text in UTF-8, found other bytes; save it .*WINDOWS-1252"),
    "other content": ("load,temp\n1,2\n\0\0,3\n", "line 3: expected rows of a table as text, found other content"),
    "a number beyond float32": ("load,temp\n1,2\n3,1e39\n", "line 3, column 'temp': expected a number of float32's range, up to 3.40282e.38, found '1e39'"),
    "UTF-16": ("\udcff\udcfea\0,\0b\0", "line 1: expected text in UTF-8, found other bytes; .*UTF-16"),
    "a row of units": ("load,temp\nkW,C\n1,2\n3,4\n", "line 2, column 'load': expected a number, found 'kW'"),
    "comments above": ("# logger\nload,temp\n1,2\n", "line 2: expected 1 columns.*nothing may stand above the header"),
    "a comment between": ("load,temp\n1,2\n# pause\n3,4\n", "line 3: expected 2 columns, .*found 1"),
    "a sum below": ("load,temp\n1,2\n3,4\nTotal,6\n", "line 4, column 'load': expected a number, found 'Total'"),
    "a delimiter behind rows but not the header": ("load,temp\n1,2,\n3,4,\n", "line 2: expected 2 columns, .*found 3"),
    "decimal commas between commas": ("load,temp\n1,5,2,5\n", "line 2: expected 2 columns, .*found 4"),
    "a minus of typesetters": ("load,temp\n\u22121,2\n3,4\n", "line 2, column 'load': expected a number, found '\u22121'"),
    "a negative in brackets": ("load,temp\n(5),2\n3,4\n", r"line 2, column 'load': expected a number, found '\(5\)'"),
    "a word after many rows": ("load,temp\n" + "1,2\n" * 60 + "x,2\n", "line 62, column 'load': expected a number, found 'x'"),
    "more than float64 has": ("load,temp\n1,2\n1,-1e400\n", "line 3, column 'temp': expected a number of float32's range.*found '-1e400'"),
    "five thousand digits": ("load,temp\n" + "9" * 5000 + ",1\n", r"line 2, column 'load': expected a number of float32's range, up to \S+ found '9{37}\.\.\.'$"),
    "the end of DOS": ("load,temp\n1,2\n\x1a", "line 3: expected 2 columns, .*found 1"),
    "a cell without an end": ("load,temp\n" + "x" * 200000 + ",1\n", "line 2: expected a row of a table, found: field larger"),
    "nothing but blanks": ("  \n \n", "expected rows of a table as text, found none"),
    "nothing": ("", "expected rows of a table as text, found none"),
    "a header alone": ("load,temp\n", "expected .*numbers.*found none"),
    "words alone": ("a,b\nx,y\nu,v\n", "expected columns of numbers, found none in 'a', 'b'"),
    "one name twice": ("a,a\n1,2\n", "expected a name for each column, found 'a' more than once"),
}  # fmt: skip


def table(folder: Path, text: str) -> str:
    path = folder / "t.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return str(path)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_is_read(tmp_path, name):
    np.testing.assert_array_equal(read_rows(table(tmp_path, DIALECTS[name]), Form()), ROWS)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_of_numbers_is_refused_by_its_place(tmp_path, name):
    text, message = REFUSED[name]
    with pytest.raises(FormatError, match=message):
        read_rows(table(tmp_path, text), Form())


def test_what_is_said_of_a_table(tmp_path):
    """Columns by name and number, lines above the header, a delimiter, the decimal mark, and what stands for empty cells."""
    titled = table(tmp_path, "Logger 3, site 4\nall, of it\nload;n;temp\n1,234;7;1\n;;\n5,678;8;2\n")
    for form, rows in (
        (Form(Dialect(skip=2, decimal=","), ("temp", "1"), "zero"), [[1, 1.234], [0, 0], [2, 5.678]]),
        (Form(Dialect(skip=2, decimal="."), ("load",), "forward"), [[1234], [1234], [5678]]),
        (Form(Dialect(";", skip=3, decimal=","), (), "forward"), [[1.234, 7, 1], [1.234, 7, 1], [5.678, 8, 2]]),
    ):
        np.testing.assert_array_equal(read_rows(titled, form), rows)
    for form, message in (
        (Form(Dialect(skip=2), ("heat",)), "expected a column 'heat' .*numbers from 1 to 3.*found 'load', 'n', 'temp'"),
        (Form(Dialect(skip=2), ("4",)), "expected a column '4'"),
        (Form(Dialect(";;")), "expected one character, found ';;'"),
        (Form(Dialect(skip=99)), "expected rows of a table as text, found none"),
    ):
        with pytest.raises(FormatError, match=message):
            read_rows(titled, form)
    with pytest.raises(FormatError, match="line 2, column 'a': expected a value to take for the rows below"):
        read_rows(table(tmp_path, "a,b\n,1\n2,3\n"), Form(missing="forward"))


NETWORK = """convention = "torch"
inputs = { x = [BATCH, FRAMES, 2] }
layer = [{ type = "rnn", weights = "rnn", returns = "ALL" }]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shapes = {"rnn.weight_ih_l0": (3, 2), "rnn.weight_hh_l0": (3, 3)}
    np.savez("w.npz", **{n: np.linspace(-1, 1, np.prod(s)).reshape(s).astype(np.float32) for n, s in shapes.items()})
    return tmp_path


def model(frames: str = '"frames"', every: str = "every", batch: str = '"batch"') -> str:
    Path("net.toml").write_text(NETWORK.replace("BATCH", batch).replace("FRAMES", frames).replace("ALL", every))
    assert _run(["convert", "w.npz", "--network", "net.toml", "-o", "m.lstm", "--no-self-test"]) == 0
    return "m.lstm"


def answers(*words: str) -> np.ndarray:
    assert _run(["run", "m.lstm", *words, "-o", "y.npy", "--quiet"]) == 0
    return np.load("y.npy")


def test_files_and_arrays_of_other_dtypes_are_taken_where_every_value_survives(folder, capsys):
    loaded = lstm_edge.load(model())
    values = np.array([[1, -2], [3, 1 << 24]])
    np.save("float32.npy", values.astype(np.float32))
    expected = answers("float32.npy")
    for dtype in ("float64", "int64", ">f4", ">i8"):
        np.save("x.npy", values.astype(dtype))
        np.testing.assert_array_equal(answers("x.npy"), expected)
        np.testing.assert_array_equal(loaded.run(values.astype(dtype)), expected)
        stream = loaded.stream()
        np.testing.assert_array_equal([stream.step(row) for row in values.astype(dtype)], expected)
    capsys.readouterr()
    for value in (np.float64(1e39), np.int64((1 << 24) + 1), np.int64(-(1 << 63)), np.uint64((1 << 64) - 1)):
        with pytest.raises(ShapeError, match=f"float32 can hold, found {re.escape(str(value))} in {value.dtype}"):
            loaded.run(np.full((2, 2), value))
        np.save("x.npy", np.full((2, 2), value))
        assert _run(["run", "m.lstm", "x.npy", "-o", "y.npy"]) == 1
        said = capsys.readouterr().err
        assert f"expected values that float32 can hold, found {value} in {value.dtype}" in " ".join(said.split())


def test_what_is_not_finite_is_counted_and_said_once(folder, capsys):
    model()
    x = np.zeros((3000, 2), np.float32)
    x[::1000] = np.nan
    x[2999] = np.inf
    np.save("x.npy", x)
    answers("x.npy")
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("x.npy: 6 NaN and 2 infinite of 6,000 values of the input") == 1 and said.count("NaN") == 1


@pytest.mark.parametrize(
    ("source", "frames", "shape", "said"),
    [
        ({"frames": 24}, 1200, ("batch", 1), "made for 24 frames: --window 24 answers for each 24 rows"),
        ({"frames": 24}, 24, ("batch", 1), ""),
        ({"frames": 24}, 1200, ("batch", "frames", 1), ""),
        ({}, 1200, ("batch", 1), ""),
        ({"frames": "many"}, 1200, ("batch", 1), ""),
    ],
)
def test_a_table_that_is_one_input_names_the_windows_of_its_network(source, frames, shape, said):
    one = SimpleNamespace(metadata={"source": source}, inputs=["x"], outputs=[SimpleNamespace(shape=shape)])
    told = whole_table_note(one, frames)
    assert said in told and bool(said) == bool(told)


@pytest.mark.parametrize("frames, batch", [('"frames"', '"batch"'), ("3", '"batch"'), ("3", "1")])
def test_rows_become_windows(folder, capsys, frames, batch):
    """Sliding by a row, or a row a window: what the model gives for each window alone."""
    model(frames, "last", batch)
    rows = np.random.default_rng(0).standard_normal((80, 2)).astype(np.float32)
    windows = np.stack([rows[n : n + 3] for n in range(78)])
    np.savetxt("rows.csv", rows, fmt="%.9g", delimiter=";")
    np.savetxt("windows.csv", windows.reshape(78, 6), fmt="%.9g", delimiter="\t", header="a\tb\tc\td\te\tf")
    alone = []
    for window in windows:
        np.save("x.npy", window[None])
        alone.append(answers("x.npy").reshape(-1))
    loaded = lstm_edge.load("m.lstm")
    reading = Reading(window=3)
    runs = read_runs(loaded, ("windows.csv",), reading)
    np.testing.assert_array_equal(np.concatenate([loaded.run(*run).reshape(-1, 3) for run in runs]), alone)
    assert len(runs) == len(calibration_of(loaded, ("rows.csv",), reading)) == (78 if batch == "1" else 1)
    np.testing.assert_array_equal(answers("rows.csv", "--window", "3").reshape(78, 3), alone)
    np.testing.assert_array_equal(answers("windows.csv", "--window", "3").reshape(78, 3), alone)
    capsys.readouterr()
    for words, message in (
        (
            ["rows.csv", "--window", "3", "--columns", "1"],
            "expected 2 columns, the values of one frame, or 6, those of a window of 3, found 1",
        ),
        (
            ["rows.csv", "--window", "81"],
            "expected at least 81 rows" if frames == '"frames"' else "expected an input with an axis of 81 frames",
        ),
        (["x.npy", "--window", "3"], "--window: expected a table (.csv, .tsv, .parquet, .jsonl), found x.npy"),
    ):
        assert _run(["run", "m.lstm", *words]) == (2 if "x.npy" in words else 1)
        assert message in " ".join(capsys.readouterr().err.split())


def test_rows_fill_a_model_that_takes_arrays_whole(folder, capsys):
    loaded = lstm_edge.load(model("3", "last"))
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    np.savetxt("x.csv", rows, delimiter=",")
    Path("x.jsonl").write_text("\n".join(map(str, rows.tolist())))
    for name in ("x.csv", "x.jsonl"):
        np.testing.assert_array_equal(answers(name), loaded.run(rows.reshape(2, 3, 2)))


def test_windows_feed_every_command_that_feeds_a_model(folder, capsys):
    model("3", "last")
    np.savetxt("x.csv", np.random.default_rng(0).standard_normal((9, 2)), delimiter=",", header="a,b")
    np.savetxt("y.csv", answers("x.csv", "--window", "3"), delimiter=",")
    for words in (
        ["evaluate", "m.lstm", "x.csv", "y.csv"],
        ["trace", "m.lstm", "x.csv"],
        ["quantize", "m.lstm", "-o", "q.lstm", "--precision", "int8", "--calibrate", "x.csv"],
        ["prune", "m.lstm", "-o", "p.lstm", "--density", "1", "--calibrate", "x.csv"],
    ):
        assert _run([*words, "--window", "3", "--columns", "a,b"]) == 0
    assert "RMSE" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, code, expected",
    [
        (["x.npy", "--columns", "a", "--skip", "1"], 2, "--columns, --skip: expected a table (.csv, .tsv, .parquet, .jsonl), found x.npy"),
        (["x.csv", "--delimiter", "ab", "--skip", "-1", "--window", "0", "--columns", ","], 2,
         "'--columns': expected names or numbers of columns, separated by commas, found ','. "
         "Invalid value for '--delimiter': expected one character, and no quote or line end, found 'ab'. "
         "Invalid value for '--skip': -1 is not in the range x>=0. Invalid value for '--window': 0 is not in the range x>=1."),
        (["x.csv", "--columns", "a,heat,-1,0,4"], 1, "x.csv: expected columns 'heat', '-1', '0', '4' (--columns takes names, or numbers from 1 to 2), found 'a', 'b'"),
        (["x.csv", "--columns", "a,b,1"], 1, "--columns: expected each column once, found 'a' more than once"),
        (["x.jsonl", "--delimiter", ";", "--skip", "1"], 1, "--delimiter, --skip: expected a table, found lines of JSON"),
        (["x.csv", "--window", "3", "--series", "a"], 2, "--window: expected frames as they stand, found --series"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_flags_is_said_at_once(folder, capsys, words, code, expected):
    model()
    Path("x.csv").write_text("a,b\n1,2\n")
    Path("x.jsonl").write_text("[1, 2]\n")
    np.save("x.npy", np.zeros((2, 2)))
    capsys.readouterr()
    assert _run(["run", "m.lstm", *words]) == code
    assert expected in " ".join(capsys.readouterr().err.split())


def test_parquet_is_read_by_the_rules_of_text(folder, capsys):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    loaded = lstm_edge.load(model())
    frame = pd.DataFrame({
        "site": ["north", "south", "west"], "load": np.float32([0.1, 1.234, np.nan]), "on": [True, False, True],
        "n": pd.array([1, None, 3], dtype="Int64"), "temp": ["1,5", "2", "-0,25"],
    }, index=pd.date_range("2026-01-01", periods=3, freq="h", name="when"))  # fmt: skip
    frame.to_parquet("t.parquet")
    form = Form(columns=("load", "temp", "on", "n"), missing="zero")
    np.testing.assert_array_equal(
        read_rows("t.parquet", form).astype(np.float32),
        np.float32([[0.1, 1.5, 1, 1], [1.234, 2, 0, 0], [0, -0.25, 1, 3]]),
    )
    assert read_table("t.parquet").times("when")[1] == np.datetime64("2026-01-01T01:00")
    with pytest.raises(FormatError, match="t.parquet: row 3, column 'load': expected a number, found an empty cell"):
        read_rows("t.parquet", Form(columns=("load",)))
    assert answers("t.parquet", "--columns", "temp,on").shape == (3, 3)
    assert [a.shape for a in read_inputs(loaded, ("t.parquet",), Form(columns=("temp", "on")))[0]] == [(3, 2)]
    for name, content, message in (
        ("a.parquet", b"a,b", "expected a .parquet table, found other content"),
        ("b.parquet", Path("t.parquet").read_bytes()[:99], "expected a .parquet table, found"),
    ):
        Path(name).write_bytes(content)
        with pytest.raises(FormatError, match=message):
            read_rows(name)
    with (
        pytest.raises(FormatError, match="--delimiter, --skip: expected a table written as text"),
        named_as_on_command_line(),
    ):
        read_rows("t.parquet", Form(Dialect(";", 1)))


def test_the_extra_of_parquet_is_named_where_nothing_reads_it(folder, capsys, monkeypatch):
    model()
    Path("t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pandas", None)
    capsys.readouterr()
    assert _run(["run", "m.lstm", "t.parquet"]) == 1
    assert "pip install 'lstm-edge[pandas]'" in " ".join(capsys.readouterr().err.split())


def two_inputs() -> lstm_edge.Model:
    g = Graph()
    x, h = g.input("x", (BATCH, FRAMES, 2)), g.input("h", (BATCH, FRAMES, 1))
    g.output("y", g.add1("Concat", [x, h], {"axis": 2}))
    g.output("z", g.add1("Unary", [h], {"kind": "tanh"}))
    streaming.apply(g)
    Path("two.lstm").write_bytes(format.to_bytes(g))
    return lstm_edge.load("two.lstm")


def test_one_jsonl_has_several_inputs_by_name(folder, capsys):
    loaded = two_inputs()
    lines = [{"x": [n, [n + 0.5]], "h": -n, "time": n} for n in range(200)]
    Path("a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert _run(["run", "two.lstm", "a.jsonl", "-o", "y.jsonl"]) == 0
    told = [json.loads(line) for line in Path("y.jsonl").read_text().splitlines()]
    assert len(told) == 200 and told[7]["y"] == [7, 7.5, -7] and told[7]["z"] == pytest.approx(np.tanh(-7))
    (x, h), _ = read_inputs(loaded, ("a.jsonl",))
    assert x.shape == (200, 2) and h.shape == (200, 1)
    for text, message in {
        '{"x": [1, 2]}': "line 1: expected a frame in JSON: an object with 'x', 'h', found",
        '{"x": [1, 2], "h": 1}\n{"x": [1], "h": 1}': "line 2: expected 2 values of 'x', found 1",
        '{"x": [1, 1e400], "h": 1}': "line 1: expected a frame", '{"x": [1, "2"], "h": 1}': "line 1: expected a frame",
        '{"x": [1, 1%s], "h": 1}' % ("0" * 400): "line 1: expected a frame", "[1, 2, 3]": "line 1: expected a frame",
        '{"x": [1, 1e39], "h": 1}': "input 'x': expected values that float32 can hold, found 1e+39",
    }.items():  # fmt: skip
        Path("a.jsonl").write_text(text)
        capsys.readouterr()
        assert _run(["run", "two.lstm", "a.jsonl"]) == 1
        assert message in " ".join(capsys.readouterr().err.split())


def test_lines_of_several_inputs_are_answered_while_they_come(folder):
    two_inputs()
    words = [sys.executable, "-m", "lstm_edge", "run", "two.lstm", "-", "--format", "jsonl"]
    path = str(Path(lstm_edge.__file__).parents[1])
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as live:
        for n in range(2):
            live.stdin.write(f'{{"x": [{n}, 2], "h": 0.5}}\n')
            live.stdin.flush()
            assert json.loads(live.stdout.readline())["y"] == [n, 2, 0.5]
        live.stdin.close()
        assert live.wait() == 0


def test_a_jsonl_takes_columns_and_what_is_missing(folder):
    loaded = lstm_edge.load(model())
    Path("a.jsonl").write_text('{"b": 1, "a": null}\n{"a": 3, "b": null}\n')
    for missing, rows in (("zero", [[0, 1], [3, 0]]), (None, [[np.nan, 1], [3, np.nan]])):
        (x,), _ = read_inputs(loaded, ("a.jsonl",), Form(columns=("a", "b"), missing=missing))
        np.testing.assert_array_equal(x, rows)
    with pytest.raises(FormatError, match="line 1: expected a number .--missing forward., found null"):
        read_inputs(loaded, ("a.jsonl",), Form(columns=("a", "b"), missing="forward"))


def test_several_outputs_are_columns_below_their_names(folder, capsys):
    two = NETWORK.replace("BATCH", '"batch"').replace("FRAMES", '"frames"').replace("ALL", "every")
    two = two.replace("layer =", 'outputs = { y = "r", z = "s" }\nlayer =').replace(
        '{ type = "rnn"', '{ name = "r", type = "rnn"'
    )
    two = two.replace(
        " }]", ' }, { name = "s", type = "Slice", inputs = ["r"], axes = [2], starts = [0], ends = [1] }]'
    )
    Path("net.toml").write_text(two)
    assert _run(["convert", "w.npz", "--network", "net.toml", "-o", "m.lstm", "--no-self-test"]) == 0
    np.save("x.npy", np.random.default_rng(0).standard_normal((200, 2)).astype(np.float32))
    assert _run(["run", "m.lstm", "x.npy", "-o", "y.npz"]) == 0
    assert _run(["run", "m.lstm", "x.npy", "-o", "y.csv", "--times"]) == 0
    assert Path("y.csv").read_text().splitlines()[0] == "time,y[0],y[1],y[2],z"
    told, arrays = read_rows("y.csv").astype(np.float32), np.load("y.npz")
    np.testing.assert_array_equal(told[:, 0], np.arange(200) + 1)
    np.testing.assert_array_equal(told[:, 1:], np.concatenate([arrays["y"], arrays["z"]], -1).reshape(200, 4))


def test_a_picture_of_answers_under_the_input(folder, capsys):
    pytest.importorskip("matplotlib")
    model()
    np.savetxt("x.csv", np.random.default_rng(0).standard_normal((50, 2)), delimiter=",")
    for name, start in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")):
        assert _run(["run", "m.lstm", "x.csv", "-o", "y.npy", "--plot", name]) == 0
        assert Path(name).read_bytes().startswith(start)
    assert _run(["run", "m.lstm", "x.csv", "--window", "5", "-o", "y.npy", "--plot", "w.png"]) == 0
    capsys.readouterr()
    assert _run(["run", "m.lstm", "x.csv", "--plot", "a.bmp"]) == 1
    assert "--plot: expected a file among .png, .svg, .pdf" in capsys.readouterr().err
