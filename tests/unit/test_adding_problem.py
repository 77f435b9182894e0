"""The adding problem of the accuracy rows is the one of the paper."""

import numpy as np
from benchmarks.accuracy.adding import adding_problem


def test_it_is_as_the_paper_has_it():
    sequences, sums = adding_problem(400, seed=5)
    for pairs, asked in zip(sequences, sums, strict=True):
        assert 100 <= len(pairs) <= 110
        marked = np.flatnonzero(pairs[:, 1] == 1)
        assert len(marked) == 2
        assert marked[0] < 10 or marked[1] < 10
        assert marked.max() < 50
        assert pairs[-1, 1] == -1
        assert set(np.unique(pairs[:, 1])) <= {-1, 0, 1}
        assert (np.flatnonzero(pairs[:, 1] == -1) == [0, len(pairs) - 1]).all() or marked[0] == 0
        # The first pair's number counts as zero.
        numbers = np.where(marked == 0, 0.0, pairs[marked, 0])
        assert asked == 0.5 + numbers.sum() / 4
        assert np.abs(pairs[:, 0]).max() <= 1
