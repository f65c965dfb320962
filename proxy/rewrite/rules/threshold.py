"""A probability compared with a number, of a logistic model: a linear inequality.

`PREDICT(m, a, b) > 0.7` asks for no exponential: it is `w0 + w1 * a + w2 * b > logit(0.7)`.
"""

from __future__ import annotations

from proxy.rewrite.rules.draft import BoundCall, Draft, without_alias
from proxy.rewrite.rules.push_down import expression_pieces


def threshold(call: BoundCall, draft: Draft) -> bool:
    """Write the whole comparison that a call is one side of, if the model allows it."""
    comparison = call.site.comparison
    if comparison is None or call.output != "probability":
        return False
    block, clause = call.site.block, call.site.clause
    if block is not None and "group by" in block.clauses and clause not in ("where", "from"):
        return False  # the call may be what is grouped by: then it must read the same everywhere
    given = tuple(each is not None for each in call.binding.inputs)
    expression = draft.catalog.threshold_expression(
        call.site.call.model, given, call.class_index, comparison.operator, comparison.bound
    )
    if expression is None:
        return False
    pieces = expression_pieces(call, draft, expression)
    if pieces is None:
        return False
    draft.replace(comparison.start, comparison.end, tuple(pieces))
    without_alias(draft, call)
    return True
