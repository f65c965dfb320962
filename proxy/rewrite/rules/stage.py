"""A call anywhere else, of any other model: scored here first, looked up by the upstream then.

The inputs of every row that the call can be computed for are read first, scored, and given to the
statement as two arrays: the keys of the inputs, sorted, and their scores. What stands for the call
looks the score of its own inputs up. So the statement is the client's in all but the call; nothing
is created, and it can run where nothing can be written.

A key is 64 bits of hash over all inputs. In the array of bounds each key is followed by the next
number, so that `width_bucket`, PostgreSQL's binary search, tells a key that is there from one that
is not: for those the score is NaN, and the statement fails.
"""

from __future__ import annotations

from proxy.errors import UnsupportedError
from proxy.rewrite.edits import Piece
from proxy.rewrite.literals import quote_text
from proxy.rewrite.rules.draft import BoundCall, Draft, identities, is_filter, without_alias

MISSED = "ml.not_scored()"

_SEED = 7046029254386353131
"""Any number but 0, for then 0.0 would be NULL."""

_TEXT, _FLOAT8 = "pg_catalog.text", "pg_catalog.float8"


def stage(call: BoundCall, draft: Draft) -> bool:
    """Write the look-up of a call's score, and ask for its inputs to be scored first."""
    pieces = lookup_pieces(call, draft)
    where = call.site.call
    draft.replace(where.start, where.end, tuple(pieces))
    without_alias(draft, call)
    return True


def lookup_pieces(call: BoundCall, draft: Draft) -> list[Piece]:
    """Return the pieces that look up the score of a call's inputs.

    Raises
    ------
    UnsupportedError
        Which rows the call is for is known only once the statement has run.
    """
    _check_place(call, draft)
    start = call.site.call.start
    key = key_pieces(call, draft)
    bounds, scores = draft.staged(call)
    # Where rows are chosen, one that was not scored is not chosen: PostgreSQL asks of others, too.
    missed = "NULL" if is_filter(call) else MISSED
    found = [
        Piece(f"COALESCE(NULLIF((SELECT ${scores}::pg_catalog.float8[])", start),
        Piece("[pg_catalog.width_bucket(", start),
        *key,
        Piece(f", (SELECT ${bounds}::pg_catalog.int8[]))], 'NaN'), {missed})", start),
    ]
    if call.output == "label":
        labels = ", ".join(
            f"{quote_text(label)}::{call.type_sql}" for label in call.signature.classes
        )
        found = [
            Piece(f"(ARRAY[{labels}])[(", start),
            *found,
            Piece(")::pg_catalog.int4 + 1]", start),
        ]
    kept = identities(call)
    if kept:
        tests = " OR ".join(f"({argument.text}\n)::pg_catalog.text IS NULL" for argument in kept)
        found = [Piece(f"CASE WHEN {tests} OR true THEN ", start), *found, Piece(" END", start)]
    return [Piece("(", start), *found, Piece(")", start)]


def key_pieces(call: BoundCall, draft: Draft) -> list[Piece]:
    """Return the pieces of the key of a call's inputs: a hash of each type's, one in another."""
    start = call.site.call.start
    inputs: dict[str, list[list[Piece]]] = {_TEXT: [], _FLOAT8: [], "array": []}
    types = {"category": _TEXT, "array": "array"}
    for feature, given in zip(call.signature.features, call.binding.inputs, strict=True):
        if given is not None:
            own = types.get(feature.kind, _FLOAT8)
            inputs[own].append(draft.input_pieces(feature, given))
    key = [Piece(f"{_SEED}::pg_catalog.int8", start)]
    for own in (_TEXT, _FLOAT8):
        if not inputs[own]:
            continue
        collation = ' COLLATE "C"' if own == _TEXT else ""
        array = [Piece("pg_catalog.hash_array_extended(ARRAY[", start)]
        for index, pieces in enumerate(inputs[own]):
            array += [Piece(", " if index else "", start), *pieces, Piece(collation, start)]
        key = [*array, Piece("], ", start), *key, Piece(")", start)]
    for pieces in inputs["array"]:
        key = [
            Piece("COALESCE(pg_catalog.hash_array_extended(", start),
            *pieces,
            Piece(", ", start),
            *key,
            Piece("), 1)", start),
        ]
    return key


def _check_place(call: BoundCall, draft: Draft) -> None:
    """Refuse the places whose rows are known only once the statement has run."""
    site, block = call.site, call.site.block
    where = ""
    if block is None:
        where = "this place"
    elif site.clause == "returning" and block.kind != "delete":
        where = "an expression of RETURNING"
    elif site.clause == "on conflict":
        where = "ON CONFLICT"
    elif block.kind == "merge" and site.clause == "on":
        where = "the condition of MERGE"
    elif block.inside is not None and block.inside[0].is_recursive:
        where = "a recursive WITH query"
    elif draft.is_of_current_row(block):
        where = "a statement on a cursor's current row"
    elif block.kind == "merge" and draft.has_words(block, "when", ("by", "source")):
        where = "MERGE with WHEN NOT MATCHED BY SOURCE"
    elif site.clause not in ("where", "from") and draft.groups_inputs(call):
        where = "a query with GROUPING SETS, ROLLUP or CUBE"
    elif draft.samples_at_random:
        where = "a statement with TABLESAMPLE that is not REPEATABLE"
    elif any(argument.is_volatile for argument in site.call.arguments):
        where = "a call with an argument that is different each time"
    if where:
        raise UnsupportedError(
            f'{site.call.function.upper()} of model "{call.signature.name}" is not supported in'
            f" {where}",
            detail="The model is too large for an SQL expression, and for which rows it is computed"
            " is not known before the statement runs.",
            position=site.call.position,
        )
