"""The adding problem with T = 100 (Hochreiter and Schmidhuber 1997, "Long short-term memory", experiment 4).

A sequence has 100 to 110 pairs. The first of a pair is drawn from -1 to 1; the second marks two pairs with 1, the first
and last pair with -1, and all others with 0. Asked for at the end is 0.5 + (a + b) / 4 of the two marked numbers. The
first mark stands among the first ten pairs, the second among the first half. A sequence is wrong where the error is
above 0.04; the problem is solved when the mean error is below 0.01 and the last 2000 sequences were right. The LSTM of
the paper took 74,000 sequences.

Here SequenceRegressor as it comes has 3,600 sequences, a tenth of which it only watches, and reads them 20 times,
72,000 in all; then 2000 new ones are put to it. The paper drew new sequences throughout.
"""

from __future__ import annotations

import numpy as np

from benchmarks.accuracy.row import Outcome, Row
from cellgate import SequenceRegressor

_T, _LEARNT, _ASKED = 100, 3_600, 2_000


def adding_problem(count: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Sequences (T, 2) and their sums."""
    random = np.random.default_rng(seed)
    lengths = random.integers(_T, _T + _T // 10 + 1, count)
    first = random.integers(0, 10, count)
    # Among the first half, but not where the first mark stands.
    second = random.integers(0, _T // 2 - 1, count)
    second += second >= first
    sequences, sums = [], np.empty(count)
    for k, (length, a, b) in enumerate(zip(lengths, first, second, strict=True)):
        pairs = np.zeros((length, 2))
        pairs[:, 0] = random.uniform(-1, 1, length)
        pairs[[0, -1], 1] = -1
        marked = pairs[[a, b], 0].copy()
        if 0 in (a, b):  # the first pair bears its own mark, and its number counts as zero
            marked[0 if a == 0 else 1] = 0.0
        pairs[[a, b], 1] = 1
        sums[k] = 0.5 + marked.sum() / 4
        sequences.append(pairs)
    return sequences, sums


def _run() -> Outcome:
    X, y = adding_problem(_LEARNT, seed=0)
    regressor = SequenceRegressor().fit(X, y)
    new, sums = adding_problem(_ASKED, seed=1)
    error = np.abs(regressor.predict(new) - sums)
    plain = np.abs(y.mean() - sums)
    read = _LEARNT * regressor.record_.epochs + _ASKED
    wrong, mean = int((error > 0.04).sum()), float(error.mean())
    return Outcome(
        {"wrong of 2000": wrong, "mean error": mean, "sequences": read},
        {"wrong of 2000": int((plain > 0.04).sum()), "mean error": float(plain.mean())},
        met=wrong == 0 and mean < 0.01 and read <= 74_000,
        details={"largest error": float(error.max()), "training": regressor.record_.history[-1][0]},
    )


ROW = Row("adding", "the adding problem, T = 100", "solved within 74,000 sequences", 180, _run)
