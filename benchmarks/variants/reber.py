"""The continual embedded Reber grammar, with and without a forget gate.

    python -m benchmarks.variants.reber [--seconds 120] [--seeds 3] [--out FILE]

Gers, Schmidhuber and Cummins 2000, section 4: strings of the embedded Reber grammar follow one another without a
mark, and the net predicts the possible next symbols all the time; its state is never reset. Their standard LSTM
fails, because its cells grow without limit; with a forget gate it is solved. Here a stream is predicted rightly as
long as every symbol that may follow has a larger output than every symbol that may not; what counts is the mean
length of error-free prediction over ten test streams, at most 10,000 symbols each.

What differs from the paper: Adam on truncated backpropagation over 32 streams at once in the place of online steps
with rate 0.5, and 16 units in the place of four blocks of two cells.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import cellgate
from cellgate.bench.machine import describe

SYMBOLS = "BTPSXVE"
# For each state the symbols that may follow and the states they lead to; 7 ends the inner string.
GRAMMAR = {0: "B1", 1: "T2P3", 2: "S2X4", 3: "T3V5", 4: "X3S6", 5: "P4V6", 6: "E7"}
UNITS, CHUNK, STREAMS, LONGEST = 16, 60, 32, 10_000


def stream(random_numbers: random.Random):
    """Yield a symbol and the set of those that may follow it, without end."""
    while True:
        outer = random_numbers.choice("TP")
        string: list[tuple[str, str]] = [("B", "TP"), (outer, "B")]
        state = 0
        while state != 7:
            ways = GRAMMAR[state]
            choice = random_numbers.randrange(len(ways) // 2) * 2
            symbol, state = ways[choice], int(ways[choice + 1])
            string.append((symbol, outer if state == 7 else GRAMMAR[state][::2]))
        yield from [*string, (outer, "E"), ("E", "B")]


def take(streams: list, steps: int) -> tuple[Tensor, Tensor]:
    """Return the next symbols of each stream, one-hot (T, B, 7), and what may follow, (T, B, 7)."""
    x, y = torch.zeros(steps, len(streams), 7), torch.zeros(steps, len(streams), 7)
    for b, one in enumerate(streams):
        for t in range(steps):
            symbol, allowed = next(one)
            x[t, b, SYMBOLS.index(symbol)] = 1.0
            for letter in allowed:
                y[t, b, SYMBOLS.index(letter)] = 1.0
    return x, y


def error_free(lstm: cellgate.LSTM, head: nn.Linear, seed: int) -> float:
    """Return the mean number of symbols before the first error over ten streams."""
    streams = [stream(random.Random(1_000_000 + 100 * seed + k)) for k in range(10)]
    state, alive, total, done = None, torch.ones(10, dtype=torch.bool), torch.zeros(10), 0
    with torch.no_grad():
        while alive.any() and done < LONGEST:
            x, y = take(streams, 500)
            output, state = lstm(x, state)
            scores = head(output)
            worst_right = scores.masked_fill(y == 0, torch.inf).amin(-1)
            best_wrong = scores.masked_fill(y == 1, -torch.inf).amax(-1)
            right = (worst_right > best_wrong).cumprod(0).sum(0)
            total += torch.where(alive, right, 0)
            alive &= right == len(x)
            done += len(x)
    return float(total.mean())


def train(options: dict[str, Any], seconds: float, seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    lstm, head = cellgate.LSTM(7, UNITS, **options), nn.Linear(UNITS, 7)
    parameters = [*lstm.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, 5e-3)
    streams = [stream(random.Random(10_000 * seed + k)) for k in range(STREAMS)]
    start, updates, state = time.perf_counter(), 0, None
    while time.perf_counter() - start < seconds:
        x, y = take(streams, CHUNK * 20)
        for chunk in cellgate.tbptt(lstm, x, CHUNK, state, target=y):
            loss = nn.functional.binary_cross_entropy_with_logits(head(chunk.output), chunk.target)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            state, updates = chunk.state, updates + 1
    length = error_free(lstm, head, seed)
    return {"options": options, "seed": seed, "updates": updates, "error-free symbols": length}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="of training for each net")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="", help="write the figures to this JSON file")
    arguments = parser.parse_args()
    runs = []
    for seed in range(arguments.seeds):
        for options in ({"cell": "original"}, {"cell": "no_forget_gate"}, {}):
            runs.append(train(options, arguments.seconds, seed))
            print(json.dumps(runs[-1]), flush=True)
    if arguments.out:
        document = {**describe(), "threads": torch.get_num_threads(), "seconds": arguments.seconds, "runs": runs}
        Path(arguments.out).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
