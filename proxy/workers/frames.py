"""The conversation between the proxy and a training process.

    frame:  Int32 length of the header, the header in JSON, then `payload_size_bytes` bytes if the
            header names some

    parent                              child
                            <- Ready    imports are done
    Training or Evaluation, with one descriptor ->
                            <- Progress, any number of times
                            <- Trained, with the artefact as its payload; Evaluated; or Failed

The descriptor of the shared dataset travels beside the first byte of its job (SCM_RIGHTS). The
artefact to evaluate is the payload of its Evaluation.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec
from msgspec import Struct

LENGTH = struct.Struct("!I")


class Ready(Struct, frozen=True, tag=True):
    """The child may be given a job."""


class SharedRows(Struct, frozen=True, kw_only=True):
    """Where the dataset of a job is.

    Attributes
    ----------
    description : what `Dataset.to_buffers` returned
    extents : (offset, length) in bytes of each of its arrays in the shared memory
    size_bytes : of the shared memory
    directory : where files may be made of what there is one of for each row; empty: nowhere
    """

    description: dict[str, Any]
    extents: list[tuple[int, int]]
    size_bytes: int
    directory: str = ""


class Training(Struct, frozen=True, tag=True, kw_only=True):
    """Train this; from the model whose artefact follows on, if one does.

    Attributes
    ----------
    memory_limit : bytes that the fit may hold beside the rows; None: any number
    """

    algorithm: str
    parameters: dict[str, Any]
    rows: SharedRows
    payload_size_bytes: int = 0
    memory_limit: int | None = None


class Evaluation(Struct, frozen=True, tag=True, kw_only=True):
    """Measure the model whose artefact follows on these rows."""

    rows: SharedRows
    payload_size_bytes: int


Job = Training | Evaluation


class Progress(Struct, frozen=True, tag=True, kw_only=True):
    """How far the training is; `loss` is None where the algorithm has none."""

    phase: str
    iterations_done: int
    iterations_total: int
    loss: float | None = None


class ModelDescription(Struct, frozen=True, kw_only=True):
    """What the registry stores beside the artefact, as the engine reports it.

    Attributes
    ----------
    parameters : with their defaults filled in
    features, terms : `engine.columns.InputFeature` and `engine.model.ModelTerm`, as objects
    importances : `engine.model.Importance`, as objects, one for each feature
    metrics : of the n_holdout rows
    n_samples : rows that the stored model was fitted on
    notices, warnings : for the person who trains
    """

    algorithm: str
    parameters: dict[str, Any]
    task: str
    predict_kind: str
    classes: list[str]
    features: list[dict[str, Any]]
    target: str | None
    target_type: str | None
    terms: list[dict[str, Any]]
    importances: list[dict[str, Any]]
    metrics: dict[str, Any]
    n_samples: int
    n_train: int
    n_holdout: int
    notices: list[str]
    warnings: list[str]
    format_version: int
    artefact_sha256: str


class Trained(Struct, frozen=True, tag=True, kw_only=True):
    """The job is done; the artefact follows."""

    description: ModelDescription
    payload_size_bytes: int


class Evaluated(Struct, frozen=True, tag=True, kw_only=True):
    """The model is measured.

    Attributes
    ----------
    metrics : by name, in the order in which they are shown
    notices : for the person who asked
    """

    metrics: dict[str, Any]
    notices: list[str]


class Failed(Struct, frozen=True, tag=True, kw_only=True):
    """The job cannot be done; the child is ready for another."""

    sqlstate: str
    message: str
    detail: str | None = None
    hint: str | None = None


Answer = Ready | Progress | Trained | Evaluated | Failed

_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_jobs: msgspec.json.Decoder[Job] = msgspec.json.Decoder(Job)


def encode(header: Job | Answer) -> bytes:
    """Return the frame of `header`, without its payload."""
    body = msgspec.json.encode(header)
    return LENGTH.pack(len(body)) + body


def decode_answer(body: bytes | bytearray) -> Answer:
    """Read a header that a child sent."""
    return _answers.decode(body)


def decode_job(body: bytes | bytearray) -> Job:
    """Read a header that the parent sent."""
    return _jobs.decode(body)
