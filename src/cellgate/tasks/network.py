"""The network of the sequence tasks: perhaps an embedding, an LSTM, and a linear readout with dropout before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cellgate.nn import SequenceModel
from cellgate.tasks.many_scores import are_many, cross_entropy

__all__ = ["SequenceNetwork"]


class _DroppedLinear(nn.Linear):
    """A linear layer that drops some of its input in training; its parameters are nn.Linear's."""

    dropped, locked = 0.0, False

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(self.drop(input))

    def drop(self, input: Tensor) -> Tensor:
        """What the linear layer reads of an input: all of it, or in training what is not dropped."""
        if self.locked and self.training and self.dropped and input.ndim == 3:
            mask = input.new_empty(len(input), 1, input.shape[-1]).bernoulli_(1 - self.dropped)
            return input * mask.div_(1 - self.dropped)
        return nn.functional.dropout(input, self.dropped, self.training)


class SequenceNetwork(SequenceModel):
    """A SequenceModel that may read tokens too: its state_dict holds lstm.*, readout.* and perhaps embedding.*.

    Called as a SequenceModel it takes what the LSTM reads, (B, T, I). `embed` makes that of tokens and numbers.

    Args:
        numbers: how many numbers a step has.
        outputs: numbers in a prediction.
        hidden_size: H, units of every layer.
        num_layers: L.
        readout: "last" or "mean" for one prediction a sequence, "all" for one a step.
        bidirectional: read in both directions.
        dropout: between layers and before the readout, in training.
        vocabulary: how many different tokens, 0 for none.
        embedding_size: numbers that stand for a token.
        embedding_dropout: of the embedding, in training.
        locked: whether what is dropped between layers and before the readout is the same at all steps of a sequence
            (Gal and Ghahramani 2016, "A theoretically grounded application of dropout in recurrent neural networks").
        state_dropout: of the state on its way to the next step, locked, in training.
        memory: the longest delay, in steps, that the initial gates should bridge; 0 leaves PyTorch's initial weights.
    """

    def __init__(
        self,
        numbers: int,
        outputs: int,
        hidden_size: int,
        num_layers: int = 1,
        readout: Any = "last",
        bidirectional: bool = False,
        dropout: float = 0.0,
        vocabulary: int = 0,
        embedding_size: int = 0,
        embedding_dropout: float = 0.0,
        locked: bool = False,
        state_dropout: float = 0.0,
        memory: int = 0,
    ) -> None:
        # A search over parameters gives numpy's numbers, which the layer, like nn.LSTM, does not take.
        hidden_size, num_layers, embedding_size = int(hidden_size), int(num_layers), int(embedding_size)
        dropout, embedding_dropout, state_dropout = float(dropout), float(embedding_dropout), float(state_dropout)
        bidirectional = bool(bidirectional)
        between = dropout if num_layers > 1 else 0.0
        super().__init__(
            numbers + (embedding_size if vocabulary else 0),
            hidden_size,
            num_layers,
            outputs,
            readout,
            dropout=0.0 if locked else between,
            bidirectional=bidirectional,
            device="cpu",
            locked_dropout=(0.0, between if locked else 0.0, state_dropout),
        )
        plain = self.readout
        self.readout = _DroppedLinear(plain.in_features, plain.out_features)
        self.readout.dropped, self.readout.locked = dropout, locked
        self.embedding = nn.Embedding(vocabulary, embedding_size) if vocabulary else None
        self._arguments = {
            "numbers": numbers,
            "outputs": outputs,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "readout": readout,
            "bidirectional": bidirectional,
            "dropout": dropout,
            "vocabulary": vocabulary,
            "embedding_size": embedding_size,
            "embedding_dropout": embedding_dropout,
            "locked": locked,
            "state_dropout": state_dropout,
        }
        if memory:
            _remember(self, memory)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as plain data: ``SequenceNetwork(**config)``."""
        return dict(self._arguments)

    def mean_loss(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None, targets: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The mean cross-entropy of the scores of every step, without holding all of them where they are many.

        Args:
            input: (B, T, I), what the LSTM reads.
            hx: (h_0, c_0), or None for zeros.
            targets: (B, T) int64, the right answer of each step.

        Returns:
            The loss in nats, a scalar, and (h_n, c_n).
        """
        if not are_many(targets.numel(), self.readout.out_features):
            scores, state = self(input, hx, return_state=True)
            return nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten()), state
        output, state = self.lstm(input, hx)
        read, readout = self.readout.drop(output).flatten(0, 1), self.readout
        return cross_entropy(read, readout.weight, readout.bias, targets.flatten()), state

    def embed(self, tokens: Tensor | None, numbers: Tensor | None) -> Tensor:
        """What the LSTM reads.

        Args:
            tokens: (B, T) int64, or None where the network reads none.
            numbers: (B, T, numbers) float32, or None likewise.

        Returns:
            (B, T, I): the embedding of the token, then the numbers.
        """
        parts = []
        if self.embedding is not None and tokens is not None:
            dropped = float(self._arguments["embedding_dropout"])
            parts.append(nn.functional.dropout(self.embedding(tokens), dropped, self.training))
        if numbers is not None and numbers.shape[-1]:
            parts.append(numbers)
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


@torch.no_grad()
def _remember(model: SequenceModel, memory: int) -> None:
    """Spread the time constants of the cells over 1 ... memory steps.

    Tallec and Ollivier (2018), "Can recurrent neural networks warp time?", section 2: b_f = log U(1, T - 1) and
    b_i = -b_f, so that a cell forgets with a rate between 1 / T and 1 / 2. Which of PyTorch's two bias vectors has it
    makes no difference; here it is bias_ih, and bias_hh is zero in both gates.
    """
    longest = max(2.0, float(memory) - 1.0)
    for name, bias in model.lstm.named_parameters():
        if not name.startswith("bias"):
            continue
        input_gate, forget_gate, _, _ = bias.chunk(4)
        if name.startswith("bias_ih"):
            forget_gate.copy_(torch.empty_like(forget_gate).uniform_(1.0, longest).log_())
            input_gate.copy_(-forget_gate)
        else:
            forget_gate.zero_()
            input_gate.zero_()
