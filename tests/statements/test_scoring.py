"""Rows in, scored rows out: each model gets its own matrix, each score its own place.

The oracle works row by row on Python values; it never sees a code, a slice or a byte.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.model import Model
from proxy.engine.training import train
from proxy.metrics.instruments import Instruments
from proxy.protocol.messages import FieldDescription, RowDescription
from proxy.rewrite.catalog import FeatureSignature, ModelSignature, PredictKind
from proxy.rewrite.edits import edited
from proxy.rewrite.plan import HiddenColumn, ScoreColumn, Splice
from proxy.statements.scoring import ScoredStatement, marked_positions
from tests.kernels.encoders import data_row, float8, float8_array
from tests.support.wire import Message

Cell = float | str | list[float | None] | None
WORDS = ("red", "green", "blue", "ünï", "")


@dataclass
class Spy:
    """A stand-in for a Model: keeps the matrix that it is asked to score.

    Its value is the sum of place times input, a missing one counting -1000.
    """

    input_width: int
    classes: tuple[str, ...] = ()
    target_type: str = "text"
    seen: list[np.ndarray] = field(default_factory=list)

    def scorer(
        self,
        sources: Sequence[int],
        recodings: Sequence[np.ndarray | None],
        output: str,
        class_index: int | None,
    ) -> SpyScorer:
        assert len(sources) == len(recodings) == self.input_width
        return SpyScorer(self, list(zip(sources, recodings, strict=True)), output, class_index)


@dataclass
class SpyScorer:
    """Puts the matrix together cell by cell; a probability of class k is k more than the value."""

    spy: Spy
    inputs: list[tuple[int, np.ndarray | None]]
    output: str
    class_index: int | None

    def scores(self, values: np.ndarray) -> np.ndarray:
        raw = [[self.cell(row, *given) for given in self.inputs] for row in values.tolist()]
        self.spy.seen.append(np.array(raw).reshape(len(values), self.spy.input_width))
        value = np.array([value_of(row) for row in raw])
        if self.output == "label":
            return value % len(self.spy.classes)
        if self.output == "probability":
            last = len(self.spy.classes) - 1
            return value + (last if self.class_index is None else self.class_index)
        return value

    @staticmethod
    def cell(row: list[float], source: int, recoding: np.ndarray | None) -> float:
        if source < 0:
            return math.nan
        cell = row[source]
        return cell if recoding is None or math.isnan(cell) else float(recoding[int(cell)])


def value_of(row: Sequence[float]) -> float:
    return sum((j + 1) * (-1000.0 if math.isnan(x) else x) for j, x in enumerate(row))


def feature(kind: str, width: int = 1, categories: Sequence[str] = ()) -> FeatureSignature:
    return FeatureSignature("f", cast("Any", kind), "text", width, tuple(categories))


def signature(
    features: Sequence[FeatureSignature],
    classes: Sequence[str] = (),
    kind: PredictKind = "value",
) -> ModelSignature:
    return ModelSignature(
        "m", "1.0", tuple(features), kind, tuple(classes), "pg_catalog.text", "regression"
    )


def splice_of(hidden: Sequence[HiddenColumn], scores: Sequence[ScoreColumn]) -> Splice:
    return Splice(
        sql="SELECT",
        calls=(),
        scores=tuple(scores),
        hidden=tuple(hidden),
        visible_count=None,
        notices=(),
        planned_at="bind",
        stages=(),
        is_only_explained=False,
        ranking=None,
        edits=(),
        edited=edited("SELECT", []),
    )


def column(
    number: int,
    features: Sequence[FeatureSignature],
    inputs: Sequence[int | None],
    output: str = "value",
    class_index: int | None = None,
    classes: Sequence[str] = (),
) -> ScoreColumn:
    return ScoreColumn(
        site=number,
        index=number,
        marker=f"pgseer.{number}",
        name=f"score {number}",
        signature=signature(features, classes),
        output=cast("Any", output),
        type_sql="pg_catalog.text",
        class_index=class_index,
        inputs=tuple(inputs),
    )


def statement_of(
    splice: Splice, models: Sequence[Spy | Model], positions: Sequence[int], n_visible: int
) -> ScoredStatement:
    predictions = Instruments().predictions
    return ScoredStatement(splice, cast("Any", models), positions, n_visible, predictions)


# --- the oracle -----------------------------------------------------------------------------------


def raw_row(
    features: Sequence[FeatureSignature], inputs: Sequence[int | None], cells: Sequence[Cell]
) -> list[float]:
    """Return one row of a model's matrix from the row's hidden values."""
    row: list[float] = []
    for wanted, given_at in zip(features, inputs, strict=True):
        cell = None if given_at is None else cells[given_at]
        if isinstance(cell, str):
            known = cell in wanted.categories
            row.append(float(wanted.categories.index(cell) if known else len(wanted.categories)))
        elif isinstance(cell, list):
            row += [math.nan if x is None else x for x in cell]
        elif cell is None:
            row += [math.nan] * wanted.width
        else:
            row.append(cell)
    return row


def wire_value(cell: Cell) -> bytes | None:
    """Return a hidden value as the upstream sends it, in binary."""
    if isinstance(cell, str):
        return cell.encode()
    if isinstance(cell, list):
        return float8_array(cell)
    return float8(cell)


# --- any statement --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Statement:
    """What a test draws: hidden columns, rows of their values, models with their inputs."""

    hidden: tuple[HiddenColumn, ...]
    rows: list[list[Cell]]
    models: list[tuple[list[FeatureSignature], list[int | None]]]


@st.composite
def statements(draw: st.DrawFn) -> Statement:
    kinds = draw(st.lists(st.sampled_from(("number", "category", "array")), max_size=4))
    hidden = [
        HiddenColumn(f"h{i}", cast("Any", kind), draw(st.integers(1, 3)) if kind == "array" else 1)
        for i, kind in enumerate(kinds)
    ]
    models = []
    for _ in range(draw(st.integers(1, 3))):
        features: list[FeatureSignature] = []
        inputs: list[int | None] = []
        order = draw(st.permutations(range(len(hidden))))
        for index in order[: draw(st.integers(0, len(hidden)))]:
            source = hidden[index]
            words = draw(st.permutations(WORDS))[: draw(st.integers(0, len(WORDS)))]
            features.append(
                feature(source.kind, source.width, words if source.kind == "category" else ())
            )
            inputs.append(index if draw(st.integers(0, 3)) else None)
        if not features or draw(st.booleans()):
            features.append(feature("number"))
            inputs.append(None)
        models.append((features, inputs))
    number = st.none() | st.floats(-1e6, 1e6)
    cells: dict[str, Any] = {
        "number": lambda _: number,
        "category": lambda _: st.none() | st.sampled_from((*WORDS, "never seen")),
        "array": lambda width: st.none() | st.lists(number, min_size=width, max_size=width),
    }
    row = st.tuples(*(cells[source.kind](source.width) for source in hidden)).map(list)
    return Statement(tuple(hidden), draw(st.lists(row, min_size=1, max_size=6)), models)


@settings(deadline=None, max_examples=150)
@given(statements(), st.data())
def test_every_model_gets_its_matrix(drawn: Statement, data: st.DataObject) -> None:
    """Inputs are gathered, permuted, recoded and left out as each model needs it."""
    n_scores = len(drawn.models)
    n_visible = n_scores + data.draw(st.integers(0, 2))
    positions = data.draw(st.permutations(range(n_visible)))[:n_scores]
    scores = [
        column(number, features, inputs) for number, (features, inputs) in enumerate(drawn.models)
    ]
    spies = [Spy(sum(f.width for f in features)) for features, _ in drawn.models]
    statement = statement_of(splice_of(drawn.hidden, scores), spies, positions, n_visible)
    stream = b"".join(
        data_row([b"kept"] * n_visible + [wire_value(cell) for cell in cells])
        for cells in drawn.rows
    )
    rows = statement.rows((1,) * n_visible, "utf-8")
    end, out = rows.write(stream + b"C", 0, len(stream) + 1)
    assert end == len(stream)
    wanted = b""
    for number, cells in enumerate(drawn.rows):
        visible: list[bytes | None] = [b"kept"] * n_visible
        for spy, (features, inputs), position in zip(spies, drawn.models, positions, strict=True):
            row = raw_row(features, inputs, cells)
            np.testing.assert_array_equal(spy.seen[0][number], row)
            visible[position] = struct.pack("!d", value_of(row))
        wanted += data_row(visible)
    assert bytes(out) == wanted


# --- gathering ------------------------------------------------------------------------------------


NUMBERS = [HiddenColumn(f"n{i}", "number", 1) for i in range(4)]


def test_two_models_share_a_text_column() -> None:
    """Each model's codes are its own: the column's words are those of both."""
    hidden = [HiddenColumn("colour", "category", 1)]
    first, second = feature("category", 1, ["red", "blue"]), feature("category", 1, ["blue", "tan"])
    splice = splice_of(hidden, [column(0, [first], [0]), column(1, [second], [0])])
    statement = statement_of(splice, [Spy(1), Spy(1)], [0, 1], 2)
    words = ["red", "blue", "tan", "pink", None]
    stream = b"".join(data_row([None, None, wire_value(word)]) for word in words)
    statement.rows((0, 0), "utf-8").write(stream, 0, len(stream))
    spies = [cast("Spy", score.model) for score in statement.scores]
    np.testing.assert_array_equal(spies[0].seen[0][:, 0], [0, 1, 2, 2, math.nan])
    np.testing.assert_array_equal(spies[1].seen[0][:, 0], [2, 0, 1, 2, math.nan])


@pytest.mark.parametrize("n_features", [3, 40])
def test_columns_beside_others(n_features: int) -> None:
    """A model scores some of a row's values bit for bit as it scores a matrix of its own."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, n_features))
    columns = tuple(
        Column(f"x{j}", FeatureKind.NUMBER, "double precision", np.ascontiguousarray(X[:, j]))
        for j in range(n_features)
    )
    target = Column(
        "target", FeatureKind.NUMBER, "double precision", X @ rng.normal(size=n_features)
    )
    model = train("linear_regression", {}, Dataset(columns, target, len(X)), lambda _: None).model
    wide = np.hstack([rng.normal(size=(200, 2)), X, rng.normal(size=(200, 3))])
    wide[::7, 3] = math.nan
    hidden = [HiddenColumn(f"h{i}", "number", 1) for i in range(n_features + 5)]
    given = list(range(2, 2 + n_features))
    made = column(0, [feature("number")] * n_features, given)
    scores = statement_of(splice_of(hidden, [made]), [model], [0], 1).scores[0].of(wide)
    assert scores.tolist() == model.predict(np.ascontiguousarray(wide[:, given])).tolist()


# --- what a score is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "class_index", "expected"),
    [
        ("value", None, [4.0, 7.0]),
        ("label", None, [1, 1]),
        ("probability", 0, [4.0, 7.0]),
        ("probability", 2, [6.0, 9.0]),
        ("probability", None, [6.0, 9.0]),  # the likeliest
    ],
)
def test_outputs(output: str, class_index: int | None, expected: list[float]) -> None:
    """The model is asked for a value, a label, or the probability of one class or the likeliest."""
    classes = ("a", "b", "c")
    spy = Spy(2, classes)
    made = column(0, [feature("number")] * 2, [0, 1], output, class_index, classes)
    statement = statement_of(splice_of(NUMBERS[:2], [made]), [spy], [0], 1)
    values = np.array([[2.0, 1.0], [1.0, 3.0]])
    assert statement.scores[0].of(values).tolist() == expected


@pytest.mark.parametrize("n_classes", [2, 3])
def test_outputs_of_a_classifier(n_classes: int) -> None:
    """Labels and probabilities are those that the model gives for the same rows."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(120, 2))
    columns = tuple(
        Column(f"x{j}", FeatureKind.NUMBER, "double precision", np.ascontiguousarray(X[:, j]))
        for j in range(2)
    )
    codes = (np.digitize(X[:, 0], [0.0, 0.8][: n_classes - 1])).astype(np.int32)
    names = ("a", "b", "c")[:n_classes]
    target = Column("target", FeatureKind.CATEGORY, "text", codes, names)
    model = train("logistic_regression", {}, Dataset(columns, target, len(X)), lambda _: None).model
    probability = model.predict_proba(X)

    def scores(output: str, class_index: int | None = None) -> list[float]:
        made = column(0, [feature("number")] * 2, [0, 1], output, class_index, names)
        splice = splice_of(NUMBERS[:2], [made])
        return statement_of(splice, [model], [0], 1).scores[0].of(X).tolist()

    assert scores("label") == model.predict_class(X).tolist() == probability.argmax(axis=1).tolist()
    assert scores("probability") == probability.max(axis=1).tolist()
    for k in range(n_classes):
        assert scores("probability", k) == probability[:, k].tolist()
    assert np.abs(probability.sum(axis=1) - 1.0).max() < 1e-15


@pytest.mark.parametrize("format_code", [0, 1])
def test_labels_stand_in_the_rows(format_code: int) -> None:
    """A label is written in the target's type, in the format that was asked for."""
    spy = Spy(1, ("-7", "300"), "integer")
    made = column(0, [feature("number")], [0], "label", None, spy.classes)
    statement = statement_of(splice_of(NUMBERS[:1], [made]), [spy], [1], 2)
    stream = data_row([b"x", None, float8(3.0)]) + data_row([None, None, float8(4.0)])
    end, out = statement.rows((0, format_code), "utf-8").write(stream, 0, len(stream))
    labels = [
        struct.pack("!i", int(label)) if format_code else label.encode() for label in spy.classes
    ]
    assert end == len(stream)
    assert bytes(out) == data_row([b"x", labels[1]]) + data_row([None, labels[0]])


def test_rows_are_counted() -> None:
    """Each model's scored rows are added to its own count."""
    predictions = Instruments().predictions
    made = [column(n, [feature("number")], [0]) for n in range(2)]
    splice = splice_of(NUMBERS[:1], made)
    statement = ScoredStatement(splice, cast("Any", [Spy(1), Spy(1)]), [0, 1], 2, predictions)
    stream = data_row([None, None, float8(1.0)]) * 5
    statement.rows((0, 0), "utf-8").write(stream, 0, len(stream))
    assert [(labels, count.value) for labels, count in predictions.items()] == [(("m", "1.0"), 10)]


@pytest.mark.parametrize("size", [0, 1, 4, 30])
def test_an_incomplete_row_waits(size: int) -> None:
    """Bytes that are no whole row are left where they are."""
    statement = statement_of(
        splice_of(NUMBERS[:1], [column(0, [feature("number")], [0])]), [Spy(1)], [0], 2
    )
    row = data_row([None, b"x" * 40, float8(1.0)])
    rows = statement.rows((0, 0), "utf-8")
    assert rows.write(row[:size], 0, size) == (0, b"")
    end, out = rows.write(row + row[:size], 0, len(row) + size)
    assert end == len(row)
    assert bytes(out) == data_row([b"1", b"x" * 40])


# --- formats and descriptions ---------------------------------------------------------------------


@pytest.fixture
def three_visible() -> ScoredStatement:
    """A statement of three columns, the middle one a score, over two hidden ones."""
    made = column(0, [feature("number")] * 2, [0, 1])
    return statement_of(splice_of(NUMBERS[:2], [made]), [Spy(2)], [1], 3)


@pytest.mark.parametrize(
    ("wanted", "visible"),
    [
        ((), (0, 0, 0)),
        ((0,), (0, 0, 0)),
        ((1,), (1, 1, 1)),
        ((0, 1, 0), (0, 1, 0)),
        ((1, 1), None),
        ((0, 0, 0, 0, 0), None),
    ],
)
def test_formats(
    three_visible: ScoredStatement, wanted: tuple[int, ...], visible: tuple[int, ...] | None
) -> None:
    """None is text for all, one is for all, else one for each; the hidden ones are binary."""
    for _ in range(2):  # remembered
        formats = three_visible.result_formats(wanted)
        assert formats == (None if visible is None else (*visible, 1, 1))


def test_one_format_for_one_column() -> None:
    """One format for a statement of one column is that column's."""
    made = column(0, [feature("number")], [0])
    statement = statement_of(splice_of(NUMBERS[:1], [made]), [Spy(1)], [0], 1)
    assert statement.result_formats((1,)) == (1, 1)
    assert statement.result_formats((0, 0)) is None


def test_formats_are_forgotten(three_visible: ScoredStatement) -> None:
    """A client that asks for every combination of formats does not fill the memory."""
    for number in range(200):
        wanted = tuple(number >> bit & 1 for bit in range(3))
        assert three_visible.result_formats(wanted) == (*wanted, 1, 1)
        assert three_visible.rows(wanted, f"iso8859-{number % 8 + 2}") is not None
    assert len(three_visible._rows) <= 64
    assert len(three_visible._formats) <= 64


def described(*fields: tuple[bytes, int]) -> bytes:
    made = [FieldDescription(name, 0, 0, oid, 8, -1, 0) for name, oid in fields]
    return RowDescription(tuple(made)).encode()[5:]


@pytest.mark.parametrize(("codec", "name"), [("utf-8", "Größe"), ("latin-1", "Größe")])
def test_description(codec: str, name: str) -> None:
    """The client sees the score by its name, and none of the hidden columns."""
    made = column(0, [feature("number")], [0])
    made = replace(made, name=name)
    statement = statement_of(splice_of(NUMBERS[:1], [made]), [Spy(1)], [1], 2)
    body = described((b"id", 23), (b"pgseer.0", 701), (b"h", 701))
    for _ in range(2):  # remembered
        seen = statement.describe(body, codec)
        assert seen == b"T" + struct.pack("!i", len(seen) - 1) + described(
            (b"id", 23), (name.encode(codec), 701)
        )
    other = statement.describe(described((b"other", 20), (b"x", 701), (b"h", 701)), codec)
    assert next(c.name for c in Message("T", other[5:]).columns) == "other"


def test_marked_positions() -> None:
    """Each score stands where its marker does, whatever a star has put before it."""
    made = [column(n, [feature("number")], [0]) for n in range(2)]
    fields = [
        FieldDescription(name, 0, 0, 701, 8, -1, 0)
        for name in (b"a", b"pgseer.1", b"b", b"pgseer.0")
    ]
    assert marked_positions(splice_of(NUMBERS[:1], made), fields) == [3, 1]
