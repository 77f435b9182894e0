"""What a notebook shows of a result: a line, not all of its numbers."""

import pickle
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from cellgate import LSTM, Forecaster, trace


@pytest.fixture(scope="module")
def forecaster():
    series = {f"s{k}": np.arange(60.0) % 5 + k for k in range(3)}
    return Forecaster(4, wide=True, levels=(80, 95), max_epochs=1).fit(series)


def test_forecasts_backtests_and_series_are_a_line(forecaster):
    assert repr(forecaster.forecast()) == (
        "<Forecast of 3 series, 4 steps ahead, with 80 % and 95 % intervals: columns() is its table>"
    )
    assert repr(forecaster.stream().push(1.0, id="s1")).startswith("<Forecast of 1 series, 4 steps ahead, ")
    assert repr(forecaster.backtest(origins=2)) == (
        "<Backtest of 3 series from 2 moments each, 4 steps ahead: metrics, by_step and frame() have the rest>"
    )
    assert repr(forecaster.panel_) == "<Panel of the columns: 3 series, 180 steps, numbered steps>"


def test_an_explanation_shows_what_it_found(forecaster):
    explanation = forecaster.explain()
    first, *findings = repr(explanation).splitlines()
    assert first == "<Explanation, Forecast of the columns: save(path) writes the page>"
    assert [line.strip() for line in findings] == list(explanation.report.findings)


def test_a_notebook_shows_the_page_of_an_explanation(forecaster):
    explanation = forecaster.explain()
    seen = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.append((tag, dict(attrs)))

    Reader().feed(explanation._repr_html_())
    assert [tag for tag, _ in seen] == ["iframe"]
    assert seen[0][1]["srcdoc"] == explanation.html
    assert seen[0][1]["sandbox"] == "allow-scripts"  # its own scripts, and nothing of the notebook


def test_a_notebook_shows_the_picture_of_a_trace():
    lstm = LSTM(3, 4)
    with trace(lstm) as tape:
        lstm(torch.zeros(5, 2, 3))
    for shown in (tape.figure(), tape["lstm"].figure(), tape["lstm"].layer(0).figure()):
        assert ElementTree.fromstring(shown._repr_svg_()).tag.endswith("svg")
        assert shown._repr_svg_() == str(shown)
        assert repr(shown) == f"<Svg of {len(shown):,} characters: write_text() of a pathlib.Path keeps it>"
        assert pickle.loads(pickle.dumps(shown)) == shown


def test_streams_say_what_they_are(forecaster):
    assert repr(LSTM(3, 4).stream()) == "<Stream of LSTM(3, 4), one sequence>"
    assert repr(LSTM(3, 4).stream(batch=2)) == "<Stream of LSTM(3, 4), batch=2>"
    assert repr(forecaster.stream()) == "<ForecastStream of 3 series, 0 begun>"
