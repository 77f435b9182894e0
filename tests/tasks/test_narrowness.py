"""Whether intervals are called too narrow: those that are, and hardly ever those that are not."""

import numpy as np
import pytest

from cellgate.tasks.narrowness import NOT_SHOWN, TOO_FEW, TOO_NARROW, _student, gross, narrowness, stretches_of

_Z90 = 1.6448536269514722
_TRIALS = 200


def walks(random, horizon, moments, step, series, width, common=0.0):
    """Whether random walks stay in intervals that are right at width 1; neighbouring steps miss them together."""
    length = horizon + step * (moments - 1) + 1
    draws = (1 - common) ** 0.5 * random.normal(size=(series, length))
    draws += common**0.5 * random.normal(size=(1, length))
    path, origins = draws.cumsum(1), np.arange(moments) * step
    ahead = np.stack([path[:, at + 1 : at + 1 + horizon] - path[:, [at]] for at in origins], 1)
    inside = np.abs(ahead) <= _Z90 * width * np.sqrt(np.arange(1, horizon + 1))
    return inside, stretches_of(origins, horizon)


def share_called(random, *asked, **more):
    found = []
    for _ in range(_TRIALS):
        inside, stretches = walks(random, *asked, **more)
        found.append(narrowness(list(inside), [np.ones_like(part) for part in inside], stretches, 90))
    return np.mean([verdict == TOO_NARROW for verdict in found])


@pytest.mark.parametrize(
    ("horizon", "moments", "step", "series", "common"),
    [
        (12, 10, 12, 1, 0),
        (12, 40, 3, 1, 0),
        (48, 4, 48, 1, 0),
        (24, 30, 24, 3, 0.5),
        (48, 8, 24, 50, 0.5),
        (48, 1, 1, 50, 0),
    ],
)
def test_right_intervals_are_hardly_ever_called_too_narrow(horizon, moments, step, series, common):
    random = np.random.default_rng(0)
    assert share_called(random, horizon, moments, step, series, 1.0, common=common) <= 0.03


@pytest.mark.parametrize(
    ("horizon", "moments", "step", "series", "width"),
    [(12, 10, 12, 1, 0.5), (12, 40, 3, 1, 0.6), (24, 30, 24, 3, 0.75), (48, 8, 24, 50, 0.8), (48, 1, 1, 50, 0.45)],
)
def test_narrow_intervals_are_found(horizon, moments, step, series, width):
    random = np.random.default_rng(0)
    assert share_called(random, horizon, moments, step, series, width) >= 0.9


def test_one_stretch_of_one_series_tells_nothing():
    # 48 values of which none is inside: neighbours that miss together, one draw.
    nothing = [np.zeros((1, 48), dtype=bool)]
    assert narrowness(nothing, [np.ones((1, 48), dtype=bool)], np.zeros(1, dtype=int), 90) == TOO_FEW
    # Ten moments a step apart are one stretch still.
    inside, stretches = walks(np.random.default_rng(0), 12, 10, 1, 1, 0.2)
    assert narrowness(list(inside), [np.ones_like(inside[0])], stretches, 90) == TOO_FEW


def test_stretches_without_a_value_do_not_count():
    inside = np.zeros((6, 4), dtype=bool)
    known = np.zeros((6, 4), dtype=bool)
    known[:3] = True
    assert narrowness([inside], [known], np.arange(6), 90) == TOO_FEW
    assert narrowness([inside], [np.ones_like(known)], np.arange(6), 90) == TOO_NARROW


def test_few_beyond_are_not_worth_a_word():
    # A shortfall of three percent, however sure: 87 of 100 in each of 200 stretches.
    inside = np.tile(np.arange(100) < 87, (200, 1))
    assert narrowness([inside], [np.ones_like(inside)], np.arange(200), 90) == NOT_SHOWN
    # Of 99 percent it is three times as many outside as there should be.
    inside = np.tile(np.arange(100) < 96, (200, 1))
    assert narrowness([inside], [np.ones_like(inside)], np.arange(200), 99) == TOO_NARROW


def test_both_have_to_say_so_where_there_are_many_series_and_stretches():
    # One of five stretches that was odd for all of thirty series: sure over series, no more than one draw over time.
    inside = [np.repeat([[False], [True], [True], [True], [True]], 12, axis=1) for _ in range(30)]
    assert narrowness(inside, [np.ones_like(part) for part in inside], np.arange(5), 90) == NOT_SHOWN


def test_of_a_single_stretch_only_gross_shortfalls_count():
    def of(share):
        inside = [np.arange(40)[None] < share * 40 for _ in range(60)]
        return narrowness(inside, [np.ones_like(part) for part in inside], np.zeros(1, dtype=int), 90)

    assert of(0.7) == NOT_SHOWN
    assert of(0.6) == TOO_NARROW
    assert gross(90) == 0.25


def test_stretches_begin_a_horizon_apart():
    np.testing.assert_array_equal(stretches_of(np.array([100, 104, 108, 112, 124]), 12), [0, 0, 0, 1, 2])


@pytest.mark.parametrize(("freedom", "quantile"), [(3, 2.3534), (4, 2.1318), (9, 1.8331), (19, 1.7291), (400, 1.6487)])
def test_quantiles_of_student(freedom, quantile):
    assert _student(0.95, freedom) == pytest.approx(quantile, rel=2e-2)
