"""`cellgate tune`: many trainings, by Optuna's choice of sizes and rates, of which the best is kept.

A trial is `cellgate train` itself, so every task can be tuned, with all its options. Trials are judged by the
validation score that stops a training; what is held out is measured once for each and decides nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import json
import shlex
import shutil
import signal
import threading
import time as clock
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from cellgate import estimators
from cellgate.cli import train
from cellgate.cli.app import INTERRUPTED
from cellgate.cli.config import CHECKPOINT, SAVED, remembered
from cellgate.cli.console import say, say_json, say_pairs
from cellgate.cli.evaluate import say_verdict_of
from cellgate.cli.forecast_files import csv_text
from cellgate.cli.placing import FORECAST, TRIAL, has_saves, place, require_places
from cellgate.cli.search_state import SearchState, identity_of, load_state, save_options, save_state
from cellgate.cli.training_options import ResumeSearch
from cellgate.cli.training_run import alone_in, next_command, require_fresh
from cellgate.data.files import remove_leftovers, write_atomic
from cellgate.data.words import counted, some
from cellgate.errors import CellgateError, InputError

_PANEL = "The search"
_OF_A_RUN = ("resume", "checkpoint_every", "tensorboard", "force", "as_json", "out")
Trials = Annotated[int, typer.Option(min=1, help="The most trainings.", rich_help_panel=_PANEL)]
Budget = Annotated[
    float | None, typer.Option(min=1, help="Start no training after so many seconds.", rich_help_panel=_PANEL)
]
_TRIALS, _KEPT = "trials.csv", "model"
_MEASURED = ("trial", "validation", "seconds")  # of a row; all else in it was chosen
# What is searched, where the task has it and it is not typed.
_SPACE: dict[str, Callable[[Any], Any]] = {
    "hidden_size": lambda trial: trial.suggest_categorical("hidden_size", [16, 32, 64, 128]),
    "layers": lambda trial: trial.suggest_int("layers", 1, 2),
    "learning_rate": lambda trial: trial.suggest_float("learning_rate", 5e-4, 2e-2, log=True),
    "batch_size": lambda trial: trial.suggest_categorical("batch_size", [16, 32, 64]),
    "dropout": lambda trial: trial.suggest_float("dropout", 0.0, 0.5),
}


@dataclass
class _Search:
    """What is tried, and what has been."""

    out: Path
    identity: Mapping[str, Any]
    state: SearchState = field(default_factory=SearchState)
    stopped: bool = False  # by Ctrl-C

    @property
    def model(self) -> Path:
        return self.out / _KEPT

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.state.rows

    @property
    def best(self) -> int | None:
        return self.state.best

    def take(self, row: dict[str, Any], folder: Path) -> None:
        """Note a trial, and keep its model if it is the best.

        Whatever is cut short here, the table has the trial that the model is of, or there is no table yet: that of an
        earlier search goes before its model does. So it is with what --resume goes on from.
        """
        with _uninterrupted():
            before = self.best
            self.rows.append(row)
            better = self.best != before
            if better:
                self.state.placing = sorted(path.name for path in folder.iterdir())
            save_state(self.out, self.state, self.identity)
            if before is not None:
                self.write_table()
            elif better:
                (self.out / _TRIALS).unlink(missing_ok=True)
            if better:
                place(folder, self.model)
                self.state.placing = None  # in the file too, or the next trial's model would be taken for this one
                save_state(self.out, self.state, self.identity)
                if before is None:
                    self.write_table()

    def write_table(self) -> None:
        """Write trials.csv."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        columns: Any = {name: [row.get(name, "") for row in self.rows] for name in names}
        write_atomic(self.out / _TRIALS, csv_text(columns).encode())


def choose(arguments: Sequence[str]) -> Callable[..., Any]:
    """The command for the task that --task names: the options of its training, and those of the search."""
    trained = train.choose(arguments)
    signature = inspect.signature(trained, eval_str=True)
    kept = [p.replace(kind=p.KEYWORD_ONLY) for p in signature.parameters.values() if p.name not in _OF_A_RUN]
    extra = [
        inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, annotation=signature.parameters["out"].annotation),
        inspect.Parameter("trials", inspect.Parameter.KEYWORD_ONLY, default=20, annotation=Trials),
        inspect.Parameter("budget", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Budget),
        inspect.Parameter("resume", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=ResumeSearch),
        *(signature.parameters[name].replace(kind=inspect.Parameter.KEYWORD_ONLY) for name in ("force", "as_json")),
    ]

    def command(
        *,
        ctx: Any,
        out: Path,
        trials: int,
        budget: float | None,
        resume: bool,
        force: bool,
        as_json: bool,
        **parameters: Any,
    ) -> int | None:
        """Train many times with other sizes and rates, and keep the training with the best validation score.

        Options of `cellgate train` that are typed are kept. Searched are, where they are not typed, the size of the
        LSTM, its layers, the learning rate and the batch size; also the dropout, for tasks that have the option
        (forecasts do not). The first trial has the defaults. --resume --out DIR goes on with a search that was cut
        short. Needs Optuna: pip install optuna.

        [bold]cellgate tune airline --horizon 12 --trials 20 --out tuned[/bold]
        """
        typed = {name for name in parameters if _was_given(ctx, name)}
        run = remembered(trained, "train")
        return _run(run, parameters, typed, out, trials, budget, resume, force, as_json)

    command.__signature__ = signature.replace(parameters=[*kept, *extra])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in (*kept, *extra)}
    return command


def _was_given(ctx: Any, name: str) -> bool:
    """Whether an option was typed, or stands in the --config file."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "DEFAULT_MAP", "ENVIRONMENT")


def _run(
    trained: Callable[..., Any],
    parameters: dict[str, Any],
    typed: set[str],
    out: Path,
    trials: int,
    budget: float | None,
    resume: bool,
    force: bool,
    as_json: bool,
) -> int | None:
    if not importlib.util.find_spec("optuna"):
        raise InputError("tune: expected Optuna to be installed, found none; pip install 'cellgate[tune]'")
    import optuna

    searched = {name: draw for name, draw in _SPACE.items() if name in parameters and name not in typed}
    if not searched:
        raise InputError("tune: expected something to search, got every option typed; leave one of them out")
    require_fresh(out, force, resume, search=True)
    _require_places(out)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=parameters.get("seed", 0)))
    search = _Search(out, identity_of(parameters, typed))
    if not as_json:
        say_pairs(
            [("searches", ", ".join(name.replace("_", " ") for name in searched)), ("trials", f"at most {trials}")]
        )
    with alone_in(out, force, resume, search=True):
        if resume:
            search.state = load_state(out, search.model, search.identity)
            if search.best is not None:
                search.write_table()
        done = len(search.rows)
        for k in range(done):
            _require_same(_ask(study, searched, k), search.rows[k], out)
            _tell(study, search.rows[k])
        given = {name: parameters[name] for name in parameters if name in typed}
        save_options(out, {**given, "trials": trials, "budget": budget})
        began = clock.monotonic() - sum(row["seconds"] for row in search.rows)
        if done and not as_json:
            say_pairs([("resumed", f"{counted(done, 'training')} done before")])
        with _trying_in(search):
            for k in range(done, trials):
                if k and budget is not None and clock.monotonic() - began > budget:
                    break
                chosen = _ask(study, searched, k)
                try:
                    code = _try(trained, {**parameters, **chosen}, chosen, search)
                except KeyboardInterrupt:
                    code = INTERRUPTED
                if code == INTERRUPTED:
                    search.stopped = True
                    break
                _tell(study, search.rows[k])
                if not as_json:
                    say(_line(search, searched))
            return _end(search, as_json, INTERRUPTED if search.stopped else None)


def _ask(study: Any, searched: Mapping[str, Callable[[Any], Any]], k: int) -> dict[str, Any]:
    """What Optuna chooses for a trial; nothing for the first, which has the defaults."""
    trial = study.ask() if k else None
    return {name: draw(trial) for name, draw in searched.items()} if trial else {}


def _tell(study: Any, row: Mapping[str, Any]) -> None:
    """Tell Optuna how a trial did; the first was none of its own."""
    import optuna

    if row["trial"]:
        failed = row["validation"] is None
        state = optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE
        study.tell(row["trial"] - 1, row["validation"], state=state)


def _require_same(chosen: Mapping[str, Any], row: Mapping[str, Any], out: Path) -> None:
    """Refuse to go on with a search whose first choices come out as others.

    Raises:
        InputError: where they do.
    """
    tried = {name: row[name] for name in row if name not in _MEASURED}
    if tried != chosen:
        raise InputError(
            f"--resume: expected trial {row['trial']} of the search in {out} to come out as {tried}, got "
            f"{dict(chosen)}; is it another version of Optuna? Take the one it began with, or start again with --force"
        )


def _require_places(out: Path) -> None:
    """Refuse a folder in which something else has the name of what a search writes.

    Raises:
        InputError: naming it.
    """
    for name, wanted, fits in ((_TRIALS, "a file", Path.is_file), (_KEPT, "a folder", Path.is_dir)):
        if (out / name).exists() and not fits(out / name):
            raise InputError(
                f"--out {out}: expected {name} to be {wanted} or not there, got something else of that name; "
                "rename it, or give another --out"
            )
    require_places(out / _KEPT)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block, which takes no time that one would notice."""
    before, came = signal.getsignal(signal.SIGINT), []
    if before is None or threading.current_thread() is not threading.main_thread():
        yield  # signals are another's business
        return
    signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _trying_in(search: _Search) -> Iterator[None]:
    """Around the trials: what they are tried in is removed at the end.

    After Ctrl-C, or an error such as a full disk, what --resume goes on from stays, if there is anything to go on from.
    """
    folder, ended = search.out / CHECKPOINT, False
    try:
        yield
        ended = not search.stopped
    finally:
        if ended or not (search.best is not None or has_saves(folder / TRIAL)):
            remove_leftovers(search.out)
            shutil.rmtree(folder, ignore_errors=True)
        elif not has_saves(folder / TRIAL):
            shutil.rmtree(folder / TRIAL, ignore_errors=True)


def _try(
    trained: Callable[..., Any], parameters: dict[str, Any], chosen: dict[str, Any], search: _Search
) -> int | None:
    """One training, into a folder of its own; it takes the place of the best if it is better.

    Returns:
        The training's exit code: None, or that of an interruption, after which it does not count.
    """
    from cellgate.training import TrainingError

    began = clock.monotonic()
    folder = search.out / CHECKPOINT / TRIAL
    saved = has_saves(folder)  # of this very trial: what is left of an earlier one is removed
    row: dict[str, Any] = {"trial": len(search.rows), **chosen, "validation": None, "seconds": 0.0}
    if not saved:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as told:
            code = trained(**parameters, out=folder, resume=saved, force=True, as_json=True)
        search.state.left_out = json.loads(told.getvalue()).get("not_trained", [])
    except TrainingError:
        code = None  # a rate too high for this size, say: a trial that failed
    if code == INTERRUPTED:
        return code
    row["seconds"] = round(clock.monotonic() - began, 2)
    if (folder / "config.json").exists():
        score = json.loads((folder / "config.json").read_text())["training"]["best_score"]
        if score is None:
            raise InputError(
                "tune: expected a validation part to judge by, got none; give more data, or a larger --validation"
            )
        row["validation"] = float(score)
    search.take(row, folder)
    return None


def _line(search: _Search, searched: dict[str, Any]) -> str:
    row = search.rows[-1]
    score = "failed" if row["validation"] is None else f"{row['validation']:.5f}"
    told = ", ".join(f"{name.replace('_', ' ')} {row[name]:.3g}" for name in searched if name in row) or "the defaults"
    mark = "  best so far" if search.best == row["trial"] else ""
    return f"trial {row['trial']:<3} validation {score}  {row['seconds']:6.1f} s  {told}{mark}"


def _again(search: _Search) -> str:
    return f"cellgate tune --resume --out {shlex.quote(str(search.out))}"


def _numbers(scores: Any) -> list[tuple[str, float]]:
    return [(k, v) for k, v in scores.items() if isinstance(v, float)] if isinstance(scores, dict) else []


def _end(search: _Search, as_json: bool, code: int | None) -> int | None:
    if search.best is None:
        if code == INTERRUPTED:
            if has_saves(search.out / CHECKPOINT / TRIAL):
                raise KeyboardInterrupt(f"stopped by Ctrl-C in the first training; {_again(search)} goes on")
            raise KeyboardInterrupt("stopped by Ctrl-C before the first training was done: nothing is kept")
        raise CellgateError("tune: expected a training that ends well, got none; lower --learning-rate, check the data")
    best, first = search.rows[search.best], search.rows[0]
    chosen = {name: value for name, value in best.items() if name not in _MEASURED}
    metrics = json.loads((search.model / "metrics.json").read_text())
    metrics.pop("history", None)
    if as_json:
        left_out = {"not_trained": search.state.left_out} if search.state.left_out else {}
        say_json({"out": str(search.out), "best": best, "trials": search.rows, "metrics": metrics, **left_out})
        return code
    say()
    if code == INTERRUPTED:
        say(f"stopped by Ctrl-C after {counted(len(search.rows), 'training')}, the best so far kept")
        say(f"{_again(search)} goes on")
    if len(search.rows) == 1:
        say("one training only, with the defaults: nothing to compare it with")
    elif search.best == 0:
        say("no trial is better than the defaults: they are kept")
    elif first["validation"]:
        told = ", ".join(f"--{name.replace('_', '-')} {value:.3g}" for name, value in chosen.items())
        say(f"best: trial {search.best}, {told}")
        say(f"validation {best['validation']:.5f}, that of the defaults {first['validation']:.5f}")
    else:
        say(f"best: trial {search.best}; the defaults failed")
    if search.state.left_out:
        say(f"left out of the training: {some(search.state.left_out)}, too short to learn from")
    for name, scores in metrics.items():
        values = [f"{score} {value:.3f}" for score, value in _numbers(scores)]
        if values:
            say(f"on what was held out, {name}: {', '.join(values)}")
    model = search.model
    estimator = estimators.load(model)
    if metrics:
        say_verdict_of(estimator, metrics)
    say()
    say(f"wrote {search.out}: model, {_TRIALS}")
    told = next_command(model, type(estimator).__name__, (model / FORECAST).exists())
    say(f"next  {told}, or train again: --config {shlex.quote(str(model / SAVED))}")
    return code
