"""Query strings: each statement where it stands, errors at their places, bounded memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import ModelSyntaxError, ProxyError
from proxy.rewrite.plan import Command, Passthrough, PredictQuery
from proxy.rewrite.statements import DropModel
from proxy.statements import analysis as module
from proxy.statements.analysis import Analyses, Analysis

pytestmark = pytest.mark.asyncio


async def analysed(sql: str, *, standard: bool = True) -> Analysis:
    return await Analyses().of(sql, standard_conforming_strings=standard)


async def test_parts() -> None:
    """Each statement has its text, its place and its plan."""
    sql = "SELECT 1;\n -- models\n DROP MODEL m ; ;SELECT PREDICT(m, a) FROM t;"
    found = await analysed(sql)
    assert [type(part.plan) for part in found.parts] == [Passthrough, Command, PredictQuery]
    for part in found.parts:
        assert sql[part.start : part.start + len(part.sql)] == part.sql
    assert found.parts[0].sql == "SELECT 1"
    assert found.parts[2].sql == "SELECT PREDICT(m, a) FROM t"
    plan = found.parts[1].plan
    assert isinstance(plan, Command)
    assert isinstance(plan.statement, DropModel)
    assert found.is_ours


@pytest.mark.parametrize(
    "sql", ["", ";;", "SELECT 'PREDICT(m)'", "SELECT model FROM cars; -- DROP MODEL m"]
)
async def test_nothing_of_ours(sql: str) -> None:
    """Our words in literals, comments and names make no statement of ours."""
    found = await analysed(sql)
    assert not found.is_ours
    assert found.relations == ()


@settings(deadline=None)
@given(st.text(alphabet="aé😀 ';\n-", max_size=30))
async def test_positions_in_later_statements(before: str) -> None:
    """An error's position counts characters from the beginning of the whole string."""
    wrong = "CREATE MODEL m USING nothing_known AS"
    start = f"SELECT $x${before}$x$, 'é'; "
    with pytest.raises(ProxyError) as caught:
        await analysed(start + wrong + "; SELECT 1")
    alone: ProxyError | None = None
    try:
        await analysed(wrong)
    except ProxyError as error:
        alone = error
    assert alone is not None
    assert alone.position is not None
    assert caught.value.position == len(start) + alone.position
    assert caught.value.message == alone.message


async def test_an_error_is_found_before_anything_runs() -> None:
    """A string with one wrong statement of ours is refused as a whole, as PostgreSQL's parser."""
    with pytest.raises(ModelSyntaxError) as caught:
        await analysed("SELECT 1; DROP MODEL")
    assert caught.value.sqlstate == "42601"


async def test_an_error_is_made_anew() -> None:
    """The position of a repeated error does not move: nothing of it is kept."""
    analyses, positions = Analyses(), set[int | None]()
    for _ in range(3):
        with pytest.raises(ProxyError) as caught:
            await analyses.of("SELECT 1; DROP MODEL", standard_conforming_strings=True)
        positions.add(caught.value.position)
    assert len(positions) == 1


async def test_qualified() -> None:
    """Our relations get their schema in every statement; the way back is to the character."""
    sql = "SELECT 'é' FROM ml_models; UPDATE t SET a = 1; SELECT * FROM ml_models x, ml_models"
    found = await analysed(sql)
    assert found.relations == ("ml_models",)
    first, between, last = found.parts
    assert between.qualified is None
    for part in (first, last):
        edited = part.qualified
        assert edited is not None
        assert edited.text == part.sql.replace("FROM ml_models", "FROM ml.ml_models").replace(
            ", ml_models", ", ml.ml_models"
        )
        position = edited.text.rindex("ml_models")
        assert edited.original_position(position + 1) == part.sql.rindex("ml_models") + 1
        assert edited.original_position(len(edited.text) + 1) == len(part.sql) + 1


async def test_standard_conforming_strings() -> None:
    r"""The setting is part of the question: with it off, `'\'` does not end a string."""
    sql = r"SELECT '\'; DROP MODEL m; --'"
    analyses = Analyses()
    ours = await analyses.of(sql, standard_conforming_strings=True)
    theirs = await analyses.of(sql, standard_conforming_strings=False)
    assert ours.is_ours
    assert not theirs.is_ours


async def test_remembered() -> None:
    """A text that comes again is not read again."""
    analyses = Analyses()
    first = await analyses.of("SELECT PREDICT(m, a)", standard_conforming_strings=True)
    assert await analyses.of("SELECT PREDICT(m, a)", standard_conforming_strings=True) is first
    assert await analyses.of("SELECT PREDICT(m, b)", standard_conforming_strings=True) is not first


async def test_a_long_text() -> None:
    """A text of megabytes is read in a thread, with the same result, and is not kept."""
    analyses = Analyses()
    sql = "SELECT PREDICT(m, a); SELECT '" + "x" * 3_000_000 + "'"
    first = await analyses.of(sql, standard_conforming_strings=True)
    assert [type(part.plan) for part in first.parts] == [PredictQuery, Passthrough]
    assert await analyses.of(sql, standard_conforming_strings=True) is not first


KINDS: dict[str, Callable[[int], str]] = {
    "scores": lambda i: f"SELECT PREDICT(m, {i})",
    "ordinary": lambda i: f"'model{i}'",
    "many statements": lambda i: f"'model{i}';" * 50,
    "long": lambda i: (
        f"SELECT PREDICT(m, a) FROM t WHERE {' AND '.join(['x > 1'] * 60)} OR x = {i}"
    ),
    "long names": lambda i: f"SELECT 'model{'é' * 5000}{i}'",
    "relations": lambda i: f"SELECT {i} FROM ml_models",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_memory(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many texts come, and whatever they are, what is kept stays about within the bound."""
    limit = 1 << 20
    monkeypatch.setattr(module, "_REMEMBERED_BYTES", limit)
    analyses = Analyses()
    first = await analyses.of(KINDS[kind](0), standard_conforming_strings=True)
    count = 2 * limit // first.size_bytes
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(count):
            await analyses.of(KINDS[kind](number), standard_conforming_strings=True)
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 1.5 * limit
    newest = KINDS[kind](count - 1)
    kept = await analyses.of(newest, standard_conforming_strings=True)
    assert await analyses.of(newest, standard_conforming_strings=True) is kept
