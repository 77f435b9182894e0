"""A training as it stands between two epochs, in one file: resumed from it, it ends as if it had never stopped.

The file holds the weights, the best weights, the optimiser's moments and both random states as safetensors, and the
record in its metadata. It is replaced as a whole, so that a kill at any moment leaves the last good one.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from cellgate.data.files import write_atomic
from cellgate.errors import InputError


class CheckpointError(InputError):
    """A checkpoint is damaged or belongs to another training."""


@dataclass
class Checkpoint:
    """Where and how often to save.

    Attributes:
        path: the file.
        identity: what the training is of (data, settings); a checkpoint of another is refused.
        every: the least seconds between two saves; the end is always saved.
    """

    path: Path
    identity: str
    every: float = 10.0
    _saved: float = field(default_factory=time.monotonic, repr=False)

    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() - self._saved >= self.every

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        best: dict[str, Tensor],
        record: Any,
        mean: dict[str, Tensor] | None = None,
    ) -> None:
        """Write the file.

        Raises:
            OSError: if it cannot be written; the one before then stands.
        """
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in best.items()}
        tensors |= {f"mean.{name}": value for name, value in (mean or {}).items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        tensors["random.torch"], tensors["random.generator"] = torch.get_rng_state(), generator.get_state()
        plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        metadata = {"identity": self.identity, "record": json.dumps(asdict(record))}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_atomic(self.path, save(plain, metadata))
        except OSError as error:
            told = f"{error.strerror}; make room, or give --out where there is some"
            if self.path.exists():
                told = f"{error.strerror}; the save before it stands: make room, and --resume goes on from it"
            raise type(error)(error.errno, told, str(self.path)) from error
        self._saved = time.monotonic()

    def load(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        best: dict[str, Tensor],
        record: Any,
        mean: dict[str, Tensor] | None = None,
    ) -> bool:
        """Put everything back as it was saved; False where there is no file.

        Raises:
            CheckpointError: if the file is damaged or of another training.
        """
        if not self.path.exists():
            return False
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("identity") != self.identity:
                    raise CheckpointError(
                        f"{self.path}: expected a checkpoint of the same data and options, got one of others; "
                        "give the options of the training that was cut short, or start again in another folder"
                    )
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except SafetensorError as error:
            raise CheckpointError(
                f"{self.path}: expected a checkpoint, got a damaged file ({error}); remove it"
            ) from None
        model.load_state_dict(_under("model.", tensors))
        for name, value in _under("best.", tensors).items():
            best[name].copy_(value)
        if mean is not None:
            for name, value in _under("mean.", tensors).items():
                mean[name].copy_(value)
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", tensors).items():
            index, _, key = name.partition(".")
            states.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
        torch.set_rng_state(tensors["random.torch"])
        generator.set_state(tensors["random.generator"])
        for name, value in json.loads(metadata["record"]).items():
            setattr(record, name, [tuple(pair) for pair in value] if name == "history" else value)
        return True


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
