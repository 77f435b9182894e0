"""The options that every `cellgate check` has, whatever the data is for."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from cellgate.cli.columns import as_typed
from cellgate.errors import InputError

Task = Annotated[
    str | None,
    typer.Option(help="What the data is for: forecast, classify, regress, tag or generate; by the data if not given."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


def train_command(data: str, task: str | None = None, **options: Any) -> str:
    """The `cellgate train` that reads data as the check did, with every option that was typed."""
    words = ["cellgate", "train", data, *(("--task", task) if task else ())]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value not in (None, False, (), []):
            words += [option, as_typed(value) if isinstance(value, list | tuple) else str(value)]
    return shlex.join([*words, "--out", "model"])


@dataclass(frozen=True)
class Usable:
    """Whether data can be trained on.

    Attributes:
        command: that does it; None where it cannot be.
        why_not: what the training would say then.
    """

    command: str | None
    why_not: str = ""

    @property
    def exit_code(self) -> int:
        """0 or 2, as for everything that is not usable."""
        return 2 if self.command is None else 0

    @property
    def pair(self) -> tuple[str, str]:
        """The last line of the block."""
        return "usable", f"no: {self.why_not}" if self.command is None else f"yes: {self.command}"

    @property
    def facts(self) -> dict[str, Any]:
        """The same for --json."""
        return {"usable": self.command, **({"why_not": self.why_not} if self.command is None else {})}


def usable_by(command: Callable[[], str]) -> Usable:
    """What a function says that gives the command, or raises what the training would raise."""
    try:
        return Usable(command())
    except InputError as error:
        return Usable(None, str(error))
