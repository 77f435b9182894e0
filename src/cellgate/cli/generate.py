"""`cellgate generate`: text from a trained language model, printed as it is drawn."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cellgate import estimators
from cellgate.cli.console import say_json
from cellgate.data.delimited import decode
from cellgate.data.text import one_line_end
from cellgate.errors import InputError

_SHOWN = 5  # of the unknown


def command(
    model: Annotated[Path, typer.Argument(help="The folder that `cellgate train --task generate --out` wrote.")],
    prompt: Annotated[str, typer.Option(help="How the text begins; '-' reads it from standard input.")] = "",
    length: Annotated[int, typer.Option(min=0, help="How many characters, or words, to write.")] = 500,
    temperature: Annotated[
        float, typer.Option(min=0, help="Below 1 likelier, above 1 stranger; 0 always the most probable.")
    ] = 0.8,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw among the k most probable only.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw among the fewest that hold this share of the probability.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds write equal texts.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object at the end instead of a stream.")] = False,
) -> None:
    """Write on from a prompt with a language model, the text appearing as it is drawn.

    [bold]cellgate generate model --prompt "ROMEO:" --length 300[/bold]
    """
    estimator = estimators.load(model)
    if not isinstance(estimator, estimators.LanguageModel):
        raise InputError(f"{model}: expected a LanguageModel, got a {type(estimator).__name__}; use cellgate predict")
    if prompt == "-":
        prompt, notes = decode(sys.stdin.buffer.read(), "standard input", "a prompt")
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
    prompt = one_line_end(prompt)
    drawn = estimator.stream(prompt, length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    unknown = estimator.vocabulary_.unknown(estimator.vocabulary_.begun(prompt))
    if as_json:
        told = {"model": str(model), "prompt": prompt, "unknown": unknown, "text": "".join(drawn), "seed": seed}
        say_json(told)
        return
    if unknown:
        what = "word" if estimator.units == "words" else "character"
        shown = ", ".join(repr(piece.strip(" ") or piece) for piece in unknown[:_SHOWN])
        more = ", ..." if len(unknown) > _SHOWN else ""
        count = f"{len(unknown)} {what}{'s' if len(unknown) > 1 else ''}"
        note = f"note: the prompt has {count} that training did not have, read as unknown: {shown}{more}"
        print(note, file=sys.stderr)
    sys.stdout.write(prompt)
    for piece in drawn:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
