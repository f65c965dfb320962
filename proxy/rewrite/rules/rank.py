"""A call that a SELECT sorts by, and of whose rows it wants the first few: sorted here.

The upstream is asked for every row, without ORDER BY and LIMIT; the score is computed as in
`splice`, and only the rows that are still among the first are kept.
"""

from __future__ import annotations

from proxy.rewrite.plan import ScoreColumn
from proxy.rewrite.rules.draft import BoundCall, Draft
from proxy.rewrite.rules.push_down import value_pieces
from proxy.rewrite.rules.splice import spliced_column


def rank(call: BoundCall, draft: Draft) -> bool:
    """Take the sorting over, where PostgreSQL could not compute the score by itself."""
    ranking = draft.query.ranking
    if ranking is None or ranking.site != call.number or call.output == "label":
        return False
    if draft.query.list_end is None or value_pieces(call, draft) is not None:
        return False
    if any(use.site == call.number for use in draft.query.alias_uses):
        return False
    if call.site.clause == "order by":
        inputs = tuple(
            draft.hidden_index(feature, given) if given else None
            for feature, given in zip(call.signature.features, call.binding.inputs, strict=True)
        )
        column = ScoreColumn(
            site=call.number,
            index=-1,
            marker="",
            name="",
            signature=call.signature,
            output=call.output,
            type_sql=call.type_sql,
            class_index=call.class_index,
            inputs=inputs,
        )
    else:
        column = spliced_column(call, draft)
    draft.rank_by(column, ranking)
    return True
