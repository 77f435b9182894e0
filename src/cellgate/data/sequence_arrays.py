"""Sequences from arrays: (n, T, F), flat, lists of ragged ones, and .npy and .npz files of them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cellgate.data.errors import DataError
from cellgate.data.numbers import LARGEST
from cellgate.data.prose import TAKE_APART, is_prose
from cellgate.data.sequences import SequenceRoles, SequenceSet, plain_tensor, require_finite, with_labels


def read_arrays(path: Path, labels: Any, roles: SequenceRoles, again: bool = False) -> SequenceSet:
    """Read a .npy of sequences, or a .npz with X and perhaps y (or what `roles.target` names) and lengths.

    Raises:
        DataError: for a file that cannot be used, naming it.
    """
    if not path.is_file():
        raise DataError(f"{path}: expected a file, found none; check the path")
    try:
        # The file is opened here, because numpy leaves it open where it is no zip archive after all.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {"X": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (BadZipFile, zlib.error) as error:
        raise DataError(f"{path.name}: expected arrays, got a damaged file ({error}); copy it again") from None
    except (ValueError, OSError, EOFError) as error:
        raise DataError(
            f"{path.name}: expected arrays of numbers or text, got what cannot be read without pickle ({error}); "
            "save it again with numpy.save or numpy.savez, numbers and text only"
        ) from None
    if "X" not in arrays:
        raise DataError(f"{path.name}: expected an array X in it, got {', '.join(arrays)}; rename it to X")
    try:
        return _labelled(path.name, arrays, labels, roles, again)
    except DataError as error:  # what is wrong with an array is said as of any array; here the file is known, too
        message = str(error)
        raise DataError(message if message.startswith(path.name) else f"{path.name}, {message}") from None


def _labelled(
    source: str, arrays: dict[str, np.ndarray], labels: Any, roles: SequenceRoles, again: bool
) -> SequenceSet:
    lengths = arrays.get("lengths")
    made = from_arrays(arrays["X"], roles, source, lengths)
    if roles.group is not None and (roles.group in arrays or not again):
        if roles.group not in arrays:
            raise DataError(f"--group {roles.group}: expected an array of {source}, which has {', '.join(arrays)}")
        from cellgate.data.groups import with_groups

        made = with_groups(made, arrays[roles.group])
    chosen = labels if labels is not None else arrays.get(roles.target or "y", arrays.get("y"))
    if chosen is None:
        return made
    chosen = np.asarray(chosen)
    if lengths is not None and chosen.ndim == 2:
        chosen = [row[:length] for row, length in zip(chosen, lengths, strict=True)]
    return with_labels(made, chosen)


def from_arrays(
    data: Any, roles: SequenceRoles, source: str = "the array", lengths: np.ndarray | None = None
) -> SequenceSet:
    """Sequences of numbers.

    Args:
        data: (n, T, F), (n, T), or a list of n arrays (T_i, F) or (T_i,).
        roles: of which `steps` cuts flat sequences.
        source: what to call it in messages.
        lengths: (n,) the steps of each that count, where they are padded.

    Raises:
        DataError: for what are no numbers of such a shape.
    """
    if hasattr(data, "toarray"):
        raise DataError("X: expected a dense array, got a sparse one; sparse data is not supported: use X.toarray()")
    if isinstance(data, list | tuple):
        if any(hasattr(one, "columns") for one in data):
            return _from_frames(data, roles)
        data = [plain_tensor(one) for one in data]
    try:
        array = np.asarray(data)
    except ValueError:
        if not isinstance(data, list | tuple):
            raise
        return _from_list(data)  # NumPy makes no array of sequences of different lengths
    if isinstance(data, list | tuple) and array.ndim in (2, 3) and array.shape[0] and array.shape[1] == 0:
        return _from_list(data)  # sequences that are all empty: one length by chance, not an array without steps
    if array.dtype.kind == "c":
        raise DataError("X: Complex data not supported; expected real numbers: stack real and imaginary parts")
    if array.dtype.kind == "O":
        array = _object_numbers(array)
    if array.dtype.kind not in "iufb":
        remedy = TAKE_APART if is_prose(array.reshape(-1).tolist()) else "encode words as numbers, or give a table"
        raise DataError(f"X: expected numbers, got {array.dtype}; {remedy}")
    if array.ndim not in (2, 3):
        raise DataError(
            f"X: expected shape (n, T, F), or (n, T) for one feature, got {array.shape}. Reshape your data either "
            "using array.reshape(-1, 1) if it has a single feature or array.reshape(1, -1) if it is a single sequence"
        )
    if array.shape[0] == 0:
        raise DataError(f"X: expected at least 1 sequence, got 0 sample(s) (shape={array.shape})")
    if 0 in array.shape[1:]:
        raise DataError(f"X: 0 feature(s) (shape={array.shape}) while a minimum of 1 is required.")
    flat = array.ndim == 2
    with np.errstate(over="ignore"):  # of more than a double's bits: what becomes infinite is refused below
        array = array.astype(np.float64)
    if flat:
        array = cut(array, roles.steps, "X")
    n, steps, width = array.shape
    counts = np.full(n, steps) if lengths is None else _whole(lengths)
    if counts.shape != (n,) or (counts < 0).any() or (counts > steps).any():
        shown = " ".join(repr(lengths).split())[:80]
        raise DataError(f"lengths: expected {n} whole numbers from 0 to {steps}, got {shown}; correct them")
    numbers = array.reshape(-1, width)
    if lengths is not None:
        numbers = numbers[(np.arange(steps) < counts[:, None]).reshape(-1)]
    made = SequenceSet(source, _numbered(n), counts, numbers, _names(width), roles=roles, flat=flat)
    require_finite(made)
    return made


def _whole(lengths: Any) -> np.ndarray:
    """Lengths as int64, -1 for what is no whole number."""
    array = np.asarray(lengths)
    if array.dtype.kind not in "iuf":
        return np.full(array.shape, -1, dtype=np.int64)
    return np.where(array == np.round(array), array, -1).astype(np.int64)


def cut(array: np.ndarray, steps: int | None, name: str) -> np.ndarray:
    """(n, columns) as (n, steps, columns / steps); a step a column by default."""
    count = steps or array.shape[1]
    if array.shape[1] % count:
        raise DataError(
            f"steps: expected a number that divides the {array.shape[1]} columns of {name}, got {count}; "
            "give another, or a 3-D array"
        )
    return array.reshape(len(array), count, -1)


def _from_list(data: Sequence[Any]) -> SequenceSet:
    arrays = []
    for k, one in enumerate(data):
        array = np.asarray(plain_tensor(one))
        if array.dtype.kind not in "iufb" or array.ndim not in (1, 2):
            remedy = f"; {TAKE_APART}" if array.dtype.kind == "U" else ""
            raise DataError(
                f"sequence {k}: expected numbers of shape (T, F) or (T,), got {array.dtype} of shape {array.shape}"
                f"{remedy}"
            )
        arrays.append(array[:, None] if array.ndim == 1 else array)
    width = arrays[0].shape[1]
    for k, array in enumerate(arrays):
        if array.shape[1] != width:
            raise DataError(f"sequence {k}: expected {width} features, as sequence 0 has, got {array.shape[1]}")
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)
    numbers = np.concatenate(arrays).astype(np.float64)
    made = SequenceSet("the list", _numbered(len(arrays)), lengths, numbers, _names(width))
    require_finite(made)
    return made


def _from_frames(frames: Sequence[Any], roles: SequenceRoles) -> SequenceSet:
    """A frame a sequence: their columns, `roles.features` of a training, are told by name, whatever their order."""
    names = roles.features
    arrays = []
    for k, one in enumerate(frames):
        if not (hasattr(one, "columns") and hasattr(one, "to_numpy")):
            raise DataError(
                f"sequence {k}: expected a frame, as others are, got {type(one).__name__}; give all as such"
            )
        columns = tuple(map(str, one.columns))
        names = names or columns
        if sorted(columns) != sorted(names):
            raise DataError(
                f"sequence {k}: expected the columns {', '.join(names)}, got {', '.join(columns)}; give all the same"
            )
        arrays.append(one.to_numpy()[:, [columns.index(name) for name in names]])
    made = from_arrays(arrays, roles)
    return replace(made, roles=replace(made.roles, features=names))


def _object_numbers(array: np.ndarray) -> np.ndarray:
    for value in array.reshape(-1)[:1000].tolist():
        if not isinstance(value, str | int | float | bool | np.number | type(None)):
            raise TypeError(f"X: argument must be a string or a number, got {type(value).__name__}")
    try:
        return array.astype(np.float64)
    except OverflowError:
        raise DataError(
            f"X: expected numbers up to {LARGEST:.0e}, got one too large for a double; make it missing (NaN), or "
            "change the unit"
        ) from None
    except (TypeError, ValueError) as error:
        remedy = f"; {TAKE_APART}" if is_prose(array.reshape(-1).tolist()) else ""
        raise DataError(f"X: expected numbers, got objects that are none ({error}){remedy}") from None


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _names(width: int) -> tuple[str, ...]:
    return tuple(f"x{k}" for k in range(width)) if width > 1 else ("x",)
