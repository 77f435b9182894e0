"""SequenceRegressor: from sequences with a number each to the number of others."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cellgate.data.numbers import LARGEST
from cellgate.data.sequences import SequenceSet
from cellgate.errors import InputError
from cellgate.estimators.explain_answers import NumberAnswers
from cellgate.estimators.explain_sequences import explain_sequences
from cellgate.estimators.sequence_estimator import SequenceEstimator
from cellgate.estimators.unlike import labels_missing
from cellgate.report.model import Report
from cellgate.tasks.regress import BASELINE, RegressObjective, regress_scores
from cellgate.tasks.sequence_batches import ResidentSequences
from cellgate.training import Progress


class SequenceRegressor(SequenceEstimator):
    """Predicts one number for a whole sequence. Sequences may differ in length and have gaps (NaN).

    A scikit-learn regressor in all but inheritance; input as SequenceClassifier takes it.

    Arguments are taken as they are and checked when `fit` uses them; None means found from the data.

    Args:
        id: of a long table, the column that tells sequences apart.
        time: the column to sort the steps of a sequence by.
        target: the column of the number to predict.
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
        model_: the trained network; it answers in standard deviations from the mean.
        center_: the mean of the labels in training.
        spread_: their standard deviation; 0 where all are the same, which is then the answer for every sequence.
        encoding_: how features become the network's input.
        record_: how the training went.
        metrics_: what `evaluate` found last.
        n_features_in_: columns of the array it was fitted to.
        feature_names_in_: their names, where a frame was given with y beside it.

    Example:
        >>> import numpy as np, cellgate
        >>> X = np.random.default_rng(0).random((200, 10))
        >>> regressor = cellgate.SequenceRegressor(hidden_size=8, max_epochs=30).fit(X, X.sum(1))
        >>> regressor.score(X, X.sum(1)) > 0.8
        True
    """

    KIND = "regressor"
    BASELINE = BASELINE
    _estimator_type = "regressor"

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
        dropout: float = 0.0,
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
        numbers = self._numbers(labels)
        if fresh or not self.spread_:
            largest = float(np.abs(numbers).max())
            unit = np.ldexp(1.0, np.frexp(largest)[1])  # a power of two; squares of very small numbers would be 0
            self.center_, self.spread_ = float(numbers.mean()), float((numbers / unit).std() * unit)
            if self.spread_ <= 1e-12 * largest:
                self.center_, self.spread_ = float(numbers[0]), 0.0
        return (numbers - self.center_) / (self.spread_ or 1.0)

    @staticmethod
    def _numbers(labels: np.ndarray) -> np.ndarray:
        try:
            numbers = labels.astype(np.float64)
        except ValueError as error:
            raise InputError(
                f"expected numbers as labels, got words ({error}); use SequenceClassifier (--task classify)"
            ) from None
        if not np.isfinite(numbers).all():
            raise InputError("Input y contains NaN or infinity; expected a finite number for each sequence")
        if (np.abs(numbers) > LARGEST).any():
            raise InputError(
                f"expected numbers up to {LARGEST:.0e} as labels, got {numbers[np.argmax(np.abs(numbers))]:g}; "
                "leave that sequence out, or change the unit"
            )
        return numbers

    def _outputs(self) -> int:
        return 1

    def _objective(
        self, data: ResidentSequences, targets: np.ndarray, train: np.ndarray, validation: np.ndarray
    ) -> RegressObjective:
        return RegressObjective(data, targets, train, validation)

    def _answer_config(self) -> dict[str, Any]:
        return {"center": self.center_, "spread": self.spread_}

    def _restore_answers(self, config: dict[str, Any]) -> None:
        self.center_, self.spread_ = float(config["center"]), float(config["spread"])

    # ------------------------------------------------------------ learn more

    def partial_fit(
        self, X: Any, y: Any = None, *, groups: Any = None, watch: Callable[[Progress], None] | None = None
    ) -> SequenceRegressor:
        """Train on from the weights there are, with the scaling of the first call whose labels were not all the same.

        Raises:
            InputError: as `fit` raises.
        """
        self._check()
        sequences = self._more(X, y, groups)
        first = not hasattr(self, "model_")
        self._check_columns(X, sequences.roles, reset=first)
        targets = self._targets(np.asarray(sequences.labels), first)
        return self._learn(sequences, targets, None if first else copy.deepcopy(self.model_), watch, None, 10.0)

    # ------------------------------------------------------------ predict

    def predict(self, X: Any) -> np.ndarray:
        """(n,) float64, the number of each sequence.

        Raises:
            DataError: for sequences unlike those trained on.
        """
        return self._unscaled(self._answers(X)[1])

    def table(self, X: Any) -> dict[str, np.ndarray]:
        """A row a sequence: unique_id and prediction."""
        sequences, answers = self._answers(X)
        return {"unique_id": np.array(sequences.ids, dtype=object), "prediction": self._unscaled(answers)}

    def _unscaled(self, answers: np.ndarray) -> np.ndarray:
        return answers[:, 0] * self.spread_ + self.center_

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """R2: the share of the labels' variance that is explained, 1 at best.

        As scikit-learn's r2_score has it, 0 where all labels are the same and are missed, NaN for a single one.
        """
        sequences = self.read_again(X, y)
        actual = self._actual(sequences)
        error = (self._unscaled(self._resident(sequences).answers(self.model_)) - actual) ** 2
        middle = np.average(actual, weights=sample_weight)
        missed = np.average(error, weights=sample_weight)
        spread = np.average((actual - middle) ** 2, weights=sample_weight)
        if len(actual) < 2:
            return float("nan")
        return float(1 - missed / spread) if spread > 0 else float(missed == 0)

    def evaluate(self, X: Any, y: Any = None) -> dict[str, Any]:
        """Scores beside those of the training's mean; kept in `metrics_`.

        Returns:
            {"sequences": n, "cellgate": {"RMSE": ..., "MAE": ..., "R2": ...}, "mean": {...}}.
        """
        sequences = self.read_again(X, y)
        actual = self._actual(sequences)
        self.metrics_ = {
            "sequences": len(actual),
            "cellgate": regress_scores(actual, self._unscaled(self._resident(sequences).answers(self.model_))),
            BASELINE: regress_scores(actual, np.full(len(actual), self.center_)),
        }
        return self.metrics_

    def _explained(self, sequences: SequenceSet) -> Report:
        return explain_sequences(self, sequences, NumberAnswers(self, sequences))

    def require_labels(self, sequences: SequenceSet, column: str | None) -> None:
        """Refuse sequences whose labels cannot be compared with; `column` is that of the training's labels."""
        if sequences.labels is None or sequences.per_step:
            raise labels_missing(sequences, "a number for each sequence", column)
        self._numbers(np.asarray(sequences.labels))

    def _actual(self, sequences: SequenceSet) -> np.ndarray:
        self.require_labels(sequences, self.roles_.target)
        return self._numbers(np.asarray(sequences.labels))
