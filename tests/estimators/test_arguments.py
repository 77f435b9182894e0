"""Arguments of the estimators of sequences and texts: numpy's numbers, seeds, times, data of no known kind."""

import numpy as np
import pandas as pd
import pytest

import cellgate
from cellgate import Forecaster, LanguageModel, SequenceClassifier, SequenceTagger
from cellgate.errors import InputError
from cellgate.tasks.held_back import hold_back

X = np.random.default_rng(0).normal(size=(40, 6, 1))
UP = (X[:, -1, 0] > 0).astype(int)
TEXT = "one two three four\n" * 40


def test_numbers_of_numpy_are_arguments_as_those_of_python(tmp_path):
    plain = {"hidden_size": 4, "num_layers": 2, "batch_size": 8, "max_epochs": 2, "seed": 3, "dropout": 0.5}
    numpy = {name: (np.float64 if name == "dropout" else np.int64)(value) for name, value in plain.items()}
    expected = SequenceClassifier(**plain).fit(X, UP).predict_proba(X)
    classifier = SequenceClassifier(**numpy, bidirectional=np.bool_(True)).fit(X, UP)
    many, which = np.tile(X, (6, 1, 1)), np.tile(UP, 6)  # enough to hold a part back, in place of folds
    assert SequenceClassifier(**numpy).fit(many, which).score(many, which) > 0.4
    assert np.array_equal(classifier.predict_proba(X), expected)
    classifier.save(tmp_path)
    assert np.array_equal(cellgate.load(tmp_path).predict_proba(X), expected)
    text = LanguageModel(**numpy).fit(TEXT)
    assert text.generate(length=9, seed=np.int64(1)) == LanguageModel(**plain).fit(TEXT).generate(length=9, seed=1)


def test_a_forecaster_takes_numbers_of_numpy(tmp_path):
    plain = {"horizon": 3, "hidden_size": 4, "num_layers": 2, "batch_size": 8, "max_epochs": 2, "seed": 3}
    values = np.sin(np.arange(80.0))
    expected = Forecaster(**plain).fit(values).predict()["cellgate"]
    forecaster = Forecaster(**{name: np.int64(value) for name, value in plain.items()}).fit(values)
    assert np.array_equal(forecaster.predict()["cellgate"], expected)
    forecaster.save(tmp_path)
    assert np.array_equal(cellgate.load(tmp_path).predict()["cellgate"], expected)


def test_every_seed_that_pytorch_takes_is_one():
    for seed in (-1, 2**64 - 1):
        SequenceClassifier(hidden_size=2, max_epochs=1, seed=seed).fit(X, UP)
    drawn = [hold_back(UP, 0.2, seed)[1].tolist() for seed in (-1, 0, 1)]
    assert len({tuple(rows) for rows in drawn}) == 3


@pytest.mark.parametrize("seed", [None, 1.5, True, "1", 2**64, -(2**63) - 1])
def test_other_seeds_are_named(seed):
    for fit in (
        lambda: SequenceClassifier(seed=seed).fit(X, UP),
        lambda: LanguageModel(seed=seed).fit(TEXT),
        lambda: Forecaster(seed=seed).fit(np.arange(60.0)),
    ):
        with pytest.raises(InputError, match=r"seed: expected a whole number from -2\*\*63 to 2\*\*64 - 1, got"):
            fit()


@pytest.mark.parametrize("seconds", [np.inf, np.nan, 0, -1, "1"])
def test_times_without_an_end_are_named(seconds):
    for fit in (
        lambda: SequenceClassifier(max_seconds=seconds).fit(X, UP),
        lambda: LanguageModel(max_seconds=seconds).fit(TEXT),
        lambda: Forecaster(max_seconds=seconds).fit(np.arange(60.0)),
    ):
        with pytest.raises(InputError, match="max_seconds: expected a number above 0, or None for no limit, got"):
            fit()


@pytest.mark.parametrize("text", [[TEXT], TEXT.encode(), 5, None])
def test_what_is_no_text_is_named(text):
    with pytest.raises(InputError, match="the text: expected a str, or the path of a text file, got"):
        LanguageModel().fit(text)


def test_a_text_whose_words_all_differ_is_refused_before_the_training():
    words = " ".join(f"w{k}" for k in range(400))
    told = []
    with pytest.raises(InputError, match=r"expected words that occur twice or more, got none; .* \(--units characters"):
        LanguageModel(units="words").fit(words, watch=told.append)
    assert not told


@pytest.mark.parametrize("temperature", [1e-320, 1e-12])
def test_no_temperature_is_too_low(temperature):
    model = LanguageModel(hidden_size=8, max_epochs=2).fit(TEXT)
    assert model.generate("one", length=20, temperature=temperature) == model.generate("one", length=20, temperature=0)


def test_scores_say_how_much_of_a_text_is_unknown():
    model = LanguageModel(hidden_size=8, max_epochs=1).fit(TEXT)
    assert model.evaluate("one two, six\n")["unknown"] == 4  # the comma, s, i and x
    assert "unknown" not in model.evaluate(TEXT)


@pytest.mark.parametrize("several", [list, tuple, np.array, pd.Index, set])
def test_several_names_or_numbers_may_come_in_whatever_holds_them(tmp_path, several):
    days = pd.date_range("2024-01-01", periods=40)
    frame = pd.DataFrame({"ds": days, "y": np.arange(40) % 7, "p": np.arange(40.0), "q": np.arange(40) % 3})
    options = {"past": several(["p", "q"]), "levels": several([80, 90]), "target": "y"}
    forecaster = Forecaster(3, max_epochs=1, **options).fit(frame)
    forecaster.save(tmp_path / "forecaster")
    loaded = cellgate.load(tmp_path / "forecaster")
    assert set(loaded.past) == {"p", "q"}
    assert set(loaded.levels) == {80, 90}
    assert np.array_equal(loaded.forecast().values, forecaster.forecast().values)
    table = pd.DataFrame(
        {"id": np.repeat(np.arange(20), 5), "p": np.arange(100) % 7, "y": np.repeat(np.arange(20) % 2, 5)}
    )
    options = {"id": "id", "target": "y", "max_epochs": 1, "hidden_size": 4}
    classifier = SequenceClassifier(features=several(["p"]), **options).fit(table)
    classifier.save(tmp_path / "classifier")
    assert cellgate.load(tmp_path / "classifier").features == ("p",)
    assert SequenceClassifier(features="p", **options).fit(table).encoding_.names == classifier.encoding_.names


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ({"target": ["y"]}, "target: expected the name of one column, or None, got ['y']"),
        ({"id": ("a",)}, "id: expected the name of one column, or None, got ('a',)"),
        ({"freq": pd.offsets.Day()}, "freq: expected a text such as 'h', '15min' or 'MS', or None, got <Day>"),
        ({"time_format": 3}, "time_format: expected a text such as '%d.%m.%Y', or None, got 3"),
    ],
)
def test_what_says_nothing_of_a_table_is_named(argument, told):
    with pytest.raises(InputError) as error:
        Forecaster(**argument).fit("airline")
    assert str(error.value) == told
    if not {"freq", "time_format"} & set(argument):
        for kind in (SequenceClassifier, SequenceTagger):
            with pytest.raises(InputError) as error:
                kind(**argument).fit(pd.DataFrame({"a": [1, 2], "y": [0, 1]}))
            assert str(error.value) == told


def test_an_argument_that_there_is_not_is_one_of_the_class_that_was_called():
    with pytest.raises(TypeError, match=r"^Forecaster\.__init__\(\) got an unexpected keyword argument 'horizn'"):
        Forecaster(horizn=3)
