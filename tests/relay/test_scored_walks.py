"""With portals of ours along, the walks change chunks as the session itself would have.

Beside each walk goes the other road: for a client's chunk an oracle that reads it message by
message, for an upstream's chunk the session's own stream with the replies that hand rows to the
engine. What a walk takes must be the same to the byte; good chunks it must take.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.model import Model
from proxy.engine.training import train
from proxy.metrics.instruments import Instruments
from proxy.protocol import message_types as t
from proxy.protocol.replies import Reply, ReplyQueue
from proxy.protocol.streams import UpstreamStream
from proxy.relay import state
from proxy.relay.freshness import Freshness
from proxy.relay.portals import (
    BATCH_ROWS,
    BINDS,
    MAX_WORK,
    PORTALS,
    ROW_WORK,
    ROWS,
    LaidOut,
    Luggage,
    Passage,
)
from proxy.relay.state import RING, Shared
from proxy.relay.walks import NOT_OURS
from proxy.rewrite.catalog import FeatureSignature, ModelSignature
from proxy.rewrite.plan import HiddenColumn, ScoreColumn
from proxy.session.frames import run_end
from proxy.statements.luggage import passage
from proxy.statements.prepared import BoundScores
from proxy.statements.replies import BindReply
from proxy.statements.scoring import ScoredStatement
from tests.kernels.encoders import data_row, float8, float8_array
from tests.protocol.backend import COMPLETE, READY
from tests.relay.test_walks import brink, walk_client, walk_upstream
from tests.statements.test_scoring import splice_of
from tests.support import wire
from tests.support.wire import frame

WORDS = ("red", "green", "", "ünï")
LANE = 1


def model_of(n_classes: int) -> Model:
    """Return a model of two numbers, a word and an array of two."""
    rng = np.random.default_rng(n_classes)
    numbers = rng.normal(size=(60, 2))
    numbers[::9, 0] = np.nan
    columns = [
        Column(f"n{j}", FeatureKind.NUMBER, "double precision", np.ascontiguousarray(numbers[:, j]))
        for j in range(2)
    ]
    words = rng.integers(-1, 3, 60).astype(np.int32)
    columns.append(Column("word", FeatureKind.CATEGORY, "text", words, WORDS[:3]))
    columns.append(
        Column("plan", FeatureKind.ARRAY, "double precision[]", rng.normal(size=(60, 2)))
    )
    if n_classes:
        codes = (np.arange(60) % n_classes).astype(np.int32)
        names = ("low", "middle", "high")[:n_classes]
        target = Column("y", FeatureKind.CATEGORY, "text", codes, names)
        algorithm = "logistic_regression"
    else:
        target = Column("y", FeatureKind.NUMBER, "double precision", numbers[:, 1] * 3 + 1)
        algorithm = "linear_regression"
    return train(algorithm, {}, Dataset(tuple(columns), target, 60), lambda _: None).model


MODELS = [model_of(n_classes) for n_classes in (0, 2, 3)]
FEATURES = tuple(
    FeatureSignature(f.name, f.kind.value, f.sql_type, f.width, f.categories)
    for f in MODELS[0].features
)
HIDDEN = (
    HiddenColumn("plan", "array", 2),
    HiddenColumn("n1", "number", 1),
    HiddenColumn("word", "category", 1),
    HiddenColumn("n0", "number", 1),
)


def score(number: int, output: str, class_index: int | None, *, is_short: bool) -> ScoreColumn:
    classes = MODELS[number].classes
    signature = ModelSignature("m", "1.0", FEATURES, "value", classes, "pg_catalog.text", "binary")
    inputs = (None, 1, 2, None) if is_short else (3, 1, 2, 0)
    return ScoreColumn(
        site=number,
        index=1 + number,
        marker=f"pgseer.{number}",
        name="p",
        signature=signature,
        output=output,  # type: ignore[arg-type]
        type_sql="text",
        class_index=class_index,
        inputs=inputs,
    )


def statement_of(*scores: tuple[int, str, int | None], is_short: bool = False) -> ScoredStatement:
    """Return a statement whose visible columns are one of the client's, then its scores."""
    made = [score(*each, is_short=is_short) for each in scores]
    splice = splice_of(HIDDEN, made)
    models = [MODELS[number] for number, _, _ in scores]
    positions = range(1, 1 + len(made))
    predictions = Instruments().predictions
    return ScoredStatement(splice, models, positions, 1 + len(made), predictions)


STATEMENTS = {
    b"v": statement_of((0, "value", None)),
    b"many": statement_of(
        (2, "label", None), (0, "value", None), (1, "probability", 1), (2, "probability", None)
    ),
    b"": statement_of((1, "label", None), is_short=True),
}
WANTED: list[tuple[int, ...]] = [(), (1,)]


@dataclass(frozen=True)
class Packed:
    """A passage, and the session's own replies for it."""

    passage: Passage
    bound: BoundScores


def packed() -> list[Packed]:
    found = []
    for name, statement in STATEMENTS.items():
        for wanted in WANTED:
            formats = statement.result_formats(wanted)
            assert formats is not None
            bound = BoundScores.of(statement, formats, b"", "utf-8", BindReply(b"", {}))
            described = description(statement)
            bound.description.on_message(t.ROW_DESCRIPTION, described[5:])
            found.append(Packed(passage(name, wanted, bound, lambda _: None), bound))
    return found


def description(statement: ScoredStatement) -> bytes:
    """Return how the upstream describes a statement."""
    names = [b"c"] + [b"pgseer.%d" % i for i in range(statement.n_visible - 1)]
    names += [column.name.encode() for column in HIDDEN]
    columns = [name + b"\0" + struct.pack("!IhIhih", 0, 0, 701, 8, -1, 0) for name in names]
    return frame("T", struct.pack("!h", len(columns)) + b"".join(columns))


PACKED = packed()


class Walker:
    """A session with luggage as the compiled loop keeps it.

    Parameters
    ----------
    waiting : (type, number in PACKED or None) of each message that waits
    unnamed : what the unnamed portal is of
    """

    def __init__(
        self,
        waiting: Sequence[tuple[int, int | None]] = (),
        unnamed: int | None = None,
        head: int = 0,
    ) -> None:
        self.shared = state.allocate(3)
        self.freshness = Freshness()
        self.freshness.is_good_for(1000.0)
        # One more statement that is ours and not for the lane.
        passages = (*(each.passage for each in PACKED), Passage(b"heavy"))
        self.rows = self.shared.portals[LANE * PORTALS : (LANE + 1) * PORTALS]
        self.laid_out = LaidOut(Luggage(passages, None, self.freshness, 0), self.rows)
        self.session = self.shared.sessions[LANE]
        self.session[state.N_PORTALS] = len(passages)
        self.session[state.FRESHNESS_AT] = self.freshness.address
        self.session[state.UNNAMED] = 0 if unnamed is None else 1 + unnamed
        self.session[state.HEAD], self.session[state.WAITING] = head, len(waiting)
        for number, (kind, owner) in enumerate(waiting):
            place = (head + number) % RING
            self.shared.ring[LANE, place] = kind
            self.shared.owners[LANE, place] = 0 if owner is None else 1 + owner

    def _holding(self, data: bytes) -> Shared:
        return self.shared._replace(buffer=brink.holding(data))

    def _sent(self, data: bytes, written: int) -> bytes:
        return self.shared.out[:written].tobytes() if written else data

    def from_client(self, data: bytes) -> tuple[bytes, list[tuple[int, int | None]], int] | None:
        """Return what goes up, what waits then and what the unnamed portal is of; None: refused."""
        after, written, unnamed = walk_client(self._holding(data), LANE, len(data))
        if after == NOT_OURS:
            return None
        places = (self.session[state.HEAD] + np.arange(after)) % RING
        kinds, owners = self.shared.ring[LANE, places], self.shared.owners[LANE, places]
        waiting = [
            (int(kind), int(owner) - 1 if owner else None)
            for kind, owner in zip(kinds, owners, strict=True)
        ]
        return self._sent(data, written), waiting, unnamed

    def from_upstream(self, data: bytes) -> tuple[bytes, int, int] | None:
        """Return what goes down, how much was answered and the status; None: refused."""
        answered, status, written = walk_upstream(self._holding(data), LANE, len(data))
        return None if answered == NOT_OURS else (self._sent(data, written), answered, status)


# --- a client ------------------------------------------------------------------------------------


def result_formats(rest: bytes) -> bytes:
    """Return what stands behind the parameters of a Bind, from behind its names on."""
    rest = rest[2 + 2 * int.from_bytes(rest[:2]) :]
    count, rest = int.from_bytes(rest[:2]), rest[2:]
    for _ in range(count):
        size = int.from_bytes(rest[:4], signed=True)
        rest = rest[4 + max(size, 0) :]
    return rest


def client_oracle(
    data: bytes, unnamed: int
) -> tuple[bytes, list[tuple[int, int | None]], int] | None:
    """Read whole messages one by one; as `Walker.from_client`."""
    sent, waiting = b"", []
    names = {each.passage.statement for each in PACKED} | {b"heavy"}
    position = 0
    while position < len(data):
        end = position + 1 + int.from_bytes(data[position + 1 : position + 5])
        message, code, body = (
            data[position:end],
            data[position : position + 1],
            data[position + 5 :],
        )
        body = body[: end - position - 5]
        position = end
        owner = None
        if code == b"Q":
            unnamed = 0
        elif code == b"P" and body.split(b"\0")[0] in names:
            return None
        elif code == b"B":
            portal, statement, rest = body.split(b"\0", 2)
            if statement in names:
                wanted = result_formats(rest)
                found = [
                    number
                    for number, each in enumerate(PACKED)
                    if (each.passage.statement, each.passage.wanted) == (statement, wanted)
                ]
                if portal or not found:
                    return None
                (owner,) = found
                each = PACKED[owner].passage
                changed = body[: len(body) - len(each.wanted)] + each.sent
                message = frame("B", changed)
                unnamed = owner + 1
            elif not portal:
                unnamed = 0
        elif code in (b"D", b"C") and body[:1] == b"S":
            if body[1:-1] in names:
                return None
        elif code == b"C" and body == b"P\0":
            unnamed = 0
        elif (code == b"D" and body == b"P\0") or (code == b"E" and body[:1] == b"\0"):
            owner = unnamed - 1 if unnamed else None
        sent += message
        if code != b"H":
            waiting.append((code[0], owner))
    return sent, waiting, unnamed


some_names = st.sampled_from(["v", "many", "", "heavy", "other", "vv", "man"])
bind_results = st.sampled_from([(), (), (1,), (1,), (0,), (0, 0), (1, 1)])
values = st.lists(st.none() | st.binary(max_size=9).map(bytes), max_size=3)
binds = st.builds(
    lambda given, portal, statement, formats, results: wire.bind(
        given, portal=portal, statement=statement, formats=formats, results=results
    ),
    values,
    st.sampled_from(["", "", "", "p"]),
    some_names,
    st.sampled_from([(), (1,), (0, 1)]),
    bind_results,
)
client_messages = st.one_of(
    binds,
    binds,
    st.sampled_from(["", "", "p"]).map(wire.describe_portal),
    st.sampled_from(["", "", "p"]).map(wire.execute),
    st.sampled_from(["", "p"]).map(wire.close_portal),
    some_names.map(wire.describe_statement),
    some_names.map(wire.close_statement),
    some_names.map(lambda name: wire.parse("SELECT 1", name)),
    st.just(wire.query("SELECT 1")),
    st.just(wire.sync()),
    st.just(wire.flush()),
)
unnamed_portals = st.none() | st.integers(0, len(PACKED) - 1)
heads = st.integers(0, RING - 1)


@settings(deadline=None, max_examples=400)
@given(st.lists(client_messages, max_size=8), unnamed_portals, heads)
def test_whole_messages_of_a_client(messages: list[bytes], unnamed: int | None, head: int) -> None:
    """Binds of ours get their formats, what is to our portals is noted; the rest is as it came."""
    data = b"".join(messages)
    expected = client_oracle(data, 0 if unnamed is None else 1 + unnamed)
    assert Walker((), unnamed, head).from_client(data) == expected


@settings(deadline=None, max_examples=300)
@given(st.lists(client_messages, max_size=4), unnamed_portals, st.data())
def test_spoilt_bytes_of_a_client(
    messages: list[bytes], unnamed: int | None, data: st.DataObject
) -> None:
    """Whatever is changed or cut, nothing beside the chunk is read, and what goes up is whole."""
    chunk = bytearray(b"".join(messages))
    for _ in range(data.draw(st.integers(0, 3))):
        if chunk:
            chunk[data.draw(st.integers(0, len(chunk) - 1))] = data.draw(st.integers(0, 255))
    chunk = chunk[: data.draw(st.integers(0, len(chunk)))]
    taken = Walker((), unnamed).from_client(bytes(chunk))
    if taken is not None:
        sent, position = taken[0], 0
        while position < len(sent):
            position += 1 + int.from_bytes(sent[position + 1 : position + 5])
        assert position == len(sent)


BINDING = wire.bind(["1"], statement="v")


@pytest.mark.parametrize("case", ["fresh", "changed", "lost"])
def test_freshness(case: str) -> None:
    """A Bind of ours is taken only while the models are known to be the same."""
    walker = Walker()
    if case == "changed":
        walker.freshness.changed()
    elif case == "lost":
        walker.freshness.lost()
    assert (walker.from_client(BINDING) is not None) == (case == "fresh")
    assert walker.from_client(wire.bind(["1"], statement="other")) is not None
    assert walker.from_client(wire.execute()) is not None


def test_many_binds_in_one_chunk() -> None:
    """A chunk that grows beyond the room for it is refused, not cut."""
    few, many = BINDING * 60, wire.bind(statement="v", results=[1]) * 60
    assert Walker().from_client(few) is not None
    assert Walker().from_client(many) is not None
    walker = Walker()
    small = walker.shared._replace(out=walker.shared.out[: len(few)], buffer=brink.holding(few))
    assert walk_client(small, LANE, len(few))[0] == NOT_OURS


# --- an upstream ---------------------------------------------------------------------------------


class BesideTheSession:
    """The session's own stream, with the same messages waiting."""

    def __init__(self, waiting: Sequence[tuple[int, int | None]]) -> None:
        self.replies = ReplyQueue()
        self.status = 0
        for kind, owner in waiting:
            reply: int | Reply = kind
            if owner is not None:
                reply = PACKED[owner].passage.replies[kind]
                if isinstance(reply, BindReply):
                    reply.sent()
            self.replies.queue.append(reply)
        self.stream = UpstreamStream(self.replies, lambda _: None, self._ready, run_end)

    def _ready(self, status: int) -> None:
        self.status = status


floats = st.one_of(st.none(), st.floats(-1e6, 1e6), st.floats(allow_nan=True, allow_infinity=True))
tame_floats = st.none() | st.floats(-1e6, 1e6) | st.sampled_from([float("nan"), float("inf")])


def answers(owner: int | None, kind: int, data: st.DataObject, numbers: st.SearchStrategy) -> bytes:
    """Draw what answers one message."""
    if kind == t.BIND:
        return frame("2")
    if kind == t.SYNC:
        return frame("Z", data.draw(st.sampled_from([b"I", b"T", b"E"])))
    if kind == t.QUERY:
        return data.draw(st.sampled_from([COMPLETE, b""])) + READY
    if owner is None:
        return frame("n") if kind == t.DESCRIBE else COMPLETE
    statement = STATEMENTS[PACKED[owner].passage.statement]
    if kind == t.DESCRIBE:
        return description(statement)
    drawn = b""
    for _ in range(data.draw(st.integers(0, 4))):
        visible = [data.draw(st.none() | st.binary(max_size=40))] + [None] * (
            statement.n_visible - 1
        )
        word = data.draw(st.none() | st.sampled_from([*WORDS, "unseen"]))
        hidden = [
            float8_array(data.draw(st.none() | st.lists(numbers, min_size=2, max_size=2))),
            float8(data.draw(numbers)),
            None if word is None else word.encode(),
            float8(data.draw(numbers)),
        ]
        drawn += data_row([*visible, *hidden])
    return drawn + data.draw(st.sampled_from([COMPLETE, frame("s"), frame("I")]))


def owned(kind: str) -> bool:
    return kind in "BDE"


waiting_messages = st.lists(
    st.tuples(st.sampled_from("BDESBDEQ"), st.none() | st.integers(0, len(PACKED) - 1)), max_size=7
).map(lambda drawn: [(ord(kind), owner if owned(kind) else None) for kind, owner in drawn])


@settings(deadline=None, max_examples=400)
@given(waiting_messages, heads, st.data())
def test_good_answers_of_an_upstream(
    waiting: list[tuple[int, int | None]], head: int, data: st.DataObject
) -> None:
    """Good answers are taken, and go down as the session would have written them."""
    chunk = b"".join(answers(owner, kind, data, tame_floats) for kind, owner in waiting)
    walker, beside = Walker(waiting, head=head), BesideTheSession(waiting)
    taken = walker.from_upstream(chunk)
    assert taken is not None
    sent, answered, status = taken
    assert sent == bytes(beside.stream.receive(chunk))
    assert beside.stream.violation is None
    assert len(beside.replies.queue) == len(waiting) - answered
    assert status == beside.status


@settings(deadline=None, max_examples=400)
@given(waiting_messages, heads, st.data())
def test_spoilt_answers_of_an_upstream(
    waiting: list[tuple[int, int | None]], head: int, data: st.DataObject
) -> None:
    """Whatever is changed, cut, or overflows: what is taken is what the session would have sent."""
    chunk = bytearray(b"".join(answers(owner, kind, data, floats) for kind, owner in waiting))
    for _ in range(data.draw(st.integers(0, 2))):
        if chunk:
            chunk[data.draw(st.integers(0, len(chunk) - 1))] = data.draw(st.integers(0, 255))
    chunk = chunk[: data.draw(st.integers(0, len(chunk)))] if data.draw(st.booleans()) else chunk
    taken = Walker(waiting, head=head).from_upstream(bytes(chunk))
    if taken is None:
        return
    beside = BesideTheSession(waiting)
    assert taken[0] == bytes(beside.stream.receive(bytes(chunk)))
    assert beside.stream.violation is None
    assert len(beside.replies.queue) == len(waiting) - taken[1]


def test_a_description_that_has_changed() -> None:
    """Another RowDescription than the one that was seen is for the session."""
    for number, each in enumerate(PACKED):
        described = description(STATEMENTS[each.passage.statement])
        waiting = [(t.DESCRIBE, number)]
        taken = Walker(waiting).from_upstream(described)
        assert taken is not None
        assert each.bound.description.seen is not None
        assert taken[0] == each.bound.description.seen[1]
        changed = described.replace(b"c\0", b"d\0", 1)
        assert Walker(waiting).from_upstream(changed) is None


def test_no_room_for_the_rows() -> None:
    """Rows that grow beyond the room for them are refused, not cut."""
    row = data_row([b"x", None, float8_array([0.1, 0.2]), float8(0.3), b"red", float8(0.7)])
    chunk = row * 100 + COMPLETE
    walker = Walker([(t.EXECUTE, 0)])
    taken = walker.from_upstream(chunk)
    assert taken is not None
    size = len(taken[0])
    for room in (0, 10, size // 2, size - 1):
        walker = Walker([(t.EXECUTE, 0)])
        small = walker.shared._replace(out=walker.shared.out[:room], buffer=brink.holding(chunk))
        assert walk_upstream(small, LANE, len(chunk))[0] == NOT_OURS


def test_more_rows_than_a_batch() -> None:
    """A chunk of more rows than the arrays hold is scored in several batches."""
    row = data_row([None, None, None, float8(0.5), None, None])
    chunk = row * 1500
    for waiting in ([(t.EXECUTE, 1)], [(t.EXECUTE, 0)]):
        walker = Walker(waiting)
        number = waiting[0][1]
        assert number is not None
        walker.rows[number, BATCH_ROWS] = 64
        taken = walker.from_upstream(chunk)
        assert taken is not None
        beside = BesideTheSession(waiting)
        rest, sent = chunk, b""
        execution = PACKED[number].bound.execution
        while rest:
            end, out = execution.on_rows(rest, 0, len(rest))
            sent, rest = sent + bytes(out), rest[end:]
        assert taken[0] == sent
        assert len(beside.replies.queue) == 1


def test_too_much_work() -> None:
    """Rows that would keep the thread from its other riders are for the event loop."""
    row = data_row([None, None, None, float8(0.5), None, None])
    for n_rows in (100, 101):
        walker = Walker([(t.EXECUTE, 0)])
        assert walker.rows[0, ROW_WORK] > 0
        walker.rows[0, ROW_WORK] = MAX_WORK // 100
        assert (walker.from_upstream(row * n_rows) is not None) == (n_rows == 100)


def test_only_the_loop_counts() -> None:
    """A walk notes what it did; the totals are the loop's, when the chunk has gone on."""
    walker = Walker([(t.BIND, 0), (t.EXECUTE, 0)])
    row = data_row([b"x", None, float8_array([0.1, 0.2]), float8(0.3), b"red", float8(0.7)])
    assert walker.from_upstream(frame("2") + row * 3 + COMPLETE) is not None
    assert not walker.rows[:, [BINDS, ROWS]].any()
