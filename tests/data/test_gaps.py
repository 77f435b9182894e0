"""Gaps between events as a feature: what they are, in whatever unit times come, and that models keep them."""

import numpy as np
import pandas as pd
import pytest

import cellgate
from cellgate import SequenceClassifier, SequenceRegressor, SequenceTagger
from cellgate.data import DataError
from cellgate.data.sequences import SequenceRoles, read_sequences
from cellgate.errors import InputError


def events(times, **columns):
    """Sequences a, b, ... of as many rows as there are times for each."""
    names = np.repeat([f"s{k}" for k in range(len(times))], [len(one) for one in times])
    return pd.DataFrame({"id": names, "t": [time for one in times for time in one], **columns})


def read(table, **roles):
    return read_sequences(table, roles=SequenceRoles(**{"gaps": True, **roles}))


def test_a_gap_is_the_logarithm_of_the_time_since_the_step_before():
    table = events([[0.0, 0.5, 8.5, 8.5], [100.0, 100.5], [7.0]], v=range(7))
    made = read(table.sample(frac=1, random_state=0))
    assert made.number_names == ("v", "gap in t")
    order = [list(made.ids).index(name) for name in ("s0", "s1", "s2")]
    gaps = made.pick(np.array(order)).numbers[:, 1]
    unit = np.quantile([0.5, 8.0, 0.5], 0.05)
    assert made.roles.gap_unit == unit
    expected = np.log1p(np.array([np.nan, 0.5, 8.0, 0.0, np.nan, 0.5, np.nan]) / unit)
    np.testing.assert_array_equal(gaps, expected)
    assert made.missing == 0  # nothing that could have been observed


@pytest.mark.parametrize(
    "times",
    [
        ["2024-01-31", "2024-02-01", "2024-12-31", "2025-01-01"],
        [20240131, 20240201, 20241231, 20250101],
        ["20240131", "20240201", "20241231", "20250101"],
        pd.to_datetime(["2024-01-31", "2024-02-01", "2024-12-31", "2025-01-01"]).tolist(),
        [19753 * 86400, 19754 * 86400, 20088 * 86400, 20089 * 86400],
    ],
)
def test_dates_are_as_far_apart_as_the_calendar_has_them(times):
    made = read(events([times], v=range(4)))
    days = np.expm1(made.numbers[1:, 1]) * made.roles.gap_unit / 86_400e6
    np.testing.assert_allclose(days, [1, 334, 1], rtol=1e-9)


@pytest.mark.parametrize(
    ("times", "told"),
    [
        ([[0, 1, 2], [5, 6, 7]], "gaps: all steps are equally far apart in t, so that the gaps tell nothing"),
        ([[1, 1, 1], [1, 1]], "gaps: all steps are equally far apart in t, so that the gaps tell nothing"),
        ([range(20), [0, 1, 9]], "gaps: 95% of the steps are equally far apart in t, so that the gaps tell little"),
        ([[1], [2]], "gaps: no sequence has a second step, so there are none"),
        ([[0, 1, 5], [0, 3, 4]], None),
    ],
)
def test_it_is_said_where_gaps_tell_nothing(times, told):
    table = events([list(one) for one in times], v=1.0)
    said = [note for note in read(table).notes if note.startswith("gaps: ")]
    assert said == ([told] if told else [])


def labelled(seed=0, count=240, unit=1.0):
    """Bursts and slow trickles, of the same values: only the gaps tell them apart."""
    random = np.random.default_rng(seed)
    times = [np.cumsum(random.lognormal(0.0 + 1.5 * (k % 2), 1, 8)) * unit for k in range(count)]
    return events(times, v=random.normal(size=8 * count), label=np.repeat(np.arange(count) % 2, 8))


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor, SequenceTagger])
def test_what_only_the_gaps_tell_is_learnt_and_kept(kind, tmp_path):
    table, new = labelled(), labelled(1, 60)
    size = {"hidden_size": 8, "max_epochs": 20}
    plain, model = kind(**size).fit(table), kind(gaps=True, **size).fit(table)
    assert model.score(new) > plain.score(new) + 0.2
    model.save(tmp_path)
    loaded = cellgate.load(tmp_path)
    assert loaded.get_params()["gaps"] is True
    for one, other in zip(loaded.predict(new), model.predict(new), strict=True):
        np.testing.assert_array_equal(one, other)
    # Gaps are measured as in the training, not anew by the data.
    short = new.assign(t=new["t"] / 1000)
    assert not np.array_equal(np.concatenate(loaded.predict(short), None), np.concatenate(loaded.predict(new), None))
    with pytest.raises(DataError, match="expected a column 't', as in training"):
        loaded.predict(new.drop(columns="t"))


def test_events_of_which_only_the_times_are_known():
    table = labelled()[["id", "t", "label"]]
    model = SequenceClassifier(hidden_size=4, max_epochs=8, gaps=True).fit(table)
    assert model.encoding_.names == ("gap in t", "gap in t is missing")
    assert model.score(labelled(1, 60)) > 0.8  # its other columns are not read
    assert model.score(labelled(1, 60)[["id", "t", "label"]]) == model.score(labelled(1, 60))


def test_gaps_where_there_are_no_times_are_refused(tmp_path):
    table = labelled(count=4)
    with pytest.raises(DataError, match=r"expected a column of times for --gaps, found none among 'id', 'v', 'label'"):
        read(table.drop(columns="t"))
    X, y = np.zeros((40, 5)), np.arange(40) % 2
    for data, labels in ((X, y), (list(X), y), (pd.DataFrame(X).rename(columns=str).assign(label=y), None)):
        with pytest.raises(
            InputError, match="gaps: expected a table of several rows a sequence, with their times, got"
        ):
            SequenceClassifier(gaps=True, wide=labels is None).fit(data, labels)
    (tmp_path / "a.conll").write_text("a A\nb B\n")
    with pytest.raises(
        InputError, match=r"gaps: expected a table of several rows a sequence, with their times, got a.c"
    ):
        SequenceTagger(gaps=True).fit(tmp_path / "a.conll")


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor, SequenceTagger])
def test_gaps_are_not_measured_anew_after_the_training(kind):
    table = labelled(count=60)
    model = kind(hidden_size=4, max_epochs=1, gaps=True).fit(table)
    unit, slow = model.roles_.gap_unit, table.assign(t=table["t"] * 1000)
    read = model.encode(slow).x.clone()
    np.testing.assert_allclose(model.encode(model.read(slow)).x, read, rtol=1e-5, atol=1e-6)
    mean = model.encoding_.mean.copy()
    model.partial_fit(slow)
    assert model.roles_.gap_unit == unit
    np.testing.assert_array_equal(model.encoding_.mean, mean)
    np.testing.assert_array_equal(model.encode(slow).x, read)
