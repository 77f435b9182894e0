"""`cellgate train --task classify`: sequences with a class each."""

from __future__ import annotations

from cellgate.cli.sequence_run import Score
from cellgate.cli.train_labelled import labelled_command

command = labelled_command(
    "classify",
    "SequenceClassifier",
    Score("accuracy", True),
    0.4,
    """Train a classifier on labelled sequences, measure it beside the majority class, and write it to a folder.

    A long table has a row a step: a column that tells sequences apart, perhaps one of times, the features, and the
    label, repeated on every row of its sequence. With --wide every row is a whole sequence.

    [bold]cellgate train gestures.csv --task classify --out model[/bold]
    """,
)
