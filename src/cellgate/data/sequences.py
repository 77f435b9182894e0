"""Sets of sequences: ragged, end to end in one array, with a label for each or for every step.

A sequence is (T, F): T steps of F features. Lengths may differ. Whatever the sequences come from, an array, a list, a
table (sequence_tables.py) or a CoNLL file (tagged.py), they end up as a SequenceSet.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cellgate.data.errors import DataError
from cellgate.data.numbers import LARGEST
from cellgate.data.words import counted, some

ARRAY_SUFFIXES = {".npy", ".npz"}
CONLL_SUFFIXES = {".conll", ".conllu", ".iob", ".iob2", ".bio", ".tagged"}


@dataclass(frozen=True)
class SequenceRoles:
    """What the caller says about the columns of a table; None and False leave it to be found.

    Attributes:
        id: the column that tells sequences apart.
        time: the column to sort the steps of a sequence by.
        target: the column of labels.
        features: the columns to read; all others by default.
        wide: whether every row is a whole sequence, its columns the steps.
        token: the column of words to embed, for tagging; "" to look for one, None for none.
        steps: of a flat sequence (a row, or a row of a 2-D array): how many steps it is cut into.
        words: of a long table that is like one read before: which features are words, whatever their cells look like.
    """

    id: str | None = None
    time: str | None = None
    target: str | None = None
    features: tuple[str, ...] = ()
    wide: bool = False
    steps: int | None = None
    token: str | None = None
    words: tuple[str, ...] | None = None


@dataclass(frozen=True)
class SequenceSet:
    """Sequences, end to end.

    Attributes:
        source: what the data is called in messages.
        ids: one name a sequence.
        lengths: (S,) int64 steps of each.
        numbers: (N, F) float64, N the sum of lengths, NaN where nothing was observed.
        number_names: the names of the F numeric features.
        texts: name -> (N,) object array of str, the features that are words.
        labels: (S,) one a sequence, or (N,) one a step, or None; numbers, or object of str.
        per_step: whether labels are one a step.
        roles: the columns as they were used.
        notes: everything that was assumed, one line each.
        token: which of `texts` is to be embedded, if any.
        flat: whether it came as a 2-D array or a table with a sequence a row.
    """

    source: str
    ids: tuple[str, ...]
    lengths: np.ndarray
    numbers: np.ndarray
    number_names: tuple[str, ...]
    texts: dict[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None
    per_step: bool = False
    roles: SequenceRoles = SequenceRoles()
    notes: tuple[str, ...] = ()
    flat: bool = False
    token: str | None = None

    def __len__(self) -> int:
        """How many sequences."""
        return len(self.lengths)

    @property
    def offsets(self) -> np.ndarray:
        """(S,) where each sequence begins."""
        return np.cumsum(self.lengths) - self.lengths

    def pick(self, rows: np.ndarray) -> SequenceSet:
        """The sequences `rows`, in that order."""
        lengths, offsets = self.lengths[rows], self.offsets[rows]
        steps = np.repeat(offsets - (np.cumsum(lengths) - lengths), lengths) + np.arange(int(lengths.sum()))
        labels = self.labels
        if labels is not None:
            labels = labels[steps] if self.per_step else labels[rows]
        return replace(
            self,
            ids=tuple(self.ids[k] for k in rows),
            lengths=lengths,
            numbers=self.numbers[steps],
            texts={name: values[steps] for name, values in self.texts.items()},
            labels=labels,
        )

    def summary(self) -> list[tuple[str, str]]:
        """What was read and assumed, as (label, text) pairs for the echo block."""
        least, most = int(self.lengths.min()), int(self.lengths.max())
        steps = counted(most, "step") if least == most else f"{least:,} to {counted(most, 'step')}"
        pairs = [("data", f"{self.source}: {counted(len(self), 'sequence')} of {steps}")]
        names = [*self.number_names, *self.texts]
        pairs.append(("reads", some(names)))
        used = ", ".join(
            f"{label} = {name}"
            for label, name in (("id", self.roles.id), ("time", self.roles.time), ("label", self.roles.target))
            if name
        )
        if used:
            pairs.append(("columns", used))
        missing = int(np.isnan(self.numbers).sum())
        if missing:
            pairs.append(("missing", f"{missing:,} values: the network is told where"))
        return pairs + [("note", note) for note in self.notes]


# ---------------------------------------------------------------- reading


def read_sequences(data: Any, labels: Any = None, roles: SequenceRoles | None = None) -> SequenceSet:
    """Read sequences from an array, a list of arrays, a table or a file.

    Args:
        data: (n, T, F) numbers; (n, T), n sequences of one feature (or of T / steps features, with `roles.steps`); a
            list of n arrays (T_i, F) or (T_i,); a data frame or the path of a table, long (a row a step) or wide (a row
            a sequence); the path of a .npy, or of a .npz with arrays X and, if they are known, y and lengths.
        labels: n labels, for data that holds none itself; a list of n arrays for labels a step.
        roles: what the caller knows about the columns.

    Raises:
        DataError: for data that cannot be used, naming the place and what to do.
    """
    roles = roles or SequenceRoles()
    data = _unpacked(data)
    if isinstance(data, SequenceSet):
        return data if labels is None else with_labels(data, labels)
    if isinstance(data, str | Path) and Path(data).suffix.lower() in ARRAY_SUFFIXES:
        return _read_arrays(Path(data), labels, roles)
    if isinstance(data, str | Path) and Path(data).suffix.lower() in CONLL_SUFFIXES:
        from cellgate.data.tagged import read_conll

        if labels is not None:
            raise DataError("labels: expected none beside a CoNLL file, which holds its tags; leave them out")
        return read_conll(Path(data), roles)
    if isinstance(data, str | Path):
        from cellgate.data.sequence_tables import read_sequence_table

        return read_sequence_table(data, roles, labels)
    if _is_frame(data):
        from cellgate.data.sequence_tables import read_sequence_table

        # A frame with its labels beside it, and nothing that tells sequences apart, has a sequence in every row.
        return read_sequence_table(
            data, replace(roles, wide=roles.wide or (labels is not None and not roles.id)), labels
        )
    if isinstance(data, list | tuple) and roles.token is not None:
        from cellgate.data.tagged import from_words, is_words

        if is_words(data):
            made = from_words(data, roles)
            return made if labels is None else with_labels(made, labels)
    made = _from_arrays(data, roles)
    return made if labels is None else with_labels(made, labels)


def with_labels(sequences: SequenceSet, labels: Any) -> SequenceSet:
    """The same sequences with these labels, n of them, or n arrays of one a step."""
    labels = _unpacked(labels)
    nested = isinstance(labels, list | tuple) and len(labels) > 0 and not np.isscalar(labels[0]) and np.ndim(labels[0])
    if nested:
        arrays = [label_array(one) for one in labels]
        for k, (one, length) in enumerate(zip(arrays, sequences.lengths.tolist(), strict=False)):
            as_labels(one, f"labels of sequence {k}")
            if one.shape != (length,):
                raise DataError(f"labels of sequence {k}: expected {length}, one a step, got shape {one.shape}")
        if len(arrays) != len(sequences):
            raise DataError(f"labels: expected {len(sequences)} arrays, one a sequence, got {len(arrays)}")
        return replace(sequences, labels=as_labels(np.concatenate(arrays)), per_step=True)
    array = label_array(labels)
    if (
        array.ndim == 2
        and array.shape == (len(sequences), int(sequences.lengths.max(initial=0)))
        and array.shape[1] > 1
    ):
        if (sequences.lengths != array.shape[1]).any():
            raise DataError("labels: expected a list of arrays, as the lengths differ, got one (n, T) array")
        return replace(sequences, labels=as_labels(array.reshape(-1)), per_step=True)
    if array.shape != (len(sequences),):
        raise DataError(
            f"y: expected {len(sequences)} labels, one a sequence, got shape {array.shape}; give one for each"
        )
    return replace(sequences, labels=as_labels(array), per_step=False)


def label_array(labels: Any) -> np.ndarray:
    """Labels as an array; a list with words in it keeps its other values, which numpy would turn into words."""
    array = np.asarray(labels)
    return np.array(labels, dtype=object) if array.dtype.kind in "US" and isinstance(labels, list | tuple) else array


def as_labels(array: np.ndarray, what: str = "y") -> np.ndarray:
    """Numbers and truth values as they are, everything else as text.

    Raises:
        DataError: for a missing label.
    """
    missing = np.isnan(array) if array.dtype.kind == "f" else np.array([_is_missing(v) for v in array.tolist()], bool)
    if missing.any():
        k = int(np.argmax(missing))
        raise DataError(
            f"{what}: expected a label for each, got none ({array[k]}) at {k}; fill it in, or leave that sequence out"
        )
    if array.dtype.kind in "iufb":
        return array
    return np.array([str(value) for value in array.tolist()], dtype=object)


def _is_missing(value: Any) -> bool:
    """None, NaN, or what pandas has for them."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _unpacked(data: Any) -> Any:
    """An array that holds a sequence in each place, as ragged ones come, as the list that it is."""
    ragged = isinstance(data, np.ndarray) and data.dtype.kind == "O" and data.ndim == 1 and len(data) > 0
    return list(data) if ragged and all(isinstance(one, np.ndarray | list | tuple) for one in data) else data


def _is_frame(data: Any) -> bool:
    """Whether narwhals would take it: it has columns, and is neither an array nor a list."""
    return hasattr(data, "columns") or type(data).__module__.startswith(("pyarrow", "polars", "pandas"))


def _read_arrays(path: Path, labels: Any, roles: SequenceRoles) -> SequenceSet:
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
        return _labelled(path.name, arrays, labels, roles)
    except DataError as error:  # what is wrong with an array is said as of any array; here the file is known, too
        message = str(error)
        raise DataError(message if message.startswith(path.name) else f"{path.name}, {message}") from None


def _labelled(source: str, arrays: dict[str, np.ndarray], labels: Any, roles: SequenceRoles) -> SequenceSet:
    lengths = arrays.get("lengths")
    made = _from_arrays(arrays["X"], roles, source, lengths)
    chosen = labels if labels is not None else arrays.get(roles.target or "y")
    if chosen is None:
        return made
    chosen = np.asarray(chosen)
    if lengths is not None and chosen.ndim == 2:
        chosen = [row[:length] for row, length in zip(chosen, lengths, strict=True)]
    return with_labels(made, chosen)


def _from_arrays(
    data: Any, roles: SequenceRoles, source: str = "the array", lengths: np.ndarray | None = None
) -> SequenceSet:
    if hasattr(data, "toarray"):
        raise DataError("X: expected a dense array, got a sparse one; sparse data is not supported: use X.toarray()")
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
        raise DataError(f"X: expected numbers, got {array.dtype}; encode words as numbers, or give a table")
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
        array = np.asarray(one)
        if array.dtype.kind not in "iufb" or array.ndim not in (1, 2):
            raise DataError(
                f"sequence {k}: expected numbers of shape (T, F) or (T,), got {array.dtype} of shape {array.shape}"
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


def _object_numbers(array: np.ndarray) -> np.ndarray:
    for value in array.reshape(-1)[:1000].tolist():
        if not isinstance(value, str | int | float | bool | np.number | type(None)):
            raise TypeError(f"X: argument must be a string or a number, got {type(value).__name__}")
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"X: expected numbers, got objects that are none ({error})") from None


def require_finite(sequences: SequenceSet) -> None:
    """Refuse infinite values, naming the first; NaN means missing and is fine."""
    infinite = np.isinf(sequences.numbers)
    large = np.abs(np.where(infinite, 0, sequences.numbers)) > LARGEST
    if large.any() and not infinite.any():
        step, feature = np.argwhere(large)[0].tolist()
        raise DataError(
            f"{sequences.source}: expected numbers up to {LARGEST:.0e} in {sequences.number_names[feature]!r}, got "
            f"{sequences.numbers[step, feature]:g}; make it missing (NaN), or change the unit"
        )
    if infinite.any():
        step, feature = np.argwhere(infinite)[0].tolist()
        k = int(np.searchsorted(np.cumsum(sequences.lengths), step, side="right"))
        place = f"{sequences.source}, sequence {sequences.ids[k]}, step {step - int(sequences.offsets[k])}"
        raise DataError(
            f"{place}: Input X contains infinity in {sequences.number_names[feature]!r}; "
            "expected finite numbers: correct it, or make it missing (NaN)"
        )


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _names(width: int) -> tuple[str, ...]:
    return tuple(f"x{k}" for k in range(width)) if width > 1 else ("x",)
