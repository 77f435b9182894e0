"""What the estimators of sequences share: reading, fitting once more or anew, saving, loading."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from cellgate.data.features import FeatureEncoding
from cellgate.data.gaps import remeasured
from cellgate.data.groups import require_groups, with_groups
from cellgate.data.panel import as_names
from cellgate.data.sequences import SequenceRoles, SequenceSet, holds_columns, read_sequences
from cellgate.errors import InputError
from cellgate.estimators.explaining import Explanation, deliver, keep_report, require_examples, require_place
from cellgate.estimators.protocol import (
    Kind,
    Parameters,
    as_array,
    check_columns,
    check_columns_named,
    check_seconds,
    check_seed,
    expect,
    is_count,
    not_fitted,
    require_used,
    shape_of,
    sklearn_tags,
)
from cellgate.estimators.sequence_folder import restored, save_sequences
from cellgate.estimators.sequence_training import HeldObjective, fingerprint, fit_in_folds, training_settings
from cellgate.estimators.unlike import remarks
from cellgate.report.model import Report
from cellgate.tasks.held_back import folds, hold_back
from cellgate.tasks.network import SequenceNetwork
from cellgate.tasks.sequence_batches import EncodedSequences, ResidentSequences
from cellgate.training import Checkpoint, Draws, Progress, TrainingRecord, TrainingSettings, threads_for, train

_FEWEST_VALIDATED = 20  # with fewer held back, a validation score would be noise: folds say more


class SequenceEstimator(Parameters):
    """The part of SequenceClassifier and SequenceRegressor that does not depend on what a label is."""

    KIND: ClassVar[Kind]
    BASELINE: ClassVar[str]

    id: str | None
    time: str | None
    target: str | None
    group: str | None
    features: Any
    gaps: bool
    wide: bool
    steps: int | None
    hidden_size: int | None
    num_layers: int
    bidirectional: bool
    readout: str
    dropout: float
    learning_rate: float
    batch_size: int
    max_epochs: int | None
    max_seconds: float | None
    patience: int | None
    validation: float
    seed: int

    model_: SequenceNetwork
    encoding_: FeatureEncoding
    record_: TrainingRecord
    settings_: TrainingSettings
    metrics_: dict[str, Any]
    source_: str
    roles_: SequenceRoles
    n_features_in_: int

    def __sklearn_tags__(self) -> Any:
        """For scikit-learn."""
        return sklearn_tags(self.KIND)

    # ------------------------------------------------------------ what a label is, told by the subclasses

    def _targets(self, labels: np.ndarray, fresh: bool) -> np.ndarray:
        """Labels as the objective wants them; `fresh` finds classes or scale anew."""
        raise NotImplementedError

    def _outputs(self) -> int:
        raise NotImplementedError

    def _objective(
        self, data: ResidentSequences, targets: np.ndarray, train: np.ndarray, validation: np.ndarray
    ) -> HeldObjective:
        raise NotImplementedError

    def _answer_config(self) -> dict[str, Any]:
        """What a saved model must know about labels."""
        raise NotImplementedError

    def _restore_answers(self, config: dict[str, Any]) -> None:
        raise NotImplementedError

    def strata(self, sequences: SequenceSet) -> np.ndarray:
        """(S,) codes; a part of labelled sequences that is held out should have the same share of each."""
        labels = np.asarray(sequences.labels)
        if self.KIND == "regressor" or sequences.per_step:
            return np.zeros(len(sequences), dtype=np.int64)
        return np.unique(labels, return_inverse=True)[1]

    # ------------------------------------------------------------ reading

    def read(self, X: Any, y: Any = None) -> SequenceSet:
        """Read data as `fit` would, with this estimator's column names.

        Raises:
            DataError: for data that cannot be used.
            InputError: for an argument that says something of other data than these.
        """
        sequences = read_sequences(X, y, self._roles())
        if not isinstance(X, SequenceSet):
            require_used(self, holds_columns(X), sequences)
        return sequences

    def _roles(self) -> SequenceRoles:
        check_columns_named(self, "id", "time", "target", "group")
        columns = self.id, self.time, self.target, as_names(self.features)
        return SequenceRoles(*columns, bool(self.wide), self.steps, group=self.group, gaps=bool(self.gaps))

    def read_again(self, X: Any, y: Any = None) -> SequenceSet:
        """Read data like those of the training, by the columns that were found then.

        Raises:
            DataError: for data that cannot be used, or that are of another kind.
        """
        if not hasattr(self, "model_"):
            raise not_fitted(type(self).__name__)
        roles = self.roles_
        if hasattr(X, "columns") and hasattr(X, "to_numpy") and not (roles.id or roles.wide or roles.token):
            X = X.to_numpy()  # the training was on arrays: columns of a frame are taken in their order
        self._check_columns(X, roles, reset=False)
        if isinstance(X, SequenceSet):
            return remeasured(self.read(X, y), roles.gap_unit)
        flat_frame = roles.wide and not self.wide and not isinstance(X, str | Path)
        if flat_frame and not hasattr(X, "columns"):
            roles = replace(roles, features=())  # an array has no names for columns
        return read_sequences(X, y, roles, again=True)

    def _check_columns(self, X: Any, roles: SequenceRoles, *, reset: bool) -> None:
        """Remember the columns of data that have features and nothing else, or compare with those remembered.

        Such are arrays, an array written as lists of numbers in `fit`, and frames that were given with y beside them;
        other frames may come without their labels.
        """
        if reset:
            vars(self).pop("n_features_in_", None)
            vars(self).pop("feature_names_in_", None)
            X = as_array(X)
        if isinstance(X, str | Path | SequenceSet | list | tuple) or hasattr(X, "toarray"):
            return
        if hasattr(X, "columns"):
            features_only = roles.wide and not self.wide and roles.target is None
        else:
            features_only = len(shape_of(X)) in (2, 3)
        if features_only:
            check_columns(self, X, reset=reset)

    # ------------------------------------------------------------ fit

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        groups: Any = None,
        watch: Callable[[Progress], None] | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: float = 10.0,
        report: bool | str | Path = False,
    ) -> Self:
        """Train on labelled sequences; a part of them is held back to stop in time.

        Args:
            X: (n, T, F) numbers; (n, T), n sequences of one feature (with `steps`, of T / steps features); a list of n
                arrays (T_i, F) or (T_i,); a frame or the path of a table, long or wide; the path of a .npy or .npz.
            y: n labels; None where the data hold them.
            groups: n names or numbers, what each sequence belongs to (a person, a machine): all sequences of one group
                are learnt from, or all are held back to stop by. Of a table, `group` names their column.
            watch: told after every epoch.
            checkpoint: a folder for the state of the training; a fit that was cut short goes on from there, with the
                result that it would have had. Remove it when it is no longer needed.
            checkpoint_every: the least seconds between two saves.
            report: an HTML file to write at the end: `explain` of what was held back to stop in time, or of all where
                nothing was; True keeps the explanation as `report_`.

        Raises:
            InputError: for an argument or for data that cannot be used.
            TrainingError: if the loss stops being a number.
        """
        self._check()
        require_place(report)
        sequences = self._grouped(self._labelled(X, y), groups)
        self._check_columns(X, sequences.roles, reset=not isinstance(X, SequenceSet))
        labels = np.asarray(sequences.labels)
        targets = self._targets(labels, True)
        self._learn(sequences, targets, None, watch, checkpoint, checkpoint_every)
        if report:
            held = self._hold(sequences)[1]
            part = sequences.pick(held) if len(held) else sequences
            told = "the part held back to stop in time" if len(held) else "all of which it was trained on"
            sequences = replace(part, source=f"{sequences.source}, {told}")
            keep_report(self, Explanation(self._explained(sequences)), report)
        return self

    def _hold(self, sequences: SequenceSet) -> tuple[np.ndarray, np.ndarray]:
        """Rows to learn from, and rows to stop by: none where they would be too few, and folds take their place."""
        if self.validation:
            require_groups(sequences, 2, "of which one is held back to stop in time", "validation=0 (--validation 0)")
        rows, held = hold_back(self.strata(sequences), self.validation, self.seed, sequences.groups)
        # A group may be far more than the share: folds learn from all of them.
        far_more = sequences.groups is not None and len(held) > 2 * self.validation * len(sequences)
        if len(held) < _FEWEST_VALIDATED or far_more:
            return np.arange(len(sequences)), np.array([], dtype=np.int64)
        return rows, held

    def _labelled(self, X: Any, y: Any) -> SequenceSet:
        if y is None and (isinstance(X, np.ndarray | list) or hasattr(X, "toarray")):
            raise InputError(
                f"This {type(self).__name__} requires y to be passed, but the target y is None; "
                "give a label for each sequence"
            )
        sequences = self.read(X, None if y is None else self._clean(y))
        if sequences.labels is None:
            raise InputError(
                f"{sequences.source}: expected a label for each sequence, found none; name its column with target "
                "(--target), or give y"
            )
        if sequences.per_step:
            name = sequences.roles.target or "y"
            raise InputError(
                f"{sequences.source}: expected one label a sequence in {name!r}, got several within a sequence; "
                "use SequenceTagger (--task tag) for a label a step, or name another column"
            )
        if sequences.roles.wide and not sequences.flat:
            sequences = replace(sequences, flat=True)
        return sequences

    def _grouped(self, sequences: SequenceSet, groups: Any) -> SequenceSet:
        """The sequences with the groups that were given beside them, if any."""
        if groups is None:
            return sequences
        if self.group is not None:
            raise InputError(f"groups: expected none beside group={self.group!r}, which names their column, got both")
        return with_groups(sequences, groups)

    def _more(self, X: Any, y: Any, groups: Any) -> SequenceSet:
        """Labelled sequences for `partial_fit`; what the first call measured is not measured anew."""
        unit = self.roles_.gap_unit if hasattr(self, "model_") else None
        return self._grouped(remeasured(self._labelled(X, y), unit), groups)

    def _clean(self, y: Any) -> Any:
        from cellgate.estimators.protocol import one_column

        return one_column(y)

    def _learn(
        self,
        sequences: SequenceSet,
        targets: np.ndarray,
        start: SequenceNetwork | None,
        watch: Callable[[Progress], None] | None,
        checkpoint: str | Path | None,
        checkpoint_every: float,
    ) -> Self:
        if sequences.lengths.max(initial=0) == 0:
            raise InputError(f"{sequences.source}: expected sequences with a step or more, got none")
        rows, held = self._hold(sequences)

        def made(learnt: np.ndarray, stopping: np.ndarray) -> tuple[SequenceNetwork, HeldObjective]:
            data = self._prepare(sequences, learnt if start is None else None)
            objective = self._objective(data, targets, learnt, stopping)
            return (self._build(sequences) if start is None else copy.deepcopy(start)), objective

        model, objective = made(rows, held)
        settings = training_settings(self.get_params(), len(rows))
        identity = "" if checkpoint is None else fingerprint(self, sequences, start, settings, model)

        def saved(stage: str) -> Checkpoint | None:
            if checkpoint is None:
                return None
            return Checkpoint(Path(checkpoint) / f"{stage}.safetensors", identity, checkpoint_every)

        work = 3.0 * sum(w.numel() for w in model.lstm.parameters()) * min(self.batch_size, len(rows))
        parts = []
        if not len(held) and self.validation:
            parts = folds(self.strata(sequences), sequences.lengths, self.seed, sequences.groups)
        with threads_for(work * int(sequences.lengths.max())):
            if parts:
                model, record = fit_in_folds(made, parts, settings, watch, saved)
            else:
                record = train(model, objective, settings, watch, saved("training"))
        self.model_, self.record_, self.settings_, self.metrics_ = model, record, settings, {}
        self.source_, self.roles_ = sequences.source, sequences.roles
        if sequences.flat and not sequences.roles.wide:
            self.roles_ = replace(self.roles_, wide=False)
        return self

    def _build(self, sequences: SequenceSet) -> SequenceNetwork:
        steps = int(sequences.lengths.sum())
        hidden = self.hidden_size or (64 if steps < 20_000 else 128)
        with Draws(self.seed).turn():
            return SequenceNetwork(
                len(self.encoding_.names),
                self._outputs(),
                hidden,
                self.num_layers,
                self.readout,
                self.bidirectional,
                self.dropout,
                memory=int(np.quantile(sequences.lengths, 0.9)),
            )

    def _check(self) -> None:
        for name in ("num_layers", "batch_size"):
            expect(name, getattr(self, name), "a whole number of 1 or more", is_count)
        for name in ("steps", "hidden_size", "max_epochs", "patience"):
            value = getattr(self, name)
            if value is not None:
                expect(name, value, "a whole number of 1 or more, or None", is_count)
        expect("readout", self.readout, "'last' or 'mean'", lambda v: v in ("last", "mean"))
        expect("dropout", self.dropout, "a share from 0 to below 1", lambda v: 0 <= v < 1)
        expect("validation", self.validation, "a share from 0 to below 1", lambda v: 0 <= v < 1)
        expect("learning_rate", self.learning_rate, "a number above 0", lambda v: v > 0)
        check_seconds(self.max_seconds)
        check_seed(self.seed)

    # ------------------------------------------------------------ using it

    def remarks(self, X: Any) -> list[str]:
        """What of data is passed over or counted as wrong, one line each.

        Words, gaps and labels that the training did not have.

        Raises:
            DataError: for sequences unlike those trained on.
        """
        return remarks(self, self.read_again(X))

    def encode(self, X: Any) -> EncodedSequences:
        """Sequences just as the network reads them: ``model_(encoded.x, lengths=encoded.lengths)`` answers for them.

        Traces and gradients may be taken of that call.
        """
        sequences = self.read_again(X)
        data = self._resident(sequences)
        x, lengths = data.batch(torch.arange(len(sequences)))
        return EncodedSequences(x, lengths, self.encoding_.names, sequences.ids)

    def _prepare(self, sequences: SequenceSet, rows: np.ndarray | None) -> ResidentSequences:
        """Resident data; with `rows`, the scaling is found on them."""
        if rows is not None:
            self.encoding_ = FeatureEncoding.fit(sequences.pick(rows))
        return self._resident(sequences)

    def _resident(self, sequences: SequenceSet) -> ResidentSequences:
        return ResidentSequences(torch.from_numpy(self.encoding_.encode(sequences)), sequences.lengths)

    def _answers(self, X: Any) -> tuple[SequenceSet, np.ndarray]:
        """The sequences as read, and the (S, outputs) answers of the network."""
        sequences = self.read_again(X)
        return sequences, self._resident(sequences).answers(self.model_)

    # ------------------------------------------------------------ explain

    def explain(
        self, X: Any, y: Any = None, *, out: str | Path | None = None, figures: str | Path | None = None
    ) -> Explanation:
        """Open the model: what it looked at, what it remembers, whether it can be trusted, as one page.

        Args:
            X: sequences to look at, as `fit` takes them; best some that it was not trained on.
            y: their labels, where the data do not hold them; without any, nothing is said of right and wrong.
            out: an HTML file to write.
            figures: a folder for the pictures, as SVG and, with the extra "figures", as PNG.

        Returns:
            An Explanation: `html`, `save(path)`, `save_figures(folder)`, and `report`, the numbers behind it.

        Raises:
            DataError: for sequences unlike those trained on.
        """
        sequences = self.read_again(X, y)
        require_examples(int((sequences.lengths > 0).sum()), "sequence with steps", sequences.source)
        return deliver(self._explained(sequences), out, figures)

    def _explained(self, sequences: SequenceSet) -> Report:
        raise NotImplementedError

    # ------------------------------------------------------------ save and load

    def save(self, path: str | Path) -> None:
        """Write the model folder: see cellgate.estimators.folder for what is in it."""
        if not hasattr(self, "model_"):
            raise not_fitted(type(self).__name__)
        save_sequences(self, path)

    @classmethod
    def _from_folder(cls, config: dict[str, Any], files: dict[str, Any]) -> Self:
        return restored(cls, config, files)
