"""Series too short to learn from, beside others: left out of the training by name, and forecast all the same."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

import cellgate

SIZES = {"north": 90, "west": 3, "south": 90, "east": 14}
SMALL = ["--horizon", 7, "--max-epochs", 1, "--hidden-size", 4]
HELD = "left out  of the training 2 of 4 series, too short without the last 7 steps, which are held out: west, east"


def sales(sizes=SIZES, lowest=5.0):
    chance = np.random.default_rng(0)
    return pd.concat(
        pd.DataFrame(
            {
                "shop": shop,
                "day": pd.date_range("2024-01-01", periods=steps).strftime("%Y-%m-%d"),
                "sold": lowest + np.arange(steps) % 7 + chance.random(steps).round(2),
            }
        )
        for shop, steps in sizes.items()
    )


@pytest.fixture
def table(tmp_path):
    sales().to_csv(tmp_path / "d.csv", index=False)
    return tmp_path / "d.csv"


def test_a_training_goes_on_without_them(call, table, tmp_path):
    code, out, err = call("train", table, *SMALL, "--out", tmp_path / "m")
    assert (code, err) == (0, "")
    assert HELD in out.splitlines()
    rows = list(csv.DictReader((tmp_path / "m" / "forecast.csv").read_text().splitlines()))
    assert [sum(row["unique_id"] == shop for row in rows) for shop in SIZES] == [7] * 4
    scored = {row["unique_id"] for row in csv.DictReader((tmp_path / "m" / "holdout.csv").read_text().splitlines())}
    assert scored == {"north", "south", "east"}  # seven steps of east are before those held out: few, but measurable
    told = json.loads(call("train", table, *SMALL, "--out", tmp_path / "j", "--json")[1])
    assert (told["not_trained"], told["metrics"]["series"]) == (["west", "east"], 3)
    assert "2 of them were not trained on" in (tmp_path / "m" / "README.md").read_text()


def test_without_a_hold_out_only_those_of_a_season_are(call, table, tmp_path):
    code, out, err = call("train", table, *SMALL, "--holdout", 0, "--out", tmp_path / "m")
    assert (code, err) == (0, "")
    assert "left out  of the training 1 of 4 series, too short: west" in out.splitlines()


def test_where_all_are_too_short_nothing_is_trained(call, tmp_path):
    sales({"north": 8, "west": 3}).to_csv(tmp_path / "d.csv", index=False)
    code, out, err = call("train", tmp_path / "d.csv", *SMALL, "--out", tmp_path / "m")
    assert (code, out) == (2, "")
    assert "expected more than 8 steps in one of the 2 series, of which the last 7 are held out, got 8" in err
    assert not (tmp_path / "m").exists()


def test_a_series_without_a_value_before_what_is_held_out_is_left_out(call, tmp_path):
    """Its empty part made the loss NaN, and the error said to lower the learning rate."""
    late = sales({"north": 90, "new": 90})
    late.loc[(late.shop == "new") & (late.day < "2024-03-26"), "sold"] = np.nan
    late.to_csv(tmp_path / "d.csv", index=False)
    code, out, err = call("train", tmp_path / "d.csv", *SMALL, "--out", tmp_path / "m")
    assert (code, err) == (0, "")
    assert out.count(" 1 of 2 series, too short without the last 7 steps, which are held out: new") == 1
    assert "new" in (tmp_path / "m" / "forecast.csv").read_text()
    told = json.loads(call("backtest", tmp_path / "d.csv", *SMALL, "--origins", 1, "--json")[1])
    assert told["left_out"] == ["new"]


def test_a_check_says_so_and_proposes_what_most_can_hold(call, table):
    code, out, _ = call("check", table)
    assert code == 0
    assert "left out of the training 2 of 4 series, too short without the last 12 steps, which are held out" in out
    assert f"usable   yes: cellgate train {table} --out model" in out


def test_a_backtest_leaves_them_out(call, table, tmp_path):
    code, out, err = call("backtest", table, *SMALL, "--origins", 2, "--out", tmp_path / "b.csv")
    assert (code, err) == (0, "")
    assert "left out  2 of 4 series, too short: west, east" in out.splitlines()
    assert set(pd.read_csv(tmp_path / "b.csv").unique_id) == {"north", "south"}
    told = json.loads(call("backtest", table, *SMALL, "--origins", 2, "--json")[1])
    assert (told["left_out"], told["metrics"]["series"]) == (["west", "east"], 2)
    code, _, err = call("backtest", table, *SMALL, "--origins", 200)
    assert code == 2
    assert "expected at least 214 steps in one of the 4 series" in err


def test_a_search_says_so(call, table, tmp_path):
    pytest.importorskip("optuna", reason="tune is Optuna's search")
    tuned = ("tune", table, "--horizon", 7, "--max-epochs", 1, "--trials", 1)
    code, out, err = call(*tuned, "--out", tmp_path / "t")
    assert (code, err) == (0, "")
    assert "left out of the training: west, east, too short to learn from" in out.splitlines()
    assert "one training only, with the defaults: nothing to compare it with" in out.splitlines()
    assert json.loads(call(*tuned, "--json", "--out", tmp_path / "j")[1])["not_trained"] == ["west", "east"]


def test_in_python_it_is_a_warning(table):
    frame = sales()
    with pytest.warns(UserWarning, match="left out of the training 1 of 4 series, too short: west") as told:
        forecaster = cellgate.Forecaster(7, max_epochs=1, hidden_size=4).fit(frame)
    assert [warning.filename for warning in told] == [__file__]
    assert set(forecaster.trained_) == {"north", "south", "east"}
    assert forecaster.predict().unique_id.value_counts().to_dict() == dict.fromkeys(SIZES, 7)
    with pytest.warns(UserWarning, match="left out of the backtest 2 of 4 series, too short: west, east") as told:
        found = forecaster.backtest(origins=2)
    assert [warning.filename for warning in told] == [__file__]
    assert found.panel.ids == ("north", "south")
    with pytest.warns(UserWarning, match="left out of the training 1 of 4 series"):
        forecaster.partial_fit(frame)


def test_a_series_that_was_too_short_is_measured_anew_when_it_has_grown():
    """Its units of three steps were kept for good: those of a series that came later are not."""
    frame = sales()
    grown = sales({"west": 90})
    with pytest.warns(UserWarning, match="west"):
        forecaster = cellgate.Forecaster(7, max_epochs=1, hidden_size=4).fit(frame)
    later = forecaster.update(grown).predict(ids="west")
    fresh = forecaster.update(grown.assign(shop="new")).predict(ids="new")
    np.testing.assert_array_equal(later["cellgate"], fresh["cellgate"])


@pytest.mark.parametrize("refit", [False, True])
def test_values_that_have_no_logarithm_may_come_at_the_end(call, tmp_path, refit):
    """All before were positive and grew, so logarithms were taken, and the forecast from the end could not be made."""
    steps = np.arange(120)
    y = 100 * np.exp(steps / 40) * (1 + 0.3 * np.sin(2 * np.pi * steps / 12))
    y[-2] = 0
    stamps = np.datetime_as_string(np.datetime64("2001-01") + steps, unit="D")
    pd.DataFrame({"ds": stamps, "y": y}).to_csv(tmp_path / "d.csv", index=False)
    small = ("--horizon", 6, "--max-epochs", 1, "--hidden-size", 4)
    code, _, err = call("train", tmp_path / "d.csv", *small, "--out", tmp_path / "m")
    assert (code, err) == (0, "")
    assert (tmp_path / "m" / "forecast.csv").exists()
    code, _, err = call("backtest", tmp_path / "d.csv", *small, "--origins", 2, *(["--refit"] if refit else []))
    assert (code, err) == (0, "")
