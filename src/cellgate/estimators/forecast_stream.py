"""Forecasts that follow rows as they come: the LSTM's state goes from row to row, nothing is read twice.

A forecast made afresh reads between one and two contexts of history (tasks.forecast.reading_start). A stream has to
agree with it, so it carries two states: one that began where a fresh forecast would begin now, and one that began a
block later and takes its place when the block is over. A row costs one LSTM step of a batch of two, whatever the length
of the history.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cellgate.data import DataError, Panel
from cellgate.data.categories import code_of
from cellgate.data.clocks import kept_clock, on_clock, unzoned_note, without_zone, zoned_moment
from cellgate.data.extend import require_near
from cellgate.data.frames import is_null
from cellgate.data.newer import likeliest_stamp, stamps_meant
from cellgate.data.numbers import LARGEST
from cellgate.data.panel import show_time, show_times
from cellgate.data.words import some
from cellgate.estimators.forecast import Forecast
from cellgate.estimators.plain_torch import in_plain_torch
from cellgate.tasks.forecast import in_data_units, known_ahead, reading_start
from cellgate.tasks.forecast_data import lookback, prepare, prepare_tail, transform

if TYPE_CHECKING:
    from cellgate.estimators.forecaster import Forecaster


class ForecastStream:
    """Takes one value of one series at a time, and forecasts from it.

    It begins with the history of the forecaster, which it leaves as it was. Equal to a forecast made afresh over the
    same history, to rounding.

    Attributes:
        skipped: how many steps without a row, taken as missing values, the last `push` found before its own.

    Example:
        >>> import cellgate
        >>> stream = cellgate.Forecaster(horizon=3, max_epochs=2).fit("airline").stream()
        >>> stream.push(417.0).median.shape
        (1, 3)
    """

    def __init__(self, forecaster: Forecaster) -> None:
        self._forecaster = forecaster
        self._series: dict[str, _Series] = {}
        self._told = False
        self.skipped = 0

    def __repr__(self) -> str:
        """What it continues, not where it lies in memory."""
        return f"<ForecastStream of {len(self.ids):,} series, {len(self._series):,} begun>"

    @property
    def ids(self) -> tuple[str, ...]:
        """The series that can be continued."""
        return self._forecaster.panel_.ids

    @in_plain_torch
    def push(
        self,
        value: float | None,
        *,
        id: str | int | None = None,
        time: Any = None,
        past: Mapping[str, Any] | None = None,
        future: Mapping[str, Any] | None = None,
        steps: int | None = None,
    ) -> Forecast:
        """Take the next value of a series and forecast what follows it.

        Args:
            value: in the unit of the data; None or NaN where nothing was observed.
            id: the series; may be left out where there is one only.
            time: its stamp, or its text as in the training's table; the next step if left out. Steps left out before
                it are taken as missing values.
            past: past-known columns by name, at this step.
            future: future-known columns by name: an array from this step on, or one value, for this step only.
            steps: only so many of the horizon's steps, for which alone future-known columns are then needed.

        Returns:
            A forecast of this one series.

        Raises:
            InputError: for more steps than the horizon has.
            DataError: for a series or a column that is not known, a value that is no finite number, a stamp that is not
                a later step or has a zone where the training's had none, or drivers that are not given far enough
                ahead. The stream is then as it was before.

        Warns:
            UserWarning: once, of a time without the zone that the training's times had.
        """
        self._forecaster._require_fit()
        asked = self._forecaster._steps_asked(steps)
        name, number = self._name(id), _number(value)
        panel = self._forecaster.panel_
        for kind, given, known in (("past", past, panel.past_names), ("future", future, panel.future_names)):
            for column in given or ():
                if column not in known:
                    columns = some(known) if known else "none"
                    raise DataError(f"{kind}: expected columns of the training, {columns}, got {column!r}; correct it")
        if name not in self._series:
            self._series[name] = _Series(self._forecaster, panel.select([panel.ids.index(name)]))
        series = self._series[name]
        if not self._told and without_zone(time, panel.roles.time_format or self._forecaster.time_format):
            self._told = True
            warnings.warn(unzoned_note("time"), UserWarning, stacklevel=3)
        before = dict(vars(series))
        try:
            made, self.skipped = series.push(number, time, past or {}, future or {}, asked)
            return made
        except BaseException:
            vars(series).update(before)  # whatever was read of the row is replaced, nothing is written to in place
            raise

    def taken(self, id: str | int | None = None) -> Panel | None:
        """The last steps of a series, some of the history's among them, as far back as the stream keeps them.

        Args:
            id: the series; may be left out where there is one only.

        Returns:
            A Panel of that one series; None before its first `push`.

        Raises:
            DataError: for a series that is not known.
        """
        series = self._series.get(self._name(id))
        return None if series is None else series.panel

    def _name(self, id: str | int | None) -> str:
        known = self._forecaster.panel_.ids
        id = None if id is None else str(id)
        if id is None and len(known) == 1:
            return known[0]
        if id not in known:
            some = ", ".join(known[:3]) + (", ..." if len(known) > 3 else "")
            raise DataError(f"id: expected one of the series {some}, got {id!r}; give the name of one that was trained")
        return id


class _Series:
    """One series of a stream."""

    def __init__(self, forecaster: Forecaster, panel: Panel) -> None:
        self.forecaster, self.task, self.model = forecaster, forecaster.task_, forecaster.model_
        self.units = forecaster._units(panel)
        self.step = len(panel.values[0])  # how many steps have been read
        self.keep = lookback(self.task)
        observed = np.isfinite(panel.values[0])
        self.seen_first = int(np.argmax(observed)) if observed.any() else self.step
        self.z = transform(panel, 0, self.task)[-self.keep :] / self.units.scales[0]
        self.known = observed[-self.keep :]
        self.bounds = (np.inf, -np.inf)
        self.panel = panel.since([max(0, self.step - self.keep)])
        self.states = self._read(panel)

    @torch.no_grad()
    def _read(self, panel: Panel) -> tuple[Tensor, Tensor]:
        """The two states after the history, (L, 2, H) each."""
        data = prepare(panel, self.task, self.units, self.forecaster.coding_)
        if self.step:
            self.bounds = float(data.lowest[-1]), float(data.highest[-1])
        features = data.features
        last = self.step - 1
        states = []
        for begin in (
            int(reading_start(np.array(last), self.task.context)),
            last // self.task.context * self.task.context,
        ):
            states.append(self.model.lstm(features[begin:][None])[1])
        return torch.cat([h for h, _ in states], 1), torch.cat([c for _, c in states], 1)

    def push(
        self, value: float, time: Any, past: Mapping[str, Any], future: Mapping[str, Any], steps: int
    ) -> tuple[Forecast, int]:
        """The forecast after a value, and how many steps without one lay before it."""
        skipped = 0 if time is None else self._skipped(time)
        if self.task.log and value <= 0:
            raise DataError(f"value: expected a positive one, as in training, got {value:g}; correct it")
        for _ in range(skipped):
            self._take(float("nan"), {}, {})
        hidden = self._take(value, past, future)
        return self._answer(hidden, steps), skipped

    def _skipped(self, time: Any) -> int:
        """How many steps lie between the last one and a stamp."""
        panel = self.panel
        stamp, expected = self._stamp(time), panel.next_times(0, 1)[0]
        if stamp is None or isinstance(expected, np.datetime64) != isinstance(stamp, np.datetime64):
            raise DataError(f"time: expected a stamp like {show_time(expected)}, got {time!r}; correct it")
        offset, exact = panel.frequency.place(np.array([stamp]), panel.starts[0])
        ahead = int(offset[0]) - len(panel.values[0])
        wanted, got = show_times(np.array([expected, stamp]))
        if not exact[0]:
            raise DataError(
                f"time: expected {wanted} or a later step ({panel.frequency}), got {got}, which is beside the steps; "
                f"{panel.frequency.remedy(stamp)}"
            )
        if ahead < 0:
            raise DataError(
                f"time: expected {wanted} or a later step ({panel.frequency}), got {got}; rows come in the order of "
                "time, each step once"
            )
        require_near("time", panel, 0, ahead + 1, stamp, self.step)
        return ahead

    def _stamp(self, time: Any) -> Any:
        """A time as the panel counts it; None for what is none."""
        panel = self.panel
        form = panel.roles.time_format or self.forecaster.time_format
        numbers = isinstance(panel.starts[0], np.datetime64)
        if isinstance(time, str) and kept_clock(form) != "?":
            time = zoned_moment(time.strip()) or time
        if isinstance(time, str) or (numbers and isinstance(time, int | float | np.number)):
            last = panel.frequency.grid(panel.starts[0], len(panel.values[0]) - 1, 1)[0]
            with suppress(DataError):
                return likeliest_stamp(stamps_meant(str(time).strip(), "time", panel, form), panel, 0, last)
            return None
        return time if isinstance(time, int | np.integer) else _stamp(time, form, panel)

    @torch.no_grad()
    def _take(self, value: float, past: Mapping[str, Any], future: Mapping[str, Any]) -> Tensor:
        """Read a step; the (H,) state that answers for it."""
        known = bool(np.isfinite(value))
        z = self._scaled(value) if known else self._filled()
        if known and self.seen_first >= self.step:
            self.seen_first = self.step
        self.z, self.known = np.append(self.z, z)[-self.keep :], np.append(self.known, known)[-self.keep :]
        self.panel = self._continued(value, past, future)
        context = self.task.context
        h, c = self.states
        if self.step and self.step % context == 0:
            # A block is over: the state that began with it is now the one to answer, and another begins.
            h, c = (torch.stack([state[:, 1], torch.zeros_like(state[:, 1])], 1) for state in (h, c))
        coding = self.forecaster.coding_
        self.tail = prepare_tail(self.panel, self.z, self.known, self.task, self.units, coding, self.bounds)
        self.bounds = float(self.tail.lowest[-1]), float(self.tail.highest[-1])
        hidden, self.states = self.model.lstm(self.tail.features[-1].expand(2, 1, -1), (h, c))
        self.step += 1
        return hidden[0, 0]

    def _scaled(self, value: float) -> float:
        return (np.log(value) if self.task.log else value) / self.units.scales[0]

    def _filled(self) -> float:
        """What stands for a missing value: see tasks.baselines.fill_by_season."""
        season = self.task.season
        return self.z[-season] if self.step >= season + self.seen_first and len(self.z) >= season else self.z[-1]

    def _continued(self, value: float, past: Mapping[str, Any], future: Mapping[str, Any]) -> Panel:
        """The kept steps with one more, and the covariates that came with it."""
        panel = self.panel
        values = np.append(panel.values[0], value)
        changes: dict[str, Any] = {"values": (values,)}
        if panel.past:
            row = [_code(panel, name, past.get(name)) for name in panel.past_names]
            changes["past"] = (np.concatenate([panel.past[0], [row]]),)
        if panel.future:
            at, columns = len(values) - 1, [_cells(future.get(name, ())) for name in panel.future_names]
            length = max([len(panel.future[0]), len(values), *(at + len(column) for column in columns)])
            ahead = np.full((length, len(columns)), np.nan)
            ahead[: len(panel.future[0])] = panel.future[0]
            for j, (name, column) in enumerate(zip(panel.future_names, columns, strict=True)):
                ahead[at : at + len(column), j] = [_code(panel, name, cell) for cell in column]
            changes["future"] = (ahead,)
        panel = replace(panel, **changes)
        return panel.since([max(0, len(values) - self.keep)])

    @torch.no_grad()
    def _answer(self, hidden: Tensor, steps: int) -> Forecast:
        forecaster, task = self.forecaster, self.task
        remedy = "give it with the row, as a list from this step on (--json, or future= in Python)"
        forecaster.coding_.require_future(self.panel, steps, remedy)
        one, origin = torch.zeros(1, dtype=torch.long), self.tail.lengths[:, None] - 1
        answers = self.model.answer(hidden[None, None], *known_ahead(self.tail, task, one, origin))
        correction = forecaster.widening_, forecaster.shrinkage_
        values = in_data_units(answers, self.tail, task, one, origin, *correction)[0]
        return Forecast.from_quantiles(self.panel, tuple(forecaster.levels), values[:, :steps], task.quantiles)


def _number(value: Any) -> float:
    """A value as it is read, NaN for None."""
    try:
        number = float("nan") if is_null(value) else float(value)
    except (TypeError, ValueError):
        number = float("inf")
    if np.abs(number) > LARGEST:
        raise DataError(f"value: expected a finite number, or None where nothing was observed, got {value!r}")
    return number


def _stamp(time: Any, form: str | None, panel: Panel) -> np.datetime64 | None:
    """A time as the panel counts it, one with a zone by the clock that the training kept; None for what is none.

    Raises:
        DataError: for a zone where the training's times had none.
    """
    if hasattr(time, "to_timestamp"):  # pandas' Period: its first moment, as in a column
        time = time.to_timestamp()
    moment: Any = time
    if getattr(moment, "tzinfo", None) is not None:
        return on_clock(moment, form, panel.frequency, "", "time")
    try:
        return np.datetime64(moment, "us")
    except (TypeError, ValueError):
        return None


def _cells(value: Any) -> list[Any]:
    """What is known of a column from a step on, step by step."""
    if isinstance(value, str) or not hasattr(value, "__iter__") or np.ndim(value) == 0:
        return [value]
    return list(value)


def _code(panel: Panel, name: str, value: Any) -> float:
    """A cell of a covariate as its number: a category's position, or the one after all for another; NaN for none."""
    if is_null(value) or (isinstance(value, str) and not value.strip()):
        return float("nan")
    labels = panel.categories.get(name)
    code = None if hasattr(value, "__len__") and not isinstance(value, str) else code_of(value, labels)
    if code is None:
        expected = "a finite number" if labels is None else "a word such as " + repr(labels[0] if labels else "none")
        raise DataError(f"{name}: expected {expected} for each step, got {value!r}; correct it")
    return code
