"""Every check of `estimator_checks` over every algorithm, with each of its tasks."""

from __future__ import annotations

import pytest

from tests.engine.estimator_checks import CASES, CHECKS, Case, Check


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_check(check: Check, case: Case) -> None:
    """Each algorithm does what every algorithm must."""
    check(case)
