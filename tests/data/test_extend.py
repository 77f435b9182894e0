"""Two histories joined cell by cell."""

from dataclasses import replace

import numpy as np
import pytest

from cellgate.data import DataError, Panel, read_panel
from cellgate.data.extend import extend_panel

NAN = float("nan")


def daily(first: str, values: list[float], name: str = "a") -> Panel:
    days = np.datetime64(first, "us") + np.arange(len(values)) * np.timedelta64(1, "D")
    panel = read_panel({"ds": days, "y": np.arange(len(values)) * 1.0}) if len(values) > 2 else None
    grid = panel or read_panel({"ds": days[0] + np.arange(3) * np.timedelta64(1, "D"), "y": [1.0, 2.0, 3.0]})
    return replace(grid, ids=(name,), values=(np.array(values),))


@pytest.mark.parametrize(
    ("first", "values", "expected"),
    [
        ("2024-01-05", [50.0], [1, 2, 3, 4, 50]),
        ("2024-01-06", [60.0], [1, 2, 3, 4, NAN, 60]),
        ("2024-01-02", [20.0, NAN, 40.0, 50.0], [1, 20, 3, 40, 50]),
        ("2024-01-02", [NAN], [1, 2, 3, 4]),
        ("2024-01-01", [10.0], [10, 2, 3, 4]),
        ("2023-12-30", [-2.0, NAN, 10.0], [-2, NAN, 10, 2, 3, 4]),
        ("2023-12-29", [-3.0], [-3, NAN, NAN, 1, 2, 3, 4]),
        ("2023-12-31", [0.0, NAN, NAN, NAN, 40.0, 50.0], [0, 1, 2, 3, 40, 50]),
    ],
)
def test_newer_values_stand_over_older_ones_and_gaps_over_none(first, values, expected):
    history = daily("2024-01-01", [1.0, 2.0, 3.0, 4.0])
    joined = extend_panel(history, daily(first, values))
    np.testing.assert_array_equal(joined.values[0], expected)
    assert joined.starts[0] == min(history.starts[0], np.datetime64(first, "us"))
    np.testing.assert_array_equal(history.values[0], [1, 2, 3, 4])


def test_series_that_are_only_in_one_stay():
    joined = extend_panel(daily("2024-01-01", [1.0, 2.0, 3.0]), daily("2024-02-01", [5.0, 6.0, 7.0], "b"))
    assert joined.ids == ("a", "b")
    assert [str(start)[:10] for start in joined.starts] == ["2024-01-01", "2024-02-01"]


def test_stamps_beside_the_grid_are_refused():
    history = daily("2024-01-01", [1.0, 2.0, 3.0])
    near = replace(history, starts=(history.starts[0] + np.timedelta64(2, "h"),))  # by less than a tenth of a step
    assert extend_panel(history, near).starts == history.starts
    beside = replace(history, starts=(history.starts[0] + np.timedelta64(3, "h"),))
    with pytest.raises(DataError, match="expected daily steps that continue series 'a' from 2024-01-01"):
        extend_panel(history, beside)
