"""A splice plan with its models: from hidden values to scores to rows of the client's.

Owns the way between the columns that were asked for and the matrix that a model takes. Leaves the
bytes to `rewrite.row_decoder` and `rewrite.splice`, the numbers to the engine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proxy.engine.linear.linear_predictor import LinearScorer
from proxy.engine.model import Model
from proxy.engine.scorers import Scorer
from proxy.kernels.linear import NOT_GIVEN
from proxy.metrics.instruments import Count, Labelled
from proxy.protocol import message_types as t
from proxy.protocol.messages import FieldDescription, RowDescription
from proxy.protocol.wire import frame
from proxy.relay.portals import RowProgram
from proxy.rewrite.columns import ColumnKind, HiddenColumn
from proxy.rewrite.plan import HiddenColumn as Asked
from proxy.rewrite.plan import ScoreColumn, Splice, StageStep
from proxy.rewrite.row_decoder import RowDecoder
from proxy.rewrite.splice import Slot, SlotKind, Splicer
from proxy.rewrite.text_dictionary import SEED
from proxy.statements.labels import label_values

_KINDS = {"category": ColumnKind.CATEGORY, "array": ColumnKind.FLOAT8_ARRAY}
_REMEMBERED_FORMATS = 16
"""Combinations of result formats kept ready; a client that uses more pays for making them."""

Matrix = NDArray[np.float64]


class Score:
    """One PREDICT of a statement, with its model; `rows_scored` is counted up."""

    def __init__(
        self,
        column: ScoreColumn | StageStep,
        model: Model,
        hidden: _HiddenLayout,
        rows_scored: Count,
    ) -> None:
        self.column = column
        self.model = model
        self.rows_scored = rows_scored
        sources: list[int] = []
        recodings: list[Matrix | None] = []
        for feature, index in zip(column.signature.features, column.inputs, strict=True):
            if index is None:
                sources += [NOT_GIVEN] * feature.width
                recodings += [None] * feature.width
            else:
                sources += range(hidden.slices[index].start, hidden.slices[index].stop)
                recodings += [hidden.codes_for(index, feature.categories)] * feature.width
        self.scorer: Scorer = model.scorer(sources, recodings, column.output, column.class_index)

    def of(self, values: Matrix) -> NDArray[np.float64]:
        """Return the score of each row: a float8, or a place in the model's classes."""
        self.rows_scored.value += len(values)
        return self.scorer.scores(values)

    def slot(self, index: int, format_code: int, codec: str) -> Slot:
        """Return how the score is written into visible column `index`."""
        if self.column.output == "label":
            labels = label_values(self.model.classes, self.model.target_type, format_code, codec)
            return Slot(index, SlotKind.LABEL, labels)
        return Slot(index, SlotKind.FLOAT8_BINARY if format_code else SlotKind.FLOAT8_TEXT)


class _HiddenLayout:
    """Where each hidden column's values are, and the dictionary of each category."""

    def __init__(self, hidden: Sequence[Asked], scores: Sequence[ScoreColumn | StageStep]) -> None:
        self.slices: list[slice] = []
        self._categories: list[tuple[str, ...]] = []
        offset = 0
        for index, column in enumerate(hidden):
            self.slices.append(slice(offset, offset + column.width))
            offset += column.width
            self._categories.append(_categories_of(scores, index))
        self.columns = [
            HiddenColumn(
                _KINDS.get(column.kind, ColumnKind.FLOAT8), column.width, categories, column.name
            )
            for column, categories in zip(hidden, self._categories, strict=True)
        ]

    def codes_for(self, index: int, categories: tuple[str, ...]) -> Matrix | None:
        """Return the model's code for each code of a hidden column; None: they are the same."""
        ours = self._categories[index]
        if ours == categories:
            return None
        places = {word: code for code, word in enumerate(categories)}
        unseen = len(categories)
        return np.array([float(places.get(word, unseen)) for word in ours] + [float(unseen)])


def _categories_of(scores: Sequence[ScoreColumn | StageStep], index: int) -> tuple[str, ...]:
    """Return every category that some model knows in this column, each once."""
    known: dict[str, None] = {}
    for score in scores:
        for feature, given in zip(score.signature.features, score.inputs, strict=True):
            if given == index:
                known |= dict.fromkeys(feature.categories)
    return tuple(known)


def _labels(column: ScoreColumn | StageStep) -> tuple[str, str]:
    return column.signature.name, column.signature.version


class ScoredStatement:
    """A splice plan with its models and its visible columns: what rows need to be scored.

    Parameters
    ----------
    models : for each of `splice.scores`
    positions : for each, the visible column that it stands in, -1 for none
    n_visible : columns that the client sees, 0 where no score is spliced in
    predictions : where the rows that each model scores are counted
    stage_models : for each of `splice.stages`

    Attributes
    ----------
    visible_scores : those that stand in a column
    """

    def __init__(  # noqa: PLR0917 - as they were
        self,
        splice: Splice,
        models: Sequence[Model],
        positions: Sequence[int],
        n_visible: int,
        predictions: Labelled[Count],
        stage_models: Sequence[Model] = (),
    ) -> None:
        self.splice = splice
        self.positions = tuple(positions)
        self.n_visible = n_visible
        self._layout = _HiddenLayout(splice.hidden, splice.scores)
        self._stage_models = tuple(stage_models)
        self._predictions = predictions
        self.scores = [
            Score(column, model, self._layout, predictions.of(*_labels(column)))
            for column, model in zip(splice.scores, models, strict=True)
        ]
        self.visible_scores = [
            score for score, place in zip(self.scores, self.positions, strict=True) if place >= 0
        ]
        self._names = {
            position: column.name
            for position, column in zip(self.positions, splice.scores, strict=True)
            if position >= 0
        }
        self._formats: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._described: tuple[bytes, str, bytes] | None = None
        self._rows: dict[tuple[tuple[int, ...], str], ScoredRows] = {}

    def stage_score(self, number: int) -> tuple[Score, list[HiddenColumn]]:
        """Return what scores the rows of a step, for one thread, and their columns."""
        step = self.splice.stages[number]
        layout = _HiddenLayout(step.hidden, [step])
        rows_scored = self._predictions.of(*_labels(step))
        return Score(step, self._stage_models[number], layout, rows_scored), layout.columns

    @property
    def is_scored(self) -> bool:
        """Whether scores are written into its rows; else they are the upstream's, unchanged."""
        return bool(self.scores) and self.splice.explained is None

    @property
    def is_ranked(self) -> bool:
        """Whether its rows are sorted here."""
        return self.splice.ranking is not None and self.splice.explained is None

    @property
    def n_hidden(self) -> int:
        """Columns that the client does not see."""
        return len(self.splice.hidden)

    def result_formats(self, wanted: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return a format for every upstream column; None where the client's count is wrong.

        As in Bind: none is text for all, one is for all, else one for each.
        """
        if not self.is_scored:
            return wanted
        known = self._formats.get(wanted)
        if known is None:
            visible = self._visible_formats(wanted)
            if visible is None:
                return None
            if len(self._formats) == _REMEMBERED_FORMATS:
                self._formats.clear()
            known = self._formats[wanted] = visible + (1,) * self.n_hidden
        return known

    def _visible_formats(self, wanted: tuple[int, ...]) -> tuple[int, ...] | None:
        if len(wanted) == self.n_visible:
            return wanted
        if len(wanted) <= 1:
            return (wanted[0] if wanted else 0,) * self.n_visible
        return None

    def describe(self, body: bytes, codec: str) -> bytes:
        """Return the RowDescription of what the client sees, for the upstream's (its body)."""
        if not self.is_scored:
            return frame(t.ROW_DESCRIPTION, body)
        if self._described is None or self._described[:2] != (body, codec):
            names = {
                position: name.encode(codec, "replace") for position, name in self._names.items()
            }
            message = RowDescription.decode(body).renamed(names, self.n_visible).encode()
            self._described = (body, codec, message)
        return self._described[2]

    @property
    def hidden_columns(self) -> list[HiddenColumn]:
        """Columns that the client does not see, as they are decoded."""
        return self._layout.columns

    def slots(self, formats: tuple[int, ...], codec: str) -> list[Slot]:
        """Return how each visible score is written, in these visible formats."""
        return [
            score.slot(position, formats[position], codec)
            for position, score in zip(self.positions, self.scores, strict=True)
            if position >= 0
        ]

    def rows(self, formats: tuple[int, ...], codec: str) -> ScoredRows:
        """Return what turns the upstream's rows into the client's, in these visible formats."""
        key = (formats, codec)
        found = self._rows.get(key)
        if found is None:
            decoder = RowDecoder(self.n_visible, self._layout.columns)
            splicer = Splicer(self.n_visible, self.slots(formats, codec))
            found = ScoredRows(decoder, splicer, self.scores)
            if len(self._rows) == _REMEMBERED_FORMATS:
                self._rows.clear()
            self._rows[key] = found
        return found


class ScoredRows:
    """Rows in, scored rows out."""

    def __init__(self, decoder: RowDecoder, splicer: Splicer, scores: Sequence[Score]) -> None:
        self._decoder = decoder
        self._splicer = splicer
        self._scores = scores
        self._program: RowProgram | None = None

    @property
    def program(self) -> RowProgram | None:
        """The same for the express lane; None: some model is not one that it can score."""
        if self._program is None:
            scorers = [self._scores[number].scorer for number in self._splicer.order]
            linear = tuple(scorer for scorer in scorers if isinstance(scorer, LinearScorer))
            if len(linear) < len(scorers):
                return None
            decoder, splicer = self._decoder, self._splicer
            self._program = RowProgram(
                n_visible=decoder.n_visible,
                columns=decoder.plan,
                width=decoder.width,
                seed=SEED,
                table=decoder.dictionary.table,
                entries=decoder.dictionary.entries,
                arena=decoder.dictionary.arena,
                slots=splicer.slots,
                slots_size=splicer.slots_size,
                label_offsets=splicer.label_offsets,
                labels=splicer.labels,
                scorers=linear,
            )
        return self._program

    def count(self, n_rows: int) -> None:
        """Count rows that were scored on the express lane."""
        for score in self._scores:
            score.rows_scored.add(n_rows)

    def write(self, data: bytes, start: int, stop: int) -> tuple[int, bytes | memoryview]:
        """Score the whole rows at the beginning of data[start:stop].

        Returns the offset behind them and the rows to send.
        """
        decoded = self._decoder.decode(data, start, stop)
        if not decoded.n_rows:
            return start, b""
        scores = [score.of(decoded.values) for score in self._scores]
        return decoded.next_offset, self._splicer.splice(data, decoded, scores)


def marked_positions(splice: Splice, fields: Sequence[FieldDescription]) -> list[int]:
    """Return, for each score, the column under its marker."""
    places = {field.name: index for index, field in enumerate(fields)}
    return [places[score.marker.encode()] if score.index >= 0 else -1 for score in splice.scores]
