"""A call that is a whole column going to the client: scored here, row by row as they pass.

The column is asked for as a NULL of its type, under a marker; the model's inputs are asked for as
hidden columns behind the client's.
"""

from __future__ import annotations

from proxy.rewrite.edits import Piece
from proxy.rewrite.literals import quote_identifier
from proxy.rewrite.plan import ScoreColumn
from proxy.rewrite.rules.draft import BoundCall, Draft, identities


def splice(call: BoundCall, draft: Draft) -> bool:
    """Ask for the inputs of a call that the query has marked as such a column."""
    if call.number not in draft.query.spliced or call.site.item is None:
        return False
    draft.scores.append(spliced_column(call, draft))
    return True


def spliced_column(call: BoundCall, draft: Draft) -> ScoreColumn:
    """Write the marker of a call that is a whole column, and ask for its inputs."""
    item = call.site.item
    assert item is not None
    inputs = tuple(
        draft.hidden_index(feature, given) if given else None
        for feature, given in zip(call.signature.features, call.binding.inputs, strict=True)
    )
    marker = f"pgseer.{len(draft.all_scores())}"
    column = ScoreColumn(
        site=call.number,
        index=item.index,
        marker=marker,
        name=item.name,
        signature=call.signature,
        output=call.output,
        type_sql=call.type_sql,
        class_index=call.class_index,
        inputs=inputs,
    )
    value = f"NULL::{call.type_sql}"
    kept = [f"({argument.text}\n)::pg_catalog.text IS NULL" for argument in identities(call)]
    if kept:
        value = f"CASE WHEN {' OR '.join(kept)} THEN {value} END"
    text = f"{value} AS {quote_identifier(marker)}"
    draft.replace(item.start, item.end, (Piece(text, item.start),))
    return column
