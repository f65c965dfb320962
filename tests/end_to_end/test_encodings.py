"""Models in sessions whose client_encoding is not UTF-8."""

from __future__ import annotations

import psycopg
import pytest

from tests.conftest import Endpoint, is_direct
from tests.support.datasets import load
from tests.support.wire import Frontend, errors, rows

pytestmark = pytest.mark.skipif(is_direct(), reason="PostgreSQL itself has no models")

words = {"LATIN1": ("été", "naïve", "ß", "plain"), "SJIS": ("ソ連", "表示", "予約", "plain")}
codecs = {"LATIN1": "latin-1", "SJIS": "shift_jis"}


@pytest.fixture(scope="module", params=list(words))
def encoding(request: pytest.FixtureRequest, direct: Endpoint) -> str:
    """An encoding, and the table `words_<encoding>` of words with their values 0, 10, 20, 30."""
    name: str = request.param
    cases = [(i, words[name][i % 4], float(10 * (i % 4))) for i in range(80)]
    with psycopg.connect(direct.dsn, autocommit=True) as connection:
        load(
            connection,
            f"words_{name.lower()}",
            {"id": "int", "größe": "text", "y": "float8"}
            if name == "LATIN1"
            else {"id": "int", "表": "text", "y": "float8"},
            cases,
        )
    return name


@pytest.mark.parametrize("trained", ["here", "in UTF8"])
def test_categories(endpoint: Endpoint, encoding: str, trained: str) -> None:
    """Categories are the same words whatever bytes the session writes them in."""
    name = f"modèle {trained}" if encoding == "LATIN1" else f"予測 {trained}"
    feature = "größe" if encoding == "LATIN1" else "表"
    table = f"words_{encoding.lower()}"
    create = (
        f'CREATE MODEL "{name}" USING linear_regression AS SELECT "{feature}", y AS target'
        f" FROM {table}"
    )
    score = f'SELECT PREDICT("{name}", "{feature}"), "{feature}" FROM {table} ORDER BY id LIMIT 8'
    with (
        psycopg.connect(endpoint.dsn, client_encoding=encoding, autocommit=True) as narrow,
        psycopg.connect(endpoint.dsn, client_encoding="UTF8", autocommit=True) as wide,
    ):
        (narrow if trained == "here" else wide).execute(create)
        wanted = [(pytest.approx(10.0 * (i % 4)), words[encoding][i % 4]) for i in range(8)]
        for connection in (narrow, wide):
            for binary in (False, True):
                assert connection.execute(score, binary=binary).fetchall() == wanted
            literal = f"SELECT PREDICT(\"{name}\", '{words[encoding][2]}')"
            assert connection.execute(literal).fetchall() == [(pytest.approx(20.0),)]
            parameter = f'SELECT PREDICT("{name}", %s::text)'
            got = connection.execute(parameter, [words[encoding][1]]).fetchall()
            assert got == [(pytest.approx(10.0),)]


def test_labels(endpoint: Endpoint, encoding: str) -> None:
    """A predicted label comes back in the session's encoding."""
    feature = "größe" if encoding == "LATIN1" else "表"
    with psycopg.connect(endpoint.dsn, client_encoding=encoding, autocommit=True) as connection:
        connection.execute(
            f"CREATE MODEL word_{encoding} USING logistic_regression(l2: 0.001) AS"
            f' SELECT y, "{feature}" AS target FROM words_{encoding.lower()}'
        )
        sql = (
            f"SELECT PREDICT(word_{encoding}, y) FROM words_{encoding.lower()} ORDER BY id LIMIT 4"
        )
        for binary in (False, True):
            got = [row[0] for row in connection.execute(sql, binary=binary)]
            assert got == list(words[encoding])


@pytest.mark.asyncio
async def test_errors(endpoint: Endpoint, encoding: str) -> None:
    """An error of ours is written in the session's encoding; its place counts characters."""
    login = {**endpoint.login, "client_encoding": encoding}
    async with await Frontend.login(endpoint.address, **login) as client:
        word = words[encoding][0]
        sql = f"SELECT '{word}', PREDICT(\"{word}\", 1)"
        reply = await client.query(sql.encode(codecs[encoding]))
        (message,) = [message for message in reply if message.code == "E"]
        assert word.encode(codecs[encoding]) in message.body
        assert message.sqlstate == "42704"
        assert errors(reply)[0]["P"] == str(sql.index(f'"{word}"') + 1)
        assert rows(await client.query("SELECT 1")) == [("1",)]
