"""Validation at the public boundary: every wrong argument is named, with what was expected, what came, and the fix.

Nothing below this boundary checks again; backends only assert.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cellgate.errors import DtypeError, InputError, ShapeError

__all__ = [
    "check_constructor",
    "check_input",
    "check_lengths",
    "check_reset",
    "check_state",
    "check_state_pair",
    "sizes_per_layer",
]

_INTEGER = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def sizes_per_layer(
    hidden_size: int | Sequence[int], proj_size: int | Sequence[int], num_layers: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return hidden and projection size of every layer from what the constructor was given.

    Raises:
        ValueError: A list is empty, or its length contradicts ``num_layers`` or the other list.
    """
    lists = {
        name: tuple(value)
        for name, value in (("hidden_size", hidden_size), ("proj_size", proj_size))
        if isinstance(value, Sequence) and not isinstance(value, str)
    }
    for name, value in lists.items():
        if not value:
            raise ValueError(f"{name}: expected at least one layer, got an empty list")
        if num_layers not in (1, len(value)):
            raise ValueError(
                f"{name}: expected {num_layers} sizes because num_layers={num_layers}, got {len(value)}: "
                "leave num_layers out, the list says how many layers there are"
            )
    counts = {len(value) for value in lists.values()}
    if len(counts) > 1:
        raise ValueError(
            f"hidden_size and proj_size: expected lists of one length, got {len(lists['hidden_size'])} and "
            f"{len(lists['proj_size'])}"
        )
    layers = counts.pop() if counts else num_layers
    hidden = lists.get("hidden_size", (hidden_size,) * layers)
    proj = lists.get("proj_size", (proj_size,) * layers)
    return hidden, proj  # pyright: ignore[reportReturnType]


def check_constructor(
    input_size: object,
    hidden_size: object,
    proj_size: object,
    num_layers: object,
    bias: object,
    batch_first: object,
    dropout: object,
) -> None:
    """Check the arguments of one layer's constructor, with the error classes of nn.LSTM.

    Raises:
        TypeError: A size is not an int, or a flag not a bool.
        ValueError: A size or the dropout probability is out of range.
    """
    if not isinstance(dropout, int | float) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise ValueError(f"dropout: expected a number in [0, 1], the probability of a zero, got {dropout!r}")
    for name, value in (("bias", bias), ("batch_first", batch_first)):
        if not isinstance(value, bool):
            raise TypeError(f"{name}: expected a bool, got {type(value).__name__} {value!r}")
    sizes = (("input_size", input_size), ("hidden_size", hidden_size), ("proj_size", proj_size))
    for name, value in (*sizes, ("num_layers", num_layers)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name}: expected an int, got {type(value).__name__} {value!r}")
    assert isinstance(input_size, int)
    assert isinstance(hidden_size, int)
    assert isinstance(proj_size, int)
    assert isinstance(num_layers, int)
    if input_size < 0:
        raise ValueError(f"input_size: expected 0 or more, got {input_size}")
    if hidden_size <= 0:
        raise ValueError(f"hidden_size: expected more than 0, got {hidden_size}")
    if num_layers <= 0:
        raise ValueError(f"num_layers: expected more than 0, got {num_layers}")
    if proj_size < 0:
        raise ValueError(f"proj_size: expected 0 (no projection) or more, got {proj_size}")
    if proj_size >= hidden_size:
        raise ValueError(f"proj_size: expected less than hidden_size={hidden_size}, got {proj_size}")


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def check_input(name: str, input: Tensor, input_size: int, weight: Tensor, *, batch_first: bool, packed: bool) -> None:
    """Check rank, feature size, dtype and device of the input.

    Raises:
        TypeError: Not a tensor.
        ShapeError: Wrong rank or feature size.
        DtypeError: Another dtype than the weights, outside autocast.
        InputError: Another device than the weights.
    """
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}: expected a Tensor or a PackedSequence, got {type(input).__name__}")
    if packed:
        ranks, layout = (2,), "(N, I) packed data"
    else:
        ranks, layout = (2, 3), "(B, T, I) or unbatched (T, I)" if batch_first else "(T, B, I) or unbatched (T, I)"
    if input.dim() not in ranks:
        raise ShapeError(
            f"{name}: expected {layout}, got {input.dim()}-D {_shape(input)}"
            + (": add the feature dimension with input.unsqueeze(-1)" if input.dim() == 1 else "")
        )
    if input.shape[-1] != input_size:
        fix = ""
        if input_size in input.shape:
            fix = ": the features must be the last dimension, move them there with input.movedim(k, -1)"
        raise ShapeError(f"{name}: expected {input_size} features in {layout}, got {_shape(input)}{fix}")
    if input.device != weight.device:
        raise InputError(
            f"{name}: expected device {weight.device} (where the weights are), got {input.device}: "
            f"input.to({str(weight.device)!r}), or move the model"
        )
    if input.dtype != weight.dtype and not torch.is_autocast_enabled(input.device.type):
        raise DtypeError(
            f"{name}: expected dtype {weight.dtype} (that of the weights), got {input.dtype}: "
            f"input.to({weight.dtype}), or model.to({input.dtype})"
        )


def check_state_pair(hx: object) -> None:
    """Check that hx is a pair.

    Raises:
        ShapeError: hx is something else, such as one tensor.
    """
    if isinstance(hx, Tensor) or not isinstance(hx, Sequence) or len(hx) != 2:
        got = f"one tensor {_shape(hx)}" if isinstance(hx, Tensor) else type(hx).__name__
        if isinstance(hx, Sequence):
            got += f" of {len(hx)}"
        raise ShapeError(f"hx: expected a pair (h_0, c_0), got {got}: an LSTM has two states, pass both")


def check_state(name: str, state: object, expected: tuple[int, ...], input: Tensor, batch_index: int) -> None:
    """Check one state tensor.

    Args:
        name: As in the message, "hx[0]" for example.
        state: What was given.
        expected: (L*D, B, size), or (L*D, size) unbatched.
        input: For dtype and device.
        batch_index: Where B stands in ``expected``, or -1 for unbatched.

    Raises:
        ShapeError: Wrong rank or size.
        DtypeError: Another dtype than the input's, outside autocast.
        InputError: Another device than the input's.
    """
    if not isinstance(state, Tensor):
        raise ShapeError(f"{name}: expected a Tensor of {expected}, got {type(state).__name__}")
    if tuple(state.shape) != expected:
        fix = ""
        if state.dim() == len(expected) == 3:
            if tuple(state.transpose(0, 1).shape) == expected:
                fix = f": batch_first never applies to hx, pass {name}.transpose(0, 1)"
            elif state.shape[1] != expected[batch_index] and state.shape[0] == expected[0]:
                fix = f": this input has batch {expected[batch_index]} (batch_first never applies to hx)"
        elif state.dim() == 2 and len(expected) == 3:
            fix = ": the input is batched, so the state must be too"
        elif state.dim() == 3 and len(expected) == 2:
            fix = ": the input is unbatched, so the state must be too"
        raise ShapeError(f"{name}: expected {expected}, got {_shape(state)}{fix}")
    if state.device != input.device:
        raise InputError(f"{name}: expected device {input.device} (the input's), got {state.device}")
    if state.dtype != input.dtype and not torch.is_autocast_enabled(input.device.type):
        raise DtypeError(
            f"{name}: expected dtype {input.dtype} (the input's), got {state.dtype}: {name}.to(input.dtype)"
        )


def check_lengths(lengths: object, batch: int, steps: int) -> Tensor:
    """Return lengths as (B,) int64 on the CPU.

    Raises:
        ShapeError: Not one length for each sequence.
        DtypeError: Not integers.
        InputError: A length below 0 or above T.
    """
    try:
        tensor = torch.as_tensor(lengths)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DtypeError(f"lengths: expected a list or tensor of {batch} integers, got {lengths!r}") from error
    if tensor.numel() == 0 and batch == 0:
        return torch.zeros(0, dtype=torch.int64)
    if tensor.dtype not in _INTEGER:
        raise DtypeError(f"lengths: expected integers, got {tensor.dtype}: a length counts steps, use lengths.long()")
    if tuple(tensor.shape) != (batch,):
        raise ShapeError(f"lengths: expected ({batch},), one length a sequence, got {_shape(tensor)}")
    tensor = tensor.detach().to("cpu", torch.int64)
    if not torch.compiler.is_compiling():
        wrong = ((tensor < 0) | (tensor > steps)).nonzero()
        if len(wrong):
            b = int(wrong[0])
            raise InputError(f"lengths[{b}]: expected 0 to {steps} (the steps of the input), got {int(tensor[b])}")
    return tensor


def check_reset(reset: object, expected: tuple[int, ...], layout: str, input: Tensor) -> Tensor:
    """Return the reset mask on the input's device.

    Raises:
        ShapeError: Not of the input's leading shape.
        DtypeError: Not bool.
    """
    if not isinstance(reset, Tensor):
        reset = torch.as_tensor(reset)
    if reset.dtype != torch.bool:
        raise DtypeError(f"reset: expected dtype torch.bool, got {reset.dtype}: use reset.bool()")
    if tuple(reset.shape) != expected:
        fix = ""
        if tuple(reset.shape[::-1]) == expected:
            fix = ": reset has the layout of the input, pass reset.T"
        raise ShapeError(f"reset: expected {expected}, {layout} as in the input, got {_shape(reset)}{fix}")
    return reset.to(input.device)
