"""Which cell a layer computes with: a frozen description, made of a form and what may be added to any form.

The form says how the gates i, f, g, o come from their sums and how the memory cell is read; the file of each form has
its formula and paper. Peepholes, normalisation, hard activations and a limit on the memory cell go with any form that
does not say otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .cifg import CIFG
from .form import Form
from .full_gates import FULL_GATE_RECURRENCE
from .greff import (
    NO_FORGET_GATE,
    NO_INPUT_ACTIVATION,
    NO_INPUT_GATE,
    NO_OUTPUT_ACTIVATION,
    NO_OUTPUT_GATE,
)
from .original import ORIGINAL
from .slstm import SLSTM

__all__ = ["FORMS", "PLAIN", "Cell"]

FORMS: Final[dict[str, Form]] = {
    form.name: form
    for form in (
        Form("lstm"),
        CIFG,
        ORIGINAL,
        NO_INPUT_GATE,
        NO_FORGET_GATE,
        NO_OUTPUT_GATE,
        NO_INPUT_ACTIVATION,
        NO_OUTPUT_ACTIVATION,
        FULL_GATE_RECURRENCE,
        SLSTM,
    )
}
"""Every form by its name."""


@dataclass(frozen=True)
class Cell:
    """What the cells of a layer compute, beside their sizes.

    Attributes:
        name: A key of :data:`FORMS`.
        peephole: The gates also see the memory cell (see ``peephole.py``).
        norm: "layer" or "rms" normalisation of both products and of the cell (see ``norm.py``), or None.
        hard: Piecewise linear activations (see ``hard.py``).
        clip: c is limited to [-clip, clip] after every step, or None.
    """

    name: str = "lstm"
    peephole: bool = False
    norm: str | None = None
    hard: bool = False
    clip: float | None = None

    @property
    def form(self) -> Form:
        """How the gates come from their sums."""
        return FORMS[self.name]

    @property
    def memories(self) -> int:
        """How many vectors of H the state c holds: 1; 3 for the sLSTM, 4 for full gate recurrence."""
        return self.form.memories

    def __str__(self) -> str:
        """Return a few words for messages."""
        words = [f"cell {self.name!r}" if self.name != "lstm" else ""]
        words.append("peepholes" if self.peephole else "")
        words.append(f"{self.norm} norm" if self.norm else "")
        words.append("hard activations" if self.hard else "")
        words.append("cell clip" if self.clip is not None else "")
        return ", ".join(filter(None, words)) or "the plain cell"


PLAIN: Final = Cell()
"""``torch.nn.LSTM``'s cell."""
