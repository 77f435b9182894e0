"""The calendar's cycles: which frequency has which, and where a stamp stands in each."""

import numpy as np
import pytest

from cellgate.data.calendar import calendar_cycles, calendar_features, calendar_names
from cellgate.data.frequency import Frequency, parse_frequency


@pytest.mark.parametrize(
    ("alias", "cycles"),
    [
        ("5min", ("hour", "day", "week", "year")),
        ("h", ("day", "week", "year")),
        ("6h", ("day", "week", "year")),
        ("D", ("week", "month", "year")),
        ("B", ("week", "month", "year")),
        ("W", ("year",)),
        ("MS", ("year",)),
        ("Q", ("year",)),
        ("Y", ()),
        ("ms", ()),
    ],
)
def test_cycles_by_frequency(alias, cycles):
    frequency = parse_frequency(alias)
    assert calendar_cycles(frequency, 1) == cycles
    times = frequency.grid(np.datetime64("2023-12-30T07:00"), 0, 40)
    features = calendar_features(times, frequency, 1)
    assert features.shape == (40, len(calendar_names(frequency, 1)))
    # Points on circles, of which no two neighbours are alike.
    half = features.shape[1] // 2
    assert np.allclose(features[:, :half] ** 2 + features[:, half:] ** 2, 1, atol=1e-6)
    if cycles:
        assert (np.abs(np.diff(features, axis=0)).max(1) > 1e-4).all()


def angle(stamp, alias, cycle):
    frequency = parse_frequency(alias)
    cycles = calendar_cycles(frequency, 1)
    row = calendar_features(np.array([np.datetime64(stamp, "us")]), frequency, 1)[0]
    k = cycles.index(cycle)
    return float(np.arctan2(row[k], row[len(cycles) + k]) / (2 * np.pi) % 1)


@pytest.mark.parametrize(
    ("stamp", "alias", "cycle", "position"),
    [
        ("2024-01-01", "D", "week", 0),  # a Monday
        ("2024-01-07", "D", "week", 6 / 7),
        ("2024-02-16", "D", "month", 15 / 29),  # of a leap year
        ("2023-02-15", "D", "month", 14 / 28),
        ("2024-12-31", "D", "year", 365 / 366),
        ("2023-12-31", "D", "year", 364 / 365),
        ("2024-01-01T18:00", "h", "day", 0.75),
        ("2024-01-01T18:20", "5min", "hour", 1 / 3),
        ("2024-07-31", "MS", "year", 0.5),  # by the month, wherever in it the stamp stands
        ("1969-12-31T18:00", "h", "day", 0.75),
        ("1969-12-29", "D", "week", 0),
    ],
)
def test_positions(stamp, alias, cycle, position):
    assert angle(stamp, alias, cycle) == pytest.approx(position, abs=1e-6)


def test_numbered_steps_have_their_season():
    frequency = Frequency("count", 2)
    times = frequency.grid(10, 0, 9)
    features = calendar_features(times, frequency, 4)
    assert np.allclose(features[:4], features[4:8], atol=1e-6)
    assert not np.allclose(features[0], features[1])
    assert calendar_names(frequency, 4) == ("sin of season", "cos of season")
    assert calendar_features(times, frequency, 1).shape == (9, 0)
