"""Series of whose coming steps nothing is known, a product that is no longer sold for instance: the others go on."""

import json
import re
import shlex

import pandas as pd
import pytest

import cellgate
from cellgate.data import DataError

HORIZON = 4
OPTIONS = ["--target", "sold", "--future", "promo", "--horizon", str(HORIZON), "--max-epochs", "1"]
NOTE = "left out 1 of 3 series, as nothing is known of promo in the 4 steps after the end: jam"


def rows(item, begin, steps, sold=True):
    days = pd.date_range(begin, periods=steps)
    table = pd.DataFrame({"item": item, "day": days.strftime("%Y-%m-%d"), "promo": [k % 3 for k in range(steps)]})
    return table.assign(sold=[10.0 + k % 7 for k in range(steps)] if sold else None)


HISTORY = pd.concat([rows("tea", "2024-01-01", 60), rows("jam", "2024-01-01", 40), rows("rye", "2024-01-01", 60)])
COMING = pd.concat([rows(item, "2024-03-01", HORIZON, sold=False) for item in ("tea", "jam", "rye")])
WITHOUT_JAM = COMING[COMING.item != "jam"]


@pytest.fixture
def done(call):
    """Like call, for what has to go well: stdout and stderr."""

    def run(*arguments):
        code, out, err = call(*arguments)
        assert code == 0, err
        return out, err

    return run


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    HISTORY.to_csv("history.csv", index=False)
    return tmp_path


def fit():
    return cellgate.Forecaster(HORIZON, target="sold", future="promo", max_epochs=1).fit(HISTORY)


@pytest.mark.parametrize("coming", [COMING, WITHOUT_JAM], ids=["with rows that begin too late", "without rows"])
def test_what_is_foretold_is_forecast_and_the_rest_is_named(coming):
    forecaster = fit()
    made = forecaster.forecast(future=coming)
    assert (made.panel.ids, made.left_out) == (("tea", "rye"), ("jam",))
    with pytest.warns(UserWarning, match=NOTE):
        table = forecaster.predict(future=coming)
    assert table.unique_id.unique().tolist() == ["tea", "rye"]
    assert set(table.ds.astype(str)) == set(COMING.day)
    whole = pd.concat([coming, rows("jam", "2024-02-10", HORIZON, sold=False)]).drop_duplicates(["item", "day"])
    kept = forecaster.predict(future=whole)
    assert kept[kept.unique_id != "jam"].cellgate.tolist() == pytest.approx(table.cellgate.tolist(), rel=1e-6)


def test_too_little_of_one_and_nothing_of_all_are_errors():
    forecaster = fit()
    with pytest.raises(DataError, match="series 'rye': expected 'promo' for the 4 steps after its end"):
        forecaster.predict(future=WITHOUT_JAM.iloc[:-1])
    with pytest.raises(DataError, match="rows after the end of series 'tea', which ends at 2024-02-29, found none"):
        forecaster.predict(future=HISTORY.drop(columns="sold"))


def test_a_training_whose_table_has_the_coming_rows_ends_with_the_forecast_of_the_others(here, done):
    pd.concat([HISTORY, COMING]).to_csv("whole.csv", index=False)
    out, _ = done("train", "whole.csv", *OPTIONS, "--out", "model", "--report")
    assert "known for 0 to 4 steps after the last value" in out
    assert f"forecast.csv has {NOTE}" in out
    assert pd.read_csv("model/forecast.csv").unique_id.unique().tolist() == ["tea", "rye"]
    picture = (here / "model/forecast.svg").read_text()
    assert ">tea<" in picture
    assert ">jam<" not in picture
    out, _ = done("train", "whole.csv", *OPTIONS, "--out", "again", "--json")
    assert json.loads(out)["left_out"] == ["jam"]


def test_a_driver_empty_in_the_coming_rows_does_not_end_a_training_without_a_model(here, done):
    gap = COMING.assign(promo=[1, None, *COMING.promo[2:]])
    pd.concat([HISTORY, gap]).to_csv("whole.csv", index=False)
    out, _ = done("train", "whole.csv", *OPTIONS, "--out", "model")
    assert "no forecast yet: promo known for 1 of 4 steps after the end" in out


def test_predict_and_explain_say_what_they_leave_out(here, done):
    COMING.to_csv("coming.csv", index=False)
    done("train", "history.csv", *OPTIONS, "--out", "model")
    out, err = done("predict", "model", "--future-data", "coming.csv")
    assert err == f"note: {NOTE}\n"
    assert out.count("\n") == 1 + 2 * HORIZON
    out, _ = done("predict", "model", "--future-data", "coming.csv", "--json")
    assert json.loads(out)["left_out"] == ["jam"]
    out, _ = done("explain", "model", "--future-data", "coming.csv", "--out", "page.html")
    assert "without the series of which nothing is known of promo after the end: jam" in out


def test_what_is_to_be_typed_next_can_be_typed_and_the_card_says_it_too(here, done):
    COMING.to_csv("coming.csv", index=False)
    out, _ = done("train", "history.csv", *OPTIONS, "--out", "my model")
    (told,) = [line for line in out.splitlines() if line.startswith("next")]
    words = shlex.split(told)[2:]
    assert words == ["predict", "my model", "--future-data", "FILE"]
    done(*[word.replace("FILE", "coming.csv") for word in words])
    card = (here / "my model/README.md").read_text()
    assert "`cellgate predict FOLDER --future-data coming.csv`. `coming.csv` has rows for the steps to come" in card
    assert "- Reads `sold`, " in card
    assert "- Beside it: `promo` (for the steps to come too)." in card
    (code,) = re.findall("```python\n(.*?)```", card, re.DOTALL)
    HISTORY.to_csv("newer.csv", index=False)
    with pytest.warns(UserWarning, match=NOTE):
        exec(code.replace("THIS FOLDER", "my model"), {})


def test_a_driver_empty_in_the_held_out_steps_does_not_end_a_training_either(here, done):
    """It ended it when it was done, without a model, and asked for coming rows, which had nothing to do with it."""
    table = pd.read_csv("history.csv")
    name = table["item"].iloc[-1]
    others = [other for other in table["item"].unique() if other != name]
    last = table.index[table["item"] == name][-2]
    table.loc[last, "promo"] = None
    table.to_csv("hole.csv", index=False)
    out, _ = done("train", "hole.csv", *OPTIONS, "--out", "hole", "--report")
    assert f"not scored: {name}, as promo is not known in all of the held-out steps" in out
    held = pd.read_csv("hole/holdout.csv")
    assert list(held["unique_id"].unique()) == others
    # What is scored is what was forecast of each series: none has another's.
    metrics = json.loads(done("train", "hole.csv", *OPTIONS, "--out", "again", "--json")[0])
    assert metrics["not_scored"] == [name]
    assert metrics["no_forecast"] == f"promo known for 0 of {HORIZON} steps after the end"
    assert (held["y"] - held["cellgate"]).abs().mean() == pytest.approx(metrics["metrics"]["cellgate"]["MAE"], rel=1e-6)
    out, _ = done("explain", "hole", "--out", "page.html")
    assert f"; without the series that lack a future column in those: {name}" in out
    # Of a single series nothing can be scored, and the model is there.
    table[table["item"] == name].to_csv("one.csv", index=False)
    out, _ = done("train", "one.csv", *OPTIONS, "--out", "one")
    assert out.index("not scored: ") < out.index("trained  ")  # in time to stop and give what lacks
    assert "no scores" not in out
    assert "wrote one: the model, " in out
    assert not (here / "one" / "holdout.csv").exists()
    cellgate.load(here / "one")


def test_a_series_too_short_to_be_opened_earlier_keeps_no_other_from_being_explained():
    """The pictures of the others were looked up by the places of all, one of which the forecast left out."""
    short = HISTORY[HISTORY["item"] == "tea"].tail(HORIZON + 1).assign(item="new")
    known = pd.concat([short, HISTORY[HISTORY["item"] != "jam"], COMING[COMING["item"] == "rye"]])
    with pytest.warns(UserWarning, match="left out of the training 1 of 3 series, too short: new"):
        forecaster = cellgate.Forecaster(HORIZON, target="sold", future="promo", max_epochs=1).fit(known)
    found = forecaster.explain()
    assert found.opened == "without the series that lack a future column after the end (promo): new, tea"
    drawn = next(line for line in found.report.examples[0].lines if line.name == "forecast")
    assert drawn.values.tolist() == forecaster.forecast(ids="rye").median[0].tolist()
