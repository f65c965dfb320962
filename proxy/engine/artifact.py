"""A model as bytes: safetensors for the arrays, JSON in its header for the rest.

Owns the format and its version. The same model gives the same bytes; bytes that are not a
model of a known version give an ArtifactError and nothing else; nothing in them is ever executed.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from proxy.engine.columns import FeatureKind, InputFeature
from proxy.engine.encoders import CategoryEncoder, InputEncoder, NumberEncoder
from proxy.engine.model import Model, Target
from proxy.engine.preprocessing import Preprocessor
from proxy.errors import ArtifactError

FORMAT_VERSION = 1
METADATA_KEY = "pgseer"
HEADER_LENGTH_BYTES = 8  # little-endian, before the JSON header


def sha256(artifact: bytes) -> str:
    """Return the hash, 64 hexadecimal digits, that is stored beside an artefact."""
    return hashlib.sha256(artifact).hexdigest()


def dump(model: Model) -> bytes:
    """Return the model's bytes."""
    metadata = json.dumps(_metadata(model), sort_keys=True, separators=(",", ":"), allow_nan=False)
    # One key only: safetensors writes its metadata in the order of a hash map.
    return bytes(save_tensors(_tensors(model), metadata={METADATA_KEY: metadata}))


def _metadata(model: Model) -> dict[str, Any]:
    preprocessor = model.preprocessor
    return {
        "format_version": FORMAT_VERSION,
        "algorithm": model.algorithm,
        "parameters": model.parameters,
        "max_categories": preprocessor.max_categories,
        "target": {
            "name": model.target.name,
            "kind": model.target.kind.value,
            "sql_type": model.target.sql_type,
            "classes": list(model.target.classes),
        },
        "features": [
            {
                "name": feature.name,
                "kind": feature.kind.value,
                "sql_type": feature.sql_type,
                "width": feature.width,
                "categories": list(feature.categories),
            }
            for feature in model.features
        ],
    }


def _tensors(model: Model) -> dict[str, NDArray[Any]]:
    encoders = model.preprocessor.encoders_
    numbers = [
        (encoder.imputed, encoder.minimum, encoder.maximum)
        if isinstance(encoder, NumberEncoder)
        else (0.0, 0.0, 0.0)
        for encoder in encoders
    ]
    flags = [
        (encoder.has_indicator, isinstance(encoder, CategoryEncoder) and encoder.has_infrequent)
        for encoder in encoders
    ]
    return {
        "coef": np.ascontiguousarray(model.coef, dtype=np.float64),
        "intercept": np.ascontiguousarray(model.intercept, dtype=np.float64),
        "numbers": np.array(numbers, dtype=np.float64).reshape(-1, 3),
        "flags": np.array(flags, dtype=np.uint8).reshape(-1, 2),
        "design_mean": np.ascontiguousarray(model.preprocessor.mean_, dtype=np.float64),
        "design_scale": np.ascontiguousarray(model.preprocessor.scale_, dtype=np.float64),
    }


def load(artifact: bytes) -> Model:
    """Return the model that `dump` wrote.

    Raises
    ------
    ArtifactError
        XX001: the bytes are not a model's, or of a format that this version does not know.
    """
    try:
        tensors = load_tensors(artifact)
        metadata = _read_metadata(artifact)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged("the bytes are not in the safetensors format of a model") from error
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise ArtifactError(
            "the model is stored in an unknown format",
            detail=f"Its format version is {version!r}, this proxy reads {FORMAT_VERSION}.",
            hint="Use a newer proxy, or train the model again.",
        )
    try:
        return _build(metadata, tensors)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise _damaged("its arrays and its description do not fit together") from error


def _read_metadata(artifact: bytes) -> dict[str, Any]:
    length = int.from_bytes(artifact[:HEADER_LENGTH_BYTES], "little")
    header = json.loads(artifact[HEADER_LENGTH_BYTES : HEADER_LENGTH_BYTES + length])
    metadata = json.loads(header["__metadata__"][METADATA_KEY])
    if not isinstance(metadata, dict):
        raise TypeError("metadata is not an object")
    return metadata


def _build(metadata: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Model:
    features = tuple(_feature(entry) for entry in metadata["features"])
    preprocessor = Preprocessor(int(metadata["max_categories"]))
    preprocessor.features_ = features
    preprocessor.encoders_ = _encoders(features, tensors["numbers"], tensors["flags"])
    preprocessor.mean_ = tensors["design_mean"]
    preprocessor.scale_ = tensors["design_scale"]
    target = metadata["target"]
    model = Model(
        algorithm=str(metadata["algorithm"]),
        parameters=dict(metadata["parameters"]),
        preprocessor=preprocessor,
        coef=tensors["coef"],
        intercept=tensors["intercept"],
        target=Target(
            target["name"],
            FeatureKind(target["kind"]),
            target["sql_type"],
            tuple(str(label) for label in target["classes"]),
        ),
    )
    _check_shapes(model)
    return model


def _feature(entry: dict[str, Any]) -> InputFeature:
    return InputFeature(
        str(entry["name"]),
        FeatureKind(entry["kind"]),
        str(entry["sql_type"]),
        int(entry["width"]),
        tuple(str(category) for category in entry["categories"]),
    )


def _encoders(
    features: tuple[InputFeature, ...], numbers: NDArray[Any], flags: NDArray[Any]
) -> tuple[InputEncoder, ...]:
    kinds = [feature for feature in features for _ in range(feature.width)]
    encoders: list[InputEncoder] = []
    for feature, number, flag in zip(kinds, numbers.tolist(), flags.tolist(), strict=True):
        has_indicator, has_infrequent = bool(flag[0]), bool(flag[1])
        if feature.kind is FeatureKind.CATEGORY:
            encoders.append(CategoryEncoder(feature.categories, has_infrequent, has_indicator))
        else:
            encoders.append(NumberEncoder(number[0], number[1], number[2], has_indicator))
    return tuple(encoders)


def _check_shapes(model: Model) -> None:
    n_classes = len(model.classes)
    n_outputs = n_classes if n_classes > 2 else 1
    n_design = model.preprocessor.n_design_
    expected: list[tuple[NDArray[Any], tuple[int, ...]]] = [
        (model.coef, (n_outputs, n_design)),
        (model.intercept, (n_outputs,)),
        (model.preprocessor.mean_, (n_design,)),
        (model.preprocessor.scale_, (n_design,)),
    ]
    for array, shape in expected:
        if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
            raise ValueError(f"an array is {array.shape}, not {shape}, or not finite")


def _damaged(detail: str) -> ArtifactError:
    return ArtifactError(
        "the stored model is damaged",
        detail=f"{detail[0].upper()}{detail[1:]}.",
        hint="Restore the registry from a backup, or train the model again.",
    )
