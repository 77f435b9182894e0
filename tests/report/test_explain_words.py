"""Reports on taggers and language models: their numbers are those of predict, evaluate and trace."""

import numpy as np
import pytest
import torch

import cellgate
from cellgate.estimators.explain_text import telling_cells

EVIL = "<b>dog</b>"


def number(example):
    return int(example.name.removeprefix("sequence "))


@pytest.fixture(scope="module")
def tagged():
    X = [["the", EVIL, "sees", "a", "cat"], ["a", "cat", "sleeps"], ["the", "man", "barks"], ["dogs", "see"]] * 15
    tags = [["DET", "NOUN", "VERB", "DET", "NOUN"], ["DET", "NOUN", "VERB"], ["DET", "NOUN", "VERB"], ["NOUN", "VERB"]]
    model = cellgate.SequenceTagger(hidden_size=6, embedding_size=5, max_epochs=3).fit(X, tags * 15)
    X, y = [*X[:8], ["cat", "the", "sees", "dogs"]], [*(tags * 2), ["NOUN", "DET", "VERB", "VERB"]]
    return model, X, y, model.explain(X, y)


@pytest.fixture(scope="module")
def text():
    return "Mary had a little lamb,\nits fleece was white as snow. " * 30


@pytest.fixture(scope="module")
def written(text):
    model = cellgate.LanguageModel(hidden_size=12, max_epochs=6).fit(text)
    return model, model.explain(text[:300])


def test_rows_of_a_tagger_are_its_probabilities(tagged):
    model, X, y, explanation = tagged
    for example in explanation.report.examples:
        k = number(example)
        assert list(example.labels) == X[k]
        shares = model.predict_proba([X[k]])[0]
        rows = {strip.name: strip.values for strip in example.strips}
        for c, tag in enumerate(model.classes_):
            np.testing.assert_allclose(rows[f"p({tag})"], shares[:, c], atol=1e-6)
        np.testing.assert_allclose(rows["confidence"], shares.max(1), atol=1e-6)
        np.testing.assert_array_equal(rows["wrong"] > 0, model.predict([X[k]])[0] != np.array(y[k]))


def test_a_tagger_has_a_lane_of_gates_each_way(tagged):
    model, X, _, explanation = tagged
    example = explanation.report.examples[0]
    encoded = model.encode([X[number(example)]])
    with cellgate.trace(model.model_) as tape, torch.no_grad():
        model.model_(encoded.x)
    assert [layer.title for layer in example.layers] == ["layer 1, forward", "layer 1, backward"]
    for layer, direction in zip(example.layers, tape["lstm"].layer(0).directions, strict=True):
        true = direction.time_major("f")[:, 0].T.numpy()[list(layer.order)]
        np.testing.assert_allclose(layer.maps["f"], true, atol=1e-6)


def test_a_word_counts_as_one_column_of_influence(tagged):
    model, X, _, explanation = tagged
    example = explanation.report.examples[0]
    influence = example.influence
    assert influence.columns[0] == "word"
    shares = model.predict_proba([X[number(example)]])[0]
    p = shares.max(1).min()
    assert influence.value == pytest.approx(np.log(p / (1 - p)), abs=1e-4)
    # Occlusion by hand: the embedded word of the first step set to the average one.
    encoded = model.encode(X)
    inside = torch.arange(encoded.x.shape[1]) < encoded.lengths[:, None]
    average = encoded.x[inside][:, :5].mean(0)
    x = model.encode([X[number(example)]]).x.clone()
    step, code = int(shares.max(1).argmin()), int(shares[shares.max(1).argmin()].argmax())
    x[0, 0, :5] = average
    with torch.no_grad():
        q = float(model.model_(x)[0, step].softmax(-1)[code])
    assert influence.occlusion[0, 0] == pytest.approx(np.log(p / (1 - p)) - np.log(q / (1 - q)), abs=1e-4)


def test_confusions_of_tags_count_every_step(tagged):
    model, X, y, explanation = tagged
    panels = {panel.key: panel for panel in explanation.report.panels}
    matrix = panels["confusion"].content[0]
    actual, given = np.concatenate(y), np.concatenate(model.predict(X))
    for j, was in enumerate(matrix.names):
        for k, taken in enumerate(matrix.names):
            assert matrix.counts[j, k] == ((actual == was) & (given == taken)).sum()
    assert f"accuracy {(actual == given).mean():.3f}" in " ".join(explanation.report.findings)
    words = panels["doubt"].content[0]
    assert words.pieces[0].strip() == explanation.report.examples[0].labels[0]
    np.testing.assert_allclose(words.values, 1 - explanation.report.examples[0].strips[-2].values)


def test_words_from_data_are_text(tagged):
    html = tagged[3].html
    assert EVIL not in html
    assert "&lt;b&gt;dog&lt;/b&gt;" in html


def test_a_tagger_of_numbers_has_steps_instead_of_words():
    random = np.random.default_rng(0)
    X = [random.normal(size=(n, 2)) for n in random.integers(5, 9, 40)]
    y = [np.where(x[:, 0] > 0, "high", "low") for x in X]
    explanation = cellgate.SequenceTagger(hidden_size=4, max_epochs=2).fit(X, y).explain(X, y)
    example = explanation.report.examples[0]
    assert example.labels[:3] == ("0", "1", "2")
    assert not example.tokens
    assert len(example.influence.columns) == 2
    assert "doubt" not in {panel.key for panel in explanation.report.panels}
    assert "<svg" in explanation.html


def test_surprisal_is_that_of_evaluate(written, text):
    model, explanation = written
    found = model.evaluate(text[:300])
    lines = {line.name: line.values for line in explanation.report.examples[-1].lines}
    assert len(explanation.report.examples[-1].labels) == 300
    assert lines["surprisal in bits"].mean() == pytest.approx(found["cellgate"]["bits per character"], rel=1e-5)
    assert lines["the bigram's"].mean() == pytest.approx(found["bigram"]["bits per character"], rel=1e-9)
    assert f"{found['cellgate']['bits per character']:.3f}" in explanation.report.findings[0]
    p = model.predict_proba(text[:40])[model.vocabulary_.encode(text[40])[0]]
    assert lines["surprisal in bits"][39] == pytest.approx(-np.log2(p), abs=1e-4)


def test_the_telling_cells_are_those_of_the_rule(written, text):
    model, explanation = written
    with cellgate.trace(model.model_) as tape, torch.no_grad():
        model.model_(model.encode(text[:300]).x)
    c = tape["lstm"].layer(0).c[0].double().numpy()
    panel = next(panel for panel in explanation.report.panels if panel.key == "cells")
    bits = explanation.report.examples[-1].lines[0].values
    r = np.array([np.corrcoef(c[1:, k], bits)[0, 1] for k in range(12)])
    first = panel.content[0]
    assert first.name == f"cell {np.abs(r).argmax()}: correlation with surprisal {r[np.abs(r).argmax()]:+.2f}"
    np.testing.assert_allclose(first.values, c[:, np.abs(r).argmax()], atol=1e-5)
    assert "".join(first.pieces) == text[:300]
    assert len(panel.content) == 4
    assert len({words.name.split(":")[0] for words in panel.content}) == 4


def test_a_cell_that_never_moves_tells_nothing():
    cells = np.stack([np.zeros(9), np.arange(9.0), np.arange(9.0)[::-1] ** 2], 1)
    bits = np.array([np.nan, 1, 2, 3, 4, 5, 6, 7, 8])
    surprised, varied, r = telling_cells(cells, bits)
    assert surprised == [1, 2]
    assert varied == [0]
    assert r[0] == 0
    assert r[1] == pytest.approx(1)


def test_fit_writes_a_report_of_what_was_held_back(text, tmp_path):
    cellgate.LanguageModel(hidden_size=6, max_epochs=1).fit(text, report=tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text()
    assert "held back to stop in time" in html
    assert 'id="training"' in html


def test_characters_of_the_text_are_text(tmp_path):
    model = cellgate.LanguageModel(hidden_size=6, max_epochs=1).fit("a <i>bold</i> & 'odd' text\n" * 40)
    html = model.explain("a <i>bold</i> & 'odd' text\nagain, <i>").html
    assert "<i>bold" not in html
    assert "&lt;" in html


def test_a_text_of_one_character_is_refused(written):
    with pytest.raises(cellgate.InputError, match="two characters or more"):
        written[0].explain("M")
