"""What labels are taken for: the same class whether a number or its text, as it was written, known or not."""

import numpy as np
import pytest

from cellgate import SequenceClassifier, SequenceTagger
from cellgate.estimators.classes import class_codes

X = np.random.default_rng(0).normal(size=(40, 6, 1))
UP = (X[:, -1, 0] > 0).astype(int)


def fitted(y=UP, **changes):
    return SequenceClassifier(**{"hidden_size": 4, "max_epochs": 3, "validation": 0, **changes}).fit(X, y)


@pytest.mark.parametrize("kind", [int, float, bool, str])
def test_an_unknown_word_among_the_labels_leaves_the_others_right(kind):
    classifier = fitted(UP.astype(kind))
    right = classifier.predict(X) == UP.astype(kind)
    labels = UP.astype(kind).tolist()
    assert classifier.score(X, labels) == right.mean()
    labels[0] = "neither"
    assert classifier.score(X, labels) == right[1:].sum() / len(X)
    assert classifier.evaluate(X, labels)["majority class"]["accuracy"] > 0.3


def test_a_tagger_knows_its_numbers_beside_an_unknown_word():
    tagger = SequenceTagger(hidden_size=4, max_epochs=3, validation=0).fit(X, (X[..., 0] > 0).astype(int))
    tags = [one.tolist() for one in tagger.predict(X[:4])]
    assert tagger.score(X[:4], tags) == 1
    tags[0][0] = "neither"
    assert tagger.score(X[:4], tags) == pytest.approx(23 / 24)


@pytest.mark.parametrize(
    ("classes", "labels", "codes"),
    [
        (["1", "2", "a"], [1, 2, 3], [0, 1, -1]),
        (["1", "2", "a"], [1.0, 2.0], [0, 1]),
        ([1, 2], ["1", "2.0", "x", ""], [0, 1, -1, -1]),
        ([False, True], ["True", "False", "1", "maybe"], [1, 0, 1, -1]),
        ([0, 1], [True, False], [1, 0]),
        ([1.0, 2.0], [1, 3], [0, -1]),
    ],
)
def test_a_label_is_the_same_whether_a_number_or_its_text(classes, labels, codes):
    def array(values):
        return np.array(values, dtype=object if isinstance(values[0], str) else None)

    assert class_codes(array(classes), array(labels)).tolist() == codes
