"""The parameters of a statement that looks scores up: beside the client's, in Bind and Parse."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.protocol import message_types as t
from proxy.protocol import oids
from proxy.protocol.messages import NO_PARAMETERS, Bind
from proxy.rewrite.lookup import array_binary
from proxy.statements.replies import ScoredDescription, without_arrays
from proxy.statements.staging import (
    bound_parameters,
    constants,
    no_scores,
    parameter_count,
    with_array_types,
)

VALUES = st.lists(st.none() | st.binary(max_size=6), max_size=6)


def parameters(formats: list[int], values: list[bytes | None]) -> bytes:
    """Write Int16(n) Int16* Int16(n) {Int32 Byten}*, as Bind has it."""
    header = struct.pack(f"!H{len(formats)}hH", len(formats), *formats, len(values))
    return header + b"".join(map(sized, values))


def sized(value: bytes | None) -> bytes:
    return struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value


def read(data: bytes) -> tuple[list[int], list[bytes | None]]:
    """Read what `parameters` writes, one format for each value, and nothing behind."""
    (n_formats,) = struct.unpack_from("!H", data)
    formats = list(struct.unpack_from(f"!{n_formats}h", data, 2))
    place = 2 + 2 * n_formats
    (n_values,) = struct.unpack_from("!H", data, place)
    place += 2
    values: list[bytes | None] = []
    for _ in range(n_values):
        (size,) = struct.unpack_from("!i", data, place)
        place += 4
        values.append(None if size < 0 else data[place : place + size])
        place += max(size, 0)
    assert place == len(data)
    if n_formats == 0:
        formats = [0] * n_values
    elif n_formats == 1:
        formats *= n_values
    return formats, values


@given(st.data(), VALUES, st.lists(st.none() | st.binary(max_size=6), max_size=4))
def test_arrays_stand_behind_the_clients_values(
    data: st.DataObject, values: list[bytes | None], arrays: list[bytes | None]
) -> None:
    """Each value keeps its format, however the client has said it; the arrays are binary."""
    count = data.draw(st.sampled_from([0, 1, len(values)]))
    formats = data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    sent = parameters(formats, values)
    assert parameter_count(sent) == len(values)
    together = bound_parameters(sent, arrays)
    own, every = read(together)
    expected, _ = read(sent)
    assert every == [*values, *arrays]
    assert own == [*expected, *[1] * len(arrays)]
    assert parameter_count(together) == len(every)


def test_a_client_without_parameters() -> None:
    """A simple query has none of its own."""
    assert parameter_count(NO_PARAMETERS) == 0
    assert bound_parameters(NO_PARAMETERS, []) == NO_PARAMETERS
    assert read(bound_parameters(NO_PARAMETERS, [b"abc"])) == ([1], [b"abc"])


def test_a_bind_with_arrays_is_well_made() -> None:
    """A Bind that is put together from such parameters decodes to them."""
    sent = bound_parameters(parameters([0, 1], [b"1", None]), [b"xyz", None])
    frame = Bind(b"p", b"s", sent, (1,)).encode()
    assert frame[:1] == b"B"
    found = Bind.decode(frame[5:])
    assert (found.parameters, found.result_formats) == (sent, (1,))


@pytest.mark.parametrize(("types", "n_steps"), [((), 0), ((), 1), ((23, 0), 2)])
def test_types(types: tuple[int, ...], n_steps: int) -> None:
    """A Parse has the client's types, and an int8[] and a float8[] for each step."""
    every = (*types, *(oids.INT8_ARRAY, oids.FLOAT8_ARRAY) * n_steps)
    assert with_array_types(types, n_steps) == struct.pack(f"!H{len(every)}I", len(every), *every)


def test_constants() -> None:
    """Where no parameter can be, arrays are written so that every bit comes back."""
    keys = np.array([-(1 << 63), -1, (1 << 63) - 1], np.int64)
    scores = np.array([0.1, np.nan, -0.0, 1e300, np.inf, 5e-324])
    arrays = [array_binary(keys, oids.INT8), array_binary(scores, oids.FLOAT8), *no_scores(1)]
    found = constants(arrays, 3)
    assert found == {
        3: "{-9223372036854775808,-1,9223372036854775807}",
        4: "{0.1,nan,-0.0,1e+300,inf,5e-324}",
        5: "{}",
        6: "{}",
    }


@pytest.mark.parametrize("n_steps", [1, 3])
def test_no_scores(n_steps: int) -> None:
    """A statement that is only explained gets two empty arrays for each step."""
    empty = [struct.pack("!3i", 0, 0, oid) for oid in (oids.INT8, oids.FLOAT8)]
    assert no_scores(n_steps) == empty * n_steps


def description(types: tuple[int, ...]) -> bytes:
    return struct.pack(f"!H{len(types)}I", len(types), *types)


@pytest.mark.parametrize("types", [(), (23,), (25, 701, 1700)])
@pytest.mark.parametrize("n_steps", [1, 2])
def test_the_client_is_told_its_own_parameters(types: tuple[int, ...], n_steps: int) -> None:
    """The arrays are left out of a ParameterDescription."""
    body = description((*types, *(oids.INT8_ARRAY, oids.FLOAT8_ARRAY) * n_steps))
    told = description(types)
    expected = b"t" + struct.pack("!i", 4 + len(told)) + told
    assert without_arrays(body, n_steps) == expected
    splice = SimpleNamespace(stages=[None] * n_steps, original_position=int)
    statement = cast("Any", SimpleNamespace(splice=splice))
    reply = ScoredDescription(statement, "utf-8")
    assert reply.on_message(t.PARAMETER_DESCRIPTION, body) == expected
    splice.stages = []
    assert reply.on_message(t.PARAMETER_DESCRIPTION, body) is None
