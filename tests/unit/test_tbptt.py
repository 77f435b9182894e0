"""tbptt: lengths of every kind are those of the whole sequence, and what cannot be cut is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import cellgate

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int64])
def test_lengths_of_any_integer_dtype(dtype: torch.dtype) -> None:
    module, x = cellgate.LSTM(3, 8), torch.randn(100, 4, 3)
    lengths = torch.tensor([5, 100, 60, 30], dtype=dtype)
    whole, (h_n, _) = module(x, lengths=lengths)
    chunks = list(cellgate.tbptt(module, x, np.int64(40), lengths=lengths))
    torch.testing.assert_close(torch.cat([chunk.output for chunk in chunks]), whole)
    torch.testing.assert_close(chunks[-1].state[0], h_n)
    counted = torch.stack([chunk.lengths for chunk in chunks if chunk.lengths is not None]).sum(0)
    assert counted.tolist() == [5, 100, 60, 30]


def test_unbatched_length_and_a_reset_that_is_a_list() -> None:
    module, x = cellgate.LSTM(3, 8, batch_first=True), torch.randn(10, 3)
    reset = [t == 6 for t in range(10)]
    whole, _ = module(x, lengths=7, reset=torch.tensor(reset))
    chunks = list(cellgate.tbptt(module, x, 4, lengths=7, reset=reset))  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(torch.cat([chunk.output for chunk in chunks]), whole)
    assert [None if c.lengths is None else c.lengths.tolist() for c in chunks] == [[4], [3], [0]]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"lengths": [5, 101]}, ValueError, r"lengths\[1\]: expected 0 to 100"),
        ({"lengths": [-1, 5]}, ValueError, r"lengths\[0\]: expected 0 to 100"),
        ({"lengths": [5]}, cellgate.ShapeError, r"lengths: expected \(2,\)"),
        ({"lengths": [5.0, 6.0]}, TypeError, "lengths: expected integers"),
        ({"target": [0] * 100}, TypeError, "target: expected a tensor, got list"),
        ({"reset": torch.zeros(99, 2, dtype=torch.bool)}, cellgate.ShapeError, r"reset: expected \(100, 2\) first"),
    ],
)
def test_refuses_before_the_first_chunk(arguments: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        cellgate.tbptt(cellgate.LSTM(3, 8), torch.randn(100, 2, 3), 40, **arguments)


def test_refuses_inputs_that_are_not_padded_and_layers_without_lengths() -> None:
    x = torch.randn(6, 3)
    with pytest.raises(TypeError, match="input: expected a tensor of padded sequences, got PackedSequence"):
        cellgate.tbptt(cellgate.LSTM(3, 8), pack_sequence([x]), 4)  # pyright: ignore[reportArgumentType]
    nested = torch.nested.nested_tensor([x, x[:2]], layout=torch.jagged)
    with pytest.raises(TypeError, match="got a nested tensor"):
        cellgate.tbptt(cellgate.LSTM(3, 8, batch_first=True), nested, 4)
    with pytest.raises(ValueError, match="lengths: expected None with an nn"):
        cellgate.tbptt(nn.LSTM(3, 8), torch.randn(6, 1, 3), 4, lengths=[4])
