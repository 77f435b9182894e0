"""The model cards of the sequence estimators."""

from __future__ import annotations

import math
from typing import Any

from cellgate.training import TrainingRecord, kept_weights

_DOES = {
    "SequenceClassifier": "says which class a whole sequence belongs to",
    "SequenceRegressor": "predicts one number for a whole sequence",
    "SequenceTagger": "gives every step of a sequence a tag",
    "LanguageModel": "says what comes next in a text, and writes on",
}
_USE = {
    "SequenceClassifier": ("model.predict(X)", "model.predict_proba(X)"),
    "SequenceRegressor": ("model.predict(X)",),
    "SequenceTagger": ("model.predict(sequences)",),
    "LanguageModel": ('model.generate("To be", length=200)', "model.evaluate(text)"),
}


def sequence_card(
    kind: str, baseline: str, config: dict[str, Any], preprocess: dict[str, Any], metrics: dict[str, Any]
) -> str:
    """README.md of a model's folder."""
    model, training = config["model"], config["training"]
    record = TrainingRecord(**training)
    layers = f"{model['num_layers']} layer{'s' if model['num_layers'] > 1 else ''}"
    both = " in each direction" if model["bidirectional"] else ""
    lines = [
        f"# {kind}",
        "",
        f"An LSTM ({layers} of {model['hidden_size']} units{both}) that {_DOES[kind]}, trained by cellgate on "
        f"`{preprocess['source']}`.",
        "",
        "## Use",
        "",
        "```python",
        "import cellgate",
        "",
        'model = cellgate.load("THIS FOLDER")',
        *_USE[kind],
        "```",
        "",
        f"or `cellgate {'generate FOLDER' if kind == 'LanguageModel' else 'predict FOLDER --data DATA'}`.",
        "",
        "## How good it is",
        "",
        *_scores(baseline, metrics),
        "",
        "## How it was made",
        "",
        *_by_group(preprocess.get("roles", {}).get("group")),
        f"- {training['epochs']} epochs in {training['seconds']:.1f} s, stopped by {training['stopped_by']}.",
        *(f"- {told}" for told in kept_weights(record, "text" if kind == "LanguageModel" else "sequences")),
        "",
        "## Limits",
        "",
        "It knows what was in its training data and nothing else; on data of another kind its answers mean little. "
        + (
            "Probabilities were made less sure by what was held back, all by one share, and not calibrated further."
            if record.share < 1
            else "Probabilities are the network's own and were not calibrated."
        ),
        "",
    ]
    return "\n".join(lines)


def _scores(baseline: str, metrics: dict[str, Any]) -> list[str]:
    if "cellgate" not in metrics:
        return ["It was not measured on held-out data (`evaluate` does)."]
    names = list(metrics["cellgate"])
    counted = next((f"{count:,} {what}" for what, count in metrics.items() if isinstance(count, int)), "Data")
    rivals = [name for name, scores in metrics.items() if isinstance(scores, dict)]
    return [
        f"{counted} that training never saw:",
        "",
        f"| | {' | '.join(names)} |",
        "|---" * (len(names) + 1) + "|",
        *(f"| {name} | {' | '.join(f'{metrics[name][score]:.4g}' for score in names)} |" for name in rivals),
        *_doubts(baseline, metrics["cellgate"], metrics.get(baseline, {})),
    ]


def _by_group(column: str | None) -> list[str]:
    """That groups were not torn apart."""
    if column is None:
        return []
    return [f"- What was held back had whole groups of `{column}`: no group was both learnt from and held back."]


def _doubts(baseline: str, ours: dict[str, float], theirs: dict[str, float]) -> list[str]:
    """That its classes may be taken, but not its probabilities."""
    if ours.get("log loss", 0.0) <= theirs.get("log loss", math.inf):
        return []
    return ["", f"Its log loss is worse than that of the {baseline}: take its classes, not how sure it is of them."]
