"""PREDICT: how arguments find their features, where it may stand, and what is refused."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from functools import cached_property

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


# --- anywhere -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forest(endpoint: Endpoint, homes: None) -> str:
    """A model that is too large for an SQL expression; returns its name."""
    with psycopg.connect(endpoint.dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE MODEL forest USING random_forest(n_trees: 30, max_depth: 8) AS"
            " SELECT a, b, price AS target FROM homes WHERE id <= 2000"
        )
    return "forest"


def b(number: int) -> int:
    return number % 13


class Scores(dict[int, float]):
    """The score of each home, by its number."""

    @cached_property
    def by_inputs(self) -> dict[tuple[int, int], float]:
        """The scores by 16 a and b, of which each pair is some home's."""
        return {(number % 97, b(number)): score for number, score in self.items()}

    @property
    def means(self) -> dict[int, float]:
        """The mean score of the homes of each b."""
        return {
            key: statistics.fmean(score for number, score in self.items() if b(number) == key)
            for key in range(13)
        }


@pytest.fixture(scope="module")
def known(endpoint: Endpoint, price: str, forest: str) -> dict[str, Scores]:
    """The scores of each model for every home, as a plain select list has them."""
    known = {}
    with psycopg.connect(endpoint.dsn, autocommit=True) as connection:
        for model in (price, forest):
            rows = connection.execute(f"SELECT id, PREDICT({model}, a, b) FROM homes".encode())
            known[model] = Scores(rows.fetchall())
    assert known[price] == pytest.approx({i: home_price(i) for i in range(1, 10_001)})
    return known


CUT = 5.03
"""Between two prices, and not near to any."""

Expected = Callable[[Scores], list[tuple[object, ...]]]
places: dict[str, tuple[str, Expected]] = {
    "WHERE": (
        "SELECT id FROM homes WHERE PREDICT({}, a, b) > 5.03 AND id < 400 ORDER BY id",
        lambda known: [(i,) for i in range(1, 400) if known[i] > CUT],
    ),
    "ORDER BY": (
        "SELECT id FROM homes WHERE id <= 20 ORDER BY PREDICT({}, a, b) DESC, id",
        lambda known: [(i,) for i in sorted(range(1, 21), key=lambda i: (-known[i], i))],
    ),
    "ORDER BY and LIMIT": (
        "SELECT PREDICT({}, a, b) AS p FROM homes ORDER BY p LIMIT 5 OFFSET 2",
        lambda known: [(p,) for p in sorted(known.values())[2:7]],
    ),
    "GROUP BY": (
        (
            "SELECT PREDICT({}, a, b) > 5.03, count(*) FROM homes GROUP BY PREDICT({}, a, b) > 5.03"
            " ORDER BY 1"
        ),
        lambda known: [
            (is_high, sum((p > CUT) is is_high for p in known.values()))
            for is_high in (False, True)
        ],
    ),
    "HAVING": (
        "SELECT b FROM homes GROUP BY b HAVING avg(PREDICT({}, a, b)) > 5.03 ORDER BY b",
        lambda known: [(key,) for key, mean in known.means.items() if mean > CUT],
    ),
    "an aggregate": (
        "SELECT b, avg(PREDICT({}, a, b)) FROM homes GROUP BY b ORDER BY b",
        lambda known: list(known.means.items()),
    ),
    "an aggregate's filter": (
        "SELECT count(*) FILTER (WHERE PREDICT({}, a, b) > 5.03) FROM homes",
        lambda known: [(sum(p > CUT for p in known.values()),)],
    ),
    "a window": (
        (
            "SELECT id, rank() OVER (ORDER BY PREDICT({}, a, b), id) FROM homes WHERE id < 9"
            " ORDER BY 2"
        ),
        lambda known: [
            (i, rank) for rank, i in enumerate(sorted(range(1, 9), key=lambda i: (known[i], i)), 1)
        ],
    ),
    "an expression": (
        (
            "SELECT CASE WHEN PREDICT({}, a, b) > 5.03 THEN 2 * PREDICT({}, a, b) END FROM homes"
            " WHERE id < 50 ORDER BY id"
        ),
        lambda known: [(2 * known[i] if known[i] > CUT else None,) for i in range(1, 50)],
    ),
    "a join": (
        (
            "SELECT count(*) FROM homes h JOIN homes k ON h.id = k.id + 1 AND PREDICT({}, h.a, k.b)"
            " > PREDICT({}, k.a, k.b)"
        ),
        lambda known: [
            (sum(known.by_inputs[(i + 1) % 97, b(i)] > known[i] for i in range(1, 10_000)),)
        ],
    ),
    "LATERAL": (
        (
            "SELECT h.id, s.p FROM homes h, LATERAL (SELECT PREDICT({}, h.a, k.b) AS p FROM homes k"
            " WHERE k.id = h.id + 1) AS s WHERE h.id < 20 ORDER BY 1"
        ),
        lambda known: [(i, known.by_inputs[i % 97, b(i + 1)]) for i in range(1, 20)],
    ),
    "a correlated subquery": (
        (
            "SELECT id, (SELECT max(PREDICT({}, k.a, h.b)) FROM homes k WHERE k.id <= h.id)"
            " FROM homes h WHERE id <= 9 ORDER BY id"
        ),
        lambda known: [
            (i, max(known.by_inputs[k, b(i)] for k in range(1, i + 1))) for i in range(1, 10)
        ],
    ),
    "EXISTS": (
        (
            "SELECT count(*) FROM homes h WHERE id < 200 AND NOT EXISTS"
            " (SELECT FROM homes k WHERE k.id = h.id AND PREDICT({}, k.a, k.b) > 5.03)"
        ),
        lambda known: [(sum(known[i] < CUT for i in range(1, 200)),)],
    ),
    "IN": (
        (
            "SELECT count(*) FROM homes WHERE id IN (SELECT id FROM homes WHERE PREDICT({}, a, b)"
            " > 5.03)"
        ),
        lambda known: [(sum(p > CUT for p in known.values()),)],
    ),
    "a subquery": (
        "SELECT count(*), max(p) FROM (SELECT PREDICT({}, *) AS p FROM homes) WHERE p < 5.03",
        lambda known: [
            (sum(p < CUT for p in known.values()), max(p for p in known.values() if p < CUT))
        ],
    ),
    "WITH": (
        (
            "WITH q AS (SELECT *, PREDICT({}, a, b) AS p FROM homes WHERE id < 99),"
            " r AS (SELECT * FROM q WHERE p > 5.03) SELECT id, p FROM r ORDER BY id"
        ),
        lambda known: [(i, known[i]) for i in range(1, 99) if known[i] > CUT],
    ),
    "UNION": (
        (
            "SELECT PREDICT({}, a, b) FROM homes WHERE id = 3 UNION ALL"
            " SELECT PREDICT({}, a, b) FROM homes WHERE id = 4"
        ),
        lambda known: [(known[3],), (known[4],)],
    ),
    "DISTINCT": (
        "SELECT DISTINCT PREDICT({}, a, b) > 5.03 FROM homes ORDER BY 1",
        lambda _: [(False,), (True,)],
    ),
    "VALUES": (
        "VALUES (1, PREDICT({}, 0.1875, 3)), (2, PREDICT({}, 0.25, 4))",
        lambda known: [(1, known[3]), (2, known[4])],
    ),
    "an alias beside it": (
        "SELECT PREDICT({}, a, b) AS p, p * 2 AS q FROM homes WHERE id = 5",
        lambda known: [(known[5], 2 * known[5])],
    ),
    "an argument": (
        "SELECT PREDICT({}, PREDICT({}, a, b), b) AS p FROM homes WHERE id = 5",
        lambda _: [],
    ),
    "an argument in WHERE": (
        "SELECT count(*) FROM homes WHERE PREDICT({}, PREDICT({}, a, b), b) > -1000",
        lambda known: [(len(known),)],
    ),
    "an outer join": (
        (
            "SELECT h.id FROM homes h LEFT JOIN homes k ON k.id = h.id AND PREDICT({}, k.a, k.b)"
            " > 5.03 WHERE k.id IS NULL AND h.id < 50 ORDER BY 1"
        ),
        lambda known: [(i,) for i in range(1, 50) if known[i] < CUT],
    ),
    "WITH before arms in parentheses": (
        (
            "WITH q AS (SELECT a, b FROM homes WHERE id = 7)"
            " (SELECT PREDICT({}, a, b) FROM q) UNION ALL (SELECT PREDICT({}, *) FROM q)"
        ),
        lambda known: [(known[7],), (known[7],)],
    ),
    "INSERT": (
        (
            "INSERT INTO scored (id, p) SELECT id, PREDICT({}, a, b) FROM homes WHERE id < 9"
            " RETURNING id, p"
        ),
        lambda known: [(i, known[i]) for i in range(1, 9)],
    ),
    "UPDATE": (
        (
            "UPDATE homes SET price = PREDICT({}, a, b) WHERE id < 9 AND PREDICT({}, a, b) > 0"
            " RETURNING id, price"
        ),
        lambda known: [(i, known[i]) for i in range(1, 9) if known[i] > 0],
    ),
    "DELETE": (
        (
            "WITH gone AS (DELETE FROM homes WHERE id < 99 AND PREDICT({}, a, b) > 5.03"
            " RETURNING id) SELECT count(*) FROM gone"
        ),
        lambda known: [(sum(known[i] > CUT for i in range(1, 99)),)],
    ),
    "MERGE": (
        (
            "MERGE INTO scored s USING homes h ON s.id = h.id WHEN NOT MATCHED AND h.id < 9 AND"
            " PREDICT({}, h.a, h.b) > 5.03 THEN INSERT (id, p) VALUES (h.id, PREDICT({}, h.a, h.b))"
        ),
        lambda known: [(i, known[i]) for i in range(1, 9) if known[i] > CUT],
    ),
    "CREATE TABLE AS": (
        "CREATE TABLE kept AS SELECT id, PREDICT({}, a, b) AS p FROM homes WHERE id < 9",
        lambda known: [(i, known[i]) for i in range(1, 9)],
    ),
    "SELECT INTO": (
        "SELECT id, PREDICT({}, a, b) AS p INTO kept FROM homes WHERE id < 9",
        lambda known: [(i, known[i]) for i in range(1, 9)],
    ),
}
looked_at = {
    "MERGE": "SELECT id, p FROM scored ORDER BY id",
    "CREATE TABLE AS": "SELECT id, p FROM kept ORDER BY id",
    "SELECT INTO": "SELECT id, p FROM kept ORDER BY id",
}
"""Where a statement itself returns nothing: what to ask afterwards."""
oldest = {"MERGE": 150000, "NOT MATCHED BY SOURCE": 170000, "MERGE with a join": 170000}
"""The server that a place needs."""


def need_server(client: psycopg.Connection, place: str) -> None:
    if client.info.server_version < oldest.get(place, 0):
        pytest.skip("the server has no such statement")


@pytest.mark.parametrize("prepare", [False, True], ids=["simple", "prepared"])
@pytest.mark.parametrize("model", ["price", "forest"])
@pytest.mark.parametrize("place", places)
def test_anywhere(
    client: psycopg.Connection, known: dict[str, Scores], place: str, model: str, prepare: bool
) -> None:
    """Wherever a call stands, its value is what a plain select list says."""
    need_server(client, place)
    statement, expected_of = places[place]
    text = statement.replace("{}", model)
    if place == "an argument":
        inner = known[model][5]
        expected = client.execute(f"SELECT PREDICT({model}, {inner!r}, 5)").fetchall()
    else:
        expected = expected_of(known[model])
    with client.transaction(force_rollback=True):
        client.execute("CREATE TEMP TABLE scored (id int, p float8)")
        cursor = client.execute(text, prepare=prepare)
        got = cursor.fetchall() if cursor.description else []
        if place in looked_at:
            got = client.execute(looked_at[place].encode()).fetchall()
    assert got == [
        tuple(pytest.approx(cell) if isinstance(cell, float) else cell for cell in row)
        for row in expected
    ]


not_yet = {
    "ROLLUP": "SELECT b, PREDICT(forest, 1, b) > -1000 FROM homes GROUP BY ROLLUP (b)",
    "GROUPING SETS": (
        "SELECT count(*) FROM homes GROUP BY GROUPING SETS (b, ())"
        " HAVING PREDICT(forest, 1, b) > -1000"
    ),
    "NOT MATCHED BY SOURCE": (
        "MERGE INTO homes t USING (SELECT id FROM homes WHERE id > 50) s ON s.id = t.id"
        " WHEN NOT MATCHED BY SOURCE AND PREDICT(forest, t.id, t.b) > -1000 THEN DELETE"
    ),
}


@pytest.mark.parametrize("place", not_yet)
def test_not_yet_of_a_large_model(
    client: psycopg.Connection, known: dict[str, Scores], place: str
) -> None:
    """Rows that are none of the table's are not read beforehand: that is said, and all goes on."""
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        client.execute(not_yet[place].encode())
    assert scores(client, "SELECT 1") == [(1,)]


def test_a_merge_with_a_join(client: psycopg.Connection, known: dict[str, Scores]) -> None:
    """The ON of a join in USING is not the MERGE's own."""
    statement = (
        "MERGE INTO homes t USING homes s JOIN homes r ON s.id = r.id ON t.id = s.id AND s.id < 9"
        " WHEN MATCHED AND PREDICT(forest, t.a, r.b) > 5.03 THEN DELETE"
    )
    with client.transaction(force_rollback=True):
        client.execute(statement.encode())
        left = client.execute("SELECT id FROM homes WHERE id < 9 ORDER BY id").fetchall()
    assert left == [(i,) for i in range(1, 9) if known["forest"][i] <= CUT]


def test_the_list_is_computed_for_the_rows_that_are_wanted(
    client: psycopg.Connection, forest: str
) -> None:
    """A volatile function in the list of a sorted and limited query is called for its rows only."""
    with client.transaction(force_rollback=True):
        client.execute("CREATE SEQUENCE numbers")
        client.execute(
            "SELECT nextval('numbers') FROM homes ORDER BY PREDICT(forest, a, b) LIMIT 3"
        )
        assert scores(client, "SELECT last_value FROM numbers") == [(3,)]


def test_the_name_of_an_alias_alone(client: psycopg.Connection, price: str) -> None:
    """A column that is only an alias of a call has that name."""
    description = client.execute("SELECT PREDICT(price, a, b) AS p, p FROM homes").description
    assert [column.name for column in description or ()] == ["p", "p"]


def test_an_alias_without_a_table(client: psycopg.Connection, price: str) -> None:
    """Where nothing is selected from, an alias beside its call can be nothing else."""
    got = client.execute("SELECT PREDICT(price, 2.0, 4) AS p, p + 1").fetchall()
    assert got == [(pytest.approx(5.0), pytest.approx(6.0))]


def test_a_view_keeps_the_model(client: psycopg.Connection, price: str) -> None:
    """A view has the model's expression in it; whoever reads it needs no proxy."""
    with client.transaction(force_rollback=True):
        notices: list[str] = []
        client.add_notice_handler(lambda diag: notices.append(str(diag.message_primary)))
        client.execute(
            "CREATE VIEW view AS SELECT id, PREDICT(price, a, b) AS p FROM homes WHERE id < 5"
        )
        assert any("price:1.0" in notice for notice in notices)
        got = client.execute("SELECT * FROM view ORDER BY id").fetchall()
    assert got == [(i, pytest.approx(home_price(i))) for i in range(1, 5)]


def test_explain_and_copy(client: psycopg.Connection, known: dict[str, Scores]) -> None:
    """EXPLAIN has a plan to show, and COPY copies."""
    for model, scores_of in known.items():
        plan = scores(client, f"EXPLAIN SELECT id FROM homes WHERE PREDICT({model}, a, b) > 5")
        assert "homes" in str(plan)
        copying = f"COPY (SELECT PREDICT({model}, a, b) FROM homes WHERE id = 7) TO STDOUT"
        with client.cursor().copy(copying.encode()) as copy:
            (row,) = copy.rows()
        assert float(str(row[0])) == pytest.approx(scores_of[7])


def test_a_cursor(client: psycopg.Connection, known: dict[str, Scores]) -> None:
    """DECLARE of a query with PREDICT makes a cursor like any other."""
    for model, scores_of in known.items():
        with client.transaction():
            client.execute(
                f"DECLARE c CURSOR FOR SELECT PREDICT({model}, a, b) + 0 FROM homes ORDER BY id"
            )
            client.execute("MOVE 4 FROM c")
            assert scores(client, "FETCH 1 FROM c") == [(pytest.approx(scores_of[5]),)]


def test_sql_s_own_prepare(client: psycopg.Connection, price: str) -> None:
    """PREPARE and EXECUTE of SQL serve a model that is small."""
    client.execute("PREPARE s (int) AS SELECT PREDICT(price, a, b) FROM homes WHERE id = $1")
    assert scores(client, "EXECUTE s (9)") == [(pytest.approx(home_price(9)),)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW view AS SELECT PREDICT(forest, a, b) FROM homes",
        "PREPARE s AS SELECT PREDICT(forest, a, b) FROM homes",
        "UPDATE homes SET price = -77 RETURNING 1 + PREDICT(forest, a, b)",
    ],
)
def test_refused_of_a_large_model(client: psycopg.Connection, forest: str, statement: str) -> None:
    """What cannot be scored beforehand is an error at the call, and changes nothing."""
    with pytest.raises(psycopg.errors.FeatureNotSupported) as caught:
        client.execute(statement.encode())
    assert caught.value.diag.statement_position == str(statement.index("PREDICT") + 1)
    assert scores(client, "SELECT count(*) FROM homes WHERE price = -77") == [(0,)]


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
    ("SELECT id FROM homes WHERE PREDICT(unheard_of, a, b) > 3", "42704", "unheard_of"),
    ("UPDATE homes SET price = PREDICT(price, a, nothing)", "42703", "nothing"),
    ("DELETE FROM homes WHERE PREDICT(price, a, b, 7) > 3", "42883", "7"),
    ("SELECT b FROM homes HAVING PREDICT(price, a, b) > 3", "42803", "b FROM"),
    ("SELECT id FROM homes WHERE PREDICT(price, h.*) > 3", "42P01", None),
    ("CREATE INDEX ON homes (PREDICT(price, a, b))", "0A000", "PREDICT"),
    ("ALTER TABLE homes ADD CHECK (PREDICT(price, a, b) > 3)", "0A000", "PREDICT"),
    ("SELECT avg(PREDICT(price, a, b) OVER ()) FROM homes", "0A000", "PREDICT"),
    ("SELECT PREDICT_EXPLAIN(price, a, b) FROM homes", "0A000", "PREDICT_EXPLAIN"),
    ("SELECT PREDICT_PROBA(price, a, b) + 1 FROM homes", "42804", "PREDICT_PROBA"),
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
