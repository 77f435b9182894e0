"""What a stream says on standard error of rows that are not simply the next step."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from cellgate import estimators
from cellgate.data import Panel
from cellgate.data.clocks import unzoned_note, without_zone
from cellgate.data.newer import USUAL
from cellgate.data.panel import show_time, show_times
from cellgate.data.words import counted

if TYPE_CHECKING:
    from cellgate.estimators.forecast_stream import ForecastStream

_MOST_GAPS = 20  # told one by one; the others are counted


def note(line: str) -> None:
    """A line on standard error, at once."""
    print(line, file=sys.stderr, flush=True)


class Zoneless:
    """Times without the zone that the training's times had: told of when the first comes."""

    def __init__(self, forecaster: estimators.Forecaster) -> None:
        roles = forecaster.panel_.roles
        self._form, self._names = roles.time_format or forecaster.time_format, (roles.time, USUAL["time"])
        self._told = False

    def look_at(self, row: dict[str, Any]) -> None:
        """Before a row is taken."""
        name = next((name for name in self._names if name in row), None)
        if name is not None and not self._told and without_zone(row[name], self._form):
            self._told = True
            note(f"note: {unzoned_note(name)}")


class Known:
    """Rows of steps that are known: those of the model's history, and those that come twice with the same value.

    Each kind is told of when the first comes, and counted at the end.
    """

    def __init__(self, forecaster: estimators.Forecaster, stream: ForecastStream) -> None:
        self._panel, self._stream = forecaster.panel_, stream
        self._same = self._other = self._again = 0

    def has(self, row: str, push: dict[str, Any]) -> bool:
        """Whether the value of a row is known, and so passed over; if so it is counted."""
        panel, name, time = self._panel, push.get("id", self._panel.ids[0]), push.get("time")
        if time is None or name not in panel.ids:
            return False
        step = _step_of(panel, panel.ids.index(name), time)
        if step is not None:
            self._count(row, bool(_like(push["value"], panel.values[panel.ids.index(name)][step])))
            return True
        taken = self._stream.taken(name)
        step = None if taken is None else _step_of(taken, 0, time)
        if taken is None or step is None or not _like(push["value"], taken.values[0][step]):
            return False  # another value is refused by the stream, which cannot go back
        if not self._again:
            note(f"{row}: {show_time(time)} came before, with the same value; such rows are passed over")
        self._again += 1
        return True

    def _count(self, row: str, same: bool) -> None:
        if not self._same + self._other:
            last = show_time(self._panel.times(0)[-1])
            note(f"{row}: the model's history goes up to {last}; rows up to there are passed over")
        self._same += same
        self._other += not same

    def say_count(self) -> None:
        """How many they were."""
        count = self._same + self._other
        if count:
            other = f", {self._other:,} of them other than there" if self._other else ""
            note(f"passed over {counted(count, 'value')} of steps that the history has{other}")
        if self._again:
            note(f"passed over {counted(self._again, 'value')} that came twice")


class Gaps:
    """Steps without a row, which the network is told that it does not see: told of as they come, and counted."""

    def __init__(self) -> None:
        self._gaps = self._steps = 0

    def look_at(self, row: str, push: dict[str, Any], stream: ForecastStream) -> None:
        """After a row was taken."""
        if not stream.skipped:
            return
        self._gaps += 1
        self._steps += stream.skipped
        if self._gaps <= _MOST_GAPS:
            name = push.get("id", stream.ids[0])
            of = f" of {name}" if len(stream.ids) > 1 else ""
            taken = stream.taken(name)
            at = "" if taken is None else f" before {show_times(taken.times(0)[-2:])[-1]}"
            note(f"{row}: {counted(stream.skipped, 'step')}{of}{at} without a row, taken as missing")

    def say_count(self) -> None:
        """How many they were, where they were not all told."""
        if self._gaps > _MOST_GAPS:
            note(f"{counted(self._steps, 'step')} without a row in {counted(self._gaps, 'gap')}")


def _step_of(panel: Panel, k: int, time: Any) -> int | None:
    """The step of a series that a stamp stands on; None for none that it has."""
    if isinstance(time, np.datetime64) != isinstance(panel.starts[k], np.datetime64):
        return None
    offset, exact = panel.frequency.positions(np.array([time]), panel.starts[k])
    step = int(offset[0])
    return step if exact[0] and 0 <= step < len(panel.values[k]) else None


def _like(value: float, other: float) -> bool:
    return bool(np.isclose(value, other, rtol=1e-6, equal_nan=True))
