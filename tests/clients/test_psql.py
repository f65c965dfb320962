"""psql: its own commands, on queries with PREDICT and without, of version 18 and of 15."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients import programs
from tests.clients.answers import Answers, close
from tests.clients.conftest import Login

FIRST = "SELECT customer_id, PREDICT(churn, *) AS risk FROM customers WHERE customer_id <= {}"
TWO = FIRST.format(2) + " ORDER BY customer_id"

every_psql = pytest.mark.parametrize(
    "find", [programs.own_psql, programs.other_psql], ids=["own", "other"]
)
Find = Callable[[], Path]


def psql(
    find: Find, where: Login, script: str, *options: str, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script, unaligned and without headings."""
    command: list[str | Path] = [find(), "-XAtq", *options]
    return programs.run(command, where.environment, script=script, folder=folder)


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    return programs.output(done).splitlines()


def read(printed: list[str]) -> list[tuple[int, float]]:
    """Return lines such as 1|0.25 as their two numbers."""
    return [(int(key), float(value)) for key, value in (line.split("|") for line in printed)]


# --- every version --------------------------------------------------------------------------------


@every_psql
def test_gdesc(login: Login, find: Find) -> None:
    r"""\gdesc tells the names and types and runs nothing."""
    got = lines(psql(find, login, f"{FIRST.format('1/0')} \\gdesc"))
    assert got == ["customer_id|integer", "risk|double precision"]


@every_psql
def test_variables(login: Login, answers: Answers, find: Find) -> None:
    r"""A variable may stand in the query; \gset keeps a score in one."""
    script = f"\\set last 1\n{FIRST.format(':last')} \\gset\n\\echo :customer_id|:risk"
    assert read(lines(psql(find, login, script))) == answers.first(1)


@every_psql
def test_ways_to_show(login: Login, answers: Answers, find: Find, tmp_path: Path) -> None:
    r"""\gx, \g with a file, \gexec and \crosstabview show the scores."""
    script = f"""
        {FIRST.format(1)} \\gx
        {TWO} \\g 'scores'
        SELECT 'SELECT ' || i || ', predict(churn, *) FROM customers WHERE customer_id = ' || i
        FROM generate_series(1, 2) AS i \\gexec
        SELECT 'risk' AS row, customer_id, predict(churn, *) AS p FROM customers
        WHERE customer_id <= 2 ORDER BY customer_id \\crosstabview row customer_id p
    """
    customer, risk, *rest = lines(psql(find, login, script, folder=tmp_path))
    assert customer == "customer_id|1"
    assert float(risk.removeprefix("risk|")) == close(answers.risk(1))
    assert read((tmp_path / "scores").read_text().splitlines()) == answers.first(2)
    assert read(rest[:2]) == answers.first(2)
    (crossed,) = rest[2:]
    assert [float(value) for value in crossed.split("|")[1:]] == [
        close(answers.risk(1)),
        close(answers.risk(2)),
    ]


@every_psql
def test_watch(login: Login, answers: Answers, find: Find) -> None:
    r"""\watch runs a query again and again, until it fails."""
    script = """
        CREATE TEMP SEQUENCE turns;
        SELECT 1 / (3 - nextval('turns')), PREDICT(churn, 6, 79.99, 'One year') \\watch 0.05
        SELECT 'on';
    """
    done = psql(find, login, script)
    assert done.stderr.strip() == "ERROR:  division by zero"
    shown = [line for line in done.stdout.splitlines() if line and "(every" not in line]
    risk = close(answers.score(6, 79.99, "One year"))
    assert read(shown[:2]) == [(0, risk), (1, risk)]
    assert shown[2:] == ["on"]


@every_psql
def test_copy(login: Login, answers: Answers, find: Find, tmp_path: Path) -> None:
    r"""\copy writes and reads files; a result with scores goes to one by --csv."""
    script = """
        \\copy (SELECT customer_id, churned FROM customers) TO 'churned.csv' WITH (FORMAT csv)
        CREATE TEMP TABLE churned (customer_id int, churned int);
        \\copy churned FROM 'churned.csv' WITH (FORMAT csv)
        SELECT count(*), sum(churned) FROM churned;
    """
    assert lines(psql(find, login, script, folder=tmp_path)) == ["7043|1869"]
    printed = lines(psql(find, login, TWO + ";", "--csv"))
    assert read([line.replace(",", "|") for line in printed]) == answers.first(2)


@every_psql
@pytest.mark.parametrize(
    "command", ["\\d", "\\d customers", "\\d+ customers", "\\dt", "\\di", "\\df", "\\sf abs(int)"]
)
def test_describe(login: Login, upstream: Login, find: Find, command: str) -> None:
    r"""\d and its kin show what they show without pgseer."""
    shown, plain = (lines(psql(find, where, command)) for where in (login, upstream))
    assert shown == plain


@every_psql
def test_transactions(login: Login, answers: Answers, find: Find) -> None:
    """--single-transaction and ON_ERROR_ROLLBACK are kept."""
    assert read(lines(psql(find, login, TWO + ";", "--single-transaction"))) == answers.first(2)
    script = f"""
        \\set ON_ERROR_ROLLBACK on
        BEGIN;
        SELECT PREDICT(chrun, *) FROM customers;
        {TWO};
        COMMIT;
    """
    done = psql(find, login, script)
    assert 'ERROR:  model "chrun" does not exist' in done.stderr
    assert read(done.stdout.splitlines()) == answers.first(2)


@every_psql
def test_error(login: Login, find: Find) -> None:
    """An error is shown with its line, a caret and the hint; the session goes on."""
    script = "SELECT 1,\n  PREDICT(chrun, *) FROM customers;\n\\echo :SQLSTATE\nSELECT 'on';"
    done = psql(find, login, script)
    assert done.stdout.splitlines() == ["42704", "on"]
    assert done.stderr.splitlines() == [
        'ERROR:  model "chrun" does not exist',
        "LINE 2:   PREDICT(chrun, *) FROM customers;",
        "                  ^",
        'HINT:  Perhaps you mean "churn".',
    ]


@every_psql
def test_commands(login: Login, find: Find) -> None:
    """The statements of the dialect end with their tags, and their rows are psql's."""
    script = """
        CREATE MODEL by_psql USING logistic_regression(l2: 0.5)
        AS SELECT tenure_months, churned AS target FROM customers;
        SELECT version FROM ml_models WHERE model_name = 'by_psql';
        DROP MODEL by_psql;
        SHOW MODELS;
    """
    command: list[str | Path] = [find(), "-XAt"]
    done = programs.run(command, login.environment, script=script)
    created, version, dropped, *shown = done.stdout.splitlines()
    assert done.stderr.startswith('NOTICE:  model "by_psql" version 1.0: 7043 rows')
    assert (created, version, dropped) == ("CREATE MODEL", "1.0", "DROP MODEL")
    assert [line.split("|")[0] for line in shown] == ["churn"]


# --- newer ones -----------------------------------------------------------------------------------


def test_bind(login: Login, answers: Answers) -> None:
    r"""\bind gives the parameters: of the model, and of the rest."""
    script = f"""
        SELECT 1, PREDICT(churn, $1, $2, $3) \\bind 6 79.99 'One year' \\g
        {FIRST.format("$1")} ORDER BY 1 \\bind 2 \\g
    """
    guess, *rows = read(lines(psql(programs.own_psql, login, script)))
    assert guess == (1, close(answers.score(6, 79.99, "One year")))
    assert rows == answers.first(2)


def test_parse(login: Login, answers: Answers) -> None:
    r"""\parse prepares and \bind_named runs, many times; \close_prepared ends it."""
    script = f"""
        {FIRST.format("$1")} ORDER BY 1 \\parse scores
        \\bind_named scores 1 \\g
        \\bind_named scores 2 \\g
        \\close_prepared scores
        \\bind_named scores 2 \\g
    """
    done = psql(programs.own_psql, login, script)
    assert done.stderr.strip() == 'ERROR:  prepared statement "scores" does not exist'
    assert read(done.stdout.splitlines()) == answers.first(1) + answers.first(2)


def test_pipeline(login: Login, answers: Answers) -> None:
    """Statements of a pipeline are answered in order; an error is that of one of them."""
    script = f"""
        \\startpipeline
        {FIRST.format("$1")} ORDER BY 1 \\bind 2 \\sendpipeline
        SELECT 3, PREDICT(churn, $1, $2, $3) \\bind 6 79.99 'One year' \\sendpipeline
        \\syncpipeline
        SELECT PREDICT(chrun, $1) \\bind 6 \\sendpipeline
        SELECT 0, 'skipped' \\bind \\sendpipeline
        \\syncpipeline
        {FIRST.format(1)} \\bind \\sendpipeline
        \\endpipeline
    """
    done = psql(programs.own_psql, login, script)
    assert 'ERROR:  model "chrun" does not exist' in done.stderr
    assert read(done.stdout.splitlines()) == [
        *answers.first(2),
        (3, close(answers.score(6, 79.99, "One year"))),
        *answers.first(1),
    ]


def test_fetch_count(login: Login, answers: Answers) -> None:
    """FETCH_COUNT reads in portions, without a cursor since psql 17."""
    script = f"\\set FETCH_COUNT 2\n{FIRST.format(5)} ORDER BY 1;"
    assert read(lines(psql(programs.own_psql, login, script))) == answers.first(5)


@every_psql
def test_copy_of_scores(login: Login, answers: Answers, find: Find, tmp_path: Path) -> None:
    r"""\copy writes scores to a file."""
    query = FIRST.format(100) + " ORDER BY customer_id"
    programs.output(
        psql(find, login, f"\\copy ({query}) TO 'scores' (DELIMITER '|')", folder=tmp_path)
    )
    assert read((tmp_path / "scores").read_text().splitlines()) == answers.first(100)
    assert read(lines(psql(find, login, f"COPY ({query}) TO STDOUT (DELIMITER '|');"))) == (
        answers.first(100)
    )


def test_fetch_count_by_a_cursor(login: Login, answers: Answers) -> None:
    """FETCH_COUNT of psql before 17 is a cursor made by SQL."""
    script = f"\\set FETCH_COUNT 2\n{FIRST.format(5)} ORDER BY 1;"
    assert read(lines(psql(programs.other_psql, login, script))) == answers.first(5)
