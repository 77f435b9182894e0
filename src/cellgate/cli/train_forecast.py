"""`cellgate train`: from a table to a measured model and a forecast, in one folder."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from cellgate import estimators
from cellgate.cli import training_options as options
from cellgate.cli.app import INTERRUPTED
from cellgate.cli.columns import (
    Data,
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
from cellgate.cli.config import CHECKPOINT, save_config, seconds_so_far
from cellgate.cli.console import say, say_json, say_pairs, training_progress
from cellgate.cli.forecast_files import write_forecast_files
from cellgate.cli.forecast_words import in_vain_line, say_forecast_scores
from cellgate.cli.placing import REPORT, forget_checkpoint, in_place_of_earlier
from cellgate.cli.training_run import (
    alone_in,
    board_of,
    next_command,
    require_fresh,
    saying_what_is_kept,
    sizes_found,
    took,
    training_facts,
    training_line,
)
from cellgate.data import Panel
from cellgate.data.grid import season_before
from cellgate.data.words import counted, some
from cellgate.errors import InputError
from cellgate.estimators.trainable import learnt_from, left_out_note, measurable


def command(
    data: Data,
    out: options.Out,
    task: options.Task = "forecast",
    horizon: Annotated[int, typer.Option(min=1, help="Steps to predict.")] = 12,
    holdout: Annotated[
        int | None, typer.Option(min=0, help="Last steps kept out to measure on; the horizon if not given, 0 for none.")
    ] = None,
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
    resume: options.Resume = False,
    checkpoint_every: options.CheckpointEvery = 10.0,
    tensorboard: options.TensorBoard = False,
    report: options.Report = False,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> int | None:
    """Train a forecaster on a table of one or many series, measure it, and write it all to a folder.

    Columns, frequency and season are found and echoed; an option overrides each. The last steps are
    held out, and the errors on them are printed beside those of the seasonal naive forecast.

    [bold]cellgate train airline --horizon 12 --out model[/bold]
    """
    require_fresh(out, force, resume)
    forecaster = estimators.Forecaster(
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
    panel = forecaster.read(data)
    tail = horizon if holdout is None else holdout
    kept = measurable(panel, tail) if tail else list(range(len(panel)))
    if tail:  # what is held out shall not tell of the season either
        panel = season_before(panel, [len(values) - tail for values in panel.values])
    # Where drivers are not known for a whole horizon after the end, there is nothing to forecast yet. Series of which
    # nothing is known, such as those that ended earlier, are left out and keep no other from being forecast.
    foretold = panel.foretold(horizon)
    known = min((panel.known_ahead(k) for k in foretold), default=0)
    of_all = known if len(foretold) == len(panel) else 0
    if report and not tail and panel.future and of_all < horizon:
        raise InputError(
            f"--report: expected {', '.join(panel.future_names)} known for {horizon} steps after every end, got "
            f"{of_all}; hold steps out (--holdout), or explain the model later with data that have them"
        )
    head, rest = panel.select(kept).split(tail) if tail else (panel, None)
    learnt = {head.ids[k] for k in learnt_from(head, forecaster.get_params())}
    # Where none is left, the training has an error.
    untrained = [name for name in panel.ids if name not in learnt] if learnt else []
    if not as_json:
        scored = f", of which only the horizon of {horizon} is scored" if tail > horizon else ""
        held = [("held out", f"the last {counted(tail, 'step')}{scored}")] if tail else []
        left_out = [("left out", f"of the training {left_out_note(untrained, len(panel), tail)}")] if untrained else []
        say_pairs([*panel.summary(), *held, *left_out])
    scored = _scored(head, min(tail, horizon)) if tail else []
    unscored = [name for k, name in enumerate(head.ids) if tail and k not in set(scored)]
    rest = rest.select(scored) if rest and scored else None
    if unscored and not as_json:
        say(_unscored_line(panel, unscored))  # before the training: who wants scores may give what lacks first
    with alone_in(out, force, resume):
        with saying_what_is_kept(out):
            with training_progress(as_json, board_of(out, tensorboard)) as watch, warnings.catch_warnings():
                warnings.filterwarnings("ignore", "left out of the training")  # that has been said
                forecaster.fit(head, watch=watch, checkpoint=out / CHECKPOINT, checkpoint_every=checkpoint_every)
            backcast = forecaster.forecast(steps=min(tail, horizon), ids=rest.ids) if rest else None
            metrics = forecaster.evaluate(rest) if rest else {}
            forecaster.update(panel)
            coming = None if panel.future and known < horizon else forecaster.forecast()
            with in_place_of_earlier(out) as folder:
                files = write_forecast_files(folder, panel, coming, backcast, rest, metrics)
                if report:
                    # Where the steps to come are not known, it is opened where a whole horizon is.
                    opened = panel.split(max(tail, horizon))[0] if panel.future and of_all < horizon else None
                    forecaster.explain(opened, out=folder / REPORT)
                    files.append(REPORT)
                forecaster.save(folder)
                found = _columns_found(panel)
                found |= {"season": forecaster.task_.season, "holdout": tail, "level": list(forecaster.levels)}
                save_config(folder, {**found, **sizes_found(forecaster)})
        forget_checkpoint(out)
    record = forecaster.record_
    if as_json:
        say_json(
            {
                "out": str(out),
                "data": dict(panel.summary()[:1])["data"],
                "metrics": metrics,
                "training": {
                    **training_facts(record),
                    "start_score": forecaster.start_score_,
                    "best_score": record.best_score,
                },
                "seconds": seconds_so_far(),
                "files": files,
                **({"not_trained": untrained} if untrained else {}),
                **({"not_scored": unscored} if unscored else {}),
                **({"no_forecast": _unknown(panel, known, horizon)} if coming is None else {}),
                **({"left_out": list(coming.left_out)} if coming and coming.left_out else {}),
            }
        )
    else:
        _report(out, forecaster, metrics, files, coming is not None, tail if rest else 0)
        if coming and coming.note:
            say(f"forecast.csv has {coming.note}")
        if coming is None:
            say(f"no forecast yet: {_unknown(panel, known, horizon)}; FILE is to give the rest")
    return INTERRUPTED if record.stopped_by == "Ctrl-C" else None


def _unknown(panel: Panel, known: int, horizon: int) -> str:
    """Why there is no forecast yet."""
    return f"{', '.join(panel.future_names)} known for {known} of {counted(horizon, 'step')} after the end"


def _scored(head: Panel, steps: int) -> list[int]:
    """The series whose forecast of so many steps held out can be made: those with every future column known in them.

    A cell that is empty there would otherwise end a training that is done.
    """
    return [k for k in range(len(head)) if not head.future or head.known_ahead(k) >= steps]


def _columns_found(panel: Panel) -> dict[str, Any]:
    """The columns as options that find them again: a wide table has no target, one by rows needs none of them."""
    roles = panel.roles
    if not roles.wide:
        return {name: getattr(roles, name) for name in ("time", "target", "id", "time_format")}
    return {} if roles.id else {name: getattr(roles, name) for name in ("time", "wide", "time_format")}


def _unscored_line(panel: Panel, unscored: list[str]) -> str:
    columns = panel.future_names
    are = "is" if len(columns) == 1 else "are"
    return f"not scored: {some(unscored)}, as {', '.join(columns)} {are} not known in all of the held-out steps"


def _report(
    out: Path,
    forecaster: estimators.Forecaster,
    metrics: dict[str, Any],
    files: list[str],
    known: bool,
    held: int,
) -> None:
    record, model = forecaster.record_, forecaster.model_
    units = f"{forecaster.num_layers} x {model.lstm.hidden_size} units"
    lines = [("trained", training_line(units, record))]
    if record.models > 1:
        lines.append(
            ("trained", f"{record.models} models on {record.models} held-back stretches found it; one on all is kept")
        )
    say_pairs(lines)
    in_vain = in_vain_line(record.best_score, forecaster.start_score_)
    if in_vain:
        say(in_vain)
    if metrics:
        say()
        say_forecast_scores(metrics, "on the held-out steps", "held-out values")
    if held and not metrics:
        say(f"no scores, as nothing was observed in the {counted(held, 'step')} held out")
    say()
    say(f"wrote {out}: {' and '.join([', '.join(files), 'the model'] if files else ['the model'])}{took()}")
    say(f"next  {next_command(out, 'Forecaster', known)}")
