"""SQL for the client's own session: what reads and writes schema `ml` as the client's role.

Every text is ASCII and fully qualified, so it means the same under any client_encoding,
standard_conforming_strings and search_path. What the statements do is written in migrations/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxy.errors import InvalidParameterError, TooLargeError, UnknownModelError
from proxy.registry.model_version import ModelRecord

# Of pg_type: OIDs of the four parameters of STORE_MODEL_SQL, in order.
BOOL_OID = 16
BYTEA_OID = 17
JSONB_OID = 3802
STORE_MODEL_SQL = "SELECT ml.store_model($1, $2, $3, $4)"
STORE_MODEL_PARAMETER_OIDS = (JSONB_OID, BOOL_OID, BOOL_OID, BYTEA_OID)
# jsonb goes as text, which PostgreSQL versions identically; the others in binary.
STORE_MODEL_FORMATS = (0, 1, 1, 1)
# A Bind message and a bytea end at 1 GiB; what is left is for the description beside it.
LARGEST_ARTEFACT_BYTES = (1 << 30) - (64 << 20)

VERSION = re.compile(r"\d{1,9}(\.\d)?")
NEEDS_ESCAPE = re.compile(r"[^ !#-&(-\[\]-~]")

SHOWN_COLUMNS = (
    "model_name, version, is_default, algorithm, task, target, accuracy, r2, training_rows, "
    "created_at, owner"
)


def quote_literal(text: str) -> str:
    r"""Return `text` as a literal of ASCII letters only.

    E'' reads backslashes as escapes whatever standard_conforming_strings says, and the server
    turns \uXXXX into its own encoding whatever the client's is.

    Raises
    ------
    InvalidParameterError
        22021: a NUL or half a surrogate pair, which no server encoding has.
    """
    return f"E'{NEEDS_ESCAPE.sub(_escape, text)}'"


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if code == 0 or 0xD800 <= code <= 0xDFFF:
        raise InvalidParameterError(f"invalid character U+{code:04X}", sqlstate="22021")
    if character == "'":
        return "''"
    if character == "\\":
        return "\\\\"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quote_identifier(name: str) -> str:
    """Return `name` in double quotes, for a HINT that is meant to be pasted."""
    return '"' + name.replace('"', '""') + '"'


def show_models() -> str:
    """Return the text behind SHOW MODELS: every model, its default version."""
    return f"SELECT {SHOWN_COLUMNS} FROM ml.ml_models WHERE is_default ORDER BY model_name"


def show_model(name: str) -> str:
    """Return the text behind SHOW MODEL: every version of one model; raises 42704 upstream."""
    return (
        f"SELECT {SHOWN_COLUMNS}, parameters, metrics, duration_s, artefact_size_bytes, status, "
        f"query FROM ml.show_model({quote_literal(name)}) ORDER BY version"
    )


def describe_model(name: str, version: str | None = None) -> str:
    """Return the text behind DESCRIBE MODEL name[:version]; raises 42704 upstream."""
    arguments = f"{quote_literal(name)}, {_version(name, version)}"
    return f"SELECT section, name, value, detail FROM ml.describe_model({arguments})"


def drop_model(name: str, version: str | None = None, *, if_exists: bool = False) -> str:
    """Return the text behind DROP MODEL [IF EXISTS] name[:version]."""
    arguments = f"{quote_literal(name)}, {_version(name, version)}, {_boolean(if_exists)}"
    return f"CALL ml.drop_model({arguments})"


def model_exists(name: str) -> str:
    """Return the text that answers, as one boolean, IF NOT EXISTS before the training."""
    return f"SELECT ml.model_exists({quote_literal(name)})"


def check_create_model(name: str) -> str:
    """Return the text that fails before the training as `ml.store_model` would after it."""
    return f"SELECT ml.check_create_model({quote_literal(name)})"


def model_catalog() -> str:
    """Return the text that lists every version in this session's view: one bytea column.

    Ask for it in binary; each value is what `ModelEntry.from_json` reads.
    """
    return "SELECT ml.model_catalog()"


def model_artefact(name: str, version: str | None = None) -> str:
    """Return the text that reads one version's artefact: one bytea, to be asked for in binary."""
    return f"SELECT ml.model_artefact({quote_literal(name)}, {_version(name, version)})"


def _version(name: str, version: str | None) -> str:
    if version is None:
        return "NULL::pg_catalog.numeric"
    if VERSION.fullmatch(version) is None:
        raise UnknownModelError(
            f'version {version} of model "{name}" does not exist',
            hint="A version is a number such as 2.0.",
        )
    return f"{quote_literal(version)}::pg_catalog.numeric"


def _boolean(value: bool) -> str:  # noqa: FBT001  # it is its only argument
    return "true" if value else "false"


@dataclass(frozen=True, slots=True)
class StoreModel:
    """The parameters of STORE_MODEL_SQL, ready for a Bind message with STORE_MODEL_FORMATS."""

    record: ModelRecord
    artefact: bytes
    or_replace: bool = False
    if_not_exists: bool = False

    def parameters(self) -> tuple[bytes, bytes, bytes, bytes]:
        """Return the four values, in order.

        Raises
        ------
        TooLargeError
            The artefact does not fit a value of PostgreSQL.
        """
        if len(self.artefact) > LARGEST_ARTEFACT_BYTES:
            raise TooLargeError(
                "the trained model is too large to be stored",
                detail=f"It takes {len(self.artefact)} bytes; {LARGEST_ARTEFACT_BYTES} can be "
                "stored.",
            )
        return (
            self.record.to_json(),
            bytes([self.or_replace]),
            bytes([self.if_not_exists]),
            self.artefact,
        )
