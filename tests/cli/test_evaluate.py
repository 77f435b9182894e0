"""`cellgate evaluate` on a forecaster: the last steps from those before them, by a model that is not trained again."""

import json

import pytest

import cellgate
from cellgate.cli import app as cli
from cellgate.data import read_panel


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return left.value.code or 0, out, err


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate") / "m"
    cellgate.Forecaster(12, max_epochs=3).fit("airline").save(folder)
    return folder


@pytest.mark.parametrize("steps", [12, 5])
def test_the_last_steps_are_scored_beside_the_baseline(model, steps, capsys):
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    code, out, err = call(capsys, "evaluate", model, "airline", "--holdout", steps, "--json")
    assert (code, err) == (0, "")
    metrics = json.loads(out)["metrics"]
    head, tail = read_panel("airline").split(steps)
    expected = cellgate.load(model).evaluate(tail, head)
    assert metrics["steps"] == steps
    assert metrics["cellgate"]["MASE"] == pytest.approx(expected["cellgate"]["MASE"])
    assert metrics["seasonal naive"]["MASE"] == pytest.approx(expected["seasonal naive"]["MASE"])
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_for_people_it_is_a_table(model, capsys):
    code, out, _ = call(capsys, "evaluate", model, "airline")
    assert code == 0
    assert out.splitlines()[0].startswith("on the last 12 steps")
    assert "seasonal naive" in out


def test_holdout_is_of_forecasts(capsys, tmp_path):
    X = [["a", "b"]] * 20
    cellgate.SequenceTagger(hidden_size=4, max_epochs=1).fit(X, [["X", "Y"]] * 20).save(tmp_path / "m")
    code, _, err = call(capsys, "evaluate", tmp_path / "m", "airline", "--holdout", 3)
    assert code == 2
    assert "--holdout: expected a forecaster, got a SequenceTagger" in err
