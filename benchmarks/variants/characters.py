"""A character model of tinyshakespeare, plain and regularised, with the same time to train.

    python -m benchmarks.variants.characters --data FOLDER [--seconds 200] [--out FILE]

FOLDER holds tinyshakespeare.txt; the first nine tenths train, the last tenth validates. All nets have the same sizes,
optimiser, order of the data and seconds on the clock. The figure is the loss on the validation part in nats a
character, measured at the end of each tenth of the time; both the last one and the best one are reported.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import cellgate
from cellgate.bench.machine import describe

HIDDEN, LAYERS, WIDTH, BATCH, CHUNK = 256, 2, 64, 32, 64
NETS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout": {"dropout": 0.3},
    "locked dropout": {"locked_dropout": (0.1, 0.3, 0.2)},
    "zoneout": {"zoneout": (0.3, 0.05)},
    "recurrent dropout": {"recurrent_dropout": 0.3},
}


class Model(nn.Module):
    """Embedding, LSTM, linear readout."""

    def __init__(self, symbols: int, options: dict[str, Any]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, WIDTH)
        self.lstm = cellgate.LSTM(WIDTH, HIDDEN, LAYERS, **options)
        self.head = nn.Linear(HIDDEN, symbols)


def streams(text: Tensor, batch: int) -> Tensor:
    """Return the text cut into so many streams, (T, batch)."""
    steps = len(text) // batch
    return text[: steps * batch].view(batch, steps).T.contiguous()


def validation(model: Model, text: Tensor) -> float:
    """Return the mean loss over the text, the state carried from chunk to chunk."""
    model.eval()
    total, state = 0.0, None
    with torch.no_grad():
        for start in range(0, len(text) - 1, 256):
            part = text[start : start + 257]
            output, state = model.lstm(model.embedding(part[:-1]), state)
            loss = nn.functional.cross_entropy(model.head(output).flatten(0, 1), part[1:].flatten(), reduction="sum")
            total += float(loss)
    model.train()
    return total / ((len(text) - 1) * text.shape[1])


def train(name: str, options: dict[str, Any], text: Tensor, held_out: Tensor, seconds: float) -> dict[str, Any]:
    torch.manual_seed(0)
    model = Model(int(text.max()) + 1, options)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.0)
    data, test = streams(text, BATCH), streams(held_out, 16)
    clock, curve, updates, position, state = 0.0, [], 0, 0, None
    while clock < seconds:
        start = time.perf_counter()
        if position + CHUNK + 1 > len(data):
            position, state = 0, None
        part = data[position : position + CHUNK + 1]
        output, state = model.lstm(model.embedding(part[:-1]), state)
        loss = nn.functional.cross_entropy(model.head(output).flatten(0, 1), part[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = 3e-3 * 0.5 * (1 + math.cos(math.pi * min(1.0, clock / seconds)))
        optimizer.step()
        state = tuple(s.detach() for s in state)
        position, updates = position + CHUNK, updates + 1
        before, clock = clock, clock + time.perf_counter() - start
        if int(10 * clock / seconds) > int(10 * before / seconds) or clock >= seconds:
            curve.append((round(clock, 1), updates, validation(model, test)))
    losses = [loss for _, _, loss in curve]
    return {
        "net": name,
        "options": options,
        "updates": updates,
        "last": losses[-1],
        "best": min(losses),
        "curve": curve,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of tinyshakespeare.txt")
    parser.add_argument("--seconds", type=float, default=200, help="of training for each net")
    parser.add_argument("--only", default="", help="names of nets, with commas")
    parser.add_argument("--out", default="", help="write the figures to this JSON file")
    arguments = parser.parse_args()
    letters = (Path(arguments.data) / "tinyshakespeare.txt").read_text(encoding="utf-8")
    alphabet = {letter: k for k, letter in enumerate(sorted(set(letters)))}
    text = torch.tensor([alphabet[letter] for letter in letters])
    cut = len(text) * 9 // 10
    runs = []
    for name, options in NETS.items():
        if arguments.only and name not in arguments.only.split(","):
            continue
        runs.append(train(name, options, text[:cut], text[cut:], arguments.seconds))
        print(json.dumps({key: value for key, value in runs[-1].items() if key != "curve"}), flush=True)
    if arguments.out:
        document = {**describe(), "threads": torch.get_num_threads(), "seconds": arguments.seconds, "runs": runs}
        Path(arguments.out).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
