"""LanguageModel: learns texts whose answer is known, draws as asked, and scores without artefacts of batching."""

import itertools
import math
import re

import numpy as np
import pytest
import torch

import cellgate
from cellgate import LanguageModel
from cellgate.data import DataError
from cellgate.data.text import Vocabulary, read_text
from cellgate.errors import InputError
from cellgate.estimators.text_training import training_settings
from cellgate.tasks.generate import Bigrams, GenerateObjective, choose_token, nats_per_token

RHYME = "Mary had a little lamb, its fleece was white as snow.\n"


@pytest.fixture(scope="module")
def model():
    return LanguageModel(hidden_size=48, max_epochs=25).fit(RHYME * 60)


def test_it_learns_a_text_by_heart_and_beats_its_baselines(model):
    metrics = model.evaluate(RHYME * 5)
    assert metrics["characters"] == 5 * len(RHYME)
    assert metrics["cellgate"]["nats per character"] < 0.15 < metrics["bigram"]["nats per character"]
    assert metrics["bigram"]["nats per character"] < metrics["unigram"]["nats per character"]
    nats, bits = metrics["cellgate"].values()
    assert bits == pytest.approx(nats / math.log(2))
    assert model.score(RHYME * 5) == -nats
    assert model.generate("Mary had", 16, temperature=0) == " a little lamb, "
    assert model.predict("Mary had a little lam") == "b"


def test_words(tmp_path):
    model = LanguageModel(units="words", hidden_size=32, max_epochs=30).fit(RHYME * 100)
    assert model.generate("Mary had a", 3, temperature=0) == " little lamb,"
    assert set(model.evaluate(RHYME * 3)["cellgate"]) == {"nats per word", "perplexity"}


def test_a_model_of_many_words_begins_with_the_share_of_each():
    """A pass over a text did not teach it that, and it stayed far behind the unigram."""
    chance = np.random.default_rng(0)
    words = np.array([f"w{k}" for k in range(2000)])
    text = " ".join(chance.choice(words, 20_000, p=1 / np.arange(1, 2001) / np.sum(1 / np.arange(1, 2001))))
    model = LanguageModel(units="words", hidden_size=8, max_epochs=1).fit(text[:70_000])
    metrics = model.evaluate(text[70_000:])
    assert len(model.vocabulary_) > 1000
    assert metrics["cellgate"]["nats per word"] < metrics["unigram"]["nats per word"] + 0.02
    again = LanguageModel(units="words", hidden_size=8, max_epochs=1).fit(text[:70_000])
    assert again.score(text[70_000:]) == model.score(text[70_000:])


def test_a_vocabulary_of_the_unknown_alone_is_refused_for_what_it_is():
    """The text was said to be too short."""
    with pytest.raises(InputError, match=r"vocabulary_size: expected a whole number of 2 or more, .* got 1"):
        LanguageModel(units="words", vocabulary_size=1).fit(RHYME * 20)


def test_a_prompt_of_words_is_read_as_the_text_was():
    """A space at its end, and a first word known only after others, were read as unknown."""
    model = LanguageModel(units="words", hidden_size=32, max_epochs=30).fit(RHYME.replace("\n", " ") * 100)
    assert " had" in model.vocabulary_.tokens
    assert not {"had", " "} & set(model.vocabulary_.tokens)
    assert model.generate("Mary had a ", 3, temperature=0) == "little lamb,"
    assert model.generate("Mary had a", 3, temperature=0) == " little lamb,"
    assert (model.predict_proba("Mary had a ") == model.predict_proba("Mary had a")).all()
    assert (model.predict_proba("had a") == model.predict_proba(" had a")).all()
    assert model.vocabulary_.unknown(model.vocabulary_.begun("had a wug ")) == (" wug",)
    assert "".join(model.stream("Mary had a ", 3, temperature=0)) == "little lamb,"
    assert model.generate("Mary had a ", 0) == ""


def test_the_same_seed_draws_the_same_and_pieces_come_one_by_one(model):
    texts = [model.generate("Mary", 40, temperature=2.0, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    pieces = model.stream("Mary", 40, temperature=2.0, seed=1)
    assert next(pieces) == texts[0][0]
    assert texts[0][0] + "".join(pieces) == texts[0]
    assert model.generate("Mary", 0) == ""
    assert len(model.generate(length=5)) == 5
    assert "\ufffd" not in model.generate("Mary", 300, temperature=50.0)


def test_carried_state_gives_what_reading_it_all_anew_gives(model):
    text = model.generate("Mary", 12, temperature=0)
    again = ""
    for _ in range(12):
        again += model.predict("Mary" + again)
    assert again == text


def test_choice_of_tokens():
    scores = torch.tensor([9.0, 3.0, 2.0, 1.0, 0.0]).log_softmax(0)  # the unknown is the likeliest, and never drawn
    generator = torch.Generator().manual_seed(0)

    def shares(**how):
        how = {"temperature": 1.0, "top_k": None, "top_p": None, **how}
        drawn = [choose_token(scores, **how, generator=generator) for _ in range(1500)]
        return np.bincount(drawn, minlength=5) / 1500

    right = scores[1:].softmax(0).numpy()
    assert shares()[1:] == pytest.approx(right, abs=0.04)
    assert shares()[0] == 0
    assert shares(temperature=0.0)[1] == 1
    assert shares(temperature=0.5)[1:] == pytest.approx((2 * scores[1:]).softmax(0).numpy(), abs=0.04)
    assert shares(top_k=2)[1:3] == pytest.approx(right[:2] / right[:2].sum(), abs=0.04)
    assert (shares(top_k=2)[3:] == 0).all()
    assert (shares(top_p=0.7)[3:] == 0).all()  # 0.64 and 0.24: the second reaches it
    assert shares(top_p=0.6)[1] == 1
    assert shares(top_p=1.0, top_k=99)[1:] == pytest.approx(right, abs=0.04)


def test_nats_are_those_of_reading_token_by_token(model):
    """Streams side by side, with some tokens read early, give what one long reading gives, up to far memories."""
    tokens = torch.from_numpy(model.vocabulary_.encode(RHYME * 240))
    with torch.no_grad():
        scores = model.model_(model.model_.embed(tokens[None, :-1], None))[0]
    expected = float(torch.nn.functional.cross_entropy(scores.double(), tokens[1:]))
    assert len(tokens) > 3 * 4096  # read in several streams
    assert nats_per_token(model.model_, tokens) == pytest.approx(expected, abs=2e-4)
    short = tokens[:700]
    expected = float(torch.nn.functional.cross_entropy(scores[:699].double(), tokens[1:700]))
    assert nats_per_token(model.model_, short) == pytest.approx(expected, abs=1e-6)


def test_training_reads_on_where_it_stopped():
    """Every stretch begins where the one before it ended, with the state it ended in; every epoch anew."""
    seen, states = [], []

    class Spy:
        def embed(self, tokens, numbers):
            seen.append(tokens)
            return tokens

        def mean_loss(self, tokens, state, targets):
            states.append(state)
            return torch.zeros((), requires_grad=True), (torch.full((1,), len(seen)),) * 2

    objective = GenerateObjective(np.arange(1000) % 4, np.array([], dtype=np.int64), 4, 32)
    generator = torch.Generator().manual_seed(0)
    for rows in torch.arange(objective.examples).split(objective.streams):
        objective.loss(Spy(), rows, generator)
    assert objective.examples == objective.rounds * 4
    for before, after in itertools.pairwise(seen):
        assert ((after[:, 0] - before[:, -1]) % 4 == 1).all()
    assert states[0] is None
    assert [int(state[0]) for state in states[1:]] == list(range(1, len(seen)))
    objective.loss(Spy(), torch.arange(4), generator)
    assert states[-1] is None


@pytest.mark.parametrize(("given", "held"), [(None, 20_000), (0.05, 27_000), (0.0, 0)])
def test_what_is_held_back_to_stop_in_time(given, held):
    text = read_text(RHYME * 10_000)
    model = LanguageModel(validation=given)
    model.vocabulary_ = Vocabulary.fit(RHYME, "characters", 100)
    learnt, validation = model._tokens(text)
    assert (len(learnt), len(validation)) == (540_000 - held, held)


def test_time_alone_ends_a_training_that_was_given_some():
    tokens = np.zeros(3_000_000, dtype=np.int64)
    objective = GenerateObjective(tokens, tokens[:0], 32, 64)
    read = objective.rounds * objective.streams * objective.steps / len(tokens)
    epochs = [
        training_settings(LanguageModel(max_seconds=time).get_params(), objective, len(tokens)).max_epochs
        for time in (None, 60.0)
    ]
    assert [round(count * read) for count in epochs] == [4, 40]


def test_bigrams_are_those_counted_by_hand():
    bigrams = Bigrams.fit(np.array([0, 1, 0, 1, 1]), 2)
    unigram = np.array([3, 4]) / 7  # counts 2 and 3, each once more
    # After 1 came 0 once and 1 once, two kinds: (1 + 2 * 3/7) / (2 + 2) for a 0.
    assert bigrams.nats(np.array([1, 0])) == pytest.approx((-np.log(unigram[0]), -np.log((1 + 2 * 3 / 7) / 4)))


def test_bigrams_of_two_texts_are_those_of_both(tmp_path):
    one, two = np.array([0, 1, 0, 1, 1, 3]), np.array([3, 3, 1, 0, 2])
    both = Bigrams.fit(one, 4).joined(len(one), two).joined(11, one)
    pairs, counts = np.unique(np.concatenate([t[:-1] * 4 + t[1:] for t in (one, two, one)]), return_counts=True)
    assert np.array_equal(both.pairs, pairs)
    assert np.array_equal(both.counts, counts)
    assert both.unigram == pytest.approx((np.bincount(np.concatenate([one, two, one])) + 1) / (17 + 4), rel=1e-14)
    model = LanguageModel(hidden_size=4, max_epochs=1).fit("abcd " * 100)
    other = "dcba " * 100
    before = model.evaluate(other)
    model.partial_fit(other).save(tmp_path / "m")
    after = cellgate.load(tmp_path / "m").evaluate(other)
    assert after["bigram"]["nats per character"] < before["bigram"]["nats per character"] - 1
    assert model.trained_tokens_ == 2 * 475


def test_an_empty_text_is_no_folder(model):
    for call in (LanguageModel().fit, model.score, model.evaluate):
        with pytest.raises(DataError, match="the text: expected characters, got an empty text"):
            call("")


def test_bytes_and_words_can_be_put_together_again():
    text = "It's 早上好,  well -- \n\n\tyes...  "
    for units in ("characters", "words"):
        vocabulary = Vocabulary.fit(text * 2, units, 1000)
        assert vocabulary.decode(vocabulary.encode(text)) == text
    few = Vocabulary.fit("a a a b b c c", "characters", 3)
    assert few.tokens == ("\ufffd", " ", "a")
    assert few.decode(few.encode("abc")) == "a\ufffd\ufffd"


def test_saved_and_loaded_it_writes_the_same(model, tmp_path):
    model.evaluate(RHYME * 3)
    model.save(tmp_path / "m")
    again = cellgate.load(tmp_path / "m")
    assert again.generate("Mary", 50, seed=3) == model.generate("Mary", 50, seed=3)
    assert again.evaluate(RHYME * 2) == model.evaluate(RHYME * 2)
    assert again.record_ == model.record_
    assert "bigram" in (tmp_path / "m" / "README.md").read_text()


def test_equal_seeds_and_a_fit_that_was_cut_short_end_alike(tmp_path):
    class Stop(Exception):
        pass

    def stop(progress):
        if progress.epoch == 2:
            raise Stop

    def new():
        return LanguageModel(hidden_size=8, max_epochs=4)

    whole = new().fit(RHYME * 40)
    with pytest.raises(Stop):
        new().fit(RHYME * 40, watch=stop, checkpoint=tmp_path, checkpoint_every=0.0)
    resumed = new().fit(RHYME * 40, checkpoint=tmp_path, checkpoint_every=0.0)
    assert resumed.record_.history == whole.record_.history
    assert torch.equal(resumed.model_.readout.weight, whole.model_.readout.weight)


def test_partial_fit_learns_on(model):
    other = LanguageModel(hidden_size=16, max_epochs=3)
    other.partial_fit(RHYME * 40)
    before = other.score(RHYME * 3)
    vocabulary = other.vocabulary_
    other.partial_fit(RHYME * 40)
    assert other.score(RHYME * 3) > before
    assert other.vocabulary_ is vocabulary


def test_encode_can_be_traced(model):
    encoded = model.encode("Mary had")
    assert encoded.steps == (tuple("Mary had"),)
    with cellgate.trace(model.model_) as tape:
        scores = model.model_(encoded.x)
    assert scores[0, -1].softmax(0).numpy(force=True) == pytest.approx(model.predict_proba("Mary had"), abs=1e-6)
    assert tape["lstm"].layer(0).c.shape == (1, 8, 48)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty.txt: expected a text, got an empty file"),
        (b" \n\n", "empty.txt: expected a text, got an empty file"),
        (b"one\ntwo\x00three", "empty.txt: expected a text, got binary data .a zero byte on line 2"),
        (b"too short", "empty.txt: expected 200 characters or more to learn"),
    ],
)
def test_texts_that_cannot_be_learnt(content, message, tmp_path):
    (tmp_path / "empty.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        LanguageModel().fit(tmp_path / "empty.txt")


def test_other_encodings_are_read(tmp_path):
    (tmp_path / "t").write_bytes("café".encode("cp1252"))
    assert read_text(tmp_path / "t").text == "café"
    assert read_text(tmp_path / "t").notes
    (tmp_path / "t").write_bytes("早上好\r\n".encode("utf-16"))
    assert read_text(tmp_path / "t").text == "早上好\n"
    for missing in (tmp_path / "nowhere.txt", "nowhere.txt"):
        with pytest.raises(DataError, match=re.escape("nowhere.txt: expected a text file, found none")):
            read_text(missing)
    assert read_text("A text, not a file.").text == "A text, not a file."


@pytest.mark.parametrize(
    "how",
    [{"temperature": -1}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}, {"length": -1}, {"temperature": math.nan}],
)
def test_ways_to_draw_that_are_none(model, how):
    with pytest.raises(InputError, match=f"{next(iter(how))}: expected"):
        model.generate("Mary", **how)


@pytest.fixture(scope="module")
def small():
    return LanguageModel(hidden_size=4, max_epochs=1).fit("ab\nac\n" * 60)


@pytest.mark.parametrize("given", [b"ab", ["a", "b"], None, 5])
def test_what_is_gone_on_from_is_a_text(small, given):
    for verb, name in ((small.predict, "X"), (small.predict_proba, "X"), (small.generate, "prompt")):
        with pytest.raises(InputError, match=f"{name}: expected a str, got "):
            verb(given)


def test_lines_end_alike_in_texts_and_in_files(small, tmp_path):
    (tmp_path / "t.txt").write_bytes(b"ab\r\nac\r\n" * 60)
    typed = LanguageModel(hidden_size=4, max_epochs=1).fit("ab\r\nac\r\n" * 60)
    assert typed.vocabulary_ == small.vocabulary_
    assert typed.score(tmp_path / "t.txt") == small.score("ab\r\nac\r\n" * 60)
    assert small.generate("ab\r\n", 5) == small.generate("ab\n", 5)
