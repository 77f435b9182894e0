"""Tables made into sequences with labels: long ones (a row a step) and wide ones (a row a sequence)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

from cellgate.data.errors import DataError
from cellgate.data.gaps import Gaps
from cellgate.data.numbers import DecimalComma, looks_numeric, read_numbers, require_numbers
from cellgate.data.prose import TAKE_APART, is_prose
from cellgate.data.sequence_arrays import cut
from cellgate.data.sequences import SequenceRoles, SequenceSet, with_labels
from cellgate.data.table import Table, read_table
from cellgate.data.time_formats import FORMATS
from cellgate.data.times import looks_like_time, read_stamps
from cellgate.data.words import counted

_ID_NAMES = ("unique_id", "id", "sequence_id", "sequence", "seq_id", "seq", "case", "case_id", "series", "subject",
             "session", "session_id", "patient", "sentence", "sentence_id")  # fmt: skip
_TIME_NAMES = ("ds", "time", "timestamp", "datetime", "date", "step", "t", "position", "index", "frame")
_TOKEN_NAMES = ("token", "word", "form", "text")
_MANY = 50  # different words, beyond which a column is taken for one of tokens
_TARGET_NAMES = ("label", "target", "class", "y", "tag", "category", "outcome")
_ROW_NAMES = ("column1", "Unnamed: 0")  # of a first column without a name: here, and in pandas
_PADDED = re.compile(r"[+-]?0\d+")
_EXACT = 2.0**53  # beyond it neighbouring whole numbers are one and the same double


def read_sequence_table(data: Any, roles: SequenceRoles, labels: Any = None, again: bool = False) -> SequenceSet:
    """Read a table of sequences; whatever is not said in `roles` is found and noted.

    Args:
        data: see read_table.
        roles: what the caller knows about the columns.
        labels: n labels, where the table has no column of them.
        again: whether the roles are those of a training.

    Raises:
        DataError: for a table that cannot be used, naming the line and what to do.
    """
    table = read_table(data)
    if again and not (roles.id or roles.wide):
        kind = "a CoNLL file" if roles.token else "arrays"
        raise DataError(f"{table.source}: expected data as in training, {kind}, got a table; give such")
    if again and roles.group not in table.columns:
        roles = replace(roles, group=None)  # nothing is split
    named = [(f"--{label}", getattr(roles, label)) for label in ("id", "time", "target", "group")]
    for option, name in [*named, *(("--features", name) for name in roles.features)]:
        # Labels may be missing from data to predict for.
        if name is not None and name not in table.columns and option != "--target":
            has = _list(table.columns)
            if again:
                raise DataError(
                    f"{table.source}: expected a column {name!r}, as in training, got {has}; add or rename it"
                )
            raise DataError(f"{option} {name}: expected a column of {table.source}, which has {has}")
    if roles.target is not None and (roles.target not in table.columns or (again and _is_empty(table, roles.target))):
        roles = replace(roles, target="")
    read = _wide if roles.wide else _long
    made = read(table, roles, labels is not None, again)
    return made if labels is None else with_labels(made, labels)


def _is_empty(table: Table, name: str) -> bool:
    """Whether a column has no value at all, as that of labels in data to predict for."""
    return all(_name(cell) == "" for cell in table.columns[name].tolist())


def _long(table: Table, roles: SequenceRoles, labelled: bool, again: bool) -> SequenceSet:
    notes = list(table.notes)
    id_name = roles.id or _first(table, _ID_NAMES, roles.group)
    if id_name is None:
        for name, column in table.columns.items():
            _refuse_prose(table, name, column)
        raise DataError(
            f"{table.source}: expected a column that tells the sequences apart, found none among "
            f"{_list(table.columns)}; name it with --id, or give --wide for a table with a sequence in every row"
        )
    target = roles.target
    if target is None and not labelled:
        target = _first(table, _TARGET_NAMES, id_name, roles.group)
    time = roles.time or _first(table, _TIME_NAMES, id_name, target, roles.group)
    time = time or _times(table, roles, id_name, target)
    if roles.gaps and time is None:
        raise DataError(
            f"{table.source}: expected a column of times for --gaps, found none among {_list(table.columns)}; name it "
            "with --time"
        )
    names = np.array([_name(cell) for cell in table.columns[id_name].tolist()], dtype=object)
    _require_cells(table, names, id_name)
    ids, first, codes = np.unique(names.astype(str), return_index=True, return_inverse=True)
    # Sequences in the order in which they first appear.
    rank = np.empty(len(ids), dtype=np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(ids))
    codes = rank[codes]
    order = np.argsort(codes, kind="stable")
    key = np.zeros(0)
    if time is not None:
        key, form, told = _order_key(table, time, roles.time_form)
        roles = replace(roles, time_form=form)
        notes += told
        order = np.lexsort((key, codes))
        if not (order == np.argsort(codes, kind="stable")).all():
            notes.append(f"steps sorted by {time}")
        together = int(((np.diff(key[order]) == 0) & (np.diff(codes[order]) == 0)).sum())
        if together:
            told = f"{counted(together, 'step')} at the same {time} as the step before: kept in the order of the rows"
            notes.append(f"{told}; if they belong to others, name the column that tells those apart with --id")
        if not roles.gaps and time not in roles.features and _uneven(key[order], codes[order]):
            notes.append(
                f"the steps are unevenly far apart in {time}: only their order is read; --gaps (gaps=True) has it "
                "learn from the time since the step before, too"
            )
    else:
        notes.append("no time column: the steps of a sequence are taken in the order of the rows")
    features, left_out = _chosen(table, roles, id_name, time, target)
    notes += left_out
    if not features and not roles.gaps:
        raise DataError(f"{table.source}: expected a column to read beside {_list(table.columns)}, got none")
    lengths = np.bincount(codes, minlength=len(ids)).astype(np.int64)
    numbers, number_names, texts, told = _features(table, features, roles.words, order)
    if roles.gaps and time is not None:
        gaps = Gaps.of(table, time, key, order, lengths, roles.gap_unit)
        roles = replace(roles, gap_unit=gaps.unit)
        numbers = np.concatenate([numbers, gaps.values[:, None]], axis=1)
        number_names = (*number_names, gaps.name)
        told = [*told, *(gaps.notes if not again else [])]
    token = _token(table, roles, texts)
    labels, per_step = None, False
    if target:
        labels, per_step = _labels(table, target, order, lengths)
    elif roles.target == "":
        target = None
    return SequenceSet(
        table.source,
        tuple(ids[np.argsort(first, kind="stable")].tolist()),
        lengths,
        numbers,
        number_names,
        texts,
        labels,
        per_step,
        replace(
            roles,
            id=id_name,
            time=time,
            target=target or None,
            features=features,
            token=token,
            words=tuple(texts),
        ),
        tuple(dict.fromkeys([*notes, *told])),
        token=token,
        groups=_groups(table, roles.group, order, lengths, names[order], again) if roles.group else None,
        times=None if time is None else table.columns[time][order],
    )


def _token(table: Table, roles: SequenceRoles, texts: dict[str, np.ndarray]) -> str | None:
    """The column of words: the one named, else one with such a name, else one with many different ones."""
    if roles.token is None:
        return None
    if roles.token:
        if roles.token not in texts:
            raise DataError(f"--token {roles.token}: expected a column of words of {table.source}, got {_list(texts)}")
        return roles.token
    named = _first(Table("", texts), _TOKEN_NAMES)
    return named or next((name for name, column in texts.items() if len(set(column.tolist())) > _MANY), None)


def _wide(table: Table, roles: SequenceRoles, labelled: bool, again: bool) -> SequenceSet:
    """A row a sequence; every column of features is a step, or part of one."""
    target = roles.target
    if target is None and not labelled:
        target = _first(table, _TARGET_NAMES, roles.id, roles.group)
    features, left_out = _chosen(table, roles, roles.id, None, target, keep_all=labelled)
    notes, columns = [*table.notes, *left_out], []
    for name in features:
        _refuse_prose(table, name, table.columns[name])
        values, told = require_numbers(table.columns[name], name, table.place, table.decimal_comma)
        columns.append(values)
        notes += told
    if not columns:
        raise DataError(f"{table.source}: expected columns of numbers to read, got none beside {_list(table.columns)}")
    array = cut(np.stack(columns, axis=1), roles.steps, table.source)
    n, steps, width = array.shape
    ids = [_name(cell) for cell in table.columns[roles.id].tolist()] if roles.id else list(map(str, range(n)))
    names = tuple(f"x{k}" for k in range(width)) if width > 1 else ("x",)
    lengths = np.full(n, steps)
    labels = None
    if target:
        labels, _ = _labels(table, target, np.arange(n), np.ones(n, dtype=np.int64))
    return SequenceSet(
        table.source,
        tuple(ids),
        lengths,
        array.reshape(-1, width),
        names,
        {},
        labels,
        False,
        replace(roles, target=target or None, features=features),
        tuple(dict.fromkeys(notes)),
        flat=True,
        groups=_groups(table, roles.group, np.arange(n), np.ones(n, dtype=np.int64), ids, again)
        if roles.group
        else None,
    )


def _chosen(
    table: Table,
    roles: SequenceRoles,
    id_name: str | None,
    time: str | None,
    target: str | None,
    keep_all: bool = False,
) -> tuple[tuple[str, ...], list[str]]:
    """The columns to read: those named, or all that have no other role and do not just number the rows; and notes."""
    group = roles.group
    for name, what in ((target, "of the labels"), (id_name, "of the sequences' names"), (group, "of their groups")):
        if name and name in roles.features and roles.words is None:  # models of earlier versions may have read it
            raise DataError(f"--features {name}: expected columns to learn from, got that {what}; leave it out")
    if id_name and id_name in (target, time):
        option = "target" if id_name == target else "time"
        raise DataError(f"--{option} {id_name}: expected another column than --id, got the same; name another")
    if target and target == time:
        raise DataError(f"--target {target}: expected another column than --time, got the same; name another")
    for option, name in (("id", id_name), ("time", time), ("target", target)):
        if group and group == name:
            raise DataError(f"--group {group}: expected another column than --{option}, got the same; name another")
    if roles.words is not None and not roles.features:
        return (), []  # the training read nothing but gaps
    names = tuple(dict.fromkeys(roles.features)) or tuple(
        name for name in table.columns if name not in {id_name, time, target, group}
    )
    first = next(iter(table.columns))
    if roles.features or keep_all or first not in names or first not in _ROW_NAMES or "column2" in table.columns:
        return names, []
    values, _, bad = read_numbers(table.columns[first])
    if bad is not None or not (np.diff(values) >= 1).all() or not (values == np.round(values)).all():
        return names, []
    rest = tuple(name for name in names if name != first)
    return rest, ["the first column has no name and numbers the rows: not read; --features names what is to be"]


def _features(
    table: Table, features: tuple[str, ...], words: tuple[str, ...] | None, order: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...], dict[str, np.ndarray], list[str]]:
    numbers, names, texts, notes = [], [], {}, []
    for name in features:
        column = table.columns[name]
        if name not in words if words is not None else looks_numeric(column):
            values, told = require_numbers(column, name, table.place, table.decimal_comma)
            numbers.append(values[order])
            names.append(name)
            notes += told
        else:
            texts[name] = np.array([_name(cell) for cell in column.tolist()], dtype=object)[order]
    stacked = np.stack(numbers, axis=1) if numbers else np.zeros((len(order), 0))
    return stacked, tuple(names), texts, notes


def _labels(table: Table, target: str, order: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, bool]:
    """(S,) where each sequence has one and the same label at all its rows, otherwise (N,) one a step."""
    column = table.columns[target]
    text = np.array([_name(cell) for cell in column.tolist()], dtype=object)
    numbers = _label_numbers(column, text, table.decimal_comma)
    missing = text == "" if numbers is None else np.isnan(numbers)
    _require_cells(table, np.where(missing, "", "x").astype(object), target)
    labels = (text if numbers is None else numbers)[order]
    starts = np.cumsum(lengths) - lengths
    if (labels == np.repeat(labels[starts], lengths)).all():
        return labels[starts], False
    return labels, True


def _groups(
    table: Table, name: str, order: np.ndarray, lengths: np.ndarray, ids: Any, again: bool
) -> np.ndarray | None:
    """(S,) the group of each sequence.

    Args:
        table: with the column `name`.
        name: of the groups.
        order: the rows, sequence by sequence.
        lengths: (S,) rows of each.
        ids: the sequence of each row, in that order.
        again: whether nothing will be split: then groups that are unclear are none.
    """
    cells = np.array([_name(cell) for cell in table.columns[name].tolist()], dtype=object)
    starts = np.cumsum(lengths) - lengths
    groups = cells[order]
    strange = groups != np.repeat(groups[starts], lengths)
    if again:
        return None if strange.any() or (cells == "").any() else groups[starts]
    _require_cells(table, cells, name)
    if strange.any():
        row = int(np.argmax(strange))
        first = groups[starts[np.searchsorted(starts, row, side="right") - 1]]
        raise DataError(
            f"{table.place(int(order[row]))}: expected one {name!r} for all of sequence {ids[row]!r}, got {first!r} "
            f"and {groups[row]!r}; if these are two sequences of the same name, name a column with --id that "
            "tells them apart: one of both names joined"
        )
    return groups[starts]


def _label_numbers(column: np.ndarray, text: np.ndarray, decimal_comma: DecimalComma) -> np.ndarray | None:
    """Labels as numbers, int64 where all are whole, or as truth values; None where they are words.

    So are digits that say more than a number: "007" is no 7, and of two numbers with more digits than a double holds
    each is its own.
    """
    if column.dtype.kind in "iu":
        return column.astype(np.int64)
    if column.dtype.kind == "b" or set(text.tolist()) <= {"True", "False"}:  # as frames, and files of them, have truths
        return text == "True"
    values, _, bad = read_numbers(column, decimal_comma)
    if bad is not None:
        return None
    known = values[np.isfinite(values)]
    whole = len(known) == len(values) and bool((known == np.round(known)).all())
    exact = bool((np.abs(known) <= _EXACT).all())
    if column.dtype.kind == "O" and whole:
        padded = any(_PADDED.fullmatch(cell) for cell in text.tolist())
        if padded or (not exact and len(np.unique(text.astype(str))) > len(np.unique(values))):
            return None
    return values.astype(np.int64) if whole and exact else values


def _require_cells(table: Table, cells: np.ndarray, name: str) -> None:
    empty = cells == ""
    if empty.any():
        row = int(np.argmax(empty))
        raise DataError(f"{table.place(row)}: expected a value in {name!r}, got an empty cell; fill it, or drop it")


def _times(table: Table, roles: SequenceRoles, id_name: str, target: str | None) -> str | None:
    """The one column of time stamps, whatever it is called; None where there is none, or in data like those before."""
    if roles.words is not None:
        return None
    found = [
        name
        for name, column in table.columns.items()
        if name not in {id_name, target, roles.group, *roles.features} and looks_like_time(column)
    ]
    if len(found) > 1 and not roles.features:
        raise DataError(
            f"{table.source}: expected one column of times, got {_list(found)}; name the one that orders the steps "
            "with --time, and the columns to read with --features"
        )
    return found[0] if len(found) == 1 else None


def _uneven(key: np.ndarray, codes: np.ndarray) -> bool:
    """Whether most steps of the sequences are neither equally far apart, nor a step or more missing between them."""
    gaps = np.diff(key)[np.diff(codes) == 0]
    if not len(gaps):
        return False
    low, middle, high = np.quantile(gaps, [0.1, 0.5, 0.9])
    return bool(high > 2 * low and (np.abs(gaps - middle) <= 0.1 * middle).mean() < 0.5)


def _order_key(table: Table, time: str, form: str | None) -> tuple[np.ndarray, str | None, list[str]]:
    """The times of the rows as numbers, how they are written where that is not plain, and a note on it.

    Cells that do not tell day from month, such as 03/04/2024, are read as those of the training, by `form`.
    """
    column = table.columns[time]
    values, _, bad = read_numbers(column, table.decimal_comma)
    if bad is None and column.dtype.kind != "M":
        if np.isnan(values).any():
            row = int(np.argmax(np.isnan(values)))
            raise DataError(f"{table.place(row)}: expected a time in {time!r}, got an empty cell; fill it")
        return values, None, []
    if column.dtype.kind == "M" or looks_like_time(column):
        readings, _ = read_stamps(column, time, table.place)
        chosen = next((reading for reading in readings if reading.form == form), readings[0])
        told = [f"{time}: read as {chosen.form}"] if chosen.form in FORMATS else []
        if len(readings) > 1 and chosen.form != form:
            other = next(reading.form for reading in readings if reading is not chosen)
            told = [f"{told[0]}; {other} would read it too: if that is meant, write the dates as 2024-01-31"]
        return np.asarray(chosen.times).astype(np.int64), chosen.form, told
    raise DataError(f"{table.place(bad or 0)}: expected a number or a time in {time!r}, got {column[bad or 0]!r}")


def _refuse_prose(table: Table, name: str, column: np.ndarray) -> None:
    if is_prose(column.tolist()):
        raise DataError(f"{table.source}: expected numbers or single words in {name!r}, got texts; {TAKE_APART}")


def _first(table: Table, names: tuple[str, ...], *taken: str | None) -> str | None:
    """The first column with one of the names, whatever their case."""
    lower = {column.lower(): column for column in reversed(list(table.columns)) if column not in taken}
    return next((lower[name] for name in names if name in lower), None)


def _name(cell: Any) -> str:
    """A cell as text; a whole number without its ".0"."""
    if isinstance(cell, float):
        return "" if cell != cell else str(int(cell)) if cell.is_integer() else repr(cell)
    return str(cell)


def _list(columns: Any) -> str:
    names = list(columns)
    return ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
