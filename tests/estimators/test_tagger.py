"""SequenceTagger and what it reads: CoNLL files, words, numbers; trained, scored, saved, resumed."""

import numpy as np
import pandas as pd
import pytest
import torch

import cellgate
from cellgate import SequenceTagger
from cellgate.data import DataError
from cellgate.data.sequences import SequenceRoles, read_sequences
from cellgate.errors import InputError
from cellgate.estimators.folder import load_folder, save_folder
from cellgate.tasks.tag import count_tags, frequent_tags, spans, tag_scores

NOUNS, VERBS = ["dog", "cat", "fish", "bird", "cow"], ["barks", "runs", "sees", "eats", "sleeps"]


def sentences(count=150, seed=0):
    """ "duck" is a noun after "the" and a verb after a noun: only the words around it tell."""
    random = np.random.default_rng(seed)
    X, y = [], []
    for _ in range(count):
        noun = "duck" if random.random() < 0.5 else str(random.choice([*NOUNS, f"once{len(X)}"]))
        verb = "duck" if random.random() < 0.5 else str(random.choice(VERBS))
        words, tags = ["the", noun, verb], ["DET", "NOUN", "VERB"]
        if random.random() < 0.5:
            words, tags = [*words, "in", "the", "pond"], [*tags, "ADP", "DET", "NOUN"]
        X.append(words)
        y.append(tags)
    return X, y


def small(**changes):
    return SequenceTagger(**{"hidden_size": 12, "embedding_size": 16, "max_epochs": 12, **changes})


@pytest.fixture(scope="module")
def tagger():
    X, y = sentences()
    return small(hidden_size=24, max_epochs=40).fit(X, y)


def conll(X, y):
    return "\n".join(
        "\n".join(f"{w}\t-\t{t}" for w, t in zip(a, b, strict=True)) + "\n" for a, b in zip(X, y, strict=True)
    )


def test_it_reads_what_stands_around_a_word(tagger):
    X, y = sentences(60, seed=1)
    metrics = tagger.evaluate(X, y)
    assert metrics["steps"] == sum(map(len, X))
    assert metrics["cellgate"]["accuracy"] > 0.99 > metrics["most frequent tag"]["accuracy"] + 0.05
    assert tagger.score(X, y) == metrics["cellgate"]["accuracy"]
    assert [tags.tolist() for tags in tagger.predict([["the", "duck", "duck"]])] == [["DET", "NOUN", "VERB"]]


def test_words_that_training_did_not_have(tagger):
    assert [tags.tolist() for tags in tagger.predict([["the", "wug", "duck"]])] == [["DET", "NOUN", "VERB"]]
    assert tagger.predict([["The", "DOG", "barks"]])[0].tolist() == ["DET", "NOUN", "VERB"]  # by lower case


def test_padding_leaves_no_trace(tagger):
    X, _ = sentences(30, seed=2)
    together = tagger.predict_proba(X)
    for one, shares in zip(X, together, strict=True):
        assert shares.shape == (len(one), 4)
        assert tagger.predict_proba([one])[0] == pytest.approx(shares, abs=1e-6)
        assert shares.sum(1) == pytest.approx(np.ones(len(one)))


def test_numbers_at_every_step():
    """The tag says of the next step: it takes reading backwards."""
    random = np.random.default_rng(0)
    X = [random.normal(size=(random.integers(6, 12), 1)) for _ in range(150)]
    y = [np.append(one[1:, 0] > 0, False).astype(int) for one in X]
    tagger = SequenceTagger(hidden_size=16, max_epochs=50, dropout=0.0).fit(X[:120], y[:120])
    metrics = tagger.evaluate(X[120:], y[120:])
    assert metrics["cellgate"]["accuracy"] > 0.9 > metrics["most frequent tag"]["accuracy"]
    assert tagger.classes_.tolist() == [0, 1]
    assert tagger.tokens_ == ()


def test_conll_and_tables_are_read_alike(tmp_path):
    X, y = sentences(40)
    (tmp_path / "s.conll").write_text(conll(X, y))
    frame = pd.DataFrame(
        [(k, t, w, tag) for k in range(40) for t, (w, tag) in enumerate(zip(X[k], y[k], strict=True))],
        columns=["sentence", "t", "word", "tag"],
    )
    shares = [small(max_epochs=2).fit(*one).predict_proba(X) for one in ((X, y), (tmp_path / "s.conll",))]
    shares.append(small(max_epochs=2).fit(frame).predict_proba(frame))
    for other in shares[1:]:
        for a, b in zip(shares[0], other, strict=True):
            assert (a == b).all()


def test_conll_files_as_they_are(tmp_path):
    (tmp_path / "a.conll").write_text(
        "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\n# a comment\nPeter NNP B-PER\n"
    )
    read = read_sequences(tmp_path / "a.conll", roles=SequenceRoles(token=""))
    assert read.lengths.tolist() == [2, 1]
    assert read.texts["token"].tolist() == ["EU", "rejects", "Peter"]
    assert read.labels.tolist() == ["B-ORG", "O", "B-PER"]
    read = read_sequences(tmp_path / "a.conll", roles=SequenceRoles(token="2", target="1", features=("3",)))
    assert read.texts["token"].tolist() == ["NNP", "VBZ", "NNP"]
    assert list(read.texts) == ["token", "3"]

    universal = "# text = vámonos al\n1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_\n"
    universal += "".join(
        f"{k}\t{w}\t{w}\t{tag}\t_\t_\t_\t_\t_\t_\n" for k, w, tag in ((1, "vamos", "VERB"), (2, "nos", "PRON"))
    )
    (tmp_path / "u.conllu").write_text(universal)
    read = read_sequences(tmp_path / "u.conllu", roles=SequenceRoles(token=""))
    assert (read.texts["token"].tolist(), read.labels.tolist()) == (["vamos", "nos"], ["VERB", "PRON"])

    (tmp_path / "b.conll").write_text("a X\nb X Y\n")
    with pytest.raises(DataError, match=r"b.conll, line 2: expected 2 columns as in the first line, got 3"):
        read_sequences(tmp_path / "b.conll")
    (tmp_path / "c.conll").write_text("# nothing\n\n")
    with pytest.raises(DataError, match=r"c.conll: expected a word a line, got comments only"):
        read_sequences(tmp_path / "c.conll")
    with pytest.raises(DataError, match="expected the number of a column, from 1 to 3, got '7'"):
        read_sequences(tmp_path / "a.conll", roles=SequenceRoles(token="7"))


@pytest.mark.parametrize("gap", [" ", "\t"])
def test_the_sign_of_number_is_a_word_where_it_is_tagged_as_one(tmp_path, gap):
    words = [["#", "#", "B-NP", "O"], ["5", "CD", "I-NP", "O"]]
    first, second = ("\n".join(gap.join(word) for word in part) for part in (words, words[::-1]))
    # A comment of as many columns as words have.
    (tmp_path / "s.conll").write_text(f"# sent_id = 1\n{first}\n\n#\n# sent_id = 2\n{second}\n")
    read = read_sequences(tmp_path / "s.conll", None, SequenceRoles(token=""))
    assert read.texts["token"].tolist() == ["#", "5", "5", "#"]
    assert read.lengths.tolist() == [2, 2]


def test_spans_are_counted_as_conlleval_does():
    assert list(spans(["B-A", "I-A", "O", "I-B", "B-B", "I-A", "I-A"])) == [
        (0, 2, "A"),
        (3, 4, "B"),
        (4, 5, "B"),
        (5, 7, "A"),
    ]
    tags = {0: "B-A", 1: "I-A", 2: "O"}
    # Two sentences of three; one span right, one too long, one invented.
    actual, given = np.array([0, 1, 2, 0, 2, 2]), np.array([0, 1, 2, 0, 1, 2])
    scores = tag_scores(actual, given, tags, np.array([3, 3]))
    assert scores["span F1"] == pytest.approx(2 * 1 / (2 + 2))
    # A span does not reach over the end of a sentence.
    assert tag_scores(np.array([0, 1]), np.array([0, 1]), tags, np.array([1, 1]))["span F1"] == 1.0
    assert "span F1" not in tag_scores(actual, given, {0: "x", 1: "y", 2: "z"}, np.array([6]))


@pytest.mark.parametrize(
    "tags",
    [
        ["B-A", "I-A", "O", "B-B", "B-B", "I-B", "I-B", "O", "B-A"],
        ["B-A", "E-A", "O", "S-B", "B-B", "I-B", "E-B", "O", "S-A"],
        ["B-A", "L-A", "O", "U-B", "B-B", "I-B", "L-B", "O", "U-A"],
        ["I-A", "E-A", "O", "E-B", "I-B", "I-B", "E-B", "O", "E-A"],  # without the beginning that they should have
    ],
)
def test_spans_are_the_same_however_they_are_written(tags):
    assert list(spans(tags)) == [(0, 2, "A"), (3, 4, "B"), (4, 7, "B"), (8, 9, "A")]
    assert list(spans(tags[:6])) == [(0, 2, "A"), (3, 4, "B"), (4, 6, "B")]  # a sentence that breaks off


def test_spans_of_bioes_are_scored():
    X, y = [["Ada", "Lovelace", "met", "Babbage"]] * 30, [["B-P", "E-P", "O", "S-P"]] * 30
    tagger = small(max_epochs=30).fit(X, y)
    assert tagger.evaluate(X[:3], y[:3])["cellgate"]["span F1"] == 1.0
    assert "span F1" not in small().fit(X, [["S-P", "E-P", "O", "S-P"]] * 30).evaluate(X[:3], y[:3])["cellgate"]


def test_spans_of_a_kind_that_training_did_not_have_are_missed_ones():
    """They were not counted as there, and what missed all of them could have a span F1 of 1."""
    X, y = [["Ada", "met", "Babbage"]] * 30, [["B-P", "O", "O"]] * 30
    tagger = small(max_epochs=30).fit(X, y)
    assert tagger.evaluate(X[:3], y[:3])["cellgate"]["span F1"] == 1.0
    scores = tagger.evaluate(X[:3], [["B-P", "O", "B-Q"]] * 3)["cellgate"]
    assert scores["span F1"] == pytest.approx(2 * 3 / (3 + 6))
    # Of five tags, O has its F1 (3 of 3 right, 3 too many), B-P 1, and each of the three unknown ones 0.
    scores = tagger.evaluate(X[:3], [["B-P", "O", name] for name in ("B-Q", "I-R", "S")])["cellgate"]
    assert scores["F1"] == pytest.approx((6 / 9 + 1 + 0 + 0 + 0) / 5)


def test_blanks_around_columns_are_none_of_words_and_tags(tmp_path):
    """At the ends of lines parted by tabs they made other tags, which evaluate counted as wrong."""
    (tmp_path / "a.conll").write_text("Ada\tNNP\tB-P \nmet \tVBD\t O\n \t \n\nBabbage  NNP   B-P  \n \n\n")
    read = read_sequences(tmp_path / "a.conll", None, SequenceRoles())
    assert read.texts["token"].tolist() == ["Ada", "met", "Babbage"]
    assert read.labels.tolist() == ["B-P", "O", "B-P"]
    assert read.lengths.tolist() == [2, 1]


def test_spaces_that_do_not_break_are_part_of_a_word(tmp_path):
    (tmp_path / "a.conll").write_text("10\u00a0000 CD O\nfrancs NNS O\n\n\u3000 : O\n", encoding="utf-8")
    read = read_sequences(tmp_path / "a.conll", None, SequenceRoles())
    assert read.texts["token"].tolist() == ["10\u00a0000", "francs", "\u3000"]
    assert read.lengths.tolist() == [2, 1]


def test_the_baseline_is_counted_right():
    tokens, targets = np.array([1, 1, 1, 2, 2, 3]), np.array([0, 1, 1, 0, 0, 2])
    assert frequent_tags(count_tags(tokens, targets, 5, 3)).tolist() == [0, 1, 0, 2, 0]
    assert frequent_tags(count_tags(None, targets, 0, 3)).tolist() == [0]


def test_the_baseline_knows_all_that_was_learnt(tmp_path):
    X, y = [["a", "b", "c"], ["b", "c"]] * 15, [["X", "Y", "Z"], ["Y", "Z"]] * 15
    first = SequenceTagger(hidden_size=2, max_epochs=1).fit(X, y)
    first.save(tmp_path / "m")
    for tagger in (cellgate.load(tmp_path / "m"), first):
        assert tagger.evaluate(X, y)["most frequent tag"]["accuracy"] == 1
        tagger.partial_fit(X[:1], [["Z", "Z", "Z"]])
        assert tagger.evaluate(X, y)["most frequent tag"]["accuracy"] == 1
        tagger.partial_fit(X, y)
        counts = {(tagger.tokens_[k], tagger.classes_[c]): n for (k, c), n in np.ndenumerate(tagger.tag_counts_) if n}
        assert counts == {("a", "X"): 30, ("b", "Y"): 60, ("c", "Z"): 61, ("a", "Z"): 1, ("b", "Z"): 1}


def test_a_folder_with_the_most_frequent_tags_only_loads(tmp_path):
    X, y = sentences(40)
    tagger = SequenceTagger(hidden_size=2, max_epochs=1).fit(X, y)
    tagger.save(tmp_path / "m")
    kind, config, files = load_folder(tmp_path / "m")
    del config["task"]["tag_counts"]
    save_folder(tmp_path / "old", kind, {k: config[k] for k in ("estimator", "model", "task", "training")}, files)
    assert cellgate.load(tmp_path / "old").evaluate(X, y) == tagger.evaluate(X, y)


def test_saved_and_loaded_it_tags_the_same(tagger, tmp_path):
    X, y = sentences(20, seed=3)
    tagger.save(tmp_path / "m")
    again = cellgate.load(tmp_path / "m")
    for a, b in zip(again.predict_proba(X), tagger.predict_proba(X), strict=True):
        assert (a == b).all()
    assert again.evaluate(X, y) == tagger.evaluate(X, y)


def test_a_fit_that_was_cut_short_ends_as_if_it_had_not_been(tmp_path):
    X, y = sentences(60)

    class Stop(Exception):
        pass

    def stop(progress):
        if progress.epoch == 2:
            raise Stop

    whole = small(max_epochs=4).fit(X, y)
    with pytest.raises(Stop):
        small(max_epochs=4).fit(X, y, watch=stop, checkpoint=tmp_path, checkpoint_every=0.0)
    resumed = small(max_epochs=4).fit(X, y, checkpoint=tmp_path, checkpoint_every=0.0)
    assert resumed.record_.history == whole.record_.history
    assert torch.equal(resumed.model_.embedding.weight, whole.model_.embedding.weight)


def test_encode_can_be_traced(tagger):
    encoded = tagger.encode([["the", "duck"], ["the", "dog", "barks"]])
    assert encoded.steps == (("the", "duck"), ("the", "dog", "barks"))
    assert encoded.x.shape == (2, 3, len(encoded.names))
    with cellgate.trace(tagger.model_) as tape:
        shares = tagger.model_(encoded.x, lengths=encoded.lengths).softmax(-1)
    assert shares[0, :2].numpy(force=True) == pytest.approx(tagger.predict_proba([["the", "duck"]])[0], abs=1e-6)
    assert tape["lstm"].layer(0).backward is not None


def test_partial_fit_goes_on():
    X, y = sentences(100)
    tagger = small(max_epochs=2).partial_fit(X, y)
    before, vocabulary = tagger.score(X, y), tagger.tokens_
    for _ in range(3):
        tagger.partial_fit(X, y)
    assert tagger.score(X, y) > before or before > 0.99
    assert tagger.tokens_ is vocabulary
    with pytest.raises(InputError, match="expected tags among"):
        tagger.partial_fit([["a"]], [["NEW"]])


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([["a", "b"]], None, "expected a tag for each step, found none"),
        ([["a", "b"], ["c"]], [["X", "Y"], ["X", "Y"]], "labels of sequence 1: expected 1, one a step"),
        ([["a", "b"], "c"], [["X", "Y"], ["X"]], "sequence 1: expected a list of words"),
        ([["a", "b"]], [["X", "Y"], ["X"]], "labels: expected 1 arrays"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said(X, y, message):
    with pytest.raises(DataError if y else InputError, match=message):
        small().fit(X, y)


def test_a_tagger_of_words_wants_words(tagger):
    with pytest.raises(InputError, match="expected words, as in training"):
        tagger.predict([np.zeros((3, 1)), np.zeros((2, 1))])


def test_sentences_without_a_word_are_tagged_with_nothing(tagger):
    assert [tags.tolist() for tags in tagger.predict([[]])] == [[]]
    assert [shares.shape for shares in tagger.predict_proba([[], []])] == [(0, 4), (0, 4)]
    assert [len(tags) for tags in tagger.predict([["the"], []])] == [1, 0]
    numbers = small(max_epochs=1).fit([np.zeros((3, 1)), np.ones((2, 1))] * 5, [[0, 1, 0], [1, 0]] * 5)
    assert [tags.tolist() for tags in numbers.predict([[]])] == [[]]


def test_arrays_of_lists_are_lists():
    X, y = sentences(20)
    packed = [np.array(part, dtype=object) for part in (X, y)]
    tagger = small(max_epochs=1).fit(*packed)
    assert [tags.tolist() for tags in tagger.predict(packed[0])] == [
        tags.tolist() for tags in small(max_epochs=1).fit(X, y).predict(X)
    ]


def test_a_missing_tag_is_no_tag():
    with pytest.raises(DataError, match=r"labels of sequence 1: expected a label for each, got none \(None\) at 0"):
        small().fit([["a", "b"], ["c"]], [["X", "Y"], [None]])


def test_sentences_that_are_all_empty_are_not_scored():
    tagger = SequenceTagger(hidden_size=4, max_epochs=1).fit([["a", "b"]] * 20, [["X", "Y"]] * 20)
    with pytest.raises(ValueError, match="expected steps to score, got sequences without any"):
        tagger.evaluate([[], []], [[], []])


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("vocabulary_size", 1, 2), ("vocabulary_size", -3, 2), ("embedding_size", 0, 1), ("embedding_size", -1, 1)],
)
def test_sizes_are_checked(name, value, least):
    with pytest.raises(InputError, match=f"{name}: expected a whole number of {least} or more, got {value}"):
        SequenceTagger(**{name: value}).fit([["a", "b"]] * 20, [["X", "Y"]] * 20)


@pytest.mark.parametrize("stamps", [False, True])
def test_the_table_has_the_times_of_the_steps(stamps, tmp_path):
    times = np.array([5, 3, 9, 1])
    if stamps:
        times = np.array(["2024-01-05", "2024-01-03", "2024-02-01", "2023-01-01"], "M8[us]")
    table = pd.DataFrame({"id": np.repeat(range(30), 4), "t": np.tile(times, 30), "v": np.tile([1.0, 0, 1, 0], 30)})
    model = SequenceTagger(hidden_size=2, max_epochs=1).fit(table.assign(tag=np.tile(list("xyxy"), 30)))
    made = model.table(table)
    assert list(made) == ["unique_id", "step", "ds", "prediction", "p"]
    assert made["step"][:4].tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(made["ds"].astype(times.dtype)[:4], np.sort(times))
