"""The reference's graph grows with the steps alone: no node of it has a gradient of all steps for each of them."""

from __future__ import annotations

import pytest
import torch

import cellgate


def nodes(output: torch.Tensor) -> list[str]:
    found, todo = set(), [output.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in found:
            found.add(node)
            todo += [after for after, _ in node.next_functions]
    return [type(node).__name__ for node in found]


@pytest.mark.parametrize("variant", [{}, {"bidirectional": True}, {"norm": "layer"}, {"cell": "slstm"}], ids=str)
def test_steps_are_taken_apart_at_once(variant: dict) -> None:
    lstm = cellgate.LSTM(3, 4, 2, **variant)

    def selections(steps: int) -> int:
        with cellgate.use_backend("reference"):
            output, _ = lstm(torch.randn(steps, 2, 3))
        kinds = nodes(output)
        assert kinds.count("StackBackward0") >= 2
        return sum(kind.startswith(("Select", "Index", "Slice")) for kind in kinds)

    assert selections(9) == selections(3)
