"""Arrays, lists and Series as sequences, and arguments that have no meaning for them."""

import numpy as np
import pandas as pd
import pytest
import torch

from cellgate import SequenceClassifier, SequenceTagger
from cellgate.data.sequences import SequenceRoles, read_sequences
from cellgate.errors import InputError

X = np.random.default_rng(0).normal(size=(20, 6, 1))
Y = np.arange(20) % 2
LONG = pd.DataFrame({"id": np.arange(12) // 3, "v": np.arange(12.0), "label": np.arange(12) // 3 % 2})
WIDE = pd.DataFrame({"s0": [0.5, 1.5], "s1": [1.0, 2.0], "label": [0, 1]})
WORDS, TAGS = [["the", "dog", "barks"], ["a", "cat", "sleeps"]] * 10, [["DET", "NOUN", "VERB"]] * 20


def test_what_a_mask_hides_is_missing():
    read = read_sequences(np.ma.masked_array(X, mask=X > 1))
    assert np.array_equal(read.numbers, np.where(X > 1, np.nan, X).reshape(-1, 1), equal_nan=True)
    with pytest.raises(InputError, match="y: expected a label for each, got none"):
        read_sequences(X, np.ma.masked_array(Y, mask=Y > 0))
    with pytest.raises(InputError, match="y: expected a label for each, got none"):
        read_sequences(X, np.ma.masked_array(Y.astype(str), mask=Y > 0))


@pytest.mark.parametrize("library", [pd, pytest.importorskip("polars")])
def test_a_series_of_sequences_is_the_list_of_them(library):
    ragged = [x[: 1 + k % 6, 0] for k, x in enumerate(X)]
    read, expected = read_sequences(library.Series(ragged), Y), read_sequences(ragged, Y)
    assert np.array_equal(read.numbers, expected.numbers)
    assert read.lengths.tolist() == expected.lengths.tolist()


@pytest.mark.parametrize("kind", [np.array, pd.Series, lambda words: [np.array(one) for one in words]])
def test_sentences_may_come_as_arrays_and_series(kind):
    def fitted(X, y):
        return SequenceTagger(hidden_size=4, max_epochs=2).fit(X, y)

    expected = fitted(WORDS, TAGS).predict_proba(WORDS)
    assert np.array_equal(fitted(kind(WORDS), kind(TAGS)).predict_proba(kind(WORDS)), expected)


@pytest.mark.parametrize(
    ("arguments", "X", "message"),
    [
        ({"id": "a"}, X, "id: expected a table, whose column it names, got the array; leave --id out"),
        ({"time": "t"}, list(X), "time: expected a table"),
        ({"features": ("a",)}, X, "features: expected a table"),
        ({"steps": 3}, X, r"steps: expected flat sequences, one a row \(--wide\), got the array; leave --steps out"),
        ({"steps": 3}, LONG, "steps: expected flat sequences"),
        ({"wide": True, "time": "s0"}, WIDE, "time: expected a table of several rows a sequence"),
    ],
)
def test_arguments_that_say_nothing_of_the_data_are_refused(arguments, X, message):
    with pytest.raises(InputError, match=message):
        SequenceClassifier(**arguments).fit(X, None if isinstance(X, pd.DataFrame) else Y)


def test_columns_of_the_training_do_not_keep_arrays_from_being_read():
    table = pd.DataFrame({"id": np.repeat(np.arange(20), 6), "x": X.reshape(-1), "label": np.repeat(Y, 6)})
    classifier = SequenceClassifier(id="id", hidden_size=2, max_epochs=1).fit(table)
    assert np.array_equal(classifier.predict_proba(X), classifier.predict_proba(table))


def test_a_conll_file_has_columns_by_number(tmp_path):
    (tmp_path / "s.conll").write_text("the DT O\ndog NN B\n\na DT O\ncat NN B\n")
    roles = SequenceRoles(token="", features=("2",))
    assert list(read_sequences(tmp_path / "s.conll", roles=roles).texts) == ["token", "2"]
    tagger = SequenceTagger(features=("2",), hidden_size=2, max_epochs=1).fit(tmp_path / "s.conll")
    assert tagger.classes_.tolist() == ["B", "O"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int16])
def test_tensors_of_any_dtype_and_with_gradients_are_arrays(dtype):
    whole = (torch.from_numpy(X) * 10).to(dtype).requires_grad_(dtype.is_floating_point)
    expected = whole.detach().double().numpy().reshape(-1, 1)
    assert np.array_equal(read_sequences(whole).numbers, expected)
    assert np.array_equal(read_sequences(list(whole)).numbers, expected)
    ragged = [one[: 1 + k % 6] for k, one in enumerate(whole)]
    assert read_sequences(ragged).lengths.tolist() == [1 + k % 6 for k in range(20)]
    fitted = SequenceClassifier(hidden_size=2, max_epochs=1).fit(whole, torch.from_numpy(Y))
    assert np.array_equal(fitted.predict_proba(whole), fitted.predict_proba(whole.detach().double().numpy()))


def test_a_nested_tensor_is_the_list_of_its_parts():
    ragged = [torch.from_numpy(one[: 1 + k % 6]) for k, one in enumerate(X)]
    expected = read_sequences(ragged)
    read = read_sequences(torch.nested.nested_tensor(ragged, layout=torch.jagged))
    assert np.array_equal(read.numbers, expected.numbers)
    assert np.array_equal(read.lengths, expected.lengths)


def test_columns_of_a_list_of_frames_are_told_by_name(tmp_path):
    def frames(columns):
        return [pd.DataFrame({"a": x[:, 0], "b": -2 * x[:, 0]})[columns] for x in X]

    model = SequenceClassifier(hidden_size=2, max_epochs=1).fit(frames(["a", "b"]), Y)
    model.save(tmp_path / "m")
    for fitted in (model, SequenceClassifier.load(tmp_path / "m")):
        expected = fitted.predict_proba([one.to_numpy() for one in frames(["a", "b"])])
        assert np.array_equal(fitted.predict_proba(frames(["b", "a"])), expected)
        assert np.array_equal(fitted.predict_proba(frames(["a", "b"])[:1]), expected[:1])
        with pytest.raises(InputError, match="sequence 0: expected the columns a, b, got a, c; give all the same"):
            fitted.predict([one.rename(columns={"b": "c"}) for one in frames(["a", "b"])])
    with pytest.raises(InputError, match="sequence 1: expected a frame, as others are, got ndarray"):
        fitted.predict([frames(["a", "b"])[0], X[1]])


@pytest.mark.parametrize("sentences", [["the dog barks", "a cat"], ["the", "dog"], ("the dog",)])
def test_sentences_that_are_not_split_are_told_to_be(sentences):
    told = f"X: expected sentences, each a list of words, got '{sentences[0]}'; split each of them into words"
    with pytest.raises(InputError, match=told):
        SequenceTagger().fit(sentences, TAGS)
