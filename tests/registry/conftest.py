"""A fresh database for each test, roles beside the superuser, and a way to store a model."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count

import psycopg
import pytest
import pytest_asyncio

from proxy.registry.model_version import ModelRecord
from proxy.registry.postgres_store import Registries, Registry
from proxy.registry.queries import (
    STORE_MODEL_FORMATS,
    STORE_MODEL_PARAMETER_OIDS,
    STORE_MODEL_SQL,
    StoreModel,
)
from proxy.service_connections import ServiceConnector
from proxy.settings.dsn import UpstreamAddress
from tests.support import postgres
from tests.support.postgres import Cluster

ROLES = ("registry_alice", "registry_bob")
TEXT_OID = 25

numbers = count(1)
Connect = Callable[..., psycopg.Connection]


def record(name: str = "churn", artefact: bytes = b"bytes", **changes: object) -> ModelRecord:
    """Return what would be stored of a small classifier."""
    fields: dict[str, object] = {
        "model_name": name,
        "algorithm": "logistic_regression",
        "task": "binary",
        "target": "plan",
        "target_type_oid": TEXT_OID,
        "predict_kind": "label",
        "classes": ["basic", "größer ≥ 1"],
        "parameters": {"l2": 1.0},
        "features": [
            {"name": "tenure", "kind": "number", "sql_type": "integer", "width": 1},
            {"name": "país", "kind": "category", "sql_type": "text", "categories": ["es", "pt"]},
        ],
        "terms": [],
        "importances": [],
        "metrics": {"accuracy": 0.875, "auc": 0.9375, "f1": None, "confusion_matrix": [[1]]},
        "query": "SELECT tenure, país, plan AS target FROM clientes",
        "training_rows": 40,
        "holdout_rows": 8,
        "duration_s": 1.5,
        "random_state": 0,
        "format_version": 1,
        "artefact_sha256": hashlib.sha256(artefact).hexdigest(),
        "artefact_size_bytes": len(artefact),
    } | changes
    return ModelRecord(**fields)  # type: ignore[arg-type]


def store(
    connection: psycopg.Connection,
    name: str = "churn",
    artefact: bytes = b"bytes",
    *,
    or_replace: bool = False,
    if_not_exists: bool = False,
    **changes: object,
) -> str | None:
    """Store a model as a session does, by Bind in the declared types and formats."""
    request = StoreModel(record(name, artefact, **changes), artefact, or_replace, if_not_exists)
    connection.execute("SELECT")  # psycopg opens the transaction block, if there is to be one
    result = connection.pgconn.exec_params(
        STORE_MODEL_SQL.encode(),
        request.parameters(),
        STORE_MODEL_PARAMETER_OIDS,
        STORE_MODEL_FORMATS,
    )
    if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
        raise psycopg.errors.error_from_result(result)
    value = result.get_value(0, 0)
    return None if value is None else value.decode()


@pytest.fixture(scope="session")
def roles(cluster: Cluster) -> tuple[str, ...]:
    for role in ROLES:
        cluster.execute(f"CREATE ROLE {role} LOGIN")
    return ROLES


@pytest.fixture
def database(cluster: Cluster, roles: tuple[str, ...]) -> Iterator[str]:
    with postgres.temporary_database(cluster, f"registry_{next(numbers)}") as name:
        yield name


def service_connector(cluster: Cluster, user: str = postgres.SUPERUSER) -> ServiceConnector:
    host, port = cluster.address
    secret = postgres.SUPERUSER_SECRET if user == postgres.SUPERUSER else ""
    return ServiceConnector(UpstreamAddress(host, port, "postgres", user, secret))


@pytest_asyncio.fixture
async def registries(cluster: Cluster) -> AsyncIterator[Registries]:
    opened = Registries(service_connector(cluster), artefact_budget_bytes=1 << 20)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def registry(registries: Registries, database: str) -> Registry:
    """The database's registry, migrated."""
    opened = registries.registry(database)
    await opened.models()
    return opened


@pytest.fixture
def connect(cluster: Cluster, database: str) -> Iterator[Connect]:
    """Open connections to the database, as the superuser or a named role."""
    opened: list[psycopg.Connection] = []

    def open_one(user: str = postgres.SUPERUSER, *, autocommit: bool = True) -> psycopg.Connection:
        connection = psycopg.connect(cluster.dsn(database, user=user), autocommit=autocommit)
        opened.append(connection)
        return connection

    yield open_one
    for connection in opened:
        connection.close()
