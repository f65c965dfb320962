import re
import tomllib
from pathlib import Path

import msgspec
import psycopg.conninfo
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from psycopg import pq

from proxy.errors import SettingsError
from proxy.settings import Settings, UpstreamAddress, load_settings
from proxy.settings.dsn import parse_dsn
from proxy.settings.loading import FIELDS
from proxy.settings.passfile import passfile_entries

SHIPPED = Path(__file__).parents[1] / "config" / "pgseer.toml"
SETTING = re.compile(r"#(\w+ = .*)")
WORDS = st.text(
    st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters=",\x00"),
    min_size=1,
    max_size=20,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No password file but the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))


def load(text: str, tmp_path: Path, environment: dict[str, str] | None = None, **overrides):
    file = tmp_path / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, overrides, environment or {})


def complaint(text: str, tmp_path: Path, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as error:
        load(text, tmp_path, environment)
    return error.value.message


# ---- the shipped file


def uncommented(text: str) -> str:
    """The file as it reads when every setting in it is switched on."""
    return "\n".join(SETTING.sub(r"\1", line) for line in text.splitlines())


def test_every_key_is_documented_with_its_default():
    """The shipped file names every key, and switching all of them on changes nothing."""
    raw = tomllib.loads(uncommented(SHIPPED.read_text(encoding="utf-8")))
    assert {section: set(keys) for section, keys in raw.items()} == {
        section: set(keys) for section, keys in FIELDS.items()
    }
    on = SHIPPED.read_text(encoding="utf-8")
    assert load_settings(SHIPPED, environment={}) == load_settings(None, environment={})
    assert on != uncommented(on)


def test_the_documented_defaults_are_the_defaults(tmp_path):
    """Every value that the shipped file shows is the one that holds without it."""
    shown = uncommented(SHIPPED.read_text(encoding="utf-8"))
    assert load(shown, tmp_path) == load_settings(None, environment={})


def test_every_key_has_an_explanation():
    """Above each key, or each run of keys, stands a comment in words."""
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if SETTING.fullmatch(line):
            above = number - 1
            while SETTING.fullmatch(lines[above]):
                above -= 1
            assert re.match(r"# \w", lines[above]), line


# ---- mistakes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[upstream]\nhots = 'a'",
            "unknown key upstream.hots; the nearest known key is upstream.host",
        ),
        (
            "[pgseer]\nmax_client_con = 1",
            "unknown key pgseer.max_client_con; the nearest known key is pgseer.max_client_conn",
        ),
        ("listen_port = 1", "unknown key listen_port; the nearest known key is pgseer.listen_port"),
        ("[upstraem]", "unknown section upstraem; the nearest known section is upstream"),
        (
            "[ml]\nlisten_port = 1",
            "unknown key ml.listen_port; the nearest known key is pgseer.listen_port",
        ),
        ("[pgseer]\nlisten_port = 65536", "pgseer.listen_port: expected int <= 65535, not 65536"),
        ("[pgseer]\nlisten_port = '6432'", "pgseer.listen_port: expected int, not '6432'"),
        ("[pgseer]\ntcp_keepalive = 1", "pgseer.tcp_keepalive: expected bool, not 1"),
        (
            "[pgseer]\nauth = 'trust'",
            "pgseer.auth: expected one of relay, scram, not 'trust'",
        ),
        (
            "[ml]\nmodel_cache_size = '1 furlong'",
            "ml.model_cache_size: expected a size, bytes or like '64MB', not '1 furlong'",
        ),
        ("pgseer = 3", "pgseer is a section: write [pgseer] on a line of its own"),
        ("[upstream]\nhost = 'a'\nembedded = 'b'", "upstream.embedded excludes upstream.host"),
        (
            "[pgseer]\nclient_tls_sslmode = 'require'",
            "pgseer.client_tls_sslmode = 'require' needs pgseer.client_tls_cert_file",
        ),
        (
            "[pgseer]\nserver_tls_sslmode = 'verify-full'",
            "pgseer.server_tls_sslmode = 'verify-full' needs pgseer.server_tls_ca_file",
        ),
        (
            "[pgseer]\nserver_tls_ca_file = '/no/such/file'",
            "pgseer.server_tls_ca_file: no file /no/such/file",
        ),
        ("[pgseer", "not TOML"),
    ],
)
def test_a_mistake_is_named(text, expected, tmp_path):
    """The message begins with the key, and says what is wrong or what was probably meant."""
    assert complaint(text, tmp_path).startswith(expected)


@given(name=st.from_regex(r"[a-z_]{1,30}", fullmatch=True))
def test_an_unknown_key_always_gets_a_known_one(name, tmp_path_factory):
    """Whatever stands there, the answer names a key that exists."""
    assume(all(name not in keys for keys in FIELDS.values()))
    message = complaint(f"[pgseer]\n{name} = 1", tmp_path_factory.mktemp("settings"))
    section, key = message.rpartition(" ")[2].split(".")
    assert key in FIELDS[section]


def test_a_secret_is_never_repeated(tmp_path):
    """Neither a message nor a repr shows a password, even a misplaced one."""
    secret = "hunter2hunter2"
    for text in (
        f"[upstream]\ndsn = 'postgresql://u:{secret}@h:port:5432:1/d'",
        f"[upstream]\ndsn = 'host=h password={secret} bogus'",
        f"[upstream]\npassword = ['{secret}']",
    ):
        assert secret not in complaint(text, tmp_path)
    settings = load(f"[upstream]\ndsn = 'postgresql://u:{secret}@h/d'", tmp_path)
    assert settings.upstream.password == secret
    assert secret not in f"{settings!r} {settings.upstream.address!r}"


# ---- what overrides what


def test_the_later_word_wins(tmp_path):
    """The environment overrides the file, and the command line both."""
    file = "[pgseer]\nlisten_port = 1\nhttp_port = 1\nmax_client_conn = 1"
    environment = {
        "PGSEER__PGSEER__LISTEN_PORT": "2",
        "PGSEER__PGSEER__HTTP_PORT": "2",
        "PGHOST": "x",
    }
    listener = load(file, tmp_path, environment, **{"pgseer.http_port": 3}).pgseer
    assert (listener.max_client_conn, listener.listen_port, listener.http_port) == (1, 2, 3)


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("PGSEER__PGSEER__TCP_KEEPALIVE", "false", "tcp_keepalive", False),
        ("PGSEER__PGSEER__CLIENT_LOGIN_TIMEOUT", "2.5", "client_login_timeout", 2.5),
        ("PGSEER__PGSEER__LISTEN_ADDR", "10", "listen_addr", "10"),
        (
            "PGSEER__PGSEER__MAX_INSPECTED_STATEMENT_BYTES",
            "2MB",
            "max_inspected_statement_bytes",
            2**21,
        ),
    ],
)
def test_the_environment_is_read_as_the_keys_type(name, text, key, value, tmp_path):
    """A variable's text becomes a number, a truth value or a size where the key is one."""
    assert getattr(load("", tmp_path, {name: text}).pgseer, key) == value


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("PGSEER__PGSEER__LISTEN_PORT", "many", "pgseer.listen_port: expected int"),
        (
            "PGSEER__PGSEER__LISTEN_PROT",
            "1",
            "unknown key pgseer.listen_prot; the nearest known key",
        ),
    ],
)
def test_a_wrong_variable_is_a_mistake_too(name, text, expected, tmp_path):
    """A variable with our prefix is held to the same rules as the file."""
    assert complaint("", tmp_path, {name: text}).startswith(expected)


def test_a_certificate_switches_tls_on(tmp_path):
    """With a certificate clients may use TLS, unless the file says disable."""
    for name in ("cert", "key"):
        (tmp_path / name).touch()
    files = f"client_tls_cert_file = '{tmp_path}/cert'\nclient_tls_key_file = '{tmp_path}/key'\n"
    assert load(f"[pgseer]\n{files}", tmp_path).pgseer.client_tls_sslmode == "prefer"
    off = load(f"[pgseer]\nclient_tls_sslmode = 'disable'\n{files}", tmp_path)
    assert off.pgseer.client_tls_sslmode == "disable"


@pytest.mark.parametrize(
    ("text", "size"), [("'64MB'", 64 * 2**20), ("'3 kB'", 3072), ("12", 12), ("'1gb'", 2**30)]
)
def test_sizes_have_units(text, size, tmp_path):
    """A size is bytes, or a number with PostgreSQL's units."""
    assert load(f"[ml]\nmodel_cache_size = {text}", tmp_path).ml.model_cache_size == size


# ---- the database


def test_without_a_database_there_is_an_embedded_one(tmp_path):
    """No host means a folder for a database of our own, the named one or the user's."""
    assert load("[upstream]\nembedded = 'here'", tmp_path).upstream.embedded == "here"
    default = load("", tmp_path).upstream
    assert default.is_embedded
    assert Path(default.embedded).is_absolute()


@given(
    user=WORDS, password=WORDS, database=WORDS, host=st.sampled_from(["db1", "10.0.0.7", "/run/pg"])
)
def test_keyword_strings_mean_what_libpq_says(user, password, database, host):
    """Whatever libpq quotes is read back to the same values."""
    parts = {"user": user, "password": password, "dbname": database, "host": host}
    found = parse_dsn(psycopg.conninfo.make_conninfo("", **parts))
    assert found == {**{k: v for k, v in parts.items() if k != "dbname"}, "database": database}


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:p%40%2F@db1:6000/shop?sslmode=require&connect_timeout=3",
        "postgres://[2001:db8::1]:6000/shop",
        "postgresql:///shop?host=/run/pg&port=6000&user=u",
        "postgresql://u@/shop?host=%2Frun%2Fpg",
        "postgresql://db1",
        "host = db1   dbname='the shop' user='o\\'neill'",
        "host=db1 password='' user=u",
    ],
)
def test_connection_strings_mean_what_libpq_says(text):
    """Both forms give the parts that libpq's own parser gives."""
    expected = psycopg.conninfo.conninfo_to_dict(text)
    expected["database"] = expected.pop("dbname", None)
    found = {name: value for name, value in parse_dsn(text).items() if value}
    assert found == {name: str(value) for name, value in expected.items() if value}


def test_a_connection_string_wins_over_the_parts(tmp_path):
    """What the string says holds; the keys fill in what it leaves out, TLS included."""
    settings = load(
        "[upstream]\ndsn = 'host=db1 sslmode=require'\nhost = 'db2'\nport = 6000\nuser = 'u'",
        tmp_path,
    )
    assert settings.upstream.address == UpstreamAddress("db1", 6000, "postgres", "u", "")
    assert settings.pgseer.server_tls_sslmode == "require"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://a,b/shop",
        "host=a,b",
        "postgresql://a/shop?bogus=1",
        "nonsense",
        "host='a",
        "host=a sslmode=sometimes",
        "host=a port=none",
        "postgresql://[::1/shop",
    ],
)
def test_a_wrong_connection_string_is_refused(text, tmp_path):
    """A list of hosts, an unknown keyword, a wrong value or no string at all is an error."""
    complaint(f'[upstream]\ndsn = "{text}"', tmp_path)


def test_the_password_is_looked_up_as_libpq_does(tmp_path):
    """Named, then PGPASSWORD, then the password file's first line that fits."""
    file = tmp_path / "passfile"
    file.write_text("# one\ndb2:*:*:*:wrong\ndb1:5432:*:u\\:v:fr\\\\om:rest\n*:*:*:*:last\n")
    file.chmod(0o600)
    base = f"[upstream]\nhost = 'db1'\nuser = 'u:v'\npassfile = '{file}'\n"
    # Nothing listens on port 5432 of "db1": libpq looks the password up before it connects.
    asked = f"host=db1 hostaddr=127.0.0.1 port=5432 user=u:v dbname=d passfile={file}"
    connection = pq.PGconn.connect_start(asked.encode())
    expected = connection.password.decode()
    connection.finish()
    assert expected == "fr\\om"
    assert load(base, tmp_path).upstream.password == expected
    assert load(base, tmp_path, {"PGPASSWORD": "env"}).upstream.password == "env"
    named = load(base + "password = 'named'", tmp_path, {"PGPASSWORD": "env"})
    assert named.upstream.password == "named"


def test_a_password_file_open_to_others_is_refused(tmp_path):
    """Like libpq, we do not trust a password file that others may read."""
    file = tmp_path / "passfile"
    file.write_text("*:*:*:*:secret\n")
    file.chmod(0o640)
    text = f"[upstream]\nhost = 'db1'\npassfile = '{file}'"
    assert "may be read by others" in complaint(text, tmp_path)
    assert "no file" in complaint("[upstream]\nhost = 'db1'\npassfile = '/no/such'", tmp_path)


def test_a_malformed_line_is_passed_over(tmp_path):
    """Comments and lines without five fields give no entry."""
    file = tmp_path / "passfile"
    file.write_text("#a:b:c:d:e\na:b:c\n\nh:1:d:u:p\n")
    assert list(passfile_entries(file)) == [("h", "1", "d", "u", "p")]


def test_settings_do_not_change():
    """A setting cannot be assigned: whoever holds the settings may rely on them."""
    with pytest.raises(AttributeError):
        Settings().pgseer.listen_port = 1
    assert isinstance(Settings(), msgspec.Struct)
