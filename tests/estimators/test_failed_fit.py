"""A fit that fails leaves an estimator as it was, and a fit that succeeds leaves nothing of the one before."""

import numpy as np
import pytest

import cellgate

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(30, 6, 2))
KINDS = np.array(["a", "b"])[np.arange(30) % 2]
SMALL = {"hidden_size": 4, "max_epochs": 2}


def stop(progress):
    raise RuntimeError("stopped by the test")


CASES = {
    "classifier": (cellgate.SequenceClassifier(**SMALL), (X, KINDS), (9 * X + 5, np.char.upper(KINDS)), X),
    "regressor": (cellgate.SequenceRegressor(**SMALL), (X, X.sum((1, 2))), (X, 1000 + X.sum((1, 2))), X),
    "tagger": (
        cellgate.SequenceTagger(**SMALL),
        ([["the", "dog"]] * 30, [["D", "N"]] * 30),
        ([["une", "vache"]] * 30, [["X", "Y"]] * 30),
        [["the", "dog"]],
    ),
    "language model": (cellgate.LanguageModel(**SMALL), ("ab ac " * 60,), ("xy xz " * 60,), "ab a"),
    "forecaster": (cellgate.Forecaster(3, **SMALL), (np.sin(np.arange(60.0)),), (100 + np.sin(np.arange(60.0)),), None),
}


def answers(estimator, data):
    if data is None:
        return [estimator.forecast().columns()["cellgate"].tolist()]
    return [np.asarray(one).tolist() for one in estimator.predict(data)]


@pytest.mark.parametrize("verb", ["fit", "partial_fit"])
@pytest.mark.parametrize("kind", CASES)
def test_a_fit_that_fails_changes_no_answer(kind, verb):
    estimator, first, other, asked = CASES[kind]
    estimator.fit(*first)
    before, kept = answers(estimator, asked), dict(vars(estimator))
    with pytest.raises((RuntimeError, ValueError)):  # stopped, or refused for its labels
        getattr(estimator, verb)(*other, watch=stop)
    assert answers(estimator, asked) == before
    assert vars(estimator).keys() == kept.keys()


@pytest.mark.parametrize("kind", CASES)
def test_a_first_fit_that_fails_leaves_it_unfitted(kind):
    estimator, first, _, asked = CASES[kind]
    fresh = type(estimator)(**estimator.get_params())
    with pytest.raises(RuntimeError, match="stopped by the test"):
        fresh.fit(*first, watch=stop)
    with pytest.raises(RuntimeError, match="expected a fitted"):
        answers(fresh, asked)


def test_a_refused_text_leaves_the_vocabulary():
    model = cellgate.LanguageModel(**SMALL).fit("ab ac " * 60)
    before = model.vocabulary_
    with pytest.raises(ValueError, match="expected 200 characters or more"):
        model.fit("too short")
    assert model.vocabulary_ is before


def test_a_report_that_cannot_be_written_does_not_take_the_model_away(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("cellgate.estimators.explaining.write_atomic", full)  # what is known before is said before
    classifier = cellgate.SequenceClassifier(**SMALL)
    with pytest.raises(OSError, match="report"):
        classifier.fit(X, KINDS, report=tmp_path / "report.html")
    assert classifier.predict(X).shape == (30,)


def test_a_list_after_an_array_forgets_the_columns_of_the_array():
    classifier = cellgate.SequenceClassifier(**SMALL).fit(X[:, :, 0], KINDS)
    classifier.fit([one[:4] for one in X], KINDS)
    assert not hasattr(classifier, "n_features_in_")
    assert classifier.predict(X[:, :4]).shape == (30,)
