import ssl
from pathlib import Path

import pytest

from database.engine import postgresql_engine
from database.errors import DatabaseUrlInvalid
from database.url import read_url

CERTIFICATES = ssl.get_default_verify_paths().cafile

AIVEN = "postgres://avnadmin:AVNS_x-1@pg-1-my.a.aivencloud.com:12691/defaultdb?sslmode=require"
RAILWAY = "postgresql://postgres:pAss@containers-us-west-1.railway.app:6543/railway"
RENDER = "postgresql://me:pw@dpg-abc-a.oregon-postgres.render.com/name"
HEROKU = "postgres://u:p@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d1"
NEON = "postgresql://u:p@ep-x-1-pooler.eu-central-1.aws.neon.tech/neondb?sslmode=require&channel_binding=require"
SUPABASE = "postgresql://postgres.ref:p@aws-0-eu-central-1.pooler.supabase.com:6543/postgres?pgbouncer=true&connection_limit=1"


@pytest.mark.parametrize("text", [AIVEN, RAILWAY, RENDER, HEROKU, NEON, SUPABASE], ids=str)
async def test_a_url_as_the_provider_gives_it_names_the_same_server(text: str):
    target = read_url(text)

    assert target.url.drivername == "postgresql+asyncpg"
    assert target.url.host in text
    assert target.url.database == text.partition("?")[0].rpartition("/")[2]
    assert target.url.query == {}
    assert set(target.connect_args) <= {"ssl", "server_settings", "timeout"}
    await postgresql_engine(target).dispose()


@pytest.mark.parametrize(
    ("query", "verify", "hostname"),
    [
        ("sslmode=require", ssl.CERT_NONE, False),
        ("ssl=true", ssl.CERT_NONE, False),
        ("sslmode=no-verify", ssl.CERT_NONE, False),
        (f"sslmode=require&sslrootcert={CERTIFICATES}", ssl.CERT_REQUIRED, False),
        (f"sslmode=verify-ca&sslrootcert={CERTIFICATES}", ssl.CERT_REQUIRED, False),
        ("sslmode=verify-full&sslrootcert=system", ssl.CERT_REQUIRED, True),
        ("sslrootcert=system", ssl.CERT_REQUIRED, True),
    ],
)
def test_tls_is_as_strict_as_libpq_would_be(query: str, verify: ssl.VerifyMode, hostname: bool):
    context = read_url(f"postgresql://u:p@h/d?{query}").connect_args["ssl"]

    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (verify, hostname)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_optional_tls_is_left_to_the_driver(mode: str):
    assert read_url(f"postgres://u:p@h/d?sslmode={mode}").connect_args["ssl"] == mode


def test_without_a_word_about_tls_the_driver_prefers_it():
    assert "ssl" not in read_url(HEROKU).connect_args


def test_run_time_settings_go_to_the_server_and_strangers_nowhere(caplog):
    url = "postgres://u:p@h/d?options=endpoint%3Dep-1&application_name=lab&connect_timeout=3&keepalives=1&colour=red"

    target = read_url(url)

    assert target.connect_args["server_settings"] == {"application_name": "lab", "options": "endpoint=ep-1"}
    assert target.connect_args["timeout"] == 3
    assert set(target.connect_args) == {"server_settings", "timeout"}
    assert "colour" in caplog.text
    assert "keepalives" not in caplog.text


def test_a_socket_folder_in_the_query_is_kept():
    arguments = read_url("postgresql://u@/d?host=/var/run/postgresql&port=5433").connect_args

    assert (arguments["host"], arguments["port"]) == ("/var/run/postgresql", 5433)


@pytest.mark.parametrize(
    "text",
    [f'"{HEROKU}"', f"'{HEROKU}'", f"  {HEROKU}\n", f"psql '{HEROKU}'", f"DATABASE_URL={HEROKU}",
     HEROKU.replace("postgres:", "postgresql+asyncpg:"), HEROKU.replace("postgres:", "postgresql+psycopg2:")],
)  # fmt: skip
def test_what_surrounds_a_pasted_url_does_no_harm(text: str):
    assert read_url(text) == read_url(HEROKU)


def test_an_escaped_password_is_unescaped():
    assert read_url("postgres://u:p%40ss%2F%23@h/d").url.password == "p@ss/#"


@pytest.mark.parametrize(
    "text",
    [
        "", "hello", "postgres//u:hunter2@h/d", "mysql://u:hunter2@h/d", "postgres://u:hunter2@x@h/d",
        "postgres://u:hunter2@h1:1,h2:2/d", "postgres://u:hunter2@h:port/d", "postgres://u:hunter2@h/d?sslmode=perhaps",
        "postgres://u:hunter2@h/d?sslmode=verify-ca&sslrootcert=/no/such/file", "postgres://u:hunter2@h/d?port=x",
        "postgres://u:hunter2@h/d?connect_timeout=soon", "sqlite://", "sqlite:///:memory:",
    ],
)  # fmt: skip
def test_an_unusable_url_is_refused_with_advice_and_without_its_password(text: str):
    with pytest.raises(DatabaseUrlInvalid) as caught:
        read_url(text)

    assert str(caught.value).startswith("DATABASE_URL")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None or "hunter2" not in str(caught.value.__cause__)


def test_a_target_shows_no_password():
    assert "AVNS" not in repr(read_url(AIVEN))


def test_an_sqlite_url_names_an_absolute_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    assert read_url("sqlite:///storage/x.sqlite3").file == tmp_path / "storage" / "x.sqlite3"
    assert read_url(f"sqlite+aiosqlite:///{tmp_path}/y z%.sqlite3").file == tmp_path / "y z%.sqlite3"
