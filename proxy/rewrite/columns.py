"""The columns whose values become arrays: hidden ones of a query that scores, and those of a COPY.

Owns their kinds, and the words of an error in one field. How rows become arrays is `row_decoder`'s
and `training_reader`'s; the choice of columns is the planner's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from proxy.errors import (
    DatatypeMismatchError,
    InvalidParameterError,
    LocalProtocolError,
    ProxyError,
    RemoteProtocolError,
)
from proxy.kernels import fields

ARRAY_SUBSCRIPT_ERROR = "2202E"


class ColumnKind(IntEnum):
    """How a column's values travel: float8, text or float8[], all in binary format."""

    FLOAT8 = fields.FLOAT8
    TEXT = fields.TEXT
    FLOAT8_ARRAY = fields.FLOAT8_ARRAY
    CATEGORY = TEXT  # text whose values are known


@dataclass(frozen=True, slots=True)
class InputColumn:
    """A column of a query that trains; the name is for messages only."""

    kind: ColumnKind
    name: str = ""


@dataclass(frozen=True, slots=True)
class HiddenColumn:
    """A column that a query that scores was given by us.

    Parameters
    ----------
    width : columns of the matrix that it fills; more than 1 for an array only
    categories : the values of a CATEGORY column in the order of their codes; they arrive in UTF-8
    name : for messages only
    """

    kind: ColumnKind
    width: int = 1
    categories: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        # The kernel writes by this width without looking back.
        if self.width < 0 or (self.width != 1 and self.kind is not ColumnKind.FLOAT8_ARRAY):
            raise LocalProtocolError(f"a hidden {self.kind.name} column of width {self.width}")


def column_label(name: str, index: int) -> str:
    """Return how an error calls a column."""
    return f'column "{name}"' if name else f"column {index + 1}"


def field_error(status: int, label: str, detail: int, width: int) -> ProxyError:
    """Return the error for a status of `kernels.fields` about one field."""
    if status == fields.WRONG_LENGTH:
        return InvalidParameterError(
            f"{label}: array has {detail} elements instead of {width}",
            detail="All arrays of a column must have the length of those seen first in training.",
            sqlstate=ARRAY_SUBSCRIPT_ERROR,
        )
    if status == fields.WRONG_DIMENSIONS:
        return InvalidParameterError(
            f"{label}: array has {detail} dimensions instead of 1", sqlstate=ARRAY_SUBSCRIPT_ERROR
        )
    if status == fields.WRONG_ELEMENT_TYPE:
        return DatatypeMismatchError(
            f"{label}: array elements have type OID {detail} instead of {fields.FLOAT8OID}"
        )
    if status == fields.BAD_FLOAT8:
        return RemoteProtocolError(f"{label}: float8 of {detail} bytes")
    if status == fields.BAD_ARRAY:
        return RemoteProtocolError(f"{label}: invalid binary array")
    if status == fields.BAD_FRAME:
        return RemoteProtocolError("message with an invalid length")
    return RemoteProtocolError(f"{label}: field runs beyond its row")
