"""`cellgate evaluate`: a trained model's scores on other data, beside the baseline's."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from cellgate import estimators
from cellgate.cli.console import say, say_json, say_pairs
from cellgate.cli.forecast_words import say_forecast_scores, say_verdict
from cellgate.cli.sequence_run import Score, say_better, say_scores
from cellgate.data import DataError
from cellgate.data.words import counted
from cellgate.errors import InputError
from cellgate.estimators.trainable import left_out_note, measurable

SCORES = {
    "SequenceClassifier": Score("accuracy", True),
    "SequenceRegressor": Score("RMSE", False),
    "SequenceTagger": Score("accuracy", True),
}


def command(
    model: Annotated[Path, typer.Argument(help="The folder that `cellgate train --out` wrote.")],
    data: Annotated[str, typer.Argument(help="Data with the labels, or the steps, to compare with.")],
    holdout: Annotated[
        int | None,
        typer.Option(min=1, help="Forecasts: the last steps to predict; the model's horizon, the most, if not given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Score a model on data it has not seen, beside its baseline. Nothing is written.

    A forecaster predicts the last steps of the data from those before them; the others predict labels that the data
    hold.

    [bold]cellgate evaluate model test.csv[/bold]
    """
    estimator = estimators.load(model)
    if isinstance(estimator, estimators.Forecaster):
        _forecast(estimator, model, data, holdout, as_json)
        return
    if holdout is not None:
        raise InputError(f"--holdout: expected a forecaster, got a {type(estimator).__name__}; leave it out")
    if isinstance(estimator, estimators.LanguageModel):
        metrics, notes = estimator.evaluate(Path(data)), []
    else:
        sequences = estimator.read_again(data)
        metrics, notes = estimator.evaluate(sequences), estimator.remarks(sequences)
    if as_json:
        say_json({"model": str(model), "data": data, "metrics": metrics, "notes": notes})
    else:
        say_scores(metrics, score_of(estimator, metrics))
        for note in notes:
            say(f"note: {note}")


def say_verdict_of(estimator: Any, metrics: dict[str, Any]) -> None:
    """Which is better, the model or its baseline, whatever it is a model of."""
    if isinstance(estimator, estimators.Forecaster):
        say_verdict(metrics)
    else:
        say_better(metrics, score_of(estimator, metrics))


def score_of(estimator: Any, metrics: dict[str, Any]) -> Score:
    """The score that decides between a model of sequences or texts and its baseline."""
    if isinstance(estimator, estimators.LanguageModel):
        return Score(next(iter(metrics["cellgate"])), False)
    return SCORES[type(estimator).__name__]


def _forecast(forecaster: estimators.Forecaster, model: Path, data: str, holdout: int | None, as_json: bool) -> None:
    if holdout is not None and holdout > forecaster.horizon:
        backtest = shlex.join(["cellgate", "backtest", str(model), "--data", data])
        raise InputError(
            f"--holdout {holdout}: expected at most the model's horizon of {forecaster.horizon}, which is as far as it "
            f"predicts; give fewer, or use {backtest} for many moments"
        )
    tail = holdout or forecaster.horizon
    panel = forecaster.read(data)
    scored = measurable(panel, tail)
    left_out = [name for k, name in enumerate(panel.ids) if k not in set(scored)]
    head, rest = panel.select(scored).split(tail)
    metrics = forecaster.evaluate(rest, head)
    if not metrics:
        raise DataError(
            f"{panel.source}: expected values in the last {tail} steps to compare with, got none; "
            "give data that end with what came, or a larger --holdout"
        )
    if as_json:
        say_json({"model": str(model), "data": data, "metrics": metrics, "left_out": left_out})
        return
    pairs = [*panel.summary(), ("scored", f"the last {counted(tail, 'step')}, predicted from those before")]
    if left_out:
        pairs.append(("left out", left_out_note(left_out, len(panel))))
    say_pairs(pairs)
    say()
    say_forecast_scores(metrics, f"on the last {counted(tail, 'step')}")
