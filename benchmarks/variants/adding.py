"""The adding problem at T = 600, with and without chrono initialisation.

    python -m benchmarks.variants.adding [--seeds 0] [--updates 4000] [--out FILE]

Hochreiter and Schmidhuber 1997, section 5.4, in the form of Bai, Kolter and Koltun 2018: a sequence of numbers from
U[0, 1], two of them marked, one in each half; the target is their sum. Always answering 1 has a squared error of 1/6 =
0.167; Bai et al. report 0.164 for an LSTM at T = 600.

Every sequence is drawn anew, so there is nothing to overfit. The net with chrono initialisation trains until 512
sequences that it does not learn from have a mean squared error below 0.0007; then 2000 others, which nothing was
chosen by, are put to it: it is solved below 0.001. The other nets have the same sequences in the same order, the same
optimiser and as many updates.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from torch import Tensor, nn

import cellgate
from benchmarks.variants.record import save

STEPS, BATCH, HIDDEN, RATE = 600, 64, 64, 1e-2
STOP, SOLVED = 7e-4, 1e-3
EVERY = 50
NETS: dict[str, dict[str, Any]] = {
    "chrono": {"chrono": STEPS},
    "forget bias 1": {"forget_bias": 1.0},
    "plain": {},
}


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


class Net(nn.Module):
    """One layer, and a linear readout of its last h."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.lstm = cellgate.LSTM(2, HIDDEN, **options)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[1][0][-1]).squeeze(-1)


def error(net: Net, data: tuple[Tensor, Tensor]) -> float:
    """Return the mean squared error."""
    with torch.no_grad():
        return float((net(data[0]) - data[1]).square().mean())


def train(name: str, seed: int, updates: int, *, until_solved: bool) -> dict[str, Any]:
    """Train one net.

    Args:
        name: In NETS.
        seed: Of its weights and its sequences; nets of one seed see the same ones.
        updates: The most.
        until_solved: Whether to stop earlier, once it is good enough.
    """
    torch.manual_seed(seed)
    net = Net(NETS[name])
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    data = torch.Generator().manual_seed(1000 + seed)
    watched = batch(torch.Generator().manual_seed(7), 512)
    seconds, curve = 0.0, []
    for update in range(1, updates + 1):
        start = time.process_time()
        x, y = batch(data, BATCH)
        loss = (net(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        seconds += time.process_time() - start
        if update % EVERY == 0 or update == updates:
            curve.append((update, round(error(net, watched), 6)))
            if update % (4 * EVERY) == 0:
                print(f"  {name}, seed {seed}: {update} updates, {seconds:.0f} s, error {curve[-1][1]:.5f}", flush=True)
            if until_solved and curve[-1][1] < STOP:
                break
    return {
        "net": name,
        "seed": seed,
        "updates": curve[-1][0],
        "sequences": curve[-1][0] * BATCH,
        "seconds": round(seconds, 1),
        "test": error(net, batch(torch.Generator().manual_seed(8), 2000)),
        "curve": curve,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0", help="such as 0,1,2")
    parser.add_argument("--updates", type=int, default=4000, help="the most for the net with chrono initialisation")
    parser.add_argument("--only", default="", help="names of nets, with commas")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", default="", help="write the figures to this JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    runs = []
    for seed in map(int, arguments.seeds.split(",")):
        updates = arguments.updates
        for name in NETS:
            if arguments.only and name not in arguments.only.split(","):
                continue
            run = train(name, seed, updates, until_solved=name == "chrono")
            runs.append(run)
            updates = run["updates"]
            spent = f"{run['updates']} updates, {run['sequences']:,} sequences, {run['seconds']:.0f} s"
            solved = ", solved" if run["test"] < SOLVED else ""
            print(f"{name}, seed {seed}: {spent}; test error {run['test']:.5f}{solved}", flush=True)
            if arguments.out:
                save(arguments.out, _settings(), runs)


def _settings() -> dict[str, Any]:
    return {
        "T": STEPS,
        "hidden": HIDDEN,
        "batch": BATCH,
        "optimiser": "Adam",
        "rate": RATE,
        "clip": 1.0,
        "solved": SOLVED,
        "seconds": "CPU time of training, without the evaluations",
    }


if __name__ == "__main__":
    main()
