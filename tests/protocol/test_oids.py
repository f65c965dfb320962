"""The OIDs that the proxy knows are PostgreSQL's."""

from __future__ import annotations

from proxy.protocol import oids
from tests.support.postgres import Cluster

NAMES = {name: value for name, value in vars(oids).items() if name.isupper()}


def test_every_constant_is_pg_types(cluster: Cluster) -> None:
    """Each constant is the OID that pg_type has for its name; an array's is that of its element."""
    rows = cluster.rows(
        "SELECT typname, oid::int8, typarray::int8 FROM pg_catalog.pg_type"
        " WHERE typnamespace = 'pg_catalog'::regnamespace"
    )
    types = {str(name): (oid, array) for name, oid, array in rows}
    expected = {}
    for name in NAMES:
        element = name.removesuffix("_ARRAY").lower()
        expected[name] = types[element][name.endswith("_ARRAY")]
    assert expected == NAMES
    assert len(NAMES) > 25
