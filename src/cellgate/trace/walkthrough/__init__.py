"""The worked example, computed: a few characters through one layer, two layers, both directions and a readout.

Plain data first: :func:`walk` returns everything that a terminal, a page or a program may want to show.
"""

from .characters import split_characters, visible
from .parts import Check, GateTerms, ParameterLine, Pass, Section, UnitGate, UnitStep, Walkthrough
from .story import walk

__all__ = [
    "Check",
    "GateTerms",
    "ParameterLine",
    "Pass",
    "Section",
    "UnitGate",
    "UnitStep",
    "Walkthrough",
    "split_characters",
    "visible",
    "walk",
]
