"""The common axis of an example: every picture of it has its steps at the same places, one below the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

__all__ = ["LEFT", "RIGHT", "WIDTH", "Frame", "text"]

WIDTH, LEFT, RIGHT = 1120, 132, 1040
_FEWEST = 4  # years, months, ... to be marked as such
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_BEGINS = re.compile(r"(-01)*([ T]?00(:00)*)?|(:00)*")
_LEAST, _LEAST_UPRIGHT = 9, 13  # width of a step with a token below it
_LONGEST = 16  # letters of a token that stands upright


@dataclass(frozen=True)
class Frame:
    """Where steps lie.

    Attributes:
        count: positions.
        labels: one a position.
        tokens: whether labels are to be written, each under its step, if there is room.
    """

    count: int
    labels: Sequence[str]
    tokens: bool = False

    @property
    def step(self) -> float:
        """The width of a position."""
        return (RIGHT - LEFT) / max(self.count, 1)

    def edge(self, position: float) -> float:
        """The left edge of a position."""
        return LEFT + self.step * position

    def centre(self, position: float) -> float:
        """The middle of a position."""
        return self.edge(position + 0.5)

    @property
    def _widest(self) -> int:
        return max((len(label) for label in self.labels), default=1)

    @property
    def _upright(self) -> bool:
        """Whether tokens are too wide to stand side by side."""
        return self._widest > 1 and self._widest * 8.2 > self.step

    @property
    def foot(self) -> float:
        """The height that the axis takes."""
        if self.tokens and self._upright and self.step >= _LEAST_UPRIGHT:
            return max(28.0, 14 + 7.4 * min(self._widest, _LONGEST))
        return 28.0

    def axis(self, y: float) -> str:
        """Marks and labels below a picture."""
        parts = [f'<path class="axis" d="M{LEFT} {y:g}H{RIGHT}"/>']
        if self.tokens and self.step >= _LEAST and not self._upright:
            kind = "mid small" if self.step < 15 else "mid"
            return parts[0] + "".join(text(self.centre(k), y + 16, kind, v) for k, v in enumerate(self.labels))
        if self.tokens and self.step >= _LEAST_UPRIGHT:
            for position, label in enumerate(self.labels):
                x = self.centre(position) + 4
                shown = escape(label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "…")
                parts.append(
                    f'<text x="{x:.1f}" y="{y + 8:.1f}" class="small end" transform="rotate(-90 {x:.1f} {y + 8:.1f})">'
                    f"{shown}</text>"
                )
            return "".join(parts)
        for position, label in self._marks():
            x = self.centre(position)
            parts.append(f'<path class="axis" d="M{x:.1f} {y:g}v5"/>')
            parts.append(text(x, y + 19, "mid small soft", label))
        return "".join(parts)

    def _marks(self) -> list[tuple[int, str]]:
        """Positions to mark and what to write there: dates where a year, month, day or hour begins, others evenly."""
        if self.count and all(_DATE.match(label) for label in self.labels):
            for letters in (4, 7, 10, 13):
                begins = [k for k in range(1, self.count) if self.labels[k][:letters] != self.labels[k - 1][:letters]]
                # The first step counts where its year (or month, ...) begins with it.
                if _BEGINS.fullmatch(self.labels[0][letters:]):
                    begins.insert(0, 0)
                if len(begins) >= _FEWEST:
                    stride = -(-len(begins) // self._room(letters))
                    return [(k, self.labels[k][:letters] + (":00" if letters == 13 else "")) for k in begins[::stride]]
        every = self._every(self._room(self._widest))
        return [(k, self.labels[k]) for k in range(0, self.count, every)]

    def _room(self, letters: int) -> int:
        """How many labels of that many letters have a place side by side."""
        return max(2, int((RIGHT - LEFT) / (letters * 7.2 + 26)))

    def _every(self, marks: int) -> int:
        size = 1
        while True:
            for factor in (1, 2, 5):
                if self.count / (size * factor) <= marks:
                    return size * factor
            size *= 10

    def svg(self, height: float, kind: str, label: str, content: str) -> Markup:
        """A picture on this axis, with places for the line and the span that a script moves."""
        return Markup(
            f'<svg class="aligned {kind}" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label)}">'
            f'{content}<rect class="span" x="0" y="0" width="0" height="{height:g}"/>'
            f'<path class="cross" d="M-9 0V{height:g}"/></svg>'
        )


def text(x: float, y: float, kind: str, value: str) -> str:
    """A piece of text, escaped."""
    return f'<text x="{x:.4g}" y="{y:.4g}" class="{kind}">{escape(value)}</text>'
