"""forecast.csv, holdout.csv and forecast.svg of a training."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellgate.cli.placing import FORECAST
from cellgate.data import Panel
from cellgate.data.files import text_bytes, write_atomic
from cellgate.data.panel import show_time, show_times
from cellgate.data.words import counted
from cellgate.report.forecast_svg import Drawing, Segment, forecast_svg
from cellgate.tasks.baselines import seasonal_naive

if TYPE_CHECKING:
    from cellgate.estimators.forecast import Forecast

_DRAWN_SERIES = 4
_DRAWN_HORIZONS = 10  # how much of the past is drawn, in horizons, where it is long


def with_times_written(columns: Mapping[str, Any], panel: Panel | None = None) -> dict[str, Any]:
    """The columns with their times as text, all of one column in one form.

    Args:
        columns: name -> values.
        panel: the series that the times continue: a single midnight of hourly ones is written with its hour.
    """
    like = None if panel is None else panel.frequency.grid(panel.starts[0], 0, 2)
    is_time = {name: getattr(values, "dtype", np.dtype(object)).kind == "M" for name, values in columns.items()}
    return {name: show_times(values, like) if is_time[name] else values for name, values in columns.items()}


def csv_text(columns: Mapping[str, Any], panel: Panel | None = None) -> str:
    """Columns as CSV: times by `with_times_written`, numbers with ten digits, missing ones empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*with_times_written(columns, panel).values(), strict=True):
        writer.writerow([_cell(value) for value in row])
    return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.10g}"
    return show_time(value) if isinstance(value, np.datetime64) else str(value)


def write_forecast_files(
    out: Path,
    panel: Panel,
    coming: Forecast | None,
    backcast: Forecast | None,
    rest: Panel | None,
    metrics: dict[str, Any],
) -> list[str]:
    """Write the files beside the model.

    Args:
        out: the folder.
        panel: the whole history.
        coming: the forecast that follows it, perhaps without some series; or None where drivers are not known so far.
        backcast: the forecast for the held-out steps, made without them, perhaps without some series; or None.
        rest: those steps of those series; or None.
        metrics: the scores, for the picture.

    Returns:
        The names of the files.
    """
    names = []
    if coming is not None:
        write_atomic(out / FORECAST, csv_text(coming.columns(), panel).encode())
        names.append(FORECAST)
    if backcast is not None and rest is not None:
        write_atomic(out / "holdout.csv", csv_text(_holdout_columns(backcast, rest), panel).encode())
        names.append("holdout.csv")
    if coming is not None:
        write_atomic(out / "forecast.svg", text_bytes(_picture(panel, coming, backcast, rest, metrics)))
        names.append("forecast.svg")
    return names


def _holdout_columns(backcast: Forecast, rest: Panel) -> dict[str, np.ndarray]:
    """The forecast's columns for the steps that were held out, with what happened and the baseline beside them."""
    horizon = backcast.values.shape[1]
    steps = [min(len(values), horizon) for values in rest.values]
    keep = np.concatenate([np.arange(horizon) < count for count in steps])
    columns = {name: values[keep] for name, values in backcast.columns().items()}
    actual = np.concatenate([values[:count] for values, count in zip(rest.values, steps, strict=True)])
    naive = np.concatenate(
        [
            seasonal_naive(history, backcast.panel.season, n)
            for history, n in zip(backcast.panel.values, steps, strict=True)
        ]
    )
    return {
        "unique_id": columns.pop("unique_id"),
        "ds": columns.pop("ds"),
        "y": actual,
        **columns,
        "seasonal_naive": naive,
    }


def _picture(
    panel: Panel, coming: Forecast, backcast: Forecast | None, rest: Panel | None, metrics: dict[str, Any]
) -> str:
    horizon, level = coming.values.shape[1], coming.levels[0]
    low, high = coming.interval(level)
    drawings = []
    names = coming.panel.ids[:_DRAWN_SERIES]
    for j, name in enumerate(names):
        k = panel.ids.index(name)  # the forecast may leave series out
        length = len(panel.values[k])
        begin = max(0, length - max(_DRAWN_HORIZONS * horizon, 4 * panel.season))
        times = panel.frequency.grid(panel.starts[k], begin, length - begin + horizon)
        segments = [Segment(length - begin, coming.median[j], low[j], high[j])]
        held = 0
        if backcast is not None and rest is not None and name in rest.ids:
            b = rest.ids.index(name)
            held = len(rest.values[b])
            shown = min(held, horizon)
            back_low, back_high = backcast.interval(level)
            naive = seasonal_naive(backcast.panel.values[b], backcast.panel.season, shown)
            segments.insert(
                0,
                Segment(
                    length - held - begin,
                    backcast.median[b, :shown],
                    back_low[b, :shown],
                    back_high[b, :shown],
                    naive,
                ),
            )
        note = ""
        if metrics and len(panel) == 1:
            ours, naive = (metrics[name]["MASE"] for name in ("cellgate", "seasonal naive"))
            note = f"held-out MASE {ours:.2f}, seasonal naive {naive:.2f}"
        drawings.append(Drawing(name, note, times, panel.values[k][begin:], segments, held))
    title = f"The next {counted(horizon, 'step')} of {panel.source}"
    if len(panel) > len(names):
        title += f" ({len(names)} of {len(panel):,} series)"
    return forecast_svg(title, drawings, f"{level:g} % interval")
