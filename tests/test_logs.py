import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from proxy.logs import configure_logging, get_logger


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the lines go; logging is put back as it was."""
    root = logging.getLogger()
    before = (root.handlers, root.level)
    yield io.StringIO()
    root.handlers, root.level = before
    structlog.reset_defaults()


def test_secrets_are_masked(stream):
    """A password is not in the line, be it a value of its own, in a URI or in an exception."""
    configure_logging("info", "json", stream)
    log = get_logger("proxy.test")
    log.info("login", password="hunter2", url="postgresql://u:hunter2@h/d")
    try:
        raise ValueError("cannot reach postgresql://u:hunter2@h/d")
    except ValueError:
        log.exception("failed")
    assert "hunter2" not in stream.getvalue()
    first = json.loads(stream.getvalue().splitlines()[0])
    assert (first["event"], first["level"], first["logger"]) == ("login", "info", "proxy.test")
    assert first["url"] == "postgresql://u:***@h/d"


@pytest.mark.parametrize("log_format", ["logfmt", "json", "console"])
def test_libraries_speak_in_the_same_format(stream, log_format):
    """A line of the standard library's logging looks like ours, and the level holds for both."""
    configure_logging("warning", log_format, stream)
    get_logger("ours").info("unheard")
    logging.getLogger("theirs").info("unheard")
    get_logger("ours").warning("heard", n_rows=3)
    logging.getLogger("theirs").warning("heard %d", 4)
    ours, theirs = stream.getvalue().splitlines()
    for line, name in ((ours, "ours"), (theirs, "theirs")):
        assert name in line
        assert "warning" in line
    assert "heard 4" in theirs
