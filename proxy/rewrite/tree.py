"""PostgreSQL's own parse tree, as plain values.

Owns asking libpg_query for it safely: by way of JSON, since its AST objects crash the process on
deep input, and without recursion of ours, since a thousand `+` make a tree a thousand deep.
Leaves what a tree means to `placement` and `relations`.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pglast.parser import ParseError, parse_sql_json

from proxy.errors import ModelSyntaxError

Node = dict[str, Any]

# Every key of libpg_query's JSON that says where, not what.
_PLACES = frozenset({"stmt_len", "rexpr_list_start", "rexpr_list_end", "list_start", "list_end"})
_JSON = re.compile(r'[\[\]{},:]|"(?:[^"\\]|\\.)*+"|[^\[\]{},:"\s]+')


def parse_tree(sql: str) -> Node:
    """Return the tree of a text; every `location` in it is a byte offset.

    Raises
    ------
    ModelSyntaxError
        PostgreSQL's grammar refuses it; `position` counts characters.
    """
    return decode(parse_json(sql))


def parse_json(sql: str) -> str:
    """Return the tree of a text as libpg_query writes it.

    Raises
    ------
    ModelSyntaxError
        PostgreSQL's grammar refuses it; `position` counts characters.
    """
    try:
        text: str = parse_sql_json(sql)
    except ParseError as error:
        location = error.args[1] if len(error.args) > 1 else None
        position = None if location is None or location < 0 else location + 1
        raise ModelSyntaxError(str(error.args[0]), position=position) from None
    return text


def decode(text: str) -> Node:
    """Return the tree that a JSON text is, however deep."""
    try:
        tree: Node = json.loads(text)
    except RecursionError:
        tree = decode_deep(text)
    return tree


def decode_deep(text: str) -> Node:
    """Decode JSON of any depth, ten times slower than `json.loads`."""
    root: list[Any] = []
    stack: list[Any] = [root]
    keys: list[str | None] = [None]
    for found in _JSON.finditer(text):
        mark = found.group()
        if mark in ",:":
            continue
        if mark in "]}":
            stack.pop()
            keys.pop()
            continue
        top = stack[-1]
        if isinstance(top, dict) and keys[-1] is None:
            keys[-1] = json.loads(mark)
            continue
        value: Any = {} if mark == "{" else [] if mark == "[" else json.loads(mark)
        if isinstance(top, dict):
            top[keys[-1]] = value
            keys[-1] = None
        else:
            top.append(value)
        if mark in "{[":
            stack.append(value)
            keys.append(None)
    decoded: Node = root[0]
    return decoded


def shape(tree: Any) -> tuple[Any, ...]:
    """Flatten a tree without its places: equal shapes are equal trees."""
    flat: list[Any] = []
    stack = [tree]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            start = len(flat)
            flat.append(None)
            for key, child in value.items():
                if isinstance(child, (dict, list)):
                    flat.append(key)
                    stack.append(child)
                elif not (key in _PLACES or key.endswith("location")):
                    flat.append((key, child))
            flat[start] = len(flat) - start  # so that no other tree flattens to the same
        elif isinstance(value, list):
            flat.append(-1 - len(value))
            stack.extend(value)
        else:
            flat.append(value)
    return tuple(flat)


def byte_offset(sql: str, offset: int) -> int:
    """Turn a character offset into the byte offset that a `location` is."""
    return offset if sql.isascii() else len(sql[:offset].encode())


def character_offset(sql: str, location: int) -> int:
    """Turn a `location` into a character offset."""
    return location if sql.isascii() else len(sql.encode()[:location].decode())
