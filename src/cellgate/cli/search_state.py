"""What a search (`cellgate tune`) is resumed from: its options and what was tried, in its folder's `checkpoint`.

Optuna's state is not kept. Its choices follow from the seed and the scores before them, so a search that is resumed
asks for the first ones again, tells the scores that they had, and goes on as if it had never stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellgate.cli.config import CHECKPOINT, FILES, TUNED, toml_table
from cellgate.cli.placing import TRIAL, place
from cellgate.data.files import bytes_of, write_atomic
from cellgate.errors import InputError

_TRIED = "search.json"


@dataclass
class SearchState:
    """What has been tried so far.

    Attributes:
        rows: one a training, in order: trial, what was chosen for it, validation (None if it failed), seconds.
        left_out: series that are too short to learn from.
        placing: the files of the best model while they take their places, so that a kill then loses none; else None.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    placing: list[str] | None = None

    @property
    def best(self) -> int | None:
        """The trial with the best score, the first of equal ones; None where there is none."""
        scores = {k: row["validation"] for k, row in enumerate(self.rows) if row["validation"] is not None}
        return min(scores, key=lambda k: scores[k]) if scores else None


def identity_of(parameters: Mapping[str, Any], typed: Set[str]) -> dict[str, Any]:
    """What a search is of: every option, which of them were given, and what is in the files.

    Args:
        parameters: the options of its trainings.
        typed: the names of those that were given.
    """
    files = {name: parameters[name] for name in FILES & parameters.keys() if parameters[name] is not None}
    paths = {name: Path(value) for name, value in files.items()}
    digests = {
        name: hashlib.sha256(bytes_of(path)).hexdigest() if path.is_file() else str(files[name])
        for name, path in paths.items()
    }
    options = {name: value for name, value in parameters.items() if name not in FILES}
    plain = json.loads(json.dumps(options, default=str))
    return {"options": plain, "typed": sorted(typed - FILES), "files": digests}


def save_options(out: Path, typed: Mapping[str, Any]) -> None:
    """Write the options that were given, so that --resume needs no others.

    Raises:
        OSError: if they cannot be written.
    """
    folder = out / CHECKPOINT
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / TUNED, toml_table("tune", typed).encode())


def save_state(out: Path, state: SearchState, identity: Mapping[str, Any]) -> None:
    """Write what was tried.

    Raises:
        OSError: if it cannot be written; what was written before then stands.
    """
    tried = {"identity": identity, "rows": state.rows, "left_out": state.left_out, "placing": state.placing}
    write_atomic(out / CHECKPOINT / _TRIED, json.dumps(tried).encode())


def load_state(out: Path, model: Path, identity: Mapping[str, Any]) -> SearchState:
    """What was tried before a search was cut short; a model that was on its way is brought to its place.

    Args:
        out: the folder of the search.
        model: where its best model stands.
        identity: what is to be searched now.

    Raises:
        InputError: for a search of other data or options, and for a damaged file.
    """
    path = out / CHECKPOINT / _TRIED
    if not path.is_file():  # the first training was not done
        return SearchState()
    try:
        tried = json.loads(path.read_text())
        state, of = SearchState(tried["rows"], tried["left_out"], tried["placing"]), tried["identity"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected what a search has tried, got a damaged file ({error}); --force") from None
    if of != identity:
        raise InputError(
            f"--resume: expected the data and options of the search that was cut short, got other "
            f"{_other(of, identity)}; leave them out (only --trials and --budget may change), or --force starts again"
        )
    trial = out / CHECKPOINT / TRIAL
    if state.placing is not None and (trial / "config.json").is_file():
        place(trial, model, state.placing)
    state.placing = None
    return state


def _other(of: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """The names of what differs."""
    before, now = ({**one["options"], **one["files"]} for one in (of, identity))
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    names += [
        name for name in {*of["typed"], *identity["typed"]} if (name in of["typed"]) != (name in identity["typed"])
    ]
    return ", ".join(name if name in FILES else f"--{name.replace('_', '-')}" for name in sorted(set(names)))
