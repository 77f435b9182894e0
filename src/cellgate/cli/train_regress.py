"""`cellgate train --task regress`: sequences with a number each."""

from __future__ import annotations

from cellgate.cli.sequence_run import Score
from cellgate.cli.train_labelled import labelled_command

command = labelled_command(
    "regress",
    "SequenceRegressor",
    Score("RMSE", False),
    0.0,
    """Train on sequences with a number each, measure beside the mean of the training, and write it to a folder.

    A long table has a row a step: a column that tells sequences apart, perhaps one of times, the features, and the
    label, repeated on every row of its sequence. With --wide every row is a whole sequence.

    [bold]cellgate train batteries.csv --task regress --out model[/bold]
    """,
)
