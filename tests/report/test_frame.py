"""Marks of the common axis."""

from itertools import pairwise

import numpy as np
import pytest

from cellgate.report.frame import Frame


@pytest.mark.parametrize(
    ("start", "step", "count", "first", "last"),
    [
        ("1949-01", "M", 150, "1949", "1961"),  # every year
        ("2024-01-20", "D", 120, "2024-02", "2024-05"),  # months
        ("2024-01-01", "D", 30, "2024-01-01", "2024-01-29"),  # days, thinned
        ("2024-01-01T05", "h", 24 * 6, "2024-01-02", "2024-01-07"),  # days of hours
    ],
)
def test_dates_are_marked_where_a_unit_begins(start, step, count, first, last):
    stamps = np.datetime64(start) + np.arange(count) * np.timedelta64(1, step)
    seconds = "s" if step == "h" else "D"
    labels = [
        str(stamp.astype(f"datetime64[{seconds}]")).replace("T", " ")[: 16 if step == "h" else 10] for stamp in stamps
    ]
    marks = Frame(count, labels)._marks()
    assert (marks[0][1], marks[-1][1]) == (first, last)
    assert all(labels[position].startswith(label) for position, label in marks)
    begins = [position for position, label in marks if position and labels[position - 1].startswith(label)]
    assert not begins


def test_other_labels_are_marked_evenly():
    marks = Frame(1000, [str(k) for k in range(1000)])._marks()
    positions = [position for position, _ in marks]
    assert len({b - a for a, b in pairwise(positions)}) == 1
    assert 4 <= len(marks) <= 25
    assert Frame(0, [])._marks() == []
