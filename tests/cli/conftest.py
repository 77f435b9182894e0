"""What tests of the command share."""

import os
from pathlib import Path

import pytest

import cellgate


@pytest.fixture
def environment():
    """Environment variables with which a new Python finds the package under test."""
    source = str(Path(cellgate.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
