"""What is held back: the shares of the labels, and groups that are not torn apart."""

import numpy as np
import pytest

from cellgate.errors import InputError
from cellgate.tasks.held_back import folds, hold_back


def drawn(count=200, groups=20, classes=3, seed=0):
    """Rows of groups of different sizes, with labels of which each group has some more than others."""
    random = np.random.default_rng(seed)
    group = np.array([f"g{k}" for k in random.choice(groups, count, p=random.dirichlet(np.full(groups, 3.0)))])
    likes = random.dirichlet(np.ones(classes), groups)
    strata = np.array([random.choice(classes, p=likes[int(name[1:])]) for name in group])
    return strata, group


@pytest.mark.parametrize("seed", range(6))
def test_groups_are_held_out_as_a_whole_and_about_as_many_of_each_label(seed):
    strata, groups = drawn(seed=seed)
    rows, held = hold_back(strata, 0.25, seed, groups)
    assert sorted([*rows, *held]) == list(range(200))
    assert not set(groups[rows]) & set(groups[held])
    assert 0.1 <= len(held) / 200 <= 0.4
    # Nearer to the labels' shares than a draw of groups is in the middle.
    goal = 0.25 * np.bincount(strata)

    def off(part):
        return float(((np.bincount(strata[part], minlength=3) - goal) ** 2 / goal).sum())

    random = np.random.default_rng(1)
    others = [off(np.flatnonzero(np.isin(groups, random.choice(np.unique(groups), 5, False)))) for _ in range(99)]
    assert off(held) < np.median(others)
    assert [part.tolist() for part in hold_back(strata, 0.25, seed, groups)] == [rows.tolist(), held.tolist()]
    assert any(hold_back(strata, 0.25, seed + k, groups)[1].tolist() != held.tolist() for k in range(1, 4))


def test_a_share_of_nothing_holds_nothing_back_and_any_other_a_group():
    strata, groups = np.zeros(30, dtype=int), np.repeat(["a", "b", "c"], [5, 10, 15])
    assert len(hold_back(strata, 0.0, 0, groups)[1]) == 0
    assert set(groups[hold_back(strata, 0.01, 0, groups)[1]]) == {"a"}  # the least of too much
    two = np.repeat(["a", "b"], 15)
    assert len(hold_back(strata, 0.1, 0, two)[1]) == 15


def test_a_label_of_one_group_stays_to_be_learnt():
    strata = np.array([0, 1] * 10 + [0, 1, 2] * 4)
    groups = np.array(["a"] * 10 + ["b"] * 10 + ["rare"] * 12)
    for seed in range(9):
        assert "rare" not in groups[hold_back(strata, 0.3, seed, groups)[1]]
        for learnt, held in folds(strata, np.full(32, 3), seed, groups):
            assert "rare" not in groups[held]
            assert set(strata[learnt]) == {0, 1, 2}
    with pytest.raises(InputError, match="expected groups of which one can be held out, got 2, each with a label that"):
        hold_back(np.array([0, 0, 1, 1]), 0.5, 0, np.array(["a", "a", "b", "b"]))
    assert folds(np.array([0, 0, 1, 1]), np.full(4, 3), 0, np.array(["a", "a", "b", "b"])) == []


@pytest.mark.parametrize("seed", range(4))
def test_folds_of_groups_hold_every_row_back_once(seed):
    strata, groups = drawn(120, 12, 2, seed)
    parts = folds(strata, np.full(120, 7), seed, groups)
    assert len(parts) == 5
    assert sorted(np.concatenate([held for _, held in parts]).tolist()) == list(range(120))
    for learnt, held in parts:
        assert not set(groups[learnt]) & set(groups[held])
        assert sorted([*learnt, *held]) == list(range(120))
        assert set(strata[learnt]) == {0, 1}
    sizes = [len(held) for _, held in parts]
    assert max(sizes) <= max(np.unique(groups, return_counts=True)[1]) + min(sizes)
    assert len(folds(strata, np.full(120, 1000), seed, groups)) == 2  # long ones take time


def test_two_groups_make_two_folds():
    parts = folds(np.array([0, 1] * 10), np.full(20, 5), 0, np.repeat(["a", "b"], 10))
    assert sorted(held.tolist() for _, held in parts) == [list(range(10)), list(range(10, 20))]
