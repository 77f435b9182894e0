"""Reports on classifiers and regressors: their numbers are those of predict and trace."""

import base64
import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch

import cellgate
from cellgate.estimators.explaining import network_of
from cellgate.report.network_svg import network_svg
from cellgate.report.report_page import report_page

EVIL = "<script>up</script>"


def block(html, name):
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', html, re.S)
    return json.loads(found.group(1))


def number(example):
    return int(example.name.removeprefix("sequence "))


def walks(count, seed):
    """Walks that drift up or down, of 8 to 14 steps with two columns."""
    random = np.random.default_rng(seed)
    signs = random.choice([-1, 1], count)
    X = [
        np.stack([random.normal(size=n) + 0.5 * s, random.normal(size=n)], 1)
        for n, s in zip(random.integers(8, 15, count), signs, strict=True)
    ]
    return X, signs


@pytest.fixture(scope="module")
def classified():
    X, signs = walks(160, 0)
    model = cellgate.SequenceClassifier(hidden_size=6, max_epochs=8).fit(X, np.where(signs > 0, EVIL, "down"))
    X, signs = walks(70, 1)
    y = np.where(signs > 0, EVIL, "down")
    return model, X, y, model.explain(X, y)


@pytest.fixture(scope="module", params=[(True, "last"), (False, "mean")])
def regressed(request):
    both, readout = request.param
    X, _ = walks(120, 2)
    y = np.array([100 + 10 * x[:, 0].sum() for x in X])
    model = cellgate.SequenceRegressor(hidden_size=6, max_epochs=6, bidirectional=both, readout=readout).fit(X, y)
    return model, X, y, model.explain(X, y)


def test_the_probability_over_time_is_that_of_every_shorter_sequence(classified):
    model, X, _, explanation = classified
    for example in explanation.report.examples:
        x = X[number(example)]
        shares = model.predict_proba([x[: t + 1] for t in range(len(x))])
        for line in example.lines:
            column = model.classes_.tolist().index(re.fullmatch(r"p\((.*)\)", line.name).group(1))
            np.testing.assert_allclose(line.values, shares[:, column], atol=1e-5)


def test_the_examples_are_the_least_sure_a_typical_one_and_the_surest_mistake(classified):
    model, X, y, explanation = classified
    shares = model.predict_proba(X)
    names = [number(example) for example in explanation.report.examples]
    assert names[0] == shares.max(1).argmin()
    wrong = np.flatnonzero(model.predict(X) != y)
    assert len(wrong)
    assert names[-1] == wrong[shares[wrong].max(1).argmax()]
    rows = next(panel for panel in explanation.report.panels if panel.key == "unsure").content[0].rows
    assert int(rows[0][0]) == names[0]


def test_the_deciding_moment_is_told(classified):
    model, X, _, explanation = classified
    for example in explanation.report.examples:
        x = X[number(example)]
        said = model.predict([x[: t + 1] for t in range(len(x))])
        step = int(re.search(r"from step (\d+)", example.note).group(1))
        assert (said[step:] == said[-1]).all()
        assert step == 0 or said[step - 1] != said[-1]


def test_confusions_and_scores_are_those_of_predict(classified):
    model, X, y, explanation = classified
    matrix = next(panel for panel in explanation.report.panels if panel.key == "confusion").content[0]
    given, names = model.predict(X), list(matrix.names)
    assert names == model.classes_.tolist()
    for j, was in enumerate(names):
        for k, taken in enumerate(names):
            assert matrix.counts[j, k] == ((y == was) & (given == taken)).sum()
    assert f"accuracy {(given == y).mean():.3f}" in explanation.report.findings[0]
    assert model.metrics_ == {}  # explaining keeps no score


def test_influence_is_of_the_log_odds_that_predict_gives(classified):
    model, X, _, explanation = classified
    example = explanation.report.examples[0]
    p = model.predict_proba([X[number(example)]])[0].max()
    assert example.influence.value == pytest.approx(np.log(p / (1 - p)), abs=1e-4)
    assert example.influence.columns == model.encoding_.names


def test_the_maps_in_the_page_are_those_of_the_trace_in_both_directions(classified):
    model, X, _, explanation = classified
    shown = explanation.report.examples[0]
    encoded = model.encode([X[number(shown)]])
    with cellgate.trace(model.model_) as tape, torch.no_grad():
        model.model_(encoded.x)
    layer = tape["lstm"].layer(0)
    drawn = block(explanation.html, "examples")[0]["layers"]
    assert [one["title"] for one in drawn] == ["layer 1, forward", "layer 1, backward"]
    for one, direction in zip(drawn, layer.directions, strict=True):
        for row in one["rows"]:
            stored = np.frombuffer(base64.b64decode(row["values"]), "<u2").reshape(row["units"], one["columns"])
            values = row["low"] + stored / 65535 * (row["high"] - row["low"])
            true = direction.time_major(row["gate"])[:, 0].T.numpy()[one["order"]]
            np.testing.assert_allclose(values, true, atol=1e-4)


def test_labels_from_data_are_text(classified, tmp_path):
    explanation = classified[3]
    assert "<script>up" not in explanation.html
    assert "&lt;script&gt;up&lt;/script&gt;" in explanation.html
    explanation.save_figures(tmp_path)
    assert all("<script>up" not in path.read_text() for path in tmp_path.glob("*.svg"))


def test_without_labels_nothing_is_said_of_right_and_wrong(classified):
    model, X, _, _ = classified
    report = model.explain(X).report
    assert [panel.key for panel in report.panels] == ["unsure"]
    assert "accuracy" not in " ".join(report.findings)


def test_the_prediction_over_time_is_that_of_every_shorter_sequence(regressed):
    model, X, y, explanation = regressed
    for example in explanation.report.examples:
        k = number(example)
        lines = {line.name: line.values for line in example.lines}
        expected = model.predict([X[k][: t + 1] for t in range(len(X[k]))])
        np.testing.assert_allclose(lines["prediction so far"], expected, rtol=1e-5)
        assert (lines["what it is"] == y[k]).all()
        assert example.influence.value == pytest.approx(expected[-1], rel=1e-5)
    assert number(explanation.report.examples[0]) == np.abs(model.predict(X) - y).argmax()


def test_errors_of_a_regressor_are_those_of_evaluate(regressed):
    model, X, y, explanation = regressed
    found = np.sqrt(((model.predict(X) - y) ** 2).mean())
    assert f"RMSE {found:.3f}" in explanation.report.findings[0]


@pytest.mark.parametrize(
    ("count", "said"), [(240, "the part held back to stop in time"), (60, "all of which it was trained on")]
)
def test_fit_writes_a_report_and_learns_the_same(count, said, tmp_path):
    X, signs = walks(count, 3)
    plain = cellgate.SequenceClassifier(hidden_size=4, max_epochs=2).fit(X, signs)
    model = cellgate.SequenceClassifier(hidden_size=4, max_epochs=2).fit(X, signs, report=tmp_path / "r.html")
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
    html = (tmp_path / "r.html").read_text()
    assert said in html
    assert 'id="training"' in html
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def test_long_sequences_from_both_ends_are_cut_at_some_ends_only():
    from cellgate.estimators.explain_sequences import course_of

    X = [np.random.default_rng(k).normal(size=(300, 1)) for k in range(20)]
    y = [x.sum() for x in X]
    model = cellgate.SequenceRegressor(hidden_size=3, max_epochs=1).fit(X, y)
    x = model.encode(X[:1]).x[0]
    course, ends = course_of(model.model_, x)
    assert course.shape == (300, 1)
    assert ends == 240
    with torch.no_grad():
        for t in (0, 299):
            assert course[t, 0] == pytest.approx(float(model.model_(x[None, : t + 1])[0, 0]), abs=1e-5)


def test_no_steps_at_all_is_refused(classified):
    model, X, _, _ = classified
    nothing = model.read([*X[:1], np.empty((0, 2))]).pick(np.array([1]))
    with pytest.raises(cellgate.InputError, match="sequence with steps"):
        model.explain(nothing)


def test_report_true_keeps_the_explanation_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, signs = walks(60, 3)
    model = cellgate.SequenceClassifier(hidden_size=4, max_epochs=1).fit(X, signs, report=True)
    assert model.report_.html.startswith("<!doctype html>")
    assert not list(tmp_path.iterdir())


def test_a_variant_shows_in_the_diagram(classified):
    class Net(torch.nn.Module):
        def __init__(self, **variant):
            super().__init__()
            self.lstm = cellgate.LSTM(2, 6, num_layers=2, **variant)

    network = network_of(Net(cell="peephole", zoneout=(0.1, 0.05)), "2 columns", "readout", "class")
    says = "peephole=True, zoneout=(0.1, 0.05)"
    assert [layer.cell for layer in network.layers] == [says, says]
    assert network.layers[0].parameters == 4 * 6 * (2 + 6) + 8 * 6 + 3 * 6
    assert network_svg(network).count(says) == 2
    report = classified[3].report
    assert f"This layer has {says}" in report_page(dataclasses.replace(report, network=network))
    plain = network_of(Net(), "2 columns", "readout", "class")
    assert [layer.cell for layer in plain.layers] == ["", ""]
    assert "This layer has" not in report_page(dataclasses.replace(report, network=plain))


def test_long_names_of_rows_keep_what_tells_them_apart():
    kinds = ["praise for a delivery", "complaint about <it>"]
    rows = [(k, t, kinds[(k + t) % 2], k % 2) for k in range(20) for t in range(4)]
    table = pd.DataFrame(rows, columns=["id", "t", "event as it was written", "label"])
    html = cellgate.SequenceClassifier(hidden_size=4, max_epochs=2).fit(table).explain(table).html
    shown = re.findall(r'<g><title>(.*?)</title><text [^>]*class="small end">(.*?)</text></g>', html)
    assert set(shown) == {
        ("event as it was written = praise for a delivery", "event…a delivery"),
        ("event as it was written = complaint about &lt;it&gt;", "event…about &lt;it&gt;"),
    }
