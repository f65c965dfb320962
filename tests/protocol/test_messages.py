"""Messages as values: what encode writes decode reads, and any body gives a value or 08P01.

The oracle is `tests.support.wire`, which shares no line with the code under test.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.errors import LocalProtocolError, ProxyError, RemoteProtocolError, UnknownModelError
from proxy.protocol import message_types as t
from proxy.protocol.messages import (
    FLUSH_FRAME,
    NO_PARAMETER_TYPES,
    NO_PARAMETERS,
    PORTAL,
    STATEMENT,
    SYNC_FRAME,
    TERMINATE_FRAME,
    Bind,
    CancelRequest,
    Execute,
    FieldDescription,
    Parse,
    RowDescription,
    StartupMessage,
    close,
    command_complete,
    describe,
    encode_report,
    error_response,
    notice_response,
    parameters_in_text,
    report_fields,
    row_values,
    target_and_name,
)
from tests.support import wire

names = st.binary(max_size=20).filter(lambda name: b"\0" not in name)
int16s = st.integers(-(2**15), 2**15 - 1)
int32s = st.integers(-(2**31), 2**31 - 1)
oids = st.integers(0, 2**32 - 1)
values = st.lists(st.none() | st.binary(max_size=30), max_size=6)

binds = st.builds(
    Bind, names, names, values.map(parameters_in_text), st.lists(int16s, max_size=5).map(tuple)
)
descriptions = st.builds(FieldDescription, names, oids, int16s, oids, int16s, int32s, int16s)
row_descriptions = st.builds(RowDescription, st.lists(descriptions, max_size=5).map(tuple))


def body_of(message: bytes, kind: int) -> bytes:
    """Return a message's body; its type and length must be right."""
    assert message[0] == kind
    assert struct.unpack("!i", message[1:5])[0] == len(message) - 1
    return message[5:]


class TestRoundTrips:
    @settings(deadline=None)
    @given(names, names, st.lists(oids, max_size=4))
    def test_parse(self, name: bytes, text: bytes, types: list[int]) -> None:
        """A Parse is what a client writes, and comes back from its bytes."""
        written = wire.frame(
            "P",
            wire.text(name) + wire.text(text) + struct.pack(f"!h{len(types)}I", len(types), *types),
        )
        message = Parse.decode(body_of(written, t.PARSE))
        assert (message.name, message.text) == (name, text)
        assert message.encode() == written

    @settings(deadline=None)
    @given(binds)
    def test_bind(self, message: Bind) -> None:
        """What encode writes, decode reads."""
        assert Bind.decode(body_of(message.encode(), t.BIND)) == message

    @settings(deadline=None)
    @given(names, names, values, st.lists(int16s, max_size=3), st.lists(int16s, max_size=3))
    def test_bind_of_a_client(
        self,
        portal: bytes,
        statement: bytes,
        parameters: list[bytes | None],
        formats: list[int],
        results: list[int],
    ) -> None:
        """A client's Bind, parameter formats and NULLs included, is written again byte for byte."""
        written = wire.bind(
            parameters,
            portal=portal.decode("latin-1"),
            statement=statement.decode("latin-1"),
            formats=formats,
            results=results,
        )
        message = Bind.decode(body_of(written, t.BIND))
        assert message.result_formats == tuple(results)
        assert message.encode() == written

    @settings(deadline=None)
    @given(names, int32s)
    def test_execute(self, portal: bytes, row_limit: int) -> None:
        """What encode writes, decode reads."""
        message = Execute(portal, row_limit)
        assert Execute.decode(body_of(message.encode(), t.EXECUTE)) == message

    @settings(deadline=None)
    @given(st.sampled_from((STATEMENT, PORTAL)), names)
    def test_describe_and_close(self, target: int, name: bytes) -> None:
        """What is written, `target_and_name` reads."""
        assert target_and_name(body_of(describe(target, name), t.DESCRIBE)) == (target, name)
        assert target_and_name(body_of(close(target, name), t.CLOSE)) == (target, name)

    @settings(deadline=None)
    @given(row_descriptions)
    def test_row_description(self, message: RowDescription) -> None:
        """What encode writes, decode reads."""
        assert RowDescription.decode(body_of(message.encode(), t.ROW_DESCRIPTION)) == message

    @settings(deadline=None)
    @given(values)
    def test_rows(self, row: list[bytes | None]) -> None:
        """A DataRow's values are read, NULL apart from the empty string."""
        fields = [
            struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
            for value in row
        ]
        assert row_values(struct.pack("!h", len(row)) + b"".join(fields)) == row

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(1, 255), names), max_size=6))
    def test_report(self, fields: list[tuple[int, bytes]]) -> None:
        """What encode_report writes, report_fields reads."""
        body = body_of(encode_report(t.ERROR_RESPONSE, fields), t.ERROR_RESPONSE)
        assert report_fields(body) == fields

    @settings(deadline=None)
    @given(st.binary(min_size=8, max_size=260))
    def test_cancel_request(self, key: bytes) -> None:
        """What encode writes, decode reads; its length counts itself."""
        packet = CancelRequest(key).encode()
        assert struct.unpack("!ii", packet[:8]) == (len(packet), t.CANCEL_REQUEST)
        assert CancelRequest.decode(packet) == CancelRequest(key)

    @settings(deadline=None)
    @given(st.dictionaries(names.filter(bool), names))
    def test_startup(self, parameters: dict[bytes, bytes]) -> None:
        """Every parameter is read, and the packet is kept as it came."""
        pairs = b"".join(name + b"\0" + value + b"\0" for name, value in parameters.items())
        packet = wire.startup_packet(wire.PROTOCOL_3_2, pairs + b"\0")
        message = StartupMessage.decode(packet)
        assert message.version == wire.PROTOCOL_3_2
        assert message.parameters == parameters
        assert message.packet is packet

    @settings(deadline=None)
    @given(values)
    def test_text_parameters(self, row: list[bytes | None]) -> None:
        """Text parameters are written as a client writes them."""
        expected = wire.bind(row)
        assert Bind(b"", b"", parameters_in_text(row), ()).encode() == expected

    def test_constants(self) -> None:
        """The messages without a body, and the empty lists, are those of the protocol."""
        assert (wire.sync(), wire.flush()) == (SYNC_FRAME, FLUSH_FRAME)
        assert wire.terminate() == TERMINATE_FRAME
        assert Parse(b"", b"SELECT 1", NO_PARAMETER_TYPES).encode() == wire.parse("SELECT 1")
        assert Bind(b"", b"", NO_PARAMETERS, ()).encode() == wire.bind()
        assert command_complete(b"DROP MODEL") == wire.frame("C", b"DROP MODEL\0")


@settings(deadline=None)
@given(row_descriptions, st.data())
def test_renamed(message: RowDescription, data: st.DataObject) -> None:
    """The first columns stay as they are but for the new names; the others go."""
    count = data.draw(st.integers(0, len(message.fields)))
    new = data.draw(st.dictionaries(st.integers(0, count - 1), names)) if count else {}
    renamed = message.renamed(new, count).fields
    assert len(renamed) == count
    for index, (before, after) in enumerate(zip(message.fields, renamed, strict=False)):
        assert after.name == new.get(index, before.name)
        assert body_of(RowDescription((after,)).encode(), t.ROW_DESCRIPTION).endswith(
            body_of(RowDescription((before,)).encode(), t.ROW_DESCRIPTION)[-18:]
        )


DECODERS: dict[str, Callable[[bytes], Any]] = {
    "startup": StartupMessage.decode,
    "cancel": CancelRequest.decode,
    "parse": Parse.decode,
    "bind": Bind.decode,
    "execute": Execute.decode,
    "target": target_and_name,
    "description": RowDescription.decode,
    "row": row_values,
    "report": report_fields,
}
hostile_numbers = st.sampled_from(
    [struct.pack("!H", n) for n in (0, 1, 0x7FFF, 0x8000, 0xFFFF)]
    + [struct.pack("!i", n) for n in (-1, -2, -(2**31), 2**31 - 1, 0, 1, 4)]
)
hostile_bodies = st.binary(max_size=60) | st.lists(
    hostile_numbers | names | st.just(b"\0"), max_size=12
).map(b"".join)


@pytest.mark.parametrize("name", DECODERS)
@settings(deadline=None)
@given(body=hostile_bodies)
@example(body=b"")
@example(body=b"\0\0" + b"\xff" * 40)
@example(body=b"\xff\xff" + b"\0" * 40)
def test_any_body(name: str, body: bytes) -> None:
    """Any bytes are read or are RemoteProtocolError, nothing else."""
    with contextlib.suppress(RemoteProtocolError):
        DECODERS[name](body)


@pytest.mark.parametrize("name", ["parse", "bind", "execute", "target", "description", "row"])
@settings(deadline=None)
@given(data=st.data())
def test_a_body_cut_short(name: str, data: st.DataObject) -> None:
    """A body that ends too early never reads as a whole one."""
    whole = {
        "parse": lambda: Parse(b"s", b"SELECT", b"").encode(),
        "bind": lambda: data.draw(binds).encode(),
        "execute": lambda: Execute(b"p", 7).encode(),
        "target": lambda: describe(PORTAL, b"p"),
        "description": lambda: data.draw(row_descriptions).encode(),
        "row": lambda: wire.frame("D", b"\0\2\0\0\0\1a\0\0\0\1b"),
    }[name]()[5:]
    size = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(RemoteProtocolError):
        DECODERS[name](whole[:size])


@pytest.mark.parametrize("size", [-2, -(2**31), 4, 2**31 - 1])
def test_a_parameter_of_a_hostile_length(size: int) -> None:
    """A Bind whose value has a length that cannot be is 08P01 (CVE-2026-6664's class)."""
    body = b"\0\0" + struct.pack("!HHi", 0, 1, size) + b"abc"
    with pytest.raises(RemoteProtocolError):
        Bind.decode(body)


@pytest.mark.parametrize("size", [-2, -(2**31), 4, 2**31 - 1])
def test_a_field_of_a_hostile_length(size: int) -> None:
    """A DataRow whose field has a length that cannot be is 08P01 (CVE-2026-4427's class)."""
    with pytest.raises(RemoteProtocolError):
        row_values(struct.pack("!Hi", 1, size) + b"abc")


@pytest.mark.parametrize(
    "body",
    [
        b"\0\0\xff\xff",  # 65535 parameter formats
        b"\0\0\0\0\xff\xff",  # 65535 parameters
        b"\0\0\0\0\0\0\xff\xff",  # 65535 result formats
        b"\0\0\0\0\0\0\0\0more",
    ],
)
def test_a_bind_with_counts_that_lie(body: bytes) -> None:
    """A count that the body cannot hold, or bytes behind the last format, are 08P01."""
    with pytest.raises(RemoteProtocolError):
        Bind.decode(body)


@pytest.mark.parametrize("size", [0, 4, 7, 261, 1000])
def test_a_cancel_key_of_a_wrong_length(size: int) -> None:
    """A key of less than 8 or more than 260 bytes is refused (S16)."""
    with pytest.raises(RemoteProtocolError):
        CancelRequest.decode(CancelRequest(bytes(size)).encode())


class TestWritersRefuse:
    """What does not fit the protocol is refused before a byte is written (S10)."""

    @pytest.mark.parametrize(
        "write",
        [
            lambda: Parse(b"a\0b", b"", NO_PARAMETER_TYPES).encode(),
            lambda: Parse(b"", b"SELECT 1\0; DROP", NO_PARAMETER_TYPES).encode(),
            lambda: Bind(b"\0", b"", NO_PARAMETERS, ()).encode(),
            lambda: Bind(b"", b"\0", NO_PARAMETERS, ()).encode(),
            lambda: Execute(b"\0").encode(),
            lambda: describe(STATEMENT, b"a\0"),
            lambda: close(PORTAL, b"a\0"),
            lambda: command_complete(b"TAG\0"),
            lambda: encode_report(t.NOTICE_RESPONSE, [(ord("M"), b"a\0b")]),
            lambda: RowDescription((FieldDescription(b"\0", 0, 0, 0, 0, 0, 0),)).encode(),
        ],
    )
    def test_nul(self, write: Callable[[], bytes]) -> None:
        """A NUL within a string would begin another field."""
        with pytest.raises(LocalProtocolError):
            write()

    @pytest.mark.parametrize(
        "write",
        [
            lambda: parameters_in_text([None] * 65536),
            lambda: Bind(b"", b"", NO_PARAMETERS, (0,) * 65536).encode(),
            lambda: Bind(b"", b"", NO_PARAMETERS, (32768,)).encode(),
            lambda: Execute(b"", 2**31).encode(),
            lambda: Execute(b"", -(2**31) - 1).encode(),
            lambda: RowDescription((FieldDescription(b"", 0, 0, 0, 0, 0, 0),) * 65536).encode(),
            lambda: RowDescription((FieldDescription(b"", 2**32, 0, 0, 0, 0, 0),)).encode(),
            lambda: RowDescription((FieldDescription(b"", 0, 0, -1, 0, 0, 0),)).encode(),
            lambda: RowDescription((FieldDescription(b"", 0, 2**15, 0, 0, 0, 0),)).encode(),
            lambda: RowDescription((FieldDescription(b"", 0, 0, 0, 0, 2**31, 0),)).encode(),
        ],
    )
    def test_too_large(self, write: Callable[[], bytes]) -> None:
        """A count or number that does not fit its field would let data become messages."""
        with pytest.raises(LocalProtocolError):
            write()

    def test_the_largest(self) -> None:
        """65535 parameters are PostgreSQL's own limit, and are written."""
        message = Bind(b"", b"", parameters_in_text([None] * 65535), ())
        assert Bind.decode(message.encode()[5:]) == message

    def test_a_very_long_value(self) -> None:
        """A value whose length does not fit an Int32 is refused (CVE-2024-27304)."""

        class Longer(bytes):
            def __len__(self) -> int:
                return 2**31

        with pytest.raises(LocalProtocolError):
            parameters_in_text([Longer(b"x")])


class TestReports:
    @settings(deadline=None)
    @given(st.binary(max_size=40))
    def test_any_fields(self, body: bytes) -> None:
        """A hostile ErrorResponse is read without an error: no terminator, no SQLSTATE, no end."""
        fields = report_fields(body)
        assert sum(1 + len(value) for _, value in fields) <= len(body)

    @settings(deadline=None)
    @given(
        st.text(max_size=20),
        st.none() | st.text(max_size=20),
        st.none() | st.text(max_size=20),
        st.none() | st.integers(1, 10**9),
        st.sampled_from(["utf-8", "cp932", "latin-1", "cp950", "gb18030"]),
    )
    def test_error_response(
        self, message: str, detail: str | None, hint: str | None, position: int | None, codec: str
    ) -> None:
        """Whatever the words hold, the client gets its fields, in its encoding and NUL-free."""
        error = UnknownModelError(message, detail=detail, hint=hint, position=position)
        body = body_of(error_response(error, encoding=codec), t.ERROR_RESPONSE)
        fields = dict(report_fields(body))
        assert fields[ord("S")] == fields[ord("V")] == b"ERROR"
        assert fields[ord("C")] == b"42704"
        spoken = message.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(codec, "replace")
        assert fields[ord("M")] == spoken
        assert (ord("D") in fields) == bool(detail)
        assert (ord("H") in fields) == bool(hint)
        assert fields.get(ord("P")) == (None if position is None else str(position).encode())
        assert body.endswith(b"\0\0")

    def test_fatal(self) -> None:
        """An error that ends the session says so in both severities."""
        message = error_response(ProxyError("gone", sqlstate="57P01"), fatal=True)
        fields = wire.Message("E", message[5:]).error_fields
        assert fields == {"S": "FATAL", "V": "FATAL", "C": "57P01", "M": "gone"}

    def test_notice(self) -> None:
        """A notice carries its severity, SQLSTATE, detail and hint."""
        message = notice_response(
            "slow", severity="WARNING", sqlstate="01000", detail="very", hint="wait"
        )
        assert message[0] == t.NOTICE_RESPONSE
        fields = wire.Message("N", message[5:]).error_fields
        assert fields == {
            "S": "WARNING",
            "V": "WARNING",
            "C": "01000",
            "M": "slow",
            "D": "very",
            "H": "wait",
        }
