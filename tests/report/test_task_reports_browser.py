"""The report of every task but forecasting in a real browser: drawn, choosable, searchable, light, dark and small."""

import numpy as np
import pytest

import cellgate

CURVES = ".example:not([hidden]) svg.curves"
MAPS = ".example:not([hidden]) .layer:not([hidden]) svg.maps"
LEFT, SHIFT = "\ue012", "\ue008"


def classified():
    chance = np.random.default_rng(0)
    y = np.repeat(["slow", "<b>fast</b>"], 20)
    steps = np.arange(15) * np.where(y == "slow", 0.3, 0.8)[:, None]
    x = np.stack([np.sin(steps), np.cos(steps)], 2) + 0.1 * chance.normal(size=(40, 15, 2))
    return cellgate.SequenceClassifier(hidden_size=8, max_epochs=4).fit(x, y).explain(x, y)


def regressed():
    x = np.random.default_rng(1).normal(size=(40, 12, 2))
    y = x[:, :, 0].mean(1)
    return cellgate.SequenceRegressor(hidden_size=8, max_epochs=4).fit(x, y).explain(x, y)


def tagged(folder):
    chance = np.random.default_rng(2)
    words = "to be or not that is the question whether tis nobler".split()
    sentences = [[f"{word} {'AB'[word in 'to be or']}" for word in chance.choice(words, 7)] for _ in range(40)]
    path = folder / "words.conll"
    path.write_text("\n\n".join("\n".join(sentence) for sentence in sentences) + "\n")
    return cellgate.SequenceTagger(hidden_size=8, max_epochs=3).fit(path).explain(path)


def written(folder):
    path = folder / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 60)
    return cellgate.LanguageModel(hidden_size=16, max_epochs=2).fit(path).explain(path)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {
        "classify": classified().html,
        "regress": regressed().html,
        "tag": tagged(folder).html,
        "generate": written(folder).html,
    }


@pytest.mark.parametrize("task", ["classify", "regress", "tag", "generate"])
def test_a_report_is_drawn_and_answers(browser, pages, task, tmp_path):
    browser.open(pages[task], tmp_path)
    assert browser.run("return document.querySelectorAll('section.panel').length") >= 7
    for selector in (MAPS, CURVES if browser.all(CURVES) else MAPS):
        assert browser.pixels(selector).std() > 8  # not blank
    browser.hover(MAPS, 0.5, 0.1)
    assert "unit" in browser.text("#tip")
    assert browser.text("#readout")
    browser.drag(MAPS, 0.3, 0.5)
    assert browser.text("#chosen").startswith("Nearest to")
    assert browser.all("#matches .match")


@pytest.mark.parametrize("task", ["classify", "tag"])
def test_directions_are_chosen(browser, pages, task, tmp_path):
    browser.open(pages[task], tmp_path)
    title = ".example:not([hidden]) .layer:not([hidden]) .layer-title"
    choose = (
        "const c = document.querySelector('#choose-layer'); c.value = arguments[0]; "
        "c.dispatchEvent(new Event('change'))"
    )
    browser.run(choose, "0")
    first = browser.text(title)
    browser.run(choose, "1")
    assert first.endswith("forward")
    assert browser.text(title).endswith("backward")


@pytest.mark.parametrize("task", ["classify", "regress", "tag", "generate"])
def test_a_report_is_dark_where_that_is_wished_and_fits_a_phone(browser, pages, task, tmp_path):
    browser.open(pages[task], tmp_path, theme="dark", width=390)
    assert browser.run("return document.documentElement.scrollWidth") <= 390
    assert browser.pixels("header.top").mean() < 110


def test_findings_can_be_read_without_scripts(browser, pages, tmp_path):
    browser.open(pages["classify"], tmp_path, scripts=False)
    assert len(browser.all("ul.findings li")) >= 3
    assert browser.find("ul.findings").is_displayed()
