"""Sequences resident in memory, gathered into padded batches by index."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cellgate.tasks.network import SequenceNetwork

_STEPS_AT_ONCE = 100_000  # of a batch when nothing is learnt from it


class ResidentSequences:
    """All sequences end to end on one device; a batch of them is one gather.

    Attributes:
        values: (N, F), the steps of all sequences; one of zeros where there are none, for `steps` to point at.
        offsets: (S,) where each begins.
        lengths: (S,) steps of each.
    """

    def __init__(self, values: Tensor, lengths: np.ndarray) -> None:
        self.values = values if len(values) else values.new_zeros(1, *values.shape[1:])
        self.lengths = torch.from_numpy(np.ascontiguousarray(lengths, dtype=np.int64))
        self.offsets = torch.cumsum(self.lengths, 0) - self.lengths
        self._even = len(lengths) > 0 and bool((lengths == lengths[0]).all()) and int(lengths[0]) > 0
        if self._even:
            self._blocks = values.view(len(lengths), int(lengths[0]), *values.shape[1:])

    def steps(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, T) the index of each step in `values`, and (B,) lengths, or None where all are T.

        Past the end of a sequence its last step is repeated; a network that is given the lengths never reads there.
        """
        lengths = self.lengths[rows]
        width = max(1, int(lengths.max()))
        inside = torch.minimum(torch.arange(width), (lengths[:, None] - 1).clamp(min=0))
        index = (self.offsets[rows][:, None] + inside).clamp(max=max(len(self.values) - 1, 0))
        return index, None if bool((lengths == width).all()) else lengths

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, T, F) the sequences `rows`, and (B,) their lengths, or None where all are T."""
        if self._even:
            return self._blocks[rows], None
        index, lengths = self.steps(rows)
        return self.values[index], lengths

    def chunks(self, rows: Tensor) -> Iterator[Tensor]:
        """The rows in parts that fit into memory, those of like length together."""
        order = rows[torch.argsort(self.lengths[rows], stable=True)]
        start = 0
        while start < len(order):
            # Ascending lengths: the last of a part is its longest.
            reach = torch.arange(1, len(order) - start + 1) * self.lengths[order[start:]].clamp(min=1)
            count = max(1, int((reach <= _STEPS_AT_ONCE).sum()))
            yield order[start : start + count]
            start += count

    def answers(self, model: SequenceNetwork) -> np.ndarray:
        """(S, outputs) float64, one prediction a sequence.

        Computed in float64: in float32 the last digits would depend on what else is in the batch, as kernels add up in
        another order for other sizes.
        """
        exact = copy.deepcopy(model).double().eval()
        result = torch.empty(len(self.lengths), model.readout.out_features, dtype=torch.float64)
        with torch.no_grad():
            for rows in self.chunks(torch.arange(len(self.lengths))):
                x, lengths = self.batch(rows)
                result[rows] = exact(x.double(), lengths=lengths)
        return result.numpy()


@dataclass(frozen=True)
class EncodedSequences:
    """A batch just as the network reads it: ``model_(encoded.x, lengths=encoded.lengths)``.

    Attributes:
        x: (B, T, I) float32, what the LSTM reads.
        lengths: (B,) int64, or None where all are T.
        names: what each of the I inputs is.
        ids: one name a sequence.
        steps: what each step of each sequence is called (a word, a character), or None for their numbers.
    """

    x: Tensor
    lengths: Tensor | None
    names: tuple[str, ...]
    ids: tuple[str, ...]
    steps: tuple[tuple[str, ...], ...] | None = None
