"""What the benchmarks of the variants compare and feed: the user's loop, the grammar, the sums."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from benchmarks.variants import adding, reber, speed

import cellgate


@pytest.mark.parametrize("variant", speed.VARIANTS)
def test_the_loop_computes_the_variant(variant: str) -> None:
    layer = cellgate.LSTM(3, 5, **speed.VARIANTS[variant])
    x, grad = torch.randn(6, 4, 3), torch.randn(6, 4, 5)
    steps = [speed.Step(n, layer, x.clone().requires_grad_(), grad, n == "loop") for n in ("layer", "loop")]
    speed.check(*steps)


def test_a_wrong_loop_is_noticed() -> None:
    x, grad = torch.randn(6, 4, 3), torch.randn(6, 4, 5)
    pair = (cellgate.LSTM(3, 5, cell="cifg"), cellgate.LSTM(3, 5, cell="peephole"))
    with pytest.raises(SystemExit, match="deviates"):
        speed.check(*(speed.Step("other", m, x.clone().requires_grad_(), grad) for m in pair))


def test_reber_strings_follow_their_own_predictions() -> None:
    symbols = list(itertools.islice(reber.stream(random.Random(0)), 5000))
    for (_, allowed), (following, _) in itertools.pairwise(symbols):
        assert following in allowed
    # An embedded string ends in its second symbol and E; inside it B stands third, where the inner string begins.
    text = "".join(symbol for symbol, _ in symbols)
    begins = [k for k in range(len(text) - 2) if text[k] == "B" and text[k + 2] == "B" and text[k + 1] in "TP"]
    assert len(begins) > 300
    for begin, after in itertools.pairwise(begins):
        assert text[after - 1] == "E"
        assert text[after - 2] == text[begin + 1]


def test_adding_marks_one_number_in_each_half() -> None:
    x, y = adding.batch(torch.Generator().manual_seed(0), 20)
    half = adding.STEPS // 2
    assert (x[:half, :, 1].sum(0) == 1).all()
    assert (x[half:, :, 1].sum(0) == 1).all()
    torch.testing.assert_close((x[..., 0] * x[..., 1]).sum(0), y)
