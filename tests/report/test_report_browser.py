"""The report on a Forecaster driven in a real browser: pointer, keys, choices, like states."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import torch

import cellgate
from cellgate.report.model import LayerMaps, Line
from cellgate.report.report_page import report_page
from cellgate.trace import StateIndex

# The codes that WebDriver has for keys without a letter.
LEFT, RIGHT, SHIFT, ESCAPE, TAB = "\ue012", "\ue014", "\ue008", "\ue00c", "\ue004"
MAPS = ".example:not([hidden]) .layer:not([hidden]) svg.maps"
CURVES = ".example:not([hidden]) svg.curves"


@pytest.fixture(scope="module")
def forecaster():
    """Two series; the name of one is markup."""
    steps = np.arange(90)
    stamps = [datetime(2024, 1, 1) + timedelta(days=int(k)) for k in steps]
    rng = np.random.default_rng(0)
    parts = [
        pd.DataFrame(
            {"id": name, "ds": stamps, "y": 20 + k + 5 * np.sin(steps * 2 * np.pi / 7 + k) + rng.normal(0, 0.4, 90)}
        )
        for k, name in enumerate(["plain", "<script>alert(1)</script>"])
    ]
    model = cellgate.Forecaster(horizon=7, hidden_size=10, num_layers=2, max_epochs=4)
    return model.fit(pd.concat(parts))


@pytest.fixture(scope="module")
def page(forecaster) -> str:
    return forecaster.explain().html


@pytest.fixture(scope="module")
def layers(forecaster):
    """The gates of both series, traced here."""
    encoded = forecaster.encode()
    with cellgate.trace(forecaster.model_) as tape, torch.no_grad():
        forecaster.model_.lstm(encoded.x)
    return tape["lstm"].layers


def geometry(browser) -> dict:
    return browser.run(
        "const e = examples[shown]; return {left: e.left, right: e.right, count: e.labels.length,"
        "width: document.querySelector(arguments[0]).viewBox.baseVal.width}", CURVES
    )  # fmt: skip


def share(browser, step: int) -> float:
    """Where a step's middle lies in a picture, as a share of its width."""
    at = geometry(browser)
    return (at["left"] + (at["right"] - at["left"]) * (step + 0.5) / at["count"]) / at["width"]


def test_hover_over_a_map_tells_the_value_of_the_trace(browser, page, layers, tmp_path):
    browser.open(page, tmp_path)
    for gate, unit_share, step in (("f", 0.05, 40), ("c", 0.55, 12), ("h", 0.95, 89)):
        row = browser.run(
            "return examples[0].layers[1].rows.map(({gate, y, height}) => ({gate, y, height}))"
            ".find((row) => row.gate === arguments[0])", gate
        )  # fmt: skip
        height = browser.run("return document.querySelector(arguments[0]).viewBox.baseVal.height", MAPS)
        browser.hover(MAPS, share(browser, step), (row["y"] + row["height"] * unit_share) / height)
        name, value = browser.text("#tip").split("\n")[1].split(f": {gate} = ")
        true = float(getattr(layers[1], gate)[0, step, int(name.removeprefix("unit "))])
        assert float(value.replace("\N{MINUS SIGN}", "-")) == pytest.approx(true, abs=2e-4)
        assert browser.find("#tip").is_displayed()


def test_layers_and_examples_are_chosen(browser, page, forecaster, tmp_path):
    from selenium.webdriver.support.select import Select

    browser.open(page, tmp_path)
    titles = lambda: [e.text for e in browser.all(".layer-title") if e.is_displayed()]  # noqa: E731
    assert titles() == ["layer 2"]
    Select(browser.find("#choose-layer")).select_by_value("0")
    assert titles() == ["layer 1"]
    choice = Select(browser.find("#choose-example"))
    assert [option.text for option in choice.options] == list(forecaster.panel_.ids)
    assert "<script>alert(1)</script>" in forecaster.panel_.ids
    before = browser.pixels(CURVES)
    choice.select_by_value("1")
    headings = [e.text for e in browser.all(".example > h3") if e.is_displayed()]
    assert any(forecaster.panel_.ids[1] in heading for heading in headings)
    after = browser.pixels(CURVES)
    assert before.shape != after.shape or np.abs(before.astype(int) - after).max() > 50
    assert browser.run("return document.querySelectorAll('main script').length") == 0


def spans(browser) -> list[str]:
    return [element.text for element in browser.all("#matches .match b")]


def test_a_dragged_span_finds_the_states_that_trace_finds(browser, page, forecaster, layers, tmp_path):
    browser.open(page, tmp_path)
    browser.drag(CURVES, share(browser, 50), share(browser, 54))
    found = StateIndex(list(layers[1].h)).nearest(0, 50, 55, count=6)
    times = [[str(stamp)[:10] for stamp in forecaster.panel_.times(k)] for k in range(2)]
    expected = [f"{forecaster.panel_.ids[k]}, {times[k][start]} to {times[k][stop - 1]}" for k, start, stop, _ in found]
    # The page holds the states in eight bits, so that near ties may change places.
    assert spans(browser)[0] == expected[0]
    assert len(set(spans(browser)) & set(expected)) >= 5
    assert times[0][50] in browser.text("#chosen")
    assert times[0][54] in browser.text("#chosen")
    assert len(browser.all("#matches .match svg path")) == 6


def test_keys_move_and_stretch_the_span(browser, page, tmp_path):
    from selenium.webdriver.common.action_chains import ActionChains

    browser.open(page, tmp_path)
    browser.run("document.querySelector('.example:not([hidden]) .wide').focus()")
    browser.press(RIGHT, RIGHT, RIGHT)
    labels = browser.run("return examples[0].labels.slice(0, 6)")
    assert browser.text("#readout b") == labels[2]
    ActionChains(browser.driver).key_down(SHIFT).send_keys(RIGHT, RIGHT).key_up(SHIFT).perform()
    assert browser.text("#readout b") == labels[4]
    assert f"{labels[2]} to {labels[4]}" in browser.text("#chosen")
    browser.press(ESCAPE)
    assert browser.text("#readout") == ""


def test_steps_that_were_predicted_have_no_states(browser, page, tmp_path):
    browser.open(page, tmp_path)
    browser.drag(CURVES, share(browser, 92), share(browser, 94))
    assert "was not read by the network" in browser.text("#chosen")
    assert not spans(browser)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_picture_is_drawn(browser, page, tmp_path, theme, width):
    browser.open(page, tmp_path, theme=theme, width=width)
    for selector in (
        CURVES,
        MAPS,
        "svg.influence",
        "#units .example:not([hidden]) .layer:not([hidden]) svg",
        "#horizon svg",
        "#training svg",
        "svg.network",
        "svg.cell",
    ):
        assert browser.pixels(selector).std(axis=(0, 1)).max() > 4, selector
    assert (browser.pixels("h1")[0, 0].mean() > 128) == (theme == "light")
    assert browser.run("return document.documentElement.scrollWidth") <= width
    # One axis: a step stands at the same place in every picture of the example.
    places = browser.run(
        "return [...document.querySelectorAll('.example:not([hidden]) .layer:not([hidden]) svg.aligned, '"
        " + '.example:not([hidden]) svg.aligned')].filter((e) => e.getBoundingClientRect().width)"
        ".map((e) => Math.round(e.getBoundingClientRect().width))"
    )
    assert len(set(places)) == 1, places


def test_the_theme_button_changes_maps_too(browser, page, tmp_path):
    browser.open(page, tmp_path)
    before = browser.pixels(MAPS).mean()
    browser.find("#theme").click()
    assert browser.pixels(MAPS).mean() < before - 40


def test_reads_without_scripts(browser, page, tmp_path):
    browser.open(page, tmp_path, scripts=False)
    for selector in ("#example", "svg.curves", "svg.maps", "#horizon", "#network", "#made"):
        assert browser.find(selector).is_displayed(), selector
    assert browser.pixels("svg.maps").std(axis=(0, 1)).max() > 4
    assert not browser.find("#theme").is_displayed()
    browser.open("<title>x</title>", tmp_path)


def test_a_large_model_still_answers_to_the_pointer(browser, forecaster, tmp_path):
    """Four layers of 512 over 2,000 steps, in numbers that no picture format can make smaller."""
    rng = np.random.default_rng(0)
    units, steps = 512, 2000
    maps = {gate: rng.random((units, steps), dtype=np.float32) for gate in "ifgoch"}
    share_of = {gate: rng.random(units) for gate in "ifo"}
    layers = tuple(
        LayerMaps(f"layer {k + 1}", 0, maps, tuple(range(units)), rng.random(units) * 9, share_of, share_of)
        for k in range(4)
    )
    report = forecaster.explain().report
    labels = tuple(str(k) for k in range(steps))
    line = Line("observed", "observed", 0, rng.random(steps))
    example = replace(report.examples[0], labels=labels, layers=layers, lines=(line,), now=None, influence=None)
    page = report_page(replace(report, examples=(example,), states=None))
    assert len(page.encode()) < 3_000_000
    browser.open(page, tmp_path)
    assert browser.run("return document.querySelectorAll('*').length") < 20_000
    assert browser.pixels(MAPS).std() > 4
    browser.hover(MAPS, share(browser, 1000), 0.1)
    tip = browser.text("#tip")
    assert tip.split("\n")[0] in ("999", "1000", "1001")
    assert "mean of 5 steps" in tip
