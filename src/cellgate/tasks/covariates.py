"""How covariates become numbers: scaled, one column a category, a flag where a value may be missing.

What is needed for it (means, deviations, the categories met) is measured on the training part and saved with the model.
A category that training never met is read as none of those it did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cellgate.data import DataError, Panel
from cellgate.data.panel import show_time
from cellgate.data.words import counted

DRIVERS_AHEAD = "give rows with the drivers of the steps to come (--future-data, or future= in Python)"


@dataclass(frozen=True)
class Coding:
    """How one covariate becomes columns.

    Attributes:
        name: of the column.
        mean, deviation: of the numbers seen in training.
        categories: the labels seen in training, for a column of categories; None for one of numbers.
        flagged: whether a column says where the value is known.
    """

    name: str
    mean: float = 0.0
    deviation: float = 1.0
    categories: tuple[str, ...] | None = None
    flagged: bool = False

    def columns(self, values: np.ndarray, labels: Sequence[str] | None) -> np.ndarray:
        """(T,) values, or codes into labels, to (T, W) numbers; what is missing or an unknown label is zeros."""
        known = _known(values, labels if self.categories is not None else None)
        if self.categories is not None:
            place = {label: k for k, label in enumerate(self.categories)}
            codes = np.array([place.get(str(label), -1) for label in labels or ()] or [-1])
            met = np.where(known, codes[np.where(known, values, 0).astype(np.int64)], -1)
            coded = (met[:, None] == np.arange(len(self.categories))).astype(np.float64)
        else:
            coded = np.where(known, (np.where(known, values, 0) - self.mean) / self.deviation, 0.0)[:, None]
        return np.concatenate([coded, known[:, None]], axis=1) if self.flagged else coded

    @property
    def names(self) -> tuple[str, ...]:
        """(W,) what the columns are called."""
        coded = (
            (self.name,) if self.categories is None else tuple(f"{self.name} = {label}" for label in self.categories)
        )
        return (*coded, f"{self.name} known") if self.flagged else coded


@dataclass(frozen=True)
class CovariateCoding:
    """The covariates of a panel, by their three kinds."""

    past_columns: tuple[Coding, ...] = ()
    future_columns: tuple[Coding, ...] = ()
    static_columns: tuple[Coding, ...] = ()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.past_columns or self.future_columns or self.static_columns)

    @classmethod
    def fit(cls, panel: Panel, ends: np.ndarray) -> CovariateCoding:
        """Measure on the first `ends` steps of every series (static covariates: on all series)."""

        def fit_all(names: Sequence[str], arrays: Sequence[np.ndarray]) -> tuple[Coding, ...]:
            if not names:
                return ()
            seen = [array[:end] for array, end in zip(arrays, ends.tolist(), strict=True)]
            return tuple(
                _fit(name, np.concatenate([array[:, k] for array in seen]), panel.categories.get(name))
                for k, name in enumerate(names)
            )

        static = () if panel.static is None else panel.static.T
        return cls(
            fit_all(panel.past_names, panel.past),
            fit_all(panel.future_names, panel.future),
            tuple(
                _fit(name, column, panel.categories.get(name))
                for name, column in zip(panel.static_names, static, strict=True)
            ),
        )

    def past(self, panel: Panel, k: int) -> np.ndarray:
        """(T, P) what was measured beside a series."""
        self._require(panel, "past", self.past_columns, panel.past_names)
        return self._coded(panel, self.past_columns, panel.past[k] if self.past_columns else None, panel.past_names, k)

    def future(self, panel: Panel, k: int, steps: int) -> np.ndarray:
        """(steps, D) what is known beforehand of a series; zeros past the last step it is known for."""
        self._require(panel, "future", self.future_columns, panel.future_names)
        if not self.future_columns:
            return np.zeros((steps, 0))
        coded = self._coded(panel, self.future_columns, panel.future[k], panel.future_names, k)[:steps]
        return np.concatenate([coded, np.zeros((steps - len(coded), coded.shape[1]))])

    def static(self, panel: Panel, k: int) -> np.ndarray:
        """(C,) what a series is."""
        self._require(panel, "static", self.static_columns, panel.static_names)
        values = None if panel.static is None else panel.static[k : k + 1]
        coded = self._coded(panel, self.static_columns, values, panel.static_names, k)
        return coded[0] if self.static_columns else np.zeros(0)

    def require_future(self, panel: Panel, asked: int | Sequence[int], remedy: str = DRIVERS_AHEAD) -> None:
        """Refuse to forecast where a driver is not known for all of the steps asked for.

        Args:
            panel: the series.
            asked: how many steps after the end of each series, one number for all or one a series.
            remedy: what to do, in the words of who asks.

        Raises:
            DataError: naming the series, the column and the first step without a value.
        """
        needed = [asked] * len(panel) if isinstance(asked, int) else asked
        for k, horizon in enumerate(needed) if self.future_columns else ():
            steps, values = len(panel.values[k]), panel.future[k]
            for column in self.future_columns:
                ahead = np.full(horizon, np.nan)
                given = values[steps : steps + horizon, panel.future_names.index(column.name)]
                ahead[: len(given)] = given
                if not np.isfinite(ahead).all():
                    first = int(np.argmin(np.isfinite(ahead)))
                    empty = column.categories is not None and column.flagged and first < len(given)
                    told = "; where an empty cell means none, train with a word for it, such as 'none'" if empty else ""
                    raise DataError(
                        f"series {panel.ids[k]!r}: expected {column.name!r} for the {counted(horizon, 'step')} after "
                        f"its end, got none at {show_time(panel.next_times(k, horizon)[first])}; {remedy}{told}"
                    )

    def new_gaps(self, panel: Panel) -> tuple[str, ...]:
        """Notes of columns with steps of the history left open, which the training's never were."""
        notes = []
        for columns, arrays, names in (
            (self.past_columns, panel.past, panel.past_names),
            (self.future_columns, panel.future, panel.future_names),
        ):
            for column in columns:
                j = names.index(column.name)
                steps = zip(arrays, panel.values, strict=True)
                gaps = sum(int(np.isnan(array[: len(y), j]).sum()) for array, y in steps)
                if gaps and not column.flagged:
                    read = "none of its words" if column.categories is not None else "its usual value"
                    notes.append(
                        f"{column.name}: empty at {counted(gaps, 'step')}, as it never was in training: read as {read}"
                    )
        return tuple(notes)

    def to_json(self) -> dict[str, Any]:
        """As plain values for preprocess.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CovariateCoding:
        """From what to_json gave."""

        def columns(entries: list[dict[str, Any]]) -> tuple[Coding, ...]:
            return tuple(
                Coding(**{**entry, "categories": None if entry["categories"] is None else tuple(entry["categories"])})
                for entry in entries
            )

        return cls(**{name: columns(entries) for name, entries in values.items()})

    def _coded(
        self, panel: Panel, columns: Sequence[Coding], values: np.ndarray | None, names: Sequence[str], k: int
    ) -> np.ndarray:
        if not columns or values is None:
            return np.zeros((len(panel.values[k]), 0))
        return np.concatenate(
            [c.columns(values[:, list(names).index(c.name)], panel.categories.get(c.name)) for c in columns], axis=1
        )

    def _require(self, panel: Panel, kind: str, columns: Sequence[Coding], names: Sequence[str]) -> None:
        missing = [column.name for column in columns if column.name not in names]
        if missing:
            raise DataError(
                f"{panel.source}: expected the {kind} column {missing[0]!r}, as in training, got none; "
                f"give a table that has it"
            )


def _known(values: np.ndarray, labels: Sequence[str] | None) -> np.ndarray:
    """(T,) where there is a number or, with labels, the code of one; see Panel.with_categories for other codes."""
    return np.isfinite(values) if labels is None else values < len(labels)


def _fit(name: str, values: np.ndarray, labels: Sequence[str] | None) -> Coding:
    known = values[_known(values, labels)]
    flagged = len(known) < len(values)
    if labels is not None:
        return Coding(name, categories=tuple(str(labels[int(code)]) for code in np.unique(known)), flagged=flagged)
    if not len(known):
        return Coding(name, flagged=True)
    deviation = float(known.std())
    return Coding(name, float(known.mean()), deviation if deviation > 0 else 1.0, flagged=flagged)
