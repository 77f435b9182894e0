"""A course of random numbers of its own for every training.

Initial weights and dropout draw from PyTorch's generator, of which a process has one. Two trainings in two threads
would take each other's numbers, and a caller's numbers would depend on whether something was trained between them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_one_at_a_time = threading.RLock()


class Draws:
    """Random numbers that follow from a seed, whatever else draws from PyTorch's generator of the CPU.

    Args:
        seed: a whole number from -2**63 to 2**64 - 1.
    """

    def __init__(self, seed: int) -> None:
        self._state = torch.Generator().manual_seed(int(seed)).get_state()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Draw from PyTorch's generator where the turn before left off; it is then as the caller had it again.

        Another thread that wants a turn waits meanwhile.
        """
        with _one_at_a_time:
            outside = torch.get_rng_state()
            torch.set_rng_state(self._state)
            try:
                yield
            finally:
                self._state = torch.get_rng_state()
                torch.set_rng_state(outside)
