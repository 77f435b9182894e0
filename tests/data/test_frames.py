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
