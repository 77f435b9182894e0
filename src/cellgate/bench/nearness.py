"""How near to one another the CPUs of a virtual machine are just now.

Its host may move them: for seconds or minutes what one CPU writes takes the other up to four times as long to see, as
from another part of the chip. Threads that meet at every step then take up to twice as long, while single threads run
as ever. What was measured meanwhile says little, and is measured again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .machine import native_core
from .timing import quartiles

__all__ = ["Nearness", "is_far"]

_T = TypeVar("_T")

_FAR = 1.4  # times what a quarter of all looks stayed below
_FIRST, _APART = 20, 0.05  # looks before the first measurement, and seconds between two
_PATIENCE, _TRIES = 2.0, 3  # seconds to wait for, and measurements to make, until the CPUs are near for once


def is_far(handover: float, seen: Sequence[float]) -> bool:
    """Whether a hand-over took longer than usual, of those seen (seconds)."""
    return handover > _FAR * quartiles(seen)[0]


class Nearness:
    """Measures things while the CPUs are near.

    Args:
        threads: How many threads meet; for one there is nothing to look at.
        look: Returns the seconds of a hand-over between them.
    """

    def __init__(
        self,
        threads: int,
        look: Callable[[int], float] | None = None,
        sleep: Callable[[float], Any] = time.sleep,
    ) -> None:
        native = None if threads < 2 else native_core()
        self._look = look or (native.measure_handover if native else None)
        self._threads, self._sleep = threads, sleep
        self._seen: list[float] = []

    def measure(self, work: Callable[[], _T]) -> tuple[_T, list[float]]:
        """Return what work returned, and the seconds of a hand-over before and after it.

        Done again where the CPUs were far before or after; the last try counts whatever it was.
        """
        if self._look is None:
            return work(), []
        while len(self._seen) < _FIRST:
            self._now()
            self._sleep(_APART)
        for tries in range(1, _TRIES + 1):
            before, waited = self._now(), 0.0
            while self._far(before) and waited < _PATIENCE:
                self._sleep(_APART)
                waited += _APART
                before = self._now()
            result, after = work(), self._now()
            if tries == _TRIES or not (self._far(before) or self._far(after)):
                return result, [before, after]
        raise AssertionError

    def _now(self) -> float:
        assert self._look is not None
        self._seen.append(min(self._look(self._threads) for _ in range(3)))
        return self._seen[-1]

    def _far(self, handover: float) -> bool:
        return is_far(handover, self._seen)
