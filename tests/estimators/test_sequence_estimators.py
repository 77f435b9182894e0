"""SequenceClassifier and SequenceRegressor: really trained, on every form of input, and as scikit-learn wants them."""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import cellgate
from cellgate import SequenceClassifier, SequenceRegressor
from cellgate.data import DataError
from cellgate.errors import InputError

KINDS = [SequenceClassifier, SequenceRegressor]


def ragged(count=90, seed=0):
    """Sequences of 4 to 9 steps, two features; the class is that of the larger sum, the number their difference."""
    random = np.random.default_rng(seed)
    sequences = [random.normal(size=(random.integers(4, 10), 2)) for _ in range(count)]
    difference = np.array([(s[:, 0] - s[:, 1]).sum() for s in sequences])
    return sequences, np.where(difference > 0, "first", "second"), difference


def small(kind, **changes):
    return kind(**{"hidden_size": 16, "max_epochs": 25, "max_seconds": None, **changes})


def labels_of(kind, classes, numbers):
    return classes if kind is SequenceClassifier else numbers


def long_table(sequences, labels):
    return pd.DataFrame(
        [
            {"case": f"c{k}", "t": t, "a": row[0], "b": row[1], "label": label}
            for k, (sequence, label) in enumerate(zip(sequences, labels, strict=True))
            for t, row in enumerate(sequence)
        ]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_ragged_sequences_and_beats_the_baseline(kind):
    sequences, classes, numbers = ragged(300)
    labels = labels_of(kind, classes, numbers)
    model = kind(hidden_size=32, max_epochs=25).fit(sequences[:220], labels[:220])
    metrics = model.evaluate(sequences[220:], labels[220:])
    if kind is SequenceClassifier:
        assert metrics["cellgate"]["accuracy"] >= 0.9 > metrics["majority class"]["accuracy"] + 0.2
        assert metrics["cellgate"]["accuracy"] == model.score(sequences[220:], labels[220:])
    else:
        assert metrics["cellgate"]["RMSE"] < 0.3 * metrics["mean"]["RMSE"]
        assert metrics["cellgate"]["R2"] == pytest.approx(model.score(sequences[220:], labels[220:]))


@pytest.mark.parametrize("kind", KINDS)
def test_padding_leaves_no_trace(kind):
    """The answer for a sequence is the same alone, among longer ones, and whatever their order."""
    sequences, classes, numbers = ragged()
    model = small(kind, max_epochs=3).fit(sequences, labels_of(kind, classes, numbers))
    answer = model.predict_proba if kind is SequenceClassifier else model.predict
    together = answer(sequences)
    alone = np.concatenate([answer([sequence]) for sequence in sequences])
    assert np.abs(together - alone).max() < 1e-13
    assert np.abs(together[::-1] - answer(sequences[::-1])).max() < 1e-13


@pytest.mark.parametrize("kind", KINDS)
def test_array_list_and_tables_are_read_alike(kind, tmp_path):
    sequences, classes, numbers = ragged(40)
    even = np.stack([sequence[:4] for sequence in sequences])
    labels = labels_of(kind, classes, numbers)
    frame = long_table(even, labels)
    shuffled = frame.sample(frac=1.0, random_state=0).sort_values("case", kind="stable")
    shuffled = shuffled.iloc[np.argsort(shuffled["case"].str[1:].astype(int), kind="stable")]
    frame.to_csv(tmp_path / "d.csv", index=False)
    np.savez(tmp_path / "d.npz", X=even, y=labels.astype(str) if labels.dtype.kind == "O" else labels)
    given = [(even, labels), (list(even), labels), (tmp_path / "d.npz", None)]
    answers = [small(kind, max_epochs=2).fit(*one).predict(even) for one in given]
    for data in (frame, shuffled, pl.from_pandas(frame), tmp_path / "d.csv"):
        answers.append(small(kind, max_epochs=2).fit(data).predict(frame))
    for other in answers[1:]:
        if kind is SequenceClassifier:
            assert (other == answers[0]).all()
        else:
            assert other == pytest.approx(answers[0], abs=1e-6)


def test_flat_rows_are_cut_into_steps():
    random = np.random.default_rng(0)
    cube = random.normal(size=(60, 5, 3))
    y = (cube[:, 1, 2] > 0).astype(int)
    flat = small(SequenceClassifier, steps=5, max_epochs=3).fit(cube.reshape(60, 15), y)
    deep = small(SequenceClassifier, max_epochs=3).fit(cube, y)
    assert (flat.predict_proba(cube.reshape(60, 15)) == deep.predict_proba(cube)).all()
    with pytest.raises(DataError, match="steps: expected a number that divides the 15 columns"):
        small(SequenceClassifier, steps=4).fit(cube.reshape(60, 15), y)


def test_a_wide_table_has_a_sequence_a_row(tmp_path):
    random = np.random.default_rng(0)
    rows = random.normal(size=(80, 6)).cumsum(1)
    lines = ["label,s1,s2,s3,s4,s5,s6"]
    lines += [",".join([str(int(row[-1] > 0)), *(f"{v:.6f}" for v in row)]) for row in rows]
    (tmp_path / "w.csv").write_text("\n".join(lines))
    model = small(SequenceClassifier, wide=True, max_epochs=80).fit(tmp_path / "w.csv")
    assert model.classes_.tolist() == [0, 1]
    assert model.score(tmp_path / "w.csv") > 0.9


def test_gaps_are_seen_not_invented():
    """Which of two classes it is shows only in what is missing."""
    random = np.random.default_rng(0)
    X = random.normal(size=(120, 6, 1))
    y = np.arange(120) % 2
    X[y == 1, 3] = np.nan
    model = small(SequenceClassifier, max_epochs=40).fit(X, y)
    assert model.encoding_.names == ("x", "x is missing")
    assert model.score(X, y) == 1.0


def test_words_are_features_too():
    frame = pd.DataFrame(
        [(k, t, "good" if (k % 2 and t == 2) else "bad", k % 2) for k in range(60) for t in range(4)],
        columns=["id", "t", "mood", "label"],
    )
    model = small(SequenceClassifier, max_epochs=30).fit(frame)
    assert model.encoding_.names == ("mood = bad", "mood = good")
    assert model.score(frame) == 1.0
    unseen = frame.assign(mood="never seen")
    assert np.isfinite(model.predict_proba(unseen)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_answers_the_same(kind, tmp_path):
    sequences, classes, numbers = ragged()
    model = small(kind, max_epochs=4).fit(sequences, labels_of(kind, classes, numbers))
    model.evaluate(sequences, labels_of(kind, classes, numbers))
    model.save(tmp_path / "m")
    assert {p.name for p in (tmp_path / "m").iterdir()} == {
        "README.md", "config.json", "metrics.json", "model.safetensors", "preprocess.json",
    }  # fmt: skip
    again = cellgate.load(tmp_path / "m")
    assert isinstance(again, kind)
    assert (again.predict(sequences) == model.predict(sequences)).all()
    assert again.metrics_ == model.metrics_
    assert again.record_ == model.record_
    assert repr(again.get_params()) == repr(model.get_params())
    assert "that training never saw" in (tmp_path / "m" / "README.md").read_text()
    assert (pickle.loads(pickle.dumps(model)).predict(sequences) == model.predict(sequences)).all()


@pytest.mark.parametrize("labels", [[3, 7], [True, False], [1.0, 2.0], ["a", "b"]])
def test_classes_keep_their_type_through_save_and_load(labels, tmp_path):
    X, y = np.random.default_rng(0).normal(size=(20, 4)), np.array(labels * 10)
    model = small(SequenceClassifier, max_epochs=1).fit(X, y)
    model.save(tmp_path / "m")
    again = cellgate.load(tmp_path / "m")
    assert again.classes_.tolist() == model.classes_.tolist() == sorted(labels)
    assert type(again.classes_.tolist()[0]) is type(labels[0])


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_give_equal_weights_and_other_seeds_others(kind):
    sequences, classes, numbers = ragged()

    def weights(seed):
        model = small(kind, max_epochs=2, seed=seed).fit(sequences, labels_of(kind, classes, numbers))
        return torch.cat([w.flatten() for w in model.model_.state_dict().values()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_that_was_cut_short_ends_as_if_it_had_not_been(kind, tmp_path):
    sequences, classes, numbers = ragged()
    labels = labels_of(kind, classes, numbers)

    class Stop(Exception):
        pass

    def stop(progress):
        if progress.epoch == 4:
            raise Stop

    whole = small(kind, max_epochs=8).fit(sequences, labels)
    with pytest.raises(Stop):
        small(kind, max_epochs=8).fit(sequences, labels, watch=stop, checkpoint=tmp_path / "c", checkpoint_every=0.0)
    resumed = small(kind, max_epochs=8).fit(sequences, labels, checkpoint=tmp_path / "c", checkpoint_every=0.0)
    assert resumed.record_.history == whole.record_.history
    for name, value in whole.model_.state_dict().items():
        assert torch.equal(value, resumed.model_.state_dict()[name])
    with pytest.raises(InputError, match="expected a checkpoint of the same data and options"):
        small(kind, max_epochs=9).fit(sequences, labels, checkpoint=tmp_path / "c")


@pytest.mark.parametrize("kind", KINDS)
def test_partial_fit_goes_on_from_the_weights_there_are(kind):
    sequences, classes, numbers = ragged(200)
    labels = labels_of(kind, classes, numbers)
    model = small(kind, max_epochs=6)
    scores = [model.partial_fit(sequences, labels).score(sequences, labels) for _ in range(4)]
    assert scores[-1] > scores[0] + 0.02 or scores[0] > 0.97
    before = model.encoding_
    assert model.partial_fit(sequences[:50], labels[:50]).encoding_ is before


def test_partial_fit_may_meet_classes_later():
    X, y = np.random.default_rng(0).normal(size=(20, 4)), np.array(["a", "b"] * 10)
    model = small(SequenceClassifier, max_epochs=1).partial_fit(X, y, classes=["a", "b", "c"])
    assert model.classes_.tolist() == ["a", "b", "c"]
    model.partial_fit(X, np.array(["c"] * 20))
    with pytest.raises(InputError, match=r"expected classes among \['a', 'b', 'c'\], got 'd'"):
        model.partial_fit(X, np.array(["d"] * 20))


def test_encode_gives_what_the_network_reads():
    sequences, classes, _ = ragged()
    model = small(SequenceClassifier, max_epochs=2).fit(sequences, classes)
    encoded = model.encode(sequences[:5])
    assert encoded.x.shape == (5, max(map(len, sequences[:5])), 2)
    assert encoded.lengths.tolist() == [len(s) for s in sequences[:5]]
    assert encoded.names == ("x0", "x1")
    x = encoded.x.requires_grad_()
    with cellgate.trace(model.model_) as tape:
        answers = model.model_(x, lengths=encoded.lengths)
    shares = torch.softmax(answers, 1).detach().numpy()
    assert shares == pytest.approx(model.predict_proba(sequences[:5]), abs=1e-6)
    assert tape["lstm"].layer(0).f.shape[-1] == 16
    answers[:, 0].sum().backward()
    past_the_end = torch.arange(x.shape[1]) >= encoded.lengths[:, None]
    assert (x.grad[past_the_end] == 0).all()
    assert (x.grad[~past_the_end] != 0).any()


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((3, 2)), None, "requires y to be passed"),
        (np.zeros((3, 2)), [0, 1], "y: expected 3 labels, one a sequence, got shape"),
        (np.zeros(3), [0, 1, 0], r"expected shape \(n, T, F\)"),
        (np.zeros((0, 2)), [], "expected at least 1 sequence"),
        (np.zeros((3, 0)), [0, 1, 0], "0 feature"),
        (np.full((4, 2), np.inf), [0, 1, 0, 1], "contains infinity"),
        (np.zeros((4, 2)), [0, 0, 0, 0], "expected two classes or more, got 1 class"),
        (np.zeros((4, 2)), [0.5, 0.1, 0.2, 0.3], "Unknown label type: continuous"),
        (np.array([["a", "b"]] * 3), [0, 1, 0], "X: expected numbers"),
        ([np.zeros((2, 1)), np.zeros((3, 2))], [0, 1], "sequence 1: expected 1 features"),
        ("nowhere.npz", None, "nowhere.npz: expected a file, found none"),
        (pd.DataFrame({"a": [1.0, 2.0], "label": [0, 1]}), None, "expected a column that tells the sequences apart"),
        (pd.DataFrame({"id": [1, 1, 2], "x": [1, 2, 3], "label": [0, 1, 1]}), None, "expected one label a sequence"),
        (pd.DataFrame({"id": [1, 1, 2], "x": [1, 2, 3], "label": ["a", "", "b"]}), None, "row 1: expected a value in"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said(X, y, message):
    with pytest.raises((InputError, ValueError), match=message):
        small(SequenceClassifier).fit(X, y)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"hidden_size": 0}, "hidden_size: expected a whole number of 1 or more, or None, got 0"),
        ({"dropout": 1.0}, "dropout: expected a share from 0 to below 1, got 1.0"),
        ({"readout": "first"}, "readout: expected 'last' or 'mean', got 'first'"),
        ({"learning_rate": "high"}, "learning_rate: expected a number above 0, got 'high'"),
    ],
)
def test_bad_arguments_are_named_when_they_are_used(argument, message):
    model = SequenceClassifier(**argument)
    with pytest.raises(InputError, match=message):
        model.fit(np.zeros((4, 2)), [0, 1, 0, 1])


def test_before_fit_it_says_so():
    with pytest.raises(RuntimeError, match="expected a fitted SequenceClassifier"):
        SequenceClassifier().predict(np.zeros((2, 2)))
    with pytest.raises(RuntimeError, match="expected a fitted SequenceRegressor"):
        SequenceRegressor().save("nowhere")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "quick"),
    [
        (SequenceClassifier, {"hidden_size": 16, "max_epochs": 30}),
        (SequenceRegressor, {"hidden_size": 24, "max_epochs": 40, "learning_rate": 1e-2, "validation": 0.0}),
    ],
)
def test_scikit_learns_own_checks_pass(kind, quick):
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    with warnings.catch_warnings():
        # It need not inherit from BaseEstimator, of which scikit-learn warns; and some warnings are a check's subject.
        warnings.simplefilter("ignore")
        told = checks.check_estimator(kind(**quick), on_fail=None)
    failed = {one["check_name"]: one["exception"] for one in told if one["status"] not in ("passed", "skipped")}
    assert not failed
    assert {one["check_name"] for one in told if one["status"] == "skipped"} <= {"check_array_api_input"}
    assert len(told) > 45


def test_it_works_inside_scikit_learns_tools_on_3d_input():
    pytest.importorskip("sklearn")
    from sklearn.base import clone, is_classifier
    from sklearn.model_selection import GridSearchCV, cross_val_score

    random = np.random.default_rng(0)
    X = random.normal(size=(240, 5, 2))
    y = (X[:, :, 0].sum(1) > 0).astype(int)
    model = small(SequenceClassifier, hidden_size=8, max_epochs=20)
    assert is_classifier(model)
    assert clone(model).get_params() == model.get_params()
    assert cross_val_score(model, X, y, cv=2).mean() > 0.75
    search = GridSearchCV(model, {"hidden_size": [2, 8]}, cv=2).fit(X[:60], y[:60])
    assert search.best_params_["hidden_size"] in (2, 8)


def test_importing_cellgate_does_not_import_scikit_learn(tmp_path):
    code = "import sys, cellgate; cellgate.SequenceClassifier(); print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_without_a_step_have_the_answer_of_an_empty_state(kind):
    sequences, classes, numbers = ragged()
    model = small(kind, max_epochs=1).fit(sequences, labels_of(kind, classes, numbers))
    empty = np.zeros((0, 2))
    alone, beside = model.predict([empty, empty]), model.predict([empty, sequences[0]])
    assert alone[0] == alone[1] == beside[0]
    with torch.no_grad():
        bias = model.model_.readout.bias.double().numpy()
    expected = model.classes_[bias.argmax()] if kind is SequenceClassifier else None
    assert expected is None or alone[0] == expected
    with pytest.raises(InputError, match="expected sequences with a step or more, got none"):
        small(kind).fit([empty] * 20, labels_of(kind, classes, numbers)[:20])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [{}, {"target": "label"}])
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_long_frame_is_predicted_for_without_its_labels(kind, given, library):
    sequences, classes, numbers = ragged(20)
    frame = long_table(sequences, labels_of(kind, classes, numbers))
    bare = frame.drop(columns="label")
    if library == "polars":
        frame, bare = pl.from_pandas(frame), pl.from_pandas(bare)
    model = small(kind, max_epochs=1, **given).fit(frame)
    assert (model.predict(bare) == model.predict(frame)).all()
    assert not hasattr(model, "n_features_in_")
    assert model.fit(np.zeros((4, 3)), [0, 1, 0, 1]).n_features_in_ == 3
    assert not hasattr(model.fit(frame), "n_features_in_")  # what an earlier fit saw does not count


@pytest.mark.parametrize("kind", KINDS)
def test_a_ragged_array_of_arrays_is_read_as_a_list(kind):
    sequences, classes, numbers = ragged(20)
    packed = np.empty(20, dtype=object)
    packed[:] = sequences
    labels = labels_of(kind, classes, numbers)
    model = small(kind, max_epochs=1).fit(packed, labels)
    assert (model.predict(packed) == small(kind, max_epochs=1).fit(sequences, labels).predict(sequences)).all()


@pytest.mark.parametrize(
    ("y", "shown"),
    [
        ([None, "b"] * 5, r"\(None\) at 0"),
        (["a", float("nan")] * 5, r"\(nan\) at 1"),
        (np.array(["a", None] * 5, dtype=object), r"\(None\) at 1"),
        (pd.Series(["a", pd.NA] * 5, dtype="string"), r"\(<NA>\) at 1"),
    ],
)
def test_a_missing_label_is_no_class(y, shown):
    with pytest.raises(DataError, match=rf"y: expected a label for each, got none {shown}; fill it in"):
        small(SequenceClassifier).fit(np.zeros((10, 3)), y)


def test_sequences_without_a_step_may_come_as_empty_lists():
    sequences, classes, _ = ragged(20)
    model = small(SequenceClassifier, max_epochs=1).fit([one[:, 0] for one in sequences], classes)
    assert model.predict([[], []]).shape == (2,)
