"""What `rows` and `copy_rows` share: kinds of columns, status codes, the binary array format.

Owns the codes that a kernel returns for hostile or unfit bytes; leaves the words and the
SQLSTATE of the error to `proxy.rewrite.columns`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.compilation import inner
from proxy.kernels.memory import load_float64, load_int32, put_float64

# Kinds of columns.
FLOAT8 = 0
TEXT = 1
FLOAT8_ARRAY = 2

# Columns of the table that describes the wire's columns to a kernel.
KIND, WIDTH, ADDRESS = range(3)

# Status codes. Those up to BAD_ARRAY mean that the bytes break the protocol.
OK = 0
BAD_FRAME = 1
BAD_COUNT = 2
BAD_FIELD = 3
BAD_FLOAT8 = 4
BAD_ARRAY = 5
WRONG_ELEMENT_TYPE = 6
WRONG_DIMENSIONS = 7
WRONG_LENGTH = 8

NULL = -1
FLOAT8OID = 701
MAXDIM = 6  # PostgreSQL's: an array has at most six dimensions


@inner
def array_length(buffer: NDArray[np.uint8], start: int, size: int) -> tuple[int, int, int]:
    """Return (status, detail, length) of a binary float8[] in buffer[start:start + size].

    The format is array_send's: Int32(dimensions) Int32(has NULLs) Int32(element type), for each
    dimension Int32(length) Int32(lower bound), then the elements as fields. An array without
    dimensions, which is how PostgreSQL sends an empty one, has length 0.

    The detail is the element type or the number of dimensions found, where that is the fault.
    """
    if size < 12:
        return BAD_ARRAY, 0, 0
    n_dimensions = load_int32(buffer, start)
    element_type = load_int32(buffer, start + 8)
    if n_dimensions < 0 or n_dimensions > MAXDIM or size < 12 + 8 * n_dimensions:
        return BAD_ARRAY, 0, 0
    if element_type != FLOAT8OID:
        return WRONG_ELEMENT_TYPE, element_type, 0
    if n_dimensions == 0:
        return (OK if size == 12 else BAD_ARRAY), 0, 0
    if n_dimensions > 1:
        return WRONG_DIMENSIONS, n_dimensions, 0
    length = load_int32(buffer, start + 12)
    # Every element takes at least the four bytes of its own length.
    if length <= 0 or 20 + 4 * length > size:
        return BAD_ARRAY, 0, 0
    return OK, 0, length


@inner
def put_missing(address: int, count: int) -> None:
    """Write `count` float64 NaN at the address."""
    for index in range(count):
        put_float64(address + 8 * index, np.nan)


@inner
def read_elements(
    buffer: NDArray[np.uint8], start: int, size: int, length: int, address: int
) -> int:
    """Write the elements of an array that `array_length` found good; return the status."""
    field = start + 20
    end = start + size
    for index in range(length):
        if field + 4 > end:
            return BAD_ARRAY
        element_size = load_int32(buffer, field)
        field += 4
        if element_size == 8 and field + 8 <= end:
            put_float64(address + 8 * index, load_float64(buffer, field))
            field += 8
        elif element_size == NULL:
            put_float64(address + 8 * index, np.nan)
        else:
            return BAD_ARRAY
    return OK if field == end else BAD_ARRAY
