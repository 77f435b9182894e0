"""Values read a horizon at a time: piece by piece as one by one, and never those of a neighbouring series."""

import numpy as np
import pytest
import torch

from cellgate.tasks.horizons import Horizons

LENGTHS, BEFORE = (9, 30, 14), 12


def make(horizon, rows, lags):
    """Tables whose values say where they are: 1000 (v + 1) + the step for the first series, and so on; NaN around."""
    tables = []
    for k, length in enumerate(LENGTHS):
        values = 100.0 * k + np.arange(length) + 1000.0 * np.arange(1, 3)[:, None]
        tables.append(np.pad(values, ((0, 0), (BEFORE, horizon)), constant_values=np.nan).astype(np.float32))
    return Horizons.build(tables, BEFORE, rows, np.array(lags), horizon)


@pytest.mark.parametrize(("horizon", "piece"), [(1, 1), (4, 4), (5, 1), (8, 4), (24, 4), (12, 12)])
def test_pieces_are_what_is_looked_up_step_by_step(horizon, piece):
    rows, lags = [(0, 0), (1, 4), (0, None), (1, 12), (1, None)], [4, 12, 4]
    rows, lags = ([(v, 12 if lag else lag) for v, lag in rows], [12] * 3) if piece == 12 else (rows, lags)
    made = make(horizon, rows, lags)
    assert made.piece == piece
    series = torch.tensor([2, 0, 1, 1])
    origins = torch.tensor([[0, 13], [8, 3], [29, 17], [0, 11]])
    found = made.read(series, origins)
    assert found.shape == (len(rows), 4, 2, horizon)
    for r, (v, back) in enumerate(rows):
        for b, k in enumerate(series.tolist()):
            for j, origin in enumerate(origins[b].tolist()):
                lag = lags[k] if back is None else back
                for h in range(horizon):
                    step = origin + 1 + (h % lag - lag if lag else h)
                    want = 1000.0 * (v + 1) + 100.0 * k + step if 0 <= step < LENGTHS[k] else np.nan
                    np.testing.assert_equal(float(found[r, b, j, h]), want)


def test_the_value_of_an_origin_itself():
    made = make(4, [(0, 0)], [4, 4, 4])
    series, origins = torch.tensor([1, 0]), torch.tensor([[0, 29], [8, 1]])
    assert made.value(1, series, origins).tolist() == [[2100.0, 2129.0], [2008.0, 2001.0]]
