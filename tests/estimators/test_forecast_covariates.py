"""Covariates: a driver is really used, what is not known is not used, and what is missing is said."""

import numpy as np
import pandas as pd
import pytest

from cellgate.data import DataError
from cellgate.errors import InputError
from cellgate.estimators import Forecaster, load

LENGTH, HORIZON = 360, 8
OPTIONS = {"season": 1, "max_epochs": 80, "learning_rate": 1e-2, "hidden_size": 16, "context": 60, "seed": 1}


def make(kind="future", seed=0, ahead=HORIZON, words=False):
    """Noise that nothing but a driver explains: on some days, drawn at random, the value jumps by 10."""
    rng = np.random.default_rng(seed)
    driver = (rng.random(LENGTH + ahead) < 0.3).astype(float)
    y = 5 + 10 * driver + 0.2 * rng.normal(size=LENGTH + ahead)
    frame = pd.DataFrame({"ds": pd.date_range("2023-01-01", periods=LENGTH + ahead), "y": y, "promo": driver})
    if words:
        frame["promo"] = np.where(driver > 0, "yes", "no")
    truth = y[LENGTH:].copy()
    frame.loc[LENGTH:, "y"] = np.nan
    return frame, truth


def error(forecaster, truth):
    return float(np.abs(forecaster.forecast().median[0] - truth).mean())


@pytest.mark.parametrize("words", [False, True])
def test_a_driver_known_beforehand_makes_the_impossible_possible(words):
    frame, truth = make(words=words)
    informed = Forecaster(HORIZON, target="y", time="ds", future=["promo"], **OPTIONS).fit(frame)
    blind = Forecaster(HORIZON, target="y", time="ds", **OPTIONS).fit(frame[["ds", "y"]].iloc[:LENGTH])
    # Without the driver the best guess is the usual value, 2.4 to 3 off on average; with it, noise of 0.2 is left.
    assert error(blind, truth) > 2
    assert error(informed, truth) < 0.8
    # And it is the driver of the steps ahead that does it: turned round, so are the forecasts.
    turned = frame.copy()
    turned.loc[LENGTH:, "promo"] = ["no", "yes"] * 4 if words else [0.0, 1.0] * 4
    made = informed.predict(turned)["cellgate"].to_numpy()
    assert (made[1::2] - made[::2] > 7).all()


def test_a_past_column_reaches_the_network_and_a_static_one_too():
    rng = np.random.default_rng(2)
    rows = []
    for k, region in enumerate(("north", "south", "north")):
        lead = rng.normal(size=200)
        y = np.concatenate([[0.0], 4 * lead[:-1]]) + 0.1 * rng.normal(size=200)  # what is measured today shows tomorrow
        dates = pd.date_range("2024-01-01", periods=200)
        rows.append(pd.DataFrame({"unique_id": f"s{k}", "ds": dates, "y": y, "lead": lead, "region": region}))
    frame = pd.concat(rows)
    informed = Forecaster(1, past=["lead"], static=["region"], target="y", **OPTIONS)
    blind = Forecaster(1, target="y", **OPTIONS)
    errors = []
    for forecaster, table in ((informed, frame), (blind, frame[["unique_id", "ds", "y"]])):
        errors.append(forecaster.backtest(table, origins=30).metrics["cellgate"]["MAE"])
    assert errors[0] < 0.5 * errors[1]
    assert [column.name for column in informed.coding_.static_columns] == ["region"]
    assert informed.coding_.static_columns[0].categories == ("north", "south")


@pytest.fixture(scope="module")
def fitted():
    frame, _ = make()
    return Forecaster(HORIZON, target="y", time="ds", future=["promo"], **{**OPTIONS, "max_epochs": 2}).fit(frame)


def test_a_driver_that_ends_too_soon_is_named(fitted):
    frame, _ = make(ahead=3)
    with pytest.raises(DataError, match=r"expected 'promo' for the 8 steps after its end, got none at 2023-12-30"):
        fitted.predict(frame)


def test_coming_rows_may_stand_in_a_table_of_their_own(fitted):
    frame, _ = make()
    whole = fitted.predict(frame)
    apart = fitted.predict(frame.iloc[:LENGTH], future=frame.iloc[LENGTH:].drop(columns="y"))
    pd.testing.assert_frame_equal(whole, apart)


@pytest.fixture(scope="module")
def ended():
    """Fitted to the words of a driver, of which nothing is known beyond the history."""
    frame, truth = make(words=True)
    forecaster = Forecaster(HORIZON, target="y", time="ds", future=["promo"], **{**OPTIONS, "max_epochs": 2})
    return forecaster.fit(frame.iloc[:LENGTH]), frame.assign(y=[*frame["y"][:LENGTH], *truth]).iloc[LENGTH:]


@pytest.mark.parametrize("steps", [HORIZON, 3])
def test_what_followed_tells_the_driver_too(ended, steps):
    forecaster, tail = ended
    found = forecaster.evaluate(tail[:steps])
    made = forecaster.predict(future=tail.drop(columns="y"))["cellgate"][:steps]
    expected = np.abs(made.to_numpy() - tail["y"].to_numpy()[:steps]).mean()
    assert found["steps"] == steps
    assert found["cellgate"]["MAE"] == pytest.approx(expected, rel=1e-6)
    assert forecaster.score(tail[:steps]) == pytest.approx(-found["cellgate"]["MASE"])
    # What is known beyond the last observed step is of no use, and not needed.
    assert forecaster.evaluate(tail.assign(y=[*tail["y"][:2], *[np.nan] * 6], promo=[*tail["promo"][:2], *[""] * 6]))


def test_what_followed_without_the_driver_is_refused(ended):
    forecaster, tail = ended
    told = r"expected 'promo' for the 8 steps after its end, got none at 2023-12-27; give the column in the rows that"
    with pytest.raises(DataError, match=told):
        forecaster.evaluate(tail[["ds", "y"]])


def test_a_part_of_the_horizon_needs_a_part_of_the_driver(ended):
    forecaster, tail = ended
    history, coming = forecaster.panel_, tail.drop(columns="y")
    whole = forecaster.forecast(future=coming)
    part = forecaster.forecast(future=coming[:3], steps=3)
    np.testing.assert_array_equal(part.values, whole.values[:, :3])
    assert list(part.columns()["ds"]) == list(history.next_times(0, 3))
    for steps in (0, HORIZON + 1, 2.0):
        with pytest.raises(InputError, match=f"steps: expected a whole number from 1 to 8, the horizon, .*got {steps}"):
            forecaster.forecast(future=coming, steps=steps)


def test_a_table_without_the_driver_is_refused(fitted):
    frame, _ = make()
    with pytest.raises(DataError, match="promo"):
        fitted.predict(frame[["ds", "y"]])


def test_the_inputs_of_the_network_have_names(fitted):
    encoded = fitted.encode()
    assert encoded.names[-2:] == ("promo", "change of promo")
    assert len(encoded.names) == encoded.x.shape[2]


def test_covariates_survive_the_folder(fitted, tmp_path):
    fitted.save(tmp_path)
    loaded = load(tmp_path)
    assert loaded.coding_ == fitted.coding_
    np.testing.assert_array_equal(loaded.forecast().values, fitted.forecast().values)


def test_a_stream_reads_the_driver(fitted):
    frame, _ = make()
    frame["y"] = frame["y"].fillna(5.0)
    panel = fitted.read(make()[0])
    planned = panel.future[0][:, 0]
    stream = fitted.stream()
    rng = np.random.default_rng(5)
    for t in range(LENGTH, LENGTH + 3):
        ahead = (rng.random(HORIZON + 1) < 0.5).astype(float)
        planned = np.concatenate([planned[:t], ahead])
        made = stream.push(5.0, future={"promo": ahead})
    table = pd.DataFrame({"ds": pd.date_range("2023-01-01", periods=len(planned)), "promo": planned})
    table["y"] = np.concatenate([panel.values[0], [5.0] * 3, [np.nan] * HORIZON])
    fresh = fitted.forecast(table)
    np.testing.assert_allclose(made.values, fresh.values, rtol=2e-5)


def test_a_stream_without_the_driver_ahead_says_so(fitted):
    stream, untouched = fitted.stream(), fitted.stream()
    told = "expected 'promo' for the 8 steps after its end, got none at .*; give it with the row, as a list"
    with pytest.raises(DataError, match=told):
        stream.push(5.0, future={"promo": 1.0})
    with pytest.raises(DataError, match="future: expected columns of the training, promo, got 'promos'; correct it"):
        stream.push(5.0, future={"promos": [1.0] * 9})
    # A row that is refused is not half read.
    made, expected = (each.push(5.0, future={"promo": [1.0] * 9}) for each in (stream, untouched))
    np.testing.assert_array_equal(made.values, expected.values)
    np.testing.assert_array_equal(made.panel.values[0], expected.panel.values[0])


def test_a_stream_asks_for_the_driver_of_the_steps_asked_for_only(fitted):
    whole, part = fitted.stream(), fitted.stream()
    planned = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]
    expected = whole.push(5.0, future={"promo": planned})
    made = part.push(5.0, future={"promo": planned[:3]}, steps=2)
    np.testing.assert_array_equal(made.values, expected.values[:, :2])
    assert made.columns()["ds"].tolist() == expected.columns()["ds"][:2].tolist()
    with pytest.raises(DataError, match="expected 'promo' for the 8 steps after its end, got none at"):
        part.push(5.0, future={"promo": planned[:3]}, steps=8)
    for steps in (0, 9, 1.5):
        with pytest.raises(InputError, match="steps: expected a whole number from 1 to 8, the horizon, or None, got"):
            part.push(5.0, future={"promo": planned}, steps=steps)


def test_newer_rows_may_tell_the_driver_alone(ended):
    forecaster, tail = ended
    expected = forecaster.predict(future=tail.drop(columns="y"))
    history = forecaster.panel_
    made = forecaster.update(tail.assign(y=np.nan)).predict()
    forecaster.panel_ = history
    pd.testing.assert_frame_equal(made, expected)


def test_one_column_may_be_named_without_a_list():
    frame, _ = make()
    options = {**OPTIONS, "max_epochs": 1}
    made = Forecaster(HORIZON, target="y", time="ds", future="promo", **options).fit(frame).predict()
    expected = Forecaster(HORIZON, target="y", time="ds", future=["promo"], **options).fit(frame).predict()
    pd.testing.assert_frame_equal(made, expected)


def test_missing_covariates_are_flagged_not_invented():
    frame, truth = make()
    frame.loc[frame.index[:LENGTH:5], "promo"] = np.nan
    forecaster = Forecaster(HORIZON, target="y", time="ds", future=["promo"], **OPTIONS).fit(frame)
    assert forecaster.coding_.future_columns[0].flagged
    assert error(forecaster, truth) < 1.5


def test_a_report_that_cannot_be_made_is_said_before_the_training(tmp_path):
    """A series of a horizon and a step cannot be opened a horizon before its end."""
    frame, _ = make(ahead=HORIZON - 1)
    short = frame.iloc[LENGTH - HORIZON - 1 :].assign(unique_id="short")
    both = pd.concat([frame.assign(unique_id="long"), short])
    forecaster = Forecaster(HORIZON, target="y", time="ds", future=["promo"], **OPTIONS)
    with pytest.raises(DataError, match="expected 'promo' for the 8 steps after its end"):
        forecaster.fit(both, report=tmp_path / "report.html", watch=lambda _: pytest.fail("it was trained"))
    assert not list(tmp_path.iterdir())


def test_without_coming_drivers_it_is_opened_a_horizon_earlier(tmp_path):
    """As by the command: Python refused what `cellgate explain` shows."""
    frame, _ = make(ahead=HORIZON - 1)
    options = {"target": "y", "time": "ds", "future": ["promo"], **OPTIONS, "max_epochs": 1}
    forecaster = Forecaster(HORIZON, **options).fit(frame, report=tmp_path / "fit.html")
    told = "promo is not known for the 8 steps after the end: opened 8 steps before it"
    found = forecaster.explain()
    assert found.opened.startswith(told)
    assert told in found.html
    assert told in (tmp_path / "fit.html").read_text()
    assert found.report.examples[0].now + 1 + HORIZON == len(found.report.examples[0].labels)
    assert found.report.examples[0].labels[-1] == str(frame["ds"][LENGTH - 1].date())
    coming = pd.DataFrame({"ds": frame["ds"][LENGTH - 1] + pd.to_timedelta(np.arange(1, 9), unit="D"), "promo": 0.0})
    ahead = forecaster.explain(future=coming, out=tmp_path / "ahead.html")
    assert ahead.opened == ""
    assert ahead.report.examples[0].labels[-1] == str(coming["ds"].iloc[-1].date())
    assert (tmp_path / "ahead.html").read_text() == ahead.html
    # Drivers of some of the series: the others are left out by name.
    pair = pd.concat([frame.iloc[:LENGTH].assign(unique_id=name) for name in ("a", "b")])
    of_a = Forecaster(HORIZON, **options).fit(pair).explain(future=coming.assign(unique_id="a"))
    assert of_a.opened == "without the series of which nothing is known of promo after the end: b"


def test_a_word_that_training_did_not_have_is_none_of_those_it_did(tmp_path):
    frame, _ = make(words=True)
    options = {"target": "y", "time": "ds", "future": ["promo"], **OPTIONS, "max_epochs": 2}
    forecaster = Forecaster(HORIZON, **options).fit(frame)
    coming = frame.iloc[LENGTH:][["ds", "promo"]].assign(promo=["carnival", *frame.promo[LENGTH + 1 :]])
    made = forecaster.forecast(future=coming)
    assert "promo: 'carnival' did not occur in training and is taken as unknown" in made.panel.notes
    told = {word: forecaster.forecast(future=coming.replace("carnival", word)).median for word in ("yes", "no")}
    assert not np.array_equal(made.median[0, :1], told["yes"][0, :1])
    assert not np.array_equal(made.median[0, :1], told["no"][0, :1])
    # It is the same in the history, saved and loaded, and to a stream.
    with pytest.warns(UserWarning, match="'carnival' did not occur in training"):
        forecaster.update(coming.assign(y=5.0).iloc[:1])
    later = coming.assign(ds=coming.ds + pd.Timedelta(days=1)).replace("carnival", "no")
    expected = forecaster.forecast(future=later).median
    forecaster.save(tmp_path)
    assert np.array_equal(load(tmp_path).forecast(future=later).median, expected)
    stream = Forecaster(HORIZON, **options).fit(frame.iloc[:LENGTH]).stream()
    pushed = stream.push(5.0, future={"promo": ["carnival", *later.promo]})
    assert np.allclose(pushed.median, expected, rtol=1e-4)
    # A fit on such a history counts it as a value that is missing.
    again = Forecaster(HORIZON, **options).fit(forecaster.panel_)
    assert again.coding_.future_columns[0].categories == ("no", "yes")
    assert again.coding_.future_columns[0].flagged


# ---------------------------------------------------------------- the same column in another dress

TRUTH = {
    "numbers": lambda cells: cells.astype(int),
    "booleans": lambda cells: cells.astype(bool),
    "words": lambda cells: np.where(cells, "True", "False"),
    "small words": lambda cells: np.where(cells, "true", "false"),
}


@pytest.mark.parametrize("trained", TRUTH)
def test_true_and_false_are_one_and_nought(trained):
    frame, _ = make()
    history = frame[:LENGTH].assign(promo=lambda rows: TRUTH[trained](rows["promo"].to_numpy()))
    forecaster = Forecaster(2, target="y", future=["promo"], **{**OPTIONS, "max_epochs": 3}).fit(history)
    expected, streamed = [], []
    for dress in TRUTH.values():
        coming = frame[LENGTH:].assign(promo=lambda rows, dress=dress: dress(rows["promo"].to_numpy()))
        expected.append(forecaster.forecast(future=coming[["ds", "promo"]]).values)
        cells = dress(np.array([1.0, 0.0, 1.0])).tolist()
        streamed.append(forecaster.stream().push(9.0, future={"promo": cells}).values)
    for made in (expected, streamed):
        for values in made[1:]:
            np.testing.assert_array_equal(values, made[0])
    other = forecaster.stream().push(9.0, future={"promo": [1, 1, 0]})
    assert (other.values != streamed[0]).all()
    if trained == "numbers":
        with pytest.raises(DataError, match="expected numbers in 'promo', as in training, got words; correct"):
            forecaster.forecast(future=coming.assign(promo="yes"))
    else:
        with pytest.raises(DataError, match="expected words in 'promo', as in training, got numbers; correct"):
            forecaster.forecast(future=coming.assign(promo=0.5))


def test_a_column_of_words_may_be_empty_in_newer_rows():
    frame, _ = make(words=True)
    frame = frame[:LENGTH].assign(region="north")
    forecaster = Forecaster(2, target="y", past=["promo"], static=["region"], **{**OPTIONS, "max_epochs": 1})
    forecaster.fit(frame[:-2])
    forecaster.update(frame[-2:].assign(promo=None, region=""))
    assert np.isnan(forecaster.panel_.past[0][-2:]).all()
    assert forecaster.panel_.static.tolist() == [[0.0]]
    assert forecaster.predict()["ds"][0] == frame["ds"].iloc[-1] + pd.Timedelta("1D")


def test_python_is_told_of_what_the_training_did_not_have():
    """Only the notes of a panel had it, so that True for "yes" made other forecasts without a word."""
    frame, _ = make(words=True)
    frame["heat"] = np.arange(len(frame)) % 7.0
    options = {"target": "y", "future": ["promo"], "past": ["heat"], **OPTIONS, "max_epochs": 1}
    forecaster = Forecaster(2, **options).fit(frame[: LENGTH - 2])
    newer, coming = frame[LENGTH - 2 : LENGTH], frame[LENGTH:][["ds", "promo"]]
    unknown = "promo: '{}' did not occur in training and is taken as unknown"
    # Nothing is said where all is as it was: a warning is an error here.
    forecaster.update(newer)
    forecaster.update(newer.assign(heat=np.nan))  # the history has what these leave open
    forecaster.predict(future=coming)
    before = forecaster.panel_
    with pytest.raises(UserWarning, match="did not occur in training"):
        forecaster.update(newer.assign(promo=True))
    assert forecaster.panel_ is before  # whoever takes warnings for errors has lost nothing
    for told, act in (
        (unknown.format("True"), lambda: forecaster.update(newer.assign(promo=True))),
        (unknown.format("fair"), lambda: forecaster.predict(future=coming.assign(promo="fair"))),
        (unknown.format("fair"), lambda: forecaster.predict(frame[:LENGTH].assign(promo="fair"), future=coming)),
        ("heat: empty at 360 steps, as it never was in training: read as its usual value",
         lambda: forecaster.predict(frame[:LENGTH].assign(heat=np.nan), future=coming)),
        (unknown.format("fair"), lambda: forecaster.partial_fit(frame[:LENGTH].assign(promo="fair"))),
    ):  # fmt: skip
        with pytest.warns(UserWarning, match=told) as caught:
            act()
        assert [str(one.message) for one in caught] == [told]
        assert caught[0].filename == __file__
    forecaster.predict(future=coming)  # what was told of the history is not told again


def test_where_an_empty_cell_means_none_a_word_is_asked_for():
    frame, _ = make(words=True)
    frame["promo"] = frame["promo"].where(frame["promo"] == "yes", None)
    forecaster = Forecaster(2, target="y", future=["promo"], **{**OPTIONS, "max_epochs": 1}).fit(frame[:LENGTH])
    empty = frame[LENGTH:].assign(promo=None)
    with pytest.raises(DataError, match="where an empty cell means none, train with a word for it, such as 'none'"):
        forecaster.forecast(future=empty)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"past": {"heat": "warm"}}, "heat: expected a finite number for each step, got 'warm'; correct it"),
        ({"past": {"heat": [3.0]}}, r"heat: expected a finite number for each step, got \[3.0\]"),
        ({"past": {"heat": np.inf}}, "heat: expected a finite number for each step, got inf"),
        ({"future": {"promo": [["yes"], ["no"]]}}, r"promo: expected a word such as 'no' for each step, got \['yes'\]"),
        ({"future": {"promo": 5}}, "promo: expected a word such as 'no' for each step, got 5"),
        ({"value": 1e300}, "value: expected a finite number"),
    ],
)
def test_a_stream_refuses_cells_that_are_not_what_their_column_is(given, message):
    frame, _ = make(words=True)
    frame = frame[:LENGTH].assign(heat=1.0 * np.arange(LENGTH))
    forecaster = Forecaster(1, target="y", past=["heat"], future=["promo"], **{**OPTIONS, "max_epochs": 1}).fit(frame)
    stream = forecaster.stream()
    with pytest.raises(DataError, match=message):
        stream.push(**{"value": 5.0, "future": {"promo": ["no", "yes"]}, **given})
    made = stream.push(pd.NA, future={"promo": ["no", "yes"]})  # the refused step was not taken
    assert made.columns()["ds"][0] == np.datetime64(frame["ds"].iloc[-1] + pd.Timedelta("2D"))


def test_gaps_that_the_training_had_none_of_are_told():
    frame, _ = make(words=True)
    frame = frame.assign(heat=1.0 * np.arange(len(frame)))
    options = {**OPTIONS, "max_epochs": 1}
    forecaster = Forecaster(1, target="y", past=["heat"], future=["promo"], **options).fit(frame)
    later = frame.copy()
    later.loc[[5, 6, LENGTH - 1], "heat"] = np.nan
    later.loc[7, "promo"] = None
    assert set(forecaster.forecast(later).panel.notes) == {
        "heat: empty at 3 steps, as it never was in training: read as its usual value",
        "promo: empty at 1 step, as it never was in training: read as none of its words",
    }
    told = Forecaster(1, target="y", past=["heat"], future=["promo"], **options).fit(later)
    assert not any("empty at" in note for note in told.forecast(later).panel.notes)  # there the network is told


def test_a_shop_that_is_closed_on_sundays_is_forecast_by_its_own_days(tmp_path):
    """Sundays without rows were steps: forecast although it was shut, and future columns lacked them for ever."""
    days = pd.date_range("2023-01-02", periods=300)
    days = days[days.day_of_week != 6]
    promo = (np.arange(len(days)) % 11 % 4 == 0).astype(float)
    frame = pd.DataFrame({"ds": days, "y": 20 + 10 * promo, "promo": promo})
    known = frame[:-8]
    forecaster = Forecaster(8, target="y", future=["promo"], **OPTIONS).fit(known)
    coming = frame[-8:].drop(columns="y")
    forecaster.save(tmp_path / "m")
    made = Forecaster.load(tmp_path / "m").predict(future=coming)
    assert made["ds"].tolist() == frame["ds"][-8:].tolist()
    assert made["cellgate"].to_numpy() == pytest.approx(forecaster.predict(future=coming)["cellgate"].to_numpy())
    sunday = pd.DataFrame({"ds": [days[-1] + pd.Timedelta("1D")], "y": [3.0], "promo": [0.0]})
    assert sunday["ds"][0].day_name() == "Sunday"
    told = "a Sunday is no step of these series: leave its rows out, or train with --freq D"
    with pytest.raises(DataError, match=told):
        forecaster.update(sunday)
    with pytest.raises(DataError, match=told):
        forecaster.predict(future=pd.concat([coming, sunday]))
