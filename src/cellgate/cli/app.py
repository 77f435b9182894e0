"""The `cellgate` command: the table of verbs, loaded one at a time, and what an error looks like.

A verb is a file in this folder with a function `command`, written as Typer likes it (annotated
parameters, a docstring that is its help), or with a function `choose` that gives such a one for the
arguments. It is imported only when it is called, so that `cellgate --help` waits for none of
them. To add a verb, write its file and add a line to VERBS.

Exit codes:
    0    done
    1    a fault of cellgate's own: please report it
    2    the command, the data or the folder is not usable: the message says what to change
    3    the training went wrong (a loss that is not a number); nothing broken was saved
    130  stopped by Ctrl-C
"""

from __future__ import annotations

import errno
import importlib
import inspect
import io
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperGroup

from cellgate._version import __version__
from cellgate.errors import CellgateError

OK, FAULT, UNUSABLE, TRAINING_FAILED, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass(frozen=True)
class Verb:
    """Where a verb is written, and its one line in `cellgate --help`."""

    module: str
    summary: str
    panel: str

    @property
    def takes_config(self) -> bool:
        """Whether its options may come from a TOML file."""
        return self.panel != LAYER_PANEL


DATA_PANEL, LAYER_PANEL = "From a table to a prediction", "The LSTM layer"

VERBS: dict[str, Verb] = {
    "train": Verb("cellgate.cli.train", "Train a model on a table and measure it.", DATA_PANEL),
    "check": Verb("cellgate.cli.check", "Say what data would be taken for, without training.", DATA_PANEL),
    "explain": Verb("cellgate.cli.explain", "Open a trained model, as one page to keep.", DATA_PANEL),
    "predict": Verb("cellgate.cli.predict", "Predict with a trained model's folder.", DATA_PANEL),
    "generate": Verb("cellgate.cli.generate", "Write on from a prompt with a trained language model.", DATA_PANEL),
    "evaluate": Verb("cellgate.cli.evaluate", "Score a trained model on other data.", DATA_PANEL),
    "backtest": Verb("cellgate.cli.backtest", "Forecast from many moments of the past, and compare.", DATA_PANEL),
    "stream": Verb("cellgate.cli.stream", "Forecast after every row that comes on standard input.", DATA_PANEL),
    "tune": Verb("cellgate.cli.tune", "Train many times and keep the best sizes and rates.", DATA_PANEL),
    "walkthrough": Verb("cellgate.cli.walkthrough", "An LSTM computed step by step, before your eyes.", LAYER_PANEL),
    "bench": Verb("cellgate.cli.bench", "Time the layer beside torch.nn.LSTM.", LAYER_PANEL),
    "info": Verb("cellgate.cli.info", "What this installation is and can do.", LAYER_PANEL),
}


class _Stopped(Exception):
    """Ctrl-C with what there is to say of it, past Typer, which would make an exit code of it."""


@dataclass(frozen=True)
class _Returned:
    """What a verb returned, its exit code or None: a bare number is Typer's, as after Ctrl-C between the verbs."""

    code: int | None


class _LazyGroup(TyperGroup):
    """Lists verbs by their summaries; swaps in the real command when one is called."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return _Returned(super().invoke(ctx))
        except KeyboardInterrupt as stop:
            raise _Stopped(str(stop)) from None
        except BrokenPipeError:  # the reader (`| head`) has left, which is no fault
            return _Returned(OK)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name in VERBS:
            values: dict[str, Any] = {}
            path = None
            if VERBS[name].takes_config:
                from cellgate.cli.config import defaults_for, read_config, take_config

                rest, path = take_config(rest, name)
                values = read_config(path, name, [n for n, verb in VERBS.items() if verb.takes_config]) if path else {}
            command = _load(name, [*(["--task", str(values["task"])] if "task" in values else []), *rest])
            ctx.default_map = {name: defaults_for(command, values, path)} if path else None
        return name, command, rest


def _load(name: str, arguments: Sequence[str] = ()) -> Any:
    """The verb's real command, from its file; one with several, such as `train`, chooses by the arguments."""
    module = importlib.import_module(VERBS[name].module)
    function = module.choose(arguments) if hasattr(module, "choose") else module.command
    if VERBS[name].takes_config:
        from cellgate.cli.config import remembered

        function = remembered(function, name)
    single = typer.Typer(add_completion=False, rich_markup_mode="rich")
    single.command(name, help=_paragraphs(function.__doc__ or ""))(function)
    return typer.main.get_command(single)


def _paragraphs(text: str) -> str:
    """A docstring with its paragraphs in a line each: a terminal has its own width to break them at."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


app = typer.Typer(
    name="cellgate",
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cellgate {__version__}")
        raise typer.Exit


@app.callback(
    epilog="First steps: [bold]cellgate train airline --horizon 12 --out model[/bold], "
    "then [bold]cellgate predict model[/bold]. Verbs that read data take options from a TOML file as well: --config.",
)
def _root(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    """The LSTM for PyTorch: train one on a table, look inside it, time it."""


def _placeholder(verb: Verb) -> Any:
    def listed_only() -> None:
        raise AssertionError("a verb is loaded before it is called")

    listed_only.__doc__ = verb.summary
    return listed_only


for _name, _verb in VERBS.items():
    app.command(_name, rich_help_panel=_verb.panel)(_placeholder(_verb))


def report_error(message: str, code: int, as_json: bool) -> None:
    """One line on stderr; with --json the same as an object on stdout, where the caller reads, if it can be written."""
    if not message.isprintable():  # of the names of columns, of files
        from cellgate.data.words import one_line

        message = one_line(message)
    if as_json:
        with suppress(OSError):
            print(json.dumps({"error": message, "exit_code": code}), flush=True)
            return
    with suppress(OSError):
        print(f"error: {message}", file=sys.stderr, flush=True)


def _write_all_characters() -> None:
    """Let what the reader's encoding does not have (a pipe on Windows, a C locale) be escaped: no end to a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _end_output() -> None:
    """Write what is left of stdout; what cannot be goes nowhere, or Python would try again at exit, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def report_stop(message: str, code: int, as_json: bool) -> None:
    """What Ctrl-C ended, which is no error; with --json an object like one, as there is no result."""
    if as_json:
        report_error(message, code, as_json)
    else:
        print(message, file=sys.stderr)


def main(argv: list[str] | None = None) -> None:
    """Run the command and leave with one of the exit codes above; never with a traceback.

    CELLGATE_TRACEBACK=1 lets an unexpected exception through, for a bug report.
    """
    arguments = sys.argv[1:] if argv is None else argv
    _write_all_characters()
    as_json = "--json" in arguments
    try:
        left = app(arguments, prog_name="cellgate", standalone_mode=False)
        if left == INTERRUPTED:
            raise KeyboardInterrupt
        # A verb that returns INTERRUPTED has said so, and what it kept.
        code = (left.code if isinstance(left, _Returned) else left) or OK
        sys.stdout.flush()
    except BrokenPipeError:
        code = OK  # the reader (`| head`) has left: say nothing
    except (KeyboardInterrupt, _Stopped) as stop:
        report_stop(str(stop) or "stopped by Ctrl-C", code := INTERRUPTED, as_json)
    except Exception as error:
        code, message = _judge(error)
        if code == FAULT and os.environ.get("CELLGATE_TRACEBACK"):
            raise
        if message:
            report_error(message, code, as_json)
    _end_output()
    sys.exit(code)


def _judge(error: Exception) -> tuple[int, str]:
    """The exit code and the line for an exception that a verb let out."""
    told = getattr(error, "format_message", None)
    if told is not None:  # a usage error of Typer's: a wrong option or verb
        ctx = getattr(error, "ctx", None)
        command = ctx.command_path if ctx else "cellgate"
        message = _in_our_words(error, told()) + _where_data_go(ctx, told())
        origin = " (that is from the --config file)" if _from_config(error) else ""
        stop = "" if f"{message}{origin}".endswith((".", "?", "!")) else "."
        return UNUSABLE, f"{message}{origin}{stop} See {command} --help." if message else ""
    if isinstance(error, OSError):
        if not error.filename and error.errno == errno.ENOSPC:
            return UNUSABLE, f"expected room to write to, got a full disk ({error.strerror}); make room"
        where = f"{error.filename}: " if error.filename else ""
        return UNUSABLE, f"{where}{error.strerror or error}"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error):
        return UNUSABLE, "expected room in memory, got too little; give less data, or a smaller model or --batch-size"
    code = getattr(error, "exit_code", UNUSABLE if isinstance(error, CellgateError) else FAULT)
    if code == FAULT:
        return FAULT, (
            f"{type(error).__name__}: {error} (this is a fault of cellgate's own; CELLGATE_TRACEBACK=1 shows where)"
        )
    return code, str(error)


def _in_our_words(error: Exception, message: str) -> str:
    """Typer's message; where it ends in a sentence of pydantic's, with what was expected and what was got instead."""
    found = getattr(error.__cause__, "errors", list)()
    wrong = found[0] if found else {}
    kind, limits = wrong.get("type", ""), wrong.get("ctx", {})
    expected = {
        "int_parsing": "a whole number",
        "int_from_float": "a whole number",
        "float_parsing": "a number",
        "greater_than_equal": f"{limits.get('ge')} or more",
        "less_than_equal": f"{limits.get('le')} or less",
    }.get(kind)
    if expected is None:
        return message
    return message.replace(str(wrong["msg"]), f"expected {expected}, got {str(wrong['input'])!r}")


def _where_data_go(ctx: Any, message: str) -> str:
    """How a verb is given data, where a name was given that it has no place for."""
    if ctx is None or not message.startswith("Got unexpected extra argument"):
        return ""
    options = {option for parameter in ctx.command.params for option in getattr(parameter, "opts", ())}
    if "--data" in options:
        return "; data are given as --data FILE"
    return "; rows come on standard input, as in: cellgate stream MODEL < FILE" if ctx.info_name == "stream" else ""


def _from_config(error: Exception) -> bool:
    """Whether a usage error is about a value that the --config file gave."""
    ctx, name = getattr(error, "ctx", None), getattr(getattr(error, "param", None), "name", None)
    source = ctx.get_parameter_source(name) if ctx and name else None
    return source is not None and source.name == "DEFAULT_MAP"


if __name__ == "__main__":
    main()
