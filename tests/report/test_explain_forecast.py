"""The report on a Forecaster: its numbers are those of the trace and the backtest, and nothing in it runs or asks."""

import base64
import json
import re

import numpy as np
import pytest
import torch

import cellgate
from cellgate.report.figures import can_render
from cellgate.report.report_page import report_page
from cellgate.trace import StateIndex


@pytest.fixture(scope="module")
def forecaster():
    return cellgate.Forecaster(horizon=6, hidden_size=9, num_layers=2, max_epochs=3).fit("airline")


@pytest.fixture(scope="module")
def explanation(forecaster):
    return forecaster.explain()


def block(html, name):
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', html, re.S)
    return json.loads(found.group(1))


def test_the_maps_in_the_page_are_those_of_the_trace(forecaster, explanation):
    encoded = forecaster.encode()
    with cellgate.trace(forecaster.model_) as tape, torch.no_grad():
        forecaster.model_.lstm(encoded.x)
    layers = block(explanation.html, "examples")[0]["layers"]
    assert [layer["title"] for layer in layers] == ["layer 1", "layer 2"]
    for k, layer in enumerate(layers):
        for row in layer["rows"]:
            stored = np.frombuffer(base64.b64decode(row["values"]), "<u2").reshape(row["units"], layer["columns"])
            shown = row["low"] + stored / 65535 * (row["high"] - row["low"])
            true = getattr(tape["lstm"].layer(k), row["gate"])[0].T.numpy()[layer["order"]]
            np.testing.assert_allclose(shown, true, atol=2e-5 * (row["high"] - row["low"]))


def test_the_curves_in_the_page_are_the_forecast_and_the_history(forecaster, explanation):
    example = block(explanation.html, "examples")[0]
    lines = {line["name"]: line for line in example["lines"]}
    made = forecaster.forecast()
    np.testing.assert_allclose(lines["forecast"]["values"], made.median[0], rtol=1e-4)
    np.testing.assert_allclose(lines["forecast, low"]["values"], made.interval(90)[0][0], rtol=1e-4)
    np.testing.assert_allclose(lines["observed"]["values"], forecaster.panel_.values[0], rtol=1e-4)
    assert lines["forecast"]["start"] == example["now"] + 1 == 144
    assert example["labels"][0] == "1949-01-01"
    assert len(example["labels"]) == 150


def test_errors_and_findings_are_those_of_the_backtest(forecaster, explanation):
    tested = forecaster.backtest(origins=12, step=1)
    panel = next(panel for panel in explanation.report.panels if panel.key == "horizon")
    kinds = {name: values for name, _, values in panel.content[0].kinds}
    np.testing.assert_allclose(kinds["cellgate"], tested.by_step["cellgate"])
    assert f"{tested.metrics['cellgate']['MASE']:.3f}" in " ".join(explanation.report.findings)


def test_influence_is_found_both_ways_and_their_agreement_told(explanation):
    influence = explanation.report.examples[0].influence
    assert influence.gradient.shape == influence.occlusion.shape
    assert influence.gradient.shape[1] == len(influence.columns)
    assert -1 <= influence.agreement <= 1
    assert np.abs(influence.occlusion).max() > 0


def test_codes_of_states_keep_their_distances(forecaster, explanation):
    states = explanation.report.states
    assert states.kept == pytest.approx(1.0)  # nine units in sixteen directions
    with cellgate.trace(forecaster.model_) as tape, torch.no_grad():
        forecaster.model_.lstm(forecaster.encode().x)
    index = StateIndex([tape["lstm"].layer(1).h[0]])
    match = index.nearest(0, 130, 135, count=1)[0]
    gap = (states.codes[130:135].astype(float) - states.codes[match.start : match.stop]) * states.scale
    assert np.sqrt((gap**2).sum() / (5 * states.units)) == pytest.approx(match.distance, rel=0.05)


def test_the_page_is_one_file_that_asks_nothing_of_the_network(explanation):
    html = explanation.html
    assert "default-src 'none'" in html
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', html)
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")
    assert len(html) < 3_000_000


def test_every_panel_says_what_it_shows_and_what_it_does_not_prove(explanation):
    html = explanation.html
    assert html.count('<section class="panel"') == html.count('class="shows"') == html.count("Does not prove:")


def test_main_findings_need_no_script(explanation):
    still = re.sub(r"<script.*?</script>", "", explanation.html, flags=re.S)
    for finding in explanation.report.findings:
        assert finding.split("'")[0] in still
    assert still.count("<image") >= 12
    assert 'class="aligned curves"' in still


def test_names_from_data_are_text():
    evil = "<script>alert(1)</script>"
    table = {"unique_id": [evil] * 60 + ["b\"'&"] * 60, "ds": [*range(60)] * 2, "y": [float(k % 7) for k in range(120)]}
    import pandas

    found = cellgate.Forecaster(horizon=3, hidden_size=4, max_epochs=1).fit(pandas.DataFrame(table)).explain()
    html = found.html
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert block(html, "states")["sequences"][0] == evil
    assert all("<script>alert" not in str(figure) for figure in figures(found).values())


def figures(explanation):
    from cellgate.report.report_page import figures_of

    return figures_of(explanation.report)


def test_a_large_model_stays_within_the_size_and_says_what_was_averaged(explanation):
    from dataclasses import replace

    from cellgate.report.model import LayerMaps

    rng = np.random.default_rng(0)
    units, steps = 512, 2000
    maps = {gate: rng.random((units, steps), dtype=np.float32) for gate in "ifgoch"}
    share = {gate: rng.random(units) for gate in "ifo"}
    layers = tuple(
        LayerMaps(f"layer {k + 1}", 0, maps, tuple(range(units)), rng.random(units) * 9, share, share) for k in range(4)
    )
    labels = tuple(str(k) for k in range(steps))
    example = replace(explanation.report.examples[0], labels=labels, layers=layers, lines=(), now=None, influence=None)
    html = report_page(replace(explanation.report, examples=(example,), states=None))
    assert len(html.encode()) < 3_000_000
    assert "units that do alike are averaged in a row" in html
    assert "steps are averaged in a column" in html


def test_figures_are_files_of_their_own(explanation, tmp_path):
    names = explanation.save_figures(tmp_path / "figures")
    assert {"network.svg", "example-1.svg", "example-1-gates-1.svg", "horizon.svg", "training.svg"} <= set(names)
    for path in (tmp_path / "figures").glob("*.svg"):
        text = path.read_text()
        assert "var(--" not in text
        assert "xmlns=" in text
    if not can_render():
        pytest.skip("resvg-py is not installed: no PNG to look at")
    from PIL import Image

    picture = np.asarray(Image.open(tmp_path / "figures" / "example-1-gates-1.png").convert("RGB"), dtype=float)
    assert picture.std() > 10  # not blank


def test_the_page_is_written_where_it_was_asked_for(forecaster, tmp_path):
    forecaster.explain(out=tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_an_unfitted_one_has_nothing_to_explain():
    with pytest.raises(RuntimeError, match="fitted"):
        cellgate.Forecaster().explain()
