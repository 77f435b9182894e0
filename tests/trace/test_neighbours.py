"""Where else the network was in the same state, against a search written out."""

import itertools

import pytest
import torch

import cellgate
from cellgate.trace import StateIndex


def brute(states, sequence, start, stop):
    """The nearest span that does not overlap, by comparing every one."""
    joined = torch.cat(states)
    scaled = [(s - joined.mean(0)) / joined.std(0, unbiased=False) for s in states]
    query, best = scaled[sequence][start:stop], (torch.inf, None)
    for k, s in enumerate(scaled):
        for at in range(len(s) - (stop - start) + 1):
            if k == sequence and at < stop and start < at + stop - start:
                continue
            distance = float((s[at : at + stop - start] - query).square().mean().sqrt())
            best = min(best, (distance, (k, at)))
    return best


@pytest.mark.parametrize("span", [(0, 3, 4), (1, 0, 5), (2, 9, 17)])
def test_the_nearest_is_the_nearest_of_all(span):
    torch.manual_seed(1)
    states = [torch.randn(n, 6) for n in (12, 7, 30)]
    distance, (sequence, start) = brute(states, *span)
    first = StateIndex(states).nearest(*span, count=1)[0]
    assert (first.sequence, first.start) == (sequence, start)
    assert first.distance == pytest.approx(distance, rel=1e-3)


def test_matches_come_nearest_first_and_do_not_overlap():
    torch.manual_seed(2)
    matches = StateIndex([torch.randn(50, 3)]).nearest(0, 20, 25, count=6)
    distances = [m.distance for m in matches]
    assert distances == sorted(distances)
    spans = sorted([(m.start, m.stop) for m in matches] + [(20, 25)])
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


def test_a_unit_that_never_moves_changes_nothing():
    torch.manual_seed(3)
    states = torch.randn(40, 3)
    with_still = torch.cat([states, torch.full((40, 1), 7.0)], 1)
    here = [(m.start, m.stop) for m in StateIndex([states]).nearest(0, 5, 8)]
    assert here == [(m.start, m.stop) for m in StateIndex([with_still]).nearest(0, 5, 8)]


def test_too_little_elsewhere_gives_fewer_matches_or_none():
    index = StateIndex([torch.randn(6, 2), torch.randn(2, 2)])
    assert index.nearest(0, 0, 6) == []
    assert len(index.nearest(0, 0, 3)) <= 2


@pytest.mark.parametrize("span", [(0, 3, 3), (0, -1, 2), (0, 0, 9), (5, 0, 1)])
def test_a_span_that_is_not_there_is_refused(span):
    with pytest.raises(cellgate.InputError, match="span: expected steps"):
        StateIndex([torch.randn(8, 2)]).nearest(*span)


def test_states_of_several_widths_are_refused():
    with pytest.raises(cellgate.InputError, match="one width"):
        StateIndex([torch.randn(8, 2), torch.randn(8, 3)])
