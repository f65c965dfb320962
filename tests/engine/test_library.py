"""The engine as a small library, by the names of `proxy.engine`."""

from __future__ import annotations

import numpy as np
import pytest

import proxy.engine as library

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4))
CODES = (X[:, 0] + 0.3 * RNG.normal(size=120) > 0).astype(np.int64)
CLASSIFIERS = [name for name in library.__all__ if name.endswith("Classifier")]
REGRESSORS = [name for name in library.__all__ if name.endswith(("Regressor", "LinearRegression"))]


@pytest.mark.parametrize("name", library.__all__)
def test_every_name_is_there(name: str) -> None:
    """What `dir` tells of can be imported."""
    assert getattr(library, name).__name__ == name
    assert name in dir(library)


def test_another_name_is_an_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'Perceptron'"):
        _ = library.Perceptron


@pytest.mark.parametrize("name", [*CLASSIFIERS, "LogisticRegression"])
def test_classifiers_work_on_arrays(name: str) -> None:
    """Fit returns self; probabilities are of each class; most rows are told right."""
    estimator = getattr(library, name)()
    assert estimator.fit(X, CODES) is estimator
    proba = estimator.predict_proba(X)
    assert proba.shape == (120, 2)
    assert np.mean(proba.argmax(axis=1) == CODES) > 0.8
    np.testing.assert_array_equal(estimator.predict(X), proba.argmax(axis=1))


@pytest.mark.parametrize("name", [*REGRESSORS, "PolynomialRegression"])
def test_regressors_work_on_arrays(name: str) -> None:
    """Most of a line's variance is explained."""
    y = 3.0 * X[:, 0] - X[:, 2]
    found = getattr(library, name)().fit(X, y).predict(X)
    assert np.corrcoef(found, y)[0, 1] > 0.8


@pytest.mark.parametrize("name", ["KMeans", "DBSCAN"])
def test_clusters_have_labels(name: str) -> None:
    """Each training row has one."""
    assert getattr(library, name)().fit(X).labels_.shape == (120,)
