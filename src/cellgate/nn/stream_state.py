"""What a stream carries: h and c of every layer, twice, since a step reads one set and writes the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cellgate.backends.half import HALVES
from cellgate.errors import DtypeError, InputError, ShapeError

__all__ = ["Pair", "as_tensor", "begin", "checked", "copied", "kept_as", "rounded", "two_sets", "widened"]

Pair = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
"""h and c, a tensor (1, B, size) of every layer each."""


def two_sets(sizes: Sequence[Sequence[int]], rows: int, dtype: torch.dtype, device: torch.device) -> tuple[Pair, Pair]:
    """Return two sets of zeros; ``sizes`` are those of h and of c in every layer."""
    # Steps inside and outside of inference mode write to them.
    with torch.inference_mode(False):
        return tuple(
            tuple(tuple(torch.zeros(1, rows, size, dtype=dtype, device=device) for size in part) for part in sizes)
            for _ in range(2)
        )  # pyright: ignore[reportReturnType]


def kept_as(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which the state is kept: c of a cell in half precision would be rounded at every step."""
    return torch.float32 if dtype in HALVES else dtype


def widened(x: Tensor) -> Tensor:
    """Return an input in the dtype in which the state is kept."""
    return x.float() if x.dtype in HALVES else x


def rounded(state: tuple[Any, Any], dtype: torch.dtype) -> tuple[Any, Any]:
    """Return a state, in the form of the module's ``hx``, in the dtype of the weights."""
    h, c = (s.to(dtype) if isinstance(s, Tensor) else tuple(part.to(dtype) for part in s) for s in state)
    return h, c


@torch.no_grad()
def copied(source: Any, to: Pair) -> None:
    """Write h and c of every layer over those of a set, whatever their dtypes."""
    for parts, given in zip(to, source, strict=True):
        for part, new in zip(parts, given, strict=True):
            part.copy_(new)


@torch.no_grad()
def begin(to: Pair, rows: Any, learned: Any) -> None:
    """Write a learned initial state, or zeros for None, to a set; ``rows`` is an index of the batch, None for all.

    Raises:
        InputError: There are no such rows.
    """
    if rows is not None:
        batch = to[0][0].shape[1]
        try:
            _ = to[0][0][:, rows]
        except (IndexError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"rows: expected an index or a mask of {batch} sequences, got {rows!r}: {error}"
            ) from error
    for k, parts in enumerate(to):
        for layer, part in enumerate(parts):
            if rows is None:
                part.zero_() if learned is None else part.copy_(learned[k][layer])
            else:
                part[:, rows] = 0 if learned is None else learned[k][layer].to(part.dtype)[:, rows]


def checked(hx: Any, like: Pair, batched: bool) -> list[list[Tensor]]:
    """Return h and c of every layer, shaped like those of a set, from a user's ``hx``.

    Raises:
        InputError: Not a pair of states.
        ShapeError: Not the layers of the module, or another shape.
        DtypeError: A part is no tensor.
    """
    if not isinstance(hx, tuple | list) or len(hx) != 2:
        raise InputError(f"hx: expected a pair (h_0, c_0), got {type(hx).__name__}: pass a tuple of two")
    return [_layers(f"hx[{k}]", given, like[k], batched) for k, given in enumerate(hx)]


def _layers(name: str, given: Any, like: Sequence[Tensor], batched: bool) -> list[Tensor]:
    parts = given.split(1) if isinstance(given, Tensor) else given
    if not isinstance(parts, tuple | list):
        raise DtypeError(f"{name}: expected a tensor or one a layer, got {type(given).__name__}: give that of hx")
    if len(parts) != len(like):
        raise ShapeError(f"{name}: expected {len(like)} layers, got {len(parts)}: give one state for every layer")
    made = []
    for layer, (source, part) in enumerate(zip(parts, like, strict=True)):
        if not isinstance(source, Tensor):
            raise DtypeError(f"{name}, layer {layer}: expected a tensor, got {type(source).__name__}: give that of hx")
        source = source.unsqueeze(1) if not batched and source.dim() == 2 else source
        if source.shape != part.shape:
            expected = tuple(part.shape) if batched else (1, part.shape[2])
            raise ShapeError(
                f"{name}, layer {layer}: expected {expected}, got {tuple(source.shape)}: "
                "give h_n and c_n of the module, or of Stream.state"
            )
        made.append(source)
    return made


def as_tensor(x: Any) -> tuple[Tensor, bool]:
    """Return an input of a stream as a tensor without gradient, and whether it was an array.

    Raises:
        DtypeError: Neither, or an array of something else than numbers.
        InputError: A sparse tensor.
    """
    if isinstance(x, Tensor):
        if x.layout is not torch.strided:
            raise InputError(f"x: expected a dense tensor, got layout {x.layout}: use x.to_dense()")
        # Some views keep their numbers with the other sign in memory.
        return (x.detach() if x.requires_grad else x).resolve_neg(), False
    if not isinstance(x, np.ndarray):
        raise DtypeError(f"x: expected a tensor or a numpy array, got {type(x).__name__}: wrap it in torch.as_tensor")
    if not (x.flags.carray and x.dtype.isnative):
        x = np.array(x, dtype=x.dtype.newbyteorder("="), order="C")
    try:
        return torch.from_numpy(x), True
    except TypeError as error:
        raise DtypeError(f"x: expected an array of floats, got dtype {x.dtype}: convert it with x.astype") from error
