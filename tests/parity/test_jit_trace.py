"""torch.jit.trace of ragged calls: what is traced with some lengths or resets is right for all others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import cellgate

pytestmark = pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning", "ignore:`torch.jit.trace(_method)?` is deprecated"
)
VARIANTS = [{}, {"bidirectional": True}, {"norm": "layer"}]


class Ragged(nn.Module):
    def __init__(self, **variant: Any) -> None:
        super().__init__()
        self.lstm = cellgate.LSTM(4, 6, 2, **variant)

    def forward(self, x: Tensor, lengths: Tensor, reset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, (h_n, _) = self.lstm(x, lengths=lengths)
        return output, h_n, self.lstm(x, reset=reset)[0]


class Packed(nn.Module):
    def __init__(self, layer: type) -> None:
        super().__init__()
        self.lstm = layer(4, 6, 2, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        output, (h_n, _) = self.lstm(pack_padded_sequence(x, lengths, enforce_sorted=False))
        return pad_packed_sequence(output, total_length=x.shape[0])[0], h_n


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("first", [[7, 7, 7], [4, 3, 2], [7, 0, 2]], ids=str)
def test_other_lengths_and_resets_than_those_of_the_trace(first: list[int], variant: dict[str, Any]) -> None:
    model = Ragged(**variant).eval()
    none = torch.zeros(7, 3, dtype=torch.bool)
    traced: Any = torch.jit.trace(model, (torch.randn(7, 3, 4), torch.tensor(first), none), check_trace=False)
    for lengths in ([7, 5, 6], [7, 7, 7], [0, 1, 0], [6, 7]):
        n = len(lengths)
        arguments = torch.randn(7, n, 4), torch.tensor(lengths), torch.rand(7, n) > 0.6
        torch.testing.assert_close(traced(*arguments), model(*arguments))
    with pytest.raises(RuntimeError):
        traced(torch.randn(9, 3, 4), torch.tensor([9, 3, 2]), torch.zeros(9, 3, dtype=torch.bool))


@pytest.mark.parametrize("variant", [{"norm": "layer"}, {"connection": "residual"}], ids=str)
def test_another_number_of_steps_than_that_of_the_trace_is_an_error(variant: dict[str, Any]) -> None:
    model = cellgate.LSTM(4, 4, 2, **variant).eval()
    traced: Any = torch.jit.trace(model, torch.randn(7, 3, 4), check_trace=False)
    x = torch.randn(7, 2, 4)
    torch.testing.assert_close(traced(x), model(x))
    for steps in (1, 6, 11):
        with pytest.raises(RuntimeError):
            traced(torch.randn(steps, 3, 4))


def test_packed_input_as_with_torch() -> None:
    theirs, ours = Packed(nn.LSTM).eval(), Packed(cellgate.LSTM).eval()
    ours.load_state_dict(theirs.state_dict())
    traced: Any = torch.jit.trace(ours, (torch.randn(7, 3, 4), torch.tensor([7, 2, 2])), check_trace=False)
    for lengths in ([2, 6, 5], [7, 7, 7], [1, 2, 3, 4]):
        arguments = torch.randn(7, len(lengths), 4), torch.tensor(lengths)
        torch.testing.assert_close(traced(*arguments), theirs(*arguments))
