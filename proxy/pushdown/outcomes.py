"""What sums mean, as SQL: probabilities and labels of log-odds.

Owns what `proxy.kernels.linear.finished` does to the sums of one row. The sums are left to the
files of the models.

PostgreSQL's exp() raises where the result is beyond float8, or so small that it loses digits: what
it is given is held within ±700. A probability is off only where it is below 1e-300.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.pushdown.constants import number
from proxy.pushdown.template import Part, Parts, computed_once, separated, subquery

ONE = number(1.0)
LOWEST, HIGHEST = number(-700.0), number(700.0)
Z = "z"
"""What a subquery's columns belong to."""


def exponential(value: Sequence[Part]) -> Parts:
    """Return e to the power of a value that is held within ±700."""
    return ["pg_catalog.exp(GREATEST(LEAST(", *value, f",{HIGHEST}),{LOWEST}))"]


def probability_of_two(negated: Sequence[Part], class_index: int | None) -> Parts:
    """Return the probability of one of two classes; None: of the likelier.

    Parameters
    ----------
    negated : the log-odds of class 1, times -1
    """
    if class_index is None:
        power: Parts = ["pg_catalog.exp(GREATEST(-pg_catalog.abs(", *negated, f"),{LOWEST}))"]
        return [f"{ONE}/({ONE}+", *power, ")"]
    positive = [f"{ONE}/({ONE}+", *exponential(negated), ")"]
    return positive if class_index == 1 else [f"{ONE}-", *positive]


def label_of_two(log_odds: Sequence[Part], labels: Sequence[str]) -> Parts:
    """Return the likelier of two classes; the first where they are alike."""
    return ["CASE WHEN ", *log_odds, f">{number(0.0)} THEN {labels[1]} ELSE {labels[0]} END"]


def share(differences: Sequence[Sequence[Part]]) -> Parts:
    """Return a class's probability.

    Parameters
    ----------
    differences : each other class's log-odds less its own
    """
    return [f"{ONE}/({ONE}+", *separated("+", [exponential(each) for each in differences]), ")"]


def share_of(sums: Sequence[Sequence[Part]], class_index: int) -> Parts:
    """Return a class's probability, of the log-odds of all."""
    names = _names(len(sums))
    others = [name for k, name in enumerate(names) if k != class_index]
    return subquery(share([[f"{other}-{names[class_index]}"] for other in others]), Z, sums)


def largest_share(sums: Sequence[Sequence[Part]]) -> Parts:
    """Return the likeliest class's probability, of the log-odds of all."""
    names = _names(len(sums))
    powers = [[f"pg_catalog.exp(GREATEST({name}-{Z}.m,{LOWEST}))"] for name in names]
    inner = [[*each, f" AS c{k}"] for k, each in enumerate(sums)]
    source = computed_once(separated(", ", inner), Z)
    targets = f"{', '.join(names)}, GREATEST({', '.join(names)}) AS m FROM "
    total = separated("+", powers)
    return [f"(SELECT {ONE}/(", *total, ") FROM ", *computed_once([targets], Z, source), ")"]


def likeliest(sums: Sequence[Sequence[Part]], labels: Sequence[str]) -> Parts:
    """Return the label with the largest sum, of equal ones the first."""
    return subquery([first_equal("GREATEST", _names(len(sums)), labels)], Z, sums)


def first_equal(extreme: str, names: Sequence[str], results: Sequence[str]) -> str:
    """Return the result of the first of the columns that is the GREATEST or the LEAST of them."""
    cases = "".join(
        f" WHEN {name} THEN {result}" for name, result in zip(names[:-1], results[:-1], strict=True)
    )
    if not cases:
        return results[-1]
    return f"CASE {extreme}({', '.join(names)}){cases} ELSE {results[-1]} END"


def _names(count: int) -> list[str]:
    return [f"{Z}.c{k}" for k in range(count)]
