"""Groups of sequences, a person's or a machine's, stay together in what is held back."""

import numpy as np
import pandas as pd
import pytest

import cellgate
from cellgate import SequenceClassifier, SequenceRegressor, SequenceTagger
from cellgate.data import DataError
from cellgate.errors import InputError

KINDS = (SequenceClassifier, SequenceRegressor, SequenceTagger)


def made(kind, users=12, each=4, seed=0):
    """Sequences of several users, their labels as the kind wants them, and the user of each."""
    random = np.random.default_rng(seed)
    X = [random.normal(size=(random.integers(3, 7), 2)) for _ in range(users * each)]
    y = np.arange(len(X)) % 2
    labels = {
        SequenceClassifier: y,
        SequenceRegressor: y + random.normal(size=len(X)),
        SequenceTagger: [(one[:, 0] > 0).astype(int) for one in X],
    }
    return X, labels[kind], np.repeat([f"u{k}" for k in range(users)], each)


def frame(users=12, each=4):
    X, y, who = made(SequenceClassifier, users, each)
    lengths = [len(one) for one in X]
    columns = {"user": np.repeat(who, lengths), "id": np.repeat(np.arange(len(X)), lengths)}
    return pd.DataFrame(columns | {"a": np.concatenate(X)[:, 0], "label": np.repeat(y, lengths)})


@pytest.fixture
def splits(monkeypatch):
    """What each training learnt from and what it stopped by: (rows, rows)."""
    seen = []
    for kind in KINDS:
        objective = kind._objective

        def watched(self, data, targets, train, validation, *, objective=objective):
            seen.append((train.tolist(), validation.tolist()))
            return objective(self, data, targets, train, validation)

        monkeypatch.setattr(kind, "_objective", watched)
    return seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("users", "each"), [(12, 4), (60, 6)], ids=["folds", "one model"])
def test_nobody_is_learnt_from_and_stopped_by(kind, users, each, splits):
    X, y, who = made(kind, users, each)
    model = kind(hidden_size=2, max_epochs=1).fit(X, y, groups=who)
    parted = [(who[train], who[held]) for train, held in splits if held]
    assert len(parted) == (5 if users == 12 else 1)
    assert all(not set(train) & set(held) for train, held in parted)
    splits.clear()
    model.partial_fit(X, y, groups=who)
    assert any(held for _, held in splits)
    assert all(not set(who[train]) & set(who[held]) for train, held in splits)
    splits.clear()
    kind(hidden_size=2, max_epochs=1).fit(X, y)  # without groups the same person is on both sides
    assert any(set(who[train]) & set(who[held]) for train, held in splits)


def test_a_column_of_groups_is_no_feature_and_the_same_as_groups_beside(tmp_path):
    table = frame()
    model = SequenceClassifier(hidden_size=2, max_epochs=2, group="user").fit(table)
    assert model.encoding_.names == ("a",)
    who = table.groupby("id", sort=False)["user"].first().to_numpy()
    beside = SequenceClassifier(hidden_size=2, max_epochs=2, features=["a"]).fit(table, groups=who)
    assert np.array_equal(model.predict_proba(table), beside.predict_proba(table))
    model.save(tmp_path)
    loaded = cellgate.load(tmp_path)
    assert loaded.get_params()["group"] == "user"
    assert "whole groups of `user`" in (tmp_path / "README.md").read_text()
    # Later data need no groups, nor clear ones, as nothing is split.
    expected = model.predict_proba(table)
    assert np.array_equal(loaded.predict_proba(table.drop(columns="user")), expected)
    assert np.array_equal(loaded.predict_proba(table.assign(user=np.arange(len(table)))), expected)
    assert np.array_equal(loaded.predict_proba(table.assign(user=None)), expected)


def test_rows_that_are_whole_sequences_and_files_of_arrays_have_groups_too(tmp_path, splits):
    random = np.random.default_rng(0)
    X, y, who = random.normal(size=(48, 6)), np.arange(48) % 2, np.repeat(np.arange(12), 4)
    wide = pd.DataFrame(X).rename(columns=str).assign(who=who, label=y)
    first = SequenceClassifier(hidden_size=2, max_epochs=1, wide=True, group="who").fit(wide)
    assert len(first.roles_.features) == 6
    np.savez(tmp_path / "x.npz", X=X, y=y, who=who)
    np.savez(tmp_path / "bare.npz", X=X)
    second = SequenceClassifier(hidden_size=2, max_epochs=1, group="who").fit(tmp_path / "x.npz")
    assert np.array_equal(first.predict_proba(wide), second.predict_proba(tmp_path / "bare.npz"))
    assert all(not set(who[train]) & set(who[held]) for train, held in splits)
    with pytest.raises(DataError, match=r"--group user: expected an array of x.npz, which has X, y, who"):
        SequenceClassifier(group="user").fit(tmp_path / "x.npz")


def test_sentences_of_a_document(tmp_path, splits):
    lines = [f"d{k // 4}\tw{k % 3}\t{'AB'[k % 2]}\nd{k // 4}\tend\tC\n" for k in range(48)]
    (tmp_path / "a.conll").write_text("\n".join(lines))
    SequenceTagger(hidden_size=2, max_epochs=1, token="2", group="1").fit(tmp_path / "a.conll")
    who = np.arange(48) // 4
    assert all(not set(who[train]) & set(who[held]) for train, held in splits)
    (tmp_path / "b.conll").write_text("a\tx\tA\nb\ty\tB\n\na\tx\tA\n")
    with pytest.raises(DataError, match=r"b.conll, sentence 0: expected one group in column 1 for all of its words"):
        SequenceTagger(token="2", group="1").fit(tmp_path / "b.conll")


def test_groups_that_cannot_be_are_refused():
    X, y, who = made(SequenceClassifier)
    fit = SequenceClassifier(hidden_size=2, max_epochs=1).fit
    for groups, told in (
        (who[:-1], r"groups: expected 48, one a sequence, got shape \(47,\)"),
        ("user", "groups: expected 48 groups, one a sequence, got 'user'; the column of a table that holds them is"),
        ([None, *who[1:]], "groups: expected one for each sequence, got none for sequence 0"),
        (["all"] * 48, r"expected 2 groups or more, of which one is held back to stop in time, got 1 \(all\)"),
        (np.where(y == 1, "a", "b"), "expected groups of which one can be held out, got 2, each with a label that no"),
    ):
        with pytest.raises(InputError, match=told):
            fit(X, y, groups=groups)
    SequenceClassifier(hidden_size=2, max_epochs=1, validation=0).fit(X, y, groups=["all"] * 48)
    with pytest.raises(InputError, match="group: expected a table, whose column it names, got the list"):
        SequenceClassifier(group="user").fit(X, y)
    table = frame()
    for changed, options, told in (
        (table, {"group": "nobody"}, "--group nobody: expected a column of"),
        (table, {"group": "id"}, "expected a column that tells the sequences apart"),
        (table, {"group": "id", "id": "id"}, "--group id: expected another column than --id, got the same"),
        (table, {"group": "user", "features": ["a", "user"]}, "--features user: expected columns to learn from, got"),
        (table.assign(user=[None, *table["user"][1:]]), {"group": "user"}, "expected a value in 'user', got an empty"),
        (
            table.assign(user=["u9", *table["user"][1:]]),
            {"group": "user"},
            r"row 1: expected one 'user' for all of seq",
        ),
    ):
        with pytest.raises(InputError, match=told):
            SequenceClassifier(**options).fit(changed)
    with pytest.raises(InputError, match="groups: expected none beside group='user', which names their column"):
        SequenceClassifier(group="user").fit(table, groups=who)


def test_a_checkpoint_is_of_its_groups(tmp_path):
    X, y, who = made(SequenceClassifier)
    SequenceClassifier(hidden_size=2, max_epochs=1).fit(X, y, groups=who, checkpoint=tmp_path)
    with pytest.raises(InputError, match="expected a checkpoint of the same data and options"):
        SequenceClassifier(hidden_size=2, max_epochs=1).fit(X, y, groups=who[::-1], checkpoint=tmp_path)


def test_cross_validation_hands_groups_on():
    from sklearn.model_selection import GroupKFold, cross_val_score

    X, y, who = made(SequenceClassifier)
    X = np.stack([one[:3] for one in X])
    model = SequenceClassifier(hidden_size=2, max_epochs=1)
    scores = cross_val_score(model, X, y, groups=who, cv=GroupKFold(3), params={"groups": who}, error_score="raise")
    assert np.isfinite(scores).all()
