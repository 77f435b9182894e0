"""What every test gets: one thread, one seed, and a way to the larger data sets."""

import hashlib
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cellgate.estimators.folder import sum_of

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Keep tests side by side (pytest-xdist) from fighting over the cores.

    Subprocesses that tests start inherit the variable. A test about threads sets its own number.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


def _caller(capture: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    from cellgate.cli import app

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            app.main([str(argument) for argument in arguments])
        out, err = capture.readouterr()
        return int(left.value.code or 0), out, err

    return run


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process, `call("check", path)`: exit code, stdout, stderr."""
    return _caller(capsys)


@pytest.fixture
def call_into_files(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The same with standard output and error as the system knows them, which encode what they are given."""
    return _caller(capfd)


class Killed(BaseException):
    """Stands for the end of a process: what comes after it changes no file any more."""


@pytest.fixture
def killed_before() -> Callable[..., Any]:
    """`with killed_before(3) as changes:` ends the block at the fourth change of a name in the file system.

    `changes` lists the paths of those before it; the block runs to its end where there are no more. With `of`, only
    changes of paths for which it is true count.
    """

    @contextmanager
    def until(moment: int, of: Callable[[Path], bool] = lambda _: True) -> Iterator[list[Path]]:
        changes: list[Path] = []
        over: list[bool] = []

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def change(*arguments: Any, **options: Any) -> Any:
                path = Path(arguments[0] if len(arguments) == 1 else options.get("dir") or arguments[1])
                if of(path) and len(changes) == moment:
                    over.append(True)
                if over:
                    raise Killed
                if of(path):
                    changes.append(path)
                return function(*arguments, **options)

            return change

        with pytest.MonkeyPatch.context() as patch:
            for name in ("replace", "rename", "unlink", "rmdir"):
                patch.setattr(os, name, counted(getattr(os, name)))
            patch.setattr(tempfile, "mkstemp", counted(tempfile.mkstemp))
            with suppress(Killed):
                yield changes

    return until


@pytest.fixture(autouse=True)
def _fresh_start() -> Iterator[None]:
    """Same random numbers whatever ran before; global settings of PyTorch put back."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    threads, dtype, grad = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    torch.set_grad_enabled(grad)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of data sets too large to bundle: CELLGATE_DATA, else ../shared/data beside the repository."""
    wanted = os.environ.get("CELLGATE_DATA")
    folder = Path(wanted) if wanted else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs data sets that are not part of the repository: no folder {folder} (set CELLGATE_DATA)")
    return folder


@pytest.fixture(scope="session")
def rewrite() -> Callable[[Path, Callable[[dict], object]], None]:
    """Change a saved model's preprocess.json, its sums with it: as an earlier version may have written it."""

    def changed(folder: Path, change: Callable[[dict], object]) -> None:
        file, config_file = folder / "preprocess.json", folder / "config.json"
        preprocess, config = json.loads(file.read_text()), json.loads(config_file.read_text())
        change(preprocess)
        file.write_text(json.dumps(preprocess))
        config["files"][file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
        config.pop("sum")
        config_file.write_text(json.dumps({**config, "sum": sum_of(config)}))

    return changed
