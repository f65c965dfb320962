"""The names of columns without an alias, where there is PREDICT in their expressions."""

from __future__ import annotations

import pytest

from proxy.rewrite.column_names import column_name
from proxy.rewrite.tree import parse_tree

P = "predict(m, a)"


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        (P, "predict"),
        (f"({P})", "predict"),
        ("Predict_Proba(m, a)", "predict_proba"),
        (f"{P}::int", "predict"),
        (f"CAST({P} AS numeric(10, 2))", "predict"),
        (f"({P} + 1)::int", "int4"),
        (f"({P} + 1)::numeric(4, 2)", "numeric"),
        (f"({P} + 1)::public.my_type", "my_type"),
        (f"({P} + 1)::int::text", "text"),
        (f'{P} COLLATE "C"', "predict"),
        (f'({P} || 1) COLLATE "C"', "?column?"),
        (f"{P} + 1", "?column?"),
        (f"-{P}", "?column?"),
        (f"NOT {P} > 1", "?column?"),
        (f"{P} IS NULL", "?column?"),
        (f"{P} BETWEEN 1 AND 2", "?column?"),
        (f"{P} IN (1, 2)", "?column?"),
        (f"round({P})", "round"),
        (f"pg_catalog.round({P})", "round"),
        (f"avg({P}) FILTER (WHERE true)", "avg"),
        (f"sum({P}) OVER (ORDER BY 1)", "sum"),
        (f"coalesce({P}, 0)", "coalesce"),
        (f"greatest({P}, 0)", "greatest"),
        (f"least({P}, 0)", "least"),
        (f"nullif({P}, 0)", "nullif"),
        (f"CASE WHEN {P} > 1 THEN 1 END", "case"),
        (f"CASE WHEN {P} > 1 THEN 1 ELSE a END", "a"),
        (f"CASE WHEN true THEN 1 ELSE {P} END", "predict"),
        (f"CASE WHEN true THEN 1 ELSE {P} + 1 END", "case"),
        (f"(CASE WHEN {P} > 1 THEN 1 END)::text", "text"),
        (f"CASE WHEN true THEN 1 ELSE ({P} + 1)::int END", "case"),
        (f"ARRAY[{P}]", "array"),
        (f"(ARRAY[{P}])[1]", "array"),
        (f"({P})[1]", "predict"),
        (f"ROW({P}, 1)", "row"),
        (f"({P}, 1)", "row"),
        (f"(ROW({P}, 1)).f1", "f1"),
        (f"EXISTS (SELECT {P})", "exists"),
        (f"ARRAY(SELECT {P})", "array"),
        (f"(SELECT {P})", "predict"),
        (f"(SELECT {P} AS score)", "score"),
        (f"(SELECT {P} + 1)", "?column?"),
        (f"(SELECT ({P} + 1)::int)", "int4"),
        (f"a IN (SELECT {P})", "?column?"),
        ("t.a", "a"),
        (f"extract(year FROM {P})", "extract"),
        (f"substring({P} FROM 1)", "substring"),
        (f"trim({P})", "btrim"),
        (f"{P} AT TIME ZONE 'UTC'", "timezone"),
        (f"json_object('a': {P})", "json_object"),
        (f"json_array({P})", "json_array"),
        (f"CASE WHEN {P} > 1 THEN a ELSE current_date END", "current_date"),
        (f"(VALUES ({P}))", "column1"),
        (f"xmlelement(name x, {P})", "xmlelement"),
        (f"json_arrayagg({P})", "json_arrayagg"),
        (f"json_objectagg('a': {P})", "json_objectagg"),
    ],
)  # fmt: skip
def test_column_name(expression: str, name: str) -> None:
    """An expression's name is PostgreSQL's own."""
    (statement,) = parse_tree(f"SELECT {expression} FROM t")["stmts"]
    (target,) = statement["stmt"]["SelectStmt"]["targetList"]
    assert column_name(target["ResTarget"]["val"]) == name
