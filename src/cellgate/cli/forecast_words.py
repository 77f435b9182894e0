"""How the scores of a forecast are put into words."""

from __future__ import annotations

from typing import Any

from cellgate.estimators.forecast_scores import BASELINE

SCORES = ("MASE", "sMAPE", "MAE")


def score_text(value: float) -> str:
    """A score in a table; "-" where there is none."""
    return "-" if value != value else f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"


def verdict(metrics: dict[str, Any]) -> str:
    """Which of the two is better, and by how much, without varnish."""
    score = "MASE" if metrics["cellgate"]["MASE"] == metrics["cellgate"]["MASE"] else "MAE"
    ours, base = metrics["cellgate"][score], metrics[BASELINE][score]
    if ours < base:
        return f"cellgate's {score} is {1 - ours / base:.0%} below the {BASELINE} forecast's"
    return (
        f"cellgate does NOT beat the {BASELINE} forecast here ({score} {ours:.3f} against {base:.3f}): "
        "use that one, or give more history"
    )
