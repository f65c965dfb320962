"""What the proxy says about itself: structured lines on standard error.

Owns format, level and the removal of secrets; who logs decides the words. structlog is imported
when the first logger is asked for, so that `pgseer --version` does not wait for it.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:
    import structlog

SECRET_NAMES = {"password", "passwd", "secret", "token", "dsn", "authorization"}
URI_PASSWORD = re.compile(r"(\w+://[^:/?#\s]*):[^@/\s]+@")
MASK = "***"

LogFormat = Literal["logfmt", "json", "console"]
EventDict = MutableMapping[str, Any]


def configure_logging(level: str, log_format: LogFormat, stream: TextIO | None = None) -> None:
    """Send every log line, libraries' included, to `stream` (standard error) in one format."""
    import structlog  # noqa: PLC0415  # the module's docstring says why

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _renderer(log_format),
        ],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of one module: `get_logger(__name__)`."""
    import structlog  # noqa: PLC0415  # the module's docstring says why

    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Mask values whose names say that they are secret, and passwords inside URIs."""
    for name, value in event.items():
        if name.lower() in SECRET_NAMES:
            event[name] = MASK
        elif isinstance(value, str):
            event[name] = URI_PASSWORD.sub(rf"\1:{MASK}@", value)
    return event


def _renderer(log_format: LogFormat) -> structlog.typing.Processor:
    import structlog  # noqa: PLC0415  # the module's docstring says why

    if log_format == "json":
        return structlog.processors.JSONRenderer()
    if log_format == "console":
        return structlog.dev.ConsoleRenderer()
    return structlog.processors.LogfmtRenderer(
        key_order=["timestamp", "level", "logger", "event"], bool_as_flag=False
    )
