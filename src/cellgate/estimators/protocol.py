"""What scikit-learn expects of an estimator, spoken without it: nothing here imports it unless it is already there.

``import cellgate`` stays light, and a pipeline, a grid search or ``check_estimator`` find what they look for.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, ParamSpec, Self, TypeVar

import numpy as np

from cellgate.data.panel import as_names
from cellgate.data.sequences import SequenceSet, label_array
from cellgate.errors import InputError
from cellgate.estimators.plain_torch import in_plain_torch

Kind = Literal["classifier", "regressor"]
_TRAIN = ("fit", "partial_fit")
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Parameters:
    """get_params, set_params, load and a repr by the constructor's signature; arguments are kept as they are given.

    The public methods of what is derived from it run in `plain_torch`; a training that fails changes nothing.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Take care of the methods that a class adds."""
        super().__init_subclass__(**kwargs)
        for name, method in list(vars(cls).items()):
            if inspect.isfunction(method) and not name.startswith("_"):
                run = in_plain_torch(method)
                setattr(cls, name, as_before_on_failure(run) if name in _TRAIN else run)

    @classmethod
    def parameter_names(cls) -> tuple[str, ...]:
        """The constructor's arguments."""
        return tuple(name for name in inspect.signature(cls).parameters if name not in ("args", "kwargs"))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name."""
        return {name: getattr(self, name) for name in self.parameter_names()}

    def plain_params(self) -> dict[str, Any]:
        """The same as plain data: several names or numbers, whatever holds them, as a list."""
        return {
            name: list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value
            for name, value in self.get_params().items()
        }

    def set_params(self, **params: Any) -> Self:
        """Set constructor arguments by name.

        Raises:
            ValueError: for a name that is none.
        """
        names = self.parameter_names()
        for name, value in params.items():
            if name not in names:
                raise ValueError(f"Invalid parameter {name!r}: expected one of {', '.join(names)}")
            setattr(self, name, value)
        return self

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a folder that `save`, or `cellgate train --out`, wrote.

        Raises:
            ModelFolderError: if the folder holds no model, a damaged one, or one of another kind.
        """
        from cellgate.estimators.load import load  # which knows all estimators

        return load(path, cls)

    def __repr__(self) -> str:
        """The arguments that are not the default."""
        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        changed = [f"{name}={value!r}" for name, value in self.get_params().items() if value is not defaults[name]]
        return f"{type(self).__name__}({', '.join(changed)})"


def as_before_on_failure(method: Callable[_P, _T]) -> Callable[_P, _T]:
    """A method that trains, such that an estimator is as it was where no new model came of it.

    Old weights beside the classes or the scaling of new data would answer, and answer wrong. What fails when the new
    model is there, a report for instance, does not take it away.
    """

    @functools.wraps(method)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        state: dict[str, Any] = vars(args[0])
        before = dict(state)
        try:
            return method(*args, **kwargs)
        except BaseException:
            if state.get("model_") is before.get("model_"):
                state.clear()
                state.update(before)
            raise

    return run


def sklearn_tags(kind: Kind) -> Any:
    """The tags of a classifier or regressor over flat or 3-D input; asked for by scikit-learn only."""
    from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

    return Tags(
        estimator_type=kind,
        target_tags=TargetTags(required=True),
        transformer_tags=None,
        classifier_tags=ClassifierTags() if kind == "classifier" else None,
        regressor_tags=RegressorTags() if kind == "regressor" else None,
        input_tags=InputTags(two_d_array=True, three_d_array=True, allow_nan=True),
    )


def not_fitted(name: str) -> Exception:
    """The error for an estimator that is used before fit; scikit-learn's own where that is in use."""
    message = f"expected a fitted {name}, got a new one; call fit first, or cellgate.load a saved one"
    if "sklearn" not in sys.modules:
        return RuntimeError(message)
    from sklearn.exceptions import NotFittedError

    # Code in the wild catches either.
    both = type("NotFittedError", (NotFittedError, RuntimeError), {"__module__": __name__})
    return both(message)


def check_columns(estimator: Any, data: Any, *, reset: bool) -> None:
    """Remember how many columns an array has and the names of a frame's; or compare with what was remembered.

    Raises:
        ValueError: for another number of columns, or other names.
    """
    if "sklearn" in sys.modules and hasattr(data, "columns"):
        from sklearn.utils.validation import validate_data

        validate_data(estimator, data, reset=reset, skip_check_array=True)
        return
    count = shape_of(data)[-1]
    if reset:
        estimator.n_features_in_ = count
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
        return
    if hasattr(estimator, "feature_names_in_"):
        warnings.warn(
            f"X does not have valid feature names, but {type(estimator).__name__} was fitted with feature names",
            UserWarning,
            stacklevel=3,
        )
    expected = getattr(estimator, "n_features_in_", count)
    if count != expected:
        raise InputError(
            f"X has {count} features, but {type(estimator).__name__} is expecting {expected} features as input; "
            "give arrays of the shape that it was trained on"
        )


def as_array(data: Any) -> Any:
    """Lists of lists of numbers, all as long as one another, as the array that they write; other data as they are."""
    if not (isinstance(data, list | tuple) and data and all(isinstance(one, list | tuple) for one in data)):
        return data
    try:
        array = np.asarray(data)
    except ValueError:  # of different lengths
        return data
    return array if array.dtype.kind in "iufb" and array.ndim in (2, 3) else data


def shape_of(data: Any) -> tuple[int, ...]:
    """The shape of an array, or of what numpy can make one of; tensors have theirs whatever numpy makes of them."""
    return tuple(data.shape) if hasattr(data, "shape") else np.asarray(data).shape


def one_column(y: Any) -> np.ndarray:
    """Labels as a (n,) array; an (n, 1) array with a warning.

    Raises:
        InputError: for missing or infinite labels.
    """
    array = label_array(y)
    if array.ndim == 2 and array.shape[1] == 1:
        category: type[Warning] = UserWarning
        if "sklearn" in sys.modules:
            from sklearn.exceptions import DataConversionWarning as category
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected; use y.ravel()", category, stacklevel=3
        )
        array = array.ravel()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        what = "NaN" if np.isnan(array).any() else f"infinity or a value too large for dtype('{array.dtype}')"
        raise InputError(f"Input y contains {what}.; expected a finite label for each sequence: leave the others out")
    return array


def expect(name: str, value: Any, expected: str, holds: Callable[[Any], bool]) -> None:
    """Check an argument.

    Raises:
        InputError: where it does not hold.
    """
    try:
        good = bool(holds(value))
    except TypeError:
        good = False
    if not good:
        raise InputError(f"{name}: expected {expected}, got {value!r}")


def require_used(estimator: Any, table: bool, sequences: SequenceSet) -> None:
    """Refuse arguments that say nothing of such data: they would be passed over.

    Args:
        estimator: of sequences.
        table: whether the sequences come from a table.
        sequences: as they were read.

    Raises:
        InputError: naming the first.
    """
    useless = []
    if not table:
        named = ("id", "time") if sequences.token else ("id", "time", "features")
        if sequences.groups is None:  # a .npz and a CoNLL file have them, too
            named = (*named, "group")
        useless = [(name, "a table, whose column it names") for name in named if as_names(getattr(estimator, name))]
    elif sequences.flat and estimator.time:
        useless = [("time", "a table of several rows a sequence")]
    if estimator.gaps and (not table or sequences.flat):
        useless.append(("gaps", "a table of several rows a sequence, with their times"))
    if estimator.steps is not None and not sequences.flat:
        useless.append(("steps", "flat sequences, one a row (--wide)"))
    for name, expected in useless:
        raise InputError(f"{name}: expected {expected}, got {sequences.source}; leave --{name} out")


def check_columns_named(estimator: Any, *names: str) -> None:
    """Check arguments that each name one column.

    Raises:
        InputError: for several at once.
    """
    for name in names:
        expect(name, getattr(estimator, name), "the name of one column, or None", lambda v: v is None or not is_many(v))


def is_many(value: Any) -> bool:
    """Whether it is a collection, not one name or number."""
    return isinstance(value, list | tuple | set | dict | np.ndarray)


def check_seed(seed: Any) -> None:
    """Check a seed: what PyTorch's generators take.

    Raises:
        InputError: for another.
    """
    expect("seed", seed, "a whole number from -2**63 to 2**64 - 1", lambda v: is_whole(v) and -(2**63) <= v < 2**64)


def check_seconds(seconds: Any) -> None:
    """Check a limit of training time.

    Raises:
        InputError: for what is neither None nor a time.
    """
    if seconds is not None:
        expect("max_seconds", seconds, "a number above 0, or None for no limit", lambda v: 0 < v < np.inf)


def is_count(value: Any) -> bool:
    """Whether it is a whole number of 1 or more."""
    return is_whole(value) and bool(value >= 1)


def is_whole(value: Any) -> bool:
    """Whether it is a whole number."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
