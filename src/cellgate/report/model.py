"""What a report shows, as plain data: numbers, names and sentences. Nothing here knows a network.

Whoever explains a model (``estimators/explain_*.py``) fills these in; the templates only lay them out. Positions are
steps of an example, from 0; an example may go on past the steps that were read, by those that were predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = [
    "Bars", "Example", "Fact", "Influence", "LayerMaps", "Line", "Matrix", "Network", "NetworkLayer", "Panel", "Report",
    "States", "Strip", "TableRows", "Words",
]  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """One line of the head: a label and a text."""

    label: str
    text: str


@dataclass(frozen=True)
class NetworkLayer:
    """One LSTM layer of the network.

    Attributes:
        name: of its module.
        reads: what it reads, in words: "12 columns", "h of layer 1".
        hidden_size: H.
        proj_size: P, 0 without a projection.
        directions: 1 or 2.
        parameters: how many numbers it learns.
        cell: what differs from the plain LSTM cell, empty for none.
    """

    name: str
    reads: str
    hidden_size: int
    proj_size: int
    directions: int
    parameters: int
    cell: str = ""


@dataclass(frozen=True)
class Network:
    """The network as it is drawn: layers from the input up, then the readout.

    Attributes:
        input: what goes in.
        layers: from the first.
        readout: what the readout is.
        output: what comes out.
        readout_parameters: numbers that the readout learns.
        parameters: of the whole model.
    """

    input: str
    layers: tuple[NetworkLayer, ...]
    readout: str
    output: str
    readout_parameters: int
    parameters: int


@dataclass(frozen=True)
class Line:
    """A curve over an example's steps.

    Attributes:
        name: for the legend.
        role: "observed", "model", "baseline", or "class 0", "class 1", ... for one of several equals.
        start: the position of its first value.
        values: NaN where there is none.
        low: lower end of a band around it, or None.
        high: upper end.
        band: what the band is, for the legend.
    """

    name: str
    role: str
    start: int
    values: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    band: str = ""


@dataclass(frozen=True)
class Strip:
    """One number a step, as a row of colours on the common axis: a confidence, a surprisal.

    Attributes:
        name: written at its left.
        start: the position of its first value.
        values: the numbers.
        low, high: the ends of the colour scale.
        signed: whether zero is the middle of it.
    """

    name: str
    start: int
    values: np.ndarray
    low: float
    high: float
    signed: bool = False


@dataclass(frozen=True)
class LayerMaps:
    """What the gates of one layer and direction did in an example.

    Attributes:
        title: "layer 1, backward".
        start: the position of the first step read.
        maps: by gate (i, f, g, o, c, h), (units, steps) in the order of `order`.
        order: unit numbers from top to bottom, like beside like.
        memory: (H,) -1 / ln(mean forget gate) of every unit by number, in steps.
        closed, opened: by gate i, f, o: (H,) share of the steps below .1 and above .9.
    """

    title: str
    start: int
    maps: Mapping[str, np.ndarray]
    order: tuple[int, ...]
    memory: np.ndarray
    closed: Mapping[str, np.ndarray]
    opened: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Influence:
    """What one output number owes to every block of steps and column; see ``cellgate.trace.attribute``.

    Attributes:
        output: which number, in words.
        unit: its unit, empty for none.
        value, neutral: the number as it is, and for an input of averages throughout.
        columns: names of the input columns.
        edges: (K + 1,) positions, block k from edges[k] to before edges[k + 1].
        gradient, occlusion: (K, I).
        disagrees: (K, I) bool.
        agreement: rank correlation of the two.
    """

    output: str
    unit: str
    value: float
    neutral: float
    columns: tuple[str, ...]
    edges: np.ndarray
    gradient: np.ndarray
    occlusion: np.ndarray
    disagrees: np.ndarray
    agreement: float


@dataclass(frozen=True)
class Example:
    """One sequence, looked at closely.

    Attributes:
        name: of the sequence.
        note: said beside the name.
        labels: one a position, what the step is called: a time, a token.
        lines: curves on the common axis.
        strips: rows of colours on it.
        now: the position of the last step read, where steps are predicted after it; None elsewhere.
        layers: what the gates did.
        influence: of the past on one output, or None.
        tokens: whether labels are what was read (characters, words), and are written under the axis.
    """

    name: str
    note: str
    labels: tuple[str, ...]
    lines: tuple[Line, ...]
    strips: tuple[Strip, ...]
    now: int | None
    layers: tuple[LayerMaps, ...]
    influence: Influence | None = None
    tokens: bool = False


@dataclass(frozen=True)
class States:
    """Hidden states of many steps, made small, for finding like ones.

    Attributes:
        what: "h of layer 2".
        sequences: their names.
        lengths: steps of each.
        labels: of each step, end to end.
        signal: (N,) a number of each step to draw around a match, or None.
        codes: (N, R) int8, the states in R directions, in like units.
        scale: what a step of the codes is, in units of a unit's spread.
        units: H, over which distances are averaged.
        kept: share of the states' spread that the R directions hold.
        shown: (sequence, first position) of the states that belong to example k, for every example.
    """

    what: str
    sequences: tuple[str, ...]
    lengths: tuple[int, ...]
    labels: tuple[str, ...]
    signal: np.ndarray | None
    codes: np.ndarray
    scale: float
    units: int
    kept: float
    shown: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Bars:
    """Numbers side by side at some names, one or several kinds: errors by horizon, influence by column.

    Attributes:
        names: along the axis.
        kinds: name of a kind, its role (as of a Line) and its numbers.
        axis: what the names are.
        unit: what the numbers are.
        curve: whether they are joined, since the names have an order.
    """

    names: tuple[str, ...]
    kinds: tuple[tuple[str, str, np.ndarray], ...]
    axis: str
    unit: str
    curve: bool = False


@dataclass(frozen=True)
class Matrix:
    """Counts of what was taken for what.

    Attributes:
        names: of the classes.
        counts: (C, C), rows what it was, columns what it was taken for.
    """

    names: tuple[str, ...]
    counts: np.ndarray


@dataclass(frozen=True)
class TableRows:
    """A plain table.

    Attributes:
        head: names of the columns.
        rows: texts; numbers are written out already.
        numbers: which columns are numbers, and stand at the right.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Words:
    """A text, each piece on a ground whose colour is a number.

    Attributes:
        name: said before it.
        pieces: characters or words.
        values: (N,) one number each.
        low, high: the ends of the colour scale.
        signed: whether zero is the middle of it.
    """

    name: str
    pieces: tuple[str, ...]
    values: np.ndarray
    low: float
    high: float
    signed: bool = False


@dataclass(frozen=True)
class Panel:
    """A part of the report with its own heading.

    Attributes:
        key: its id in the page.
        title: the heading.
        shows: one sentence, what it shows.
        not_proved: one sentence, what it does not prove.
        content: what stands in it, in turn.
    """

    key: str
    title: str
    shows: str
    not_proved: str
    content: Sequence[Bars | Matrix | TableRows | Words] = ()


@dataclass(frozen=True)
class Report:
    """Everything.

    Attributes:
        title: the heading.
        findings: the main findings, a sentence each, best first.
        facts: what the model and the data are.
        network: the model as drawn.
        examples: sequences looked at closely, at least one.
        states: for the search for like states, or None.
        panels: what the task adds.
        training: (epochs, losses, scores or NaN, best epoch), or None.
        backend: which backend computed the traces.
        distance: the largest difference between the traced output and that of the fast path.
        notes: what was left out or made smaller.
    """

    title: str
    findings: tuple[str, ...]
    facts: tuple[Fact, ...]
    network: Network
    examples: tuple[Example, ...]
    states: States | None
    panels: tuple[Panel, ...]
    training: tuple[np.ndarray, np.ndarray, int] | None
    backend: str
    distance: float
    notes: tuple[str, ...] = field(default=())
