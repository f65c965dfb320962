"""Folders that the database's account can reach: pytest's own are closed to it when we are root."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.embedded import fresh_directory


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh private folder, and no password from outside."""
    monkeypatch.delenv("PGPASSWORD", raising=False)
    fresh = fresh_directory("pgseer-test-")
    yield fresh
    shutil.rmtree(fresh)


@pytest.fixture(scope="session")
def bin_dir() -> Path | None:
    """The server under test: None is the wheel's."""
    named = os.environ.get("PGSEER_TEST_BIN_DIR")
    return Path(named) if named else None
