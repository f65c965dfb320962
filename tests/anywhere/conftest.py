"""Fixtures of the corpus: a database with tables, models and oracle; and the tally.

Owns asking both roads. The direct road is asked again until the oracle knows every row that the
question reaches; its answer is kept, so that the check of the corpus itself costs nothing twice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from tests.anywhere import templates, world
from tests.anywhere.answers import Answer, Form, Sessions
from tests.anywhere.oracle import Oracle
from tests.anywhere.shape import Shape
from tests.anywhere.world import Facts
from tests.conftest import Endpoint, is_direct
from tests.support.postgres import TRUST_USER, Cluster, temporary_database
from tests.support.proxy import ThreadedProxy

ROUNDS = 8
"""Each level of PREDICT in PREDICT, and each condition behind a condition, may take one."""


@dataclass(slots=True)
class Roads:
    """Both ways to an answer.

    Attributes
    ----------
    facts : of each model, for the templates
    server_version : such as 180006
    """

    direct: Sessions
    proxied: Sessions
    oracle: Oracle
    facts: dict[str, Facts]
    server_version: int
    _answers: dict[tuple[str, str, Form], Answer] = field(default_factory=dict)

    def ask_proxy(self, shape: Shape, model: str, form: Form) -> Answer:
        """Ask for PREDICT itself."""
        facts = self.facts[model]
        texts = [templates.proxied(step, model, facts) for step in _steps(shape, shape.steps)]
        return self._ask(self.proxied, shape, texts, form, shape.setup)

    def ask_directly(self, shape: Shape, model: str, form: Form) -> Answer:
        """Ask PostgreSQL, with the oracle's function where PREDICT stands."""
        key = (shape.name, model, form)
        if key not in self._answers:
            self._answers[key] = self._until_known(shape, self.direct_texts(shape, model), form)
        return self._answers[key]

    def direct_texts(self, shape: Shape, model: str) -> list[str]:
        """Return the direct road's statements."""
        facts, signatures = self.facts[model], self.oracle.signatures
        steps = _steps(shape, shape.direct or shape.steps)
        return [templates.direct(step, model, facts, signatures) for step in steps]

    def _until_known(self, shape: Shape, texts: Sequence[str], form: Form) -> Answer:
        for _ in range(ROUNDS):
            answer = self._ask(self.direct, shape, texts, form)
            if not self.oracle.learn_unknown(answer.notices):
                return answer
        raise AssertionError(f"{shape.name}: the oracle does not learn all that it is asked")

    def _ask(
        self,
        sessions: Sessions,
        shape: Shape,
        texts: Sequence[str],
        form: Form,
        setup: Sequence[str] = (),
    ) -> Answer:
        try:
            return sessions.ask(texts, shape.parameters, form, undo=shape.undo, setup=setup)
        finally:
            if shape.cleaning:
                self.direct.ask(shape.cleaning, (), "simple", undo=False)


def _steps(shape: Shape, steps: Sequence[str]) -> list[str]:
    return [*steps, shape.after] if shape.after else list(steps)


@pytest.fixture(scope="session")
def roads(cluster: Cluster, proxy: ThreadedProxy) -> Iterator[Roads]:
    """The world, its models trained through the proxy, and the oracle that has read them."""
    if is_direct():
        pytest.skip("PostgreSQL itself has no models")
    cluster.execute(f"CREATE ROLE {world.READER}")
    cluster.execute(f"GRANT {world.READER} TO {TRUST_USER}")
    try:
        with temporary_database(cluster, "anywhere") as name:
            direct, proxied = Endpoint(cluster.address, name), Endpoint(proxy.address, name)
            with psycopg.connect(direct.dsn, autocommit=True) as connection:
                world.build(connection)
            with psycopg.connect(proxied.dsn, autocommit=True) as connection:
                world.train(connection)
            with psycopg.connect(cluster.dsn(name), autocommit=True) as connection:
                ready = _roads(connection, Sessions(direct.dsn), Sessions(proxied.dsn))
                try:
                    yield ready
                finally:
                    ready.direct.close()
                    ready.proxied.close()
    finally:
        cluster.execute(f"DROP ROLE {world.READER}")


def _roads(connection: psycopg.Connection, direct: Sessions, proxied: Sessions) -> Roads:
    oracle = Oracle(connection)
    for reference, table in world.ROWS.items():
        names = ", ".join(templates.parameter(f.name) for f in oracle.signatures[reference])
        rows = connection.execute(f"SELECT json_build_array({names})::text FROM {table}".encode())
        oracle.learn(reference, [str(row[0]) for row in rows])
    facts = {reference: oracle.facts(reference) for reference in world.ROWS}
    return Roads(direct, proxied, oracle, facts, connection.info.server_version)


# --- the tally ------------------------------------------------------------------------------------

OUTCOMES = ("served", "refused", "WRONG", "error")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell which shapes are served, which are refused and which are wrong."""
    found: dict[str, dict[str, list[tuple[str, str]]]] = defaultdict(lambda: defaultdict(list))
    states: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            properties = dict(getattr(report, "user_properties", ()))
            if "anywhere" in properties and report.when == "call":
                shape, model, outcome, state, detail = properties["anywhere"]
                found[outcome][shape].append((model, detail))
                states[state] += 1
    if not found:
        return
    write = terminalreporter.write_line
    terminalreporter.section("PREDICT anywhere")
    served, refused = found["served"], found["refused"]
    whole = {name for name in served if not any(name in found[o] for o in OUTCOMES[1:])}
    write(f"shapes served for all their models: {len(whole)}")
    write(f"shapes refused for some model: {len(refused)}")
    for name, cases in sorted(refused.items()):
        write(f"  {name}: {', '.join(model for model, _ in cases)}")
    for outcome in ("error", "WRONG"):
        write(f"shapes with {outcome} answers: {len(found[outcome])}")
        for name, cases in sorted(found[outcome].items()):
            models = ", ".join(model for model, _ in cases)
            write(f"  {name}: {models}: {cases[0][1].partition(chr(10))[0]}")
    counts = {outcome: sum(map(len, found[outcome].values())) for outcome in OUTCOMES}
    write("cases: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    write("by answer: " + ", ".join(f"{count} {state}" for state, count in states.most_common()))
