"""Which chunks the compiled relay passes on: whole messages of the everyday kinds, and no others.

Owns the walk over a chunk of each side and the count of what awaits an answer, by the rules of
`protocol.replies` (without errors and COPY, which end the ride). A walk changes nothing that the
caller has not yet committed to.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.compilation import inner
from proxy.kernels.memory import load_int32, load_uint8

RING = 64
"""Messages that may await their answer; more end the ride."""

NOT_OURS = -1

_A_UPPER, _Z_UPPER = ord("A"), ord("Z")
_M, _P = ord("m"), ord("p")
_PREDICT = np.frombuffer(b"predict", np.uint8)
_MODEL = np.frombuffer(b"model", np.uint8)
_ML = np.frombuffer(b"ml_", np.uint8)

_QUERY, _PARSE, _BIND, _DESCRIBE = ord("Q"), ord("P"), ord("B"), ord("D")
_EXECUTE, _CLOSE, _SYNC, _FLUSH = ord("E"), ord("C"), ord("S"), ord("H")
_PARSE_COMPLETE, _BIND_COMPLETE, _CLOSE_COMPLETE = ord("1"), ord("2"), ord("3")
_ROW_DESCRIPTION, _NO_DATA, _PARAMETER_DESCRIPTION = ord("T"), ord("n"), ord("t")
_DATA_ROW, _COMMAND_COMPLETE, _EMPTY_QUERY = ord("D"), ord("C"), ord("I")
_SUSPENDED, _READY = ord("s"), ord("Z")
_IDLE, _IN_TRANSACTION, _FAILED_TRANSACTION = ord("I"), ord("T"), ord("E")


@inner
def _begins_with(buffer: NDArray[np.uint8], at: int, stop: int, word: NDArray[np.uint8]) -> bool:
    if at + word.size > stop:
        return False
    for k in range(word.size):
        byte = load_uint8(buffer, at + k)
        if _A_UPPER <= byte <= _Z_UPPER:
            byte |= 0x20
        if byte != word[k]:
            return False
    return True


@inner
def may_concern_us(buffer: NDArray[np.uint8], start: int, stop: int) -> bool:
    """Tell what `rewrite.prefilter.may_concern_us` tells."""
    for at in range(start, stop):
        byte = load_uint8(buffer, at) | 0x20
        if byte == _P:
            if _begins_with(buffer, at, stop, _PREDICT):
                return True
        elif byte == _M and (
            _begins_with(buffer, at, stop, _MODEL) or _begins_with(buffer, at, stop, _ML)
        ):
            return True
    return False


@inner
def walk_client(
    buffer: NDArray[np.uint8],
    size: int,
    ring: NDArray[np.uint8],
    lane: int,
    head: int,
    waiting: int,
) -> int:
    """Return how many messages wait once this chunk is sent; NOT_OURS if it is not for the relay.

    Parameters
    ----------
    ring : (lanes, RING), the types of the waiting messages of each session
    head, waiting : where in the ring the oldest is, and how many there are
    """
    position = 0
    while position < size:
        if size - position < 5:
            return NOT_OURS
        kind = load_uint8(buffer, position)
        length = load_int32(buffer, position + 1)
        end = position + 1 + length
        if length < 4 or end > size:
            return NOT_OURS
        if kind == _QUERY or kind == _PARSE:
            if may_concern_us(buffer, position + 5, end):
                return NOT_OURS
        elif kind == _FLUSH:
            position = end
            continue
        elif not (
            kind == _BIND
            or kind == _DESCRIBE
            or kind == _EXECUTE
            or kind == _CLOSE
            or kind == _SYNC
        ):
            return NOT_OURS
        if waiting == RING:
            return NOT_OURS
        ring[lane, (head + waiting) % RING] = kind
        waiting += 1
        position = end
    return waiting


@inner
def _answers(kind: int, waiting_kind: int) -> bool:
    if kind == _COMMAND_COMPLETE or kind == _EMPTY_QUERY or kind == _SUSPENDED:
        return waiting_kind == _EXECUTE
    if kind == _ROW_DESCRIPTION or kind == _NO_DATA:
        return waiting_kind == _DESCRIBE
    if kind == _BIND_COMPLETE:
        return waiting_kind == _BIND
    if kind == _PARSE_COMPLETE:
        return waiting_kind == _PARSE
    return kind == _CLOSE_COMPLETE and waiting_kind == _CLOSE


@inner
def walk_upstream(
    buffer: NDArray[np.uint8],
    size: int,
    ring: NDArray[np.uint8],
    lane: int,
    head: int,
    waiting: int,
) -> tuple[int, int]:
    """Return how many of the waiting messages this chunk answers, and the transaction status.

    The count is NOT_OURS if the chunk is not for the relay, the status 0 without a ReadyForQuery.
    """
    position = answered = status = 0
    while position < size:
        if size - position < 5:
            return NOT_OURS, 0
        kind = load_uint8(buffer, position)
        length = load_int32(buffer, position + 1)
        end = position + 1 + length
        if length < 4 or end > size:
            return NOT_OURS, 0
        if kind == _READY:
            # An everyday batch has nothing left before its Sync; anything else is not everyday.
            if length != 5 or answered == waiting:
                return NOT_OURS, 0
            oldest = ring[lane, (head + answered) % RING]
            if oldest != _SYNC and oldest != _QUERY:
                return NOT_OURS, 0
            status = load_uint8(buffer, position + 5)
            if status != _IDLE and status != _IN_TRANSACTION and status != _FAILED_TRANSACTION:
                return NOT_OURS, 0
            answered += 1
        elif kind == _DATA_ROW or kind == _PARAMETER_DESCRIPTION:
            pass
        elif answered < waiting and _answers(kind, ring[lane, (head + answered) % RING]):
            answered += 1
        elif not (
            kind == _ROW_DESCRIPTION or kind == _COMMAND_COMPLETE or kind == _EMPTY_QUERY
        ) or (answered == waiting or ring[lane, (head + answered) % RING] != _QUERY):
            return NOT_OURS, 0
        position = end
    return answered, status
