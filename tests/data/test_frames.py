"""Data frames and Arrow files: the same series as from CSV, and forecasts in the caller's own kind of frame."""

import numpy as np
import pytest

from cellgate.data import DataError, Roles, read_panel
from cellgate.estimators import Forecaster

KINDS = ["pandas", "polars", "pyarrow"]
COLUMNS = {
    "unique_id": ["a"] * 30 + ["b"] * 30,
    "ds": [*(np.datetime64("2024-01-01") + np.arange(30)), *(np.datetime64("2024-02-01") + np.arange(30))],
    "y": [float(k % 7) for k in range(60)],
}


def make(kind, columns=COLUMNS):
    if kind == "pandas":
        return pytest.importorskip("pandas").DataFrame(columns)
    plain = {name: [v.item() if isinstance(v, np.datetime64) else v for v in cells] for name, cells in columns.items()}
    if kind == "polars":
        return pytest.importorskip("polars").DataFrame(plain)
    return pytest.importorskip("pyarrow").table(plain)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_read_as_its_table(kind):
    panel = read_panel(make(kind))
    assert panel.ids == ("a", "b")
    assert str(panel.frequency) == "daily"
    assert panel.values[1].tolist() == COLUMNS["y"][30:]
    assert panel.times(1)[0] == np.datetime64("2024-02-01")


@pytest.mark.parametrize("kind", KINDS)
def test_a_forecast_comes_back_in_the_callers_kind_of_frame(kind):
    frame = make(kind)
    forecaster = Forecaster(3, max_epochs=1).fit(frame)
    made = forecaster.predict(frame)
    assert type(made) is type(frame)
    names = list(made.column_names if kind == "pyarrow" else made.columns)
    assert names == ["unique_id", "ds", "cellgate", "cellgate-lo-90", "cellgate-hi-90"]
    assert len(made) == 6
    stamps = np.array(made["ds"]).astype("datetime64[D]")
    assert stamps[[0, 3]].astype(str).tolist() == ["2024-01-31", "2024-03-02"]


def test_what_pandas_says_in_its_index_and_what_is_no_frame():
    """An index of times is a column; a Series is a series; a mapping of columns is a table; each forecast in kind."""
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    days, y = pandas.date_range("2024-01-01", periods=30), [float(k % 7) for k in range(30)]
    given = (
        (pandas.DataFrame({"sold": y}, index=days), pandas.DataFrame, "daily"),
        (pandas.Series(y, index=days, name="sold"), pandas.DataFrame, "daily"),
        (pandas.Series(y, index=pandas.period_range("2020-01", periods=30, freq="M")), pandas.DataFrame, "monthly"),
        (polars.Series("sold", y), polars.DataFrame, "numbered steps"),
        ({"ds": days.values, "y": y}, dict, "daily"),
        (y, dict, "numbered steps"),
    )
    for data, _, frequency in given:
        panel = read_panel(data)
        assert str(panel.frequency) == frequency
        assert panel.values[0].tolist() == y
    forecaster = Forecaster(3, max_epochs=1)
    for data, kind, _ in given:
        made = forecaster.fit(data).predict(data)
        assert type(made) is kind
        assert len(made["cellgate"]) == 3


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (lambda p: p.array([1, None, 3], dtype="Int64"), [1, np.nan, 3]),
        (lambda p: p.Series([1, None, "3"], dtype=object), [1, np.nan, 3]),
        (lambda p: p.arrays.SparseArray([1.0, 2.0, 3.0]), [1, 2, 3]),
        (lambda p: np.array([1, 2, 3], dtype=np.float16), [1, 2, 3]),
        (lambda p: np.array([1, 2, 3], dtype=np.uint64), [1, 2, 3]),
    ],
)
def test_columns_of_unusual_types(column, values):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"ds": pandas.date_range("2024-01-01", periods=3), "y": column(pandas)})
    assert np.array_equal(read_panel(frame).values[0], values, equal_nan=True)


def test_local_days_of_a_zone_stay_days():
    pandas = pytest.importorskip("pandas")
    days = pandas.date_range("2024-03-25", periods=14, freq="D", tz="Europe/Berlin")  # over a change of clocks
    panel = read_panel(pandas.DataFrame({"ds": days, "y": range(14)}))
    assert str(panel.frequency) == "daily"
    assert panel.starts[0] == np.datetime64("2024-03-25")


DAYS = np.arange("2024-01-01", "2024-03-01", dtype="datetime64[D]")
WEEK = [float(k % 7) for k in range(60)]


@pytest.mark.parametrize("tz", ["Europe/Berlin", "America/New_York", "Etc/GMT+5", "dateutil/America/New_York"])
def test_zones_of_any_name_are_zones(tz):
    pandas = pytest.importorskip("pandas")
    hours = pandas.date_range("2024-03-08", periods=60, freq="h", tz=tz)
    panel = read_panel(pandas.DataFrame({"ds": hours, "y": WEEK}))
    assert panel.starts[0] == hours[0].tz_convert("UTC").tz_localize(None).to_datetime64()
    assert panel.roles.time_format == "ISO 8601, in UTC"
    days = pandas.date_range("2024-03-08", periods=60, freq="D", tz=tz)  # over a change of clocks, in two of them
    assert read_panel(pandas.Series(WEEK, index=days)).starts[0] == np.datetime64("2024-03-08")


@pytest.mark.parametrize("shape", ["drop=False", "objects", "words", "series by objects"])
def test_an_index_of_times_is_the_time_however_it_is_made(shape):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"ds": pandas.to_datetime(DAYS), "y": WEEK})
    given = {
        "drop=False": lambda: frame.set_index("ds", drop=False),
        "objects": lambda: pandas.DataFrame({"y": WEEK}, index=DAYS.astype(object)),
        "words": lambda: pandas.DataFrame({"y": WEEK}, index=DAYS.astype(str)),
        "series by objects": lambda: pandas.Series(WEEK, index=DAYS.astype(object)),
    }[shape]()
    panel = read_panel(given)
    assert (panel.roles.time, panel.roles.target, panel.ids) == ("ds", "y", ("y",))
    assert panel.starts[0] == DAYS[0]


def test_an_index_with_the_name_of_another_column_keeps_both():
    pandas = pytest.importorskip("pandas")
    panel = read_panel(pandas.DataFrame({"y": WEEK}, index=pandas.DatetimeIndex(DAYS, name="y")))
    assert (panel.roles.time, panel.values[0].tolist()) == ("ds", WEEK)


@pytest.mark.parametrize("names", [[None, None], ["shop", None], [None, "day"], ["shop", "day"]])
@pytest.mark.parametrize("turned", [False, True])
def test_levels_of_an_index_need_no_name(names, turned):
    pandas = pytest.importorskip("pandas")
    index = pandas.MultiIndex.from_product([["a", "b"], pandas.to_datetime(DAYS)], names=names)
    frame = pandas.DataFrame({"y": [*WEEK, *WEEK[::-1]]}, index=index)
    panel = read_panel(frame.swaplevel() if turned else frame)
    assert panel.ids == ("a", "b")
    assert [values.tolist() for values in panel.values] == [WEEK, WEEK[::-1]]
    assert (panel.roles.id, panel.roles.time) == (names[0] or "unique_id", names[1] or "ds")


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "int32"])
def test_tensors_are_arrays(dtype):
    torch = pytest.importorskip("torch")
    values = torch.tensor(WEEK).to(getattr(torch, dtype))
    assert read_panel(values).values[0].tolist() == WEEK
    assert len(read_panel(torch.stack([values, values], 1))) == 2


def test_row_labels_are_no_column():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"ds": DAYS, "y": WEEK}, index=[f"row {k}" for k in range(60)])
    assert read_panel(frame).columns == ("ds", "y")


def test_frames_that_are_refused():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    days = pandas.date_range("2024-01-01", periods=4)
    for data, message in (
        (polars.DataFrame({"y": [1, 2, 3]}).lazy(), r"got LazyFrame; call .collect\(\) first"),
        (pandas.DataFrame({"ds": [pandas.NaT, *days[1:]], "y": range(4)}), "the frame, row 0: expected a time stamp"),
        (pandas.DataFrame({"ds": days, "y": [1.0, np.inf, 2, 3]}), "the frame, row 1: expected a finite number"),
        (pandas.DataFrame([[1, 2]] * 4, columns=["y", "y"]), "expected different column names"),
        (pandas.DataFrame({"ds": [], "y": []}), "expected rows, got an empty frame"),
        ({"ds": [1, 2], "y": [1]}, "expected columns of one length, and rows in them, got ds 2, y 1"),
        ([[1, 2, 3], [1, 2]], "with words or lists of different lengths in it"),
        (np.zeros((2, 2, 2)), r"expected numbers of shape \(T,\) or \(T, n\)"),
        ("a\0b", "got no possible name"),
        ("x" * 5000, "got no possible name"),
    ):
        with pytest.raises(DataError, match=message):
            read_panel(data)


def test_times_with_a_zone_are_taken_as_utc():
    pandas = pytest.importorskip("pandas")
    times = pandas.date_range("2024-03-30", periods=48, freq="h", tz="Europe/Berlin")  # over a change of clocks
    panel = read_panel(pandas.DataFrame({"ds": times, "y": range(48)}))
    assert str(panel.frequency) == "hourly"
    assert panel.starts[0] == np.datetime64("2024-03-29T23:00")
    assert "ds: times in Europe/Berlin taken as UTC" in panel.notes


def test_missing_values_of_a_frame_stay_missing():
    polars = pytest.importorskip("polars")
    panel = read_panel(polars.DataFrame({"ds": [1, 2, 3, 4], "y": [1, None, 3, 4]}))
    assert np.array_equal(panel.values[0], [1, np.nan, 3, 4], equal_nan=True)


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow"])
def test_arrow_files(tmp_path, suffix):
    pytest.importorskip("pyarrow")
    import pyarrow.feather
    import pyarrow.parquet

    path = tmp_path / f"t{suffix}"
    if suffix == ".parquet":
        pyarrow.parquet.write_table(make("pyarrow"), path)
    else:
        pyarrow.feather.write_feather(make("pyarrow"), path)
    assert [v.tolist() for v in read_panel(path).values] == [COLUMNS["y"][:30], COLUMNS["y"][30:]]
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=f"t{suffix}: expected a {suffix[1:]} file, got one that cannot be read"):
        read_panel(path)


def test_an_arrow_file_without_a_reader_is_refused_with_the_remedy(tmp_path, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (tmp_path / "t.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"expected pyarrow or polars .* pip install pyarrow, or use CSV"):
        read_panel(tmp_path / "t.parquet")


def test_what_is_no_table_is_refused():
    with pytest.raises(
        DataError, match=r"expected a path, an array, a mapping of columns or a data frame .* got object"
    ):
        read_panel(object())
    with pytest.raises(DataError, match="has unique_id, ds, y"):
        read_panel(make("pandas"), Roles(target="z"))


def test_row_numbers_that_pandas_writes_are_no_column(tmp_path):
    """After rows were chosen, Parquet and Feather hold the old row numbers as a column."""
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    from pyarrow import feather

    days, y = pandas.date_range("2024-01-01", periods=60), [float(k % 7) for k in range(60)]
    chosen = pandas.DataFrame({"day": days, "sold": y})
    chosen = chosen[chosen["sold"] < 9].iloc[[*range(0, 50), *range(51, 60)]]
    table = pyarrow.Table.from_pandas(chosen)
    assert "__index_level_0__" in table.column_names
    chosen.to_parquet(tmp_path / "t.parquet")
    feather.write_feather(table, tmp_path / "t.feather")
    for name in ("t.parquet", "t.feather"):
        panel = read_panel(tmp_path / name)
        assert (panel.roles.time, panel.roles.target) == ("day", "sold")
    # An index of times is one, and is kept.
    pandas.DataFrame({"sold": y}, index=days).to_parquet(tmp_path / "i.parquet")
    panel = read_panel(tmp_path / "i.parquet")
    assert (panel.roles.time, panel.roles.target, str(panel.frequency)) == ("ds", "sold", "daily")


@pytest.mark.parametrize(
    ("name", "numbers", "frequency", "following"),
    [
        ("month", [100 * y + m for y in (2022, 2023) for m in range(1, 13)], "monthly", "2024-01-01"),
        ("date", [20240000 + 100 * m + d for m in (4, 5) for d in range(1, 31)], "daily", "2024-05-31"),
        ("week", [202000 + w for w in range(1, 53)], "weekly", "2020-12-28"),
    ],
)
@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_dates_written_as_numbers_are_dates_in_frames_too(tmp_path, name, numbers, frequency, following, dtype):
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "t.csv"
    pandas.DataFrame({name: numbers, "y": 1.0 * np.arange(len(numbers))}).to_csv(path, index=False)
    frame = pandas.read_csv(path)  # which makes numbers of them
    frame[name] = frame[name].astype(dtype)
    for data in (path, frame):
        panel = read_panel(data)
        assert str(panel.frequency) == frequency
        assert str(panel.next_times(0, 1)[0])[:10] == following
        assert any(note.startswith(f"{name}: read as") for note in panel.notes)


def test_years_and_counters_of_a_frame_stay_numbers():
    for start in (1990, 100_000, 20_240_150):
        panel = read_panel(make("pandas", {"t": np.arange(start, start + 60), "y": np.arange(60.0)}))
        assert (panel.next_times(0, 1) == start + 60).all()


@pytest.mark.parametrize("kind", ["index", "column", "polars", "pyarrow", "mapping"])
def test_durations_are_no_times_and_both_ways_out_are_named(kind):
    """They were read as bare seconds without a word, and of half seconds as numbers of steps."""
    pandas = pytest.importorskip("pandas")
    spans, y = np.arange(30) * np.timedelta64(1, "h"), [float(k % 7) for k in range(30)]
    frame = pandas.DataFrame({"ds": spans, "y": y})
    if kind == "polars":
        frame = pytest.importorskip("polars").from_pandas(frame)
    if kind == "pyarrow":
        frame = pytest.importorskip("pyarrow").Table.from_pandas(frame)
    data = {"index": pandas.DataFrame({"y": y}, index=spans), "mapping": {"ds": spans, "y": y}}.get(kind, frame)
    with pytest.raises(DataError, match=r"expected time stamps in 'ds', got durations \(timedelta\); add the moment"):
        read_panel(data)
    stamped = pandas.DataFrame({"ds": pandas.Timestamp("2024-01-01") + spans, "y": y})
    assert str(read_panel(stamped).frequency) == "hourly"
    numbered = pandas.DataFrame({"ds": frame["ds"].dt.total_seconds() if kind == "column" else range(30), "y": y})
    assert read_panel(numbered).frequency.unit == "count"
    # Newer rows as well, by the training's name of the column or the usual one; of coming drivers too.
    renamed = stamped.rename(columns={"ds": "when"}).assign(promo=np.arange(30.0) % 2)
    made = Forecaster(3, time="when", target="y", future="promo", max_epochs=1).fit(renamed)
    for rows in (pandas.DataFrame({"when": spans, "y": y, "promo": 1.0}), {"ds": spans, "y": y, "promo": np.ones(30)}):
        for use in (made.forecast, made.update, lambda rows: made.forecast(future=rows)):
            with pytest.raises(DataError, match="expected time stamps in 'when', got durations"):
                use(rows)


def test_durations_beside_the_times_are_seconds_and_said_to_be():
    waits = np.arange(30) * np.timedelta64(1500, "ms")
    columns = {"ds": np.datetime64("2024-01-01") + np.arange(30), "y": np.arange(30.0), "wait": waits}
    masked = {**columns, "wait": np.ma.MaskedArray(waits, mask=np.arange(30) == 3)}
    frame = pytest.importorskip("pandas").DataFrame(columns)
    for data, missing in ((columns, False), (masked, True), (frame, False)):
        panel = read_panel(data, Roles(target="y", past=("wait",)))
        expected = 1.5 * np.arange(30)
        if missing:
            expected[3] = np.nan
        assert np.array_equal(panel.past[0][:, 0], expected, equal_nan=True)
        assert "wait: durations, read as seconds" in panel.notes
