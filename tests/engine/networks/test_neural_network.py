"""The classifier and the regressor: what they learn, what they refuse, what they repeat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as OracleClassifier
from sklearn.neural_network import MLPRegressor as OracleRegressor

from proxy.engine.networks.network_size import (
    check_layers,
    estimate_training_bytes,
    estimate_weights,
)
from proxy.engine.networks.neural_network import MLPClassifier, MLPRegressor
from proxy.engine.parallel import one_by_one
from proxy.engine.preparation.design import MatrixDesign
from proxy.errors import InvalidParameterError, NoTrainingRowsError, TooLargeError
from tests.engine.maps import backwards

XOR = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
ACTIVATIONS = ["relu", "tanh", "sigmoid", "gelu"]


def standardised(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    scale = np.where(train.std(axis=0) > 0, train.std(axis=0), 1.0)
    return [(X - train.mean(axis=0)) / scale for X in (train, *others)]


def blobs(n: int = 300, n_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    X = rng.normal(size=(n, 5))
    X[:, 0] += 3.0 * np.cos(2 * np.pi * y / n_classes)
    X[:, 1] += 3.0 * np.sin(2 * np.pi * y / n_classes)
    return X, y


def waves(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    return X, 5000.0 + 100.0 * (np.sin(2.0 * X[:, 0]) + X[:, 1] * X[:, 2])


def r2(y: np.ndarray, predicted: np.ndarray) -> float:
    return float(1.0 - np.square(y - predicted).sum() / np.square(y - y.mean()).sum())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("optimizer", "learning_rate"), [("adam", 0.03), ("momentum", 0.1), ("sgd", 0.5)]
)
def test_xor_is_learned(activation: str, optimizer: str, learning_rate: float) -> None:
    """No linear model can tell these four points apart; every activation and optimizer does."""
    ours = MLPClassifier(
        hidden_layers=[16],
        activation=activation,
        optimizer=optimizer,
        learning_rate=learning_rate,
        epochs=1500,
        tol=0.0,
    ).fit(XOR, np.array([0, 1, 1, 0]))
    assert ours.predict(XOR).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    "load", [load_digits, load_breast_cancer, load_wine], ids=lambda load: load.__name__
)
def test_classes_are_told_apart_as_by_scikit_learn(load) -> None:
    """Over seeds, the accuracy on held-out rows is within a hundredth of MLPClassifier's."""
    X, y = load(return_X_y=True)
    ours, theirs = [], []
    for seed in range(3):
        parts = train_test_split(X, y, test_size=0.4, random_state=seed, stratify=y)
        train, test = standardised(*parts[:2])
        fitted = MLPClassifier(epochs=200, batch_size=64, tol=1e-3, random_state=seed)
        ours.append(np.mean(fitted.fit(train, parts[2]).predict(test) == parts[3]))
        oracle = OracleClassifier(max_iter=200, batch_size=64, tol=1e-3, random_state=seed)
        theirs.append(oracle.fit(train, parts[2]).score(test, parts[3]))
    assert np.mean(ours) >= np.mean(theirs) - 0.01


def test_values_are_predicted_as_by_scikit_learn() -> None:
    """Over seeds, R2 on held-out rows is within 0.03 of MLPRegressor's on a standardised target."""
    X, y = load_diabetes(return_X_y=True)
    ours, theirs = [], []
    for seed in range(3):
        parts = train_test_split(X, y, test_size=0.4, random_state=seed)
        train, test = standardised(*parts[:2])
        mean, scale = parts[2].mean(), parts[2].std()
        fitted = MLPRegressor(epochs=100, batch_size=64, tol=1e-3, random_state=seed)
        ours.append(r2(parts[3], fitted.fit(train, parts[2]).predict(test)))
        oracle = OracleRegressor(max_iter=100, batch_size=64, tol=1e-3, random_state=seed)
        oracle.fit(train, (parts[2] - mean) / scale)
        theirs.append(r2(parts[3], oracle.predict(test) * scale + mean))
    assert np.mean(ours) >= np.mean(theirs) - 0.03


def test_probabilities_are_those_of_scikit_learns_network() -> None:
    """Its weights, put into ours, give its probabilities: the layouts mean the same."""
    X, y = blobs()
    oracle = OracleClassifier((12,), max_iter=20, tol=1.0).fit(X, y)
    ours = MLPClassifier(hidden_layers=[12], epochs=1).fit(X, y)
    for layer, weights, bias in zip(
        ours.predictor_.layers, oracle.coefs_, oracle.intercepts_, strict=True
    ):
        layer.stored[...], layer.bias[...] = weights, bias
    tensors = ours.predictor_.tensors()
    ours.predictor_ = type(ours.predictor_).from_tensors(tensors, n_features_in=5, n_classes=3)
    np.testing.assert_allclose(ours.predict_proba(X), oracle.predict_proba(X), atol=1e-5)


def test_dropout_still_learns() -> None:
    """With half of the hidden units left out of each step."""
    X, y = waves()
    ours = MLPRegressor(hidden_layers=[64], epochs=200, learning_rate=0.01, dropout=0.5, tol=0.0)
    assert r2(y, ours.fit(X, y).predict(X)) > 0.7
    classifier = MLPClassifier(dropout=0.5, learning_rate=0.01)
    assert np.mean(classifier.fit(*blobs()).predict(blobs()[0]) == blobs()[1]) > 0.95


@pytest.mark.parametrize("batch_size", [7, 600])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_same_bytes_are_learned_however_the_work_is_shared(
    batch_size: int, dropout: float
) -> None:
    """Alone, by a map that works backwards, again, and from a design in blocks."""
    X, y = blobs(1400)

    def learn(X, workers: int, parallel) -> bytes:
        ours = MLPClassifier(
            hidden_layers=[9, 6],
            epochs=3,
            batch_size=batch_size,
            dropout=dropout,
            parallel_workers=workers,
            early_stopping=True,
        ).fit(X, y, parallel=parallel)
        return b"".join(tensor.tobytes() for tensor in ours.predictor_.tensors().values())

    first = learn(X, 1, one_by_one)
    assert learn(X, 1, one_by_one) == first
    assert learn(X, 4, one_by_one) == first
    assert learn(X, 2, backwards) == first
    assert learn(MatrixDesign(X), 3, backwards) == first


def test_negative_classes_never_reach_the_kernels() -> None:
    """They would be places outside of an array."""
    with pytest.raises(ValueError, match="from 0"):
        MLPClassifier(epochs=1).fit(XOR, np.array([0, -1, 1, 2]))


def test_a_seed_chooses_the_network() -> None:
    """Another seed begins elsewhere."""
    X, y = blobs()
    one, other = (MLPClassifier(epochs=1, random_state=seed).fit(X, y) for seed in (0, 1))
    assert np.abs(one.coefs_[0] - other.coefs_[0]).max() > 0.01


def test_early_stopping_keeps_the_best_weights() -> None:
    """It ends before the epochs do, and scores as in its best epoch, not in its last."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 8)), rng.integers(0, 2, 200)
    ours = MLPClassifier(
        hidden_layers=[50],
        epochs=400,
        learning_rate=0.01,
        early_stopping=True,
        validation_fraction=0.3,
        n_iter_no_change=15,
    ).fit(X, y)
    assert ours.n_iter_ == len(ours.validation_scores_) < 400
    assert ours.best_validation_score_ == max(ours.validation_scores_)
    assert ours.validation_scores_[-1] < ours.best_validation_score_
    best = ours.validation_scores_.index(ours.best_validation_score_)
    again = MLPClassifier(
        hidden_layers=[50],
        epochs=best + 1,
        learning_rate=0.01,
        early_stopping=True,
        validation_fraction=0.3,
    ).fit(X, y)
    np.testing.assert_array_equal(ours.coefs_[0], again.coefs_[0])


def test_every_epoch_is_reported_and_a_report_may_end_the_fit() -> None:
    """Epochs count from 1, with the loss of each; what is raised comes out."""
    X, y = blobs()
    told: list[tuple[int, float]] = []
    ours = MLPClassifier(epochs=4).fit(X, y, report=lambda *numbers: told.append(numbers))
    assert told == list(enumerate(ours.loss_curve_, 1))
    assert (ours.n_iter_, ours.iterations_total) == (4, 4)
    assert ours.best_loss_ == min(ours.loss_curve_)

    def stop(epoch: int, loss: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        MLPClassifier(epochs=4).fit(X, y, report=stop)


def test_weights_count_rows_and_only_by_their_proportions() -> None:
    """Rows without weight are as good as absent, and the unit of weights says nothing."""
    X, y = blobs(100)
    weight = np.ones(100)
    weight[50:] = 0.0
    wrong = np.where(weight > 0, y, (y + 1) % 3)
    settings = {"hidden_layers": [8], "epochs": 60, "learning_rate": 0.02}
    ours = MLPClassifier(**settings).fit(X, wrong, sample_weight=weight)
    assert np.mean(ours.predict(X) == y) > 0.9
    tiny = MLPClassifier(**settings).fit(X, wrong, sample_weight=weight * 1e-300)
    np.testing.assert_array_equal(tiny.coefs_[0], ours.coefs_[0])
    with pytest.raises(NoTrainingRowsError):
        MLPClassifier().fit(X, y, sample_weight=np.zeros(100))


def test_weights_of_a_regression_choose_its_units() -> None:
    """With all weight on rows of one value that value is predicted, exactly."""
    X, y = waves(50)
    weight = np.zeros(50)
    weight[:3], y[:3] = 1.0, 7.0
    predicted = MLPRegressor(epochs=2).fit(X, y, sample_weight=weight).predict(X)
    np.testing.assert_allclose(predicted, 7.0, rtol=1e-12)


def test_balanced_classes_are_weights() -> None:
    """class_weight does what the weights n / (K * count) do, and finds a rare class."""
    rng = np.random.default_rng(0)
    y = (np.arange(400) % 20 == 0).astype(np.int64)
    X = rng.normal(size=(400, 2)) + 1.5 * y[:, None]
    settings = {"hidden_layers": [8], "epochs": 30, "learning_rate": 0.01}
    ours = MLPClassifier(class_weight="balanced", **settings).fit(X, y)
    weights = np.where(y == 1, 400 / (2 * 20), 400 / (2 * 380))
    same = MLPClassifier(**settings).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(ours.coefs_[0], same.coefs_[0], rtol=1e-5, atol=1e-6)
    plain = MLPClassifier(**settings).fit(X, y)
    assert np.mean(ours.predict(X)[y == 1]) > np.mean(plain.predict(X)[y == 1]) + 0.2


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_an_absurd_learning_rate_gives_finite_weights_and_a_warning(optimizer: str) -> None:
    """Epochs that explode are taken back, the rate is halved, and the trainer is told."""
    X, y = waves()
    ours = MLPRegressor(optimizer=optimizer, learning_rate=1e4, epochs=60, batch_size=32)
    ours.fit(X, y)
    assert all(np.isfinite(weights).all() for weights in ours.coefs_)
    assert np.isfinite(ours.loss_curve_).all()
    assert np.isfinite(ours.predict(X)).all()
    assert [warning.split(" epoch")[0][:20] for warning in ours.warnings_] == [
        "the loss exploded in"
    ]


def test_a_fit_may_begin_from_another() -> None:
    """The first loss is then where the other ended, whatever the unit of the target."""
    X, y = waves()
    settings = {"hidden_layers": [20], "learning_rate": 0.01, "batch_size": 400, "l2": 0.0}
    first = MLPRegressor(epochs=80, **settings).fit(X, y)
    for begin in (first, first.predictor_):
        again = MLPRegressor(epochs=1, **settings).fit(X, 3.0 * y + 1e4, start=begin)
        far = (first.predict(X) - (3.0 * y + 1e4)) / (3.0 * y.std())
        assert again.loss_curve_[0] == pytest.approx(np.square(far).mean() / 2, rel=1e-3)
        same = MLPRegressor(epochs=1, **settings).fit(X, y, start=begin)
        near = (first.predict(X) - y) / y.std()
        assert same.loss_curve_[0] == pytest.approx(np.square(near).mean() / 2, rel=1e-3)


@pytest.mark.parametrize("other", [{"hidden_layers": [21]}, {"activation": "tanh"}])
def test_a_fit_cannot_begin_from_an_unlike_network(other) -> None:
    """Other layers or another activation are refused, with both networks named."""
    X, y = blobs()
    first = MLPClassifier(**{"hidden_layers": [20], "epochs": 1, **other}).fit(X, y)
    with pytest.raises(InvalidParameterError) as caught:
        MLPClassifier(hidden_layers=[20], epochs=1).fit(X, y, start=first)
    assert caught.value.sqlstate == "22023"
    assert "[5, 20, 3]" in (caught.value.detail or "")


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_rows_are_enough(n: int, early_stopping: bool) -> None:
    """One row is predicted exactly, anywhere; two or three give finite numbers."""
    X, y = np.arange(n, dtype=np.float64)[:, None], np.arange(n) + 7.0
    ours = MLPRegressor(epochs=2, early_stopping=early_stopping).fit(X, y)
    predicted = ours.predict(np.array([[0.0], [1e308]]))
    assert np.isfinite(predicted).all()
    if n == 1:
        assert predicted.tolist() == [7.0, 7.0]
        assert len(ours.warnings_) == early_stopping
    codes = np.arange(n) % 2
    probabilities = MLPClassifier(epochs=2, early_stopping=early_stopping).fit(X, codes)
    np.testing.assert_allclose(probabilities.predict_proba(X).sum(axis=1), 1.0)


@pytest.mark.parametrize("value", [0.1, -3e150, 0.0])
def test_a_constant_target_is_predicted_exactly(value: float) -> None:
    """To the last bit, wherever the inputs are."""
    X, _ = waves(60)
    predicted = MLPRegressor(epochs=2).fit(X, np.full(60, value)).predict(X * 1e300)
    assert predicted.tolist() == [value] * 60


@pytest.mark.parametrize("unit", [1e-150, 1e150])
def test_the_unit_of_the_target_changes_nothing_but_the_unit(unit: float) -> None:
    """Targets far beyond float32 are learned as any."""
    X, y = waves()
    plain = MLPRegressor(epochs=5).fit(X, y).predict(X)
    scaled = MLPRegressor(epochs=5).fit(X, y * unit).predict(X)
    np.testing.assert_allclose(scaled / unit, plain, rtol=1e-5)


def test_no_hidden_layer_is_a_linear_model() -> None:
    """With hidden_layers empty the regressor finds the line."""
    X, _ = waves()
    y = 2.0 * X[:, 0] - X[:, 2] + 5.0
    ours = MLPRegressor(hidden_layers=[], epochs=300, learning_rate=0.01, l2=0.0, tol=1e-9)
    np.testing.assert_allclose(ours.fit(X, y).predict(X), y, atol=0.02)
    assert ours.predictor_.sizes == (3, 1)


@pytest.mark.parametrize(
    ("layers", "n_outputs", "words"),
    [
        ([784, 128, 10], 10, "layers begins with 784, but the data has 64 inputs"),
        ([64, 128, 7], 10, "layers ends with 7, but the target has 10 classes"),
        ([64, 8, 3], 2, "layers ends with 3, but the target has 2 classes"),
        ([64, 8, 2], 1, "layers ends with 2, but a regression has 1 output"),
        ([64], 1, "layers has 1 of the two numbers that it needs"),
        ([], 1, "layers has 0 of the two numbers that it needs"),
    ],
)
def test_layers_that_do_not_fit_the_data_are_refused(
    layers: Sequence[int], n_outputs: int, words: str
) -> None:
    """The error says which number is off, and its hint writes the right ones."""
    with pytest.raises(InvalidParameterError) as caught:
        check_layers(layers, 64, n_outputs)
    assert (caught.value.sqlstate, caught.value.message) == ("22023", words)
    hidden = "".join(f"{size}, " for size in layers[1:-1])
    assert f"[64, {hidden}{n_outputs}]" in (caught.value.hint or "")


@pytest.mark.parametrize(("last", "n_classes"), [(1, 2), (2, 2), (3, 3)])
def test_layers_give_the_hidden_ones(last: int, n_classes: int) -> None:
    """Two classes may be given one output or two; the network has one of them."""
    X, y = blobs(60, n_classes)
    ours = MLPClassifier(layers=[5, 7, 4, last], epochs=1).fit(X, y)
    assert ours.predictor_.sizes == (5, 7, 4, n_classes if n_classes > 2 else 1)
    assert ours.predict_proba(X).shape == (60, n_classes)


def test_layers_and_hidden_layers_exclude_each_other() -> None:
    """Both, and a layer without units, are refused."""
    X, y = blobs()
    with pytest.raises(InvalidParameterError, match="both given"):
        MLPClassifier(layers=[5, 7, 3], hidden_layers=[7]).fit(X, y)
    with pytest.raises(InvalidParameterError, match="no unit"):
        MLPClassifier(hidden_layers=[7, 0]).fit(X, y)


@pytest.mark.parametrize(
    "parameters",
    [
        {"hidden_layers": [10**6, 10**6]},
        {"hidden_layers": [10**30]},
        {"hidden_layers": [1] * 200},
        {"hidden_layers": [20_000, 4000]},
    ],
    ids=str,
)
def test_an_absurd_network_is_refused_before_it_is_made(parameters) -> None:
    """54000, with the number of weights and the memory in the words."""
    X, y = blobs()
    sizes = (5, *parameters["hidden_layers"], 3)
    n_samples = 300
    if parameters["hidden_layers"] == [20_000, 4000]:  # fits, but not with such a minibatch
        assert estimate_weights(sizes) < 10**8
        X, y = np.zeros((40_000, 5)), np.arange(40_000) % 3
        n_samples, parameters = 40_000, {**parameters, "batch_size": 40_000}
    with pytest.raises(TooLargeError) as caught:
        MLPClassifier(**parameters).fit(X, y)
    assert caught.value.sqlstate == "54000"
    assert f"{estimate_weights(sizes):,} weights" in caught.value.message
    size_bytes = estimate_training_bytes(sizes, n_samples, min(n_samples, 40_000))
    if n_samples == 40_000:
        assert f"{size_bytes / 2**30:.1f} GiB" in (caught.value.detail or "")


def test_the_seeds_network_has_the_weights_that_it_says() -> None:
    """784-128-64-10: (785 * 128) + (129 * 64) + (65 * 10)."""
    assert estimate_weights([784, 128, 64, 10]) == 109_386
