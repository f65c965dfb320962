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
from proxy.engine.model import Model, Target
from proxy.engine.predictor_kinds import KINDS, cluster_labels, kind_of
from proxy.engine.predictors import LABEL, LOG_ODDS, PROBABILITY, VALUE, Predictor
from proxy.engine.preparation.encoders import (
    CategoryEncoder,
    DroppedEncoder,
    InputEncoder,
    NumberEncoder,
    TargetEncoder,
)
from proxy.engine.preparation.preprocessing import Preparation, Preprocessor
from proxy.errors import ArtifactError

FORMAT_VERSION = 2
OLDEST_VERSION = 1
"""Version 1 had linear models only, and no encoders but those of numbers and one-hot categories."""
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
        "preparation": {
            "imputes": preprocessor.preparation.imputes,
            "standardises": preprocessor.preparation.standardises,
        },
        "predictor": kind_of(model.predictor),
        "target": {
            "name": model.target.name,
            "kind": model.target.kind.value,
            "sql_type": model.target.sql_type,
            "classes": list(model.target.classes),
            "is_cluster": model.target.is_cluster,
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


# The kinds of encoders, in the tensor `encoders`: kind, has_indicator, has_infrequent, and of a
# target encoder its columns.
NUMBER, CATEGORY, TARGET, DROPPED = range(4)


def _encoder_words(encoder: InputEncoder) -> tuple[int, int, int, int]:
    match encoder:
        case NumberEncoder():
            return NUMBER, encoder.has_indicator, 0, 0
        case CategoryEncoder():
            return CATEGORY, encoder.has_indicator, encoder.has_infrequent, 0
        case TargetEncoder():
            return TARGET, 0, 0, encoder.n_columns
        case DroppedEncoder():
            return DROPPED, 0, 0, 0


def _tensors(model: Model) -> dict[str, NDArray[Any]]:
    encoders = model.preprocessor.encoders_
    numbers = [
        (encoder.imputed, encoder.minimum, encoder.maximum)
        for encoder in encoders
        if isinstance(encoder, NumberEncoder)
    ]
    codes = [encoder.values.ravel() for encoder in encoders if isinstance(encoder, TargetEncoder)]
    words = [_encoder_words(encoder) for encoder in encoders]
    own = {f"predictor.{name}": array for name, array in model.predictor.tensors().items()}
    tensors = {
        "encoders": np.array(words, dtype=np.uint8).reshape(-1, 4),
        "numbers": np.array(numbers, dtype=np.float64).reshape(-1, 3),
        "target_codes": np.concatenate([np.zeros(0), *codes]),
        "design_mean": np.asarray(model.preprocessor.mean_, dtype=np.float64),
        "design_scale": np.asarray(model.preprocessor.scale_, dtype=np.float64),
        **own,
    }
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}


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
    if version not in range(OLDEST_VERSION, FORMAT_VERSION + 1):
        raise ArtifactError(
            "the model is stored in an unknown format",
            detail=f"Its format version is {version!r}, this proxy reads {FORMAT_VERSION}.",
            hint="Use a newer proxy, or train the model again.",
        )
    try:
        if version == 1:
            metadata, tensors = _upgraded(metadata, tensors)
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


def _upgraded(
    metadata: dict[str, Any], tensors: dict[str, NDArray[Any]]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return what version 1 says in the words of version 2."""
    kinds = [
        CATEGORY if feature["kind"] == FeatureKind.CATEGORY.value else NUMBER
        for feature in metadata["features"]
        for _ in range(int(feature["width"]))
    ]
    words = np.zeros((len(kinds), 4), np.uint8)
    words[:, 0] = kinds
    words[:, 1:3] = tensors["flags"]
    metadata = metadata | {
        "preparation": {"imputes": True, "standardises": False},
        "predictor": "coefficients",
        "target": metadata["target"] | {"is_cluster": False},
    }
    return metadata, {
        "encoders": words,
        "numbers": tensors["numbers"][words[:, 0] == NUMBER],
        "target_codes": np.zeros(0),
        "design_mean": tensors["design_mean"],
        "design_scale": tensors["design_scale"],
        "predictor.coef": tensors["coef"],
        "predictor.intercept": tensors["intercept"],
    }


def _build(metadata: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Model:
    preparation = metadata["preparation"]
    preprocessor = Preprocessor(
        int(metadata["max_categories"]),
        Preparation(
            imputes=bool(preparation["imputes"]), standardises=bool(preparation["standardises"])
        ),
    )
    preprocessor.features_ = tuple(_feature(entry) for entry in metadata["features"])
    preprocessor.encoders_ = _encoders(preprocessor.features_, tensors)
    preprocessor.mean_ = _checked(tensors["design_mean"], (preprocessor.n_design_,))
    preprocessor.scale_ = _checked(tensors["design_scale"], (preprocessor.n_design_,))
    target = metadata["target"]
    target = Target(
        str(target["name"]),
        FeatureKind(target["kind"]),
        str(target["sql_type"]),
        tuple(str(label) for label in target["classes"]),
        is_cluster=bool(target["is_cluster"]),
    )
    return Model(
        algorithm=str(metadata["algorithm"]),
        parameters=dict(metadata["parameters"]),
        preprocessor=preprocessor,
        predictor=_predictor(metadata["predictor"], tensors, target, preprocessor.n_design_),
        target=target,
    )


def _predictor(
    kind: str, tensors: dict[str, NDArray[Any]], target: Target, n_design: int
) -> Predictor:
    prefix = "predictor."
    own = {
        name.removeprefix(prefix): array
        for name, array in tensors.items()
        if name.startswith(prefix)
    }
    n_classes = 0 if target.is_cluster else len(target.classes)
    predictor = KINDS[kind].from_tensors(own, n_features_in=n_design, n_classes=n_classes)
    _check_outputs(predictor, target, n_classes)
    return predictor


def _check_outputs(predictor: Predictor, target: Target, n_classes: int) -> None:
    """Refuse a predictor of another task: a label's place must be one of the classes."""
    if target.is_cluster:
        is_right = predictor.link == LABEL and cluster_labels(predictor) == target.classes
    elif n_classes == 0:
        is_right = predictor.link == VALUE and predictor.n_outputs == 1
    else:
        by_link = {LOG_ODDS: 1 if n_classes == 2 else n_classes, PROBABILITY: n_classes}
        is_right = n_classes > 1 and by_link.get(predictor.link) == predictor.n_outputs
    if not is_right:
        raise ValueError("the predictor is of another task")


def _feature(entry: dict[str, Any]) -> InputFeature:
    return InputFeature(
        str(entry["name"]),
        FeatureKind(entry["kind"]),
        str(entry["sql_type"]),
        int(entry["width"]),
        tuple(str(category) for category in entry["categories"]),
    )


def _encoders(
    features: tuple[InputFeature, ...], tensors: dict[str, NDArray[Any]]
) -> tuple[InputEncoder, ...]:
    kinds = [feature for feature in features for _ in range(feature.width)]
    words = tensors["encoders"]
    if words.shape != (len(kinds), 4) or words.dtype != np.uint8:
        raise ValueError("there is not an encoder for each input column")
    numbers = iter(_checked(tensors["numbers"], (int((words[:, 0] == NUMBER).sum()), 3), nan=True))
    codes, used = tensors["target_codes"], 0
    encoders: list[InputEncoder] = []
    for feature, word in zip(kinds, words.tolist(), strict=True):
        kind, has_indicator, has_infrequent, n_columns = word
        if kind == DROPPED:
            encoders.append(DroppedEncoder(feature.categories))
        elif (kind == NUMBER) == (feature.kind is FeatureKind.CATEGORY):
            raise ValueError("an encoder is of another kind than its feature")
        elif kind == NUMBER:
            imputed, low, high = next(numbers).tolist()
            encoders.append(NumberEncoder(imputed, low, high, bool(has_indicator)))
        elif kind == CATEGORY:
            encoders.append(
                CategoryEncoder(feature.categories, bool(has_infrequent), bool(has_indicator))
            )
        else:
            shape = (len(feature.categories) + 2, n_columns)
            size = shape[0] * shape[1]
            values = _checked(codes[used : used + size], (size,)).reshape(shape)
            encoders.append(TargetEncoder(feature.categories, values))
            used += size
    return tuple(encoders)


def _checked(array: NDArray[Any], shape: tuple[int, ...], *, nan: bool = False) -> NDArray[Any]:
    """Return a float64 array of that shape, finite but for NaN where that is allowed."""
    if array.shape != shape or array.dtype != np.float64:
        raise ValueError(f"an array is {array.shape} of {array.dtype}, not {shape} of float64")
    if not (np.isfinite(array) | (np.isnan(array) & nan)).all():
        raise ValueError("an array is not finite")
    return array


def _damaged(detail: str) -> ArtifactError:
    return ArtifactError(
        "the stored model is damaged",
        detail=f"{detail[0].upper()}{detail[1:]}.",
        hint="Restore the registry from a backup, or train the model again.",
    )
