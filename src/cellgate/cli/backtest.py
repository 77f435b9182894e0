"""`cellgate backtest`: forecasts from many moments of the past, beside what came."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from cellgate import estimators
from cellgate.cli import training_options as options
from cellgate.cli.columns import (
    Freq,
    Future,
    Id,
    Level,
    Past,
    Season,
    Static,
    Target,
    Time,
    TimeFormat,
    Wide,
    levels,
    names,
)
from cellgate.cli.console import say, say_json, say_pairs, say_table, training_progress
from cellgate.cli.files import require_csv
from cellgate.cli.forecast_files import csv_text
from cellgate.cli.forecast_words import say_forecast_scores, score_text
from cellgate.data.files import write_atomic
from cellgate.data.words import counted
from cellgate.errors import InputError
from cellgate.estimators.backtest import Backtest
from cellgate.estimators.trainable import left_out_note

_SHOWN_STEPS = 6


def command(
    ctx: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(help="A model's folder, or a table to train on first.", metavar="MODEL|DATA"),
    ] = None,
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
    level: Level = None,
    hidden_size: options.HiddenSize = None,
    layers: options.Layers = 1,
    learning_rate: options.LearningRate = 5e-3,
    batch_size: options.BatchSize = 32,
    max_epochs: options.MaxEpochs = None,
    max_time: options.MaxTime = None,
    patience: options.Patience = None,
    seed: options.Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Forecast from many moments of the past, and compare with what came and with the seasonal naive forecast.

    Given a table, a model is trained on what lies before the first moment, with the options of `cellgate train`; with
    --refit one for every moment, --max-time being the time of each. Given a model's folder, its weights are used as
    they are; what they were trained on flatters them, and the report says how much of it there was.

    [bold]cellgate backtest sales.csv --horizon 28 --origins 12 --step 7[/bold]
    """
    if out is not None:
        require_csv(out, "--out", force)
    source, data = _what_is_gone_through(ctx, source, data)
    is_model = Path(source).is_dir()
    if is_model:
        _refuse_typed(ctx, source)
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
            levels=levels(level),
            hidden_size=hidden_size,
            num_layers=layers,
            learning_rate=learning_rate,
            batch_size=batch_size,
            max_epochs=max_epochs,
            max_seconds=max_time,
            patience=patience,
            seed=seed,
        )
    )
    if not is_model and data is not None:
        raise InputError("--data: expected a model's folder before it, got a table; give one of the two")
    panel = (forecaster.panel_ if data is None else forecaster.read(data)) if is_model else forecaster.read(source)
    if not as_json:
        ahead = counted(forecaster.horizon, "step")
        say_pairs(
            [
                *panel.summary(),
                ("moments", f"{origins}, {step} apart, {ahead} ahead each"),
            ]
        )
    with training_progress(as_json) as watch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "left out of the backtest")  # that is said below
        found = forecaster.backtest(panel, origins=origins, step=step, refit=refit, watch=watch)
    if as_json:
        if out is not None:
            write_atomic(out, csv_text(found.columns()).encode())
        by_step = {name: values.tolist() for name, values in found.by_step.items()}
        left_out = {"left_out": list(found.left_out)} if found.left_out else {}
        say_json({"metrics": found.metrics, "by_step": by_step, **left_out, **({"out": str(out)} if out else {})})
        return
    try:
        _report(found)
    finally:  # after the scores, which a full disk shall not cost; also where their reader has left (`| head`)
        if out is not None:
            write_atomic(out, csv_text(found.columns()).encode())
    if out is not None:
        say(f"wrote {out}")


def _what_is_gone_through(ctx: typer.Context, source: str | None, data: str | None) -> tuple[str, str | None]:
    """The model's folder or the table, and newer history for a model.

    The data that a --config file names for a training are the table, where nothing else is named.
    """
    origin = ctx.get_parameter_source("data")
    if source is None and data is not None:
        return data, None
    if source is None:
        raise InputError("expected a model's folder or a table, got none; name it: cellgate backtest sales.csv")
    typed = origin is not None and origin.name != "DEFAULT_MAP"
    return source, data if typed or Path(source).is_dir() else None


def _refuse_typed(ctx: typer.Context, source: str) -> None:
    """Refuse options of a training beside a model's folder, which was trained with its own."""
    kept = {"source", "data", "origins", "step", "refit", "out", "force", "as_json"}
    for name in ctx.params:
        given = ctx.get_parameter_source(name)
        if name not in kept and given is not None and given.name != "DEFAULT":
            raise InputError(
                f"--{name.replace('_', '-')}: expected a table to train on before it, got the model {source}, which "
                "has its own; leave it out"
            )


def _loaded(source: str) -> estimators.Forecaster:
    model: Any = estimators.load(source)
    if not isinstance(model, estimators.Forecaster):
        raise InputError(f"{source}: expected a Forecaster's folder, got a {type(model).__name__}'s")
    return model


def _report(found: Backtest) -> None:
    metrics = found.metrics
    if found.left_out:
        say_pairs([("left out", left_out_note(found.left_out, len(found.left_out) + len(found.panel)))])
    say()
    say_forecast_scores(metrics, f"over {counted(metrics['origins'], 'moment')}")
    say()
    horizon = found.values.shape[2]
    picked = sorted({round(1 + k * (horizon - 1) / (_SHOWN_STEPS - 1)) for k in range(_SHOWN_STEPS)})
    rows = [[name, *(score_text(float(errors[h - 1])) for h in picked)] for name, errors in found.by_step.items()]
    say_table(["MAE by steps ahead", *(str(h) for h in picked)], rows)
    total = found.origins.size
    if found.seen:
        say(f"the weights were trained on what followed {found.seen} of the {total} moments: these flatter them")
