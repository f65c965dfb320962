"""Walk over whole frames of one type without looking inside.

Owns the step from frame to frame; leaves what a frame holds to `rows` and `copy_rows`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.compilation import BYTES, INT64, WRITABLE_BYTES, kernel, tuple_of
from proxy.kernels.memory import load_int32, load_uint8

COMPLETE = 0
BAD_LENGTH = 1

_RESULT = tuple_of(3)
_SIGNATURES = [_RESULT(array, INT64, INT64, INT64) for array in (BYTES, WRITABLE_BYTES)]


@kernel(*_SIGNATURES)
def skip_frames(
    buffer: NDArray[np.uint8], start: int, stop: int, type_byte: int
) -> tuple[int, int, int]:
    """Return (next, count, status) after the leading whole frames of one type.

    A frame is Byte1(type) Int32(length, itself included) and length - 4 bytes.

    Parameters
    ----------
    buffer : (n,) uint8
    start, stop : the range of the buffer that holds received bytes
    type_byte : the code of the wanted type, as ``ord("D")``

    Returns
    -------
    next : offset of the first frame that is of another type, not yet whole or malformed
    count : frames passed
    status : COMPLETE, or BAD_LENGTH when the frame at `next` has a length below 4
    """
    position = max(start, 0)
    stop = min(stop, buffer.size)
    count = 0
    while position + 5 <= stop and load_uint8(buffer, position) == type_byte:
        length = load_int32(buffer, position + 1)
        if length < 4:
            return position, count, BAD_LENGTH
        if position + 1 + length > stop:
            break
        position += 1 + length
        count += 1
    return position, count, COMPLETE
