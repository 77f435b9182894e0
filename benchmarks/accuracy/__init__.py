"""How well cellgate predicts with default settings: a row a data set, each with its baseline and its target.

    python -m benchmarks.accuracy                  every row whose data are there
    python -m benchmarks.accuracy airline m4-hourly

Results go into benchmarks/results/accuracy.json, a row replacing its older self, and from there into BENCHMARKS.md.
The larger data sets are looked for in the folder that CELLGATE_DATA names.

A row is a module with a `ROW`; its name stands in ROWS. No default was chosen by looking at a test set: each module
says on what its defaults were chosen.
"""

from __future__ import annotations

import importlib

from benchmarks import RESULTS
from benchmarks.accuracy.row import Outcome, Row, data_file

__all__ = ["ACCURACY_JSON", "ROWS", "Outcome", "Row", "data_file", "find_row"]

ACCURACY_JSON = RESULTS / "accuracy.json"

# name on the command line -> module with its ROW; imported when it is run
ROWS = {
    "airline": "benchmarks.accuracy.airline",
    "m4-hourly": "benchmarks.accuracy.m4_hourly",
    "etth1": "benchmarks.accuracy.etth1",
    "taylor": "benchmarks.accuracy.taylor",
    "digits": "benchmarks.accuracy.digits",
    "adding": "benchmarks.accuracy.adding",
    "shakespeare": "benchmarks.accuracy.shakespeare",
}


def find_row(name: str) -> Row:
    """The row of a name in ROWS."""
    return importlib.import_module(ROWS[name]).ROW
