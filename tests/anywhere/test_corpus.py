"""Every shape, by two roads: through the proxy, and on PostgreSQL with a plain function."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.anywhere.answers import Answer, Failure, difference
from tests.anywhere.conftest import Roads
from tests.anywhere.corpus import CASES, SHAPES_BY_NAME
from tests.anywhere.shape import Shape

pytestmark = pytest.mark.timeout(90)

NOT_SUPPORTED = "0A000"
Record = Callable[[str, object], None]

every_case = pytest.mark.parametrize(
    ("name", "model"), CASES, ids=[f"{name}-{model}" for name, model in CASES]
)


def _shape(roads: Roads, name: str) -> Shape:
    shape = SHAPES_BY_NAME[name]
    if roads.server_version < shape.since:
        pytest.skip(f"the server has no such words before {shape.since // 10000}")
    return shape


@every_case
def test_direct_road_runs(roads: Roads, name: str, model: str) -> None:
    """PostgreSQL answers the direct road's text, with an error only where one is due."""
    shape = _shape(roads, name)
    if shape.fails and shape.fails[0] == NOT_SUPPORTED:
        return  # what no plain function would refuse
    for form in shape.forms_for(model):
        failure = roads.ask_directly(shape, model, form).failure
        text = "\n".join(roads.direct_texts(shape, model))
        if shape.fails:
            assert failure is not None, text
            assert failure.sqlstate in shape.fails, f"{failure}\n{text}"
        else:
            assert failure is None, f"{failure}\n{text}"


@every_case
def test_both_roads_agree(roads: Roads, name: str, model: str, record_property: Record) -> None:
    """The proxy's answer is the direct road's: tags, names, types, rows and what is left behind."""
    shape = _shape(roads, name)
    outcome, state, detail = "served", "right", ""
    for form in shape.forms_for(model):
        outcome, state, detail = _judged(
            roads, shape, model, roads.ask_proxy(shape, model, form), form
        )
        if detail:
            detail = f"{form}: {detail}"
            break
    record_property("anywhere", (name, model, outcome, state, detail))
    if detail:
        pytest.fail(f"{outcome}, {detail}", pytrace=False)


def _judged(roads: Roads, shape: Shape, model: str, got: Answer, form: str) -> tuple[str, str, str]:
    """Return the outcome, the SQLSTATE or how it came out, and what is amiss, if anything."""
    failure = got.failure
    if shape.fails:
        if failure is None:
            return "WRONG", "no error", f"no error, where {shape.fails} is due"
        is_due = failure.sqlstate in shape.fails
        return _of(failure, "" if is_due else f"{failure}, not {shape.fails}")
    if failure is None:
        wanted = roads.ask_directly(shape, model, form)  # type: ignore[arg-type]
        found = difference(got, wanted, ordered=shape.ordered, with_rows=shape.with_rows)
        return ("WRONG", "wrong rows", found) if found else ("served", "right", "")
    is_fine = model in shape.refused and failure.sqlstate in shape.refusals
    return _of(failure, "" if is_fine else f"{failure.sqlstate}: {failure.message}")


def _of(failure: Failure, detail: str) -> tuple[str, str, str]:
    state = failure.sqlstate or "none"
    if not detail:
        return "served", f"{state} as it should", ""
    return "refused" if state == NOT_SUPPORTED else "error", state, detail
