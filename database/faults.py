"""Which of the many shapes of a database's refusal mean "not now", and whether waiting a moment may help.

Measured: a PostgreSQL that dies raises an InternalError around asyncpg's InternalClientError, a bare
ConnectionRefusedError, or a DBAPIError with ``connection_invalidated``; SQLite says BUSY, FULL or IOERR through its
result code.
"""

import sqlite3
import ssl
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError


@dataclass(frozen=True, kw_only=True)
class Outage:
    """The database cannot take it now. ``reason`` is a word for logs, never SQL and never a prompt."""

    reason: str
    passing: bool
    """Worth another try within the second; else it is a disk or a server that somebody has to mend."""


_SQLITE = {
    sqlite3.SQLITE_BUSY: Outage(reason="busy", passing=True),
    sqlite3.SQLITE_LOCKED: Outage(reason="busy", passing=True),
    sqlite3.SQLITE_PROTOCOL: Outage(reason="busy", passing=True),
    sqlite3.SQLITE_FULL: Outage(reason="disk full", passing=False),
    sqlite3.SQLITE_IOERR: Outage(reason="disk error", passing=False),
    sqlite3.SQLITE_CANTOPEN: Outage(reason="file cannot be opened", passing=False),
    sqlite3.SQLITE_READONLY: Outage(reason="file cannot be written", passing=False),
    sqlite3.SQLITE_NOMEM: Outage(reason="out of memory", passing=False),
}
_UNREACHABLE = Outage(reason="unreachable", passing=True)
_SQLSTATES = (
    ("08", _UNREACHABLE),
    ("25P03", Outage(reason="too slow", passing=True)),
    ("40001", Outage(reason="busy", passing=True)),
    ("40P01", Outage(reason="busy", passing=True)),
    ("55P03", Outage(reason="busy", passing=True)),
    ("57014", Outage(reason="too slow", passing=False)),
    ("57P", _UNREACHABLE),
    ("53100", Outage(reason="disk full", passing=False)),
    ("53", Outage(reason="server is full", passing=True)),
    ("58", Outage(reason="disk error", passing=False)),
    ("28", Outage(reason="login refused", passing=False)),
    ("3D000", Outage(reason="no such database", passing=False)),
    ("42501", Outage(reason="permission denied", passing=False)),
    ("25006", Outage(reason="read-only server", passing=False)),
)


def outage_of(error: BaseException) -> Outage | None:
    """The outage behind an error, or None when the error is a bug or a broken constraint."""
    if isinstance(error, PoolTimeoutError | TimeoutError):
        return Outage(reason="too slow", passing=False)
    if isinstance(error, ssl.SSLError):
        return Outage(reason="TLS refused", passing=False)
    if isinstance(error, OSError):
        return _UNREACHABLE
    if isinstance(error, DBAPIError):
        return _of_driver(error)
    return None


def _of_driver(error: DBAPIError) -> Outage | None:
    original = error.orig
    if isinstance(original, sqlite3.Error):
        # Extended codes keep the plain one in their low byte.
        return _SQLITE.get(getattr(original, "sqlite_errorcode", 0) & 0xFF)
    state = getattr(original, "sqlstate", None)
    if isinstance(state, str):
        return next((outage for prefix, outage in _SQLSTATES if state.startswith(prefix)), None)
    # Without a state the server never answered: asyncpg's own complaints about a connection that went away.
    if error.connection_invalidated or isinstance(error, InterfaceError | InternalError):
        return _UNREACHABLE
    return None
