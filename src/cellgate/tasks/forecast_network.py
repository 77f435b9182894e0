"""The network of a forecast: an LSTM that reads, and a readout that also looks at what is known of the steps ahead.

From the hidden state at an origin a linear layer gives three things: a number for every step ahead and quantile, and
two sets of weights, one for what is known of each step ahead (its place in the calendar, drivers that are planned), one
for
simple forecasts that can be made at the origin. The answer for a step is their sum::

    answer[h] = direct[h] + weights_a @ tanh(W_a ahead[h] + b_a) + weights_s @ simple[h]

so that a weekend, a holiday or a price enters by what it is, at the size that the history read so far calls for, and
not only by its place in the horizon. The readout begins at zero: an untrained network answers 0, or what `begin` sets.

The two ways ahead, a code of the history and the features of each step, are those of Wen et al. (2017), "A
Multi-Horizon Quantile Recurrent Forecaster", section 3.2. Different here: their local decoder is a deeper network of
its own, ours is a product with weights that the state sets, which costs little beside the LSTM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cellgate.nn import LSTM
from cellgate.tasks.forecast_operators import answers_of

_AHEAD_UNITS = 16


class ForecastNetwork(nn.Module):
    """An LSTM and the readout described above; float32, on the CPU.

    Args:
        input_size: features of a step read.
        hidden_size: units of every layer.
        num_layers: layers.
        horizon: steps ahead.
        quantiles: how many numbers a step ahead gets.
        ahead_size: what is known of a step ahead, A numbers.
        simple: how many simple forecasts are given, C.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        horizon: int,
        quantiles: int,
        ahead_size: int,
        simple: int,
    ) -> None:
        super().__init__()
        # A search over parameters gives numpy's numbers, which the layer, like nn.LSTM, does not take.
        hidden_size, num_layers = int(hidden_size), int(num_layers)
        self.horizon, self.quantiles, self.simple = horizon, quantiles, simple
        self.lstm = LSTM(input_size, hidden_size, num_layers, batch_first=True)
        weights = quantiles * (_AHEAD_UNITS + simple)
        self.ahead = nn.Linear(ahead_size, _AHEAD_UNITS)
        self.readout = nn.Linear(hidden_size, horizon * quantiles + weights)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    @torch.no_grad()
    def begin(self, answers: Tensor) -> None:
        """Answer (horizon, quantiles) numbers to everything, until training finds better ones."""
        self.readout.bias[: answers.numel()] = answers.flatten()

    def constant(self) -> Tensor:
        """(horizon, quantiles) what is answered to everything before training, as the other weights begin at 0."""
        return self.readout.bias[: self.horizon * self.quantiles].detach().clone().view(self.horizon, self.quantiles)

    def forward(self, input: Tensor, ahead: Tensor, simple: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Answers after the last step of each sequence: (B, T, I) and what `answer` takes, to (B, horizon, Q)."""
        hidden, _ = self.lstm(input)
        ends = torch.full((len(input),), input.shape[1]) if lengths is None else lengths
        return self.answer(hidden[torch.arange(len(input)), ends - 1], ahead, simple)

    def answer(self, hidden: Tensor, ahead: Tensor, simple: Tensor) -> Tensor:
        """Answers from hidden states.

        Args:
            hidden: (..., H) the state at each origin.
            ahead: (..., horizon, A) what is known of the steps that follow it.
            simple: (..., horizon, C) the simple forecasts of these steps, as answers.

        Returns:
            (..., horizon, Q).
        """
        read = self.readout(hidden.flatten(0, -2))
        known, simple = ahead.movedim(-1, 0).flatten(1), simple.movedim(-1, 0).flatten(1, -2)
        weights = self.ahead.weight[None], self.ahead.bias[None]
        answers = answers_of(read, *weights, known, simple, self.quantiles, self.training)
        return answers.transpose(1, 2).unflatten(0, hidden.shape[:-1])

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as plain data."""
        return {
            "input_size": self.lstm.input_size,
            "hidden_size": self.lstm.hidden_size,
            "num_layers": self.lstm.num_layers,
            "horizon": self.horizon,
            "quantiles": self.quantiles,
            "ahead_size": self.ahead.in_features,
            "simple": self.simple,
        }


def answer_together(models: Sequence[ForecastNetwork], hidden: Tensor, ahead: Tensor, simple: Tensor) -> Tensor:
    """What the `answer` of each of m models of the same sizes gives for its own rows, in a few large operations.

    Args:
        models: m models, all of them in training or none.
        hidden: (m, n, H) the states of each.
        ahead: (m * n, horizon, A) what is known of the steps that follow, one model's rows after the other's.
        simple: (m * n, horizon, C) simple forecasts likewise.

    Returns:
        (m * n, horizon, Q).
    """
    weight, bias, ahead_weight, ahead_bias = (
        torch.stack(own)
        for own in zip(*((m.readout.weight, m.readout.bias, m.ahead.weight, m.ahead.bias) for m in models), strict=True)
    )
    read = torch.baddbmm(bias[:, None], hidden, weight.transpose(1, 2)).flatten(0, 1)
    known, simple = ahead.movedim(-1, 0).flatten(1), simple.movedim(-1, 0)
    first = models[0]
    return answers_of(read, ahead_weight, ahead_bias, known, simple, first.quantiles, first.training).transpose(1, 2)
