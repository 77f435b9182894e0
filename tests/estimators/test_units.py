"""What a label or a feature is measured in makes no difference, and a constant is one in every unit."""

import numpy as np
import pytest

from cellgate import SequenceClassifier, SequenceRegressor
from cellgate.data.features import FeatureEncoding, far_off
from cellgate.data.sequences import read_sequences

X = np.random.default_rng(0).normal(size=(60, 6, 1))
UNITS = [2.0**-80, 2.0**-40, 2.0**40]  # powers of two change no digit


@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_of_a_feature_makes_no_difference(unit):
    def fitted(x):
        return SequenceClassifier(hidden_size=4, max_epochs=3).fit(x, X[:, -1, 0] > 0).predict_proba(x)

    assert np.array_equal(fitted(X * unit), fitted(X))


@pytest.mark.parametrize("unit", [*UNITS, 2.0**-900])
def test_the_unit_of_a_label_makes_no_difference(unit):
    def fitted(y):
        return SequenceRegressor(hidden_size=4, max_epochs=3).fit(X, y).predict(X)

    assert np.array_equal(fitted(X[:, -1, 0] * unit), fitted(X[:, -1, 0]) * unit)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-30, 1e30])
def test_a_constant_is_one_in_every_unit(value):
    x = np.full((5, 7, 1), value)
    x[2] *= 1 + 1e-15
    encoding = FeatureEncoding.fit(read_sequences(x))
    assert encoding.spread.tolist() == [1.0]


@pytest.mark.parametrize("stray", [1e30, -1e9, 1e6])
def test_one_value_far_off_leaves_the_others_apart(stray):
    x = X.copy()
    x[3, 2] = stray
    encoding = FeatureEncoding.fit(read_sequences(x))
    rest = np.delete(x.reshape(-1), 3 * 6 + 2)
    assert encoding.spread[0] == pytest.approx(rest.std())
    assert encoding.mean[0] == pytest.approx(rest.mean())
    assert encoding.encode(read_sequences(X)).std() == pytest.approx(1, abs=0.02)


def test_values_that_differ_as_values_do_are_not_far_off():
    random = np.random.default_rng(1)
    heavy = np.exp(2 * random.normal(size=5000))
    rare = (np.arange(5000) % 1000 == 0) * 1.0
    spent = np.where(random.random(5000) < 0.01, 1e6 * random.random(5000), 0)
    for values in (heavy, rare, spent, X.reshape(-1), np.array([1.0]), np.array([]), np.array([0.0, 1e30])):
        assert not far_off(values).any()
    encoding = FeatureEncoding.fit(read_sequences(heavy.reshape(50, 100)))
    assert encoding.spread[0] == pytest.approx(heavy.std())


@pytest.mark.parametrize("value", [0.0, 7.0, 1e-5, -1e12])
def test_labels_that_are_all_the_same_are_answered_exactly(value, tmp_path):
    fitted = SequenceRegressor(hidden_size=4, max_epochs=3).fit(X, np.full(60, value))
    assert (fitted.predict(X) == value).all()
    assert fitted.score(X, np.full(60, value)) == 1
    fitted.save(tmp_path / "model")
    again = SequenceRegressor.load(tmp_path / "model")
    assert (again.predict(X) == value).all()
    assert again.explain(X, np.full(60, value)).html
    # What is learnt later has a scale of its own.
    later = again.partial_fit(X, X.mean((1, 2)) * 5 + 3)
    assert later.center_ == pytest.approx((X.mean((1, 2)) * 5 + 3).mean())
    assert len(set(later.predict(X).tolist())) > 10
