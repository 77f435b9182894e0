"""The model card: what a saved model is, for whoever finds the folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cellgate.data.words import counted
from cellgate.estimators.interval_words import inside_line, interval_remarks, shares_inside


def forecaster_card(config: dict[str, Any], preprocess: dict[str, Any], metrics: dict[str, Any]) -> str:
    """README.md of a Forecaster's folder."""
    model, task, training = config["model"], config["task"], config["training"]
    series = preprocess["series"]
    roles = preprocess["roles"]
    steps = sum(entry["steps"] for entry in series)
    untrained = sum(entry["trained_until"] is None for entry in series)
    layers = f"{model['num_layers']} layer{'s' if model['num_layers'] > 1 else ''}"
    lines = [
        "# Forecaster",
        "",
        f"An LSTM ({layers} of {model['hidden_size']} units) that predicts the next {counted(task['horizon'], 'step')} "
        f"of {len(series)} series, trained by cellgate on `{preprocess['source']}` ({steps:,} steps)."
        + (f" {untrained} of them {'was' if untrained == 1 else 'were'} not trained on." if untrained else ""),
        "",
        "## Use",
        "",
        "```python",
        "import cellgate",
        "",
        'forecaster = cellgate.load("THIS FOLDER")',
        *_use(roles),
        "",
        "## How good it is",
        "",
    ]
    if "seasonal naive" in metrics:
        lines += [
            f"The last {counted(metrics['steps'], 'step')} of each series, which training never saw:",
            "",
            "| | MASE | sMAPE | MAE |",
            "|---|---|---|---|",
            *(
                f"| {name} | {_shown(scores['MASE'], '.3f')} | {_shown(scores['sMAPE'], '.2f')} | {scores['MAE']:.4g} |"
                for name, scores in ((name, metrics[name]) for name in ("cellgate", "seasonal naive"))
            ),
            "",
            *(f"{inside_line(level, share)}." for level, share in shares_inside(metrics).items()),
            *(f"{remark[0].upper()}{remark[1:]}." for remark in interval_remarks(metrics)),
            "",
            "Seasonal naive repeats the last season. MASE below 1 beats what it did within the history; "
            "sMAPE is M4's, in percent.",
        ]
    else:
        lines.append("It was not measured on held-out steps (`Forecaster.evaluate` does).")
    lines += [
        "",
        "## How it was made",
        "",
        f"- Reads {'the logarithm of ' if task['log'] else ''}{_target(roles)}, up to {task['context']} steps; "
        f"a season has {task['season']}"
        + (f", a longer one {task['long_season']}." if task["long_season"] > 1 else "."),
        *_beside(roles),
        f"- Answers for {counted(task['horizon'], 'step')} at once, as corrections of simple forecasts of which "
        "seasonal naive is one.",
        f"- {counted(training['epochs'], 'epoch')} in {training['seconds']:.1f} s, "
        f"stopped by {training['stopped_by']}.",
        f"- The weights are those of epoch {training['best_epoch']}"
        + (
            f", which {training['models']} models found best on {training['models']} held-back stretches; "
            "the model itself was then trained on everything."
            if training["models"] > 1
            else ", the best on the held-back last steps."
        ),
        "",
        "## Limits",
        "",
        "It knows nothing but these columns: an event that they do not hold is not foreseen. "
        "`history.safetensors` holds the values it continues, so the folder is as confidential as the data.",
        "",
    ]
    return "\n".join(lines)


def _use(roles: dict[str, Any]) -> list[str]:
    """How to forecast, to the end of the section; a model with future columns has to be told of the steps to come."""
    future = roles["future"]
    calls = [
        ("forecaster.predict()", "what follows the history it was saved with"),
        ('forecaster.predict("newer.csv")', "what follows a newer one; same columns"),
    ]
    if future:
        calls = [
            ('forecaster.predict(future="coming.csv")', "what follows the history it was saved with"),
            ('forecaster.predict("newer.csv", future="coming.csv")', "what follows a newer one; same columns"),
        ]
    width = max(len(call) for call, _ in calls)
    told = "The values given are medians and intervals."
    command = "cellgate predict FOLDER"
    if future:
        command += " --future-data coming.csv"
        told = f"`coming.csv` has rows for the steps to come, with {_named(future)}. {told}"
    return [*(f"{call:<{width}}  # {does}" for call, does in calls), "```", "", f"or `{command}`. {told}"]


def _target(roles: dict[str, Any]) -> str:
    return _named([roles["target"]]) if roles["target"] and not roles["wide"] else "the values"


def _beside(roles: dict[str, Any]) -> list[str]:
    """A line on the columns beside the target, if there are any."""
    known = {"past": "up to the last step", "future": "for the steps to come too", "static": "of every series"}
    parts = [f"{_named(roles[kind])} ({what})" for kind, what in known.items() if roles[kind]]
    return [f"- Beside it: {', '.join(parts)}."] if parts else []


def _named(columns: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in columns)


def _shown(score: float, form: str) -> str:
    return "-" if score != score else format(score, form)
