"""The model card: what a saved model is, for whoever finds the folder."""

from __future__ import annotations

from typing import Any

from cellgate.data.words import counted


def forecaster_card(config: dict[str, Any], preprocess: dict[str, Any], metrics: dict[str, Any]) -> str:
    """README.md of a Forecaster's folder."""
    model, task, training = config["model"], config["task"], config["training"]
    series = preprocess["series"]
    steps = sum(entry["steps"] for entry in series)
    layers = f"{model['num_layers']} layer{'s' if model['num_layers'] > 1 else ''}"
    lines = [
        "# Forecaster",
        "",
        f"An LSTM ({layers} of {model['hidden_size']} units) that predicts the next {counted(task['horizon'], 'step')} "
        f"of {len(series)} series, trained by cellgate on `{preprocess['source']}` ({steps:,} steps).",
        "",
        "## Use",
        "",
        "```python",
        "import cellgate",
        "",
        'forecaster = cellgate.load("THIS FOLDER")',
        "forecaster.predict()                 # what follows the history it was saved with",
        'forecaster.predict("newer.csv")      # what follows a newer one; same columns',
        "```",
        "",
        "or `cellgate predict FOLDER`. The values given are medians and intervals.",
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
                f"| {name} | {metrics[name]['MASE']:.3f} | {metrics[name]['sMAPE']:.2f} | {metrics[name]['MAE']:.4g} |"
                for name in ("cellgate", "seasonal naive")
            ),
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
        f"- Reads {'log y' if task['log'] else 'y'}, up to {task['context']} steps; a season has {task['season']}"
        + (f", a longer one {task['long_season']}." if task["long_season"] > 1 else "."),
        f"- Answers for {counted(task['horizon'], 'step')} at once, as differences from the seasonal naive forecast.",
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
