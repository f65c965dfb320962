"""The command `pgseer`: words in, exit status out.

Owns the options and what is said to the person at the terminal. Everything heavy is imported by
the command that needs it, so that `--version` and `--help` answer at once.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from proxy import __version__
from proxy.errors import ProxyError

if TYPE_CHECKING:
    from proxy.settings import Settings

T = TypeVar("T")

HELP_OPTIONS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def address(text: str) -> tuple[str, int]:
    """Read `HOST:PORT`, `[IPv6]:PORT`, or `PORT` alone for 127.0.0.1."""
    host, _, port = text.rpartition(":")
    is_bare_ipv6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if is_bare_ipv6 or not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(f"{text!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


DIRECTORY = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(context_settings=HELP_OPTIONS)
@click.version_option(__version__, prog_name="pgseer", message="%(prog)s %(version)s")
def main() -> None:
    """Machine learning in SQL for any PostgreSQL."""


@main.command()
@click.option("--config", type=FILE, help="Settings file (see config/pgseer.toml).")
@click.option(
    "--listen", type=address, metavar="HOST:PORT", help="Wire protocol; default 127.0.0.1:6432."
)
@click.option(
    "--http", type=address, metavar="HOST:PORT", help="HTTP; default 127.0.0.1:8080; port 0: none."
)
@click.option("--upstream", metavar="DSN", help="The database, as a libpq URI or keyword string.")
@click.option(
    "--embedded", type=DIRECTORY, metavar="DIR", help="Run a PostgreSQL of our own in DIR."
)
def serve(
    config: Path | None,
    listen: tuple[str, int] | None,
    http: tuple[str, int] | None,
    upstream: str | None,
    embedded: Path | None,
) -> None:
    """Run the proxy until SIGTERM or Ctrl-C."""
    if upstream is not None and embedded is not None:
        raise click.UsageError("--upstream and --embedded exclude each other")
    overrides: dict[str, object] = {}
    for option, names in (
        (listen, ("listen_addr", "listen_port")),
        (http, ("http_addr", "http_port")),
    ):
        if option is not None:
            overrides |= {
                f"pgseer.{name}": value for name, value in zip(names, option, strict=True)
            }
    if upstream is not None:
        overrides |= {"upstream.dsn": upstream, "upstream.embedded": ""}
    if embedded is not None:
        overrides |= {"upstream.dsn": "", "upstream.host": "", "upstream.embedded": str(embedded)}
    settings = _load(config, overrides)

    from proxy.compilation_notice import CompilationNotice

    with CompilationNotice():
        from proxy.app import Application
    from proxy.logs import configure_logging
    from proxy.settings import load_settings

    configure_logging(settings.pgseer.log_level, settings.pgseer.log_format)
    _run(lambda: Application(settings, reload=lambda: load_settings(config, overrides)).run())


@main.command()
@click.option("--once", is_flag=True, help="Show, then stop.")
@click.option(
    "--listen",
    type=address,
    metavar="HOST:PORT",
    help="Where the proxy listens; default 127.0.0.1:6432.",
)
@click.option(
    "--dir", "directory", type=DIRECTORY, help="Keep the database in DIR; default: a fresh folder."
)
def demo(once: bool, listen: tuple[str, int] | None, directory: Path | None) -> None:  # noqa: FBT001  # click passes it
    """Show it all on real data: a database, a model, a million scores."""
    from proxy.demo.main import run_demo

    where = listen or ("127.0.0.1", 6432)
    sys.exit(_run(lambda: run_demo(*where, directory=directory, once=once)))


@main.command("check-config")
@click.argument("file", type=FILE)
def check_config(file: Path) -> None:
    """Check a settings FILE, without starting anything."""
    _load(file, {})
    click.echo(f"{file}: ok")


def _load(file: Path | None, overrides: dict[str, object]) -> Settings:
    from proxy.settings import load_settings

    try:
        return load_settings(file, overrides)
    except ProxyError as error:
        _fail(error, str(file) if file is not None else "pgseer")


def _run(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end, on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        run: Callable[[Coroutine[Any, Any, T]], T] = asyncio.run
    else:
        run = uvloop.run
    try:
        return run(start())
    except ProxyError as error:
        _fail(error, "pgseer")
    except OSError as error:  # an address in use, a folder not ours: no traceback helps
        click.echo(f"pgseer: {error.strerror or error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(error: ProxyError, subject: str) -> NoReturn:
    """Say what went wrong as psql would, and give up."""
    click.echo(f"{subject}: {error.message}", err=True)
    for label, text in (("DETAIL", error.detail), ("HINT", error.hint)):
        if text:
            click.echo(f"{label}:  {text}", err=True)
    sys.exit(1)
