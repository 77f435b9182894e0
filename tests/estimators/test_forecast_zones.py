"""Times with a zone for a model of times without one, and the other way round, by every way that rows come in."""

import io
import json
import warnings

import numpy as np
import pandas as pd
import pytest

from cellgate.data import DataError
from cellgate.data.clocks import kept_clock
from cellgate.estimators import Forecaster, load

HOURS, ZONE = 100, "America/New_York"
SMALL = {"max_epochs": 1, "hidden_size": 4}
FOREIGN = "expected times without a zone in '(ds|time)', as in training, got 2024-01-05 (04|05):00"
UNZONED = "times without a zone read as UTC, as those of the training are kept"


def table(stamps):
    return pd.DataFrame({"ds": stamps, "y": 10.0 + np.arange(len(stamps)) % 24, "promo": np.arange(len(stamps)) % 3.0})


def local(freq="h", tz=None, begin="2024-01-01", steps=HOURS):
    return pd.date_range(begin, periods=steps, freq=freq, tz=tz)


def fit(stamps):
    return Forecaster(3, target="y", future="promo", **SMALL).fit(table(stamps))


@pytest.fixture(scope="module")
def zoned():
    return fit(local(tz=ZONE))


@pytest.fixture(scope="module")
def bare():
    return fit(local())


def as_text(stamps):
    return [stamp.isoformat() for stamp in stamps]


def rows_of(stamps):
    return table(stamps).tail(7).assign(promo=1.0)


WAYS = {
    "predict": lambda model, rows: model.predict(rows.assign(y=[*rows.y[:4], None, None, None])),
    "predict future": lambda model, rows: model.predict(future=rows[["ds", "promo"]]),
    "update": lambda model, rows: model.update(rows),
    "evaluate": lambda model, rows: model.evaluate(rows),
    "score": lambda model, rows: model.score(rows),
    "partial_fit": lambda model, rows: model.partial_fit(table(rows.ds.tolist() * 6).assign(ds=_again(rows.ds))),
    "push": lambda model, rows: model.stream().push(1.0, time=rows.ds.iloc[0], future={"promo": [1.0] * 4}),
}


def _again(ds):
    """The times of the rows and 35 steps more, as they are written."""
    if isinstance(ds.iloc[0], str):
        return as_text(pd.date_range(pd.Timestamp(ds.iloc[0]), periods=42, freq="h"))
    return pd.date_range(ds.iloc[0], periods=42, freq="h")


def copied(model, tmp_path):
    model.save(tmp_path / "m")
    return load(tmp_path / "m")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("written", ["text", "stamps"])
def test_a_zone_is_refused_where_the_training_had_none(bare, way, written, tmp_path):
    """It was read as UTC by some ways and by the local clock by others; of the training's clock nobody knows."""
    coming = local(tz=ZONE, steps=HOURS + 7)
    rows = rows_of(as_text(coming) if written == "text" else coming)
    with pytest.raises(DataError, match=FOREIGN):
        WAYS[way](copied(bare, tmp_path), rows)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("written", ["text", "stamps"])
def test_without_the_zone_of_the_training_times_are_utc_and_that_is_told(zoned, way, written, tmp_path):
    coming = local(tz=ZONE, steps=HOURS + 7)
    utc = coming.tz_convert("UTC").tz_localize(None)
    rows, same = (rows_of(as_text(stamps) if written == "text" else stamps) for stamps in (utc, coming))
    with pytest.warns(UserWarning, match=UNZONED) as told:
        WAYS[way](copied(zoned, tmp_path), rows)
    assert {warning.filename for warning in told} == {__file__}
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        WAYS[way](copied(zoned, tmp_path), same)


@pytest.mark.parametrize("written", ["text", "stamps"])
def test_utc_beside_times_without_a_zone_and_days_of_a_zone_are_what_they_show(bare, written):
    utc = local(tz="UTC", begin="2024-01-05 04:00", steps=1)
    made = bare.stream().push(1.0, time=as_text(utc)[0] if written == "text" else utc[0], future={"promo": [1.0] * 4})
    assert made.columns()["ds"][0] == np.datetime64("2024-01-05T05:00")
    days = Forecaster(3, target="y", **SMALL).fit(table(local("D")))
    coming = local("D", "Asia/Tokyo", begin="2024-04-10", steps=1)  # the day before, in UTC
    stamp = as_text(coming) if written == "text" else coming
    for made in (
        days.stream().push(1.0, time=stamp[0]),
        days.update(pd.DataFrame({"ds": stamp, "y": [1.0]})).forecast(),
    ):
        assert made.columns()["ds"][0] == np.datetime64("2024-04-11")
    assert str(days.predict()["ds"][0])[:10] == "2024-04-11"


@pytest.mark.parametrize("hours", [1, 6])
def test_a_row_after_a_gap_is_placed_by_its_moment(zoned, hours):
    """The clock of the zone was taken for UTC where it was nearer to the row before."""
    stamp = local(tz=ZONE)[-1] + pd.Timedelta(hours=hours)
    expected = (stamp.tz_convert("UTC").tz_localize(None) + pd.Timedelta(hours=1)).to_datetime64()
    for time in (stamp, stamp.isoformat()):
        made = zoned.stream().push(1.0, time=time, future={"promo": [1.0] * 4})
        assert made.columns()["ds"][0] == expected


def test_a_stream_on_standard_input_goes_by_the_same_rules(zoned, bare, call, tmp_path, monkeypatch):
    gap = local(tz=ZONE)[-1] + pd.Timedelta(hours=6)
    for model, stamp, answer in (
        (zoned, gap.isoformat(), gap.tz_convert("UTC")),
        (zoned, "2024-01-05T12:00:00", pd.Timestamp("2024-01-05T12:00")),
    ):
        model.save(tmp_path / stamp[-5:])
        line = json.dumps({"ds": stamp, "y": 1.0, "promo": [1.0] * 4})
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{line}\n"))
        code, out, err = call("stream", tmp_path / stamp[-5:], "--json")
        assert code == 0
        assert json.loads(out)["after"] == f"{answer:%Y-%m-%d %H:%M}"
        told = "" if model is zoned and "-05:00" in stamp else f"note: ds: {UNZONED}\n"
        missing = "5 steps before 2024-01-05 14:00" if "-05:00" in stamp else "3 steps before 2024-01-05 12:00"
        assert err == f"{told}row 1: {missing} without a row, taken as missing\n"
    bare.save(tmp_path / "bare")
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"ds": "2024-01-05T04:00-05:00", "y": 1, "promo": 1})))
    code, out, err = call("stream", tmp_path / "bare", "--json", "--steps", 1)
    assert (code, out) == (2, "")
    assert "row 1: expected times without a zone in 'ds', as in training, got 2024-01-05 04:00:00-05:00" in err


def test_a_format_with_a_zone_keeps_its_clock():
    """Later rows were read in UTC, the day before, where the training had kept the local one."""
    form, days = "%d.%m.%Y %H:%M %z", local("D", steps=60)
    written = [f"{day:%d.%m.%Y} 00:00 +0500" for day in days]
    model = Forecaster(3, time_format=form, **SMALL).fit({"t": written, "y": np.arange(60) % 7 + 1.0})
    assert model.panel_.times(0)[-1] == days[-1].to_datetime64()
    made = model.stream().push(1.0, time="01.03.2024 00:00 +0500")
    updated = model.update({"t": ["01.03.2024 00:00 +0500"], "y": [1.0]}).forecast()
    assert made.columns()["ds"][0] == updated.columns()["ds"][0] == np.datetime64("2024-03-02")
    # What was found, as train.toml has it, reads the table again.
    again = Forecaster(3, time_format=model.panel_.roles.time_format, **SMALL).read({"t": written, "y": [1.0] * 60})
    assert (again.starts, again.roles.time_format) == (model.panel_.starts, model.panel_.roles.time_format)


@pytest.mark.parametrize(("freq", "clock"), [("D", "local"), ("h", "UTC")])
def test_a_folder_whose_notes_alone_tell_the_clock(tmp_path, rewrite, freq, clock):
    """Folders of early versions: a row to come was read by the clock that it showed by itself."""
    form, times = "%d.%m.%Y %H:%M %z", local(freq, steps=120)
    written = [f"{time:%d.%m.%Y %H:%M} +0500" for time in times]
    model = Forecaster(3, time_format=form, **SMALL).fit({"t": written, "y": np.arange(120) % 7 + 1.0})
    kept = model.panel_.roles.time_format
    assert kept_clock(kept) == clock
    model.save(tmp_path)
    rewrite(tmp_path, lambda preprocess: preprocess["roles"].update(time_format=form))
    loaded = Forecaster.load(tmp_path)
    assert loaded.panel_.roles.time_format == kept
    row = {"t": [f"{times[-1] + times.freq:%d.%m.%Y %H:%M} +0500"], "y": [1.0]}
    assert loaded.update(row).panel_.times(0)[-1] == model.update(row).panel_.times(0)[-1]
    assert len(loaded.panel_.values[0]) == 121


def test_a_format_finds_its_column():
    """Of a kind that is not found by itself the column was left unused, and the rows numbered."""
    days = [f"{day:%d|%m|%Y}" for day in local("D", steps=40)]
    given = {"shop": ["a"] * 40, "t": days, "y": [1.0 * (k % 7) for k in range(40)]}
    panel = Forecaster(3, time_format="%d|%m|%Y").read(given)
    assert (panel.roles.time, panel.starts[0]) == ("t", np.datetime64("2024-01-01"))
    with pytest.raises(DataError, match=r"--time-format %d_%m: expected a column of times in .*found none written so"):
        Forecaster(3, time_format="%d_%m").read(given)
