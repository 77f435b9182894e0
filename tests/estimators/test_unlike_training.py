"""What is said of data that lack something the training had, or have something it did not."""

import numpy as np
import pandas as pd
import pytest

import cellgate
from cellgate.errors import InputError

X = np.random.default_rng(0).normal(size=(30, 4))
Y = np.array(["no", "yes"])[np.arange(30) % 2]


def table(**changes):
    columns = {
        "id": np.repeat(np.arange(30), 2),
        "t": [0, 1] * 30,
        "kind": ["in", "out"] * 30,
        "v": np.arange(60) / 10,
        "label": np.repeat(Y, 2),
    }
    frame = pd.DataFrame({**columns, **changes})
    return frame.drop(columns=[name for name, value in changes.items() if value is None])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of a table."""
    path = tmp_path_factory.mktemp("models") / "table"
    cellgate.SequenceClassifier(hidden_size=2, max_epochs=1).fit(table()).save(path)
    return path


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    """A model of a CoNLL file."""
    path = tmp_path_factory.mktemp("tagged")
    (path / "a.conll").write_text("the D\ndog N\n\na D\ncat N\n\n" * 15)
    cellgate.SequenceTagger(hidden_size=2, max_epochs=1).fit(path / "a.conll").save(path / "model")
    return path


def test_a_missing_column_is_one_of_the_training_not_an_option(call, folder, tmp_path):
    table(v=None).to_csv(tmp_path / "d.csv", index=False)
    for arguments in (("predict", folder, "--data", tmp_path / "d.csv"), ("evaluate", folder, tmp_path / "d.csv")):
        told = "error: d.csv: expected a column 'v', as in training, got 'id', 't', 'kind', 'label'; add or rename it\n"
        assert call(*arguments) == (2, "", told)


def test_missing_labels_are_told_by_their_column(call, folder, tmp_path):
    table(label=None).to_csv(tmp_path / "d.csv", index=False)
    code, _, err = call("evaluate", folder, tmp_path / "d.csv")
    assert code == 2
    assert "d.csv: expected a label for each sequence in 'label', as in training, found none; add the column" in err
    with pytest.raises(InputError, match="in 'label', as in training, got several within a sequence"):
        cellgate.load(folder).evaluate(table(label=["no", "yes"] * 30))


def test_data_of_another_kind_are_told_as_such(call, folder, tagger, tmp_path):
    table().to_csv(tmp_path / "d.csv", index=False)
    np.savez(tmp_path / "d.npz", X=X, y=Y)
    cellgate.SequenceClassifier(hidden_size=2, max_epochs=1).fit(tmp_path / "d.npz").save(tmp_path / "arrays")
    for model, data, told in (
        (folder, tagger / "a.conll", "a.conll: expected data as in training, a table or arrays, got a CoNLL file"),
        (tagger / "model", tmp_path / "d.csv", "d.csv: expected data as in training, a CoNLL file, got a table"),
        (tmp_path / "arrays", tmp_path / "d.csv", "d.csv: expected data as in training, arrays, got a table"),
        (folder, tmp_path / "d.npz", "d.npz: expected the features v, kind as in training, got x; give the same"),
    ):
        code, _, err = call("predict", model, "--data", data)
        assert code == 2
        assert told in err


def test_words_that_training_did_not_have_are_named(call, folder, tmp_path):
    table(kind=["in", "off"] * 30, label=None).to_csv(tmp_path / "d.csv", index=False)
    code, out, err = call("predict", folder, "--data", tmp_path / "d.csv")
    assert code == 0
    told = "note: kind has 1 word that the training did not have, read as none of those it had: 'off'\n"
    assert err == told
    assert out.startswith("unique_id,prediction,")
    table().to_csv(tmp_path / "d.csv", index=False)
    assert call("predict", folder, "--data", tmp_path / "d.csv")[2] == ""


def test_labels_that_training_did_not_have_are_named(call, folder, tagger, tmp_path):
    table(label=np.repeat(np.arange(30) % 2, 2)).to_csv(tmp_path / "d.csv", index=False)
    code, out, _ = call("evaluate", folder, tmp_path / "d.csv")
    assert code == 0
    told = "note: 30 of 30 labels not among those of the training ('no', 'yes'), counted as wrong: 0, 1\n"
    assert out.endswith(told)
    (tmp_path / "b.conll").write_text("the D\ndog X\n\n")
    out = call("evaluate", tagger / "model", tmp_path / "b.conll")[1]
    assert "note: 1 of 2 labels not among those of the training ('D', 'N'), counted as wrong: 'X'\n" in out
    assert cellgate.load(folder).remarks(table()) == []
    regressor = cellgate.SequenceRegressor(hidden_size=2, max_epochs=1).fit(table(label=np.repeat(np.arange(30.0), 2)))
    assert regressor.remarks(table(label=np.repeat(np.arange(30.0) + 99, 2))) == []


def test_a_frame_may_follow_a_training_on_arrays():
    model = cellgate.SequenceClassifier(hidden_size=2, max_epochs=1).fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(pd.DataFrame(X)), model.predict_proba(X))
    with pytest.raises(InputError, match="X has 3 features, but SequenceClassifier is expecting 4"):
        model.predict(pd.DataFrame(X[:, :3]))


def test_labels_of_arrays_are_found_whatever_those_of_the_training_table_were_called(tmp_path):
    wide = pd.DataFrame(X).assign(mood=Y)
    model = cellgate.SequenceClassifier(wide=True, target="mood", hidden_size=2, max_epochs=1).fit(wide)
    np.savez(tmp_path / "d.npz", X=X, y=Y)
    assert model.score(tmp_path / "d.npz") == model.score(wide)


@pytest.mark.parametrize("empty", ["", np.nan])
def test_an_empty_column_of_labels_is_none(empty, tmp_path):
    rows = [(k, t, k % 2 + t / 9, "ab"[k % 2]) for k in range(30) for t in range(3)]
    table = pd.DataFrame(rows, columns=["id", "t", "x", "label"])
    model = cellgate.SequenceClassifier(hidden_size=4, max_epochs=1).fit(table)
    asked = table.assign(label=empty)
    asked.to_csv(tmp_path / "asked.csv", index=False)
    for data in (asked, tmp_path / "asked.csv"):
        assert model.predict(data).tolist() == model.predict(table).tolist()
        with pytest.raises(
            ValueError, match="expected a label for each sequence in 'label', as in training, found none"
        ):
            model.evaluate(data)
    with pytest.raises(ValueError, match="expected a value in 'label', got an empty cell"):
        model.predict(table.assign(label=table["label"].where(table["id"] > 4)))


def test_an_empty_column_of_tags_is_none(tmp_path):
    (tmp_path / "t.conll").write_text("a\tX\nb\tY\n\n" * 20)
    (tmp_path / "asked.conll").write_text("a\t\nb\t\n\n" * 2)
    tagger = cellgate.SequenceTagger(hidden_size=4, max_epochs=1).fit(tmp_path / "t.conll")
    assert len(tagger.predict(tmp_path / "asked.conll")) == 2
    with pytest.raises(ValueError, match="expected a tag for each step in '2', as in training, found none"):
        tagger.evaluate(tmp_path / "asked.conll")


def test_gaps_that_training_did_not_have_are_told(call, folder, tmp_path):
    gaps = table()
    gaps.loc[[3, 5], "v"] = np.nan
    gaps.to_csv(tmp_path / "gaps.csv", index=False)
    told = "v has 2 missing values and had none in the training, read as its mean there"
    assert cellgate.load(folder).remarks(gaps) == [told]
    assert call("predict", folder, "--data", tmp_path / "gaps.csv")[2] == f"note: {told}\n"
    had = cellgate.SequenceClassifier(hidden_size=4, max_epochs=1).fit(gaps)
    assert had.remarks(gaps) == []
