"""scikit-learn's digits (8 x 8 pictures of handwritten digits) as sequences of eight rows.

Every fifth picture, drawn with a fixed seed, is kept out. Defaults were chosen on parts of the other four fifths.
"""

from __future__ import annotations

from benchmarks.accuracy.row import Outcome, Row
from cellgate import SequenceClassifier


def _run() -> Outcome:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    X, X_test, y, y_test = train_test_split(digits.images, digits.target, test_size=0.2, random_state=0)
    classifier = SequenceClassifier().fit(X, y)
    metrics = classifier.evaluate(X_test, y_test)
    return Outcome(
        metrics["cellgate"],
        metrics[classifier.BASELINE],
        met=metrics["cellgate"]["accuracy"] >= 0.975,
        details={
            "epochs": classifier.record_.epochs,
            "best epoch": classifier.record_.best_epoch,
            "pictures kept out": len(y_test),
        },
    )


ROW = Row("digits", "scikit-learn digits, 8 steps of 8", "accuracy >= .975", 60, _run)
