"""Sequences and labels in what keeps no places, and classes that are named with partial_fit."""

import numpy as np
import pandas as pd
import pytest

import cellgate
from cellgate import SequenceClassifier, SequenceTagger
from cellgate.data import DataError
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


def test_numbers_too_large_for_a_double_are_no_words(tmp_path):
    lines = ["id,x,label", *(f"c{k},{{}},{'ab'[k % 2]}" for k in range(40))]
    for cell in ("1e400", "-1e999"):
        (tmp_path / "d.csv").write_text("\n".join(lines).format(*[cell] * 40))
        with pytest.raises(DataError, match=f"d.csv, line 2: expected a finite number in 'x', got {cell}"):
            SequenceClassifier().fit(tmp_path / "d.csv")
    (tmp_path / "d.csv").write_text("\n".join(lines).format(*["inf"] * 40))  # a word, if there is nothing else
    assert SequenceClassifier(hidden_size=2, max_epochs=1).fit(tmp_path / "d.csv").encoding_.words == {"x": ("inf",)}
    table = pd.DataFrame({"id": range(40), "x": np.inf, "label": [0, 1] * 20})
    with pytest.raises(DataError, match="expected a finite number in 'x', got inf"):
        SequenceClassifier().fit(table)
    with pytest.raises(DataError, match=r"X: expected numbers up to 1e\+100, got one too large for a double"):
        SequenceClassifier().fit([[[1, 2], [3, 10**400]]] * 40, [0, 1] * 20)
    with pytest.raises(DataError, match="Input X contains infinity in 'x0'"):
        SequenceClassifier().fit(np.full((40, 3, 2), np.longdouble("1e400")), [0, 1] * 20)


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceTagger])
def test_a_label_a_step_of_one_step(kind):
    X = np.random.default_rng(0).normal(size=(60, 1, 2))
    y = (X[:, :, 0] > 0).astype(int)
    model = kind(hidden_size=8, max_epochs=100).fit(X, list(y[:, 0]))
    assert model.score(X, y) == model.score(X, y[:, 0]) > 0.7
    if kind is SequenceTagger:
        again = kind(hidden_size=8, max_epochs=100).fit(X, y)
        np.testing.assert_array_equal(np.concatenate(again.predict(X)), np.concatenate(model.predict(X)))
    with pytest.raises(DataError, match=r"y: expected shape \(60, 2\), .* or 60 labels, .*, got shape \(60, 1\)"):
        SequenceTagger().fit(np.zeros((60, 2, 1)), y)


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceTagger, cellgate.LanguageModel, cellgate.Forecaster])
def test_a_report_that_could_not_be_written_is_refused_before_the_training(kind, tmp_path, monkeypatch):
    def begun(*_, **__):
        raise AssertionError("the training has begun")

    for module in ("sequence_estimator", "language_model", "forecast_training"):
        monkeypatch.setattr(f"cellgate.estimators.{module}.train", begun)
    X, y = np.random.default_rng(0).normal(size=(300, 3, 1)), np.arange(300) % 2
    data = {
        SequenceClassifier: (X, y),
        SequenceTagger: (X, np.tile(y[:, None], 3)),
        cellgate.LanguageModel: ("one two three " * 99,),
        cellgate.Forecaster: ("airline",),
    }[kind]
    with pytest.raises(InputError, match="report: expected a file, got a folder, "):
        kind().fit(*data, report=tmp_path)
    with pytest.raises(InputError, match="report: expected a file in a folder that is there, got "):
        kind().fit(*data, report=tmp_path / "no" / "report.html")
