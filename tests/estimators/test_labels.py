"""What labels are taken for: the same class whether a number or its text, as it was written, known or not."""

import numpy as np
import pandas as pd
import pytest

from cellgate import SequenceClassifier, SequenceRegressor, SequenceTagger
from cellgate.data import DataError
from cellgate.data.sequences import read_sequences
from cellgate.errors import InputError
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
        ([1, 2], ["1", "2.0", "x", ""], [0, 1, -2, -1]),
        ([False, True], ["True", "False", "1", "maybe"], [1, 0, 1, -1]),
        ([0, 1], [True, False], [1, 0]),
        ([1.0, 2.0], [1, 3], [0, -1]),
    ],
)
def test_a_label_is_the_same_whether_a_number_or_its_text(classes, labels, codes):
    def array(values):
        return np.array(values, dtype=object if isinstance(values[0], str) else None)

    assert class_codes(array(classes), array(labels)).tolist() == codes


def table(labels):
    """Two rows a sequence, as text."""
    rows = [f"s{k},{t},{k + t},{label}" for k, label in enumerate(labels) for t in (0, 1)]
    return "\n".join(["id,t,v,label", *rows]) + "\n"


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["007", "010"], ["007", "010"]),  # codes, not numbers
        (["0", "10"], [0, 10]),
        (["0.5", "1"], [0.5, 1.0]),
        (["12345678901234567", "12345678901234568"], ["12345678901234567", "12345678901234568"]),  # one double
        (["1e300", "1"], [1e300, 1.0]),
    ],
)
def test_labels_of_a_table_are_kept_as_they_are_written(tmp_path, cells, labels):
    (tmp_path / "a.csv").write_text(table(cells))
    assert read_sequences(tmp_path / "a.csv").labels.tolist() == labels


def test_labels_of_a_frame_keep_all_their_digits():
    large = 2**53 + np.arange(2)
    frame = pd.DataFrame({"id": [0, 1], "v": [0.5, 1.5], "label": large})
    assert read_sequences(frame).labels.tolist() == large.tolist()


def test_codes_may_be_numbers_to_a_regressor(tmp_path):
    (tmp_path / "a.csv").write_text(table([f"{k:03}" for k in range(10)]))
    assert SequenceRegressor(hidden_size=2, max_epochs=1).fit(tmp_path / "a.csv").center_ == 4.5


def test_an_infinite_label_is_refused_in_words():
    frame = pd.DataFrame({"id": [0, 1], "v": [0.5, 1.5], "label": [1.0, np.inf]})
    with pytest.raises(InputError, match="NaN or infinity"):
        SequenceRegressor().fit(frame)


def test_a_label_beyond_reason_is_refused():
    x = np.arange(60.0).reshape(20, 3)
    with pytest.raises(InputError, match=r"expected numbers up to 1e\+100 as labels, got -1e\+200"):
        SequenceRegressor(hidden_size=2, max_epochs=1).fit(x, np.r_[x[:-1, 0], -1e200])


@pytest.mark.parametrize("weights", [None, np.arange(1.0, 41.0)])
def test_r2_is_that_of_scikit_learn(weights):
    r2_score = pytest.importorskip("sklearn.metrics").r2_score
    regressor = SequenceRegressor(hidden_size=2, max_epochs=1).fit(X, X[:, -1, 0])
    given = regressor.predict(X)
    for actual in (X[:, -1, 0], np.full(40, 0.5)):
        expected = r2_score(actual, given, sample_weight=weights)
        assert regressor.score(X, actual, sample_weight=weights) == pytest.approx(expected)
    assert np.isnan(regressor.score(X[:1], X[:1, -1, 0]))


def test_the_baseline_knows_all_that_the_model_has_learnt_from():
    classifier = SequenceClassifier(hidden_size=2, max_epochs=1).partial_fit(X, UP)
    assert classifier.partial_fit(X[:10], np.zeros(10)).class_counts_.tolist() == [(UP == 0).sum() + 10, UP.sum()]
    prior = classifier.class_counts_ / 50
    loss = classifier.evaluate(X, UP)["majority class"]["log loss"]
    assert loss == pytest.approx(-np.log(prior[UP]).mean())


def truths(kind):
    """Labels of truth as data hold them: a frame's column of one kind or another, a Parquet file, a CSV."""
    right = np.arange(40) % 2 == 0
    return pd.DataFrame({"id": np.arange(40), "v": right * 1.0, "label": pd.array(right, dtype=kind)}), right


@pytest.mark.parametrize("kind", ["bool", "boolean", "object"])
@pytest.mark.parametrize("suffix", ["", ".csv", ".parquet"])
def test_truth_values_of_a_table_stay_truth_values(tmp_path, kind, suffix):
    table, right = truths(kind)
    data = table
    if suffix:
        data = tmp_path / f"a{suffix}"
        table.to_csv(data, index=False) if suffix == ".csv" else table.to_parquet(data)
    model = SequenceClassifier(hidden_size=4, max_epochs=30, validation=0).fit(data)
    assert model.classes_.dtype == bool
    answers = model.predict(data)
    assert answers.dtype == bool
    assert (answers == right).all()
    model.save(tmp_path / "model")
    again = SequenceClassifier.load(tmp_path / "model")
    assert again.score(table.assign(label=right.astype(int))) == 1  # 0 and 1 are the same truths
    assert again.explain(data).html
    tagger = SequenceTagger(hidden_size=4, max_epochs=2).fit(table.assign(id=np.arange(40) // 4))
    assert tagger.predict(table.assign(id=np.arange(40) // 4))[0].dtype == bool


def test_truth_values_in_an_array_of_objects_are_some():
    model = fitted(UP.astype(bool).astype(object))
    assert model.classes_.dtype == bool
    assert fitted(UP.astype(bool).astype(str)).classes_.tolist() == ["False", "True"]  # those are words


def test_missing_truth_values_are_missing(tmp_path):
    table = truths("boolean")[0]
    table.loc[3, "label"] = pd.NA
    with pytest.raises(InputError, match="row 3: expected a value in 'label', got an empty cell"):
        SequenceClassifier().fit(table)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array(["a", "b"], "S1"), ["a", "b"]),  # as HDF5 has text
        (np.array(["ä".encode(), b"b"], dtype=object), ["b", "ä"]),
        (np.array([3, 4], dtype=object), [3, 4]),
        (np.array([np.int8(3), 4.0], dtype=object), [3.0, 4.0]),
        (np.array([True, 1], dtype=object), ["1", "True"]),
        (np.array([10**30, 1], dtype=object), ["1", str(10**30)]),
    ],
)
def test_labels_that_are_objects_are_what_they_hold(labels, classes):
    """Bytes became classes such as "b'a'", and numbers became text, which is equal to no number that is compared."""
    x, given = np.array([[0.0, 0.0], [1.0, 1.0]] * 20), np.tile(labels, 20)
    model = SequenceClassifier(hidden_size=4, max_epochs=60, learning_rate=0.05).fit(x, given)
    assert model.classes_.tolist() == classes
    assert [type(one) for one in model.classes_.tolist()] == [type(one) for one in classes]
    assert model.score(x, given) == 1.0
    if not isinstance(classes[0], str):
        assert (model.predict(x) == given).all()


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(DataError, match="y: expected text, got bytes that are no UTF-8"):
        SequenceClassifier().fit(np.zeros((2, 3)), np.array([b"\xff", b"a"], dtype=object))
