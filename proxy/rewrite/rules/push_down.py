"""A call anywhere else, of a model that is small: PostgreSQL computes it, as an expression.

The expression stands where the call stood, so everything around it - filters, joins, groups,
windows, triggers, plans - is PostgreSQL's own. An argument that the expression needs more than once
and that is more than a column is computed once, in a subquery of its own.
"""

from __future__ import annotations

from proxy.rewrite.calls import ArgumentKind
from proxy.rewrite.catalog import ScoreExpression
from proxy.rewrite.edits import Piece
from proxy.rewrite.rules.draft import BoundCall, Draft, identities, without_alias


def push_down(call: BoundCall, draft: Draft) -> bool:
    """Write a call as the model's expression over its arguments, if there is one."""
    pieces = value_pieces(call, draft)
    if pieces is None:
        return False
    where = call.site.call
    draft.replace(where.start, where.end, tuple(pieces))
    without_alias(draft, call)
    return True


def value_pieces(call: BoundCall, draft: Draft) -> list[Piece] | None:
    """Return the pieces of a call's expression; None: its model has none."""
    given = tuple(each is not None for each in call.binding.inputs)
    expression = draft.catalog.score_expression(
        call.site.call.model, given, call.output, call.class_index, call.type_sql
    )
    return None if expression is None else expression_pieces(call, draft, expression)


def expression_pieces(
    call: BoundCall, draft: Draft, expression: ScoreExpression
) -> list[Piece] | None:
    """Return the pieces of an expression with a call's arguments in it, in parentheses.

    None: an argument is computed over several rows, which no subquery can do, and needs one.
    """
    start = call.site.call.start
    features = call.signature.features
    inputs: list[list[Piece]] = []
    inner: list[Piece] = []
    for index, (feature, given) in enumerate(zip(features, call.binding.inputs, strict=True)):
        if given is None:
            inputs.append([])
            continue
        pieces = draft.input_pieces(feature, given)
        argument = given.argument
        is_costly = argument.kind in (ArgumentKind.EXPRESSION, ArgumentKind.NAMED)
        if argument.is_over_rows and expression.has_subquery:
            return None
        if is_costly and expression.uses[index] > 1 and not argument.is_over_rows:
            inner += [Piece(", " if inner else "", start), *pieces, Piece(f" AS f{index}", start)]
            pieces = [Piece(f'"pgseer.i".f{index}', start)]
        inputs.append(pieces)
    written: list[Piece] = [Piece("(", start)]
    for part in expression.parts:
        written += [Piece(part, start)] if isinstance(part, str) else inputs[part]
    written.append(Piece(")", start))
    if inner:
        arguments = [given.argument for given in call.binding.inputs if given]
        if any(argument.is_over_rows for argument in arguments):
            return None
        is_once = not any(argument.has_column for argument in arguments)
        if is_once and any(argument.is_volatile for argument in arguments):
            return None  # PostgreSQL would compute it once for all rows
        written = [
            Piece("(SELECT ", start),
            *written,
            Piece(" FROM (SELECT ", start),
            *inner,
            Piece(' OFFSET 0) AS "pgseer.i")', start),
        ]
    kept = identities(call)
    if kept:
        tests = " OR ".join(f"({argument.text}\n)::pg_catalog.text IS NULL" for argument in kept)
        written = [Piece(f"CASE WHEN {tests} OR true THEN ", start), *written, Piece(" END", start)]
        written = [Piece("(", start), *written, Piece(")", start)]
    return written
