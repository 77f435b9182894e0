"""Sets of sequences: ragged, end to end in one array, with a label for each or for every step.

A sequence is (T, F): T steps of F features. Lengths may differ. Whatever the sequences come from, an array or a list
(sequence_arrays.py), a table (sequence_tables.py) or a CoNLL file (tagged.py), they end up as a SequenceSet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cellgate.data.errors import DataError
from cellgate.data.numbers import LARGEST, unmasked
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
        group: the column of what sequences belong to, a person or a machine, all of whose are held out together.
        gaps: of a long table, whether the time since the step before is read as a feature.
        time_form: how the times of such a table are written, for cells that do not tell day from month.
        gap_unit: what it is measured in (see gaps.py), of a long table that is like one read before.
    """

    id: str | None = None
    time: str | None = None
    target: str | None = None
    features: tuple[str, ...] = ()
    wide: bool = False
    steps: int | None = None
    token: str | None = None
    words: tuple[str, ...] | None = None
    group: str | None = None
    gaps: bool = False
    gap_unit: float | None = None
    time_form: str | None = None


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
        groups: (S,) object array of str, what each sequence belongs to, or None.
        times: (N,) the times of the steps as a long table has them, or None.
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
    groups: np.ndarray | None = None
    times: np.ndarray | None = None

    def __len__(self) -> int:
        """How many sequences."""
        return len(self.lengths)

    @property
    def offsets(self) -> np.ndarray:
        """(S,) where each sequence begins."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def missing(self) -> int:
        """How many values are; the gaps before first steps, which cannot be there, are not counted."""
        return int(np.isnan(self.numbers[:, : -1 if self.roles.gaps else None]).sum())

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
            groups=None if self.groups is None else self.groups[rows],
            times=None if self.times is None else self.times[steps],
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
            for label, name in (
                *(("id", self.roles.id), ("time", self.roles.time), ("label", self.roles.target)),
                ("group", None if self.groups is None else self.roles.group),
            )
            if name
        )
        if used:
            pairs.append(("columns", used))
        if self.groups is not None:
            from cellgate.data.groups import group_line

            pairs.append(("groups", group_line(self)))
        if self.missing:
            pairs.append(("missing", f"{self.missing:,} values: the network is told where"))
        return pairs + [("note", note) for note in self.notes]


# ---------------------------------------------------------------- reading


def read_sequences(
    data: Any, labels: Any = None, roles: SequenceRoles | None = None, *, again: bool = False
) -> SequenceSet:
    """Read sequences from an array, a list of arrays, a table or a file.

    Args:
        data: (n, T, F) numbers; (n, T), n sequences of one feature (or of T / steps features, with `roles.steps`); a
            list of n arrays (T_i, F) or (T_i,); a data frame or the path of a table, long (a row a step) or wide (a row
            a sequence); the path of a .npy, or of a .npz with arrays X and, if they are known, y and lengths.
        labels: n labels, for data that holds none itself; a list of n arrays for labels a step.
        roles: what the caller knows about the columns.
        again: whether the roles are those of a training, and the data to be like its.

    Raises:
        DataError: for data that cannot be used, naming the place and what to do.
    """
    roles = roles or SequenceRoles()
    data = _unpacked(_ordered("X", data))
    if isinstance(data, SequenceSet):
        return data if labels is None else with_labels(data, labels)
    if isinstance(data, str | Path) and Path(data).suffix.lower() in ARRAY_SUFFIXES:
        from cellgate.data.sequence_arrays import read_arrays

        return read_arrays(Path(data), labels, roles, again)
    if isinstance(data, str | Path) and Path(data).suffix.lower() in CONLL_SUFFIXES:
        from cellgate.data.tagged import read_conll

        if labels is not None:
            raise DataError("labels: expected none beside a CoNLL file, which holds its tags; leave them out")
        return read_conll(Path(data), roles, again)
    if isinstance(data, str | Path):
        from cellgate.data.sequence_tables import read_sequence_table

        return read_sequence_table(data, roles, labels, again)
    if _is_frame(data):
        from cellgate.data.sequence_tables import read_sequence_table

        # A frame with its labels beside it, and nothing that tells sequences apart, has a sequence in every row.
        return read_sequence_table(
            data, replace(roles, wide=roles.wide or (labels is not None and not roles.id)), labels, again
        )
    texts = [one for one in data if isinstance(one, str)] if isinstance(data, list | tuple) else []
    if texts and len(texts) == len(data) and roles.token is not None:
        raise DataError(
            f"X: expected sentences, each a list of words, got {texts[0][:40]!r}; split each of them into words, and "
            "give a list of them also where there is one only"
        )
    words = isinstance(data, np.ndarray) and data.dtype.kind in "UO" and data.ndim == 2  # sentences of one length
    if (words or isinstance(data, list | tuple)) and roles.token is not None:
        from cellgate.data.tagged import from_words, is_words

        if is_words(data):
            made = from_words(data, roles)
            return made if labels is None else with_labels(made, labels)
    from cellgate.data.sequence_arrays import from_arrays

    made = from_arrays(data, roles)
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
    if array.shape == (len(sequences), 1) and (sequences.lengths == 1).all():
        array = array[:, 0]  # one a step, and one a sequence
    if (
        array.ndim == 2
        and array.shape == (len(sequences), int(sequences.lengths.max(initial=0)))
        and array.shape[1] > 1
    ):
        if (sequences.lengths != array.shape[1]).any():
            raise DataError("labels: expected a list of arrays, as the lengths differ, got one (n, T) array")
        return replace(sequences, labels=as_labels(array.reshape(-1)), per_step=True)
    if array.shape != (len(sequences),):
        if array.ndim == 2 and len(array) == len(sequences):
            raise _steps_unlike(sequences, array)
        raise DataError(
            f"y: expected {len(sequences)} labels, one a sequence, got shape {array.shape}; give one for each"
        )
    return replace(sequences, labels=as_labels(array), per_step=False)


def _steps_unlike(sequences: SequenceSet, array: np.ndarray) -> DataError:
    """The error for labels (n, T) of another T than the sequences have."""
    fewest, most = int(sequences.lengths.min()), int(sequences.lengths.max())
    each = f"shape {(len(sequences), most)}" if fewest == most else "a list of arrays, as the lengths differ"
    return DataError(
        f"y: expected {each}, a label for each of the {most if fewest == most else f'{fewest} to {most}'} steps, or "
        f"{len(sequences)} labels, one a sequence, got shape {array.shape}; give one for each"
    )


def _ordered(name: str, data: Any) -> Any:
    """Data as they are; what has no places to count is refused."""
    if isinstance(data, Mapping | Set | Iterator) and not hasattr(data, "toarray"):  # a sparse array may be a dict
        what, remedy = type(data).__name__, f"list({name}{'.values()' if isinstance(data, Mapping) else ''})"
        frame = ", or a frame if it holds columns" if isinstance(data, Mapping) else ""
        raise DataError(f"{name}: expected an array or a list, one entry a sequence, got {what}; give {remedy}{frame}")
    return data


def label_array(labels: Any, name: str = "y") -> np.ndarray:
    """Labels as an array; a list with words in it keeps its other values, which numpy would turn into words."""
    array = np.asarray(plain_tensor(_ordered(name, labels)))
    return np.array(labels, dtype=object) if array.dtype.kind in "US" and isinstance(labels, list | tuple) else array


def as_labels(array: np.ndarray, what: str = "y") -> np.ndarray:
    """Numbers and truth values as they are, also as objects; everything else as text, bytes as the text they encode.

    Raises:
        DataError: for a missing label, for bytes that are no UTF-8, and for objects that are no single value.
    """
    if array.dtype.kind in "mM":
        # Python's own dates and durations: of those in nanoseconds numpy would make bare numbers.
        array = array.astype(f"{array.dtype.kind}8[us]").astype(object)
    missing = np.isnan(array) if array.dtype.kind == "f" else np.array([_is_missing(v) for v in array.tolist()], bool)
    if missing.any():
        k = int(np.argmax(missing))
        raise DataError(
            f"{what}: expected a label for each, got none ({array[k]}) at {k}; fill it in, or leave that sequence out"
        )
    if array.dtype.kind in "iufb":
        return array
    values = array.tolist()
    for kinds, dtype in (
        (bool | np.bool_, np.bool_),
        (int | np.integer, np.int64),
        (int | float | np.integer | np.floating, float),
    ):
        truths = dtype is not np.bool_ and any(isinstance(value, bool) for value in values)
        if values and not truths and all(isinstance(value, kinds) for value in values):
            with suppress(OverflowError):  # whole numbers too large for an array stay what they are: text
                return array.astype(dtype)
            break
    for k, value in enumerate(values):
        _require_value(value, f"{what}: expected numbers, words or truth values", k)
    try:
        return np.array([value.decode() if isinstance(value, bytes) else str(value) for value in values], dtype=object)
    except UnicodeDecodeError as error:
        raise DataError(f"{what}: expected text, got bytes that are no UTF-8 ({error.object!r}); decode them") from None


def _require_value(value: Any, expected: str, place: int) -> None:
    """Refuse a label that is no single value, or of which Python writes no more than where it lies in memory."""
    if isinstance(value, str | bytes):
        return
    if isinstance(value, complex | np.complexfloating):
        raise DataError(
            f"{expected}, got the complex number {value} at {place}. Complex data not supported: give its "
            "real part, or the name of its class"
        )
    kind = type(value)
    nameless = kind.__repr__ is object.__repr__ and kind.__str__ is object.__str__
    if isinstance(value, Collection) or callable(value) or nameless:
        shown = "" if nameless or callable(value) else f" ({' '.join(repr(value).split())[:60]})"
        raise DataError(f"{expected}, got a {kind.__name__}{shown} at {place}; give one value for each, such as a word")


def _is_missing(value: Any) -> bool:
    """None, NaN, or what pandas has for them."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _unpacked(data: Any) -> Any:
    """An array or a Series that holds a sequence in each place, as ragged ones come, as the list that it is.

    So is a nested tensor. What a masked array hides is missing.
    """
    if hasattr(data, "is_nested"):
        return [plain_tensor(one) for one in data.unbind()] if data.is_nested else plain_tensor(data)
    if isinstance(data, np.ma.MaskedArray):
        return unmasked(data)
    held: list[Any] = []
    if isinstance(data, np.ndarray):
        held = list(data) if data.dtype.kind == "O" and data.ndim == 1 else []
    elif _is_frame(data) and not hasattr(data, "columns") and hasattr(data, "to_list"):
        held = data.to_list()
    return held if held and all(isinstance(one, np.ndarray | list | tuple) for one in held) else data


def plain_tensor(data: Any) -> Any:
    """A tensor such as numpy takes it: apart from its graph, on the CPU, in a dtype that numpy has."""
    if not hasattr(data, "is_nested"):
        return data
    data = data.detach().cpu()
    return data.double() if data.is_floating_point() else data


def holds_columns(data: Any) -> bool:
    """Whether data are a table, or the path of one; not arrays, lists, or a CoNLL file."""
    if isinstance(data, str | Path):
        return Path(data).suffix.lower() not in ARRAY_SUFFIXES | CONLL_SUFFIXES
    return _is_frame(_unpacked(data))


def _is_frame(data: Any) -> bool:
    """Whether narwhals would take it: it has columns, and is neither an array nor a list."""
    return hasattr(data, "columns") or type(data).__module__.startswith(("pyarrow", "polars", "pandas"))


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
