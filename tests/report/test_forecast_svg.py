"""The picture beside a forecast: its words do not run into one another."""

import re

import numpy as np
import pytest

from cellgate.report.forecast_svg import Drawing, Segment, forecast_svg


def picture(title, name="tea", note=""):
    times = np.arange("2024-01", "2025-01", dtype="datetime64[M]").astype("datetime64[us]")
    segment = Segment(9, np.ones(3), np.zeros(3), np.full(3, 2.0), np.ones(3))
    return forecast_svg(title, [Drawing(name, note, times, np.arange(9.0), [segment])], "90 % interval")


def place(svg, kind, text):
    """Where a text stands, moves of its group included, and what it says."""
    group, x, y, said = re.search(
        rf'(?:<g transform="translate\(0 (\d+)\)">(?:(?!</g>).)*?)?<text class="{kind}" x="([\d.]+)" y="([\d.]+)">'
        rf"({text}[^<]*)</text>", svg, re.DOTALL,
    ).groups()  # fmt: skip
    return float(x), float(y) + float(group or 0), said


def test_a_short_title_shares_its_line_with_the_legend():
    svg = picture("The next 3 steps of a.csv")
    title, legend = place(svg, "title", "The"), place(svg, "small", "observed")
    assert abs(title[1] - legend[1]) < 5
    assert 'height="360"' in svg


@pytest.mark.parametrize("length", [60, 300])
def test_a_long_title_has_a_line_of_its_own_and_ends_in_the_picture(length):
    svg = picture("The next 3 steps of " + "a" * length)
    title, legend = place(svg, "title", "The"), place(svg, "small", "observed")
    assert legend[1] > title[1] + 17
    assert 'height="382"' in svg
    assert title[0] + 9 * len(title[2]) < 920
    assert title[2].endswith("…" if length == 300 else "a")


def test_a_long_name_stops_before_the_note():
    name = place(picture("t", "n" * 300, "held-out MASE 0.66"), "name", "n")[2]
    assert name.endswith("…")
    assert 72 + 7 * len(name) < 896 - 6 * len("held-out MASE 0.66")
