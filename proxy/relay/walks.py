"""Which chunks the compiled relay passes on: whole messages of the everyday kinds, and no others.

Owns the walk over a chunk of each side and the count of what awaits an answer, by the rules of
`protocol.replies` (without errors and COPY, which end the ride). Where a session has brought
portals of ours along, a Bind of theirs is sent with other formats, and their rows are scored: the
chunk is then written anew, into `out`. A walk changes nothing that the caller has not yet committed
to.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxy.kernels.compilation import inner
from proxy.kernels.memory import (
    address_of,
    bytes_at,
    copy_bytes,
    get_int64,
    load_int32,
    load_uint8,
    load_uint16,
    store_int32,
)
from proxy.relay.freshness import CHANGES, GOOD_UNTIL_NS
from proxy.relay.portals import (
    DESCRIBED_AT,
    DESCRIBED_SIZE,
    DESCRIPTION_AT,
    DESCRIPTION_SIZE,
    IS_SCORED,
    NAME_AT,
    NAME_SIZE,
    NEW_BINDS,
    PORTALS,
    SENT_AT,
    SENT_SIZE,
    WANTED_AT,
    WANTED_SIZE,
)
from proxy.relay.scoring import NOT_SCORED, score_run
from proxy.relay.state import (
    FRESH_CHANGES,
    FRESHNESS_AT,
    HEAD,
    N_PORTALS,
    RING,
    UNNAMED,
    WAITING,
    Shared,
)
from proxy.relay.system import CLOCK_MONOTONIC, c_clock_gettime

NOT_OURS = -1

_A_UPPER, _Z_UPPER = ord("A"), ord("Z")
_E, _M, _P = ord("e"), ord("m"), ord("p")
_PREDICT = np.frombuffer(b"predict", np.uint8)
_MODEL = np.frombuffer(b"model", np.uint8)
_ML = np.frombuffer(b"ml_", np.uint8)
_EXECUTE_WORD = np.frombuffer(b"execute", np.uint8)

_QUERY, _PARSE, _BIND, _DESCRIBE = ord("Q"), ord("P"), ord("B"), ord("D")
_EXECUTE, _CLOSE, _SYNC, _FLUSH = ord("E"), ord("C"), ord("S"), ord("H")
_PARSE_COMPLETE, _BIND_COMPLETE, _CLOSE_COMPLETE = ord("1"), ord("2"), ord("3")
_ROW_DESCRIPTION, _NO_DATA, _PARAMETER_DESCRIPTION = ord("T"), ord("n"), ord("t")
_DATA_ROW, _COMMAND_COMPLETE, _EMPTY_QUERY = ord("D"), ord("C"), ord("I")
_SUSPENDED, _READY = ord("s"), ord("Z")
_IDLE, _IN_TRANSACTION, _FAILED_TRANSACTION = ord("I"), ord("T"), ord("E")
_STATEMENT = ord("S")


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
def _may_execute(buffer: NDArray[np.uint8], start: int, stop: int) -> bool:
    """Tell whether EXECUTE is in these bytes. Riders have no portal that FETCH could name."""
    for at in range(start, stop):
        if load_uint8(buffer, at) | 0x20 == _E and _begins_with(buffer, at, stop, _EXECUTE_WORD):
            return True
    return False


# ---- names and bytes within a message


@inner
def _name_end(buffer: NDArray[np.uint8], start: int, stop: int) -> int:
    """Return where the name ends that begins at `start`; NOT_OURS if it does not."""
    for at in range(start, stop):
        if load_uint8(buffer, at) == 0:
            return at
    return NOT_OURS


@inner
def _is(buffer: NDArray[np.uint8], start: int, size: int, address: int, wanted_size: int) -> bool:
    """Tell whether these bytes are those at an address."""
    if size != wanted_size:
        return False
    wanted = bytes_at(address, wanted_size)
    for at in range(size):
        if load_uint8(buffer, start + at) != load_uint8(wanted, at):
            return False
    return True


@inner
def _put(shared: Shared, start: int, stop: int, written: int) -> int:
    """Copy buffer[start:stop] behind what was written; return the end, NOT_OURS without room."""
    if written + stop - start > shared.out.size:
        return NOT_OURS
    copy_bytes(shared.buffer, start, shared.out, written, stop - start)
    return written + stop - start


@inner
def _put_words(shared: Shared, address: int, size: int, written: int) -> int:
    """Copy the bytes at an address behind what was written; as `_put`."""
    if written + size > shared.out.size:
        return NOT_OURS
    copy_bytes(bytes_at(address, size), 0, shared.out, written, size)
    return written + size


# ---- the portals that are ours


@inner
def _portal_of(shared: Shared, lane: int, start: int, size: int, after: int) -> int:
    """Return the first portal behind `after` whose statement has this name; NOT_OURS if none."""
    for number in range(after + 1, shared.sessions[lane, N_PORTALS]):
        row = shared.portals[lane * PORTALS + number]
        if _is(shared.buffer, start, size, row[NAME_AT], row[NAME_SIZE]):
            return number
    return NOT_OURS


@inner
def _is_fresh(shared: Shared, lane: int) -> bool:
    """Tell whether the models are still those that the portals were made with."""
    words = shared.sessions[lane, FRESHNESS_AT]
    if get_int64(words + 8 * CHANGES) != shared.sessions[lane, FRESH_CHANGES]:
        return False
    c_clock_gettime(np.int32(CLOCK_MONOTONIC), address_of(shared.clock))
    now = shared.clock[0] * 1_000_000_000 + shared.clock[1]
    return bool(now < get_int64(words + 8 * GOOD_UNTIL_NS))


@inner
def _formats_start(buffer: NDArray[np.uint8], position: int, end: int) -> int:
    """Return where in a Bind the result formats begin; NOT_OURS if it is not well made.

    From `position` on: Int16(n) and n Int16, Int16(n) and for each Int32(size or -1) bytes.
    """
    if position + 2 > end:
        return NOT_OURS
    position += 2 + 2 * load_uint16(buffer, position)
    if position + 2 > end:
        return NOT_OURS
    count = load_uint16(buffer, position)
    position += 2
    for _ in range(count):
        if position + 4 > end:
            return NOT_OURS
        size = load_int32(buffer, position)
        if size < -1:
            return NOT_OURS
        position += 4 + max(size, 0)
    return position if position <= end else NOT_OURS


@inner
def _bind(shared: Shared, lane: int, position: int, end: int, unnamed: int) -> tuple[int, int, int]:
    """Look at a Bind; return its owner, what the unnamed portal is of now, and where formats begin.

    The owner is NOT_OURS if the Bind is not for the relay.
    """
    buffer = shared.buffer
    portal_end = _name_end(buffer, position + 5, end)
    if portal_end < 0:
        return NOT_OURS, 0, 0
    start = portal_end + 1
    stop = _name_end(buffer, start, end)
    if stop < 0:
        return NOT_OURS, 0, 0
    is_unnamed = portal_end == position + 5
    number = _portal_of(shared, lane, start, stop - start, -1)
    if number < 0:
        return 0, (0 if is_unnamed else unnamed), 0
    formats = _formats_start(buffer, stop + 1, end)
    if formats < 0 or not is_unnamed or not _is_fresh(shared, lane):
        return NOT_OURS, 0, 0
    while number >= 0:
        row = shared.portals[lane * PORTALS + number]
        if row[IS_SCORED] and _is(buffer, formats, end - formats, row[WANTED_AT], row[WANTED_SIZE]):
            return number + 1, number + 1, formats
        number = _portal_of(shared, lane, start, stop - start, number)
    return NOT_OURS, 0, 0


@inner
def _named(
    shared: Shared, lane: int, kind: int, position: int, end: int, unnamed: int
) -> tuple[int, int]:
    """Look at a Parse, Describe, Execute or Close; return its owner and what the unnamed one is of.

    The owner is NOT_OURS if a statement of ours is described, closed or replaced.
    """
    buffer = shared.buffer
    start = position + 5
    is_statement = kind == _PARSE
    if kind == _DESCRIBE or kind == _CLOSE:
        if start >= end:
            return NOT_OURS, 0
        is_statement = load_uint8(buffer, start) == _STATEMENT
        start += 1
    stop = _name_end(buffer, start, end)
    if stop < 0:
        return NOT_OURS, 0
    if is_statement:
        if _portal_of(shared, lane, start, stop - start, -1) >= 0:
            return NOT_OURS, 0
        return 0, unnamed
    if stop > start:
        return 0, unnamed
    if kind == _CLOSE:
        return 0, 0
    return unnamed, unnamed


@inner
def walk_client(shared: Shared, lane: int, size: int) -> tuple[int, int, int]:
    """Walk over the buffer's first `size` bytes.

    Returns
    -------
    waiting : how many messages wait once this chunk is sent; NOT_OURS if it is not for the relay
    written : bytes of `out` that are to be sent; 0: the chunk, as it is
    unnamed : what the unnamed portal is of then
    """
    buffer = shared.buffer
    head, waiting = shared.sessions[lane, HEAD], shared.sessions[lane, WAITING]
    n_portals, unnamed = shared.sessions[lane, N_PORTALS], shared.sessions[lane, UNNAMED]
    position = copied = written = 0
    while position < size:
        if size - position < 5:
            return NOT_OURS, 0, 0
        kind = load_uint8(buffer, position)
        length = load_int32(buffer, position + 1)
        end = position + 1 + length
        owner = 0
        if length < 4 or end > size:
            return NOT_OURS, 0, 0
        if kind == _QUERY:
            if may_concern_us(buffer, position + 5, end) or (
                n_portals and _may_execute(buffer, position + 5, end)
            ):
                return NOT_OURS, 0, 0
            unnamed = 0
        elif kind == _FLUSH:
            position = end
            continue
        elif kind == _PARSE or kind == _DESCRIBE or kind == _EXECUTE or kind == _CLOSE:
            if kind == _PARSE and (
                may_concern_us(buffer, position + 5, end)
                or (n_portals and _may_execute(buffer, position + 5, end))
            ):
                return NOT_OURS, 0, 0
            if n_portals:
                owner, unnamed = _named(shared, lane, kind, position, end, unnamed)
        elif kind == _BIND:
            if n_portals:
                owner, unnamed, formats = _bind(shared, lane, position, end, unnamed)
                if owner > 0:
                    row = shared.portals[lane * PORTALS + owner - 1]
                    written = _put(shared, copied, formats, written)
                    if written >= 0:
                        message = written - (formats - position)
                        written = _put_words(shared, row[SENT_AT], row[SENT_SIZE], written)
                    if written < 0:
                        return NOT_OURS, 0, 0
                    store_int32(shared.out, message + 1, written - message - 1)
                    copied = end
        elif kind != _SYNC:
            return NOT_OURS, 0, 0
        if owner < 0 or waiting == RING:
            return NOT_OURS, 0, 0
        place = (head + waiting) % RING
        shared.ring[lane, place], shared.owners[lane, place] = kind, owner
        waiting += 1
        position = end
    if copied:
        written = _put(shared, copied, size, written)
        if written < 0:
            return NOT_OURS, 0, 0
    return waiting, written, unnamed


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
def walk_upstream(shared: Shared, lane: int, size: int) -> tuple[int, int, int]:
    """Walk over the buffer's first `size` bytes.

    Returns
    -------
    answered : how many of the waiting messages this chunk answers; NOT_OURS if it is not for the
        relay
    status : the transaction's, 0 without a ReadyForQuery
    written : bytes of `out` that are to be sent; 0: the chunk, as it is
    """
    buffer = shared.buffer
    head, waiting = shared.sessions[lane, HEAD], shared.sessions[lane, WAITING]
    position = answered = status = copied = written = 0
    while position < size:
        if size - position < 5:
            return NOT_OURS, 0, 0
        kind = load_uint8(buffer, position)
        length = load_int32(buffer, position + 1)
        end = position + 1 + length
        if length < 4 or end > size:
            return NOT_OURS, 0, 0
        oldest = owner = 0
        if answered < waiting:
            oldest = shared.ring[lane, (head + answered) % RING]
            owner = shared.owners[lane, (head + answered) % RING]
        portal = lane * PORTALS + owner - 1
        if kind == _READY:
            # An everyday batch has nothing left before its Sync; anything else is not everyday.
            if length != 5 or (oldest != _SYNC and oldest != _QUERY):
                return NOT_OURS, 0, 0
            status = load_uint8(buffer, position + 5)
            if status != _IDLE and status != _IN_TRANSACTION and status != _FAILED_TRANSACTION:
                return NOT_OURS, 0, 0
            answered += 1
        elif kind == _DATA_ROW:
            if owner and oldest == _EXECUTE:
                written = _put(shared, copied, position, written)
                if written < 0:
                    return NOT_OURS, 0, 0
                end, written = score_run(shared, portal, position, size, written)
                if end == NOT_SCORED:
                    return NOT_OURS, 0, 0
                copied = end
        elif kind == _PARAMETER_DESCRIPTION:
            pass
        elif oldest and _answers(kind, oldest):
            if owner and kind == _BIND_COMPLETE:
                shared.portals[portal, NEW_BINDS] += 1
            elif owner and kind == _ROW_DESCRIPTION:
                row = shared.portals[portal]
                if not _is(
                    buffer, position, end - position, row[DESCRIBED_AT], row[DESCRIBED_SIZE]
                ):
                    return NOT_OURS, 0, 0
                written = _put(shared, copied, position, written)
                if written >= 0:
                    written = _put_words(
                        shared, row[DESCRIPTION_AT], row[DESCRIPTION_SIZE], written
                    )
                if written < 0:
                    return NOT_OURS, 0, 0
                copied = end
            answered += 1
        elif oldest != _QUERY or not (
            kind == _ROW_DESCRIPTION or kind == _COMMAND_COMPLETE or kind == _EMPTY_QUERY
        ):
            return NOT_OURS, 0, 0
        position = end
    if copied:
        written = _put(shared, copied, size, written)
        if written < 0:
            return NOT_OURS, 0, 0
    return answered, status, written
