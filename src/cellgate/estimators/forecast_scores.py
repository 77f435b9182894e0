"""Scores of forecasts beside the seasonal naive one's, over series and origins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cellgate.tasks.baselines import fill_by_season, seasonal_naive
from cellgate.tasks.metrics import mae, seasonal_scale, smape
from cellgate.tasks.narrowness import narrowness

if TYPE_CHECKING:
    from cellgate.estimators.forecast import Forecast

BASELINE = "seasonal naive"


def scores(
    actual: Sequence[np.ndarray],
    values: Sequence[np.ndarray],
    naive: Sequence[np.ndarray],
    scales: Sequence[float],
    levels: Sequence[float],
    plain: dict[str, Sequence[np.ndarray]],
    stretches: np.ndarray,
) -> dict[str, Any]:
    """Means over series of MASE, sMAPE and MAE, and the share of values inside each interval.

    Args:
        actual: a (..., H) array a series, NaN where nothing was observed or nothing came.
        values: a (..., H, 1 + 2 * levels) array a series: the median, then low and high of each level.
        naive: a (..., H) array a series, the baseline.
        scales: a series' mean seasonal change, by which MASE divides.
        levels: in percent.
        plain: name -> a (..., H) array a series: what else is easily forecast, see plain_forecasts.
        stretches: (K,) to which stretch each moment belongs, see tasks.narrowness; (1,) for (H,) arrays.

    Returns:
        {"series": how many were scored, "stretches": in how many stretches of time, "cellgate": {"MASE", "sMAPE",
        "MAE", "coverage-90"}, "seasonal naive": {...}, "plain": {"last value": {...}, "mean": {...}}, "intervals":
        {"90": whether it is too narrow, in the words of tasks.narrowness}}. Series without an observed value are left
        out. MASE is NaN where no series has a scale.
    """
    kept = [k for k, values in enumerate(actual) if np.isfinite(values).any()]
    found: dict[str, Any] = {"series": len(kept)}

    def scored(made: Sequence[np.ndarray]) -> dict[str, float]:
        errors = np.array([mae(actual[k], made[k]) for k in kept])
        percent = [smape(actual[k], made[k]) for k in kept]
        return {
            "MASE": _mean(errors / np.array([scales[k] for k in kept])),
            "sMAPE": _mean(percent),
            "MAE": _mean(errors),
        }

    found["cellgate"], found[BASELINE] = scored([v[..., 0] for v in values]), scored(naive)
    found["plain"] = {name: scored(made) for name, made in plain.items()}
    known = [np.isfinite(np.atleast_2d(actual[k])) for k in kept]
    found["stretches"] = len(np.unique(np.concatenate([stretches[rows.any(-1)] for rows in known]))) if kept else 0
    found["intervals"] = {}
    for number, level in enumerate(levels if kept else ()):
        low, high = 1 + 2 * number, 2 + 2 * number
        inside = [np.atleast_2d((actual[k] >= values[k][..., low]) & (actual[k] <= values[k][..., high])) for k in kept]
        hits = sum(int((there & within).sum()) for there, within in zip(known, inside, strict=True))
        found["cellgate"][f"coverage-{level:g}"] = hits / sum(int(there.sum()) for there in known)
        found["intervals"][f"{level:g}"] = narrowness(inside, known, stretches, level)
    return found


def score_forecast(made: Forecast, actual: Sequence[np.ndarray]) -> dict[str, Any]:
    """The scores of a forecast, as `scores` gives them.

    Args:
        made: the forecast.
        actual: what followed, (up to horizon,) each series.
    """
    season, histories = made.panel.season, made.panel.values
    return scores(
        actual,
        [made.values[k, : len(values)] for k, values in enumerate(actual)],
        [seasonal_naive(history, season, len(a)) for history, a in zip(histories, actual, strict=True)],
        [seasonal_scale(history, season) for history in histories],
        made.levels,
        plain_forecasts(histories, [[len(history) - 1] for history in histories], [len(a) for a in actual], flat=True),
        np.zeros(1, dtype=int),
    )


def _mean(values: Any) -> float:
    values = np.asarray(values, dtype=np.float64)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def plain_forecasts(
    histories: Sequence[np.ndarray], origins: Sequence[Sequence[int]], steps: Sequence[int], *, flat: bool = False
) -> dict[str, Sequence[np.ndarray]]:
    """The last value, and the mean, of what was observed up to some steps of some series, for the steps after each.

    Args:
        histories: (T,) each series.
        origins: the steps of each series.
        steps: how many follow each of them, one number a series.
        flat: for one origin a series, (H,) arrays.

    Returns:
        "last value" and "mean" -> a (K, H) array a series, NaN where nothing was observed.
    """
    found: dict[str, list[np.ndarray]] = {"last value": [], "mean": []}
    for history, moments, count in zip(histories, origins, steps, strict=True):
        pasts = [history[: int(moment) + 1] for moment in moments]
        seen = [past[np.isfinite(past)] for past in pasts]
        for name, of in (("last value", lambda known: known[-1]), ("mean", np.mean)):
            made = np.array([of(known) if len(known) else np.nan for known in seen])
            made = np.repeat(made[:, None], count, axis=1)
            found[name].append(made[0] if flat else made)
    return dict(found)


def naive_from(history: np.ndarray, season: int, origins: np.ndarray, horizon: int) -> np.ndarray:
    """(K, H) the seasonal naive forecast from each of the origins (steps of the history)."""
    filled = fill_by_season(history, season)
    lag = np.minimum(season, origins + 1)[:, None]
    return filled[origins[:, None] + 1 - lag + np.arange(horizon) % lag]
