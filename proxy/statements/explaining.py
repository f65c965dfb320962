"""What EXPLAIN says of PREDICT, in the format that the client asked for.

Owns the words, and putting them behind PostgreSQL's own plan: lines of a text, a key of a JSON or
YAML document, an element of an XML one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from xml.sax.saxutils import escape

from proxy.protocol import message_types as t
from proxy.protocol.messages import row_values
from proxy.protocol.wire import frame, int32, uint16
from proxy.rewrite.plan import CallPlan, Splice
from proxy.session.questions import MappedReply, PositionMap

_INDENT = "  "


@dataclass(frozen=True, slots=True)
class ScoringRun:
    """Rows that were scored for a call, and the time that it took, of all threads."""

    n_rows: int
    seconds: float


class ExplainedExecution(MappedReply):
    """An EXPLAIN: its plan, and behind it how each PREDICT is computed.

    Parameters
    ----------
    runs : of calls that were scored for an EXPLAIN ANALYZE, by their place in the statement
    """

    __slots__ = ("_codec", "_runs", "_splice")

    def __init__(
        self,
        splice: Splice,
        position_map: PositionMap | None,
        codec: str,
        runs: dict[int, ScoringRun],
    ) -> None:
        super().__init__(t.EXECUTE, position_map)
        self._splice = splice
        self._codec = codec
        self._runs = runs

    def on_rows(self, data: bytes, start: int, stop: int) -> tuple[int, bytes]:
        """Add to the one row of a document; let the lines of a text through."""
        end, row = super().on_rows(data, start, stop)
        if row and self._splice.explained != "text":
            (value,) = row_values(bytes(row[5:]))
            document = (value or b"").decode(self._codec, "replace")
            return end, _row(self._added_to(document).encode(self._codec, "replace"))
        return end, row

    def on_message(self, kind: int, body: bytes) -> bytes | None:
        """Put the lines of a text before the end."""
        if kind == t.COMMAND_COMPLETE and self._splice.explained == "text":
            lines = [_line(entry) for entry in self._entries()]
            rows = [_row(line.encode(self._codec, "replace")) for line in lines]
            return b"".join([*rows, frame(kind, body)])
        return super().on_message(kind, body)

    def _entries(self) -> list[dict[str, object]]:
        splice = self._splice
        return [
            _entry(call, self._runs.get(number), is_ranked=_ranks(splice, number))
            for number, call in enumerate(splice.calls)
        ]

    def _added_to(self, document: str) -> str:
        entries = self._entries()
        if self._splice.explained == "json":
            last = document.rindex("\n  }")
            text = json.dumps(entries, indent=2, ensure_ascii=False).replace("\n", "\n    ")
            return f'{document[:last]},\n    "PREDICT": {text}{document[last:]}'
        if self._splice.explained == "yaml":
            return document + "\n  PREDICT: " + "".join(map(_yaml, entries))
        last = document.rindex("</Query>")
        return document[:last] + "  " + "".join(map(_xml, entries)) + document[last:]


def _ranks(splice: Splice, number: int) -> bool:
    return splice.ranking is not None and splice.ranking.site == number


def _entry(call: CallPlan, run: ScoringRun | None, *, is_ranked: bool) -> dict[str, object]:
    """Return what is said of a call, in order."""
    entry: dict[str, object] = {
        "Strategy": str(call.strategy),
        "Model": call.signature.name,
        "Version": call.signature.version,
        "Features": [feature.name for feature in call.signature.features],
    }
    if is_ranked:
        entry["Sorted"] = True
    if run is not None:
        entry["Scored Rows"] = run.n_rows
        entry["Scoring Time"] = round(1e3 * run.seconds, 3)
    return entry


def _line(entry: dict[str, object]) -> str:
    features = ", ".join(map(str, entry["Features"]))  # type: ignore[call-overload]
    sorted_ = ", sorted here" if "Sorted" in entry else ""
    line = (
        f"PREDICT: {entry['Strategy']}{sorted_}, model {entry['Model']}:{entry['Version']},"
        f" features {features}"
    )
    if "Scored Rows" in entry:
        line += f" (scored rows={entry['Scored Rows']} time={entry['Scoring Time']:.3f} ms)"
    return line


def _yaml(entry: dict[str, object]) -> str:
    lines = []
    for key, value in entry.items():
        written = json.dumps(value, ensure_ascii=False)
        lines.append(f"{key}: {written}")
    return f"\n    - {lines[0]}" + "".join(f"\n      {line}" for line in lines[1:])


def _xml(entry: dict[str, object]) -> str:
    pad = 2 * _INDENT
    lines = [f"{_INDENT}<Predict>"]
    for key, value in entry.items():
        tag = key.replace(" ", "-")
        if isinstance(value, list):
            inner = "".join(f"\n{pad}    <Item>{escape(str(item))}</Item>" for item in value)
            lines.append(f"{pad}  <{tag}>{inner}\n{pad}  </{tag}>")
        else:
            text = str(value).lower() if isinstance(value, bool) else escape(str(value))
            lines.append(f"{pad}  <{tag}>{text}</{tag}>")
    return "\n".join([*lines, f"{pad}</Predict>\n{_INDENT}"])


def _row(value: bytes) -> bytes:
    """Return a DataRow of one text."""
    return frame(t.DATA_ROW, uint16(1) + int32(len(value)) + value)
