"""One version of a model: as it is written, and as planning and scoring see it.

Owns the two JSON forms that pass between the proxy and schema `ml`; both are also named, field by
field, in migrations/. The arrays are in the artefact, which only the engine reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from proxy.errors import ArtifactError
from proxy.rewrite.catalog import ModelSignature


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """Everything that is stored of a version beside the artefact itself.

    Attributes
    ----------
    target_type_oid : of the column, from RowDescription; the server turns it into the type's name
    predict_kind : what PREDICT returns: value, probability or label
    classes : labels as SQL text, in the model's order; empty for a regression
    features : one object per input: name, kind, sql_type, width, categories
    terms : one object per learned term: feature, kind, term, class_label, coefficient, imputed
    importances : one object per feature, or none: feature, impurity, permutation
    metrics : of held-out rows, of a clustering's own; accuracy, f1, auc, log_loss, r2, rmse, mae,
        inertia and silhouette become columns
    training_rows : rows that the stored model learned from
    holdout_rows : those of them that the metrics were measured on, by a model fitted without them
    duration_s : of the training, in seconds
    artefact_sha256 : in hexadecimal
    """

    model_name: str
    algorithm: str
    task: str
    target: str | None
    target_type_oid: int | None
    predict_kind: str
    classes: Sequence[str]
    parameters: Mapping[str, Any]
    features: Sequence[Mapping[str, Any]]
    terms: Sequence[Mapping[str, Any]]
    importances: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, Any]
    query: str
    training_rows: int
    holdout_rows: int
    duration_s: float
    random_state: int | None
    format_version: int
    artefact_sha256: str
    artefact_size_bytes: int

    def to_json(self) -> bytes:
        """Return the record in ASCII, so that it is the same in every client_encoding.

        Raises
        ------
        ValueError
            A number is not finite: JSON has none such, and a metric that is must be left out.
        """
        return json.dumps(asdict(self), ensure_ascii=True, allow_nan=False).encode("ascii")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A version as the catalogue lists it: what planning needs, and where the artefact is.

    `classes` and `features` are whatever JSON the row holds: any role may store a model, so a
    wrong one must fail its own users (see `signature`) and nobody else.
    """

    model_name: str
    version: str
    is_default: bool
    owner: str
    algorithm: str
    task: str
    target: str | None
    target_type: str | None
    target_type_sql: str | None
    predict_kind: str
    classes: tuple[Any, ...]
    features: tuple[Any, ...]
    format_version: int
    artefact_sha256: str
    artefact_size_bytes: int

    @classmethod
    def from_json(cls, row: bytes) -> ModelEntry:
        """Read one value of `ml.model_catalog()`."""
        return msgspec.json.decode(row, type=cls)

    def signature(self) -> ModelSignature:
        """Return what the planner asks for.

        Raises
        ------
        ArtifactError
            The row's JSON has not the form that pgseer writes.
        """
        try:
            return msgspec.convert(
                {
                    "name": self.model_name,
                    "version": self.version,
                    "features": self.features,
                    "predict_kind": self.predict_kind,
                    "classes": self.classes,
                    "target_type_sql": self.target_type_sql or "pg_catalog.int4",
                    "task": self.task,
                },
                ModelSignature,
            )
        except msgspec.ValidationError as error:
            raise ArtifactError(
                f'version {self.version} of model "{self.model_name}" is damaged',
                detail=f"Its description is not one that pgseer writes: {error}.",
                hint="Restore it from a backup, or train it again.",
            ) from error
