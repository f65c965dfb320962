"""Models as bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from proxy.engine.artifact import METADATA_KEY, dump, load, sha256
from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.model import Model
from proxy.errors import ArtifactError
from tests.engine.estimator_checks import fit, mixed_dataset

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def model() -> Model:
    return fit("logistic_regression", mixed_dataset("logistic_regression", 3)).model


@pytest.fixture(scope="module")
def artifact(model: Model) -> bytes:
    return dump(model)


def metadata_of(artifact: bytes) -> dict:
    length = int.from_bytes(artifact[:8], "little")
    header = json.loads(artifact[8 : 8 + length])
    return json.loads(header["__metadata__"][METADATA_KEY])


def rebuilt(artifact: bytes, **changes: object) -> bytes:
    """Return the artefact with parts of its metadata, or arrays, changed."""
    tensors = load_tensors(artifact)
    metadata = metadata_of(artifact)
    for name, value in changes.items():
        (tensors if name in tensors else metadata)[name] = value
    return save_tensors(tensors, metadata={METADATA_KEY: json.dumps(metadata)})


def test_bytes_are_deterministic(model: Model) -> None:
    """One model has one byte string, however often it is written."""
    assert len({dump(model) for _ in range(20)}) == 1


def test_the_hash_is_sha256(artifact: bytes) -> None:
    """The stored hash is what any tool computes."""
    assert sha256(artifact) == hashlib.sha256(artifact).hexdigest()


def test_an_unknown_format_version_is_refused(artifact: bytes) -> None:
    """A model of a later format is named as such."""
    with pytest.raises(ArtifactError, match="unknown format") as caught:
        load(rebuilt(artifact, format_version=999))
    assert "999" in caught.value.detail
    assert caught.value.sqlstate == "XX001"


@pytest.mark.parametrize(
    "changes",
    [
        {"predictor.coef": np.zeros((3, 2))},
        {"predictor.coef": np.zeros((3, 1), np.float32)},
        {"predictor.intercept": np.array([0.0, np.nan, 0.0])},
        {"predictor": "trees"},
        {"predictor": "pickle"},
        {"encoders": np.zeros((1, 4), np.uint8)},
        {"encoders": np.full((7, 4), 2, np.uint8)},
        {"encoders": np.full((7, 4), 3, np.uint8)},
        {"design_mean": np.zeros(3)},
        {"preparation": {}},
        {"numbers": np.zeros((0, 3))},
        {"features": []},
        {"features": [{"name": "x"}]},
        {"target": None},
        {"parameters": 3},
        {"max_categories": "many"},
    ],
)
def test_parts_that_do_not_fit_are_refused(artifact: bytes, changes: dict) -> None:
    """Arrays and description are checked against each other before anything is scored."""
    with pytest.raises(ArtifactError):
        load(rebuilt(artifact, **changes))


@pytest.mark.parametrize("name", ["linear_regression", "logistic_regression"])
def test_a_model_of_the_first_format_still_scores(name: str) -> None:
    """Bytes that version 1 wrote give the predictions that version 1 made of them."""
    model = load((DATA / f"{name}_format_1.safetensors").read_bytes())
    with np.load(DATA / f"{name}_format_1.npz") as kept:
        np.testing.assert_array_equal(model.predict(kept["raw"]), kept["predicted"])
    assert load(dump(model)).features == model.features


@given(st.binary(max_size=200))
def test_any_bytes_give_an_artifact_error(data: bytes) -> None:
    """Bytes that are no model are refused as such, whatever they are."""
    with pytest.raises(ArtifactError):
        load(data)


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_damaged_bytes_give_a_model_or_an_artifact_error(artifact: bytes, data) -> None:
    """A changed or missing byte is refused or harmless; it never ends in another error."""
    position = data.draw(st.integers(0, len(artifact) - 1))
    damaged = bytearray(artifact)
    damaged[position] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        del damaged[position:]
    try:
        again = load(bytes(damaged))
    except ArtifactError:
        return
    again.predict(np.zeros((2, again.input_width)))


def test_any_text_survives() -> None:
    """Names and categories of any characters come back as they were."""
    names = ('quote " and \\', "naïve ☃ 🦀", "", "new\nline")
    codes = np.tile(np.arange(4, dtype=np.int32), 10)
    column = Column("naïve\t☃", FeatureKind.CATEGORY, "text", codes, names)
    target = Column("🦀", FeatureKind.CATEGORY, "text", codes, names)
    model = fit("logistic_regression", Dataset((column,), target, 40)).model
    again = load(dump(model))
    assert again.features == model.features
    assert again.classes == tuple(sorted(names))
