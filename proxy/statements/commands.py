"""The statements of ours that are not queries with PREDICT, in a batch that a Sync will end.

Owns which SQL each one is upstream. SHOW and DESCRIBE are queries over schema `ml`, so that every
client, format and row limit works on them; so is what EVALUATE answers. DROP is a CALL that the
client sees as DROP MODEL.
"""

from __future__ import annotations

from proxy.metrics import names
from proxy.protocol import message_types as t
from proxy.protocol.messages import command_complete
from proxy.protocol.replies import SilentReply
from proxy.registry import queries
from proxy.registry.postgres_store import Registry
from proxy.rewrite.statements import (
    CreateModel,
    DescribeModel,
    DropModel,
    EvaluateModel,
    MLStatement,
    ShowModel,
    ShowModels,
)
from proxy.session.questions import private_query
from proxy.session.session import Session
from proxy.statements.create_model import create_model
from proxy.statements.evaluate_model import RESULT_SQL, evaluate_model
from proxy.statements.replies import RetaggedExecution
from proxy.statements.running import run_statement
from proxy.statements.services import Services

DROP_TAG = b"DROP MODEL"
CREATE_TAG = b"CREATE MODEL"

_KINDS: dict[type[MLStatement], str] = {
    CreateModel: names.CREATE_MODEL,
    DropModel: names.DROP_MODEL,
    ShowModels: names.SHOW,
    ShowModel: names.SHOW,
    DescribeModel: names.DESCRIBE,
    EvaluateModel: names.EVALUATE_MODEL,
}


def as_query(statement: MLStatement) -> str | None:
    """Return the query that a statement of ours is upstream; None: it is more than a query."""
    if isinstance(statement, ShowModels):
        return queries.show_models()
    if isinstance(statement, ShowModel):
        return queries.show_model(statement.model.name)
    if isinstance(statement, DescribeModel):
        return queries.describe_model(statement.model.name, statement.model.version)
    return None


def count_command(services: Services, statement: MLStatement) -> None:
    """Count a statement of ours that is begun."""
    services.instruments.statements.of(_KINDS[type(statement)]).add()


async def run_command(
    session: Session,
    services: Services,
    registry: Registry,
    statement: MLStatement,
    offset: int,
) -> None:
    """Run one statement of ours in the batch of a simple query.

    Parameters
    ----------
    offset : of the statement in the client's text

    Raises
    ------
    ProxyError
        It cannot be done; its position counts in the statement.
    AlreadyAnswered
        The upstream refused.
    """
    count_command(services, statement)
    await registry.models()  # schema ml exists from here on
    sql = as_query(statement)
    if sql is not None:
        run_statement(session, sql, lambda _: offset + 1)
    elif isinstance(statement, DropModel):
        drop_models(session, statement)
    elif isinstance(statement, CreateModel):
        await create_model(session, services, registry, statement, offset)
        session.tell(command_complete(CREATE_TAG))
    elif isinstance(statement, EvaluateModel):
        await evaluate_model(session, services, registry, statement, offset)
        run_statement(session, RESULT_SQL, lambda _: offset + 1)


def drop_models(session: Session, statement: DropModel) -> None:
    """Drop each model of the list; the last one's tag is the statement's."""
    session.models_changed = True
    for number, model in enumerate(statement.models, 1):
        sql = queries.drop_model(model.name, model.version, if_exists=statement.if_exists)
        parse, bind, execute, *_ = private_query(sql.encode())
        session.send(parse, SilentReply(t.PARSE))
        session.send(bind, SilentReply(t.BIND))
        is_last = number == len(statement.models)
        session.send(execute, RetaggedExecution(DROP_TAG) if is_last else SilentReply(t.EXECUTE))
