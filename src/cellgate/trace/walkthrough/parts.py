"""What a walkthrough is made of, as plain data: a page, a terminal or a program renders it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from cellgate.equations import LSTMWeights, input_part, step_for

__all__ = [
    "ROUNDING",
    "Check",
    "GateTerms",
    "ParameterLine",
    "Pass",
    "Section",
    "UnitGate",
    "UnitStep",
    "Walkthrough",
    "plain",
]

ROUNDING = 1e-6
"""How far two ways of computing one float32 number between -1 and 1 may lie apart."""

SHOWN = 3
"""How many numbers of a vector a check keeps to be shown."""


@dataclass(frozen=True)
class Check:
    """A claim that was tested.

    Attributes:
        key: Short name, for programs.
        claim: What is claimed, in words.
        code: The comparison as Python.
        holds: Whether it is so.
        left: First numbers of the left-hand side.
        right: First numbers of the right-hand side.
        difference: Largest absolute difference over all numbers, not only the shown ones.
        allowed: The largest difference with which the claim holds, or the smallest if two things must differ.
        compared: How many numbers were compared.
    """

    key: str
    claim: str
    code: str
    holds: bool
    left: tuple[float, ...]
    right: tuple[float, ...]
    difference: float
    allowed: float
    compared: int

    @classmethod
    def same(cls, key: str, claim: str, code: str, left: Tensor, right: Tensor, allowed: float = 0.0) -> Check:
        """Compare two tensors that must agree; other shapes and NaN count as a difference."""
        gap = _gap(left, right)
        return cls(key, claim, code, gap <= allowed, _first(left), _first(right), gap, allowed, left.numel())

    @classmethod
    def different(cls, key: str, claim: str, code: str, left: Tensor, right: Tensor) -> Check:
        """Compare two tensors that must not agree."""
        gap = _gap(left, right)
        return cls(key, claim, code, gap > ROUNDING, _first(left), _first(right), gap, ROUNDING, left.numel())

    @classmethod
    def counts(cls, key: str, claim: str, code: str, left: int, right: int) -> Check:
        """Compare two counts."""
        return cls(key, claim, code, left == right, (left,), (right,), float(abs(left - right)), 0.0, 1)


def _gap(left: Tensor, right: Tensor) -> float:
    if left.shape != right.shape:
        return math.inf
    return float((left - right).detach().abs().max())


def _first(tensor: Tensor) -> tuple[float, ...]:
    """Return the first numbers of a tensor's last row, which is the one of the last step."""
    return tuple(tensor.detach().reshape(-1, tensor.shape[-1])[-1, :SHOWN].tolist())


@dataclass(frozen=True)
class UnitGate:
    """One gate of one unit: the four terms of its sum, and its value after sigmoid or tanh."""

    from_input: float
    bias_ih: float
    from_state: float
    bias_hh: float
    total: float
    value: float


@dataclass(frozen=True)
class UnitStep:
    """One unit at one step, worked out with the arithmetic of plain Python floats."""

    step: int
    i: UnitGate
    f: UnitGate
    g: UnitGate
    o: UnitGate
    c_prev: float
    c: float
    h: float


@dataclass(frozen=True)
class GateTerms:
    """The terms of one gate's sum, for every unit.

    Attributes:
        from_input: W x, (T, H).
        bias_ih: The bias beside it, (H,); zeros in a layer without bias.
        from_state: W h of the step read before, (T, H).
        bias_hh: The bias beside it, (H,).
        total: Their sum, (T, H); the gate is sigmoid or tanh of it.
    """

    from_input: Tensor
    bias_ih: Tensor
    from_state: Tensor
    bias_hh: Tensor
    total: Tensor


@dataclass(frozen=True)
class Pass:
    """One layer read in one direction: every number of it, indexed by the time of the sequence, not of the reading.

    Attributes:
        name: "layer 1" or "backward", for example.
        reads: What its input is: "x" or "h of layer 1".
        order: The steps in the order in which they are read, from 0.
        x: Its input, (T, I).
        i: Input gates, (T, H).
        f: Forget gates, (T, H).
        g: Cell candidates, (T, H).
        o: Output gates, (T, H).
        c: Memory cells, (T, H).
        h: Hidden states, (T, H).
        unit: Unit 0 worked out by plain arithmetic, for the first steps read.
        c_prev: Memory cells of the step read before, (T, H).
        h_prev: Hidden states of the step read before, (T, H).
        kept: f * c_prev, (T, H).
        added: i * g, (T, H).
        tanh_c: tanh(c), (T, H).
        terms: The sums behind the gates i, f, g and o.
    """

    name: str
    reads: str
    order: tuple[int, ...]
    x: Tensor
    i: Tensor
    f: Tensor
    g: Tensor
    o: Tensor
    c: Tensor
    h: Tensor
    unit: tuple[UnitStep, ...]
    c_prev: Tensor
    h_prev: Tensor
    kept: Tensor
    added: Tensor
    tanh_c: Tensor
    terms: dict[str, GateTerms]

    @classmethod
    @torch.no_grad()
    def compute(
        cls, name: str, reads: str, x: Tensor, weights: LSTMWeights, *, backward: bool = False, worked_steps: int = 8
    ) -> Pass:
        """Step through (T, I) with the equations alone, from h(0) = c(0) = 0."""
        step = step_for(weights)
        order = tuple(reversed(range(len(x)))) if backward else tuple(range(len(x)))
        h = c = x.new_zeros(weights.w_hh.shape[1])
        records: dict[int, Any] = {}
        before: dict[int, tuple[Tensor, Tensor]] = {}
        unit: list[UnitStep] = []
        for t in order:
            if len(unit) < worked_steps:
                unit.append(_work_out_unit(t, x[t], h, float(c[0]), weights))
            before[t] = h, c
            records[t] = step(input_part(x[t], weights), h, c, weights)
            h, c = records[t].h, records[t].c
        parts = {
            k: torch.stack([getattr(records[t], k) for t in range(len(x))]) for k in ("i", "f", "g", "o", "c", "h")
        }
        h_prev, c_prev = (torch.stack([before[t][k] for t in range(len(x))]) for k in (0, 1))
        more = {"kept": parts["f"] * c_prev, "added": parts["i"] * parts["g"], "tanh_c": parts["c"].tanh()}
        terms = _terms(x.detach(), h_prev, weights)
        return cls(
            name, reads, order, x.detach(), **parts, unit=tuple(unit), c_prev=c_prev, h_prev=h_prev, **more, terms=terms
        )


def _terms(x: Tensor, h_prev: Tensor, weights: LSTMWeights) -> dict[str, GateTerms]:
    """Return the terms of every sum; the rows of W are the gates i, f, g, o, one below the other."""
    none = x.new_zeros(len(weights.w_hh))
    b_ih, b_hh = (none if bias is None else bias.detach() for bias in (weights.b_ih, weights.b_hh))
    from_input, from_state = x @ weights.w_ih.T, h_prev @ weights.w_hh.T
    parts = (from_input, b_ih, from_state, b_hh, from_input + b_ih + from_state + b_hh)
    gates = zip(*(part.chunk(4, dim=-1) for part in parts), strict=True)
    return {name: GateTerms(*gate) for name, gate in zip("ifgo", gates, strict=True)}


def _work_out_unit(step: int, x: Tensor, h_prev: Tensor, c_prev: float, weights: LSTMWeights) -> UnitStep:
    """Work out unit 0 in plain Python: products, sums, exp; no tensor operation takes part."""
    xs, hs = x.tolist(), h_prev.tolist()
    size = weights.w_hh.shape[0] // 4
    gates = []
    for k, squash in enumerate((_sigmoid, _sigmoid, math.tanh, _sigmoid)):
        row = k * size  # the rows of W are the gates i, f, g, o, one below the other; this is unit 0 of gate k
        from_input = sum(w * v for w, v in zip(weights.w_ih[row].tolist(), xs, strict=True))
        from_state = sum(w * v for w, v in zip(weights.w_hh[row].tolist(), hs, strict=True))
        b_ih = float(weights.b_ih[row]) if weights.b_ih is not None else 0.0
        b_hh = float(weights.b_hh[row]) if weights.b_hh is not None else 0.0
        total = from_input + b_ih + from_state + b_hh
        gates.append(UnitGate(from_input, b_ih, from_state, b_hh, total, squash(total)))
    i, f, g, o = gates
    c = f.value * c_prev + i.value * g.value
    return UnitStep(step, i, f, g, o, c_prev, c, o.value * math.tanh(c))


def _sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a)) if a >= 0 else math.exp(a) / (1 + math.exp(a))


@dataclass(frozen=True)
class Section:
    """One chapter: a layer, what goes in and comes out, how it is computed, and what was checked.

    Attributes:
        key: Short name, for programs.
        title: Its heading.
        code: The layer's constructor as Python.
        story: What happens, in a few sentences.
        shapes: Name to shape of what goes in and comes out.
        parameters: Name to shape of every parameter of the layer.
        passes: How it was computed, one a layer and direction.
        checks: What was tested.
        prediction: What a readout gives, else empty.
    """

    key: str
    title: str
    code: str
    story: str
    shapes: dict[str, tuple[int, ...]]
    parameters: dict[str, tuple[int, ...]]
    passes: tuple[Pass, ...]
    checks: tuple[Check, ...]
    prediction: tuple[float, ...] = ()


@dataclass(frozen=True)
class ParameterLine:
    """One parameter of the constructor: its meaning, and what a changed value does to shapes, measured.

    Attributes:
        name: As in the signature.
        default: Its default, "required" if it has none.
        meaning: One line.
        code: The constructor that was run.
        shapes: Name to shape of input, output, h_n and c_n.
        changed: The names among them whose shape is another than without the change.
        parameters: How many numbers there are to learn.
        parameters_before: How many there are without the change.
        note: What shapes do not show.
    """

    name: str
    default: str
    meaning: str
    code: str
    shapes: dict[str, tuple[int, ...]]
    changed: tuple[str, ...]
    parameters: int
    parameters_before: int
    note: str


@dataclass(frozen=True)
class Walkthrough:
    """The worked example: a text, its characters as vectors, and the chapters.

    Attributes:
        text: As given.
        characters: T characters, each a step.
        vectors: Their vectors, (T, I).
        input_size: I.
        hidden_size: H.
        seed: Of the vectors and the weights.
        sections: The chapters.
        parameter_lines: The constructor's parameters explained.
    """

    text: str
    characters: tuple[str, ...]
    vectors: Tensor
    input_size: int
    hidden_size: int
    seed: int
    sections: tuple[Section, ...]
    parameter_lines: tuple[ParameterLine, ...] = ()

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every check of every section."""
        return tuple(check for section in self.sections for check in section.checks)

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    def section(self, key: str) -> Section:
        """Return the section of this name."""
        return {section.key: section for section in self.sections}[key]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as lists, numbers and strings, for JSON."""
        return plain(self) | {"holds": self.holds}


def plain(value: Any) -> Any:
    """Return dataclasses as dicts and tensors as lists, all the way down; what JSON has no number for becomes None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Tensor):  # nine digits hold every float32 exactly
        return [plain(row) for row in value] if value.dim() else plain(float(f"{float(value):.9g}"))
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
