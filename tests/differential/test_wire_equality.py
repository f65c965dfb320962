"""The same bytes, sent to PostgreSQL and to the proxy, bring the same messages back."""

from __future__ import annotations

import psycopg
import pytest
import pytest_asyncio

from tests.conftest import Endpoint
from tests.differential import corpus
from tests.support.postgres import Cluster
from tests.support.script import Script, play
from tests.support.wire import Cutter, Message, byte_cuts, codes, random_cuts

ways: dict[str, Cutter | None] = {
    "whole": None,
    "byte by byte": byte_cuts,
    "in slices": lambda data: random_cuts(data, seed=len(data)),
}


@pytest.fixture(scope="module", autouse=True)
def tables(direct: Endpoint) -> None:
    """Make the tables that the scripts read."""
    assert direct.database == corpus.DATABASE
    with psycopg.connect(direct.dsn, autocommit=True) as connection:
        connection.execute(corpus.set_up)


@pytest_asyncio.fixture(params=corpus.scripts, ids=str, scope="module", loop_scope="module")
async def expected(
    request: pytest.FixtureRequest, direct: Endpoint, cluster: Cluster
) -> tuple[Script, list[Message]]:
    """A script, and what PostgreSQL itself answers."""
    script: Script = request.param
    return script, await play(script, direct.address, direct.login, cluster.address)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("way", ways)
async def test_same_messages(
    expected: tuple[Script, list[Message]], way: str, endpoint: Endpoint, cluster: Cluster
) -> None:
    """Every message of the reply is the same, in the same order, however the request is cut."""
    script, wanted = expected
    got = await play(script, endpoint.address, endpoint.login, cluster.address, ways[way])
    assert codes(got) == codes(wanted), (got[-3:], wanted[-3:])
    assert got == wanted
