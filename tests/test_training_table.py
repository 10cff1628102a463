"""Tables: what is found in a CSV is said, what is wrong in it is named by line and column."""

from __future__ import annotations

import numpy as np
import pytest

pd = pytest.importorskip("pandas")

from lstm_edge.errors import FormatError  # noqa: E402
from lstm_edge.files import tables  # noqa: E402
from lstm_edge.training import columns, grid  # noqa: E402
from lstm_edge.training.forecast_options import ForecastOptions  # noqa: E402
from lstm_edge.training.table import Table, read_table  # noqa: E402


def read(tmp_path, text: str, **options) -> Table:
    path = tmp_path / "load.csv"
    path.write_text(text, encoding="utf-8")
    return read_table(path, ForecastOptions(**options))[0]


HOURS = "".join(f"2024-01-0{1 + h // 24} {h % 24:02}:00,{h}\n" for h in range(30))


def test_found_without_a_word(tmp_path):
    table = read(tmp_path, "when,load\n" + HOURS)
    assert table.time == "when" and str(table.step) == "1 hour" and table.columns == ("load",)
    np.testing.assert_array_equal(table.series[0].values[:, 0], np.arange(30.0))
    assert "the column of times is 'when'" in table.notes
    assert "the target is 'load', the only column of numbers" in table.notes


FORMS = {
    "semicolons and commas": "when;load\n" + HOURS.replace(",", ",5;").replace(",5;", ";").replace("\n", ",5\n"),
    "tabs": "when\tload\n" + HOURS.replace(",", "\t").replace("\n", ".5\n"),
    "no header": HOURS.replace("\n", ".5\n"),
    "blank lines, spaces, a BOM": "\ufeffwhen , load\n\n" + HOURS.replace(",", " , ").replace("\n", ".5\n\n"),
    "day first": "when,load\n"
    + HOURS.replace("2024-01-01", "13/01/2024").replace("2024-01-02", "14/01/2024").replace("\n", ".5\n"),
    "hours before and after noon": "when,load\n"
    + "".join(f"01/{12 + h // 24:02}/2024 {(h - 1) % 12 + 1}:00 {'AP'[h // 12 % 2]}M,{h}.5\n" for h in range(30)),
    "a delimiter in quotes": '"when","the load, in kW"\n'
    + "".join(f'"2024-01-01 {h:02}:00","{h}.5"\n' for h in range(24)),
    "seconds since 1970": "when,load\n" + "".join(f"{1704067200 + 3600 * h},{h}.5\n" for h in range(30)),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(tmp_path, form):
    named = {"time": "when", "target": ("load",)} if form.startswith("seconds") else {}
    table = read(tmp_path, FORMS[form], **named)
    assert table.step == grid.Step(3600)
    values = table.series[0].values[:, 0]
    np.testing.assert_array_equal(values, np.arange(len(values)) + 0.5)
    assert len(values) >= 24


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        (("1959", "1960"), "1959-01-01"),
        (("20240131", "20240201"), "2024-01-31"),
        (("1704067200", "1704070800"), "2024-01-01"),
        (("1704067200000", "1704067260000"), "2024-01-01"),
        (("2024/1/5", "2024/1/6"), "2024-01-05"),
        (("31.01.24 10:00", "01.02.24 10:00"), "2024-01-31T10:00"),
        (("2024-01-31T10:00+02:00", "2024-01-31T10:00Z"), "2024-01-31T08:00"),
    ],
)
def test_times_are_read_as_on_the_device(tmp_path, cells, first):
    path = str(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("t;a\n" + "".join(f"{cell};1,5\n" for cell in cells))
    trained, device = columns.read(path), tables.read_table(path)
    times = device.times("t")
    assert times[0] == np.datetime64(first)
    np.testing.assert_array_equal(columns.times(trained, "t"), times)
    np.testing.assert_array_equal(columns.numbers(trained, "a"), device.numbers("a"))


FORMS_OF_TIME = (
    "5 Jan 2024",
    "05-Jan-2024 13:00",
    "January 5, 2024 1:05 PM",
    "Jan 2024",
    "2024Q3",
    "13/01/2024 12:05 AM",
)


@pytest.mark.parametrize("cell", FORMS_OF_TIME)
def test_the_device_reads_the_times_that_training_reads(tmp_path, cell):
    path = tmp_path / "load.csv"
    path.write_text(f't,a\n"{cell}",1\n')
    np.testing.assert_array_equal(tables.read_table(str(path)).times("t"), columns.times(columns.read(path), "t"))


def test_training_alone_reads_times_as_pandas_does(tmp_path):
    """Such a table is forecast with --time-format, which the file keeps."""
    table = read(tmp_path, "t,a\n2024 Jan 5,1\n2024 Jan 6,2\n2024 Jan 7,3\n")
    assert table.time == "t" and str(table.step) == "1 day"
    with pytest.raises(FormatError, match="line 2, column 't': expected a time"):
        tables.read_table(str(tmp_path / "load.csv")).times("t")


REFUSED = {
    "words among numbers": ("a,b\n1,2\n3,x\n4,y\n", {"target": ("b",)}, r"load.csv: column 'b': expected numbers, found in line 3 'x', line 4 'y'"),
    "a unit": ("a\n1 kW\n", {"target": ("a",)}, "found in line 2 '1 kW'; a number has no unit"),
    "a title above the header": ("# logger 3\na,b\n1,2\n", {}, "line 2: expected 1 columns.* nothing may stand above the header"),
    "a time in two readings, with its hour": ("t,a\n03/04/2024 1:00 PM,1\n04/04/2024 1:00 PM,2\n", {"time": "t", "target": ("a",)}, "time_format='%d/%m/%Y %I:%M %p'"),
    "too few cells": ("a,b\n1,2\n3\n", {"target": ("a",)}, "load.csv: line 3: expected 2 columns, .* found 1"),
    "too many cells": ("a,b\n1,2\n3,4,5\n", {"target": ("a",)}, "line 3"),
    "no such column": ("a,b\n1,2\n", {"target": ("c",)}, r"target names the column 'c', found 'a', 'b'"),
    "several that may be meant": ("a,b\n1,2\n", {}, r"expected target, the column to forecast, one of 'a', 'b'"),
    "one name twice": ("a,a\n1,2\n", {"target": ("a",)}, "'a' more than once"),
    "a time twice": ("t,a\n2024-01-01,1\n2024-01-02,2\n2024-01-02,3\n", {}, r"line 4, column 't'|line 4: expected times that differ, found .* \(first in line 3\)"),
    "a time in two readings": ("t,a\n03/04/2024,1\n04/04/2024,2\n", {"time": "t", "target": ("a",)}, "may be 04 March 2024 or 03 April 2024.*time_format='%d/%m/%Y'"),
    "a time that is none": ("t,a\n2024-01-01,1\nsoon,2\n", {"time": "t", "target": ("a",)}, "column 't': expected times .*found in line 3 'soon'"),
    "a missing value": ("a\n1\nNA\n3\n", {"missing": "error"}, r"column 'a': expected a value in every row \(missing='error'\), found in line 3 'NA'"),
    "a missing row": ("t,a\n2024-01-01,1\n2024-01-02,2\n2024-01-03,2\n2024-01-05,3\n", {"missing": "error"}, "found none at 2024-01-04"),
    "a static column that changes": ("a,s\n1,2\n3,4\n", {"target": ("a",), "static": ("s",)}, "static column 's': expected one value, found 2 values, 2 and 4"),
    "nothing": ("", {}, "expected rows of a table as text, found none"),
    "a header alone": ("a,b\n", {}, "expected rows below the header, found none"),
    "a step that is none": ("t,a\n2024-01-01,1\n2024-01-02,2\n", {"step": "soon"}, "step: expected a time of whole seconds .* found 'soon'"),
    "times finer than a second": ("t,a\n2024-01-01 00:00:00.0,1\n2024-01-01 00:00:00.1,2\n", {}, "column 't': expected whole seconds .* found in line 3 '2024-01-01 00:00:00.1'"),
    "a number beyond float32": ("a\n1\n1e39\n3\n", {}, "column 'a': expected numbers of float32's range, up to 3.40282e.38, found in line 3 '1e39'"),
    "a form of times that is none": ("t,a\n2024-01-01,1\n2024-01-02,2\n", {"time_format": "%Q"}, "expected times written as %Q, found in line 2 '2024-01-01'"),
    "a form of times that names a part twice": ("t,a\n2024-01-01,1\n2024-01-02,2\n", {"time_format": "%d%d"}, "expected times written as %d%d"),
    "a grid that no memory holds": ("t,a\n1900-01-01 00:00:00,1\n1900-01-01 00:00:01,2\n9999-06-01,3\n", {"step": "1s"}, "3 rows would be 255,[0-9,]* frames of 1 second"),
    "a grid of gaps": ("t,a\n2024-01-01 00:00:00,1\n2024-01-01 00:00:01,2\n2024-06-01,3\n", {}, "give a longer step"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_named_by_place(tmp_path, case):
    text, options, said = REFUSED[case]
    with pytest.raises(FormatError, match=said):
        read(tmp_path, text, **options)


def test_gaps_and_jitter(tmp_path):
    """Missing rows are gaps; rows between frames go to the nearest; both are counted."""
    rows = [f"2024-01-01 {m // 60:02}:{m % 60:02}:0{m % 3},{m}\n" for m in range(0, 600, 10) if m not in (50, 60)]
    table = read(tmp_path, "t,a\n" + "".join(rows))
    values = table.series[0].values[:, 0]
    assert str(table.step) == "10 minutes" and len(values) == 60
    assert np.isnan(values[5:7]).all() and not np.isnan(np.delete(values, [5, 6])).any()
    assert any("2 of 60 frames have no row" in n for n in table.notes)
    assert any("lay between frames, by up to 2 s" in n for n in table.notes)


@pytest.mark.parametrize("day", ["01", "15", "end"])
def test_months(tmp_path, day):
    months = pd.date_range("2020-01-01", periods=30, freq="MS")
    times = months + pd.offsets.MonthEnd(0) if day == "end" else months + pd.Timedelta(days=int(day) - 1)
    text = "t,a\n" + "".join(f"{t:%Y-%m-%d},{n}\n" for n, t in enumerate(times) if n != 7)
    table = read(tmp_path, text)
    assert str(table.step) == "1 month" and table.step.season == 12
    assert np.isnan(table.series[0].values[7, 0]) and len(table.series[0].values) == 30
    minutes = table.series[0].minutes
    assert minutes is not None
    np.testing.assert_array_equal(minutes.astype("M8[m]").astype("M8[M]"), months.to_numpy().astype("M8[M]"))


def test_step_averages(tmp_path):
    table = read(tmp_path, "when,load\n" + HOURS, step="6h")
    np.testing.assert_array_equal(table.series[0].values[:, 0], [2.5, 8.5, 14.5, 20.5, 26.5])


def test_several_series(tmp_path):
    rows = [
        f"2024-01-{d:02},{name},{d + k},{k}\n" for d in range(1, 11) for k, name in enumerate(("b", "a")) if d > 3 * k
    ]
    table = read(tmp_path, "t,shop,a,size\n" + "".join(rows), group="shop", target=("a",), static=("size",))
    assert [(s.name, len(s.values)) for s in table.series] == [("b", 10), ("a", 7)]
    np.testing.assert_array_equal(table.series[1].values, [[d + 1, 1] for d in range(4, 11)])


def test_frames_and_arrays():
    frame = pd.DataFrame({"a": [1.0, None, 3.0]}, index=pd.date_range("2024-01-01", periods=3, freq="D"))
    table, _ = read_table(frame, ForecastOptions())
    assert table.time == "time" and np.isnan(table.series[0].values[1, 0])
    table, _ = read_table(frame["a"], ForecastOptions())
    assert table.time == "time" and table.columns == ("a",)
    table, _ = read_table(np.arange(6.0).reshape(3, 2), ForecastOptions(target=("column2",)))
    np.testing.assert_array_equal(table.series[0].values[:, 0], [1, 3, 5])
    with pytest.raises(FormatError, match="expected the path of a CSV, a DataFrame or an array"):
        read_table({"a": [1]}, ForecastOptions())


def test_a_source_is_left_as_it_was():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "k": [1.0, np.nan, 2.0]})
    before = frame.copy()
    read_table(frame, ForecastOptions(target=("a",), known=("k",)))
    pd.testing.assert_frame_equal(frame, before)
    assert columns.read(frame).word == "row"


@pytest.mark.parametrize("code", ["latin-1", "utf-16"])
def test_another_encoding_is_told_how_to_become_utf8(tmp_path, code):
    (tmp_path / "t.csv").write_bytes("t,Wärme\n2024-01-01,1\n".encode(code))
    with pytest.raises(FormatError, match="in UTF-8.*iconv -f " + {"latin-1": "WINDOWS-1252"}.get(code, "UTF-16")):
        columns.read(tmp_path / "t.csv")
