"""`cellgate backtest`: forecasts from many moments of the past, beside what came."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cellgate import estimators
from cellgate.cli.columns import Freq, Future, Id, Past, Season, Static, Target, Time, TimeFormat, Wide, names
from cellgate.cli.console import say, say_json, say_pairs, say_table, training_progress
from cellgate.cli.forecast_files import csv_text
from cellgate.cli.forecast_words import SCORES, score_text, verdict
from cellgate.data.files import write_atomic
from cellgate.errors import InputError
from cellgate.estimators.backtest import Backtest
from cellgate.estimators.forecast_scores import BASELINE

_SHOWN_STEPS = 6


def command(
    source: Annotated[
        str,
        typer.Argument(help="A model's folder, or a table to train on first.", metavar="MODEL|DATA"),
    ],
    data: Annotated[
        str | None, typer.Option(help="For a model: newer history to go through; its own history without it.")
    ] = None,
    horizon: Annotated[int, typer.Option(min=1, help="For a table: steps to predict.")] = 12,
    origins: Annotated[int, typer.Option(min=1, help="From how many moments.")] = 10,
    step: Annotated[int, typer.Option(min=1, help="Steps between two of them.")] = 1,
    refit: Annotated[bool, typer.Option("--refit", help="Train afresh at every moment.")] = False,
    out: Annotated[Path | None, typer.Option(help="A CSV file to write every forecast to.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over the file.")] = False,
    time: Time = None,
    target: Target = None,
    id: Id = None,
    wide: Wide = False,
    freq: Freq = None,
    season: Season = None,
    time_format: TimeFormat = None,
    past: Past = None,
    future: Future = None,
    static: Static = None,
    max_epochs: Annotated[int | None, typer.Option(min=1, help="The most passes over the data.")] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal runs.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Forecast from many moments of the past, and compare with what came and with the seasonal naive forecast.

    Given a table, a model is trained on what lies before the first moment. Given a model's folder, its weights are used
    as they are; what they were trained on flatters them, and the report says how much of it there was.

    [bold]cellgate backtest sales.csv --horizon 28 --origins 12 --step 7[/bold]
    """
    if out is not None and out.exists() and not force:
        raise InputError(f"--out {out}: expected a new file, got one that is there; give another name, or --force")
    is_model = Path(source).is_dir()
    forecaster = (
        _loaded(source)
        if is_model
        else estimators.Forecaster(
            horizon,
            season=season,
            freq=freq,
            time=time,
            target=target,
            id=id,
            wide=wide,
            time_format=time_format,
            past=names(past),
            future=names(future),
            static=names(static),
            max_epochs=max_epochs,
            seed=seed,
        )
    )
    if not is_model and data is not None:
        raise InputError("--data: expected a model's folder before it, got a table; give one of the two")
    panel = (forecaster.panel_ if data is None else forecaster.read(data)) if is_model else forecaster.read(source)
    if not as_json:
        say_pairs([*panel.summary(), ("moments", f"{origins}, {step} apart, {forecaster.horizon} steps ahead each")])
    with training_progress(as_json) as watch:
        found = forecaster.backtest(panel, origins=origins, step=step, refit=refit, watch=watch)
    if out is not None:
        write_atomic(out, csv_text(found.columns()).encode())
    if as_json:
        by_step = {name: values.tolist() for name, values in found.by_step.items()}
        say_json({"metrics": found.metrics, "by_step": by_step, **({"out": str(out)} if out else {})})
        return
    _report(found)
    if out is not None:
        say(f"wrote {out}")


def _loaded(source: str) -> estimators.Forecaster:
    model: Any = estimators.load(source)
    if not isinstance(model, estimators.Forecaster):
        raise InputError(f"{source}: expected a Forecaster's folder, got a {type(model).__name__}'s")
    return model


def _report(found: Backtest) -> None:
    metrics = found.metrics
    say()
    rows = [[name, *(score_text(metrics[name][score]) for score in SCORES)] for name in ("cellgate", BASELINE)]
    say_table([f"over {metrics['origins']} moments", *SCORES], rows)
    for level in found.levels:
        say(f"{metrics['cellgate'][f'coverage-{level:g}']:.0%} of the values lie in the {level:g} % interval")
    say(verdict(metrics))
    say()
    horizon = found.values.shape[2]
    picked = sorted({round(1 + k * (horizon - 1) / (_SHOWN_STEPS - 1)) for k in range(_SHOWN_STEPS)})
    rows = [[name, *(score_text(float(errors[h - 1])) for h in picked)] for name, errors in found.by_step.items()]
    say_table(["MAE by steps ahead", *(str(h) for h in picked)], rows)
    total = found.origins.size
    if found.seen:
        say(f"the weights were trained on what followed {found.seen} of the {total} moments: these flatter them")
