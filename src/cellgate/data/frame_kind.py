"""Answers as frames of the caller's own kind: the library, the type of the names, the zone of the times."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from cellgate.data.frames import type_of, with_index

_FIXED = re.compile(r"(?:UTC)?([+-])(\d{2}):?(\d{2})")


@dataclass(frozen=True)
class FrameKind:
    """What kind of frame a caller gave, so that answers can be of the same kind.

    Attributes:
        backend: narwhals' name of the library.
        types: column -> narwhals' type.
    """

    backend: Any
    types: dict[str, Any]

    def frame(self, columns: dict[str, np.ndarray], alike: Mapping[str, str | None], clock: str | None) -> Any:
        """Columns as such a frame.

        Args:
            columns: name -> (rows,).
            alike: name of a column -> name of the caller's column whose type it takes, where that can hold it.
            clock: of times with a zone, which one the stamps are of, "UTC" or "local".
        """
        import narwhals as nw

        plain = {name: values.tolist() if values.dtype == object else values for name, values in columns.items()}
        frame = nw.from_dict(plain, backend=self.backend)
        for name, original in alike.items():
            wanted = self.types.get(original or "")
            if wanted is None:
                continue
            with contextlib.suppress(Exception):  # the library's own, for what the type cannot hold: it stays as it is
                if isinstance(wanted, nw.Datetime) and wanted.time_zone is not None:
                    utc = columns[name] if clock != "local" else _to_utc(columns[name], wanted.time_zone)
                    frame = frame.with_columns(nw.new_series(name, utc, backend=self.backend))
                    column = nw.col(name).dt.replace_time_zone("UTC").dt.convert_time_zone(wanted.time_zone)
                    frame = frame.with_columns(column.cast(wanted))
                elif _same_sort(frame[name].dtype, wanted):
                    frame = frame.with_columns(nw.col(name).cast(wanted))
        return frame.to_native()


def kind_of(data: Any) -> FrameKind | None:
    """The kind of a data frame; None for paths, arrays and other data that are none."""
    import narwhals as nw

    if data is None or isinstance(data, str | Path | np.ndarray | Mapping | Sequence):
        return None
    rows = data.head(0) if hasattr(data, "head") else data  # of pyarrow's tables no copy is made
    try:
        frame = nw.from_native(with_index(rows, []), eager_only=True, allow_series=True)
    except TypeError:
        return None
    columns = () if isinstance(frame, nw.Series) else zip(frame.columns, frame.iter_columns(), strict=True)
    types = {str(name): type_of(column) for name, column in columns}
    return FrameKind(frame.implementation, types)


def _same_sort(made: Any, wanted: Any) -> bool:
    """Whether one type may be cast to the other without another meaning."""
    import narwhals as nw

    if isinstance(made, nw.Datetime):
        return isinstance(wanted, nw.Datetime | nw.Date)
    if made.is_integer():
        return wanted.is_integer()
    return isinstance(made, nw.String | nw.Object) and isinstance(wanted, nw.String | nw.Categorical | nw.Enum)


def _to_utc(local: np.ndarray, zone: str) -> np.ndarray:
    """The same moments by UTC; of an hour that the clocks show twice the first, of one they skip the next."""
    fixed = _FIXED.fullmatch(zone)
    if fixed:
        offset = int(fixed[1] + "1") * (60 * int(fixed[2]) + int(fixed[3]))
        return local - np.timedelta64(offset, "m")
    there = ZoneInfo(zone)
    moments = [stamp.replace(tzinfo=there).astimezone(UTC).replace(tzinfo=None) for stamp in local.tolist()]
    return np.array(moments, dtype="datetime64[us]")
