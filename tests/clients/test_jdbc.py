"""pgjdbc, in each of its modes, by jdbc/Checks.java."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clients import programs
from tests.clients.answers import Answers, close
from tests.clients.conftest import Login

PROGRAM = Path(__file__).parent / "jdbc" / "Checks.java"
# The modes of Checks.java.
MODES = (
    "default",
    "simple",
    "extendedForPrepared",
    "extendedCacheEverything",
    "prepared at once",
    "binary at once",
    "never binary",
)
Answered = dict[str, str]


@pytest.fixture(scope="module")
def all_answered(login: Login) -> dict[str, Answered]:
    """What the program was answered, by mode, in one run."""
    printed = programs.output(programs.run([*programs.java(), PROGRAM], login.environment))
    answered: dict[str, Answered] = {}
    for line in printed.splitlines():
        mode, name, answer = line.split("\t")
        answered.setdefault(mode, {})[name] = answer
    assert set(answered) == set(MODES)
    return answered


@pytest.fixture(params=MODES)
def answered(all_answered: dict[str, Answered], request: pytest.FixtureRequest) -> Answered:
    return all_answered[request.param]


def table(text: str) -> list[tuple[int, float]]:
    """Return lines such as `1 0.25;2 0.5` as numbers."""
    pairs = (line.split() for line in text.split(";") if line)
    return [(int(key), float(value)) for key, value in pairs]


def test_statements(answered: Answered, answers: Answers) -> None:
    """Statement, PreparedStatement again and again, beyond the threshold of preparing."""
    assert table(answered["statement"]) == answers.first(5)
    *tables, is_prepared = answered["prepared ten times"].split("/")
    assert [table(each) for each in tables] == [answers.first(i) for i in range(10)]
    assert is_prepared == "true"


def test_arguments(answered: Answered, answers: Answers) -> None:
    """Parameters may be features."""
    got = [float(value) for value in answered["guesses"].split(";")]
    assert got == [close(answers.score(i, 50, "Two year")) for i in range(10)]
    assert answered["imputed"].startswith("not given and imputed as in training: monthly_charges")


def test_fetch_size(answered: Answered, answers: Answers) -> None:
    """A portal is read in portions, with other statements between them."""
    count, total = answered["fetch size"].split(";")
    assert int(count) == len(answers.customers)
    assert float(total) == close(sum(answers.risk(i) for i in answers.customers))


def test_what_is_known_before(answered: Answered, request: pytest.FixtureRequest) -> None:
    """The types of columns and parameters, where the mode can ask for them beforehand."""
    if request.node.callspec.params["answered"] == "simple":
        return
    assert answered["columns"] == "risk;float8;java.lang.Double"
    assert answered["parameters"] == "float8;float8;text"


def test_result_sets(answered: Answered, answers: Answers) -> None:
    """Scrollable and updatable ones, arrays beside a score."""
    assert table(answered["scrollable"]) == [answers.first(1)[0], answers.first(5)[4]]
    assert table(answered["updatable"]) == answers.first(1)
    array, _, risk = answered["array beside"].rpartition(" ")
    assert (array, float(risk)) == ("[1, 2]", close(answers.risk(1)))
    two, three = answered["several statements"].split("/")
    assert (table(two), table(three)) == (answers.first(2), answers.first(3))


def test_create_model(answered: Answered) -> None:
    """The notice is the statement's warning."""
    count, notice = answered["create model"].split(";", 1)
    assert count == "0"
    assert re.match(r'model "by_jdbc" version \d+\.0: 7043 rows', notice)


def test_batch(answered: Answered, answers: Answers) -> None:
    """What a batch has changed is scored."""
    counts, scores = answered["batch"].split(";", 1)
    assert counts == "[1, 1, 1]"
    assert table(scores) == [
        (i * 10, close(answers.score(i * 10, *answers.customers[i][1:]))) for i in (1, 2, 3)
    ]


def test_around(answered: Answered, answers: Answers) -> None:
    """COPY and the driver's questions to the catalogue."""
    assert int(answered["copy"]) == len(answers.customers)
    columns = answered["catalogue"].split(";")
    assert (len(columns), columns[0]) == (21, "customer_id")


@pytest.mark.parametrize("way", ["error", "error of a prepared statement", "savepoint"])
def test_error(answered: Answered, answers: Answers, way: str) -> None:
    """A model that is not there is a PSQLException; the session goes on."""
    failed, scores = answered[way].split(";", 1)
    assert failed == "PSQLException 42704"
    assert table(scores) == answers.first(1)


def test_the_model_is_no_parameter(answered: Answered) -> None:
    """A bound name calls a function of the user's, which is not there."""
    assert answered["model as a parameter"] == "PSQLException 42883"


def test_where_and_copy(answered: Answered, answers: Answers) -> None:
    """A score may choose the rows, prepared and not, and be copied."""
    risky = sum(answers.risk(i) > 0.5 for i in answers.customers)
    assert answered["where"].split(";") == [str(risky)] * 10
    assert table(answered["copy of scores"]) == answers.first(5)
