"""PREDICT in the select list: how arguments find their features, and what is refused."""

from __future__ import annotations

import re

import psycopg
import pytest

from tests.conftest import Endpoint, is_direct
from tests.support.datasets import home_price

pytestmark = pytest.mark.skipif(is_direct(), reason="PostgreSQL itself has no models")

FLOAT8 = 701


def scores(client: psycopg.Connection, statement: str, **options: bool) -> list[tuple[object, ...]]:
    return client.execute(statement, **options).fetchall()


# --- arguments ------------------------------------------------------------------------------------

FIFTY = "ORDER BY id LIMIT 50"
forms = {
    "by name": f"SELECT id, PREDICT(price, a, b) AS p FROM homes {FIFTY}",
    "names in another order": f"SELECT id, PREDICT(price, b, a) AS p FROM homes {FIFTY}",
    "star": f"SELECT id, PREDICT(price, *) AS p FROM homes {FIFTY}",
    "table star": f"SELECT id, PREDICT(price, h.*) AS p FROM homes AS h {FIFTY}",
    "qualified": f"SELECT h.id, PREDICT(price, h.a, h.b) FROM homes h {FIFTY}",
    "expressions": f"SELECT id, PREDICT(price, a + 0, b * 1) AS p FROM homes {FIFTY}",
    "small letters": f"select id, predict(price, a, b) as p from homes {FIFTY}",
    "version": f"SELECT id, PREDICT('price:1.0', a, b) AS p FROM homes {FIFTY}",
    "name in quotes": f'SELECT id, PREDICT("price", "a", "b") FROM homes {FIFTY}',
    "comments": f"SELECT id, /* ( */ PREDICT -- x\n (price, /* , */ a, b) FROM homes {FIFTY}",
    "subquery": f"SELECT id, PREDICT(price, q.*) FROM (SELECT * FROM homes) AS q {FIFTY}",
    "WITH": f"WITH q AS (SELECT * FROM homes) SELECT id, PREDICT(price, *) FROM q {FIFTY}",
    "join": f"SELECT h.id, PREDICT(price, h.*) FROM homes h JOIN homes k USING (id) {FIFTY}",
    "semicolon": f"SELECT id, PREDICT(price, a, b) FROM homes {FIFTY};",
}


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize("form", forms)
def test_forms(client: psycopg.Connection, price: str, form: str, binary: bool) -> None:
    """Every way to name the features gives the same scores."""
    got = scores(client, forms[form], binary=binary)
    assert got == [(i, pytest.approx(home_price(i), rel=1e-9)) for i in range(1, 51)]


def test_column_names(client: psycopg.Connection, price: str) -> None:
    """The column is called by its alias, or predict, and is a float8; nothing hidden shows."""
    for sql, name in (
        ("SELECT id, PREDICT(price, *) AS p, a FROM homes LIMIT 1", "p"),
        ("SELECT id, PREDICT(price, *) p, a FROM homes LIMIT 1", "p"),
        ("SELECT id, PREDICT(price, *), a FROM homes LIMIT 1", "predict"),
    ):
        description = client.execute(sql).description
        assert description is not None
        assert [column.name for column in description] == ["id", name, "a"]
        assert [column.type_code for column in description] == [23, FLOAT8, FLOAT8]


def test_several_models(client: psycopg.Connection, price: str) -> None:
    """One row may hold the scores of several models, between any other columns."""
    client.execute(
        "CREATE MODEL twice_the_price USING linear_regression AS"
        " SELECT a, b, 2 * price AS target FROM homes WHERE id < 1000"
    )
    got = scores(
        client,
        "SELECT PREDICT(price, *), label, PREDICT(twice_the_price, a, b), NULL,"
        " PREDICT(price, b, a)"
        " FROM homes WHERE id IN (3, 4) ORDER BY id",
    )
    expected = [home_price(3), home_price(4)]
    assert got == [
        (
            pytest.approx(value),
            f"home {number}",
            pytest.approx(2 * value),
            None,
            pytest.approx(value),
        )
        for number, value in zip((3, 4), expected, strict=True)
    ]


def test_no_from(client: psycopg.Connection, price: str) -> None:
    """Without a table, constants are scored."""
    assert scores(client, "SELECT PREDICT(price, 2.0, 4)") == [(pytest.approx(5.0),)]


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_parameters(client: psycopg.Connection, price: str, binary: bool) -> None:
    """$1 may be a feature, a part of one, or a part of the rest of the query."""
    for sql, arguments, expected in (
        ("SELECT PREDICT(price, %s::float8, %s::int)", [2.0, 4], 5.0),
        ("SELECT PREDICT(price, %s, %s)", [2.0, 4], 5.0),
        (
            "SELECT PREDICT(price, a + %s, b) FROM homes WHERE id = %s",
            [10.0, 7],
            home_price(7) + 20,
        ),
        ("SELECT PREDICT(price, *) FROM homes WHERE id = %s", [8], home_price(8)),
    ):
        got = client.execute(sql, arguments, binary=binary).fetchall()
        assert got == [(pytest.approx(expected),)], sql


def test_wide_types(client: psycopg.Connection, price: str) -> None:
    """A feature may come in any type that has a number."""
    for expression in ("2::int2", "2::int8", "2::float4", "2::numeric", "'2'::text::int"):
        got = scores(client, f"SELECT PREDICT(price, {expression}, 4)")
        assert got == [(pytest.approx(5.0),)], expression


def test_clauses(client: psycopg.Connection, price: str) -> None:
    """Everything else in the query stays PostgreSQL's: order, grouping, windows, set-returning."""
    got = scores(
        client,
        "SELECT h.b, row_number() OVER (ORDER BY h.id), PREDICT(price, h.*)"
        " FROM (SELECT * FROM homes WHERE id <= 3) AS h ORDER BY h.id DESC",
    )
    assert [row[1] for row in got] == [3, 2, 1]
    assert [row[2] for row in got] == [pytest.approx(home_price(i)) for i in (3, 2, 1)]
    grouped = scores(
        client,
        "SELECT b, PREDICT(price, max(a), b) FROM homes WHERE id <= 97 GROUP BY b ORDER BY b",
    )
    assert len(grouped) == 13


def test_many_rows(client: psycopg.Connection, price: str) -> None:
    """Ten thousand rows, beside wide texts, come in order and complete."""
    got = scores(client, "SELECT id, repeat(label, 20), PREDICT(price, *) FROM homes ORDER BY id")
    assert [row[0] for row in got] == list(range(1, 10_001))
    assert got[4999][1] == "home 5000" * 20
    worst = max(abs(float(str(row[2])) - home_price(i)) for i, row in enumerate(got, 1))
    assert worst < 1e-9


def test_no_row(client: psycopg.Connection, price: str) -> None:
    """No row in, no row out."""
    assert scores(client, "SELECT id, PREDICT(price, *) FROM homes WHERE false") == []


# --- the number of arguments ----------------------------------------------------------------------


def test_missing_argument(client: psycopg.Connection, price: str) -> None:
    """A feature left out is imputed by its mean, with one notice."""
    notices: list[str] = []
    client.add_notice_handler(
        lambda diag: notices.append(f"{diag.message_primary} {diag.message_detail}")
    )
    (mean,) = scores(client, "SELECT avg(b)::float8 FROM homes WHERE id <= 2000")[0]
    got = scores(client, "SELECT PREDICT(price, a) FROM homes WHERE id IN (16, 32) ORDER BY id")
    assert isinstance(mean, float)
    assert got == [(pytest.approx(3 + 2 * a - mean / 2),) for a in (1.0, 2.0)]
    assert len(notices) == 1
    assert re.search(r"\bb\b", notices[0]), notices


# --- errors ---------------------------------------------------------------------------------------

refused = [
    ("SELECT PREDICT(unheard_of, a, b) FROM homes", "42704", "unheard_of"),
    ("SELECT 'é', PREDICT(unheard_of, a, b) FROM homes", "42704", "unheard_of"),
    ("SELECT PREDICT('price:9.0', a, b) FROM homes", "42704", "'price:9.0'"),
    ("SELECT PREDICT(price, a, nothing) FROM homes", "42703", "nothing"),
    ("SELECT id,\n  PREDICT(price, a, b) + nothing FROM homes", None, None),
    ("SELECT PREDICT(price, a + 0, b + 0, 7 + 0) FROM homes", "42883", None),
    ("SELECT PREDICT(price, 'x'::text, b) FROM homes", None, None),
    ("SELECT PREDICT() FROM homes", None, None),
    ("SELECT id FROM homes WHERE PREDICT(price, a, b) > 3", "0A000", "PREDICT"),
    ("SELECT count(*) FROM homes GROUP BY PREDICT(price, a, b)", "0A000", "PREDICT"),
    ("SELECT avg(PREDICT(price, a, b)) FROM homes", "0A000", "PREDICT"),
    ("SELECT b FROM homes GROUP BY b HAVING PREDICT(price, 1, b) > 3", "0A000", "PREDICT"),
    ("SELECT id FROM homes h JOIN homes k ON PREDICT(price, h.*) > k.a", "0A000", "PREDICT"),
    ("UPDATE homes SET price = PREDICT(price, a, b)", "0A000", "PREDICT"),
    ("INSERT INTO homes (price) SELECT PREDICT(price, a, b) FROM homes", "0A000", "PREDICT"),
    ("CREATE TABLE scored AS SELECT PREDICT(price, a, b) FROM homes", "0A000", "PREDICT"),
    ("DELETE FROM homes WHERE PREDICT(price, a, b) > 3", "0A000", "PREDICT"),
    ("SELECT DISTINCT PREDICT(price, a, b) FROM homes", "0A000", "PREDICT"),
    ("SELECT PREDICT(price, a, b) FROM homes UNION SELECT 1", "0A000", "PREDICT"),
    ("SELECT (SELECT PREDICT(price, h.*)) FROM homes h", "0A000", "PREDICT"),
    ("SELECT id FROM homes WHERE id IN (SELECT PREDICT(price, 1, 2))", "0A000", "PREDICT"),
]


@pytest.mark.parametrize(("statement", "sqlstate", "place"), refused)
@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "prepared"])
def test_refused(
    client: psycopg.Connection,
    price: str,
    statement: str,
    sqlstate: str | None,
    place: str | None,
    prepare: bool,
) -> None:
    """What cannot be honoured is an error that points at its place, and never runs half."""
    with pytest.raises(psycopg.Error) as caught:
        client.execute(statement, prepare=prepare)
    diag = caught.value.diag
    assert diag.sqlstate is not None
    assert diag.sqlstate[:2] not in {"XX", "08"}, diag.message_primary
    if sqlstate is not None:
        assert diag.sqlstate == sqlstate, diag.message_primary
    if place is not None:
        assert diag.statement_position == str(statement.index(place) + 1), diag.message_primary
    assert client.execute("SELECT count(*) FROM homes").fetchone() == (10_000,)


def test_error_of_the_server_has_its_place(client: psycopg.Connection, price: str) -> None:
    """The position in the server's own errors counts in the client's text, not in the rewritten."""
    statement = "SELECT PREDICT(price, a, b) AS p, nothing FROM homes"
    with pytest.raises(psycopg.errors.UndefinedColumn) as caught:
        client.execute(statement)
    assert caught.value.diag.statement_position == str(statement.index("nothing") + 1)
    statement = "SELECT id, PREDICT(price, *) FROM homes WHERE nothing > 3"
    with pytest.raises(psycopg.errors.UndefinedColumn) as caught:
        client.execute(statement)
    assert caught.value.diag.statement_position == str(statement.index("nothing") + 1)


def test_function_of_the_user(direct: Endpoint, client: psycopg.Connection, price: str) -> None:
    """A user's own function called predict is reached by its schema."""
    with psycopg.connect(direct.dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION public.predict(a int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1'"
        )
    assert scores(client, "SELECT public.predict(41)") == [(42,)]
    assert scores(client, "SELECT 'PREDICT(price, 1, 2)' AS predict") == [("PREDICT(price, 1, 2)",)]
