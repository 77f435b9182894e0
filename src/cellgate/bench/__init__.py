"""The benchmark: the layer beside its peers, checked first, timed in turns, with the machine's limits beside it."""

from .grid import GRID, QUICK, Cell, Row, cells_of
from .results import load, losses, new_document, save, validate
from .session import run
from .shape import Shape, parse_shape

__all__ = [
    "GRID",
    "QUICK",
    "Cell",
    "Row",
    "Shape",
    "cells_of",
    "load",
    "losses",
    "new_document",
    "parse_shape",
    "run",
    "save",
    "validate",
]
