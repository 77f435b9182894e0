"""How a report puts the answers of a classifier and of a regressor of whole sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

from cellgate.data.sequences import SequenceSet
from cellgate.estimators.explaining import better, scores_said
from cellgate.report.model import Line, Matrix, Panel, TableRows

if TYPE_CHECKING:
    from cellgate.estimators.classifier import SequenceClassifier
    from cellgate.estimators.regressor import SequenceRegressor

__all__ = ["Answers", "ClassAnswers", "NumberAnswers", "confusions"]

_LINES = 5
_LISTED = 12
_CLASSES = 40

Asked = tuple[Callable[[Tensor], Tensor], str, str, Callable[[float], float]]


class Answers(Protocol):
    """What a report asks of an estimator's answers."""

    title: str
    output: str

    def choose(self, there: np.ndarray) -> list[int]:
        """Which of the sequences to look at closely."""
        ...

    def asked(self, k: int) -> Asked:
        """Which number is attributed: (N, O) to (N,), in words, its unit, and how it is shown in it."""
        ...

    def course(self, k: int, answers: np.ndarray) -> tuple[tuple[Line, ...], str]:
        """Curves of the (T, O) answers as the sequence goes on, and a note."""
        ...

    def findings(self) -> list[str]:
        """The main findings."""
        ...

    def panels(self) -> tuple[Panel, ...]:
        """What the task adds."""
        ...


def log_odds(scores: Tensor, code: int) -> Tensor:
    """(N, C) scores to the (N,) log-odds of one class: log p / (1 - p)."""
    others = [k for k in range(scores.shape[-1]) if k != code]
    return scores[..., code] - scores[..., others].logsumexp(-1)


def confusions(names: list[str], actual: np.ndarray, given: np.ndarray, what: str) -> Panel | None:
    """What was taken for what; the most frequent classes where there are many, None where no class is known.

    Args:
        names: of the classes.
        actual: codes, below 0 for a class unknown to the model.
        given: codes.
        what: is counted, in the plural.
    """
    known = actual >= 0
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (actual[known], given[known]), 1)
    if not known.any():
        return None
    shown = np.sort(np.argsort(-(counts.sum(0) + counts.sum(1)), kind="stable")[:_CLASSES])
    wrong = int((actual != given).sum())
    off = counts * (1 - np.eye(len(names), dtype=np.int64))
    worst = np.unravel_index(int(off.argmax()), off.shape)
    said = f"; most often {names[worst[0]]!r} was taken for {names[worst[1]]!r}" if off.any() else ""
    part = f", the {len(shown)} most frequent of {len(names)} classes" if len(shown) < len(names) else ""
    return Panel(
        "confusion",
        "What was taken for what",
        f"Each row is a class as it was, each column what it was taken for{part}: "
        f"{wrong:,} of {len(actual):,} {what} are wrong{said}.",
        "why: classes that are alike, labels that are wrong and classes with few examples look the same here.",
        (Matrix(tuple(names[k] for k in shown), counts[np.ix_(shown, shown)]),),
    )


class ClassAnswers:
    """Of a SequenceClassifier.

    Args:
        classifier: a fitted one.
        sequences: those to look at, with or without labels.
    """

    def __init__(self, classifier: SequenceClassifier, sequences: SequenceSet) -> None:
        self.classifier, self.sequences = classifier, sequences
        self.names = [str(name) for name in classifier.classes_.tolist()]
        self.shares = classifier.predict_proba(sequences)
        self.given = self.shares.argmax(1)
        self.sure = self.shares.max(1)
        self.labelled = sequences.labels is not None and not sequences.per_step
        self.actual = classifier._actual(sequences) if self.labelled else None
        self.title = f"Classification of {sequences.source}"
        self.output = f"one of {len(self.names)} classes"

    def choose(self, there: np.ndarray) -> list[int]:
        """The least sure, a typical one, and the mistake that it is surest of."""
        order = there[np.argsort(self.sure[there], kind="stable")]
        right = order if self.actual is None else order[self.actual[order] == self.given[order]]
        typical = right if len(right) else order
        chosen = [int(order[0]), int(typical[len(typical) // 2])]
        if self.actual is not None:
            chosen += [int(k) for k in order[self.actual[order] != self.given[order]][-1:]]
        return list(dict.fromkeys(chosen))

    def asked(self, k: int) -> Asked:
        """The log-odds of the class that was given."""
        code = int(self.given[k])
        return lambda scores: log_odds(scores, code), f"the answer {self.names[code]!r}", "log-odds", float

    def course(self, k: int, answers: np.ndarray) -> tuple[tuple[Line, ...], str]:
        """The probability of the foremost classes, and the step from which the answer stays what it is."""
        shifted = np.exp(answers - answers.max(1, keepdims=True))
        shares = shifted / shifted.sum(1, keepdims=True)
        first = [int(self.given[k])]
        if self.actual is not None and self.actual[k] >= 0:
            first.append(int(self.actual[k]))
        shown = list(dict.fromkeys([*first, *np.argsort(-shares.max(0), kind="stable").tolist()]))[:_LINES]
        lines = tuple(Line(f"p({self.names[c]})", f"class {c % 10}", 0, shares[:, c]) for c in sorted(shown))
        top = shares.argmax(1)
        decided = int(np.flatnonzero(top != top[-1])[-1]) + 1 if (top != top[-1]).any() else 0
        note = f"{self.names[first[0]]} with {self.sure[k]:.0%}"
        if self.actual is not None:
            right = self.actual[k] == self.given[k]
            note += ", right" if right else f", wrong: it is {self._was(k)}"
        return lines, f"{note}; the answer stays the same from step {decided} of {len(top)} on"

    def _was(self, k: int) -> str:
        return str(np.asarray(self.sequences.labels)[k])

    def findings(self) -> list[str]:
        """Scores beside the baseline's."""
        said = scores_said(self.classifier, self.sequences if self.labelled else None, "sequences", self._compared)
        unsure = int((self.sure < 0.6).sum())
        said.append(f"It is less than 60 % sure of {unsure:,} of the {len(self.sure):,} sequences.")
        return said

    def _compared(self, metrics: dict[str, Any]) -> str:
        ours, base = metrics["cellgate"], metrics[self.classifier.BASELINE]
        said = better(ours["accuracy"], base["accuracy"], "accuracy", self.classifier.BASELINE, higher=True)
        if ours["log loss"] <= base["log loss"]:
            return said
        return (
            f"{said} Its log loss of {ours['log loss']:.3f} is worse than the {base['log loss']:.3f} of the "
            f"{self.classifier.BASELINE}: take its classes, not how sure it is of them."
        )

    def panels(self) -> tuple[Panel, ...]:
        """Confusions, and the least sure."""
        found = []
        if self.actual is not None:
            found.append(confusions(self.names, self.actual, self.given, "sequences"))
        rows = []
        for k in np.argsort(self.sure, kind="stable")[:_LISTED].tolist():
            second = self.names[int(np.argsort(-self.shares[k], kind="stable")[1])]
            was = (self._was(k),) if self.labelled else ()
            rows.append((self.sequences.ids[k], *was, self.names[self.given[k]], f"{self.sure[k]:.3f}", second))
        head = ("sequence", *(("is",) if self.labelled else ()), "taken for", "probability", "second")
        found.append(
            Panel(
                "unsure",
                "The least sure",
                "The sequences whose most probable class has the smallest probability.",
                "that it is right where it is sure: its probabilities were not calibrated.",
                (TableRows(head, tuple(rows), (head.index("probability"),)),),
            )
        )
        return tuple(panel for panel in found if panel is not None)


class NumberAnswers:
    """Of a SequenceRegressor.

    Args:
        regressor: a fitted one.
        sequences: those to look at, with or without labels.
    """

    def __init__(self, regressor: SequenceRegressor, sequences: SequenceSet) -> None:
        self.regressor, self.sequences = regressor, sequences
        self.given = regressor.predict(sequences)
        self.labelled = sequences.labels is not None and not sequences.per_step
        self.actual = regressor._actual(sequences) if self.labelled else None
        self.title = f"Regression on {sequences.source}"
        self.output = "one number"

    @property
    def _gap(self) -> np.ndarray:
        """By which sequences are ranked: the error, or the distance from the mean where errors are not known."""
        return np.abs(self.given - (self.regressor.center_ if self.actual is None else self.actual))

    def choose(self, there: np.ndarray) -> list[int]:
        """The worst and a typical one."""
        order = there[np.argsort(-self._gap[there], kind="stable")]
        return list(dict.fromkeys([int(order[0]), int(order[len(order) // 2])]))

    def _shown(self, scaled: Any) -> Any:
        return scaled * self.regressor.spread_ + self.regressor.center_

    def asked(self, k: int) -> Asked:
        """The number itself; its influences in its own unit."""
        return lambda answers: self._shown(answers[:, 0]), "the predicted number", "", float

    def course(self, k: int, answers: np.ndarray) -> tuple[tuple[Line, ...], str]:
        """The prediction if the sequence ended here, beside what it is and the mean."""
        steps = len(answers)
        lines = [Line("prediction so far", "model", 0, self._shown(answers[:, 0]))]
        lines.append(Line("mean of the training", "baseline", 0, np.full(steps, self.regressor.center_)))
        note = f"predicted {self.given[k]:.4g}"
        if self.actual is not None:
            lines.append(Line("what it is", "observed", 0, np.full(steps, self.actual[k])))
            note += f", it is {self.actual[k]:.4g}"
        return tuple(lines), note

    def findings(self) -> list[str]:
        """Scores beside the baseline's."""
        return scores_said(self.regressor, self.sequences if self.labelled else None, "sequences", self._compared)

    def _compared(self, metrics: dict[str, Any]) -> str:
        ours, base = metrics["cellgate"], metrics[self.regressor.BASELINE]
        return better(ours["RMSE"], base["RMSE"], "RMSE", f"training's {self.regressor.BASELINE}")

    def panels(self) -> tuple[Panel, ...]:
        """The largest errors."""
        if self.actual is None:
            return ()
        rows = [
            (self.sequences.ids[k], f"{self.actual[k]:.4g}", f"{self.given[k]:.4g}", f"{self._gap[k]:.4g}")
            for k in np.argsort(-self._gap, kind="stable")[:_LISTED].tolist()
        ]
        return (
            Panel(
                "worst",
                "The largest errors",
                "The sequences whose prediction is farthest from what it should be.",
                "that these sequences are hard: a wrong label shows the same way.",
                (TableRows(("sequence", "is", "predicted", "error"), tuple(rows), (1, 2, 3)),),
            ),
        )
