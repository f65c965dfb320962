"""PREDICT calls as the tokens show them.

Owns finding what reads like a call of ours and cutting its arguments. Whether it stands in a place
where a call can stand is the parse tree's to say (`placement`), what the arguments bind to is
`binding`'s.

Ours is `predict`, `predict_class`, `predict_proba` or `predict_explain`, unquoted and unqualified,
whose first argument is a model's name, `name:2.0` or a string that says either. With any other
first argument (`$1`, a number, an expression) it is somebody's own function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from pglast.keywords import RESERVED_KEYWORDS

from proxy.errors import ModelSyntaxError
from proxy.rewrite.cursor import Cursor
from proxy.rewrite.lexer import Token, TokenKind
from proxy.rewrite.literals import NAME_KINDS, STRING_KINDS, name_of, string_of
from proxy.rewrite.statements import ModelReference

_OPENING, _CLOSING = frozenset("(["), frozenset(")]")


class Function(StrEnum):
    """The functions of the dialect."""

    PREDICT = "predict"
    PREDICT_CLASS = "predict_class"
    PREDICT_PROBA = "predict_proba"
    PREDICT_EXPLAIN = "predict_explain"


class ArgumentKind(StrEnum):
    """How an argument finds its feature."""

    STAR = "star"  # * and t.*: by the names of the columns it stands for
    COLUMN = "column"  # a, t.a, "A": by its last name, else by position
    EXPRESSION = "expression"  # by position
    NAMED = "named"  # label => expression


# Of pg_catalog; an argument with a call of one is computed for a group, not for a row.
# fmt: off
_AGGREGATES = frozenset({
    "any_value", "array_agg", "avg", "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or",
    "corr", "count", "covar_pop", "covar_samp", "cume_dist", "dense_rank", "every", "json_agg",
    "json_object_agg", "jsonb_agg", "jsonb_object_agg", "max", "min", "mode", "percent_rank",
    "percentile_cont", "percentile_disc", "range_agg", "range_intersect_agg", "rank",
    "regr_avgx", "regr_avgy", "regr_count", "regr_intercept", "regr_r2", "regr_slope",
    "regr_sxx", "regr_sxy", "regr_syy", "stddev", "stddev_pop", "stddev_samp", "string_agg",
    "sum", "var_pop", "var_samp", "variance", "xmlagg"
})
# fmt: on
# Of pg_catalog; a function of somebody's own may be volatile without our knowing.
_VOLATILE = frozenset(
    {"random", "random_normal", "setseed", "nextval", "setval", "lastval", "currval"}
    | {"clock_timestamp", "timeofday", "gen_random_uuid", "uuidv4", "uuidv7", "pg_sleep"}
)

_NAMES = frozenset(function.value for function in Function)


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument after the model's name: `sql[start:end]`, without a `label =>`.

    `name` is a column's last name or a named argument's label; `qualifier` is a star's text before
    the asterisk ("t." or nothing); `string` is the value where the argument is a string constant.
    """

    kind: ArgumentKind
    start: int
    end: int
    text: str
    name: str = ""
    qualifier: str = ""
    string: str | None = None
    has_parameter: bool = False  # a $1 in it must not vanish from the statement
    is_call: bool = False  # parentheses in it: perhaps volatile, never computed once for two
    is_over_rows: bool = False  # an aggregate or window function in it: no subquery can hold it
    is_volatile: bool = False  # a function in it that is known to be
    has_column: bool = True  # perhaps; where not, a subquery of it would be computed once


@dataclass(frozen=True, slots=True)
class Call:
    """One call: `sql[start:end]`; tokens `[first:stop]`."""

    function: Function
    model: ModelReference
    arguments: tuple[Argument, ...]
    start: int
    end: int
    first: int
    stop: int
    foreign: tuple[tuple[int, int], ...]  # stretches that PostgreSQL's grammar does not know

    @property
    def position(self) -> int:
        """1-based, for an error."""
        return self.start + 1


def find_calls(sql: str, tokens: tuple[Token, ...]) -> tuple[Call, ...]:
    """Return everything that reads like a call of ours, in order; nested ones follow the outer."""
    calls = []
    for index in range(len(tokens) - 2):
        if sql[tokens[index + 1].start] == "(" and _names_function(sql, tokens, index):
            call = _call(sql, tokens, index)
            if call:
                calls.append(call)
    return tuple(calls)


def grammatical(sql: str, calls: tuple[Call, ...]) -> str:
    """Make the text one that PostgreSQL's grammar knows, every byte offset unchanged.

    A `*` among arguments becomes a 0, the `:2.0` after a model's name becomes blanks.
    """
    parts = []
    position = 0
    for start, end in sorted(stretch for call in calls for stretch in call.foreign):
        stretch = sql[start:end]
        parts.append(sql[position:start])
        parts.append("0" if stretch == "*" else " " * len(stretch.encode()))
        position = end
    return "".join([*parts, sql[position:]])


def _names_function(sql: str, tokens: tuple[Token, ...], index: int) -> bool:
    token = tokens[index]
    if token.kind is not TokenKind.IDENTIFIER or token.end - token.start > len("predict_explain"):
        return False
    if sql[token.start : token.end].lower() not in _NAMES:
        return False
    return index == 0 or sql[tokens[index - 1].start : tokens[index - 1].end] != "."


def _call(sql: str, tokens: tuple[Token, ...], index: int) -> Call | None:
    stop = _closing(sql, tokens, index + 1)
    if stop is None:
        return None
    cursor = Cursor(sql, tokens, index + 2, stop)
    token = cursor.token()
    if token and _is_keyword(sql, token):
        return None
    model = cursor.model_reference()
    if model is None or cursor.text() not in ("", ","):
        return None
    before = tokens[index + 2 : cursor.index]
    foreign = [(before[1].start, before[-1].end)] if len(before) > 1 else []
    arguments = []
    while cursor.skip_mark(","):
        argument = _argument(cursor)
        arguments.append(argument)
        if argument.text == "*":
            foreign.append((argument.start, argument.end))
    return Call(
        Function(sql[tokens[index].start : tokens[index].end].lower()),
        model,
        tuple(arguments),
        tokens[index].start,
        tokens[stop].end,
        index,
        stop + 1,
        tuple(foreign),
    )


def _closing(sql: str, tokens: tuple[Token, ...], opening: int) -> int | None:
    """Return the index of the parenthesis that closes `tokens[opening]`."""
    depth = 0
    for index in range(opening, len(tokens)):
        if tokens[index].kind is not TokenKind.PUNCTUATION:
            continue
        character = sql[tokens[index].start]
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
            if depth == 0:
                return index
    return None


def _argument(cursor: Cursor) -> Argument:
    """Step over one argument, to the comma after it or the end."""
    label = ""
    token = cursor.token()
    if token and token.kind in NAME_KINDS and cursor.text(1) in ("=>", ":="):
        label = name_of(cursor.sql, token)
        cursor.index += 2
    first = cursor.index
    depth = 0
    while cursor.token() and (depth or cursor.text() != ","):
        if cursor.tokens[cursor.index].kind is TokenKind.PUNCTUATION:
            depth += (cursor.text() in _OPENING) - (cursor.text() in _CLOSING)
        cursor.index += 1
    if cursor.index == first:
        at = cursor.tokens[first].start + 1
        raise ModelSyntaxError("an argument is missing", position=at)
    return _classified(cursor.sql, cursor.tokens[first : cursor.index], label)


def _classified(sql: str, tokens: tuple[Token, ...], label: str) -> Argument:
    start, end = tokens[0].start, tokens[-1].end
    text = sql[start:end]
    has_parameter = any(token.kind is TokenKind.PARAMETER for token in tokens)
    is_call = any(sql[token.start] == "(" for token in tokens)
    kind, name, qualifier = ArgumentKind.EXPRESSION, "", ""
    if label:
        kind, name = ArgumentKind.NAMED, label
    elif _is_path(sql, tokens):
        if text.endswith("*"):
            kind, qualifier = ArgumentKind.STAR, sql[start : tokens[-1].start]
        elif len(tokens) > 1 or not _is_keyword(sql, tokens[0]):
            kind, name = ArgumentKind.COLUMN, name_of(sql, tokens[-1])
    is_string = len(tokens) == 1 and tokens[0].kind in STRING_KINDS
    string = string_of(sql, tokens[0]) if is_string else None
    if kind in (ArgumentKind.STAR, ArgumentKind.COLUMN):
        return Argument(kind, start, end, text, name, qualifier)
    return Argument(
        kind,
        start,
        end,
        text,
        name,
        qualifier,
        string,
        has_parameter,
        is_call,
        is_over_rows(sql, tokens),
        is_volatile(sql, tokens),
        _has_column(sql, tokens),
    )


def is_over_rows(sql: str, tokens: Sequence[Token]) -> bool:
    """Tell whether an aggregate or a window function stands in an expression."""
    return any(
        (sql[after.start] == "(" and sql[token.start : token.end].lower() in _AGGREGATES)
        or (sql[token.start] == ")" and sql[after.start : after.end].lower() == "over")
        for token, after in pairwise(tokens)
    )


def is_volatile(sql: str, tokens: Sequence[Token]) -> bool:
    """Tell whether a function stands in an expression that is known to be volatile."""
    return any(
        sql[after.start] == "(" and sql[token.start : token.end].lower() in _VOLATILE
        for token, after in pairwise(tokens)
    )


def _has_column(sql: str, tokens: tuple[Token, ...]) -> bool:
    """Tell whether a name stands in an expression that is neither a function's nor a type's."""
    for index, token in enumerate(tokens):
        if token.kind not in NAME_KINDS or _is_keyword(sql, token):
            continue
        before = sql[tokens[index - 1].start : tokens[index - 1].end].lower() if index else ""
        after = tokens[index + 1] if index + 1 < len(tokens) else None
        is_function = after is not None and (sql[after.start] == "(" or after.kind in STRING_KINDS)
        if not is_function and before not in ("::", "as"):
            return True
    return False


def _is_path(sql: str, tokens: tuple[Token, ...]) -> bool:
    """Tell whether these are names joined by dots, the last perhaps an asterisk."""
    if len(tokens) % 2 == 0:
        return False
    if any(sql[token.start : token.end] != "." for token in tokens[1::2]):
        return False
    last = tokens[-1]
    if any(token.kind not in NAME_KINDS for token in tokens[:-1:2]):
        return False
    return last.kind in NAME_KINDS or sql[last.start : last.end] == "*"


def _is_keyword(sql: str, token: Token) -> bool:
    """Tell whether a word alone is something else than a column (NULL, TRUE, CURRENT_DATE)."""
    is_word = token.kind is TokenKind.IDENTIFIER
    return is_word and sql[token.start : token.end].lower() in RESERVED_KEYWORDS
