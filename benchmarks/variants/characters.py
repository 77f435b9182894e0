"""A character model of tinyshakespeare, plain and regularised, with the same time to train.

    python -m benchmarks.variants.characters --data FOLDER [--share 0.1] [--seconds 60] [--hidden 256] [--out FILE]
    python -m benchmarks.variants.characters --data FOLDER --choose

Noise pays where a text is read many times, so by default a tenth of the training text is used, its beginning.

FOLDER holds tinyshakespeare.txt. The first nine tenths train, the last tenth validates; the figure is its mean loss in
nats a character. All nets have the same sizes, optimiser, data in the same order, and the same time, at the end of
which the learning rate is zero.

Time is CPU time of the process on one thread, of training alone, so that a pause of a busy machine counts for nobody;
and the nets take turns in it, a slice each, so that a slow minute of the machine is everybody's. The curve of each net
shows whether it would have been better off stopping earlier; "plain, half the time" and "a quarter" are plain nets
whose rate falls to zero that much sooner, which is how one would stop early with foresight.

The strengths in NETS were set beforehand: the last tenth chose nothing. With --choose it is not touched: the nets of
CANDIDATES train on (a share of) the first eight tenths, and the ninth tenth compares them.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import cellgate
from benchmarks.variants.record import save

WIDTH, BATCH, CHUNK, RATE = 64, 32, 64, 4e-3
SLICES, POINTS = 40, 5
"""Turns that a net takes, each of as much time; points of its curve."""

# What goes to cellgate.LSTM; "readout" is ordinary dropout of what the readout sees, "locked_readout" the same with one
# mask for all steps of a chunk; "time" is a part of the time.
NETS: dict[str, dict[str, Any]] = {
    "plain": {},
    "plain, half the time": {"time": 0.5},
    "plain, a quarter of the time": {"time": 0.25},
    "dropout": {"readout": 0.5},
    "locked dropout": {"locked_dropout": (0.0, 0.0, 0.25), "locked_readout": 0.3},
    "zoneout": {"zoneout": (0.3, 0.05), "locked_readout": 0.3},
    "weight-drop": {"weight_drop": 0.4, "locked_readout": 0.3},
}
CANDIDATES: dict[str, dict[str, Any]] = {
    "plain": {},
    "readout 0.5": {"readout": 0.5},
    "locked h 0.25, readout 0.3": {"locked_dropout": (0.0, 0.0, 0.25), "locked_readout": 0.3},
    "locked input 0.1, h 0.4, readout 0.5": {"locked_dropout": (0.1, 0.0, 0.4), "locked_readout": 0.5},
    "zoneout c 0.1, h 0.05": {"zoneout": (0.1, 0.05)},
    "zoneout c 0.3, h 0.05, readout 0.3": {"zoneout": (0.3, 0.05), "locked_readout": 0.3},
    "weight-drop 0.4, readout 0.3": {"weight_drop": 0.4, "locked_readout": 0.3},
}


class Model(nn.Module):
    """Embedding, LSTM, linear readout."""

    def __init__(self, symbols: int, hidden: int, layers: int, options: dict[str, Any]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, WIDTH)
        self.dropout = nn.Dropout(options.get("readout", 0.0))
        self.locked = options.get("locked_readout", 0.0)
        rest = {name: value for name, value in options.items() if name not in ("readout", "locked_readout", "time")}
        self.lstm = cellgate.LSTM(WIDTH, hidden, layers, **rest)
        self.head = nn.Linear(hidden, symbols)

    def forward(self, symbols: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the scores of the next symbols, (T * B, symbols), and the state."""
        output, state = self.lstm(self.embedding(symbols), state)
        if self.locked and self.training:
            output = output * nn.functional.dropout(torch.ones_like(output[0]), self.locked)
        return self.head(self.dropout(output).flatten(0, 1)), state


def streams(text: Tensor, batch: int) -> Tensor:
    """Return the text cut into so many streams, (T, batch)."""
    steps = len(text) // batch
    return text[: steps * batch].view(batch, steps).T.contiguous()


def validation(model: Model, text: Tensor) -> float:
    """Return the mean loss over the text (T, B), the state carried from chunk to chunk."""
    model.eval()
    total, state = 0.0, None
    with torch.no_grad():
        for start in range(0, len(text) - 1, 256):
            part = text[start : start + 257]
            scores, state = model(part[:-1], state)
            total += float(nn.functional.cross_entropy(scores, part[1:].flatten(), reduction="sum"))
    model.train()
    return total / ((len(text) - 1) * text.shape[1])


class Training:
    """One net on its way; `turn` gives it a slice of time.

    Args:
        name: For the record.
        options: As in NETS.
        text: (T, BATCH) to learn.
        held_out: (T, B) to validate.
        arguments: hidden, layers, seconds and seed.
    """

    def __init__(self, name: str, options: dict[str, Any], text: Tensor, held_out: Tensor, arguments: Any) -> None:
        torch.manual_seed(arguments.seed)
        self.name, self.options, self.text, self.held_out = name, options, text, held_out
        self.model = Model(int(text.max()) + 1, arguments.hidden, arguments.layers, options)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), RATE, weight_decay=0.0, fused=True)
        self.seconds = arguments.seconds * options.get("time", 1.0)
        self.seed = arguments.seed
        self.noise = torch.get_rng_state()
        self.clock, self.updates, self.position, self.train_loss = 0.0, 0, 0, 0.0
        self.state: Any = None
        self.curve: list[tuple[float, float, float, float]] = []

    @property
    def passes(self) -> float:
        """Passes over the text."""
        return self.updates * CHUNK / len(self.text)

    def turn(self) -> None:
        """Train for a slice of the time, and validate where a point of the curve is due."""
        torch.set_rng_state(self.noise)
        end = self.clock + self.seconds / SLICES
        while self.clock < end - 1e-9 and self.clock < self.seconds:
            start = time.process_time()
            self._update()
            before, self.clock = self.clock, self.clock + time.process_time() - start
            if int(POINTS * self.clock / self.seconds) > int(POINTS * before / self.seconds):
                loss = validation(self.model, self.held_out)
                self.curve.append((round(self.clock, 1), round(self.passes, 2), round(self.train_loss, 4), loss))
        self.noise = torch.get_rng_state()

    def _update(self) -> None:
        if self.position + CHUNK + 1 > len(self.text):
            self.position, self.state = 0, None
        part = self.text[self.position : self.position + CHUNK + 1]
        scores, state = self.model(part[:-1], self.state)
        loss = nn.functional.cross_entropy(scores, part[1:].flatten())
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        # Up over the first hundredth of the time, then down along a cosine.
        done = self.clock / self.seconds
        self.optimizer.param_groups[0]["lr"] = RATE * min(1.0, 100 * done + 0.01) * 0.5 * (1 + math.cos(math.pi * done))
        self.optimizer.step()
        self.state = tuple(s.detach() for s in state)
        self.position, self.updates = self.position + CHUNK, self.updates + 1
        self.train_loss += (loss.item() - self.train_loss) * max(0.01, 1 / self.updates)

    def record(self) -> dict[str, Any]:
        losses = [entry[-1] for entry in self.curve]
        return {
            "net": self.name,
            "options": self.options,
            "seed": self.seed,
            "seconds": round(self.clock, 1),
            "updates": self.updates,
            "passes": round(self.passes, 2),
            "training": round(self.train_loss, 4),
            "last": losses[-1],
            "best": min(losses),
            "curve: seconds, passes, training, validation": self.curve,
        }


def parts(letters: str, *, choose: bool, share: float) -> tuple[Tensor, Tensor]:
    """Return what trains and what validates, as numbers of the characters."""
    alphabet = {letter: k for k, letter in enumerate(sorted(set(letters)))}
    text = torch.tensor([alphabet[letter] for letter in letters])
    tenth = len(text) / 10
    cut, end = (int(8 * tenth), int(9 * tenth)) if choose else (int(9 * tenth), len(text))
    return text[: int(cut * share)], text[cut:end]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("CELLGATE_DATA"), help="folder of tinyshakespeare.txt")
    parser.add_argument("--seconds", type=float, default=60, help="of CPU time for each net")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--share", type=float, default=0.1, help="of the training text, its beginning")
    parser.add_argument("--choose", action="store_true", help="compare CANDIDATES on the ninth tenth")
    parser.add_argument("--only", default="", help="names of nets, with semicolons")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="", help="write the figures to this JSON file")
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("--data: expected the folder of tinyshakespeare.txt, got none (CELLGATE_DATA is not set either)")
    torch.set_num_threads(1)
    letters = (Path(arguments.data) / "tinyshakespeare.txt").read_text(encoding="utf-8")
    text, held_out = parts(letters, choose=arguments.choose, share=arguments.share)
    wanted = arguments.only.split(";") if arguments.only else None
    nets = CANDIDATES if arguments.choose else NETS
    trainings = [
        Training(name, options, streams(text, BATCH), streams(held_out, 16), arguments)
        for name, options in nets.items()
        if wanted is None or name in wanted
    ]
    for turn in range(SLICES):
        for training in trainings:
            training.turn()
        if (turn + 1) % (SLICES // POINTS) == 0:
            for training in trainings:
                clock, passes, fitted, loss = training.curve[-1] if training.curve else (0, 0, math.nan, math.nan)
                figures = f"{clock:6.1f} s {passes:5.1f} passes, training {fitted:.3f}, held out {loss:.4f}"
                print(f"{training.name:34} {figures}", flush=True)
            print(flush=True)
    settings = {name: value for name, value in vars(arguments).items() if name not in ("data", "out", "only")}
    settings |= {"width": WIDTH, "batch": BATCH, "chunk": CHUNK, "rate": RATE, "characters": len(text)}
    if arguments.out:
        save(arguments.out, settings, [training.record() for training in trainings])


if __name__ == "__main__":
    main()
