import os
from pathlib import Path

import pytest

from proxy.embedded.account import Account, fresh_directory, serving_account

STRANGER = Account(uid=54321, gid=54321)

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes accounts")


def test_a_closed_folder_is_the_barrier(folder: Path):
    """The outermost folder without x for others is named, however deep the path."""
    folder.chmod(0o711)
    closed = folder / "closed"
    (closed / "in" / "it").mkdir(parents=True)
    closed.chmod(0o700)
    assert STRANGER.barrier_to(closed / "in" / "it" / "file") == closed
    closed.chmod(0o711)
    assert STRANGER.barrier_to(closed / "in" / "it" / "file") is None


def test_the_owner_is_judged_by_the_owners_bits(folder: Path):
    """A mode that lets others read and the owner not shuts the owner out, as the kernel does."""
    folder.chmod(0o711)
    file = folder / "file"
    file.touch()
    file.chmod(0o044)
    assert STRANGER.can_read(file)
    assert not Account(file.stat().st_uid, file.stat().st_gid).can_read(file)


@root_only
def test_root_serves_as_somebody_that_no_user_is(folder: Path):
    """The database's uid is not root's and, for new data, no user's of this system."""
    account = serving_account(folder / "data")
    assert account is not None
    assert account.uid not in {0, *(int(line.split(":")[2]) for line in passwd_lines())}


@root_only
def test_existing_data_keeps_its_owner(folder: Path):
    """A data directory is served by whoever owns it."""
    data = folder / "data"
    data.mkdir()
    STRANGER.take(data)
    assert serving_account(data) == STRANGER


@pytest.mark.skipif(os.geteuid() == 0, reason="root is another matter")
def test_an_ordinary_user_serves_himself(folder: Path):
    """Nothing is given away when nothing must be."""
    assert serving_account(folder / "data") is None


@root_only
def test_a_closed_temporary_folder_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Where TMPDIR shuts the database out, the fresh folder is elsewhere."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(folder))
    fresh = fresh_directory("pgseer-test-")
    try:
        assert folder not in fresh.parents
    finally:
        fresh.rmdir()


def passwd_lines() -> list[str]:
    return Path("/etc/passwd").read_text(encoding="utf-8").splitlines()
