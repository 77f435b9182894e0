"""What a label or a feature is measured in makes no difference, and a constant is one in every unit."""

import numpy as np
import pytest

from cellgate import SequenceClassifier, SequenceRegressor
from cellgate.data.features import FeatureEncoding
from cellgate.data.sequences import read_sequences

X = np.random.default_rng(0).normal(size=(60, 6, 1))
UNITS = [2.0**-80, 2.0**-40, 2.0**40]  # powers of two change no digit


@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_of_a_feature_makes_no_difference(unit):
    def fitted(x):
        return SequenceClassifier(hidden_size=4, max_epochs=3).fit(x, X[:, -1, 0] > 0).predict_proba(x)

    assert np.array_equal(fitted(X * unit), fitted(X))


@pytest.mark.parametrize("unit", UNITS)
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
