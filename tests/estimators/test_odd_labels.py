"""Labels that are no words or numbers, or of another shape than the sequences: refused alike, or the text they have."""

import datetime
import enum
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from cellgate import SequenceClassifier, SequenceRegressor, SequenceTagger
from cellgate.data import DataError
from cellgate.data.sequences import read_sequences
from cellgate.errors import InputError

X = np.random.default_rng(0).normal(size=(12, 5, 1))
ESTIMATORS = [SequenceClassifier, SequenceRegressor, SequenceTagger]


class Nameless:
    pass


class Kind(enum.Enum):
    CALM = 1
    STORMY = 2


def objects(*values):
    array = np.empty(12, dtype=object)
    for k in range(12):
        array[k] = values[k % len(values)]
    return array


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (objects({1}, {2}), r"got a set \(\{1\}\) at 0; give one value for each, such as a word"),
        (objects("a", frozenset("b")), r"got a frozenset \(frozenset\(\{'b'\}\)\) at 1"),
        (objects({"a": 1}), r"got a dict \(\{'a': 1\}\) at 0"),
        (objects("a", Nameless()), "got a Nameless at 1"),
        (objects(max, min), "got a builtin_function_or_method at 0"),
        (np.arange(12) * 1j, "the complex number 0j at 0. Complex data not supported"),
        (np.zeros(12, dtype=[("a", int), ("b", int)]), r"got a tuple \(\(0, 0\)\) at 0"),
    ],
)
def test_what_is_no_single_value_is_refused(estimator, labels, message):
    model = estimator(hidden_size=4, max_epochs=1, validation=0)
    for given in (labels, labels.tolist()) if labels.dtype.names is None else (labels,):
        with pytest.raises(DataError, match=f"y: expected numbers, words or truth values, .*{message}"):
            model.fit(X, given)
    assert not hasattr(model, "model_")


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (objects(Kind.CALM, Kind.STORMY), ["Kind.CALM", "Kind.STORMY"]),
        (objects(datetime.date(2024, 5, 1), datetime.date(2024, 5, 2)), ["2024-05-01", "2024-05-02"]),
        (objects(Decimal("1.10"), "x"), ["1.10", "x"]),
        (np.array(["2024-05-01", "2024-05-02"] * 6, dtype="M8[ns]"), ["2024-05-01 00:00:00", "2024-05-02 00:00:00"]),
        (pd.Series(pd.to_datetime(["2024-05-01", "2024-05-02"] * 6)), ["2024-05-01 00:00:00", "2024-05-02 00:00:00"]),
        (pd.cut(pd.Series([0.5, 1.5] * 6), [0, 1, 2]), ["(0, 1]", "(1, 2]"]),
        (np.array([1, 2] * 6, dtype="m8[h]"), ["1:00:00", "2:00:00"]),
    ],
)
def test_what_has_a_text_is_that_text(labels, text):
    classifier = SequenceClassifier(hidden_size=4, max_epochs=1, validation=0).fit(X, labels)
    assert classifier.classes_.tolist() == text
    assert classifier.score(X, labels) == classifier.score(X, text * 6)


@pytest.mark.parametrize("unit", ["ns", "s"])
def test_a_date_that_is_missing_is_a_missing_label(unit):
    labels = np.array(["2024-05-01", "NaT"] * 6, dtype=f"M8[{unit}]")
    with pytest.raises(DataError, match=r"expected a label for each, got none .* at 1"):
        read_sequences(X, labels)


@pytest.mark.parametrize("steps", [4, 6])
def test_tags_of_another_number_of_steps(steps):
    tags = np.arange(12 * steps).reshape(12, steps) % 2
    tagger = SequenceTagger(hidden_size=4, max_epochs=1, validation=0)
    with pytest.raises(DataError, match=rf"y: expected shape \(12, 5\), .* got shape \(12, {steps}\)"):
        tagger.fit(X, tags)
    ragged = [one[: 2 + k % 2] for k, one in enumerate(X)]
    with pytest.raises(
        DataError, match=r"a list of arrays, as the lengths differ, a label for each of the 2 to 3 steps"
    ):
        tagger.fit(ragged, tags)


def test_a_tagger_of_one_tag_is_refused_as_a_classifier_of_one_class_is():
    with pytest.raises(InputError, match="expected two classes or more, got 1 class"):
        SequenceClassifier().fit(X, ["a"] * 12)
    with pytest.raises(InputError, match=r"expected two tags or more, got 1 tag \('O'\); give sequences of the others"):
        SequenceTagger().fit([["a", "b"]] * 12, [["O", "O"]] * 12)
