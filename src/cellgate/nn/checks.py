"""Validation at the public boundary: every wrong argument is named, with what was expected, what came, and the fix.

Nothing below this boundary checks again; backends only assert.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from cellgate.backends.ragged import check_range
from cellgate.equations import PLAIN, Cell, LSTMWeights
from cellgate.errors import DtypeError, InputError, ShapeError

from .variant import FIELDS, parameter_shapes

__all__ = [
    "autocast_on",
    "check_constructor",
    "check_input",
    "check_lengths",
    "check_memory",
    "check_num_layers",
    "check_packed",
    "check_reset",
    "check_state",
    "check_state_pair",
    "check_weights",
    "one_length",
    "sizes_per_layer",
]

_INTEGER = frozenset(
    getattr(torch, f"{sign}int{bits}")
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
    if hasattr(torch, f"{sign}int{bits}")
)


def autocast_on(device: torch.device) -> bool:
    """Whether autocast is on for a device; there is none for the meta device, and asking about it is an error."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def check_num_layers(num_layers: object) -> None:
    """Check the number of layers, before lists of sizes are made from it.

    Raises:
        TypeError: Not an int.
        ValueError: Not positive.
    """
    if not isinstance(num_layers, int) or isinstance(num_layers, bool):
        raise DtypeError(f"num_layers: expected an int, got {type(num_layers).__name__} {num_layers!r}")
    if num_layers <= 0:
        raise InputError(f"num_layers: expected more than 0, got {num_layers}")


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
            raise InputError(f"{name}: expected at least one layer, got an empty list")
        if num_layers not in (1, len(value)):
            raise InputError(
                f"{name}: expected {num_layers} sizes because num_layers={num_layers}, got {len(value)}: "
                "leave num_layers out, the list says how many layers there are"
            )
    counts = {len(value) for value in lists.values()}
    if len(counts) > 1:
        raise InputError(
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
    bias: object,
    batch_first: object,
    dropout: object,
) -> None:
    """Check the arguments of one layer's constructor, with the error classes of nn.LSTM.

    Raises:
        TypeError: A size is not an int, or a flag not a bool.
        ValueError: A size or the dropout probability is out of range.
    """
    if not isinstance(dropout, numbers.Real) or isinstance(dropout, bool) or not 0 <= float(dropout) <= 1:
        raise InputError(f"dropout: expected a number in [0, 1], the probability of a zero, got {dropout!r}")
    for name, value in (("bias", bias), ("batch_first", batch_first)):
        if not isinstance(value, bool):
            raise DtypeError(f"{name}: expected a bool, got {type(value).__name__} {value!r}")
    sizes = (("input_size", input_size), ("hidden_size", hidden_size), ("proj_size", proj_size))
    for name, value in sizes:
        if not isinstance(value, int) or isinstance(value, bool):
            raise DtypeError(f"{name}: expected an int, got {type(value).__name__} {value!r}")
    assert isinstance(input_size, int)
    assert isinstance(hidden_size, int)
    assert isinstance(proj_size, int)
    if input_size < 0:
        raise InputError(f"input_size: expected 0 or more, got {input_size}")
    if hidden_size <= 0:
        raise InputError(f"hidden_size: expected more than 0, got {hidden_size}")
    if proj_size < 0:
        raise InputError(f"proj_size: expected 0 (no projection) or more, got {proj_size}")
    if proj_size >= hidden_size:
        raise InputError(f"proj_size: expected less than hidden_size={hidden_size}, got {proj_size}")


_MEMORY = ("fast", "lean", "minimal")


def check_memory(memory: object) -> str:
    """Return what training is to keep for backward.

    Raises:
        InputError: It has another name.
    """
    if memory not in _MEMORY:
        raise InputError(f"memory: expected one of {', '.join(map(repr, _MEMORY))}, got {memory!r}")
    return str(memory)


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def check_input(name: str, input: Tensor, input_size: int, weight: Tensor, *, batch_first: bool, packed: bool) -> None:
    """Check rank, feature size, dtype and device of the input.

    Raises:
        DtypeError: Not a tensor, or of another dtype than the weights, outside autocast.
        ShapeError: Wrong rank or feature size.
        InputError: Another device than the weights.
    """
    if not isinstance(input, Tensor):
        raise DtypeError(f"{name}: expected a Tensor or a PackedSequence, got {type(input).__name__}")
    if input.layout is not torch.strided:
        raise InputError(f"{name}: expected a dense tensor, got layout {input.layout}: use {name}.to_dense()")
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
    if input.dtype != weight.dtype and not autocast_on(input.device):
        raise DtypeError(
            f"{name}: expected dtype {weight.dtype} (that of the weights), got {input.dtype}: "
            f"input.to({weight.dtype}), or model.to({input.dtype})"
        )


def check_weights(
    names: Sequence[Sequence[str]],
    weights: Sequence[Sequence[LSTMWeights]],
    input_size: int,
    hidden_sizes: Sequence[int],
    proj_sizes: Sequence[int],
    bias: bool,
    *,
    cell: Cell = PLAIN,
    single_bias: bool = False,
) -> None:
    """Check that the parameters still are what the sizes say: anybody may have replaced one.

    Kernels read weights by address. PyTorch's own oneDNN path accepts a W_hh of the wrong shape and computes with
    whatever lies behind it in memory.

    Raises:
        ShapeError: A weight is missing, no tensor, or of the wrong shape.
        DtypeError: Of another dtype than the first weight.
        InputError: On another device than the first weight.
    """
    first = weights[0][0].w_ih
    if not isinstance(first, Tensor):
        raise DtypeError(f"{names[0][0]}: expected a Tensor, got {type(first).__name__}")
    cell_names = iter(names)
    for directions, h, p in zip(weights, hidden_sizes, proj_sizes, strict=True):
        expected = parameter_shapes(cell, input_size, h, p, bias=bias, single_bias=single_bias)
        for own in directions:
            tensors = [getattr(own, FIELDS[kind]) for kind in expected]
            for name, weight, shape in zip(next(cell_names), tensors, expected.values(), strict=True):
                if not isinstance(weight, Tensor):
                    raise DtypeError(f"{name}: expected a Tensor of {shape}, got {type(weight).__name__}")
                if weight.shape != shape:
                    raise ShapeError(
                        f"{name}: expected {shape} by the sizes of the layer, got {_shape(weight)}: "
                        "for other sizes make another layer"
                    )
                if weight.dtype != first.dtype:
                    raise DtypeError(f"{name}: expected dtype {first.dtype} like {names[0][0]}, got {weight.dtype}")
                if weight.device != first.device:
                    raise InputError(f"{name}: expected device {first.device} like {names[0][0]}, got {weight.device}")
        input_size = (p or h) * len(directions)


def check_packed(rows: int, batch_sizes: Tensor) -> Tensor:
    """Return the batch sizes of the steps that some sequence reaches; a PackedSequence may be put together by hand.

    Raises:
        ShapeError: Batch sizes that rise, are negative or all zero, or do not add up to the rows of data.
    """
    sizes = batch_sizes.tolist()
    falling = all(a >= b for a, b in pairwise(sizes))
    if not sizes or not falling or sizes[0] <= 0 or sizes[-1] < 0 or sum(sizes) != rows:
        raise ShapeError(
            f"input: expected a PackedSequence whose batch_sizes fall from above 0 and add up to its {rows} rows, got "
            f"{sizes}: make it with torch.nn.utils.rnn.pack_padded_sequence or pack_sequence"
        )
    return batch_sizes if sizes[-1] else batch_sizes[: len(sizes) - sizes.count(0)]


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
    if state.dtype != input.dtype and not autocast_on(input.device):
        raise DtypeError(
            f"{name}: expected dtype {input.dtype} (the input's), got {state.dtype}: {name}.to(input.dtype)"
        )


def check_lengths(lengths: object, batch: int, steps: int, *, values: bool) -> Tensor:
    """Return lengths as (B,) int64 on the CPU; ``values`` says whether their values can be looked at.

    Raises:
        ShapeError: Not one length for each sequence.
        DtypeError: Not integers.
        InputError: A length below 0 or above T.
    """
    try:
        tensor = lengths if isinstance(lengths, Tensor) else torch.as_tensor(lengths, device="cpu")
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise DtypeError(f"lengths: expected a list or tensor of {batch} integers, got {lengths!r}") from error
    if tuple(tensor.shape) != (batch,):
        raise ShapeError(f"lengths: expected ({batch},), one length a sequence, got {_shape(tensor)}")
    if tensor.numel() == 0:
        return torch.zeros(0, dtype=torch.int64, device="cpu")
    if tensor.dtype not in _INTEGER:
        raise DtypeError(f"lengths: expected integers, got {tensor.dtype}: a length counts steps, use lengths.long()")
    tensor = tensor.detach().to("cpu", torch.int64)
    if values:
        check_range(tensor, steps)
    return tensor


def one_length(lengths: object) -> object:
    """Return the length of an unbatched sequence, any kind of integer, as the lengths of a batch of one."""
    if isinstance(lengths, Tensor):
        return lengths.reshape(1) if lengths.dim() == 0 else lengths
    return [lengths] if isinstance(lengths, numbers.Integral) else lengths


def check_reset(reset: object, expected: tuple[int, ...], layout: str, input: Tensor) -> Tensor:
    """Return the reset mask on the input's device.

    Raises:
        ShapeError: Not of the input's leading shape.
        DtypeError: Not bool.
    """
    if not isinstance(reset, Tensor):
        try:
            reset = torch.as_tensor(reset, device=input.device)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise DtypeError(f"reset: expected a bool tensor of {expected}, got {reset!r}") from error
    if reset.dtype != torch.bool:
        raise DtypeError(f"reset: expected dtype torch.bool, got {reset.dtype}: use reset.bool()")
    if tuple(reset.shape) != expected:
        fix = ""
        if tuple(reset.shape[::-1]) == expected:
            fix = ": reset has the layout of the input, pass reset.T"
        raise ShapeError(f"reset: expected {expected}, {layout} as in the input, got {_shape(reset)}{fix}")
    return reset.to(input.device)
