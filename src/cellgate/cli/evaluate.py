"""`cellgate evaluate`: a trained model's scores on other data, beside the baseline's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cellgate import estimators
from cellgate.cli.console import say_json, say_table
from cellgate.cli.sequence_run import Score, say_scores
from cellgate.errors import InputError

SCORES = {
    "SequenceClassifier": Score("accuracy", True),
    "SequenceRegressor": Score("RMSE", False),
    "SequenceTagger": Score("accuracy", True),
}


def command(
    model: Annotated[Path, typer.Argument(help="The folder that `cellgate train --out` wrote.")],
    data: Annotated[str, typer.Argument(help="Data with the labels, or the steps, to compare with.")],
    holdout: Annotated[
        int | None, typer.Option(min=1, help="Forecasts: the last steps to predict; the model's horizon if not given.")
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
        metrics = _forecast(estimator, data, holdout)
    else:
        if holdout is not None:
            raise InputError(f"--holdout: expected a forecaster, got a {type(estimator).__name__}; leave it out")
        metrics = estimator.evaluate(Path(data) if isinstance(estimator, estimators.LanguageModel) else data)
    if as_json:
        say_json({"model": str(model), "data": data, "metrics": metrics})
    elif isinstance(estimator, estimators.Forecaster):
        rivals = [name for name, values in metrics.items() if isinstance(values, dict)]
        names = [name for name in metrics[rivals[-1]] if name in metrics["cellgate"]]
        rows = [[rival, *(f"{metrics[rival][name]:.4g}" for name in names)] for rival in rivals]
        say_table([f"on the last {metrics['steps']} steps", *names], rows)
    else:
        name = next(iter(metrics["cellgate"])) if isinstance(estimator, estimators.LanguageModel) else ""
        say_scores(metrics, Score(name, False) if name else SCORES[type(estimator).__name__])


def _forecast(forecaster: estimators.Forecaster, data: str, holdout: int | None) -> dict[str, Any]:
    panel = forecaster.read(data)
    tail = min(holdout or forecaster.horizon, forecaster.horizon)
    head, rest = panel.split(tail)
    return forecaster.evaluate(rest, head)
