"""How the share of values inside the intervals is put into words, and what it means."""

from __future__ import annotations

from typing import Any

from cellgate.tasks.narrowness import TOO_FEW, TOO_NARROW, gross

_COVERAGE = "coverage-"


def shares_inside(metrics: dict[str, Any]) -> dict[str, float]:
    """Level in percent, as text -> the share of values inside its interval."""
    ours = metrics["cellgate"]
    return {name.removeprefix(_COVERAGE): share for name, share in ours.items() if name.startswith(_COVERAGE)}


def inside_line(level: str, share: float, which: str = "values") -> str:
    """The share of values inside one interval."""
    return f"{share:.0%} of the {which} lie in the {level} % interval"


def interval_remarks(metrics: dict[str, Any]) -> list[str]:
    """That intervals are too narrow, or that too few are inside to pass over and too little was measured to tell.

    Args:
        metrics: as Forecaster.evaluate or Backtest.metrics has them; those of earlier versions say nothing.
    """
    shares, verdicts = shares_inside(metrics), metrics.get("intervals", {})
    narrow = [level for level in shares if verdicts.get(level) == TOO_NARROW]
    open_ = [
        level
        for level, share in shares.items()
        if verdicts.get(level) == TOO_FEW and float(level) / 100 - share >= gross(float(level))
    ]
    remarks = []
    if narrow:
        drawn = [
            f"{count:,} {what}"
            for count, what in ((metrics["stretches"], "stretches"), (metrics["series"], "series"))
            if count > 1
        ]
        are = "interval is" if len(narrow) == 1 else "intervals are"
        remarks.append(
            f"the {_listed(narrow)} % {are} TOO NARROW here: that few inside is no chance over {' of '.join(drawn)}; "
            "ask for a higher --level, or count on more values outside"
        )
    if open_:
        remarks.append(
            f"that few inside the {_listed(open_)} % interval{'s' if len(open_) > 1 else ''} may be one odd stretch: "
            "too little to tell whether intervals are too narrow; cellgate backtest with --origins 8, a horizon apart "
            "(--step), would tell"
        )
    return remarks


def _listed(levels: list[str]) -> str:
    return " and ".join(levels)
