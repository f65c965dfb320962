"""Training as a whole, with scikit-learn pipelines as the oracle."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.model_selection import split_rows
from proxy.engine.training import Progress, TrainingResult, train
from proxy.errors import NoTrainingRowsError, QueryCanceledError, UndefinedColumnError
from tests.engine.estimator_checks import fit, mixed_dataset

NEWTON = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}


def table(X: np.ndarray, y: np.ndarray) -> Dataset:
    features = tuple(
        Column(f"x{j}", FeatureKind.NUMBER, "double precision", np.ascontiguousarray(X[:, j]))
        for j in range(X.shape[1])
    )
    target = Column("y", FeatureKind.NUMBER, "double precision", y.astype(np.float64))
    return Dataset(features, target, len(y))


def clinic(n_samples: int = 400) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """Return numbers and text with NULLs: as a dataset, and as the (n, 3) objects of sklearn."""
    rng = np.random.default_rng(4)
    age = rng.normal(40, 12, n_samples)
    city = rng.integers(0, 5, n_samples)
    plan = rng.integers(0, 3, n_samples)
    signal = 0.1 * age - city + 2.0 * (plan == 1) + rng.normal(size=n_samples)
    age[rng.random(n_samples) < 0.15] = np.nan
    city[rng.random(n_samples) < 0.1] = -1
    cities, plans = ("rome", "oslo", "bern", "cork", "riga"), ("basic", "pro", "team")
    features = (
        Column("age", FeatureKind.NUMBER, "integer", age),
        Column("city", FeatureKind.CATEGORY, "text", city.astype(np.int32), cities),
        Column("plan", FeatureKind.CATEGORY, "text", plan.astype(np.int32), plans),
    )
    objects = np.empty((n_samples, 3), dtype=object)
    objects[:, 0] = age
    objects[:, 1] = [None if code < 0 else cities[code] for code in city]
    objects[:, 2] = [plans[code] for code in plan]
    target = Column("y", FeatureKind.NUMBER, "double precision", signal)
    return Dataset(features, target, n_samples), objects, signal


def pipeline(estimator: object) -> object:
    return make_pipeline(
        make_column_transformer(
            (SimpleImputer(add_indicator=True), [0]),
            (OneHotEncoder(handle_unknown="ignore"), [1, 2]),
            sparse_threshold=0,
        ),
        estimator,
    )


def raw_of(result: TrainingResult, dataset: Dataset) -> np.ndarray:
    """Return the raw matrix by looking categories up by name, as scoring does."""
    columns = []
    for column, feature in zip(dataset.features, result.model.features, strict=True):
        if column.kind is not FeatureKind.CATEGORY:
            columns.append(column.values)
            continue
        names = [None if code < 0 else column.categories[code] for code in column.values]
        columns.append(
            np.array([np.nan if n is None else feature.categories.index(n) for n in names])
        )
    return np.column_stack(columns)


@pytest.mark.parametrize("l2", [0.0, 1.0, 50.0])
def test_a_regression_on_text_and_nulls_is_scikit_learns(l2: float) -> None:
    """Imputation, one-hot coding and (minimum-norm) least squares together agree to 1e-6."""
    dataset, objects, y = clinic()
    theirs = pipeline(Ridge(l2, solver="svd") if l2 else LinearRegression()).fit(objects, y)
    result = fit("linear_regression", dataset, l2=l2)
    predicted = result.model.predict(raw_of(result, dataset))
    np.testing.assert_allclose(predicted, theirs.predict(objects), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        result.model.predictor.coef[0], theirs[-1].coef_, rtol=1e-6, atol=1e-6
    )
    assert result.warnings == ()


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("l2", [0.1, 1.0])
def test_a_classifier_on_text_and_nulls_is_scikit_learns(l2: float, n_classes: int) -> None:
    """The same for probabilities of two and of three classes."""
    dataset, objects, signal = clinic()
    bands = np.searchsorted(np.quantile(signal, np.linspace(0, 1, n_classes + 1)[1:-1]), signal)
    target = Column("y", FeatureKind.NUMBER, "integer", bands.astype(np.float64))
    dataset = Dataset(dataset.features, target, dataset.n_samples)
    theirs = pipeline(LogisticRegression(C=1 / l2, **NEWTON)).fit(objects, bands)
    result = fit("logistic_regression", dataset, l2=l2)
    proba = result.model.predict_proba(raw_of(result, dataset))
    np.testing.assert_allclose(proba, theirs.predict_proba(objects), atol=1e-6)
    assert result.model.classes == tuple(str(k) for k in range(n_classes))


def test_real_data_gives_scikit_learns_coefficients() -> None:
    """Diabetes, breast cancer and iris: the stored model is the fit on all rows."""
    X, y = load_diabetes(return_X_y=True)
    ours = fit("linear_regression", table(X, y)).model
    np.testing.assert_allclose(
        ours.predictor.coef[0], LinearRegression().fit(X, y).coef_, rtol=1e-6
    )
    X, y = load_breast_cancer(return_X_y=True)
    ours = fit("logistic_regression", table(X, y)).model
    theirs = LogisticRegression(**NEWTON).fit(X, y)
    np.testing.assert_allclose(ours.predictor.coef, theirs.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(
        ours.predict(np.ascontiguousarray(X)), theirs.predict_proba(X)[:, 1], atol=1e-8
    )
    X, y = load_iris(return_X_y=True)
    ours = fit("logistic_regression", table(X, y)).model
    theirs = LogisticRegression(**NEWTON).fit(X, y)
    np.testing.assert_allclose(ours.predictor.coef, theirs.coef_, rtol=1e-6, atol=1e-8)
    assert ours.predict(X).tolist() == theirs.predict(X).tolist()


def test_metrics_are_of_rows_that_the_measured_fit_had_not_seen() -> None:
    """The accuracy recorded is that of scikit-learn fitted and scored on the same split."""
    X, y = load_breast_cancer(return_X_y=True)
    result = fit("logistic_regression", table(X, y), test_size=0.3, random_state=5)
    split = split_rows(len(y), 0.3, 5, y.astype(np.int64))
    theirs = LogisticRegression(**NEWTON).fit(X[split.train], y[split.train])
    assert result.metrics["accuracy"] == theirs.score(X[split.holdout], y[split.holdout])
    assert (result.n_samples, result.n_train, result.n_holdout) == (
        len(y),
        len(split.train),
        len(split.holdout),
    )
    json.dumps(result.metrics, allow_nan=False)


def test_without_a_holdout_there_are_no_metrics() -> None:
    """`test_size: 0` trains once and claims nothing."""
    X, y = load_diabetes(return_X_y=True)
    result = fit("linear_regression", table(X, y), test_size=0)
    assert (result.metrics, result.n_holdout, result.warnings) == ({}, 0, ())


def test_rows_without_a_target_are_left_out() -> None:
    """NULL targets change nothing but the count, and are mentioned."""
    dataset, _, y = clinic()
    holes = np.zeros(len(y), dtype=bool)
    holes[::7] = True
    with_holes = Column("y", FeatureKind.NUMBER, "double precision", np.where(holes, np.nan, y))
    kept = tuple(
        Column(c.name, c.kind, c.sql_type, c.values[~holes], c.categories) for c in dataset.features
    )
    target = Column("y", FeatureKind.NUMBER, "double precision", y[~holes])
    holed = fit("linear_regression", Dataset(dataset.features, with_holes, len(y)))
    clean = fit("linear_regression", Dataset(kept, target, int((~holes).sum())))
    np.testing.assert_allclose(
        holed.model.predictor.coef, clean.model.predictor.coef, rtol=1e-9, atol=1e-12
    )
    assert holed.metrics == pytest.approx(clean.metrics)
    assert holed.warnings == (f"{holes.sum()} rows have no target and are left out",)


def test_dependent_columns_are_mentioned() -> None:
    """A sum of columns is fitted with a warning; one-hot coding's own dependence is none."""
    X, y = load_diabetes(return_X_y=True)
    result = fit("linear_regression", table(np.hstack([X, X[:, :1] + X[:, 1:2]]), y))
    assert any("linearly dependent" in warning for warning in result.warnings)


def test_an_unfinished_fit_is_mentioned() -> None:
    """Too few iterations are a notice and not an error."""
    X, y = load_breast_cancer(return_X_y=True)
    result = fit("logistic_regression", table(X, y), max_iterations=1)
    assert any("max_iterations" in warning for warning in result.warnings)


def test_phases_are_reported_in_order() -> None:
    """Preprocess, fit, evaluate, then preprocess and fit again on all rows."""
    X, y = load_breast_cancer(return_X_y=True)
    seen: list[Progress] = []
    train("logistic_regression", {}, table(X, y), seen.append)
    phases = list(dict.fromkeys(progress.phase for progress in seen))
    assert phases == ["preprocessing", "holdout fit", "evaluation", "fit"]
    assert [p.phase for p in seen].count("preprocessing") == 2
    losses = [p.loss for p in seen if p.phase == "holdout fit"]
    assert losses == sorted(losses, reverse=True)
    assert all(p.iterations_done <= p.iterations_total for p in seen)


def test_a_report_that_raises_stops_training() -> None:
    """Cancelling in any phase comes out of `train` as it went in."""
    X, y = load_breast_cancer(return_X_y=True)
    for phase in ("preprocessing", "holdout fit", "evaluation", "fit"):

        def report(progress: Progress, phase: str = phase) -> None:
            if progress.phase == phase:
                raise QueryCanceledError("canceling statement due to user request")

        with pytest.raises(QueryCanceledError):
            train("logistic_regression", {}, table(X, y), report)


def test_a_query_without_features_target_or_rows_is_refused() -> None:
    """Each has its own SQLSTATE."""
    dataset, _, _ = clinic()
    with pytest.raises(UndefinedColumnError, match="no feature"):
        fit("linear_regression", Dataset((), dataset.target, dataset.n_samples))
    with pytest.raises(UndefinedColumnError, match="no target"):
        fit("linear_regression", Dataset(dataset.features, None, dataset.n_samples))
    with pytest.raises(NoTrainingRowsError):
        fit("linear_regression", table(np.zeros((0, 2)), np.zeros(0)))


def test_describe_names_every_coefficient() -> None:
    """The described terms add up to the score of a row."""
    dataset, _, _ = clinic()
    result = fit("linear_regression", dataset)
    terms = {(term.feature, term.term): term for term in result.model.describe()}
    rome = result.model.features[1].categories.index("rome")
    pro = result.model.features[2].categories.index("pro")
    score = result.model.predict(np.array([[np.nan, float(rome), float(pro)]]))[0]
    age = terms["age", "value"]
    assert score == pytest.approx(
        terms[None, "intercept"].coefficient
        + age.coefficient * age.imputed
        + terms["age", "missing"].coefficient
        + terms["city", "rome"].coefficient
        + terms["plan", "pro"].coefficient
    )
    assert len(terms) == result.model.predictor.coef.size + 1


def test_describe_names_the_class_of_each_coefficient() -> None:
    """One set of terms for the positive of two classes, one for each of more; arrays by element."""
    for n_classes, labels in ((2, {"class 1"}), (3, {"class 0", "class 1", "class 2"})):
        model = fit("logistic_regression", mixed_dataset("logistic_regression", n_classes)).model
        terms = model.describe()
        assert {term.class_label for term in terms} == labels
        elements = [term.term for term in terms if term.feature == "array"]
        assert elements == ["[1]", "[2]", "[3]"] * len(labels)


def test_describe_names_every_monomial() -> None:
    """The products add up to the prediction, in columns as standard deviations from the means."""
    rng = np.random.default_rng(0)
    X = rng.normal([3.0, -1.0], [2.0, 0.5], size=(200, 2))
    y = 1.0 + X[:, 0] ** 2 - 3.0 * X[:, 0] * X[:, 1] + 2.0 * X[:, 1]
    model = fit("polynomial_regression", table(X, y), degree=2).model
    terms = {term.term: term.coefficient for term in model.describe()}
    assert set(terms) == {"intercept", "x0", "x1", "x0^2", "x0 * x1", "x1^2"}
    z = (X - X.mean(axis=0)) / X.std(axis=0)
    found = terms["intercept"] + terms["x0"] * z[:, 0] + terms["x1"] * z[:, 1]
    found += terms["x0^2"] * z[:, 0] ** 2 + terms["x1^2"] * z[:, 1] ** 2
    found += terms["x0 * x1"] * z[:, 0] * z[:, 1]
    np.testing.assert_allclose(found, y, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.predict(X), y, rtol=1e-9, atol=1e-9)
