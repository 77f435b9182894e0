"""The sentence that says whether a forecast beats the baseline."""

import math

import pytest

from cellgate.cli.forecast_words import plain_verdict, verdict


@pytest.mark.parametrize(
    ("ours", "base", "told"),
    [
        (0.5, 1.0, "cellgate's MASE is 50% below the seasonal naive forecast's"),
        (0.7657, 0.7661, "cellgate is level with the seasonal naive forecast here (MASE 0.766 for both)"),
        (0.7661, 0.7657, "cellgate is level with the seasonal naive forecast here (MASE 0.766 for both)"),
        (0.7644, 0.7661, "cellgate's MASE is less than 1% below the seasonal naive forecast's (0.764 against 0.766)"),
        (0.78, 0.7661, "cellgate does NOT beat the seasonal naive forecast here (MASE 0.780 against 0.766): "
                       "use that one, or give more history"),
    ],
)  # fmt: skip
def test_verdict(ours, base, told):
    assert verdict({"cellgate": {"MASE": ours}, "seasonal naive": {"MASE": base}}) == told


def test_without_a_scale_it_goes_by_the_error():
    metrics = {"cellgate": {"MASE": math.nan, "MAE": 2000.4}, "seasonal naive": {"MASE": math.nan, "MAE": 1999.8}}
    assert "level with the seasonal naive forecast here (MAE 2,000 for both)" in verdict(metrics)


@pytest.mark.parametrize(
    ("mean", "last", "told"),
    [
        (
            0.5,
            0.9,
            "the mean of the history does better than both here (MASE 0.500): little of the series can be foretold",
        ),
        (0.9, 0.6, "the last value, repeated, does better than both here (MASE 0.600): little of the series can be"),
        (0.77, 0.9, ""),
        (math.nan, 0.9, ""),
    ],
)
def test_what_is_plainer_and_clearly_better_is_said(mean, last, told):
    plain = {"last value": {"MASE": last}, "mean": {"MASE": mean}}
    found = plain_verdict({"cellgate": {"MASE": 0.8}, "seasonal naive": {"MASE": 1.0}, "plain": plain})
    assert found.startswith(told)
    assert bool(found) == bool(told)
