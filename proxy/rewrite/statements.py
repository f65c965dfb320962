"""The ML statements, as values.

Owns one frozen dataclass for each verb that is served. Leaves how the text becomes one to `parser`,
what it does to `commands`.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.rewrite.edits import EditedText

Value = int | float | str | bool | None | tuple["Value", ...]
"""A parameter's value; a list is a tuple."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One `key: value` of a USING clause.  The positions, of key and value, are 1-based."""

    name: str
    value: Value
    position: int
    value_position: int


@dataclass(frozen=True, slots=True)
class ModelReference:
    """`name`, `name:2.0`, `'name'` or `'name:2.0'`.  `version` is None for the default one."""

    name: str
    version: str | None
    position: int


@dataclass(frozen=True, slots=True)
class CreateModel:
    """CREATE [OR REPLACE] MODEL [IF NOT EXISTS] name USING algorithm [( ... )] AS query.

    `query` is the client's text from `query_start` (0-based) on; `query_rewritten.text` is what the
    upstream is asked, the same but for `default` where it means a column of that name.
    """

    name: str
    name_position: int
    or_replace: bool
    if_not_exists: bool
    algorithm: str
    algorithm_position: int
    parameters: tuple[Parameter, ...]
    query: str
    query_start: int
    query_rewritten: EditedText


@dataclass(frozen=True, slots=True)
class DropModel:
    """DROP MODEL [IF EXISTS] name[:version] [, ...] [CASCADE | RESTRICT]."""

    models: tuple[ModelReference, ...]
    if_exists: bool
    cascade: bool


@dataclass(frozen=True, slots=True)
class ShowModels:
    """SHOW MODELS: every model, its default version."""


@dataclass(frozen=True, slots=True)
class ShowModel:
    """SHOW MODEL name: every version of one model."""

    model: ModelReference


@dataclass(frozen=True, slots=True)
class DescribeModel:
    """DESCRIBE MODEL name[:version]: what one version has learned."""

    model: ModelReference


@dataclass(frozen=True, slots=True)
class EvaluateModel:
    """EVALUATE MODEL name[:version] AS query: how good a version is on the query's rows.

    `query_start` and `query_rewritten` are as in CreateModel.
    """

    model: ModelReference
    query_start: int
    query_rewritten: EditedText


MLStatement = CreateModel | DropModel | ShowModels | ShowModel | DescribeModel | EvaluateModel
