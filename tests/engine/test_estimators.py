"""Every check of `estimator_checks` over every algorithm, with two classes and with more."""

from __future__ import annotations

import pytest

from proxy.engine.algorithms import ALGORITHMS
from tests.engine.estimator_checks import CHECKS, Check

CASES = [
    (name, n_classes)
    for name, spec in ALGORITHMS.items()
    for n_classes in ((2,) if spec.task == "regression" else (2, 4))
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("name", "n_classes"), CASES)
def test_check(check: Check, name: str, n_classes: int) -> None:
    """Each algorithm does what every algorithm must."""
    check(name, n_classes)
