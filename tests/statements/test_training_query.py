"""The training query: each type's value as the engine gets it, on a real server; errors' places."""

from __future__ import annotations

import datetime as dt
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import psycopg
import pytest

from proxy.engine.columns import FeatureKind
from proxy.errors import (
    DatatypeMismatchError,
    ModelSyntaxError,
    ProxyError,
    UndefinedColumnError,
)
from proxy.protocol import oids
from proxy.registry.schema import migrations
from proxy.rewrite.catalog import FeatureSignature
from proxy.rewrite.columns import ColumnKind
from proxy.rewrite.edits import edited
from proxy.rewrite.inputs import cast_around
from proxy.rewrite.plan import Command
from proxy.rewrite.planner import analyse
from proxy.rewrite.statements import CreateModel
from proxy.rewrite.training_reader import ColumnValues, TrainingReader
from proxy.statements import fetched_columns as module
from proxy.statements.fetched_columns import FetchedColumn, fetched_column
from proxy.statements.fetched_query import FetchedQuery
from proxy.statements.training_query import SampleWeight, clustering_query, training_query
from tests.kernels.encoders import read_fields, read_float8, read_float8_array
from tests.support.postgres import Cluster, temporary_database

Value = float | list[float] | str | None
NAN, INFINITY = math.nan, math.inf
UTC = dt.UTC


def epoch(year: int, month: int, day: int, hour: int = 0) -> float:
    """Return the seconds since 1970 of a moment in UTC."""
    return dt.datetime(year, month, day, hour, tzinfo=UTC).timestamp()


def real(value: float) -> float:
    """Return the nearest float4."""
    return float(struct.unpack("!f", struct.pack("!f", value))[0])


@dataclass(frozen=True)
class Case:
    """Literals of one type, and what the engine is to get for each."""

    sql_type: str
    values: Sequence[tuple[str, Value]]
    kind: FeatureKind


NUMBER, TIME, ARRAY = FeatureKind.NUMBER, FeatureKind.TIME, FeatureKind.ARRAY
CATEGORY, BOOLEAN = FeatureKind.CATEGORY, FeatureKind.BOOLEAN
DAY = 86400.0
CASES = [
    Case("boolean", [("t", 1.0), ("f", 0.0)], BOOLEAN),
    Case("smallint", [("-32768", -32768.0), ("7", 7.0)], NUMBER),
    Case("integer", [("-2147483648", -(2.0**31)), ("0", 0.0)], NUMBER),
    Case("bigint", [("9007199254740992", 2.0**53), ("-1", -1.0)], NUMBER),
    Case("oid", [("4294967295", 2.0**32 - 1)], NUMBER),
    Case("real", [("0.1", real(0.1)), ("NaN", NAN), ("-Infinity", -INFINITY)], NUMBER),
    Case("double precision", [("0.1", 0.1), ("1e308", 1e308), ("Infinity", INFINITY)], NUMBER),
    Case(
        "numeric",
        [("0.1", 0.1), ("-123456789.123456789", -123456789.123456789), ("NaN", NAN)],
        NUMBER,
    ),
    Case("money", [("12.34", float(Decimal("12.34"))), ("-1000000.01", -1000000.01)], NUMBER),
    Case(
        "date",
        [
            ("1970-01-01", 0.0),
            ("2024-02-29", epoch(2024, 2, 29)),
            ("1899-12-31", epoch(1899, 12, 31)),
            ("infinity", INFINITY),
            ("-infinity", -INFINITY),
        ],
        TIME,
    ),
    Case("time without time zone", [("12:34:56.5", 45296.5), ("00:00", 0.0)], TIME),
    Case("time with time zone", [("12:00+02", 36000.0), ("12:00-05:30", 63000.0)], TIME),
    Case(
        "timestamp without time zone",
        [("2024-02-29 12:00:00.25", epoch(2024, 2, 29, 12) + 0.25), ("infinity", INFINITY)],
        TIME,
    ),
    Case(
        "timestamp with time zone",
        [("2024-02-29 12:00+02", epoch(2024, 2, 29, 10)), ("-infinity", -INFINITY)],
        TIME,
    ),
    # A month is 30 days, a year 365.25: EXTRACT(EPOCH FROM interval) of PostgreSQL's manual.
    Case(
        "interval",
        [
            ("1 day 02:00:00.5", DAY + 7200.5),
            ("-2 months", -60 * DAY),
            ("1 year", 365.25 * DAY),
        ],
        TIME,
    ),
    Case("boolean[]", [("{t,f,NULL}", [1.0, 0.0, NAN])], ARRAY),
    Case("smallint[]", [("{1,-2}", [1.0, -2.0]), ("{NULL,3}", [NAN, 3.0])], ARRAY),
    Case("integer[]", [("{1,-2}", [1.0, -2.0])], ARRAY),
    Case("bigint[]", [("{9007199254740992,0}", [2.0**53, 0.0])], ARRAY),
    Case("real[]", [("{0.1,NaN}", [real(0.1), NAN])], ARRAY),
    Case("double precision[]", [("{0.1,1e308}", [0.1, 1e308])], ARRAY),
    Case("numeric[]", [("{0.1,-2.5}", [0.1, -2.5])], ARRAY),
    Case("text", [("", ""), ("naïve 😀", "naïve 😀")], CATEGORY),
    Case("character varying", [("yes", "yes")], CATEGORY),
    Case("character(5)", [("ab", "ab")], CATEGORY),  # a cast to text takes the padding away
    Case("name", [("rome", "rome")], CATEGORY),
    Case('"char"', [("x", "x")], CATEGORY),
    Case(
        "uuid",
        [("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")],
        CATEGORY,
    ),
    Case("mood", [("happy", "happy")], CATEGORY),
    Case("inet", [("10.0.0.1", "10.0.0.1/32")], CATEGORY),  # inet's own cast writes the mask
    Case("jsonb", [('{"a":1}', '{"a": 1}')], CATEGORY),
]


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Iterator[psycopg.Connection]:
    """A connection to a database with an enum, in UTC and American money."""
    with (
        temporary_database(cluster, "training_query") as name,
        psycopg.connect(cluster.dsn(name), autocommit=True) as connection,
    ):
        connection.execute("CREATE TYPE mood AS ENUM ('happy', 'sad')")
        for migration in migrations():  # PREDICT's array arguments go through ml.vector
            connection.execute(migration.sql)
        yield connection


def query_of(server: psycopg.Connection, text: str) -> FetchedQuery:
    """Return the training query as CREATE MODEL makes it of the description."""
    description = server.execute(f"SELECT * FROM ({text}) AS q LIMIT 0").description
    assert description is not None
    columns = [fetched_column(column.name, column.type_code) for column in description]
    return training_query(columns, edited(text, []), 0)


def copied(server: psycopg.Connection, statement: str) -> list[bytes]:
    """Return what COPY sends, one piece for each CopyData."""
    with server.cursor() as cursor, cursor.copy(statement) as copy:
        return [bytes(piece) for piece in copy]


def read(pieces: Sequence[bytes], query: FetchedQuery) -> list[list[Value]]:
    """Read a binary COPY the plain way."""
    stream = b"".join(pieces)
    assert stream.startswith(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    rows: list[list[Value]] = []
    position = 19
    while stream[position : position + 2] != b"\xff\xff":
        end = position + 2
        for _ in query.columns:
            (size,) = struct.unpack_from("!i", stream, end)
            end += 4 + max(size, 0)
        fields = read_fields(stream[position:end], len(query.columns))
        row: list[Value] = []
        for column, field in zip(query.columns, fields, strict=True):
            if column.input.kind is ColumnKind.TEXT:
                row.append(None if field is None else field.decode())
            elif column.input.kind is ColumnKind.FLOAT8_ARRAY:
                row.append(read_float8_array(field))
            else:
                row.append(read_float8(field))
        rows.append(row)
        position = end
    assert stream[position:] == b"\xff\xff"
    return rows


def same(left: Value, right: Value) -> bool:
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    return left == right


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sql_type)
def test_values(server: psycopg.Connection, case: Case) -> None:
    """Every value arrives as the number, seconds, numbers or text that it stands for."""
    literals = ", ".join(f"(($${text}$$)::{case.sql_type})" for text, _ in case.values)
    query = query_of(server, f"SELECT v, 1 AS target FROM (VALUES {literals}) AS t(v)")
    assert query.columns[0].kind is case.kind
    rows = read(copied(server, query.copy(text_as_utf8=False)), query)
    assert len(rows) == len(case.values)
    for (text, expected), (value, target) in zip(case.values, rows, strict=True):
        assert same(value, expected), (text, value)
        assert target == 1.0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sql_type)
def test_null(server: psycopg.Connection, case: Case) -> None:
    """A NULL of any type arrives as a NULL."""
    query = query_of(server, f"SELECT NULL::{case.sql_type} AS v, 1 AS target")
    ((value, _),) = read(copied(server, query.copy(text_as_utf8=False)), query)
    assert value is None or (isinstance(value, float) and math.isnan(value))


@pytest.mark.parametrize("text_as_utf8", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sql_type)
def test_scoring_reads_what_training_read(
    server: psycopg.Connection, case: Case, text_as_utf8: bool
) -> None:
    """PREDICT's argument is made the same number, seconds, numbers or text as the column was."""
    for text, expected in case.values:
        query = query_of(server, f"SELECT $${text}$$::{case.sql_type} AS v, 1 AS target")
        column = query.columns[0]
        width = len(expected) if isinstance(expected, list) else 1
        feature = FeatureSignature("v", column.kind.value, column.sql_type, width)
        before, after = cast_around(feature, text_as_utf8=text_as_utf8)
        scored = f"SELECT {before}v{after}, 1::float8 FROM ({query.query.text}) AS t"
        copy = f"COPY ({scored}) TO STDOUT (FORMAT binary)"
        ((value, _),) = read(copied(server, copy), query)
        assert same(value, expected), (text, value)


def test_names_of_types(server: psycopg.Connection) -> None:
    """Each type of the tables has format_type's name; each has a case above."""
    tables = module._NUMBERS | module._TIMES | module._ARRAYS | module.TEXTS
    tables |= {oids.BOOL: "boolean"}
    rows = server.execute(
        "SELECT oid::int8, format_type(oid, NULL) FROM unnest(%s::oid[]) AS oid", [list(tables)]
    )
    assert dict(rows.fetchall()) == tables
    for type_oid, name in tables.items():
        column = fetched_column("x", type_oid)
        assert (column.sql_type, column.type_oid) == (name, type_oid)
    shown = {case.sql_type.removesuffix("(5)") for case in CASES}
    assert set(tables.values()) <= shown


def test_every_other_type_is_text(server: psycopg.Connection) -> None:
    """A NULL of every type that a column can have is fetched without an error."""
    names = server.execute(
        "SELECT format_type(oid, NULL) FROM pg_type WHERE typtype IN ('b', 'r', 'm', 'e')"
        " AND typelem = 0 AND typnamespace = 'pg_catalog'::regnamespace AND typisdefined"
    ).fetchall()
    assert len(names) > 60
    for (name,) in names:
        query = query_of(server, f"SELECT NULL::{name} AS v, 1 AS target")
        read(copied(server, query.copy(text_as_utf8=False)), query)


def test_hostile_search_path(server: psycopg.Connection) -> None:
    """A schema of the client's own cannot put its own casts, types or functions in (S14)."""
    server.execute(
        "CREATE SCHEMA evil; CREATE DOMAIN evil.float8 AS text; CREATE DOMAIN evil.text AS int;"
        "CREATE FUNCTION evil.date_part(text, date) RETURNS float8"
        " LANGUAGE sql AS 'SELECT -1::float8'"
    )
    server.execute("SET search_path = evil, pg_catalog")
    try:
        query = query_of(server, "SELECT DATE '1970-01-02' AS d, 'x'::name AS n, 3 AS target")
        rows = read(copied(server, query.copy(text_as_utf8=True)), query)
    finally:
        server.execute("RESET search_path")
    assert rows == [[DAY, "x", 3.0]]


@pytest.mark.parametrize("end", ["-- the end", "/* the end */", ""])
def test_a_comment_at_the_end(server: psycopg.Connection, end: str) -> None:
    """A query may end with a comment, and name its columns as it likes, twice too."""
    text = f'SELECT 1 AS "{{}}", 2 AS c0, 3 AS "a"" b", 4 AS target {end}'
    query = query_of(server, f"{text}\n")
    query = replace(query, query=edited(text, []))
    rows = read(copied(server, query.copy(text_as_utf8=False)), query)
    assert rows == [[1.0, 2.0, 3.0, 4.0]]


@pytest.mark.parametrize("encoding", ["LATIN1", "SJIS", "UTF8"])
def test_text_as_utf8(server: psycopg.Connection, encoding: str) -> None:
    """Text comes as UTF-8, whatever the client's encoding."""
    query = query_of(server, r"SELECT U&'na\00EFve' AS v, 'é'::name AS w, 1 AS target")
    if encoding == "SJIS":
        query = query_of(server, r"SELECT U&'\8868\793A' AS v, 'a'::name AS w, 1 AS target")
    server.execute(f"SET client_encoding TO {encoding}")
    try:
        rows = read(copied(server, query.copy(text_as_utf8=True)), query)
    finally:
        server.execute("SET client_encoding TO UTF8")
    assert rows[0][:2] == (["表示", "a"] if encoding == "SJIS" else ["naïve", "é"])


def created(statement: str) -> CreateModel:
    """Read a CREATE MODEL."""
    plan = analyse(statement)
    assert isinstance(plan, Command)
    assert isinstance(plan.statement, CreateModel)
    return plan.statement


@pytest.mark.parametrize("text_as_utf8", [False, True])
@pytest.mark.parametrize(
    "query",
    [
        "SELECT a, 1/0 AS target, nowhere FROM (SELECT 1 AS a) t",
        "SELECT 'é😀' AS a, 1 AS target, nowhere",
        # `default` is quoted for the upstream: what stands behind it moves by two
        "SELECT a, default AS target, nowhere FROM t",
        "\n  SELECT 1 AS a, 2 AS target\n , nowhere -- here\n",
        "SELECT a, default AS target FROM t WHERE nowhere > default",
    ],
)
def test_positions(server: psycopg.Connection, query: str, text_as_utf8: bool) -> None:
    """An error within the query points at its place in the client's statement."""
    statement = f"CREATE MODEL m USING linear_regression (l2: 1) AS {query}"
    create = created(statement)
    columns = [fetched_column("a", oids.TEXT), fetched_column("target", oids.INT4)]
    training = training_query(columns, create.query_rewritten, create.query_start)
    server.execute('CREATE TEMP TABLE IF NOT EXISTS t (a int, "default" int)')
    with pytest.raises(psycopg.errors.UndefinedColumn) as caught:
        copied(server, training.copy(text_as_utf8=text_as_utf8))
    position = int(caught.value.diag.statement_position or 0)
    mapped = training.position_map(text_as_utf8=text_as_utf8)(position)
    assert statement[mapped - 1 :].startswith("nowhere")


def test_a_position_outside_the_query() -> None:
    """A position in what the proxy put around the query points at its nearest end."""
    query = training_query(
        [fetched_column("a", oids.INT4), fetched_column("target", oids.INT4)],
        edited("SELECT 1", []),
        30,
    )
    position_map = query.position_map(text_as_utf8=False)
    assert position_map(1) == 31
    assert position_map(10_000) == 38


class TestTarget:
    def of(self, *columns: tuple[str, int]) -> FetchedQuery:
        made = [fetched_column(name, type_oid) for name, type_oid in columns]
        return training_query(made, edited("SELECT 1", []), 20)

    @pytest.mark.parametrize(
        ("columns", "error", "sqlstate", "words"),
        [
            ([("a", 23)], UndefinedColumnError, "42703", "no column named target"),
            ([("target", 23)], UndefinedColumnError, "42703", "no feature column"),
            ([("target", 23), ("target", 23)], UndefinedColumnError, "42702", "more than one"),
            ([("a", 23), ("a", 25), ("target", 23)], UndefinedColumnError, "42702", '"a"'),
            ([("a", 23), ("target", 1022)], DatatypeMismatchError, "42804", "double precision[]"),
            ([("a", 23), ("target", 1082)], DatatypeMismatchError, "42804", "date"),
        ],
    )
    def test_refused(
        self,
        columns: list[tuple[str, int]],
        error: type[ProxyError],
        sqlstate: str,
        words: str,
    ) -> None:
        """Columns that nothing can be learned from are an error at the query's beginning."""
        with pytest.raises(error) as caught:
            self.of(*columns)
        assert caught.value.sqlstate == sqlstate
        assert words in caught.value.message
        assert caught.value.position == 21

    @pytest.mark.parametrize(
        ("type_oid", "told"),
        [
            (oids.MONEY, oids.NUMERIC),  # labels are plain numbers, not $1.00
            (869, oids.TEXT),  # inet, whose binary form is not its text
            (oids.JSONB, oids.TEXT),
            (16400, 16400),  # an enum
            (oids.UUID, oids.UUID),
            (oids.INT2, oids.INT2),
        ],
    )
    def test_the_type_of_labels(self, type_oid: int, told: int) -> None:
        """Labels are told in the target's own type, if the proxy can write its every form."""
        query = self.of(("a", 23), ("target", type_oid), ("b", 25))
        assert [column.name for column in query.columns] == ["a", "target", "b"]
        assert query.target is not None
        target = query.columns[query.target]
        assert target.type_oid == told
        assert target.expression == fetched_column("target", type_oid).expression
        # the same type as a feature keeps its name
        assert self.of(("a", type_oid), ("target", 23)).columns[0].type_oid == type_oid


class TestSampleWeight:
    def of(self, weight: str, *columns: tuple[str, int]) -> FetchedQuery:
        made = [fetched_column(name, type_oid) for name, type_oid in columns]
        return training_query(
            made, edited("SELECT 1", []), 40, sample_weight=SampleWeight(weight, 33)
        )

    def test_it_is_no_feature(self) -> None:
        """The weight goes to the engine beside the features, as a number."""
        query = self.of("w", ("a", oids.TEXT), ("w", oids.INT4), ("target", oids.BOOL))
        values = [
            ColumnValues(np.array([0, 0], np.int32), (b"x",)),
            ColumnValues(np.array([1.0, 2.5])),
            ColumnValues(np.array([0.0, 1.0])),
        ]
        dataset = query.dataset(values, 2)
        assert [column.name for column in dataset.features] == ["a"]
        assert dataset.target is not None
        assert dataset.target.name == "target"
        assert dataset.sample_weight is not None
        assert dataset.sample_weight.kind is NUMBER
        assert dataset.sample_weight.values.tolist() == [1.0, 2.5]

    @pytest.mark.parametrize(
        ("weight", "columns", "sqlstate", "words"),
        [
            ("wieght", [("a", 23), ("weight", 23), ("target", 23)], "42703", "weight"),
            ("w", [("a", 23), ("w", oids.TEXT), ("target", 23)], "42804", "text"),
            ("w", [("a", 23), ("w", oids.DATE), ("target", 23)], "42804", "date"),
            ("w", [("a", 23), ("w", oids.FLOAT8_ARRAY), ("target", 23)], "42804", "[]"),
            ("target", [("a", 23), ("target", 23)], "22023", "target"),
        ],
    )
    def test_refused(
        self, weight: str, columns: list[tuple[str, int]], sqlstate: str, words: str
    ) -> None:
        """A weight that is none is an error at its name in the statement."""
        with pytest.raises(ProxyError) as caught:
            self.of(weight, *columns)
        error = caught.value
        assert (error.sqlstate, error.position) == (sqlstate, 33)
        assert words in f"{error.message} {error.hint}"

    def test_it_may_not_be_all_there_is(self) -> None:
        """A weight and a target alone give nothing to learn from, at the query's place."""
        with pytest.raises(UndefinedColumnError, match="no feature column beside") as caught:
            self.of("w", ("w", 23), ("target", 23))
        assert caught.value.position == 41


class TestClustering:
    def of(
        self, *columns: tuple[str, int], sample_weight: SampleWeight | None = None
    ) -> FetchedQuery:
        made = [fetched_column(name, type_oid) for name, type_oid in columns]
        return clustering_query(
            "segments", made, edited("SELECT 1", []), 40, sample_weight=sample_weight
        )

    def test_every_column_is_a_feature(self) -> None:
        """Without a target all columns are features, but for the weight."""
        query = self.of(("a", 23), ("w", 701), sample_weight=SampleWeight("w", 33))
        dataset = query.dataset([ColumnValues(np.array([1.0])), ColumnValues(np.array([2.0]))], 1)
        assert dataset.target is None
        assert [column.name for column in dataset.features] == ["a"]
        assert dataset.sample_weight is not None

    def test_a_target_is_refused(self) -> None:
        """A column called target is most likely a mistake: the error says what to do."""
        with pytest.raises(ModelSyntaxError, match="no target") as caught:
            self.of(("a", 23), ("target", 23))
        assert caught.value.position == 41
        assert "Leave the column target out" in str(caught.value.hint)


def test_dataset() -> None:
    """Columns become the engine's, the target apart, categories as text."""
    columns = [
        fetched_column("size", oids.FLOAT8),
        fetched_column("target", oids.BOOL),
        fetched_column("city", oids.TEXT),
        fetched_column("pixels", oids.FLOAT4_ARRAY),
    ]
    query = training_query(columns, edited("SELECT 1", []), 0)
    values = [
        ColumnValues(np.array([1.0, NAN])),
        ColumnValues(np.array([0.0, 1.0])),
        ColumnValues(np.array([0, -1], np.int32), ("Köln".encode(),)),
        ColumnValues(np.array([[1.0, 2.0], [3.0, 4.0]])),
    ]
    dataset = query.dataset(values, 2)
    assert dataset.n_samples == 2
    assert dataset.target is not None
    assert (dataset.target.name, dataset.target.kind) == ("target", BOOLEAN)
    assert dataset.target.values.tolist() == [0.0, 1.0]
    described = [(c.name, c.kind, c.sql_type, c.categories) for c in dataset.features]
    assert described == [
        ("size", NUMBER, "double precision", ()),
        ("city", CATEGORY, "text", ("Köln",)),
        ("pixels", ARRAY, "real[]", ()),
    ]
    assert dataset.features[2].width == 2


def test_the_reader_takes_what_is_sent(server: psycopg.Connection) -> None:
    """A COPY of one column of each kind is what the compiled reader expects of them."""
    query = query_of(
        server,
        "SELECT i AS n, i % 2 = 0 AS b, 'w' || i % 3 AS c, ARRAY[i, NULL] AS a,"
        " timestamptz 'epoch' + i * interval '1 s' AS t, i AS target"
        " FROM generate_series(1, 1000) AS i",
    )
    reader = TrainingReader([column.input for column in query.columns])
    for piece in copied(server, query.copy(text_as_utf8=False)):
        message = b"d" + struct.pack("!i", len(piece) + 4) + piece
        assert reader.feed(message, 0, len(message)) == len(message)
    dataset = query.dataset(reader.finish(), reader.n_rows)
    number, boolean, category, array, time = dataset.features
    rows = np.arange(1.0, 1001.0)
    assert number.values.tolist() == time.values.tolist() == rows.tolist()
    assert boolean.values.tolist() == (rows % 2 == 0).tolist()
    words = [category.categories[code] for code in category.values]
    assert words == [f"w{int(row) % 3}" for row in rows]
    assert array.values[:, 0].tolist() == rows.tolist()
    assert np.isnan(array.values[:, 1]).all()


def test_column_is_a_value() -> None:
    """Two columns of the same name and type are equal."""
    assert fetched_column("a", 23) == fetched_column("a", 23)
    assert isinstance(fetched_column("a", 23), FetchedColumn)
