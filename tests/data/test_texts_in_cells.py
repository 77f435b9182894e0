"""Texts in the cells of a table or an array: said to be that, with what makes sequences of them."""

import numpy as np
import pandas as pd
import pytest

from cellgate import Forecaster, SequenceClassifier
from cellgate.data import DataError
from cellgate.data.prose import is_prose

WORDS = "this phone is really good but the box came late and nobody said why at all".split()
TEXTS = [" ".join(WORDS[k % 7 : k % 7 + 3 + k % 5]) + f" {k}" for k in range(120)]
LABELS = ["good", "bad"] * 60
APART = "a text is a sequence of characters or words: give each of those a row of its own"


@pytest.fixture
def reviews(tmp_path):
    path = tmp_path / "reviews.csv"
    pd.DataFrame({"text": TEXTS, "label": LABELS}).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("options", [{}, {"wide": True}])
def test_a_table_of_texts_and_labels(reviews, options):
    with pytest.raises(
        DataError, match=rf"reviews\.csv: expected numbers or single words in 'text', got texts; {APART}"
    ):
        SequenceClassifier(**options).fit(reviews)


def test_with_a_name_for_each_text(tmp_path):
    path = tmp_path / "named.csv"
    pd.DataFrame({"id": range(120), "text": TEXTS, "label": LABELS}).to_csv(path, index=False)
    with pytest.raises(DataError, match=rf"expected at most 100 different words in 'text', got \d+; {APART}"):
        SequenceClassifier(max_epochs=1).fit(path)


@pytest.mark.parametrize(
    "data",
    [
        TEXTS,
        np.array(TEXTS, dtype=object),
        pd.Series(TEXTS, name="text"),
        pd.DataFrame({"text": TEXTS}),
        [text.split() for text in TEXTS],
    ],
)
def test_texts_in_python(data):
    with pytest.raises(DataError, match=APART):
        SequenceClassifier(max_epochs=1).fit(data, LABELS)


def test_a_forecaster_names_the_other_task(reviews):
    with pytest.raises(DataError, match=rf"found texts in 'text'; to learn labels of them, --task classify, {APART}"):
        Forecaster().fit(reviews)


def test_words_and_names_are_no_texts():
    assert is_prose(TEXTS)
    assert not is_prose(["red", "green", "dark blue"] * 40)  # single words
    assert not is_prose(["out of stock", "on the shelf", "not yet ordered"] * 40)  # a few that repeat
    assert not is_prose([None, "", " ", 3.0])
    steps = pd.DataFrame({"id": np.repeat(range(40), 3), "state": ["out of stock", "on the shelf", "in the box"] * 40})
    model = SequenceClassifier(max_epochs=1, hidden_size=4, id="id").fit(steps, ["a", "b"] * 20)
    assert model.predict(steps).shape == (40,)
