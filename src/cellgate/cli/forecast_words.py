"""How the scores of a forecast are put into words."""

from __future__ import annotations

import math
from typing import Any

from cellgate.cli.console import say, say_table
from cellgate.estimators.forecast_scores import BASELINE
from cellgate.estimators.interval_words import inside_line, interval_remarks, shares_inside

SCORES = ("MASE", "sMAPE", "MAE")
_CLEARLY = 0.05  # better by less is left to chance


def say_forecast_scores(metrics: dict[str, Any], title: str, which: str = "values") -> None:
    """The table of scores, the share of values inside each interval, and what `say_verdict` says.

    Args:
        metrics: as Forecaster.evaluate gives them.
        title: over what the scores are means, for the table's corner.
        which: the values that are scored.
    """
    rows = [[name, *(score_text(metrics[name][score]) for score in SCORES)] for name in ("cellgate", BASELINE)]
    say_table([title, *SCORES], rows)
    for level, share in shares_inside(metrics).items():
        say(inside_line(level, share, which))
    say_verdict(metrics)


def say_verdict(metrics: dict[str, Any]) -> None:
    """What the intervals are found to be, which forecast is better, and whether something plainer beats both."""
    for remark in interval_remarks(metrics):
        say(remark)
    say(verdict(metrics))
    plainer = plain_verdict(metrics)
    if plainer:
        say(plainer)


def score_text(value: float) -> str:
    """A score in a table; "-" where there is none."""
    return "-" if value != value else f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"


def verdict(metrics: dict[str, Any]) -> str:
    """Which of the two is better, and by how much, without varnish; what the table shows alike is alike."""
    score = _judged_by(metrics)
    ours, base = metrics["cellgate"][score], metrics[BASELINE][score]
    if score_text(ours) == score_text(base):
        return f"cellgate is level with the {BASELINE} forecast here ({score} {score_text(ours)} for both)"
    if ours < base:
        share = 1 - ours / base
        if share < 0.005:
            shown = f"({score_text(ours)} against {score_text(base)})"
            return f"cellgate's {score} is less than 1% below the {BASELINE} forecast's {shown}"
        return f"cellgate's {score} is {share:.0%} below the {BASELINE} forecast's"
    return (
        f"cellgate does NOT beat the {BASELINE} forecast here ({score} {score_text(ours)} against {score_text(base)}): "
        "use that one, or give more history"
    )


def plain_verdict(metrics: dict[str, Any]) -> str:
    """That the last value or the mean of the history does better than both, by more than a few steps' chance; or ""."""
    score = _judged_by(metrics)
    best = min(metrics["cellgate"][score], metrics[BASELINE][score])
    name, found = min(
        ((name, plain[score]) for name, plain in metrics["plain"].items()), key=lambda pair: pair[1], default=("", best)
    )
    if not found < (1 - _CLEARLY) * best:
        return ""
    what = {"mean": "mean of the history", "last value": "last value, repeated,"}[name]
    return f"the {what} does better than both here ({score} {score_text(found)}): little of the series can be foretold"


def in_vain_line(best: float, start: float) -> str:
    """That a training ended no better than it began; "" where it did not, or where that is not known."""
    if not (best < math.inf and best >= start > 0):
        return ""
    return (
        f"training ended no better than it began (validation score {best:.3g}, {start:.3g} before it): lower "
        "--learning-rate, or give it more epochs; where neither helps there is nothing more to learn"
    )


def _judged_by(metrics: dict[str, Any]) -> str:
    return "MASE" if metrics["cellgate"]["MASE"] == metrics["cellgate"]["MASE"] else "MAE"
