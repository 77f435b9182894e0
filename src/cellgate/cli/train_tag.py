"""`cellgate train --task tag`: a label for every step."""

from __future__ import annotations

from typing import Annotated

import typer

from cellgate import estimators
from cellgate.cli import sequence_options as sequences
from cellgate.cli import training_options as options
from cellgate.cli.sequence_run import Score, run


def command(
    data: sequences.Data,
    out: options.Out,
    task: options.Task = "tag",
    holdout: sequences.Holdout = 0.2,
    test: sequences.Test = None,
    id: sequences.Id = None,
    time: sequences.Time = None,
    target: sequences.Target = None,
    group: sequences.Group = None,
    features: sequences.Features = None,
    gaps: sequences.Gaps = False,
    token: Annotated[
        str | None,
        typer.Option(help="The column of words; of a CoNLL file its number.", rich_help_panel="What the table means"),
    ] = None,
    hidden_size: options.HiddenSize = None,
    layers: options.Layers = 1,
    one_way: sequences.OneWay = False,
    dropout: options.Dropout = 0.3,
    learning_rate: options.LearningRate = 5e-3,
    batch_size: options.BatchSize = 32,
    max_epochs: options.MaxEpochs = None,
    max_time: options.MaxTime = None,
    patience: options.Patience = None,
    validation: sequences.Validation = 0.1,
    seed: options.Seed = 0,
    resume: options.Resume = False,
    checkpoint_every: options.CheckpointEvery = 10.0,
    tensorboard: options.TensorBoard = False,
    report: options.Report = False,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> int | None:
    """Train a tagger, measure it beside each word's most frequent tag, and write it to a folder.

    Data are a CoNLL file (.conll, .conllu, .iob: a word a line, its tag last, an empty line after a sentence), or a
    long table with a row a step: a column that tells sequences apart, words or features, and the tag.

    [bold]cellgate train sentences.conll --task tag --out model[/bold]
    """
    estimator = estimators.SequenceTagger(
        id=id,
        time=time,
        target=target,
        group=group,
        features=sequences.split_names(features),
        gaps=gaps,
        token=token,
        hidden_size=hidden_size,
        num_layers=layers,
        bidirectional=not one_way,
        dropout=dropout,
        learning_rate=learning_rate,
        batch_size=batch_size,
        max_epochs=max_epochs,
        max_seconds=max_time,
        patience=patience,
        validation=validation,
        seed=seed,
    )
    return run(
        estimator,
        data,
        out,
        Score("accuracy", True),
        test=test,
        holdout=holdout,
        resume=resume,
        checkpoint_every=checkpoint_every,
        tensorboard=tensorboard,
        report=report,
        force=force,
        as_json=as_json,
    )
