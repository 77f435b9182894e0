"""The rows of a table may come in any order: the same rows train the same model, to the last bit."""

import numpy as np
import pandas as pd
import pytest
import torch

from cellgate.data import read_panel
from cellgate.data.words import by_name
from cellgate.estimators import Forecaster

OPTIONS = {"horizon": 6, "max_epochs": 3, "past": ["heat"], "static": ["region"]}


def shops(rows=48):
    """Four shops of different lengths whose names are in nobody's order."""
    rng = np.random.default_rng(0)
    parts = []
    for k, name in enumerate(("shop 10", "shop 9", "shop 2", "b")):
        steps = np.arange(rows - 4 * k)
        season = 100 + 10 * (k + 1) * np.sin(steps * 2 * np.pi / 12)
        columns = {
            "unique_id": name,
            "ds": pd.date_range("2020-01-01", periods=len(steps), freq="MS"),
            "y": season + rng.normal(0, 2, len(steps)),
            "heat": rng.normal(0, 1, len(steps)),
            "region": "north" if k % 2 else "south",
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def sorted_rows(frame):
    return frame.sort_values(["unique_id", "ds"], ignore_index=True)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_rows_in_another_order_give_the_same_model(seed, tmp_path):
    frame = shops()
    mixed = frame.sample(frac=1, random_state=seed, ignore_index=True)
    assert list(mixed["unique_id"].unique()) != list(frame["unique_id"].unique())
    one, other = (Forecaster(**OPTIONS).fit(rows) for rows in (frame, mixed))
    for mine, theirs in zip(one.model_.state_dict().values(), other.model_.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    assert one.record_.history == other.record_.history
    assert (one.scales_, one.lags_) == (other.scales_, other.lags_)
    pd.testing.assert_frame_equal(sorted_rows(one.predict()), sorted_rows(other.predict()), rtol=1e-6)
    # What is given back stands in the order in which it was given.
    assert list(other.predict()["unique_id"].unique()) == list(mixed["unique_id"].unique())
    other.save(tmp_path / "model")
    again = Forecaster.load(tmp_path / "model")
    assert again.panel_.ids == other.panel_.ids
    assert np.array_equal(again.forecast().values, other.forecast().values)
    # Trained on, and with newer rows, as well.
    pd.testing.assert_frame_equal(
        sorted_rows(one.partial_fit(frame).predict(frame)), sorted_rows(other.partial_fit(mixed).predict(mixed))
    )


def test_every_series_keeps_its_own_units():
    """Series are sorted to be trained on and put back: none may get another's scale."""
    frame = shops()
    frame["y"] *= frame["unique_id"].map({"shop 10": 1, "shop 9": 1e3, "shop 2": 1e6, "b": 1e9})
    made = Forecaster(**OPTIONS).fit(frame)
    for name, size in (("shop 10", 1e2), ("shop 9", 1e5), ("shop 2", 1e8), ("b", 1e11)):
        ahead = made.forecast(ids=name).median
        assert size / 2 < ahead.min() < ahead.max() < 2 * size


def test_names_are_in_the_order_of_people():
    names = ["shop 10", "2", "b", "shop 9", "10", "01", "1", "", "shop 9a", "3²", "٣"]
    found = [names[k] for k in by_name(names)]
    assert found == ["", "01", "1", "2", "3²", "10", "b", "shop 9", "shop 9a", "shop 10", "٣"]


def test_what_is_found_of_many_series_does_not_hang_on_their_order():
    """Thirty of the series tell the season of numbered steps, and the longest series its frequency."""
    rng = np.random.default_rng(0)
    steps = np.arange(120)
    parts = []
    for k in range(59):  # in the order of names the even ones are looked at
        season = np.sin(steps * 2 * np.pi / (12 if k % 2 else 7))
        columns = {"unique_id": f"s{k}", "ds": steps, "y": 10 + season + rng.normal(0, 0.05, len(steps))}
        parts.append(pd.DataFrame(columns))
    swapped = [parts[k + 1 - 2 * (k % 2)] for k in range(58)] + parts[58:]
    assert [read_panel(pd.concat(each)).season for each in (parts, swapped)] == [7, 7]

    def series(name, freq):
        stamps = pd.date_range("2024", periods=40, freq=freq)
        return pd.DataFrame({"unique_id": name, "ds": stamps, "y": steps[:40] % 5})

    pair = [series("a", "h"), series("b", "2h")]
    assert [str(read_panel(pd.concat(each)).frequency) for each in (pair, pair[::-1])] == ["hourly", "hourly"]
