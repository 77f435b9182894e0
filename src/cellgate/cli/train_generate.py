"""`cellgate train --task generate`: a language model of a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cellgate import estimators
from cellgate.cli import training_options as options
from cellgate.cli.app import INTERRUPTED
from cellgate.cli.config import seconds_so_far
from cellgate.cli.console import say, say_json, say_pairs
from cellgate.cli.sequence_run import Score, say_scores
from cellgate.cli.training_run import (
    alone_in,
    fit_and_save,
    next_command,
    report_line,
    require_fresh,
    took,
    training_facts,
    training_line,
)
from cellgate.data.text import Text, read_text
from cellgate.data.words import counted
from cellgate.errors import InputError


def command(
    data: Annotated[Path, typer.Argument(help="A text file.")],
    out: options.Out,
    task: options.Task = "generate",
    holdout: Annotated[
        float, typer.Option(min=0, max=0.9, help="The share of the text, its end, kept out to measure on; 0 for none.")
    ] = 0.1,
    test: Annotated[
        Path | None, typer.Option(help="A text to measure on, in a file of its own; nothing is then held out.")
    ] = None,
    units: Annotated[
        str, typer.Option(help="What is learnt one by one: characters or words.", rich_help_panel=options.MODEL_PANEL)
    ] = "characters",
    vocabulary_size: Annotated[
        int, typer.Option(min=2, help="The most tokens that are told apart.", rich_help_panel=options.MODEL_PANEL)
    ] = 10_000,
    hidden_size: options.HiddenSize = None,
    layers: options.Layers = 1,
    dropout: options.Dropout = 0.3,
    state_dropout: Annotated[
        float,
        typer.Option(min=0, max=0.95, help="Dropout of the recurrent state.", rich_help_panel=options.MODEL_PANEL),
    ] = 0.25,
    learning_rate: options.LearningRate = 4e-3,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Streams of text read side by side.", rich_help_panel=options.MODEL_PANEL)
    ] = 32,
    steps: Annotated[
        int, typer.Option(min=1, help="Tokens differentiated through at once.", rich_help_panel=options.MODEL_PANEL)
    ] = 64,
    max_epochs: options.MaxEpochs = None,
    max_time: options.MaxTime = None,
    patience: options.Patience = None,
    validation: Annotated[
        float | None,
        typer.Option(
            min=0, max=0.9, show_default="0.05, 20,000 characters at most",
            help="The share of the training, its end, kept to stop in time.", rich_help_panel=options.MODEL_PANEL,
        ),
    ] = None,
    seed: options.Seed = 0,
    resume: options.Resume = False,
    checkpoint_every: options.CheckpointEvery = 10.0,
    tensorboard: options.TensorBoard = False,
    report: options.Report = False,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> int | None:  # fmt: skip
    """Train a language model on a text, measure it beside bigrams, show what it writes, and save it to a folder.

    With --max-time the schedule of the learning rate ends when the time does.

    [bold]cellgate train shakespeare.txt --task generate --max-time 540 --out model[/bold]
    """
    require_fresh(out, force, resume)
    if units not in ("characters", "words"):
        raise InputError(f"--units: expected characters or words, got {units!r}")
    model = estimators.LanguageModel(
        units=units,  # pyright: ignore[reportArgumentType]
        vocabulary_size=vocabulary_size,
        hidden_size=hidden_size,
        num_layers=layers,
        dropout=dropout,
        state_dropout=state_dropout,
        learning_rate=learning_rate,
        batch_size=batch_size,
        steps=steps,
        max_epochs=max_epochs,
        max_seconds=max_time,
        patience=patience,
        validation=validation,
        seed=seed,
    )
    text = read_text(data)
    learnt, measured, told = _split(text, test, holdout)
    if measured is not None:
        model.require_scored(measured)  # now, not when the training is over
    if not as_json:
        size = f"{counted(len(text.text), 'character')}, {counted(text.text.count(chr(10)) + 1, 'line')}"
        lines = [("data", f"{text.source}: {size}")]
        say_pairs([*lines, *(("note", note) for note in text.notes), ("held out", told)])
    opened = (learnt if measured is None else measured) if report else None
    with alone_in(out, force, resume):
        metrics = fit_and_save(
            out, model, learnt, measured, opened, as_json, tensorboard, checkpoint_every,
            lambda: {"validation": _share(len(learnt.text), model._held(learnt))},
        )  # fmt: skip
    _say_report(out, text, model, metrics, report, as_json)
    return INTERRUPTED if model.record_.stopped_by == "Ctrl-C" else None


def _share(characters: int, held: int) -> float:
    """The shortest share that holds back so many characters at the end."""
    shares = (round((held + 0.5) / characters, digits) for digits in range(1, 17))
    return next((share for share in shares if int(characters * share) == held), held / characters)


def _split(text: Text, test: Path | None, holdout: float) -> tuple[Text, Text | None, str]:
    if test is not None:
        return text, read_text(test), f"nothing: measured on {test}"
    cut = len(text.text) - int(len(text.text) * holdout)
    if cut == len(text.text):
        return text, None, "nothing: the model is not measured"
    head, tail = Text(text.source, text.text[:cut]), Text(f"the end of {text.source}", text.text[cut:])
    return head, tail, f"the last {counted(len(tail.text), 'character')}"


def _say_report(
    out: Path, text: Text, model: estimators.LanguageModel, metrics: dict[str, Any], report: bool, as_json: bool
) -> None:
    record, lstm = model.record_, model.model_.lstm
    if as_json:
        facts = {"out": str(out), "data": f"{text.source}: {len(text.text):,} characters", "metrics": metrics}
        say_json({**facts, "training": training_facts(record), "seconds": seconds_so_far()})
        return
    different = counted(len(model.vocabulary_) - 1, f"different {model.units.removesuffix('s')}")
    units = f"{lstm.num_layers} x {lstm.hidden_size} units, {different}"
    say_pairs([("trained", training_line(units, record))])
    if metrics:
        say()
        say_scores(metrics, Score(next(iter(metrics["cellgate"])), higher_is_better=False))
    say()
    say_pairs([("writes", line) for line in model.generate(length=160, temperature=0.8).strip().splitlines() or [""]])
    say()
    say(f"wrote {out}: the model{took()}")
    if report:
        say(report_line(out))
    say(f"next  {next_command(out, 'LanguageModel')}")
