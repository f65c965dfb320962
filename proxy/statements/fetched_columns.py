"""The columns of a query that is read: what each becomes, and how its values are fetched.

Owns the table of types. Which columns a query has, and which of them are wanted, is left to
`training_query` and `evaluation_query`.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.engine.columns import FeatureKind
from proxy.protocol import oids
from proxy.rewrite.columns import ColumnKind, InputColumn

_FLOAT8 = "::pg_catalog.float8"
_EPOCH = "pg_catalog.date_part('epoch', {})"
_NUMBERS = {
    oids.INT2: "smallint",
    oids.INT4: "integer",
    oids.INT8: "bigint",
    oids.OID: "oid",
    oids.FLOAT4: "real",
    oids.FLOAT8: "double precision",
    oids.NUMERIC: "numeric",
    oids.MONEY: "money",
}
# Types without a cast to float8 of their own.
_THROUGH = {oids.MONEY: "::pg_catalog.numeric", oids.OID: "::pg_catalog.int8"}
_TIMES = {
    oids.DATE: "date",
    oids.TIME: "time without time zone",
    oids.TIMETZ: "time with time zone",
    oids.TIMESTAMP: "timestamp without time zone",
    oids.TIMESTAMPTZ: "timestamp with time zone",
    oids.INTERVAL: "interval",
}
_ARRAYS = {
    oids.BOOL_ARRAY: "boolean[]",
    oids.INT2_ARRAY: "smallint[]",
    oids.INT4_ARRAY: "integer[]",
    oids.INT8_ARRAY: "bigint[]",
    oids.FLOAT4_ARRAY: "real[]",
    oids.FLOAT8_ARRAY: "double precision[]",
    oids.NUMERIC_ARRAY: "numeric[]",
}
TEXTS = {
    oids.TEXT: "text",
    oids.VARCHAR: "character varying",
    oids.BPCHAR: "character",
    oids.NAME: "name",
    oids.CHAR: '"char"',
    oids.UUID: "uuid",
}


@dataclass(frozen=True, slots=True)
class FetchedColumn:
    """One column of a query that is read.

    Parameters
    ----------
    name : as the query names it
    kind : what the engine makes of it
    sql_type : PostgreSQL's name of its type
    expression : SQL of the value as it is fetched, `{}` stands for the column
    """

    name: str
    kind: FeatureKind
    sql_type: str
    expression: str
    type_oid: int

    @property
    def input(self) -> InputColumn:
        """How the value travels."""
        kinds = {
            FeatureKind.CATEGORY: ColumnKind.TEXT,
            FeatureKind.ARRAY: ColumnKind.FLOAT8_ARRAY,
        }
        return InputColumn(kinds.get(self.kind, ColumnKind.FLOAT8), self.name)


def fetched_column(name: str, type_oid: int) -> FetchedColumn:
    """Return how a column of a type is fetched; a type that is none of ours is read as text."""
    if type_oid == oids.BOOL:
        kind, sql_type, cast = FeatureKind.BOOLEAN, "boolean", "{}::pg_catalog.int4" + _FLOAT8
    elif type_oid in _NUMBERS:
        kind, sql_type = FeatureKind.NUMBER, _NUMBERS[type_oid]
        cast = "{}" + _THROUGH.get(type_oid, "") + _FLOAT8
    elif type_oid in _TIMES:
        kind, sql_type, cast = FeatureKind.TIME, _TIMES[type_oid], _EPOCH
    elif type_oid in _ARRAYS:
        through = "::pg_catalog.int4[]" if type_oid == oids.BOOL_ARRAY else ""
        kind, sql_type = FeatureKind.ARRAY, _ARRAYS[type_oid]
        cast = "{}" + through + "::pg_catalog.float8[]"
    else:
        kind, sql_type = FeatureKind.CATEGORY, TEXTS.get(type_oid, "text")
        cast = "{}::pg_catalog.text"
    return FetchedColumn(name, kind, sql_type, cast, type_oid)
