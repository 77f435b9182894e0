"""Small networks on one thread: handing a microsecond of work to a second core costs more than the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Multiplications in one step of training below which a second thread does not pay. On a machine whose cores are also
# wanted by others it costs dearly: the threads of every small operation wait for one another.
_WORTH_SHARING = 2e8


@contextmanager
def threads_for(multiplications: float) -> Iterator[None]:
    """PyTorch on one thread while the work of a step is small; as it was set, otherwise and afterwards."""
    before = torch.get_num_threads()
    try:
        if multiplications < _WORTH_SHARING:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)
