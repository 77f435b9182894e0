"""A Forecaster explained: its errors beside the baseline's, and single series looked at closely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cellgate.data import DataError, Panel
from cellgate.data.panel import show_time
from cellgate.data.words import counted
from cellgate.estimators.backtest import Backtest
from cellgate.estimators.explaining import (
    affordable,
    better,
    gates_in,
    influence_of,
    layer_maps,
    network_of,
    small_states,
    training_of,
    what_it_reads,
    what_it_remembers,
)
from cellgate.estimators.forecast_scores import BASELINE
from cellgate.estimators.interval_words import inside_line, interval_remarks, shares_inside
from cellgate.report.model import Bars, Example, Fact, Line, Report, TableRows
from cellgate.report.model import Panel as Section
from cellgate.tasks.baselines import seasonal_naive
from cellgate.tasks.forecast import known_ahead, reading_start
from cellgate.tasks.forecast_data import Prepared, feature_names
from cellgate.tasks.metrics import seasonal_scale
from cellgate.trace import attribute, trace

if TYPE_CHECKING:
    from cellgate.estimators.forecaster import Forecaster

__all__ = ["explain_forecast"]

_EXAMPLES = 3
_ORIGINS = 12
_SERIES = 60  # whose states can be searched
_LISTED = 10


def explain_forecast(forecaster: Forecaster, panel: Panel, opened: str = "") -> Report:
    """Gather everything that the report on a Forecaster shows.

    Args:
        forecaster: a fitted one.
        panel: the series to look at, as `Forecaster.read` gives them.
        opened: where they end, if that is not where they do, for the page.
    """
    task, model = forecaster.task_, forecaster.model_
    prepared = forecaster._prepare(panel)
    names = feature_names(task, panel.frequency, forecaster.coding_)
    tested = _backtest(forecaster, panel)
    errors = None if tested is None else _errors(tested)
    chosen = _choose(panel, errors)
    ends = prepared.lengths.numpy() - 1
    starts = reading_start(ends, task.context)
    searched = [*chosen, *(k for k in range(len(panel)) if k not in chosen)][:_SERIES]

    notes = [opened] if opened else []
    if len(searched) < len(panel):
        notes.append(f"like states are searched in {len(searched)} of the {len(panel)} series")
    examples, states, labels, signal = [], [], [], []
    backend, distance = "", 0.0
    made = forecaster.forecast(panel)
    for k in searched:
        x = _read(prepared, k, int(starts[k]), int(ends[k]))
        with trace(model) as tape, torch.no_grad():
            model.lstm(x[None])
        call = tape["lstm"].only()
        backend, distance = call.backend, max(distance, call.distance)
        states.append(gates_in(call, 0, len(x)))
        steps = [show_time(time) for time in panel.times(k)[starts[k] :]]
        labels.append(steps)
        signal.append(panel.values[k][starts[k] :])
        if k in chosen:
            ahead = [show_time(time) for time in panel.next_times(k, task.horizon)]
            cells = affordable(model, len(x), 512)
            found = attribute(_answer(forecaster, prepared, k, int(ends[k])), x, x.mean(0), cells=cells)
            examples.append(
                Example(
                    name=panel.ids[k] if len(panel) > 1 else panel.source,
                    note="" if errors is None or len(panel) == 1 else f"MASE {errors[k][0]:.2f}",
                    labels=(*steps, *ahead),
                    lines=_lines(panel, k, int(starts[k]), made, forecaster),
                    strips=(),
                    now=len(x) - 1,
                    layers=layer_maps(call, 0, 0),
                    influence=influence_of(
                        found,
                        "the forecast, mean over the horizon, less the seasonal naive one",
                        "usual seasonal changes",
                        names,
                        0,
                    ),
                )
            )
    sections = []
    if tested is not None and errors is not None:
        sections.append(_by_horizon(tested))
        if len(panel) > 1:
            sections.append(_worst(panel, errors))
    sections.append(_by_lag(examples[0]))
    layers = model.lstm.num_layers
    return Report(
        title=f"Forecast of {panel.source}",
        findings=_findings(forecaster, panel, tested, examples[0]),
        facts=_facts(forecaster, panel),
        network=network_of(
            model,
            f"{len(names)} columns of every step",
            f"readout: {counted(task.horizon, 'step')} ahead × {len(task.quantiles)} quantiles",
            f"the next {task.horizon} values with intervals",
        ),
        examples=tuple(examples),
        states=small_states(
            f"h of layer {layers}",
            states,
            [panel.ids[k] for k in searched],
            labels,
            signal,
            [(k, 0) for k in range(len(chosen))],
        ),
        panels=tuple(sections),
        training=training_of(forecaster.record_.history, forecaster.record_.best_epoch),
        backend=backend,
        distance=distance,
        notes=tuple(notes),
    )


# ---------------------------------------------------------------- what is read and asked


def _read(prepared: Prepared, k: int, start: int, end: int) -> Tensor:
    """(T, F) what the network reads of one series before it forecasts."""
    offset = int(prepared.offsets[k])
    return prepared.features[offset + start : offset + end + 1]


def _answer(forecaster: Forecaster, prepared: Prepared, k: int, end: int) -> Any:
    """A function of (N, T, F) copies of what was read: the median answer, mean over the horizon."""
    model, task = forecaster.model_, forecaster.task_
    ahead, simple = known_ahead(prepared, task, torch.tensor([k]), torch.tensor([[end]]))
    median = task.quantiles.index(0.5)

    def function(x: Tensor) -> Tensor:
        hidden, _ = model.lstm(x)
        shape = (len(x), 1, -1, -1)
        answers = model.answer(hidden[:, -1:], ahead.expand(shape), simple.expand(shape))
        return answers[:, 0, :, median].mean(-1)

    return function


def _backtest(forecaster: Forecaster, panel: Panel) -> Backtest | None:
    """Forecasts from moments of the past; fewer where series are short, None where they are too short for one."""
    step = max(1, forecaster.task_.horizon // 4)
    for origins in (_ORIGINS, 4, 1):
        try:
            return forecaster.backtest(panel, origins=origins, step=step)
        except DataError:
            continue
    return None


def _errors(tested: Backtest) -> list[tuple[float, float]]:
    """(MASE, the baseline's MASE) of every series; NaN where nothing came or nothing changes."""
    found = []
    for k, values in enumerate(tested.panel.values):
        scale = seasonal_scale(values[: int(tested.origins.min()) + 1], tested.panel.season)
        gaps = [np.abs(made[k] - tested.actual[k]) for made in (tested.median, tested.baseline)]
        both = [float(np.nanmean(gap) / scale) if np.isfinite(gap).any() and scale > 0 else np.nan for gap in gaps]
        found.append((both[0], both[1]))
    return found


def _choose(panel: Panel, errors: list[tuple[float, float]] | None) -> list[int]:
    """The first series, then those that do worst."""
    if errors is None:
        return list(range(min(_EXAMPLES, len(panel))))
    worst = sorted(range(len(panel)), key=lambda k: -np.nan_to_num(errors[k][0], nan=-1.0))
    return list(dict.fromkeys([0, *worst]))[:_EXAMPLES]


# ---------------------------------------------------------------- what is said and drawn


def _lines(panel: Panel, k: int, start: int, made: Any, forecaster: Forecaster) -> tuple[Line, ...]:
    values = panel.values[k]
    steps = len(values) - start
    level = max(forecaster.levels) if forecaster.levels else None
    low, high = (None, None) if level is None else (side[k] for side in made.interval(level))
    return (
        Line("observed", "observed", 0, values[start:]),
        Line(
            "seasonal naive",
            "baseline",
            steps,
            seasonal_naive(values, forecaster.task_.season, forecaster.task_.horizon),
        ),
        Line("forecast", "model", steps, made.median[k], low, high, f"{level:g} % interval" if level else ""),
    )


def _findings(forecaster: Forecaster, panel: Panel, tested: Backtest | None, example: Example) -> tuple[str, ...]:
    said = []
    held = forecaster.metrics_
    if held and np.isfinite(held["cellgate"]["MASE"]):
        said.append(f"On the {counted(held['steps'], 'step')} held out at training: " + _compare(held))
    if tested is not None:
        metrics = tested.metrics
        many = tested.origins.size
        seen = f"; {tested.seen} of them lie in what it was trained on" if tested.seen else ""
        if np.isfinite(metrics["cellgate"]["MASE"]):
            said.append(f"Over {many} forecasts from moments of the past{seen}: " + _compare(metrics))
    reads = what_it_reads(example.influence) if example.influence is not None else None
    if reads:
        said.append(reads)
    said.append(what_it_remembers(example.layers))
    return tuple(said)


def _compare(metrics: dict[str, Any]) -> str:
    inside = [inside_line(level, share) for level, share in shares_inside(metrics).items()]
    inside += interval_remarks(metrics)
    said = better(metrics["cellgate"]["MASE"], metrics[BASELINE]["MASE"], "MASE", f"{BASELINE} forecast")
    return said + (f" {'; '.join(inside)}." if inside else "")


def _facts(forecaster: Forecaster, panel: Panel) -> tuple[Fact, ...]:
    record = forecaster.record_
    facts = [Fact(label, text) for label, text in panel.summary() if label != "note"]
    facts.append(
        Fact(
            "predicts",
            f"{counted(forecaster.task_.horizon, 'step')} at once, {len(forecaster.task_.quantiles)} quantiles",
        )
    )
    facts.append(
        Fact("trained", f"{counted(record.epochs, 'epoch')} in {record.seconds:.1f} s, best was {record.best_epoch}")
    )
    return tuple(facts)


def _by_horizon(tested: Backtest) -> Section:
    errors = tested.by_step
    horizon = len(errors["cellgate"])
    return Section(
        "horizon",
        "Error by horizon",
        "The mean absolute error of every step ahead, beside that of the seasonal naive forecast, over forecasts from "
        f"{tested.origins.size} moments of the past.",
        "how it will do from now on: "
        + (
            "some of these moments lie in what the model was trained on, so that its errors there flatter it."
            if tested.seen
            else "these moments follow what it was trained on, but the future may differ from them."
        ),
        (
            Bars(
                tuple(str(k + 1) for k in range(horizon)),
                (("cellgate", "model", errors["cellgate"]), (BASELINE, "baseline", errors[BASELINE])),
                "steps ahead",
                "mean absolute error",
                curve=True,
            ),
        ),
    )


def _worst(panel: Panel, errors: list[tuple[float, float]]) -> Section:
    order = sorted(range(len(panel)), key=lambda k: -np.nan_to_num(errors[k][0], nan=-1.0))[:_LISTED]
    lost = sum(ours > base for ours, base in errors)
    rows = [(panel.ids[k], f"{errors[k][0]:.3f}", f"{errors[k][1]:.3f}", f"{len(panel.values[k]):,}") for k in order]
    return Section(
        "worst",
        "Series that do worst",
        f"The series with the largest scaled errors; in {lost} of {len(panel)} the seasonal naive forecast is better.",
        "that these series are hard: a short or odd history shows the same way.",
        (TableRows(("series", "MASE", "seasonal naive's", "steps"), tuple(rows), (1, 2, 3)),),
    )


def _by_lag(example: Example) -> Section:
    influence = example.influence
    assert influence is not None
    last = int(influence.edges[-1])
    blocks = slice(max(0, len(influence.edges) - 1 - 48), None)
    ends = influence.edges[1:][blocks]
    return Section(
        "lag",
        "Influence by how long ago",
        f"How much the steps so long before the last one move the forecast of {example.name}, summed over the columns.",
        "that these lags are needed: what a lag says may be said by another one too.",
        (
            Bars(
                tuple(str(last - int(end)) for end in ends),
                (
                    ("gradient × input", "model", np.abs(influence.gradient).sum(1)[blocks]),
                    ("occlusion", "baseline", np.abs(influence.occlusion).sum(1)[blocks]),
                ),
                "steps before the last",
                influence.unit,
                curve=True,
            ),
        ),
    )
