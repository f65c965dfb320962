"""The statements of the ML dialect: text to value, by recursive descent.

Owns the grammar of CREATE, DROP, SHOW, DESCRIBE and EVALUATE MODEL, and which other statements
begin as ours and are refused. What does not begin as ours is None: PostgreSQL's to judge. Leaves
PREDICT to `planner`, and whether names, parameters and the query make sense to `commands` and the
upstream.
"""

from __future__ import annotations

from proxy.errors import ModelSyntaxError, ProxyError, UnsupportedError
from proxy.rewrite.calls import find_calls
from proxy.rewrite.cursor import Cursor
from proxy.rewrite.edits import Edit, EditedText, Piece, edited
from proxy.rewrite.lexer import Token, TokenKind
from proxy.rewrite.literals import NAME_KINDS, STRING_KINDS, number_of, string_of
from proxy.rewrite.statements import (
    CreateModel,
    DescribeModel,
    DropModel,
    EvaluateModel,
    MLStatement,
    ModelReference,
    Parameter,
    ShowModel,
    ShowModels,
    Value,
)
from proxy.rewrite.tree import parse_tree

DEPTH_MAX = 100

_CREATE_HINT = (
    "CREATE [OR REPLACE] MODEL [IF NOT EXISTS] name USING algorithm [(key: value, ...)] AS query"
)
_EVALUATE_HINT = "EVALUATE MODEL name[:version] AS query"
_WORDS = {"true": True, "false": False, "null": None}
# An expression begins after these; there DEFAULT can only be a column of that name.
_BEFORE_EXPRESSION = frozenset(
    {"select", "all", "distinct", "where", "and", "or", "not", "when", "then", "else", "case"}
    | {"by", "having", "on", "between", "like", "ilike", "in", "limit", "offset"}
)


def parse_statement(sql: str, tokens: tuple[Token, ...]) -> MLStatement | None:
    """Parse one statement of ours; None means that it is not.

    Parameters
    ----------
    sql : the whole text that the tokens' offsets count in
    tokens : one statement's, with or without a closing semicolon

    Raises
    ------
    ModelSyntaxError
        It begins as ours and goes wrong; `position` says where.
    UnsupportedError
        It is a statement of the dialect that is not served yet.
    """
    stop = len(tokens)
    while stop and sql[tokens[stop - 1].start] == ";":
        stop -= 1
    cursor = Cursor(sql, tokens, 0, stop)
    match cursor.word():
        case "create":
            return _create(cursor)
        case "drop":
            return _drop(cursor)
        case "show":
            return _show(cursor)
        case "describe":
            return _describe(cursor)
        case "evaluate":
            return _evaluate(cursor)
        case "alter" | "comment" | "grant" | "revoke":
            _refuse_later_verbs(cursor)
    return None


def begins_as_ours(sql: str, tokens: tuple[Token, ...]) -> bool:
    """Tell whether the first words are a verb of the dialect, whatever follows."""
    try:
        return parse_statement(sql, tokens) is not None
    except ProxyError:
        return True


def _refuse(cursor: Cursor, what: str) -> None:
    raise UnsupportedError(f"{what} is not supported yet", position=cursor.tokens[0].start + 1)


def _refuse_later_verbs(cursor: Cursor) -> None:
    verb = cursor.word()
    if cursor.at("alter", "model"):
        _refuse(cursor, "ALTER MODEL")
    if cursor.at("comment", "on", "model"):
        _refuse(cursor, "COMMENT ON MODEL")
    if verb in ("grant", "revoke"):
        while cursor.token():
            # GRANT ... ON model TO: that is a table of this name.
            if cursor.at("on", "model") and cursor.word(2) not in ("to", "from"):
                token = cursor.token(2)
                if token and token.kind in NAME_KINDS | STRING_KINDS:
                    _refuse(cursor, f"{verb.upper()} ON MODEL")
            cursor.index += 1


def _create(cursor: Cursor) -> CreateModel | None:
    cursor.skip("create")
    or_replace = cursor.skip("or", "replace")
    if cursor.at("model_deployment"):
        _refuse(cursor, "CREATE MODEL_DEPLOYMENT")
    if not cursor.skip("model"):
        return None
    if or_replace and cursor.at("if"):
        cursor.fail("a model's name", "OR REPLACE and IF NOT EXISTS exclude each other.")
    if_not_exists = cursor.skip("if", "not", "exists")
    name_position = cursor.position
    name = cursor.name("a model's name", _CREATE_HINT)
    if cursor.text() in (".", ":"):
        cursor.fail("USING", "A model's name has no schema, and its version is given by itself.")
    if not cursor.skip("using"):
        cursor.fail("USING", _CREATE_HINT)
    algorithm_position = cursor.position
    algorithm = cursor.name("an algorithm's name", _CREATE_HINT)
    parameters = _parameters(cursor) if cursor.skip_mark("(") else ()
    if not cursor.skip("as"):
        cursor.fail("AS and a query", _CREATE_HINT)
    query_start = cursor.position - 1
    return CreateModel(
        name,
        name_position,
        or_replace,
        if_not_exists,
        algorithm,
        algorithm_position,
        parameters,
        cursor.sql[query_start : cursor.tokens[cursor.stop - 1].end],
        query_start,
        _query(cursor, "a training query", _CREATE_HINT),
    )


def _parameters(cursor: Cursor) -> tuple[Parameter, ...]:
    """Parse `key: value, ...)`, the opening parenthesis being behind us."""
    parameters: list[Parameter] = []
    if cursor.skip_mark(")"):
        return ()
    while True:
        position = cursor.position
        name = cursor.name("a parameter's name", "Parameters are written (key: value, ...).")
        if any(parameter.name == name for parameter in parameters):
            raise ModelSyntaxError(f'parameter "{name}" is given twice', position=position)
        if not cursor.skip_mark(":", "=", "=>", ":="):
            cursor.fail("a colon", "Parameters are written (key: value, ...).")
        value_position = cursor.position
        parameters.append(Parameter(name, _value(cursor, 0), position, value_position))
        if cursor.skip_mark(")"):
            return tuple(parameters)
        if not cursor.skip_mark(","):
            cursor.fail("a comma or a closing parenthesis")


def _value(cursor: Cursor, depth: int) -> Value:
    if depth > DEPTH_MAX:
        raise ModelSyntaxError("lists are nested too deeply", position=cursor.position)
    token = cursor.token()
    if cursor.skip_mark("["):
        return _list(cursor, depth)
    sign = -1 if cursor.skip_mark("-") else 1
    signed = sign < 0 or cursor.skip_mark("+")
    number = cursor.token()
    if number and number.kind is TokenKind.NUMBER:
        cursor.index += 1
        return number_of(cursor.sql, number, sign)
    if token is None or signed:
        cursor.fail("a number" if signed else "a value")
    if token.kind in STRING_KINDS:
        cursor.index += 1
        return string_of(cursor.sql, token)
    if cursor.word() in _WORDS:
        cursor.index += 1
        return _WORDS[cursor.word(-1)]
    return cursor.name("a number, a string, true, false, null or a [list]")


def _list(cursor: Cursor, depth: int) -> Value:
    values: list[Value] = []
    if cursor.skip_mark("]"):
        return ()
    while True:
        values.append(_value(cursor, depth + 1))
        if cursor.skip_mark("]"):
            return tuple(values)
        if not cursor.skip_mark(","):
            cursor.fail("a comma or a closing bracket")


def _query(cursor: Cursor, what: str, hint: str) -> EditedText:
    """Check the query that the rest of the statement is, and quote `default` in it."""
    if cursor.token() is None:
        cursor.fail("a query", hint)
    tokens = cursor.tokens[cursor.index : cursor.stop]
    start, end = tokens[0].start, tokens[-1].end
    query = cursor.sql[start:end]
    calls = find_calls(cursor.sql, tokens)
    if calls:
        raise UnsupportedError(
            f"PREDICT is not supported in {what} yet", position=calls[0].position
        )
    edits = [
        Edit(token.start - start, token.end - start, (Piece('"default"', token.start - start),))
        for token in _default_columns(cursor.sql, tokens)
    ]
    rewritten = edited(query, edits)
    _check_is_select(rewritten.text, start + 1, what, hint)
    return rewritten


def _default_columns(sql: str, tokens: tuple[Token, ...]) -> list[Token]:
    """Return each DEFAULT that stands where an expression begins."""
    found = []
    for index, token in enumerate(tokens[1:], 1):
        if sql[token.start : token.end].lower() != "default":
            continue
        before = tokens[index - 1]
        text = sql[before.start : before.end]
        is_word = before.kind is TokenKind.IDENTIFIER and text.lower() in _BEFORE_EXPRESSION
        if is_word or before.kind is TokenKind.OPERATOR or text in ("(", ",", "["):
            found.append(token)
    return found


def _check_is_select(query: str, position: int, what: str, hint: str) -> None:
    try:
        statements = parse_tree(query)["stmts"]
    except ModelSyntaxError:
        return  # the upstream will say what is wrong, in its own version's words
    if len(statements) != 1 or "intoClause" in statements[0]["stmt"].get(
        "SelectStmt", {"intoClause": None}
    ):
        raise ModelSyntaxError(
            f"{what} is one SELECT, VALUES, TABLE or WITH query",
            hint=hint,
            position=position,
        )


def _drop(cursor: Cursor) -> DropModel | None:
    cursor.skip("drop")
    if cursor.at("model_deployment"):
        _refuse(cursor, "DROP MODEL_DEPLOYMENT")
    if not cursor.skip("model"):
        return None
    if_exists = cursor.skip("if", "exists")
    models = [_reference(cursor)]
    while cursor.skip_mark(","):
        models.append(_reference(cursor))
    cascade = cursor.skip("cascade")
    if not cascade:
        cursor.skip("restrict")
    _expect_end(cursor)
    return DropModel(tuple(models), if_exists, cascade)


def _show(cursor: Cursor) -> ShowModels | ShowModel | None:
    cursor.skip("show")
    if cursor.at("model_deployment") or cursor.at("model_deployments"):
        _refuse(cursor, f"SHOW {cursor.word().upper()}")
    if cursor.text(1) == ".":
        return None  # SHOW model.x: a setting, of somebody's own making
    if cursor.skip("models"):
        _expect_end(cursor)
        return ShowModels()
    if not cursor.skip("model"):
        return None
    model = _reference(cursor)
    _expect_end(cursor)
    return ShowModel(model)


def _describe(cursor: Cursor) -> DescribeModel | None:
    cursor.skip("describe")
    if not cursor.skip("model"):
        return None
    model = _reference(cursor)
    _expect_end(cursor)
    return DescribeModel(model)


def _evaluate(cursor: Cursor) -> EvaluateModel | None:
    cursor.skip("evaluate")
    if not cursor.skip("model"):
        return None
    model = _reference(cursor)
    if not cursor.skip("as"):
        cursor.fail("AS and a query", _EVALUATE_HINT)
    query_start = cursor.position - 1
    query = _query(cursor, "the query of EVALUATE MODEL", _EVALUATE_HINT)
    return EvaluateModel(model, query_start, query)


def _reference(cursor: Cursor) -> ModelReference:
    reference = cursor.model_reference()
    if reference is None:
        cursor.fail("a model's name", "A model is named as name, name:2.0 or 'name:2.0'.")
    return reference


def _expect_end(cursor: Cursor) -> None:
    if cursor.token():
        cursor.fail("the end of the statement")
