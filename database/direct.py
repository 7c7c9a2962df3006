"""What may be kept on a PostgreSQL connection that leads to one server process, and never behind a pooler.

A server tells each client its process number at the start (the protocol's BackendKeyData), for cancelling. A pooler in
transaction mode cannot pass on the number of a server that it changes with every transaction, so it sends one of its own.
Where the number told is that of the process that answers, the connection is direct and stays so: statements may stay
prepared and limits be set for the session, which halves the time of a small transaction.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DisconnectionError

_STATEMENTS = 200
"""Kept on a connection; we have some sixty."""
_MARK = "darkroom_direct"


def is_trusted(connection: Connection) -> bool:
    """Whether this connection was opened as a direct one."""
    return bool(connection.info.get(_MARK))


def trust_direct_connections(engine: Engine, *, settings: Mapping[str, str]) -> None:
    """Let this asyncpg engine look at its first connection, and open all others accordingly, with ``settings`` where direct."""
    direct: list[bool] = []

    @event.listens_for(engine, "do_connect")
    def prepare(_dialect: Any, record: Any, _args: Any, arguments: dict[str, Any]) -> None:
        record.info[_MARK] = direct == [True]
        if record.info[_MARK]:
            arguments |= {"statement_cache_size": _STATEMENTS, "prepared_statement_cache_size": _STATEMENTS}
            arguments["server_settings"] = {**arguments.get("server_settings", {}), **settings}
            arguments.pop("prepared_statement_name_func", None)

    @event.listens_for(engine, "connect")
    def look(connection: Any, _record: Any) -> None:
        if direct:
            return
        cursor = connection.cursor()
        cursor.execute("SELECT pg_backend_pid()")
        direct.append(cursor.fetchone()[0] == connection.driver_connection.get_server_pid())
        cursor.close()
        connection.rollback()

    @event.listens_for(engine, "checkout")
    def renew(_connection: Any, record: Any, _proxy: Any) -> None:
        if direct == [True] and not record.info.get(_MARK):
            raise DisconnectionError("opened before we knew that it is direct: it is opened anew")
