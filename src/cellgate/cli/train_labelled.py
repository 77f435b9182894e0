"""The command of the tasks over sequences with one label each: the same options, another estimator."""

from __future__ import annotations

from collections.abc import Callable

from cellgate import estimators
from cellgate.cli import sequence_options as sequences
from cellgate.cli import training_options as options
from cellgate.cli.sequence_run import Score, run


def labelled_command(name: str, kind: str, score: Score, dropped: float, told: str) -> Callable[..., int | None]:
    """A command that trains such an estimator.

    Args:
        name: the task.
        kind: the estimator's name; it is imported when the command runs.
        score: what decides whether the baseline is beaten.
        dropped: the dropout where none is asked for.
        told: its help.
    """

    def command(
        data: sequences.Data,
        out: options.Out,
        task: options.Task = name,
        holdout: sequences.Holdout = 0.2,
        test: sequences.Test = None,
        id: sequences.Id = None,
        time: sequences.Time = None,
        target: sequences.Target = None,
        group: sequences.Group = None,
        features: sequences.Features = None,
        gaps: sequences.Gaps = False,
        wide: sequences.Wide = False,
        steps: sequences.Steps = None,
        hidden_size: options.HiddenSize = None,
        layers: options.Layers = 1,
        one_way: sequences.OneWay = False,
        dropout: options.Dropout = dropped,
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
        estimator = getattr(estimators, kind)(
            id=id,
            time=time,
            target=target,
            group=group,
            features=sequences.split_names(features),
            gaps=gaps,
            wide=wide,
            steps=steps,
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
            score,
            test=test,
            holdout=holdout,
            resume=resume,
            checkpoint_every=checkpoint_every,
            tensorboard=tensorboard,
            report=report,
            force=force,
            as_json=as_json,
        )

    command.__doc__ = told
    return command
