"""What rides on the express lane: portals of linear models, and of no other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.model import Model
from proxy.engine.training import train
from proxy.relay.freshness import Freshness
from proxy.relay.portals import Luggage
from proxy.rewrite.edits import edited
from proxy.rewrite.statements import EvaluateModel, ModelReference
from proxy.statements.luggage import pack
from proxy.statements.prepared import (
    BoundEvaluation,
    BoundScores,
    OurStatements,
    PreparedEvaluation,
    PreparedScores,
)
from proxy.statements.replies import BindReply
from tests.kernels.encoders import data_row, float8
from tests.statements.test_scoring import NUMBERS, Spy, column, feature, splice_of, statement_of


@pytest.fixture(scope="module")
def linear() -> Model:
    x = np.arange(10.0)
    dataset = Dataset(
        (Column("x", FeatureKind.NUMBER, "integer", x),),
        Column("y", FeatureKind.NUMBER, "double precision", 2 * x),
        10,
    )
    return train("linear_regression", {}, dataset, lambda _: None).model


def prepared(*models: Spy | Model) -> PreparedScores:
    """Return a statement of a score by each model, bound to the unnamed portal once."""
    made = [column(number, [feature("number")], [0]) for number in range(len(models))]
    statement = statement_of(splice_of(NUMBERS[:1], made), models, range(len(models)), len(models))
    formats = statement.result_formats(())
    assert formats is not None
    bound = BoundScores.of(statement, formats, b"", "utf-8", BindReply(b"", {}))
    planned = cast("Any", SimpleNamespace(statement=statement))
    known = PreparedScores(cast("Any", None), b"", planned, "utf-8", None, ())
    known.bound[b"", ()] = bound
    return known


def packed(ours: OurStatements) -> Luggage | None:
    registry = cast("Any", SimpleNamespace(freshness=Freshness()))
    return pack(ours, registry, lambda _: True, lambda _: None)


def test_a_linear_model_rides(linear: Model) -> None:
    """Its passage has what the compiled thread needs."""
    luggage = packed(OurStatements(statements={b"s": prepared(linear)}))
    assert luggage is not None
    (passage,) = luggage.passages
    assert passage.program is not None
    assert len(passage.program.scorers) == 1


def test_another_model_stays_off(linear: Model) -> None:
    """Statements with a score that the thread cannot make are known there by name only."""
    ours = OurStatements(
        statements={
            b"heavy": prepared(Spy(1)),
            b"mixed": prepared(linear, Spy(1)),
            b"light": prepared(linear),
        }
    )
    luggage = packed(ours)
    assert luggage is not None
    riding = {passage.statement: passage.program is not None for passage in luggage.passages}
    assert riding == {b"heavy": False, b"mixed": False, b"light": True}
    assert all(p.portal is None for p in luggage.passages if p.program is None)


def test_a_session_stays_off_while_its_portal_is_another_model_s() -> None:
    """The unnamed portal must not be taken for none of ours."""
    heavy = prepared(Spy(1))
    ours = OurStatements(statements={b"s": heavy}, portals={b"": heavy.bound[b"", ()]})
    assert packed(ours) is None


def test_rows_of_another_model_are_scored_all_the_same(linear: Model) -> None:
    """Off the lane, such a statement's rows have all their scores."""
    rows = prepared(linear, Spy(1)).bound[b"", ()].rows
    stream = data_row([None, None, float8(3.0)])
    assert rows is not None
    assert rows.program is None
    end, out = rows.write(stream, 0, len(stream))
    assert end == len(stream)
    assert bytes(out) == data_row([b"6", b"3"])


def test_an_evaluation_is_known_by_name() -> None:
    """A prepared EVALUATE MODEL is not for the lane, and its portal keeps the session off."""
    statement = EvaluateModel(ModelReference("m", None, 16), 20, edited("SELECT 1", []))
    ours = OurStatements(statements={b"e": PreparedEvaluation(statement)})
    luggage = packed(ours)
    assert luggage is not None
    assert [(p.statement, p.program) for p in luggage.passages] == [(b"e", None)]
    ours.portals[b""] = BoundEvaluation(statement)
    assert packed(ours) is None
