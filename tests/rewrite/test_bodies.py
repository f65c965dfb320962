"""PREDICT in a body that PostgreSQL keeps as a string: refused where it would fail at its call."""

from __future__ import annotations

import pytest

from proxy.errors import UnsupportedError
from proxy.rewrite.bodies import refuse_bodies
from proxy.rewrite.lexer import tokenize
from proxy.rewrite.plan import Passthrough
from proxy.rewrite.planner import analyse


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE FUNCTION f() RETURNS float8 LANGUAGE sql AS 'SELECT ^PREDICT(m, 1)'",
        (
            "CREATE OR REPLACE FUNCTION f() RETURNS float8 AS $$SELECT ^predict(m, *) FROM t$$"
            " LANGUAGE SQL STABLE"
        ),
        "CREATE PROCEDURE p() LANGUAGE 'plpgsql' AS $x$BEGIN PERFORM ^predict_class(m, 1); END$x$",
        "DO $$BEGIN PERFORM 'é', ^PREDICT(m, 1); END$$",
        "DO LANGUAGE plpgsql 'BEGIN PERFORM ^PREDICT(\"m\", 1); END'",
    ],
)
def test_a_body_with_a_call_is_refused(sql: str) -> None:
    """The error is 0A000 and points into the body, at the call."""
    text = sql.replace("^", "")
    with pytest.raises(UnsupportedError) as caught:
        analyse(text)
    assert caught.value.position == sql.index("^") + 1
    assert "body" in caught.value.message


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE FUNCTION predict(m text, a int) RETURNS int LANGUAGE sql AS 'select 1'",
        "CREATE FUNCTION f() RETURNS text LANGUAGE plpython3u AS 'return predict(m, 1)'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$SELECT 1 -- predict(m, 1)\n$$",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$SELECT predict($1, 1)$$",
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$SELECT 'predict(m, 1)'$$",
        "SELECT 'predict(m, 1)'",
        "COMMENT ON FUNCTION f() IS 'predict(m, 1)'",
    ],
)
def test_other_bodies_pass(sql: str) -> None:
    """Another language, another's function, or only the words: it is not ours."""
    refuse_bodies(sql, tokenize(sql))
    assert analyse(sql) == Passthrough()
