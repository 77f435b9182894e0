#!/usr/bin/env python
"""Draw the picture in the README: an LSTM that has learnt to count open brackets, every gate of it.

A small LSTM reads text one character at a time and is trained to say how many brackets are open. Nobody tells it how;
the picture shows what it came to do: the memory cell climbs at every opening bracket, falls at every closing one, and
letters pass it by.

    python scripts/draw_brackets.py            writes docs/images/brackets-light.svg and brackets-dark.svg

The training takes about ten seconds on one CPU thread and is seeded; another machine's rounding may change the shades,
not the story. The script fails if the trained net cannot count.
"""

import argparse
from pathlib import Path

import torch

import cellgate

LETTERS = "abxy+"
SYMBOLS = "()" + LETTERS
TEXT = "a(b)x((a+(b(x)))y)+(((((b)))))"
UNITS, STEPS, BATCH, LENGTH, DEEPEST = 8, 3000, 16, 64, 8


def one_hot(indices: torch.Tensor) -> torch.Tensor:
    """Return characters as vectors, (..., number of symbols)."""
    return torch.nn.functional.one_hot(indices, len(SYMBOLS)).float()


def random_texts(batch: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random texts as indices, (B, T), and how many brackets are open after each character, (B, T)."""
    texts, depths = torch.zeros(2, batch, length, dtype=torch.long)
    depth = torch.zeros(batch, dtype=torch.long)
    for t in range(length):
        wanted = torch.rand(batch)
        opens = (wanted < 0.3) & (depth < DEEPEST)
        closes = (wanted > 0.7) & (depth > 0)
        texts[:, t] = torch.randint(2, len(SYMBOLS), (batch,))
        texts[opens, t], texts[closes, t] = 0, 1
        depth = depth + opens.long() - closes.long()
        depths[:, t] = depth
    return texts, depths


def trained_counter() -> cellgate.SequenceModel:
    """Return a model trained to say the depth at every step."""
    torch.manual_seed(0)
    model = cellgate.SequenceModel(len(SYMBOLS), UNITS, 1, 1, readout="all", device="cpu")
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=STEPS)
    for _ in range(STEPS):
        texts, depths = random_texts(BATCH, LENGTH)
        loss = torch.nn.functional.mse_loss(model(one_hot(texts)).squeeze(-1), depths.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return model.eval()


def main() -> None:
    """Train, check, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "images")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    model = trained_counter()

    texts, depths = random_texts(256, LENGTH)
    with torch.no_grad():
        right = (model(one_hot(texts)).squeeze(-1).round() == depths).float().mean()
    print(f"right at {right:.2%} of {depths.numel():,} steps of new texts")
    if right < 0.99:
        raise SystemExit("the net has not learnt to count: the picture would show nothing")

    indices = torch.tensor([SYMBOLS.index(symbol) for symbol in TEXT])
    with cellgate.trace(model) as tape, torch.no_grad():
        model(one_hot(indices).unsqueeze(0))
    out.mkdir(parents=True, exist_ok=True)
    for theme in ("light", "dark"):
        path = tape.save(out / f"brackets-{theme}.svg", labels=list(TEXT), theme=theme)
        print(f"wrote {path.name}, {path.stat().st_size / 1000:.0f} kB")
    print(tape.summary())


if __name__ == "__main__":
    main()
