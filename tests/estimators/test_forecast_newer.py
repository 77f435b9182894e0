"""Newer rows mean what they would have meant in training: columns, dates, frequency, names; known values stay known."""

import numpy as np
import pandas as pd
import pytest

import cellgate.tasks.forecast_data
from cellgate.data import DataError, read_panel
from cellgate.estimators import Forecaster, load

OPTIONS = {"max_epochs": 1, "hidden_size": 4}
DAYS = pd.date_range("2024-01-01", "2024-04-29")
VALUES = np.random.default_rng(0).normal(size=len(DAYS)) + np.arange(len(DAYS)) % 7


def write(path, header, rows):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def kept(forecaster, folder, loaded):
    """The forecaster itself, or the one that comes back from a folder."""
    if not loaded:
        return forecaster
    forecaster.save(folder / "m")
    return load(folder / "m")


@pytest.fixture(params=[False, True], ids=["as fitted", "loaded"])
def loaded(request):
    return request.param


# ---------------------------------------------------------------- columns and names


@pytest.fixture
def shops(tmp_path, loaded):
    """Three shops whose column was found, not given."""
    rows = [
        (shop, f"{day:%Y-%m-%d}", y) for shop in ("north", "south", "west") for day, y in zip(DAYS, VALUES, strict=True)
    ]
    fitted = Forecaster(3, **OPTIONS).fit(write(tmp_path / "three.csv", "shop,day,sold", rows))
    assert fitted.id is None
    return kept(fitted, tmp_path, loaded)


def test_a_table_of_one_series_keeps_its_name(shops, tmp_path):
    north = write(tmp_path / "north.csv", "shop,day,sold", [("north", f"{d:%Y-%m-%d}", 1.0) for d in DAYS])
    assert set(shops.predict(north)["unique_id"]) == {"north"}
    assert shops.read(north).ids == ("north",)
    shops.update(pd.DataFrame({"shop": ["north"], "day": ["2024-04-30"], "sold": [20.0]}))
    assert shops.panel_.ids == ("north", "south", "west")
    assert [len(values) for values in shops.panel_.values] == [len(DAYS) + 1, len(DAYS), len(DAYS)]


def test_the_usual_names_will_do_and_others_are_refused(shops):
    shops.update(pd.DataFrame({"unique_id": ["west"], "ds": ["2024-04-30"], "y": [20.0]}))
    assert len(shops.panel_.values[2]) == len(DAYS) + 1
    expected = "the frame: expected the columns shop, day, sold, as in training, found no shop among day, sold"
    with pytest.raises(DataError, match=expected):
        shops.update(pd.DataFrame({"day": ["2024-04-30"], "sold": [20.0]}))


@pytest.fixture
def plain(tmp_path, loaded):
    fitted = Forecaster(3, **OPTIONS).fit(pd.DataFrame({"day": DAYS.astype(str), "sold": VALUES}))
    return kept(fitted, tmp_path, loaded)


def test_columns_that_the_training_did_not_have_are_left_alone(plain):
    more = pd.DataFrame(
        {"day": DAYS.astype(str), "temp": VALUES[::-1], "promo": np.where(VALUES > 3, "yes", "no"), "sold": VALUES}
    )
    made = plain.predict(more)
    assert set(made["unique_id"]) == {"sold"}
    np.testing.assert_array_equal(made["cellgate"], plain.predict()["cellgate"])


def test_two_rows_need_no_frequency(plain):
    made = plain.predict({"day": ["2024-05-01", "2024-05-02"], "sold": [1.0, 2.0]})
    assert made["ds"].astype("datetime64[D]").astype(str).tolist() == ["2024-05-03", "2024-05-04", "2024-05-05"]


def test_rows_of_another_frequency_are_refused(plain):
    for freq, words in (("h", "hourly"), ("2D", "every 2 days"), ("MS", "monthly")):
        other = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=60, freq=freq), "sold": 1.0})
        with pytest.raises(DataError, match=f"expected daily series, as in training, got {words}"):
            plain.predict(other)
    with pytest.raises(DataError, match="expected daily series, as in training, got numbered steps"):
        plain.predict(np.arange(50.0))


def test_wide_tables_are_read_as_wide_ones(tmp_path, loaded):
    table = pd.DataFrame({"ds": DAYS, "a": VALUES, "b": VALUES[::-1]})
    forecaster = kept(Forecaster(3, wide=True, **OPTIONS).fit(table[:-5]), tmp_path, loaded)
    forecaster.update(table[-5:-3]).update(table[["ds", "a"]][-3:-2])
    assert [len(values) for values in forecaster.panel_.values] == [len(DAYS) - 2, len(DAYS) - 3]
    np.testing.assert_array_equal(forecaster.panel_.values[0], VALUES[:-2])


# ---------------------------------------------------------------- dates


@pytest.fixture
def american(tmp_path, loaded):
    rows = [(f"{day:%m/%d/%Y}", y) for day, y in zip(DAYS, VALUES, strict=True)]
    return kept(Forecaster(3, **OPTIONS).fit(write(tmp_path / "mdy.csv", "ds,y", rows)), tmp_path, loaded)


def test_dates_are_read_as_in_training(american):
    american.update({"ds": ["05/01/2024", "05/02/2024"], "y": [1.0, 2.0]})
    values = american.panel_.values[0]
    assert str(american.panel_.times(0)[-1])[:10] == "2024-05-02"
    np.testing.assert_array_equal(values, [*VALUES, np.nan, 1.0, 2.0])
    twelve = {"ds": [f"05/{day:02}/2024" for day in range(1, 13)], "y": np.arange(12.0)}
    assert str(american.predict(twelve)["ds"][0])[:10] == "2024-05-13"


def test_iso_dates_will_always_do_and_other_ways_are_refused(american):
    american.update({"ds": ["2024-04-30"], "y": [5.0]})
    american.update(pd.DataFrame({"ds": pd.to_datetime(["2024-05-01"]), "y": [6.0]}))
    np.testing.assert_array_equal(american.panel_.values[0], [*VALUES, 5.0, 6.0])
    with pytest.raises(DataError, match=r"expected the format '%m/%d/%Y' in 'ds', got '13/05/2024'"):
        american.update({"ds": ["13/05/2024"], "y": [1.0]})


def test_what_nothing_tells_apart_is_refused(plain):
    """Trained on ISO dates: here 05/01 is not known to be May or January."""
    with pytest.raises(DataError, match="expected the format 'ISO 8601' in 'day', got '05/01/2024'"):
        plain.update({"day": ["05/01/2024", "05/02/2024"], "sold": [1.0, 2.0]})
    stamps = Forecaster(3, **OPTIONS).fit(pd.DataFrame({"day": DAYS, "sold": VALUES}))
    with pytest.raises(
        DataError, match=r"row 0: expected a date that can be read in one way .*2024-01-05 or 2024-05-01"
    ):
        stamps.update({"day": ["05/01/2024", "05/02/2024"], "sold": [1.0, 2.0]})
    # Daily in one reading only, and steps of a month in the other.
    twelve = {"day": [f"05/{day:02}/2024" for day in range(1, 13)], "sold": np.arange(12.0)}
    assert str(stamps.predict(twelve)["ds"][0])[:10] == "2024-05-13"


@pytest.mark.parametrize(
    ("times", "newer", "form"),
    [
        ([str(k) for k in range(1, 1999)], ["1999", "2000"], "whole numbers"),
        ([str(k / 2) for k in range(200)], ["100.0", "100.5"], "steps of 0.5 from 0.0"),
        ([str(1_700_000_000 + 60 * k) for k in range(200)], ["1700012000", "1700012060"], "seconds since 1970"),
        ([f"{d:%Y%m%d}" for d in DAYS], [20240430, 20240501], "%Y%m%d"),
        ([f"{d:%Y-%m-%d} 12:00 AM" for d in DAYS], ["2024-04-30 12:00 AM", "2024-05-01 12:00 AM"], "%Y-%m-%d %I:%M %p"),
        ([f"{d:%d.%m.%Y}" for d in DAYS], ["30.04.2024", "01.05.2024"], "%d.%m.%Y"),
    ],
)
def test_numbers_as_times_keep_their_meaning(tmp_path, loaded, times, newer, form):
    values = np.arange(len(times)) % 7 + 1.0
    path = write(tmp_path / "t.csv", "t,y", zip(times, values, strict=True))
    forecaster = kept(Forecaster(3, season=7, time="t", **OPTIONS).fit(path), tmp_path, loaded)
    assert forecaster.panel_.roles.time_format == form
    forecaster.update({"t": newer, "y": [8.0, 9.0]})
    np.testing.assert_array_equal(forecaster.panel_.values[0], [*values, 8.0, 9.0])
    assert forecaster.time_format is None


def test_a_folder_without_what_was_found_still_loads(tmp_path, rewrite):
    path = write(tmp_path / "t.csv", "ds,y", [(f"{day:%Y-%m-%d}", y) for day, y in zip(DAYS, VALUES, strict=True)])
    Forecaster(3, **OPTIONS).fit(path).save(tmp_path / "m")

    def older(preprocess):
        preprocess["roles"]["time_format"] = None
        del preprocess["integer_ids"]

    rewrite(tmp_path / "m", older)
    forecaster = load(tmp_path / "m").update({"ds": ["2024-04-30"], "y": [1.0]})
    np.testing.assert_array_equal(forecaster.panel_.values[0], [*VALUES, 1.0])


# ---------------------------------------------------------------- what is known stays


def test_a_correction_leaves_what_lies_between(plain):
    plain.update({"day": ["2024-04-20", "2024-04-30"], "sold": [-1.0, -2.0]})
    expected = np.append(VALUES, -2.0)
    expected[110] = -1.0
    np.testing.assert_array_equal(plain.panel_.values[0], expected)


def test_missing_values_erase_nothing(plain):
    plain.update({"day": ["2024-04-28", "2024-04-29", "2024-04-30"], "sold": [np.nan, 3.0, np.nan]})
    np.testing.assert_array_equal(plain.panel_.values[0], [*VALUES[:-1], 3.0, np.nan])


def test_older_rows_come_before_the_history_and_take_nothing_from_it(plain):
    plain.update({"day": ["2023-12-30", "2024-01-02"], "sold": [-1.0, -2.0]})
    np.testing.assert_array_equal(plain.panel_.values[0], [-1.0, np.nan, VALUES[0], -2.0, *VALUES[2:]])
    assert str(plain.panel_.times(0)[0])[:10] == "2023-12-30"


def test_columns_beside_the_target_keep_what_was_known():
    table = pd.DataFrame({"ds": DAYS, "y": VALUES, "heat": np.arange(len(DAYS)) * 1.0, "price": 2.0, "kind": 1.0})
    options = {"target": "y", "past": ["heat"], "future": ["price"], "static": ["kind"], **OPTIONS}
    forecaster = Forecaster(3, **options).fit(table[:-10])
    newer = table[-15:].assign(heat=np.where(np.arange(15) % 2, table["heat"][-15:], np.nan), kind=np.nan)
    panel = forecaster.update(newer).panel_
    heat = table["heat"].to_numpy().copy()
    heat[[-9, -7, -5, -3, -1]] = np.nan  # no row said these
    np.testing.assert_array_equal(panel.past[0][:, 0], heat)
    assert panel.static is not None
    assert panel.static.tolist() == [[1.0]]
    assert len(panel.future[0]) == len(DAYS)


def test_values_without_a_time_are_refused_where_they_have_no_place(plain):
    with pytest.raises(DataError, match=r"expected rows with a time, in 'day', got values without one; .*append=True"):
        plain.update([1.0, 2.0])
    plain.update([1.0, 2.0], append=True)
    np.testing.assert_array_equal(plain.panel_.values[0], [*VALUES, 1.0, 2.0])
    with pytest.raises(DataError, match="expected values for the series sold, got some for 'series0'"):
        plain.update(np.ones((3, 2)), append=True)


def test_an_array_is_a_whole_history_or_appended():
    forecaster = Forecaster(3, **OPTIONS).fit(np.arange(100.0) % 7)
    with pytest.raises(DataError, match=r"expected the whole history of series 'y', 100 steps or more, .*got 2; "):
        forecaster.update([1.0, 2.0])
    assert len(forecaster.update(np.arange(110.0) % 7).panel_.values[0]) == 110
    assert len(forecaster.update([1.0, 2.0], append=True).panel_.values[0]) == 112


def test_a_panel_still_passes_as_it_is():
    panel = read_panel("airline")
    head, tail = panel.split(12)
    forecaster = Forecaster(3, **OPTIONS).fit(head).update(tail)
    np.testing.assert_array_equal(forecaster.panel_.values[0], panel.values[0])


# ---------------------------------------------------------------- numbers


@pytest.fixture
def european(tmp_path, loaded):
    """Numbers such as 1.234,50, as spreadsheets save them where the comma is the decimal sign."""
    told = [f"{1000 * y + 9000:,.2f}".translate(str.maketrans(",.", ".,")) for y in VALUES]
    text = "\n".join(["ds;y", *(f"{day:%d.%m.%Y};{y}" for day, y in zip(DAYS, told, strict=True))])
    (tmp_path / "de.csv").write_text(text)
    return kept(Forecaster(3, **OPTIONS).fit(tmp_path / "de.csv"), tmp_path, loaded)


@pytest.mark.parametrize(
    ("cell", "value"),
    [("1.234", 1234.0), ("70,500", 70.5), ("1.234,5", 1234.5), ("12,5", 12.5), ("12.5", 12.5), ("7", 7.0)],
)
def test_numbers_are_read_as_in_training(european, tmp_path, cell, value):
    european.update({"ds": ["30.04.2024"], "y": [cell]})
    assert european.panel_.values[0][-1] == value
    (tmp_path / "row.csv").write_text(f"ds;y\n01.05.2024;{cell}\n")
    assert european.update(tmp_path / "row.csv").panel_.values[0][-1] == value


def test_numbers_with_a_decimal_point_beside_others_are_read_plainly(european):
    european.update({"ds": ["30.04.2024", "01.05.2024"], "y": ["1.234", "2.5"]})
    assert european.panel_.values[0][-2:].tolist() == [1.234, 2.5]


def test_a_folder_of_an_earlier_version_tells_the_decimal_sign_by_its_notes(european, tmp_path, rewrite):
    european.save(tmp_path / "m")
    rewrite(tmp_path / "m", lambda preprocess: preprocess.pop("decimal_comma"))
    older = load(tmp_path / "m").update({"ds": ["30.04.2024"], "y": ["1.234"]})
    assert older.panel_.values[0][-1] == 1234.0


# ---------------------------------------------------------------- beside the grid


@pytest.mark.parametrize(
    ("freq", "stamp"),
    [
        ("MS", "2024-02-28"),  # a month by its last day, or by any other
        ("h", "2024-01-03 12:00:07"),  # a clock that is late
        ("W-MON", "2024-04-30"),  # a holiday on the day of the week
    ],
)
def test_newer_rows_a_little_beside_the_grid_are_taken_as_on_it(freq, stamp):
    """As those of a table that is read at once are."""
    start = {"MS": "2019-02-01", "h": "2024-01-01", "W-MON": "2023-03-06"}[freq]
    times = pd.date_range(start, periods=60, freq=freq)
    table = pd.DataFrame({"ds": times, "y": np.arange(60.0) % 5, "warm": np.arange(60.0) % 2})
    forecaster = Forecaster(1, season=5, target="y", future=["warm"], **OPTIONS).fit(table)
    row = pd.DataFrame({"ds": pd.to_datetime([stamp]), "y": [3.0], "warm": [1.0]})
    assert forecaster.evaluate(row)["steps"] == 1
    coming = forecaster.predict(future=row.drop(columns="y"))
    assert coming["ds"].tolist() == [forecaster.panel_.next_times(0, 1)[0]]
    pushed = forecaster.stream().push(3.0, time=row["ds"][0], future={"warm": [1.0, 0.0]})
    assert pushed.columns()["ds"][0] == forecaster.panel_.next_times(0, 2)[1]
    assert len(forecaster.update(row).panel_.values[0]) == 61
    assert forecaster.panel_.values[0][-1] == 3.0


def test_newer_rows_far_beside_the_grid_are_refused(plain):
    with pytest.raises(DataError, match="expected daily steps that continue series 'sold' from 2024-01-01, got"):
        plain.update({"day": ["2024-04-30 09:00"], "sold": [1.0]})


def test_names_of_later_series_are_not_taken_for_those_of_others():
    frame = pd.DataFrame({"unique_id": np.repeat([1, 2], 40), "ds": [*DAYS[:40], *DAYS[:40]], "y": VALUES[:80]})
    forecaster = Forecaster(2, **OPTIONS).fit(frame)
    assert forecaster.predict()["unique_id"].tolist() == [1, 1, 2, 2]
    forecaster.update(pd.DataFrame({"unique_id": ["01"], "ds": DAYS[40:41], "y": [1.0]}))
    assert forecaster.predict()["unique_id"].tolist() == ["1", "1", "2", "2", "01", "01"]


def test_a_forecast_measures_nothing_of_series_that_the_training_knew(monkeypatch):
    frame = pd.DataFrame({"unique_id": np.repeat(["a", "b"], 40), "ds": [*DAYS[:40], *DAYS[:40]], "y": VALUES[:80]})
    forecaster = Forecaster(2, **OPTIONS).fit(frame)
    both = forecaster.forecast(pd.concat([frame, frame.assign(unique_id=lambda rows: rows["unique_id"] + "2")]))
    measured = []
    find = cellgate.tasks.forecast_data.fit_mix
    monkeypatch.setattr("cellgate.tasks.forecast_data.fit_mix", lambda *given: measured.append(0) or find(*given))
    np.testing.assert_allclose(forecaster.forecast().values, both.values[:2], rtol=1e-6)
    forecaster.stream().push(1.0, id="a")
    assert not measured
    other = forecaster.forecast(frame.assign(unique_id="b2")[40:])
    np.testing.assert_allclose(other.values, both.values[3:], rtol=1e-6)
    assert measured == [0]


def test_some_series_are_forecast_by_name(shops):
    whole = shops.forecast()
    some = shops.forecast(ids=["west", "north"])
    assert some.panel.ids == ("north", "west")
    np.testing.assert_allclose(some.values, whole.values[[0, 2]], rtol=1e-6)
    assert set(shops.predict(ids="south")["unique_id"]) == {"south"}
    for ids in ("east", ["north", "east"], []):
        with pytest.raises(
            DataError, match=r"ids: expected names of the series, north, south, west, got ('east'|none)"
        ):
            shops.forecast(ids=ids)
    numbered = pd.DataFrame({"unique_id": np.repeat([1, 2], 40), "ds": [*DAYS[:40], *DAYS[:40]], "y": VALUES[:80]})
    assert Forecaster(2, **OPTIONS).fit(numbered).predict(ids=2)["unique_id"].tolist() == [2, 2]


def test_times_without_a_zone_are_told_where_the_training_had_one(tmp_path, loaded):
    stamps = pd.date_range("2024-01-01", periods=100, freq="h", tz="Europe/Paris")
    frame = pd.DataFrame({"ds": stamps, "y": 1.0 * np.arange(100)})
    forecaster = kept(Forecaster(3, **OPTIONS).fit(frame), tmp_path, loaded)
    told = "ds: times without a zone read as UTC, as those of the training are kept"
    assert told in forecaster.forecast(frame.assign(ds=stamps.tz_localize(None))).panel.notes
    for zoned in (stamps, stamps.astype(str)):
        assert told not in forecaster.forecast(frame.assign(ds=zoned)).panel.notes
