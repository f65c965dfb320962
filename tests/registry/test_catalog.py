"""Lookup of models by name and version."""

from __future__ import annotations

import json

import pytest

from proxy.errors import UnknownModelError
from proxy.registry.catalog import Models
from proxy.registry.model_version import ModelEntry
from proxy.rewrite.catalog import FeatureSignature, ModelCatalog


def entry(name: str, version: str, *, is_default: bool) -> ModelEntry:
    row = {
        "model_name": name,
        "version": version,
        "is_default": is_default,
        "owner": "postgres",
        "algorithm": "linear_regression",
        "task": "regression",
        "target": "price",
        "target_type": "integer",
        "target_type_sql": "pg_catalog.int4",
        "predict_kind": "value",
        "classes": [],
        "features": [
            {"name": "plan", "kind": "category", "sql_type": "text", "categories": ["a", "b"]}
        ],
        "format_version": 1,
        "artefact_sha256": "0" * 64,
        "artefact_size_bytes": 1,
    }
    return ModelEntry.from_json(json.dumps(row).encode())


@pytest.fixture
def models() -> Models:
    return Models(
        [
            entry("price", "1.0", is_default=True),
            entry("price", "2.0", is_default=False),
            entry("a:1.0", "1.0", is_default=True),
        ]
    )


@pytest.mark.parametrize(
    ("version", "found"), [(None, "1.0"), ("1.0", "1.0"), ("2.0", "2.0"), ("2", "2.0")]
)
def test_version_that_is_meant_is_found(models: Models, version: str | None, found: str) -> None:
    """No version means the default one, and 2 means 2.0."""
    catalog: ModelCatalog = models
    assert catalog.resolve("price", version).version == found


def test_signature_holds_what_was_trained_on(models: Models) -> None:
    """The planner reads features as they were stored."""
    signature = models.resolve("price", None)
    assert signature.features == (FeatureSignature("plan", "category", "text", 1, ("a", "b")),)
    assert (signature.predict_kind, signature.target_type_sql) == ("value", "pg_catalog.int4")


def test_name_with_a_colon_is_a_name(models: Models) -> None:
    """A quoted name that looks like a reference is found as it stands."""
    assert models.resolve("a:1.0", None).name == "a:1.0"


@pytest.mark.parametrize(
    ("name", "version", "hint"),
    [
        ("prices", None, 'Perhaps you mean "price".'),
        ("price", "3.0", "Known versions: 1.0, 2.0."),
        ("nothing like it", None, None),
    ],
)
def test_unknown_model_hints_at_the_nearest(
    models: Models, name: str, version: str | None, hint: str | None
) -> None:
    """An unknown name is 42704 with the names that come close, a version with the known ones."""
    with pytest.raises(UnknownModelError) as caught:
        models.resolve(name, version)
    assert caught.value.hint == hint
