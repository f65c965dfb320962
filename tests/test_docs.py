"""The documents say what the code does: settings, statements, metrics, commands, modules, links."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from proxy import errors
from proxy.cli import main
from proxy.engine.algorithms import ALGORITHMS, SUPERVISED
from proxy.errors import UnsupportedError
from proxy.metrics import names
from proxy.registry import queries
from proxy.registry.schema import migrations
from proxy.rewrite.calls import Function
from proxy.rewrite.lexer import split_statements, tokenize
from proxy.rewrite.plan import Passthrough
from proxy.rewrite.planner import analyse
from proxy.rewrite.relations import qualify_state_relations
from proxy.rewrite.statements import MLStatement
from proxy.rewrite.tree import parse_tree
from proxy.settings.loading import FIELDS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
MODULES = sorted(
    str(path.relative_to(ROOT / "proxy"))
    for path in (ROOT / "proxy").rglob("*.py")
    if path.name != "__init__.py"
)

HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SETTING = re.compile(r"^\| `(\w+)` \| `([^`]*)` \|", re.MULTILINE)
PARAMETER = re.compile(r"^\| `(\w+)` \| (\S+) \|", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MAKE = re.compile(r"(?:^|`)make ([a-z]+)\b", re.MULTILINE)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(document: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one of its level or above."""
    level = re.search(rf"^(#+) {re.escape(heading)}$", document, re.MULTILINE)
    assert level is not None, f"no heading {heading!r}"
    rest = document[level.end() :]
    end = re.search(rf"^#{{1,{len(level[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def blocks(document: str, language: str) -> list[str]:
    return [body for name, body in BLOCK.findall(document) if name == language]


# ---- settings


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_documented(name: str) -> None:
    """docs/configuration.md has every key, in its section, with the default of the shipped file."""
    shipped = re.sub(r"^#(?=\w+ = )", "", text("config/pgseer.toml"), flags=re.MULTILINE)
    rows = dict(SETTING.findall(section(text("docs/configuration.md"), f"Section [{name}]")))
    documented = {key: tomllib.loads(f"value = {value}")["value"] for key, value in rows.items()}
    assert documented == tomllib.loads(shipped)[name]
    assert set(documented) == set(FIELDS[name])


def test_every_setting_has_an_effect() -> None:
    """No key is read from the file and then by nobody."""
    used = {
        node.attr
        for module in MODULES
        for node in ast.walk(ast.parse(text(f"proxy/{module}")))
        if isinstance(node, ast.Attribute)
    }
    assert {key for keys in FIELDS.values() for key in keys} <= used


# ---- metrics


def test_every_metric_is_documented() -> None:
    """docs/metrics.md has every metric of pgseer's own, and no other."""
    documented = set(re.findall(r"^\| `(pgseer_\w+)` \|", text("docs/metrics.md"), re.MULTILINE))
    assert documented == {metric.name for metric in names.METRICS}


# ---- the dialect


def statement_name(kind: type) -> str:
    """CreateModel is CREATE MODEL."""
    return " ".join(re.findall(r"[A-Z][a-z]+", kind.__name__)).upper()


def test_every_statement_is_documented() -> None:
    """docs/sql.md has a section for each statement and each function that is served."""
    headings = set(HEADING.findall(text("docs/sql.md")))
    served = {function.upper() for function in Function} - {"PREDICT_EXPLAIN"}
    assert {statement_name(kind) for kind in get_args(MLStatement)} | served <= headings


def sql_examples() -> list[str]:
    return [
        block[statement.start : statement.end].strip()
        for block in blocks(text("docs/sql.md"), "sql")
        for statement in split_statements(block, tokenize(block))
    ]


@pytest.mark.parametrize("sql", sql_examples())
def test_examples_are_served(sql: str) -> None:
    """Each statement that docs/sql.md shows is one of the dialect, and is not refused."""
    plan = analyse(sql)
    ours = not isinstance(plan, Passthrough)
    assert ours or qualify_state_relations(sql, tokenize(sql)) is not None


refused = {
    "`PREDICT` in `CREATE INDEX`": "CREATE INDEX ON t (PREDICT(m, a))",
    "`CHECK`": "CREATE TABLE t (a float8 CHECK (PREDICT(m, a) > 1))",
    "`DEFAULT`": "CREATE TABLE t (a float8 DEFAULT PREDICT(m, 1))",
    "a generated column": (
        "CREATE TABLE t (a float8, b float8 GENERATED ALWAYS AS (PREDICT(m, a)) STORED)"
    ),
    "`ALTER TABLE`": "ALTER TABLE t ALTER a TYPE float8 USING PREDICT(m, a)",
    "`CREATE DOMAIN`": "CREATE DOMAIN d AS float8 CHECK (PREDICT(m, value) > 1)",
    "`CREATE STATISTICS`": "CREATE STATISTICS s ON (PREDICT(m, a)) FROM t",
    "`PREDICT` in `CREATE POLICY`": "CREATE POLICY p ON t USING (PREDICT(m, a) > 1)",
    "`CREATE RULE`": (
        "CREATE RULE r AS ON UPDATE TO t WHERE PREDICT(m, new.a) > 1 DO INSTEAD NOTHING"
    ),
    "the condition of `CREATE TRIGGER`": (
        "CREATE TRIGGER r BEFORE UPDATE ON t FOR EACH ROW WHEN (PREDICT(m, new.a) > 1)"
        " EXECUTE FUNCTION f()"
    ),
    "a function's body that is SQL": "CREATE FUNCTION f() RETURNS float8 RETURN PREDICT(m, 1)",
    "`BEGIN ATOMIC`": ("CREATE FUNCTION f() RETURNS float8 BEGIN ATOMIC SELECT PREDICT(m, 1); END"),
    "`CALL`": "CALL f(PREDICT(m, 1))",
    "an argument of `EXECUTE`": "EXECUTE s (PREDICT(m, 1))",
    "`PREDICT` with `OVER`": "SELECT PREDICT(m, a) OVER () FROM t",
    "`FILTER`": "SELECT PREDICT(m, a) FILTER (WHERE a > 1) FROM t",
    "`ORDER BY` or `VARIADIC`": "SELECT PREDICT(m, VARIADIC a) FROM t",
    "`PREDICT` in the query of `CREATE MODEL`": (
        "CREATE MODEL n USING linear_regression AS SELECT a, PREDICT(m, a) AS target FROM t"
    ),
    "`PREDICT_EXPLAIN`": "SELECT PREDICT_EXPLAIN(m, a) FROM t",
    "`ALTER MODEL`": "ALTER MODEL m RENAME TO n",
    "`COMMENT ON MODEL`": "COMMENT ON MODEL m IS 'x'",
    "`GRANT ... ON MODEL`": "GRANT USAGE ON MODEL m TO r",
    "`REVOKE ... ON MODEL`": "REVOKE USAGE ON MODEL m FROM r",
    "`CREATE MODEL_DEPLOYMENT`": "CREATE MODEL_DEPLOYMENT d WITH (model_a: 'm:1.0')",
    "`DROP MODEL_DEPLOYMENT`": "DROP MODEL_DEPLOYMENT d",
    "`SHOW MODEL_DEPLOYMENTS`": "SHOW MODEL_DEPLOYMENTS",
}


@pytest.mark.parametrize("words", refused)
def test_what_is_not_served_is_refused(words: str) -> None:
    """Each form that docs/sql.md lists as not served is there, and answers 0A000."""
    rows = section(text("docs/sql.md"), "Not served").splitlines()
    assert any(words in row and row.endswith("| 0A000 |") for row in rows)
    with pytest.raises(UnsupportedError) as error:
        analyse(refused[words])
    assert error.value.position is not None


def as_written(value: object) -> str:
    """A default as the documents write it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_parameter_is_documented(name: str) -> None:
    """docs/algorithms.md has a section for each algorithm, with its parameters and their defaults.

    Those that every algorithm has are in docs/sql.md.
    """
    general = section(text("docs/sql.md"), "CREATE MODEL")
    common = {parameter.name for parameter in SUPERVISED} & set(ALGORITHMS[name].parameters)
    found = {key: value for key, value in PARAMETER.findall(general) if key in common}
    found |= dict(PARAMETER.findall(section(text("docs/algorithms.md"), name)))
    assert found == {
        parameter.name: as_written(parameter.default)
        for parameter in ALGORITHMS[name].parameters.values()
    }


def view_columns() -> list[str]:
    """Return the columns of the newest definition of the view ml_models."""
    columns: list[str] = []
    for migration in migrations():
        for statement in parse_tree(migration.sql)["stmts"]:
            view: dict[str, Any] = statement["stmt"].get("ViewStmt", {})
            if view.get("view", {}).get("relname") == "ml_models":
                targets = view["query"]["SelectStmt"]["targetList"]
                columns = [column_name(target["ResTarget"]) for target in targets]
    return columns


def column_name(target: dict[str, Any]) -> str:
    name = target.get("name") or target["val"]["ColumnRef"]["fields"][-1]["String"]["sval"]
    assert isinstance(name, str)
    return name


def test_every_column_is_documented() -> None:
    """docs/sql.md names every column of ml_models and of SHOW MODELS."""
    columns = view_columns()
    assert columns
    described = section(text("docs/sql.md"), "ml_models")
    assert [column for column in columns if f"`{column}`" not in described] == []
    shown = section(text("docs/sql.md"), "SHOW MODELS")
    assert [name for name in queries.SHOWN_COLUMNS.split(", ") if f"`{name}`" not in shown] == []


def test_every_sqlstate_is_documented() -> None:
    """docs/sql.md has the SQLSTATE of each error that some module raises."""
    table = section(text("docs/sql.md"), "Errors")
    used = {
        node.id
        for module in MODULES
        for node in ast.walk(ast.parse(text(f"proxy/{module}")))
        if isinstance(node, ast.Name)
    }
    # Those of settings are said at the terminal, never to a client.
    ours = {
        kind.sqlstate
        for name, kind in vars(errors).items()
        if name in used - {"SettingsError"} and isinstance(kind, type)
    }
    assert {code for code in ours if code not in table} == set()


# ---- the command


@pytest.mark.parametrize("name", main.commands)
def test_every_command_is_documented(name: str) -> None:
    """docs/operations.md has every command with all its options."""
    synopsis = blocks(section(text("docs/operations.md"), "Run"), "")[0].splitlines()
    (usage,) = [line for line in synopsis if line.startswith(f"pgseer {name} ")]
    options = {
        option
        for parameter in main.commands[name].params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
    }
    assert set(re.findall(r"--[a-z]+", usage)) == options


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_targets_of_make_exist(path: Path) -> None:
    """Each target that a document names is in the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
    assert set(MAKE.findall(path.read_text(encoding="utf-8"))) <= targets


def test_the_readme_has_its_two_commands() -> None:
    """A stranger finds make demo and make test."""
    assert {"demo", "test"} <= set(MAKE.findall(text("README.md")))


# ---- the house


def test_every_module_is_on_the_map() -> None:
    """ARCHITECTURE.md has a line for each module of proxy/, and for no other."""
    listed = re.findall(r"^\| `([\w/]+\.py)` \| \S", text("ARCHITECTURE.md"), re.MULTILINE)
    assert sorted(listed) == MODULES


# ---- links and code


def slug(heading: str) -> str:
    """Return the anchor that a heading gets where the documents are read."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_resolve(path: Path) -> None:
    """Each link inside the project leads to a file that is there, and to a heading in it."""
    document = BLOCK.sub("", path.read_text(encoding="utf-8"))
    broken = []
    for link in LINK.findall(document):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists():
            broken.append(link)
        elif anchor:
            found = HEADING.findall(BLOCK.sub("", target.read_text(encoding="utf-8")))
            if anchor not in map(slug, found):
                broken.append(link)
    assert broken == []


def test_examples_in_python_compile() -> None:
    """The snippets of docs/clients.md are Python."""
    snippets = blocks(text("docs/clients.md"), "python")
    assert snippets
    for snippet in snippets:
        compile(snippet, "docs/clients.md", "exec")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_place_of_one_machine(path: Path) -> None:
    """No document names a folder of the machine that it was written on."""
    assert re.findall(r"/(?:work|root|home|tmp)/\S*", path.read_text(encoding="utf-8")) == []
