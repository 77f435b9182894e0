"""`cellgate evaluate` on a forecaster: the last steps from those before them, by a model that is not trained again."""

import json

import pytest

import cellgate
from cellgate.data import read_panel


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate") / "m"
    cellgate.Forecaster(12, max_epochs=3).fit("airline").save(folder)
    return folder


@pytest.mark.parametrize("steps", [12, 5])
def test_the_last_steps_are_scored_beside_the_baseline(model, steps, call):
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    code, out, err = call("evaluate", model, "airline", "--holdout", steps, "--json")
    assert (code, err) == (0, "")
    metrics = json.loads(out)["metrics"]
    head, tail = read_panel("airline").split(steps)
    expected = cellgate.load(model).evaluate(tail, head)
    assert metrics["steps"] == steps
    assert metrics["cellgate"]["MASE"] == pytest.approx(expected["cellgate"]["MASE"])
    assert metrics["seasonal naive"]["MASE"] == pytest.approx(expected["seasonal naive"]["MASE"])
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_for_people_it_is_a_table(model, call):
    code, out, _ = call("evaluate", model, "airline")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "data     airline: 1 series, 144 steps, monthly, 1949-01-01 to 1960-12-01"
    assert "scored   the last 12 steps, predicted from those before" in lines
    table = next(k for k, line in enumerate(lines) if line.startswith("on the last 12 steps"))
    assert lines[table + 2].startswith("seasonal naive")
    assert lines[table + 3].endswith("of the values lie in the 90 % interval")
    assert "MASE" in lines[table + 4]


def test_the_verdict_says_when_the_baseline_is_better(call, tmp_path):
    """A network of noise, judged on a series that repeats itself."""
    days = [f"2024-{1 + k // 28:02}-{k % 28 + 1:02},{k % 7 + (k * 37 % 11) / 9}" for k in range(84)]
    (tmp_path / "d.csv").write_text("\n".join(["ds,y", *days]))
    cellgate.Forecaster(7, max_epochs=1, season=7).fit(tmp_path / "d.csv").save(tmp_path / "m")
    exact = [f"2024-{1 + k // 28:02}-{k % 28 + 1:02},{k % 7}" for k in range(84)]
    (tmp_path / "e.csv").write_text("\n".join(["ds,y", *exact]))
    code, out, _ = call("evaluate", tmp_path / "m", tmp_path / "e.csv")
    assert code == 0
    assert "cellgate does NOT beat the seasonal naive forecast here" in out.splitlines()[-1]


def test_more_than_the_horizon_is_refused(model, call):
    code, out, err = call("evaluate", model, "airline", "--holdout", 13)
    assert (code, out) == (2, "")
    assert "--holdout 13: expected at most the model's horizon of 12" in err
    assert "cellgate backtest" in err


def test_series_too_short_are_left_out_by_name(call, tmp_path):
    day = [f"2024-{1 + k // 28:02}-{k % 28 + 1:02}" for k in range(60)]
    rows = [f"{name},{day[k]},{k % 7 + 1}" for name, steps in (("north", 60), ("west", 5)) for k in range(steps)]
    (tmp_path / "d.csv").write_text("\n".join(["unique_id,ds,y", *rows]))
    with pytest.warns(UserWarning, match="left out of the training 1 of 2 series, too short: west"):
        forecaster = cellgate.Forecaster(7, max_epochs=1).fit(tmp_path / "d.csv")
    forecaster.save(tmp_path / "m")
    code, out, err = call("evaluate", tmp_path / "m", tmp_path / "d.csv")
    assert (code, err) == (0, "")
    assert "left out  1 of 2 series, too short: west" in out
    told = json.loads(call("evaluate", tmp_path / "m", tmp_path / "d.csv", "--json")[1])
    assert (told["left_out"], told["metrics"]["series"]) == (["west"], 1)
    (tmp_path / "s.csv").write_text("\n".join(["unique_id,ds,y", *rows[-5:]]))
    code, _, err = call("evaluate", tmp_path / "m", tmp_path / "s.csv")
    assert code == 2
    assert "expected more than 8 steps in the series, of which the last 7 are held out" in err


def test_last_steps_without_a_value_are_said(model, call, tmp_path):
    lines = [f"{1949 + k // 12}-{k % 12 + 1:02},{100 + k if k < 30 else ''}" for k in range(42)]
    (tmp_path / "d.csv").write_text("\n".join(["Month,#Passengers", *lines]))
    code, _, err = call("evaluate", model, tmp_path / "d.csv")
    assert code == 2
    assert "expected values in the last 12 steps to compare with, got none" in err


def test_holdout_is_of_forecasts(call, tmp_path):
    X = [["a", "b"]] * 20
    cellgate.SequenceTagger(hidden_size=4, max_epochs=1).fit(X, [["X", "Y"]] * 20).save(tmp_path / "m")
    code, _, err = call("evaluate", tmp_path / "m", "airline", "--holdout", 3)
    assert code == 2
    assert "--holdout: expected a forecaster, got a SequenceTagger" in err
