"""What is held back of sequences, to measure on or to stop by: single ones, or whole groups of them.

Sequences of one person, machine or customer are alike in more than what is to be learnt. Where some of them are learnt
from and others measured on, a model that knows the person looks good and is of no use for the next one. So groups,
where they are told, fall on one side as a whole.
"""

from __future__ import annotations

import numpy as np

from cellgate.errors import InputError

_FOLDS = 5
_ALL_STEPS, _FEWER = 10_000, 2  # of more steps in all, only so many folds are trained: their time counts


def hold_back(
    strata: np.ndarray, share: float, seed: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Which examples to train on and which to keep out, both ascending.

    Args:
        strata: (S,) a code each; of every code the same share is kept out, and at least one stays.
        share: from 0 to below 1.
        seed: of the draw.
        groups: (S,) a name each; those of one name stay together. Shares are then as near as whole groups come, and one
            group at least is kept out.

    Raises:
        InputError: where no group can be kept out, as each has a code that no other has.
    """
    random = np.random.default_rng(int(seed) % 2**64)
    kept_out = np.zeros(len(strata), dtype=bool)
    if groups is not None and share:
        kept_out = _whole_groups(strata, share, groups, random)
    elif groups is None:
        order = random.permutation(len(strata))
        for code in np.unique(strata):
            members = order[strata[order] == code]
            kept_out[members[: min(len(members) - 1, round(share * len(members)))]] = True
    return np.flatnonzero(~kept_out), np.flatnonzero(kept_out)


def folds(
    strata: np.ndarray, lengths: np.ndarray, seed: int, groups: np.ndarray | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to learn from and rows to stop by, for each of several models.

    Every row is held back once, but for those alone in their stratum (of groups, those without which a stratum would
    have no row left), which are always learnt from; where there are many steps, some rows are never held back.

    Args:
        strata: (S,) a code each; every fold holds back about the same share of each code.
        lengths: (S,) steps of each.
        seed: of the draw.
        groups: (S,) a name each; those of one name are in the same fold.

    Returns:
        Pairs of ascending rows; none where no row can be held back, or one part would be without a step.
    """
    random = np.random.default_rng(int(seed) % 2**64)
    held = _dealt(strata, random) if groups is None else _dealt_groups(strata, groups, random)
    held = held[: len(held) if lengths.sum() <= _ALL_STEPS else _FEWER]
    pairs = [(np.setdiff1d(np.arange(len(strata)), part), part) for part in held]
    return pairs if all(lengths[rows].any() for pair in pairs for rows in pair) else []


def _dealt(strata: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    order = random.permutation(len(strata))
    codes, counts = np.unique(strata, return_counts=True)
    members = [order[strata[order] == code] for code in codes[counts > 1]]
    if not members:
        return []
    dealt = np.concatenate(members)  # code after code, so that dealing round by round spreads each evenly
    count = min(_FOLDS, len(dealt))
    return [np.sort(dealt[k::count]) for k in range(count)]


def _counts(strata: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(S,) the number of each row's group, and (G, C) how many rows of each code a group has."""
    names, member = np.unique(groups.astype(str), return_inverse=True)
    codes, code = np.unique(strata, return_inverse=True)
    counts = np.zeros((len(names), len(codes)), dtype=np.int64)
    np.add.at(counts, (member, code), 1)
    return member, counts


def _whole_groups(strata: np.ndarray, share: float, groups: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(S,) whether a row is kept out: in a drawn order, each group that brings what is out nearer to `share`."""
    member, counts = _counts(strata, groups)
    whole = counts.sum(0)
    goal = share * whole

    def off(taken: np.ndarray) -> float:
        return float(((taken - goal) ** 2 / whole).sum())

    taken, chosen = np.zeros_like(whole), []
    order = random.permutation(len(counts))
    for group in order:
        after = taken + counts[group]
        if (after < whole).all() and off(after) < off(taken):
            taken, chosen = after, [*chosen, group]
        if (taken >= goal).all():
            break
    if not chosen:  # each alone is far more than the share
        possible = [group for group in order if (counts[group] < whole).all()]
        if not possible:
            raise InputError(
                f"groups: expected groups of which one can be held out, got {len(counts)}, each with a label "
                "that no other has; give more groups, or leave them out"
            )
        chosen = [min(possible, key=lambda group: off(counts[group]))]
    return np.isin(member, chosen)


def _dealt_groups(strata: np.ndarray, groups: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """Large groups first, each to the fold that has least of its codes so far."""
    member, counts = _counts(strata, groups)
    whole = counts.sum(0)
    order = random.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(1), kind="stable")]
    held = np.zeros((min(_FOLDS, len(counts)), counts.shape[1]), dtype=np.int64)
    fold = np.full(len(counts), -1)
    for group in order:
        possible = [k for k in range(len(held)) if (held[k] + counts[group] < whole).all()]
        if possible:
            fullness = [float((held[k] * counts[group] / whole**2).sum() + held[k].sum() * 1e-9) for k in possible]
            fold[group] = possible[int(np.argmin(fullness))]
            held[fold[group]] += counts[group]
    parts = [np.flatnonzero(fold[member] == k) for k in range(len(held))]
    return [part for part in parts if len(part)]
