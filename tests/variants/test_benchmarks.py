"""What the benchmarks of the variants compare and feed: the user's loop, the grammar, the sums."""

from __future__ import annotations

import argparse
import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.variants import adding, characters, reber, speed, table

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


# The grammar as a regular expression: loops at S, at T, and X T* V P; the second symbol comes back before the last.
_ENDS = "(XT*VP)*(S|XT*VV)"
EMBEDDED = re.compile(rf"B([TP])B(TS*X{_ENDS}|PT*V(V|P{_ENDS}))E\1E")


def symbols_of(edges: np.ndarray) -> str:
    return "".join(reber.SYMBOLS[k] for k in reber.Streams.grammar.symbol[edges])


def test_reber_streams_follow_their_own_predictions() -> None:
    streams, grammar = reber.Streams(3, 0), reber.Streams.grammar
    edges = np.concatenate([streams.take(700)[:-1], streams.take(700)[:-1]])  # across a border of two takes
    following = grammar.symbol[edges[1:]]
    assert np.take_along_axis(grammar.allowed[edges[:-1]], following[..., None], -1).all()
    assert {1, 2} == set(grammar.allowed.sum(-1).tolist())
    # Each allowed symbol does come.
    for edge in range(len(grammar.symbol)):
        came = set(following[edges[:-1] == edge].tolist())
        assert came == set(np.flatnonzero(grammar.allowed[edge]).tolist())


def test_reber_strings_are_those_of_the_embedded_grammar() -> None:
    edges, grammar = reber.Streams(1, 1).take(6000)[:, 0], reber.Streams.grammar
    begins = np.flatnonzero(grammar.first[edges])
    assert begins[0] == 0
    assert len(begins) > 400
    for begin, after in itertools.pairwise(begins):
        string = symbols_of(edges[begin:after])
        assert EMBEDDED.fullmatch(string), string
        assert grammar.lag[edges[begin:after]].nonzero()[0].tolist() == [len(string) - 3]


def test_adding_marks_one_number_in_each_half() -> None:
    x, y = adding.batch(torch.Generator().manual_seed(0), 20)
    half = adding.STEPS // 2
    assert (x[:half, :, 1].sum(0) == 1).all()
    assert (x[half:, :, 1].sum(0) == 1).all()
    torch.testing.assert_close((x[..., 0] * x[..., 1]).sum(0), y)


def test_a_reber_net_that_knows_the_grammar_is_perfect_and_a_blind_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Oracle(reber.Net):
        """Is told what is allowed, but maybe not at the long lag."""

        believes_right = True

        def inputs(self, edges: np.ndarray):
            x = torch.from_numpy(reber.Streams.grammar.allowed[edges]).float()
            if not self.believes_right:
                x[torch.from_numpy(reber.Streams.grammar.lag[edges])] = 0.0
            return x, None

    class Passes(torch.nn.Module):
        def forward(self, x, state, reset=None):
            return x, state

    net: Any = Oracle("forget gate")
    net.lstm = Passes()
    net.head = torch.nn.Identity()
    found = reber.examine(net, 0, 3000)
    assert found == {"perfect": True, "until first error": 3000, "errors at the long lag": 0, "errors elsewhere": 0}
    net.believes_right = False
    found = reber.examine(net, 0, 3000)
    assert not found["perfect"]
    assert found["errors at the long lag"] == 1
    assert found["errors elsewhere"] == 0
    assert 5 < found["until first error"] < 30


def test_reber_runs_train() -> None:
    run = reber.train(reber.RESET, 0, 60, length=500)
    assert run["updates"] == 60
    assert run["loss"] < math.log(7) - 0.15
    assert not run["perfect"]
    assert run["until first error"] < 500


def test_character_parts_do_not_overlap() -> None:
    letters = "".join(chr(40 + k % 60) for k in range(1000))
    text, held_out = characters.parts(letters, choose=False, share=1.0)
    assert (len(text), len(held_out)) == (900, 100)
    some, choice = characters.parts(letters, choose=True, share=0.5)
    assert (len(some), len(choice)) == (400, 100)
    assert torch.equal(choice, text[800:])
    assert torch.equal(some, text[:400])
    cut = characters.streams(text, 4)
    assert torch.equal(cut[:, 1], text[225:450])


@pytest.mark.parametrize("name", characters.NETS)
def test_character_nets_take_turns_until_their_time_is_over(name: str) -> None:
    text = torch.randint(0, 7, (40_000,))
    arguments = argparse.Namespace(hidden=8, layers=1, seconds=0.2, seed=0)
    training = characters.Training(
        name,
        characters.NETS[name],
        characters.streams(text, characters.BATCH),
        characters.streams(text[:500], 4),
        arguments,
    )
    for _ in range(characters.SLICES):
        training.turn()
    record = training.record()
    assert record["seconds"] >= 0.2 * characters.NETS[name].get("time", 1.0)
    assert len(record["curve: seconds, passes, training, validation"]) <= 10
    assert record["best"] <= record["last"]


def test_the_section_shows_every_stored_run() -> None:
    text = table.stored_section()
    for path, key in (
        (table.ADDING_JSON, "adding problem"),
        (table.REBER_JSON, "Reber"),
        (table.CHARACTERS_JSON, "character model"),
    ):
        assert (key in text) == path.exists()
