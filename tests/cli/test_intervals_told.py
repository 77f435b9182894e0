"""Intervals that hold less than they say: told wherever they are measured, and only where that is enough to tell."""

import json

import numpy as np
import pytest

import cellgate
from cellgate.cli.app import main
from cellgate.estimators.forecast_scores import scores

HORIZON = 4
STEPS = 120


def write(path, values):
    rows = [f"{np.datetime64('2024-01-01') + k},{value:.4f}" for k, value in enumerate(values)]
    path.write_text("\n".join(["ds,y", *rows, ""]))
    return path


@pytest.fixture(scope="module")
def level_then_wild(tmp_path_factory):
    """A model of a quiet level, and what came after: the same level, eight times as restless."""
    folder = tmp_path_factory.mktemp("wild")
    random = np.random.default_rng(0)
    quiet = 50 + random.normal(size=STEPS)
    wild = np.concatenate([quiet, 50 + 8 * random.normal(size=60)])
    write(folder / "quiet.csv", quiet)
    write(folder / "wild.csv", wild)
    cellgate.Forecaster(HORIZON, max_epochs=2).fit(folder / "quiet.csv").save(folder / "model")
    return folder


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code, capsys.readouterr().out


def backtest(folder, data, origins, *more):
    return ("backtest", folder / "model", "--data", folder / data, "--origins", origins, "--step", HORIZON, *more)


def test_a_backtest_says_that_intervals_are_too_narrow(level_then_wild, capsys):
    code, out = call(capsys, *backtest(level_then_wild, "wild.csv", 14))
    assert code == 0
    assert "the 90 % interval is TOO NARROW here: that few inside is no chance over 14 stretches; ask for" in out
    code, out = call(capsys, *backtest(level_then_wild, "wild.csv", 14, "--json"))
    metrics = json.loads(out)["metrics"]
    assert (metrics["intervals"], metrics["stretches"]) == ({"90": "too narrow"}, 14)


def test_intervals_that_hold_get_no_remark(level_then_wild, capsys):
    code, out = call(capsys, *backtest(level_then_wild, "quiet.csv", 14))
    assert code == 0
    assert "in the 90 % interval" in out
    assert "NARROW" not in out
    assert "narrow" not in out


def test_moments_less_than_a_horizon_apart_are_one(level_then_wild, capsys):
    arguments = ("backtest", level_then_wild / "model", "--data", level_then_wild / "wild.csv", "--json")
    _, out = call(capsys, *arguments, "--origins", 10, "--step", 1)
    metrics = json.loads(out)["metrics"]
    assert (metrics["intervals"], metrics["stretches"]) == ({"90": "too few to tell"}, 3)


def test_one_stretch_far_off_is_called_too_little_to_tell(level_then_wild, tmp_path, capsys):
    values = np.full(STEPS, 50.0) + np.random.default_rng(0).normal(size=STEPS)
    values[-HORIZON:] += 40
    data, out_folder = write(tmp_path / "late.csv", values), tmp_path / "m"
    code, out = call(capsys, "train", data, "--horizon", HORIZON, "--max-epochs", 2, "--out", out_folder)
    assert code == 0
    assert "0% of the held-out values lie in the 90 % interval" in out
    assert "that few inside the 90 % interval may be one odd stretch: too little to tell whether" in out
    assert "TOO NARROW" not in out
    assert "That few inside the 90 % interval may be one odd stretch" in (out_folder / "README.md").read_text()
    kept = json.loads((out_folder / "metrics.json").read_text())
    assert kept["intervals"] == {"90": "too few to tell"}


def test_the_card_and_the_report_say_it(tmp_path):
    random = np.random.default_rng(1)
    shops = {name: 50 + random.normal(size=STEPS) for name in (f"shop {k}" for k in range(24))}
    rows = {
        "unique_id": np.repeat(list(shops), STEPS),
        "ds": np.tile(np.datetime64("2024-01-01") + np.arange(STEPS), len(shops)),
        "y": np.concatenate(list(shops.values())),
    }
    model = cellgate.Forecaster(HORIZON, max_epochs=1, levels=(80, 90)).fit(rows)
    coming = {
        "unique_id": np.repeat(list(shops), HORIZON),
        "ds": np.tile(np.datetime64("2024-01-01") + STEPS + np.arange(HORIZON), len(shops)),
        "y": 50 + 20 * random.normal(size=HORIZON * len(shops)),
    }
    metrics = model.evaluate(coming)
    assert metrics["intervals"] == {"80": "too narrow", "90": "too narrow"}
    told = "the 80 and 90 % intervals are TOO NARROW here: that few inside is no chance over 24 series; ask for"
    model.save(tmp_path / "m")
    assert told[1:] in (tmp_path / "m" / "README.md").read_text()
    assert any(told in finding for finding in model.explain().report.findings)


def test_shares_inside_by_hand():
    actual = [np.array([[1.0, 2.0, np.nan], [1.0, 9.0, 3.0]]), np.array([[5.0, np.nan, np.nan], [np.nan, 4.0, 4.0]])]
    values = [np.stack([part, part * 0, part * 0 + 4], -1) for part in map(np.nan_to_num, actual)]
    naive = [np.nan_to_num(part) for part in actual]
    found = scores(actual, values, naive, [1.0, 1.0], (50,), {}, np.array([0, 1]))
    assert found["cellgate"]["coverage-50"] == 6 / 8
    assert found["stretches"] == 2
    assert found["intervals"] == {"50": "too few to tell"}
