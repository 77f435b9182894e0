"""What every test gets: one thread, one seed, and a way to the larger data sets."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Keep tests side by side (pytest-xdist) from fighting over the cores.

    Subprocesses that tests start inherit the variable. A test about threads sets its own number.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


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
