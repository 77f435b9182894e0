"""Scores of a forecast. Missing values (NaN in `actual`) count nowhere."""

from __future__ import annotations

import numpy as np


def mae(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Mean absolute error, in the unit of the data. Both (..., H)."""
    return float(np.nanmean(np.abs(actual - forecast)))


def smape(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Symmetric mean absolute percentage error, 0 to 200, as the M4 competition defines it.

    200 * mean(|a - f| / (|a| + |f|)); a step where both are zero counts as zero. Several libraries
    report half of it. Makridakis, Spiliotis and Assimakopoulos (2020), "The M4 Competition", eq. 1.
    """
    total = np.abs(actual) + np.abs(forecast)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(total > 0, np.abs(actual - forecast) / total, np.where(np.isnan(total), np.nan, 0.0))
    return float(200 * np.nanmean(ratio))


def seasonal_scale(history: np.ndarray, season: int) -> float:
    """The mean absolute change over a season within the history: what MASE divides by.

    Hyndman and Koehler (2006), "Another look at measures of forecast accuracy", section 3. NaN where
    the history is too short or never changes, because no scaled error exists then.
    """
    if len(history) <= season:
        return float("nan")
    change = np.abs(history[season:] - history[:-season])
    scale = float(np.nanmean(change)) if np.isfinite(change).any() else float("nan")
    return scale if scale > 0 else float("nan")


def mase(actual: np.ndarray, forecast: np.ndarray, history: np.ndarray, season: int) -> float:
    """Mean absolute scaled error: below 1 is better than the seasonal naive forecast was within the history."""
    return mae(actual, forecast) / seasonal_scale(history, season)
