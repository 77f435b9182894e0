"""`cellgate check` on a text to learn to write."""

from __future__ import annotations

from typing import Annotated

import typer

from cellgate.cli.check_options import AsJson, Task, train_command, usable_by
from cellgate.cli.console import say_json, say_pairs
from cellgate.data import DataError
from cellgate.data.findings import text_findings
from cellgate.data.text import Text, Vocabulary, read_text, split
from cellgate.data.words import counted
from cellgate.errors import InputError
from cellgate.estimators import LanguageModel

_HELD_OUT = 0.1  # of `cellgate train`, where it is not typed
_ENOUGH = 1_000  # tokens, whatever is held out


def command(
    data: Annotated[str, typer.Argument(help="A text file.")],
    task: Task = None,
    units: Annotated[str, typer.Option(help="What is learnt one by one: characters or words.")] = "characters",
    as_json: AsJson = False,
) -> int:
    """Read a text as `cellgate train --task generate` would, and say how much it is and what looks odd in it.

    [bold]cellgate check shakespeare.txt --task generate[/bold]
    """
    if units not in ("characters", "words"):
        raise InputError(f"--units: expected characters or words, got {units!r}")
    return report(read(data), data, units, as_json)


def read(data: str) -> Text:
    """Read a file; unlike read_text, never takes the name of a missing one for a text."""
    from pathlib import Path

    return read_text(Path(data))


def report(text: Text, data: str, units: str, as_json: bool) -> int:
    """Say what the text is, and how it can be trained on. Gives the exit code."""
    tokens = list(split(text.text, units))  # pyright: ignore[reportArgumentType]
    different = len(set(tokens))
    typed = {"units": "words"} if units == "words" else {}
    usable = usable_by(lambda: train_command(data, "generate", **typed, **_holdout(text, tokens, units)))
    odd = text_findings(text, tokens, units)
    lines = text.text.count("\n") + 1
    if as_json:
        say_json(
            {
                "source": text.source,
                "task": "generate",
                "characters": len(text.text),
                "lines": lines,
                "units": units,
                "tokens": len(tokens),
                "different": different,
                "notes": list(text.notes),
                "odd": odd,
                **usable.facts,
            }
        )
        return usable.exit_code
    say_pairs(
        [
            ("data", f"{text.source}: {counted(len(text.text), 'character')}, {counted(lines, 'line')}"),
            ("reads", f"{counted(len(tokens), units[:-1])}, {different:,} different"),
            *(("note", note) for note in text.notes),
            *(("odd", line) for line in odd),
            usable.pair,
        ]
    )
    return usable.exit_code


def _holdout(text: Text, tokens: list[str], units: str) -> dict[str, str]:
    """The --holdout to type, as the text is too short for the usual one; {} where it is not.

    Raises:
        DataError: for a text that is too short in any case, in the words of the training.
    """
    if len(tokens) > _ENOUGH:
        return {}
    model = LanguageModel(units=units)  # pyright: ignore[reportArgumentType]
    for share in (_HELD_OUT, 0.0):
        learnt = Text(text.source, text.text[: len(text.text) - int(len(text.text) * share)])
        model.vocabulary_ = Vocabulary.fit(learnt.text, units, model.vocabulary_size)  # pyright: ignore[reportArgumentType]
        try:
            model._tokens(learnt)
        except DataError:
            if not share:
                raise
        else:
            return {} if share else {"holdout": "0"}
    return {}
