"""The SQL of a hidden column: an argument, cast so that its binary form is what the engine reads.

Owns the cast of each kind of feature. Leaves reading the bytes to `columns`, which argument it is
to `binding`.
"""

from __future__ import annotations

from proxy.rewrite.catalog import FeatureSignature

_FLOAT8 = "pg_catalog.float8"
_TIMES = {
    "date": "pg_catalog.date",
    "time": "pg_catalog.time",
    "time without time zone": "pg_catalog.time",
    "timetz": "pg_catalog.timetz",
    "time with time zone": "pg_catalog.timetz",
    "timestamptz": "pg_catalog.timestamptz",
    "timestamp with time zone": "pg_catalog.timestamptz",
    "interval": "pg_catalog.interval",
}
# A time that training read as text: `2025-01`.
_TEXTS = {"text", "character varying", "character", "name", '"char"'}
# Types whose cast to float8 needs a step between.
_NUMBERS = {"money": "pg_catalog.money::pg_catalog.numeric::", "oid": "pg_catalog.int8::"}
_ARRAYS = {
    "boolean[]": "pg_catalog.int4[]::",
    "halfvec": "pg_catalog.float4[]::",
    "vector": "pg_catalog.float4[]::",
}


def cast_around(feature: FeatureSignature, *, text_as_utf8: bool) -> tuple[str, str]:
    """Return what stands before and after an argument's text to make it the feature's input.

    The text goes within parentheses and a newline follows it, so that a comment in it ends there.
    Every name is qualified: the client's search_path has no say.
    """
    sql_type = feature.sql_type.removeprefix("pg_catalog.")
    match feature.kind:
        case "number":
            return "(", f"\n)::{_NUMBERS.get(sql_type, '')}{_FLOAT8}"
        case "boolean":
            return "(", f"\n)::pg_catalog.bool::pg_catalog.int4::{_FLOAT8}"
        case "array":
            # A wrong length is the statement's error, so it must arise where its transaction is.
            cast = f"{_ARRAYS.get(sql_type, '')}{_FLOAT8}[]"
            return "ml.vector((", f"\n)::{cast}, {feature.width})"
        case "time" if sql_type in _TEXTS:
            return "ml.text_seconds((", "\n)::pg_catalog.text)"
        case "time":
            time = _TIMES.get(sql_type, "pg_catalog.timestamp")
            return "pg_catalog.date_part('epoch', (", f"\n)::{time})"
        case "category":
            if text_as_utf8:
                return "pg_catalog.convert_to((", "\n)::pg_catalog.text, 'UTF8')"
            return "(", "\n)::pg_catalog.text"
