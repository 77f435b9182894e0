"""A TrainingRecord in words: how long, and whose weights were kept."""

from __future__ import annotations

import math

from cellgate.training.loop import TrainingRecord


def best_epoch(record: TrainingRecord) -> str:
    """Which epoch's weights were kept, and why, in a few words."""
    if record.models > 1:
        return f"best was {record.best_epoch} by {record.models} folds, then {record.best_epoch} on everything"
    if math.isinf(record.best_score):
        return "the last kept, as nothing was held back"
    return f"best was {record.best_epoch}"


def kept_weights(record: TrainingRecord, what: str) -> list[str]:
    """The same in sentences, for a model card.

    Args:
        record: of the training.
        what: it was trained on, in the plural.
    """
    epoch = record.best_epoch
    if record.models == 1 and math.isinf(record.best_score):
        return [f"Nothing was held back to stop by: the weights are those of epoch {epoch}, the last."]
    if record.models == 1:
        told = [f"The weights are those of epoch {epoch}, the best on the part held back for that."]
    else:
        found = f"{record.models} models, each with another part of the {what} held back"
        told = [f"How long to train was found by {found}; the model itself then learnt from all, for {epoch} epochs."]
    if record.share < 1:
        told.append(
            f"What was held back asked for {record.share:.0%} of the network's answer and {1 - record.share:.0%} of "
            "the baseline's; the readout's weights hold that."
        )
    return told
