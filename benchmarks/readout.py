"""What it saves to take a readout's scores some rows at a time (cellgate.tasks.many_scores): time and memory.

    python -m benchmarks.readout

One training step of readout and loss, forward and backward, with the two ways taking turns in one process, after a
check that their numbers are equal; memory is the growth of a fresh process's peak.
Vocabularies for which the plain way is used are marked: there all scores are no more than are held at a time.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cellgate.bench.memory import _peak, _resident
from cellgate.tasks.many_scores import are_many, cross_entropy

STEPS, UNITS, TURNS = 2048, 256, 7
VOCABULARIES = (100, 1000, 3000, 5000, 10_000, 20_000)


def plain(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """All scores, as PyTorch's layers take them."""
    return nn.functional.cross_entropy(nn.functional.linear(x, weight, bias), targets)


WAYS: dict[str, Callable[..., Tensor]] = {"plain": plain, "by rows": cross_entropy}


def arguments(tokens: int) -> tuple[Tensor, ...]:
    """What a readout of so many tokens reads and has, and what is right."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((STEPS, UNITS), (tokens, UNITS), (tokens,))
    drawn = [torch.randn(*shape, generator=generator).mul_(0.1).requires_grad_() for shape in shapes]
    return (*drawn, torch.randint(tokens, (STEPS,), generator=generator))


def step(way: str, given: tuple[Tensor, ...]) -> tuple[float, list[Tensor]]:
    """Seconds of a step, and the loss and gradients."""
    for leaf in given[:3]:
        leaf.grad = None
    began = time.perf_counter()
    loss = WAYS[way](*given)
    loss.backward()
    seconds = time.perf_counter() - began
    return seconds, [loss.detach(), *(leaf.grad for leaf in given[:3] if leaf.grad is not None)]


def growth(way: str, tokens: int) -> float:
    """Megabytes by which the peak of a fresh process grows in a step."""
    call = f"from benchmarks.readout import grown; print(grown({way!r}, {tokens}))"
    return float(subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True).stdout)


def grown(way: str, tokens: int) -> float:
    """The same, of this process, which must have done nothing else."""
    given = arguments(tokens)
    before = _resident()
    step(way, given)
    return (_peak() - before) / 1e6


def main() -> None:
    """Print the table."""
    print(f"{STEPS} steps, {UNITS} units, {torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    print(f"{'tokens':>7}  {'plain':>9}  {'by rows':>9}  {'times':>5}  {'plain':>8}  {'by rows':>8}")
    for tokens in VOCABULARIES:
        given = arguments(tokens)
        (_, wanted), (_, found) = (step(way, given) for way in WAYS)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)
        best = dict.fromkeys(WAYS, float("inf"))
        for _ in range(TURNS):
            for way in WAYS:
                best[way] = min(best[way], step(way, given)[0])
        peaks = {way: growth(way, tokens) for way in WAYS}
        print(
            f"{tokens:7}  {best['plain'] * 1e3:6.1f} ms  {best['by rows'] * 1e3:6.1f} ms  "
            f"{best['plain'] / best['by rows']:5.2f}  {peaks['plain']:5.0f} MB  {peaks['by rows']:5.0f} MB"
            f"{'' if are_many(STEPS, tokens) else '   plain is used'}",
            flush=True,
        )


if __name__ == "__main__":
    main()
