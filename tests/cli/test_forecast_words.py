"""The sentence that says whether a forecast beats the baseline."""

import math

import pytest

from cellgate.cli.forecast_words import verdict


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
