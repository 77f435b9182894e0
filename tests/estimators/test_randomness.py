"""Every training draws random numbers of its own, whatever is trained beside it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import cellgate
from cellgate.training.randomness import Draws

random = np.random.default_rng(0)
X = random.normal(size=(40, 6, 2))
Y = (X[:, 0, 0] > 0).astype(int)
WORDS = [["the", "dog", "barks"], ["a", "cat"]] * 20
TAGS = [["D", "N", "V"], ["D", "N"]] * 20
TEXT = "one two three four " * 40


def _classifier() -> list[np.ndarray]:
    model = cellgate.SequenceClassifier(hidden_size=4, max_epochs=2, dropout=0.3).fit(X, Y)
    return [model.predict_proba(X), np.array(model.score(X, Y)), model.encode(X[:2]).x.numpy()]


def _regressor() -> list[np.ndarray]:
    model = cellgate.SequenceRegressor(hidden_size=4, max_epochs=2).fit(X, X.sum((1, 2)))
    return [model.partial_fit(X, X.sum((1, 2))).predict(X)]


def _tagger() -> list[np.ndarray]:
    return cellgate.SequenceTagger(hidden_size=4, max_epochs=2).fit(WORDS, TAGS).predict_proba(WORDS[:2])


def _language_model() -> list[np.ndarray]:
    model = cellgate.LanguageModel(hidden_size=4, max_epochs=2).fit(TEXT)
    drawn = model.generate("one", length=20, seed=1)
    return [model.predict_proba("one t"), np.array([ord(letter) for letter in drawn]), np.array(model.score(TEXT))]


def _forecaster() -> list[np.ndarray]:
    model = cellgate.Forecaster(horizon=3, max_epochs=1, hidden_size=4).fit("airline")
    return [model.forecast().median, model.stream().push(417.0).median]


EVERY = {fit.__name__: fit for fit in (_classifier, _regressor, _tagger, _language_model, _forecaster)}


@pytest.mark.parametrize("fit", EVERY)
def test_trainings_in_threads_do_not_share_random_numbers(fit: str) -> None:
    expected = EVERY[fit]()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: EVERY[fit](), range(6)))
    for got in results:
        for one, other in zip(expected, got, strict=True):
            # What is added up in another order differs in the last digit; other draws differ in the first.
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_draws_go_on_where_they_left_off_and_leave_the_callers_alone() -> None:
    torch.manual_seed(7)
    expected = torch.randn(6)
    torch.manual_seed(3)
    outside = torch.randn(4)

    torch.manual_seed(3)
    draws = Draws(7)
    with draws.turn():
        first = torch.randn(2)
    between = torch.randn(2)
    with draws.turn():
        rest = torch.randn(4)
    torch.testing.assert_close(torch.cat([between, torch.randn(2)]), outside, rtol=0, atol=0)
    torch.manual_seed(7)
    torch.testing.assert_close(torch.cat([first, rest]), torch.cat([torch.randn(2), torch.randn(4)]), rtol=0, atol=0)
    assert torch.equal(first, expected[:2])
