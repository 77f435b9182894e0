"""What is timed: rows (shapes), and the cells they unfold to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .shape import Shape

__all__ = ["GRID", "LOADS", "MODES", "QUICK", "Cell", "Row", "cells_of"]

MODES = ("inference", "training", "stream")
LOADS = ("quiet", "busy")


@dataclass(frozen=True)
class Row:
    """A shape with a name and the ways it is timed.

    Attributes:
        shape: The sizes.
        title: What people do with it.
        modes: Some of :data:`MODES`. "stream" feeds one step at a time and carries the state; its times are a step's.
        loop: Also time the Python loop that a user would write.
        keep: Also train with the memory modes lean and minimal.
        weights: A file whose LSTM to use (``--mine``); random weights if empty.
        prefix: Name of that LSTM in the file.
    """

    shape: Shape
    title: str
    modes: tuple[str, ...] = ("inference", "training")
    loop: bool = False
    keep: bool = False
    weights: str = ""
    prefix: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Row:
        """Return the row that ``as_dict`` described."""
        return Row(**{**data, "shape": Shape(**data["shape"]), "modes": tuple(data["modes"])})


@dataclass(frozen=True)
class Cell:
    """One measurement: a row in one mode, with some threads, on a quiet machine or beside two copies of itself."""

    row: Row
    mode: str
    threads: int
    load: str = "quiet"
    id: str = field(init=False)

    def __post_init__(self) -> None:
        """Name the cell."""
        name = f"{self.row.prefix}: {self.row.shape}" if self.row.prefix else str(self.row.shape)
        object.__setattr__(self, "id", f"{name} / {self.mode} / {self.threads} threads / {self.load}")

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"row": self.row.as_dict(), "mode": self.mode, "threads": self.threads, "load": self.load}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Cell:
        """Return the cell that ``as_dict`` described."""
        return Cell(Row.from_dict(data["row"]), data["mode"], data["threads"], data["load"])


def _example(batch: int, layers: int, directions: int) -> Row:
    kind = "bidirectional" if directions == 2 else f"{layers} layer{'s' * (layers > 1)}"
    return Row(Shape(3, batch, 20, 100, layers, directions), f"the worked example 早上好, {kind}")


_STREAM = ("stream", "inference", "training")

GRID: tuple[Row, ...] = (
    Row(Shape(100, 1, 32, 64), "one sequence"),
    Row(Shape(30, 32, 8, 32), "small batches", loop=True),
    Row(Shape(36, 128, 1, 128, 2), "forecaster"),
    Row(Shape(100, 32, 16, 64), "sensors", loop=True, keep=True),
    Row(Shape(100, 32, 64, 128), "features", keep=True),
    Row(Shape(48, 64, 32, 128, 2), "two days, hourly"),
    Row(Shape(784, 128, 1, 128), "sequential MNIST"),
    Row(Shape(35, 20, 200, 200, 2), "language model, small"),
    Row(Shape(35, 20, 650, 650, 2), "language model, medium"),
    Row(Shape(100, 64, 512, 512), "large", keep=True),
    *(_example(batch, layers, directions) for layers, directions in ((1, 1), (2, 1), (1, 2)) for batch in (1, 32)),
    Row(Shape(1, 1, 128, 128), "live feed", _STREAM),
    Row(Shape(1, 1, 512, 512), "live feed, wide", _STREAM),
    Row(Shape(1, 16, 512, 512), "sixteen live feeds", _STREAM),
    Row(Shape(100, 32, 16, 64, ragged=True), "ragged"),
    Row(Shape(100, 32, 16, 64, D=2, ragged=True), "ragged, two directions"),
    Row(Shape(100, 32, 16, 64, P=32), "projected"),
    Row(Shape(100, 32, 16, 64, dtype="float64"), "double precision"),
    Row(Shape(100, 32, 16, 64, dtype="bfloat16"), "half width"),
    Row(Shape(100, 32, 16, 64, reset=True), "episodes", loop=True),
)
"""The whole grid."""

QUICK: tuple[Row, ...] = tuple(
    row
    for row in GRID
    if str(row.shape)
    in (
        "T100 B1 I32 H64",
        "T30 B32 I8 H32",
        "T100 B32 I64 H128",
        "T35 B20 I650 H650 L2",
        "T3 B1 I20 H100",
        "T1 B1 I128 H128",
        "T1 B1 I512 H512",
        "T100 B32 I16 H64 D2 ragged",
        "T100 B32 I16 H64 P32",
        "T100 B32 I16 H64 float64",
    )
)
"""What `cellgate bench --quick` times: each kind of work once."""


def cells_of(rows: Iterable[Row], threads: Sequence[int], loads: Sequence[str] = ("quiet",)) -> list[Cell]:
    """Return the cells of some rows, those of one thread count together, since they share a process."""
    rows = tuple(rows)
    return [Cell(row, mode, count, load) for count in threads for row in rows for load in loads for mode in row.modes]
