"""SequenceClassifier: from labelled sequences to the class of others."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cellgate.data.sequences import SequenceSet, as_labels, label_array
from cellgate.errors import InputError
from cellgate.estimators.classes import all_classes, class_codes, restored_classes
from cellgate.estimators.explain_answers import ClassAnswers
from cellgate.estimators.explain_sequences import explain_sequences
from cellgate.estimators.sequence_estimator import SequenceEstimator
from cellgate.estimators.unlike import labels_missing
from cellgate.report.model import Report
from cellgate.tasks.classify import BASELINE, ClassifyObjective, classify_scores
from cellgate.tasks.sequence_batches import ResidentSequences
from cellgate.training import Progress


class SequenceClassifier(SequenceEstimator):
    """Says which class a whole sequence belongs to. Sequences may differ in length and have gaps (NaN).

    A scikit-learn classifier in all but inheritance: it works in pipelines, grid searches and cross-validation, on
    (n, T, F) arrays, on flat (n, T) ones, on lists of ragged arrays; and by itself on tables and files.

    Arguments are taken as they are and checked when `fit` uses them; None means found from the data.

    Args:
        id: of a long table, the column that tells sequences apart.
        time: the column to sort the steps of a sequence by.
        target: the column of labels.
        group: the column of what sequences belong to, a person or a machine: those of one group are all learnt from, or
            all held back to stop by (`fit` takes them as `groups`, too).
        features: the columns to read; all others by default.
        gaps: of a long table with times, whether the time since the step before is read as well, its logarithm: for
            events that come at any time.
        wide: whether every row of a table is a whole sequence.
        steps: how many steps a flat sequence is cut into; as many as columns by default.
        hidden_size: units of the LSTM in each direction; 64 or 128 by the amount of data.
        num_layers: layers of the LSTM.
        bidirectional: read from both ends.
        readout: "last" reads the last state of each direction, "mean" the mean over the steps.
        dropout: between layers and before the readout.
        learning_rate: the highest of the schedule.
        batch_size: sequences in a step.
        max_epochs: the most passes over the data.
        max_seconds: the most training time.
        patience: epochs without improvement before it stops.
        validation: the share of the sequences kept for stopping at the right time; where that is under twenty, five
            models with a fifth held back each find how long to train, and a last one learns from all; 0 for neither.
        seed: of weights, shuffling, dropout and of what is held back; equal seeds give equal runs.

    Attributes:
        classes_: (C,) the classes, ascending.
        model_: the trained network.
        encoding_: how features become its input.
        record_: how the training went.
        metrics_: what `evaluate` found last.
        n_features_in_: columns of the array it was fitted to.
        feature_names_in_: their names, where a frame was given with y beside it.

    Example:
        >>> import numpy as np, cellgate
        >>> rising = np.linspace(0, 1, 12) + np.zeros((40, 1))
        >>> X, y = np.concatenate([rising, rising[:, ::-1]]), ["up"] * 40 + ["down"] * 40
        >>> classifier = cellgate.SequenceClassifier(hidden_size=8, max_epochs=20).fit(X, y)
        >>> classifier.predict(X[[0, -1]]).tolist()
        ['up', 'down']
    """

    KIND = "classifier"
    BASELINE = BASELINE
    _estimator_type = "classifier"

    def __init__(
        self,
        *,
        id: str | None = None,
        time: str | None = None,
        target: str | None = None,
        group: str | None = None,
        features: str | Sequence[str] = (),
        gaps: bool = False,
        wide: bool = False,
        steps: int | None = None,
        hidden_size: int | None = None,
        num_layers: int = 1,
        bidirectional: bool = True,
        readout: str = "last",
        dropout: float = 0.4,
        learning_rate: float = 5e-3,
        batch_size: int = 32,
        max_epochs: int | None = None,
        max_seconds: float | None = None,
        patience: int | None = None,
        validation: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.id = id
        self.time = time
        self.target = target
        self.group = group
        self.features = features
        self.gaps = gaps
        self.wide = wide
        self.steps = steps
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.readout = readout
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.max_seconds = max_seconds
        self.patience = patience
        self.validation = validation
        self.seed = seed

    # ------------------------------------------------------------ what a label is

    def _targets(self, labels: np.ndarray, fresh: bool) -> np.ndarray:
        if labels.dtype.kind == "f" and (labels != np.round(labels)).any():
            raise InputError(
                f"Unknown label type: continuous. Expected classes, got numbers such as {labels[0]:g}; "
                "use SequenceRegressor (--task regress) for numbers"
            )
        if fresh:
            self.classes_ = all_classes(labels)
        codes = class_codes(self.classes_, labels)
        if (codes < 0).any():
            unseen = labels[codes < 0].tolist()[0]
            raise InputError(f"expected classes among {self.classes_.tolist()}, got {unseen!r}; name all in `classes`")
        return codes

    def _outputs(self) -> int:
        return len(self.classes_)

    def _objective(
        self, data: ResidentSequences, targets: np.ndarray, train: np.ndarray, validation: np.ndarray
    ) -> ClassifyObjective:
        self.class_counts_ = np.bincount(targets, minlength=len(self.classes_))
        return ClassifyObjective(data, targets, train, validation, len(self.classes_))

    def _answer_config(self) -> dict[str, Any]:
        return {
            "classes": self.classes_.tolist(),
            "kind": self.classes_.dtype.kind,
            "counts": self.class_counts_.tolist(),
        }

    def _restore_answers(self, config: dict[str, Any]) -> None:
        self.classes_ = restored_classes(config["classes"], config["kind"])
        self.class_counts_ = np.array(config["counts"])

    # ------------------------------------------------------------ learn more

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        classes: Any = None,
        *,
        groups: Any = None,
        watch: Callable[[Progress], None] | None = None,
    ) -> SequenceClassifier:
        """Train on from the weights there are, with the scaling and the classes of the first call.

        Args:
            X: sequences, as `fit` takes them.
            y: labels.
            classes: all classes there will be; in the first call, where `y` does not have them all. Later ones may
                give the same again.
            groups: as `fit` takes them.
            watch: told after every epoch.

        Raises:
            InputError: as `fit` raises, and for a class that the first call did not know.
        """
        self._check()
        sequences = self._more(X, y, groups)
        first = not hasattr(self, "model_")
        self._check_columns(X, sequences.roles, reset=first)
        labels = np.asarray(sequences.labels)
        if classes is not None:
            named = all_classes(as_labels(label_array(classes)))
            if not first and (len(named) != len(self.classes_) or (class_codes(self.classes_, named) < 0).any()):
                raise InputError(
                    f"classes: expected those of the first call, {self.classes_.tolist()}, got {named.tolist()}; "
                    "leave them out, or use fit"
                )
            self.classes_ = named if first else self.classes_
        targets = self._targets(labels, first and classes is None)
        start, before = (None, 0) if first else (copy.deepcopy(self.model_), self.class_counts_)
        self._learn(sequences, targets, start, watch, None, 10.0)
        self.class_counts_ = self.class_counts_ + before  # the baseline knows what the model has learnt from
        return self

    # ------------------------------------------------------------ predict

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, C) the probability of each class, in the order of classes_.

        Raises:
            DataError: for sequences unlike those trained on.
        """
        return _softmax(self._answers(X)[1])

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """(n, C) the logarithm of predict_proba."""
        return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """(n,) the most probable class of each sequence."""
        return self.classes_[self._answers(X)[1].argmax(1)] if hasattr(self, "model_") else self._answers(X)[1]

    def table(self, X: Any) -> dict[str, np.ndarray]:
        """A row a sequence: unique_id, prediction, and the probability of every class."""
        sequences, answers = self._answers(X)
        shares = _softmax(answers)
        return {
            "unique_id": np.array(sequences.ids, dtype=object),
            "prediction": self.classes_[shares.argmax(1)],
            **{f"p({name})": shares[:, k] for k, name in enumerate(self.classes_.tolist())},
        }

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The share of sequences that are classified right."""
        sequences = self.read_again(X, y)
        right = self._actual(sequences) == self._resident(sequences).answers(self.model_).argmax(1)
        return float(np.average(right, weights=sample_weight))

    def evaluate(self, X: Any, y: Any = None) -> dict[str, Any]:
        """Scores beside those of the majority class; kept in `metrics_`.

        Returns:
            {"sequences": n, "cellgate": {"accuracy": ..., "F1": ..., "log loss": ...}, "majority class": {...}}.
        """
        sequences = self.read_again(X, y)
        actual = self._actual(sequences)
        shares = _softmax(self._resident(sequences).answers(self.model_))
        prior = np.tile(self.class_counts_ / self.class_counts_.sum(), (len(actual), 1))
        self.metrics_ = {
            "sequences": len(actual),
            "cellgate": classify_scores(actual, shares),
            BASELINE: classify_scores(actual, prior),
        }
        return self.metrics_

    def _explained(self, sequences: SequenceSet) -> Report:
        return explain_sequences(self, sequences, ClassAnswers(self, sequences))

    def require_labels(self, sequences: SequenceSet, column: str | None) -> None:
        """Refuse sequences whose labels cannot be compared with; `column` is that of the training's labels."""
        if sequences.labels is None or sequences.per_step:
            raise labels_missing(sequences, "a label for each sequence", column)

    def _actual(self, sequences: SequenceSet) -> np.ndarray:
        self.require_labels(sequences, self.roles_.target)
        return class_codes(self.classes_, np.asarray(sequences.labels))


def _softmax(scores: np.ndarray) -> np.ndarray:
    shifted = np.exp(scores - scores.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)
