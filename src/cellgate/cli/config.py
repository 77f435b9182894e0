"""Options from a TOML file: `--config FILE` for every verb that reads data, and the file that repeats a training.

    [train]                  one table a verb; a file without such tables is all for the verb that is called
    data = "sales.csv"       arguments and options by their long names, with - or _
    max-epochs = 50
    level = [80, 90]         an option that may be repeated is a list

What is typed on the command line goes before the file. A key that the verb does not have is refused.
"""

from __future__ import annotations

import functools
import inspect
import json
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from cellgate._version import __version__
from cellgate.data.files import STANDARD_INPUT, text_bytes, write_atomic
from cellgate.errors import InputError

SAVED = "train.toml"
TUNED = "tune.toml"  # the options of a search that is not done, in its checkpoint
CHECKPOINT = "checkpoint"  # the folder of a training that is not done, within that of the model
Config = Annotated[Path | None, typer.Option(help="A TOML file of options; those typed go before it.")]
FILES = {"data", "test"}  # what else has the name of a file, a column for instance, is none
_READ = {*FILES, "future_data", "source"}  # what may be - for standard input
_OF_THE_RUN = {"out", "resume", "force", "json", "as_json", "config"}  # where and how, not what


@dataclass(frozen=True)
class _Running:
    """The command that runs: its verb and its options, and when it began."""

    verb: str
    parameters: dict[str, Any]
    began: float = field(default_factory=time.monotonic)


_current: ContextVar[_Running | None] = ContextVar("current command", default=None)


def take_config(arguments: Sequence[str], verb: str = "train") -> tuple[list[str], Path | None]:
    """The arguments without --config FILE, and the file; the last one counts.

    `--resume --out FOLDER` without a file takes the options of what was cut short, from the folder.

    Raises:
        InputError: for --config without a file, and for --resume where there is nothing that was cut short.
    """
    search = verb == "tune"
    rest: list[str] = []
    path: Path | None = None
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--config":
            following = next(words, None)
            if following is None:
                raise InputError("--config: expected a TOML file, got nothing after it; name the file")
            path = Path(following)
        elif word.startswith("--config="):
            path = Path(word.removeprefix("--config="))
        else:
            rest.append(word)
    if path is None and "--resume" in rest:
        out = _value_of("--out", rest)
        # Those of 0.1.0 lay beside the checkpoint.
        names = [Path(CHECKPOINT, TUNED)] if search else [Path(CHECKPOINT, SAVED), Path(SAVED)]
        places = [Path(out) / name for name in names] if out else []
        path = next((place for place in places if place.is_file()), None)
        if out and path is None:
            from cellgate.cli.training_run import require_fresh  # which imports this

            require_fresh(
                Path(out), force=False, resume=True, search=search
            )  # says so if there is nothing to go on from
    return rest, path


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    for k, word in enumerate(arguments):
        if word.startswith(f"{option}="):
            return word.removeprefix(f"{option}=")
        if word == option and k + 1 < len(arguments):
            return arguments[k + 1]
    return None


def read_config(path: Path, verb: str, verbs: Iterable[str]) -> dict[str, Any]:
    """What a file says for a verb, key by key as it is written.

    Raises:
        InputError: if it is not there, is not TOML, or has a table for no verb.
    """
    try:
        content = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"--config {path}: expected a TOML file, found none; check the name") from None
    except IsADirectoryError:
        raise InputError(f"--config {path}: expected a TOML file, got a folder; name the file in it") from None
    except UnicodeDecodeError:
        raise InputError(f"--config {path}: expected TOML in UTF-8, got another encoding; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"--config {path}: expected TOML, got a mistake in it: {error}; correct it") from None
    verbs = list(verbs)
    tables = {key for key, value in content.items() if isinstance(value, dict)}
    strange = sorted(tables - set(verbs))
    if strange:
        near = get_close_matches(strange[0], verbs, 1)
        hint = f"; did you mean [{near[0]}]?" if near else ""
        raise InputError(f"--config {path}: expected a table for a verb, got [{strange[0]}]{hint}")
    if not tables:
        return content
    loose = [key for key in content if key not in tables]
    if loose:
        raise InputError(
            f"--config {path}: expected {loose[0]!r} in a table, as there are tables for verbs; put it under [{verb}]"
        )
    return content.get(verb, {})


def defaults_for(command: Any, values: dict[str, Any], path: Path) -> dict[str, Any]:
    """The values by the names of the command's parameters, as text, for its context's default_map.

    Args:
        command: the Typer command.
        values: what read_config gave.
        path: the file, for messages.

    Raises:
        InputError: for a key that the command does not have, with the nearest one, or a list, a value or a truth
            where another of them belongs.
    """
    parameters: dict[str, Any] = {}
    shown: dict[str, str] = {}
    for parameter in command.params:
        long = [option.lstrip("-") for option in getattr(parameter, "opts", ()) if option.startswith("--")]
        for name in {parameter.name, *long}:
            parameters[name.replace("-", "_")] = parameter
        shown[(long[0] if long else parameter.name).replace("-", "_")] = long[0] if long else parameter.name
    for name in ("help", "version", "config"):
        parameters.pop(name, None)
        shown.pop(name, None)
    made: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in parameters:
            near = get_close_matches(name, shown, 1)
            hint = f"did you mean {shown[near[0]]!r}?" if near else f"known are {', '.join(sorted(shown.values()))}"
            raise InputError(f"--config {path}: expected an option of `cellgate {command.name}`, got {key!r}; {hint}")
        parameter = parameters[name]
        made[parameter.name] = _shaped(parameter, key, value, path)
    return made


def _shaped(parameter: Any, key: str, value: Any, path: Path) -> Any:
    flag, several = getattr(parameter, "is_flag", False), getattr(parameter, "multiple", False) or parameter.nargs != 1
    if flag != isinstance(value, bool):
        expected = "true or false" if flag else "a value"
        raise InputError(f"--config {path}: expected {expected} for {key!r}, got {json.dumps(value, default=str)}")
    if several and not isinstance(value, list):
        value = [value]
    if not several and isinstance(value, list | dict):
        raise InputError(f"--config {path}: expected one value for {key!r}, got {json.dumps(value, default=str)}")
    # As text, a value goes through the very checks that the command line goes through, when the verb is called.
    return value if flag else [str(part) for part in value] if several else str(value)


def _standard_input_for(value: Any) -> Any:
    """The name of standard input for -, where the system has one; the file of that name, if there is any."""
    if value is None or str(value) != "-" or Path("-").exists() or not STANDARD_INPUT.exists():
        return value
    return type(value)(STANDARD_INPUT)


# ---------------------------------------------------------------- the file that repeats a training


def remembered(function: Callable[..., Any], verb: str) -> Callable[..., Any]:
    """The verb's function with --config among its options; save_config knows its parameters while it runs."""

    @functools.wraps(function)
    def call(config: Any = None, **parameters: Any) -> Any:  # the file has been read before the options are
        parameters |= {name: _standard_input_for(parameters[name]) for name in _READ & parameters.keys()}
        token = _current.set(_Running(verb, parameters))
        try:
            return function(**parameters)
        finally:
            _current.reset(token)

    signature = inspect.signature(function, eval_str=True)  # annotations as objects: strings are not looked up again
    option = inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Config)
    extended = signature.replace(parameters=[*signature.parameters.values(), option])
    call.__signature__ = extended  # type: ignore[attr-defined]
    call.__annotations__ = {name: parameter.annotation for name, parameter in extended.parameters.items()}
    return call


def seconds_so_far() -> float | None:
    """How long the command has been running; None outside of one."""
    running = _current.get()
    return None if running is None else time.monotonic() - running.began


def save_config(out: Path, found: Mapping[str, Any] | None = None) -> None:
    """Write the options of the command that runs to `out`/train.toml, every default filled in.

    `cellgate train --config out/train.toml --out other` then repeats the run. Called outside a command
    (a test, a program), it writes nothing.

    Args:
        out: the folder.
        found: options that the data have decided, where they were not given, and lists as they were understood. A
            training that is resumed is to be given the same options as before, so these are for the end.

    Raises:
        OSError: if it cannot be written.
    """
    running = _current.get()
    if running is None:
        return
    verb = running.verb
    found = found or {}

    def decided(name: str, value: Any) -> Any:
        # A list is written as it was understood: numbers as numbers, whether typed "80,95" or read from such a file.
        off = value is None or value is False or value == []
        return found.get(name) if off or isinstance(found.get(name), list) else value

    parameters = {name: decided(name, value) for name, value in running.parameters.items()}
    told = [
        f"# What this model was trained with, by cellgate {__version__}. To repeat it:",
        f"#   cellgate {verb} --config {SAVED} --out ANOTHER_FOLDER",
    ]
    text = "\n".join(told) + "\n" + toml_table(verb, parameters)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / SAVED, text.encode())


def toml_table(verb: str, parameters: Mapping[str, Any]) -> str:
    """The options of a verb as its table in TOML; without those of the run, and those that are off.

    Raises:
        InputError: for a file whose name TOML cannot hold.
    """
    lines = [f"[{verb}]"]
    for name, value in parameters.items():
        if name in FILES and text_bytes(str(value)).decode() != str(value):
            raise InputError(
                f"{name} {value}: expected a name in UTF-8, as {SAVED} can hold no other, got one that is none; "
                "rename the file"
            )
        if name in _OF_THE_RUN or value is None or value is False or (isinstance(value, list | tuple) and not value):
            continue
        lines.append(f"{name.replace('_', '-')} = {_toml(_absolute(value) if name in FILES else value)}")
    return "\n".join(lines) + "\n"


def _absolute(value: Any) -> Any:
    """A file by its absolute path, so that the run can be repeated from anywhere; the name of bundled data as it is."""
    return str(Path(value).absolute()) if str(value) and Path(value).is_file() else value


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    # JSON's escapes are TOML's; only the character DEL is escaped by one of them alone.
    return json.dumps(str(getattr(value, "value", value)), ensure_ascii=False).replace("\x7f", "\\u007f")
