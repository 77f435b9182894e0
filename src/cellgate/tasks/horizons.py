"""What is looked up a horizon at a time: the steps that follow an origin, and those of a season that is repeated.

With an index for every step this would take a good part of the training. But the steps that follow an origin are
neighbours, and so are those of a season: they are copied in pieces, and all that a batch of origins asks in one go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Horizons:
    """Values of every step of all series, end to end, and where in them a horizon is read.

    Attributes:
        table: (V, M) float32, V values of each step.
        begins: (S,) int64 where each series begins in it.
        piece: so many steps are neighbours wherever a horizon is read.
        places: (R, L, P) int64 for each row that is read, and each lag that series have of their own: how far from an
            origin in the first row of the table its pieces begin.
        kinds: (S,) int64 which of these lags a series has.
        values: (R,) int64 the row of the table that each row is read from.
    """

    table: Tensor
    begins: Tensor
    piece: int
    places: Tensor
    kinds: Tensor
    values: Tensor

    @classmethod
    def build(
        cls,
        tables: Sequence[np.ndarray],
        before: int,
        rows: Sequence[tuple[int, int | None]],
        lags: np.ndarray,
        horizon: int,
    ) -> Horizons:
        """Lay out the values.

        Args:
            tables: (V, before + T + horizon) float32 of each series.
            before: the longest lag.
            rows: what is read: the row of a table, and how far back the steps that are repeated are; 0 for the steps
                that follow, None for the lag that the series has of its own.
            lags: (S,) the lags that series have of their own.
            horizon: steps ahead.
        """
        own, kinds = np.unique(lags, return_inverse=True)
        every = {*own.tolist(), *(lag for _, lag in rows if lag)}
        piece = math.gcd(horizon, *(lag for lag in every if lag < horizon))
        table = np.concatenate(tables, axis=1)
        widths = np.array([values.shape[1] for values in tables])
        ahead = np.arange(0, horizon, piece)
        places = [
            [
                value * table.shape[1] + 1 + (ahead % lag - lag if lag else ahead)
                for lag in (own if lag is None else [lag] * len(own))
            ]
            for value, lag in rows
        ]
        return cls(
            torch.from_numpy(table),
            torch.from_numpy(np.cumsum(widths) - widths + before),
            piece,
            torch.from_numpy(np.array(places)),
            torch.from_numpy(kinds),
            torch.tensor([value for value, _ in rows]),
        )

    @classmethod
    def join(cls, parts: Sequence[Horizons]) -> Horizons | None:
        """The series of all parts, one after the other; None where other rows are read of some, or in other pieces."""
        if len({(part.piece, len(part.table), tuple(part.values.tolist())) for part in parts}) > 1:
            return None
        table = torch.cat([part.table for part in parts], dim=1)
        begins, places, kinds, steps, lags = [], [], [], 0, 0
        for part in parts:
            own = part.table.shape[1]
            begins.append(part.begins + steps)
            places.append(part.places + (part.values * (table.shape[1] - own))[:, None, None])
            kinds.append(part.kinds + lags)
            steps, lags = steps + own, lags + part.places.shape[1]
        return cls(table, torch.cat(begins), parts[0].piece, torch.cat(places, 1), torch.cat(kinds), parts[0].values)

    def read(self, series: Tensor, origins: Tensor) -> Tensor:
        """(R, B, K, horizon) each row, at some steps (B, K) of some series (B,)."""
        at = self.begins[series][:, None] + origins
        index = self.places[:, self.kinds[series], None] + at[..., None]
        pieces = self.table.view(-1).unfold(0, self.piece, 1)
        return pieces.index_select(0, index.flatten()).view(*index.shape[:-1], -1)

    def value(self, row: int, series: Tensor, origins: Tensor) -> Tensor:
        """(B, K) one value of the origins themselves."""
        return self.table[row][self.begins[series][:, None] + origins]
