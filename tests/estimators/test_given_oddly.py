"""Sequences and labels in what keeps no places, and classes that are named with partial_fit."""

import numpy as np
import pytest

import cellgate
from cellgate.errors import InputError

X = np.random.default_rng(0).normal(size=(30, 5, 2))
Y = np.arange(30) % 2
SMALL = {"hidden_size": 4, "max_epochs": 1}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (lambda: (x for x in X), r"X: expected an array or a list, .* got generator; give list\(X\)$"),
        (lambda: iter(X), r"got iterator; give list\(X\)$"),
        (lambda: dict(enumerate(X)), r"got dict; give list\(X\.values\(\)\), or a frame if it holds columns$"),
        (lambda: {1, 2}, r"got set; give list\(X\)$"),
    ],
)
@pytest.mark.parametrize("verb", ["fit", "predict"])
def test_sequences_without_places(data, told, verb):
    classifier = cellgate.SequenceClassifier(**SMALL).fit(X, Y)
    with pytest.raises(InputError, match=told):
        classifier.fit(data(), Y) if verb == "fit" else classifier.predict(data())


@pytest.mark.parametrize(
    ("kind", "labels"), [(cellgate.SequenceClassifier, Y), (cellgate.SequenceTagger, [[k] * 5 for k in Y])]
)
def test_labels_without_places(kind, labels):
    for given, name in ((dict(enumerate(labels)), "dict"), ((y for y in labels), "generator")):
        with pytest.raises(InputError, match=f"y: expected an array or a list, one entry a sequence, got {name}; give"):
            kind(**SMALL).fit(X, given)


def test_classes_are_those_of_the_first_call():
    classifier = cellgate.SequenceClassifier(**SMALL).partial_fit(X, Y, classes=[0, 1, 2])
    classifier.partial_fit(X, Y, classes=np.array([2, 1, 0]))
    with pytest.raises(InputError, match=r"expected those of the first call, \[0, 1, 2\], got \[0, 1, 2, 3\]; leave"):
        classifier.partial_fit(X, Y, classes=[0, 1, 2, 3])
    assert classifier.classes_.tolist() == [0, 1, 2]


def test_numbers_in_messages_are_plain():
    with pytest.raises(InputError, match=r"got 1 class \(0\);"):
        cellgate.SequenceClassifier(**SMALL).fit(X, 0 * Y)
    with pytest.raises(InputError, match=r"got 1 class \(0\);"):
        cellgate.SequenceClassifier(**SMALL).partial_fit(X, 0 * Y, classes=[0])
    with pytest.raises(InputError, match=r"among \[0, 1\], got 2;"):
        cellgate.SequenceClassifier(**SMALL).fit(X, Y).partial_fit(X, Y + 1)
    tags = np.repeat(Y[:, None], 5, axis=1)
    with pytest.raises(InputError, match=r"among \[0, 1\], got 2;"):
        cellgate.SequenceTagger(**SMALL).fit(X, tags).partial_fit(X, tags + 1)
