"""The server of runs, one for all tests of this folder, and the trainings that they try."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.robustness.server import Server

import cellgate


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    source = str(Path(cellgate.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
    made = Server(environment, tmp_path_factory.mktemp("runs"))
    yield made
    made.close()
