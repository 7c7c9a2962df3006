"""Database URLs as people paste them, made into what SQLAlchemy and asyncpg take.

Providers hand out libpq URLs (``postgres://…?sslmode=require&channel_binding=require``); asyncpg knows no libpq
parameters as keywords, so TLS becomes an SSLContext, run-time settings become ``server_settings``, and what only
libpq, a pooler or another language's client understands is dropped.
"""

import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from database.errors import DatabaseUrlInvalid

_log = logging.getLogger(__name__)

_POSTGRESQL = {"postgres", "postgresql", "pgsql", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2"}
_SQLITE = {"sqlite", "sqlite+aiosqlite", "sqlite+pysqlite"}
_TLS = {"sslmode", "ssl", "sslrootcert", "sslcert", "sslkey", "sslpassword"}
_SETTINGS = {"application_name", "options", "search_path", "timezone"}
_CONNECT = {"host", "port", "target_session_attrs"}
# Understood by somebody else: libpq's TCP and TLS details, PgBouncer switches of Prisma, Supabase and Vercel.
_DROPPED = {
    "channel_binding", "gssencmode", "krbsrvname", "keepalives", "keepalives_idle", "keepalives_interval",
    "keepalives_count", "tcp_user_timeout", "sslcompression", "sslsni", "sslnegotiation", "ssl_min_protocol_version",
    "fallback_application_name", "connect_timeout", "pgbouncer", "connection_limit", "pool_timeout", "pool_mode",
    "pool_size", "prepared_statement_cache_size", "statement_cache_size", "prepareThreshold", "prepare", "supa",
    "workaround", "sslaccept", "schema",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Target:
    """A database to connect to. Its ``repr`` shows no password."""

    url: URL
    connect_args: Mapping[str, Any] = field(default_factory=dict, repr=False)
    pooled: bool = False
    """Said to lead to a pooler (``?pgbouncer=true``); else each connection is looked at."""

    @property
    def file(self) -> Path | None:
        """The SQLite file, None for PostgreSQL."""
        return Path(self.url.database or "") if self.url.get_backend_name() == "sqlite" else None


def read_url(text: str) -> Target:
    """The target behind a pasted URL. Raises DatabaseUrlInvalid with a sentence that says how to write it."""
    url = _parse(_unwrapped(text))
    if url.drivername in _SQLITE:
        return _sqlite(url)
    if url.drivername in _POSTGRESQL:
        return _postgresql(url)
    raise DatabaseUrlInvalid(
        f"DATABASE_URL begins with {url.drivername}://, which is not served: use postgresql://user:password@host/name, "
        "or leave it empty for SQLite."
    )


def _unwrapped(text: str) -> str:
    """Without the quotes, spaces or leading ``psql`` that consoles and dashboards put around it."""
    text = text.strip().removeprefix("DATABASE_URL=").removeprefix("psql ").strip()
    return text.strip("\"'` ")


def _parse(text: str) -> URL:
    # "@" or "/" inside a password would silently name another host.
    authority = text.partition("://")[2].partition("?")[0].partition("/")[0]
    if authority.count("@") > 1:
        raise DatabaseUrlInvalid("DATABASE_URL has two @: write an @ inside the password as %40.")
    if "," in authority.rpartition("@")[2]:
        raise DatabaseUrlInvalid("DATABASE_URL names several hosts: name one, the primary or its proxy.")
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        # The parser's message repeats its input, password and all, so it is not shown and not chained.
        raise DatabaseUrlInvalid(
            "DATABASE_URL cannot be read: write postgresql://user:password@host:port/name, with special characters of "
            "the password percent-encoded (@ is %40, / is %2F, # is %23), or leave it empty for SQLite."
        ) from None


def _sqlite(url: URL) -> Target:
    if url.database in (None, "", ":memory:") or "mode=memory" in str(url.query):
        raise DatabaseUrlInvalid("DATABASE_URL names an SQLite database in memory: name a file, sqlite:///storage/darkroom.sqlite3")
    return Target(url=URL.create("sqlite+aiosqlite", database=str(Path(url.database or "").expanduser().absolute())))


def _postgresql(url: URL) -> Target:
    query = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
    for name in query.keys() - _TLS - _SETTINGS - _CONNECT - _DROPPED:
        _log.warning("DATABASE_URL: the parameter %s is not known here and is left out", name[:40])
    arguments: dict[str, Any] = {name: query[name] for name in _CONNECT & query.keys()}
    if "port" in arguments:
        arguments["port"] = _whole_number(arguments["port"], "port")
    tls = _tls({name: query[name] for name in _TLS & query.keys()})
    if tls is not None:
        arguments["ssl"] = tls
    settings = {name: query[name] for name in _SETTINGS & query.keys()}
    arguments["server_settings"] = {"application_name": "darkroom", **settings}
    arguments["timeout"] = min(_whole_number(query.get("connect_timeout", "10"), "connect_timeout") or 10, 60)
    pooled = query.get("pgbouncer", "").lower() in ("true", "1") or query.get("pool_mode") == "transaction"
    return Target(url=url.set(drivername="postgresql+asyncpg", query={}), connect_args=arguments, pooled=pooled)


def _whole_number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise DatabaseUrlInvalid(f"DATABASE_URL: {name} is not a whole number.")
    return int(text)


def _tls(query: Mapping[str, str]) -> ssl.SSLContext | str | None:
    """The ``ssl`` of asyncpg for libpq's words; None lets asyncpg prefer TLS and go without where there is none."""
    mode = query.get("sslmode") or {"true": "require", "1": "require", "false": "disable", "0": "disable"}.get(
        query.get("ssl", ""), query.get("ssl")
    )
    if mode == "no-verify":  # node-postgres' word
        mode = "require"
    root = query.get("sslrootcert")
    if mode is None and (root or "sslcert" in query):
        mode = "verify-full" if root == "system" else "require"
    if mode in (None, "disable", "allow", "prefer"):
        return mode
    if mode not in ("require", "verify-ca", "verify-full"):
        raise DatabaseUrlInvalid("DATABASE_URL: sslmode is disable, allow, prefer, require, verify-ca or verify-full.")
    return _context(mode, root, query)


def _context(mode: str, root: str | None, query: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if root in (None, "system") else str(Path(root).expanduser()))
        if cert := query.get("sslcert"):
            context.load_cert_chain(cert, query.get("sslkey"), query.get("sslpassword"))
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or "not a certificate"
        raise DatabaseUrlInvalid(f"DATABASE_URL: a TLS file cannot be read ({why}).") from error
    context.check_hostname = mode == "verify-full"
    # As libpq: "require" encrypts and believes anybody, unless a root certificate is named.
    if mode == "require" and root is None:
        context.verify_mode = ssl.CERT_NONE
    return context
