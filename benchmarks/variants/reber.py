"""The continual embedded Reber grammar, with and without a forget gate.

    python -m benchmarks.variants.reber [--seeds 7] [--updates 2000] [--out FILE]

Gers, Schmidhuber and Cummins 2000, section 4: strings of the embedded Reber grammar follow one another without a mark,
and a net predicts the next symbol all the time. Their standard LSTM, without forget gate, fails, because its cells grow
without limit; with a forget gate it is solved. Of each string the second symbol, T or P, comes back as the last but
one, after symbols that say nothing of it: the long lag.

A prediction is right where every symbol that may follow scores higher than every one that may not. As in the paper a
solution is perfect if it predicts ten streams of 100,000 symbols without one error. Counted too: symbols until the
first error, and the share of errors, at the long lag apart from elsewhere.

What differs from the paper: Adam with a rate that falls to zero and cross-entropy of the symbol that did follow, on
backpropagation truncated after 60 steps over 32 streams at once, where the paper takes an online step of size 0.5 after
every symbol; one layer of 16 units in place of four blocks of two cells. In training each stream begins anew, from a
zero state, after 1,200 symbols, about a hundred strings. Tests go on 80 times as long.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import cellgate
from benchmarks.variants.record import save

SYMBOLS = "BTPSXVE"
# For each state the symbols that may follow and the states they lead to; 7 ends the inner string.
GRAMMAR = {0: "B1", 1: "T2P3", 2: "S2X4", 3: "T3V5", 4: "X3S6", 5: "P4V6", 6: "E7"}
UNITS, CHUNK, STREAMS, LENGTH, RATE = 16, 60, 32, 1_200, 1e-2
TESTS, TEST_LENGTH = 10, 100_000
NETS: dict[str, dict[str, Any]] = {
    "original, 1997": {"cell": "original"},
    "no forget gate": {"cell": "no_forget_gate"},
    "forget gate": {},
    "original, 1997, told where strings begin": {"cell": "original"},
}
RESET = "original, 1997, told where strings begin"
"""The paper's control: the state is set to zero by hand at the beginning of every string."""


class Grammar:
    """The grammar of the endless stream as a chain of edges: each is a symbol on its way from one state to the next.

    Attributes:
        symbol: Of an edge, an index into SYMBOLS.
        following: The two edges that may come after one, the same twice where there is no choice.
        allowed: The symbols that may come after an edge, (edges, 7) bool.
        lag: Whether the edge is followed by the symbol that repeats the second one.
        first: Whether the edge begins a string.
    """

    def __init__(self) -> None:
        ways: dict[Any, list[tuple[str, Any]]] = {"start": [("B", "outer")]}
        ways["outer"] = [(outer, (outer, 0)) for outer in "TP"]
        for outer in "TP":
            for state, text in GRAMMAR.items():
                ways[outer, state] = [(text[k], (outer, int(text[k + 1]))) for k in range(0, len(text), 2)]
            ways[outer, 7] = [(outer, "last")]
        ways["last"] = [("E", "start")]
        edges = [(state, symbol, after) for state, choices in ways.items() for symbol, after in choices]
        leaving = {state: [k for k, edge in enumerate(edges) if edge[0] == state] for state in ways}
        self.symbol = np.array([SYMBOLS.index(symbol) for _, symbol, _ in edges])
        self.following = np.array([[leaving[after][0], leaving[after][-1]] for _, _, after in edges])
        self.allowed = np.zeros((len(edges), len(SYMBOLS)), bool)
        for k, (_, _, after) in enumerate(edges):
            self.allowed[k, self.symbol[leaving[after]]] = True
        self.lag = np.array([after in (("T", 7), ("P", 7)) for _, _, after in edges])
        self.first = np.array([state == "start" for state, _, _ in edges])
        self.last = len(edges) - 1


class Streams:
    """Endless streams side by side, each of its own random numbers, from the beginning of a string.

    Args:
        count: B, how many.
        seed: Of them all; NumPy takes a list of integers too.
    """

    grammar = Grammar()

    def __init__(self, count: int, seed: int | list[int]) -> None:
        self.random = np.random.default_rng(seed)
        self.edge = self._step(np.full(count, self.grammar.last), self.random.integers(0, 2, count))

    def _step(self, edge: np.ndarray, choice: np.ndarray) -> np.ndarray:
        return self.grammar.following[edge, choice]

    def take(self, steps: int) -> np.ndarray:
        """Return the next edges, (steps + 1, B): the last ones are those that the next call begins with."""
        choices = self.random.integers(0, 2, (steps, len(self.edge)))
        edges = np.empty((steps + 1, len(self.edge)), int)
        edges[0] = self.edge
        for t, choice in enumerate(choices):
            edges[t + 1] = self._step(edges[t], choice)
        self.edge = edges[-1]
        return edges


class Net(nn.Module):
    """One layer and a linear readout. The input is one-hot."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.lstm = cellgate.LSTM(len(SYMBOLS), UNITS, **NETS[name])
        self.head = nn.Linear(UNITS, len(SYMBOLS))
        self.resets = name == RESET

    def inputs(self, edges: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Return x (T, B, 7), and where the state has to be reset, or None."""
        x = nn.functional.one_hot(torch.from_numpy(Streams.grammar.symbol[edges]), len(SYMBOLS)).float()
        return x, torch.from_numpy(Streams.grammar.first[edges]) if self.resets else None


def examine(net: Net, seed: int, length: int) -> dict[str, Any]:
    """Put ten new streams of so many symbols to the net."""
    streams, state = Streams(TESTS, [seed, 1_000_000]), None
    until = np.full(TESTS, length)
    wrong, asked = np.zeros(2, int), np.zeros(2, int)
    with torch.no_grad():
        for start in range(0, length, 5_000):
            edges = streams.take(min(5_000, length - start))[:-1]
            x, reset = net.inputs(edges)
            output, state = net.lstm(x, state, reset=reset)
            scores, allowed = net.head(output), torch.from_numpy(Streams.grammar.allowed[edges])
            worst_right = scores.masked_fill(~allowed, torch.inf).amin(-1)
            best_wrong = scores.masked_fill(allowed, -torch.inf).amax(-1)
            errors, lag = ~(worst_right > best_wrong).numpy(), Streams.grammar.lag[edges]
            for kind, where in enumerate((lag, ~lag)):
                wrong[kind] += (errors & where).sum()
                asked[kind] += where.sum()
            first = np.where(errors.any(0), start + errors.argmax(0), length)
            until = np.minimum(until, first)
    return {
        "perfect": not wrong.any(),
        "until first error": float(until.mean()),
        "errors at the long lag": float(wrong[0] / asked[0]),
        "errors elsewhere": float(wrong[1] / asked[1]),
    }


def train(name: str, seed: int, updates: int, *, length: int = TEST_LENGTH) -> dict[str, Any]:
    """Train a net of NETS for so many updates, and examine it on streams of so many symbols."""
    torch.manual_seed(seed)
    net = Net(name)
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, updates)
    start, done, loss = time.process_time(), 0, torch.tensor(0.0)
    while done < updates:
        edges = Streams(STREAMS, [seed, done]).take(LENGTH)
        x, reset = net.inputs(edges[:-1])
        following = torch.from_numpy(Streams.grammar.symbol[edges[1:]])
        for chunk in cellgate.tbptt(net.lstm, x, CHUNK, target=following, reset=reset):
            assert chunk.target is not None
            loss = nn.functional.cross_entropy(net.head(chunk.output).flatten(0, 1), chunk.target.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            done += 1
            if done == updates:
                break
    seconds = time.process_time() - start
    found = examine(net, seed, length)
    return {"net": name, "seed": seed, "updates": done, "seconds": round(seconds, 1), "loss": loss.item(), **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=7)
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--only", default="", help="names of nets, with semicolons")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", default="", help="write the figures to this JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    runs = []
    for seed in range(arguments.seeds):
        for name in NETS:
            if arguments.only and name not in arguments.only.split(";"):
                continue
            run = train(name, seed, arguments.updates)
            runs.append(run)
            print(
                f"{name}, seed {seed}: {run['seconds']:.0f} s, loss {run['loss']:.4f}, "
                f"{run['until first error']:.0f} symbols until the first error; errors at the long lag "
                f"{run['errors at the long lag']:.4%}, elsewhere {run['errors elsewhere']:.4%}"
                f"{'; perfect' if run['perfect'] else ''}",
                flush=True,
            )
            if arguments.out:
                save(arguments.out, _settings(arguments.updates), runs)


def _settings(updates: int) -> dict[str, Any]:
    return {
        "units": UNITS,
        "updates": updates,
        "streams": STREAMS,
        "steps of a chunk": CHUNK,
        "symbols of a training stream": LENGTH,
        "optimiser": "Adam, rate falling to zero",
        "rate": RATE,
        "test streams": TESTS,
        "symbols of a test stream": TEST_LENGTH,
    }


if __name__ == "__main__":
    main()
