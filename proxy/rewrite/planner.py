"""A statement's text to its plan.

Owns the steps of planning. `analyse` needs the text alone and says whether it is ours; `plan`
needs the catalog (and what the stars stand for, which `probes` ask) and writes the upstream's text.
Leaves the parts to their modules: `calls`, `sites`, `binding`, `inputs`, and where a call is
computed to `rules`.

The client's text is edited at token offsets, never generated from a tree; that the edits are where
PostgreSQL's own grammar has the calls is `verification`'s to make sure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

from proxy.errors import (
    DatatypeMismatchError,
    TooLargeError,
    UnknownModelError,
    UnsupportedError,
)
from proxy.rewrite.binding import bind, star_key
from proxy.rewrite.bodies import refuse_bodies
from proxy.rewrite.calls import ArgumentKind, Call, Function, find_calls, grammatical
from proxy.rewrite.catalog import ModelCatalog, ModelSignature
from proxy.rewrite.edits import Edit, Piece, edited
from proxy.rewrite.gathering import Gathering
from proxy.rewrite.lexer import Token, TokenKind, tokenize
from proxy.rewrite.literals import quote_identifier, without_backslashes
from proxy.rewrite.parser import begins_as_ours, parse_statement
from proxy.rewrite.plan import (
    CallPlan,
    Command,
    Output,
    Passthrough,
    Plan,
    PredictQuery,
    Probe,
    Splice,
    StageStep,
    Star,
    StarKey,
    Strategy,
)
from proxy.rewrite.ranking import find_ranking
from proxy.rewrite.references import is_star, referenced_targets
from proxy.rewrite.rules import RULES, STORED_RULES
from proxy.rewrite.rules.draft import LIST_END, BoundCall, Draft
from proxy.rewrite.rules.push_down import value_pieces
from proxy.rewrite.rules.stage import lookup_pieces
from proxy.rewrite.sites import Site, Sites, find_sites, is_plain_list, returned_targets
from proxy.rewrite.sources import Sources
from proxy.rewrite.subqueries import missing_aliases
from proxy.rewrite.tree import decode, parse_json
from proxy.rewrite.verification import verify_arguments, verify_places

INSPECTED_MAX = 1 << 20
"""Characters; longer text is looked into only if it begins as ours."""

CALLS_MAX = 200
COMMENTS_MAX = 1000
_BEGINNING = 4096
_FUNCTIONS = frozenset(Function)
# PostgreSQL's parser ends at a NUL and knows no lone surrogate: neither could be checked.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_FLOAT8 = "pg_catalog.float8"
_NO_COLUMNS: Mapping[StarKey, tuple[str, ...]] = {}


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
    readable = sql if standard_conforming_strings else without_backslashes(sql, tokens)
    return _analyse_calls(sql, readable, tokens)


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


def _analyse_calls(sql: str, readable: str, tokens: tuple[Token, ...]) -> Plan:
    """Find the calls; `readable` is the text as PostgreSQL's parser reads it by itself."""
    if _count_openings(sql, tokens) > CALLS_MAX:
        raise TooLargeError(f"more than {CALLS_MAX} calls of PREDICT in one statement")
    refuse_bodies(sql, tokens)
    calls = find_calls(sql, tokens)
    if not calls:
        return Passthrough()
    if sql.count("/*") > COMMENTS_MAX:
        # PostgreSQL's scanner takes time that grows with the square of their depth.
        raise TooLargeError(f"more than {COMMENTS_MAX} comments beside PREDICT in one statement")
    tree = parse_json(grammatical(readable, calls))
    sites = find_sites(sql, tokens, decode(tree), calls)
    if sites is None:
        return Passthrough()
    query = _query(sql, tokens, sites)
    verify_arguments(sites, readable)
    verify_places(query, readable, tree)
    return query


def _count_openings(sql: str, tokens: tuple[Token, ...]) -> int:
    """Count the function names of ours that a parenthesis follows; cheap, unlike finding calls."""
    return sum(
        sql[after.start] == "(" and sql[token.start : token.end].lower() in _FUNCTIONS
        for token, after in pairwise(tokens)
        if token.kind is TokenKind.IDENTIFIER
    )


def _query(sql: str, tokens: tuple[Token, ...], sites: Sites) -> PredictQuery:
    spliced = _spliced(sql, sites)
    list_end = visible_count = None
    ranking = find_ranking(sql, tokens, sites)
    if (spliced or ranking) and sites.outermost is not None:
        clause = "list" if sites.kind == "SelectStmt" else "returning"
        list_end = tokens[sites.outermost.clauses[clause][1] - 1].end
        targets = returned_targets(sites)
        visible_count = None if any(is_star(target) for target in targets) else len(targets)
    return PredictQuery(
        sql=sql,
        kind=sites.kind,
        explained=None if sites.explain is None else sites.explain.get("format", "text"),
        explained_from=0 if sites.explain is None else _behind_explain(sql, tokens),
        sites=sites.sites,
        alias_uses=sites.alias_uses,
        spliced=spliced,
        models=tuple(site.call.model for site in sites.sites),
        stars=tuple({star.key: star for star in _stars(sites)}.values()),
        ranking=ranking,
        list_end=list_end,
        visible_count=visible_count,
        insertions=tuple(missing_aliases(sql, tokens, sites.blocks)),
        bare_names=sites.bare_names,
        blocks=sites.blocks,
        is_stored=sites.is_stored,
        planned_at=sites.planned_at,
        is_only_explained=sites.is_only_explained,
        tokens=tokens,
    )


def _behind_explain(sql: str, tokens: tuple[Token, ...]) -> int:
    """Return the offset of what an EXPLAIN explains."""
    words = [sql[token.start : token.end].lower() for token in tokens]
    index = 1
    if words[1:2] == ["("] and words[2:3] not in (["select"], ["with"], ["values"], ["("]):
        depth = 0
        for index in range(1, len(words)):
            depth += (words[index] == "(") - (words[index] == ")")
            if depth == 0:
                break
        index += 1
    while words[index : index + 1] in (["analyze"], ["analyse"], ["verbose"]):
        index += 1
    return tokens[index].start if index < len(tokens) else len(sql)


def _explained_sql(query: PredictQuery, draft: Draft) -> str | None:
    """Return the SELECT of an EXPLAIN ANALYZE, to be run for its scores."""
    changes = any(block.changes_rows for block in query.blocks)
    is_run = query.explained is not None and not query.is_only_explained
    if not is_run or query.kind != "SelectStmt" or changes or query.visible_count is None:
        return None
    if not draft.all_scores():
        return None
    pieces = draft.render(query.explained_from, len(query.sql))
    return "".join(piece.text for piece in pieces)


def _spliced(sql: str, sites: Sites) -> frozenset[int]:
    """Return the calls whose values only the client needs."""
    if not is_plain_list(sites):
        return frozenset()
    meant: frozenset[int] | None = frozenset()
    if sites.kind == "SelectStmt":
        meant = referenced_targets(sql, sites.select)
    if meant is None or any(site.clause == "group by" for site in sites.sites):
        return frozenset()
    return frozenset(
        number
        for number, site in enumerate(sites.sites)
        if site.item
        and site.is_whole
        and not site.is_argument
        and site.item.is_outermost
        and site.item.index not in meant
    )


def _stars(sites: Sites) -> Iterator[Star]:
    places = {id(block): index for index, block in enumerate(sites.blocks)}
    for site in sites.sites:
        for argument in site.call.arguments:
            if argument.kind is ArgumentKind.STAR:
                if site.block is None:
                    raise UnsupportedError(
                        "there is nothing that the star could stand for",
                        position=argument.start + 1,
                    )
                key = places[id(site.block)], star_key(argument)
                yield Star(key, site.block, argument.text, argument.start)
    for use in sites.alias_uses:
        if "from" in use.block.clauses:
            yield Star((places[id(use.block)], "*"), use.block, "*", use.start)


def may_stage(query: PredictQuery, catalog: ModelCatalog) -> bool:
    """Tell whether a call may have to be scored before the statement runs; a wrong "no" is rare."""
    used = {use.site for use in query.alias_uses}
    return not query.is_kept and any(
        _is_large(site, catalog)
        for number, site in enumerate(query.sites)
        if number not in query.spliced or number in used
    )


def _is_large(site: Site, catalog: ModelCatalog) -> bool:
    signature = _resolve(catalog, site.call)
    output = _output(site.call, signature)
    every = [True] * len(signature.features)
    index = 0 if output == "probability" else None
    type_sql = _type_sql(output, signature)
    return catalog.score_expression(site.call.model, every, output, index, type_sql) is None


def probes(query: PredictQuery, catalog: ModelCatalog) -> list[Probe]:
    """Write what the upstream must be asked before `plan`: statements to describe."""
    stars = [*query.stars, *_scopes(query, catalog)]
    if not stars:
        return []
    draft = Draft(query, catalog)
    for site in query.sites:
        signature = _resolve(catalog, site.call)
        type_sql = _type_sql(_output(site.call, signature), signature)
        null = Piece(f"NULL::{type_sql}", site.call.start)
        draft.replace(site.call.start, site.call.end, (null,))
    sources = Sources(query.sql, query.tokens, draft.render)
    return [Probe(star.key, edited("", [_whole(sources, star)])) for star in stars]


def _scopes(query: PredictQuery, catalog: ModelCatalog) -> Iterator[Star]:
    """Yield the blocks of which it must be known whether they refer to the blocks around them."""
    known = {star.key for star in query.stars}
    for site in query.sites:
        block = site.block
        if block is None or block.parent is None or "from" not in block.clauses:
            continue
        key = query.blocks.index(block), "*"
        if block.parent_clause not in ("from", "query") and key not in known:
            known.add(key)
            if _is_large(site, catalog):
                yield Star(key, block, "*", site.call.start)


def _whole(sources: Sources, star: Star) -> Edit:
    return Edit(0, 0, tuple(sources.star(star.block, star.text, star.position)))


def plan(
    query: PredictQuery,
    catalog: ModelCatalog,
    star_columns: Mapping[StarKey, tuple[str, ...]] = _NO_COLUMNS,
    *,
    text_as_utf8: bool = False,
    n_parameters: int = 0,
) -> Splice:
    """Bind a query's calls to models and write what the upstream is asked.

    Parameters
    ----------
    star_columns : for each of `query.stars`, by its key, the names of the star's columns
    text_as_utf8 : ask for categories as bytes of UTF-8, whatever the client's encoding
    n_parameters : of the client's

    Raises
    ------
    UnknownModelError
        A model or version does not exist.
    UnsupportedError
        A call stands where its model cannot be computed.
    ProxyError
        The arguments do not fit the model: see `binding.bind`.
    """
    draft = Draft(query, catalog, text_as_utf8=text_as_utf8, n_parameters=n_parameters)
    names = _names_by_block(query, star_columns)
    calls: dict[int, CallPlan] = {}
    missing: dict[str, dict[str, None]] = {}
    for number in _inner_first(query):
        site = query.sites[number]
        signature = _resolve(catalog, site.call)
        binding = bind(site.call, signature, names.get(id(site.block), {}))
        output = _output(site.call, signature)
        call = BoundCall(
            number,
            site,
            signature,
            binding,
            output,
            _type_sql(output, signature),
            binding.class_index if output == "probability" else None,
        )
        strategy = _placed(call, draft)
        calls[number] = CallPlan(strategy, signature, call.type_sql)
        _replace_uses(call, draft, names)
        absent = {
            feature.name: None
            for feature, given in zip(signature.features, binding.inputs, strict=True)
            if given is None
        }
        if absent:
            missing.setdefault(signature.name, {}).update(absent)
    if query.list_end is not None and draft.hidden_pieces:
        draft.insert(query.list_end, LIST_END, tuple(draft.hidden_pieces))
    edits = tuple(draft.edits())
    whole = edited(query.sql, edits)
    return Splice(
        sql=whole.text,
        calls=tuple(calls[number] for number in range(len(query.sites))),
        scores=draft.all_scores(),
        hidden=tuple(draft.hidden),
        visible_count=query.visible_count,
        notices=(*_imputed(missing), *_frozen(query, calls)),
        edits=edits,
        edited=whole,
        planned_at=query.planned_at,
        stages=_stages(query, draft, names, text_as_utf8=text_as_utf8),
        is_only_explained=query.is_only_explained,
        ranking=draft.ranking,
        explained=query.explained,
        explained_sql=_explained_sql(query, draft),
    )


def _stages(
    query: PredictQuery,
    draft: Draft,
    names: Mapping[int, Mapping[str, tuple[str, ...]]],
    *,
    text_as_utf8: bool,
) -> tuple[StageStep, ...]:
    """Return what is to be scored before the statement runs."""
    if not draft.stage_calls:
        return ()
    columns = {block: stars["*"] for block, stars in names.items() if "*" in stars}
    return Gathering(query, draft, columns).steps(text_as_utf8=text_as_utf8)


def _names_by_block(
    query: PredictQuery, star_columns: Mapping[StarKey, tuple[str, ...]]
) -> dict[int, dict[str, tuple[str, ...]]]:
    """Return the columns of the stars of each block, by the block's identity."""
    names: dict[int, dict[str, tuple[str, ...]]] = {}
    for (index, star), columns in star_columns.items():
        names.setdefault(id(query.blocks[index]), {})[star] = columns
    return names


def _inner_first(query: PredictQuery) -> list[int]:
    """Return the calls in an order in which each comes after those that its text needs."""
    spans = [(site.call.start, site.call.end) for site in query.sites]
    used = {use.site for use in query.alias_uses}
    order: list[int] = []
    for number in sorted(range(len(spans)), key=lambda number: number not in used):
        start, end = spans[number]
        inner = [i for i, span in enumerate(spans) if start < span[0] and span[1] <= end]
        order += [i for i in (*reversed(inner), number) if i not in order]
    return order


def _placed(call: BoundCall, draft: Draft) -> Strategy:
    rules = STORED_RULES if draft.query.is_kept else RULES
    for strategy, rule in rules:
        if rule(call, draft):
            return strategy
    name = call.site.call.function.upper()
    raise UnsupportedError(
        f'{name} of model "{call.signature.name}" is not supported in a statement that is kept',
        detail="The model is too large for an SQL expression, and its scores are not kept.",
        hint="Keep a query of the model's inputs, and call it on that.",
        position=call.site.call.position,
    )


def _replace_uses(
    call: BoundCall, draft: Draft, names: Mapping[int, Mapping[str, tuple[str, ...]]]
) -> None:
    """Let the call stand for its alias beside it, unless a real column has that name."""
    for use in draft.query.alias_uses:
        if use.site != call.number:
            continue
        assert call.site.item is not None
        if call.site.item.name in names.get(id(use.block), {}).get("*", ()):
            continue
        pieces = value_pieces(call, draft) or lookup_pieces(call, draft)
        if use.is_alone:
            name = quote_identifier(call.site.item.name)
            pieces = [*pieces, Piece(f" AS {name}", use.start)]
        draft.replace(use.start, use.end, tuple(pieces))


def _resolve(catalog: ModelCatalog, call: Call) -> ModelSignature:
    try:
        return catalog.resolve(call.model.name, call.model.version)
    except UnknownModelError as error:
        error.position = error.position or call.model.position
        raise


def _type_sql(output: Output, signature: ModelSignature) -> str:
    return signature.target_type_sql if output == "label" else _FLOAT8


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


def _imputed(missing: Mapping[str, Mapping[str, None]]) -> tuple[str, ...]:
    """Name what is imputed, in one notice for the statement."""
    if not missing:
        return ()
    parts = [f'{", ".join(names)} of model "{model}"' for model, names in missing.items()]
    return (f"not given and imputed as in training: {'; '.join(parts)}",)


def _frozen(query: PredictQuery, calls: Mapping[int, CallPlan]) -> tuple[str, ...]:
    """Say of a view that it keeps the models as they are."""
    if not query.is_stored:
        return ()
    models = {f'"{call.signature.name}:{call.signature.version}"': None for call in calls.values()}
    return (f"the view keeps {', '.join(models)} as it is now, whatever version comes later",)
