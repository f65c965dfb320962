import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy import __version__
from proxy.cli import main

REPOSITORY = Path(__file__).parents[1]


def pgseer(*arguments: str):
    return CliRunner().invoke(main, arguments)


def test_the_version_is_told():
    """`pgseer --version` names the program and its version."""
    result = pgseer("--version")
    assert (result.exit_code, result.output) == (0, f"pgseer {__version__}\n")


def test_the_package_is_the_command():
    """`python -m proxy` is the same command under the same name."""
    result = subprocess.run(
        [sys.executable, "-m", "proxy", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("Usage: pgseer ")
    for command in ("serve", "demo", "check-config"):
        assert f"\n  {command}" in result.stdout


def test_the_version_waits_for_nothing_heavy():
    """Asking for the version imports neither arrays, compilers nor drivers."""
    program = (
        "import sys; from proxy.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'numba', 'asyncpg', 'uvloop', 'structlog', 'pglast'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_good_file_is_ok():
    """`check-config` says ok of the shipped file."""
    shipped = REPOSITORY / "config" / "pgseer.toml"
    result = pgseer("check-config", str(shipped))
    assert (result.exit_code, result.output) == (0, f"{shipped}: ok\n")


def test_a_bad_file_is_named_with_its_mistake(tmp_path):
    """`check-config` exits 1 with the file, the key and the nearest known key."""
    file = tmp_path / "bad.toml"
    file.write_text("[pgseer]\nlisten_prot = 1\n")
    result = pgseer("check-config", str(file))
    assert result.exit_code == 1
    assert result.output == (
        f"{file}: unknown key pgseer.listen_prot; the nearest known key is pgseer.listen_port\n"
    )


def test_a_missing_file_is_an_error(tmp_path):
    """A file that is not there is an error and not a set of defaults."""
    for arguments in (["check-config"], ["serve", "--config"]):
        result = pgseer(*arguments, str(tmp_path / "none.toml"))
        assert result.exit_code == 1
        assert "cannot read" in result.output


@pytest.mark.parametrize("text", ["6432x", "h:65536", "h:", "::1"])
def test_an_address_is_checked(text):
    """`--listen` takes HOST:PORT and says so."""
    result = pgseer("serve", "--listen", text, "--upstream", "host=h")
    assert result.exit_code == 2
    assert "is not HOST:PORT" in result.output


def test_two_databases_are_one_too_many():
    """`--upstream` and `--embedded` exclude each other."""
    result = pgseer("serve", "--upstream", "host=h", "--embedded", "d")
    assert result.exit_code == 2
    assert "exclude each other" in result.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--listen", "[::1]:7000"], {"listen_addr": "::1", "listen_port": 7000}),
        (["--listen", "7000"], {"listen_addr": "127.0.0.1", "listen_port": 7000}),
        (["--http", "0.0.0.0:0"], {"http_addr": "0.0.0.0", "http_port": 0}),
    ],
)
def test_the_command_line_wins(arguments, expected, tmp_path, monkeypatch):
    """Options override the file; the application gets the result."""
    file = tmp_path / "settings.toml"
    file.write_text("[pgseer]\nlisten_port = 1\nmax_client_conn = 5\n[upstream]\nhost = 'db1'\n")
    seen = []

    class Recorder:
        def __init__(self, settings, reload):
            seen.append(settings)
            assert reload() == settings

        async def run(self):
            pass

    monkeypatch.setattr("proxy.app.Application", Recorder)
    monkeypatch.setattr("proxy.logs.configure_logging", lambda *_: None)
    result = pgseer("serve", "--config", str(file), *arguments)
    assert result.exit_code == 0, result.output
    assert {name: getattr(seen[0].pgseer, name) for name in expected} == expected
    assert seen[0].pgseer.max_client_conn == 5
    assert seen[0].upstream.host == "db1"


def test_embedded_overrides_the_files_database(tmp_path, monkeypatch):
    """`--embedded DIR` wins over a database that the file names."""
    file = tmp_path / "settings.toml"
    file.write_text("[upstream]\ndsn = 'host=db1'\n")
    seen = []

    class Recorder:
        def __init__(self, settings, reload):
            seen.append(settings)

        async def run(self):
            pass

    monkeypatch.setattr("proxy.app.Application", Recorder)
    monkeypatch.setattr("proxy.logs.configure_logging", lambda *_: None)
    assert pgseer("serve", "--config", str(file), "--embedded", str(tmp_path / "d")).exit_code == 0
    assert seen[0].upstream.is_embedded
    assert seen[0].upstream.embedded == str(tmp_path / "d")
