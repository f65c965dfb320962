"""A statement's text to its plan.

Owns the two steps of planning. `analyse` needs the text alone and says whether it is ours; `plan`
needs the catalog (and what the stars stand for) and writes the upstream's text. Leaves the rules to
their modules: `calls`, `placement`, `binding`, `inputs`.

The client's text is edited at token offsets, never generated from a tree; the result is parsed
again, and must be the client's query in everything but the columns put in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from proxy.errors import (
    DatatypeMismatchError,
    ModelSyntaxError,
    TooLargeError,
    UnknownModelError,
    UnsupportedError,
)
from proxy.rewrite.binding import IDENTITY_LABEL, Binding, bind, star_key
from proxy.rewrite.calls import Argument, ArgumentKind, Call, Function, find_calls, grammatical
from proxy.rewrite.catalog import FeatureSignature, ModelCatalog, ModelSignature
from proxy.rewrite.edits import Edit, EditedText, Piece, edited
from proxy.rewrite.inputs import cast_around
from proxy.rewrite.lexer import Token, TokenKind, tokenize
from proxy.rewrite.literals import quote_identifier
from proxy.rewrite.parser import begins_as_ours, parse_statement
from proxy.rewrite.placement import Placement, PredictTarget, place, real_calls
from proxy.rewrite.plan import (
    MARK,
    Command,
    HiddenColumn,
    Output,
    Passthrough,
    Plan,
    PredictQuery,
    Probe,
    ScoreColumn,
    Splice,
)
from proxy.rewrite.tree import Node, parse_tree, shape

INSPECTED_MAX = 1 << 20
"""Characters; longer text is looked into only if it begins as ours."""

CALLS_MAX = 200
COMMENTS_MAX = 1000
_BEGINNING = 4096
_FUNCTIONS = frozenset(Function)
# PostgreSQL's parser ends at a NUL and knows no lone surrogate: neither could be checked.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_FLOAT8 = "pg_catalog.float8"
_NO_COLUMNS: Mapping[str, tuple[str, ...]] = {}


def analyse(sql: str, *, standard_conforming_strings: bool = True) -> Plan:
    """Say what one statement is to us.

    Parameters
    ----------
    sql : one statement, with or without its semicolon; positions of errors count in it
    standard_conforming_strings : the session's setting

    Raises
    ------
    ModelSyntaxError
        It is ours, and wrong.
    UnsupportedError
        It is ours, and PREDICT stands where it is not served.
    """
    if not _is_worth_reading(sql):
        return Passthrough()
    tokens = tokenize(sql, standard_conforming_strings=standard_conforming_strings)
    statement = parse_statement(sql, tokens)
    if statement:
        return Command(statement)
    return _analyse_calls(sql, tokens)


def _is_worth_reading(sql: str) -> bool:
    folded = sql.lower()
    if "predict" not in folded and "model" not in folded:
        return False
    if _NO_TEXT.search(sql):
        return False
    if len(sql) <= INSPECTED_MAX:
        return True
    beginning = sql[:_BEGINNING]
    return begins_as_ours(beginning, tokenize(beginning))


def _analyse_calls(sql: str, tokens: tuple[Token, ...]) -> Plan:
    if _count_openings(sql, tokens) > CALLS_MAX:
        raise TooLargeError(f"more than {CALLS_MAX} calls of PREDICT in one statement")
    calls = find_calls(sql, tokens)
    if not calls:
        return Passthrough()
    if sql.count("/*") > COMMENTS_MAX:
        # PostgreSQL's scanner takes time that grows with the square of their depth.
        raise TooLargeError(f"more than {COMMENTS_MAX} comments beside PREDICT in one statement")
    tree = parse_tree(grammatical(sql, calls))
    places = real_calls(sql, tree, calls)
    if not places:
        return Passthrough()
    real = tuple(call for index, call in enumerate(calls) if index in places)
    kept = dict(enumerate(places[index] for index in sorted(places)))
    return _query(sql, place(sql, tokens, tree, real, kept))


def _count_openings(sql: str, tokens: tuple[Token, ...]) -> int:
    """Count the function names of ours that a parenthesis follows; cheap, unlike finding calls."""
    return sum(
        sql[after.start] == "(" and sql[token.start : token.end].lower() in _FUNCTIONS
        for token, after in pairwise(tokens)
        if token.kind is TokenKind.IDENTIFIER
    )


def _query(sql: str, placement: Placement) -> PredictQuery:
    stars = {
        star_key(argument): argument
        for target in placement.targets
        for argument in target.call.arguments
        if argument.kind is ArgumentKind.STAR
    }
    probes = tuple(Probe(key, _probe(sql, placement, star)) for key, star in stars.items())
    own = {target.index for target in placement.targets}
    return PredictQuery(
        sql,
        placement.targets,
        tuple(target.call.model for target in placement.targets),
        probes,
        placement.list_end,
        placement.visible_count,
        _rest(placement.select),
        tuple(
            None if index in own else shape(target)
            for index, target in enumerate(placement.select["targetList"])
        ),
    )


def _rest(select: Node) -> tuple[object, ...]:
    return shape({key: value for key, value in select.items() if key != "targetList"})


def _probe(sql: str, placement: Placement, star: Argument) -> EditedText:
    """Write the statement whose description tells what a star stands for."""
    edits = [
        Edit(target.start, target.end, (Piece("NULL", target.start),))
        for target in placement.targets
    ]
    # An argument with a $1 stays, for a parameter that nothing uses has no type.
    kept = "".join(
        f", ({argument.text}\n)"
        for target in placement.targets
        for argument in target.call.arguments
        if argument.has_parameter
    )
    addition = f'{kept}, NULL AS "{MARK}", {star.text}'
    edits.append(Edit(placement.list_end, placement.list_end, (Piece(addition, star.start),)))
    # A column of the star may have an alias's name, which ORDER BY would then find ambiguous.
    edits.append(Edit(*placement.order_by, ()))
    return edited(sql, edits)


def plan(
    query: PredictQuery,
    catalog: ModelCatalog,
    star_columns: Mapping[str, tuple[str, ...]] = _NO_COLUMNS,
    *,
    text_as_utf8: bool = False,
) -> Splice:
    """Bind a query's calls to models and write what the upstream is asked.

    Parameters
    ----------
    star_columns : for each of `query.probes`, its `star` -> the names of the star's columns
    text_as_utf8 : ask for categories as bytes of UTF-8, whatever the client's encoding

    Raises
    ------
    UnknownModelError
        A model or version does not exist.
    ProxyError
        The arguments do not fit the model: see `binding.bind`.
    """
    hidden = _HiddenColumns(text_as_utf8=text_as_utf8)
    scores = []
    edits = []
    missing: dict[str, dict[str, None]] = {}
    for number, target in enumerate(query.targets):
        signature = _resolve(catalog, target.call)
        binding = bind(target.call, signature, star_columns)
        score = _score(number, target, signature, binding, hidden)
        scores.append(score)
        edits.append(_placeholder(target, score))
        absent = {
            feature.name: None
            for feature, given in zip(signature.features, binding.inputs, strict=True)
            if given is None
        }
        if absent:
            missing.setdefault(signature.name, {}).update(absent)
    edits.append(Edit(query.list_end, query.list_end, tuple(hidden.pieces)))
    text = edited(query.sql, edits)
    splice = Splice(
        text.text,
        tuple(scores),
        tuple(hidden.columns),
        query.visible_count,
        _notices(missing),
        tuple(edits),
        text,
    )
    _verify(query, splice)
    return splice


class _HiddenColumns:
    """The inputs asked for so far; equal ones are asked for once."""

    __slots__ = ("_known", "_text_as_utf8", "columns", "pieces")

    def __init__(self, *, text_as_utf8: bool) -> None:
        self._text_as_utf8 = text_as_utf8
        self._known: dict[tuple[str, str, str, int], int] = {}
        self.columns: list[HiddenColumn] = []
        self.pieces: list[Piece] = []

    def index_of(self, feature: FeatureSignature, text: str, argument: Argument) -> int:
        before, after = cast_around(feature, text_as_utf8=self._text_as_utf8)
        key = (before, text, after, feature.width)
        if key in self._known and not argument.is_call:
            return self._known[key]
        index = len(self.columns)
        # Named, for PostgreSQL would name it after its argument, and ORDER BY could mean it.
        name = f"pgseer.in.{index}"
        verbatim = argument.kind is not ArgumentKind.STAR
        self.columns.append(HiddenColumn(name, feature.kind, feature.width))
        self.pieces += (
            Piece(f", {before}", argument.start),
            Piece(text, argument.start, verbatim=verbatim),
            Piece(f"{after} AS {quote_identifier(name)}", argument.start),
        )
        self._known[key] = index
        return index


def _resolve(catalog: ModelCatalog, call: Call) -> ModelSignature:
    try:
        return catalog.resolve(call.model.name, call.model.version)
    except UnknownModelError as error:
        error.position = error.position or call.model.position
        raise


def _score(
    number: int,
    target: PredictTarget,
    signature: ModelSignature,
    binding: Binding,
    hidden: _HiddenColumns,
) -> ScoreColumn:
    output = _output(target.call, signature)
    return ScoreColumn(
        marker=f"pgseer.{number}",
        name=target.name,
        signature=signature,
        output=output,
        type_sql=signature.target_type_sql if output == "label" else _FLOAT8,
        class_index=binding.class_index if output == "probability" else None,
        inputs=tuple(
            hidden.index_of(feature, given.text, given.argument) if given else None
            for feature, given in zip(signature.features, binding.inputs, strict=True)
        ),
    )


def _output(call: Call, signature: ModelSignature) -> Output:
    if call.function is Function.PREDICT:
        return signature.predict_kind
    probability = call.function is Function.PREDICT_PROBA
    is_clustering = signature.task == "clustering"
    is_classifier = bool(signature.classes) and not is_clustering
    if not is_classifier and (probability or signature.predict_kind != "label"):
        raise DatatypeMismatchError(
            f'{call.function.upper()} needs a classifier, and model "{signature.name}" is none',
            detail=f"Its task is {signature.task}.",
            hint=f"PREDICT gives its {'cluster' if is_clustering else 'value'}.",
            position=call.position,
        )
    return "probability" if probability else "label"


def _placeholder(target: PredictTarget, score: ScoreColumn) -> Edit:
    """Write the typed NULL that stands for a score."""
    value = f"NULL::{score.type_sql}"
    # What names the row is not asked for, but its $1 must not vanish: the client binds it.
    kept = [
        f"({argument.text}\n)::pg_catalog.text IS NULL"
        for argument in target.call.arguments
        if argument.has_parameter and _is_identity(argument)
    ]
    if kept:
        value = f"CASE WHEN {' OR '.join(kept)} THEN {value} END"
    text = f"{value} AS {quote_identifier(score.marker)}"
    return Edit(target.start, target.end, (Piece(text, target.start),))


def _is_identity(argument: Argument) -> bool:
    return argument.kind is ArgumentKind.NAMED and argument.name == IDENTITY_LABEL


def _notices(missing: Mapping[str, Mapping[str, None]]) -> tuple[str, ...]:
    """Name what is imputed, in one notice for the statement."""
    if not missing:
        return ()
    parts = [f'{", ".join(names)} of model "{model}"' for model, names in missing.items()]
    return (f"not given and imputed as in training: {'; '.join(parts)}",)


def _verify(query: PredictQuery, splice: Splice) -> None:
    """Make sure that the edited text is the client's query with columns put in, and no more."""
    try:
        tree = parse_tree(splice.sql)
    except ModelSyntaxError as error:
        error.position = error.position and splice.original_position(error.position)
        raise
    select = tree["stmts"][0]["stmt"].get("SelectStmt", {}) if len(tree["stmts"]) == 1 else {}
    targets = select.get("targetList", [])
    same = len(targets) == len(query.others) + len(splice.hidden) and _rest(select) == query.rest
    if not same or any(
        expected is not None and shape(target) != expected
        for target, expected in zip(targets, query.others, strict=False)
    ):
        raise UnsupportedError(
            "PREDICT is not supported in a query of this form yet",
            position=query.targets[0].call.position,
        )
