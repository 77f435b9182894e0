"""What this installation can do: versions, native core, backends, threads."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from cellgate._version import __version__

from .dispatch import BACKENDS

__all__ = ["Info", "info"]


@dataclass(frozen=True)
class Info:
    """What ``cellgate.info()`` returns; ``print`` it to read it.

    Attributes:
        cellgate: Version of this package.
        torch: Version of PyTorch.
        python: Version of Python.
        machine: Processor architecture.
        threads: ``torch.get_num_threads()``, which the native core honours.
        cuda: Name of the CUDA device, or None.
        backends: For every backend, "ready" or why it is not.
        details: What a backend says about itself, such as the instruction set in use.
    """

    cellgate: str
    torch: str
    python: str
    machine: str
    threads: int
    cuda: str | None
    backends: dict[str, str]
    details: dict[str, dict[str, Any]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, as for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """Return a few lines for a person."""
        lines = [
            f"cellgate {self.cellgate}, torch {self.torch}, Python {self.python}, {self.machine}, "
            f"{self.threads} threads, CUDA: {self.cuda or 'none'}"
        ]
        for name, state in self.backends.items():
            lines.append(f"  {name:10} {state}")
            lines += [f"             {key}: {value}" for key, value in self.details.get(name, {}).items()]
        return "\n".join(lines)


def info() -> Info:
    """Return what this installation can do, and what is missing with its cost.

    >>> import cellgate
    >>> cellgate.info().backends["reference"]
    'ready'
    """
    states, details = {}, {}
    for name, module in BACKENDS.items():
        asked = (getattr(module, question, None) for question in ("unavailable", "misconfigured"))
        states[name] = next((reason for ask in asked if ask and (reason := ask())), "ready")
        if hasattr(module, "details"):
            details[name] = module.details()
    return Info(
        cellgate=__version__,
        torch=torch.__version__,
        python=platform.python_version(),
        machine=platform.machine(),
        threads=torch.get_num_threads(),
        cuda=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        backends=states,
        details=details,
    )
