"""docs/clients.md: every snippet runs as it stands, and prints what it must."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients import programs
from tests.clients.answers import Answers
from tests.clients.conftest import Login
from tests.clients.snippets import Snippet, snippet, snippets

Printed = list[str]


def four_digits(*values: float) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def three_customers(answers: Answers) -> Printed:
    return [f"{i} {answers.risk(i):.4f}" for i in (1, 2, 3)]


def guesses(answers: Answers) -> list[str]:
    return [four_digits(answers.score(months, 79.99, "One year")) for months in (6, 60)]


IMPUTED = 'NOTICE not given and imputed as in training: monthly_charges of model "churn"'
NO_MODEL = '42704 Perhaps you mean "churn".'


def psycopg_3(answers: Answers) -> Printed:
    rows = three_customers(answers)
    return [*rows, " ".join(guesses(answers)), *rows, IMPUTED, NO_MODEL]


def psycopg_2(answers: Answers) -> Printed:
    return [*three_customers(answers), guesses(answers)[0], "42704"]


def asyncpg(answers: Answers) -> Printed:
    rows = three_customers(answers)
    return [*rows, *rows, "float8 float8 text", guesses(answers)[0], NO_MODEL]


def rows_and_guesses(answers: Answers) -> Printed:
    return [*three_customers(answers), *guesses(answers), NO_MODEL]


def rows_guesses_and_sqlstate(answers: Answers) -> Printed:
    return [*three_customers(answers), *guesses(answers), "42704"]


def sqlalchemy_core(answers: Answers) -> Printed:
    return [*three_customers(answers), four_digits(answers.risk(4)), "42704"]


def sqlalchemy_orm(answers: Answers) -> Printed:
    months, charges, _ = answers.customers[4]
    longer = answers.score(months + 12, charges, "Two year")
    return [*three_customers(answers), four_digits(longer)]


def django(answers: Answers) -> Printed:
    later = [
        answers.score(months + 12, charges, "Two year")
        for months, charges, _ in (answers.customers[i] for i in (1, 2, 3))
    ]
    return [
        *three_customers(answers),
        four_digits(*later),
        four_digits(answers.risk(4)),
        "42704",
    ]


expected: dict[str, Callable[[Answers], Printed]] = {
    "psycopg 3 1": psycopg_3,
    "psycopg 2 1": psycopg_2,
    "asyncpg 1": asyncpg,
    "pg8000 1": rows_and_guesses,
    "SQLAlchemy 1": sqlalchemy_core,
    "SQLAlchemy 2": sqlalchemy_orm,
    "Django 1": django,
    "pandas 1": three_customers,
    "node-postgres 1": rows_and_guesses,
    "JDBC 1": rows_guesses_and_sqlstate,
    "ODBC 1": rows_guesses_and_sqlstate,
}


def command(piece: Snippet, folder: Path) -> list[str | Path]:
    """Return what runs a snippet, which is written to a file of the folder."""
    if piece.heading == "ODBC":
        programs.need_odbc()
    interpreter, name = {
        "python": (programs.python, "snippet.py"),
        "javascript": (programs.node, "snippet.js"),
        "java": (programs.java, "Churn.java"),
    }[piece.language]
    (folder / name).write_text(piece.code, encoding="utf-8")
    return [*interpreter(), folder / name]


@pytest.mark.parametrize("name", expected)
def test_snippet(name: str, login: Login, answers: Answers, tmp_path: Path) -> None:
    """It runs as it stands, and prints the scores that the coefficients give."""
    heading, _, number = name.rpartition(" ")
    running = command(snippet(heading, int(number)), tmp_path)
    environment = {**login.environment, **programs.node_environment()}
    printed = programs.output(programs.run(running, environment, folder=tmp_path))
    assert printed.splitlines() == expected[name](answers)


def words(printed: str) -> list[object]:
    """Return a text's words; its numbers with a point equal others close to them."""
    # psql's line of watching has the time of day.
    text = re.sub(r"^\w+ \w+ +\d+ [\d:]+ \d+ (?=\(every)", "", printed, flags=re.MULTILINE)
    return [
        pytest.approx(float(word), rel=1e-9) if re.fullmatch(r"-?\d+\.\d+", word) else word
        for word in re.sub(r"-{4,}", "", text).split()
    ]


def test_psql_snippet(login: Login, upstream: Login, answers: Answers, tmp_path: Path) -> None:
    """What psql shows is what it shows of the formula, asked of PostgreSQL itself."""
    code = snippet("psql").code
    spelled_out = code.replace(
        "PREDICT(churn, *)",
        answers.formula("tenure_months", "monthly_charges", "contract_type"),
    )
    spelled_out = re.sub(
        r"PREDICT\(churn, (\S+), (\S+), (\S+|'.*?')\)",
        lambda call: answers.formula(*call.groups()),
        spelled_out,
    )
    assert "PREDICT" not in spelled_out
    assert code.count("PREDICT") == 4
    shown, files = [], []
    for where, script in ((login, code), (upstream, spelled_out)):
        psql: list[str | Path] = [programs.own_psql(), "-X", "-v", "ON_ERROR_STOP=1", "-f", "-"]
        done = programs.run(psql, where.environment, script=script, folder=tmp_path)
        shown.append(programs.output(done))
        files.append((tmp_path / "churned.csv").read_text())
    assert words(shown[0]) == words(shown[1])
    assert shown[0].count("every 0.1s") == 2
    assert files[0] == files[1]
    assert files[0].count("\n") == len(answers.customers)


def test_variables() -> None:
    """The variables that the document sets are those that the snippets run with."""
    (shell,) = [each for each in snippets() if each.language == "sh"]
    named = re.findall(r"(PG\w+)=", shell.code)
    assert set(named) == {"PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"}


def test_every_snippet_is_run() -> None:
    """None stands in the document that no test runs."""
    run = {str(piece) for piece in snippets() if piece.heading} - {"psql 1"}
    assert run == set(expected)
