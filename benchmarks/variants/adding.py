"""The adding problem at T = 600, with and without chrono initialisation.

    python -m benchmarks.variants.adding [--seconds 600] [--out FILE]

Hochreiter and Schmidhuber 1997, section 5.4, in the form of Bai, Kolter and Koltun 2018: a sequence of numbers from
U[0, 1], two of them marked, one in each half; the target is their sum. Always answering 1 has a squared error of 1/6 =
0.167; Bai et al. report 0.164 for an LSTM at T = 600. Both nets have the same time, data order and optimiser.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import cellgate
from cellgate.bench.machine import describe

STEPS, BATCH, HIDDEN = 600, 50, 64
SOLVED = 1e-3


def batch(generator: torch.Generator, size: int) -> tuple[Tensor, Tensor]:
    """Return x (T, size, 2) and the sums (size,)."""
    values = torch.rand(STEPS, size, generator=generator)
    half = STEPS // 2
    first = torch.randint(0, half, (size,), generator=generator)
    second = torch.randint(half, STEPS, (size,), generator=generator)
    marks = torch.zeros(STEPS, size)
    each = torch.arange(size)
    marks[first, each] = marks[second, each] = 1.0
    return torch.stack([values, marks], -1), values[first, each] + values[second, each]


def train(options: dict[str, Any], seconds: float, seed: int) -> dict[str, Any]:
    """Train until solved or out of time; the test set is drawn apart and looked at only to report."""
    torch.manual_seed(seed)
    lstm, head = cellgate.LSTM(2, HIDDEN, **options), nn.Linear(HIDDEN, 1)
    parameters = [*lstm.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, 2e-3)
    data = torch.Generator().manual_seed(1000 + seed)
    test_x, test_y = batch(torch.Generator().manual_seed(7), 500)
    start, updates, curve = time.perf_counter(), 0, []
    while True:
        x, y = batch(data, BATCH)
        loss = (head(lstm(x)[0][-1]).squeeze(-1) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        updates += 1
        late = time.perf_counter() - start > seconds
        if updates % 100 == 0 or late:
            with torch.no_grad():
                test = float((head(lstm(test_x)[0][-1]).squeeze(-1) - test_y).square().mean())
            curve.append((updates, round(time.perf_counter() - start, 1), test))
            if late or test < SOLVED:
                break
    return {
        "options": options,
        "seed": seed,
        "updates": updates,
        "seconds": curve[-1][1],
        "test": curve[-1][2],
        "curve": curve,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="for each of the two nets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="", help="write the figures to this JSON file")
    arguments = parser.parse_args()
    runs = []
    for options in ({"chrono": STEPS}, {}):
        runs.append(train(options, arguments.seconds, arguments.seed))
        shown = {key: value for key, value in runs[-1].items() if key != "curve"}
        print(json.dumps(shown), flush=True)
    if arguments.out:
        document = {**describe(), "threads": torch.get_num_threads(), "runs": runs}
        Path(arguments.out).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
